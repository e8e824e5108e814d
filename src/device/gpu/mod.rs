//! The GPU: every kernel of the contract in hand-written WGSL, through wgpu on Vulkan, Metal or DX12.
//!
//! Kernels stay inside the limits that every adapter has, except for the size of buffers. They compute in f32, without
//! atomic sums and in an order that depends on the shapes alone, so a run has the same bits each time on the same adapter.
//!
//! `EIGENSCOPE_CHECKED=1` compiles the shaders with bounds checks.

mod adapter;
mod conv;
mod dense;
mod geometry;
mod loss;
mod multiply;
mod pace;
mod pack;
mod partials;
mod profile;
mod queue;
#[doc(hidden)]
pub mod shader;
mod storage;
mod vectors;

pub use adapter::{AdapterDescription, best_hardware, list};
pub use profile::{Ceilings, Timing};

use super::*;
use queue::Queue;
use storage::Storage;

/// A GPU (or a software Vulkan adapter) as a device computing in f32.
pub struct GpuDevice {
    description: AdapterDescription,
    max_len: usize,
    queue: Queue,
    sharing: shader::Sharing,
}

/// An array of f32 on the GPU.
pub struct Buffer {
    raw: Storage,
    len: usize,
}

/// An array of codes on the GPU, one u32 each.
pub struct Codes {
    raw: Storage,
    len: usize,
}

impl Buffer {
    /// Asserts that it has at least `len` scalars: the kernels do not check.
    fn holds(&self, name: &str, len: usize) {
        assert!(self.len >= len, "{name} has {} scalars, {len} are needed", self.len);
    }
}

impl Codes {
    fn holds(&self, name: &str, len: usize) {
        assert!(self.len >= len, "{name} has {} codes, {len} are needed", self.len);
    }
}

impl GpuDevice {
    /// Opens the first adapter whose name contains `selector`, without regard to case; without one, the best adapter:
    /// discrete, integrated, virtual, then software.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if there is none, with what was found instead.
    pub fn open(selector: Option<&str>) -> Result<Self> {
        Self::open_with(selector, false, &|_, source| source.into())
    }

    /// As [`GpuDevice::open`], with the kernels as every adapter can run them: so that the tests see those too.
    ///
    /// # Errors
    /// As [`GpuDevice::open`].
    #[doc(hidden)]
    pub fn open_portable(selector: Option<&str>) -> Result<Self> {
        Self::open_with(selector, true, &|_, source| source.into())
    }

    /// As one of these, with the kernels' WGSL changed: `patch` gets a kernel's name and text and returns the text to expand and
    /// compile. This is how the tests plant faults.
    ///
    /// # Errors
    /// As [`GpuDevice::open`].
    #[doc(hidden)]
    pub fn open_patched(portable: bool, patch: &dyn Fn(&str, &str) -> String) -> Result<Self> {
        Self::open_with(None, portable, patch)
    }

    fn open_with(selector: Option<&str>, portable: bool, patch: &dyn Fn(&str, &str) -> String) -> Result<Self> {
        let opened = adapter::open(selector, portable)?;
        let queue = Queue::new(&opened, patch);
        Ok(Self {
            max_len: (opened.max_bytes / 4) as usize - geometry::ROOM,
            sharing: opened.sharing,
            description: opened.description,
            queue,
        })
    }

    /// Changes how many multiply-adds one submission may take, so that tests see long work being cut.
    #[doc(hidden)]
    pub fn set_submission_work(&self, work: u64) {
        self.queue.set_submission_work(work);
    }

    /// How many bind groups were made so far: tests see that a product that is repeated makes none.
    #[doc(hidden)]
    pub fn bind_groups_made(&self) -> usize {
        self.queue.bind_groups_made()
    }

    /// Which variant of the kernels this adapter runs.
    pub fn sharing(&self) -> shader::Sharing {
        self.sharing
    }

    /// How matrices of sums are cut for it.
    fn tiling(&self) -> geometry::Tiling {
        geometry::Tiling::of(self.sharing)
    }

    /// `0..directions` in groups, so that what is packed for a group and for the primal, `len` scalars each, fits a buffer.
    fn groups(&self, directions: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
        let step = (self.max_len / len.max(1)).saturating_sub(1).max(1);
        (0..directions).step_by(step).map(move |first| first..(first + step).min(directions))
    }

    fn allocate(&self, len: usize) -> Result<Storage> {
        if len > self.max_len {
            return Err(crate::Error::Device(format!(
                "{}: a buffer of {} MiB is larger than its limit of {} MiB",
                self.description,
                len >> 18,
                self.max_len >> 18
            )));
        }
        // An empty buffer cannot be bound.
        self.queue.allocate(4 * len.max(1) as u64)
    }
}

/// Bytes of scalars or codes.
fn bytes(range: &Range<usize>) -> (u64, u64) {
    (4 * range.start as u64, 4 * range.len() as u64)
}

