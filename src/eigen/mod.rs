//! Both ends of the spectrum of a symmetric operator, by thick-restart block Lanczos.
//!
//! The solver knows nothing of networks: it calls [`SymmetricOperator::apply`] on blocks of vectors and the device's
//! block-vector kernels. A Krylov space does not change when the operator is shifted, so one run serves both ends: the
//! products that find the largest eigenvalues have already built most of the most negative ones.
//!
//! The basis is in the device's precision; the projected problem, all sums over blocks of rows and every decision are in
//! f64 on the host. The recurrence, the orthogonalisation, the convergence test and the certification are separate.
//!
//! What is returned is certified: every pair carries the residual of a fresh product (or a bound of it, from fresh products with
//! random combinations of all pairs: [`Residuals::Bounded`]), bounds that follow from it and a status, and a *guard* looks for missed pairs with a fresh random block orthogonal to what was found. A Ritz value of it
//! beyond the returned ones proves a miss; the solve then goes on until the pair has joined the others.

mod basis;
mod calibrate;
mod certify;
mod convergence;
mod dense;
mod lanczos;
mod orthogonalize;
mod sketch;
mod solve;
#[cfg(test)]
mod testing;
mod types;

pub use calibrate::choose_block;
pub use certify::residuals;
pub use dense::{SymmetricEigen, symmetric_eigen};
pub use solve::{resume, solve};
pub use types::{
    Eigenpair, Guard, Monitor, NoMonitor, Options, Phase, Progress, Residuals, Solution, SolverState, Status,
};

use crate::Result;
use crate::device::Device;

/// A symmetric linear map of vectors that live on a device.
///
/// It must be a fixed function: the same vector gives the same bits, however often it is applied.
///
/// # Examples
/// A diagonal matrix, on the CPU in f64:
/// ```
/// use eigenscope::Result;
/// use eigenscope::device::cpu::CpuDevice;
/// use eigenscope::eigen::{NoMonitor, Options, SymmetricOperator, solve};
///
/// struct Diagonal(CpuDevice<f64>, Vec<f64>);
///
/// impl SymmetricOperator<CpuDevice<f64>> for Diagonal {
///     fn device(&self) -> &CpuDevice<f64> { &self.0 }
///     fn dimension(&self) -> usize { self.1.len() }
///     fn max_block(&self) -> usize { 8 }
///     fn apply(&mut self, count: usize, vectors: &Vec<f64>, products: &mut Vec<f64>) -> Result<()> {
///         let d = self.1.len();
///         (0..count * d).for_each(|i| products[i] = self.1[i % d] * vectors[i]);
///         Ok(())
///     }
/// }
///
/// let mut a = Diagonal(CpuDevice::new(), (0..1000).map(|i| f64::from(i) - 3.5).collect());
/// let options = Options { largest: 2, smallest: 4, tolerance: 1e-6, ..Options::default() };
/// let solution = solve(&mut a, &options, &mut NoMonitor)?;
/// assert_eq!(solution.converged(), 6);
/// assert!((solution.largest[0].value - 995.5).abs() < 1e-6);
/// assert_eq!(solution.negative, 4);
/// # Ok::<(), eigenscope::Error>(())
/// ```
/// A sparse one, the second difference of a chain:
/// ```
/// # use eigenscope::Result;
/// # use eigenscope::device::cpu::CpuDevice;
/// # use eigenscope::eigen::{NoMonitor, Options, SymmetricOperator, solve};
/// struct Chain(CpuDevice<f32>);
///
/// impl SymmetricOperator<CpuDevice<f32>> for Chain {
///     fn device(&self) -> &CpuDevice<f32> { &self.0 }
///     fn dimension(&self) -> usize { 300 }
///     fn max_block(&self) -> usize { 8 }
///     fn apply(&mut self, count: usize, vectors: &Vec<f32>, products: &mut Vec<f32>) -> Result<()> {
///         for j in 0..count {
///             let v = &vectors[300 * j..300 * (j + 1)];
///             let at = |i: usize| v.get(i).copied().unwrap_or(0.0);
///             (0..300).for_each(|i| products[300 * j + i] = 2.0 * v[i] - at(i + 1) - at(i.wrapping_sub(1)));
///         }
///         Ok(())
///     }
/// }
///
/// let options = Options { largest: 1, smallest: 0, ..Options::default() };
/// let solution = solve(&mut Chain(CpuDevice::new()), &options, &mut NoMonitor)?;
/// let exact = 2.0 + 2.0 * (std::f64::consts::PI / 301.0).cos();
/// assert!((solution.largest[0].value - exact).abs() < 1e-3);
/// # Ok::<(), eigenscope::Error>(())
/// ```
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

    /// What a vector stands for, on the host: eigenvectors are returned so. Itself, unless the operator is another one in
    /// other coordinates; then the vector may lose what stands for nothing.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails.
    fn lift(&mut self, vector: &mut D::Buffer) -> Result<Vec<D::Scalar>> {
        self.device().read(vector, 0..self.dimension())
    }
}
