//! How work is cut: workgroups, ranges of sums, slices.

use super::shader::Sharing;
use std::ops::Range;

/// Loop iterations of one invocation. Mesa's software rasteriser silently ends all loops of an invocation after 65,535
/// iterations together (`LP_MAX_TGSI_LOOP_ITERATIONS`), so longer sums are cut by the host.
pub(super) const MAX_TRIPS: usize = 30_000;

/// Workgroups in one dimension.
pub(super) const MAX_GROUPS: usize = 65_535;

/// Invocations of a workgroup; `@workgroup_size(64)` in every kernel.
pub(super) const WORKGROUP: usize = 64;

/// Rows of the tile of sums that each invocation keeps in registers. `ROWS` in shaders/lib/tile.wgsl.
pub(super) const TILE_ROWS: usize = 16;

/// How matrices of sums are cut for the adapter.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    /// Rows of a workgroup's tile, sixteen by four sums for each invocation: `first_row` in shaders/lib/rows.wgsl and
    /// rows_subgroup.wgsl.
    rows: usize,
    /// And columns: `first_column`.
    columns: usize,
    /// Invocations that fill the adapter: sums are sliced until there are as many.
    fill: usize,
}

impl Tiling {
    pub fn of(sharing: Sharing) -> Self {
        match sharing {
            // A large GPU.
            Sharing::Workgroup => Self { rows: 4 * TILE_ROWS, columns: WORKGROUP, fill: 1 << 17 },
            // A processor of many cores, which gains nothing more from slices.
            Sharing::Subgroup => Self { rows: TILE_ROWS, columns: 4 * WORKGROUP, fill: 1 << 14 },
        }
    }

    /// How many tiles a matrix has: columns of them, then rows.
    pub fn cover(self, rows: usize, columns: usize) -> [usize; 2] {
        [columns.div_ceil(self.columns), rows.div_ceil(self.rows)]
    }

    /// Length of a slice of sums of `terms` (two to 16 an iteration, twice), and how many slices there are, for a matrix of so
    /// many `tiles` in all directions: enough to keep the adapter busy, and short enough for [`MAX_TRIPS`]. A quarter of `fill`,
    /// because the partial sums of a matrix product are as large as its result.
    pub fn split(self, terms: usize, tiles: usize) -> (usize, usize) {
        let wanted = (self.fill / 4).div_ceil(tiles.max(1) * WORKGROUP).max(terms.div_ceil(MAX_TRIPS));
        let slice = terms.div_ceil(wanted).next_multiple_of(32);
        (slice, terms.div_ceil(slice))
    }

    /// How many of the `rows` that are summed over one slice takes, and how many slices there are: enough to fill the adapter with
    /// so many `tiles` each, and short enough for [`MAX_TRIPS`] when a row takes `trips` iterations.
    ///
    /// # Panics
    /// If not even one row fits, or the slices are too many to be added by one invocation.
    pub fn slices(self, rows: usize, trips: usize, tiles: usize) -> (usize, usize) {
        let limit = MAX_TRIPS / trips;
        assert!(limit > 0, "a row of {trips} iterations is too long; use smaller images");
        let wanted = self.fill.div_ceil(tiles.max(1) * WORKGROUP).min(MAX_SLICES);
        let slice = rows.div_ceil(wanted).clamp(1, limit);
        let count = rows.div_ceil(slice);
        assert!(count <= MAX_TRIPS, "{count} slices are too many; use smaller chunks");
        (slice, count)
    }
}

/// Scalars beyond the end of every buffer: a tile at the edge reads up to 255 columns or 15 rows past the last one.
pub(super) const ROOM: usize = 4 * WORKGROUP;

/// Slices of one sum at most, so that adding them up stays cheap.
const MAX_SLICES: usize = 1024;

/// Multiply-adds in one submission before the adapter has been measured, and on slow ones: half a second at
/// the 20 GFLOP/s that the slowest integrated GPUs manage here. See [`super::pace`].
pub(super) const SUBMISSION_WORK: u64 = 5_000_000_000;

/// To the shaders' integers.
pub(super) fn to_u32(value: usize) -> u32 {
    u32::try_from(value).expect("sizes and offsets are below 2^32: buffers are")
}

/// One invocation for each of `items`, and `z` layers of them; what does not fit in one row continues in the next, as
/// `flat` in shaders/lib/index.wgsl reads it.
pub(super) fn flat(items: usize, z: usize) -> [u32; 3] {
    let groups = items.div_ceil(WORKGROUP);
    grid([groups.min(MAX_GROUPS), groups.div_ceil(MAX_GROUPS), z])
}

/// A grid, as it is.
///
/// # Panics
/// If a dimension has more workgroups than any backend must allow.
pub(super) fn grid(groups: [usize; 3]) -> [u32; 3] {
    assert!(groups.iter().all(|&n| n <= MAX_GROUPS), "{groups:?} workgroups are too many; use smaller chunks");
    groups.map(to_u32)
}

/// `0..len`, which takes `work` multiply-adds in all, in ranges of at most `limit`, and the work of each.
pub(super) fn pieces(len: usize, work: u64, limit: u64) -> impl Iterator<Item = (Range<usize>, u64)> {
    let step = (len / work.div_ceil(limit).max(1) as usize).max(1);
    (0..len).step_by(step).map(move |start| {
        let end = (start + step).min(len);
        (start..end, (work as f64 * (end - start) as f64 / len as f64) as u64)
    })
}

