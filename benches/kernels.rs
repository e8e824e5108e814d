//! Every kernel of the network at LeNet's sizes, and the eigensolver's, on the CPU: `cargo bench --bench kernels`.
//!
//! Times are of one call on 256 samples (3,274,634 rows for the vector kernels); the arguments are directions.

use divan::{Bencher, black_box};
use eigenscope::data::{Dataset, ImageShape};
use eigenscope::device::cpu::CpuDevice;
use eigenscope::device::*;
use eigenscope::network::{Conv, Dense, Init, Layer, Network};

const SAMPLES: usize = 256;
const DIRECTIONS: [usize; 2] = [1, 4];

type Cpu = CpuDevice<f32>;

fn main() {
    divan::main();
}

fn network() -> Network {
    Network::lenet(ImageShape { channels: 1, height: 28, width: 28 }, 10).expect("LeNet is a network")
}

fn conv(layer: usize) -> Conv {
    let Layer::Conv(c) = network().layers()[layer].clone() else {
        unreachable!("the first two layers are conv blocks")
    };
    c
}

fn dense(layer: usize) -> Dense {
    let Layer::Dense(d) = network().layers()[layer].clone() else { unreachable!("the last two layers are dense") };
    d
}

/// Room for route codes.
fn codes(len: usize) -> <Cpu as Device>::Codes {
    Cpu::new().codes(len).expect("the CPU has room")
}

/// What the layer sees in a forward pass over MNIST; for the layer after the last, the logits.
fn inputs(layer: usize) -> Vec<f32> {
    let samples = Dataset::mnist_embedded().and_then(|data| data.train.first(SAMPLES)).expect("MNIST is embedded");
    let mut x: Vec<f32> = samples.pixels().iter().map(|&b| f32::from(b) / 255.0).collect();
    for layer in &network().layers()[..layer] {
        let mut after = vec![0.0; SAMPLES * layer.output_len()];
        let (samples, theta) = (SAMPLES, &parameters(1));
        match layer {
            Layer::Conv(c) => {
                let route = &mut codes(after.len());
                Cpu::new().conv_forward(c, ConvForward { samples, theta, x: &x, p: &mut after, route });
            }
            Layer::Dense(d) => Cpu::new().dense_forward(d, DenseForward { samples, theta, x: &x, y: &mut after }),
        }
        x = after;
    }
    x
}

/// Numbers without a pattern that a pool could prefer.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    (0..len as u32).map(|i| ((i ^ seed).wrapping_mul(0x9E37_79B9) >> 8) as f32 * 2f32.powi(-23) - 1.0).collect()
}

fn parameters(directions: usize) -> Vec<f32> {
    (0..directions).flat_map(|k| Init::Glorot.parameters(&network(), k as u64)).collect()
}

/// A conv layer's arrays, with the routes of a real forward pass.
struct ConvCase {
    c: Conv,
    theta: Vec<f32>,
    vectors: Vec<f32>,
    x: Vec<f32>,
    tx: Vec<f32>,
    p: Vec<f32>,
    route: <Cpu as Device>::Codes,
    dp: Vec<f32>,
    tdp: Vec<f32>,
}

impl ConvCase {
    fn new(layer: usize, directions: usize) -> Self {
        let c = conv(layer);
        let (input, output) = (SAMPLES * c.input_len(), SAMPLES * c.output_len());
        let mut case = Self {
            theta: parameters(1),
            vectors: parameters(directions),
            x: inputs(layer),
            tx: noise(directions * input, 2),
            p: vec![0.0; output],
            route: codes(output),
            dp: noise(output, 3),
            tdp: noise(directions * output, 4),
            c,
        };
        case.forward();
        case
    }

    fn forward(&mut self) {
        let Self { c, theta, x, p, route, .. } = self;
        Cpu::new().conv_forward(c, ConvForward { samples: SAMPLES, theta, x, p, route });
    }
}

#[divan::bench(args = [0, 1])]
fn conv_forward(bencher: Bencher, layer: usize) {
    let mut case = ConvCase::new(layer, 1);
    bencher.bench_local(|| case.forward());
}

#[divan::bench(args = DIRECTIONS, consts = [0, 1])]
fn conv_tangent<const LAYER: usize>(bencher: Bencher, directions: usize) {
    let ConvCase { c, theta, vectors, x, tx, route, tdp, .. } = &mut ConvCase::new(LAYER, directions);
    bencher.bench_local(|| {
        let tx = (LAYER > 0).then_some(&*tx);
        Cpu::new().conv_tangent(c, ConvTangent { samples: SAMPLES, directions, theta, vectors, x, tx, route, tp: tdp });
    });
}

#[divan::bench(args = [0, 1])]
fn conv_backward(bencher: Bencher, layer: usize) {
    let ConvCase { c, theta, vectors, x, tx, route, dp, .. } = &mut ConvCase::new(layer, 1);
    bencher.bench_local(|| {
        let dx = (layer > 0).then_some(&mut *tx);
        Cpu::new().conv_backward(
            c,
            ConvBackward { samples: SAMPLES, theta, x, route, dp, gradient: vectors, accumulate: false, dx },
        );
    });
}

