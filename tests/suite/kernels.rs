//! Every kernel of the contract on the GPU, against its twin in f64, at awkward sizes.
//!
//! Each family of kernels has one function that runs it on any device and lists what came out; the two lists are then
//! compared entry by entry. Inputs are f32, so both devices get the same numbers.

mod families;

use crate::support::{direction, gpu, noise_samples, portable_gpu, seeded_theta};
use eigenscope::data::ImageShape;
use eigenscope::device::cpu::CpuDevice;
use eigenscope::device::gpu::shader::{KERNELS, Sharing, expand};
use eigenscope::device::gpu::{self, GpuDevice};
use eigenscope::device::{Columns, Device, Gram, LossBackward};
use eigenscope::network::{Conv, Network};
use eigenscope::objective::Objective;
use families::*;

/// Says where the first list leaves the second.
fn compare(got: &[Output], want: &[Output]) -> Result<(), String> {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert_eq!(got.values.len(), want.values.len(), "{}", got.name);
        for (i, (&g, &w)) in got.values.iter().zip(&want.values).enumerate() {
            let tolerance = want.absolute + want.relative * w.abs();
            let error = (g - w).abs();
            if error.is_nan() || error > tolerance {
                return Err(format!("{}[{i}]: GPU {g:e}, twin {w:e}, tolerance {tolerance:e}", got.name));
            }
        }
    }
    Ok(())
}

fn agree(what: &str, got: &[Output], want: &[Output]) {
    compare(got, want).unwrap_or_else(|message| panic!("{what}: {message}"));
}

#[test]
fn conv_kernels_agree_with_the_twin() {
    for case in CONV_CASES {
        let twin = conv(&CpuDevice::<f64>::new(), case);
        agree(&format!("{case:?}"), &conv(gpu(), case), &twin);
        agree(&format!("portable, {case:?}"), &conv(portable_gpu(), case), &twin);
    }
}

#[test]
fn dense_kernels_agree_with_the_twin() {
    for case in DENSE_CASES {
        let twin = dense(&CpuDevice::<f64>::new(), case);
        agree(&format!("{case:?}"), &dense(gpu(), case), &twin);
        agree(&format!("portable, {case:?}"), &dense(portable_gpu(), case), &twin);
    }
}

#[test]
fn couplings_agree_with_the_twin() {
    for case in COUPLING_CASES {
        agree(&format!("{case:?}"), &coupling(gpu(), case), &coupling(&CpuDevice::<f64>::new(), case));
    }
}

#[test]
fn products_of_matrices_agree_with_the_twin() {
    for case in MULTIPLY_CASES {
        let twin = multiply(&CpuDevice::<f64>::new(), case);
        agree(&format!("{case:?}"), &multiply(gpu(), case), &twin);
        agree(&format!("portable, {case:?}"), &multiply(portable_gpu(), case), &twin);
    }
}

#[test]
fn loss_kernels_agree_with_the_twin() {
    for case in LOSS_CASES {
        agree(&format!("{case:?}"), &loss(gpu(), case), &loss(&CpuDevice::<f64>::new(), case));
    }
}

#[test]
fn vector_kernels_agree_with_the_twin() {
    for len in [1, 64, 1001] {
        agree(&format!("length {len}"), &rmsprop(gpu(), len), &rmsprop(&CpuDevice::<f64>::new(), len));
    }
    for case in VECTOR_CASES {
        agree(&format!("{case:?}"), &vectors(gpu(), case), &vectors(&CpuDevice::<f64>::new(), case));
    }
}

