//! Finding an adapter and opening it.

use super::shader::Sharing;
use crate::{Error, Result};
use pollster::block_on;
use std::fmt;
use wgpu::{Backends, DeviceType, Features, Limits};

/// Bytes of immediates that the largest kernel needs, rounded up; every backend has at least this many.
pub(super) const IMMEDIATES: u32 = 64;

/// Buffers and bindings stay below 4 GiB: shaders index bytes with 32 bits on DX12.
const MAX_BYTES: u64 = (4 << 30) - 256;

/// What an adapter says about itself.
#[derive(Clone, Debug)]
pub struct AdapterDescription {
    /// Name, as the driver gives it; what `--device gpu:SUBSTRING` is matched with.
    pub name: String,
    /// Vulkan, Metal or DX12.
    pub backend: &'static str,
    /// Discrete, integrated, virtual or software.
    pub kind: &'static str,
    /// Whether it computes on the CPU.
    pub is_software: bool,
    /// Name of the driver.
    pub driver: String,
    /// Version of the driver.
    pub driver_info: String,
    /// Largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// Largest range of a buffer that a kernel can see, in bytes.
    pub max_binding_bytes: u64,
    /// Smallest and largest number of invocations that run in lockstep.
    pub subgroup_sizes: (u32, u32),
    /// Whether it has what the kernels need (immediates of 64 bytes).
    pub usable: bool,
}

impl AdapterDescription {
    fn new(adapter: &wgpu::Adapter) -> Self {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        Self {
            name: info.name,
            backend: match info.backend {
                wgpu::Backend::Vulkan => "Vulkan",
                wgpu::Backend::Metal => "Metal",
                wgpu::Backend::Dx12 => "DX12",
                wgpu::Backend::Gl => "OpenGL",
                wgpu::Backend::BrowserWebGpu => "WebGPU",
                wgpu::Backend::Noop => "no-op",
            },
            kind: match info.device_type {
                DeviceType::DiscreteGpu => "discrete",
                DeviceType::IntegratedGpu => "integrated",
                DeviceType::VirtualGpu => "virtual",
                DeviceType::Cpu => "software",
                DeviceType::Other => "of unknown type",
            },
            is_software: info.device_type == DeviceType::Cpu,
            driver: info.driver,
            driver_info: info.driver_info,
            max_buffer_bytes: limits.max_buffer_size,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            subgroup_sizes: (info.subgroup_min_size, info.subgroup_max_size),
            usable: adapter.features().contains(Features::IMMEDIATES) && limits.max_immediate_size >= IMMEDIATES,
        }
    }
}

impl fmt::Display for AdapterDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.backend, self.kind)
    }
}

/// All adapters, best first: discrete, integrated, virtual, unknown, software.
///
/// The environment variable `WGPU_BACKEND` (`vulkan`, `metal`, `dx12`) narrows the search.
fn adapters() -> Vec<wgpu::Adapter> {
    let backends = Backends::from_env().unwrap_or(Backends::VULKAN | Backends::METAL | Backends::DX12);
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle_from_env()
    });
    let mut adapters = block_on(instance.enumerate_adapters(backends));
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    });
    adapters
}

/// All adapters, best first: discrete, integrated, virtual, unknown, software.
pub fn list() -> Vec<AdapterDescription> {
    adapters().iter().map(AdapterDescription::new).collect()
}

/// The best discrete or integrated GPU that can run the kernels, if there is one; [`GpuDevice::open`] without a name
/// then opens the same.
///
/// [`GpuDevice::open`]: super::GpuDevice::open
pub fn best_hardware() -> Option<AdapterDescription> {
    list().into_iter().find(|adapter| adapter.usable && matches!(adapter.kind, "discrete" | "integrated"))
}

/// An opened adapter.
pub(super) struct Opened {
    pub description: AdapterDescription,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    /// The largest range of a buffer that was granted, in bytes.
    pub max_bytes: u64,
    /// How the kernels' lanes share what belongs to rows.
    pub sharing: Sharing,
}

