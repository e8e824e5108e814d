//! Which device to take: `auto`, `cpu`, `gpu` or `gpu:SUBSTRING`.

use super::Device;
use super::cpu::CpuDevice;
use super::gpu::{self, GpuDevice};
use crate::{Error, Result};

/// What the CPU computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits, on any device.
    #[default]
    F32,
    /// 64 bits, on the CPU only.
    F64,
}

/// A device of any kind; [`with_device!`](crate::with_device) gets at it.
pub enum AnyDevice {
    /// The CPU in f32.
    CpuF32(CpuDevice<f32>),
    /// The CPU in f64.
    CpuF64(CpuDevice<f64>),
    /// A GPU, in f32.
    Gpu(Box<GpuDevice>),
}

/// Evaluates an expression with a name bound to whichever device an [`AnyDevice`] holds.
#[macro_export]
macro_rules! with_device {
    ($any:expr, $device:ident => $body:expr) => {
        match $any {
            $crate::device::AnyDevice::CpuF32($device) => $body,
            $crate::device::AnyDevice::CpuF64($device) => $body,
            $crate::device::AnyDevice::Gpu($device) => {
                let $device = &**$device;
                $body
            }
        }
    };
}

/// A chosen device and the reason.
pub struct Choice {
    /// The device.
    pub device: AnyDevice,
    /// Why it was taken, in a few words.
    pub why: String,
}

impl Choice {
    /// The device's own description.
    pub fn description(&self) -> String {
        with_device!(&self.device, device => device.description())
    }
}

/// What `auto` takes on this machine, and why, without opening it: the name of a GPU, or `None` for the CPU.
pub fn automatic() -> (Option<String>, String) {
    match gpu::best_hardware() {
        Some(adapter) => {
            let why = format!("auto took the {} GPU", adapter.kind);
            (Some(adapter.name), why)
        }
        None => (None, "auto found no discrete or integrated GPU".into()),
    }
}

/// Opens the device that `text` names: `auto` takes a discrete GPU, else an integrated one, else the CPU; a software
/// adapter is taken only by `gpu` or by name, because the CPU twin is faster.
///
/// # Errors
/// [`Error::Usage`] for text that names no kind of device, and for f64 on a GPU; [`Error::Device`] if there is none, or it cannot be opened.
pub fn choose(text: &str, precision: Precision) -> Result<Choice> {
    let cpu = |why: String| {
        let device = match precision {
            Precision::F32 => AnyDevice::CpuF32(CpuDevice::new()),
            Precision::F64 => AnyDevice::CpuF64(CpuDevice::new()),
        };
        Choice { device, why }
    };
    let gpu = |selector: Option<&str>, why: String| -> Result<Choice> {
        if precision == Precision::F64 {
            return Err(Error::Usage("--precision f64 needs --device cpu: WGSL has no 64-bit floats".into()));
        }
        Ok(Choice { device: AnyDevice::Gpu(Box::new(GpuDevice::open(selector)?)), why })
    };
    match text {
        "cpu" => Ok(cpu("asked for".into())),
        "auto" if precision == Precision::F64 => Ok(cpu("only the CPU computes in f64".into())),
        "auto" => match automatic() {
            (Some(name), why) => gpu(Some(&name), why),
            (None, why) => Ok(cpu(why)),
        },
        "gpu" => gpu(None, "asked for".into()),
        _ => match text.strip_prefix("gpu:") {
            Some(name) if !name.is_empty() => gpu(Some(name), "asked for by name".into()),
            _ => {
                Err(Error::Usage(format!("device \"{text}\" is not one of auto, cpu, gpu, gpu:SUBSTRING-OF-ITS-NAME")))
            }
        },
    }
}
