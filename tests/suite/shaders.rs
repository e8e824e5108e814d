//! Every shader, without a GPU: translated for every backend, inside every backend's limits, and as the host's table of
//! kernels says.

use eigenscope::device::gpu::shader::{Access, KERNELS, SNIPPETS, Sharing, Variant, expand};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Module, ShaderStage, StorageAccess, TypeInner, back};
use std::collections::BTreeSet;
use std::path::Path;

/// Limits that WebGPU guarantees; wgpu's defaults.
const MAX_STORAGE_BUFFERS: usize = 8;
const MAX_INVOCATIONS: u32 = 256;
const MAX_WORKGROUP_BYTES: u32 = 16_384;
const MAX_IMMEDIATE_BYTES: u32 = 64;

fn module(source: &str, name: &str) -> (Module, ModuleInfo) {
    variant(source, name, Sharing::Workgroup)
}

fn variant(source: &str, name: &str, sharing: Sharing) -> (Module, ModuleInfo) {
    let source = expand(source, sharing);
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(&source, name)));
    // No more than immediates: a stray f16 or subgroup operation fails here.
    let capabilities = match sharing {
        Sharing::Workgroup => Capabilities::IMMEDIATES,
        Sharing::Subgroup => Capabilities::IMMEDIATES | Capabilities::SUBGROUP,
    };
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(&source, name)));
    (module, info)
}

fn size(module: &Module, ty: naga::Handle<naga::Type>) -> u32 {
    module.types[ty].inner.size(module.to_ctx())
}

#[test]
fn every_file_is_in_the_table() {
    let shaders = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let files = |folder: &Path| -> BTreeSet<String> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_file()).map(|path| path.file_stem().unwrap().to_str().unwrap().into()).collect()
    };
    let names = |names: &mut dyn Iterator<Item = &str>| -> BTreeSet<String> { names.map(String::from).collect() };
    assert_eq!(files(&shaders), names(&mut KERNELS.iter().map(|kernel| kernel.name)));
    assert_eq!(files(&shaders.join("lib")), names(&mut SNIPPETS.iter().map(|snippet| snippet.0)));
}

#[test]
fn every_kernel_opens_with_its_name_and_equation() {
    for kernel in KERNELS {
        let head = kernel.source.lines().next().unwrap();
        assert!(head.starts_with(&format!("// {}.wgsl: ", kernel.name)), "{head}");
    }
}

#[test]
fn the_table_agrees_with_the_shaders() {
    for kernel in KERNELS {
        let (module, _) = module(kernel.source, kernel.name);
        let mut bindings = Vec::new();
        let mut immediates = 0;
        for (_, variable) in module.global_variables.iter() {
            match variable.space {
                AddressSpace::Storage { access } => {
                    let binding = variable.binding.as_ref().unwrap();
                    assert_eq!(binding.group, 0, "{}", kernel.name);
                    let access = if access.contains(StorageAccess::STORE) { Access::Write } else { Access::Read };
                    bindings.push((binding.binding as usize, access));
                }
                AddressSpace::Immediate => {
                    assert!(matches!(module.types[variable.ty].inner, TypeInner::Struct { .. }), "HLSL wants a struct");
                    immediates = size(&module, variable.ty);
                }
                AddressSpace::WorkGroup => {}
                space => panic!("{}: {space:?}", kernel.name),
            }
        }
        bindings.sort_by_key(|binding| binding.0);
        let table: Vec<_> = kernel.bindings.iter().copied().enumerate().collect();
        assert_eq!(bindings, table, "{}", kernel.name);
        assert_eq!(immediates as usize, kernel.immediates, "{}: immediates", kernel.name);
        assert!(immediates <= MAX_IMMEDIATE_BYTES && bindings.len() <= MAX_STORAGE_BUFFERS, "{}", kernel.name);
    }
}

