//! `eigenscope devices`: every adapter, and which one `auto` takes.

use super::Printer;
use eigenscope::Result;
use eigenscope::device::{automatic, gpu};
use serde_json::json;
use std::fmt::Write;

pub fn run(printer: &Printer) -> Result<()> {
    let adapters = gpu::list();
    let (chosen, why) = automatic();
    let device = chosen.as_ref().map_or("cpu".to_string(), |name| format!("gpu:{name}"));
    let threads = rayon::current_num_threads();

    let mut text = format!("cpu: {threads} threads, f32 and f64\n");
    for a in &adapters {
        let (least, most) = a.subgroup_sizes;
        let _ = writeln!(text, "gpu: {a}");
        let _ = writeln!(text, "     driver {} {}", a.driver, a.driver_info);
        let _ = writeln!(
            text,
            "     buffers to {} MiB, bindings to {} MiB, subgroups of {least} to {most}{}",
            a.max_buffer_bytes >> 20,
            a.max_binding_bytes >> 20,
            if a.usable { "" } else { "; cannot run the kernels (no immediates)" }
        );
    }
    if adapters.is_empty() {
        text.push_str(
            "no Vulkan, Metal or DX12 adapter found; on Debian or Ubuntu: apt-get install mesa-vulkan-drivers\n",
        );
    }
    let _ = writeln!(text, "--device auto takes {device}: {why}");

    let listed: Vec<_> = adapters
        .iter()
        .map(|a| {
            json!({
                "name": a.name, "backend": a.backend, "kind": a.kind, "software": a.is_software, "usable": a.usable,
                "driver": a.driver, "driver_info": a.driver_info,
                "max_buffer_bytes": a.max_buffer_bytes, "max_binding_bytes": a.max_binding_bytes,
                "subgroup_min": a.subgroup_sizes.0, "subgroup_max": a.subgroup_sizes.1,
            })
        })
        .collect();
    printer.print(&json!({ "cpu": { "threads": threads }, "adapters": listed, "auto": device, "why": why }), &text)
}
