//! The eigensolver: on operators with a known spectrum, and on networks against a dense eigensolver.

use crate::derivatives::dense_hessian;
use crate::support::*;
use eigenscope::Result;
use eigenscope::device::cpu::CpuDevice;
use eigenscope::device::{Device, Scalar};
use eigenscope::eigen::{
    Eigenpair, Guard, Monitor, NoMonitor, Options, Phase, Progress, Residuals, Solution, SolverState, Status,
    SymmetricOperator, resume, solve, symmetric_eigen,
};
use eigenscope::network::Network;
use eigenscope::objective::Objective;
use eigenscope::run::{read_state, write_state};
use eigenscope::train::{Schedule, Trainer, TrainerState};

/// A diagonal matrix.
struct Diagonal<T> {
    device: CpuDevice<T>,
    entries: Vec<f64>,
    fault: Fault,
    calls: u64,
}

impl<T: Scalar> Diagonal<T> {
    fn new(entries: &[f64]) -> Self {
        Self { device: CpuDevice::new(), entries: entries.to_vec(), fault: Fault::None, calls: 0 }
    }
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
        self.calls += 1;
        for j in 0..count {
            let (v, p) = (&vectors[j * d..(j + 1) * d], &mut products[j * d..(j + 1) * d]);
            match self.fault {
                Fault::None => {}
                // A cyclic shift is as far from symmetric as can be.
                Fault::Asymmetric(size) => {
                    for (i, p) in p.iter_mut().enumerate() {
                        *p = T::from_f64(p.widen() + size * v[(i + 1) % d].widen());
                    }
                }
                Fault::Triangular(size) => {
                    (1..d).for_each(|i| p[i - 1] = T::from_f64(p[i - 1].widen() + size * v[i].widen()));
                }
                Fault::Late(calls, size) => {
                    if self.calls > calls {
                        p.iter_mut().zip(v).for_each(|(p, v)| *p = T::from_f64(p.widen() + size * v.widen()));
                    }
                }
                Fault::Noisy(size) | Fault::Fickle(size) => {
                    // The same vector gives the same noise, unless the operator is fickle.
                    let mut seed = v[0].widen().to_bits() ^ v[d / 2].widen().to_bits();
                    if matches!(self.fault, Fault::Fickle(_)) {
                        seed = self.calls;
                    }
                    let unit = size / (d as f64 / 3.0).sqrt();
                    for (i, p) in p.iter_mut().enumerate() {
                        *p = T::from_f64(p.widen() + unit * f64::from(value(seed, i as u64)));
                    }
                }
            }
        }
        Ok(())
    }
}

/// What is wrong with an operator; sizes are norms of what is added to the product of a unit vector.
#[derive(Clone, Copy)]
enum Fault {
    None,
    Asymmetric(f64),
    /// On the diagonal above the main one.
    Triangular(f64),
    Noisy(f64),
    Fickle(f64),
    /// After so many calls, a multiple of the vector.
    Late(u64, f64),
}

fn solve_diagonal<T: Scalar>(entries: &[f64], options: &Options) -> Solution<T> {
    let mut operator = Diagonal::<T>::new(entries);
    solve(&mut operator, options, &mut NoMonitor).unwrap()
}