#[test]
fn every_kernel_stays_inside_the_limits() {
    for kernel in KERNELS {
        let (module, _) = module(kernel.source, kernel.name);
        let [entry] = &module.entry_points[..] else { panic!("{}: one entry point", kernel.name) };
        assert_eq!((entry.name.as_str(), entry.stage), ("main", ShaderStage::Compute));
        // One row of 64: Mesa's software rasteriser packs lanes along x alone, and src/device/gpu/geometry.rs divides by 64.
        assert_eq!(entry.workgroup_size, [64, 1, 1], "{}", kernel.name);
        assert!(entry.workgroup_size.iter().product::<u32>() <= MAX_INVOCATIONS);
        let workgroup: u32 = module
            .global_variables
            .iter()
            .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
            .map(|(_, variable)| size(&module, variable.ty))
            .sum();
        assert!(workgroup <= MAX_WORKGROUP_BYTES, "{}: {workgroup} bytes of workgroup memory", kernel.name);
        // A dynamic index into a local array or vector spills it from registers, and FXC refuses some of them.
        let functions = module.functions.iter().map(|(_, f)| f).chain([&entry.function]);
        for function in functions {
            for (_, expression) in function.expressions.iter() {
                if let Expression::Access { base, .. } = *expression {
                    assert!(!is_local(function, base), "{}: dynamic index into a local variable", kernel.name);
                }
            }
        }
    }
}

fn is_local(function: &naga::Function, base: naga::Handle<Expression>) -> bool {
    match function.expressions[base] {
        Expression::LocalVariable(_) => true,
        Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => is_local(function, base),
        Expression::GlobalVariable(_) => false,
        // Indexing a value rather than a variable.
        _ => true,
    }
}

#[test]
fn every_kernel_is_translated_for_every_backend() {
    for (kernel, sharing) in
        KERNELS.iter().flat_map(|kernel| [(kernel, Sharing::Workgroup), (kernel, Sharing::Subgroup)])
    {
        let (module, info) = variant(kernel.source, kernel.name, sharing);
        for variant in Variant::of(&expand(kernel.source, sharing)) {
            let constants = variant.constants().map(|(name, value)| (name.to_string(), value)).collect();
            translate(kernel.name, &module, &info, &constants);
        }
    }
}

fn translate(name: &str, module: &Module, info: &ModuleInfo, constants: &back::PipelineConstants) {
    let stage = (ShaderStage::Compute, "main".to_string());
    let selected = Some((stage.0, stage.1.as_str()));
    let (module, info) = back::pipeline_constants::process_overrides(module, info, selected, constants).unwrap();

    let options = back::spv::Options { lang_version: (1, 3), ..Default::default() };
    let pipeline = back::spv::PipelineOptions { shader_stage: stage.0, entry_point: stage.1.clone() };
    let words = back::spv::write_vec(&module, &info, &options, Some(&pipeline)).unwrap();
    assert!(words.len() > 100, "{name}: SPIR-V");

    let options = back::msl::Options { lang_version: (2, 4), ..Default::default() };
    let pipeline = back::msl::PipelineOptions { entry_point: Some(stage.clone()), ..Default::default() };
    let (_, translation) = back::msl::write_string(&module, &info, &options, &pipeline).unwrap();
    assert!(translation.entry_point_names.iter().all(Result::is_ok), "{name}: MSL {:?}", translation.entry_point_names);

    // 5.1 is what FXC takes, 6.2 DXC.
    for shader_model in [back::hlsl::ShaderModel::V5_1, back::hlsl::ShaderModel::V6_2] {
        let options = back::hlsl::Options {
            shader_model,
            immediates_target: Some(back::hlsl::BindTarget { space: 9, ..Default::default() }),
            ..Default::default()
        };
        let pipeline = back::hlsl::PipelineOptions { entry_point: Some(stage.clone()) };
        let mut out = String::new();
        let written = back::hlsl::Writer::new(&mut out, &options, &pipeline).write(&module, &info, None).unwrap();
        assert!(written.entry_point_names.iter().all(Result::is_ok), "{name}: HLSL {:?}", written.entry_point_names);
    }

    for version in [back::glsl::Version::new_gles(310), back::glsl::Version::Desktop(430)] {
        let options = back::glsl::Options { version, ..Default::default() };
        let pipeline =
            back::glsl::PipelineOptions { shader_stage: stage.0, entry_point: stage.1.clone(), multiview: None };
        let mut out = String::new();
        back::glsl::Writer::new(&mut out, &module, &info, &options, &pipeline, Default::default())
            .unwrap()
            .write()
            .unwrap_or_else(|error| panic!("{name}: GLSL {error}"));
    }
}
