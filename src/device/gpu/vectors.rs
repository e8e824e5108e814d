//! Kernels on whole parameter vectors: the optimiser's step and the eigensolver's tall products.

use super::geometry::{MAX_TRIPS, flat, grid, to_u32};
use super::queue::{Dispatch, Scratch};
use super::shader::{Kernel, Variant};
use super::storage::Storage;
use super::{Buffer, GpuDevice};
use crate::Result;
use crate::device::{Combine, Gram, RmsPropStep, Update};
use bytemuck::{Pod, Zeroable, bytes_of};

/// Rows of one partial sum of a Gram matrix: 64 for each invocation, which keeps seven digits, and little to read back.
const SLAB: usize = 4096;

/// Columns of A and of B that one workgroup multiplies.
const GRAM_TILE: [usize; 2] = [16, 4];

/// Columns that one invocation of `update` and `combine` keeps in registers.
const COLUMNS: usize = 16;

/// And rows.
const ROWS: usize = 4;

/// Scalars of Gram partials before they are read back.
const GRAM_PARTIALS: usize = 16 << 20;

/// `struct RmsProp` in shaders/rmsprop.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct RmsPropParams {
    len: u32,
    rate: f32,
    decay: f32,
    fresh: f32,
    momentum: f32,
    epsilon: f32,
}

/// `struct Gram` in shaders/gram.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct GramParams {
    rows: u32,
    slab: u32,
    partial: u32,
    a_offset: u32,
    a_pitch: u32,
    a_count: u32,
    b_offset: u32,
    b_pitch: u32,
    b_count: u32,
}

/// `struct Update` in shaders/update.wgsl (W, then V) and `struct Combine` in shaders/combine.wgsl (V, then X).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct UpdateParams {
    rows: u32,
    first: Place,
    second: Place,
}

/// Where columns lie.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Place {
    offset: u32,
    pitch: u32,
    count: u32,
}

/// Asserts that the buffer holds the columns.
fn place(name: &str, buffer: &Buffer, rows: usize, offset: usize, pitch: usize, count: usize) -> Place {
    if count > 0 {
        buffer.holds(name, offset + (count - 1) * pitch + rows);
    }
    Place { offset: to_u32(offset), pitch: to_u32(pitch), count: to_u32(count) }
}

pub(super) fn rmsprop_step(gpu: &GpuDevice, call: RmsPropStep<'_, GpuDevice>) {
    call.gradient.holds("gradient", call.len);
    call.mean_square.holds("mean_square", call.len);
    call.momenta.holds("momenta", call.len);
    call.theta.holds("theta", call.len);
    gpu.queue.dispatch(Dispatch {
        kernel: Kernel::RmsProp,
        variant: Variant::default(),
        layer: (0, 0),
        params: bytes_of(&RmsPropParams {
            len: to_u32(call.len),
            rate: call.rate as f32,
            decay: call.decay as f32,
            fresh: (1.0 - call.decay) as f32,
            momentum: call.momentum as f32,
            epsilon: call.epsilon as f32,
        }),
        buffers: &[&call.gradient.raw, &call.mean_square.raw, &call.momenta.raw, &call.theta.raw],
        grid: flat(call.len, 1),
        work: 5 * call.len as u64,
        bytes: 28 * call.len as u64,
    });
}

