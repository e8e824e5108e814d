//! The search for missed pairs behind the locked ones, and what follows when it finds one.

use super::Solver;
use crate::Result;
use crate::device::Device;
use crate::eigen::SymmetricOperator;
use crate::eigen::convergence::{kept, test, wanted};
use crate::eigen::dense::{Small, SymmetricEigen, symmetric_eigen};
use crate::eigen::types::*;

/// Products of the guard: at least, and at most where it is still unclear what its outermost values tend to.
const GUARD_PRODUCTS: (usize, usize) = (16, 32);
/// A value of the guard counts as beyond the returned ones if it is so by this share of the operator's norm.
const GUARD_SLACK: f64 = 1e-5;
/// Alarms after which the guard gives up.
const MAX_ALARMS: usize = 8;

impl<D: Device, A: SymmetricOperator<D>> Solver<'_, D, A> {
    /// Starts the guard, unless the space behind the locked columns holds fewer than three blocks.
    pub(super) fn begin_guard(&mut self) -> Result<Option<Guard>> {
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
    pub(super) fn guard(
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
    pub(super) fn hunt(
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
        self.bounds.clear();
        let mut projected = Small::zeros(count, count);
        self.each_group(&(0..count).collect::<Vec<_>>(), |solver, group, _, images| {
            let all = 0..solver.lanczos.basis.len();
            let (columns, _) = solver.lanczos.basis.gram(solver.operator.device(), all, images, group.len())?;
            for (j, &column) in group.iter().enumerate() {
                (0..count).for_each(|i| projected.set(i, column, columns.at(i, j)));
            }
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
}