impl Device for GpuDevice {
    type Scalar = f32;
    type Buffer = Buffer;
    type Codes = Codes;
    const CODE_BYTES: usize = size_of::<u32>();

    fn description(&self) -> String {
        let a = &self.description;
        format!("{}, {}, {} {}, f32", a.name, a.backend, a.driver, a.driver_info)
    }

    fn max_buffer_len(&self) -> usize {
        self.max_len
    }

    fn check_conv(&self, layer: &Conv) -> Result<()> {
        conv::check(self, layer)
    }

    fn default_memory(&self) -> usize {
        1 << 30
    }

    fn zeros(&self, len: usize) -> Result<Buffer> {
        Ok(Buffer { raw: self.allocate(len)?, len })
    }

    fn codes(&self, len: usize) -> Result<Codes> {
        Ok(Codes { raw: self.allocate(len)?, len })
    }

    fn write(&self, buffer: &mut Buffer, offset: usize, values: &[f32]) {
        buffer.holds("write", offset + values.len());
        self.queue.write(&buffer.raw, 4 * offset as u64, bytemuck::cast_slice(values));
    }

    fn write_codes(&self, codes: &mut Codes, values: &[u8]) {
        codes.holds("write_codes", values.len());
        let words: Vec<u32> = values.iter().map(|&code| code.into()).collect();
        self.queue.write(&codes.raw, 0, bytemuck::cast_slice(&words));
    }

    fn read(&self, buffer: &Buffer, range: Range<usize>) -> Result<Vec<f32>> {
        buffer.holds("read", range.end);
        let (at, len) = bytes(&range);
        Ok(bytemuck::pod_collect_to_vec(&self.queue.read(&buffer.raw, at, len)?))
    }

    fn read_codes(&self, codes: &Codes, len: usize) -> Result<Vec<u8>> {
        codes.holds("read_codes", len);
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&self.queue.read(&codes.raw, 0, 4 * len as u64)?);
        Ok(words.into_iter().map(|code| code as u8).collect())
    }

    fn clear(&self, buffer: &mut Buffer, range: Range<usize>) {
        buffer.holds("clear", range.end);
        let (at, len) = bytes(&range);
        self.queue.clear(&buffer.raw, at, len);
    }

    fn copy(&self, from: &Buffer, at: usize, to: &mut Buffer, to_at: usize, len: usize) {
        from.holds("copy, from", at + len);
        to.holds("copy, to", to_at + len);
        self.queue.copy(&from.raw, 4 * at as u64, &to.raw, 4 * to_at as u64, 4 * len as u64);
    }

    fn conv_forward(&self, layer: &Conv, call: ConvForward<'_, Self>) {
        conv::forward(self, layer, call);
    }

    fn conv_tangent(&self, layer: &Conv, call: ConvTangent<'_, Self>) {
        conv::tangent(self, layer, call);
    }

    fn conv_backward(&self, layer: &Conv, call: ConvBackward<'_, Self>) {
        conv::backward(self, layer, call);
    }

    fn conv_tangent_backward(&self, layer: &Conv, call: ConvTangentBackward<'_, Self>) {
        conv::tangent_backward(self, layer, call);
    }

    fn conv_coupling(&self, first: &Conv, second: &Conv, call: ConvCoupling<'_, Self>) {
        conv::coupling(self, first, second, call);
    }

    fn dense_forward(&self, layer: &Dense, call: DenseForward<'_, Self>) {
        dense::forward(self, layer, call);
    }

    fn dense_tangent(&self, layer: &Dense, call: DenseTangent<'_, Self>) {
        dense::tangent(self, layer, call);
    }

    fn dense_backward(&self, layer: &Dense, call: DenseBackward<'_, Self>) {
        dense::backward(self, layer, call);
    }

    fn dense_tangent_backward(&self, layer: &Dense, call: DenseTangentBackward<'_, Self>) {
        dense::tangent_backward(self, layer, call);
    }

    fn multiply(&self, call: Multiply<'_, Self>) {
        multiply::multiply(self, call);
    }

    fn loss_forward(&self, call: LossForward<'_, Self>) {
        loss::forward(self, call);
    }

    fn loss_backward(&self, call: LossBackward<'_, Self>) {
        loss::backward(self, call);
    }

    fn loss_tangent_backward(&self, call: LossTangentBackward<'_, Self>) {
        loss::tangent_backward(self, call);
    }

    fn rmsprop_step(&self, call: RmsPropStep<'_, Self>) {
        vectors::rmsprop_step(self, call);
    }

    fn gram(&self, products: &[&[Gram<'_, Self>]]) -> Result<Vec<Vec<f64>>> {
        vectors::gram(self, products)
    }

    fn update(&self, call: Update<'_, Self>) {
        vectors::update(self, call);
    }

    fn combine(&self, call: Combine<'_, Self>) {
        vectors::combine(self, call);
    }
}
