//! The table of kernels: WGSL source, bindings in order, size of the immediates.

use super::{conv, dense, loss, multiply, pack, profile, vectors};

/// How a kernel uses a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    Write,
}

/// One kernel of the table.
#[derive(Clone, Copy, Debug)]
pub struct KernelSpec {
    /// Name; the file is `shaders/NAME.wgsl`.
    pub name: &'static str,
    /// The file's text, `#import` lines included.
    pub source: &'static str,
    /// Bindings 0, 1, ... of group 0.
    pub bindings: &'static [Access],
    /// Bytes of `var<immediate>`.
    pub immediates: usize,
}

macro_rules! kernels {
    ($($kernel:ident $name:literal $params:ty, $($access:ident)*;)*) => {
        /// A kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum Kernel { $($kernel),* }

        /// All kernels, in the order of the enum.
        pub const KERNELS: &[KernelSpec] = &[$(KernelSpec {
            name: $name,
            source: include_str!(concat!("../../../shaders/", $name, ".wgsl")),
            bindings: &[$(Access::$access),*],
            immediates: size_of::<$params>(),
        }),*];
    };
}

kernels! {
    Border "border" conv::Params, Read Read Write;
    ConvForward "conv_forward" conv::Params, Read Read Read Write Write;
    ConvTangent "conv_tangent" conv::Params, Read Read Read Read Write;
    ConvBackwardWeights "conv_backward_weights" conv::Params, Read Read Read Write;
    ConvBackwardInput "conv_backward_input" conv::Params, Read Read Read Write;
    ConvTangentBackwardWeights "conv_tangent_backward_weights" conv::Params, Read Read Read Read Write;
    ConvTangentBackwardInput "conv_tangent_backward_input" conv::Params, Read Read Read Read Write;
    CouplingWeights "coupling_weights" conv::CouplingParams, Read Read Write;
    CouplingFirst "coupling_first" conv::CouplingParams, Read Read Write;
    SumPartials "sum_partials" conv::SumParams, Read Write;
    DenseForward "dense_forward" dense::Params, Read Read Write;
    DenseForwardSum "dense_forward_sum" dense::Params, Read Read Write;
    DenseTangent "dense_tangent" dense::Params, Read Read Read Write;
    DenseTangentSum "dense_tangent_sum" dense::Params, Read Read Read Write;
    DenseBackwardWeights "dense_backward_weights" dense::Params, Read Read Write;
    DenseBackwardInput "dense_backward_input" dense::Params, Read Read Write;
    DenseTangentBackwardWeights "dense_tangent_backward_weights" dense::Params, Read Read Read Read Write;
    DenseTangentBackwardInput "dense_tangent_backward_input" dense::Params, Read Read Read Write;
    Multiply "multiply" multiply::Params, Read Read Write;
    Pack "pack" pack::Params, Read Read Write;
    ReluMask "relu_mask" dense::Params, Read Write;
    ColumnSums "column_sums" dense::Params, Read Write;
    LossForward "loss_forward" loss::Params, Read Read Write Write;
    LossBackward "loss_backward" loss::Params, Read Write;
    LossTangent "loss_tangent" loss::Params, Read Read Write;
    LossTangentBackward "loss_tangent_backward" loss::Params, Read Read Read Write;
    RmsProp "rmsprop" vectors::RmsPropParams, Read Write Write Write;
    Gram "gram" vectors::GramParams, Read Read Write;
    Update "update" vectors::UpdateParams, Read Read Read Write;
    Combine "combine" vectors::UpdateParams, Read Read Write;
    CeilingMultiplyAdds "ceiling_multiply_adds" profile::Chains, Write;
    CeilingCopy "ceiling_copy" profile::CopyParams, Read Write;
}

/// Snippets that kernels import.
pub const SNIPPETS: &[(&str, &str)] = &[
    ("conv", include_str!("../../../shaders/lib/conv.wgsl")),
    ("coupling", include_str!("../../../shaders/lib/coupling.wgsl")),
    ("dense", include_str!("../../../shaders/lib/dense.wgsl")),
    ("index", include_str!("../../../shaders/lib/index.wgsl")),
    ("loss", include_str!("../../../shaders/lib/loss.wgsl")),
    ("outer", include_str!("../../../shaders/lib/outer.wgsl")),
    ("routed", include_str!("../../../shaders/lib/routed.wgsl")),
    ("routed_subgroup", include_str!("../../../shaders/lib/routed_subgroup.wgsl")),
    ("rows", include_str!("../../../shaders/lib/rows.wgsl")),
    ("rows_subgroup", include_str!("../../../shaders/lib/rows_subgroup.wgsl")),
    ("store_columns", include_str!("../../../shaders/lib/store_columns.wgsl")),
    ("store_rows", include_str!("../../../shaders/lib/store_rows.wgsl")),
    ("tile", include_str!("../../../shaders/lib/tile.wgsl")),
    ("unpool", include_str!("../../../shaders/lib/unpool.wgsl")),
    ("weight_partials", include_str!("../../../shaders/lib/weight_partials.wgsl")),
    ("windows", include_str!("../../../shaders/lib/windows.wgsl")),
];

