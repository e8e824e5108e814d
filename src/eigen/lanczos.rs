//! The recurrence: `A V = V T + Q c`, one block at a time, and the thick restart.

use super::SymmetricOperator;
use super::basis::Basis;
use super::dense::{Small, SymmetricEigen, symmetric_eigen};
use super::orthogonalize::{Orthogonalized, RandomVectors, orthogonalize, project, replace};
use crate::Result;
use crate::device::{Device, Scalar};
use std::ops::Range;

/// Entries over which the noise is averaged: one of a block step, or two where a block has several vectors.
const NOISE_ENTRIES: usize = 64;
/// Most vectors that one sweep over the basis orthogonalises.
pub(super) const SWEPT_TOGETHER: usize = 8;
/// How much rounding may grow before the sweep comes sooner.
const AMPLIFICATION: f64 = 1e2;

/// A block Lanczos factorisation `A V = V T + Q c` with orthonormal `[V Q]`.
///
/// The basis may begin with locked columns X; V is then what follows, and A stands for `(I - X X^T) A (I - X X^T)`.
pub(super) struct BlockLanczos<D: Device> {
    pub basis: Basis<D>,
    /// Projected operator `T = V^T A V` (k, k), full because of restarts.
    pub projected: Small,
    /// `c` (b, k): how Q couples to the basis.
    pub coupling: Small,
    /// Next block Q (b, dimension).
    pub next: D::Buffer,
    /// Where the products go (b, dimension).
    work: D::Buffer,
    /// Blocks that one sweep settles (steps, b, dimension); empty where that is one.
    waiting: D::Buffer,
    /// Most steps to a sweep.
    pub steps: usize,
    pub random: RandomVectors,
    dimension: usize,
    pub block: usize,
    /// Norm of the largest product so far: a lower bound of the operator's.
    pub scale: f64,
    /// Squared difference of measured and expected coupling, of the last steps.
    pub noise: Vec<f64>,
}

impl<D: Device> BlockLanczos<D> {
    /// A factorisation of size zero, whose next block is still to be set.
    pub fn new(device: &D, dimension: usize, block: usize, capacity: usize, random: RandomVectors) -> Result<Self> {
        let most = SWEPT_TOGETHER.min(device.max_buffer_len() / dimension.max(1));
        let steps = (most / block.max(1)).max(1);
        Ok(Self {
            basis: Basis::new(device, dimension, capacity)?,
            projected: Small::zeros(0, 0),
            coupling: Small::zeros(block, 0),
            next: device.zeros(block * dimension)?,
            work: device.zeros(block * dimension)?,
            waiting: device.zeros(if steps > 1 { steps * block * dimension } else { 0 })?,
            steps,
            random,
            dimension,
            block,
            scale: 0.0,
            noise: Vec::new(),
        })
    }

    /// Sets the next block to fresh random vectors, orthogonal to the basis.
    pub fn draw_next(&mut self, device: &D) -> Result<()> {
        for j in 0..self.block {
            let vector = self.random.draw::<D::Scalar>(self.dimension);
            device.write(&mut self.next, j * self.dimension, &vector);
        }
        let found = orthogonalize(device, &self.basis, self.basis.len(), &mut self.next, (1, self.block), None)?;
        let block = (self.block, self.dimension);
        replace(device, &self.basis, &mut self.next, block, &found.dead, &mut self.random)
    }

    /// Columns of V: the basis without what is locked.
    pub fn size(&self) -> usize {
        self.basis.len() - self.basis.locked()
    }

    /// Whether a further block would fit into the whole space after the next one.
    pub fn has_room(&self) -> bool {
        self.dimension >= self.basis.len() + 2 * self.block
    }

    /// Applies the operator to the next block, appends the block to the basis and makes another, at most `most` times: as many
    /// steps as one sweep over the basis will do for, or fewer if `is_enough` says so. Returns the number of products.
    pub fn expand(
        &mut self,
        operator: &mut impl SymmetricOperator<D>,
        most: usize,
        is_enough: impl Fn(&Self) -> Result<bool>,
    ) -> Result<usize> {
        // Locked columns are eigenvectors up to a residual, which would grow where nobody looks.
        let most = if self.basis.locked() > 0 { 1 } else { most.min(self.steps) };
        let (mut steps, mut amplification) = (0, 1.0);
        loop {
            steps += 1;
            if !self.has_room() {
                self.finish(operator)?;
                break;
            }
            amplification *= self.step(operator)?;
            let fits = self.has_room() && self.basis.len() + self.block <= self.basis.capacity();
            if steps >= most || amplification > AMPLIFICATION || !fits || is_enough(self)? {
                self.settle(operator.device(), steps - 1)?;
                break;
            }
        }
        Ok(steps * self.block)
    }

