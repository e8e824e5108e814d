//! The table of kernels: WGSL source, bindings in order, size of the immediates.

use super::geometry::Staging;
use super::{conv, dense, loss, multiply, pack, partials, profile, vectors};

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
    ConvTangentBackwardWeights "conv_tangent_backward_weights" conv::Params, Read Read Read Read Write;
    ConvTangentBackwardInput "conv_tangent_backward_input" conv::Params, Read Read Read Read Write;
    CouplingWeights "coupling_weights" conv::CouplingParams, Read Read Write;
    CouplingFirst "coupling_first" conv::CouplingParams, Read Read Write;
    SumPartials "sum_partials" partials::SumParams, Read Write;
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
    ("panels", include_str!("../../../shaders/lib/panels.wgsl")),
    ("quads", include_str!("../../../shaders/lib/quads.wgsl")),
    ("routed", include_str!("../../../shaders/lib/routed.wgsl")),
    ("rows", include_str!("../../../shaders/lib/rows.wgsl")),
    ("rows_subgroup", include_str!("../../../shaders/lib/rows_subgroup.wgsl")),
    ("scatter", include_str!("../../../shaders/lib/scatter.wgsl")),
    ("store_columns", include_str!("../../../shaders/lib/store_columns.wgsl")),
    ("store_rows", include_str!("../../../shaders/lib/store_rows.wgsl")),
    ("store_window", include_str!("../../../shaders/lib/store_window.wgsl")),
    ("tile", include_str!("../../../shaders/lib/tile.wgsl")),
    ("unpool", include_str!("../../../shaders/lib/unpool.wgsl")),
    ("windows", include_str!("../../../shaders/lib/windows.wgsl")),
];

/// A variant of a kernel: the `override`s of its WGSL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Of the kernel's two products, only the first is wanted.
    pub one_product: bool,
    /// A lane has four directions instead of one.
    pub four_directions: bool,
    /// Images are to be put in quads.
    pub in_quads: bool,
    /// Quads are of neighbouring pixels, or of taps, in one of few channels, and not of four channels.
    pub few_channels: bool,
    /// The size of a conv block's kernel, so that its loops are unrolled; zero if the kernel is to read it.
    pub kernel_size: u32,
    /// Of taps and adjoints.
    pub staging: Staging,
}

impl Variant {
    /// Those of a kernel, whose WGSL is expanded, for blocks of 5x5.
    pub fn of(source: &str) -> Vec<Self> {
        let has = |name| source.contains(&format!("override {name}:"));
        let choices = |name| if has(name) { &[false, true][..] } else { &[false] };
        let mut all = Vec::new();
        for &one_product in choices("one_product") {
            for &four_directions in choices("four_directions") {
                for &in_quads in choices("in_quads") {
                    for &few_channels in choices("few_channels") {
                        let kernel_size = if has("kernel_size") { 5 } else { 0 };
                        // Images of 14x14.
                        let staging = Staging::new(5, 7, four_directions).filter(|_| has("staged_cells"));
                        let staging = staging.unwrap_or_default();
                        all.push(Self { one_product, four_directions, in_quads, few_channels, kernel_size, staging });
                    }
                }
            }
        }
        all
    }

    /// Names of what it is that the plain variant is not.
    pub fn choices(self) -> impl Iterator<Item = &'static str> {
        let all = [
            ("one_product", self.one_product),
            ("four_directions", self.four_directions),
            ("in_quads", self.in_quads),
            ("few_channels", self.few_channels),
        ];
        all.into_iter().filter(|&(_, chosen)| chosen).map(|(name, _)| name)
    }

    /// Names and values of the constants that are not the WGSL's own.
    pub fn constants(self) -> impl Iterator<Item = (&'static str, f64)> {
        let lengths = [
            ("kernel_size", self.kernel_size),
            ("staged_channels", self.staging.channels),
            ("staged_cells", self.staging.cells),
            ("all_taps", self.staging.all_taps),
            ("all_cells", self.staging.all_cells),
            ("all_adjoints", self.staging.all_adjoints),
        ];
        let lengths = lengths.into_iter().filter(|&(_, length)| length > 0);
        self.choices().map(|name| (name, 1.0)).chain(lengths.map(|(name, length)| (name, f64::from(length))))
    }
}

/// How the lanes of a workgroup share what belongs to the rows of their tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Through workgroup memory, or by loads of sixteen bytes that are the same for all: for GPUs.
    Workgroup,
    /// In subgroups of eight, a lane loads two rows and hands them to the others: for software adapters, whose loads go lane
    /// by lane.
    Subgroup,
}

