//! Orthogonalisation of a block against the basis and within itself, in as few sweeps over the basis as will do.
//!
//! Block classical Gram-Schmidt with the Pythagorean inner product: one sweep reads `[V W]^T W`, from which
//! `W^T W - (V^T W)^T (V^T W)` is the Gram matrix of the projected block; the next sweep projects and normalises at once.
//! Twice is enough for a well-conditioned block; an ill-conditioned one goes round again. Projecting twice and only then
//! normalising would leave `V^T Q` at the block's condition number times rounding.
//!
//! Of the recurrence, the first pass is known beforehand: by symmetry `A Q` meets, of all that came before Q, only the
//! columns that Q came from, and takes no sweep over the others ([`project`]). What later passes measure and subtract is rounding,
//! amplified by the operator's norm over that of the new block; while that is little, several blocks wait for one pass
//! ([`orthogonalize`]).

use super::basis::Basis;
use super::dense::{Small, symmetric_eigen};
use crate::Result;
use crate::device::{Device, Scalar};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

/// Passes before a block that does not settle is repaired with random columns.
const MAX_PASSES: usize = 5;
/// Passes of a block that is not ill-conditioned.
const LEAST_PASSES: usize = 2;
/// Below this share of the operator's scale a direction is rounding noise.
const DEAD: f64 = 1e-7;
/// Eigenvalues of a block's Gram matrix are not taken to be less than this share of their mean.
const FLOOR: f64 = 1e-6;

/// Start vectors, by seed: the same on every machine.
pub(super) struct RandomVectors {
    rng: ChaCha8Rng,
}

impl RandomVectors {
    pub fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Continues where another generator of this seed stood.
    pub fn at(seed: u64, position: u128) -> Self {
        let mut random = Self::new(seed);
        random.rng.set_word_pos(position);
        random
    }

    /// Where the generator stands.
    pub fn position(&self) -> u128 {
        self.rng.get_word_pos()
    }

    /// Uniform on (-1, 1) with 24 bits, exact in f32. Not random signs: on a coordinate-aligned degenerate eigenspace a
    /// block of signs is rank-deficient with probability 2^(1-b), and a copy of the eigenvalue is missed.
    pub fn draw<T: Scalar>(&mut self, len: usize) -> Vec<T> {
        let mut one = || (f64::from(self.rng.next_u32() >> 8) + 0.5) * 2f64.powi(-23) - 1.0;
        (0..len).map(|_| T::from_f64(one())).collect()
    }
}

/// What [`project`] has done to a block: `W = V h + Q r` with the h that was known.
pub(super) struct Projected {
    /// (b, b); zero if W was.
    pub r: Small,
    /// The operator's scale over the least singular value of r: how much larger rounding is in Q than it was in W.
    pub amplification: f64,
}

/// Projects a block W (b, dimension), in place, by what is known of its inner products `h` with the columns of the basis in `range`
/// and `ww` within itself, and orthonormalises it: the first pass, which takes no sweep over the basis.
///
/// `scale` is the norm of the largest column so far, a lower bound of the operator's norm. A block that is zero by its
/// measure is left as it is.
pub(super) fn project<D: Device>(
    device: &D,
    basis: &Basis<D>,
    (range, h, ww): (Range<usize>, &Small, &Small),
    block: &mut D::Buffer,
    scale: &mut f64,
) -> Result<Projected> {
    let b = h.columns;
    *scale = largest_norm(ww).max(*scale);
    if trace(ww) <= (DEAD * *scale).powi(2) * b as f64 {
        return Ok(Projected { r: Small::zeros(b, b), amplification: f64::INFINITY });
    }
    let root = Root::new(&projected_gram(h, ww), b, FLOOR * trace(ww) / b as f64)?;
    basis.update(device, range, block, h, &root.inverse);
    Ok(Projected { r: root.r, amplification: *scale / root.least.max(0.0).sqrt() })
}

/// `W = V h + Q r`, with Q orthonormal and orthogonal to V.
pub(super) struct Orthogonalized {
    /// (k, n).
    pub h: Small,
    /// (n, n), block upper triangular.
    pub r: Small,
    /// Its inverse.
    pub inverse: Small,
    /// Columns of the last block that are rounding noise.
    pub dead: Vec<usize>,
}

