//! Both ends of the spectrum of a symmetric operator, by thick-restart block Lanczos.
//!
//! The solver knows nothing of networks: it calls [`SymmetricOperator::apply`] on blocks of vectors and the device's
//! block-vector kernels. A Krylov space does not change when the operator is shifted, so one run serves both ends: the
//! products that find the largest eigenvalues have already built most of the most negative ones.
//!
//! The basis is in the device's precision; the projected problem, all sums over blocks of rows and every decision are in
//! f64 on the host. The recurrence ([`lanczos`](self) step), the orthogonalisation and the convergence test are separate.

mod basis;
mod dense;
mod lanczos;
mod orthogonalize;
mod solve;

pub use dense::{SymmetricEigen, symmetric_eigen};
pub use solve::{Eigenpair, Options, Progress, Solution, Status, solve};

use crate::Result;
use crate::device::Device;
use crate::objective::Linearization;

/// A symmetric linear map of vectors that live on a device.
///
/// It must be a fixed function: the same vector gives the same bits, however often it is applied.
pub trait SymmetricOperator<D: Device> {
    /// The device of its vectors.
    fn device(&self) -> &D;

    /// Length of a vector.
    fn dimension(&self) -> usize;

    /// The most vectors that [`SymmetricOperator::apply`] takes at once.
    fn max_block(&self) -> usize;

    /// `products[j] = A vectors[j]` for a block of `count` vectors, one after the other (count, dimension).
    ///
    /// # Errors
    /// Whatever the operator meets; the solve ends with it.
    fn apply(&mut self, count: usize, vectors: &D::Buffer, products: &mut D::Buffer) -> Result<()>;
}

impl<D: Device> SymmetricOperator<D> for Linearization<'_, D> {
    fn device(&self) -> &D {
        Linearization::device(self)
    }

    fn dimension(&self) -> usize {
        self.dim()
    }

    fn max_block(&self) -> usize {
        self.max_directions()
    }

    fn apply(&mut self, count: usize, vectors: &D::Buffer, products: &mut D::Buffer) -> Result<()> {
        self.hvp(count, vectors, products)
    }
}