/// How long a submission may be depends on how fast the adapter was: no bit of a result may.
#[test]
fn work_too_long_for_one_submission_is_cut_and_gives_the_same_bits() {
    let same = |what: String, cut: &[Output], whole: &[Output]| {
        assert_eq!(cut.len(), whole.len());
        for (cut, whole) in cut.iter().zip(whole) {
            assert!(cut.values == whole.values, "{what}: {} differs", whole.name);
        }
    };
    for (hasty, patient) in
        [(GpuDevice::open(None).unwrap(), gpu()), (GpuDevice::open_portable(None).unwrap(), portable_gpu())]
    {
        hasty.set_submission_work(1000);
        for case in &CONV_CASES[1..4] {
            same(format!("{case:?}"), &conv(&hasty, *case), &conv(patient, *case));
        }
        for case in &DENSE_CASES[1..4] {
            same(format!("{case:?}"), &dense(&hasty, *case), &dense(patient, *case));
        }
        same("multiply".into(), &multiply(&hasty, MULTIPLY_CASES[2]), &multiply(patient, MULTIPLY_CASES[2]));
        same("vectors".into(), &vectors(&hasty, VECTOR_CASES[4]), &vectors(patient, VECTOR_CASES[4]));
    }
}

/// Kernel, what is in its text, what to put there instead: one fault for each kernel, or for each variant.
const FAULTS: &[(&str, &str, &str)] = &[
    ("border", "pixel(id.z > 0u", "pixel(id.z > 1u"),
    ("conv_forward", "z.z > best", "z.z >= best + 0.1"),
    ("conv_tangent", "code >= 2u", "code >= 1u"),
    ("conv_tangent", "let stage = Stage(quad, first, taps, w, a, b)", "let stage = Stage(quad, first, taps, w, a, a)"),
    ("conv_tangent", "stage_pixels(slot, stage", "stage_pixels(0u, stage"),
    ("conv_tangent_backward_weights", "window_pixels(inputs + at", "window_pixels(at"),
    ("conv_tangent_backward_weights", "routed[before] = pixel", "routed[lane] = pixel"),
    ("conv_tangent_backward_weights", "adjoints[cell], more + start.x", "adjoints[cell], more.xxxx + start.x"),
    ("conv_tangent_backward_input", "weight_rows(vector + w", "weight_rows(w"),
    ("conv_tangent_backward_input", "vec4(tdp[at.x], tdp[at.y], tdp", "vec4(tdp[at.y], tdp[at.y], tdp"),
    ("conv_tangent_backward_input", "add_adjoint(sums.b, slot + 1u", "add_adjoint(sums.b, slot"),
    ("coupling_weights", "channel, j)]", "0u, j)]"),
    ("coupling_first", "+= total", "= total"),
    ("sum_partials", "slice = 0u", "slice = 1u"),
    ("dense_forward", "columns(at + n)", "columns(at)"),
    ("dense_forward", "layer.weight + tile_row", "tile_row"),
    ("dense_forward_sum", "sum < 0.0", "sum < 0.1"),
    ("dense_tangent", "(1u + direction)", "1u"),
    ("dense_tangent_sum", "!(y[i] > 0.0)", "!(y[i] > 0.1)"),
    ("dense_backward_weights", "+= sum", "= sum"),
    ("dense_backward_input", "o * step + ", "step + "),
    ("dense_tangent_backward_weights", "direction * layer.samples * layer.outputs", "0u"),
    ("dense_tangent_backward_input", "(1u + direction) * layer.outputs", "layer.outputs"),
    ("multiply", "term < end {", "false {"),
    ("multiply", "terms = end - term;", "terms = min(end - term, 6u);"),
    ("pack", "(slot - 1u) * pack.pitch", "slot * pack.pitch"),
    ("relu_mask", "y[i] > 0.0", "y[i] >= 0.0"),
    ("column_sums", "n = layer.begin", "n = 1u"),
    ("loss_forward", "r[first + label] = -others", "r[first + label] = others"),
    ("loss_backward", "loss.scale * r[i]", "r[i]"),
    ("loss_tangent_backward", " - above", ""),
    ("rmsprop", "step.epsilon", "step.rate"),
    ("gram", "left > 0u", "left > 1u"),
    ("update", "m[12u + c] * w3", "m[c] * w3"),
    ("combine", "group.z * combine.v_count + k", "k"),
];