/// Orthogonalises `blocks` blocks of `width` vectors, in place, against the first `k` columns of `basis` and one another, each block against those
/// before it.
///
/// `before` is what the last block was divided by in an earlier pass, and the operator's scale; without it the blocks
/// are as they came, and their own norms are the scale. Columns of the last block that fall to [`DEAD`] times the scale are dead.
pub(super) fn orthogonalize<D: Device>(
    device: &D,
    basis: &Basis<D>,
    k: usize,
    vectors: &mut D::Buffer,
    (blocks, width): (usize, usize),
    before: Option<(&Small, f64)>,
) -> Result<Orthogonalized> {
    let n = blocks * width;
    let (mut h, mut r, mut inverse) = (Small::zeros(k, n), Small::identity(n), Small::identity(n));
    let (mut scale, least_passes) = before.map_or((0.0, LEAST_PASSES), |(_, scale)| (scale, LEAST_PASSES - 1));
    let mut pass = 0;
    loop {
        pass += 1;
        let (vw, ww) = basis.gram(device, 0..k, vectors, n)?;
        if before.is_none() && pass == 1 {
            scale = largest_norm(&ww);
        }
        let root = Root::new(&projected_gram(&vw, &ww), width, FLOOR * trace(&ww) / n as f64)?;
        if before.is_none() || subtracts() {
            basis.update(device, 0..k, vectors, &vw, &root.inverse);
        }
        h = h.plus(&vw.times(&r));
        r = root.r.times(&r);
        inverse = inverse.times(&root.inverse);
        let settled = pass >= least_passes && vw.max_abs() < 1e-3 && root.least > 0.25 && root.most < 4.0;
        let gave_up = pass >= MAX_PASSES;
        let mut dead = Vec::new();
        if !settled && pass >= least_passes {
            // Columns of Q and rows of r belong together, so a direction that died is seen in its row alone.
            let last = r.part(n - width..n, n - width..n);
            let total = before.map_or_else(|| last.clone(), |(before, _)| last.times(before));
            let is_dead = |&i: &usize| {
                let norm = total.row_norm(i);
                norm > 0.0 && norm <= DEAD * scale || gave_up && root.last[i] < 0.25
            };
            dead = (0..width).filter(is_dead).collect();
        }
        if settled || gave_up || !dead.is_empty() {
            return Ok(Orthogonalized { h, r, inverse, dead });
        }
    }
}

/// Block upper triangular r with `r^T r` a Gram matrix: a Cholesky factor whose diagonal blocks are roots by eigenvectors.
struct Root {
    r: Small,
    inverse: Small,
    /// Least and largest eigenvalue of the diagonal blocks, each without what the blocks before it explain.
    least: f64,
    most: f64,
    /// Those of the last block, ascending.
    last: Vec<f64>,
}

impl Root {
    /// Of a Gram matrix (n, n) in blocks of `width`, with eigenvalues kept above `floor`.
    fn new(gram: &Small, width: usize, floor: f64) -> Result<Self> {
        let n = gram.rows;
        let mut root =
            Self { r: Small::zeros(n, n), inverse: Small::zeros(n, n), least: f64::MAX, most: 0.0, last: Vec::new() };
        for end in (width..=n).step_by(width) {
            let (before, own) = (0..end - width, end - width..end);
            // r_ij = r_ii^-T (g_ij - sum_{l < i} r_li^T r_lj)
            let above = root
                .inverse
                .part(before.clone(), before.clone())
                .transposed()
                .times(&gram.part(before.clone(), own.clone()));
            let rest = gram.part(own.clone(), own.clone()).minus(&above.transposed().times(&above));
            let eigen = symmetric_eigen(width, |i, j| 0.5 * (rest.at(i, j) + rest.at(j, i)))?;
            let value = |j: usize| eigen.values[j].max(floor).sqrt();
            let inverse = Small::from_fn(width, width, |i, j| eigen.vectors[j][i] / value(j));
            let beside = root.inverse.part(before.clone(), before.clone()).times(&above).times(&inverse);
            root.r.put(0, own.start, &above);
            root.r.put(own.start, own.start, &Small::from_fn(width, width, |i, j| value(i) * eigen.vectors[i][j]));
            root.inverse.put(0, own.start, &Small::zeros(beside.rows, beside.columns).minus(&beside));
            root.inverse.put(own.start, own.start, &inverse);
            root.least = root.least.min(eigen.values[0]);
            root.most = root.most.max(eigen.values[width - 1]);
            root.last = eigen.values;
        }
        Ok(root)
    }
}

/// `W^T W - (V^T W)^T (V^T W)`, of W less what V explains.
fn projected_gram(vw: &Small, ww: &Small) -> Small {
    Small::from_fn(ww.rows, ww.rows, |i, j| {
        let explained: f64 = (0..vw.rows).map(|l| vw.at(l, i) * vw.at(l, j)).sum();
        0.5 * (ww.at(i, j) + ww.at(j, i)) - explained
    })
}

fn trace(gram: &Small) -> f64 {
    (0..gram.rows).map(|i| gram.at(i, i)).sum()
}

