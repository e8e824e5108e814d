//! The Hessian in the coordinates of a subspace that holds its range.
//!
//! Over N samples, every product with the Hessian has in a dense layer's weight (O, I) the form `tdz^T x + dz^T tx`, with inputs `x`
//! (N, I) and adjoints `dz` (N, O) that depend on the parameters alone. With orthonormal bases `Q` (I, r) of the inputs and `P` (O, p)
//! of the adjoints, `x^T = Q R` and `dz^T = P S`, this is
//!
//! ```text
//! A Q^T + P B^T,    A (O, r),  B (I, p),  P^T A = 0
//! ```
//!
//! The last condition makes the map from `(A, B)` an isometry. The compression of the Hessian to this subspace has the Hessian's
//! nonzero eigenvalues, its eigenvectors are those of the Hessian in other coordinates, and a Krylov space of it is one of the
//! Hessian. For the first dense layer of LeNet and 256 samples the coordinates are a third as long, and the products with `tW` and the sums for
//! `tdW`, four of six, become products of small matrices:
//!
//! ```text
//! tW x^T = (A + P B^T Q) R        dz tW = S^T B^T
//! A = (1 - P P^T) tdz^T R^T       B = tx^T S^T + Q R tdz P
//! ```
//!
//! A part of A that is not orthogonal to P stands for nothing: products pass by it, and have none.

use super::pass::Frame;
use super::{Linearization, Objective};
use crate::Result;
use crate::device::Store::{Add, Set, Subtract};
use crate::device::{Device, Matrices, MatricesMut, Multiply, Scalar, Zeros};
use crate::eigen::SymmetricOperator;
use crate::network::{Dense, Layer};
use faer::{Mat, MatRef};

/// The compression of a [`Linearization`]'s Hessian to a subspace that holds its range.
pub struct Compression<'h, 'a, D: Device> {
    hessian: &'h mut Linearization<'a, D>,
    /// The layers, at their places in a vector of coordinates.
    layers: Vec<Layer>,
    /// Those whose weights are compressed.
    compressed: Vec<Option<CompressedDense<D>>>,
    /// The parameters at those places; behind them, the weights that have none.
    theta: D::Buffer,
    /// Length of a vector of coordinates.
    dimension: usize,
    /// Scratch of a lift: a parameter vector.
    lifted: Option<D::Buffer>,
}

/// A dense layer whose weight's direction is `A Q^T + P B^T`. A vector of coordinates holds A^T (r, O) and B^T (p, I).
pub(super) struct CompressedDense<D: Device> {
    layer: Dense,
    /// Dimension r of the span of the inputs.
    r: usize,
    /// Dimension p of the span of the adjoints.
    p: usize,
    /// Where A^T and B^T start in a vector of coordinates.
    places: (usize, usize),
    /// Q^T (r, I).
    qt: D::Buffer,
    /// P^T (p, O).
    pt: D::Buffer,
    /// P (O, p): where the sum is over units, it is faster to have rows of it than to gather columns.
    p_matrix: D::Buffer,
    /// The coordinates of each chunk of samples.
    chunks: Vec<Coordinates<D>>,
    /// Room for so many directions: `(A + P B^T Q)^T` (K, r, O), and (K, p, r) in either order.
    scratch: Option<(usize, D::Buffer, D::Buffer)>,
}

/// R (r, N) and S (p, N) of a chunk, and their transposes: a product is fastest when its first factor's rows are neighbours.
struct Coordinates<D: Device> {
    r: D::Buffer,
    rt: D::Buffer,
    s: D::Buffer,
    st: D::Buffer,
    /// What is zero in R and S: a column of a QR's R ends at its diagonal entry.
    triangle: Zeros,
}

/// An orthonormal basis of the span of an array's rows, transposed (rank, width), and the rows' coordinates in it (rank, count).
struct Span {
    basis: Mat<f64>,
    coordinates: Mat<f64>,
}

