//! Losses along lines, and their derivatives by jets.

use crate::derivatives::{plain_loss, tiny};
use crate::support::*;
use eigenscope::data::ImageShape;
use eigenscope::device::Device;
use eigenscope::device::cpu::CpuDevice;
use eigenscope::experiment::{Configuration, LineRow, LinesConfiguration, NetworkLandscape, StoredPair, search_lines};
use eigenscope::figure::End;
use eigenscope::network::Network;
use eigenscope::objective::{Jet, Objective, Probe, mean_difference};
use num_dual::Dual3_64;

/// The jets of the mean loss along `directions`.
fn jets<D: Device>(device: &D, problem: &(Network, Vec<f32>, eigenscope::data::Samples), seeds: &[u64]) -> Vec<Jet> {
    let (network, theta, samples) = problem;
    let mut objective = Objective::new(device, network, samples, 3).unwrap();
    let theta = device.upload(theta).unwrap();
    let directions: Vec<_> =
        seeds.iter().map(|&seed| device.upload(&direction::<f32>(seed, network.dim())).unwrap()).collect();
    objective.jets(&theta, &directions).unwrap().iter().map(|jets| Jet::mean(jets)).collect()
}

/// Networks of one to four layers: the degree of the logits along a line grows with the depth.
fn problems() -> Vec<(Network, Vec<f32>, eigenscope::data::Samples)> {
    let shape = ImageShape { channels: 1, height: 6, width: 7 };
    let specs = ["dense 4", "dense 5, dense 4", "conv 3x3 3, dense 6, dense 4"];
    let of = |spec: &&str| {
        let network = Network::parse(spec, shape, 4).unwrap();
        let theta = seeded_theta(&network, 5, 0.3);
        (network, theta, noise_samples(shape, 7, 4, 2))
    };
    specs.iter().map(of).chain([tiny()]).collect()
}

#[test]
fn jets_match_third_order_dual_numbers() {
    for problem in &problems() {
        let (network, theta, samples) = problem;
        for (jet, seed) in jets(&CpuDevice::<f64>::new(), problem, &[1, 2, 3]).iter().zip([1, 2, 3]) {
            let v: Vec<f64> = direction(seed, network.dim());
            let along: Vec<Dual3_64> =
                theta.iter().zip(&v).map(|(&t, &v)| Dual3_64::new(f64::from(t), v, 0.0, 0.0)).collect();
            let exact = plain_loss(network, &along, samples);
            for (name, jet, exact) in [
                ("loss", jet.loss, exact.re),
                ("slope", jet.slope, exact.v1),
                ("curvature", jet.curvature, exact.v2),
                ("third", jet.third, exact.v3),
            ] {
                let error = (jet - exact).abs() / exact.abs().max(1.0);
                assert!(error < 1e-11, "{}: {name} {jet} against {exact}", network.spec());
            }
        }
    }
}

#[test]
fn jets_match_products_and_other_devices() {
    let problem = tiny();
    let (network, theta, samples) = &problem;
    let judge = CpuDevice::<f64>::new();
    let exact = jets(&judge, &problem, &[4, 5]);
    let objective = Objective::new(&judge, network, samples, 64).unwrap();
    let mut hessian = objective.linearize_host(theta, None).unwrap();
    for (jet, seed) in exact.iter().zip([4, 5]) {
        let v: Vec<f64> = direction(seed, network.dim());
        let product = hessian.hvp_host(std::slice::from_ref(&v)).unwrap().remove(0);
        assert!((jet.curvature / dot(&v, &product) - 1.0).abs() < 1e-12);
        assert!((jet.slope / dot(&v, hessian.gradient()) - 1.0).abs() < 1e-12);
        assert!((jet.loss / hessian.evaluation().loss - 1.0).abs() < 1e-14);
    }
    for others in [jets(&CpuDevice::<f32>::new(), &problem, &[4, 5]), jets(gpu(), &problem, &[4, 5])] {
        for (other, exact) in others.iter().zip(&exact) {
            let pairs = [
                (other.loss, exact.loss),
                (other.slope, exact.slope),
                (other.curvature, exact.curvature),
                (other.third, exact.third),
            ];
            for (other, exact) in pairs {
                assert!((other - exact).abs() <= 2e-5 * exact.abs().max(1.0), "{other:?} against {exact:?}");
            }
        }
    }
}

