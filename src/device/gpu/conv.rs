//! The conv block, with the pooling in a kernel's last lines and the un-pooling in its first, so that nothing of the size before
//! the pool is ever stored. The forward pass is an implicit matrix product in register tiles; so are the others on software
//! adapters, while on GPUs they do no work but at the routed positions.
//!
//! The images are copied with a border of zeros and the weights with their channels last, for GPUs in quads; both are small beside
//! the work.

use super::geometry::{MAX_GROUPS, MAX_TRIPS, Staging, TILE_ROWS, WORKGROUP, flat, grid, to_u32};
use super::pack::{Operand, Order};
use super::partials::{Destination, Partials};
use super::queue::{Dispatch, Scratch};
use super::shader::{Kernel, Sharing, Variant};
use super::storage::Storage;
use super::{Buffer, Codes, GpuDevice};
use crate::device::{ConvBackward, ConvCoupling, ConvForward, ConvTangent, ConvTangentBackward, Store};
use crate::network::Conv;
use crate::{Error, Result};
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

/// The largest kernel whose taps GPUs stage, with the adjoints that they meet in the widest images.
const MAX_KERNEL: usize = 17;

/// Loop iterations over the channels and taps of an output.
fn trips(c: &Conv, channels: usize) -> usize {
    channels * (1 + c.kernel * (1 + c.kernel))
}

/// And of the kernel of the input's adjoint on GPUs, in all loops, none unrolled: it walks the output channels twice, the second
/// time for each direction of a lane.
fn scatter_trips(c: &Conv) -> usize {
    let of = |directions: usize| {
        let staging = Staging::new(c.kernel, c.width.div_ceil(2), directions > 1)?;
        let [channels, cells] = [staging.channels, staging.cells].map(|len| len as usize);
        let around = (c.kernel / 2).div_ceil(2) * 2 + 1;
        let cells = cells.div_ceil(WORKGROUP) * (1 + channels);
        let taps = (channels * c.kernel * c.kernel).div_ceil(WORKGROUP) + channels * (1 + around * (1 + around));
        Some(c.out_channels.div_ceil(channels) * (2 * (1 + cells) + (1 + directions) * taps))
    };
    [1, 4].into_iter().filter_map(of).max().unwrap_or_default()
}

/// Whether the kernel of the input's adjoint ends on the adapter: no GPU counts iterations, but Mesa's rasteriser does.
fn scatter_ends(gpu: &GpuDevice, c: &Conv) -> bool {
    gpu.sharing() == Sharing::Subgroup || !gpu.description.is_software || scatter_trips(c) <= 2 * MAX_TRIPS
}

/// Whether an invocation may loop as long as a block needs, and workgroup memory holds the taps of a channel.
pub(super) fn check(gpu: &GpuDevice, c: &Conv) -> Result<()> {
    if gpu.sharing() == Sharing::Workgroup && c.kernel > MAX_KERNEL {
        let k = c.kernel;
        let message =
            format!("a kernel of {k}x{k} is too large for GPUs, which take {MAX_KERNEL}x{MAX_KERNEL} at most");
        return Err(Error::Usage(format!("network: {message}; use --device cpu")));
    }
    let rows = c.height + c.kernel - 1;
    if trips(c, c.in_channels.max(c.out_channels)).max(rows) > MAX_TRIPS || !scatter_ends(gpu, c) {
        let (size, maps) = (c.kernel, c.out_channels);
        let message = format!("conv {size}x{size} {maps} on {} channels takes sums that are too long", c.in_channels);
        return Err(Error::Usage(format!("network: {message} for GPUs; use --device cpu")));
    }
    Ok(())
}

