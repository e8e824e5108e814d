//! The CPU's loop over products takes no memory from the system: a program of its own, whose allocator counts.

use eigenscope::data::Dataset;
use eigenscope::device::Device;
use eigenscope::device::cpu::CpuDevice;
use eigenscope::network::{Init, Network};
use eigenscope::objective::Objective;

/// How often `gemm` takes memory of its own for one direction's products of the logits layer, whose weights are 10 x 1024.
fn of_gemm(samples: usize) -> u64 {
    let (x, w) = (vec![1f32; samples * 1024], vec![1f32; 10 * 1024]);
    let (mut wide, mut narrow) = (x.clone(), vec![1f32; samples * 10]);
    // Each is (rows, columns, summed over), then for target and factors the strides between columns and rows.
    let product = |size: [usize; 3],
                   y: &mut [f32],
                   [cy, ry]: [isize; 2],
                   a: &[f32],
                   [ca, ra]: [isize; 2],
                   b: &[f32],
                   [cb, rb]: [isize; 2]| {
        let [m, n, k] = size;
        let (no, one) = (gemm::Parallelism::None, 1.0);
        // SAFETY: the calls below stay inside their slices.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                y.as_mut_ptr(),
                cy,
                ry,
                true,
                a.as_ptr(),
                ca,
                ra,
                b.as_ptr(),
                cb,
                rb,
                one,
                one,
                false,
                false,
                false,
                no,
            );
        }
    };
    let mut all = || {
        for _ in 0..2 {
            product([samples, 10, 1024], &mut narrow, [1, 10], &x, [1, 1024], &w, [1024, 1]);
            for _ in 0..4 {
                product([10, 256, samples], &mut wide, [1, 1024], &narrow, [10, 1], &x, [1, 1024]);
                product([samples, 256, 10], &mut wide, [1, 1024], &narrow, [1, 10], &w, [1, 1024]);
            }
        }
    };
    all();
    allocation_counter::measure(all).count_total
}

#[test]
fn a_repeated_product_takes_no_memory_but_what_gemm_takes() {
    let data = Dataset::mnist_embedded().unwrap();
    let network = Network::parse("lenet", data.shape, data.classes).unwrap();
    let theta = Init::Glorot.parameters(&network, 0);
    let device = CpuDevice::<f32>::new();
    // On one thread: which of several would run a kind of task for the first time is up to them.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (samples, directions, prepared) in [(32, 1, false), (256, 1, true), (256, 2, false), (64, 5, true)] {
        let subset = data.train.first(samples).unwrap();
        let objective = Objective::new(&device, &network, &subset, 128).unwrap();
        let chunks = samples.div_ceil(128) as u64;
        let mut hessian = objective.linearize_host(&theta, None).unwrap();
        if prepared {
            hessian.prepare(usize::MAX).unwrap();
        }
        let vectors = vec![0.01; directions * network.dim()];
        let mut products = device.zeros(vectors.len()).unwrap();
        let mut product = || hessian.hvp(directions, &vectors, &mut products).unwrap();
        let counted = pool.install(|| {
            // Arenas grow to what they will hold in the first two.
            (0..3).for_each(|_| product());
            allocation_counter::measure(product)
        });
        let most = pool.install(|| of_gemm(samples.min(128))) * directions as u64 * chunks;
        assert!(
            counted.count_total <= most,
            "{samples} samples, {directions} directions: {} allocations of {} bytes, {most} of them gemm's",
            counted.count_total,
            counted.bytes_total
        );
    }
}
