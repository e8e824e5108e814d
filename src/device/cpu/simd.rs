//! Vectors of f32 or f64 under pulp's run-time choice of instructions, and cache lines of channels.

use bytemuck::{Pod, Zeroable};
use pulp::{Arch, Simd};
use std::sync::LazyLock;

/// The widest instructions of this machine, or narrower ones if `EIGENSCOPE_SIMD` names them: `avx2` or `scalar`.
pub fn arch() -> Arch {
    static ARCH: LazyLock<Arch> = LazyLock::new(|| {
        let Some(name) = std::env::var_os("EIGENSCOPE_SIMD") else { return Arch::new() };
        match name.to_str() {
            Some("scalar") => Arch::Scalar,
            #[cfg(target_arch = "x86_64")]
            Some("avx2") => pulp::x86::V3::try_new().map_or_else(Arch::new, Arch::V3),
            _ => {
                log::warn!("EIGENSCOPE_SIMD={name:?} is ignored: it may be scalar, or avx2 on x86-64");
                Arch::new()
            }
        }
    });
    *ARCH
}

/// Channels a line.
pub const CHANNELS: usize = 16;

/// Side of the squares that are transposed in registers.
pub const SIDE: usize = 4;

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
    type Vector<S: Simd>: Pod;
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
    /// Lines of these scalars in the memory of some of f32.
    fn lines(lines: &mut [Line<f32>]) -> &mut [Line<Self>];
    /// The scalars of some lines, to be written.
    fn scalars_mut(lines: &mut [Line<Self>]) -> &mut [Self];
    /// Vector number `at` of a line.
    fn load<S: Simd>(line: &Line<Self>, at: usize) -> Self::Vector<S>;
    /// Replaces vector number `at` of a line.
    fn store<S: Simd>(line: &mut Line<Self>, at: usize, value: Self::Vector<S>);
    /// The first lanes of a slice; of one that is shorter than a vector, all, and zeros behind them.
    #[inline(always)]
    fn load_some<S: Simd>(slice: &[Self]) -> Self::Vector<S> {
        if let Some(whole) = slice.get(..Self::lanes::<S>()) {
            return bytemuck::pod_read_unaligned(bytemuck::cast_slice(whole));
        }
        let mut line = Line([Self::zeroed(); CHANNELS]);
        line.0[..slice.len()].copy_from_slice(slice);
        Self::load::<S>(&line, 0)
    }
    /// `a b + c`, rounded once where the instructions allow it.
    fn vfma<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// `c - a b`, rounded once where the instructions allow it.
    fn vfnma<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// `a b`.
    fn vmul<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a - b`.
    fn vsub<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a + b`.
    fn vadd<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// The sum of the lanes.
    fn vsum<S: Simd>(simd: S, a: Self::Vector<S>) -> Self;
    /// The lanes, moved round by `amount` lanes.
    fn rotate<S: Simd>(simd: S, a: Self::Vector<S>, amount: usize) -> Self::Vector<S>;
    /// Whether four lanes of four vectors are squares that [`SimdScalar::transpose`] can transpose.
    fn has_squares<S: Simd>() -> bool;
    /// Transposes every square: four lanes, from a multiple of four, of four vectors.
    fn transpose<S: Simd>(simd: S, rows: [Self::Vector<S>; SIDE]) -> [Self::Vector<S>; SIDE];

    /// The sums of the lanes of some vectors. Together they take a third of the instructions that they take one by one.
    #[inline(always)]
    fn vsums<S: Simd, const R: usize>(simd: S, vectors: [Self::Vector<S>; R]) -> [Self; R] {
        let mut sums = vectors.map(|_| Self::zeroed());
        if !Self::has_squares::<S>() {
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = Self::vsum(simd, vector);
            }
            return sums;
        }
        for (sums, vectors) in sums.chunks_mut(SIDE).zip(vectors.chunks(SIDE)) {
            let mut rows = [vectors[0]; SIDE];
            rows[..vectors.len()].copy_from_slice(vectors);
            let [a, b, c, d] = Self::transpose(simd, rows);
            // In every four lanes: the sums of the four vectors' lanes there.
            let mut all = Self::vadd(simd, Self::vadd(simd, a, b), Self::vadd(simd, c, d));
            let mut apart = Self::lanes::<S>() / 2;
            while apart >= SIDE {
                all = Self::vadd(simd, all, Self::rotate(simd, all, apart));
                apart /= 2;
            }
            let lanes: &[Self] = bytemuck::cast_slice(std::slice::from_ref(&all));
            sums.copy_from_slice(&lanes[..sums.len()]);
        }
        sums
    }
}

