//! What two conv blocks' parameters have to do with each other: small, but read in every product, hence vectors as wide as the
//! machine's.

use crate::device::cpu::CpuDevice;
use crate::device::cpu::arena::{with_arena, zeros};
use crate::device::cpu::matrix::MatsMut;
use crate::device::cpu::simd::arch;
use crate::device::{ConvCoupling, Scalar};
use crate::network::Conv;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

pub(in crate::device::cpu) fn coupling<T: Scalar>(first: &Conv, second: &Conv, call: ConvCoupling<'_, CpuDevice<T>>) {
    assert_eq!(first.out_channels, second.in_channels, "the second block follows the first");
    let (taps, own, pitch) = (second.kernel * second.kernel, first.patch_len(), second.pitch);
    let (filter, len, directions) = (second.patch_len(), second.weight_len(), call.directions);
    // Channel `c` of the first block has weights `c * own..` and a bias.
    let place = |c: usize, j: usize| if j < own { first.weight + c * own + j } else { first.bias + c };
    let part = |j: usize, oc: usize| &call.matrix[j * len + oc * filter..][..filter];
    let tw = |k: usize, oc: usize| &call.vectors[k * pitch + second.weight + oc * filter..][..filter];
    with_arena(|arena| {
        // t1[c, j] for every weight of a filter of the second block (directions, J, filter).
        let t1 = zeros::<T>(arena, directions * (own + 1) * filter);
        for (i, t1) in t1.chunks_exact_mut(filter).enumerate() {
            let vector = &call.vectors[i / (own + 1) * pitch..];
            for (c, t1) in t1.chunks_exact_mut(taps).enumerate() {
                t1.fill(vector[place(c, i % (own + 1))]);
            }
        }
        // td1[c, j] (directions, J, c), whose sums over the output channels are made first.
        let td1 = zeros::<T>(arena, directions * (own + 1) * first.out_channels);
        td1.par_chunks_exact_mut(first.out_channels).enumerate().for_each(|(i, td1)| {
            let (k, j) = (i / (own + 1), i % (own + 1));
            with_arena(|arena| {
                let sums = zeros(arena, filter);
                for oc in 0..second.out_channels {
                    arch().dispatch(AddProducts { sums, a: part(j, oc), b: tw(k, oc) });
                }
                for (td1, sums) in td1.iter_mut().zip(sums.chunks_exact(taps)) {
                    *td1 = sums.iter().copied().sum();
                }
            });
        });
        let weights = &mut call.products[second.weight..];
        let weights = MatsMut::new(weights, directions, pitch, second.out_channels, filter);
        weights.row_blocks(1).for_each(|(k, oc, mut row)| {
            for (j, t1) in t1[k * (own + 1) * filter..].chunks_exact(filter).take(own + 1).enumerate() {
                arch().dispatch(AddProducts { sums: row.row(0), a: part(j, oc), b: t1 });
            }
        });
        for (i, td1) in td1.chunks_exact(first.out_channels).enumerate() {
            let vector = &mut call.products[i / (own + 1) * pitch..];
            td1.iter().enumerate().for_each(|(c, &sum)| vector[place(c, i % (own + 1))] += sum);
        }
    });
}

/// `sums += a b`, entry by entry.
struct AddProducts<'a, T> {
    sums: &'a mut [T],
    a: &'a [T],
    b: &'a [T],
}

impl<T: Scalar> WithSimd for AddProducts<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for ((sum, &a), &b) in self.sums.iter_mut().zip(self.a).zip(self.b) {
            *sum += a * b;
        }
    }
}
