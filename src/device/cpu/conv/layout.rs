//! What the routed kernels work on: zero-bordered images and weights in lines of channels, and lists of live outputs.

use crate::device::cpu::simd::{CHANNELS, Line};
use crate::device::{DEAD, Scalar};
use crate::network::Conv;

/// Sizes of the packed arrays, counted in lines.
#[derive(Clone, Copy)]
pub struct Layout {
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
}

impl Layout {
    pub fn new(c: &Conv) -> Self {
        let blocks = c.in_channels.div_ceil(CHANNELS);
        let row = c.width + c.kernel - 1;
        let plane = row * (c.height + c.kernel - 1);
        let taps = c.kernel * c.kernel;
        Self { blocks, row, plane, image: blocks * plane, taps, weights: c.out_channels * blocks * taps }
    }

    /// Copies a sample (IC, H, W) into the inside of a bordered image; the border stays as it is.
    pub fn pack_image<T: Scalar>(&self, c: &Conv, sample: &[T], image: &mut [Line<T>]) {
        let (pad, area) = (c.kernel / 2, c.height * c.width);
        for (block, channels) in sample.chunks(CHANNELS * area).enumerate() {
            for y in 0..c.height {
                let start = block * self.plane + (y + pad) * self.row + pad;
                for (x, line) in image[start..start + c.width].iter_mut().enumerate() {
                    for (channel, value) in channels.chunks_exact(area).zip(&mut line.0) {
                        *value = channel[y * c.width + x];
                    }
                }
            }
        }
    }

    /// Copies the inside of a bordered image to a sample (IC, H, W).
    pub fn unpack_image<T: Scalar>(&self, c: &Conv, image: &[Line<T>], sample: &mut [T]) {
        let (pad, area) = (c.kernel / 2, c.height * c.width);
        for (block, channels) in sample.chunks_mut(CHANNELS * area).enumerate() {
            for y in 0..c.height {
                let start = block * self.plane + (y + pad) * self.row + pad;
                for (x, line) in image[start..start + c.width].iter().enumerate() {
                    for (channel, value) in channels.chunks_exact_mut(area).zip(&line.0) {
                        channel[y * c.width + x] = *value;
                    }
                }
            }
        }
    }

    /// Where the line of (output channel, block, ky, kx) lies when the output channel comes first.
    pub fn by_channel(&self, c: &Conv, oc: usize, block: usize, ky: usize, kx: usize) -> usize {
        ((oc * self.blocks + block) * c.kernel + ky) * c.kernel + kx
    }

    /// Where it lies when block and row of taps come first, so that a slice of all output channels is contiguous.
    pub fn by_row(&self, c: &Conv, oc: usize, block: usize, ky: usize, kx: usize) -> usize {
        ((block * c.kernel + ky) * c.out_channels + oc) * c.kernel + kx
    }

    /// Packs weights (OC, IC, K, K) in either order.
    pub fn pack_weights<T: Scalar>(
        &self,
        c: &Conv,
        weights: &[T],
        place: fn(&Self, &Conv, usize, usize, usize, usize) -> usize,
    ) -> Vec<Line<T>> {
        let mut lines = vec![Line::zero(); self.weights];
        let mut tap = weights.iter();
        for oc in 0..c.out_channels {
            for ic in 0..c.in_channels {
                for ky in 0..c.kernel {
                    for kx in 0..c.kernel {
                        let line = place(self, c, oc, ic / CHANNELS, ky, kx);
                        lines[line].0[ic % CHANNELS] = *tap.next().expect("one weight a tap");
                    }
                }
            }
        }
        lines
    }

    /// Adds packed weights (output channel first) to weights (OC, IC, K, K).
    pub fn add_weights<T: Scalar>(&self, c: &Conv, lines: &[Line<T>], weights: &mut [T]) {
        let mut tap = weights.iter_mut();
        for oc in 0..c.out_channels {
            for ic in 0..c.in_channels {
                for ky in 0..c.kernel {
                    for kx in 0..c.kernel {
                        let line = self.by_channel(c, oc, ic / CHANNELS, ky, kx);
                        *tap.next().expect("one weight a tap") += lines[line].0[ic % CHANNELS];
                    }
                }
            }
        }
    }
}

/// The live outputs of one sample, listed by channel, and the same by position.
#[derive(Default)]
pub struct Routes {
    /// Channel `oc`'s outputs are entries `starts[oc]..starts[oc + 1]`.
    pub starts: Vec<usize>,
    /// Index of each entry in the sample's pooled outputs.
    pub outputs: Vec<usize>,
    /// First line, in a block's plane, of the patch that each entry's routed position sees.
    pub patches: Vec<usize>,
    /// Positions that some output was routed to: (patch, end of its entries in `members`).
    pub positions: Vec<(usize, usize)>,
    /// (channel, entry), position after position.
    pub members: Vec<(usize, usize)>,
    /// Scratch of the counting sort.
    counts: Vec<usize>,
}

impl Routes {
    /// Lists the outputs that `route` (OC, H/2, W/2) says are live.
    pub fn list(&mut self, c: &Conv, layout: &Layout, route: &[u8]) {
        self.starts.clear();
        self.outputs.clear();
        self.patches.clear();
        self.starts.push(0);
        self.counts.clear();
        self.counts.resize(layout.plane + 1, 0);
        let width = c.pooled_width();
        for channel in route.chunks_exact(c.pooled_height() * width) {
            let first = (self.starts.len() - 1) * channel.len();
            for (cell, &code) in channel.iter().enumerate() {
                if code != DEAD {
                    let (y, x) = (cell / width, cell % width);
                    let patch = (2 * y + usize::from(code >> 1)) * layout.row + 2 * x + usize::from(code & 1);
                    self.outputs.push(first + cell);
                    self.patches.push(patch);
                    self.counts[patch + 1] += 1;
                }
            }
            self.starts.push(self.outputs.len());
        }
    }

    /// Sorts what [`Routes::list`] listed by position.
    pub fn sort_by_position(&mut self) {
        self.positions.clear();
        let mut end = 0;
        for (patch, count) in self.counts.iter_mut().skip(1).enumerate() {
            let start = end;
            end += *count;
            if *count > 0 {
                self.positions.push((patch, end));
            }
            *count = start;
        }
        self.members.resize(self.outputs.len(), (0, 0));
        for oc in 0..self.starts.len() - 1 {
            for entry in self.starts[oc]..self.starts[oc + 1] {
                let next = &mut self.counts[self.patches[entry] + 1];
                self.members[*next] = (oc, entry);
                *next += 1;
            }
        }
    }
}