/// The WGSL to compile: each line `#import NAME` becomes `shaders/lib/NAME.wgsl`, each line `#rows`, `#row_quads`, `#columns`,
/// `#row_adjoints` or `#panel` the function that the snippet `rows`, `rows_subgroup`, `routed` or `panels` describes, and what lies between
/// `#workgroup` or `#subgroup` and `#end` is left out where rows are shared in the other way.
///
/// # Panics
/// If there is no such snippet.
pub fn expand(source: &str, sharing: Sharing) -> String {
    let mut out = String::with_capacity(source.len() + 4096);
    let mut left_out = false;
    for line in source.lines() {
        match *line.split_whitespace().collect::<Vec<_>>() {
            ["#workgroup"] => left_out = sharing != Sharing::Workgroup,
            ["#subgroup"] => left_out = sharing != Sharing::Subgroup,
            ["#end"] => left_out = false,
            _ if left_out => {}
            ["#import", name] => out.push_str(snippet(name, sharing)),
            ["#rows", name, binding] => out.push_str(&rows(name, binding, sharing)),
            ["#row_quads", name, binding] => out.push_str(&row_quads(name, binding)),
            ["#columns", name, binding] => out.push_str(&columns(name, binding)),
            ["#row_adjoints", name, values, codes] => out.push_str(&row_adjoints(name, values, codes)),
            ["#panel", name, panel, along, binding] => out.push_str(&stage(name, panel, along, binding)),
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn snippet(name: &str, sharing: Sharing) -> &'static str {
    let name = match (name, sharing) {
        ("rows", Sharing::Subgroup) => "rows_subgroup",
        _ => name,
    };
    let found = SNIPPETS.iter().find(|(n, _)| *n == name);
    found.unwrap_or_else(|| panic!("no shader snippet is called {name}")).1
}

fn rows(name: &str, binding: &str, sharing: Sharing) -> String {
    match sharing {
        Sharing::Workgroup => {
            let fours = [0, 1, 2, 3].map(|four| format!("{binding}[at / 4u + {four}u]"));
            format!("fn {name}(at: u32, rows: Offsets) -> Rows {{ return Rows({}); }}", fours.join(", "))
        }
        Sharing::Subgroup => {
            let two = format!("{binding}[at + rows.own], {binding}[at + rows.more]");
            format!("fn {name}(at: u32, rows: Offsets) -> Rows {{ return spread({two}); }}")
        }
    }
}

fn columns(name: &str, binding: &str) -> String {
    let loads = [0, 1, 2, 3].map(|column| format!("{binding}[at + {column}u * COLUMN_STEP]"));
    format!("fn {name}(at: u32) -> vec4<f32> {{ return vec4({}); }}", loads.join(", "))
}

fn row_adjoints(name: &str, values: &str, codes: &str) -> String {
    let two = |binding: &str, at: &str| format!("{binding}[{at} + rows.own], {binding}[{at} + rows.more]");
    let body = format!("Adjoints({}, {})", two(values, "at"), two(codes, "cell"));
    format!("fn {name}(at: u32, cell: u32, rows: Offsets) -> Adjoints {{ return {body}; }}")
}

fn row_quads(name: &str, binding: &str) -> String {
    let quad = |row: &str| {
        let loads = [0, 1, 2, 3].map(|step| format!("{binding}[at + {row} + {step}u]"));
        format!("vec4({})", loads.join(", "))
    };
    let body = format!("spread_quads({}, {})", quad("rows.own"), quad("rows.more"));
    format!("fn {name}(at: u32, rows: Offsets) -> Quads {{ return {body}; }}")
}

fn stage(name: &str, panel: &str, along: &str, binding: &str) -> String {
    let terms = |load: &dyn Fn(u32) -> String| [0, 1, 2, 3].map(load).join(", ");
    let whole = terms(&|term| format!("{binding}[at + {term}u * operand.term]"));
    let some = terms(&|term| format!("{binding}[at + at_term(place.term + {term}u, operand)]"));
    format!(
        "fn {name}(operand: Operand, lane: u32) {{
    if operand.terms >= TERMS {{
        for (var i = 0u; i < QUADS; i++) {{
            let place = {along}(i, lane);
            let at = row_start(place, operand) + place.term * operand.term;
            {panel}[panel_at(place)] = vec4({whole});
        }}
    }} else {{
        for (var i = 0u; i < QUADS; i++) {{
            let place = {along}(i, lane);
            let at = row_start(place, operand);
            {panel}[panel_at(place)] = {panel}_terms(vec4({some}), place, operand);
        }}
    }}
}}"
    )
}

impl Kernel {
    pub(super) fn spec(self) -> &'static KernelSpec {
        &KERNELS[self as usize]
    }
}
