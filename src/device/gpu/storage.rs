//! Buffers in the GPU's memory, and the bind groups that name them to a kernel.
//!
//! A bind group costs the host about as much as all the rest of a dispatch, and a product that is repeated names the same
//! buffers again: bind groups are made once and kept.

use super::geometry::ROOM;
use super::shader::Kernel;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use wgpu::BufferUsages;

/// Bindings of a kernel at most, as in WebGPU.
const MAX_BINDINGS: usize = 8;

/// Bind groups that are kept at most: more than a product over a hundred chunks of samples needs.
const CAPACITY: usize = 4096;

/// A buffer, and whether anyone still owns it: a bind group keeps the memory alive, and must not do so for long.
pub(super) struct Storage {
    raw: wgpu::Buffer,
    owned: Arc<()>,
}

impl Storage {
    /// A zeroed buffer with [`ROOM`] at its end.
    pub fn new(device: &wgpu::Device, bytes: u64) -> Self {
        let raw = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes + 4 * ROOM as u64,
            usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self { raw, owned: Arc::new(()) }
    }

    /// The same as long as it is owned or weakly held.
    fn identity(&self) -> usize {
        Arc::as_ptr(&self.owned).addr()
    }
}

impl Deref for Storage {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        &self.raw
    }
}

/// A kernel and the identities of its buffers, zeros after the last.
type Key = (Kernel, [usize; MAX_BINDINGS]);

/// The bind groups in use.
#[derive(Default)]
pub(super) struct BindGroups {
    groups: HashMap<Key, (wgpu::BindGroup, Vec<Weak<()>>)>,
    made: usize,
}

impl BindGroups {
    /// The bind group of these buffers, whole, in order.
    pub fn get(
        &mut self,
        device: &wgpu::Device,
        kernel: Kernel,
        layout: &wgpu::BindGroupLayout,
        buffers: &[&Storage],
    ) -> wgpu::BindGroup {
        let mut identities = [0; MAX_BINDINGS];
        identities.iter_mut().zip(buffers).for_each(|(identity, buffer)| *identity = buffer.identity());
        if let Some((group, _)) = self.groups.get(&(kernel, identities)) {
            return group.clone();
        }
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.raw.as_entire_binding() })
            .collect();
        let descriptor = wgpu::BindGroupDescriptor { label: Some(kernel.spec().name), layout, entries: &entries };
        let group = device.create_bind_group(&descriptor);
        self.made += 1;
        if self.groups.len() >= CAPACITY {
            self.groups.clear();
        }
        let owned = buffers.iter().map(|buffer| Arc::downgrade(&buffer.owned)).collect();
        self.groups.insert((kernel, identities), (group.clone(), owned));
        group
    }

    /// Lets go of those that name a buffer which is gone, so that its memory can be had again.
    pub fn prune(&mut self) {
        self.groups.retain(|_, (_, owned)| owned.iter().all(|owned| owned.strong_count() > 0));
    }

    /// How many were made.
    pub fn made(&self) -> usize {
        self.made
    }
}
