//! The dense layer: matrix products in register tiles.
//!
//! A sum longer than one invocation may loop is cut into ranges; each range after the first adds to what is stored.

use super::geometry::{DENSE_TILE, flat, grid, ranges, to_u32};
use super::queue::Dispatch;
use super::shader::Kernel;
use super::{Buffer, GpuDevice};
use crate::device::{DenseBackward, DenseForward, DenseTangent, DenseTangentBackward};
use crate::network::Dense;
use bytemuck::{Pod, Zeroable, bytes_of};
use std::ops::Range;

/// `struct Dense` in shaders/lib/dense.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Params {
    samples: u32,
    inputs: u32,
    outputs: u32,
    relu: u32,
    weight: u32,
    bias: u32,
    pitch: u32,
    begin: u32,
    end: u32,
    base: u32,
}

fn params(d: &Dense, samples: usize) -> Params {
    Params {
        samples: to_u32(samples),
        inputs: to_u32(d.inputs),
        outputs: to_u32(d.outputs),
        relu: u32::from(d.relu),
        weight: to_u32(d.weight),
        bias: to_u32(d.bias),
        pitch: to_u32(d.pitch),
        begin: 0,
        end: 0,
        base: 0,
    }
}

impl Params {
    /// With the sum over this range of its index.
    fn over(self, range: &Range<usize>) -> Self {
        Self { begin: to_u32(range.start), end: to_u32(range.end), ..self }
    }
}

/// A matrix product in each direction, which becomes as many dispatches as its sums and its work need.
struct Product<'a> {
    kernel: Kernel,
    first_layer: bool,
    params: Params,
    buffers: &'a [&'a wgpu::Buffer],
    /// Shape of the result.
    rows: usize,
    columns: usize,
    directions: usize,
    /// Length of the sums.
    terms: usize,
}

impl Product<'_> {
    fn run(self, gpu: &GpuDevice) {
        let tiles = [self.columns, self.rows].map(|len| len.div_ceil(DENSE_TILE));
        for range in ranges(self.terms) {
            // Twice, because the tangent kernels add two products.
            let work = 2 * self.directions * self.rows * self.columns * range.len();
            for (rows, work) in gpu.queue.pieces(tiles[1], work) {
                gpu.queue.dispatch(Dispatch {
                    kernel: self.kernel,
                    first_layer: self.first_layer,
                    params: bytes_of(&Params { base: to_u32(rows.start), ..self.params.over(&range) }),
                    buffers: self.buffers,
                    grid: grid([tiles[0], rows.len(), self.directions]),
                    work,
                });
            }
        }
    }
}

/// Asserts that a parameter vector holds this layer, and a block of them too.
fn assert_parameters(d: &Dense, theta: &Buffer, block: &Buffer, directions: usize) {
    assert!(d.inputs > 0 && d.outputs > 0, "an empty layer: {d:?}");
    let end = (d.bias + d.outputs).max(d.weight + d.inputs * d.outputs);
    theta.holds("theta", end);
    block.holds("block", directions.saturating_sub(1) * d.pitch + end);
}

pub(super) fn forward(gpu: &GpuDevice, d: &Dense, call: DenseForward<'_, GpuDevice>) {
    assert_parameters(d, call.theta, call.theta, 1);
    call.x.holds("x", call.samples * d.inputs);
    call.y.holds("y", call.samples * d.outputs);
    Product {
        kernel: Kernel::DenseForward,
        first_layer: false,
        terms: d.inputs,
        params: params(d, call.samples),
        buffers: &[&call.theta.raw, &call.x.raw, &call.y.raw],
        rows: call.samples,
        columns: d.outputs,
        directions: 1,
    }
    .run(gpu);
}

pub(super) fn tangent(gpu: &GpuDevice, d: &Dense, call: DenseTangent<'_, GpuDevice>) {
    assert_parameters(d, call.theta, call.vectors, call.directions);
    call.x.holds("x", call.samples * d.inputs);
    let tx = call.tx.unwrap_or(call.x);
    if call.tx.is_some() {
        tx.holds("tx", call.directions * call.samples * d.inputs);
    }
    call.y.holds("y", call.samples * d.outputs);
    call.ty.holds("ty", call.directions * call.samples * d.outputs);
    Product {
        kernel: Kernel::DenseTangent,
        first_layer: call.tx.is_none(),
        terms: d.inputs,
        params: params(d, call.samples),
        buffers: &[&call.theta.raw, &call.vectors.raw, &call.x.raw, &tx.raw, &call.y.raw, &call.ty.raw],
        rows: call.samples,
        columns: d.outputs,
        directions: call.directions,
    }
    .run(gpu);
}

