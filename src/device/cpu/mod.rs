//! The CPU twin: every kernel of the contract in Rust, for f32 and f64, on `gemm` and `rayon`.
//!
//! It is the reference that tests the GPU kernels, the fast path of a machine with no GPU and, in f64, the judge of what
//! was computed in f32. Work is cut into pieces that do not depend on the number of threads, and partial sums are added
//! in a fixed order, so a result has the same bits on one core and on sixty-four.
//!
//! Vectors are as wide as the machine's; `EIGENSCOPE_SIMD=avx2` or `scalar` makes them narrower.

mod ahead;
mod arena;
mod bits;
pub(super) mod conv;
mod dense;
mod gram;
mod loss;
mod matrix;
pub(super) mod simd;
mod transpose;
mod vectors;

use super::*;
pub use conv::Codes;
use std::marker::PhantomData;

/// The CPU as a device computing in `T`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuDevice<T> {
    scalar: PhantomData<T>,
}

impl<T: Scalar> CpuDevice<T> {
    /// The CPU; threads are rayon's global pool.
    pub fn new() -> Self {
        Self { scalar: PhantomData }
    }
}

impl<T: Scalar> Device for CpuDevice<T> {
    type Scalar = T;
    type Buffer = Vec<T>;
    type Codes = Codes;
    const CODE_BYTES: usize = Codes::BYTES;

    fn description(&self) -> String {
        format!("CPU, f{}, {} threads", 8 * size_of::<T>(), rayon::current_num_threads())
    }

    fn max_buffer_len(&self) -> usize {
        isize::MAX as usize / size_of::<T>()
    }

    fn default_memory(&self) -> usize {
        4 << 30
    }

    fn zeros(&self, len: usize) -> Result<Vec<T>> {
        bytemuck::allocation::try_zeroed_vec(len)
            .map_err(|()| crate::Error::Device(format!("the CPU has no {} MiB to spare", (len * size_of::<T>()) >> 20)))
    }

    fn codes(&self, len: usize) -> Result<Codes> {
        Ok(Codes::new(vec![0; len]))
    }

    fn write(&self, buffer: &mut Vec<T>, offset: usize, values: &[T]) {
        vectors::copy(values, &mut buffer[offset..offset + values.len()]);
    }

    fn write_codes(&self, codes: &mut Codes, values: &[u8]) {
        codes.write()[..values.len()].copy_from_slice(values);
    }

    fn read(&self, buffer: &Vec<T>, range: Range<usize>) -> Result<Vec<T>> {
        let mut values = self.zeros(range.len())?;
        vectors::copy(&buffer[range], &mut values);
        Ok(values)
    }

    fn read_codes(&self, codes: &Codes, len: usize) -> Result<Vec<u8>> {
        Ok(codes[..len].to_vec())
    }

    fn clear(&self, buffer: &mut Vec<T>, range: Range<usize>) {
        vectors::clear(&mut buffer[range]);
    }

    fn copy(&self, from: &Vec<T>, at: usize, to: &mut Vec<T>, to_at: usize, len: usize) {
        vectors::copy(&from[at..at + len], &mut to[to_at..to_at + len]);
    }

    fn conv_forward(&self, layer: &Conv, call: ConvForward<'_, Self>) {
        <T as conv::Kernels>::forward(layer, call);
    }

    fn conv_tangent(&self, layer: &Conv, call: ConvTangent<'_, Self>) {
        <T as conv::Kernels>::tangent(layer, call);
    }

    fn conv_backward(&self, layer: &Conv, call: ConvBackward<'_, Self>) {
        <T as conv::Kernels>::backward(layer, call);
    }

    fn conv_tangent_backward(&self, layer: &Conv, call: ConvTangentBackward<'_, Self>) {
        <T as conv::Kernels>::tangent_backward(layer, call);
    }

    fn conv_coupling(&self, first: &Conv, second: &Conv, call: ConvCoupling<'_, Self>) {
        conv::coupling(first, second, call);
    }

    fn dense_forward(&self, layer: &Dense, call: DenseForward<'_, Self>) {
        dense::forward(layer, call);
    }

    fn dense_tangent(&self, layer: &Dense, call: DenseTangent<'_, Self>) {
        dense::tangent(layer, call);
    }

    fn dense_backward(&self, layer: &Dense, call: DenseBackward<'_, Self>) {
        dense::backward(layer, call);
    }

    fn dense_tangent_backward(&self, layer: &Dense, call: DenseTangentBackward<'_, Self>) {
        dense::tangent_backward(layer, call);
    }

    fn multiply(&self, call: Multiply<'_, Self>) {
        dense::multiply(call);
    }

    fn loss_forward(&self, call: LossForward<'_, Self>) {
        loss::forward(call);
    }

    fn loss_backward(&self, call: LossBackward<'_, Self>) {
        loss::backward(call);
    }

    fn loss_tangent_backward(&self, call: LossTangentBackward<'_, Self>) {
        loss::tangent_backward(call);
    }

    fn rmsprop_step(&self, call: RmsPropStep<'_, Self>) {
        vectors::rmsprop_step(call);
    }

    fn gram(&self, products: &[&[Gram<'_, Self>]]) -> Result<Vec<Vec<f64>>> {
        Ok(gram::gram(products))
    }

    fn update(&self, call: Update<'_, Self>) {
        vectors::update(call);
    }

    fn combine(&self, call: Combine<'_, Self>) {
        vectors::combine(call);
    }
}