/// Opens the first adapter whose name contains `selector`, or the best one; `portable` without the kernels' variants for
/// some adapters.
pub(super) fn open(selector: Option<&str>, portable: bool) -> Result<Opened> {
    let adapters = adapters();
    let all: Vec<_> = adapters.iter().map(AdapterDescription::new).collect();
    let index = choose(&all, selector)?;
    let (adapter, description) = (&adapters[index], all[index].clone());
    let offered = adapter.limits();
    // Everything else stays at the defaults, which every adapter has: what runs here then runs everywhere.
    let limits = Limits {
        max_buffer_size: offered.max_buffer_size.min(MAX_BYTES),
        max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size.min(MAX_BYTES),
        max_immediate_size: IMMEDIATES,
        ..Limits::defaults()
    };
    let max_bytes = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
    // Mesa's software adapter has subgroups of eight neighbouring lanes (four if told so, which then load for themselves).
    let shares = !portable
        && description.is_software
        && description.subgroup_sizes == (8, 8)
        && adapter.features().contains(Features::SUBGROUP);
    let sharing = if shares { Sharing::Subgroup } else { Sharing::Workgroup };
    // Timestamps are for `bench kernels` alone.
    let wanted = Features::TIMESTAMP_QUERY | if shares { Features::SUBGROUP } else { Features::empty() };
    let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("eigenscope"),
        required_features: Features::IMMEDIATES | (adapter.features() & wanted),
        required_limits: limits,
        ..Default::default()
    }))
    .map_err(|error| Error::Device(format!("{description} could not be opened: {error}. Try --device cpu")))?;
    Ok(Opened { description, device, queue, max_bytes, sharing })
}

/// Index of the adapter that `selector` asks for, in a list sorted best first.
fn choose(all: &[AdapterDescription], selector: Option<&str>) -> Result<usize> {
    if all.is_empty() {
        return Err(Error::Device(
            "no Vulkan, Metal or DX12 adapter found; on Debian or Ubuntu: apt-get install mesa-vulkan-drivers \
             (software), or use --device cpu"
                .into(),
        ));
    }
    let wanted = selector.unwrap_or("").to_lowercase();
    let matching = || (0..all.len()).filter(|&i| all[i].name.to_lowercase().contains(&wanted));
    if let Some(index) = matching().find(|&i| all[i].usable) {
        return Ok(index);
    }
    if let Some(index) = matching().next() {
        return Err(Error::Device(format!(
            "{} has no immediates of {IMMEDIATES} bytes, which the kernels need. Try --device cpu",
            all[index]
        )));
    }
    let found: Vec<_> = all.iter().map(ToString::to_string).collect();
    Err(Error::Device(format!("no adapter matches \"{wanted}\"; found: {}. Try --device cpu", found.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, kind: &'static str, usable: bool) -> AdapterDescription {
        AdapterDescription {
            name: name.into(),
            backend: "Vulkan",
            kind,
            is_software: kind == "software",
            driver: String::new(),
            driver_info: String::new(),
            max_buffer_bytes: 0,
            max_binding_bytes: 0,
            subgroup_sizes: (8, 8),
            usable,
        }
    }

    #[test]
    fn an_adapter_is_chosen_by_name_or_rank_and_errors_say_what_to_do() {
        let all = [
            adapter("Old GPU", "discrete", false),
            adapter("Radeon 780M", "integrated", true),
            adapter("llvmpipe", "software", true),
        ];
        assert_eq!(choose(&all, None).unwrap(), 1);
        assert_eq!(choose(&all, Some("LLVM")).unwrap(), 2);
        let message = |selector, all: &[_]| choose(all, Some(selector)).unwrap_err().to_string();
        assert_eq!(
            message("foo", &all[2..]),
            "no adapter matches \"foo\"; found: llvmpipe (Vulkan, software). Try --device cpu"
        );
        assert!(message("old", &all).contains("Old GPU (Vulkan, discrete) has no immediates"));
        assert!(message("foo", &[]).contains("apt-get install mesa-vulkan-drivers"));
    }
}
