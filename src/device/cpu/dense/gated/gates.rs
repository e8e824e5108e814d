//! Which units of a layer are on for which samples, one bit each.

use super::SAMPLES;
use crate::device::Scalar;
use crate::device::cpu::arena::zeros;
use crate::device::cpu::bits::{WORD, word_of};
use crate::device::cpu::dense::is_on;
use crate::device::cpu::simd::arch;
use crate::network::Dense;
use bumpalo::Bump;
use bumpalo::collections::Vec;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// A bit for each sample and unit.
pub struct Gates<'a> {
    samples: usize,
    /// Words a sample.
    words: usize,
    bits: &'a [u64],
}

impl<'a> Gates<'a> {
    /// The gates of a layer's outputs `y` (N, O).
    pub fn new<T: Scalar>(arena: &'a Bump, layer: &Dense, samples: usize, y: &[T]) -> Self {
        let words = layer.outputs.div_ceil(WORD);
        let bits = zeros(arena, samples * words);
        let rows = y[..samples * layer.outputs].par_chunks_exact(layer.outputs);
        bits.par_chunks_exact_mut(words).zip(rows).for_each(|(bits, y)| {
            for (word, y) in bits.iter_mut().zip(y.chunks(WORD)) {
                *word = word_of(y, |y| u8::from(is_on(layer, y)));
            }
        });
        Self { samples, words, bits }
    }

    /// The units of a sample, as words.
    fn of(&self, sample: usize) -> &[u64] {
        &self.bits[sample * self.words..][..self.words]
    }

    /// Whether a unit is on for a sample.
    pub fn is_on(&self, sample: usize, unit: usize) -> bool {
        self.of(sample)[unit / WORD] >> (unit % WORD) & 1 == 1
    }

    /// Those of some units, counted from their first, that are on for one of the samples at least.
    pub fn on_for_any<'b>(&self, arena: &'b Bump, samples: &[usize], units: Range<usize>) -> Vec<'b, usize> {
        assert_eq!(units.start % WORD, 0);
        let mut list = Vec::with_capacity_in(units.len(), arena);
        for first in units.clone().step_by(WORD) {
            let mut word = samples.iter().fold(0, |word, &s| word | self.of(s)[first / WORD]);
            while word != 0 {
                list.push(first - units.start + word.trailing_zeros() as usize);
                word &= word - 1;
            }
        }
        list
    }

    /// Bit i is whether unit `units.start + i` is on for the sample.
    pub fn of_units(&self, sample: usize, units: Range<usize>) -> u32 {
        assert!(units.len() <= 32 && units.start % WORD + units.len() <= WORD, "the units lie in one word");
        let mask = (1u64 << units.len()) - 1;
        (self.of(sample)[units.start / WORD] >> (units.start % WORD) & mask) as u32
    }

    /// For each unit, whether it is on for sample `samples.start + i` as bit i; the masks come as zeros.
    pub fn of_samples(&self, samples: Range<usize>, masks: &mut [u32]) {
        assert!(samples.len() <= 32);
        for (i, sample) in samples.enumerate() {
            for (masks, word) in masks.chunks_mut(WORD).zip(self.of(sample)) {
                (0..).zip(masks).for_each(|(unit, mask)| *mask |= ((word >> unit & 1) as u32) << i);
            }
        }
    }

    /// The samples in an order in which each four share as many of their units as a greedy search can find.
    pub fn by_similarity<'b>(&self, arena: &'b Bump) -> Vec<'b, usize> {
        arch().dispatch(BySimilarity(self, arena))
    }
}

/// Dispatched for the instruction that counts bits.
struct BySimilarity<'a, 'b>(&'a Gates<'a>, &'b Bump);

impl<'b> WithSimd for BySimilarity<'_, 'b> {
    type Output = Vec<'b, usize>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<'b, usize> {
        let Self(gates, arena) = self;
        let mut order = Vec::with_capacity_in(gates.samples, arena);
        let mut left = Vec::from_iter_in(0..gates.samples, arena);
        let union = zeros::<u64>(arena, gates.words);
        while !left.is_empty() {
            let is_first = order.len() % SAMPLES == 0;
            let mut best = 0;
            if is_first {
                union.fill(0);
            } else {
                let mut fewest = u32::MAX;
                for (i, &s) in left.iter().enumerate() {
                    let added = gates.of(s).iter().zip(&*union).map(|(bits, union)| (bits & !union).count_ones()).sum();
                    if added < fewest {
                        (best, fewest) = (i, added);
                    }
                }
            }
            let next = left.remove(best);
            union.iter_mut().zip(gates.of(next)).for_each(|(union, bits)| *union |= bits);
            order.push(next);
        }
        order
    }
}