macro_rules! simd_scalar {
    ($scalar:ty, $vector:ident, $lanes:ident, $splat:ident, $mul_add:ident, $negate_mul_add:ident, $mul:ident, $sub:ident,
     $add:ident, $sum:ident, $rotate:ident, $deinterleave:ident, $has_squares:expr) => {
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

            fn lines(lines: &mut [Line<f32>]) -> &mut [Line<Self>] {
                bytemuck::cast_slice_mut(lines)
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
            fn vfnma<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$negate_mul_add(a, b, c)
            }

            #[inline(always)]
            fn vmul<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$mul(a, b)
            }

            #[inline(always)]
            fn vsub<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }

            #[inline(always)]
            fn vadd<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn vsum<S: Simd>(simd: S, a: S::$vector) -> Self {
                simd.$sum(a)
            }

            #[inline(always)]
            fn rotate<S: Simd>(simd: S, a: S::$vector, amount: usize) -> S::$vector {
                simd.$rotate(a, amount)
            }

            #[inline(always)]
            fn has_squares<S: Simd>() -> bool {
                $has_squares(S::$lanes)
            }

            #[inline(always)]
            fn transpose<S: Simd>(simd: S, rows: [S::$vector; SIDE]) -> [S::$vector; SIDE] {
                simd.$deinterleave(rows)
            }
        }
    };
}

// What pulp calls deinterleaving with shuffled lanes transposes the squares of every f32 vector, and of an f64 vector that is one.
simd_scalar!(
    f32,
    f32s,
    F32_LANES,
    splat_f32s,
    mul_add_e_f32s,
    negate_mul_add_e_f32s,
    mul_f32s,
    sub_f32s,
    add_f32s,
    reduce_sum_f32s,
    rotate_right_f32s,
    deinterleave_shfl_f32s,
    |lanes| lanes % SIDE == 0
);
simd_scalar!(
    f64,
    f64s,
    F64_LANES,
    splat_f64s,
    mul_add_e_f64s,
    negate_mul_add_e_f64s,
    mul_f64s,
    sub_f64s,
    add_f64s,
    reduce_sum_f64s,
    rotate_right_f64s,
    deinterleave_shfl_f64s,
    |lanes| lanes == SIDE
);

#[cfg(test)]
pub mod tests {
    use super::*;
    use pulp::{Scalar, WithSimd};
    use std::fmt::Debug;
    use std::marker::PhantomData;

    /// Numbers that show where they came from, and the sums of their powers of two are exact.
    fn numbers<T: SimdScalar + num_traits::NumCast>(len: usize) -> Vec<T> {
        (0..len).map(|i| T::from(i * i % 251).expect("a small number")).collect()
    }

    struct Squares<T>(PhantomData<T>);

    impl<T: SimdScalar + num_traits::NumCast + PartialEq + Debug> WithSimd for Squares<T> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            let lanes = T::lanes::<S>();
            let values = numbers::<T>(7 * lanes);
            let vectors: [T::Vector<S>; 7] = std::array::from_fn(|i| {
                bytemuck::pod_read_unaligned(bytemuck::cast_slice(&values[i * lanes..(i + 1) * lanes]))
            });
            for (sum, values) in T::vsums(simd, vectors).iter().zip(values.chunks(lanes)) {
                let expected: f64 = values.iter().map(|v| v.to_f64().expect("a number")).sum();
                assert_eq!(sum.to_f64(), Some(expected), "{simd:?}");
            }
            if T::has_squares::<S>() {
                let rows: [T::Vector<S>; SIDE] = vectors[..SIDE].try_into().expect("four vectors");
                let transposed = T::transpose(simd, rows);
                let transposed: &[T] = bytemuck::cast_slice(&transposed);
                for (i, &value) in transposed.iter().enumerate() {
                    let (row, lane) = (i / lanes, i % lanes);
                    assert_eq!(value, values[lane % SIDE * lanes + lane / SIDE * SIDE + row], "{simd:?}");
                }
            }
        }
    }

    /// With every instruction set of this machine that pulp may choose.
    pub fn with_all<Op: WithSimd<Output = ()>>(op: impl Fn() -> Op) {
        op().with_simd(Scalar);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            pulp::Simd::vectorize(simd, op());
        }
        arch().dispatch(op());
    }

    #[test]
    fn squares_are_transposed_and_vectors_summed() {
        with_all(|| Squares::<f32>(PhantomData));
        with_all(|| Squares::<f64>(PhantomData));
    }
}
