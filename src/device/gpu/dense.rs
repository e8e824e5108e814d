//! The dense layer: matrix products in register tiles.
//!
//! What belongs to a tile's rows must lie so that a workgroup loads it at once, and what belongs to its columns so that
//! neighbours load neighbours. The weights are where they are; activations, a thousandth of the work, are transposed where
//! that is needed. Long sums are cut into slices.

use super::geometry::{flat, grid, ranges, to_u32};
use super::pack::{Operand, Order};
use super::partials::{Destination, Partials};
use super::queue::{Dispatch, Scratch};
use super::shader::{Kernel, Variant};
use super::storage::Storage;
use super::{Buffer, GpuDevice};
use crate::device::{DenseBackward, DenseForward, DenseTangent, DenseTangentBackward, Store};
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
    first: u32,
    directions: u32,
    slice: u32,
    slices: u32,
    accumulate: u32,
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
        first: 0,
        directions: 1,
        slice: 0,
        slices: 1,
        accumulate: 0,
    }
}

/// For sums that are added to what is stored, if so wanted.
fn accumulating(d: &Dense, samples: usize, accumulate: bool) -> Params {
    Params { accumulate: u32::from(accumulate), ..params(d, samples) }
}

impl Params {
    /// With the sum over this range of its index.
    fn over(self, range: &Range<usize>) -> Self {
        let accumulate = self.accumulate | u32::from(range.start > 0);
        Self { begin: to_u32(range.start), end: to_u32(range.end), accumulate, ..self }
    }
}

/// A matrix product in each direction, which becomes as many dispatches as its sums and its work need.
struct Product<'a> {
    kernel: Kernel,
    variant: Variant,
    params: Params,
    operands: &'a [&'a Storage],
    /// Shape of the tiles' matrix.
    rows: usize,
    columns: usize,
    directions: Range<usize>,
    /// Length of the sums, and how many of them each entry has.
    terms: usize,
    products: usize,
    /// Scalars of its operands, each counted once.
    scalars: usize,
}

impl Product<'_> {
    /// The sums, in slices where there are too few to keep a large GPU busy.
    fn run(self, gpu: &GpuDevice, to: Destination<'_>) {
        let [columns, rows] = gpu.tiling().cover(self.rows, self.columns);
        let directions = self.directions.len();
        let (slice, slices) = gpu.tiling().split(self.terms, columns * rows * directions);
        let params = Params {
            first: to_u32(self.directions.start),
            directions: to_u32(directions),
            slice: to_u32(slice),
            slices: to_u32(slices),
            accumulate: u32::from(slices == 1 && to.store != Store::Set),
            ..self.params
        };
        if slices == 1 {
            return self.dispatch(gpu, params, &to.buffer.raw);
        }
        let sums = Partials { slices, directions, len: self.rows * self.columns };
        let partials = sums.scratch(gpu);
        self.dispatch(gpu, params, &partials);
        let offset = to.offset + self.directions.start * to.pitch;
        sums.sum(gpu, (params.inputs as usize, params.outputs as usize), &partials, Destination { offset, ..to });
    }

    fn dispatch(&self, gpu: &GpuDevice, params: Params, to: &Storage) {
        let [columns, rows] = gpu.tiling().cover(self.rows, self.columns);
        let results = (params.slices * params.directions) as usize;
        let work = self.products * self.directions.len() * self.rows * self.columns * self.terms;
        let written = results * self.rows * self.columns * (1 + params.accumulate as usize);
        let bytes = (4 * (self.scalars + written)) as f64 / rows as f64;
        let buffers: Vec<_> = self.operands.iter().copied().chain([to]).collect();
        for (rows, work) in gpu.queue.pieces(rows, work) {
            gpu.queue.dispatch(Dispatch {
                kernel: self.kernel,
                variant: self.variant,
                layer: (params.inputs as usize, params.outputs as usize),
                params: bytes_of(&Params { base: to_u32(rows.start), ..params }),
                buffers: &buffers,
                grid: grid([columns, rows.len(), results]),
                work,
                bytes: (bytes * rows.len() as f64) as u64,
            });
        }
    }
}

/// Where the product of a weight goes: a block of parameter vectors.
fn weights<'a>(d: &Dense, block: &'a Buffer, accumulate: bool) -> Destination<'a> {
    Destination { buffer: block, offset: d.weight, pitch: d.pitch, store: adding(accumulate) }
}

fn adding(accumulate: bool) -> Store {
    if accumulate { Store::Add } else { Store::Set }
}

/// Scalars of the weight, the input and the output.
fn sizes(d: &Dense, samples: usize) -> [usize; 3] {
    [d.inputs * d.outputs, samples * d.inputs, samples * d.outputs]
}

