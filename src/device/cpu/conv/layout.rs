//! What the routed kernels work on: a first layer's images and weights, laid out so that lines are full of a patch.

use crate::device::Scalar;
use crate::device::cpu::arena::zeros;
use crate::device::cpu::simd::{CHANNELS, Line};
use crate::network::Conv;
use bumpalo::Bump;

/// Sizes of the packed arrays, counted in scalars unless said otherwise.
///
/// Of a patch of one or three channels few pixels are neighbours: those of one row. An image holds every row of the bordered sample
/// together with those below it, interleaved and with all channels, so that a line from any pixel on has as many rows of its patch as
/// fit: of the 5 x 5 patches of one channel three, and two lines make one. What lies in a line beyond the patch meets weights that are zero.
#[derive(Clone, Copy, PartialEq)]
pub struct Layout {
    /// Rows that are interleaved.
    rows: usize,
    /// Lines that have them of a patch.
    lines: usize,
    /// Lines of a patch.
    pub blocks: usize,
    /// From a pixel of an image to the next.
    pub pixel: usize,
    /// From a row of an image to the next.
    pub row: usize,
    /// An image, and behind it what a line of the last patch reaches.
    pub image: usize,
    /// All weights, in lines: of each output channel those of a patch.
    pub weights: usize,
}

impl Layout {
    pub fn new(c: &Conv) -> Self {
        let lines = |rows: usize| (c.in_channels * rows * c.kernel).div_ceil(CHANNELS);
        let blocks = |rows: usize| c.kernel.div_ceil(rows) * lines(rows);
        let rows = (1..=c.kernel).min_by_key(|&rows| blocks(rows)).unwrap_or(1);
        let (lines, blocks, pixel) = (lines(rows), blocks(rows), rows * c.in_channels);
        let row = (c.width + c.kernel - 1) * pixel;
        let image = (c.height + c.kernel - 1) * row + lines * CHANNELS;
        Self { rows, lines, blocks, pixel, row, image, weights: c.out_channels * blocks }
    }

    /// Where the lines of a patch lie, from its first pixel; ascending.
    pub fn offsets<'a>(&self, arena: &'a Bump) -> &'a [usize] {
        let Self { rows, lines, row, .. } = *self;
        arena.alloc_slice_fill_with(self.blocks, |block| block / lines * rows * row + block % lines * CHANNELS)
    }

    /// Packs a sample (IC, H, W). The border of the image stays as it is.
    pub fn pack_image<T: Scalar>(&self, c: &Conv, sample: &[T], image: &mut [T]) {
        let pad = c.kernel / 2;
        for (i, from) in sample.chunks_exact(c.width).enumerate() {
            let (ic, y) = (i / c.height, i % c.height + pad);
            for r in 0..self.rows.min(y + 1) {
                let first = (y - r) * self.row + pad * self.pixel + r * c.in_channels + ic;
                image[first..].iter_mut().step_by(self.pixel).zip(from).for_each(|(to, &x)| *to = x);
            }
        }
    }

    /// Where weight (ic, ky, kx) lies among the scalars of its output channel's lines.
    fn places(&self, c: &Conv) -> impl Iterator<Item = usize> {
        let (&Conv { in_channels, kernel, .. }, &Self { rows, lines, .. }) = (c, self);
        (0..c.patch_len()).map(move |tap| {
            let (ic, ky, kx) = (tap / (kernel * kernel), tap / kernel % kernel, tap % kernel);
            ky / rows * lines * CHANNELS + (kx * rows + ky % rows) * in_channels + ic
        })
    }

    /// Packs weights (OC, IC, K, K).
    pub fn pack_weights<'a, T: Scalar>(&self, arena: &'a Bump, c: &Conv, weights: &[T]) -> &'a [Line<T>] {
        let packed = zeros::<Line<T>>(arena, self.weights);
        for (lines, weights) in packed.chunks_exact_mut(self.blocks).zip(weights.chunks_exact(c.patch_len())) {
            let lines = T::scalars_mut(lines);
            self.places(c).zip(weights).for_each(|(place, &w)| lines[place] = w);
        }
        packed
    }

    /// Unpacks the lines of one output channel to its weights (IC, K, K), which they are added to or replace.
    pub fn unpack_channel<T: Scalar>(&self, c: &Conv, lines: &[Line<T>], weights: &mut [T], accumulate: bool) {
        let lines = T::scalars(lines);
        for (to, place) in weights.iter_mut().zip(self.places(c)) {
            *to = if accumulate { *to + lines[place] } else { lines[place] };
        }
    }
}
