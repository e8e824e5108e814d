//! Between images in planes of one channel and images in pixels of [`CHANNELS`] channels.
//!
//! Squares of four channels by four pixels are transposed in registers, as many as fit. Compilers do not think of it: they move
//! values one by one, which takes more than twice as long.

#![allow(clippy::needless_range_loop, reason = "the loop over registers is unrolled as it stands")]

use super::simd::{CHANNELS, Line, SIDE, SimdScalar};
use pulp::Simd;

/// Where the squares of a row begin that is at least one wide. The last may overlap the one before: to move a few values twice
/// costs less than to move them one by one.
#[inline(always)]
fn squares(width: usize) -> impl Iterator<Item = usize> {
    (0..width.div_ceil(SIDE)).map(move |i| (SIDE * i).min(width - SIDE))
}

/// `pixels[x][c] = row(c)[x]` for the first `channels` of the pixels' channels; the others may become zeros. It is faster where
/// the slices go on behind the row.
#[inline(always)]
pub fn to_pixels<'a, T: SimdScalar, S: Simd>(
    simd: S,
    channels: usize,
    row: impl Fn(usize) -> &'a [T],
    pixels: &mut [Line<T>],
) {
    let width = pixels.len();
    if width < SIDE || !T::has_squares::<S>() {
        for c in 0..channels {
            for (pixel, &value) in pixels.iter_mut().zip(row(c)) {
                pixel.0[c] = value;
            }
        }
        return;
    }
    for first in (0..channels).step_by(SIDE) {
        for start in (0..width).step_by(T::lanes::<S>()) {
            let mut rows = [T::splat(simd, T::zeroed()); SIDE];
            // All four in turn, so that compilers unroll the loop and keep them in registers.
            for i in 0..SIDE {
                if first + i < channels {
                    rows[i] = T::load_some::<S>(&row(first + i)[start..]);
                }
            }
            for (i, vector) in T::transpose(simd, rows).iter().enumerate() {
                let (squares, _) = bytemuck::cast_slice::<_, T>(std::slice::from_ref(vector)).as_chunks::<SIDE>();
                for (q, values) in squares.iter().enumerate() {
                    if let Some(pixel) = pixels.get_mut(start + SIDE * q + i) {
                        pixel.0[first..first + SIDE].copy_from_slice(values);
                    }
                }
            }
        }
    }
}

/// `channels[c * pitch + x] = pixels[x][c]` for as many of the channels as there are, at most [`CHANNELS`].
#[inline(always)]
pub fn to_channels<T: SimdScalar, S: Simd>(simd: S, pixels: &[Line<T>], channels: &mut [T], pitch: usize) {
    let width = pixels.len();
    if width < SIDE || !T::has_squares::<S>() {
        return to_channels_anyhow(T::scalars(pixels).as_chunks().0, channels, pitch);
    }
    for x in squares(width) {
        let pixels: &[Line<T>; SIDE] = pixels[x..].first_chunk().expect("a square's width");
        for e in 0..CHANNELS / T::lanes::<S>() {
            let mut rows = [T::splat(simd, T::zeroed()); SIDE];
            for (pixel, vector) in pixels.iter().zip(&mut rows) {
                *vector = T::load::<S>(pixel, e);
            }
            for (i, row) in T::transpose(simd, rows).iter().enumerate() {
                let (squares, _) = bytemuck::cast_slice::<_, T>(std::slice::from_ref(row)).as_chunks::<SIDE>();
                for (q, values) in squares.iter().enumerate() {
                    let at = (e * T::lanes::<S>() + SIDE * q + i) * pitch + x;
                    if let Some(target) = channels.get_mut(at..at + SIDE) {
                        target.copy_from_slice(values);
                    }
                }
            }
        }
    }
}

/// [`to_channels`] for what does not come in vectors.
#[inline(always)]
pub fn to_channels_anyhow<T: Copy>(pixels: &[[T; CHANNELS]], channels: &mut [T], pitch: usize) {
    let width = pixels.len();
    for (i, rows) in channels.chunks_mut(SIDE * pitch).take(CHANNELS / SIDE).enumerate() {
        let mut done = 0;
        if rows.len() > (SIDE - 1) * pitch {
            let mut rows = rows.chunks_mut(pitch).map(|row| row[..width].as_chunks_mut::<SIDE>().0);
            let [a, b, c, d] = std::array::from_fn(|_| rows.next().expect("four rows"));
            for ((((pixels, a), b), c), d) in pixels.chunks_exact(SIDE).zip(a).zip(b).zip(c).zip(d) {
                let pixels: [&[T]; SIDE] = std::array::from_fn(|x| &pixels[x][SIDE * i..SIDE * (i + 1)]);
                for (channel, row) in [a, b, c, d].into_iter().enumerate() {
                    *row = [pixels[0][channel], pixels[1][channel], pixels[2][channel], pixels[3][channel]];
                }
            }
            done = width / SIDE * SIDE;
        }
        for (c, row) in rows.chunks_mut(pitch).enumerate() {
            for (value, pixel) in row[done..].iter_mut().zip(&pixels[done..]) {
                *value = pixel[SIDE * i + c];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::simd::tests::with_all;
    use pulp::WithSimd;

    struct ThereAndBack {
        channels: usize,
        width: usize,
        pitch: usize,
    }

    impl WithSimd for ThereAndBack {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            let Self { channels, width, pitch } = self;
            let what = format!("{simd:?}, {channels} channels of {width}, {pitch} apart");
            let image: Vec<f32> = (1..=(channels - 1) * pitch + width).map(|i| i as f32).collect();
            let mut pixels = vec![Line::zero(); width];
            to_pixels(simd, channels.min(CHANNELS), |c| &image[c * pitch..], &mut pixels);
            for (x, pixel) in pixels.iter().enumerate() {
                for (c, &value) in pixel.0.iter().enumerate() {
                    let expected = if c < channels { (1 + c * pitch + x) as f32 } else { 0.0 };
                    assert_eq!(value, expected, "{what}: ({x}, {c})");
                }
            }
            let mut back = vec![0.0; image.len()];
            to_channels(simd, &pixels, &mut back, pitch);
            for (i, &value) in back.iter().enumerate() {
                let moved = i % pitch < width && i / pitch < CHANNELS;
                assert_eq!(value, if moved { (1 + i) as f32 } else { 0.0 }, "{what}: {i}");
            }
        }
    }

    #[test]
    fn there_and_back_for_awkward_sizes() {
        for (channels, width, pitch) in [(16, 8, 8), (16, 7, 10), (5, 3, 4), (6, 9, 9), (1, 1, 1), (20, 4, 4)] {
            with_all(|| ThereAndBack { channels, width, pitch });
        }
    }
}
