//! What a pair is worth: residuals from fresh products, and the bounds that follow.

use super::SymmetricOperator;
use super::convergence::target;
use super::types::{Eigenpair, Status};
use crate::Result;
use crate::device::{Columns, ColumnsMut, Device, Gram, Scalar, Update};
use faer::Mat;
use rayon::prelude::*;

/// Rows that are widened and multiplied together.
const ROWS: usize = 4096;
/// How far a recomputed residual may exceed the tolerance that the recurrence met.
const RESIDUAL_SLACK: f64 = 1.05;

/// `||A v - value v||` for given unit vectors, from fresh products in the operator's precision: one product a vector.
///
/// With an operator in f64 it judges what was computed in f32.
///
/// # Errors
/// What the operator or the device meets.
pub fn residuals<D: Device, T: Scalar>(
    operator: &mut impl SymmetricOperator<D>,
    pairs: &[(f64, &[T])],
) -> Result<Vec<f64>> {
    let dimension = operator.dimension();
    let width = operator.max_block().min(pairs.len()).max(1);
    let mut vectors = operator.device().zeros(width * dimension)?;
    let mut images = operator.device().zeros(width * dimension)?;
    let mut found = Vec::with_capacity(pairs.len());
    for group in pairs.chunks(width) {
        for (j, (_, vector)) in group.iter().enumerate() {
            let scalars: Vec<D::Scalar> = vector.iter().map(|v| D::Scalar::from_f64(v.widen())).collect();
            operator.device().write(&mut vectors, j * dimension, &scalars);
        }
        operator.apply(group.len(), &vectors, &mut images)?;
        let values: Vec<f64> = group.iter().map(|(value, _)| *value).collect();
        found.extend(residual_norms(operator.device(), &vectors, &mut images, &values, dimension)?);
    }
    Ok(found)
}

/// Norms of `images[j] - values[j] vectors[j]`; the images are overwritten by the differences.
pub(super) fn residual_norms<D: Device>(
    device: &D,
    vectors: &D::Buffer,
    images: &mut D::Buffer,
    values: &[f64],
    dimension: usize,
) -> Result<Vec<f64>> {
    let mut norms = Vec::with_capacity(values.len());
    for (j, &value) in values.iter().enumerate() {
        let (rows, offset, pitch, count) = (dimension, j * dimension, dimension, 1);
        device.update(Update {
            rows,
            w: ColumnsMut { buffer: images, offset, pitch, count },
            v: Columns { buffer: vectors, offset, pitch, count },
            h: &[value],
            m: &[1.0],
        });
        let column = || Columns::<D> { buffer: images, offset, pitch, count };
        norms.push(device.gram(&[&[Gram { rows, a: column(), b: column() }]])?[0][0].sqrt());
    }
    Ok(norms)
}

/// Euclidean norm, with sums in f64.
pub(super) fn norm<T: Scalar>(vector: &[T]) -> f64 {
    // Lanes, because one sum after the other waits for the one before.
    let mut squares = [0.0; 16];
    for part in vector.chunks(squares.len()) {
        squares.iter_mut().zip(part).for_each(|(sum, x)| *sum += x.widen() * x.widen());
    }
    squares.iter().sum::<f64>().sqrt()
}

/// `max |X^T X - I|`, with sums in f64.
pub(super) fn orthogonality<T: Scalar>(vectors: &[&[T]]) -> f64 {
    let (count, len) = (vectors.len(), vectors.first().map_or(0, |v| v.len()));
    let starts: Vec<usize> = (0..len).step_by(ROWS).collect();
    let part = |start: usize| {
        let end = len.min(start + ROWS);
        let mut rows = Mat::<f64>::zeros(end - start, count);
        // Column by column, which the compiler turns into vectors.
        for (j, vector) in vectors.iter().enumerate() {
            rows.col_as_slice_mut(j).iter_mut().zip(&vector[start..end]).for_each(|(wide, x)| *wide = x.widen());
        }
        rows.transpose() * &rows
    };
    let parts: Vec<Mat<f64>> = starts.into_par_iter().map(part).collect();
    let gram = parts.into_iter().fold(Mat::<f64>::zeros(count, count), |sum, part| sum + part);
    departure(count, |i, j| gram[(i, j)])
}

/// `max |G - I|` for a Gram matrix G of some vectors.
pub(super) fn departure(count: usize, gram: impl Fn(usize, usize) -> f64) -> f64 {
    let defect = |(i, j): (usize, usize)| (gram(i, j) - f64::from(u8::from(i == j))).abs();
    (0..count).flat_map(|i| (0..=i).map(move |j| (i, j))).map(defect).fold(0.0, f64::max)
}

