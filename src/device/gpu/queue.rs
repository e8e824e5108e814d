//! Recording of commands, submission, reading back, and what went wrong.
//!
//! Commands are recorded in a list and encoded when enough work is waiting or a result is read. One submission is kept
//! short, because a display GPU's driver resets it after about two seconds, and the first after a wait are shorter still,
//! because the adapter idles until it has one.

use super::adapter::Opened;
use super::geometry::{ROOM, pieces};
use super::pace::Pace;
use super::profile::{Clock, Timing};
use super::shader::{Access, KERNELS, Kernel, Variant, expand};
use super::storage::{BindGroups, Storage};
use crate::{Error, Result};
use pollster::block_on;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use wgpu::{BufferUsages, PollType};

/// The multiply-adds that take as long as a byte of memory, roughly, on GPUs and software adapters alike.
const BYTE: u64 = 8;

/// Commands in one submission.
const SUBMISSION_LEN: usize = 256;

/// And in the first after a wait; each may have twice as many as the one before, which the adapter runs meanwhile.
const FIRST_LEN: usize = 4;

/// Submissions that may be queued before the host waits for the oldest.
const IN_FLIGHT: usize = 2;

/// Bytes that are read back at a time, so that the staging buffer stays small.
const READ_BYTES: u64 = 64 << 20;

/// Text of a kernel's WGSL, given its name and its text in the file.
pub(super) type Patch<'a> = &'a dyn Fn(&str, &str) -> String;

/// A kernel as the device has it.
struct Pipeline {
    source: String,
    layout: wgpu::BindGroupLayout,
    pipeline_layout: wgpu::PipelineLayout,
    /// Each [`Variant`], compiled when first used.
    compiled: Mutex<HashMap<Variant, wgpu::ComputePipeline>>,
}

/// One run of a kernel.
pub(super) struct Dispatch<'a> {
    pub kernel: Kernel,
    pub variant: Variant,
    /// Scalars of a sample before and after the layer, to tell layers apart in a profile.
    pub layer: (usize, usize),
    /// Immediates.
    pub params: &'a [u8],
    /// Bindings in order.
    pub buffers: &'a [&'a Storage],
    /// Workgroups.
    pub grid: [u32; 3],
    /// Multiply-adds.
    pub work: u64,
    /// Bytes of its operands, each counted once.
    pub bytes: u64,
}

enum Command {
    Dispatch { pipeline: wgpu::ComputePipeline, bind_group: wgpu::BindGroup, params: Vec<u8>, grid: [u32; 3] },
    Copy { from: wgpu::Buffer, at: u64, to: wgpu::Buffer, to_at: u64, bytes: u64 },
    Clear { buffer: wgpu::Buffer, at: u64, bytes: u64 },
}

#[derive(Default)]
struct Pending {
    commands: Vec<Command>,
    work: u64,
    pace: Pace,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    /// Submissions since the host last waited for all.
    begun: u32,
}

impl Pending {
    /// Commands that the next submission may have.
    fn room(&self) -> usize {
        // Sixteen doublings are past the longest.
        SUBMISSION_LEN.min(FIRST_LEN << self.begun.min(16))
    }
}

/// The device, its pipelines and the commands that wait.
pub(super) struct Queue {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipelines: Vec<Pipeline>,
    pending: Mutex<Pending>,
    /// See [`Scratch`]; locked while the commands that write and read them are recorded.
    scratch: [Mutex<Storage>; 3],
    bind_groups: Mutex<BindGroups>,
    /// While profiling, the timings so far: every dispatch is then submitted alone.
    profile: Mutex<Option<Vec<Timing>>>,
    /// Nanoseconds spent on recording and encoding, without the submissions themselves, and of those the ones in which the
    /// adapter had nothing to do.
    host_nanoseconds: [AtomicU64; 2],
    /// The first error that no call could return.
    failure: Arc<Mutex<Option<String>>>,
}

