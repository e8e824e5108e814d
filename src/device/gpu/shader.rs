//! The table of kernels: WGSL source, bindings in order, size of the immediates.

use super::{conv, dense, loss, pack, vectors};

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
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    SumPartials "sum_partials" conv::SumParams, Read Write;
    DenseForward "dense_forward" dense::Params, Read Read Write;
    DenseTangent "dense_tangent" dense::Params, Read Read Read Read Write;
    DenseBackwardWeights "dense_backward_weights" dense::Params, Read Read Write;
    DenseBackwardInput "dense_backward_input" dense::Params, Read Read Write;
    DenseTangentBackwardWeights "dense_tangent_backward_weights" dense::Params, Read Read Read Read Write;
    DenseTangentBackwardInput "dense_tangent_backward_input" dense::Params, Read Read Read Write;
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
}

/// Snippets that kernels import.
pub const SNIPPETS: &[(&str, &str)] = &[
    ("conv", include_str!("../../../shaders/lib/conv.wgsl")),
    ("dense", include_str!("../../../shaders/lib/dense.wgsl")),
    ("index", include_str!("../../../shaders/lib/index.wgsl")),
    ("loss", include_str!("../../../shaders/lib/loss.wgsl")),
    ("outer", include_str!("../../../shaders/lib/outer.wgsl")),
    ("store_rows", include_str!("../../../shaders/lib/store_rows.wgsl")),
    ("store_tile", include_str!("../../../shaders/lib/store_tile.wgsl")),
    ("tile", include_str!("../../../shaders/lib/tile.wgsl")),
    ("unpool", include_str!("../../../shaders/lib/unpool.wgsl")),
];

/// Replaces each line `#import NAME` by `shaders/lib/NAME.wgsl`.
///
/// # Panics
/// If there is no such snippet.
pub fn expand(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 2048);
    for line in source.lines() {
        match line.strip_prefix("#import ") {
            Some(name) => {
                let snippet = SNIPPETS.iter().find(|(n, _)| *n == name.trim());
                out.push_str(snippet.unwrap_or_else(|| panic!("no shader snippet is called {name}")).1);
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

impl Kernel {
    pub(super) fn spec(self) -> &'static KernelSpec {
        &KERNELS[self as usize]
    }
}
