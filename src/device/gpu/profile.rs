//! What each kernel takes, and what the adapter could do at most: the numbers of a roofline.

use super::geometry::{MAX_TRIPS, WORKGROUP, flat, grid, to_u32};
use super::queue::Dispatch;
use super::shader::{Kernel, Variant};
use super::{Buffer, GpuDevice};
use crate::Result;
use crate::device::Device;
use bytemuck::{Pod, Zeroable, bytes_of};
use std::time::Instant;

/// One dispatch, timed alone.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The kernel's name; the file is `shaders/KERNEL.wgsl`.
    pub kernel: &'static str,
    /// Scalars of one sample before and after the layer; zeros where there is no layer.
    pub layer: (usize, usize),
    /// Multiply-adds that it executes.
    pub multiply_adds: u64,
    /// Bytes of its operands, each counted once.
    pub bytes: u64,
    /// Seconds: between two timestamps of the adapter, or from submission to the end of waiting where it has none.
    pub seconds: f64,
}

/// What an adapter does at most, by two kernels that do nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Floating-point operations a second of multiply-adds in registers, two each.
    pub flop_per_s: f64,
    /// Bytes a second of a copy, read and written.
    pub bytes_per_s: f64,
}

/// `struct Chains` in shaders/ceiling_multiply_adds.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Chains {
    rounds: u32,
    a: f32,
    b: f32,
}

/// `struct Copy` in shaders/ceiling_copy.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct CopyParams {
    quads: u32,
}

/// Invocations that fill any GPU; a software adapter works through them.
const CHAIN_LANES: usize = 1 << 18;

/// Scalars that are copied at most: 256 MiB, more than any cache.
const COPY_LEN: usize = 1 << 26;

impl GpuDevice {
    /// Runs `call` with every dispatch submitted and timed alone, and returns the timings in order; those of other threads
    /// that use the device at the same time are among them.
    ///
    /// # Errors
    /// As `call`; [`crate::Error::Device`] if the device was lost.
    pub fn profile(&self, call: impl FnOnce() -> Result<()>) -> Result<Vec<Timing>> {
        self.queue.start_profile();
        let result = call();
        let timings = self.queue.end_profile();
        result.and(timings)
    }

    /// Whether dispatches are timed by the adapter's own clock.
    pub fn has_timestamps(&self) -> bool {
        self.queue.has_timestamps()
    }

    /// Seconds that the host has spent on recording and encoding commands since the device was opened, and of those the ones
    /// in which the adapter was idle: before the first submission after each wait. The driver's part of a submission is in neither.
    pub fn host_seconds(&self) -> [f64; 2] {
        self.queue.host_seconds()
    }

    /// Measures the ceilings: the best of the runs of a second, in which a GPU that was idle comes up to its clock.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device was lost or has no memory.
    pub fn ceilings(&self) -> Result<Ceilings> {
        let y = self.zeros(CHAIN_LANES)?;
        let (mut rounds, mut flop_per_s) = (1, 0.0f64);
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < 1.0 {
            let timing = self.timed(|| self.multiply_adds(&y, rounds, 0.999, 0.5))?;
            flop_per_s = flop_per_s.max(2.0 * timing.multiply_adds as f64 / timing.seconds);
            // Longer, until the start of a dispatch no longer counts.
            if timing.seconds < 0.02 && 2 * rounds <= MAX_TRIPS {
                rounds *= 2;
            }
        }
        let len = (self.max_len / 4 * 4).min(COPY_LEN);
        let (from, to) = (self.zeros(len)?, self.zeros(len)?);
        let mut bytes_per_s = 0.0f64;
        for _ in 0..10 {
            let timing = self.timed(|| self.copy_quads(&from, &to))?;
            bytes_per_s = bytes_per_s.max(timing.bytes as f64 / timing.seconds);
        }
        Ok(Ceilings { flop_per_s, bytes_per_s })
    }

    fn timed(&self, call: impl FnOnce()) -> Result<Timing> {
        let timings = self.profile(|| {
            call();
            Ok(())
        })?;
        Ok(timings[0])
    }

    /// `y = a y + b`, `rounds` times four in each of 32 chains an invocation; see shaders/ceiling_multiply_adds.wgsl.
    #[doc(hidden)]
    pub fn multiply_adds(&self, y: &Buffer, rounds: usize, a: f32, b: f32) {
        let lanes = y.len / WORKGROUP * WORKGROUP;
        assert!(rounds <= MAX_TRIPS, "{rounds} rounds are too many");
        self.queue.dispatch(Dispatch {
            kernel: Kernel::CeilingMultiplyAdds,
            variant: Variant::default(),
            layer: (0, 0),
            params: bytes_of(&Chains { rounds: to_u32(rounds), a, b }),
            buffers: &[&y.raw],
            grid: grid([lanes / WORKGROUP, 1, 1]),
            work: (128 * rounds * lanes) as u64,
            bytes: 4 * lanes as u64,
        });
    }

    /// Copies as many whole quads as both buffers have.
    #[doc(hidden)]
    pub fn copy_quads(&self, from: &Buffer, to: &Buffer) {
        let quads = from.len.min(to.len) / 4;
        self.queue.dispatch(Dispatch {
            kernel: Kernel::CeilingCopy,
            variant: Variant::default(),
            layer: (0, 0),
            params: bytes_of(&CopyParams { quads: to_u32(quads) }),
            buffers: &[&from.raw, &to.raw],
            grid: flat(quads, 1),
            work: quads as u64,
            bytes: 32 * quads as u64,
        });
    }
}

/// Two timestamps around a pass.
pub(super) struct Clock {
    pub queries: wgpu::QuerySet,
    /// Where they are resolved to.
    pub buffer: wgpu::Buffer,
}

impl Clock {
    pub fn new(device: &wgpu::Device) -> Self {
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("clock"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("clock"),
            size: 16,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Self { queries, buffer }
    }

    pub fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    /// Ticks between the timestamps, if they make sense.
    pub fn ticks(bytes: &[u8]) -> Option<u64> {
        let times: Vec<u64> = bytemuck::pod_collect_to_vec(bytes);
        times[1].checked_sub(times[0]).filter(|&ticks| ticks > 0)
    }
}
