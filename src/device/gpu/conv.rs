//! The conv block: only the routed position of each window is computed.

use super::geometry::{MAX_TRIPS, WORKGROUP, flat, grid, slices, to_u32};
use super::queue::Dispatch;
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

pub(super) fn forward(gpu: &GpuDevice, c: &Conv, call: ConvForward<'_, GpuDevice>) {
    let params = params(c, call.samples, 1);
    assert_trips(c, trips(c));
    assert_parameters(c, call.theta, None);
    call.x.holds("x", call.samples * c.input_len());
    call.p.holds("p", call.samples * c.output_len());
    call.route.holds("route", call.samples * c.output_len());
    let cells = c.pooled_height() * c.pooled_width();
    gpu.queue.dispatch(Dispatch {
        kernel: Kernel::ConvForward,
        first_layer: false,
        params: bytes_of(&params),
        buffers: &[&call.theta.raw, &call.x.raw, &call.p.raw, &call.route.raw],
        grid: flat(call.samples * c.out_channels.div_ceil(CHANNELS) * cells, 1),
        work: (4 * call.samples * c.output_len() * c.patch_len()) as u64,
    });
}

pub(super) fn tangent(gpu: &GpuDevice, c: &Conv, call: ConvTangent<'_, GpuDevice>) {
    let params = params(c, call.samples, call.directions);
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
    gpu.queue.dispatch(Dispatch {
        kernel: Kernel::ConvTangent,
        first_layer: call.tx.is_none(),
        params: bytes_of(&params),
        buffers: &[&call.theta.raw, &call.vectors.raw, &call.x.raw, &tx.raw, &call.route.raw, &call.tp.raw],
        grid: flat(outputs, call.directions),
        work: (2 * call.directions * outputs * c.patch_len()) as u64,
    });
}

pub(super) fn backward(gpu: &GpuDevice, c: &Conv, call: ConvBackward<'_, GpuDevice>) {
    let cut = Cut::new(c, call.samples, 1);
    let params = Params { slice: to_u32(cut.slice), ..params(c, call.samples, 1) };
    let outputs = call.samples * c.output_len();
    assert_parameters(c, call.theta, Some((call.gradient, 1)));
    call.x.holds("x", call.samples * c.input_len());
    call.route.holds("route", outputs);
    call.dp.holds("dp", outputs);
    let work = (outputs * c.patch_len()) as u64;
    let partials = gpu.queue.scratch(cut.partials);
    gpu.queue.dispatch(Dispatch {
        kernel: Kernel::ConvBackwardWeights,
        first_layer: false,
        params: bytes_of(&params),
        buffers: &[&call.x.raw, &call.route.raw, &call.dp.raw, &partials],
        grid: cut.grid,
        work,
    });
    cut.add_up(gpu, c, &partials, call.gradient);
    drop(partials);
    if let Some(dx) = call.dx {
        assert_trips(c, gather_trips(c));
        dx.holds("dx", call.samples * c.input_len());
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::ConvBackwardInput,
            first_layer: false,
            params: bytes_of(&params),
            buffers: &[&call.theta.raw, &call.route.raw, &call.dp.raw, &dx.raw],
            grid: input_grid(c, call.samples, 1),
            work,
        });
    }
}

pub(super) fn tangent_backward(gpu: &GpuDevice, c: &Conv, call: ConvTangentBackward<'_, GpuDevice>) {
    let cut = Cut::new(c, call.samples, call.directions);
    let params = Params { slice: to_u32(cut.slice), ..params(c, call.samples, call.directions) };
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
    let work = (2 * call.directions * outputs * c.patch_len()) as u64;
    let partials = gpu.queue.scratch(cut.partials);
    gpu.queue.dispatch(Dispatch {
        kernel: Kernel::ConvTangentBackwardWeights,
        first_layer: call.tx.is_none(),
        params: bytes_of(&params),
        buffers: &[&call.x.raw, &tx.raw, &call.route.raw, &call.dp.raw, &call.tdp.raw, &partials],
        grid: cut.grid,
        work,
    });
    cut.add_up(gpu, c, &partials, call.products);
    drop(partials);
    if let Some(tdx) = call.tdx {
        assert_trips(c, gather_trips(c));
        tdx.holds("tdx", call.directions * call.samples * c.input_len());
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::ConvTangentBackwardInput,
            first_layer: false,
            params: bytes_of(&params),
            buffers: &[&call.theta.raw, &call.vectors.raw, &call.route.raw, &call.dp.raw, &call.tdp.raw, &tdx.raw],
            grid: input_grid(c, call.samples, call.directions),
            work,
        });
    }
}

/// One invocation of the gathering kernels: one pixel of four input channels.
fn input_grid(c: &Conv, samples: usize, directions: usize) -> [u32; 3] {
    flat(samples * c.in_channels.div_ceil(CHANNELS) * c.height * c.width, directions)
}

/// How the sum over samples and pooled rows that gives the weights' adjoint is cut.
struct Cut {
    /// Pooled rows of one slice.
    slice: usize,
    /// Number of slices.
    count: usize,
    directions: usize,
    /// Length of the partial sums.
    partials: usize,
    grid: [u32; 3],
}

impl Cut {
    fn new(c: &Conv, samples: usize, directions: usize) -> Self {
        let quads = c.out_channels * c.in_channels.div_ceil(CHANNELS) * c.kernel * c.kernel;
        let invocations = quads + c.out_channels;
        let (slice, count) = slices(samples * c.pooled_height(), 1 + c.pooled_width(), invocations * directions);
        let partials = count * directions * (c.weight_len() + c.out_channels);
        Self { slice, count, directions, partials, grid: grid([invocations.div_ceil(WORKGROUP), directions, count]) }
    }

    /// Adds the partial sums to a block of parameter vectors, in the order of the slices.
    fn add_up(&self, gpu: &GpuDevice, c: &Conv, partials: &wgpu::Buffer, to: &Buffer) {
        let len = c.weight_len() + c.out_channels;
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::SumPartials,
            first_layer: false,
            params: bytes_of(&SumParams {
                slices: to_u32(self.count),
                directions: to_u32(self.directions),
                len: to_u32(len),
                offset: to_u32(c.weight),
                pitch: to_u32(c.pitch),
            }),
            buffers: &[partials, &to.raw],
            grid: flat(len, self.directions),
            work: self.partials as u64,
        });
    }
}
