//! The conv block: only the routed position of each window is computed.

use super::geometry::{MAX_TRIPS, WORKGROUP, flat, grid, slices, to_u32};
use super::queue::{Dispatch, Scratch};
use super::shader::Kernel;
use super::{Buffer, GpuDevice};
use crate::device::{ConvBackward, ConvForward, ConvTangent, ConvTangentBackward};
use crate::network::Conv;
use bytemuck::{Pod, Zeroable, bytes_of};

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
}

/// `struct Sum` in shaders/sum_partials.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct SumParams {
    slices: u32,
    directions: u32,
    len: u32,
    offset: u32,
    pitch: u32,
}

/// `CHANNELS` in shaders/lib/conv.wgsl.
const CHANNELS: usize = 4;

fn params(c: &Conv, samples: usize, directions: usize) -> Params {
    let pixels = [c.in_channels, c.out_channels, c.height / 2, c.width / 2, c.kernel % 2];
    assert!(pixels.iter().all(|&size| size > 0), "an empty layer or an even kernel: {c:?}");
    assert_eq!(c.bias, c.weight + c.weight_len(), "the bias follows the weight");
    Params {
        samples: to_u32(samples),
        directions: to_u32(directions),
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
    }
}

/// Iterations of the loops over input channels and taps.
fn trips(c: &Conv) -> usize {
    c.in_channels * (1 + c.kernel * (1 + c.kernel))
}

/// Iterations of the gather over output channels and the windows in reach.
fn gather_trips(c: &Conv) -> usize {
    let windows = c.kernel / 2 + 1;
    c.out_channels * (1 + windows * (1 + windows))
}

fn assert_trips(c: &Conv, trips: usize) {
    assert!(trips <= MAX_TRIPS, "{trips} iterations an output are too many for the GPU kernels: {c:?}");
}

/// Components that a parameter vector needs, and a block of them.
fn assert_parameters(c: &Conv, theta: &Buffer, block: Option<(&Buffer, usize)>) {
    theta.holds("theta", c.bias + c.out_channels);
    if let Some((block, directions)) = block {
        block.holds("block", directions.saturating_sub(1) * c.pitch + c.bias + c.out_channels);
    }
}

/// A kernel's call, which becomes as many dispatches as its work needs.
struct Run<'a> {
    kernel: Kernel,
    first_layer: bool,
    params: Params,
    buffers: &'a [&'a wgpu::Buffer],
    work: usize,
}

impl Run<'_> {
    /// One invocation for each of `items` in each direction.
    fn each(self, gpu: &GpuDevice, items: usize, directions: usize) {
        self.cut(gpu, items, |len| flat(len, directions));
    }

    fn cut(self, gpu: &GpuDevice, len: usize, grid: impl Fn(usize) -> [u32; 3]) {
        for (range, work) in gpu.queue.pieces(len, self.work) {
            gpu.queue.dispatch(Dispatch {
                kernel: self.kernel,
                first_layer: self.first_layer,
                params: bytes_of(&Params { base: to_u32(range.start), ..self.params }),
                buffers: self.buffers,
                grid: grid(range.len()),
                work,
            });
        }
    }
}

pub(super) fn forward(gpu: &GpuDevice, c: &Conv, call: ConvForward<'_, GpuDevice>) {
    assert_trips(c, trips(c));
    assert_parameters(c, call.theta, None);
    call.x.holds("x", call.samples * c.input_len());
    call.p.holds("p", call.samples * c.output_len());
    call.route.holds("route", call.samples * c.output_len());
    Run {
        kernel: Kernel::ConvForward,
        first_layer: false,
        params: params(c, call.samples, 1),
        buffers: &[&call.theta.raw, &call.x.raw, &call.p.raw, &call.route.raw],
        work: 4 * call.samples * c.output_len() * c.patch_len(),
    }
    .each(gpu, call.samples * c.out_channels.div_ceil(CHANNELS) * c.pooled_height() * c.pooled_width(), 1);
}

pub(super) fn tangent(gpu: &GpuDevice, c: &Conv, call: ConvTangent<'_, GpuDevice>) {
    assert_trips(c, trips(c));
    assert_parameters(c, call.theta, Some((call.vectors, call.directions)));
    let outputs = call.samples * c.output_len();
    call.x.holds("x", call.samples * c.input_len());
    let tx = call.tx.unwrap_or(call.x);
    if call.tx.is_some() {
        tx.holds("tx", call.directions * call.samples * c.input_len());
    }
    call.route.holds("route", outputs);
    call.tp.holds("tp", call.directions * outputs);
    Run {
        kernel: Kernel::ConvTangent,
        first_layer: call.tx.is_none(),
        params: params(c, call.samples, call.directions),
        buffers: &[&call.theta.raw, &call.vectors.raw, &call.x.raw, &tx.raw, &call.route.raw, &call.tp.raw],
        work: 2 * call.directions * outputs * c.patch_len(),
    }
    .each(gpu, outputs, call.directions);
}

