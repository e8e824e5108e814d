//! Between images in planes of one channel and images in pixels of [`CHANNELS`] channels.

use super::simd::CHANNELS;

/// A square of this side is moved at once, which compilers know how to do in registers.
const SIDE: usize = 4;

/// `pixels[x][c] = row(c)[x]` for the first `channels` of the pixels' channels.
#[inline(always)]
pub fn to_pixels<'a, T: Copy + 'a>(channels: usize, row: impl Fn(usize) -> &'a [T], pixels: &mut [[T; CHANNELS]]) {
    let whole = pixels.len() / SIDE * SIDE;
    for first in (0..channels).step_by(SIDE) {
        let is_square = first + SIDE <= channels;
        if is_square {
            let [a, b, c, d] = std::array::from_fn(|c| row(first + c)[..whole].as_chunks::<SIDE>().0);
            for ((((pixels, a), b), c), d) in pixels.chunks_exact_mut(SIDE).zip(a).zip(b).zip(c).zip(d) {
                for x in 0..SIDE {
                    pixels[x][first..first + SIDE].copy_from_slice(&[a[x], b[x], c[x], d[x]]);
                }
            }
        }
        let done = if is_square { whole } else { 0 };
        for c in first..channels.min(first + SIDE) {
            for (pixel, &value) in pixels[done..].iter_mut().zip(&row(c)[done..]) {
                pixel[c] = value;
            }
        }
    }
}

/// `channels[c * pitch + x] = pixels[x][c]` for as many of the channels as there are, at most [`CHANNELS`].
#[inline(always)]
pub fn to_channels<T: Copy>(pixels: &[[T; CHANNELS]], channels: &mut [T], pitch: usize) {
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

    #[test]
    fn there_and_back_for_awkward_sizes() {
        for (channels, width, pitch) in [(16, 8, 8), (16, 7, 10), (5, 3, 4), (6, 9, 9), (1, 1, 1), (20, 4, 4)] {
            let image: Vec<usize> = (0..(channels - 1) * pitch + width).collect();
            let mut pixels = vec![[usize::MAX; CHANNELS]; width];
            to_pixels(channels.min(CHANNELS), |c| &image[c * pitch..][..width], &mut pixels);
            for (x, pixel) in pixels.iter().enumerate() {
                for (c, &value) in pixel.iter().enumerate() {
                    let expected = if c < channels { c * pitch + x } else { usize::MAX };
                    assert_eq!(value, expected, "{channels} channels of {width}, {pitch} apart: ({x}, {c})");
                }
            }
            let mut back = vec![usize::MAX; image.len()];
            to_channels(&pixels, &mut back, pitch);
            for (i, &value) in back.iter().enumerate() {
                let moved = i % pitch < width && i / pitch < CHANNELS;
                assert_eq!(
                    value,
                    if moved { i } else { usize::MAX },
                    "{channels} channels of {width}, {pitch} apart: {i}"
                );
            }
        }
    }
}
