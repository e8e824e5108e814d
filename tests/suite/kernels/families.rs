//! What the kernel tests run: one function for each family of kernels, on any device, and its awkward sizes.

use eigenscope::device::{
    Columns, ColumnsMut, Combine, ConvBackward, ConvCoupling, ConvForward, ConvTangent, ConvTangentBackward,
    DenseBackward, DenseForward, DenseTangent, DenseTangentBackward, Device, Gram, LossBackward, LossForward,
    LossTangentBackward, Matrices, MatricesMut, Multiply, RmsPropStep, Scalar, Store, Update, Zeros,
};
use eigenscope::network::{Conv, Dense};

const EPS: f64 = f32::EPSILON as f64;

/// What one kernel wrote, and how far it may be from the truth.
pub struct Output {
    pub name: &'static str,
    pub values: Vec<f64>,
    pub absolute: f64,
    pub relative: f64,
}

impl Output {
    /// A sum of `terms` products of numbers below one. Its partial sums walk to about sqrt(terms) and are rounded
    /// `terms` times, by up to half an EPS of their size: about terms * EPS / 2 in all, and the largest of many such
    /// walks is within four times that.
    fn sum<D: Device>(device: &D, name: &'static str, buffer: &D::Buffer, len: usize, terms: usize) -> Self {
        let values = read(device, buffer, len);
        Self { name, values, absolute: 2.0 * EPS * (terms + 1) as f64, relative: 0.0 }
    }

    /// A few operations, each rounded: `roundings` units in the last place.
    fn rounded<D: Device>(device: &D, name: &'static str, buffer: &D::Buffer, len: usize, roundings: f64) -> Self {
        Self { name, values: read(device, buffer, len), absolute: 1e-37, relative: roundings * EPS }
    }
}

fn read<D: Device>(device: &D, buffer: &D::Buffer, len: usize) -> Vec<f64> {
    device.read(buffer, 0..len).unwrap().into_iter().map(|value| value.widen()).collect()
}

