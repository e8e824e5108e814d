//! The eigensolver: on operators with a known spectrum, and on networks against a dense eigensolver.

use crate::derivatives::dense_hessian;
use crate::support::*;
use eigenscope::Result;
use eigenscope::data::ImageShape;
use eigenscope::device::cpu::CpuDevice;
use eigenscope::device::{Device, Scalar};
use eigenscope::eigen::{Options, Solution, Status, SymmetricOperator, solve, symmetric_eigen};
use eigenscope::network::Network;
use eigenscope::objective::Objective;

/// A diagonal matrix.
struct Diagonal<T> {
    device: CpuDevice<T>,
    entries: Vec<f64>,
}

impl<T: Scalar> SymmetricOperator<CpuDevice<T>> for Diagonal<T> {
    fn device(&self) -> &CpuDevice<T> {
        &self.device
    }

    fn dimension(&self) -> usize {
        self.entries.len()
    }

    fn max_block(&self) -> usize {
        8
    }

    fn apply(&mut self, count: usize, vectors: &Vec<T>, products: &mut Vec<T>) -> Result<()> {
        let d = self.entries.len();
        for (i, p) in products[..count * d].iter_mut().enumerate() {
            *p = T::from_f64(vectors[i].widen() * self.entries[i % d]);
        }
        Ok(())
    }
}

fn solve_diagonal<T: Scalar>(entries: &[f64], options: &Options) -> Solution<T> {
    let mut operator = Diagonal { device: CpuDevice::<T>::new(), entries: entries.to_vec() };
    solve(&mut operator, options, |_| ()).unwrap()
}

/// The largest and smallest entries, as a solve should return them.
fn assert_ends<T>(solution: &Solution<T>, entries: &[f64], tolerance: f64) {
    let mut sorted = entries.to_vec();
    sorted.sort_by(f64::total_cmp);
    let scale = sorted[0].abs().max(sorted[sorted.len() - 1].abs());
    for (i, pair) in solution.smallest.iter().enumerate() {
        assert_eq!(pair.status, Status::Converged, "smallest {i}: residual {}", pair.residual);
        assert!((pair.value - sorted[i]).abs() <= tolerance * scale, "smallest {i}: {} not {}", pair.value, sorted[i]);
    }
    for (i, pair) in solution.largest.iter().enumerate() {
        let exact = sorted[sorted.len() - 1 - i];
        assert_eq!(pair.status, Status::Converged, "largest {i}: residual {}", pair.residual);
        assert!((pair.value - exact).abs() <= tolerance * scale, "largest {i}: {} not {exact}", pair.value);
    }
}

/// A few large outliers, a positive and a negative tail, and thousands near zero, like a network's Hessian.
fn hessian_like(d: usize) -> Vec<f64> {
    let tail = d / 10;
    let outliers = (0..10).map(|i| 100.0 * 0.05f64.powf(f64::from(i) / 9.0));
    let positive = (1..=tail).map(|j| 3.0 * (j as f64).powf(-0.6));
    let negative = (1..=tail).map(|j| -0.6 * (j as f64).powf(-0.3));
    let mut entries: Vec<f64> = outliers.chain(positive).chain(negative).collect();
    let rest = d - entries.len();
    entries.extend((0..rest).map(|i| 1e-3 * i as f64 / rest as f64));
    entries
}

#[test]
fn both_ends_of_a_hessian_like_spectrum_with_restarts() {
    let entries = hessian_like(4000);
    for block in [1, 2, 3] {
        for (largest, smallest) in [(20, 3), (5, 10), (0, 4), (4, 0)] {
            let options = Options { largest, smallest, block, tolerance: 1e-4, basis: 60, ..Options::default() };
            let solution = solve_diagonal::<f64>(&entries, &options);
            assert_eq!((solution.largest.len(), solution.smallest.len()), (largest, smallest));
            assert_ends(&solution, &entries, 1e-6);
            let vectors: Vec<_> = solution.descending().map(|p| &p.vector).collect();
            for (i, a) in vectors.iter().enumerate() {
                for (j, b) in vectors.iter().enumerate() {
                    let exact = f64::from(u8::from(i == j));
                    assert!((dot(a, b) - exact).abs() < 1e-10, "({i},{j})");
                }
            }
        }
    }
}