/// How a workgroup gets what belongs to a tile's rows, which is the same for all of its lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowLoads {
    /// Every lane loads all of it: right for GPUs.
    Each,
    /// In subgroups of eight, a lane loads one row and hands it to the others: for software adapters, whose loads go lane by
    /// lane.
    Shared,
}

/// The WGSL to compile: each line `#import NAME` becomes `shaders/lib/NAME.wgsl`, and each line `#rows`, `#row_quads`, `#columns`
/// or `#row_adjoints` the function that `shaders/lib/rows.wgsl` or `shaders/lib/routed.wgsl` describes.
///
/// # Panics
/// If there is no such snippet.
pub fn expand(source: &str, loads: RowLoads) -> String {
    let mut out = String::with_capacity(source.len() + 4096);
    for line in source.lines() {
        match *line.split_whitespace().collect::<Vec<_>>() {
            ["#import", name] => out.push_str(snippet(name, loads)),
            ["#rows", name, binding] => out.push_str(&rows(name, binding, loads)),
            ["#row_quads", name, binding] => out.push_str(&row_quads(name, binding, loads)),
            ["#columns", name, binding] => out.push_str(&columns(name, binding)),
            ["#row_adjoints", name, values, codes] => out.push_str(&row_adjoints(name, values, codes, loads)),
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn snippet(name: &str, loads: RowLoads) -> &'static str {
    let name = match (name, loads) {
        ("rows", RowLoads::Shared) => "rows_subgroup",
        ("routed", RowLoads::Shared) => "routed_subgroup",
        _ => name,
    };
    let found = SNIPPETS.iter().find(|(n, _)| *n == name);
    found.unwrap_or_else(|| panic!("no shader snippet is called {name}")).1
}

/// The names of a tile's rows, four each, and of the four in a vector.
const FOURS: [&str; 4] = ["a", "b", "c", "d"];
const LANES: [&str; 4] = ["x", "y", "z", "w"];

/// `binding[at + rows.a.x], ...`: all rows, four to a vector.
fn each_row(binding: &str, at: &str) -> String {
    let four =
        |four: &str| format!("vec4({})", LANES.map(|row| format!("{binding}[{at} + rows.{four}.{row}]")).join(", "));
    FOURS.map(four).join(", ")
}

fn rows(name: &str, binding: &str, loads: RowLoads) -> String {
    let body = match loads {
        RowLoads::Each => format!("Rows({})", each_row(binding, "at")),
        RowLoads::Shared => format!("spread({binding}[at + rows.own], {binding}[at + rows.more])"),
    };
    format!("fn {name}(at: u32, rows: Offsets) -> Rows {{ return {body}; }}")
}

fn columns(name: &str, binding: &str) -> String {
    let loads = [0, 1, 2, 3].map(|column| format!("{binding}[at + {column}u * COLUMN_STEP]"));
    format!("fn {name}(at: u32) -> vec4<f32> {{ return vec4({}); }}", loads.join(", "))
}

fn row_adjoints(name: &str, values: &str, codes: &str, loads: RowLoads) -> String {
    let body = match loads {
        RowLoads::Each => format!("Adjoints(Rows({}), {})", each_row(values, "at"), each_row(codes, "cell")),
        RowLoads::Shared => {
            let two = |binding: &str, at: &str| format!("{binding}[{at} + rows.own], {binding}[{at} + rows.more]");
            format!("Adjoints({}, {})", two(values, "at"), two(codes, "cell"))
        }
    };
    format!("fn {name}(at: u32, cell: u32, rows: Offsets) -> Adjoints {{ return {body}; }}")
}

fn row_quads(name: &str, binding: &str, loads: RowLoads) -> String {
    let quad = |row: &str| {
        let loads = [0, 1, 2, 3].map(|step| format!("{binding}[at + {row} + {step}u]"));
        format!("vec4({})", loads.join(", "))
    };
    let four = |four: &str| {
        let rows = LANES.map(|row| quad(&format!("rows.{four}.{row}")));
        format!("transpose(mat4x4<f32>({}))", rows.join(", "))
    };
    let body = match loads {
        RowLoads::Each => format!("quads({})", FOURS.map(four).join(", ")),
        RowLoads::Shared => format!("spread_quads({}, {})", quad("rows.own"), quad("rows.more")),
    };
    format!("fn {name}(at: u32, rows: Offsets) -> Quads {{ return {body}; }}")
}

impl Kernel {
    pub(super) fn spec(self) -> &'static KernelSpec {
        &KERNELS[self as usize]
    }
}
