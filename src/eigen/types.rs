//! What a solve is asked for, what it tells on the way, and what it returns.

use super::lanczos::SWEPT_TOGETHER;
use super::{SymmetricOperator, certify};
use crate::device::{Device, Scalar};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

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
    /// Most seconds of the iteration, likewise.
    pub max_seconds: Option<f64>,
    /// Whether a fresh random block must fail to find a pair beyond those returned.
    pub guard: bool,
    /// Seed of the start vectors.
    pub seed: u64,
    /// What the pairs are certified by.
    pub residuals: Residuals,
    /// Whether eigenvectors are returned too.
    pub vectors: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            largest: 10,
            smallest: 3,
            tolerance: 1e-3,
            block: 2,
            basis: 64,
            max_products: 5000,
            max_seconds: None,
            guard: true,
            seed: 0,
            residuals: Residuals::Recomputed,
            vectors: true,
        }
    }
}

impl Options {
    /// Vectors that a solve keeps on the device, at most: the basis, a block and its products, and what one sweep orthogonalises. A restart
    /// takes 128 MiB more in f32, recomputed residuals eight vectors.
    pub fn vectors(&self) -> usize {
        self.basis + 2 * self.block + SWEPT_TOGETHER
    }

    /// Refuses what cannot work on an operator of this dimension that takes blocks of up to `max_block`.
    pub(crate) fn check(&self, dimension: usize, max_block: usize) -> Result<()> {
        let usage = |message: String| Err(Error::Usage(message));
        let wanted = self.largest.min(dimension) + self.smallest.min(dimension);
        if wanted == 0 {
            return usage("ask for at least one eigenvalue, at either end".into());
        }
        if self.block == 0 || self.block > max_block {
            return usage(format!("a block of {} vectors: from 1 to {max_block} fit", self.block));
        }
        if !(self.tolerance > 0.0 && self.tolerance < 1.0) {
            return usage(format!("tolerance {} is not between 0 and 1", self.tolerance));
        }
        let least = (wanted + 3 * self.block).min(dimension);
        if self.basis.min(dimension) < least {
            return usage(format!(
                "a basis of {} vectors is too small for {wanted} eigenvalues in blocks of {}: it takes {least}",
                self.basis, self.block
            ));
        }
        Ok(())
    }
}

/// What is known of the residuals of the returned pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residuals {
    /// Each is recomputed: one product a pair.
    Recomputed,
    /// Each is bounded: by the recurrence, and by four products with random combinations of all pairs that show what the
    /// recurrence does not know, whatever that is. Of ten thousand solves, one may have a bound that is too low (Halko, Martinsson
    /// and Tropp 2011, lemma 4.1). A residual whose bound does not meet the tolerance is recomputed; so are all where that takes
    /// no more products, or once a missed pair has joined.
    Bounded,
}

/// What a returned pair is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The residual meets the tolerance, or exceeds it by 5% at most when it is recomputed.
    Converged,
    /// The residual is as small as the operator's rounding noise lets it be, above the tolerance.
    NoiseFloor,
    /// The products or seconds were spent before.
    BudgetSpent,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Converged => "converged",
            Self::NoiseFloor => "noise-floor",
            Self::BudgetSpent => "budget-spent",
        })
    }
}

/// An eigenvalue, its vector, its residual, and what follows from it.
#[derive(Clone, Debug)]
pub struct Eigenpair<T> {
    /// Ritz value.
    pub value: f64,
    /// Unit vector, as [`SymmetricOperator::lift`] gives it; its component of largest magnitude is positive. Empty if
    /// [`Options::vectors`] was not set.
    pub vector: Vec<T>,
    /// `||A v - value v||`, from a fresh product, or a bound of it: see [`Solution::residuals`].
    pub residual: f64,
    /// What the pair is worth.
    pub status: Status,
    /// Some eigenvalue is this close to `value`: the residual, or its square over the gap where that is less.
    pub value_bound: f64,
    /// Largest angle, in radians, between `vector` and the true eigenvector; `None` where the gap is no larger than the
    /// residual, as in a cluster.
    pub angle_bound: Option<f64>,
    /// Pairs with the same number are closer together than their residuals: only the span of their vectors is determined.
    pub cluster: Option<usize>,
}

/// What the search for missed pairs found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// A fresh random block found nothing beyond the returned pairs.
    Silent,
    /// It was switched off, the whole space was searched anyway, or what is left of it holds fewer than three blocks.
    NotNeeded,
    /// The budget was spent before it was done, or it gave up after many missed pairs.
    NotFinished,
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
    /// Products that the search for missed pairs took.
    pub guard_products: usize,
    /// Products that the residuals took.
    pub verification_products: usize,
    /// What the pairs are certified by.
    pub residuals: Residuals,
    /// What the search for missed pairs found in the end.
    pub guard: Guard,
    /// How often it found a missed pair, and the solve went on.
    pub alarms: usize,
    /// Restarts of the basis.
    pub restarts: usize,
    /// Noise of the operator as the recurrence saw it: root mean square of a coupling that should vanish.
    pub noise: f64,
    /// Norm of the operator: the largest magnitude of a Ritz value.
    pub norm: f64,
    /// `max |X^T X - I|`, with sums in f64: over the returned vectors, or over those that would have been, as the device multiplies
    /// them.
    pub orthogonality: f64,
    /// Returned smallest eigenvalues that are negative beyond noise and residual.
    pub negative: usize,
    /// The tolerance that was asked for.
    pub tolerance: f64,
    /// All Ritz values of the search, ascending: the bounds' gaps are measured to them.
    pub ritz_values: Vec<f64>,
    /// Whether the search met its test before its budget was spent.
    pub reached: bool,
}