/// Asserts that a parameter vector holds this layer, and a block of them too.
fn assert_parameters(d: &Dense, theta: &Buffer, block: &Buffer, directions: usize) {
    assert!(d.inputs > 0 && d.outputs > 0, "an empty layer: {d:?}");
    let end = (d.bias + d.outputs).max(d.weight + d.inputs * d.outputs);
    theta.holds("theta", end);
    block.holds("block", directions.saturating_sub(1) * d.pitch + end);
}

pub(super) fn forward(gpu: &GpuDevice, d: &Dense, call: DenseForward<'_, GpuDevice>) {
    let [w, x, y] = sizes(d, call.samples);
    assert_parameters(d, call.theta, call.theta, 1);
    call.x.holds("x", call.samples * d.inputs);
    call.y.holds("y", call.samples * d.outputs);
    let order = Order::sums_first(call.samples, d.inputs);
    let split = Split::new(gpu, d, call.samples, 0..1);
    let xt = gpu.queue.scratch(Scratch::Packed, order.len());
    let partials = split.partials.scratch(gpu);
    order.pack(gpu, primal(&call.x.raw), 0, &xt);
    split.run(gpu, Kernel::DenseForward, Variant::default(), w + x + y, &[&call.theta.raw, &xt, &partials]);
    split.sum(gpu, Kernel::DenseForwardSum, &[&call.theta.raw, &partials, &call.y.raw]);
}

pub(super) fn tangent(gpu: &GpuDevice, d: &Dense, call: DenseTangent<'_, GpuDevice>) {
    let [w, x, y] = sizes(d, call.samples);
    let inputs = call.samples * d.inputs;
    let tangents = |tx: &Buffer| tx.holds("tx", call.directions * inputs);
    call.tx.into_iter().for_each(tangents);
    call.y.holds("y", call.samples * d.outputs);
    call.ty.holds("ty", call.directions * call.samples * d.outputs);
    let (tb, y_raw, ty) = (&call.vectors.raw, &call.y.raw, &call.ty.raw);
    let Some(x_values) = call.x else {
        // `W tx` is a forward pass of all directions' samples.
        let tx = call.tx.expect("a tangent needs x or tx");
        assert_parameters(d, call.theta, call.theta, 1);
        call.vectors.holds("vectors", (call.directions - 1) * d.pitch + d.bias + d.outputs);
        for directions in gpu.groups(call.directions, inputs.next_multiple_of(4 * call.samples)) {
            let order = Order::sums_first(directions.len() * call.samples, d.inputs);
            let xt = gpu.queue.scratch(Scratch::Packed, order.len());
            order.pack(gpu, Operand { one_offset: directions.start * inputs, ..primal(&tx.raw) }, 0, &xt);
            let forward = Split::new(gpu, d, directions.len() * call.samples, 0..1);
            let partials = forward.partials.scratch(gpu);
            let scalars = w + directions.len() * (x + y);
            forward.run(gpu, Kernel::DenseForward, Variant::default(), scalars, &[&call.theta.raw, &xt, &partials]);
            let sum = Split { samples: call.samples, directions, accumulate: true, ..forward };
            sum.sum(gpu, Kernel::DenseTangentSum, &[tb, &partials, y_raw, ty]);
        }
        return;
    };
    assert_parameters(d, call.theta, call.vectors, call.directions);
    x_values.holds("x", inputs);
    let order = Order::sums_first(call.samples, d.inputs);
    for directions in gpu.groups(call.directions, order.len()) {
        let slots = call.tx.map_or(0, |_| directions.len());
        let xt = gpu.queue.scratch(Scratch::Packed, (1 + slots) * order.len());
        let tx = &call.tx.unwrap_or(x_values).raw;
        let from = Operand { many: tx, many_offset: directions.start * inputs, pitch: inputs, ..primal(&x_values.raw) };
        order.pack(gpu, from, slots, &xt);
        let split = Split::new(gpu, d, call.samples, directions.clone());
        let partials = split.partials.scratch(gpu);
        let scalars = (1 + directions.len()) * (w + x) + directions.len() * y;
        let buffers = [&call.theta.raw, &call.vectors.raw, &*xt, &*partials];
        let variant = Variant { one_product: call.tx.is_none(), ..Variant::default() };
        split.run(gpu, Kernel::DenseTangent, variant, scalars, &buffers);
        split.sum(gpu, Kernel::DenseTangentSum, &[tb, &partials, y_raw, ty]);
    }
}