/// `||A v - value v||` in f64.
fn exact_residual<T: Scalar>(pair: &Eigenpair<T>, entries: &[f64]) -> f64 {
    norm(pair.vector.iter().zip(entries).map(|(v, e)| v.widen() * (e - pair.value)))
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
fn vectors_that_are_not_asked_for_are_not_returned() {
    let entries = hessian_like(4000);
    for residuals in [Residuals::Recomputed, Residuals::Bounded] {
        let options = Options { largest: 8, smallest: 4, residuals, ..Options::default() };
        let with = solve_diagonal::<f32>(&entries, &options);
        let without = solve_diagonal::<f32>(&entries, &Options { vectors: false, ..options });
        assert!(without.descending().all(|p| p.vector.is_empty()));
        for (a, b) in with.descending().zip(without.descending()) {
            assert_eq!((a.value, a.status, a.cluster), (b.value, b.status, b.cluster));
            // Vectors are returned with a length of one to the last digit; those of the basis are as long as rounding leaves them.
            assert!((a.residual / b.residual - 1.0).abs() < 1e-5, "{} and {}", a.residual, b.residual);
        }
        assert!(0.0 < without.orthogonality && without.orthogonality < 1e-6, "{}", without.orthogonality);
        assert!(with.orthogonality < 1e-6, "{}", with.orthogonality);
    }
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
    let mut operator = Diagonal::<f64>::new(&hessian_like(400));
    for (options, hint) in [
        (Options { largest: 0, smallest: 0, ..Options::default() }, "at least one"),
        (Options { block: 9, ..Options::default() }, "block of 9"),
        (Options { basis: 12, ..Options::default() }, "too small"),
        (Options { tolerance: 0.0, ..Options::default() }, "tolerance"),
    ] {
        let message = solve(&mut operator, &options, &mut NoMonitor).unwrap_err().to_string();
        assert!(message.contains(hint), "{message}");
    }
}

/// All wanted pairs of a small network's Hessian on MNIST, at initialisation and after training, against the dense f64
/// eigendecomposition: the largest difference over `max(|lambda|, 1e-3 ||H||)`.
fn network_error<D: Device>(device: &D, tolerance: f64) -> f64 {
    let data = mnist();
    let network = Network::parse("conv 5x5 2, conv 3x3 2, dense 4, dense 10", data.shape, 10).unwrap();
    let samples = data.train.first(60).unwrap();
    let start = TrainerState::start(seeded_theta(&network, 4, 0.05));
    let schedule = Schedule { rate: 0.005, ..Schedule::default() };
    let twin = CpuDevice::<f32>::new();
    let mut trainer = Trainer::new(&twin, &network, &data.train, schedule, &start).unwrap();
    (0..80).for_each(|_| assert!(trainer.step().unwrap().batch.loss.is_finite()));
    let trained = trainer.state().unwrap();
    let mut worst = 0.0f64;
    for state in [start, trained] {
        let h = dense_hessian(&network, &cast(&state.theta), &samples);
        let d = network.dim();
        let dense = symmetric_eigen(d, |i, j| h[i][j]).unwrap();
        let norm = dense.values[d - 1].abs().max(dense.values[0].abs());
        let objective = Objective::new(device, &network, &samples, 16).unwrap();
        let mut hessian = objective.linearize_host(&state.theta, None).unwrap();
        let options = Options { largest: 8, smallest: 6, tolerance, ..Options::default() };
        let solution = solve(&mut hessian, &options, &mut NoMonitor).unwrap();
        assert_eq!((solution.converged(), solution.guard), (14, Guard::Silent));
        let exact = (0..8).map(|i| dense.values[d - 1 - i]).chain((0..6).rev().map(|i| dense.values[i]));
        for (pair, exact) in solution.descending().zip(exact) {
            let error = (pair.value - exact).abs();
            assert!(error <= pair.value_bound + 1e-6 * norm, "{error} is beyond the bound {}", pair.value_bound);
            worst = worst.max(error / exact.abs().max(1e-3 * norm));
        }
    }
    worst
}

#[test]
fn a_networks_extreme_eigenvalues_match_a_dense_eigensolver() {
    let errors = [
        network_error(&CpuDevice::<f64>::new(), 1e-6),
        network_error(&CpuDevice::<f32>::new(), 1e-3),
        network_error(gpu(), 1e-3),
    ];
    assert!(errors[0] < 1e-8 && errors[1] < 2e-5 && errors[2] < 2e-5, "{errors:?}");
}

/// 20,000 entries: outliers from 100 to 5, long tails on both sides, and most near zero.
fn r20k(copies_of_lowest: usize) -> Vec<f64> {
    let outliers = (0..10).map(|i| 100.0 * 0.05f64.powf(f64::from(i) / 9.0));
    let positive = (1..=3000).map(|j| 3.0 * f64::from(j).powf(-0.6));
    let negative = (1..=2000).map(|j| -0.6 * f64::from(j).powf(-0.3));
    let small = (0..14_990).map(|i| 1e-3 * f64::from(i) / 14_990.0);
    let mut entries: Vec<f64> = outliers.chain(positive).chain(negative).chain(small).collect();
    entries.sort_by(f64::total_cmp);
    (0..copies_of_lowest).for_each(|i| entries[i] = entries[0]);
    entries
}

#[test]
fn the_acceptance_spectrum_takes_few_products() {
    let entries = r20k(1);
    for (smallest, tolerance, most) in [(3, 1e-3, 70), (10, 1e-4, 136)] {
        for seed in 0..4 {
            let options = Options { largest: 20, smallest, tolerance, seed, ..Options::default() };
            let solution = solve_diagonal::<f32>(&entries, &options);
            assert!(solution.products <= most, "LA(20) SA({smallest}) took {} products", solution.products);
            assert_eq!((solution.guard, solution.alarms, solution.negative), (Guard::Silent, 0, smallest));
            assert!(solution.orthogonality <= 5e-6, "{}", solution.orthogonality);
            assert_ends(&solution, &entries, 1e-5);
            for pair in solution.descending() {
                assert!(pair.residual <= 1.05 * tolerance * pair.value.abs().max(0.1), "residual {}", pair.residual);
            }
        }
    }
}

#[test]
fn the_guard_finds_what_a_narrow_block_misses() {
    // Three copies of the lowest eigenvalue, vectors one or two at a time: a Krylov space holds only as many of them.
    for (copies, block) in [(3, 1), (3, 2), (4, 2)] {
        for seed in 0..3 {
            let entries = r20k(copies);
            let options = Options { largest: 20, smallest: 6, tolerance: 1e-4, block, seed, ..Options::default() };
            let solution = solve_diagonal::<f64>(&entries, &options);
            assert_ends(&solution, &entries, 1e-6);
            assert!(solution.smallest[..copies].iter().all(|p| p.cluster.is_some()), "copies are a cluster");
            let unguarded = solve_diagonal::<f64>(&entries, &Options { guard: false, ..options });
            if block == 1 {
                assert!(unguarded.smallest[2].value > entries[2] + 0.1, "without the guard a copy is missed");
                assert!(solution.alarms > 0);
            }
        }
    }
}

#[test]
fn a_tight_cluster_is_found_and_flagged() {
    let mut entries = r20k(1);
    let lowest = entries[0];
    (0..5).for_each(|i| entries[i] = lowest - 0.1 + 7e-5 * i as f64);
    let options = Options { largest: 20, smallest: 7, tolerance: 1e-3, ..Options::default() };
    let solution = solve_diagonal::<f64>(&entries, &options);
    assert_ends(&solution, &entries, 1e-6);
    // A pair is a member of a cluster, or its vector is within its bound of the true one.
    for (i, pair) in solution.smallest.iter().take(5).enumerate() {
        let cosine = pair.vector[i].abs().min(1.0);
        assert!(pair.cluster.is_some() || cosine.acos() <= pair.angle_bound.unwrap() + 1e-7, "{i}: {cosine}");
    }
    assert!(solution.largest[..5].iter().all(|p| p.cluster.is_none() && p.angle_bound.is_some()));
}

#[test]
fn fewer_negative_eigenvalues_than_asked_for_are_counted() {
    let mut entries: Vec<f64> = (0..3000).map(|i| if i < 2000 { 0.0 } else { 1e-3 * f64::from(i - 2000) }).collect();
    (entries[5], entries[77], entries[2999]) = (-2.0, -0.5, 50.0);
    let options = Options { largest: 2, smallest: 6, ..Options::default() };
    let solution = solve_diagonal::<f64>(&entries, &options);
    assert_eq!(solution.negative, 2);
    assert_ends(&solution, &entries, 1e-5);
}

#[test]
fn a_broken_operator_is_refused() {
    for fault in [Fault::Asymmetric(3.0), Fault::Fickle(3.0)] {
        let mut operator = Diagonal::<f64> { fault, ..Diagonal::new(&r20k(1)) };
        let message = solve(&mut operator, &Options::default(), &mut NoMonitor).unwrap_err().to_string();
        assert!(message.contains("not symmetric"), "{message}");
    }
    // Too small for the alarm, too large for the tolerance: no pair that it spoils may be called converged.
    let entries = r20k(1);
    let mut operator = Diagonal::<f64> { fault: Fault::Fickle(0.01), ..Diagonal::new(&entries) };
    let options = Options { tolerance: 1e-4, max_products: 200, ..Options::default() };
    let solution = solve(&mut operator, &options, &mut NoMonitor).unwrap();
    assert!(solution.smallest.iter().all(|p| p.status != Status::Converged));
}

#[test]
fn asymmetry_shows_in_the_last_step_of_a_small_space() {
    let options = Options { largest: 1, smallest: 1, block: 1, ..Options::default() };
    // [[1, 2], [0, 3]]
    let mut operator = Diagonal::<f64> { fault: Fault::Triangular(2.0), ..Diagonal::new(&[1.0, 3.0]) };
    let message = solve(&mut operator, &options, &mut NoMonitor).unwrap_err().to_string();
    assert!(message.contains("not symmetric"), "{message}");
}

#[test]
fn noise_neither_hangs_nor_spoils_the_eigenvalues() {
    let entries = r20k(1);
    let mut operator = Diagonal::<f64> { fault: Fault::Noisy(1e-6 * 100.0), ..Diagonal::new(&entries) };
    let options = Options { largest: 20, smallest: 10, tolerance: 1e-3, max_products: 400, ..Options::default() };
    let solution = solve(&mut operator, &options, &mut NoMonitor).unwrap();
    assert!(solution.products < 200 && solution.reached);
    let mut sorted = entries;
    sorted.reverse();
    let exact = sorted[..20].iter().chain(&sorted[sorted.len() - 10..]);
    for (pair, &exact) in solution.descending().zip(exact) {
        assert!((pair.value - exact).abs() <= 2e-5 * exact.abs().max(0.1), "{} not {exact}", pair.value);
        assert!(pair.status != Status::BudgetSpent);
    }
}

/// Keeps the state after so many products.
struct Keeper<T> {
    at: usize,
    kept: Option<SolverState<T>>,
    phases: Vec<Phase>,
}

impl<T> Monitor<T> for Keeper<T> {
    fn step(&mut self, progress: &Progress) {
        self.phases.push(progress.phase);
    }

    fn wants_state(&mut self, products: usize) -> bool {
        self.kept.is_none() && products >= self.at
    }

    fn save(&mut self, state: SolverState<T>) -> Result<()> {
        self.kept = Some(state);
        Ok(())
    }
}

#[test]
fn a_solve_goes_on_from_any_step_to_the_same_bits() {
    // Three copies of the lowest value: the state is taken in the search, in the guard and in the hunt.
    let entries = r20k(3);
    let options = Options { largest: 20, smallest: 6, basis: 50, block: 1, tolerance: 1e-4, ..Options::default() };
    let bits = |s: &Solution<f64>| -> Vec<u64> {
        let pair = |p: &Eigenpair<f64>| {
            let mut bits = vec![p.value.to_bits(), p.residual.to_bits()];
            bits.extend(p.vector.iter().map(|v| v.to_bits()));
            bits
        };
        s.descending().flat_map(pair).chain([s.products as u64, s.guard_products as u64, s.alarms as u64]).collect()
    };
    let mut whole = Keeper { at: usize::MAX, kept: None, phases: vec![] };
    let reference = solve(&mut Diagonal::new(&entries), &options, &mut whole).unwrap();
    let total = reference.products + reference.guard_products;
    for phase in [Phase::Search, Phase::Guard, Phase::Hunt] {
        assert!(whole.phases.contains(&phase), "the example goes through {phase:?}");
    }
    for at in (4..total).step_by(10) {
        let mut keeper = Keeper { at, kept: None, phases: vec![] };
        solve(&mut Diagonal::new(&entries), &options, &mut keeper).unwrap();
        let state = keeper.kept.expect("the state was wanted");
        let resumed = resume(&mut Diagonal::new(&entries), &options, &state, &mut NoMonitor).unwrap();
        assert!(bits(&resumed) == bits(&reference), "resumed after {at} products");
    }
    // A budget may be raised: it leaves no state that a larger one would not have met.
    let mut left = 0;
    for budget in 30..36 {
        let mut keeper = Keeper { at: budget - 7, kept: None, phases: vec![] };
        let little = Options { max_products: budget, ..options.clone() };
        assert!(!solve(&mut Diagonal::<f64>::new(&entries), &little, &mut keeper).unwrap().reached);
        if let Some(state) = keeper.kept {
            left += 1;
            let resumed = resume(&mut Diagonal::new(&entries), &options, &state, &mut NoMonitor).unwrap();
            assert!(bits(&resumed) == bits(&reference), "resumed after a budget of {budget}");
        }
    }
    assert!(left > 0);
    let other = Options { block: 2, ..options };
    let mut keeper = Keeper { at: 10, kept: None, phases: vec![] };
    solve(&mut Diagonal::new(&entries), &other, &mut keeper).unwrap();
    let state: SolverState<f64> = keeper.kept.unwrap();
    assert!(resume(&mut Diagonal::new(&entries), &options, &state, &mut NoMonitor).is_err());
}

#[test]
fn bounds_of_residuals_take_few_products() {
    /// Bounds are at most `rounding` too high, and take `most` products.
    fn check<T: Scalar>(rounding: f64, most: usize) {
        let entries = hessian_like(4000);
        let options = Options { largest: 20, smallest: 10, guard: false, block: 1, ..Options::default() };
        let recomputed = solve_diagonal::<T>(&entries, &options);
        let options = Options { residuals: Residuals::Bounded, ..options };
        let bounded = solve_diagonal::<T>(&entries, &options);
        assert_eq!((recomputed.residuals, recomputed.verification_products), (Residuals::Recomputed, 30));
        assert_eq!((bounded.residuals, bounded.converged()), (Residuals::Bounded, 30));
        // With f32 the outliers' rounding is near the innermost pairs' tolerance: a bound may be too high, and its pair recomputed.
        assert!((4..=most).contains(&bounded.verification_products), "{} products", bounded.verification_products);
        for (pair, other) in bounded.descending().zip(recomputed.descending()) {
            assert_eq!(pair.value.to_bits(), other.value.to_bits());
            let exact = exact_residual(pair, &entries);
            let excess = pair.residual - exact;
            assert!(excess >= -1e-6 * exact && excess <= rounding, "{} is no bound of {exact}", pair.residual);
        }
        // Whatever is wrong with the pairs shows, though the recurrence knows nothing of it.
        for size in [1e-2, 0.5] {
            let mut operator = Diagonal::<T>::new(&entries);
            operator.fault = Fault::Late(bounded.products as u64, size);
            let faulty = solve(&mut operator, &options, &mut NoMonitor).unwrap();
            assert!(faulty.converged() < 30 && faulty.verification_products > most);
            for pair in faulty.descending() {
                let is_met = pair.residual <= 1.05e-3 * pair.value.abs();
                assert!(pair.residual >= 0.999 * size, "{} for {size}", pair.residual);
                assert_eq!(pair.status, if is_met { Status::Converged } else { Status::NoiseFloor });
            }
        }
    }
    check::<f64>(1e-9, 4);
    check::<f32>(1e-2, 6);
}

#[test]
fn bounds_are_kept_with_a_state_and_dropped_with_a_missed_pair() {
    let bounded = Options {
        largest: 20,
        smallest: 6,
        tolerance: 1e-4,
        block: 1,
        residuals: Residuals::Bounded,
        ..Options::default()
    };
    let residuals = |s: &Solution<f64>| -> Vec<u64> { s.descending().map(|p| p.residual.to_bits()).collect() };
    let entries = r20k(1);
    let reference = solve_diagonal::<f64>(&entries, &bounded);
    assert_eq!((reference.residuals, reference.verification_products), (Residuals::Bounded, 4));
    let mut keeper: Keeper<f64> = Keeper { at: reference.products + 4, kept: None, phases: vec![] };
    solve(&mut Diagonal::new(&entries), &bounded, &mut keeper).unwrap();
    let state = keeper.kept.expect("the state was wanted");
    assert_eq!((state.phase, state.bounds.len()), (Phase::Guard, 26));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    write_state(&path, &state, "it").unwrap();
    let state = read_state(&path, "it").unwrap();
    let resumed = resume(&mut Diagonal::new(&entries), &bounded, &state, &mut NoMonitor).unwrap();
    assert!(residuals(&resumed) == residuals(&reference) && resumed.residuals == Residuals::Bounded);

    let entries = r20k(3);
    let joined = solve_diagonal::<f64>(&entries, &bounded);
    assert!(joined.alarms > 0 && joined.residuals == Residuals::Recomputed);
    assert_ends(&joined, &entries, 1e-6);
    let plain = solve_diagonal::<f64>(&entries, &Options { residuals: Residuals::Recomputed, ..bounded.clone() });
    assert!(residuals(&joined) == residuals(&plain));
    // Four pairs or fewer are recomputed: it takes no more products.
    let few = solve_diagonal::<f64>(&entries, &Options { largest: 3, smallest: 1, guard: false, ..bounded });
    assert_eq!((few.residuals, few.verification_products), (Residuals::Recomputed, 4));
}

#[test]
fn the_f64_twin_judges_f32_pairs() {
    let entries = r20k(1);
    let options = Options { largest: 5, smallest: 3, ..Options::default() };
    let mut solution = solve_diagonal::<f32>(&entries, &options);
    solution.judge(&mut Diagonal::<f64>::new(&entries)).unwrap();
    assert_eq!(solution.converged(), 8);
    for pair in solution.descending() {
        let exact = exact_residual(pair, &entries);
        assert!((pair.residual / exact - 1.0).abs() < 1e-9, "{} not {exact}", pair.residual);
    }
    // A pair that is wrong does not stay converged.
    solution.largest[0].value *= 1.01;
    solution.judge(&mut Diagonal::<f64>::new(&entries)).unwrap();
    assert_ne!(solution.largest[0].status, Status::Converged);
}
