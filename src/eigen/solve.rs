//! The eigensolve: search, lock, guard; then recompute every residual with fresh products, or bound them all with a few.

mod guard;

use super::SymmetricOperator;
use super::certify::{assess, departure, met, norm as length, orthogonality, residual_norms};
use super::convergence::{kept, norm, target, test, wanted, worst};
use super::dense::{Small, SymmetricEigen};
use super::lanczos::{BlockLanczos, fix_sign};
use super::orthogonalize::RandomVectors;
use super::sketch::{COMBINATIONS, Recurrence};
use super::types::*;
use crate::device::{Device, Scalar};
use crate::{Error, Result};
use rayon::prelude::*;
use std::time::Instant;

/// Most vectors to a block when residuals are recomputed: larger ones take memory for tangents and gain nothing.
const VERIFIED_TOGETHER: usize = 4;
/// The last sweep comes as soon as the pairs have converged by what is known without it. When the worst residual is so many times
/// what it may be, that is looked at after every step from then on.
const NEAR: f64 = 10.0;
/// Noise, over the operator's norm, that no rounding makes: the operator is not symmetric, or not a fixed function.
const NOT_SYMMETRIC: f64 = 1e-3;

/// Computes `options.largest` pairs at the upper and `options.smallest` at the lower end of the operator's spectrum.
///
/// If an end asks for more than the whole space, it is cut at the dimension.
///
/// # Errors
/// [`Error::Usage`] for options that cannot work; [`Error::Numerical`] if the operator is not symmetric, not a fixed
/// function, or not finite; what the operator, the device or the monitor meets.
pub fn solve<D: Device>(
    operator: &mut impl SymmetricOperator<D>,
    options: &Options,
    monitor: &mut impl Monitor<D::Scalar>,
) -> Result<Solution<D::Scalar>> {
    let mut solver = Solver::new(operator, options)?;
    solver.lanczos.draw_next(solver.operator.device())?;
    solver.run(monitor)
}

/// Continues a solve from a saved state, with the same operator and options, to the same bits.
///
/// # Errors
/// As [`solve`]; [`Error::Usage`] if the state is not one of such a solve.
pub fn resume<D: Device>(
    operator: &mut impl SymmetricOperator<D>,
    options: &Options,
    state: &SolverState<D::Scalar>,
    monitor: &mut impl Monitor<D::Scalar>,
) -> Result<Solution<D::Scalar>> {
    let mut solver = Solver::new(operator, options)?;
    solver.restore(state)?;
    solver.run(monitor)
}

/// A solve in progress.
struct Solver<'a, D: Device, A> {
    operator: &'a mut A,
    options: Options,
    lanczos: BlockLanczos<D>,
    phase: Phase,
    guard_steps: usize,
    /// Whether the search met its test, rather than its budget.
    reached: bool,
    /// Values of the locked columns, ascending.
    locked: Vec<f64>,
    /// Bounds of their residuals, if those are not to be recomputed.
    bounds: Vec<f64>,
    /// All Ritz values when the search ended.
    ritz_values: Vec<f64>,
    products: usize,
    guard_products: usize,
    verification_products: usize,
    restarts: usize,
    alarms: usize,
    /// Largest Ritz value by magnitude so far.
    norm: f64,
    /// Largest residual of the wanted pairs over what it may be, after the last sweep of the search.
    worst: f64,
    started: Instant,
    seconds_before: f64,
}

