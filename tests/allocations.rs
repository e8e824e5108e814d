//! The CPU's loop over products takes no memory from the system: a program of its own, whose allocator counts.

use eigenscope::data::Dataset;
use eigenscope::device::Device;
use eigenscope::device::cpu::CpuDevice;
use eigenscope::network::{Init, Network};
use eigenscope::objective::Objective;

/// `gemm` takes memory of its own for the logits' products: so many times for one direction.
const OF_GEMM: u64 = 28;

#[test]
fn a_repeated_product_takes_no_memory_but_what_gemm_takes() {
    let data = Dataset::mnist_embedded().unwrap();
    let network = Network::parse("lenet", data.shape, data.classes).unwrap();
    let theta = Init::Glorot.parameters(&network, 0);
    let device = CpuDevice::<f32>::new();
    // On one thread: which of several would run a kind of task for the first time is up to them.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (samples, directions) in [(32, 1), (256, 1), (256, 2), (64, 5)] {
        let subset = data.train.first(samples).unwrap();
        let objective = Objective::new(&device, &network, &subset, 128).unwrap();
        let chunks = samples.div_ceil(128) as u64;
        let mut hessian = objective.linearize_host(&theta, None).unwrap();
        let vectors = vec![0.01; directions * network.dim()];
        let mut products = device.zeros(vectors.len()).unwrap();
        let mut product = || hessian.hvp(directions, &vectors, &mut products).unwrap();
        let counted = pool.install(|| {
            // Arenas grow to what they will hold in the first two.
            (0..3).for_each(|_| product());
            allocation_counter::measure(product)
        });
        let most = OF_GEMM * directions as u64 * chunks;
        assert!(
            counted.count_total <= most,
            "{samples} samples, {directions} directions: {} allocations of {} bytes, gemm's own are at most {most}",
            counted.count_total,
            counted.bytes_total
        );
    }
}
