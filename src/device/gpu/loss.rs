//! Softmax cross-entropy.

use super::GpuDevice;
use super::geometry::{MAX_TRIPS, flat, to_u32};
use super::queue::Dispatch;
use super::shader::{Kernel, Variant};
use crate::device::{LossBackward, LossForward, LossTangentBackward};
use bytemuck::{Pod, Zeroable, bytes_of};

/// `struct Loss` in shaders/lib/loss.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Params {
    samples: u32,
    classes: u32,
    scale: f32,
}

fn params(samples: usize, classes: usize, scale: f64) -> Params {
    // Three loops over the classes in loss_forward.
    assert!(classes > 0 && 3 * classes <= MAX_TRIPS, "{classes} classes are none or too many");
    Params { samples: to_u32(samples), classes: to_u32(classes), scale: scale as f32 }
}

pub(super) fn forward(gpu: &GpuDevice, call: LossForward<'_, GpuDevice>) {
    let logits = call.samples * call.classes;
    call.logits.holds("logits", logits);
    call.labels.holds("labels", call.samples);
    call.losses.holds("losses", call.samples);
    call.r.holds("r", logits);
    gpu.queue.dispatch(Dispatch {
        kernel: Kernel::LossForward,
        variant: Variant::default(),
        layer: (call.classes, call.classes),
        params: bytes_of(&params(call.samples, call.classes, 1.0)),
        buffers: &[&call.logits.raw, &call.labels.raw, &call.losses.raw, &call.r.raw],
        grid: flat(call.samples, 1),
        work: 10 * logits as u64,
        bytes: 8 * (logits + call.samples) as u64,
    });
}

pub(super) fn backward(gpu: &GpuDevice, call: LossBackward<'_, GpuDevice>) {
    let logits = call.samples * call.classes;
    call.r.holds("r", logits);
    call.dlogits.holds("dlogits", logits);
    gpu.queue.dispatch(Dispatch {
        kernel: Kernel::LossBackward,
        variant: Variant::default(),
        layer: (call.classes, call.classes),
        params: bytes_of(&params(call.samples, call.classes, call.scale)),
        buffers: &[&call.r.raw, &call.dlogits.raw],
        grid: flat(logits, 1),
        work: logits as u64,
        bytes: 8 * logits as u64,
    });
}

pub(super) fn tangent_backward(gpu: &GpuDevice, call: LossTangentBackward<'_, GpuDevice>) {
    let logits = call.samples * call.classes;
    call.r.holds("r", logits);
    call.labels.holds("labels", call.samples);
    call.tlogits.holds("tlogits", call.directions * logits);
    call.tdlogits.holds("tdlogits", call.directions * logits);
    gpu.queue.dispatch(Dispatch {
        kernel: Kernel::LossTangentBackward,
        variant: Variant::default(),
        layer: (call.classes, call.classes),
        params: bytes_of(&params(call.samples, call.classes, call.scale)),
        buffers: &[&call.r.raw, &call.labels.raw, &call.tlogits.raw, &call.tdlogits.raw],
        grid: flat(call.samples, call.directions),
        work: (3 * call.directions * logits) as u64,
        bytes: 4 * ((1 + 2 * call.directions) * logits + call.samples) as u64,
    });
}
