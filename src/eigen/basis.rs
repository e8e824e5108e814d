//! The Krylov basis: a tall matrix of columns, in slabs of rows that a device can bind.

use super::dense::Small;
use crate::Result;
use crate::device::{Columns, ColumnsMut, Combine, Device, Gram, Update};
use std::ops::Range;

/// Most scalars in a slab, as a restart needs room for one more: 128 MiB in f32.
const SLAB: usize = 1 << 25;

/// Scalars between the beginnings of neighbouring columns are an odd multiple of this: with a power of two, all columns would
/// compete for the same places in a cache.
const ODD: usize = 16;

/// A range of rows of all columns; column j starts at `j * rows.len()`.
struct Slab<D: Device> {
    rows: Range<usize>,
    buffer: D::Buffer,
}

/// Up to `capacity` orthonormal columns of length `dimension`.
///
/// A block of vectors outside the basis is one contiguous (count, dimension) buffer, as operators take it.
pub(super) struct Basis<D: Device> {
    slabs: Vec<Slab<D>>,
    /// Where a restart writes, one slab after the other.
    scratch: D::Buffer,
    dimension: usize,
    capacity: usize,
    len: usize,
    /// The first columns that are found eigenvectors: new blocks stay orthogonal to them, restarts leave them alone.
    locked: usize,
}

impl<D: Device> Basis<D> {
    pub fn new(device: &D, dimension: usize, capacity: usize) -> Result<Self> {
        let most = (device.max_buffer_len().min(SLAB) / capacity).clamp(1, dimension);
        let even = dimension.div_ceil(dimension.div_ceil(most));
        // Odd multiples are two apart.
        let odd = (even + ODD).div_ceil(2 * ODD) * 2 * ODD - ODD;
        let height = if odd <= most { odd } else { even };
        let slabs = (0..dimension)
            .step_by(height)
            .map(|start| {
                let rows = start..(start + height).min(dimension);
                Ok(Slab { buffer: device.zeros(rows.len() * capacity)?, rows })
            })
            .collect::<Result<_>>()?;
        Ok(Self { slabs, scratch: device.zeros(height * capacity)?, dimension, capacity, len: 0, locked: 0 })
    }

    /// Number of columns, locked ones included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Number of locked columns.
    pub fn locked(&self) -> usize {
        self.locked
    }

    /// Locks the first `count` columns, or unlocks all with 0.
    pub fn lock(&mut self, count: usize) {
        self.locked = count;
    }

