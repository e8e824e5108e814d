//! An operator with a known spectrum, for the unit tests.

use super::SymmetricOperator;
use crate::Result;
use crate::device::Scalar;
use crate::device::cpu::CpuDevice;

/// A diagonal matrix, given by its entries.
pub struct Diagonal<T> {
    pub device: CpuDevice<T>,
    pub dimension: usize,
    pub entry: fn(usize) -> f64,
}

impl<T: Scalar> SymmetricOperator<CpuDevice<T>> for Diagonal<T> {
    fn device(&self) -> &CpuDevice<T> {
        &self.device
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn max_block(&self) -> usize {
        8
    }

    fn apply(&mut self, count: usize, vectors: &Vec<T>, products: &mut Vec<T>) -> Result<()> {
        let entry = |i: usize| (self.entry)(i % self.dimension);
        (0..count * self.dimension).for_each(|i| products[i] = T::from_f64(entry(i) * vectors[i].widen()));
        Ok(())
    }
}