/// Mean loss differences at `steps` along a seeded direction.
fn differences<D: Device>(
    device: &D,
    (network, theta, samples): &(Network, Vec<f32>, eigenscope::data::Samples),
    steps: &[f64],
) -> Vec<f64> {
    let mut objective = Objective::new(device, network, samples, 3).unwrap();
    let theta = device.upload(theta).unwrap();
    let directions = [6, 7].map(|seed| device.upload(&direction::<f32>(seed, network.dim())).unwrap());
    let probes: Vec<Probe> = [0.0].iter().chain(steps).map(|&step| Probe { direction: 1, step }).collect();
    let losses = objective.losses_along(&theta, &directions, &probes).unwrap();
    losses[1..].iter().map(|after| mean_difference(after, &losses[0]).unwrap()).collect()
}

#[test]
fn losses_along_a_line_are_those_of_the_moved_parameters() {
    let problem = tiny();
    let (network, theta, samples) = &problem;
    let steps: Vec<f64> = (-40..=40).map(|k| 0.05 * f64::from(k)).collect();
    let found = differences(&CpuDevice::<f64>::new(), &problem, &steps);
    let v: Vec<f64> = direction(7, network.dim());
    let at = |s: f64| {
        let moved: Vec<f64> = theta.iter().zip(&v).map(|(&t, &v)| f64::from(t) + s * v).collect();
        plain_loss::<f64>(network, &moved, samples)
    };
    for (&s, difference) in steps.iter().zip(&found) {
        assert!((difference - (at(s) - at(0.0))).abs() < 1e-12, "at {s}");
    }
    for (others, tolerance) in
        [(differences(&CpuDevice::<f32>::new(), &problem, &steps), 1e-6), (differences(gpu(), &problem, &steps), 1e-6)]
    {
        let error = others.iter().zip(&found).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f64::max);
        assert!(error < tolerance, "{error}");
    }
    // The same parameters, the same bits: the difference at zero is exactly zero.
    assert_eq!(differences(&CpuDevice::<f32>::new(), &problem, &[0.0]), [0.0]);
}

#[test]
fn a_minibatch_product_is_the_linearizations() {
    let (network, theta, samples) = tiny();
    let device = CpuDevice::<f64>::new();
    let mut objective = Objective::new(&device, &network, &samples, 3).unwrap();
    let point = device.upload(&theta).unwrap();
    let v: Vec<f64> = direction(8, network.dim());
    let (mut gradient, mut product) = (vec![1.0; network.dim()], vec![1.0; network.dim()]);
    for _ in 0..2 {
        let evaluation = objective.gradient_and_hvp(&point, &mut gradient, &v, &mut product).unwrap();
        let mut hessian = objective.linearize(&point, usize::MAX).unwrap();
        assert_eq!(evaluation, hessian.evaluation());
        assert_eq!(&gradient, hessian.gradient());
        assert_eq!(product, hessian.hvp_host(std::slice::from_ref(&v)).unwrap()[0]);
    }
}

/// The rows of three seeded unit directions on the tiny network.
fn searched<D: Device>(device: &D, lines: &LinesConfiguration) -> Vec<LineRow> {
    let (network, theta, samples) = tiny();
    let mut landscape = NetworkLandscape::new(device, &network, &samples, None).unwrap();
    let pair = |seed: u64| {
        let v: Vec<f32> = direction(seed, network.dim());
        let length = norm(v.iter().map(|&x| f64::from(x)));
        let vector: Vec<f32> = v.iter().map(|&x| (f64::from(x) / length) as f32).collect();
        let (residual, status) = (0.0, "converged".to_string());
        StoredPair { end: End::Largest, rank: seed as usize, value: 1.0, residual, status, vector }
    };
    let pairs: Vec<StoredPair> = (1..=3).map(pair).collect();
    search_lines(&mut landscape, lines, 0, &theta, &pairs).unwrap()
}