impl Span {
    fn of<T: Scalar>(rows: &[T], width: usize) -> Self {
        let columns = Mat::from_fn(width, rows.len() / width, |i, j| rows[j * width + i].widen());
        let qr = columns.qr();
        Self { basis: qr.compute_thin_Q().transpose().to_owned(), coordinates: qr.thin_R().to_owned() }
    }

    fn rank(&self) -> usize {
        self.basis.nrows()
    }
}

/// A matrix, row-major.
fn upload<D: Device>(device: &D, matrix: MatRef<'_, f64>) -> Result<D::Buffer> {
    let row = |i| (0..matrix.ncols()).map(move |j| D::Scalar::from_f64(matrix[(i, j)]));
    let scalars: Vec<D::Scalar> = (0..matrix.nrows()).flat_map(row).collect();
    let mut buffer = device.zeros(scalars.len())?;
    device.write(&mut buffer, 0, &scalars);
    Ok(buffer)
}

impl<D: Device> CompressedDense<D> {
    fn new(objective: &Objective<'_, D>, layer: &Dense, places: (usize, usize), spans: (Span, Span)) -> Result<Self> {
        let (device, (x, dz)) = (objective.device, spans);
        let mut start = 0;
        let chunks = objective.chunks.iter().map(|chunk| {
            let first = take(&mut start, chunk.samples);
            let [r, s] = [&x, &dz].map(|span| span.coordinates.subcols(first, chunk.samples));
            Ok(Coordinates {
                r: upload(device, r)?,
                rt: upload(device, r.transpose())?,
                s: upload(device, s)?,
                st: upload(device, s.transpose())?,
                triangle: Zeros::Below(first),
            })
        });
        Ok(Self {
            layer: layer.clone(),
            r: x.rank(),
            p: dz.rank(),
            places,
            chunks: chunks.collect::<Result<_>>()?,
            qt: upload(device, x.basis.as_ref())?,
            pt: upload(device, dz.basis.as_ref())?,
            p_matrix: upload(device, dz.basis.transpose())?,
            scratch: None,
        })
    }