pub(super) fn gram(gpu: &GpuDevice, products: &[&[Gram<'_, GpuDevice>]]) -> Result<Vec<Vec<f64>>> {
    let size = |piece: &Gram<'_, GpuDevice>| piece.a.count * piece.b.count;
    let mut totals: Vec<_> = products.iter().map(|pieces| vec![0.0; pieces.first().map_or(0, size)]).collect();
    let pieces = products.iter().enumerate().flat_map(|(i, pieces)| pieces.iter().map(move |piece| (i, piece)));
    let all: Vec<_> = pieces.filter(|(_, piece)| size(piece) > 0).collect();
    // In batches, so that the partial sums of many pieces take one trip to the host and little memory.
    let len = |piece: &Gram<'_, GpuDevice>| piece.rows.div_ceil(SLAB) * size(piece);
    let mut rest = &all[..];
    while !rest.is_empty() {
        let mut sum = 0;
        let fits = rest.iter().take_while(|(_, piece)| {
            sum += len(piece);
            sum <= GRAM_PARTIALS
        });
        let (batch, later) = rest.split_at(fits.count().max(1));
        rest = later;
        let all: usize = batch.iter().map(|(_, piece)| len(piece)).sum();
        let partials = gpu.queue.scratch(Scratch::Second, all);
        let mut at = 0;
        for (product, piece) in batch {
            assert_eq!(size(piece), totals[*product].len(), "gram: all pieces of a product have the same columns");
            dispatch_gram(gpu, piece, &partials, at);
            at += len(piece);
        }
        let bytes = gpu.queue.read(&partials, 0, 4 * all as u64)?;
        drop(partials);
        let mut values = &bytemuck::pod_collect_to_vec::<u8, f32>(&bytes)[..];
        for (product, piece) in batch {
            let (own, others) = values.split_at(len(piece));
            values = others;
            for partial in own.chunks_exact(size(piece)) {
                totals[*product].iter_mut().zip(partial).for_each(|(t, &p)| *t += f64::from(p));
            }
        }
    }
    Ok(totals)
}

fn dispatch_gram(gpu: &GpuDevice, piece: &Gram<'_, GpuDevice>, partials: &Storage, at: usize) {
    let a = place("a", piece.a.buffer, piece.rows, piece.a.offset, piece.a.pitch, piece.a.count);
    let b = place("b", piece.b.buffer, piece.rows, piece.b.offset, piece.b.pitch, piece.b.count);
    gpu.queue.dispatch(Dispatch {
        kernel: Kernel::Gram,
        variant: Variant::default(),
        layer: (0, 0),
        params: bytes_of(&GramParams {
            rows: to_u32(piece.rows),
            slab: to_u32(SLAB),
            partial: to_u32(at),
            a_offset: a.offset,
            a_pitch: a.pitch,
            a_count: a.count,
            b_offset: b.offset,
            b_pitch: b.pitch,
            b_count: b.count,
        }),
        buffers: &[&piece.a.buffer.raw, &piece.b.buffer.raw, partials],
        grid: grid([
            piece.b.count.div_ceil(GRAM_TILE[1]),
            piece.a.count.div_ceil(GRAM_TILE[0]),
            piece.rows.div_ceil(SLAB),
        ]),
        work: (piece.rows * piece.a.count * piece.b.count) as u64,
        bytes: (4 * piece.rows * (piece.a.count + piece.b.count)) as u64,
    });
}

pub(super) fn update(gpu: &GpuDevice, call: Update<'_, GpuDevice>) {
    let (b, k) = (call.w.count, call.v.count);
    assert!(
        b <= COLUMNS && k <= MAX_TRIPS,
        "update: {b} columns of W with {k} of V; at most {COLUMNS} and {MAX_TRIPS}"
    );
    assert_eq!((call.h.len(), call.m.len()), (k * b, b * b), "update: shapes of h and m");
    if b == 0 {
        return;
    }
    let w = place("w", call.w.buffer, call.rows, call.w.offset, call.w.pitch, b);
    let v = place("v", call.v.buffer, call.rows, call.v.offset, call.v.pitch, k);
    // At least one row, because an empty buffer cannot be bound.
    let h = gpu.queue.upload(&padded(call.h, k.max(1), b));
    let m = gpu.queue.upload(&tiled(call.m, b));
    gpu.queue.dispatch(Dispatch {
        kernel: Kernel::Update,
        variant: Variant::default(),
        layer: (0, 0),
        params: bytes_of(&UpdateParams { rows: to_u32(call.rows), first: w, second: v }),
        buffers: &[&call.v.buffer.raw, &h, &m, &call.w.buffer.raw],
        grid: flat(call.rows.div_ceil(ROWS), 1),
        work: (call.rows * COLUMNS * (k + COLUMNS)) as u64,
        bytes: (4 * call.rows * (k + 2 * b)) as u64,
    });
}

pub(super) fn combine(gpu: &GpuDevice, call: Combine<'_, GpuDevice>) {
    let (k, p) = (call.v.count, call.x.count);
    assert!(k <= MAX_TRIPS, "combine: {k} columns of V, at most {MAX_TRIPS}");
    assert_eq!(call.s.len(), k * p, "combine: shape of s");
    if p == 0 {
        return;
    }
    let v = place("v", call.v.buffer, call.rows, call.v.offset, call.v.pitch, k);
    let x = place("x", call.x.buffer, call.rows, call.x.offset, call.x.pitch, p);
    let tiles = p.div_ceil(COLUMNS);
    let mut s = vec![0.0; tiles * k.max(1) * COLUMNS];
    for (i, row) in call.s.chunks_exact(p).enumerate() {
        for (j, &value) in row.iter().enumerate() {
            s[(j / COLUMNS * k + i) * COLUMNS + j % COLUMNS] = value as f32;
        }
    }
    let s = gpu.queue.upload(&s);
    for (range, work) in gpu.queue.pieces(call.rows, call.rows * k * tiles * COLUMNS) {
        let start = to_u32(range.start);
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::Combine,
            variant: Variant::default(),
            layer: (0, 0),
            params: bytes_of(&UpdateParams {
                rows: to_u32(range.len()),
                first: Place { offset: v.offset + start, ..v },
                second: Place { offset: x.offset + start, ..x },
            }),
            buffers: &[&call.v.buffer.raw, &s, &call.x.buffer.raw],
            grid: flat(range.len().div_ceil(ROWS), tiles),
            work,
            bytes: (4 * range.len() * (k + p)) as u64,
        });
    }
}

/// A `rows x columns` matrix with rows of [`COLUMNS`], zeros beyond the original.
fn padded(matrix: &[f64], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows * COLUMNS];
    for (to, from) in out.chunks_exact_mut(COLUMNS).zip(matrix.chunks_exact(columns)) {
        to.iter_mut().zip(from).for_each(|(to, &from)| *to = from as f32);
    }
    out
}

/// A square matrix as 4 x 4 tiles of 4 x 4 entries, all row-major.
fn tiled(matrix: &[f64], side: usize) -> Vec<f32> {
    let mut out = vec![0.0; COLUMNS * COLUMNS];
    for (i, row) in matrix.chunks_exact(side).enumerate() {
        for (j, &value) in row.iter().enumerate() {
            out[(i / 4 * 4 + j / 4) * 16 + i % 4 * 4 + j % 4] = value as f32;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_padded_and_cut_into_tiles() {
        let matrix = [1.0, 2.0, 3.0, 4.0];
        let rows = padded(&matrix, 2, 2);
        assert_eq!((rows.len(), &rows[..3], &rows[16..19]), (32, &[1.0, 2.0, 0.0][..], &[3.0, 4.0, 0.0][..]));
        let m = tiled(&(0..25).map(f64::from).collect::<Vec<_>>(), 5);
        // Row 4, column 0 is the first entry of the tile below the first.
        assert_eq!((m[4 * 16], m[4 + 2], m[5 * 16]), (20.0, 7.0, 24.0));
    }
}
