//! The dense layer: matrix products in register tiles.
//!
//! A sum longer than one invocation may loop is cut into ranges; each range after the first adds to what is stored.

use super::geometry::{flat, ranges, tiles, to_u32};
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
}

fn params(d: &Dense, samples: usize, range: Range<usize>) -> Params {
    Params {
        samples: to_u32(samples),
        inputs: to_u32(d.inputs),
        outputs: to_u32(d.outputs),
        relu: u32::from(d.relu),
        weight: to_u32(d.weight),
        bias: to_u32(d.bias),
        pitch: to_u32(d.pitch),
        begin: to_u32(range.start),
        end: to_u32(range.end),
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
    for range in ranges(d.inputs) {
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::DenseForward,
            first_layer: false,
            work: (call.samples * d.outputs * range.len()) as u64,
            params: bytes_of(&params(d, call.samples, range)),
            buffers: &[&call.theta.raw, &call.x.raw, &call.y.raw],
            grid: tiles(call.samples, d.outputs, 1),
        });
    }
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
    for range in ranges(d.inputs) {
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::DenseTangent,
            first_layer: call.tx.is_none(),
            work: (2 * call.directions * call.samples * d.outputs * range.len()) as u64,
            params: bytes_of(&params(d, call.samples, range)),
            buffers: &[&call.theta.raw, &call.vectors.raw, &call.x.raw, &tx.raw, &call.y.raw, &call.ty.raw],
            grid: tiles(call.samples, d.outputs, call.directions),
        });
    }
}

pub(super) fn backward(gpu: &GpuDevice, d: &Dense, call: DenseBackward<'_, GpuDevice>) {
    assert_parameters(d, call.theta, call.gradient, 1);
    call.x.holds("x", call.samples * d.inputs);
    mask(gpu, d, call.samples, 1, call.y, call.dy);
    let dz = &*call.dy;
    for range in ranges(call.samples) {
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::DenseBackwardWeights,
            first_layer: false,
            work: (d.inputs * d.outputs * range.len()) as u64,
            params: bytes_of(&params(d, call.samples, range)),
            buffers: &[&call.x.raw, &dz.raw, &call.gradient.raw],
            grid: tiles(d.outputs, d.inputs, 1),
        });
    }
    add_bias(gpu, d, call.samples, 1, dz, call.gradient);
    if let Some(dx) = call.dx {
        dx.holds("dx", call.samples * d.inputs);
        for range in ranges(d.outputs) {
            gpu.queue.dispatch(Dispatch {
                kernel: Kernel::DenseBackwardInput,
                first_layer: false,
                work: (call.samples * d.inputs * range.len()) as u64,
                params: bytes_of(&params(d, call.samples, range)),
                buffers: &[&call.theta.raw, &dz.raw, &dx.raw],
                grid: tiles(call.samples, d.inputs, 1),
            });
        }
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
    for range in ranges(call.samples) {
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::DenseTangentBackwardWeights,
            first_layer: call.tx.is_none(),
            work: (2 * call.directions * d.inputs * d.outputs * range.len()) as u64,
            params: bytes_of(&params(d, call.samples, range)),
            buffers: &[&call.x.raw, &tx.raw, &call.dz.raw, &tdz.raw, &call.products.raw],
            grid: tiles(d.outputs, d.inputs, call.directions),
        });
    }
    add_bias(gpu, d, call.samples, call.directions, tdz, call.products);
    if let Some(tdx) = call.tdx {
        tdx.holds("tdx", call.directions * call.samples * d.inputs);
        for range in ranges(d.outputs) {
            gpu.queue.dispatch(Dispatch {
                kernel: Kernel::DenseTangentBackwardInput,
                first_layer: false,
                work: (2 * call.directions * call.samples * d.inputs * range.len()) as u64,
                params: bytes_of(&params(d, call.samples, range)),
                buffers: &[&call.theta.raw, &call.vectors.raw, &call.dz.raw, &tdz.raw, &tdx.raw],
                grid: tiles(call.samples, d.inputs, call.directions),
            });
        }
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
            params: bytes_of(&params(d, samples, 0..0)),
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
            params: bytes_of(&params(d, samples, range)),
            buffers: &[&dz.raw, &to.raw],
            grid: flat(d.outputs, directions),
        });
    }
}
