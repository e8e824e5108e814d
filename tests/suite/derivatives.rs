//! The f64 twin against derivatives that know nothing of it: a scalar reimplementation of the loss in dual numbers.

use crate::support::*;
use eigenscope::data::{ImageShape, Samples};
use eigenscope::device::cpu::CpuDevice;
use eigenscope::network::{Layer, Network};
use eigenscope::objective::Objective;
use num_dual::{Dual2_64, DualNum, HyperDual64};

/// The mean loss, written as plainly as possible, for any number type: reals, duals, hyper-duals.
pub fn plain_loss<N: DualNum<Primitive = f64> + Copy + PartialOrd>(
    network: &Network,
    theta: &[N],
    samples: &Samples,
) -> N {
    let mut total = N::from(0.0);
    for n in 0..samples.len() {
        let mut x: Vec<N> = samples.image(n).iter().map(|&b| N::from(f64::from(b) / 255.0)).collect();
        for layer in network.layers() {
            x = match layer {
                Layer::Conv(c) => {
                    let pad = (c.kernel / 2) as isize;
                    let pixel = |ic: usize, y: isize, x_: isize| {
                        let inside = (0..c.height as isize).contains(&y) && (0..c.width as isize).contains(&x_);
                        inside.then(|| x[(ic * c.height + y as usize) * c.width + x_ as usize])
                    };
                    let z = |oc: usize, y: usize, x_: usize| {
                        let mut sum = theta[c.bias + oc];
                        for ic in 0..c.in_channels {
                            for ky in 0..c.kernel {
                                for kx in 0..c.kernel {
                                    let at = (y as isize + ky as isize - pad, x_ as isize + kx as isize - pad);
                                    if let Some(value) = pixel(ic, at.0, at.1) {
                                        let w = ((oc * c.in_channels + ic) * c.kernel + ky) * c.kernel + kx;
                                        sum += theta[c.weight + w] * value;
                                    }
                                }
                            }
                        }
                        sum
                    };
                    let mut p = Vec::new();
                    for oc in 0..c.out_channels {
                        for y in 0..c.height / 2 {
                            for x_ in 0..c.width / 2 {
                                let mut best = N::from(0.0);
                                for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                                    let candidate = z(oc, 2 * y + dy, 2 * x_ + dx);
                                    if candidate.re() > best.re() {
                                        best = candidate;
                                    }
                                }
                                p.push(best);
                            }
                        }
                    }
                    p
                }
                Layer::Dense(d) => (0..d.outputs)
                    .map(|o| {
                        let w = &theta[d.weight + o * d.inputs..][..d.inputs];
                        let z = w.iter().zip(&x).fold(theta[d.bias + o], |sum, (&w, &x)| sum + w * x);
                        if d.relu && z.re() <= 0.0 { N::from(0.0) } else { z }
                    })
                    .collect(),
            };
        }
        let sum = x.iter().fold(N::from(0.0), |sum, z| sum + z.exp());
        total += sum.ln() - x[usize::from(samples.label(n))];
    }
    total / N::from(samples.len() as f64)
}

const SHAPE: ImageShape = ImageShape { channels: 2, height: 9, width: 7 };

pub fn tiny() -> (Network, Vec<f32>, Samples) {
    let network = Network::parse("conv 3x3 3, conv 5x5 2, dense 5, dense 4", SHAPE, 4).unwrap();
    let theta = seeded_theta(&network, 3, 0.2);
    (network, theta, noise_samples(SHAPE, 7, 4, 5))
}