/// Whether the residual of a pair meets the tolerance.
pub(super) fn met(residual: f64, value: f64, tolerance: f64, norm: f64) -> bool {
    // Written so that a NaN does not.
    residual <= RESIDUAL_SLACK * target(tolerance, value, norm)
}

/// Sets status and bounds of ascending pairs by their residuals.
pub(super) fn assess<T>(
    mut pairs: Vec<&mut Eigenpair<T>>,
    tolerance: f64,
    norm: f64,
    reached: bool,
    ritz_values: &[f64],
) {
    let known: Vec<(f64, f64)> = pairs.iter().map(|p| (p.value, p.residual)).collect();
    for (pair, bounds) in pairs.iter_mut().zip(bounds(&known, ritz_values)) {
        pair.status = match (met(pair.residual, pair.value, tolerance, norm), reached) {
            (true, _) => Status::Converged,
            (false, true) => Status::NoiseFloor,
            (false, false) => Status::BudgetSpent,
        };
        (pair.value_bound, pair.angle_bound, pair.cluster) = (bounds.value, bounds.angle, bounds.cluster);
    }
}

/// What follows from a pair's residual.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds {
    value: f64,
    angle: Option<f64>,
    cluster: Option<usize>,
}

/// Bounds of pairs in ascending order, `(value, residual)`, given all Ritz values of the solve.
///
/// Some eigenvalue lies within the residual of the value. If all others are further away than a gap, the value is even
/// within residual^2 / gap, and the sine of the vector's angle is at most residual / gap (Davis and Kahan). The gap is
/// estimated by the nearest other value, less the residual; pairs nearer to each other than their residuals are a cluster.
fn bounds(pairs: &[(f64, f64)], ritz_values: &[f64]) -> Vec<Bounds> {
    let mut clusters = vec![None; pairs.len()];
    let mut count = 0;
    for i in 1..pairs.len() {
        if pairs[i].0 - pairs[i - 1].0 <= pairs[i].1 + pairs[i - 1].1 {
            if clusters[i - 1].is_none() {
                clusters[i - 1] = Some(count);
                count += 1;
            }
            clusters[i] = clusters[i - 1];
        }
    }
    let bound = |i: usize| {
        let (value, residual) = pairs[i];
        if clusters[i].is_some() {
            return Bounds { value: residual, angle: None, cluster: clusters[i] };
        }
        // The pair's own Ritz value is the one that is nearest to it.
        let mut distances: Vec<f64> = ritz_values.iter().map(|r| (r - value).abs()).collect();
        distances.extend(pairs.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, p)| (p.0 - value).abs()));
        distances.sort_by(f64::total_cmp);
        let others = distances.iter().skip_while(|d| **d <= residual);
        let gap = others.copied().next().map_or(f64::INFINITY, |d| d - residual);
        if gap > residual {
            Bounds { value: residual * (residual / gap), angle: Some((residual / gap).asin()), cluster: None }
        } else {
            Bounds { value: residual, angle: None, cluster: None }
        }
    };
    (0..pairs.len()).map(bound).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_follow_from_residual_and_gap() {
        let ritz = [-3.0, -1.0, -0.999, 2.0, 10.0];
        let pairs = [(-3.0, 0.1), (-1.0, 0.01), (-0.999, 0.01), (10.0, 0.5)];
        let found = bounds(&pairs, &ritz);
        assert!((found[0].value - 0.01 / 1.9).abs() < 1e-12 && found[0].cluster.is_none());
        assert!((found[0].angle.unwrap() - (0.1f64 / 1.9).asin()).abs() < 1e-12);
        assert_eq!((found[1].cluster, found[2].cluster), (Some(0), Some(0)));
        assert_eq!((found[1].value, found[1].angle), (0.01, None));
        assert!((found[3].value - 0.25 / 7.5).abs() < 1e-12);
        // Where the residual swallows the gap, nothing is claimed of the vector.
        let loose = bounds(&[(0.0, 3.0)], &[0.0, 5.0]);
        assert_eq!((loose[0].value, loose[0].angle), (3.0, None));
    }

    #[test]
    fn orthogonality_is_measured_in_f64() {
        let (a, b) = (vec![0.6f32, 0.8, 0.0], vec![-0.8f32, 0.6, 1e-3]);
        assert!(orthogonality(&[&a[..]]) < 1e-7);
        assert!((orthogonality(&[&a[..], &b[..]]) - 1e-6).abs() < 1e-7);
    }
}