/// Norm of the longest of the vectors with this Gram matrix.
fn largest_norm(gram: &Small) -> f64 {
    (0..gram.rows).fold(0.0, |most, i| gram.at(i, i).sqrt().max(most))
}

/// Draws the dead columns of a block anew, orthonormal and orthogonal to the basis and to the live columns, which stay as they are.
pub(super) fn replace<D: Device>(
    device: &D,
    basis: &Basis<D>,
    block: &mut D::Buffer,
    (b, dimension): (usize, usize),
    dead: &[usize],
    random: &mut RandomVectors,
) -> Result<()> {
    if dead.is_empty() {
        return Ok(());
    }
    let unit = (3.0 / dimension as f64).sqrt();
    for &j in dead {
        let drawn: Vec<D::Scalar> = random.draw(dimension);
        let scaled: Vec<D::Scalar> = drawn.iter().map(|v| D::Scalar::from_f64(v.widen() * unit)).collect();
        device.write(block, j * dimension, &scaled);
    }
    let is_dead = |j: usize| dead.contains(&j);
    for _ in 0..3 {
        let (mut vw, ww) = basis.gram(device, 0..basis.len(), block, b)?;
        (0..vw.rows).for_each(|i| (0..b).filter(|&j| !is_dead(j)).for_each(|j| vw.set(i, j, 0.0)));
        // With L the live and D the dead columns: D <- (D - V V^T D - L L^T D) n, and n makes that orthonormal.
        let inner = symmetric_eigen(dead.len(), |i, j| {
            let (i, j) = (dead[i], dead[j]);
            let in_basis: f64 = (0..vw.rows).map(|l| vw.at(l, i) * vw.at(l, j)).sum();
            let in_live: f64 = (0..b).filter(|&l| !is_dead(l)).map(|l| ww.at(l, i) * ww.at(l, j)).sum();
            0.5 * (ww.at(i, j) + ww.at(j, i)) - in_basis - in_live
        })?;
        let n = Small::from_fn(dead.len(), dead.len(), |i, j| inner.vectors[j][i] / inner.values[j].max(1e-6).sqrt());
        let m = Small::from_fn(b, b, |i, j| {
            let (row, column) = (dead.iter().position(|&k| k == i), dead.iter().position(|&k| k == j));
            match (row, column) {
                (Some(row), Some(column)) => n.at(row, column),
                (None, Some(column)) => -(0..dead.len()).map(|l| ww.at(i, dead[l]) * n.at(l, column)).sum::<f64>(),
                _ => f64::from(u8::from(i == j)),
            }
        });
        basis.update(device, 0..basis.len(), block, &vw, &m);
    }
    Ok(())
}

/// Whether passes after the first subtract what they measure: tests see what becomes of a basis where it is not.
#[cfg(not(test))]
const fn subtracts() -> bool {
    true
}

#[cfg(test)]
use tests::subtracts;

#[cfg(test)]
mod tests {
    use crate::Result;
    use crate::device::cpu::CpuDevice;
    use crate::eigen::testing::Diagonal;
    use crate::eigen::{NoMonitor, Options, Solution, solve};
    use std::cell::Cell;

    thread_local! {
        static SUBTRACTS: Cell<bool> = const { Cell::new(true) };
    }

    pub(super) fn subtracts() -> bool {
        SUBTRACTS.get()
    }

    const D: usize = 20_000;

    /// A few large outliers over thousands of small entries of both signs.
    fn entry(i: usize) -> f64 {
        match i {
            0..10 => 100.0 * 0.05f64.powf(i as f64 / 9.0),
            10..2000 => -0.02 * ((i - 9) as f64).powf(-0.3),
            _ => 1e-4 * i as f64 / D as f64,
        }
    }

    fn solution(subtracts: bool) -> Result<Solution<f32>> {
        SUBTRACTS.set(subtracts);
        let options = Options { largest: 12, smallest: 10, max_products: 600, ..Options::default() };
        let mut outliers = Diagonal { device: CpuDevice::new(), dimension: D, entry };
        let solution = solve(&mut outliers, &options, &mut NoMonitor);
        SUBTRACTS.set(true);
        solution
    }

    #[test]
    fn a_recurrence_without_reorthogonalisation_is_caught() {
        let sound = solution(true).unwrap();
        assert_eq!(sound.converged(), 22);
        assert!(sound.noise < 1e-6 * sound.norm, "{}", sound.noise);
        assert!(sound.orthogonality < 1e-6, "{}", sound.orthogonality);
        // Without it the basis loses its orthogonality: the couplings say so, unless rounding (it differs between instruction
        // sets) has made the vectors overflow before the couplings are looked at.
        let message = solution(false).unwrap_err().to_string();
        assert!(["not symmetric", "not finite"].iter().any(|fault| message.contains(fault)), "{message}");
    }
}
