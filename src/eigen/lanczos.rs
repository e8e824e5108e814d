//! The recurrence: `A V = V T + Q c`, one block at a time, and the thick restart.

use super::SymmetricOperator;
use super::basis::Basis;
use super::dense::{Small, SymmetricEigen, symmetric_eigen};
use super::orthogonalize::{Known, Orthogonalized, RandomVectors, orthogonalize};
use crate::Result;
use crate::device::{Device, Scalar};

/// Block steps over which the noise is averaged.
const NOISE_STEPS: usize = 64;

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
        Ok(Self {
            basis: Basis::new(device, dimension, capacity)?,
            projected: Small::zeros(0, 0),
            coupling: Small::zeros(block, 0),
            next: device.zeros(block * dimension)?,
            work: device.zeros(block * dimension)?,
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
        let (block, random) = ((self.block, self.dimension), &mut self.random);
        orthogonalize(device, &self.basis, &mut self.next, block, None, &mut 1.0, random)?;
        Ok(())
    }

    /// Columns of V: the basis without what is locked.
    pub fn size(&self) -> usize {
        self.basis.len() - self.basis.locked()
    }

    /// Whether a further block would fit into the whole space after the next one.
    pub fn has_room(&self) -> bool {
        self.dimension >= self.basis.len() + 2 * self.block
    }

    /// Applies the operator to the next block and appends the block to the basis: `block` products.
    pub fn expand(&mut self, operator: &mut impl SymmetricOperator<D>) -> Result<()> {
        let (b, k, locked) = (self.block, self.size(), self.basis.locked());
        operator.apply(b, &self.next, &mut self.work)?;
        let device = operator.device();
        let has_room = self.has_room();
        self.basis.push(device, &self.next, b);
        let Orthogonalized { h, r } = if has_room {
            let known = self.known(device)?;
            let (block, scale) = ((b, self.dimension), &mut self.scale);
            orthogonalize(device, &self.basis, &mut self.work, block, Some(known), scale, &mut self.random)?
        } else {
            let all = 0..self.basis.len();
            Orthogonalized { h: self.basis.gram(device, all, &self.work, b)?, r: Small::zeros(b, b) }
        };
        let h = Small::from_fn(k + b, b, |i, j| h.at(locked + i, j));
        if k > 0 {
            let difference: f64 = (0..k)
                .flat_map(|i| (0..b).map(move |j| (i, j)))
                .map(|(i, j)| (h.at(i, j) - self.coupling.at(j, i)).powi(2))
                .sum();
            self.noise.push(difference / b as f64);
            let excess = self.noise.len().saturating_sub(NOISE_STEPS);
            self.noise.drain(..excess);
        }
        let asymmetry: f64 = (0..b)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .fold(0.0, |sum, (i, j)| sum + (h.at(k + i, j) - h.at(k + j, i)).powi(2));
        if b > 1 {
            self.noise.push(asymmetry / b as f64);
        }
        let old = std::mem::replace(&mut self.projected, Small::zeros(0, 0));
        self.projected = Small::from_fn(k + b, k + b, |i, j| match (i < k, j < k) {
            (true, true) => old.at(i, j),
            (true, false) => h.at(i, j - k),
            (false, true) => h.at(j, i - k),
            (false, false) => 0.5 * (h.at(i, j - k) + h.at(j, i - k)),
        });
        self.coupling = Small::from_fn(b, k + b, |i, j| if j < k { 0.0 } else { r.at(i, j - k) });
        std::mem::swap(&mut self.next, &mut self.work);
        Ok(())
    }

    /// What symmetry says of the product of the block that was appended last: its inner products with the columns that the
    /// block is coupled to are the coupling. Those with the block itself are measured.
    fn known(&self, device: &D) -> Result<Known> {
        let (b, locked) = (self.block, self.basis.locked());
        let k = self.size() - b;
        let is_coupled = |&j: &usize| (0..b).any(|i| self.coupling.at(i, j) != 0.0);
        let first = (0..k).find(is_coupled).unwrap_or(k);
        let own = self.basis.gram(device, locked + k..locked + k + b, &self.work, b)?;
        let h = Small::from_fn(k - first + b, b, |i, j| match i < k - first {
            true => self.coupling.at(j, first + i),
            false => own.at(i - (k - first), j),
        });
        Ok(Known { range: locked + first..locked + k + b, h })
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

    /// Locks the Ritz vectors at `indices` behind those that are locked already, and forgets the rest.
    pub fn lock(&mut self, device: &D, eigen: &SymmetricEigen, indices: &[usize]) {
        self.restart(device, eigen, indices);
        self.basis.lock(self.basis.len());
        self.projected = Small::zeros(0, 0);
        self.coupling = Small::zeros(self.block, 0);
    }
}

/// Restores the sign convention: the component of largest magnitude is positive.
pub(super) fn fix_sign<T: Scalar>(vector: &mut [T]) {
    let largest = vector.iter().fold(T::zero(), |m, &v| if v.abs() > m.abs() { v } else { m });
    if largest < T::zero() {
        vector.iter_mut().for_each(|v| *v = -*v);
    }
}