impl<'a, D: Device, A: SymmetricOperator<D>> Solver<'a, D, A> {
    fn new(operator: &'a mut A, options: &Options) -> Result<Self> {
        let dimension = operator.dimension();
        let mut options = options.clone();
        options.largest = options.largest.min(dimension);
        options.smallest = options.smallest.min(dimension);
        options.block = options.block.min(dimension);
        options.check(dimension, operator.max_block())?;
        options.basis = options.basis.min(dimension);
        let random = RandomVectors::new(options.seed);
        let lanczos = BlockLanczos::new(operator.device(), dimension, options.block, options.basis, random)?;
        Ok(Self {
            operator,
            options,
            lanczos,
            phase: Phase::Search,
            guard_steps: 0,
            reached: false,
            locked: Vec::new(),
            bounds: Vec::new(),
            ritz_values: Vec::new(),
            products: 0,
            guard_products: 0,
            verification_products: 0,
            restarts: 0,
            alarms: 0,
            norm: f64::MIN_POSITIVE,
            worst: f64::INFINITY,
            started: Instant::now(),
            seconds_before: 0.0,
        })
    }

    fn run(mut self, monitor: &mut impl Monitor<D::Scalar>) -> Result<Solution<D::Scalar>> {
        let guard = loop {
            if self.budget_spent() {
                if self.phase == Phase::Search {
                    let (eigen, _) = self.lanczos.ritz()?;
                    self.lock_wanted(&eigen);
                }
                break Guard::NotFinished;
            }
            let steps = (self.options.max_products.saturating_sub(self.products) / self.options.block).max(1);
            let near = self.phase == Phase::Search && self.worst < NEAR;
            let (options, scale) = (&self.options, self.norm);
            let converged = |lanczos: &BlockLanczos<D>| -> Result<bool> {
                let (eigen, residuals) = lanczos.ritz()?;
                Ok(worst(options, &eigen, &residuals, scale, lanczos.noise()) <= 1.0)
            };
            let products = self.lanczos.expand(self.operator, steps, |lanczos| Ok(near && converged(lanczos)?))?;
            self.products += products;
            if self.phase != Phase::Search {
                self.guard_products += products;
            }
            if self.phase == Phase::Guard {
                self.guard_steps += products / self.options.block;
            }
            let (eigen, residuals) = self.lanczos.ritz()?;
            self.norm = self.norm.max(norm(&eigen.values));
            self.check_symmetry()?;
            let outcome = match self.phase {
                Phase::Search => self.search(&eigen, &residuals, monitor)?,
                Phase::Guard => self.guard(&eigen, &residuals, monitor)?,
                Phase::Hunt => self.hunt(&eigen, &residuals, monitor)?,
            };
            if let Some(guard) = outcome {
                break guard;
            }
            // A sweep that the budget cut short is not one of a solve with a larger budget, which may go on from the state.
            let is_whole = steps >= self.lanczos.steps;
            if is_whole && monitor.wants_state(self.products) {
                monitor.save(self.state()?)?;
            }
        };
        self.verify(guard)
    }

    fn budget_spent(&self) -> bool {
        let seconds = self.seconds_before + self.started.elapsed().as_secs_f64();
        let begun = self.lanczos.basis.len() > 0;
        begun
            && (self.products + self.options.block > self.options.max_products
                || self.options.max_seconds.is_some_and(|most| seconds > most))
    }

    fn check_symmetry(&self) -> Result<()> {
        let noise = self.lanczos.noise();
        if noise > NOT_SYMMETRIC * self.norm {
            return Err(Error::Numerical(format!(
                "the operator is not symmetric, or not the same function every time: v'Aw and w'Av differ by {noise:.1e}, its \
                 norm is about {:.1e}",
                self.norm
            )));
        }
        Ok(())
    }

    /// What a monitor is told of the pairs at `indices`.
    fn progress(
        &self,
        eigen: &SymmetricEigen,
        residuals: &[f64],
        indices: &[usize],
        converged: (usize, usize),
    ) -> Progress {
        let share = |i: usize| residuals[i] / target(self.options.tolerance, eigen.values[i], self.norm);
        let pairs: Vec<(f64, f64)> = indices.iter().map(|&i| (eigen.values[i], share(i))).collect();
        let (largest, smallest) = converged;
        Progress {
            worst: pairs.iter().fold(0.0, |worst, p| f64::max(worst, p.1)),
            pairs,
            products: self.products,
            phase: self.phase,
            basis: self.lanczos.basis.len(),
            largest,
            smallest,
            top: *eigen.values.last().expect("a step was made"),
            bottom: eigen.values[0],
            noise: self.lanczos.noise(),
        }
    }

