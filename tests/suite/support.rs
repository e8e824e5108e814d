//! What several test modules share.

use eigenscope::data::{Dataset, ImageShape, Samples};
use eigenscope::device::gpu::GpuDevice;
use eigenscope::device::{Device, Scalar};
use eigenscope::network::{Network, Parameter};
use std::sync::OnceLock;

/// The golden files' generator: splitmix64 of a counter, the same in numpy.
pub fn splitmix(seed: u64, i: u64) -> u64 {
    let mut z = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed.wrapping_mul(0xD134_2543_DE82_EF95));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Uniform on [-1, 1) with 24 bits: exact in f32.
pub fn value(seed: u64, i: u64) -> f32 {
    ((splitmix(seed, i) >> 40) as f64 * 2f64.powi(-24) * 2.0 - 1.0) as f32
}

/// The direction of length `dim` with this seed.
pub fn direction<T: Scalar>(seed: u64, dim: usize) -> Vec<T> {
    (0..dim as u64).map(|i| T::from_f32(value(seed, i))).collect()
}

/// Seeded parameters at Glorot's scale, with biases of up to `bias`.
pub fn seeded_theta(network: &Network, seed: u64, bias: f32) -> Vec<f32> {
    let scale = |p: &Parameter| match p.fans() {
        Some((fan_in, fan_out)) => (6.0 / (fan_in + fan_out) as f64).sqrt() as f32,
        None => bias,
    };
    let of = |p: &Parameter| p.range().map(|i| value(seed, i as u64)).map(|v| v * scale(p)).collect::<Vec<_>>();
    network.parameters().iter().flat_map(of).collect()
}

/// The embedded MNIST.
pub fn mnist() -> Dataset {
    Dataset::mnist_embedded().unwrap()
}

/// `count` images of seeded noise with labels 0, 1, 2, ... modulo `classes`.
pub fn noise_samples(shape: ImageShape, count: usize, classes: usize, seed: u64) -> Samples {
    let pixels: Vec<u8> = (0..(count * shape.pixels()) as u64).map(|i| (splitmix(seed, i) >> 56) as u8).collect();
    let labels: Vec<u8> = (0..count).map(|n| (n * 7 % classes) as u8).collect();
    Samples::new(shape, pixels, labels).unwrap()
}

/// Uploads host values.
pub fn upload<D: Device>(device: &D, values: &[D::Scalar]) -> D::Buffer {
    let mut buffer = device.zeros(values.len()).unwrap();
    device.write(&mut buffer, 0, values);
    buffer
}

/// Converts f32 to a device's scalars.
pub fn cast<T: Scalar>(values: &[f32]) -> Vec<T> {
    values.iter().map(|&v| T::from_f32(v)).collect()
}

/// Euclidean norm in f64.
pub fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Dot product in f64.
pub fn dot<T: Scalar>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a.widen() * b.widen()).sum()
}

/// `|a - b| / |b|`; infinite if anything is not finite.
pub fn relative_error<A: Scalar, B: Scalar>(a: &[A], b: &[B]) -> f64 {
    assert_eq!(a.len(), b.len());
    let error = norm(a.iter().zip(b).map(|(a, b)| a.widen() - b.widen())) / norm(b.iter().map(|b| b.widen()));
    if error.is_finite() { error } else { f64::INFINITY }
}

/// One device for the whole test binary. Without an adapter the tests fail: a skipped test proves nothing.
pub fn gpu() -> &'static GpuDevice {
    static GPU: OnceLock<GpuDevice> = OnceLock::new();
    GPU.get_or_init(|| GpuDevice::open(None).unwrap_or_else(|error| panic!("{error}")))
}

/// The same adapter with the kernels as every adapter can run them.
pub fn portable_gpu() -> &'static GpuDevice {
    static GPU: OnceLock<GpuDevice> = OnceLock::new();
    GPU.get_or_init(|| GpuDevice::open_portable(None).unwrap_or_else(|error| panic!("{error}")))
}
