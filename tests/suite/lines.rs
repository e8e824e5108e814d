//! Losses along lines, and their derivatives by jets.

use crate::derivatives::{plain_loss, tiny};
use crate::support::*;
use eigenscope::data::ImageShape;
use eigenscope::device::Device;
use eigenscope::device::cpu::CpuDevice;
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