    /// After a step towards the wanted pairs: tests, locks or restarts.
    fn search(
        &mut self,
        eigen: &SymmetricEigen,
        residuals: &[f64],
        monitor: &mut impl Monitor<D::Scalar>,
    ) -> Result<Option<Guard>> {
        let Options { largest, smallest, tolerance, block, basis, .. } = self.options;
        let (k, dimension) = (self.lanczos.size(), self.operator.dimension());
        let all = wanted(k, largest, smallest);
        let counted = |indices: Vec<usize>| test(tolerance, eigen, residuals, &indices, self.norm);
        let converged = (counted(wanted(k, largest, 0)), counted(wanted(k, 0, smallest)));
        monitor.step(&self.progress(eigen, residuals, &all, converged));
        let complete = k >= (largest + smallest).min(dimension);
        self.worst = match complete {
            true => worst(&self.options, eigen, residuals, self.norm, self.lanczos.noise()),
            false => f64::INFINITY,
        };
        let exhausted = k + block > dimension;
        if exhausted || self.worst <= 1.0 {
            self.reached = true;
            self.ritz_values.clone_from(&eigen.values);
            let coupling = self.lock_wanted(eigen);
            if self.options.residuals == Residuals::Bounded && self.locked.len() > COMBINATIONS {
                self.bound(&coupling)?;
            }
            if exhausted || !self.options.guard {
                return Ok(Some(Guard::NotNeeded));
            }
            return self.begin_guard();
        }
        if k + block > basis {
            self.restart(eigen, &kept(k, largest, smallest, block, basis));
        }
        Ok(None)
    }

    fn restart(&mut self, eigen: &SymmetricEigen, indices: &[usize]) {
        self.lanczos.restart(self.operator.device(), eigen, indices);
        self.restarts += 1;
    }

    /// Replaces the basis by the wanted Ritz vectors, and locks them. Returns how the next block couples to them.
    fn lock_wanted(&mut self, eigen: &SymmetricEigen) -> Small {
        let indices = wanted(self.lanczos.size(), self.options.largest, self.options.smallest);
        if self.ritz_values.is_empty() {
            self.ritz_values.clone_from(&eigen.values);
        }
        self.locked = indices.iter().map(|&i| eigen.values[i]).collect();
        self.lanczos.lock(self.operator.device(), eigen, &indices)
    }

    /// Bounds the residuals of the locked columns, which the next block couples to: what the recurrence says of each, and what it does
    /// not know of any.
    fn bound(&mut self, coupling: &Small) -> Result<()> {
        let (basis, next, values) = (&self.lanczos.basis, &self.lanczos.next, &self.locked);
        let pairs = Recurrence { basis, values, next, coupling };
        let defect = pairs.defect(self.operator, self.options.seed)?;
        self.verification_products += COMBINATIONS;
        let known = coupling.transposed();
        self.bounds = (0..known.rows).map(|i| known.row_norm(i) + defect).collect();
        Ok(())
    }

    /// Calls `f(self, some of the columns, vectors, A vectors)` for columns of the basis, group by group.
    fn each_group(
        &mut self,
        columns: &[usize],
        mut f: impl FnMut(&mut Self, &[usize], &D::Buffer, &mut D::Buffer) -> Result<()>,
    ) -> Result<()> {
        let dimension = self.operator.dimension();
        let width = VERIFIED_TOGETHER.min(self.operator.max_block()).min(columns.len()).max(1);
        let mut vectors = self.operator.device().zeros(width * dimension)?;
        let mut images = self.operator.device().zeros(width * dimension)?;
        for group in columns.chunks(width) {
            for (j, &column) in group.iter().enumerate() {
                self.lanczos.basis.copy_column(self.operator.device(), column, &mut vectors, j);
            }
            self.operator.apply(group.len(), &vectors, &mut images)?;
            self.verification_products += group.len();
            f(self, group, &vectors, &mut images)?;
        }
        Ok(())
    }

