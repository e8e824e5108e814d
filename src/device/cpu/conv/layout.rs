//! What the routed kernels work on: zero-bordered images and weights in lines of channels.

use crate::device::Scalar;
use crate::device::cpu::arena::zeros;
use crate::device::cpu::simd::{CHANNELS, Line, arch};
use crate::device::cpu::transpose::{to_channels, to_pixels};
use crate::network::Conv;
use bumpalo::Bump;
use pulp::{Simd, WithSimd};

/// Where the line of (output channel, block, ky, kx) lies.
type Place = fn(&Layout, &Conv, usize, usize, usize, usize) -> usize;

/// Sizes of the packed arrays, counted in lines.
///
/// A first layer with one or three channels would leave its lines nearly empty. It is *unfolded*: every tap of every channel
/// becomes a channel of its own, shifted, and the convolution one of kernel 1, whose weights lie in memory as before.
#[derive(Clone, Copy, PartialEq)]
pub struct Layout {
    /// Side of the kernel that the packed arrays are for.
    pub kernel: usize,
    /// The layer's own kernel, if it was unfolded.
    unfolded: Option<usize>,
    /// Input channels that the packed arrays are for.
    channels: usize,
    /// Blocks of [`CHANNELS`] input channels; the last is filled up with zeros.
    pub blocks: usize,
    /// A row of a bordered image.
    pub row: usize,
    /// A block of a bordered image.
    pub plane: usize,
    /// All blocks of a bordered image.
    pub image: usize,
    /// The weights of one output channel and one block: kernel x kernel.
    pub taps: usize,
    /// All weights.
    pub weights: usize,
    /// Scratch of [`Layout::pack_image`], in scalars: the sample with its border, if the layer was unfolded.
    pub bordered: usize,
}

impl Layout {
    /// The layer as it is.
    pub fn new(c: &Conv) -> Self {
        Self::sized(c, c.kernel, c.in_channels, None)
    }

    /// The layer unfolded.
    pub fn unfolded(c: &Conv) -> Self {
        Self::sized(c, 1, c.patch_len(), Some(c.kernel))
    }

    fn sized(c: &Conv, kernel: usize, channels: usize, unfolded: Option<usize>) -> Self {
        let blocks = channels.div_ceil(CHANNELS);
        let row = c.width + kernel - 1;
        let plane = row * (c.height + kernel - 1);
        let (taps, image) = (kernel * kernel, blocks * plane);
        let bordered = unfolded.map_or(0, |k| c.in_channels * (c.width + k - 1) * (c.height + k - 1));
        Self {
            kernel,
            unfolded,
            channels,
            blocks,
            row,
            plane,
            image,
            taps,
            weights: c.out_channels * blocks * taps,
            bordered,
        }
    }

    /// Copies a sample (IC, H, W) into the inside of a bordered image; the borders of both arrays stay as they are.
    pub fn pack_image<T: Scalar>(&self, c: &Conv, sample: &[T], bordered: &mut [T], image: &mut [Line<T>]) {
        arch().dispatch(Pack { layout: self, c, sample, bordered, image });
    }

    #[inline(always)]
    fn copy_image<T: Scalar, S: Simd>(&self, simd: S, c: &Conv, sample: &[T], image: &mut [Line<T>]) {
        let (pad, area) = (c.kernel / 2, c.height * c.width);
        for (block, channels) in sample.chunks(CHANNELS * area).enumerate() {
            for y in 0..c.height {
                let start = block * self.plane + (y + pad) * self.row + pad;
                let pixels = &mut image[start..start + c.width];
                to_pixels(simd, channels.len() / area, |channel| &channels[channel * area + y * c.width..], pixels);
            }
        }
    }

