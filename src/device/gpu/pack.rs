//! Copies of an operand in the order that a tile loads: transposed matrices, weights with their channels last or in quads.

use super::GpuDevice;
use super::geometry::{TILE_ROWS, flat, to_u32};
use super::queue::Dispatch;
use super::shader::{Kernel, Variant};
use super::storage::Storage;
use bytemuck::{Pod, Zeroable, bytes_of};

/// Rows of a copy, counting taps, that one invocation writes to.
const ROWS_EACH: usize = 4;

/// `struct Pack` in shaders/pack.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Params {
    outer: u32,
    inner: u32,
    padded_outer: u32,
    padded_inner: u32,
    outer_step: u32,
    inner_step: u32,
    taps: u32,
    packed_taps: u32,
    outer_each: u32,
    tap_each: u32,
    one_offset: u32,
    many_offset: u32,
    pitch: u32,
}

/// Where an operand lies: that of the primal, and those of the directions at a distance of `pitch`.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    pub one: &'a Storage,
    pub one_offset: usize,
    pub many: &'a Storage,
    pub many_offset: usize,
    pub pitch: usize,
}

/// The order of a packed copy.
#[derive(Clone, Copy)]
pub(super) struct Order {
    outer: usize,
    inner: usize,
    padded_outer: usize,
    padded_inner: usize,
    outer_step: usize,
    inner_step: usize,
    taps: usize,
    packed_taps: usize,
    outer_each: usize,
    tap_each: usize,
}

impl Order {
    /// An (N, I) matrix as (I4, N): I padded to a multiple of four, because the kernels sum over it four at a time.
    pub fn sums_first(rows: usize, columns: usize) -> Self {
        Self { padded_outer: columns.next_multiple_of(4), padded_inner: rows, ..Self::transposed(rows, columns) }
    }

    /// An (N, O) matrix as (O, N16): N padded to whole tiles.
    pub fn rows_last(rows: usize, columns: usize) -> Self {
        Self { padded_inner: rows.next_multiple_of(TILE_ROWS), ..Self::transposed(rows, columns) }
    }

    /// An (N, I) matrix as (I, N).
    pub fn transposed(rows: usize, columns: usize) -> Self {
        Self {
            outer: columns,
            inner: rows,
            padded_outer: columns,
            padded_inner: rows,
            outer_step: 1,
            inner_step: columns,
            taps: 1,
            packed_taps: 1,
            outer_each: 1,
            tap_each: 1,
        }
    }

    /// A weight (B, A, taps) as (A, taps, B16).
    pub fn outputs_last(outputs: usize, inputs: usize, taps: usize) -> Self {
        Self {
            outer: inputs,
            inner: outputs,
            padded_outer: inputs,
            padded_inner: outputs.next_multiple_of(TILE_ROWS),
            outer_step: taps,
            inner_step: inputs * taps,
            taps,
            packed_taps: taps,
            outer_each: 1,
            tap_each: 1,
        }
    }

    /// A weight (B, A, K, K) as (A4, K, K, B16, 4), with quads of inputs, or with few inputs as (A, K, K4, B16, 4), with quads of
    /// a row's taps.
    pub fn quads(outputs: usize, inputs: usize, kernel: usize, few_inputs: bool) -> Self {
        let last = Self::outputs_last(outputs, inputs, kernel * kernel);
        let last = Self { padded_inner: 4 * last.padded_inner, ..last };
        if few_inputs {
            let rows = inputs * kernel;
            Self {
                outer: rows,
                padded_outer: rows,
                outer_step: kernel,
                taps: kernel,
                packed_taps: kernel.div_ceil(4),
                tap_each: 4,
                ..last
            }
        } else {
            Self { padded_outer: inputs.div_ceil(4), outer_each: 4, ..last }
        }
    }

    /// A weight (A, B, taps) as (A, taps, B16).
    pub fn inputs_last(outputs: usize, inputs: usize, taps: usize) -> Self {
        Self {
            outer: outputs,
            inner: inputs,
            padded_outer: outputs,
            padded_inner: inputs.next_multiple_of(TILE_ROWS),
            outer_step: inputs * taps,
            inner_step: taps,
            taps,
            packed_taps: taps,
            outer_each: 1,
            tap_each: 1,
        }
    }

    /// Scalars of one copy.
    pub fn len(&self) -> usize {
        self.padded_outer * self.packed_taps * self.padded_inner
    }

    /// Packs the primal's operand and those of the first `directions`.
    pub fn pack(&self, gpu: &GpuDevice, from: Operand<'_>, directions: usize, to: &Storage) {
        let params = Params {
            outer: to_u32(self.outer),
            inner: to_u32(self.inner),
            padded_outer: to_u32(self.padded_outer),
            padded_inner: to_u32(self.padded_inner),
            outer_step: to_u32(self.outer_step),
            inner_step: to_u32(self.inner_step),
            taps: to_u32(self.taps),
            packed_taps: to_u32(self.packed_taps),
            outer_each: to_u32(self.outer_each),
            tap_each: to_u32(self.tap_each),
            one_offset: to_u32(from.one_offset),
            many_offset: to_u32(from.many_offset),
            pitch: to_u32(from.pitch),
        };
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::Pack,
            variant: Variant::default(),
            layer: (0, 0),
            params: bytes_of(&params),
            buffers: &[from.one, from.many, to],
            grid: flat((self.padded_outer * self.packed_taps).div_ceil(ROWS_EACH) * self.padded_inner, 1 + directions),
            work: 0,
            bytes: (8 * (1 + directions) * self.len()) as u64,
        });
    }
}