impl<T> Solution<T> {
    /// All pairs in descending order of their values.
    pub fn descending(&self) -> impl Iterator<Item = &Eigenpair<T>> {
        self.largest.iter().chain(self.smallest.iter().rev())
    }

    /// Judges the pairs by another operator for the same map, usually one in f64: residuals are recomputed with its
    /// products, and statuses and bounds follow from them.
    ///
    /// # Errors
    /// What the operator or its device meets.
    pub fn judge<D: Device>(&mut self, operator: &mut impl SymmetricOperator<D>) -> Result<()>
    where
        T: Scalar,
    {
        let pairs: Vec<(f64, &[T])> = self.descending().map(|p| (p.value, &p.vector[..])).collect();
        let residuals = certify::residuals(operator, &pairs)?;
        let descending = self.largest.iter_mut().chain(self.smallest.iter_mut().rev());
        descending.zip(residuals).for_each(|(pair, residual)| pair.residual = residual);
        self.residuals = Residuals::Recomputed;
        self.assess();
        Ok(())
    }

    /// Statuses and bounds from the residuals.
    fn assess(&mut self) {
        let (tolerance, norm, reached) = (self.tolerance, self.norm, self.reached);
        let descending = self.largest.iter_mut().chain(self.smallest.iter_mut().rev());
        let mut ascending: Vec<&mut Eigenpair<T>> = descending.collect();
        ascending.reverse();
        certify::assess(ascending, tolerance, norm, reached, &self.ritz_values);
    }

    /// Number of pairs that converged.
    pub fn converged(&self) -> usize {
        self.descending().filter(|p| p.status == Status::Converged).count()
    }
}

/// What a solve is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Iterating towards the wanted pairs.
    Search,
    /// Looking for missed pairs with a fresh random block.
    Guard,
    /// Iterating towards a pair that was missed.
    Hunt,
}

/// Where a solve stands, after each sweep over the basis: one block, or as many as make eight vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Products so far.
    pub products: usize,
    /// What it is doing.
    pub phase: Phase,
    /// Columns in the basis.
    pub basis: usize,
    /// Converged among the wanted largest.
    pub largest: usize,
    /// Converged among the wanted smallest.
    pub smallest: usize,
    /// Largest residual over tolerance among the wanted pairs: done when at most one.
    pub worst: f64,
    /// Largest Ritz value.
    pub top: f64,
    /// Smallest Ritz value.
    pub bottom: f64,
    /// Noise of the operator so far.
    pub noise: f64,
    /// `(value, residual over its target)` of the pairs that are wanted, ascending; of those that are hunted.
    pub pairs: Vec<(f64, f64)>,
}

/// All that a solve needs to go on: host copies of its vectors and small matrices.
#[derive(Clone, Debug, PartialEq)]
pub struct SolverState<T> {
    /// Length of a vector.
    pub dimension: usize,
    /// Basis columns, locked ones first, each of length dimension.
    pub basis: Vec<T>,
    /// Next block (block, dimension).
    pub next: Vec<T>,
    /// Projected operator, row-major (k, k).
    pub projected: Vec<f64>,
    /// Coupling, row-major (block, k).
    pub coupling: Vec<f64>,
    /// Recent squared noise.
    pub noise: Vec<f64>,
    /// Values of the locked columns, ascending.
    pub locked: Vec<f64>,
    /// Bounds of the locked columns' residuals, if those are not to be recomputed.
    pub bounds: Vec<f64>,
    /// All Ritz values when the search ended.
    pub ritz_values: Vec<f64>,
    /// Norm of the largest product so far.
    pub scale: f64,
    /// Largest magnitude of a Ritz value so far.
    pub norm: f64,
    /// Largest residual of the wanted pairs over what it may be, after the last sweep of the search.
    pub worst: f64,
    /// Position of the random generator.
    pub random_position: u128,
    /// What it was doing.
    pub phase: Phase,
    /// Block steps in this phase of the guard.
    pub guard_steps: usize,
    /// Whether the search met its test.
    pub reached: bool,
    /// Counters: products, guard products, verification products, restarts, alarms.
    pub counters: [usize; 5],
    /// Seconds spent.
    pub seconds: f64,
}

/// Who follows a solve.
pub trait Monitor<T> {
    /// Called after each sweep over the basis: one block, or as many as make eight vectors.
    fn step(&mut self, progress: &Progress) {
        let _ = progress;
    }

    /// Whether the state is wanted now; it is asked after each sweep.
    fn wants_state(&mut self, products: usize) -> bool {
        let _ = products;
        false
    }

    /// Takes the state.
    ///
    /// # Errors
    /// What keeps it from being stored; the solve ends with it.
    fn save(&mut self, state: SolverState<T>) -> Result<()> {
        let _ = state;
        Ok(())
    }
}

/// A monitor that looks away.
pub struct NoMonitor;

impl<T> Monitor<T> for NoMonitor {}