    /// One step by what symmetry knows; the next block stays orthogonal to the basis up to rounding, amplified by as much as
    /// is returned.
    fn step(&mut self, operator: &mut impl SymmetricOperator<D>) -> Result<f64> {
        operator.apply(self.block, &self.next, &mut self.work)?;
        let (device, b) = (operator.device(), self.block);
        self.basis.push(device, &self.next, b);
        let (range, h, ww) = self.known(device)?;
        let (known, scale) = ((range.clone(), &h, &ww), &mut self.scale);
        let projected = project(device, &self.basis, known, &mut self.work, scale)?;
        if projected.r.max_abs() == 0.0 {
            let all: Vec<usize> = (0..b).collect();
            replace(device, &self.basis, &mut self.work, (b, self.dimension), &all, &mut self.random)?;
        }
        self.grow(range, &h, &projected.r);
        std::mem::swap(&mut self.next, &mut self.work);
        Ok(projected.amplification)
    }

    /// A last step: there is no room for another block behind the one that is appended.
    fn finish(&mut self, operator: &mut impl SymmetricOperator<D>) -> Result<()> {
        let b = self.block;
        operator.apply(b, &self.next, &mut self.work)?;
        self.basis.push(operator.device(), &self.next, b);
        let columns = self.basis.locked()..self.basis.len();
        let (h, _) = self.basis.gram(operator.device(), columns.clone(), &self.work, b)?;
        self.grow(columns, &h, &Small::zeros(b, b));
        self.symmetrise(self.size() - b);
        Ok(())
    }

    /// What symmetry says of the product of the block that was appended last: its inner products with the columns that the
    /// block is coupled to are the coupling. Those with the block itself are measured, and with them the product's own.
    fn known(&self, device: &D) -> Result<(Range<usize>, Small, Small)> {
        let (b, locked) = (self.block, self.basis.locked());
        let k = self.size() - b;
        let is_coupled = |&j: &usize| (0..b).any(|i| self.coupling.at(i, j) != 0.0);
        let first = (0..k).find(is_coupled).unwrap_or(k);
        let (own, within) = self.basis.gram(device, locked + k..locked + k + b, &self.work, b)?;
        let mut h = Small::zeros(k - first + b, b);
        h.put(0, 0, &self.coupling.part(0..b, first..k).transposed());
        h.put(k - first, 0, &own);
        Ok((locked + first..locked + k + b, h, within))
    }

    /// Appends the columns h of the projected operator, at the rows of the basis in `range`, and the coupling r.
    fn grow(&mut self, range: Range<usize>, h: &Small, r: &Small) {
        let (b, size) = (self.block, self.size());
        let (old, first) = (size - b, range.start - self.basis.locked());
        let mut projected = Small::zeros(size, size);
        projected.put(0, 0, &self.projected);
        projected.put(first, old, h);
        // What symmetry says of the products of the columns before.
        projected.put(old, 0, &self.coupling);
        self.projected = projected;
        self.coupling = Small::zeros(b, size);
        self.coupling.put(0, old, r);
    }

    /// Orthogonalises the last `waiting` blocks U of the basis, and the next block W, against what lies before them.
    ///
    /// That `[V U W] = Y e` with orthonormal Y makes of `A [V U] = [V U W] K` the factorisation `A Y' = Y (e K e'^-1)`,
    /// where Y' and e' are without their last block. What is not symmetric in it is noise.
    fn settle(&mut self, device: &D, waiting: usize) -> Result<()> {
        let (b, size) = (self.block, self.size());
        let (settled, blocks) = (self.basis.len() - waiting * b, (waiting + 1, b));
        let coupling = self.coupling.part(0..b, size - b..size);
        let before = Some((&coupling, self.scale));
        let found = if waiting == 0 {
            orthogonalize(device, &self.basis, settled, &mut self.next, blocks, before)?
        } else {
            for j in 0..waiting * b {
                self.basis.copy_column(device, settled + j, &mut self.waiting, j);
            }
            let (at, len) = (waiting * b * self.dimension, b * self.dimension);
            device.copy(&self.next, 0, &mut self.waiting, at, len);
            let found = orthogonalize(device, &self.basis, settled, &mut self.waiting, blocks, before)?;
            self.basis.replace(device, settled, &self.waiting, waiting * b);
            device.copy(&self.waiting, at, &mut self.next, 0, len);
            found
        };
        let block = (b, self.dimension);
        replace(device, &self.basis, &mut self.next, block, &found.dead, &mut self.random)?;
        self.transform(found, size - waiting * b);
        self.symmetrise(size - (waiting + 1) * b);
        Ok(())
    }