#[test]
fn a_fault_in_any_kernel_is_seen() {
    // Whether a fault is in what a variant has of a kernel.
    let planted = |&(name, from, to): &(&str, &str, &str), sharing| {
        let kernel = KERNELS.iter().find(|kernel| kernel.name == name).unwrap_or_else(|| panic!("no kernel {name}"));
        assert!(kernel.source.contains(from), "{name} does not contain {from:?}");
        expand(&kernel.source.replace(from, to), sharing) != expand(kernel.source, sharing)
    };
    // The ceilings have a test of their own.
    for kernel in KERNELS.iter().filter(|kernel| !kernel.name.starts_with("ceiling_")) {
        for sharing in [Sharing::Workgroup, Sharing::Subgroup] {
            let mut faults = FAULTS.iter().filter(|fault| fault.0 == kernel.name);
            assert!(faults.any(|fault| planted(fault, sharing)), "{}: no fault, {sharing:?}", kernel.name);
        }
    }
    let twin = CpuDevice::<f64>::new();
    // Sums over samples in one piece, and in slices.
    let dense_cases = &DENSE_CASES[2..4];
    let dense_twins: Vec<_> = dense_cases.iter().map(|&case| dense(&twin, case)).collect();
    let twins = [
        conv(&twin, CONV_CASES[1]),
        loss(&twin, LOSS_CASES[2]),
        rmsprop(&twin, 64),
        vectors(&twin, VECTOR_CASES[4]),
        multiply(&twin, MULTIPLY_CASES[1]),
        coupling(&twin, COUPLING_CASES[1]),
    ];
    let each = FAULTS.iter().flat_map(|fault| [(fault, gpu()), (fault, portable_gpu())]);
    for (fault @ &(kernel, from, to), whole) in each {
        if !planted(fault, whole.sharing()) {
            continue;
        }
        let patch = |name: &str, source: &str| if name == kernel { source.replace(from, to) } else { source.into() };
        let faulty = GpuDevice::open_patched(std::ptr::eq(whole, portable_gpu()), &patch).unwrap();
        let result = match kernel {
            "border" | "sum_partials" => compare(&conv(&faulty, CONV_CASES[1]), &twins[0]),
            _ if kernel.starts_with("conv") => compare(&conv(&faulty, CONV_CASES[1]), &twins[0]),
            _ if kernel.starts_with("loss") => compare(&loss(&faulty, LOSS_CASES[2]), &twins[1]),
            "rmsprop" => compare(&rmsprop(&faulty, 64), &twins[2]),
            "gram" | "update" | "combine" => compare(&vectors(&faulty, VECTOR_CASES[4]), &twins[3]),
            "coupling_weights" | "coupling_first" => compare(&coupling(&faulty, COUPLING_CASES[1]), &twins[5]),
            "multiply" => compare(&multiply(&faulty, MULTIPLY_CASES[1]), &twins[4]),
            _ => {
                let mut cases = dense_cases.iter().zip(&dense_twins);
                cases.try_for_each(|(&case, twin)| compare(&dense(&faulty, case), twin))
            }
        };
        let message = result.expect_err(&format!("{kernel}: {from:?} -> {to:?} was not noticed"));
        println!("{kernel}, {:?}: {message}", whole.sharing());
    }
}