/// The products that sum over the inputs, for a group of directions: their results are too few to keep a GPU busy, so the
/// sums are split into slices, which a second kernel adds before it applies bias and mask.
struct Split<'a> {
    d: &'a Dense,
    samples: usize,
    directions: Range<usize>,
    /// Workgroups of one slice and direction: tiles of samples and of outputs.
    tiles: [usize; 2],
    slice: usize,
    /// Of the outputs.
    partials: Partials,
    /// Whether the results are added to.
    accumulate: bool,
}

impl<'a> Split<'a> {
    fn new(gpu: &GpuDevice, d: &'a Dense, samples: usize, directions: Range<usize>) -> Self {
        let tiles = gpu.tiling().cover(d.outputs, samples);
        let (slice, slices) = gpu.tiling().split(d.inputs, tiles[0] * tiles[1] * directions.len());
        let partials = Partials { slices, directions: directions.len(), len: samples * d.outputs };
        Self { d, samples, directions, tiles, slice, partials, accumulate: false }
    }

    fn params(&self) -> Params {
        Params {
            first: to_u32(self.directions.start),
            directions: to_u32(self.directions.len()),
            slice: to_u32(self.slice),
            slices: to_u32(self.partials.slices),
            ..accumulating(self.d, self.samples, self.accumulate)
        }
    }

    /// The partial sums; `scalars` of operands.
    fn run(&self, gpu: &GpuDevice, kernel: Kernel, variant: Variant, scalars: usize, buffers: &[&Storage]) {
        let products = if kernel == Kernel::DenseTangent && !variant.one_product { 2 } else { 1 };
        let work = products * self.directions.len() * self.samples * self.d.inputs * self.d.outputs;
        for (rows, work) in gpu.queue.pieces(self.tiles[1], work) {
            gpu.queue.dispatch(Dispatch {
                kernel,
                variant,
                layer: (self.d.inputs, self.d.outputs),
                params: bytes_of(&Params { base: to_u32(rows.start), ..self.params() }),
                buffers,
                grid: grid([self.tiles[0], rows.len(), self.partials.slices * self.directions.len()]),
                work,
                bytes: (4.0 * scalars as f64 * rows.len() as f64 / self.tiles[1] as f64) as u64,
            });
        }
    }

    /// The results.
    fn sum(&self, gpu: &GpuDevice, kernel: Kernel, buffers: &[&Storage]) {
        let len = self.samples * self.d.outputs;
        gpu.queue.dispatch(Dispatch {
            kernel,
            variant: Variant::default(),
            layer: (self.d.inputs, self.d.outputs),
            params: bytes_of(&self.params()),
            buffers,
            grid: flat(len, self.directions.len()),
            work: 0,
            bytes: 4 * (self.partials.scalars() + (1 + self.directions.len()) * len) as u64,
        });
    }
}

pub(super) fn backward(gpu: &GpuDevice, d: &Dense, call: DenseBackward<'_, GpuDevice>) {
    let [_, x, y] = sizes(d, call.samples);
    assert_parameters(d, call.theta, call.gradient, 1);
    call.x.holds("x", call.samples * d.inputs);
    mask(gpu, d, call.samples, 1, call.y, call.dy);
    let dz = &*call.dy;
    Product {
        kernel: Kernel::DenseBackwardWeights,
        variant: Variant::default(),
        terms: call.samples,
        products: 1,
        scalars: x + y,
        params: params(d, call.samples),
        operands: &[&call.x.raw, &dz.raw],
        rows: d.outputs,
        columns: d.inputs,
        directions: 0..1,
    }
    .run(gpu, weights(d, call.gradient, call.accumulate));
    sum_bias(gpu, d, accumulating(d, call.samples, call.accumulate), 1, dz, call.gradient);
    if let Some(dx) = call.dx {
        dx.holds("dx", call.samples * d.inputs);
        input(gpu, d, call.theta, call.samples, dz, dx, false);
    }
}

/// `dx = dz W`, or `+=`.
fn input(gpu: &GpuDevice, d: &Dense, theta: &Buffer, samples: usize, dz: &Buffer, dx: &mut Buffer, accumulate: bool) {
    let [w, x, y] = sizes(d, samples);
    assert_parameters(d, theta, theta, 1);
    let order = Order::rows_last(samples, d.outputs);
    let dzt = gpu.queue.scratch(Scratch::Packed, order.len());
    order.pack(gpu, primal(&dz.raw), 0, &dzt);
    Product {
        kernel: Kernel::DenseBackwardInput,
        variant: Variant::default(),
        terms: d.outputs,
        products: 1,
        scalars: w + y,
        params: params(d, samples),
        operands: &[&theta.raw, &dzt],
        rows: samples,
        columns: d.inputs,
        directions: 0..1,
    }
    .run(gpu, Destination { buffer: dx, offset: 0, pitch: x, store: adding(accumulate) });
}