/// Uniform in (-1, 1), of 24 bits, from a Weyl sequence through the murmur finaliser.
pub fn noise(seed: u64, len: usize) -> Vec<f32> {
    (0..len as u64)
        .map(|i| {
            let mut z = (seed << 40).wrapping_add(i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
            z = (z ^ (z >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
            ((z >> 40) as f32 + 0.5) / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub fn filled<D: Device>(device: &D, values: &[f32]) -> D::Buffer {
    let mut buffer = device.zeros(values.len()).unwrap();
    let scalars: Vec<_> = values.iter().map(|&value| D::Scalar::from_f32(value)).collect();
    device.write(&mut buffer, 0, &scalars);
    buffer
}

fn random<D: Device>(device: &D, seed: u64, len: usize) -> D::Buffer {
    filled(device, &noise(seed, len))
}

#[derive(Clone, Copy, Debug)]
pub struct ConvCase {
    samples: usize,
    directions: usize,
    channels: (usize, usize),
    size: (usize, usize),
    kernel: usize,
    first: bool,
}

pub const CONV_CASES: [ConvCase; 11] = [
    ConvCase { samples: 1, directions: 1, channels: (1, 1), size: (2, 2), kernel: 1, first: true },
    ConvCase { samples: 3, directions: 2, channels: (2, 5), size: (7, 9), kernel: 3, first: false },
    ConvCase { samples: 17, directions: 7, channels: (1, 3), size: (6, 5), kernel: 5, first: true },
    ConvCase { samples: 2, directions: 3, channels: (5, 6), size: (7, 9), kernel: 5, first: false },
    ConvCase { samples: 1, directions: 2, channels: (7, 17), size: (2, 3), kernel: 7, first: false },
    ConvCase { samples: 40, directions: 1, channels: (1, 1), size: (29, 31), kernel: 3, first: false },
    // The largest kernel on GPUs.
    ConvCase { samples: 2, directions: 2, channels: (2, 3), size: (6, 5), kernel: 17, first: false },
    // More taps than a lane of a GPU has at most.
    ConvCase { samples: 20, directions: 5, channels: (12, 9), size: (6, 7), kernel: 5, first: false },
    ConvCase { samples: 2, directions: 1, channels: (34, 3), size: (4, 5), kernel: 5, first: false },
    // Rows of windows in two pieces; and so that four directions' adjoints do not fit a workgroup.
    ConvCase { samples: 2, directions: 5, channels: (3, 4), size: (5, 151), kernel: 3, first: false },
    ConvCase { samples: 1, directions: 2, channels: (1, 2), size: (3, 140), kernel: 17, first: false },
];

/// 562,500 windows, of which a workgroup takes eight.
pub const MANY_WINDOWS: ConvCase =
    ConvCase { samples: 1, directions: 1, channels: (1, 1), size: (1500, 1500), kernel: 1, first: true };

pub fn conv<D: Device>(device: &D, case: ConvCase) -> Vec<Output> {
    let ConvCase { samples, directions, channels: (in_channels, out_channels), size: (height, width), kernel, first } =
        case;
    let weight = 3; // not a multiple of four
    let bias = weight + out_channels * in_channels * kernel * kernel;
    let pitch = bias + out_channels + 5;
    let layer = Conv { in_channels, out_channels, height, width, kernel, weight, bias, pitch };
    let (inputs, outputs, taps) = (samples * layer.input_len(), samples * layer.output_len(), layer.patch_len());
    let pooled = samples * layer.pooled_height() * layer.pooled_width();

    let theta = random(device, 1, pitch);
    let vectors = random(device, 2, directions * pitch);
    let x = random(device, 3, inputs);
    let tx = (!first).then(|| random(device, 4, directions * inputs));
    let mut p = device.zeros(outputs).unwrap();
    let mut route = device.codes(outputs).unwrap();
    device.conv_forward(&layer, ConvForward { samples, theta: &theta, x: &x, p: &mut p, route: &mut route });

    let mut tp = random(device, 5, directions * outputs);
    device.conv_tangent(
        &layer,
        ConvTangent {
            samples,
            directions,
            theta: &theta,
            vectors: &vectors,
            x: &x,
            tx: tx.as_ref(),
            route: &route,
            tp: &mut tp,
        },
    );

    let dp = random(device, 6, outputs);
    let mut gradients = [7, 12].map(|seed| random(device, seed, pitch));
    let mut dx = (!first).then(|| random(device, 8, inputs));
    for (accumulate, gradient) in [true, false].into_iter().zip(&mut gradients) {
        device.conv_backward(
            &layer,
            ConvBackward {
                samples,
                theta: &theta,
                x: &x,
                route: &route,
                dp: &dp,
                gradient,
                accumulate,
                dx: dx.as_mut(),
            },
        );
    }

    let tdp = random(device, 9, directions * outputs);
    let mut products = [10, 13].map(|seed| random(device, seed, directions * pitch));
    let mut tdx = (!first).then(|| random(device, 11, directions * inputs));
    for (accumulate, products) in [true, false].into_iter().zip(&mut products) {
        device.conv_tangent_backward(
            &layer,
            ConvTangentBackward {
                samples,
                directions,
                theta: &theta,
                vectors: &vectors,
                x: &x,
                tx: tx.as_ref(),
                route: &route,
                dp: Some(&dp),
                tdp: &tdp,
                products,
                accumulate,
                tdx: tdx.as_mut(),
            },
        );
    }

    // Without the adjoint's terms.
    let mut own_products = random(device, 14, directions * pitch);
    let mut own_tdx = (!first).then(|| random(device, 15, directions * inputs));
    device.conv_tangent_backward(
        &layer,
        ConvTangentBackward {
            samples,
            directions,
            theta: &theta,
            vectors: &vectors,
            x: &x,
            tx: tx.as_ref(),
            route: &route,
            dp: None,
            tdp: &tdp,
            products: &mut own_products,
            accumulate: false,
            tdx: own_tdx.as_mut(),
        },
    );

    let codes = device.read_codes(&route, outputs).unwrap().into_iter().map(f64::from).collect();
    let mut out = vec![
        Output { name: "conv_forward route", values: codes, absolute: 0.0, relative: 0.0 },
        Output::sum(device, "conv_forward p", &p, outputs, taps),
        Output::sum(device, "conv_tangent tp", &tp, directions * outputs, 2 * taps),
        Output::sum(device, "conv_backward gradient, added to", &gradients[0], pitch, pooled),
        Output::sum(device, "conv_backward gradient", &gradients[1], pitch, pooled),
        Output::sum(device, "conv_tangent_backward products, added to", &products[0], directions * pitch, 2 * pooled),
        Output::sum(device, "conv_tangent_backward products", &products[1], directions * pitch, 2 * pooled),
        Output::sum(device, "conv_tangent_backward own products", &own_products, directions * pitch, pooled),
    ];
    let reach = out_channels * kernel * kernel;
    out.extend(dx.map(|dx| Output::sum(device, "conv_backward dx", &dx, inputs, reach)));
    for (name, tdx) in [("conv_tangent_backward tdx", tdx), ("conv_tangent_backward own tdx", own_tdx)] {
        out.extend(tdx.map(|tdx| Output::sum(device, name, &tdx, directions * inputs, 2 * reach)));
    }
    out
}

/// Directions; channels before, between and after two conv blocks; their kernels.
pub type CouplingCase = (usize, [usize; 3], [usize; 2]);

pub const COUPLING_CASES: [CouplingCase; 4] =
    [(1, [1, 1, 1], [1, 1]), (3, [2, 3, 5], [3, 5]), (2, [1, 33, 18], [5, 3]), (7, [3, 4, 65], [1, 7])];

pub fn coupling<D: Device>(device: &D, (directions, channels, kernels): CouplingCase) -> Vec<Output> {
    let mut end = 3;
    let mut block = |i: usize| {
        let (in_channels, out_channels, kernel) = (channels[i], channels[i + 1], kernels[i]);
        let weight = end;
        let bias = weight + out_channels * in_channels * kernel * kernel;
        end = bias + out_channels;
        Conv { in_channels, out_channels, height: 4, width: 4, kernel, weight, bias, pitch: 0 }
    };
    let [mut first, mut second] = [block(0), block(1)];
    let pitch = end + 5;
    (first.pitch, second.pitch) = (pitch, pitch);
    let components = first.patch_len() + 1;
    let matrix = random(device, 1, components * second.weight_len());
    let vectors = random(device, 2, directions * pitch);
    let mut products = random(device, 3, directions * pitch);
    let call = ConvCoupling { directions, matrix: &matrix, vectors: &vectors, products: &mut products };
    device.conv_coupling(&first, &second, call);
    let terms = components.max(second.out_channels * kernels[1] * kernels[1]);
    vec![Output::sum(device, "conv_coupling", &products, directions * pitch, terms)]
}

#[derive(Clone, Copy, Debug)]
pub struct DenseCase {
    samples: usize,
    directions: usize,
    inputs: usize,
    outputs: usize,
    relu: bool,
    first: bool,
}

pub const DENSE_CASES: [DenseCase; 8] = [
    DenseCase { samples: 1, directions: 1, inputs: 1, outputs: 1, relu: true, first: true },
    DenseCase { samples: 3, directions: 2, inputs: 5, outputs: 7, relu: true, first: false },
    DenseCase { samples: 17, directions: 7, inputs: 33, outputs: 10, relu: false, first: false },
    DenseCase { samples: 33, directions: 2, inputs: 65, outputs: 34, relu: true, first: false },
    // More columns than a workgroup has, and lengths that tiles divide.
    DenseCase { samples: 264, directions: 3, inputs: 320, outputs: 16, relu: true, first: false },
    // Longer than one invocation may loop: each of the three sums is cut twice.
    DenseCase { samples: 2, directions: 1, inputs: 70_001, outputs: 2, relu: true, first: false },
    DenseCase { samples: 1, directions: 1, inputs: 2, outputs: 70_001, relu: true, first: false },
    DenseCase { samples: 70_001, directions: 1, inputs: 2, outputs: 1, relu: true, first: false },
];

pub fn dense<D: Device>(device: &D, case: DenseCase) -> Vec<Output> {
    let DenseCase { samples, directions, inputs, outputs, relu, first } = case;
    let weight = 3; // not a multiple of four
    let bias = weight + outputs * inputs;
    let pitch = bias + outputs + 5;
    let layer = Dense { inputs, outputs, relu, weight, bias, pitch };

    let theta = random(device, 1, pitch);
    let vectors = random(device, 2, directions * pitch);
    let x = random(device, 3, samples * inputs);
    let tx = (!first).then(|| random(device, 4, directions * samples * inputs));
    let mut y = random(device, 5, samples * outputs);
    device.dense_forward(&layer, DenseForward { samples, theta: &theta, x: &x, y: &mut y });

    let mut ty = random(device, 6, directions * samples * outputs);
    device.dense_tangent(
        &layer,
        DenseTangent {
            samples,
            directions,
            theta: &theta,
            vectors: &vectors,
            x: Some(&x),
            tx: tx.as_ref(),
            y: &y,
            ty: &mut ty,
        },
    );

    let mut dz = random(device, 7, samples * outputs);
    let mut gradients = [8, 13].map(|seed| random(device, seed, pitch));
    let mut dx = (!first).then(|| random(device, 9, samples * inputs));
    for (accumulate, gradient) in [true, false].into_iter().zip(&mut gradients) {
        device.dense_backward(
            &layer,
            DenseBackward { samples, theta: &theta, x: &x, y: &y, dy: &mut dz, gradient, accumulate, dx: dx.as_mut() },
        );
    }

    let mut tdz = random(device, 10, directions * samples * outputs);
    let mut products = [11, 14].map(|seed| random(device, seed, directions * pitch));
    let mut tdx = (!first).then(|| random(device, 12, directions * samples * inputs));
    for (accumulate, products) in [true, false].into_iter().zip(&mut products) {
        device.dense_tangent_backward(
            &layer,
            DenseTangentBackward {
                samples,
                directions,
                theta: &theta,
                vectors: &vectors,
                x: Some(&x),
                tx: tx.as_ref(),
                y: &y,
                dz: &dz,
                tdy: &mut tdz,
                products,
                accumulate,
                tdx: tdx.as_mut(),
            },
        );
    }

    let block = directions * samples;
    // Without the weights' part: ty and tdx are added to, and only the bias has products.
    let mut added = Vec::new();
    if let Some(tx) = &tx {
        let mut ty = random(device, 15, block * outputs);
        let (theta, vectors, y) = (&theta, &vectors, &y);
        let call = DenseTangent { samples, directions, theta, vectors, x: None, tx: Some(tx), y, ty: &mut ty };
        device.dense_tangent(&layer, call);
        added.push(Output::sum(device, "dense_tangent ty, added to", &ty, block * outputs, 2 * inputs));
        let (mut tdx, mut products) = (random(device, 16, block * inputs), random(device, 17, directions * pitch));
        device.dense_tangent_backward(
            &layer,
            DenseTangentBackward {
                samples,
                directions,
                theta,
                vectors,
                x: None,
                tx: Some(tx),
                y,
                dz: &dz,
                tdy: &mut tdz,
                products: &mut products,
                accumulate: true,
                tdx: Some(&mut tdx),
            },
        );
        added.push(Output::sum(device, "dense_tangent_backward tdx, added to", &tdx, block * inputs, 2 * outputs));
        added.push(Output::sum(device, "dense_tangent_backward bias", &products, directions * pitch, samples));
    }
    let mut out = vec![
        Output::sum(device, "dense_forward y", &y, samples * outputs, inputs),
        Output::sum(device, "dense_tangent ty", &ty, block * outputs, 2 * inputs),
        Output::sum(device, "dense_backward dz", &dz, samples * outputs, 1),
        Output::sum(device, "dense_backward gradient, added to", &gradients[0], pitch, samples),
        Output::sum(device, "dense_backward gradient", &gradients[1], pitch, samples),
        Output::sum(device, "dense_tangent_backward tdz", &tdz, block * outputs, 1),
        Output::sum(device, "dense_tangent_backward products, added to", &products[0], directions * pitch, 2 * samples),
        Output::sum(device, "dense_tangent_backward products", &products[1], directions * pitch, 2 * samples),
    ];
    out.extend(dx.map(|dx| Output::sum(device, "dense_backward dx", &dx, samples * inputs, outputs)));
    out.extend(tdx.map(|tdx| Output::sum(device, "dense_tangent_backward tdx", &tdx, block * inputs, 2 * outputs)));
    out.extend(added);
    out
}

/// Directions, shape.
pub type MultiplyCase = (usize, [usize; 3]);

pub const MULTIPLY_CASES: [MultiplyCase; 6] = [
    (1, [1, 1, 1]),
    (3, [5, 7, 3]),
    (2, [33, 18, 70]),
    (1, [16, 64, 256]),
    (2, [17, 5, 300]),
    // Longer than one invocation may loop.
    (1, [2, 70_001, 3]),
];

/// Operands in both orders, the same or another in each direction, and all that can become of a product.
pub fn multiply<D: Device>(device: &D, (directions, shape): MultiplyCase) -> Vec<Output> {
    let [rows, terms, columns] = shape;
    let (a_pitch, b_pitch, pitch) = (rows * terms + 3, terms * columns + 1, rows * columns + 2);
    let a = random(device, 1, 2 + directions * a_pitch);
    let b = random(device, 2, 5 + directions * b_pitch);
    let mut out = Vec::new();
    for (case, (a_turned, b_turned)) in
        [(false, false), (true, false), (false, true), (true, true)].into_iter().enumerate()
    {
        for (same, store) in [(case % 2 == 0, Store::Set), (case % 2 == 1, Store::Add), (case < 2, Store::Subtract)] {
            let place = |buffer, offset, pitch, transposed| {
                let matrices = Matrices::new(buffer, offset, pitch);
                if transposed { matrices.t() } else { matrices }
            };
            let mut c = random(device, 3, 4 + directions * pitch);
            device.multiply(Multiply {
                directions,
                shape,
                a: place(&a, 2, if same { 0 } else { a_pitch }, a_turned),
                b: place(&b, 5, if same { b_pitch } else { 0 }, b_turned),
                c: MatricesMut { buffer: &mut c, offset: 4, pitch },
                store,
            });
            out.push(Output::sum(device, "multiply", &c, 4 + directions * pitch, terms));
        }
    }
    for zeros in [Zeros::Right(0), Zeros::Right(4), Zeros::Below(0), Zeros::Below(9)] {
        let is_zero = |i: usize, j: usize| match zeros {
            Zeros::Unknown => false,
            Zeros::Right(n) => j > i + n,
            Zeros::Below(n) => i > j + n,
        };
        let mut entries = noise(1, rows * terms);
        entries.iter_mut().enumerate().filter(|(at, _)| is_zero(at / terms, at % terms)).for_each(|(_, a)| *a = 0.0);
        let a = filled(device, &entries);
        let mut c = random(device, 3, directions * pitch);
        device.multiply(Multiply {
            directions,
            shape,
            a: Matrices::same(&a).with(zeros),
            b: Matrices::new(&b, 5, b_pitch),
            c: MatricesMut { buffer: &mut c, offset: 0, pitch },
            store: Store::Set,
        });
        out.push(Output::sum(device, "multiply of a triangle", &c, directions * pitch, terms));
    }
    out
}

/// Samples, classes, directions, size of the logits.
pub type LossCase = (usize, usize, usize, f32);

pub const LOSS_CASES: [LossCase; 5] =
    [(1, 1, 1, 1.0), (3, 2, 2, 1.0), (17, 10, 7, 5.0), (130, 10, 2, 20.0), (5, 257, 3, 0.1)];

pub fn loss<D: Device>(device: &D, (samples, classes, directions, size): LossCase) -> Vec<Output> {
    let len = samples * classes;
    let values: Vec<f32> = noise(1, len).iter().map(|&value| size * value).collect();
    let logits = filled(device, &values);
    // Most samples are classified correctly: late in training the loss is tiny, and must keep its digits.
    let label = |n: usize| {
        let row = &values[n * classes..(n + 1) * classes];
        let top = (0..classes).max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap();
        if n.is_multiple_of(4) { n % classes } else { top }
    };
    let mut labels = device.codes(samples).unwrap();
    device.write_codes(&mut labels, &(0..samples).map(|n| label(n) as u8).collect::<Vec<_>>());
    let mut losses = device.zeros(samples).unwrap();
    let mut r = device.zeros(len).unwrap();
    device.loss_forward(LossForward {
        samples,
        classes,
        logits: &logits,
        labels: &labels,
        losses: &mut losses,
        r: &mut r,
    });
    let scale = 1.0 / 37.0;
    let mut dlogits = device.zeros(len).unwrap();
    device.loss_backward(LossBackward { samples, classes, scale, r: &r, dlogits: &mut dlogits });
    let tlogits = random(device, 2, directions * len);
    let mut tdlogits = device.zeros(directions * len).unwrap();
    device.loss_tangent_backward(LossTangentBackward {
        samples,
        classes,
        directions,
        scale,
        r: &r,
        labels: &labels,
        tlogits: &tlogits,
        tdlogits: &mut tdlogits,
    });
    // WGSL promises exp(x) to 3 + 2 |x| units in the last place, and |x| is at most 2 * size.
    let exp = 16.0 + 4.0 * f64::from(size) + classes as f64;
    vec![
        Output::rounded(device, "loss_forward losses", &losses, samples, exp),
        Output::rounded(device, "loss_forward r", &r, len, exp),
        Output::rounded(device, "loss_backward dlogits", &dlogits, len, exp),
        // A sum of terms of both signs; r is at most one.
        Output {
            absolute: exp * EPS * scale,
            ..Output::rounded(device, "loss_tangent_backward", &tdlogits, directions * len, exp)
        },
    ]
}

pub fn rmsprop<D: Device>(device: &D, len: usize) -> Vec<Output> {
    let gradient = random(device, 1, len);
    let mut mean_square = filled(device, &noise(2, len).iter().map(|x| x.abs()).collect::<Vec<_>>());
    let mut momenta = random(device, 3, len);
    let mut theta = random(device, 4, len);
    device.rmsprop_step(RmsPropStep {
        len,
        rate: 3.6e-4,
        decay: 0.95,
        momentum: 0.22,
        epsilon: 1e-10,
        gradient: &gradient,
        mean_square: &mut mean_square,
        momenta: &mut momenta,
        theta: &mut theta,
    });
    vec![
        Output::sum(device, "rmsprop mean_square", &mean_square, len, 2),
        Output::sum(device, "rmsprop momenta", &momenta, len, 2),
        Output::sum(device, "rmsprop theta", &theta, len, 2),
    ]
}

/// Rows, columns of V, columns of W, columns of X.
pub type VectorCase = (usize, usize, usize, usize);

pub const VECTOR_CASES: [VectorCase; 6] =
    [(1, 1, 1, 1), (63, 3, 2, 3), (65, 0, 5, 1), (4097, 17, 7, 18), (9000, 5, 16, 33), (500, 130, 16, 130)];

pub fn vectors<D: Device>(device: &D, (rows, k, b, p): VectorCase) -> Vec<Output> {
    let (offset, pitch) = (5, rows + 3);
    let len = |columns: usize| offset + columns * pitch;
    let v = random(device, 1, len(k));
    let mut w = random(device, 2, len(b));
    let mut x = random(device, 3, len(p));
    let v_columns = |offset| Columns { buffer: &v, offset, pitch, count: k };
    // In two pieces, as a vector that is larger than a buffer comes.
    let half = rows / 2;
    let piece = |rows, offset| Gram { rows, a: v_columns(offset), b: Columns { buffer: &w, offset, pitch, count: b } };
    // Two products, of which one is of fewer columns, of fewer rows, and in one piece.
    let pieces = [piece(half, offset), piece(rows - half, offset + half)];
    let one = |buffer| Columns { buffer, offset, pitch, count: 1 };
    let other = Gram { rows: rows.div_ceil(3), a: one(&w), b: one(&x) };
    let product = device.gram(&[&pieces, &[other]]).unwrap().concat();
    // Rounded to f32 first: the twin in f64 would otherwise use other numbers.
    let small = |seed, len| noise(seed, len).into_iter().map(f64::from).collect::<Vec<_>>();
    device.update(Update {
        rows,
        w: ColumnsMut { buffer: &mut w, offset, pitch, count: b },
        v: v_columns(offset),
        h: &small(4, k * b),
        m: &small(5, b * b),
    });
    device.combine(Combine {
        rows,
        v: v_columns(offset),
        s: &small(6, k * p),
        x: ColumnsMut { buffer: &mut x, offset, pitch, count: p },
    });
    // Each of `rows` additions is rounded by half an EPS of one invocation's sum, which walks to sqrt(64) / 3; roundings
    // add up like a walk too, and four standard deviations are allowed.
    let gram = 4.0 * (rows as f64).sqrt() * (0.5 * EPS) * (1.0 + 8.0 / 3.0);
    vec![
        Output { name: "gram", values: product, absolute: gram, relative: 0.0 },
        // Each entry of W - V h is a sum of k terms, and b of them are added, weighted by m.
        Output::sum(device, "update w", &w, len(b), b * (k + 1)),
        Output::sum(device, "combine x", &x, len(p), k),
    ]
}