    fn a_t<'b>(&self, vectors: &'b D::Buffer) -> Matrices<'b, D> {
        Matrices::new(vectors, self.places.0, self.layer.pitch)
    }

    fn b_t<'b>(&self, vectors: &'b D::Buffer) -> Matrices<'b, D> {
        Matrices::new(vectors, self.places.1, self.layer.pitch)
    }

    /// A product that is written to some place of each vector of a block.
    fn at<'b>(&self, place: usize, buffer: &'b mut D::Buffer) -> MatricesMut<'b, D> {
        MatricesMut { buffer, offset: place, pitch: self.layer.pitch }
    }

    /// The scratch, for some directions at least; it is put back with the number that it has room for.
    fn room(&mut self, device: &D, directions: usize) -> Result<(usize, D::Buffer, D::Buffer)> {
        match self.scratch.take() {
            Some(scratch) if scratch.0 >= directions => Ok(scratch),
            _ => Ok((
                directions,
                device.zeros(directions * self.r * self.layer.outputs)?,
                device.zeros(directions * self.p * self.r)?,
            )),
        }
    }

    /// Prepares for a block of directions: `(A + P B^T Q)^T`, for an A that has no part in the span of P.
    fn begin(&mut self, device: &D, directions: usize, vectors: &D::Buffer) -> Result<()> {
        let (room, mut weights, mut small) = self.room(device, directions)?;
        let Self { layer: Dense { inputs, outputs, pitch, .. }, r, p, ref pt, ref qt, .. } = *self;
        for k in 0..directions {
            device.copy(vectors, self.places.0 + k * pitch, &mut weights, k * r * outputs, r * outputs);
        }
        let (a, b) = (Matrices::same(qt), self.b_t(vectors).t());
        let c = MatricesMut { buffer: &mut small, offset: 0, pitch: p * r };
        device.multiply(Multiply { directions, shape: [r, inputs, p], a, b, c, store: Set });
        let (a, b) = (self.a_t(vectors), Matrices::same(&self.p_matrix));
        let c = MatricesMut { buffer: &mut small, offset: 0, pitch: p * r };
        device.multiply(Multiply { directions, shape: [r, outputs, p], a, b, c, store: Subtract });
        let (a, b) = (Matrices::new(&small, 0, p * r), Matrices::same(pt));
        let c = MatricesMut { buffer: &mut weights, offset: 0, pitch: r * outputs };
        device.multiply(Multiply { directions, shape: [r, p, outputs], a, b, c, store: Add });
        self.scratch = Some((room, weights, small));
        Ok(())
    }

    /// `tz = tW x` (K, N, O) of a chunk, after [`CompressedDense::begin`].
    pub fn tangent(&self, device: &D, chunk: usize, samples: usize, directions: usize, tz: &mut D::Buffer) {
        let outputs = self.layer.outputs;
        let (_, weights, _) = self.scratch.as_ref().expect("it was begun");
        let Coordinates { r, triangle, .. } = &self.chunks[chunk];
        let (a, b) = (Matrices::same(r).with(*triangle).t(), Matrices::new(weights, 0, self.r * outputs));
        let c = MatricesMut { buffer: tz, offset: 0, pitch: samples * outputs };
        device.multiply(Multiply { directions, shape: [samples, self.r, outputs], a, b, c, store: Set });
    }

    /// `tdx = dz tW` (K, N, I) of a chunk.
    pub fn tangent_backward(
        &self,
        device: &D,
        chunk: usize,
        samples: usize,
        directions: usize,
        vectors: &D::Buffer,
        tdx: &mut D::Buffer,
    ) {
        let inputs = self.layer.inputs;
        let Coordinates { s, triangle, .. } = &self.chunks[chunk];
        let (a, b) = (Matrices::same(s).with(*triangle).t(), self.b_t(vectors));
        let c = MatricesMut { buffer: tdx, offset: 0, pitch: samples * inputs };
        device.multiply(Multiply { directions, shape: [samples, self.p, inputs], a, b, c, store: Set });
    }

    /// `R tdz` and `S tx` of a chunk, to the places of A^T and B^T.
    #[allow(clippy::too_many_arguments, reason = "the pass needs the whole state, and each has its own owner")]
    pub fn products(
        &self,
        device: &D,
        chunk: usize,
        samples: usize,
        directions: usize,
        tdz: &D::Buffer,
        tx: &D::Buffer,
        products: &mut D::Buffer,
        accumulate: bool,
    ) {
        let Dense { inputs, outputs, .. } = self.layer;
        let Coordinates { rt, st, triangle, .. } = &self.chunks[chunk];
        let store = if accumulate { Add } else { Set };
        let (a, b) = (Matrices::same(rt).t().with(*triangle), Matrices::new(tdz, 0, samples * outputs));
        let c = self.at(self.places.0, products);
        device.multiply(Multiply { directions, shape: [self.r, samples, outputs], a, b, c, store });
        let (a, b) = (Matrices::same(st).t().with(*triangle), Matrices::new(tx, 0, samples * inputs));
        let c = self.at(self.places.1, products);
        device.multiply(Multiply { directions, shape: [self.p, samples, inputs], a, b, c, store });
    }

    /// Moves the part of A in the span of P to B, once the products of all chunks are there.
    fn finish(&mut self, device: &D, directions: usize, products: &mut D::Buffer) -> Result<()> {
        let (room, weights, mut small) = self.room(device, directions)?;
        self.cut(device, directions, products, &mut small);
        let (a, b) = (Matrices::new(&small, 0, self.p * self.r).t(), Matrices::same(&self.qt));
        let c = self.at(self.places.1, products);
        device.multiply(Multiply { directions, shape: [self.p, self.r, self.layer.inputs], a, b, c, store: Add });
        self.scratch = Some((room, weights, small));
        Ok(())
    }

    /// `A^T P` (K, r, p), and `A - P P^T A` to the place of A.
    fn cut(&self, device: &D, directions: usize, vectors: &mut D::Buffer, small: &mut D::Buffer) {
        let Self { layer: Dense { outputs, .. }, r, p, ref pt, .. } = *self;
        let (a, b) = (self.a_t(vectors), Matrices::same(&self.p_matrix));
        let c = MatricesMut { buffer: small, offset: 0, pitch: p * r };
        device.multiply(Multiply { directions, shape: [r, outputs, p], a, b, c, store: Set });
        let (a, b) = (Matrices::new(small, 0, p * r), Matrices::same(pt));
        let c = self.at(self.places.0, vectors);
        device.multiply(Multiply { directions, shape: [r, p, outputs], a, b, c, store: Subtract });
    }

    /// `A Q^T + P B^T` of a vector of coordinates, which loses what stands for nothing, to `offset` of a parameter vector.
    fn lift(&mut self, device: &D, vector: &mut D::Buffer, offset: usize, to: &mut D::Buffer) -> Result<()> {
        let (room, weights, mut small) = self.room(device, 1)?;
        self.cut(device, 1, vector, &mut small);
        let Dense { inputs, outputs, .. } = self.layer;
        let (a, b) = (self.a_t(vector).t(), Matrices::same(&self.qt));
        let c = MatricesMut { buffer: to, offset, pitch: 0 };
        device.multiply(Multiply { directions: 1, shape: [outputs, self.r, inputs], a, b, c, store: Set });
        let (a, b) = (Matrices::same(&self.pt).t(), self.b_t(vector));
        let c = MatricesMut { buffer: to, offset, pitch: 0 };
        device.multiply(Multiply { directions: 1, shape: [outputs, self.p, inputs], a, b, c, store: Add });
        self.scratch = Some((room, weights, small));
        Ok(())
    }
}

