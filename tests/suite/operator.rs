//! What must hold of the Hessian as an operator, on every device.

use crate::support::*;
use eigenscope::data::{ImageShape, Samples};
use eigenscope::device::cpu::CpuDevice;
use eigenscope::device::{Device, Scalar};
use eigenscope::eigen::SymmetricOperator;
use eigenscope::network::Network;
use eigenscope::objective::Objective;
use proptest::prelude::*;

/// Products on a device: samples in chunks of `chunk`, the primal kept within `memory`, `block` directions a pass.
fn products<D: Device>(
    device: &D,
    (network, theta, samples): &(Network, Vec<f32>, Samples),
    vectors: &[Vec<D::Scalar>],
    chunk: usize,
    memory: usize,
    block: usize,
) -> Vec<Vec<D::Scalar>> {
    let objective = Objective::new(device, network, samples, chunk).unwrap();
    let mut hessian = objective.linearize(&upload(device, &cast(theta)), memory).unwrap();
    let (kept, chunks) = hessian.kept_chunks();
    assert_eq!(kept == chunks, memory == usize::MAX, "{kept} of {chunks} chunks are kept");
    vectors.chunks(block).flat_map(|group| hessian.hvp_host(group).unwrap()).collect()
}

fn problem() -> (Network, Vec<f32>, Samples) {
    let shape = ImageShape { channels: 2, height: 11, width: 13 };
    let network = Network::parse("conv 3x3 5, conv 5x5 7, dense 19, dense 10", shape, 10).unwrap();
    let theta = seeded_theta(&network, 6, 0.1);
    (network, theta, noise_samples(shape, 23, 10, 8))
}

/// Symmetry, linearity over the block, and independence of chunks, memory and blocks, to `tolerance` relative.
fn check_operator<D: Device>(device: &D, tolerance: f64) {
    let problem = problem();
    let dim = problem.0.dim();
    let (v, w): (Vec<D::Scalar>, Vec<D::Scalar>) = (direction(51, dim), direction(52, dim));
    let (a, b) = (0.75, -1.5);
    let mix: Vec<D::Scalar> =
        v.iter().zip(&w).map(|(v, w)| D::Scalar::from_f64(a * v.widen() + b * w.widen())).collect();
    let vectors = [v.clone(), w.clone(), mix];
    let reference = products(device, &problem, &vectors, 64, usize::MAX, 3);

    let (vhw, whv) = (dot(&v, &reference[1]), dot(&w, &reference[0]));
    let size = norm(v.iter().map(|x| x.widen())) * norm(reference[1].iter().map(|x| x.widen()));
    assert!((vhw - whv).abs() <= tolerance * size, "v'Hw = {vhw}, w'Hv = {whv}");

    let combined: Vec<f64> =
        reference[0].iter().zip(&reference[1]).map(|(hv, hw)| a * hv.widen() + b * hw.widen()).collect();
    let error = relative_error(&reference[2], &combined);
    assert!(error <= 4.0 * tolerance, "H(av + bw) differs from aHv + bHw by {error}");

    for (chunk, block) in [(1, 1), (7, 2), (23, 3), (22, 1)] {
        let other = products(device, &problem, &vectors, chunk, usize::MAX, block);
        for (o, r) in other.iter().zip(&reference) {
            let error = relative_error(o, r);
            assert!(error <= tolerance, "chunks of {chunk}, blocks of {block}: {error}");
        }
    }
}

/// Products are the same, but for rounding, once they were prepared for, in chunks that are kept or recomputed.
fn check_preparation<D: Device>(device: &D, memory: usize, tolerance: f64) {
    let (network, theta, samples) = problem();
    let vectors: Vec<Vec<D::Scalar>> = (0..3).map(|seed| direction(80 + seed, network.dim())).collect();
    let objective = Objective::new(device, &network, &samples, 9).unwrap();
    let mut hessian = objective.linearize(&upload(device, &cast(&theta)), memory).unwrap();
    let mut products = |prepared: usize| {
        hessian.prepare(prepared).unwrap();
        hessian.hvp_host(&vectors).unwrap()
    };
    let (plain, few, many) = (products(0), products(18), products(19));
    assert!(plain == few, "18 products do not pay for 19 columns");
    for (many, plain) in many.iter().zip(&plain) {
        let error = relative_error(many, plain);
        assert!(error > 0.0 && error <= tolerance, "prepared products differ by {error}");
    }
}

