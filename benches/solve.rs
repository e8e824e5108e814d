//! Whole products by block and chunk, the eigensolver's own work, and a small eigensolve, on the CPU:
//! `cargo bench --bench solve`.

use divan::Bencher;
use eigenscope::Result;
use eigenscope::data::Dataset;
use eigenscope::device::Device;
use eigenscope::device::cpu::CpuDevice;
use eigenscope::eigen::{NoMonitor, Options, SymmetricOperator, solve};
use eigenscope::network::{Init, Network};
use eigenscope::objective::{Linearization, Objective};

const SAMPLES: usize = 256;

fn main() {
    divan::main();
}

fn lenet(data: &Dataset) -> (Network, Vec<f32>) {
    let network = Network::parse("lenet", data.shape, data.classes).expect("it is built in");
    let theta = Init::Glorot.parameters(&network, 0);
    (network, theta)
}

/// Calls `f` with the Hessian over a subset in chunks of `chunk` samples.
fn with_hessian(chunk: usize, f: impl FnOnce(&CpuDevice<f32>, &mut Linearization<'_, CpuDevice<f32>>)) {
    let data = Dataset::mnist_embedded().expect("it is built in");
    let (network, theta) = lenet(&data);
    let device = CpuDevice::<f32>::new();
    let subset = data.train.first(SAMPLES).expect("there are more");
    let objective = Objective::new(&device, &network, &subset, chunk).expect("it fits");
    f(&device, &mut objective.linearize_host(&theta, None).expect("it fits"));
}

/// Products of a block of an operator.
fn products(
    bencher: Bencher,
    device: &CpuDevice<f32>,
    operator: &mut impl SymmetricOperator<CpuDevice<f32>>,
    block: usize,
) {
    let len = block * operator.dimension();
    let vectors: Vec<f32> = (0..len).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5).collect();
    let mut products = device.zeros(len).expect("it fits");
    bencher.bench_local(|| operator.apply(block, &vectors, &mut products));
}

/// One block of Hessian-vector products, for which nothing was prepared: chunks of 64, 128, 256 samples; blocks of 1 to 8
/// directions.
#[divan::bench(args = [1, 2, 4, 8], consts = [64, 128, 256], sample_count = 5, sample_size = 1)]
fn hvp<const CHUNK: usize>(bencher: Bencher, block: usize) {
    with_hessian(CHUNK, |device, hessian| products(bencher, device, hessian, block));
}

/// The same of a prepared Hessian, in one chunk.
#[divan::bench(args = [1, 2, 4, 8], sample_count = 5, sample_size = 1)]
fn prepared(bencher: Bencher, block: usize) {
    with_hessian(SAMPLES, |device, hessian| {
        hessian.prepare(usize::MAX).expect("it fits");
        products(bencher, device, hessian, block);
    });
}

/// The same in the coordinates of the subset's span.
#[divan::bench(args = [1, 2, 4, 8], sample_count = 5, sample_size = 1)]
fn compressed(bencher: Bencher, block: usize) {
    with_hessian(SAMPLES, |device, hessian| {
        hessian.prepare(usize::MAX).expect("it fits");
        let mut compression = hessian.compression(0).expect("it fits").expect("it pays");
        products(bencher, device, &mut compression, block);
    });
}

/// A diagonal operator as large as the LeNet's Hessian: its products cost nothing beside the eigensolver's own work.
struct Diagonal(CpuDevice<f32>, Vec<f32>);

impl SymmetricOperator<CpuDevice<f32>> for Diagonal {
    fn device(&self) -> &CpuDevice<f32> {
        &self.0
    }
    fn dimension(&self) -> usize {
        self.1.len()
    }
    fn max_block(&self) -> usize {
        8
    }
    fn apply(&mut self, count: usize, vectors: &Vec<f32>, products: &mut Vec<f32>) -> Result<()> {
        let len = count * self.1.len();
        let scaled = vectors[..len].iter().zip(self.1.iter().cycle());
        products[..len].iter_mut().zip(scaled).for_each(|(p, (v, l))| *p = l * v);
        Ok(())
    }
}

/// Basis, orthogonalisation and restarts of 96 products.
#[divan::bench(args = [1, 2, 4], sample_count = 3, sample_size = 1)]
fn orthogonalization(bencher: Bencher, block: usize) {
    let values = (0..3_274_634).map(|i| if i < 40 { 40.0 - 2.0 * i as f32 } else { 1e-3 * (i % 97) as f32 }).collect();
    let mut operator = Diagonal(CpuDevice::new(), values);
    let options = Options { block, tolerance: 1e-9, max_products: 96, guard: false, ..Options::default() };
    bencher.bench_local(|| solve(&mut operator, &options, &mut NoMonitor));
}

/// LA(4) and SA(2) of the LeNet at its initial parameters, with the guard.
#[divan::bench(args = [1, 2], sample_count = 3, sample_size = 1)]
fn eigensolve(bencher: Bencher, block: usize) {
    let data = Dataset::mnist_embedded().expect("it is built in");
    let (network, theta) = lenet(&data);
    let device = CpuDevice::<f32>::new();
    let subset = data.train.first(64).expect("there are more");
    let objective = Objective::new(&device, &network, &subset, SAMPLES).expect("it fits");
    let mut hessian = objective.linearize_host(&theta, None).expect("it fits");
    let options = Options { largest: 4, smallest: 2, tolerance: 1e-2, block, basis: 48, ..Options::default() };
    bencher.bench_local(|| solve(&mut hessian, &options, &mut NoMonitor));
}
