//! The conv block: [`routed`] kernels where they pay, [`im2col`] and matrix products elsewhere.

mod im2col;
mod layout;
mod routed;

pub(super) use im2col::forward;

use super::CpuDevice;
use crate::device::{ConvBackward, ConvTangent, ConvTangentBackward, Scalar};
use crate::network::Conv;
use layout::Layout;

/// Samples a task: small enough that a minibatch of 32 feeds four cores, large enough to amortise the scratch.
const GROUP: usize = 8;

pub(super) fn tangent<T: Scalar>(c: &Conv, call: ConvTangent<'_, CpuDevice<T>>) {
    match c.kernel {
        _ if routed::unfolding_pays(c) && call.tx.is_none() => routed::tangent::<T, 1>(c, Layout::unfolded(c), call),
        3 if routed::pays(c) => routed::tangent::<T, 3>(c, Layout::new(c), call),
        5 if routed::pays(c) => routed::tangent::<T, 5>(c, Layout::new(c), call),
        _ => im2col::tangent(c, call),
    }
}

pub(super) fn backward<T: Scalar>(c: &Conv, call: ConvBackward<'_, CpuDevice<T>>) {
    match c.kernel {
        _ if routed::unfolding_pays(c) && call.dx.is_none() => routed::backward::<T, 1>(c, Layout::unfolded(c), call),
        3 if routed::pays(c) => routed::backward::<T, 3>(c, Layout::new(c), call),
        5 if routed::pays(c) => routed::backward::<T, 5>(c, Layout::new(c), call),
        _ => im2col::backward(c, call),
    }
}

pub(super) fn tangent_backward<T: Scalar>(c: &Conv, call: ConvTangentBackward<'_, CpuDevice<T>>) {
    match c.kernel {
        _ if routed::unfolding_pays(c) && call.tdx.is_none() => {
            routed::tangent_backward::<T, 1>(c, Layout::unfolded(c), call);
        }
        3 if routed::pays(c) => routed::tangent_backward::<T, 3>(c, Layout::new(c), call),
        5 if routed::pays(c) => routed::tangent_backward::<T, 5>(c, Layout::new(c), call),
        _ => im2col::tangent_backward(c, call),
    }
}