#[test]
fn preparation_changes_products_by_rounding_only() {
    for memory in [usize::MAX, 0] {
        check_preparation(&CpuDevice::<f64>::new(), memory, 1e-14);
        check_preparation(&CpuDevice::<f32>::new(), memory, 1e-6);
    }
}

#[test]
fn preparation_changes_products_by_rounding_only_on_a_gpu_too() {
    check_preparation(gpu(), usize::MAX, 1e-6);
}

/// Two runs agree to the bit, and recomputing the primal changes no bit.
fn check_bits<D: Device>(device: &D) {
    let problem = problem();
    let vectors: Vec<Vec<D::Scalar>> = (0..3).map(|seed| direction(60 + seed, problem.0.dim())).collect();
    let reference = products(device, &problem, &vectors, 5, usize::MAX, 3);
    let bits = |p: &[Vec<D::Scalar>]| p.concat().iter().map(|x| x.widen().to_bits()).collect::<Vec<_>>();
    assert!(bits(&reference) == bits(&products(device, &problem, &vectors, 5, usize::MAX, 3)), "two runs differ");
    assert!(bits(&reference) == bits(&products(device, &problem, &vectors, 5, 0, 3)), "recomputing changes bits");
}

/// The compression: `E c` for coordinates c, `H E c` by the Hessian's own products, and `E C c`, where C is the compression.
///
/// Two dense layers are compressed and two conv blocks coupled, in three chunks of samples of which the last is smaller.
fn check_compression<D: Device>(device: &D, memory: usize, tolerance: f64) {
    let shape = ImageShape { channels: 2, height: 11, width: 13 };
    let network = Network::parse("conv 3x3 6, conv 3x3 5, dense 60, dense 50, dense 10", shape, 10).unwrap();
    let theta = cast(&seeded_theta(&network, 6, 0.1));
    let objective = Objective::new(device, &network, &noise_samples(shape, 9, 10, 8), 4).unwrap();
    let mut hessian = objective.linearize(&upload(device, &theta), memory).unwrap();
    hessian.prepare(usize::MAX).unwrap();
    let mut compression = hessian.compression(0).unwrap().expect("9 samples span little of both layers");
    let m = compression.dimension();
    assert_eq!(m, network.dim() - 30 * 60 - 60 * 50 + 9 * (30 + 60) + 9 * (60 + 50));
    // The first product takes away what stands for nothing; a second keeps to the subspace.
    let directions: Vec<Vec<D::Scalar>> = (70..73).map(|seed| direction(seed, m)).collect();
    let mut images = device.zeros(3 * m).unwrap();
    compression.apply(3, &upload(device, &directions.concat()), &mut images).unwrap();
    let mut again = device.zeros(3 * m).unwrap();
    compression.apply(3, &images, &mut again).unwrap();
    let rows = |buffer| -> Vec<Vec<D::Scalar>> {
        device.read(buffer, 0..3 * m).unwrap().chunks(m).map(<[D::Scalar]>::to_vec).collect()
    };
    let (images, again) = (rows(&images), rows(&again));
    let size = |v: &[D::Scalar]| norm(v.iter().map(|x| x.widen()));
    for (v, w, hv, hw) in [(0, 1, &images, &images), (1, 2, &images, &images)] {
        let (vhw, whv) = (dot(&directions[v], &hw[w]), dot(&directions[w], &hv[v]));
        let scale = size(&directions[v]) * size(&hw[w]);
        assert!((vhw - whv).abs() <= tolerance * scale, "v'Cw = {vhw}, w'Cv = {whv}");
    }
    let mut lift = |vectors: &[Vec<D::Scalar>]| -> Vec<Vec<D::Scalar>> {
        vectors.iter().map(|v| compression.lift(&mut upload(device, v)).unwrap()).collect()
    };
    let (lifted, lifted_images, lifted_again) = (lift(&directions), lift(&images), lift(&again));
    for (lifted, coordinates) in lifted_images.iter().zip(&images) {
        let (a, b) = (size(lifted), size(coordinates));
        assert!((a / b - 1.0).abs() <= tolerance, "{b} became {a} long");
    }
    assert!(size(&lifted[0]) < 0.999 * size(&directions[0]), "a random vector has a part that stands for nothing");
    for (vectors, ours) in [(&lifted, &lifted_images), (&lifted_images, &lifted_again)] {
        for (product, ours) in hessian.hvp_host(vectors).unwrap().iter().zip(ours) {
            let error = relative_error(ours, &product.iter().map(|x| x.widen()).collect::<Vec<_>>());
            assert!(error <= tolerance, "in the coordinates a product differs by {error}");
        }
    }
}

