//! Orthogonalisation of a block against the basis and within itself, in two fused sweeps.
//!
//! Block classical Gram-Schmidt with the Pythagorean inner product: one sweep reads `[V W]^T W`, from which
//! `W^T W - (V^T W)^T (V^T W)` is the Gram matrix of the projected block; the next sweep projects and normalises at once.
//! Twice is enough for a well-conditioned block; an ill-conditioned one goes round again. Projecting twice and only then
//! normalising would leave `V^T Q` at the block's condition number times rounding.

use super::basis::Basis;
use super::dense::{Small, symmetric_eigen};
use crate::Result;
use crate::device::{Device, Scalar};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Sweeps before a block that does not settle is repaired with random columns.
const MAX_PASSES: usize = 5;
/// Below this share of the operator's scale a direction is rounding noise.
const DEAD: f64 = 1e-7;

/// Start vectors, by seed: the same on every machine.
pub(super) struct RandomVectors {
    rng: ChaCha8Rng,
}

impl RandomVectors {
    pub fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Uniform on (-1, 1) with 24 bits, exact in f32. Not random signs: on a coordinate-aligned degenerate eigenspace a
    /// block of signs is rank-deficient with probability 2^(1-b), and a copy of the eigenvalue is missed.
    pub fn draw<T: Scalar>(&mut self, len: usize) -> Vec<T> {
        let mut one = || (f64::from(self.rng.next_u32() >> 8) + 0.5) * 2f64.powi(-23) - 1.0;
        (0..len).map(|_| T::from_f64(one())).collect()
    }
}

/// `W = V h + Q r`, with Q orthonormal and orthogonal to V.
pub(super) struct Orthogonalized {
    /// (k, b)
    pub h: Small,
    /// (b, b); a zero row belongs to a column of Q that was replaced by a random one.
    pub r: Small,
}

/// Orthogonalises `block` (count vectors), in place, against `basis` and within itself.
///
/// `scale` is the norm of the largest block column so far, a lower bound of the operator's norm; columns that fall to
/// [`DEAD`] times it are replaced by random ones.
pub(super) fn orthogonalize<D: Device>(
    device: &D,
    basis: &Basis<D>,
    block: &mut D::Buffer,
    count: usize,
    dimension: usize,
    scale: &mut f64,
    random: &mut RandomVectors,
) -> Result<Orthogonalized> {
    let (k, b) = (basis.len(), count);
    let mut h = Small::zeros(k, b);
    let mut r = Small::identity(b);
    let mut pass = 0;
    loop {
        pass += 1;
        let (vw, ww) = basis.gram(device, block, b)?;
        let inner = projected_gram(&vw, &ww)?;
        let trace: f64 = (0..b).map(|i| ww.at(i, i)).sum();
        if pass == 1 {
            *scale = (0..b).fold(*scale, |m, i| m.max(ww.at(i, i).sqrt()));
        }
        let scale = *scale;
        let zero = pass == 1 && trace <= (DEAD * scale).powi(2) * b as f64;
        let (least, most) = (inner.values[0], inner.values[b - 1]);
        let settled = pass >= 2 && vw.max_abs() < 1e-3 && least > 0.25 && most < 4.0;
        let floor = 1e-6 * trace / b as f64;
        h = h.plus(&vw.times(&r));
        if zero {
            r = Small::zeros(b, b);
        } else {
            // W - V vw has Gram matrix Z L Z^T; normalise by Z L^-1/2, with L kept away from zero.
            let root = |j: usize| inner.values[j].max(floor).sqrt();
            let m = Small::from_fn(b, b, |i, j| inner.vectors[j][i] / root(j));
            basis.update(device, block, &vw, &m);
            r = Small::from_fn(b, b, |i, j| root(i) * inner.vectors[i][j]).times(&r);
        }
        if settled {
            return Ok(Orthogonalized { h, r });
        }
        // Columns of Q and rows of r belong together, so a direction that died is seen in its row alone.
        let gave_up = pass >= MAX_PASSES;
        let dead: Vec<usize> = (0..b)
            .filter(|&i| zero || (pass >= 2 && r.row_norm(i) <= DEAD * scale) || (gave_up && inner.values[i] < 0.25))
            .collect();
        if !dead.is_empty() {
            replace(device, basis, block, (b, dimension), &dead, random)?;
            dead.iter().for_each(|&i| (0..b).for_each(|j| r.set(i, j, 0.0)));
        }
        if gave_up || !dead.is_empty() {
            return Ok(Orthogonalized { h, r });
        }
    }
}

/// Eigenpairs of `W^T W - (V^T W)^T (V^T W)`.
fn projected_gram(vw: &Small, ww: &Small) -> Result<super::SymmetricEigen> {
    symmetric_eigen(ww.rows, |i, j| {
        let projected: f64 = (0..vw.rows).map(|l| vw.at(l, i) * vw.at(l, j)).sum();
        0.5 * (ww.at(i, j) + ww.at(j, i)) - projected
    })
}

/// Draws the dead columns anew, orthonormal and orthogonal to the basis and to the live columns, which stay as they are.
fn replace<D: Device>(
    device: &D,
    basis: &Basis<D>,
    block: &mut D::Buffer,
    (b, dimension): (usize, usize),
    dead: &[usize],
    random: &mut RandomVectors,
) -> Result<()> {
    let unit = (3.0 / dimension as f64).sqrt();
    for &j in dead {
        let drawn: Vec<D::Scalar> = random.draw(dimension);
        let scaled: Vec<D::Scalar> = drawn.iter().map(|v| D::Scalar::from_f64(v.widen() * unit)).collect();
        device.write(block, j * dimension, &scaled);
    }
    let is_dead = |j: usize| dead.contains(&j);
    for _ in 0..3 {
        let (mut vw, ww) = basis.gram(device, block, b)?;
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
        basis.update(device, block, &vw, &m);
    }
    Ok(())
}
