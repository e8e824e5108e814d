//! What the routed kernels work on: a first layer's images and weights in lines of channels.

use crate::device::Scalar;
use crate::device::cpu::arena::zeros;
use crate::device::cpu::simd::{CHANNELS, Line, arch};
use crate::device::cpu::transpose::to_pixels;
use crate::network::Conv;
use bumpalo::Bump;
use pulp::{Simd, WithSimd};

/// Sizes of the packed arrays, counted in lines.
///
/// A first layer with one or three channels would leave its lines nearly empty. It is unfolded: every tap of every channel
/// becomes a channel of its own, shifted, and the convolution one of kernel 1, whose weights lie in memory as before.
#[derive(Clone, Copy, PartialEq)]
pub struct Layout {
    /// Channels that the packed arrays are for: the taps of all input channels.
    channels: usize,
    /// Blocks of [`CHANNELS`] of them; the last is filled up with zeros.
    pub blocks: usize,
    /// A row of an image.
    pub row: usize,
    /// A block of an image.
    pub plane: usize,
    /// All blocks of an image.
    pub image: usize,
    /// All weights: of each output channel a line for each block.
    pub weights: usize,
    /// Scratch of [`Layout::pack_image`], in scalars: the sample with its border.
    pub bordered: usize,
}

impl Layout {
    pub fn new(c: &Conv) -> Self {
        let (channels, blocks, plane) = (c.patch_len(), c.patch_len().div_ceil(CHANNELS), c.width * c.height);
        let bordered = c.in_channels * (c.width + c.kernel - 1) * (c.height + c.kernel - 1);
        let (image, weights) = (blocks * plane, c.out_channels * blocks);
        Self { channels, blocks, row: c.width, plane, image, weights, bordered }
    }

    /// Packs a sample (IC, H, W): channel (ic, ky, kx) of the image is channel ic of the sample, shifted, and so a pixel's lines are its
    /// patch. The border of `bordered` stays as it is.
    pub fn pack_image<T: Scalar>(&self, c: &Conv, sample: &[T], bordered: &mut [T], image: &mut [Line<T>]) {
        arch().dispatch(Pack { layout: self, c, sample, bordered, image });
    }

    /// Packs weights (OC, IC, K, K).
    pub fn pack_weights<'a, T: Scalar>(&self, arena: &'a Bump, weights: &[T]) -> &'a [Line<T>] {
        let lines = zeros::<Line<T>>(arena, self.weights);
        for (lines, weights) in lines.chunks_exact_mut(self.blocks).zip(weights.chunks_exact(self.channels)) {
            for (line, weights) in lines.iter_mut().zip(weights.chunks(CHANNELS)) {
                line.0[..weights.len()].copy_from_slice(weights);
            }
        }
        lines
    }

    /// Unpacks the lines of one output channel to its weights (IC, K, K), which they are added to or replace.
    pub fn unpack_channel<T: Scalar>(&self, lines: &[Line<T>], weights: &mut [T], accumulate: bool) {
        for (to, &value) in weights.iter_mut().zip(lines.iter().flat_map(|line| &line.0)) {
            *to = if accumulate { *to + value } else { value };
        }
    }
}

struct Pack<'a, T> {
    layout: &'a Layout,
    c: &'a Conv,
    sample: &'a [T],
    bordered: &'a mut [T],
    image: &'a mut [Line<T>],
}

impl<T: Scalar> WithSimd for Pack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layout, c, sample, bordered, image } = self;
        let (kernel, channels) = (c.kernel, layout.channels);
        let (pad, row) = (kernel / 2, c.width + kernel - 1);
        let plane = row * (c.height + kernel - 1);
        for (i, from) in sample.chunks_exact(c.width).enumerate() {
            let (ic, y) = (i / c.height, i % c.height);
            bordered[ic * plane + (y + pad) * row + pad..][..c.width].copy_from_slice(from);
        }
        for (block, first) in (0..channels).step_by(CHANNELS).enumerate() {
            let taps: [usize; CHANNELS] = std::array::from_fn(|i| {
                let tap = first + i;
                tap / (kernel * kernel) * plane + tap / kernel % kernel * row + tap % kernel
            });
            let count = CHANNELS.min(channels - first);
            for y in 0..c.height {
                let pixels = &mut image[block * layout.plane + y * layout.row..][..c.width];
                to_pixels(simd, count, |tap| &bordered[taps[tap] + y * row..], pixels);
            }
        }
    }
}