#[test]
fn the_compression_is_the_hessian_in_other_coordinates() {
    for memory in [usize::MAX, 0] {
        check_compression(&CpuDevice::<f64>::new(), memory, 1e-13);
        check_compression(&CpuDevice::<f32>::new(), memory, 4e-6);
    }
}

#[test]
fn the_compression_is_the_hessian_on_a_gpu_too() {
    check_compression(gpu(), usize::MAX, 4e-6);
    check_compression(portable_gpu(), 0, 4e-6);
}

#[test]
fn many_samples_are_not_compressed() {
    let device = CpuDevice::<f64>::new();
    let (network, theta, samples) = problem();
    let objective = Objective::new(&device, &network, &samples, 23).unwrap();
    assert!(objective.linearize_host(&theta, None).unwrap().compression(0).unwrap().is_none());
    // Nor are few, if too few coordinates were left.
    let shape = network.input();
    let few = Objective::new(&device, &network, &noise_samples(shape, 2, 10, 8), 23).unwrap();
    let mut hessian = few.linearize_host(&theta, None).unwrap();
    let left = hessian.compression(0).unwrap().expect("two samples span little").dimension();
    assert!(hessian.compression(left).unwrap().is_some() && hessian.compression(left + 1).unwrap().is_none());
}

#[test]
fn the_f64_twin_is_a_symmetric_operator() {
    check_operator(&CpuDevice::<f64>::new(), 1e-14);
}

#[test]
fn the_f32_twin_is_a_symmetric_operator() {
    check_operator(&CpuDevice::<f32>::new(), 4e-6);
}

#[test]
fn the_twin_repeats_its_bits() {
    check_bits(&CpuDevice::<f32>::new());
    check_bits(&CpuDevice::<f64>::new());
}

#[test]
fn the_gpu_is_a_symmetric_operator() {
    check_operator(gpu(), 4e-6);
}

#[test]
fn the_gpu_repeats_its_bits() {
    check_bits(gpu());
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let problem = problem();
    let v: Vec<Vec<f32>> = vec![direction(1, problem.0.dim())];
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| products(&CpuDevice::<f32>::new(), &problem, &v, 64, usize::MAX, 1))
    };
    assert!(on(1) == on(3));
}

#[test]
fn a_diverged_network_is_reported() {
    let (network, mut theta, samples) = problem();
    theta[3] = f32::NAN;
    let device = CpuDevice::<f32>::new();
    let mut objective = Objective::new(&device, &network, &samples, 8).unwrap();
    let message = objective.evaluate(&theta).unwrap_err().to_string();
    assert!(message.contains("NaN") && message.contains("diverged"), "{message}");
}

#[test]
fn images_of_another_shape_are_refused() {
    let (network, _, _) = problem();
    let device = CpuDevice::<f32>::new();
    let mnist = mnist().train.first(3).unwrap();
    let message = Objective::new(&device, &network, &mnist, 8).err().unwrap().to_string();
    assert!(message.contains("28x28x1") && message.contains("11x13x2"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The f32 twin against the f64 twin on networks and images of any small shape.
    #[test]
    fn precisions_agree_on_any_network(
        channels in 1usize..3, height in 4usize..12, width in 4usize..12, maps in 1usize..6,
        kernel in prop::sample::select(vec![1usize, 3, 5]), hidden in 1usize..9, samples in 1usize..10, seed in 0u64..1000,
    ) {
        let shape = ImageShape { channels, height, width };
        let text = format!("conv {kernel}x{kernel} {maps}, dense {hidden}, dense 4");
        let network = Network::parse(&text, shape, 4).unwrap();
        let theta = seeded_theta(&network, seed, 0.2);
        let problem = (network, theta, noise_samples(shape, samples, 4, seed));
        let dim = problem.0.dim();
        let single = products(&CpuDevice::<f32>::new(), &problem, &[direction(seed, dim)], 4, usize::MAX, 1);
        let double = products(&CpuDevice::<f64>::new(), &problem, &[direction(seed, dim)], 3, usize::MAX, 1);
        prop_assert!(relative_error(&single[0], &double[0]) < 1e-4);
    }
}
