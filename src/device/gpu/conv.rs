//! The conv block: an implicit matrix product in register tiles, with the pooling in its last lines and the un-pooling in
//! its first, so that nothing of the size before the pool is ever stored.
//!
//! The images are copied with a border of zeros and the weights with their channels last; both are small beside the work.

use super::geometry::{MAX_TRIPS, TILE_ROWS, WORKGROUP, flat, grid, to_u32};
use super::pack::{Operand, Order};
use super::partials::{Destination, Partials};
use super::queue::{Dispatch, Scratch};
use super::shader::Kernel;
use super::storage::Storage;
use super::{Buffer, GpuDevice};
use crate::device::{ConvBackward, ConvCoupling, ConvForward, ConvTangent, ConvTangentBackward, Store};
use crate::network::Conv;
use bytemuck::{Pod, Zeroable, bytes_of};
use std::ops::Range;

/// `struct Conv` in shaders/lib/conv.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Params {
    samples: u32,
    directions: u32,
    in_channels: u32,
    out_channels: u32,
    height: u32,
    width: u32,
    kernel: u32,
    weight: u32,
    bias: u32,
    pitch: u32,
    slice: u32,
    base: u32,
    first: u32,
}

/// `struct Coupling` in shaders/lib/coupling.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct CouplingParams {
    channels: u32,
    out_channels: u32,
    taps: u32,
    own: u32,
    first_weight: u32,
    first_bias: u32,
    weight: u32,
    pitch: u32,
}

fn params(c: &Conv, samples: usize, directions: &Range<usize>) -> Params {
    let pixels = [c.in_channels, c.out_channels, c.height / 2, c.width / 2, c.kernel % 2];
    assert!(pixels.iter().all(|&size| size > 0), "an empty layer or an even kernel: {c:?}");
    assert_eq!(c.bias, c.weight + c.weight_len(), "the bias follows the weight");
    Params {
        samples: to_u32(samples),
        directions: to_u32(directions.len()),
        in_channels: to_u32(c.in_channels),
        out_channels: to_u32(c.out_channels),
        height: to_u32(c.height),
        width: to_u32(c.width),
        kernel: to_u32(c.kernel),
        weight: to_u32(c.weight),
        bias: to_u32(c.bias),
        pitch: to_u32(c.pitch),
        slice: 0,
        base: 0,
        first: to_u32(directions.start),
    }
}

/// Asserts that one invocation may loop over the channels and taps of an output.
fn assert_trips(c: &Conv, channels: usize) {
    let trips = channels * (1 + c.kernel * (1 + c.kernel));
    assert!(trips <= MAX_TRIPS, "{trips} iterations an output are too many for the GPU kernels: {c:?}");
}

/// Components that a parameter vector needs, and a block of them.
fn assert_parameters(c: &Conv, theta: &Buffer, block: Option<(&Buffer, usize)>) {
    theta.holds("theta", c.bias + c.out_channels);
    if let Some((block, directions)) = block {
        block.holds("block", directions.saturating_sub(1) * c.pitch + c.bias + c.out_channels);
    }
}

/// Scalars of the images of one direction, or of the primal, with their borders.
fn bordered_len(c: &Conv, samples: usize) -> usize {
    samples * c.in_channels * (c.height + c.kernel - 1) * (c.width + c.kernel - 1)
}

/// Windows of 2x2 input pixels; an odd last row or column makes windows too.
fn windows(c: &Conv, samples: usize) -> usize {
    samples * c.height.div_ceil(2) * c.width.div_ceil(2)
}

/// Copies the images with borders: those of the primal, and the tangents of a group of directions if there are any.
fn border(gpu: &GpuDevice, c: &Conv, params: &Params, x: &Buffer, tx: Option<&Buffer>, to: &Storage) {
    let slots = 1 + tx.map_or(0, |_| params.directions as usize);
    let len = bordered_len(c, params.samples as usize);
    let rows = c.height + c.kernel - 1;
    assert!(rows <= MAX_TRIPS, "images are too high for the GPU kernels: {c:?}");
    gpu.queue.dispatch(Dispatch {
        kernel: Kernel::Border,
        one_product: false,
        layer: (c.input_len(), c.output_len()),
        params: bytes_of(params),
        buffers: &[&x.raw, &tx.unwrap_or(x).raw, to],
        grid: flat(len / rows, slots),
        work: 0,
        bytes: (8 * slots * len) as u64,
    });
}