/// Buffers for what lives as long as one call.
#[derive(Clone, Copy)]
pub(super) enum Scratch {
    /// An operand in the order that a tile loads.
    Packed,
    /// A second such operand.
    Second,
    /// Partial sums.
    Partials,
}

/// A panic elsewhere while the lock was held leaves a list of commands that is still valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    pub(super) fn new(opened: &Opened, patch: Patch<'_>) -> Self {
        let failure = Arc::new(Mutex::new(None));
        let keep_first = |failure: &Arc<Mutex<Option<String>>>| {
            let failure = Arc::clone(failure);
            move |message: String| {
                lock(&failure).get_or_insert(message);
            }
        };
        let (device, queue) = (opened.device.clone(), opened.queue.clone());
        let keep = keep_first(&failure);
        device.on_uncaptured_error(Arc::new(move |error| keep(error.to_string())));
        let keep = keep_first(&failure);
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                keep(format!("the device was lost: {message}"));
            }
        });
        let pipelines = KERNELS
            .iter()
            .map(|spec| {
                let entries: Vec<_> =
                    spec.bindings.iter().enumerate().map(|(i, &access)| layout_entry(i, access)).collect();
                let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                    label: Some(spec.name),
                    entries: &entries,
                });
                let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: Some(spec.name),
                    bind_group_layouts: &[Some(&layout)],
                    immediate_size: spec.immediates as u32,
                });
                let source = expand(&patch(spec.name, spec.source), opened.sharing);
                Pipeline { source, layout, pipeline_layout, compiled: Mutex::default() }
            })
            .collect();
        let scratch = [(); 3].map(|()| Mutex::new(Storage::new(&device, 4)));
        Self {
            device,
            queue,
            pipelines,
            pending: Mutex::default(),
            scratch,
            bind_groups: Mutex::default(),
            profile: Mutex::default(),
            host_nanoseconds: Default::default(),
            failure,
        }
    }

    /// A zeroed buffer, or an error if there is no memory for it.
    pub(super) fn allocate(&self, bytes: u64) -> Result<Storage> {
        self.check()?;
        let attempt = || {
            let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let buffer = self.storage(bytes);
            block_on(scope.pop()).is_none().then_some(buffer)
        };
        // Buffers that were dropped are freed when the commands that use them are done: wait for those, then try again.
        let retry = || {
            self.submit(&mut lock(&self.pending));
            self.wait(PollType::wait_indefinitely());
            attempt()
        };
        attempt().or_else(retry).ok_or_else(|| {
            let mebibytes = bytes.div_ceil(1 << 20);
            Error::Device(format!("the GPU has no {mebibytes} MiB to spare; use fewer samples or directions at a time"))
        })
    }

    /// A buffer with these contents, for the small matrices of one call.
    pub(super) fn upload(&self, contents: &[f32]) -> Storage {
        let buffer = self.storage(4 * contents.len() as u64);
        // No command can use the new buffer yet, so this write may overtake those that wait.
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(contents));
        buffer
    }

    /// A scratch buffer, grown to hold `len` scalars.
    ///
    /// Hold the guard until the commands that use it are recorded: another thread's would come in between. Who needs several
    /// takes them in the order of [`Scratch`].
    pub(super) fn scratch(&self, which: Scratch, len: usize) -> MutexGuard<'_, Storage> {
        let mut scratch = lock(&self.scratch[which as usize]);
        let bytes = 4 * len as u64;
        if scratch.size() < bytes + 4 * ROOM as u64 {
            *scratch = self.storage(bytes);
        }
        scratch
    }

    /// `0..len`, which takes `work` multiply-adds in all, in ranges that each fit a submission, and the work of each.
    pub(super) fn pieces(&self, len: usize, work: usize) -> impl Iterator<Item = (Range<usize>, u64)> {
        pieces(len, work as u64, lock(&self.pending).pace.limit())
    }

    /// Fixes how much work one submission may take.
    pub(super) fn set_submission_work(&self, work: u64) {
        lock(&self.pending).pace = Pace::fixed(work);
    }

    pub(super) fn bind_groups_made(&self) -> usize {
        lock(&self.bind_groups).made()
    }

    /// Records one run of a kernel.
    ///
    /// # Panics
    /// If the call does not fit the table of kernels.
    pub(super) fn dispatch(&self, call: Dispatch<'_>) {
        let spec = call.kernel.spec();
        assert_eq!(call.buffers.len(), spec.bindings.len(), "{}: number of buffers", spec.name);
        assert_eq!(call.params.len(), spec.immediates, "{}: size of the parameters", spec.name);
        if call.grid.contains(&0) {
            return;
        }
        let start = Instant::now();
        let pipeline = &self.pipelines[call.kernel as usize];
        let bind_group = lock(&self.bind_groups).get(&self.device, call.kernel, &pipeline.layout, call.buffers);
        let compiled = lock(&pipeline.compiled)
            .entry(call.variant)
            .or_insert_with(|| self.compile(spec.name, pipeline, call.variant))
            .clone();
        let command =
            Command::Dispatch { pipeline: compiled, bind_group, params: call.params.to_vec(), grid: call.grid };
        self.count_host_time(start, lock(&self.pending).begun == 0);
        let mut profile = lock(&self.profile);
        let Some(timings) = &mut *profile else { return self.record(command, call.work, call.bytes) };
        let mut pending = lock(&self.pending);
        self.submit(&mut pending);
        pending.commands.push(command);
        let seconds = self.submit_timed(&mut pending);
        let (kernel, layer) = (spec.name, call.layer);
        timings.push(Timing { kernel, layer, multiply_adds: call.work, bytes: call.bytes, seconds });
    }

    /// Whether the adapter has a clock.
    pub(super) fn has_timestamps(&self) -> bool {
        self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// From here on, every dispatch is submitted and timed alone.
    pub(super) fn start_profile(&self) {
        *lock(&self.profile) = Some(Vec::new());
    }

    /// The timings since the profile was started, and back to normal.
    pub(super) fn end_profile(&self) -> Result<Vec<Timing>> {
        let timings = lock(&self.profile).take().unwrap_or_default();
        self.check()?;
        Ok(timings)
    }

    pub(super) fn host_seconds(&self) -> [f64; 2] {
        self.host_nanoseconds.each_ref().map(|time| time.load(Ordering::Relaxed) as f64 * 1e-9)
    }

    fn count_host_time(&self, start: Instant, idle: bool) {
        let [all, alone] = &self.host_nanoseconds;
        let nanoseconds = start.elapsed().as_nanos() as u64;
        all.fetch_add(nanoseconds, Ordering::Relaxed);
        if idle {
            alone.fetch_add(nanoseconds, Ordering::Relaxed);
        }
    }

    /// Submits what is pending, one dispatch, waits, and returns how long it ran.
    fn submit_timed(&self, pending: &mut Pending) -> f64 {
        let clock = self.has_timestamps().then(|| Clock::new(&self.device));
        self.wait(PollType::wait_indefinitely());
        let start = Instant::now();
        self.encode(pending, clock.as_ref());
        self.wait(PollType::wait_indefinitely());
        let elapsed = start.elapsed().as_secs_f64();
        let ticks = clock.and_then(|clock| Clock::ticks(&self.read_now(&clock.buffer, 16).ok()?));
        ticks.map_or(elapsed, |ticks| ticks as f64 * f64::from(self.queue.get_timestamp_period()) * 1e-9)
    }

    /// Records a copy between buffers.
    pub(super) fn copy(&self, from: &wgpu::Buffer, at: u64, to: &wgpu::Buffer, to_at: u64, bytes: u64) {
        if bytes > 0 {
            self.record(Command::Copy { from: from.clone(), at, to: to.clone(), to_at, bytes }, 0, bytes);
        }
    }

    /// Records the zeroing of a range.
    pub(super) fn clear(&self, buffer: &wgpu::Buffer, at: u64, bytes: u64) {
        if bytes > 0 {
            self.record(Command::Clear { buffer: buffer.clone(), at, bytes }, 0, bytes);
        }
    }

    /// Copies bytes from the host, in order with the commands.
    pub(super) fn write(&self, buffer: &wgpu::Buffer, at: u64, bytes: &[u8]) {
        let mut pending = lock(&self.pending);
        // wgpu runs its writes before the next submission: what was recorded earlier must be submitted first.
        self.submit(&mut pending);
        self.queue.write_buffer(buffer, at, bytes);
    }

    /// Waits for everything recorded so far and copies a range to the host.
    pub(super) fn read(&self, buffer: &wgpu::Buffer, at: u64, bytes: u64) -> Result<Vec<u8>> {
        self.check()?;
        let mut out = Vec::with_capacity(bytes as usize);
        if bytes == 0 {
            return Ok(out);
        }
        let staging = self.staging(bytes.min(READ_BYTES));
        for done in (0..bytes).step_by(READ_BYTES as usize) {
            let piece = (bytes - done).min(READ_BYTES);
            self.copy(buffer, at + done, &staging, 0, piece);
            let busy = {
                let mut pending = lock(&self.pending);
                self.submit(&mut pending);
                pending.pace.wait()
            };
            self.take(&staging, piece, &mut out)?;
            let mut pending = lock(&self.pending);
            pending.begun = 0;
            if let Some(busy) = busy {
                pending.pace.waited(busy);
            }
        }
        Ok(out)
    }

    /// Copies the first bytes of a buffer to the host, past the commands that wait.
    fn read_now(&self, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u8>> {
        let staging = self.staging(bytes);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, bytes);
        self.queue.submit([encoder.finish()]);
        let mut out = Vec::new();
        self.take(&staging, bytes, &mut out)?;
        Ok(out)
    }

    /// A buffer, for which those that are gone make room.
    fn storage(&self, bytes: u64) -> Storage {
        lock(&self.bind_groups).prune();
        Storage::new(&self.device, bytes)
    }

    fn staging(&self, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: bytes,
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// Waits for the copy into a staging buffer and appends its bytes.
    fn take(&self, staging: &wgpu::Buffer, bytes: u64, out: &mut Vec<u8>) -> Result<()> {
        staging.map_async(wgpu::MapMode::Read, 0..bytes, |_| ());
        self.wait(PollType::wait_indefinitely());
        self.check()?;
        let view = staging
            .get_mapped_range(0..bytes)
            .map_err(|error| Error::Device(format!("the GPU's memory could not be read: {error}")))?;
        out.extend_from_slice(&view);
        drop(view);
        staging.unmap();
        Ok(())
    }

    /// The first error that no call could return.
    fn check(&self) -> Result<()> {
        match &*lock(&self.failure) {
            Some(message) => Err(Error::Device(format!("the GPU failed: {message}"))),
            None => Ok(()),
        }
    }

    fn record(&self, command: Command, multiply_adds: u64, bytes: u64) {
        let work = multiply_adds.max(BYTE * bytes);
        let mut pending = lock(&self.pending);
        if pending.work + work > pending.pace.limit() || pending.commands.len() >= pending.room() {
            self.submit(&mut pending);
        }
        pending.commands.push(command);
        pending.work += work;
    }

    fn submit(&self, pending: &mut Pending) {
        if pending.commands.is_empty() {
            return;
        }
        self.encode(pending, None);
        if pending.in_flight.len() > IN_FLIGHT {
            let oldest = pending.in_flight.pop_front();
            self.wait(PollType::Wait { submission_index: oldest, timeout: None });
        }
    }

    /// Encodes and submits the commands; all dispatches in a row are one pass, which the clock times.
    fn encode(&self, pending: &mut Pending, clock: Option<&Clock>) {
        let start = Instant::now();
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut commands = pending.commands.drain(..).peekable();
        while let Some(command) = commands.next() {
            match command {
                Command::Copy { from, at, to, to_at, bytes } => {
                    encoder.copy_buffer_to_buffer(&from, at, &to, to_at, bytes);
                }
                Command::Clear { buffer, at, bytes } => encoder.clear_buffer(&buffer, at, Some(bytes)),
                dispatch => {
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                        label: None,
                        timestamp_writes: clock.map(Clock::writes),
                    });
                    let mut next = Some(dispatch);
                    while let Some(Command::Dispatch { pipeline, bind_group, params, grid: [x, y, z] }) = next {
                        pass.set_pipeline(&pipeline);
                        pass.set_bind_group(0, &bind_group, &[]);
                        pass.set_immediates(0, &params);
                        pass.dispatch_workgroups(x, y, z);
                        next = commands.next_if(|command| matches!(command, Command::Dispatch { .. }));
                    }
                }
            }
        }
        drop(commands);
        if let Some(clock) = clock {
            encoder.resolve_query_set(&clock.queries, 0..2, &clock.buffer, 0);
        }
        let work = std::mem::take(&mut pending.work);
        pending.pace.submitted(work);
        let commands = encoder.finish();
        // Without the submission itself, in which a software adapter does all of its work.
        self.count_host_time(start, pending.begun == 0);
        pending.in_flight.push_back(self.queue.submit([commands]));
        pending.begun = pending.begun.saturating_add(1);
    }

    fn wait(&self, poll: PollType) {
        // wgpu 30 panics when the device is lost while it polls (`handle_error_fatal` in its backend/wgpu_core.rs); a
        // driver's reset is the user's bad luck and not a bug.
        let message = match catch_unwind(AssertUnwindSafe(|| self.device.poll(poll))) {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the device was lost".into(),
        };
        lock(&self.failure).get_or_insert(message);
    }

    fn compile(&self, name: &str, pipeline: &Pipeline, variant: Variant) -> wgpu::ComputePipeline {
        let checked = std::env::var_os("EIGENSCOPE_CHECKED").is_some_and(|value| value != "0");
        let checks =
            if checked { wgpu::ShaderRuntimeChecks::checked() } else { wgpu::ShaderRuntimeChecks::unchecked() };
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(name),
            source: wgpu::ShaderSource::Wgsl((&pipeline.source).into()),
        };
        // SAFETY: the kernels index only within the shapes in their immediates, loop a bounded number of times and divide
        // by nonzero shapes; the callers of `dispatch` assert that every buffer holds its shape and that no shape is zero.
        // tests/suite runs them all, also with EIGENSCOPE_CHECKED=1.
        let module = unsafe { self.device.create_shader_module_trusted(descriptor, checks) };
        self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&pipeline.pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &variant.constants().collect::<Vec<_>>(),
                // Kernels write what they read of it.
                zero_initialize_workgroup_memory: checked,
            },
            cache: None,
        })
    }
}

fn layout_entry(binding: usize, access: Access) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: access == Access::Read },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_submissions_are_short() {
        let rooms = [0, 1, 2, 6, 7, 100].map(|begun| Pending { begun, ..Pending::default() }.room());
        assert_eq!(rooms, [4, 8, 16, 256, 256, 256]);
    }

    #[test]
    fn a_lost_device_is_an_error_and_not_a_panic() {
        let opened = super::super::adapter::open(None, true).unwrap_or_else(|error| panic!("{error}"));
        let queue = Queue::new(&opened, &|_, source| source.into());
        let [from, to] = [8, 8].map(|bytes| queue.allocate(bytes).unwrap());
        queue.device.destroy();
        queue.copy(&from, 0, &to, 0, 8);
        queue.write(&from, 0, &[0; 4]);
        queue.upload(&[1.0]);
        let message = queue.read(&to, 0, 8).expect_err("the device is gone").to_string();
        assert!(message.starts_with("the GPU failed: "), "{message}");
        assert!(queue.allocate(8).is_err());
    }
}