    /// `K <- e K e'^-1` for K the projected operator above the coupling, and e that has h and r behind `k` unit columns.
    fn transform(&mut self, Orthogonalized { h, mut r, inverse, dead }: Orthogonalized, k: usize) {
        let (b, size, n) = (self.block, self.size(), r.rows);
        // Products of a block do not meet the columns that replaced it.
        dead.iter().for_each(|&i| (0..n).for_each(|j| r.set(n - b + i, j, 0.0)));
        let h = h.part(self.basis.locked()..h.rows, 0..n);
        let mut all = Small::zeros(size + b, size);
        all.put(0, 0, &self.projected);
        all.put(size, 0, &self.coupling);
        let moved = all.part(0..size + b, k..size).minus(&all.part(0..size + b, 0..k).times(&h.part(0..k, 0..n - b)));
        all.put(0, k, &moved.times(&inverse.part(0..n - b, 0..n - b)));
        let below = all.part(k..size + b, 0..size);
        all.put(0, 0, &all.part(0..k, 0..size).plus(&h.times(&below)));
        all.put(k, 0, &r.times(&below));
        self.projected = all.part(0..size, 0..size);
        self.coupling = all.part(size..size + b, 0..size);
    }

    /// Makes the projected operator symmetric by its columns from `first` on, which were measured, and notes how far they are
    /// from what symmetry says.
    fn symmetrise(&mut self, first: usize) {
        let (b, t) = (self.block, &mut self.projected);
        for start in (first..t.rows).step_by(b) {
            let own = start..start + b;
            let difference =
                |j: usize, rows: Range<usize>| rows.map(|i| (t.at(i, j) - t.at(j, i)).powi(2)).sum::<f64>();
            if start > 0 {
                self.noise.push(own.clone().map(|j| difference(j, 0..start)).sum::<f64>() / b as f64);
            }
            if b > 1 {
                self.noise.push(own.clone().map(|j| difference(j, start..j)).sum::<f64>() / b as f64);
            }
            for j in own {
                for i in 0..j {
                    let value = if i < start { t.at(i, j) } else { 0.5 * (t.at(i, j) + t.at(j, i)) };
                    t.set(i, j, value);
                    t.set(j, i, value);
                }
            }
        }
        let excess = self.noise.len().saturating_sub(NOISE_ENTRIES);
        self.noise.drain(..excess);
    }

    /// Ritz values and vectors of the projected operator, and each one's residual norm as the recurrence sees it.
    pub fn ritz(&self) -> Result<(SymmetricEigen, Vec<f64>)> {
        let k = self.size();
        let eigen = symmetric_eigen(k, |i, j| self.projected.at(i, j))?;
        let residual = |s: &Vec<f64>| {
            let row = |i: usize| (0..k).map(|j| self.coupling.at(i, j) * s[j]).sum::<f64>();
            (0..self.block).map(|i| row(i).powi(2)).sum::<f64>().sqrt()
        };
        let residuals = eigen.vectors.iter().map(residual).collect();
        Ok((eigen, residuals))
    }

    /// Noise of the operator together with the loss of orthogonality: how far the measured coupling of new blocks to old
    /// ones is from what symmetry says, root mean square.
    pub fn noise(&self) -> f64 {
        if self.noise.is_empty() { 0.0 } else { (self.noise.iter().sum::<f64>() / self.noise.len() as f64).sqrt() }
    }

