//! What a real GPU's compiler makes of every kernel, with no GPU: `cargo bench --bench isa`.
//!
//! Mesa's AMD driver (Debian's `mesa-vulkan-drivers`) compiles for a card that is not there when `RADV_FORCE_FAMILY` names
//! one. This hands it every kernel as the device does (two more with 5x5 taps compiled in), bounds checks off, and prints the driver's own statistics: registers,
//! spills, how many subgroups a SIMD holds, and in the loops with many multiply-adds, how many of the vector
//! instructions are fused multiply-adds: the smallest such share bounds the share of peak. It runs nothing.
//!
//! These are the kernels for GPUs, not the variants for software adapters, with 5x5 taps compiled in. It fails if any kernel
//! spills, or if a hot kernel misses the marks below on RDNA2. `cargo bench --bench isa -- NAME --asm`
//! prints one kernel's machine code. wgpu cannot open the driver's null device, so this talks to Vulkan through ash.

use ash::{khr, vk};
use eigenscope::device::gpu::shader::{KERNELS, KernelSpec, Sharing, Variant, expand};
use naga::back::{pipeline_constants::process_overrides, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::ffi::{CStr, CString, c_char};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// RDNA2, which every Mesa in use knows, RDNA3, which 22.3 does not know yet, and Vega.
const FAMILIES: [&str; 3] = ["navi21", "navi31", "vega20"];

/// Where nearly all of a Hessian-vector product's time goes, and the eigensolver's inner products.
const HOT: [&str; 8] = [
    "conv_tangent",
    "conv_tangent_backward_weights",
    "conv_tangent_backward_input",
    "dense_tangent",
    "dense_tangent_backward_weights",
    "dense_tangent_backward_input",
    "multiply",
    "gram",
];

/// The marks for hot kernels on navi21: latency is hidden by eight subgroups, and 60% is what good WGSL reaches of peak.
const MIN_SUBGROUPS: u64 = 8;
const MIN_FMA_SHARE: f64 = 0.6;

/// Names the family in the child process.
const CHILD: &str = "EIGENSCOPE_ISA_FAMILY";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let asm = arguments.iter().any(|a| a == "--asm");
    let names: Vec<_> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let selected = || KERNELS.iter().filter(|k| names.is_empty() || names.iter().any(|n| k.name == n.as_str()));
    if let Ok(family) = std::env::var(CHILD) {
        return compile_all(&family, selected(), asm);
    }
    // The driver reads the family when it is loaded: a process each.
    let Some(driver) = driver() else {
        eprintln!("no AMD driver found; on Debian or Ubuntu: apt-get install mesa-vulkan-drivers");
        return ExitCode::FAILURE;
    };
    let mut good = true;
    for family in FAMILIES {
        let status = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(&arguments)
            .envs([(CHILD, family), ("RADV_FORCE_FAMILY", family), ("NODEVICE_SELECT", "1")])
            .envs([("VK_DRIVER_FILES", &driver), ("VK_ICD_FILENAMES", &driver)])
            .status();
        match status {
            Ok(status) if status.success() => {}
            // A driver that does not know the family ends the process with a signal.
            Ok(status) if status.code().is_none() && family != FAMILIES[0] => {
                println!("\n{family}: this Mesa does not know it");
            }
            _ => good = false,
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The driver's description: the one that the environment names, or Debian's.
fn driver() -> Option<PathBuf> {
    let named = std::env::var_os("VK_DRIVER_FILES").map(PathBuf::from);
    let installed =
        ["radeon_icd.x86_64.json", "radeon_icd.json"].map(|f| PathBuf::from("/usr/share/vulkan/icd.d").join(f));
    named.into_iter().chain(installed).find(|path| path.is_file() && path.to_string_lossy().contains("radeon"))
}

fn compile_all<'a>(family: &str, kernels: impl Iterator<Item = &'a KernelSpec>, asm: bool) -> ExitCode {
    let compiler = match Compiler::open() {
        Ok(compiler) => compiler,
        Err(problem) => {
            println!("\n{family}: {problem}");
            return ExitCode::SUCCESS;
        }
    };
    println!("\n{family}: {}\n", compiler.name);
    println!("| kernel | VGPRs | SGPRs | spilled | subgroups/SIMD | loop: vector instr. | of them FMA | memory |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut faults = Vec::new();
    let variants = |kernel: &'a KernelSpec| {
        Variant::of(&expand(kernel.source, Sharing::Workgroup)).into_iter().map(move |variant| (kernel, variant))
    };
    for (kernel, variant) in kernels.flat_map(variants) {
        let program = compiler.compile(kernel, variant);
        if asm {
            println!("{}", program.assembly);
        }
        let hot = HOT.contains(&kernel.name);
        let spilled = program.statistic("Spilled VGPRs") + program.statistic("Spilled SGPRs");
        let subgroups = program.statistic("Subgroups per SIMD");
        let inner = inner_loop(&program.assembly);
        let share = inner.share();
        println!(
            "| {}{}{} | {} | {} | {spilled} | {subgroups} | {} | {:.0}% | {} |",
            kernel.name,
            variant.choices().map(|name| format!(", {}", name.replace('_', " "))).collect::<String>(),
            if hot { " *" } else { "" },
            program.statistic("VGPRs"),
            program.statistic("SGPRs"),
            inner.vector,
            100.0 * share,
            inner.memory,
        );
        if spilled > 0 {
            faults.push(format!("{} spills {spilled} registers", kernel.name));
        }
        if hot && family == "navi21" && subgroups < MIN_SUBGROUPS {
            faults.push(format!("{}: {subgroups} subgroups a SIMD, {MIN_SUBGROUPS} are wanted", kernel.name));
        }
        if hot && family == "navi21" && share < MIN_FMA_SHARE {
            faults.push(format!("{}: {:.0}% of an inner loop are multiply-adds", kernel.name, 100.0 * share));
        }
    }
    faults.iter().for_each(|fault| println!("FAULT: {fault}"));
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Instructions of a loop.
#[derive(Clone, Copy, Default)]
struct Count {
    /// Vector arithmetic and vector memory; the two halves of a dual instruction are two.
    vector: usize,
    fma: usize,
    /// Vector memory: scalar loads are another unit's.
    memory: usize,
}

impl Count {
    fn share(self) -> f64 {
        self.fma as f64 / self.vector.max(1) as f64
    }
}

/// Of the loops with many multiply-adds (a quarter of the most) outside the loops in them, the one with the smallest share of
/// them. In the driver's listing labels are lines like `BB4:`, and a branch to an earlier label closes a loop.
fn inner_loop(assembly: &str) -> Count {
    let lines: Vec<_> = assembly.lines().map(str::trim).collect();
    let label = |name: &str| lines.iter().position(|line| line.strip_suffix(':') == Some(name));
    let loops: Vec<_> = (0..lines.len())
        .filter(|&end| lines[end].starts_with("s_branch") || lines[end].starts_with("s_cbranch"))
        .filter_map(|end| {
            let start = label(lines[end].split_whitespace().nth(1)?)?;
            (start < end).then_some((start, end))
        })
        .collect();
    let own = |&(start, end): &(usize, usize)| {
        let within = |line: usize| loops.iter().any(|m| m.0 > start && m.1 <= end && (m.0..m.1).contains(&line));
        count(&(start..end).filter(|&line| !within(line)).map(|line| lines[line]).collect::<Vec<_>>())
    };
    let counts: Vec<_> = loops.iter().map(own).collect();
    let most = counts.iter().map(|count| count.fma).max().unwrap_or_default();
    let many = counts.into_iter().filter(|count| 4 * count.fma >= most);
    many.min_by(|a, b| a.share().total_cmp(&b.share())).unwrap_or_default()
}

fn count(lines: &[&str]) -> Count {
    let mut total = Count::default();
    // A dual instruction is one line: `v_dual_fmac_f32 v1, v2, v3 :: v_dual_mul_f32 v4, v5, v6`.
    for part in lines.iter().flat_map(|line| line.split(';').next().unwrap_or("").split("::")) {
        let instruction = part.split_whitespace().next().unwrap_or("");
        let memory = ["buffer_", "global_", "flat_", "scratch_", "ds_"].iter().any(|m| instruction.starts_with(m));
        let fma = ["v_fma", "v_mac", "v_mad_f32", "v_pk_fma", "v_dual_fma"].iter().any(|m| instruction.starts_with(m));
        total.vector += usize::from(instruction.starts_with("v_") || memory);
        total.fma += usize::from(fma);
        total.memory += usize::from(memory);
    }
    total
}

/// A kernel as the driver compiled it.
struct Program {
    statistics: Vec<(String, u64)>,
    assembly: String,
}

impl Program {
    fn statistic(&self, name: &str) -> u64 {
        self.statistics.iter().find(|s| s.0 == name).unwrap_or_else(|| panic!("the driver gives no {name}")).1
    }
}

/// The driver, opened for the card that `RADV_FORCE_FAMILY` names.
struct Compiler {
    name: String,
    device: ash::Device,
    properties: khr::pipeline_executable_properties::Device,
    _entry: ash::Entry,
}

impl Compiler {
    fn open() -> Result<Self, String> {
        // SAFETY: the library is a Vulkan loader, and all structs below are filled by ash's builders.
        unsafe {
            let entry = ash::Entry::load().map_err(|error| format!("no Vulkan: {error}"))?;
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let create = vk::InstanceCreateInfo::default().application_info(&application);
            let instance = entry.create_instance(&create, None).map_err(|error| format!("no instance: {error}"))?;
            let found = instance.enumerate_physical_devices().unwrap_or_default();
            let physical = *found.first().ok_or("this Mesa does not know it")?;
            let properties = instance.get_physical_device_properties(physical);
            let queues = [vk::DeviceQueueCreateInfo::default()
                .queue_family_index(0)
                .queue_priorities(std::slice::from_ref(&1.0))];
            let extensions = [khr::pipeline_executable_properties::NAME.as_ptr()];
            let mut statistics =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
            let mut memory_model = vk::PhysicalDeviceVulkanMemoryModelFeatures::default()
                .vulkan_memory_model(true)
                .vulkan_memory_model_device_scope(true);
            let create = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&extensions)
                .push_next(&mut statistics)
                .push_next(&mut memory_model);
            let device =
                instance.create_device(physical, &create, None).map_err(|error| format!("no device: {error}"))?;
            let name = text(&properties.device_name);
            let properties = khr::pipeline_executable_properties::Device::new(&instance, &device);
            Ok(Self { name, device, properties, _entry: entry })
        }
    }

    fn compile(&self, kernel: &KernelSpec, variant: Variant) -> Program {
        let (words, bindings) = spirv(kernel, variant);
        let device = &self.device;
        // SAFETY: naga wrote valid SPIR-V, the layout has its bindings, and the process ends before anything is freed.
        unsafe {
            let shader = device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&words), None);
            let bindings: Vec<_> = (0..bindings)
                .map(|binding| {
                    vk::DescriptorSetLayoutBinding::default()
                        .binding(binding)
                        .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                        .descriptor_count(1)
                        .stage_flags(vk::ShaderStageFlags::COMPUTE)
                })
                .collect();
            let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let sets = [device.create_descriptor_set_layout(&set, None).expect("a layout")];
            let immediates =
                [vk::PushConstantRange { stage_flags: vk::ShaderStageFlags::COMPUTE, offset: 0, size: 128 }];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets).push_constant_ranges(&immediates);
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(shader.expect("a shader module"))
                .name(c"main");
            let create = vk::ComputePipelineCreateInfo::default()
                .stage(stage)
                .layout(device.create_pipeline_layout(&layout, None).expect("a pipeline layout"))
                .flags(
                    vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                        | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR,
                );
            let pipelines = device.create_compute_pipelines(vk::PipelineCache::null(), &[create], None);
            let pipeline = pipelines.unwrap_or_else(|(_, error)| panic!("{}: {error}", kernel.name))[0];
            let query = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
            let statistics = self.properties.get_pipeline_executable_statistics(&query).expect("statistics");
            let statistics = statistics
                .iter()
                .filter(|s| s.format == vk::PipelineExecutableStatisticFormatKHR::UINT64)
                .map(|s| (text(&s.name), s.value.u64))
                .collect();
            Program { statistics, assembly: self.assembly(&query) }
        }
    }

    /// The machine code, which the driver calls an internal representation.
    ///
    /// # Safety
    /// The query names a pipeline that keeps its representations.
    unsafe fn assembly(&self, query: &vk::PipelineExecutableInfoKHR<'_>) -> String {
        let get = self.properties.fp().get_pipeline_executable_internal_representations_khr;
        let mut count = 0;
        // SAFETY: Vulkan's three calls: how many, how long each, the contents; each array has the length asked for.
        unsafe {
            let _ = get(self.device.handle(), query, &mut count, std::ptr::null_mut());
            let mut all = vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
            let _ = get(self.device.handle(), query, &mut count, all.as_mut_ptr());
            let mut contents: Vec<Vec<u8>> = all.iter().map(|r| vec![0; r.data_size]).collect();
            all.iter_mut().zip(&mut contents).for_each(|(r, c)| r.p_data = c.as_mut_ptr().cast());
            let _ = get(self.device.handle(), query, &mut count, all.as_mut_ptr());
            let found = all.iter().position(|r| text(&r.name).to_lowercase().contains("assembly"));
            found.map_or(String::new(), |i| String::from_utf8_lossy(&contents[i]).into_owned())
        }
    }
}

/// SPIR-V without checks, as the device compiles it, and the number of bindings.
fn spirv(kernel: &KernelSpec, variant: Variant) -> (Vec<u32>, u32) {
    let source = expand(kernel.source, Sharing::Workgroup);
    let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::IMMEDIATES)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}: {e}", kernel.name));
    let stage = (naga::ShaderStage::Compute, "main");
    let constants = variant.constants().map(|(name, value)| (name.to_string(), value)).collect();
    let (module, info) = process_overrides(&module, &info, Some(stage), &constants).expect("overrides");
    let options = spv::Options {
        lang_version: (1, 3),
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Unchecked,
            buffer: BoundsCheckPolicy::Unchecked,
            image_load: BoundsCheckPolicy::Unchecked,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        force_loop_bounding: false,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        ..Default::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: stage.0, entry_point: stage.1.into() };
    let words = spv::write_vec(&module, &info, &options, Some(&pipeline)).expect("SPIR-V");
    (words, kernel.bindings.len() as u32)
}

fn text(chars: &[c_char]) -> String {
    // SAFETY: Vulkan's names end with a zero inside their arrays.
    CString::from(unsafe { CStr::from_ptr(chars.as_ptr()) }).to_string_lossy().into_owned()
}