fn settings() -> LinesConfiguration {
    let settings = ["lines.per_decade=4", "lines.refinements=30", "lines.nearest=1e-4"].map(String::from);
    Configuration::preset("quick", None, &settings).unwrap().lines
}

#[test]
fn line_searches_find_what_a_dense_grid_finds() {
    let (network, theta, samples) = tiny();
    for (row, seed) in searched(&CpuDevice::<f64>::new(), &settings()).iter().zip(1..=3) {
        let v: Vec<f64> = direction(seed, network.dim());
        let length = norm(v.iter().copied());
        let at = |s: f64| {
            let moved: Vec<f64> =
                theta.iter().zip(&v).map(|(&t, &v)| f64::from(t) + s * f64::from((v / length) as f32)).collect();
            plain_loss::<f64>(&network, &moved, &samples)
        };
        let start = at(0.0);
        let steps = (0..=400).flat_map(|i| [1.0, -1.0].map(|sign| sign * 1e-4 * 10f64.powf(f64::from(i) / 80.0)));
        let dense = steps.map(|s| (s, at(s))).fold((0.0, start), |best, p| if p.1 < best.1 { p } else { best });
        assert!((row.gain - (start - at(row.displacement))).abs() < 1e-12, "the gain is the loss difference: {row:?}");
        assert!(row.gain >= start - dense.1 - 1e-9, "{row:?}, but {dense:?}");
        assert!(row.boundary || (row.displacement / dense.0 - 1.0).abs() < 0.05, "{row:?}, but {dense:?}");
        // A parabola through the loss itself, by the normal equations of all three coefficients.
        let fit = |range: f64| {
            let alphas: Vec<f64> = (0..5).map(|i| range * (f64::from(i) - 2.0) / 2.0).collect();
            let losses: Vec<f64> = alphas.iter().map(|a| at(-a * row.slope)).collect();
            let sum = |f: &dyn Fn(usize) -> f64| (0..5).map(f).sum::<f64>();
            let (n, s2, s4) = (5.0, sum(&|i| alphas[i].powi(2)), sum(&|i| alphas[i].powi(4)));
            let (y, y2) = (sum(&|i| losses[i]), sum(&|i| losses[i] * alphas[i].powi(2)));
            2.0 * (n * y2 - s2 * y) / (n * s4 - s2 * s2) / row.slope.powi(2)
        };
        for (found, exact) in [(row.fit_small, fit(0.1)), (row.fit_large, fit(1.0))] {
            let found = found.unwrap();
            assert!((found - exact).abs() < 1e-6 * exact.abs().max(1.0), "{found} against {exact}");
        }
    }
}

#[test]
fn the_noise_of_a_loss_difference_is_what_it_is_said_to_be() {
    let (exact, rounded) =
        (searched(&CpuDevice::<f64>::new(), &settings()), searched(&CpuDevice::<f32>::new(), &settings()));
    assert!(exact[0].noise < 1e-15, "{}", exact[0].noise);
    // In f32, against the f64 twin at the same points.
    let steps: Vec<f64> = (1..=100).map(|i| 1e-6 * f64::from(i)).collect();
    let [single, double] = [
        differences(&CpuDevice::<f32>::new(), &tiny(), &steps),
        differences(&CpuDevice::<f64>::new(), &tiny(), &steps),
    ];
    let error = norm(single.iter().zip(&double).map(|(s, d)| s - d)) / 10.0;
    let noise = rounded[0].noise;
    assert!(noise > 0.2 * error && noise < 5.0 * error, "{noise} is said, {error} is seen");
}