/// The weights of `theta`, and those of a group of directions.
fn weights<'a>(c: &Conv, theta: &'a Buffer, vectors: &'a Buffer, directions: &Range<usize>) -> Operand<'a> {
    Operand {
        one: &theta.raw,
        one_offset: c.weight,
        many: &vectors.raw,
        many_offset: directions.start * c.pitch + c.weight,
        pitch: c.pitch,
    }
}

/// A kernel's call, which becomes as many dispatches as its work needs.
struct Run<'a> {
    kernel: Kernel,
    one_product: bool,
    params: Params,
    buffers: &'a [&'a Storage],
    layer: (usize, usize),
    work: usize,
    /// Scalars of its operands, each counted once.
    scalars: usize,
}

impl Run<'_> {
    /// One invocation for each of `items` and each tile of `rows`, in each direction.
    fn each(self, gpu: &GpuDevice, items: usize, rows: usize) {
        let directions = self.params.directions as usize;
        self.cut(gpu, items, |len| grid([len.div_ceil(WORKGROUP), rows.div_ceil(TILE_ROWS), directions]));
    }

    fn cut(self, gpu: &GpuDevice, len: usize, grid: impl Fn(usize) -> [u32; 3]) {
        for (range, work) in gpu.queue.pieces(len, self.work) {
            gpu.queue.dispatch(Dispatch {
                kernel: self.kernel,
                one_product: self.one_product,
                layer: self.layer,
                params: bytes_of(&Params { base: to_u32(range.start), ..self.params }),
                buffers: self.buffers,
                grid: grid(range.len()),
                work,
                bytes: (4.0 * self.scalars as f64 * range.len() as f64 / len as f64) as u64,
            });
        }
    }
}

pub(super) fn forward(gpu: &GpuDevice, c: &Conv, call: ConvForward<'_, GpuDevice>) {
    assert_trips(c, c.in_channels);
    assert_parameters(c, call.theta, None);
    call.x.holds("x", call.samples * c.input_len());
    call.p.holds("p", call.samples * c.output_len());
    call.route.holds("route", call.samples * c.output_len());
    let params = params(c, call.samples, &(0..1));
    let order = Order::outputs_last(c.out_channels, c.in_channels, c.kernel * c.kernel);
    let images = gpu.queue.scratch(Scratch::Packed, bordered_len(c, call.samples));
    let packed = gpu.queue.scratch(Scratch::Second, order.len());
    border(gpu, c, &params, call.x, None, &images);
    order.pack(gpu, weights(c, call.theta, call.theta, &(0..1)), 0, &packed);
    Run {
        kernel: Kernel::ConvForward,
        one_product: false,
        params,
        buffers: &[&call.theta.raw, &packed, &images, &call.p.raw, &call.route.raw],
        layer: (c.input_len(), c.output_len()),
        work: 4 * call.samples * c.output_len() * c.patch_len(),
        scalars: call.samples * (c.input_len() + 2 * c.output_len()) + c.weight_len(),
    }
    .each(gpu, call.samples * c.pooled_height() * c.pooled_width(), c.out_channels);
}

pub(super) fn tangent(gpu: &GpuDevice, c: &Conv, call: ConvTangent<'_, GpuDevice>) {
    assert_trips(c, c.in_channels);
    assert_parameters(c, call.theta, Some((call.vectors, call.directions)));
    let outputs = call.samples * c.output_len();
    call.x.holds("x", call.samples * c.input_len());
    if let Some(tx) = call.tx {
        tx.holds("tx", call.directions * call.samples * c.input_len());
    }
    call.route.holds("route", outputs);
    call.tp.holds("tp", call.directions * outputs);
    let products = 1 + usize::from(call.tx.is_some());
    let order = Order::outputs_last(c.out_channels, c.in_channels, c.kernel * c.kernel);
    let len = bordered_len(c, call.samples);
    for directions in gpu.groups(call.directions, len.max(order.len())) {
        let params = params(c, call.samples, &directions);
        let images = gpu.queue.scratch(Scratch::Packed, (1 + call.tx.map_or(0, |_| directions.len())) * len);
        let packed = gpu.queue.scratch(Scratch::Second, (1 + directions.len()) * order.len());
        border(gpu, c, &params, call.x, call.tx, &images);
        order.pack(gpu, weights(c, call.theta, call.vectors, &directions), directions.len(), &packed);
        Run {
            kernel: Kernel::ConvTangent,
            one_product: call.tx.is_none(),
            params,
            buffers: &[&call.vectors.raw, &packed, &images, &call.route.raw, &call.tp.raw],
            layer: (c.input_len(), c.output_len()),
            work: 4 * products * directions.len() * outputs * c.patch_len(),
            scalars: (1 + directions.len()) * (call.samples * c.input_len() + c.weight_len() + outputs),
        }
        .each(gpu, call.samples * c.pooled_height() * c.pooled_width(), c.out_channels);
    }
}

