//! How work is cut: workgroups, ranges of sums, slices.

use super::shader::Sharing;
use std::ops::Range;

/// Loop iterations of one invocation. Mesa's software rasteriser silently ends all loops of an invocation after 65,535
/// iterations together (`LP_MAX_TGSI_LOOP_ITERATIONS`), so longer sums are cut by the host.
pub(super) const MAX_TRIPS: usize = 30_000;

/// Workgroups in one dimension.
const MAX_GROUPS: usize = 65_535;

/// Invocations of a workgroup; `@workgroup_size(64)` in every kernel.
pub(super) const WORKGROUP: usize = 64;

/// Rows of the tile of sums that each invocation keeps in registers. `ROWS` in shaders/lib/tile.wgsl.
pub(super) const TILE_ROWS: usize = 16;

/// Rows and columns of sums of a workgroup, sixteen by four for each invocation: `first_row` and `first_column` in
/// shaders/lib/rows.wgsl and rows_subgroup.wgsl.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub rows: usize,
    pub columns: usize,
}

impl Tile {
    pub fn of(sharing: Sharing) -> Self {
        match sharing {
            Sharing::Workgroup => Self { rows: 4 * TILE_ROWS, columns: WORKGROUP },
            Sharing::Subgroup => Self { rows: TILE_ROWS, columns: 4 * WORKGROUP },
        }
    }

    /// How many there are in each dimension of a matrix: columns, then rows.
    pub fn cover(self, rows: usize, columns: usize) -> [usize; 2] {
        [columns.div_ceil(self.columns), rows.div_ceil(self.rows)]
    }
}

/// Scalars beyond the end of every buffer: a tile at the edge reads up to 255 columns or 15 rows past the last one.
pub(super) const ROOM: usize = 4 * WORKGROUP;

/// Invocations that fill a large GPU: sums are sliced until there are as many.
const FILL: usize = 1 << 17;

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

/// Length of a slice of a sum of `terms` (two to 16 an iteration, twice), and how many slices there are: enough to keep a large
/// GPU busy when one slice takes `invocations`, and short enough for [`MAX_TRIPS`]. Less than [`FILL`], because the partial
/// sums of a matrix product are as large as its result.
pub(super) fn split(terms: usize, invocations: usize) -> (usize, usize) {
    let wanted = (FILL / 4 / invocations.max(1)).max(terms.div_ceil(MAX_TRIPS)).max(1);
    let slice = terms.div_ceil(wanted).next_multiple_of(32);
    (slice, terms.div_ceil(slice))
}

/// How many of `rows` one slice of a sum takes, and how many slices there are: enough to fill the GPU with
/// `invocations` each, and short enough for [`MAX_TRIPS`] when a row takes `trips` iterations.
///
/// # Panics
/// If not even one row fits, or the slices are too many to be added by one invocation.
pub(super) fn slices(rows: usize, trips: usize, invocations: usize) -> (usize, usize) {
    let limit = MAX_TRIPS / trips;
    assert!(limit > 0, "a row of {trips} iterations is too long; use smaller images");
    let wanted = FILL.div_ceil(invocations.max(1)).min(MAX_SLICES);
    let slice = rows.div_ceil(wanted).clamp(1, limit);
    let count = rows.div_ceil(slice);
    assert!(count <= MAX_TRIPS, "{count} slices are too many; use smaller chunks");
    (slice, count)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (terms, invocations) in [(1, 64), (3136, 4096), (3136, 1 << 20), (70_001, 1 << 20), (10, 1)] {
            let (slice, count) = split(terms, invocations);
            assert!(slice % 32 == 0 && slice / 2 <= MAX_TRIPS, "{terms} terms: slices of {slice}");
            assert!(slice * count >= terms && slice * (count - 1) < terms);
        }
        assert_eq!(split(3136, 4096), (416, 8));
        for (rows, trips, invocations) in
            [(1, 1, 1), (14, 15, 832), (448, 15, 832), (7 * 5000, 8, 51_264), (100_000, 200, 2)]
        {
            let (slice, count) = slices(rows, trips, invocations);
            assert!(slice * trips <= MAX_TRIPS && count <= MAX_TRIPS, "{rows} rows of {trips}: {slice} x {count}");
            assert!(slice * count >= rows && slice * (count - 1) < rows);
        }
    }
}