impl<'h, 'a, D: Device> Compression<'h, 'a, D> {
    /// The compression, or none if it would not halve the weights of a dense layer behind another layer, since with as many samples
    /// products are faster as they are, or if fewer than `least` coordinates would be left.
    pub(super) fn new(hessian: &'h mut Linearization<'a, D>, least: usize) -> Result<Option<Self>> {
        let (device, network) = (hessian.objective.device, hessian.objective.network);
        let spans = (0..network.layers().len()).map(|l| spans_if_they_pay(hessian, l)).collect::<Result<Vec<_>>>()?;
        if spans.iter().all(Option::is_none) {
            return Ok(None);
        }
        // Where each layer's weight, or A^T and B^T, and its bias lie.
        let mut dimension = 0;
        let mut place = |len: usize| take(&mut dimension, len);
        let places: Vec<_> = network
            .layers()
            .iter()
            .zip(&spans)
            .map(|(layer, spans)| match spans {
                Some((x, dz)) => {
                    let (a, b) = (place(x.rank() * layer.output_len()), place(dz.rank() * layer.input_len()));
                    (a, Some(b), place(lengths(layer).1))
                }
                None => (place(lengths(layer).0), None, place(lengths(layer).1)),
            })
            .collect();
        if dimension < least {
            return Ok(None);
        }
        let mut end = dimension;
        let (mut layers, mut compressed) = (Vec::new(), Vec::new());
        for ((layer, spans), (first, second, bias)) in network.layers().iter().zip(spans).zip(places) {
            let weight = if spans.is_some() { take(&mut end, lengths(layer).0) } else { first };
            let layer = layer.moved(weight, bias, dimension);
            compressed.push(match (spans, second, &layer) {
                (Some(spans), Some(second), Layer::Dense(dense)) => {
                    Some(CompressedDense::new(hessian.objective, dense, (first, second), spans)?)
                }
                _ => None,
            });
            layers.push(layer);
        }
        let mut theta = device.zeros(end)?;
        for (full, layer) in network.layers().iter().zip(&layers) {
            let ((weight, bias), (to_weight, to_bias), (weights, biases)) =
                (starts(full), starts(layer), lengths(full));
            device.copy(&hessian.theta, weight, &mut theta, to_weight, weights);
            device.copy(&hessian.theta, bias, &mut theta, to_bias, biases);
        }
        Ok(Some(Self { hessian, layers, compressed, theta, dimension, lifted: None }))
    }
}

