//! Sums that are cut into slices, so that they keep a large GPU busy and no invocation loops too long: the kernel of a slice
//! writes partial sums, and `sum_partials` adds them up where they belong.

use super::geometry::{flat, to_u32};
use super::queue::{Dispatch, Scratch};
use super::shader::{Kernel, Variant};
use super::storage::Storage;
use super::{Buffer, GpuDevice};
use crate::device::Store;
use bytemuck::{Pod, Zeroable, bytes_of};
use std::sync::MutexGuard;

/// `struct Sum` in shaders/sum_partials.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct SumParams {
    slices: u32,
    directions: u32,
    len: u32,
    offset: u32,
    pitch: u32,
    store: u32,
}

/// Partial sums (slices, directions, len).
pub(super) struct Partials {
    pub slices: usize,
    pub directions: usize,
    pub len: usize,
}

/// Where the sums of the directions go, `pitch` scalars apart.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    pub buffer: &'a Buffer,
    pub offset: usize,
    pub pitch: usize,
    pub store: Store,
}

impl Partials {
    pub fn scalars(&self) -> usize {
        self.slices * self.directions * self.len
    }

    pub fn scratch<'g>(&self, gpu: &'g GpuDevice) -> MutexGuard<'g, Storage> {
        gpu.queue.scratch(Scratch::Partials, self.scalars())
    }

    /// Adds them up, first slice first, for a layer of so many inputs and outputs.
    pub fn sum(&self, gpu: &GpuDevice, layer: (usize, usize), partials: &Storage, to: Destination<'_>) {
        let read = usize::from(to.store != Store::Set);
        gpu.queue.dispatch(Dispatch {
            kernel: Kernel::SumPartials,
            variant: Variant::default(),
            layer,
            params: bytes_of(&SumParams {
                slices: to_u32(self.slices),
                directions: to_u32(self.directions),
                len: to_u32(self.len),
                offset: to_u32(to.offset),
                pitch: to_u32(to.pitch),
                store: code(to.store),
            }),
            buffers: &[partials, &to.buffer.raw],
            grid: flat(self.len, self.directions),
            work: 0,
            bytes: (4 * (self.scalars() + (1 + read) * self.directions * self.len)) as u64,
        });
    }
}

/// What becomes of a stored value, as the shaders have it.
pub(super) fn code(store: Store) -> u32 {
    match store {
        Store::Set => 0,
        Store::Add => 1,
        Store::Subtract => 2,
    }
}
