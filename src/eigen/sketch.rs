//! What a few products with random combinations of all pairs say of every pair's residual.

use super::SymmetricOperator;
use super::basis::Basis;
use super::dense::Small;
use crate::Result;
use crate::device::{Columns, ColumnsMut, Device, Update};
use crate::random::{normal, stream};
use std::f64::consts::FRAC_2_PI;

/// Products that are made.
pub const COMBINATIONS: usize = 4;
/// The bound is too low for one solve in this many, to the power of [`COMBINATIONS`].
const MARGIN: f64 = 10.0;
/// The stream of the combinations: start vectors, which the pairs depend on, are of another.
const STREAM: u64 = 1;

/// Ritz pairs as the recurrence has them: `A X = X diag(values) + Q coupling + D`, with a D that would be zero without rounding.
pub struct Recurrence<'a, D: Device> {
    /// Its first columns are the vectors X.
    pub basis: &'a Basis<D>,
    /// Their values.
    pub values: &'a [f64],
    /// The block Q that would have been next (b, dimension).
    pub next: &'a D::Buffer,
    /// (b, pairs).
    pub coupling: &'a Small,
}

impl<D: Device> Recurrence<'_, D> {
    /// A bound of `||D||`, hence of what each residual has that the recurrence does not know of.
    ///
    /// For independent standard normal w_j, `||D|| <= 10 sqrt(2/pi) max_j ||D w_j||` but with a probability of one in ten thousand
    /// for four of them (Halko, Martinsson and Tropp 2011, lemma 4.1), whatever D is: the recurrence is not trusted.
    ///
    /// # Errors
    /// What the operator or the device meets.
    pub fn defect(&self, operator: &mut impl SymmetricOperator<D>, seed: u64) -> Result<f64> {
        let (dimension, pairs, b) = (operator.dimension(), self.values.len(), self.coupling.rows);
        let mut rng = stream(seed, STREAM);
        let most = COMBINATIONS.min(operator.max_block());
        let mut vectors = operator.device().zeros(most * dimension)?;
        let mut images = operator.device().zeros(most * dimension)?;
        let mut largest = 0.0;
        for first in (0..COMBINATIONS).step_by(most) {
            let count = most.min(COMBINATIONS - first);
            let data = (0..pairs * count).map(|_| normal(&mut rng)).collect();
            let w = Small { rows: pairs, columns: count, data };
            self.basis.combine(operator.device(), 0..pairs, &w, &mut vectors);
            operator.apply(count, &vectors, &mut images)?;
            let device = operator.device();
            let scaled = Small::from_fn(pairs, count, |i, j| self.values[i] * w.at(i, j));
            self.basis.update(device, 0..pairs, &mut images, &scaled, &Small::identity(count));
            device.update(Update {
                rows: dimension,
                w: ColumnsMut { buffer: &mut images, offset: 0, pitch: dimension, count },
                v: Columns { buffer: self.next, offset: 0, pitch: dimension, count: b },
                h: &self.coupling.times(&w).data,
                m: &Small::identity(count).data,
            });
            let (_, squares) = self.basis.gram(device, 0..0, &images, count)?;
            for j in 0..count {
                let norm = squares.at(j, j).sqrt();
                // Not `max`, which would hide a NaN.
                if norm.is_nan() || norm > largest {
                    largest = norm;
                }
            }
        }
        Ok(MARGIN * FRAC_2_PI.sqrt() * largest)
    }
}