/// `0..len` in ranges that one invocation can sum.
pub(super) fn ranges(len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(MAX_TRIPS).map(move |start| start..(start + MAX_TRIPS).min(len))
}

/// What a workgroup of the kernel of a conv block's input adjoint stages at a time; shaders/lib/scatter.wgsl.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Staging {
    /// Output channels.
    pub channels: u32,
    /// Pooled cells of one, those that reach the workgroup's windows, and zeros.
    pub cells: u32,
    /// Taps of all, with the zeros around them, in fours of input channels.
    pub all_taps: u32,
    /// Cells of all.
    pub all_cells: u32,
    /// Adjoints of all in a lane's directions.
    pub all_adjoints: u32,
}

impl Staging {
    /// Of workgroup memory: with no more, eight subgroups of 32 lanes share a SIMD of an AMD GPU.
    const BYTES: usize = 8 << 10;
    /// What every adapter has.
    const MAX_BYTES: usize = 16 << 10;

    /// For kernels of a size over rows of so many windows, if one channel fits.
    pub fn new(kernel: usize, windows_across: usize, four_directions: bool) -> Option<Self> {
        let reach = (kernel / 2).div_ceil(2);
        let down = 4 * reach + 3;
        let taps = down * (down + 3 * (reach % 2));
        let piece = windows_across.min(WORKGROUP);
        // Of windows; a workgroup may begin and end within one.
        let rows =
            if WORKGROUP.is_multiple_of(piece) { WORKGROUP / piece } else { (piece + WORKGROUP - 2) / piece + 1 };
        let cells = (rows + 2 * reach) * (piece + 2 * reach) + 2 * reach + 1;
        let together = if four_directions { 4 } else { 1 };
        let (shared, each) = (4 * cells, 16 * taps + 4 * (1 + together) * cells);
        if shared + each > Self::MAX_BYTES {
            return None;
        }
        let channels = (Self::BYTES.saturating_sub(shared) / each).max(1);
        let all = [taps, cells, together * cells].map(|len| to_u32(channels * len));
        let [all_taps, all_cells, all_adjoints] = all;
        Some(Self { channels: to_u32(channels), cells: to_u32(cells), all_taps, all_cells, all_adjoints })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_of_every_kernel_is_staged_over_images_of_any_width() {
        for (kernel, across) in (1..=17).step_by(2).flat_map(|kernel| (1..=200).map(move |across| (kernel, across))) {
            let one = Staging::new(kernel, across, false);
            assert!(one.is_some(), "{kernel}, {across}");
            for s in [one, Staging::new(kernel, across, true)].into_iter().flatten() {
                let bytes = 16 * s.all_taps + 4 * (s.all_cells + s.all_adjoints + s.cells);
                assert!(bytes <= 16 << 10, "{kernel}, {across}: {bytes} bytes of workgroup memory");
            }
        }
        // A LeNet's second block: rows of nine cells, of ten rows of windows and one on each side.
        let staging = Staging::new(5, 7, true).unwrap();
        assert_eq!((staging.cells, staging.channels), (12 * 9 + 3, 2));
    }

    #[test]
    fn large_grids_fold_into_rows() {
        assert_eq!(flat(0, 1), [0, 0, 1]);
        assert_eq!(flat(1, 2), [1, 1, 2]);
        assert_eq!(flat(64 * 65_535, 1), [65_535, 1, 1]);
        assert_eq!(flat(64 * 65_535 + 1, 1), [65_535, 2, 1]);
    }

    #[test]
    fn no_submission_is_too_long() {
        for (len, work) in [(0, 0), (1, 1 << 40), (7, 6 * SUBMISSION_WORK), (1000, 3 * SUBMISSION_WORK + 1)] {
            let cut: Vec<_> = pieces(len, work, SUBMISSION_WORK).collect();
            assert_eq!(cut.iter().map(|(range, _)| range.len()).sum::<usize>(), len);
            assert!(cut.iter().all(|(range, work)| range.len() == 1 || *work <= SUBMISSION_WORK), "{cut:?}");
        }
    }

    #[test]
    fn no_invocation_loops_too_long() {
        for len in [1, 29_999, 30_000, 30_001, 100_000] {
            let cut: Vec<_> = ranges(len).collect();
            assert!(cut.iter().all(|range| range.len() <= MAX_TRIPS));
            assert_eq!(cut.iter().map(ExactSizeIterator::len).sum::<usize>(), len);
        }
        for tiling in [Sharing::Workgroup, Sharing::Subgroup].map(Tiling::of) {
            for (terms, tiles) in [(1, 1), (3136, 64), (3136, 1 << 14), (70_001, 1 << 14), (10, 1)] {
                let (slice, count) = tiling.split(terms, tiles);
                assert!(slice % 32 == 0 && slice / 2 <= MAX_TRIPS, "{terms} terms: slices of {slice}");
                assert!(slice * count >= terms && slice * (count - 1) < terms);
            }
            for (rows, trips, tiles) in [(1, 1, 1), (14, 15, 13), (448, 15, 13), (7 * 5000, 8, 801), (100_000, 200, 1)]
            {
                let (slice, count) = tiling.slices(rows, trips, tiles);
                assert!(slice * trips <= MAX_TRIPS && count <= MAX_TRIPS, "{rows} rows of {trips}: {slice} x {count}");
                assert!(slice * count >= rows && slice * (count - 1) < rows);
            }
        }
        assert_eq!(Tiling::of(Sharing::Workgroup).split(3136, 64), (416, 8));
        assert_eq!(Tiling::of(Sharing::Subgroup).split(3136, 64), (3136, 1));
    }
}