#[test]
fn loss_gradient_and_products_match_dual_numbers() {
    let device = CpuDevice::<f64>::new();
    let (network, theta, samples) = tiny();
    let theta: Vec<f64> = cast(&theta);
    let objective = Objective::new(&device, &network, &samples, 3).unwrap();
    let mut hessian = objective.linearize(&theta, usize::MAX).unwrap();
    let exact = plain_loss::<f64>(&network, &theta, &samples);
    assert!((hessian.evaluation().loss - exact).abs() < 1e-14 * exact);

    let vectors: Vec<Vec<f64>> = [1, 2, 3].map(|seed| direction(seed, network.dim())).to_vec();
    let products = hessian.hvp_host(&vectors).unwrap();
    for (v, product) in vectors.iter().zip(&products) {
        // Second derivative along v by one second-order dual number.
        let along: Vec<Dual2_64> = theta.iter().zip(v).map(|(&t, &v)| Dual2_64::new(t, v, 0.0)).collect();
        let loss = plain_loss(&network, &along, &samples);
        assert!((dot(hessian.gradient(), v) - loss.v1).abs() < 1e-12, "gradient along v");
        assert!((dot(product, v) - loss.v2).abs() < 1e-11 * loss.v2.abs().max(1.0), "curvature along v");
        // Single components of H v by hyper-dual numbers.
        for i in (0..network.dim()).step_by(17) {
            let lifted: Vec<HyperDual64> = (0..network.dim())
                .map(|j| HyperDual64::new(theta[j], v[j], f64::from(u8::from(i == j)), 0.0))
                .collect();
            let component = plain_loss(&network, &lifted, &samples).eps1eps2;
            assert!((product[i] - component).abs() < 1e-11, "component {i}: {} against {component}", product[i]);
        }
    }
}

/// The dense Hessian of a network of a few hundred parameters, column by column.
pub fn dense_hessian(network: &Network, theta: &[f64], samples: &Samples) -> Vec<Vec<f64>> {
    let device = CpuDevice::<f64>::new();
    let objective = Objective::new(&device, network, samples, 64).unwrap();
    let mut hessian = objective.linearize(&theta.to_vec(), usize::MAX).unwrap();
    let unit = |i| (0..network.dim()).map(|j| if i == j { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
    hessian.hvp_host(&(0..network.dim()).map(unit).collect::<Vec<_>>()).unwrap()
}

#[test]
fn dense_hessian_is_symmetric_to_rounding() {
    let (network, theta, samples) = tiny();
    let h = dense_hessian(&network, &cast(&theta), &samples);
    let largest = h.iter().flatten().fold(0.0f64, |m, v| m.max(v.abs()));
    for (i, row) in h.iter().enumerate() {
        for (j, value) in row.iter().enumerate().take(i) {
            assert!((value - h[j][i]).abs() <= 1e-14 * largest, "({i},{j}): {value} and {}", h[j][i]);
        }
    }
    assert!(largest > 1e-3);
}

#[test]
fn late_in_training_nothing_cancels() {
    // Logits of a confident network: every loss is near 1e-12, where `s - 1` in the naive formula is pure rounding.
    let (network, mut theta, samples) = tiny();
    let last = network.parameters().last().unwrap().range();
    theta[last.clone()].iter_mut().for_each(|b| *b = 0.0);
    theta[last.start + 1] = 30.0;
    let one = samples.select(&[3]); // label 21 % 4 = 1
    assert_eq!(one.label(0), 1);
    let device = CpuDevice::<f32>::new();
    let objective = Objective::new(&device, &network, &one, 1).unwrap();
    let mut hessian = objective.linearize(&theta, usize::MAX).unwrap();
    let v: Vec<f32> = direction(9, network.dim());
    let product = hessian.hvp_host(std::slice::from_ref(&v)).unwrap().remove(0);

    let judge = CpuDevice::<f64>::new();
    let objective = Objective::new(&judge, &network, &one, 1).unwrap();
    let mut exact = objective.linearize(&cast(&theta), usize::MAX).unwrap();
    let exact_product = exact.hvp_host(&[cast(&v)]).unwrap().remove(0);
    assert!(exact.evaluation().loss < 1e-11 && exact.evaluation().loss > 0.0, "{:?}", exact.evaluation());
    assert!((hessian.evaluation().loss / exact.evaluation().loss - 1.0).abs() < 1e-5);
    assert!(relative_error(hessian.gradient(), exact.gradient()) < 1e-5);
    assert!(relative_error(&product, &exact_product) < 1e-5);
}
