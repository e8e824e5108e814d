//! What comes next, fetched from memory while a kernel computes.

use bytemuck::Pod;
use std::slice::Chunks;

/// Bytes that memory hands out at once.
const LINE: usize = 64;

/// Slices that are used soon, each cut evenly: a core that waits for many lines at once stops altogether.
pub struct Ahead<'a, const N: usize>([Chunks<'a, u8>; N]);

impl<'a, const N: usize> Ahead<'a, N> {
    pub fn in_steps<T: Pod>(slices: [&'a [T]; N], steps: usize) -> Self {
        Self(slices.map(|slice| {
            let bytes = bytemuck::cast_slice::<T, u8>(slice);
            bytes.chunks(bytes.len().div_ceil(steps.max(1)).next_multiple_of(LINE).max(LINE))
        }))
    }

    /// Asks for the next piece of each.
    #[inline(always)]
    pub fn step(&mut self) {
        for pieces in &mut self.0 {
            prefetch(pieces.next().unwrap_or_default());
        }
    }
}

/// Asks for a slice, into the second-level cache: the first is full of what a kernel works on.
#[inline(always)]
pub fn prefetch<T>(slice: &[T]) {
    for line in lines(slice) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            // SAFETY: every x86-64 has the instruction, and it may be given any address.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}

/// Asks for a slice that will be written.
#[inline(always)]
pub fn prefetch_to_write<T>(slice: &mut [T]) {
    for line in lines(slice) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            // SAFETY: as in `prefetch`.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(line) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}

/// Where the lines of a slice begin.
#[inline(always)]
fn lines<T>(slice: &[T]) -> impl Iterator<Item = *const i8> {
    (0..size_of_val(slice)).step_by(LINE).map(|at| slice.as_ptr().cast::<i8>().wrapping_add(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_cover_the_slice() {
        for (len, steps) in [(0, 3), (1000, 1), (1000, 7), (1000, 10_000), (70, 0)] {
            let slice = vec![0f32; len];
            let Ahead([pieces]) = Ahead::in_steps([&slice], steps);
            assert!(pieces.len() <= steps.max(1));
            assert_eq!(pieces.map(<[u8]>::len).sum::<usize>(), 4 * len);
        }
    }
}