    /// Most columns.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Columns `range` of a slab.
    fn part<'a>(slab: &'a Slab<D>, range: &Range<usize>) -> Columns<'a, D> {
        let rows = slab.rows.len();
        Columns { buffer: &slab.buffer, offset: range.start * rows, pitch: rows, count: range.len() }
    }

    /// Appends a block.
    pub fn push(&mut self, device: &D, block: &D::Buffer, count: usize) {
        assert!(self.len + count <= self.capacity, "the basis is full");
        self.len += count;
        self.replace(device, self.len - count, block, count);
    }

    /// Replaces `count` columns from column `first` on by those of a block.
    pub fn replace(&mut self, device: &D, first: usize, block: &D::Buffer, count: usize) {
        assert!(first + count <= self.len, "columns that are there");
        for slab in &mut self.slabs {
            let rows = slab.rows.len();
            for j in 0..count {
                let from = j * self.dimension + slab.rows.start;
                device.copy(block, from, &mut slab.buffer, (first + j) * rows, rows);
            }
        }
    }

    /// `V^T W` and `W^T W` for the columns V in `range` and a block W of `count` vectors.
    pub fn gram(&self, device: &D, range: Range<usize>, block: &D::Buffer, count: usize) -> Result<(Small, Small)> {
        let of_block = |offset| Columns::<D> { buffer: block, offset, pitch: self.dimension, count };
        let (mut with_basis, mut within) = (Vec::new(), Vec::new());
        for slab in &self.slabs {
            let (rows, start) = (slab.rows.len(), slab.rows.start);
            with_basis.push(Gram { rows, a: Self::part(slab, &range), b: of_block(start) });
            within.push(Gram { rows, a: of_block(start), b: of_block(start) });
        }
        let [vw, ww] = device.gram(&[&with_basis, &within])?.try_into().expect("two products");
        let small = |rows, data| Small { rows, columns: count, data };
        Ok((small(range.len(), vw), small(count, ww)))
    }

    /// `V^T V` for the columns V in `range`.
    pub fn gram_of(&self, device: &D, range: Range<usize>) -> Result<Small> {
        let columns = |slab| Self::part(slab, &range);
        let pieces: Vec<_> =
            self.slabs.iter().map(|slab| Gram { rows: slab.rows.len(), a: columns(slab), b: columns(slab) }).collect();
        let data = device.gram(&[&pieces])?.remove(0);
        Ok(Small { rows: range.len(), columns: range.len(), data })
    }

    /// `W <- (W - V h) m` with the columns V in `range`.
    pub fn update(&self, device: &D, range: Range<usize>, block: &mut D::Buffer, h: &Small, m: &Small) {
        for slab in &self.slabs {
            device.update(Update {
                rows: slab.rows.len(),
                w: ColumnsMut { buffer: block, offset: slab.rows.start, pitch: self.dimension, count: m.rows },
                v: Self::part(slab, &range),
                h: &h.data,
                m: &m.data,
            });
        }
    }

    /// `V <- V s` for the columns that are not locked: as many as `s` has columns are left.
    pub fn restart(&mut self, device: &D, s: &Small) {
        for slab in &mut self.slabs {
            let rows = slab.rows.len();
            device.combine(Combine {
                rows,
                v: Self::part(slab, &(self.locked..self.len)),
                s: &s.data,
                x: ColumnsMut { buffer: &mut self.scratch, offset: 0, pitch: rows, count: s.columns },
            });
            device.copy(&self.scratch, 0, &mut slab.buffer, self.locked * rows, s.columns * rows);
        }
        self.len = self.locked + s.columns;
    }

    /// The first vectors of a block, as many as `s` has columns, become `V s` with the columns V in `range`.
    pub fn combine(&self, device: &D, range: Range<usize>, s: &Small, block: &mut D::Buffer) {
        for slab in &self.slabs {
            let rows = slab.rows.len();
            let x = ColumnsMut { buffer: block, offset: slab.rows.start, pitch: self.dimension, count: s.columns };
            device.combine(Combine { rows, v: Self::part(slab, &range), s: &s.data, x });
        }
    }

    /// The first `count` columns, each by itself. All else is given back on the way, so that its memory serves what comes next.
    pub fn into_columns(self, device: &D, count: usize) -> Result<Vec<D::Buffer>> {
        let Self { slabs, scratch, dimension, .. } = self;
        drop(scratch);
        let mut columns = (0..count).map(|_| device.zeros(dimension)).collect::<Result<Vec<_>>>()?;
        for Slab { rows, buffer } in slabs {
            for (j, column) in columns.iter_mut().enumerate() {
                device.copy(&buffer, j * rows.len(), column, rows.start, rows.len());
            }
        }
        Ok(columns)
    }

    /// The columns in `columns`, one after the other, on the host.
    pub fn read<'a>(
        &'a self,
        device: &'a D,
        columns: Range<usize>,
    ) -> Result<impl Iterator<Item = Result<Vec<D::Scalar>>> + 'a> {
        let mut column = device.zeros(self.dimension)?;
        Ok(columns.map(move |j| {
            self.copy_column(device, j, &mut column, 0);
            device.read(&column, 0..self.dimension)
        }))
    }

    /// Copies column `j` into place `at` of a block.
    pub fn copy_column(&self, device: &D, j: usize, block: &mut D::Buffer, at: usize) {
        for slab in &self.slabs {
            let rows = slab.rows.len();
            device.copy(&slab.buffer, j * rows, block, at * self.dimension + slab.rows.start, rows);
        }
    }
}