#[test]
fn f32_reaches_its_tolerance_too() {
    let entries = hessian_like(4000);
    let options = Options { largest: 20, smallest: 10, tolerance: 1e-3, ..Options::default() };
    let solution = solve_diagonal::<f32>(&entries, &options);
    assert_ends(&solution, &entries, 1e-5);
    assert!(solution.restarts > 0, "the test is to restart");
}

#[test]
fn degenerate_operators_end() {
    let wanted = |largest, smallest| Options { largest, smallest, ..Options::default() };
    assert_ends(&solve_diagonal::<f64>(&[0.0; 300], &wanted(3, 2)), &[0.0; 300], 1e-12);
    assert_ends(&solve_diagonal::<f64>(&[1.0; 300], &wanted(3, 2)), &[1.0; 300], 1e-12);
    let rank_six: Vec<f64> = (0..300).map(|i| if i % 50 == 0 { f64::from(i) - 100.0 } else { 0.0 }).collect();
    assert_ends(&solve_diagonal::<f64>(&rank_six, &wanted(6, 4)), &rank_six, 1e-10);
    // Smaller than the basis, and smaller than what is asked for.
    let small: Vec<f64> = (0..12).map(|i| f64::from(i * i) - 20.0).collect();
    assert_ends(&solve_diagonal::<f64>(&small, &wanted(3, 2)), &small, 1e-10);
    let all = solve_diagonal::<f64>(&small, &wanted(20, 20));
    assert_eq!((all.largest.len(), all.smallest.len()), (12, 12));
    assert_ends(&all, &small, 1e-10);
}

#[test]
fn a_spent_budget_is_said() {
    let options = Options { tolerance: 1e-8, max_products: 10, ..Options::default() };
    let solution = solve_diagonal::<f64>(&hessian_like(4000), &options);
    assert!(solution.products <= 10);
    assert!(solution.descending().any(|p| p.status == Status::BudgetSpent));
    assert!(solution.descending().all(|p| p.residual.is_finite()));
}

#[test]
fn impossible_options_are_refused() {
    let mut operator = Diagonal { device: CpuDevice::<f64>::new(), entries: hessian_like(400) };
    for (options, hint) in [
        (Options { largest: 0, smallest: 0, ..Options::default() }, "at least one"),
        (Options { block: 9, ..Options::default() }, "block of 9"),
        (Options { basis: 12, ..Options::default() }, "too small"),
        (Options { tolerance: 0.0, ..Options::default() }, "tolerance"),
    ] {
        let message = solve(&mut operator, &options, |_| ()).unwrap_err().to_string();
        assert!(message.contains(hint), "{message}");
    }
}

/// All wanted pairs of a small network's Hessian on a device, against the dense eigendecomposition of the f64 twin's:
/// the largest difference over the largest eigenvalue.
fn network_error<D: Device>(device: &D, tolerance: f64) -> f64 {
    let shape = ImageShape { channels: 1, height: 8, width: 8 };
    let network = Network::parse("conv 3x3 4, dense 8, dense 4", shape, 4).unwrap();
    let samples = noise_samples(shape, 40, 4, 17);
    let theta = seeded_theta(&network, 4, 0.1);
    let h = dense_hessian(&network, &cast(&theta), &samples);
    let dense = symmetric_eigen(network.dim(), |i, j| h[i][j]).unwrap();

    let objective = Objective::new(device, &network, &samples, 16).unwrap();
    let mut hessian = objective.linearize(&upload(device, &cast(&theta)), usize::MAX).unwrap();
    let options = Options { largest: 8, smallest: 6, tolerance, ..Options::default() };
    let solution = solve(&mut hessian, &options, |_| ()).unwrap();
    let d = network.dim();
    let norm = dense.values[d - 1].abs().max(dense.values[0].abs());
    let exact = (0..8).map(|i| dense.values[d - 1 - i]).chain((0..6).rev().map(|i| dense.values[i]));
    assert_eq!(solution.converged(), 14);
    solution.descending().zip(exact).map(|(p, e)| (p.value - e).abs() / norm).fold(0.0, f64::max)
}

#[test]
fn a_networks_extreme_eigenvalues_match_a_dense_eigensolver() {
    assert!(network_error(&CpuDevice::<f64>::new(), 1e-7) < 1e-8);
    assert!(network_error(&CpuDevice::<f32>::new(), 1e-3) < 2e-5);
    assert!(network_error(gpu(), 1e-3) < 2e-5);
}
