//! The eigensolve: expand, test, restart; then recompute every residual with fresh products.

use super::SymmetricOperator;
use super::dense::{Small, SymmetricEigen};
use super::lanczos::{BlockLanczos, fix_sign};
use crate::device::{Columns, ColumnsMut, Device, Gram, Update};
use crate::{Error, Result};

/// Share of the operator's norm below which an eigenvalue is tested absolutely: relative tests never end at zero.
const ZERO_FLOOR: f64 = 1e-3;
/// How far a recomputed residual may exceed the tolerance that the recurrence met.
const RESIDUAL_SLACK: f64 = 1.05;
/// Share of the free part of the basis that a restart fills with Ritz vectors beyond the wanted ones.
const KEEP: f64 = 0.4;

/// What to compute.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Number of largest eigenvalues, LA(k).
    pub largest: usize,
    /// Number of smallest (most negative) eigenvalues, SA(k).
    pub smallest: usize,
    /// A pair has converged when `||A v - lambda v|| <= tolerance * max(|lambda|, 1e-3 ||A||)`.
    pub tolerance: f64,
    /// Vectors a block.
    pub block: usize,
    /// Most vectors in the basis.
    pub basis: usize,
    /// Most products of the iteration; what is there when they are spent is returned, marked as what it is.
    pub max_products: usize,
    /// Seed of the start vectors.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { largest: 10, smallest: 3, tolerance: 1e-3, block: 2, basis: 64, max_products: 5000, seed: 0 }
    }
}

/// What a returned pair is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The recomputed residual meets the tolerance.
    Converged,
    /// The residual is as small as the operator's rounding noise lets it be, above the tolerance.
    NoiseFloor,
    /// The products were spent before.
    BudgetSpent,
}

/// An eigenvalue, its vector and its residual.
#[derive(Clone, Debug)]
pub struct Eigenpair<T> {
    /// Ritz value.
    pub value: f64,
    /// Unit vector (dimension); its component of largest magnitude is positive.
    pub vector: Vec<T>,
    /// `||A v - value v||`, from a fresh product.
    pub residual: f64,
    /// What the pair is worth.
    pub status: Status,
}

/// What a solve found.
#[derive(Clone, Debug)]
pub struct Solution<T> {
    /// The largest eigenvalues, descending.
    pub largest: Vec<Eigenpair<T>>,
    /// The smallest eigenvalues, ascending: the most negative first.
    pub smallest: Vec<Eigenpair<T>>,
    /// Products that the iteration took.
    pub products: usize,
    /// Products that the recomputed residuals took.
    pub verification_products: usize,
    /// Restarts of the basis.
    pub restarts: usize,
    /// Noise of the operator as the recurrence saw it.
    pub noise: f64,
}

impl<T> Solution<T> {
    /// All pairs in descending order of their values.
    pub fn descending(&self) -> impl Iterator<Item = &Eigenpair<T>> {
        self.largest.iter().chain(self.smallest.iter().rev())
    }

    /// Number of pairs that converged.
    pub fn converged(&self) -> usize {
        self.descending().filter(|p| p.status == Status::Converged).count()
    }
}

/// Where a solve stands, after each block step.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Products so far.
    pub products: usize,
    /// Converged among the wanted largest.
    pub largest: usize,
    /// Converged among the wanted smallest.
    pub smallest: usize,
    /// Largest residual over tolerance among the wanted pairs: done when at most one.
    pub worst: f64,
}

/// Computes `options.largest` pairs at the upper and `options.smallest` at the lower end of the operator's spectrum.
///
/// If the two ends together ask for the whole space or more, each end is cut at the dimension.
///
/// # Errors
/// [`Error::Usage`] for options that cannot work; what the operator or the device meets.
pub fn solve<D: Device>(
    operator: &mut impl SymmetricOperator<D>,
    options: &Options,
    mut report: impl FnMut(Progress),
) -> Result<Solution<D::Scalar>> {
    let dimension = operator.dimension();
    let largest = options.largest.min(dimension);
    let smallest = options.smallest.min(dimension);
    let block = options.block.min(dimension);
    let capacity = options.basis.min(dimension);
    check(options, largest + smallest, block, capacity, dimension, operator.max_block())?;

    let mut lanczos = BlockLanczos::new(operator.device(), dimension, block, capacity, options.seed)?;
    let (mut products, mut restarts) = (0, 0);
    let (eigen, wanted, reached) = loop {
        lanczos.expand(operator)?;
        products += block;
        let (eigen, residuals) = lanczos.ritz()?;
        let k = lanczos.basis.len();
        let wanted = wanted(k, largest, smallest);
        let tolerance = |i: usize| tolerance(options.tolerance, &eigen, i);
        let met = |i: usize| residuals[i] <= tolerance(i);
        let met_or_noise = |i: usize| residuals[i] <= tolerance(i).max(lanczos.noise());
        let complete = k >= (largest + smallest).min(dimension);
        report(Progress {
            products,
            largest: wanted.iter().filter(|&&i| i + largest >= k && met(i)).count(),
            smallest: wanted.iter().filter(|&&i| i < smallest && met(i)).count(),
            worst: wanted.iter().map(|&i| residuals[i] / tolerance(i)).fold(0.0, f64::max),
        });
        let exhausted = k + block > dimension;
        if (complete && wanted.iter().all(|&i| met_or_noise(i))) || exhausted {
            break (eigen, wanted, true);
        }
        if products + block > options.max_products {
            break (eigen, wanted, false);
        }
        if k + block > capacity {
            lanczos.restart(operator.device(), &eigen, &kept(k, largest, smallest, block, capacity));
            restarts += 1;
        }
    };

    let mut pairs = verify(operator, &lanczos, &eigen, &wanted, options.tolerance, reached)?;
    let above = pairs.split_off(pairs.len() - largest.min(pairs.len()));
    let (low, mut high) =
        if wanted.len() < largest + smallest { overlap(pairs, above, smallest) } else { (pairs, above) };
    high.reverse();
    Ok(Solution {
        largest: high,
        smallest: low,
        products,
        verification_products: wanted.len(),
        restarts,
        noise: lanczos.noise(),
    })
}

