//! Products of matrices that belong to no layer, in register tiles.
//!
//! A tile wants the rows of A and the columns of B side by side: A transposed, B as it is. What lies otherwise is copied first.

use super::GpuDevice;
use super::geometry::{TILE_ROWS, grid, to_u32};
use super::pack::{Operand, Order};
use super::partials::{Destination, Partials, code};
use super::queue::{Dispatch, Scratch};
use super::shader::{Kernel, Variant};
use crate::device::{Matrices, Multiply};
use bytemuck::{Pod, Zeroable, bytes_of};

/// `struct Multiply` in shaders/multiply.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Params {
    rows: u32,
    columns: u32,
    terms: u32,
    slice: u32,
    directions: u32,
    base: u32,
    store: u32,
    a: Place,
    b: Place,
    c_offset: u32,
    c_pitch: u32,
}

/// Where an operand lies as the kernel wants it, and the distances between its directions and its terms.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Place {
    offset: u32,
    pitch: u32,
    step: u32,
}

impl Place {
    fn new(offset: usize, pitch: usize, step: usize) -> Self {
        Self { offset: to_u32(offset), pitch: to_u32(pitch), step: to_u32(step) }
    }
}

pub(super) fn multiply(gpu: &GpuDevice, call: Multiply<'_, GpuDevice>) {
    let Multiply { directions, shape: [rows, terms, columns], a, b, c, store } = call;
    let of = |place: usize, pitch: usize, len: usize| place + (directions - 1) * pitch + len;
    a.buffer.holds("a", of(a.offset, a.pitch, rows * terms));
    b.buffer.holds("b", of(b.offset, b.pitch, terms * columns));
    c.buffer.holds("c", of(c.offset, c.pitch, rows * columns));
    // An operand in the other order is copied: for each direction, or once if it is the same in all.
    let copy = |of: &Matrices<'_, GpuDevice>, order: Order, step: usize, scratch: Scratch| {
        let copies = if of.pitch == 0 { 1 } else { directions };
        let to = gpu.queue.scratch(scratch, copies * order.len());
        let raw = &of.buffer.raw;
        let from =
            Operand { one: raw, one_offset: of.offset, many: raw, many_offset: of.offset + of.pitch, pitch: of.pitch };
        order.pack(gpu, from, copies - 1, &to);
        (to, Place::new(0, if copies > 1 { order.len() } else { 0 }, step))
    };
    let as_it_lies = |of: &Matrices<'_, GpuDevice>, step: usize| Place::new(of.offset, of.pitch, step);
    let a_copy = (!a.transposed)
        .then(|| copy(&a, Order::rows_last(rows, terms), rows.next_multiple_of(TILE_ROWS), Scratch::Packed));
    let b_copy = b.transposed.then(|| copy(&b, Order::transposed(columns, terms), columns, Scratch::Second));
    let tiles = gpu.tiling().cover(rows, columns);
    let (slice, slices) = gpu.tiling().split(terms, tiles[0] * tiles[1] * directions);
    let sums = Partials { slices, directions, len: rows * columns };
    let partials = (slices > 1).then(|| sums.scratch(gpu));
    let params = Params {
        rows: to_u32(rows),
        columns: to_u32(columns),
        terms: to_u32(terms),
        slice: to_u32(slice),
        directions: to_u32(directions),
        base: 0,
        store: if slices == 1 { code(store) } else { 0 },
        a: a_copy.as_ref().map_or_else(|| as_it_lies(&a, rows), |(_, place)| *place),
        b: b_copy.as_ref().map_or_else(|| as_it_lies(&b, columns), |(_, place)| *place),
        c_offset: if slices == 1 { to_u32(c.offset) } else { 0 },
        c_pitch: if slices == 1 { to_u32(c.pitch) } else { to_u32(sums.len) },
    };
    let a_storage = a_copy.as_ref().map_or(&a.buffer.raw, |(copy, _)| &**copy);
    let b_storage = b_copy.as_ref().map_or(&b.buffer.raw, |(copy, _)| &**copy);
    let work = directions * rows * columns * terms;
    let bytes = 4 * (directions * terms * (rows + columns) + sums.scalars());
    for (tile_rows, work) in gpu.queue.pieces(tiles[1], work) {
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::Multiply,
            variant: Variant::default(),
            layer: (terms, rows),
            params: bytes_of(&Params { base: to_u32(tile_rows.start), ..params }),
            buffers: &[a_storage, b_storage, partials.as_deref().unwrap_or(&c.buffer.raw)],
            grid: grid([tiles[0], tile_rows.len(), slices * directions]),
            work,
            bytes: (bytes as f64 * tile_rows.len() as f64 / tiles[1] as f64) as u64,
        });
    }
    if let Some(partials) = partials {
        let to = Destination { buffer: c.buffer, offset: c.offset, pitch: c.pitch, store };
        sums.sum(gpu, (terms, rows), &partials, to);
    }
}