/// The place where `end` is, which moves on by `len`.
fn take(end: &mut usize, len: usize) -> usize {
    *end += len;
    *end - len
}

/// Where a layer's weight and bias start.
fn starts(layer: &Layer) -> (usize, usize) {
    match layer {
        Layer::Conv(c) => (c.weight, c.bias),
        Layer::Dense(d) => (d.weight, d.bias),
    }
}

/// Lengths of a layer's weight and bias.
fn lengths(layer: &Layer) -> (usize, usize) {
    match layer {
        Layer::Conv(c) => (c.weight_len(), c.out_channels),
        Layer::Dense(d) => (d.inputs * d.outputs, d.outputs),
    }
}

/// The spans of a layer's inputs and of its adjoints over all samples, if coordinates in them are half as long as its weight at most.
/// The first layer's are not looked at: its input has no tangent.
fn spans_if_they_pay<D: Device>(hessian: &mut Linearization<'_, D>, l: usize) -> Result<Option<(Span, Span)>> {
    let (layer, samples) = (&hessian.objective.network.layers()[l], hessian.objective.samples);
    let Layer::Dense(Dense { inputs, outputs, .. }) = *layer else { return Ok(None) };
    if l == 0 || 2 * (samples.min(inputs) * outputs + samples.min(outputs) * inputs) > inputs * outputs {
        return Ok(None);
    }
    let (mut x, mut dz) = (Vec::new(), Vec::new());
    hessian.each_primal(|device, chunk, _, primal| {
        let samples = chunk.samples;
        x.extend(device.read(primal.output(l - 1), 0..samples * inputs)?);
        dz.extend(device.read(primal.adjoint(l), 0..samples * outputs)?);
        Ok(())
    })?;
    Ok(Some(rayon::join(|| Span::of(&x, inputs), || Span::of(&dz, outputs))))
}

impl<D: Device> SymmetricOperator<D> for Compression<'_, '_, D> {
    fn device(&self) -> &D {
        self.hessian.device()
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn max_block(&self) -> usize {
        self.hessian.directions_of(self.dimension)
    }

    fn apply(&mut self, count: usize, vectors: &D::Buffer, products: &mut D::Buffer) -> Result<()> {
        let device = self.hessian.device();
        for compressed in self.compressed.iter_mut().flatten() {
            compressed.begin(device, count, vectors)?;
        }
        let frame = Frame { layers: &self.layers, theta: &self.theta, compressed: &self.compressed, coupling: None };
        self.hessian.products(Some(frame), count, vectors, products)?;
        for compressed in self.compressed.iter_mut().flatten() {
            compressed.finish(device, count, products)?;
        }
        Ok(())
    }

    /// The parameter vector (dim) that a vector of coordinates (dimension) stands for.
    fn lift(&mut self, vector: &mut D::Buffer) -> Result<Vec<D::Scalar>> {
        let (device, network) = (self.hessian.device(), self.hessian.objective.network);
        let mut lifted = match self.lifted.take() {
            Some(lifted) => lifted,
            None => device.zeros(network.dim())?,
        };
        for ((full, layer), compressed) in network.layers().iter().zip(&self.layers).zip(&mut self.compressed) {
            let ((weight, bias), (to_weight, to_bias), (weights, biases)) =
                (starts(layer), starts(full), lengths(full));
            match compressed {
                Some(compressed) => compressed.lift(device, vector, to_weight, &mut lifted)?,
                None => device.copy(vector, weight, &mut lifted, to_weight, weights),
            }
            device.copy(vector, bias, &mut lifted, to_bias, biases);
        }
        let host = device.read(&lifted, 0..network.dim());
        self.lifted = Some(lifted);
        host
    }
}
