//! Lists of a sample's live outputs.

use super::layout::Layout;
use crate::device::cpu::arena::{with_arena, with_idle, zeros};
use crate::device::cpu::bits::{WORD, word_of};
use crate::device::{DEAD, Scalar};
use crate::network::Conv;
use std::cell::RefCell;
use std::ops::Range;

/// The live outputs of one sample, listed by channel.
///
/// They follow from its route codes, and every product at a point uses the same ones: they stay with the codes, in few bytes.
#[derive(Default)]
pub struct Routes {
    /// What they were listed for; nothing once the codes have changed.
    listed: Option<Layout>,
    /// Windows of a channel: H/2 x W/2.
    area: usize,
    /// Channel `oc`'s outputs are entries `starts[oc]..starts[oc + 1]`.
    starts: Vec<u32>,
    /// The window of each entry.
    windows: Vec<u16>,
    /// First pixel, in scalars of an image, of the patch that each entry's routed position sees.
    pub patches: Vec<u16>,
    /// No patch is larger.
    pub last_patch: usize,
}

/// A bit for each of up to [`WORD`] codes, set where an output is live.
fn live_bits(codes: &[u8]) -> u64 {
    const {
        assert!(DEAD == 4, "a bit of its own");
    }
    word_of(codes, |code| !code >> 2)
}

/// Runs `f` with lists that nobody else needs; their memory is kept for the thread's next task.
pub fn with_routes<R>(f: impl FnOnce(&mut Routes) -> R) -> R {
    thread_local! {
        static IDLE: RefCell<Vec<Routes>> = const { RefCell::new(Vec::new()) };
    }
    with_idle(&IDLE, f)
}

impl Routes {
    /// Bytes a code at most.
    pub const BYTES_PER_CODE: usize = 2 * size_of::<u16>();

    /// Whether patches can be counted in sixteen bits.
    pub fn fit(layout: &Layout) -> bool {
        layout.image <= usize::from(u16::MAX)
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.starts.len() - 1
    }

    /// The entries of each channel.
    pub fn by_channel(&self) -> impl Iterator<Item = Range<usize>> {
        self.starts.windows(2).map(|ends| ends[0] as usize..ends[1] as usize)
    }

    /// Forgets what was listed, and keeps the memory.
    pub fn forget(&mut self) {
        self.listed = None;
    }

    /// Lists the outputs that `route` (OC, H/2, W/2) says are live, unless they are listed.
    pub fn list(&mut self, c: &Conv, layout: &Layout, route: &[u8]) {
        if self.listed == Some(*layout) {
            return;
        }
        assert!(Self::fit(layout), "patches in sixteen bits");
        let (height, width) = (c.pooled_height(), c.pooled_width());
        self.area = height * width;
        assert_eq!(route.len(), c.out_channels * self.area, "a code for each pooled output");
        self.listed = Some(*layout);
        let Layout { row, pixel, .. } = *layout;
        self.last_patch = 2 * ((height - 1) * row + (width - 1) * pixel) + row + pixel;
        self.starts.clear();
        self.starts.push(0);
        // All that there are, first: a list that grows takes more than it needs.
        let live = route.iter().filter(|&&code| code != DEAD).count();
        self.windows.resize(live, 0);
        self.patches.resize(live, 0);
        // Where a code's position lies in its window.
        let offsets = [0, pixel, row, row + pixel].map(|offset| offset as u16);
        with_arena(|arena| {
            let firsts = zeros::<u16>(arena, self.area);
            for (at, first) in firsts.iter_mut().enumerate() {
                *first = (2 * (at / width * row + at % width * pixel)) as u16;
            }
            let mut live = 0;
            for channel in route.chunks_exact(self.area) {
                for (word, codes) in channel.chunks(WORD).enumerate() {
                    // No branch can predict which outputs are live: their bits are run through instead.
                    let mut bits = live_bits(codes);
                    while bits != 0 {
                        let at = bits.trailing_zeros() as usize;
                        bits &= bits - 1;
                        let window = word * WORD + at;
                        self.windows[live] = window as u16;
                        self.patches[live] = firsts[window] + offsets[usize::from(codes[at] & 3)];
                        live += 1;
                    }
                }
                self.starts.push(live as u32);
            }
        });
    }