pub(super) fn backward(gpu: &GpuDevice, c: &Conv, call: ConvBackward<'_, GpuDevice>) {
    let outputs = call.samples * c.output_len();
    assert_parameters(c, call.theta, Some((call.gradient, 1)));
    call.x.holds("x", call.samples * c.input_len());
    call.route.holds("route", outputs);
    call.dp.holds("dp", outputs);
    let work = outputs * c.patch_len();
    let split = Split::new(c, call.samples, 1);
    let params = Params { slice: to_u32(split.slice), ..params(c, call.samples, 1) };
    let partials = gpu.queue.scratch(Scratch::Second, split.partials());
    let run = Run {
        kernel: Kernel::ConvBackwardWeights,
        first_layer: false,
        params,
        buffers: &[&call.x.raw, &call.route.raw, &call.dp.raw, &partials],
        work,
    };
    split.sum(gpu, run, &partials, call.gradient);
    drop(partials);
    if let Some(dx) = call.dx {
        assert_trips(c, gather_trips(c));
        dx.holds("dx", call.samples * c.input_len());
        Run {
            kernel: Kernel::ConvBackwardInput,
            first_layer: false,
            params,
            buffers: &[&call.theta.raw, &call.route.raw, &call.dp.raw, &dx.raw],
            work,
        }
        .each(gpu, input_quads(c, call.samples), 1);
    }
}

pub(super) fn tangent_backward(gpu: &GpuDevice, c: &Conv, call: ConvTangentBackward<'_, GpuDevice>) {
    let outputs = call.samples * c.output_len();
    assert_parameters(c, call.theta, Some((call.vectors, call.directions)));
    assert_parameters(c, call.theta, Some((call.products, call.directions)));
    call.x.holds("x", call.samples * c.input_len());
    let tx = call.tx.unwrap_or(call.x);
    if call.tx.is_some() {
        tx.holds("tx", call.directions * call.samples * c.input_len());
    }
    call.route.holds("route", outputs);
    call.dp.holds("dp", outputs);
    call.tdp.holds("tdp", call.directions * outputs);
    let work = 2 * call.directions * outputs * c.patch_len();
    let split = Split::new(c, call.samples, call.directions);
    let params = Params { slice: to_u32(split.slice), ..params(c, call.samples, call.directions) };
    let partials = gpu.queue.scratch(Scratch::Second, split.partials());
    let run = Run {
        kernel: Kernel::ConvTangentBackwardWeights,
        first_layer: call.tx.is_none(),
        params,
        buffers: &[&call.x.raw, &tx.raw, &call.route.raw, &call.dp.raw, &call.tdp.raw, &partials],
        work,
    };
    split.sum(gpu, run, &partials, call.products);
    drop(partials);
    if let Some(tdx) = call.tdx {
        assert_trips(c, gather_trips(c));
        tdx.holds("tdx", call.directions * call.samples * c.input_len());
        Run {
            kernel: Kernel::ConvTangentBackwardInput,
            first_layer: false,
            params,
            buffers: &[&call.theta.raw, &call.vectors.raw, &call.route.raw, &call.dp.raw, &call.tdp.raw, &tdx.raw],
            work,
        }
        .each(gpu, input_quads(c, call.samples), call.directions);
    }
}

/// What an invocation of the gathering kernels computes is one pixel of four input channels.
fn input_quads(c: &Conv, samples: usize) -> usize {
    samples * c.in_channels.div_ceil(CHANNELS) * c.height * c.width
}

/// How the sum over samples and pooled rows that gives the adjoint of the weights is split into slices.
struct Split {
    /// Pooled rows of one slice.
    slice: usize,
    /// Number of slices.
    slices: usize,
    directions: usize,
    /// Invocations of one slice and direction: four input channels of a tap, or a bias.
    invocations: usize,
    /// Weights and biases.
    len: usize,
}

impl Split {
    fn new(c: &Conv, samples: usize, directions: usize) -> Self {
        let quads = c.out_channels * c.in_channels.div_ceil(CHANNELS) * c.kernel * c.kernel;
        let invocations = quads + c.out_channels;
        let (slice, slices) = slices(samples * c.pooled_height(), 1 + c.pooled_width(), invocations * directions);
        Self { slice, slices, directions, invocations, len: c.weight_len() + c.out_channels }
    }

    /// Length of the partial sums (slices, directions, weights and biases).
    fn partials(&self) -> usize {
        self.slices * self.directions * self.len
    }

    /// Runs the kernel that writes the partial sums, then adds them to a block of parameter vectors, first slice first.
    fn sum(&self, gpu: &GpuDevice, run: Run<'_>, partials: &wgpu::Buffer, to: &Buffer) {
        let Params { weight, pitch, directions, .. } = run.params;
        let groups = self.invocations.div_ceil(WORKGROUP);
        run.cut(gpu, self.slices * self.directions, |pairs| grid([groups, 1, pairs]));
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::SumPartials,
            first_layer: false,
            params: bytes_of(&SumParams {
                slices: to_u32(self.slices),
                directions,
                len: to_u32(self.len),
                offset: weight,
                pitch,
            }),
            buffers: &[partials, &to.raw],
            grid: flat(self.len, self.directions),
            work: self.partials() as u64,
        });
    }
}
