//! Which Ritz pairs are wanted, when they have converged, and what a restart keeps.

use super::dense::SymmetricEigen;
use super::types::Options;

/// Share of the operator's norm below which an eigenvalue is tested absolutely: relative tests never end at zero.
const ZERO_FLOOR: f64 = 1e-3;
/// Share of the free part of the basis that a restart fills with Ritz vectors beyond the wanted ones.
const KEEP: f64 = 0.2;

/// Indices, into `k` ascending Ritz values, of the wanted pairs.
pub fn wanted(k: usize, largest: usize, smallest: usize) -> Vec<usize> {
    (0..k).filter(|&i| i < smallest || i + largest >= k).collect()
}

/// Indices of the Ritz pairs that a restart keeps: the wanted ones and, at both ends alike, some beyond: those above
/// deflate the outliers, those below help the negative end.
pub fn kept(k: usize, largest: usize, smallest: usize, block: usize, capacity: usize) -> Vec<usize> {
    let extra = (KEEP * capacity.saturating_sub(largest + smallest + block) as f64) as usize;
    let mut indices = wanted(k, largest + extra - extra / 2, smallest + extra / 2);
    // At least one block step must fit behind them.
    indices.truncate(capacity.saturating_sub(block));
    indices
}

/// Largest magnitude among ascending values.
pub fn norm(values: &[f64]) -> f64 {
    let ends = [values.first(), values.last()];
    ends.into_iter().flatten().fold(f64::MIN_POSITIVE, |m, v| v.abs().max(m))
}

/// The residual that a pair of this value must reach.
pub fn target(tolerance: f64, value: f64, norm: f64) -> f64 {
    tolerance * value.abs().max(ZERO_FLOOR * norm)
}

/// Largest residual of the wanted pairs over what it may be: its target, or noise if that is larger. A NaN stays one.
pub fn worst(options: &Options, eigen: &SymmetricEigen, residuals: &[f64], norm: f64, noise: f64) -> f64 {
    let Options { largest, smallest, tolerance, .. } = *options;
    let share = |&i: &usize| residuals[i] / target(tolerance, eigen.values[i], norm).max(noise);
    let shares = wanted(residuals.len(), largest, smallest).iter().map(share).collect::<Vec<_>>();
    shares.into_iter().fold(0.0, |worst, share| if share <= worst { worst } else { share })
}

/// How many of the pairs at `indices` have converged.
pub fn test(tolerance: f64, eigen: &SymmetricEigen, residuals: &[f64], indices: &[usize], norm: f64) -> usize {
    indices.iter().filter(|&&i| residuals[i] <= target(tolerance, eigen.values[i], norm)).count()
}
