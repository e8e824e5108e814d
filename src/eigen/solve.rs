//! The eigensolve: search, lock, guard; then recompute every residual with fresh products.

use super::SymmetricOperator;
use super::certify::{assess, orthogonality, residual_norms};
use super::convergence::{kept, norm, target, test, wanted};
use super::dense::{Small, SymmetricEigen, symmetric_eigen};
use super::lanczos::{BlockLanczos, fix_sign};
use super::orthogonalize::RandomVectors;
use super::types::*;
use crate::device::Device;
use crate::{Error, Result};
use rayon::prelude::*;
use std::time::Instant;

/// Products of the guard: at least, and at most where it is still unclear what its outermost values tend to.
const GUARD_PRODUCTS: (usize, usize) = (16, 32);
/// A value of the guard counts as beyond the returned ones if it is so by this share of the operator's norm.
const GUARD_SLACK: f64 = 1e-5;
/// Alarms after which the guard gives up.
const MAX_ALARMS: usize = 8;
/// Most vectors to a block when residuals are recomputed: larger ones take memory for tangents and gain nothing.
const VERIFIED_TOGETHER: usize = 4;
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
    /// All Ritz values when the search ended.
    ritz_values: Vec<f64>,
    products: usize,
    guard_products: usize,
    verification_products: usize,
    restarts: usize,
    alarms: usize,
    /// Largest Ritz value by magnitude so far.
    norm: f64,
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
            ritz_values: Vec::new(),
            products: 0,
            guard_products: 0,
            verification_products: 0,
            restarts: 0,
            alarms: 0,
            norm: f64::MIN_POSITIVE,
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
            let products = self.lanczos.expand(self.operator, steps)?;
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
        let met = |&i: &usize| residuals[i] <= target(tolerance, eigen.values[i], self.norm).max(self.lanczos.noise());
        let exhausted = k + block > dimension;
        if exhausted || (complete && all.iter().all(met)) {
            self.reached = true;
            self.ritz_values.clone_from(&eigen.values);
            self.lock_wanted(eigen);
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

    /// Replaces the basis by the wanted Ritz vectors, and locks them.
    fn lock_wanted(&mut self, eigen: &SymmetricEigen) {
        let indices = wanted(self.lanczos.size(), self.options.largest, self.options.smallest);
        if self.ritz_values.is_empty() {
            self.ritz_values.clone_from(&eigen.values);
        }
        self.locked = indices.iter().map(|&i| eigen.values[i]).collect();
        self.lanczos.lock(self.operator.device(), eigen, &indices);
    }

    /// Starts the guard, unless the space behind the locked columns holds no block.
    fn begin_guard(&mut self) -> Result<Option<Guard>> {
        let basis = &self.lanczos.basis;
        let room = basis.capacity().min(self.operator.dimension()) - basis.locked();
        if room < 3 * self.options.block {
            return Ok(Some(Guard::NotNeeded));
        }
        self.phase = Phase::Guard;
        self.guard_steps = 0;
        self.lanczos.draw_next(self.operator.device())?;
        Ok(None)
    }

    /// The innermost returned values of both ends, with the guard's slack: nothing may lie beyond.
    fn thresholds(&self) -> (f64, f64) {
        let Options { largest, smallest, .. } = self.options;
        let slack = GUARD_SLACK * self.norm;
        let count = self.locked.len();
        let low = if smallest > 0 { self.locked[smallest.min(count) - 1] - slack } else { f64::NEG_INFINITY };
        let high = if largest > 0 { self.locked[count - largest.min(count)] + slack } else { f64::INFINITY };
        (low, high)
    }

    /// Whether the eigenvalues that the outermost Ritz values are near lie inside the thresholds.
    fn tends_inside(&self, eigen: &SymmetricEigen, residuals: &[f64]) -> bool {
        let (low, high) = self.thresholds();
        let last = residuals.len() - 1;
        eigen.values[0] - residuals[0] >= low && eigen.values[last] + residuals[last] <= high
    }

    /// Indices of the Ritz values beyond the returned ones: such a value proves that a pair was missed, because the
    /// values of a compression do not leave the operator's spectrum.
    fn beyond(&self, eigen: &SymmetricEigen) -> Vec<usize> {
        let (low, high) = self.thresholds();
        (0..eigen.values.len()).filter(|&i| eigen.values[i] < low || eigen.values[i] > high).collect()
    }

    /// After a step of the guard.
    fn guard(
        &mut self,
        eigen: &SymmetricEigen,
        residuals: &[f64],
        monitor: &mut impl Monitor<D::Scalar>,
    ) -> Result<Option<Guard>> {
        monitor.step(&self.progress(eigen, residuals, &[], (self.options.largest, self.options.smallest)));
        if !self.beyond(eigen).is_empty() {
            self.alarms += 1;
            if self.alarms > MAX_ALARMS {
                return Ok(Some(Guard::NotFinished));
            }
            log::info!("a missed pair shows beyond the found ones; the solve goes on");
            self.phase = Phase::Hunt;
            return self.hunt(eigen, residuals, monitor);
        }
        let products = self.guard_steps * self.options.block;
        let settled = products >= GUARD_PRODUCTS.0 && self.tends_inside(eigen, residuals);
        if settled || products >= GUARD_PRODUCTS.1 || !self.lanczos.has_room() {
            return Ok(Some(Guard::Silent));
        }
        self.make_room(eigen);
        Ok(None)
    }

    /// Restarts behind the locked columns if the next block would not fit.
    fn make_room(&mut self, eigen: &SymmetricEigen) {
        let (k, block) = (self.lanczos.size(), self.options.block);
        let room = self.lanczos.basis.capacity() - self.lanczos.basis.locked();
        if k + block > room {
            let (ends, most) = (self.beyond(eigen).len().max(1), room - block);
            let mut indices = kept(k, ends, ends, block, room);
            indices.truncate(most);
            self.restart(eigen, &indices);
        }
    }

    /// After a step towards a missed pair: once it has converged, it joins the others and the guard begins anew.
    fn hunt(
        &mut self,
        eigen: &SymmetricEigen,
        residuals: &[f64],
        monitor: &mut impl Monitor<D::Scalar>,
    ) -> Result<Option<Guard>> {
        let beyond = self.beyond(eigen);
        let met = test(self.options.tolerance, eigen, residuals, &beyond, self.norm);
        monitor.step(&self.progress(eigen, residuals, &beyond, (self.options.largest, self.options.smallest)));
        let noise = self.lanczos.noise();
        let at_floor = beyond.iter().all(|&i| residuals[i] <= noise);
        if met < beyond.len() && !at_floor && self.lanczos.has_room() {
            self.make_room(eigen);
            return Ok(None);
        }
        let room = self.lanczos.basis.capacity() - self.lanczos.basis.locked();
        let joining = &beyond[..beyond.len().min(room)];
        self.lanczos.lock(self.operator.device(), eigen, joining);
        self.join()?;
        self.begin_guard()
    }

    /// Rayleigh and Ritz over all locked columns, by fresh products: keeps the wanted ones.
    fn join(&mut self) -> Result<()> {
        let count = self.lanczos.basis.locked();
        self.lanczos.basis.lock(0);
        let mut projected = Small::zeros(count, count);
        self.each_group(count, |solver, first, _, images, width| {
            let all = 0..solver.lanczos.basis.len();
            let columns = solver.lanczos.basis.gram(solver.operator.device(), all, images, width)?;
            (0..count).for_each(|i| (0..width).for_each(|j| projected.set(i, first + j, columns.at(i, j))));
            Ok(())
        })?;
        let eigen = symmetric_eigen(count, |i, j| 0.5 * (projected.at(i, j) + projected.at(j, i)))?;
        let indices = wanted(count, self.options.largest, self.options.smallest);
        let s = Small::from_fn(count, indices.len(), |i, j| eigen.vectors[indices[j]][i]);
        self.lanczos.basis.restart(self.operator.device(), &s);
        self.lanczos.basis.lock(indices.len());
        self.locked = indices.iter().map(|&i| eigen.values[i]).collect();
        self.ritz_values.extend(&eigen.values);
        self.ritz_values.sort_by(f64::total_cmp);
        Ok(())
    }

    /// Calls `f(self, first column, vectors, A vectors, width)` for the first `count` columns of the basis, group by group.
    fn each_group(
        &mut self,
        count: usize,
        mut f: impl FnMut(&mut Self, usize, &D::Buffer, &mut D::Buffer, usize) -> Result<()>,
    ) -> Result<()> {
        let dimension = self.operator.dimension();
        let width = VERIFIED_TOGETHER.min(self.operator.max_block()).min(count).max(1);
        let mut vectors = self.operator.device().zeros(width * dimension)?;
        let mut images = self.operator.device().zeros(width * dimension)?;
        for first in (0..count).step_by(width) {
            let width = width.min(count - first);
            for j in 0..width {
                self.lanczos.basis.copy_column(self.operator.device(), first + j, &mut vectors, j);
            }
            self.operator.apply(width, &vectors, &mut images)?;
            self.verification_products += width;
            f(self, first, &vectors, &mut images, width)?;
        }
        Ok(())
    }

    /// The locked pairs, with residuals from fresh products and all that follows from them.
    fn verify(mut self, guard: Guard) -> Result<Solution<D::Scalar>> {
        let (count, dimension) = (self.locked.len(), self.operator.dimension());
        let mut residuals = Vec::with_capacity(count);
        let mut vectors: Vec<Vec<D::Scalar>> = Vec::with_capacity(count);
        self.each_group(count, |solver, first, block, images, width| {
            let values = &solver.locked[first..first + width];
            residuals.extend(residual_norms(solver.operator.device(), block, images, values, dimension)?);
            for j in 0..width {
                vectors.push(solver.operator.device().read(block, j * dimension..(j + 1) * dimension)?);
            }
            Ok(())
        })?;
        vectors.par_iter_mut().for_each(|vector| fix_sign(vector));
        let orthogonality = orthogonality(&vectors.iter().map(Vec::as_slice).collect::<Vec<_>>());
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
        let (tolerance, norm, reached) = (self.options.tolerance, self.norm, self.reached);
        assess(pairs.iter_mut().collect(), tolerance, norm, reached, &self.ritz_values);
        let noise = self.lanczos.noise();
        let (smallest, largest) = ends(pairs, self.options.largest, self.options.smallest);
        Ok(Solution {
            negative: smallest.iter().filter(|p| p.value < -p.residual.max(noise)).count(),
            largest,
            smallest,
            products: self.products - self.guard_products,
            guard_products: self.guard_products,
            verification_products: self.verification_products,
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
        let mut column = device.zeros(dimension)?;
        let mut basis = Vec::with_capacity(lanczos.basis.len() * dimension);
        for j in 0..lanczos.basis.len() {
            lanczos.basis.copy_column(device, j, &mut column, 0);
            basis.extend(device.read(&column, 0..dimension)?);
        }
        Ok(SolverState {
            dimension,
            basis,
            next: device.read(&lanczos.next, 0..lanczos.block * dimension)?,
            projected: lanczos.projected.data.clone(),
            coupling: lanczos.coupling.data.clone(),
            noise: lanczos.noise.clone(),
            locked: self.locked.clone(),
            ritz_values: self.ritz_values.clone(),
            scale: lanczos.scale,
            norm: self.norm,
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
            && columns <= lanczos.basis.capacity();
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
        self.norm = state.norm;
        self.locked.clone_from(&state.locked);
        self.ritz_values.clone_from(&state.ritz_values);
        (self.phase, self.guard_steps, self.reached) = (state.phase, state.guard_steps, state.reached);
        [self.products, self.guard_products, self.verification_products, self.restarts, self.alarms] = state.counters;
        self.seconds_before = state.seconds;
        Ok(())
    }
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
