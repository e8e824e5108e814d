//! Vectors of f32 or f64 under pulp's run-time choice of instructions, and cache lines of channels.

use bytemuck::{Pod, Zeroable};
use pulp::Simd;

/// Channels a line.
pub const CHANNELS: usize = 16;

/// Sixteen channels of one pixel: a cache line in f32, two in f64. Aligned, because loads that cross a line cost a fifth
/// of the speed of the kernels that read them.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line<T>(pub [T; CHANNELS]);

// SAFETY: zeros are valid sixteen times over if they are once.
unsafe impl<T: Zeroable> Zeroable for Line<T> {}
// SAFETY: sixteen f32 fill 64 bytes, so there is no padding.
unsafe impl Pod for Line<f32> {}
// SAFETY: sixteen f64 fill 128 bytes, so there is no padding.
unsafe impl Pod for Line<f64> {}

impl<T: num_traits::Zero + Copy> Line<T> {
    /// Sixteen zeros.
    pub fn zero() -> Self {
        Self([T::zero(); CHANNELS])
    }
}

/// Scalars that come in vectors.
pub trait SimdScalar: Pod {
    /// A vector of the chosen instruction set.
    type Vector<S: Simd>: Copy;
    /// Its number of lanes; divides [`CHANNELS`].
    fn lanes<S: Simd>() -> usize;
    /// The same value in all lanes.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// The vectors of some scalars, which may lie anywhere.
    fn vectors<S: Simd>(scalars: &[Self]) -> &[Self::Vector<S>];
    /// The vectors of some scalars, to be written.
    fn vectors_mut<S: Simd>(scalars: &mut [Self]) -> &mut [Self::Vector<S>];
    /// The scalars of some lines.
    fn scalars(lines: &[Line<Self>]) -> &[Self];
    /// The scalars of some lines, to be written.
    fn scalars_mut(lines: &mut [Line<Self>]) -> &mut [Self];
    /// Vector number `at` of a line.
    fn load<S: Simd>(line: &Line<Self>, at: usize) -> Self::Vector<S>;
    /// Replaces vector number `at` of a line.
    fn store<S: Simd>(line: &mut Line<Self>, at: usize, value: Self::Vector<S>);
    /// `a b + c`, rounded once where the instructions allow it.
    fn vfma<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// `a + b`.
    fn vadd<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// The sum of the lanes.
    fn vsum<S: Simd>(simd: S, a: Self::Vector<S>) -> Self;
}

macro_rules! simd_scalar {
    ($scalar:ty, $vector:ident, $lanes:ident, $splat:ident, $mul_add:ident, $add:ident, $sum:ident) => {
        impl SimdScalar for $scalar {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$lanes
            }

            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> S::$vector {
                simd.$splat(value)
            }

            #[inline(always)]
            fn vectors<S: Simd>(scalars: &[Self]) -> &[S::$vector] {
                bytemuck::cast_slice(scalars)
            }

            #[inline(always)]
            fn vectors_mut<S: Simd>(scalars: &mut [Self]) -> &mut [S::$vector] {
                bytemuck::cast_slice_mut(scalars)
            }

            #[inline(always)]
            fn scalars(lines: &[Line<Self>]) -> &[Self] {
                bytemuck::cast_slice(lines)
            }

            #[inline(always)]
            fn scalars_mut(lines: &mut [Line<Self>]) -> &mut [Self] {
                bytemuck::cast_slice_mut(lines)
            }

            #[inline(always)]
            fn load<S: Simd>(line: &Line<Self>, at: usize) -> S::$vector {
                bytemuck::cast_slice::<$scalar, S::$vector>(&line.0)[at]
            }

            #[inline(always)]
            fn store<S: Simd>(line: &mut Line<Self>, at: usize, value: S::$vector) {
                bytemuck::cast_slice_mut::<$scalar, S::$vector>(&mut line.0)[at] = value;
            }

            #[inline(always)]
            fn vfma<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn vadd<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn vsum<S: Simd>(simd: S, a: S::$vector) -> Self {
                simd.$sum(a)
            }
        }
    };
}

simd_scalar!(f32, f32s, F32_LANES, splat_f32s, mul_add_e_f32s, add_f32s, reduce_sum_f32s);
simd_scalar!(f64, f64s, F64_LANES, splat_f64s, mul_add_e_f64s, add_f64s, reduce_sum_f64s);
