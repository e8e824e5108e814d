//! Orthogonalisation of a block against the basis and within itself, in as few sweeps over the basis as will do.
//!
//! Block classical Gram-Schmidt with the Pythagorean inner product: one sweep reads `[V W]^T W`, from which
//! `W^T W - (V^T W)^T (V^T W)` is the Gram matrix of the projected block; the next sweep projects and normalises at once.
//! Twice is enough for a well-conditioned block; an ill-conditioned one goes round again. Projecting twice and only then
//! normalising would leave `V^T Q` at the block's condition number times rounding.
//!
//! Of the recurrence, the first pass is known beforehand: by symmetry `A Q` meets, of all that came before Q, only the
//! columns that Q came from, and takes no sweep over the others. What the second pass then measures and subtracts is rounding,
//! amplified by the operator's norm over that of the new block.

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

/// `W = V h + Q r`, with Q orthonormal and orthogonal to V.
pub(super) struct Orthogonalized {
    /// (k, b), rows of locked columns included.
    pub h: Small,
    /// (b, b); a zero row belongs to a column of Q that was replaced by a random one.
    pub r: Small,
}

/// What is known of `V^T W` before it is measured.
pub(super) struct Known {
    /// Columns that W is not orthogonal to; up to rounding, it is to all others.
    pub range: Range<usize>,
    /// Inner products with them.
    pub h: Small,
}

/// Orthogonalises `block` (b, dimension), in place, against `basis` and within itself.
///
/// With `known`, the first pass projects by what is known, and the first sweep comes after it.
///
/// `scale` is the norm of the largest block column so far, a lower bound of the operator's norm; columns that fall to
/// [`DEAD`] times it are replaced by random ones.
pub(super) fn orthogonalize<D: Device>(
    device: &D,
    basis: &Basis<D>,
    block: &mut D::Buffer,
    (b, dimension): (usize, usize),
    mut known: Option<Known>,
    scale: &mut f64,
    random: &mut RandomVectors,
) -> Result<Orthogonalized> {
    let k = basis.len();
    let mut h = Small::zeros(k, b);
    let mut r = Small::identity(b);
    let mut pass = 0;
    loop {
        pass += 1;
        let Known { range, h: vw } = match known.take() {
            Some(known) => known,
            None => Known { range: 0..k, h: basis.gram(device, 0..k, block, b)? },
        };
        let ww = basis.gram_within(device, block, b)?;
        let inner = projected_gram(&vw, &ww)?;
        let trace: f64 = (0..b).map(|i| ww.at(i, i)).sum();
        if pass == 1 {
            *scale = (0..b).fold(*scale, |m, i| m.max(ww.at(i, i).sqrt()));
        }
        let scale = *scale;
        let zero = pass == 1 && trace <= (DEAD * scale).powi(2) * b as f64;
        let (least, most) = (inner.values[0], inner.values[b - 1]);
        let well_conditioned = vw.max_abs() < 1e-3 && least > 0.25 && most < 4.0;
        let settled = pass >= LEAST_PASSES && well_conditioned;
        let floor = 1e-6 * trace / b as f64;
        h.add_rows(range.start, &vw.times(&r));
        if zero {
            r = Small::zeros(b, b);
        } else {
            // W - V vw has Gram matrix Z L Z^T; normalise by Z L^-1/2, with L kept away from zero.
            let root = |j: usize| inner.values[j].max(floor).sqrt();
            let m = Small::from_fn(b, b, |i, j| inner.vectors[j][i] / root(j));
            if pass == 1 || subtracts() {
                basis.update(device, range, block, &vw, &m);
            }
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
        let mut vw = basis.gram(device, 0..basis.len(), block, b)?;
        let ww = basis.gram_within(device, block, b)?;
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
    use crate::eigen::{NoMonitor, Options, Solution, SymmetricOperator, solve};
    use std::cell::Cell;

    thread_local! {
        static SUBTRACTS: Cell<bool> = const { Cell::new(true) };
    }

    pub(super) fn subtracts() -> bool {
        SUBTRACTS.get()
    }

    /// A few large outliers over thousands of small entries of both signs, in f32.
    struct Outliers(CpuDevice<f32>);

    const D: usize = 20_000;

    fn entry(i: usize) -> f64 {
        match i {
            0..10 => 100.0 * 0.05f64.powf(i as f64 / 9.0),
            10..2000 => -0.02 * ((i - 9) as f64).powf(-0.3),
            _ => 1e-4 * i as f64 / D as f64,
        }
    }

    impl SymmetricOperator<CpuDevice<f32>> for Outliers {
        fn device(&self) -> &CpuDevice<f32> {
            &self.0
        }

        fn dimension(&self) -> usize {
            D
        }

        fn max_block(&self) -> usize {
            8
        }

        fn apply(&mut self, count: usize, vectors: &Vec<f32>, products: &mut Vec<f32>) -> Result<()> {
            (0..count * D).for_each(|i| products[i] = (entry(i % D) * f64::from(vectors[i])) as f32);
            Ok(())
        }
    }

    fn solution(subtracts: bool) -> Result<Solution<f32>> {
        SUBTRACTS.set(subtracts);
        let options = Options { largest: 12, smallest: 10, max_products: 600, ..Options::default() };
        let solution = solve(&mut Outliers(CpuDevice::new()), &options, &mut NoMonitor);
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