#[test]
fn the_ceilings_do_what_they_are_timed_for() {
    // Its own device: a profile has the dispatches of all threads.
    let gpu = GpuDevice::open(None).unwrap();
    let (lanes, rounds) = (128, 3);
    let y = gpu.zeros(lanes).unwrap();
    let timings = gpu.profile(|| {
        gpu.multiply_adds(&y, rounds, 0.5, 1.0);
        Ok(())
    });
    let timing = timings.unwrap()[0];
    assert_eq!(timing.multiply_adds, (32 * 4 * rounds * lanes) as u64);
    assert!(timing.seconds > 0.0 && timing.seconds < 10.0, "{timing:?}");
    // Each of 32 chains starts at `lane + column + 10 row` and halves its distance to 2 in every step.
    let got = gpu.read(&y, 0..lanes).unwrap();
    for (lane, &got) in got.iter().enumerate() {
        let start = |chain: usize| (lane % 64 + 1 + chain % 4 + chain / 4 * 10) as f64;
        let want: f64 = (0..32).map(|chain| 2.0 + (start(chain) - 2.0) * 0.5f64.powi(4 * rounds as i32)).sum();
        assert!((f64::from(got) - want).abs() < 1e-3, "lane {lane}: {got}, not {want}");
    }
    let values = noise(3, 70);
    let (from, to) = (filled(&gpu, &values), gpu.zeros(70).unwrap());
    gpu.copy_quads(&from, &to);
    assert_eq!(gpu.read(&to, 0..68).unwrap(), values[..68]);
}

#[test]
fn lenet_agrees_with_pytorch() {
    let errors = crate::golden::lenet_errors(gpu());
    assert!(errors.iter().all(|&error| error < 1e-5), "{errors:?}");
}

#[test]
fn two_runs_give_the_same_bits() {
    let all = || {
        let mut out = conv(gpu(), CONV_CASES[2]);
        out.extend(dense(gpu(), DENSE_CASES[3]));
        out.extend(loss(gpu(), LOSS_CASES[3]));
        out.extend(vectors(gpu(), VECTOR_CASES[4]));
        out.extend(multiply(gpu(), MULTIPLY_CASES[2]));
        out.extend(coupling(gpu(), COUPLING_CASES[2]));
        out.into_iter().flat_map(|output| output.values).map(f64::to_bits).collect::<Vec<_>>()
    };
    assert_eq!(all(), all());
}

#[test]
fn a_repeated_product_makes_no_bind_groups() {
    let device = GpuDevice::open(None).unwrap();
    let shape = ImageShape { channels: 2, height: 6, width: 6 };
    let network = Network::parse("conv 3x3 3, conv 3x3 4, dense 5, dense 3", shape, 3).unwrap();
    let samples = noise_samples(shape, 5, 3, 1);
    // Three chunks.
    let objective = Objective::new(&device, &network, &samples, 2).unwrap();
    let theta = filled(&device, &seeded_theta(&network, 1, 0.1));
    let mut hessian = objective.linearize(&theta, usize::MAX).unwrap();
    let vectors = filled(&device, &direction::<f32>(2, 2 * network.dim()));
    let mut products = device.zeros(2 * network.dim()).unwrap();
    // Scratch buffers grow in the first product, and the second names those that have grown.
    hessian.hvp(2, &vectors, &mut products).unwrap();
    hessian.hvp(2, &vectors, &mut products).unwrap();
    let made = device.bind_groups_made();
    assert!(made > 0);
    hessian.hvp(2, &vectors, &mut products).unwrap();
    assert_eq!(device.bind_groups_made(), made);
    // Other buffers in the same place are not mistaken for those that are gone.
    let first = device.read(&products, 0..2 * network.dim()).unwrap();
    drop(vectors);
    let vectors = filled(&device, &direction::<f32>(3, 2 * network.dim()));
    hessian.hvp(2, &vectors, &mut products).unwrap();
    assert!(device.bind_groups_made() > made);
    assert_ne!(device.read(&products, 0..2 * network.dim()).unwrap(), first);
}

#[test]
fn a_long_dot_product_keeps_six_digits() {
    // Unit vectors of a million entries with one sign, the case where a plain f32 sum loses most.
    let rows = 1 << 20;
    let values = vec![1.0 / (rows as f32).sqrt(); rows];
    let column = filled(gpu(), &values);
    let columns = || Columns { buffer: &column, offset: 0, pitch: rows, count: 1 };
    let norm = gpu().gram(&[&[Gram { rows, a: columns(), b: columns() }]]).unwrap()[0][0];
    assert!((norm - 1.0).abs() < 1e-6, "{norm}");
}