pub(super) fn backward(gpu: &GpuDevice, c: &Conv, call: ConvBackward<'_, GpuDevice>) {
    let outputs = call.samples * c.output_len();
    assert_parameters(c, call.theta, Some((call.gradient, 1)));
    call.x.holds("x", call.samples * c.input_len());
    call.route.holds("route", outputs);
    call.dp.holds("dp", outputs);
    let work = 4 * outputs * c.patch_len();
    let split = Split::new(gpu, c, call.samples, 1);
    let params = Params { slice: to_u32(split.slice), ..params(c, call.samples, &(0..1)) };
    {
        let images = gpu.queue.scratch(Scratch::Packed, bordered_len(c, call.samples));
        let partials = split.partials.scratch(gpu);
        border(gpu, c, &params, call.x, None, &images);
        let run = Run {
            kernel: Kernel::ConvBackwardWeights,
            one_product: false,
            params,
            buffers: &[&images, &call.route.raw, &call.dp.raw, &partials],
            layer: (c.input_len(), c.output_len()),
            work,
            scalars: call.samples * c.input_len() + 2 * outputs + split.partials.scalars(),
        };
        split.sum(gpu, c, run, &partials, call.gradient, call.accumulate);
    }
    if let Some(dx) = call.dx {
        assert_trips(c, c.out_channels);
        dx.holds("dx", call.samples * c.input_len());
        let order = Order::inputs_last(c.out_channels, c.in_channels, c.kernel * c.kernel);
        let packed = gpu.queue.scratch(Scratch::Packed, order.len());
        order.pack(gpu, weights(c, call.theta, call.theta, &(0..1)), 0, &packed);
        Run {
            kernel: Kernel::ConvBackwardInput,
            one_product: false,
            params,
            buffers: &[&packed, &call.route.raw, &call.dp.raw, &dx.raw],
            layer: (c.input_len(), c.output_len()),
            work,
            scalars: call.samples * c.input_len() + 2 * outputs + c.weight_len(),
        }
        .each(gpu, windows(c, call.samples), c.in_channels);
    }
}

pub(super) fn tangent_backward(gpu: &GpuDevice, c: &Conv, call: ConvTangentBackward<'_, GpuDevice>) {
    let outputs = call.samples * c.output_len();
    assert_parameters(c, call.theta, Some((call.vectors, call.directions)));
    assert_parameters(c, call.theta, Some((call.products, call.directions)));
    call.x.holds("x", call.samples * c.input_len());
    if let Some(tx) = call.tx {
        tx.holds("tx", call.directions * call.samples * c.input_len());
    }
    call.route.holds("route", outputs);
    if let Some(dp) = call.dp {
        dp.holds("dp", outputs);
    }
    call.tdp.holds("tdp", call.directions * outputs);
    // Terms of the adjoint itself, if they are wanted and there are any.
    let tx = call.tx.filter(|_| call.dp.is_some());
    let dp = call.dp.unwrap_or(call.tdp);
    let products = 1 + usize::from(tx.is_some());
    let len = bordered_len(c, call.samples);
    for directions in gpu.groups(call.directions, len) {
        let split = Split::new(gpu, c, call.samples, directions.len());
        let params = Params { slice: to_u32(split.slice), ..params(c, call.samples, &directions) };
        let images = gpu.queue.scratch(Scratch::Packed, (1 + tx.map_or(0, |_| directions.len())) * len);
        let partials = split.partials.scratch(gpu);
        border(gpu, c, &params, call.x, tx, &images);
        let run = Run {
            kernel: Kernel::ConvTangentBackwardWeights,
            one_product: tx.is_none(),
            params,
            buffers: &[&images, &call.route.raw, &dp.raw, &call.tdp.raw, &partials],
            layer: (c.input_len(), c.output_len()),
            work: 4 * products * directions.len() * outputs * c.patch_len(),
            scalars: (1 + directions.len()) * (call.samples * c.input_len() + outputs)
                + outputs
                + split.partials.scalars(),
        };
        split.sum(gpu, c, run, &partials, call.products, call.accumulate);
    }
    let Some(tdx) = call.tdx else { return };
    assert_trips(c, c.out_channels);
    tdx.holds("tdx", call.directions * call.samples * c.input_len());
    let order = Order::inputs_last(c.out_channels, c.in_channels, c.kernel * c.kernel);
    for directions in gpu.groups(call.directions, order.len()) {
        let packed_directions = call.dp.map_or(0, |_| directions.len());
        let packed = gpu.queue.scratch(Scratch::Packed, (1 + packed_directions) * order.len());
        order.pack(gpu, weights(c, call.theta, call.vectors, &directions), packed_directions, &packed);
        Run {
            kernel: Kernel::ConvTangentBackwardInput,
            one_product: call.dp.is_none(),
            params: params(c, call.samples, &directions),
            buffers: &[&packed, &call.route.raw, &dp.raw, &call.tdp.raw, &tdx.raw],
            layer: (c.input_len(), c.output_len()),
            work: 4 * (1 + usize::from(call.dp.is_some())) * directions.len() * outputs * c.patch_len(),
            scalars: (1 + directions.len()) * (outputs + c.weight_len())
                + outputs
                + directions.len() * call.samples * c.input_len(),
        }
        .each(gpu, windows(c, call.samples), c.in_channels);
    }
}