    /// The locked pairs, with their residuals and all that follows from them.
    fn verify(mut self, guard: Guard) -> Result<Solution<D::Scalar>> {
        let (count, dimension) = (self.locked.len(), self.operator.dimension());
        let (tolerance, norm, reached) = (self.options.tolerance, self.norm, self.reached);
        let (mut residuals, kind) = match std::mem::take(&mut self.bounds) {
            none if none.is_empty() => (vec![f64::INFINITY; count], Residuals::Recomputed),
            bounds => (bounds, Residuals::Bounded),
        };
        // All that have no bound, and those whose bound is too high to tell.
        let open = |&i: &usize| !met(residuals[i], self.locked[i], tolerance, norm);
        let open: Vec<usize> = (0..count).filter(open).collect();
        self.each_group(&open, |solver, group, vectors, images| {
            let values: Vec<f64> = group.iter().map(|&i| solver.locked[i]).collect();
            let found = residual_norms(solver.operator.device(), vectors, images, &values, dimension)?;
            group.iter().zip(found).for_each(|(&i, residual)| residuals[i] = residual);
            Ok(())
        })?;
        let noise = self.lanczos.noise();
        let (vectors, orthogonality) = if self.options.vectors {
            let columns = self.lanczos.basis.into_columns(self.operator.device(), count)?;
            let vectors = lifted(self.operator, columns, &mut residuals)?;
            let orthogonality = orthogonality(&vectors.iter().map(Vec::as_slice).collect::<Vec<_>>());
            (vectors, orthogonality)
        } else {
            let gram = self.lanczos.basis.gram_of(self.operator.device(), 0..count)?;
            (vec![Vec::new(); count], departure(count, |i, j| gram.at(i, j)))
        };
        let pair = |((&value, residual), vector): ((&f64, f64), Vec<D::Scalar>)| Eigenpair {
            value,
            vector,
            residual,
            status: Status::BudgetSpent,
            value_bound: f64::INFINITY,
            angle_bound: None,
            cluster: None,
        };
        let mut pairs: Vec<_> = self.locked.iter().zip(residuals).zip(vectors).map(pair).collect();
        assess(pairs.iter_mut().collect(), tolerance, norm, reached, &self.ritz_values);
        let (smallest, largest) = ends(pairs, self.options.largest, self.options.smallest);
        Ok(Solution {
            negative: smallest.iter().filter(|p| p.value < -p.residual.max(noise)).count(),
            largest,
            smallest,
            products: self.products - self.guard_products,
            guard_products: self.guard_products,
            verification_products: self.verification_products,
            residuals: kind,
            guard,
            alarms: self.alarms,
            restarts: self.restarts,
            noise,
            norm,
            orthogonality,
            tolerance,
            ritz_values: self.ritz_values,
            reached,
        })
    }

    fn state(&self) -> Result<SolverState<D::Scalar>> {
        let (device, dimension, lanczos) = (self.operator.device(), self.operator.dimension(), &self.lanczos);
        let mut basis = Vec::with_capacity(lanczos.basis.len() * dimension);
        for column in lanczos.basis.read(device, 0..lanczos.basis.len())? {
            basis.extend(column?);
        }
        Ok(SolverState {
            dimension,
            basis,
            next: device.read(&lanczos.next, 0..lanczos.block * dimension)?,
            projected: lanczos.projected.data.clone(),
            coupling: lanczos.coupling.data.clone(),
            noise: lanczos.noise.clone(),
            locked: self.locked.clone(),
            bounds: self.bounds.clone(),
            ritz_values: self.ritz_values.clone(),
            scale: lanczos.scale,
            norm: self.norm,
            worst: self.worst,
            random_position: lanczos.random.position(),
            phase: self.phase,
            guard_steps: self.guard_steps,
            reached: self.reached,
            counters: [self.products, self.guard_products, self.verification_products, self.restarts, self.alarms],
            seconds: self.seconds_before + self.started.elapsed().as_secs_f64(),
        })
    }