#[test]
fn more_workgroups_than_one_dimension_holds() {
    let (samples, classes) = (65_536 * 64 / 2 + 3, 2);
    let values = noise(1, samples * classes);
    let r = filled(gpu(), &values);
    let mut dlogits = gpu().zeros(samples * classes).unwrap();
    gpu().loss_backward(LossBackward { samples, classes, scale: 0.5, r: &r, dlogits: &mut dlogits });
    let got = gpu().read(&dlogits, 0..samples * classes).unwrap();
    let wrong = (0..got.len()).find(|&i| got[i] != 0.5 * values[i]);
    assert_eq!(wrong, None);
    compare(&conv(portable_gpu(), MANY_WINDOWS), &conv(&CpuDevice::<f64>::new(), MANY_WINDOWS)).unwrap();
}

#[test]
fn writes_copies_and_clears_happen_in_order() {
    let device = gpu();
    let mut a = filled(device, &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let mut b = device.zeros(5).unwrap();
    device.copy(&a, 1, &mut b, 2, 3);
    device.write(&mut a, 1, &[9.0, 9.0]); // must not overtake the copy
    device.copy(&a, 0, &mut b, 0, 2);
    device.clear(&mut a, 3..5);
    device.clear(&mut a, 0..0);
    assert_eq!(device.read(&a, 0..5).unwrap(), [1.0, 9.0, 9.0, 0.0, 0.0]);
    assert_eq!(device.read(&b, 1..5).unwrap(), [9.0, 2.0, 3.0, 4.0]);
    assert_eq!(device.read(&b, 2..2).unwrap(), [0.0; 0]);
    let mut codes = device.codes(3).unwrap();
    device.write_codes(&mut codes, &[4, 255]);
    assert_eq!(device.read_codes(&codes, 3).unwrap(), [4, 255, 0]);
}

#[test]
fn what_cannot_be_had_is_an_error_that_says_what_to_do() {
    let error = |result: eigenscope::Result<GpuDevice>| result.err().expect("an error").to_string();
    let message = error(GpuDevice::open(Some("no such adapter")));
    let first = &gpu::list()[0];
    assert!(message.contains(&format!("found: {first}")) && message.ends_with("Try --device cpu"), "{message}");
    let message = gpu().zeros(gpu().max_buffer_len() + 1).err().expect("too large").to_string();
    assert!(message.contains("larger than its limit"), "{message}");
    let conv = |kernel, out_channels| Conv {
        in_channels: 1,
        out_channels,
        height: 4,
        width: 4,
        kernel,
        weight: 0,
        bias: out_channels * kernel * kernel,
        pitch: 0,
    };
    assert!(portable_gpu().check_conv(&conv(17, 1)).is_ok() && gpu().check_conv(&conv(5, 64)).is_ok());
    let message = portable_gpu().check_conv(&conv(19, 1)).expect_err("its taps do not fit").to_string();
    assert!(message.contains("19x19 is too large") && message.ends_with("use --device cpu"), "{message}");
    let message = gpu().check_conv(&conv(5, 1000)).expect_err("too long").to_string();
    assert!(message.contains("conv 5x5 1000 on 1 channels takes sums that are too long"), "{message}");

    // A kernel that does not compile is reported by the next call that waits, not by a panic.
    let broken = GpuDevice::open_patched(false, &|_, source| source.replace("main", "other")).unwrap();
    let r = broken.zeros(1).unwrap();
    let mut dlogits = broken.zeros(1).unwrap();
    broken.loss_backward(LossBackward { samples: 1, classes: 1, scale: 1.0, r: &r, dlogits: &mut dlogits });
    let message = broken.read(&dlogits, 0..1).expect_err("the kernel is broken").to_string();
    assert!(message.starts_with("the GPU failed"), "{message}");
}