    /// Channel (ic, ky, kx) of the image is channel ic of the sample, shifted: a pixel's lines are its patch.
    #[inline(always)]
    fn unfold_image<T: Scalar, S: Simd>(
        &self,
        simd: S,
        (c, kernel): (&Conv, usize),
        sample: &[T],
        bordered: &mut [T],
        image: &mut [Line<T>],
    ) {
        let (pad, row) = (kernel / 2, c.width + kernel - 1);
        let plane = row * (c.height + kernel - 1);
        for (i, from) in sample.chunks_exact(c.width).enumerate() {
            let (ic, y) = (i / c.height, i % c.height);
            bordered[ic * plane + (y + pad) * row + pad..][..c.width].copy_from_slice(from);
        }
        for (block, first) in (0..self.channels).step_by(CHANNELS).enumerate() {
            let taps: [usize; CHANNELS] = std::array::from_fn(|i| {
                let tap = first + i;
                tap / (kernel * kernel) * plane + tap / kernel % kernel * row + tap % kernel
            });
            let count = CHANNELS.min(self.channels - first);
            for y in 0..c.height {
                let pixels = &mut image[block * self.plane + y * self.row..][..c.width];
                to_pixels(simd, count, |tap| &bordered[taps[tap] + y * row..], pixels);
            }
        }
    }

    /// Copies the inside of a bordered image to a sample (IC, H, W).
    pub fn unpack_image<T: Scalar>(&self, c: &Conv, image: &[Line<T>], sample: &mut [T]) {
        arch().dispatch(Unpack { layout: self, c, image, sample });
    }

    /// Where the line of (output channel, block, ky, kx) lies when the output channel comes first.
    pub fn by_channel(&self, _: &Conv, oc: usize, block: usize, ky: usize, kx: usize) -> usize {
        ((oc * self.blocks + block) * self.kernel + ky) * self.kernel + kx
    }

    /// Where it lies when block and row of taps come first, so that a slice of all output channels is contiguous.
    pub fn by_row(&self, c: &Conv, oc: usize, block: usize, ky: usize, kx: usize) -> usize {
        ((block * self.kernel + ky) * c.out_channels + oc) * self.kernel + kx
    }

    /// Packs weights (OC, IC, K, K) in either order.
    pub fn pack_weights<'a, T: Scalar>(&self, arena: &'a Bump, c: &Conv, weights: &[T], place: Place) -> &'a [Line<T>] {
        let lines = zeros::<Line<T>>(arena, self.weights);
        arch().dispatch(PackWeights { layout: self, c, weights, lines, place });
        lines
    }

    /// Unpacks the lines of one output channel to its weights (IC, K, K), which they are added to or replace.
    pub fn unpack_channel<T: Scalar>(&self, c: &Conv, lines: &[Line<T>], weights: &mut [T], accumulate: bool) {
        let mut tap = weights.iter_mut();
        for ic in 0..self.channels {
            for ky in 0..self.kernel {
                for kx in 0..self.kernel {
                    let line = self.by_channel(c, 0, ic / CHANNELS, ky, kx);
                    let (to, value) = (tap.next().expect("one weight a tap"), lines[line].0[ic % CHANNELS]);
                    *to = if accumulate { *to + value } else { value };
                }
            }
        }
    }
}

struct PackWeights<'a, T> {
    layout: &'a Layout,
    c: &'a Conv,
    weights: &'a [T],
    lines: &'a mut [Line<T>],
    place: Place,
}

impl<T: Scalar> WithSimd for PackWeights<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layout, c, weights, lines, place } = self;
        let Layout { kernel, channels, blocks, taps, .. } = *layout;
        for oc in 0..c.out_channels {
            for block in 0..blocks {
                let first = block * CHANNELS;
                let weights = &weights[(oc * channels + first) * taps..];
                for ky in 0..kernel {
                    // The runs of a row of taps are neighbours in either order.
                    let row = &mut lines[place(layout, c, oc, block, ky, 0)..][..kernel];
                    to_pixels(simd, CHANNELS.min(channels - first), |ic| &weights[ic * taps + ky * kernel..], row);
                }
            }
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
        match layout.unfolded {
            Some(kernel) => layout.unfold_image(simd, (c, kernel), sample, bordered, image),
            None => layout.copy_image(simd, c, sample, image),
        }
    }
}

struct Unpack<'a, T> {
    layout: &'a Layout,
    c: &'a Conv,
    image: &'a [Line<T>],
    sample: &'a mut [T],
}

impl<T: Scalar> WithSimd for Unpack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layout, c, image, sample } = self;
        let (pad, area) = (c.kernel / 2, c.height * c.width);
        for (block, channels) in sample.chunks_mut(CHANNELS * area).enumerate() {
            for y in 0..c.height {
                let start = block * layout.plane + (y + pad) * layout.row + pad;
                to_channels(simd, &image[start..start + c.width], &mut channels[y * c.width..], area);
            }
        }
    }
}