    fn restore(&mut self, state: &SolverState<D::Scalar>) -> Result<()> {
        let dimension = self.operator.dimension();
        let (device, lanczos, block) = (self.operator.device(), &mut self.lanczos, self.options.block);
        let columns = state.basis.len() / dimension;
        let size = columns - state.locked.len().min(columns);
        let fits = state.dimension == dimension
            && state.basis.len() == columns * dimension
            && state.next.len() == block * dimension
            && state.projected.len() == size * size
            && state.coupling.len() == block * size
            && columns <= lanczos.basis.capacity()
            && (state.bounds.is_empty() || state.bounds.len() == state.locked.len());
        if !fits {
            return Err(Error::Usage("the saved state belongs to a solve of another size or other options".into()));
        }
        let mut column = device.zeros(dimension)?;
        for vector in state.basis.chunks_exact(dimension) {
            device.write(&mut column, 0, vector);
            lanczos.basis.push(device, &column, 1);
        }
        lanczos.basis.lock(state.locked.len());
        device.write(&mut lanczos.next, 0, &state.next);
        lanczos.projected = Small { rows: size, columns: size, data: state.projected.clone() };
        lanczos.coupling = Small { rows: block, columns: size, data: state.coupling.clone() };
        lanczos.noise.clone_from(&state.noise);
        lanczos.scale = state.scale;
        lanczos.random = RandomVectors::at(self.options.seed, state.random_position);
        (self.norm, self.worst) = (state.norm, state.worst);
        self.locked.clone_from(&state.locked);
        self.bounds.clone_from(&state.bounds);
        self.ritz_values.clone_from(&state.ritz_values);
        (self.phase, self.guard_steps, self.reached) = (state.phase, state.guard_steps, state.reached);
        [self.products, self.guard_products, self.verification_products, self.restarts, self.alarms] = state.counters;
        self.seconds_before = state.seconds;
        Ok(())
    }
}

/// What vectors of residuals that are known stand for, of unit length. What lifting takes from one is a part of its residual, which
/// grows by as much.
fn lifted<D: Device>(
    operator: &mut impl SymmetricOperator<D>,
    vectors: Vec<D::Buffer>,
    residuals: &mut [f64],
) -> Result<Vec<Vec<D::Scalar>>> {
    let mut lifted = vectors.into_iter().map(|mut v| operator.lift(&mut v)).collect::<Result<Vec<_>>>()?;
    let scale = |vector: &mut Vec<D::Scalar>| {
        let length = length(vector);
        vector.iter_mut().for_each(|x| *x = D::Scalar::from_f64(x.widen() / length));
        fix_sign(vector);
        length
    };
    let lengths: Vec<f64> = lifted.par_iter_mut().map(scale).collect();
    if lengths.iter().any(|&length| length.is_nan() || length < 0.5) {
        return Err(Error::Numerical("an eigenvector of eigenvalue zero: ask for fewer eigenvalues".into()));
    }
    residuals.iter_mut().zip(lengths).for_each(|(residual, length)| *residual /= length.min(1.0));
    Ok(lifted)
}

/// Cuts ascending pairs into `(smallest ascending, largest descending)`. In a space so small that both ends meet, a pair may
/// belong to both.
fn ends<T: Clone>(
    mut pairs: Vec<Eigenpair<T>>,
    largest: usize,
    smallest: usize,
) -> (Vec<Eigenpair<T>>, Vec<Eigenpair<T>>) {
    let count = pairs.len();
    let (largest, smallest) = (largest.min(count), smallest.min(count));
    let mut high = pairs.split_off(count - largest);
    pairs.extend_from_slice(&high[..(smallest + largest).saturating_sub(count)]);
    pairs.truncate(smallest);
    high.reverse();
    (pairs, high)
}