#[divan::bench(args = DIRECTIONS, consts = [0, 1])]
fn conv_tangent_backward<const LAYER: usize>(bencher: Bencher, directions: usize) {
    let ConvCase { c, theta, vectors, x, tx, route, dp, tdp, .. } = &mut ConvCase::new(LAYER, directions);
    let mut products = vec![0.0; vectors.len()];
    let mut tdx = tx.clone();
    bencher.bench_local(|| {
        let (tx, tdx) = ((LAYER > 0).then_some(&*tx), (LAYER > 0).then_some(&mut tdx));
        let call = ConvTangentBackward {
            samples: SAMPLES,
            directions,
            theta,
            vectors,
            x,
            tx,
            route,
            dp: Some(dp),
            tdp,
            products: &mut products,
            accumulate: false,
            tdx,
        };
        Cpu::new().conv_tangent_backward(c, call);
    });
}

#[divan::bench(args = [2, 3])]
fn dense_forward(bencher: Bencher, layer: usize) {
    let d = dense(layer);
    let (theta, x, mut y) = (parameters(1), inputs(layer), vec![0.0; SAMPLES * d.outputs]);
    bencher.bench_local(|| {
        Cpu::new().dense_forward(&d, DenseForward { samples: SAMPLES, theta: &theta, x: &x, y: &mut y });
    });
}

#[divan::bench(args = [2, 3])]
fn dense_backward(bencher: Bencher, layer: usize) {
    let d = dense(layer);
    let (theta, x, y) = (parameters(1), inputs(layer), inputs(layer + 1));
    let mut dy = noise(SAMPLES * d.outputs, 4);
    let (mut gradient, mut dx) = (vec![0.0; theta.len()], x.clone());
    bencher.bench_local(|| {
        let (dy, gradient, dx) = (&mut dy, &mut gradient, Some(&mut dx));
        Cpu::new().dense_backward(
            &d,
            DenseBackward { samples: SAMPLES, theta: &theta, x: &x, y: &y, dy, gradient, accumulate: false, dx },
        );
    });
}

#[divan::bench(args = DIRECTIONS, consts = [2, 3])]
fn dense_tangent<const LAYER: usize>(bencher: Bencher, directions: usize) {
    let d = dense(LAYER);
    let (theta, vectors) = (parameters(1), parameters(directions));
    let (x, tx) = (inputs(LAYER), noise(directions * SAMPLES * d.inputs, 2));
    let (y, mut ty) = (inputs(LAYER + 1), vec![0.0; directions * SAMPLES * d.outputs]);
    bencher.bench_local(|| {
        let call = DenseTangent {
            samples: SAMPLES,
            directions,
            theta: &theta,
            vectors: &vectors,
            x: Some(&x),
            tx: Some(&tx),
            y: &y,
            ty: &mut ty,
        };
        Cpu::new().dense_tangent(&d, call);
    });
}

#[divan::bench(args = DIRECTIONS, consts = [2, 3])]
fn dense_tangent_backward<const LAYER: usize>(bencher: Bencher, directions: usize) {
    let d = dense(LAYER);
    let (theta, vectors) = (parameters(1), parameters(directions));
    let (x, tx) = (inputs(LAYER), noise(directions * SAMPLES * d.inputs, 2));
    let (y, mut dz) = (inputs(LAYER + 1), noise(SAMPLES * d.outputs, 4));
    if d.relu {
        dz.iter_mut().zip(&y).filter(|(_, y)| **y <= 0.0).for_each(|(dz, _)| *dz = 0.0);
    }
    let mut tdy = noise(directions * SAMPLES * d.outputs, 5);
    let (mut products, mut tdx) = (vec![0.0; vectors.len()], tx.clone());
    bencher.bench_local(|| {
        let call = DenseTangentBackward {
            samples: SAMPLES,
            directions,
            theta: &theta,
            vectors: &vectors,
            x: Some(&x),
            tx: Some(&tx),
            y: &y,
            dz: &dz,
            tdy: &mut tdy,
            products: &mut products,
            accumulate: false,
            tdx: Some(&mut tdx),
        };
        Cpu::new().dense_tangent_backward(&d, call);
    });
}

/// Columns of the basis.
const COLUMNS: usize = 32;

#[divan::bench(args = [1, 2, 4])]
fn gram(bencher: Bencher, block: usize) {
    let rows = network().dim();
    let (v, w) = (vec![1e-3; COLUMNS * rows], vec![1e-3; block * rows]);
    bencher.bench_local(|| {
        let a = Columns { buffer: &v, offset: 0, pitch: rows, count: COLUMNS };
        let b = Columns { buffer: &w, offset: 0, pitch: rows, count: block };
        black_box(Cpu::new().gram(&[&[Gram { rows, a, b }]]))
    });
}

#[divan::bench(args = [1, 2, 4])]
fn update(bencher: Bencher, block: usize) {
    let rows = network().dim();
    let (v, mut w) = (vec![1e-3; COLUMNS * rows], vec![1e-3; block * rows]);
    let (h, m) = (vec![1e-6; COLUMNS * block], vec![0.5; block * block]);
    bencher.bench_local(|| {
        let w = ColumnsMut { buffer: &mut w, offset: 0, pitch: rows, count: block };
        let v = Columns { buffer: &v, offset: 0, pitch: rows, count: COLUMNS };
        Cpu::new().update(Update { rows, w, v, h: &h, m: &m });
    });
}