pub(super) fn backward(gpu: &GpuDevice, d: &Dense, call: DenseBackward<'_, GpuDevice>) {
    assert_parameters(d, call.theta, call.gradient, 1);
    call.x.holds("x", call.samples * d.inputs);
    mask(gpu, d, call.samples, 1, call.y, call.dy);
    let dz = &*call.dy;
    Product {
        kernel: Kernel::DenseBackwardWeights,
        first_layer: false,
        terms: call.samples,
        params: params(d, call.samples),
        buffers: &[&call.x.raw, &dz.raw, &call.gradient.raw],
        rows: d.outputs,
        columns: d.inputs,
        directions: 1,
    }
    .run(gpu);
    add_bias(gpu, d, call.samples, 1, dz, call.gradient);
    if let Some(dx) = call.dx {
        dx.holds("dx", call.samples * d.inputs);
        Product {
            kernel: Kernel::DenseBackwardInput,
            first_layer: false,
            terms: d.outputs,
            params: params(d, call.samples),
            buffers: &[&call.theta.raw, &dz.raw, &dx.raw],
            rows: call.samples,
            columns: d.inputs,
            directions: 1,
        }
        .run(gpu);
    }
}

pub(super) fn tangent_backward(gpu: &GpuDevice, d: &Dense, call: DenseTangentBackward<'_, GpuDevice>) {
    assert_parameters(d, call.theta, call.vectors, call.directions);
    assert_parameters(d, call.theta, call.products, call.directions);
    call.x.holds("x", call.samples * d.inputs);
    let tx = call.tx.unwrap_or(call.x);
    if call.tx.is_some() {
        tx.holds("tx", call.directions * call.samples * d.inputs);
    }
    call.dz.holds("dz", call.samples * d.outputs);
    mask(gpu, d, call.samples, call.directions, call.y, call.tdy);
    let tdz = &*call.tdy;
    Product {
        kernel: Kernel::DenseTangentBackwardWeights,
        first_layer: call.tx.is_none(),
        terms: call.samples,
        params: params(d, call.samples),
        buffers: &[&call.x.raw, &tx.raw, &call.dz.raw, &tdz.raw, &call.products.raw],
        rows: d.outputs,
        columns: d.inputs,
        directions: call.directions,
    }
    .run(gpu);
    add_bias(gpu, d, call.samples, call.directions, tdz, call.products);
    if let Some(tdx) = call.tdx {
        tdx.holds("tdx", call.directions * call.samples * d.inputs);
        Product {
            kernel: Kernel::DenseTangentBackwardInput,
            first_layer: false,
            terms: d.outputs,
            params: params(d, call.samples),
            buffers: &[&call.theta.raw, &call.vectors.raw, &call.dz.raw, &tdz.raw, &tdx.raw],
            rows: call.samples,
            columns: d.inputs,
            directions: call.directions,
        }
        .run(gpu);
    }
}

/// `dz = m dy` in place, if the layer has a ReLU.
fn mask(gpu: &GpuDevice, d: &Dense, samples: usize, directions: usize, y: &Buffer, dy: &Buffer) {
    let outputs = samples * d.outputs;
    y.holds("y", outputs);
    dy.holds("dy", directions * outputs);
    if d.relu {
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::ReluMask,
            first_layer: false,
            params: bytes_of(&params(d, samples)),
            buffers: &[&y.raw, &dy.raw],
            grid: flat(outputs, directions),
            work: (directions * outputs) as u64,
        });
    }
}

/// `db += sum dz` in each direction.
fn add_bias(gpu: &GpuDevice, d: &Dense, samples: usize, directions: usize, dz: &Buffer, to: &Buffer) {
    for range in ranges(samples) {
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::ColumnSums,
            first_layer: false,
            work: (directions * d.outputs * range.len()) as u64,
            params: bytes_of(&params(d, samples).over(&range)),
            buffers: &[&dz.raw, &to.raw],
            grid: flat(d.outputs, directions),
        });
    }
}
