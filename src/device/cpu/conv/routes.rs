//! Lists of a sample's live outputs, by channel and by position.

use super::layout::Layout;
use crate::device::cpu::arena::{with_arena, with_idle, zeros};
use crate::device::cpu::bits::{WORD, word_of};
use crate::device::{DEAD, Scalar};
use crate::network::Conv;
use std::cell::RefCell;
use std::ops::Range;

/// The live outputs of one sample, listed by channel, and the same by position.
///
/// They follow from its route codes, and every product at a point uses the same ones: they stay with the codes, in few bytes.
#[derive(Default)]
pub struct Routes {
    /// What they were listed for; nothing once the codes have changed.
    listed: Option<Layout>,
    sorted: bool,
    /// Windows of a channel: H/2 x W/2.
    area: usize,
    /// Channel `oc`'s outputs are entries `starts[oc]..starts[oc + 1]`.
    starts: Vec<u32>,
    /// The window of each entry.
    windows: Vec<u16>,
    /// First line, in a block's plane, of the patch that each entry's routed position sees.
    pub patches: Vec<u16>,
    /// No patch is larger.
    pub last_patch: usize,
    /// Positions that some output was routed to, those of as many outputs one after the other: the processor foresees loops of the
    /// same length.
    positions: Vec<Position>,
    /// Channels of those outputs, position after position.
    pub members: Vec<u16>,
}

/// A position that some outputs were routed to.
#[derive(Clone, Copy, Default)]
pub struct Position {
    /// The patch that it sees.
    pub patch: u16,
    /// The window that it lies in.
    window: u16,
    /// Where its entries in [`Routes::members`] end.
    end: u32,
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
    /// Bytes a code at most, but for what a position takes.
    pub const BYTES_PER_CODE: usize = 3 * size_of::<u16>();

    /// Whether patches and channels can be counted in sixteen bits.
    pub fn fit(c: &Conv, layout: &Layout) -> bool {
        layout.plane.max(c.out_channels) <= usize::from(u16::MAX)
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.starts.len() - 1
    }

    /// The entries of each channel.
    pub fn by_channel(&self) -> impl Iterator<Item = Range<usize>> {
        self.starts.windows(2).map(|ends| ends[0] as usize..ends[1] as usize)
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.positions.len()
    }