    /// Keeps only the Ritz vectors at `indices` in V.
    pub fn restart(&mut self, device: &D, eigen: &SymmetricEigen, indices: &[usize]) {
        let s = Small::from_fn(self.size(), indices.len(), |i, j| eigen.vectors[indices[j]][i]);
        self.basis.restart(device, &s);
        self.coupling = self.coupling.times(&s);
        self.projected =
            Small::from_fn(indices.len(), indices.len(), |i, j| if i == j { eigen.values[indices[i]] } else { 0.0 });
    }

    /// Locks the Ritz vectors at `indices` behind those that are locked already, and forgets the rest. Returns how the next
    /// block couples to them (b, indices).
    pub fn lock(&mut self, device: &D, eigen: &SymmetricEigen, indices: &[usize]) -> Small {
        self.restart(device, eigen, indices);
        self.basis.lock(self.basis.len());
        self.projected = Small::zeros(0, 0);
        std::mem::replace(&mut self.coupling, Small::zeros(self.block, 0))
    }
}

/// The least and the largest component, of which one is zero if all are of one sign.
fn extremes<T: Scalar>(vector: &[T]) -> (T, T) {
    // Lanes, because one comparison after the other waits for the one before.
    const LANES: usize = 32;
    let (mut low, mut high) = ([T::zero(); LANES], [T::zero(); LANES]);
    for part in vector.chunks(LANES) {
        for ((low, high), &v) in low.iter_mut().zip(&mut high).zip(part) {
            *low = if v < *low { v } else { *low };
            *high = if v > *high { v } else { *high };
        }
    }
    (low.into_iter().fold(T::zero(), T::min), high.into_iter().fold(T::zero(), T::max))
}