    /// The live outputs of an adjoint (OC, H/2, W/2), by channel, written to the beginning of `d`.
    pub fn gather<'d, T: Scalar>(&self, dp: &[T], d: &'d mut [T]) -> &'d [T] {
        let d = &mut d[..self.windows.len()];
        for (entries, dp) in self.by_channel().zip(dp.chunks_exact(self.area)) {
            let windows = &self.windows[entries.clone()];
            d[entries].iter_mut().zip(windows).for_each(|(d, &at)| *d = dp[usize::from(at)]);
        }
        d
    }

    /// Writes the outputs (OC, H/2, W/2): of each entry its `z` and its channel's bias, and zero where none is live.
    pub fn scatter<T: Scalar>(&self, z: &[T], biases: &[T], p: &mut [T]) {
        p.fill(T::zero());
        for ((entries, p), &bias) in self.by_channel().zip(p.chunks_exact_mut(self.area)).zip(biases) {
            let windows = &self.windows[entries.clone()];
            z[entries].iter().zip(windows).for_each(|(&z, &at)| p[usize::from(at)] = z + bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::Codes;

    #[test]
    fn lists_are_the_live_outputs_by_channel() {
        // The last has channels longer than a word of bits.
        for (out_channels, height, width, kernel) in [(3, 4, 6, 3), (20, 2, 2, 5), (5, 10, 30, 3)] {
            let c = Conv { in_channels: 3, out_channels, kernel, height, width, weight: 0, bias: 0, pitch: 0 };
            let (layout, area) = (Layout::new(&c), height / 2 * (width / 2));
            let code = |n: usize, i: usize| ((n + 7 * i) * (i + 3) % 11 % 5) as u8;
            let sample = |n: usize| (0..c.output_len()).map(move |i| code(n, i));
            let mut codes = Codes::new(sample(0).chain(sample(1)).collect());
            for (n, of) in [(0, 0), (1, 1), (0, 0), (0, 2), (1, 3)] {
                if of == 2 {
                    // What was listed is of no use any more.
                    codes.write().iter_mut().zip(sample(2).chain(sample(3))).for_each(|(code, new)| *code = new);
                }
                let routes = codes.routes(&c, &layout, n);
                // What the definition says of output i: its patch, if it is live.
                let patch = |i: usize| {
                    let (code, at) = (usize::from(code(of, i)), i % area);
                    let (y, x) = (2 * (at / (width / 2)) + code / 2, 2 * (at % (width / 2)) + code % 2);
                    (code < 4).then_some(y * layout.row + x * layout.pixel)
                };
                let live: Vec<usize> = (0..c.output_len()).filter(|&i| patch(i).is_some()).collect();
                // Each output by its number: gathered, it says which entry is whose.
                let numbers: Vec<f64> = (0..c.output_len()).map(|i| i as f64).collect();
                let mut room = numbers.clone();
                let entries: Vec<usize> = routes.gather(&numbers, &mut room).iter().map(|&i| i as usize).collect();
                assert_eq!(entries, live);
                assert!(entries.iter().zip(&routes.patches).all(|(&i, &p)| patch(i) == Some(usize::from(p))));
                assert!(routes.patches.iter().all(|&p| usize::from(p) <= routes.last_patch));
                for (oc, entries) in routes.by_channel().enumerate() {
                    assert!(live[entries].iter().all(|i| i / area == oc));
                }
                let biases: Vec<f64> = (0..out_channels).map(|oc| 0.5 + oc as f64).collect();
                let (z, mut p) = (live.iter().map(|&i| i as f64).collect::<Vec<_>>(), vec![f64::NAN; c.output_len()]);
                routes.scatter(&z, &biases, &mut p);
                let expected = |i: usize| patch(i).map_or(0.0, |_| i as f64 + biases[i / area]);
                assert!((0..p.len()).all(|i| p[i] == expected(i)));
            }
        }
    }

    #[test]
    fn every_live_code_has_its_bit() {
        for len in [0, 1, 7, 8, 9, 49, 63, WORD] {
            let codes: Vec<u8> = (0..len as u8).map(|i| i.wrapping_mul(i) % 7 % (DEAD + 1)).collect();
            for codes in [&codes[..], &vec![DEAD; len], &vec![DEAD - 1; len]] {
                let bits = live_bits(codes);
                for (i, &code) in codes.iter().enumerate() {
                    assert_eq!(bits >> i & 1 == 1, code != DEAD, "code {i} of {codes:?}");
                }
                assert_eq!(bits.checked_shr(len as u32).unwrap_or(0), 0, "bits beyond {len} codes");
            }
        }
    }
}