/// When both ends meet in a small space, a pair may belong to both: the lower end gets copies.
fn overlap<T: Clone>(
    low: Vec<Eigenpair<T>>,
    high: Vec<Eigenpair<T>>,
    smallest: usize,
) -> (Vec<Eigenpair<T>>, Vec<Eigenpair<T>>) {
    let low = low.iter().chain(&high).take(smallest).cloned().collect();
    (low, high)
}

fn check(
    options: &Options,
    wanted: usize,
    block: usize,
    capacity: usize,
    dimension: usize,
    max_block: usize,
) -> Result<()> {
    let usage = |message: String| Err(Error::Usage(message));
    if wanted == 0 {
        return usage("ask for at least one eigenvalue, at either end".into());
    }
    if block == 0 || block > max_block {
        return usage(format!("a block of {block} vectors: from 1 to {max_block} fit"));
    }
    if !(options.tolerance > 0.0 && options.tolerance < 1.0) {
        return usage(format!("tolerance {} is not between 0 and 1", options.tolerance));
    }
    let least = (wanted + 3 * block).min(dimension);
    if capacity < least {
        return usage(format!(
            "a basis of {capacity} vectors is too small for {wanted} eigenvalues in blocks of {block}: it takes {least}"
        ));
    }
    Ok(())
}

/// Indices, into `k` ascending Ritz values, of the wanted pairs.
fn wanted(k: usize, largest: usize, smallest: usize) -> Vec<usize> {
    (0..k).filter(|&i| i < smallest || i + largest >= k).collect()
}

/// Indices of the Ritz pairs that a restart keeps: the wanted ones and, at both ends alike, some beyond.
fn kept(k: usize, largest: usize, smallest: usize, block: usize, capacity: usize) -> Vec<usize> {
    let extra = (KEEP * capacity.saturating_sub(largest + smallest + block) as f64) as usize;
    wanted(k, largest + extra - extra / 2, smallest + extra / 2)
}

/// The residual that pair `i` must reach.
fn tolerance(relative: f64, eigen: &SymmetricEigen, i: usize) -> f64 {
    let ends = [eigen.values[0], eigen.values[eigen.values.len() - 1]];
    let norm = ends.iter().fold(f64::MIN_POSITIVE, |m, v| v.abs().max(m));
    relative * eigen.values[i].abs().max(ZERO_FLOOR * norm)
}

/// The Ritz pairs at `wanted`, ascending, with residuals from fresh products.
fn verify<D: Device>(
    operator: &mut impl SymmetricOperator<D>,
    lanczos: &BlockLanczos<D>,
    eigen: &SymmetricEigen,
    wanted: &[usize],
    relative: f64,
    reached: bool,
) -> Result<Vec<Eigenpair<D::Scalar>>> {
    let dimension = operator.dimension();
    let k = lanczos.basis.len();
    let width = operator.max_block().min(wanted.len());
    let mut vectors = operator.device().zeros(width * dimension)?;
    let mut images = operator.device().zeros(width * dimension)?;
    let mut pairs = Vec::with_capacity(wanted.len());
    for group in wanted.chunks(width) {
        let s = Small::from_fn(k, group.len(), |i, j| eigen.vectors[group[j]][i]);
        lanczos.basis.combine(operator.device(), &s, &mut vectors);
        operator.apply(group.len(), &vectors, &mut images)?;
        let device = operator.device();
        for (j, &i) in group.iter().enumerate() {
            let value = eigen.values[i];
            let at = j * dimension;
            device.update(Update {
                rows: dimension,
                w: ColumnsMut { buffer: &mut images, offset: at, pitch: dimension, count: 1 },
                v: Columns { buffer: &vectors, offset: at, pitch: dimension, count: 1 },
                h: &[value],
                m: &[1.0],
            });
            let column = || Columns::<D> { buffer: &images, offset: at, pitch: dimension, count: 1 };
            let residual = device.gram(&[Gram { rows: dimension, a: column(), b: column() }])?[0].sqrt();
            let mut vector = device.read(&vectors, at..at + dimension)?;
            fix_sign(&mut vector);
            let status = match (residual <= RESIDUAL_SLACK * tolerance(relative, eigen, i), reached) {
                (true, _) => Status::Converged,
                (false, true) => Status::NoiseFloor,
                (false, false) => Status::BudgetSpent,
            };
            pairs.push(Eigenpair { value, vector, residual, status });
        }
    }
    Ok(pairs)
}