/// Restores the sign convention: the component of largest magnitude is positive.
pub(super) fn fix_sign<T: Scalar>(vector: &mut [T]) {
    let (low, high) = extremes(vector);
    if -low > high {
        vector.iter_mut().for_each(|v| *v = -*v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::CpuDevice;
    use crate::eigen::testing::Diagonal;

    const D: usize = 3000;

    /// Outliers and a long tail of both signs.
    fn entry(i: usize) -> f64 {
        let tail = 3.0 * ((i / 2 + 1) as f64).powf(-0.6);
        if i < 8 {
            100.0 / (i + 1) as f64
        } else if i.is_multiple_of(2) {
            tail
        } else {
            -tail / 4.0
        }
    }

    fn tails<T: Scalar>() -> Diagonal<T> {
        Diagonal { device: CpuDevice::new(), dimension: D, entry }
    }

    /// `max |A V - V T - Q c|` and `max |[V Q]^T [V Q] - I|`, in f64.
    fn defects<T: Scalar>(entry: fn(usize) -> f64, lanczos: &BlockLanczos<CpuDevice<T>>) -> (f64, f64) {
        let (device, b) = (CpuDevice::<T>::new(), lanczos.block);
        let size = lanczos.size();
        let mut columns: Vec<Vec<f64>> = Vec::new();
        for column in lanczos.basis.read(&device, 0..size).unwrap() {
            columns.push(column.unwrap().iter().map(|v| v.widen()).collect());
        }
        columns.extend(lanczos.next.chunks(D).map(|q| q.iter().map(|v| v.widen()).collect::<Vec<_>>()));
        let entry_of = |row: usize, j: usize| {
            let of_basis = (0..size).map(|l| lanczos.projected.at(l, j) * columns[l][row]);
            let of_next = (0..b).map(|l| lanczos.coupling.at(l, j) * columns[size + l][row]);
            (entry(row) * columns[j][row] - of_basis.chain(of_next).sum::<f64>()).abs()
        };
        let entries = (0..size).flat_map(|j| (0..D).map(move |row| (row, j)));
        let recurrence = entries.map(|(row, j)| entry_of(row, j)).fold(0.0, f64::max);
        let product = |i: usize, j: usize| columns[i].iter().zip(&columns[j]).map(|(a, b)| a * b).sum::<f64>();
        let pairs = (0..columns.len()).flat_map(|i| (0..=i).map(move |j| (i, j)));
        let orthogonality = pairs.map(|(i, j)| (product(i, j) - f64::from(u8::from(i == j))).abs()).fold(0.0, f64::max);
        (recurrence, orthogonality)
    }

    fn check<T: Scalar>(entry: fn(usize) -> f64, block: usize, steps: usize, most: f64) {
        let mut operator = Diagonal::<T> { device: CpuDevice::new(), dimension: D, entry };
        let device = CpuDevice::<T>::new();
        let mut lanczos = BlockLanczos::new(&device, D, block, 36, RandomVectors::new(1)).unwrap();
        lanczos.draw_next(&device).unwrap();
        let mut together = 0;
        for restarts in 0..3 {
            while lanczos.basis.len() + block <= 36 {
                together = together.max(lanczos.expand(&mut operator, usize::MAX, |_| Ok(false)).unwrap() / block);
            }
            let (recurrence, orthogonality) = defects(entry, &lanczos);
            assert!(
                recurrence < 100.0 * most,
                "block {block}, restart {restarts}: A V - V T - Q c has {recurrence:.1e}"
            );
            assert!(orthogonality < most, "block {block}, restart {restarts}: {orthogonality:.1e} from orthonormal");
            assert!(lanczos.noise() < 100.0 * most, "{:.1e}", lanczos.noise());
            let (eigen, _) = lanczos.ritz().unwrap();
            let kept: Vec<usize> = (0..4).chain(lanczos.size() - 8..lanczos.size()).collect();
            lanczos.restart(&device, &eigen, &kept);
        }
        assert_eq!(together, steps, "block {block}");
    }

    #[test]
    fn steps_that_share_a_sweep_keep_the_factorisation() {
        // Outliers amplify rounding, and their sweeps come sooner.
        let flat = |i: usize| (0.7 * i as f64).sin();
        for (entry, block, steps) in [
            (flat as fn(usize) -> f64, 1, 8),
            (flat, 2, 4),
            (flat, 3, 2),
            (flat, 5, 1),
            (entry, 1, 5),
            (entry, 2, 3),
            (entry, 5, 1),
        ] {
            check::<f64>(entry, block, steps, 1e-14);
            check::<f32>(entry, block, steps, 1e-6);
        }
    }

    #[test]
    fn a_sweep_comes_as_soon_as_it_is_asked_for() {
        let mut operator = tails::<f32>();
        let device = CpuDevice::<f32>::new();
        let mut lanczos = BlockLanczos::new(&device, D, 2, 36, RandomVectors::new(3)).unwrap();
        lanczos.draw_next(&device).unwrap();
        // After the third step, of four that a sweep would do for.
        assert_eq!(lanczos.expand(&mut operator, usize::MAX, |lanczos| Ok(lanczos.size() == 6)).unwrap(), 6);
        let (recurrence, orthogonality) = defects(entry, &lanczos);
        assert!(recurrence < 1e-4 && orthogonality < 1e-6, "{recurrence:.1e}, {orthogonality:.1e}");
    }

    #[test]
    fn a_block_that_is_not_orthogonal_is_settled_with_the_recurrence_intact() {
        for block in [1, 2] {
            let mut operator = tails::<f64>();
            let device = CpuDevice::<f64>::new();
            let mut lanczos = BlockLanczos::new(&device, D, block, 36, RandomVectors::new(2)).unwrap();
            lanczos.draw_next(&device).unwrap();
            for _ in 0..3 {
                lanczos.expand(&mut operator, 1, |_| Ok(false)).unwrap();
            }
            lanczos.step(&mut operator).unwrap();
            // Q <- Q + V f, T <- T - f c leaves A V = V T + Q c as it was.
            let size = lanczos.size();
            let f = Small::from_fn(size, block, |i, j| 1e-5 * ((i + 3 * j) as f64).cos());
            for (i, column) in lanczos.basis.read(&device, 0..size).unwrap().enumerate() {
                let column = column.unwrap();
                for (j, q) in lanczos.next.chunks_mut(D).enumerate() {
                    q.iter_mut().zip(&column).for_each(|(q, v)| *q += f.at(i, j) * v);
                }
            }
            lanczos.projected = lanczos.projected.minus(&f.times(&lanczos.coupling));
            assert!(defects(entry, &lanczos).0 < 1e-11 && defects(entry, &lanczos).1 > 1e-6);
            lanczos.step(&mut operator).unwrap();
            lanczos.settle(&device, 1).unwrap();
            let (recurrence, orthogonality) = defects(entry, &lanczos);
            assert!(recurrence < 1e-11, "block {block}: {recurrence:.1e}");
            assert!(orthogonality < 1e-14, "block {block}: {orthogonality:.1e}");
        }
    }
}