pub(super) fn coupling(gpu: &GpuDevice, first: &Conv, second: &Conv, call: ConvCoupling<'_, GpuDevice>) {
    assert_eq!(first.out_channels, second.in_channels, "the second block follows the first");
    let taps = second.kernel * second.kernel;
    let (own, len) = (first.patch_len() + 1, second.weight_len());
    let trips = own.max((second.out_channels * taps).div_ceil(WORKGROUP) + WORKGROUP);
    assert!(trips <= MAX_TRIPS, "{trips} iterations are too many for the GPU kernels: {first:?}, {second:?}");
    call.matrix.holds("matrix", own * len);
    for c in [first, second] {
        assert_parameters(c, call.vectors, Some((call.vectors, call.directions)));
        assert_parameters(c, call.products, Some((call.products, call.directions)));
    }
    let params = CouplingParams {
        channels: to_u32(second.in_channels),
        out_channels: to_u32(second.out_channels),
        taps: to_u32(taps),
        own: to_u32(own),
        first_weight: to_u32(first.weight),
        first_bias: to_u32(first.bias),
        weight: to_u32(second.weight),
        pitch: to_u32(second.pitch),
    };
    // A component of the first block is a sum over filters, by a workgroup.
    let first_components = own * second.in_channels;
    for (kernel, items, invocations) in
        [(Kernel::CouplingWeights, len, len), (Kernel::CouplingFirst, first_components, first_components * WORKGROUP)]
    {
        gpu.queue.dispatch(Dispatch {
            kernel,
            one_product: false,
            layer: (first.input_len(), second.output_len()),
            params: bytes_of(&params),
            buffers: &[&call.matrix.raw, &call.vectors.raw, &call.products.raw],
            grid: flat(invocations, call.directions),
            work: (call.directions * own * len) as u64,
            bytes: (4 * call.directions * (own * len + 2 * items)) as u64,
        });
    }
}

/// How the sum over samples and pooled rows that gives the adjoint of the weights is split into slices.
struct Split {
    /// Pooled rows of one slice.
    slice: usize,
    /// Workgroups of one slice and direction: tiles of taps and of output channels.
    tiles: [usize; 2],
    /// Of weights and biases.
    partials: Partials,
}

impl Split {
    fn new(gpu: &GpuDevice, c: &Conv, samples: usize, directions: usize) -> Self {
        let tiles = gpu.tiling().cover(c.out_channels, c.patch_len());
        // The tangent kernel walks a pooled row twice, and stages the cells of it each time.
        let trips = 1 + 5 * c.pooled_width();
        let (slice, slices) = gpu.tiling().slices(samples * c.pooled_height(), trips, tiles[0] * tiles[1] * directions);
        Self { slice, tiles, partials: Partials { slices, directions, len: c.weight_len() + c.out_channels } }
    }

    /// Runs the kernel that writes the partial sums, then sums them into a block of parameter vectors.
    fn sum(&self, gpu: &GpuDevice, c: &Conv, run: Run<'_>, partials: &Storage, to: &Buffer, accumulate: bool) {
        let Partials { slices, directions, .. } = self.partials;
        let first = run.params.first as usize;
        run.cut(gpu, slices * directions, |pairs| grid([self.tiles[0], self.tiles[1], pairs]));
        let store = if accumulate { Store::Add } else { Store::Set };
        let to = Destination { buffer: to, offset: first * c.pitch + c.weight, pitch: c.pitch, store };
        self.partials.sum(gpu, (c.input_len(), c.output_len()), partials, to);
    }
}