    /// The positions, and the entries of each in [`Routes::members`].
    pub fn by_position(&self) -> impl Iterator<Item = (Position, Range<usize>)> {
        let mut end = 0;
        self.positions.iter().map(move |&position| (position, std::mem::replace(&mut end, position.end as usize)..end))
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
        assert!(Self::fit(c, layout), "patches and channels in sixteen bits");
        let (height, width) = (c.pooled_height(), c.pooled_width());
        self.area = height * width;
        assert_eq!(route.len(), c.out_channels * self.area, "a code for each pooled output");
        (self.listed, self.sorted) = (Some(*layout), false);
        self.last_patch = 2 * ((height - 1) * layout.row + width - 1) + layout.row + 1;
        self.starts.clear();
        self.starts.push(0);
        // All that there are, first: a list that grows takes more than it needs.
        let live = route.iter().filter(|&&code| code != DEAD).count();
        self.windows.resize(live, 0);
        self.patches.resize(live, 0);
        // Where a code's position lies in its window.
        let offsets = [0, 1, layout.row as u16, layout.row as u16 + 1];
        with_arena(|arena| {
            let firsts = zeros::<u16>(arena, self.area);
            for (at, first) in firsts.iter_mut().enumerate() {
                *first = (2 * (at / width * layout.row + at % width)) as u16;
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

    /// Sorts what [`Routes::list`] listed by position, unless it is sorted.
    pub fn sort_by_position(&mut self) {
        if std::mem::replace(&mut self.sorted, true) {
            return;
        }
        with_arena(|arena| {
            // Of each position: its outputs, then where the next of them goes; and its window.
            let places = zeros::<(u32, u16)>(arena, self.last_patch + 1);
            for (&patch, &window) in self.patches.iter().zip(&self.windows) {
                let (count, of) = &mut places[usize::from(patch)];
                (*count, *of) = (*count + 1, window);
            }
            // How many positions have fewer outputs than so many.
            let fewer = zeros::<u32>(arena, self.channels() + 2);
            let taken = places.iter().filter(|(count, _)| *count > 0);
            taken.for_each(|(count, _)| fewer[*count as usize + 1] += 1);
            (1..fewer.len()).for_each(|count| fewer[count] += fewer[count - 1]);
            self.positions.resize(fewer[fewer.len() - 1] as usize, Position::default());
            for (patch, &(count, window)) in places.iter().enumerate().filter(|(_, (count, _))| *count > 0) {
                let at = &mut fewer[count as usize];
                self.positions[*at as usize] = Position { patch: patch as u16, window, end: count };
                *at += 1;
            }
            let mut end = 0;
            for position in &mut self.positions {
                places[usize::from(position.patch)].0 = end;
                end += position.end;
                position.end = end;
            }
            self.members.resize(self.patches.len(), 0);
            for (oc, entries) in self.starts.windows(2).enumerate() {
                for &patch in &self.patches[entries[0] as usize..entries[1] as usize] {
                    let next = &mut places[usize::from(patch)].0;
                    self.members[*next as usize] = oc as u16;
                    *next += 1;
                }
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

    /// The same by position.
    pub fn gather_members<'d, T: Scalar>(&self, dp: &[T], d: &'d mut [T]) -> &'d [T] {
        let d = &mut d[..self.members.len()];
        for (Position { window, .. }, entries) in self.by_position() {
            let members = &self.members[entries.clone()];
            let of_member = |&oc: &u16| dp[usize::from(oc) * self.area + usize::from(window)];
            d[entries].iter_mut().zip(members).for_each(|(d, oc)| *d = of_member(oc));
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
    fn lists_are_the_live_outputs_by_channel_and_by_position() {
        // The last has channels longer than a word of bits.
        for (out_channels, height, width, kernel) in [(3, 4, 6, 3), (20, 2, 2, 5), (5, 10, 30, 3)] {
            let c = Conv { in_channels: 16, out_channels, kernel, height, width, weight: 0, bias: 0, pitch: 0 };
            let (layout, area) = (Layout::new(&c), height / 2 * (width / 2));
            let code = |n: usize, i: usize| ((n + 7 * i) * (i + 3) % 11 % 5) as u8;
            let sample = |n: usize| (0..c.output_len()).map(move |i| code(n, i));
            let mut codes = Codes::new(sample(0).chain(sample(1)).collect());
            for (n, of) in [(0, 0), (1, 1), (0, 0), (0, 2), (1, 3)] {
                if of == 2 {
                    // What was listed is of no use any more.
                    codes.write().iter_mut().zip(sample(2).chain(sample(3))).for_each(|(code, new)| *code = new);
                }
                let mut routes = codes.routes(&c, &layout, n);
                routes.sort_by_position();
                // What the definition says of output i: its patch, if it is live.
                let patch = |i: usize| {
                    let (code, at) = (usize::from(code(of, i)), i % area);
                    let (y, x) = (2 * (at / (width / 2)) + code / 2, 2 * (at % (width / 2)) + code % 2);
                    (code < 4).then_some(y * layout.row + x)
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
                let members: Vec<usize> =
                    routes.gather_members(&numbers, &mut room).iter().map(|&i| i as usize).collect();
                let mut sorted = members.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, live);
                let mut first = 0;
                for (position, entries) in routes.by_position() {
                    assert_eq!(entries.start, first);
                    first = entries.end;
                    for (&i, &oc) in members[entries.clone()].iter().zip(&routes.members[entries]) {
                        assert_eq!((usize::from(oc), Some(usize::from(position.patch))), (i / area, patch(i)));
                    }
                }
                assert_eq!(first, live.len());
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