pub(super) fn tangent_backward(gpu: &GpuDevice, d: &Dense, call: DenseTangentBackward<'_, GpuDevice>) {
    let [w, x, y] = sizes(d, call.samples);
    let outputs = call.samples * d.outputs;
    mask(gpu, d, call.samples, call.directions, call.y, call.tdy);
    let tdz = &*call.tdy;
    if let Some(x_values) = call.x {
        assert_parameters(d, call.theta, call.vectors, call.directions);
        assert_parameters(d, call.theta, call.products, call.directions);
        x_values.holds("x", call.samples * d.inputs);
        let tx = call.tx.unwrap_or(x_values);
        if call.tx.is_some() {
            tx.holds("tx", call.directions * call.samples * d.inputs);
        }
        call.dz.holds("dz", outputs);
        Product {
            kernel: Kernel::DenseTangentBackwardWeights,
            variant: Variant { one_product: call.tx.is_none(), ..Variant::default() },
            terms: call.samples,
            products: 1 + usize::from(call.tx.is_some()),
            scalars: (1 + call.directions) * (x + y),
            params: params(d, call.samples),
            operands: &[&x_values.raw, &tx.raw, &call.dz.raw, &tdz.raw],
            rows: d.outputs,
            columns: d.inputs,
            directions: 0..call.directions,
        }
        .run(gpu, weights(d, call.products, call.accumulate));
    }
    call.products.holds("products", (call.directions - 1) * d.pitch + d.bias + d.outputs);
    sum_bias(gpu, d, accumulating(d, call.samples, call.accumulate), call.directions, tdz, call.products);
    let Some(tdx) = call.tdx else { return };
    tdx.holds("tdx", call.directions * call.samples * d.inputs);
    if call.x.is_none() {
        // `tdz W` is a backward pass of all directions' samples.
        let samples = call.directions * call.samples;
        input(gpu, d, call.theta, samples, tdz, tdx, true);
        return;
    }
    let order = Order::rows_last(call.samples, d.outputs);
    for directions in gpu.groups(call.directions, order.len()) {
        let dzt = gpu.queue.scratch(Scratch::Packed, (1 + directions.len()) * order.len());
        let many_offset = directions.start * outputs;
        let from = Operand { many: &tdz.raw, many_offset, pitch: outputs, ..primal(&call.dz.raw) };
        order.pack(gpu, from, directions.len(), &dzt);
        Product {
            kernel: Kernel::DenseTangentBackwardInput,
            variant: Variant::default(),
            terms: d.outputs,
            products: 2,
            scalars: (1 + directions.len()) * (w + y),
            params: params(d, call.samples),
            operands: &[&call.theta.raw, &call.vectors.raw, &dzt],
            rows: call.samples,
            columns: d.inputs,
            directions,
        }
        .run(gpu, Destination { buffer: tdx, offset: 0, pitch: x, store: Store::Set });
    }
}

/// An activation or adjoint of the primal, to be packed alone.
fn primal(buffer: &Storage) -> Operand<'_> {
    Operand { one: buffer, one_offset: 0, many: buffer, many_offset: 0, pitch: 0 }
}

/// `dz = m dy` in place, if the layer has a ReLU.
fn mask(gpu: &GpuDevice, d: &Dense, samples: usize, directions: usize, y: &Buffer, dy: &Buffer) {
    let outputs = samples * d.outputs;
    y.holds("y", outputs);
    dy.holds("dy", directions * outputs);
    if d.relu {
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::ReluMask,
            variant: Variant::default(),
            layer: (d.inputs, d.outputs),
            params: bytes_of(&params(d, samples)),
            buffers: &[&y.raw, &dy.raw],
            grid: flat(outputs, directions),
            work: 0,
            bytes: (4 * (1 + 2 * directions) * outputs) as u64,
        });
    }
}

/// `db = sum dz`, or `+=`, in each direction.
fn sum_bias(gpu: &GpuDevice, d: &Dense, params: Params, directions: usize, dz: &Buffer, to: &Buffer) {
    for range in ranges(params.samples as usize) {
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::ColumnSums,
            variant: Variant::default(),
            layer: (d.inputs, d.outputs),
            work: 0,
            bytes: (4 * directions * d.outputs * range.len()) as u64,
            params: bytes_of(&params.over(&range)),
            buffers: &[&dz.raw, &to.raw],
            grid: flat(d.outputs, directions),
        });
    }
}