/// Asserts what `check` says.
fn assert_trips(c: &Conv, channels: usize) {
    let trips = trips(c, channels);
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

/// Whether there are so few input channels that quads are of pixels: shaders/lib/quads.wgsl.
fn few_channels(c: &Conv) -> bool {
    c.in_channels < 3
}

/// Quads of a pixel.
fn quads(c: &Conv) -> usize {
    if few_channels(c) { c.in_channels } else { c.in_channels.div_ceil(4) }
}

/// Scalars of the bordered images of one direction, or of the primal.
fn images_len(c: &Conv, samples: usize, in_quads: bool) -> usize {
    let len = bordered_len(c, samples);
    if in_quads { 4 * len / c.in_channels * quads(c) } else { len }
}

/// Windows of 2x2 input pixels; an odd last row or column makes windows too.
fn windows(c: &Conv, samples: usize) -> usize {
    samples * c.height.div_ceil(2) * c.width.div_ceil(2)
}

/// Copies the images with borders: those of the primal, and the tangents of a group of directions if there are any.
fn border(gpu: &GpuDevice, c: &Conv, params: &Params, x: &Buffer, tx: Option<&Buffer>, in_quads: bool, to: &Storage) {
    let slots = 1 + tx.map_or(0, |_| params.directions as usize);
    let len = bordered_len(c, params.samples as usize);
    let columns = if in_quads { len / c.in_channels * quads(c) } else { len };
    let rows = c.height + c.kernel - 1;
    assert!(rows <= MAX_TRIPS, "images are too high for the GPU kernels: {c:?}");
    // A software adapter divides lane by lane, which all rows of a column share there.
    let rows_each = if gpu.sharing() == Sharing::Workgroup { 4 } else { rows };
    gpu.queue.dispatch(Dispatch {
        kernel: Kernel::Border,
        variant: Variant { in_quads, few_channels: in_quads && few_channels(c), ..Variant::default() },
        layer: (c.input_len(), c.output_len()),
        params: bytes_of(&Params { slice: to_u32(rows_each), ..*params }),
        buffers: &[&x.raw, &tx.unwrap_or(x).raw, to],
        grid: flat(columns / rows * rows.div_ceil(rows_each), slots),
        work: 0,
        bytes: (4 * slots * (len + images_len(c, params.samples as usize, in_quads))) as u64,
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
    variant: Variant,
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
        self.cut(gpu, items, WORKGROUP, |groups| [groups, rows.div_ceil(TILE_ROWS), directions]);
    }

    /// One invocation for each of `channels`, eight of `items` (`WINDOWS` in shaders/conv_tangent.wgsl) and a lane's directions.
    fn gather(self, gpu: &GpuDevice, items: usize, channels: usize) {
        let directions = groups_of(self.params.directions as usize, self.variant);
        self.cut(gpu, items, 8, |groups| [groups, channels.div_ceil(WORKGROUP), directions]);
    }

    /// One invocation for each window, four of the input channels and a lane's directions. A row of more than 64 windows has a
    /// whole number of workgroups.
    fn scatter(self, gpu: &GpuDevice, c: &Conv) {
        let directions = groups_of(self.params.directions as usize, self.variant);
        let across = c.width.div_ceil(2);
        let row = if across > WORKGROUP { across.next_multiple_of(WORKGROUP) } else { across };
        let groups = (self.params.samples as usize * c.height.div_ceil(2) * row).div_ceil(WORKGROUP);
        self.cut(gpu, groups, 1, |groups| [groups, c.in_channels.div_ceil(4), directions]);
    }

    /// A grid for so many groups of `each` of the `len` items, in as many dispatches as the work and the groups need.
    fn cut(self, gpu: &GpuDevice, len: usize, each: usize, groups: impl Fn(usize) -> [usize; 3]) {
        let most = MAX_GROUPS * each;
        for (piece, _) in gpu.queue.pieces(len, self.work) {
            for start in piece.clone().step_by(most) {
                let count = most.min(piece.end - start);
                let share = count as f64 / len as f64;
                gpu.queue.dispatch(Dispatch {
                    kernel: self.kernel,
                    variant: self.variant,
                    layer: self.layer,
                    params: bytes_of(&Params { base: to_u32(start), ..self.params }),
                    buffers: self.buffers,
                    grid: grid(groups(count.div_ceil(each))),
                    work: (self.work as f64 * share) as u64,
                    bytes: (4.0 * self.scalars as f64 * share) as u64,
                });
            }
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
    border(gpu, c, &params, call.x, None, false, &images);
    order.pack(gpu, weights(c, call.theta, call.theta, &(0..1)), 0, &packed);
    Run {
        kernel: Kernel::ConvForward,
        variant: Variant::default(),
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
    let routed = gpu.sharing() == Sharing::Workgroup;
    let order = if routed {
        Order::quads(c.out_channels, c.in_channels, c.kernel, few_channels(c))
    } else {
        Order::outputs_last(c.out_channels, c.in_channels, c.kernel * c.kernel)
    };
    let len = images_len(c, call.samples, routed);
    for directions in gpu.groups(call.directions, len.max(order.len())) {
        let params = params(c, call.samples, &directions);
        let images = gpu.queue.scratch(Scratch::Packed, (1 + call.tx.map_or(0, |_| directions.len())) * len);
        let packed = gpu.queue.scratch(Scratch::Second, (1 + directions.len()) * order.len());
        border(gpu, c, &params, call.x, call.tx, routed, &images);
        order.pack(gpu, weights(c, call.theta, call.vectors, &directions), directions.len(), &packed);
        let run = Run {
            kernel: Kernel::ConvTangent,
            variant: with_quads(gpu, c, variant(gpu, c, directions.len(), call.tx.is_none())),
            params,
            buffers: &[&call.vectors.raw, &packed, &images, &call.route.raw, &call.tp.raw],
            layer: (c.input_len(), c.output_len()),
            work: positions(gpu) * products * directions.len() * outputs * c.patch_len(),
            scalars: (1 + directions.len()) * (call.samples * c.input_len() + c.weight_len() + outputs),
        };
        let items = call.samples * c.pooled_height() * c.pooled_width();
        if routed {
            run.gather(gpu, items, c.out_channels);
        } else {
            run.each(gpu, items, c.out_channels);
        }
    }
}

pub(super) fn backward(gpu: &GpuDevice, c: &Conv, call: ConvBackward<'_, GpuDevice>) {
    assert_parameters(c, call.theta, Some((call.gradient, 1)));
    let adjoint =
        Adjoint { samples: call.samples, x: call.x, route: call.route, tdp: call.dp, directions: 1, dp: None };
    adjoint.assert(c);
    adjoint.weights(gpu, c, None, call.gradient, call.accumulate);
    if let Some(dx) = call.dx {
        adjoint.input(gpu, c, call.theta, call.theta, dx);
    }
}

pub(super) fn tangent_backward(gpu: &GpuDevice, c: &Conv, call: ConvTangentBackward<'_, GpuDevice>) {
    assert_parameters(c, call.theta, Some((call.vectors, call.directions)));
    assert_parameters(c, call.theta, Some((call.products, call.directions)));
    let &ConvTangentBackward { samples, x, route, directions, dp, .. } = &call;
    let adjoint = Adjoint { samples, x, route, tdp: call.tdp, directions, dp };
    adjoint.assert(c);
    // Terms of the adjoint itself, if they are wanted and there are any.
    let tx = call.tx.filter(|_| call.dp.is_some());
    if let Some(tx) = call.tx {
        tx.holds("tx", call.directions * call.samples * c.input_len());
    }
    adjoint.weights(gpu, c, tx, call.products, call.accumulate);
    if let Some(tdx) = call.tdx {
        adjoint.input(gpu, c, call.theta, call.vectors, tdx);
    }
}

/// An adjoint `dp` of a conv block's output and its tangents `tdp`, or, in place of those, one adjoint and no tangents.
struct Adjoint<'a> {
    samples: usize,
    x: &'a Buffer,
    route: &'a Codes,
    tdp: &'a Buffer,
    directions: usize,
    dp: Option<&'a Buffer>,
}

impl Adjoint<'_> {
    fn outputs(&self, c: &Conv) -> usize {
        self.samples * c.output_len()
    }

    fn assert(&self, c: &Conv) {
        self.x.holds("x", self.samples * c.input_len());
        self.route.holds("route", self.outputs(c));
        self.tdp.holds("tdp", self.directions * self.outputs(c));
        if let Some(dp) = self.dp {
            dp.holds("dp", self.outputs(c));
        }
    }

    /// Of the weights and biases.
    fn weights(&self, gpu: &GpuDevice, c: &Conv, tx: Option<&Buffer>, to: &Buffer, accumulate: bool) {
        let outputs = self.outputs(c);
        let products = 1 + usize::from(tx.is_some());
        let in_quads = gpu.sharing() == Sharing::Workgroup;
        let len = images_len(c, self.samples, in_quads);
        for directions in gpu.groups(self.directions, len) {
            let split = Split::new(gpu, c, self.samples, directions.len(), tx.is_none());
            let params = Params { slice: to_u32(split.slice), ..params(c, self.samples, &directions) };
            let images = gpu.queue.scratch(Scratch::Packed, (1 + tx.map_or(0, |_| directions.len())) * len);
            let partials = split.partials.scratch(gpu);
            border(gpu, c, &params, self.x, tx, in_quads, &images);
            let run = Run {
                kernel: Kernel::ConvTangentBackwardWeights,
                variant: split.variant,
                params,
                buffers: &[&images, &self.route.raw, &self.dp.unwrap_or(self.tdp).raw, &self.tdp.raw, &partials],
                layer: (c.input_len(), c.output_len()),
                work: positions(gpu) * products * directions.len() * outputs * c.patch_len(),
                scalars: (1 + directions.len()) * (self.samples * c.input_len() + outputs)
                    + outputs
                    + split.partials.scalars(),
            };
            split.sum(gpu, c, run, &partials, to, accumulate);
        }
    }

    /// Of the input.
    fn input(&self, gpu: &GpuDevice, c: &Conv, theta: &Buffer, vectors: &Buffer, to: &Buffer) {
        assert_trips(c, c.out_channels);
        assert!(scatter_ends(gpu, c), "too many iterations for a software adapter: {c:?}");
        to.holds("dx", self.directions * self.samples * c.input_len());
        let outputs = self.outputs(c);
        let order = Order::inputs_last(c.out_channels, c.in_channels, c.kernel * c.kernel);
        for directions in gpu.groups(self.directions, order.len()) {
            let packed_directions = self.dp.map_or(0, |_| directions.len());
            let packed = gpu.queue.scratch(Scratch::Packed, (1 + packed_directions) * order.len());
            order.pack(gpu, weights(c, theta, vectors, &directions), packed_directions, &packed);
            let items = windows(c, self.samples);
            let routed = gpu.sharing() == Sharing::Workgroup;
            // Four taps of each cell that reaches a window, or of each pixel of a window all taps.
            let taps = if routed { 4 * cells_reached(c) } else { 4 * c.kernel * c.kernel };
            let products = 1 + usize::from(self.dp.is_some());
            let variant = variant(gpu, c, directions.len(), self.dp.is_none());
            let run = Run {
                kernel: Kernel::ConvTangentBackwardInput,
                variant: if routed { staged(c, variant) } else { variant },
                params: params(c, self.samples, &directions),
                buffers: &[&packed, &self.route.raw, &self.dp.unwrap_or(self.tdp).raw, &self.tdp.raw, &to.raw],
                layer: (c.input_len(), c.output_len()),
                work: products * directions.len() * items * c.in_channels * c.out_channels * taps,
                scalars: (1 + directions.len()) * (outputs + c.weight_len())
                    + outputs
                    + directions.len() * self.samples * c.input_len(),
            };
            if routed {
                run.scatter(gpu, c);
            } else {
                run.each(gpu, items, c.in_channels);
            }
        }
    }
}

/// The variant of a kernel for a layer and so many directions: where lanes of a GPU share, they have four directions together,
/// or one if there is no other.
fn variant(gpu: &GpuDevice, c: &Conv, directions: usize, one_product: bool) -> Variant {
    match gpu.sharing() {
        Sharing::Workgroup => Variant {
            one_product,
            four_directions: directions > 1,
            kernel_size: to_u32(c.kernel),
            ..Variant::default()
        },
        Sharing::Subgroup => Variant { one_product, ..Variant::default() },
    }
}

/// The variant for quads of the block's channels, which GPUs have.
fn with_quads(gpu: &GpuDevice, c: &Conv, variant: Variant) -> Variant {
    Variant { few_channels: gpu.sharing() == Sharing::Workgroup && few_channels(c), ..variant }
}

/// The variant that stages adjoints; of one direction, if four's do not fit.
fn staged(c: &Conv, variant: Variant) -> Variant {
    let across = c.width.div_ceil(2);
    let four = Staging::new(c.kernel, across, true).filter(|_| variant.four_directions);
    let staging = four.or_else(|| Staging::new(c.kernel, across, false)).expect("a kernel that `check` lets pass");
    Variant { four_directions: four.is_some(), staging, ..variant }
}

/// Positions of a window that the kernels compute: all four, or the routed one.
fn positions(gpu: &GpuDevice) -> usize {
    if gpu.sharing() == Sharing::Workgroup { 1 } else { 4 }
}

/// Pooled cells that reach a window of 2x2 input pixels: the square of `reached` in shaders/lib/scatter.wgsl.
fn cells_reached(c: &Conv) -> usize {
    (2 * (c.kernel / 2).div_ceil(2) + 1).pow(2)
}

/// Groups of directions that one lane has together.
fn groups_of(directions: usize, variant: Variant) -> usize {
    if variant.four_directions { directions.div_ceil(4) } else { directions }
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
            variant: Variant::default(),
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
    /// Workgroups of one slice and a lane's directions: tiles of taps and of output channels.
    tiles: [usize; 2],
    /// Pairs of slice and group of directions.
    parts: usize,
    variant: Variant,
    /// Of weights and biases.
    partials: Partials,
}

impl Split {
    fn new(gpu: &GpuDevice, c: &Conv, samples: usize, directions: usize, one_product: bool) -> Self {
        let columns = c.patch_len();
        let (variant, tiles, trips) = match gpu.sharing() {
            Sharing::Workgroup => {
                let across = if few_channels(c) { c.kernel.div_ceil(4) } else { c.kernel };
                let variant = with_quads(gpu, c, variant(gpu, c, directions, one_product));
                // Four quads of columns a lane.
                let tiles = [(quads(c) * c.kernel * across).div_ceil(4 * WORKGROUP), c.out_channels];
                (variant, tiles, 1 + 2 * c.pooled_width())
            }
            Sharing::Subgroup => {
                let variant = variant(gpu, c, directions, one_product);
                // The kernel walks a pooled row twice.
                (variant, gpu.tiling().cover(c.out_channels, columns), 1 + 5 * c.pooled_width())
            }
        };
        let groups = groups_of(directions, variant);
        let (slice, slices) = gpu.tiling().slices(samples * c.pooled_height(), trips, tiles[0] * tiles[1] * groups);
        let partials = Partials { slices, directions, len: c.weight_len() + c.out_channels };
        Self { slice, tiles, parts: slices * groups, variant, partials }
    }

    /// Runs the kernel that writes the partial sums, then sums them into a block of parameter vectors.
    fn sum(&self, gpu: &GpuDevice, c: &Conv, run: Run<'_>, partials: &Storage, to: &Buffer, accumulate: bool) {
        let first = run.params.first as usize;
        run.cut(gpu, self.parts, 1, |parts| [self.tiles[0], self.tiles[1], parts]);
        let store = if accumulate { Store::Add } else { Store::Set };
        let to = Destination { buffer: to, offset: first * c.pitch + c.weight, pitch: c.pitch, store };
        self.partials.sum(gpu, (c.input_len(), c.output_len()), partials, to);
    }
}
