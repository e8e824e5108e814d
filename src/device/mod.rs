//! The device contract: buffers of scalars, the kernels of the network and those of the eigensolver.
//!
//! [`cpu`] implements it in Rust for f32 and f64, [`gpu`] in WGSL. The mathematics above it never knows which one runs.
//!
//! Names carry the order of derivative: `x` value, `dx` adjoint, `tx` tangent, `tdx` tangent of the adjoint. A *block*
//! of `directions` parameter vectors lies in one buffer, one vector after the other, `pitch` scalars apart; tangents of
//! activations are `(directions, samples, features)`. All arrays are row-major.
//!
//! A *route code* says, for each pooled output, which of the four positions of its 2x2 window won: 0, 1, 2, 3 in
//! row-major order (ties go to the first), or [`DEAD`] when the ReLU is off. Tangents and adjoints alike are nonzero
//! only at the routed position.
//!
//! Kernels are enqueued: a GPU may run them later, in order; what reads, and [`Device::gram`], wait. Two runs of the
//! same calls on the same device give the same bits.

pub mod cpu;
pub mod gpu;
mod select;

pub use select::{AnyDevice, Choice, Precision, automatic, choose};

use crate::Result;
use crate::network::{Conv, Dense, Layer, Network};
use std::ops::Range;

/// Route code of a pooled output whose ReLU is off.
pub const DEAD: u8 = 4;

/// f32 or f64.
pub trait Scalar:
    cpu::simd::SimdScalar
    + cpu::conv::Kernels
    + num_traits::Float
    + num_traits::NumAssign
    + Default
    + Send
    + Sync
    + std::fmt::Debug
    + std::iter::Sum
    + 'static
{
    /// From the f32 of files and settings.
    fn from_f32(value: f32) -> Self;
    /// From a host f64, rounded.
    fn from_f64(value: f64) -> Self;
    /// To a host f64, exactly.
    fn widen(self) -> f64;
}

impl Scalar for f32 {
    fn from_f32(value: f32) -> Self {
        value
    }
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn widen(self) -> f64 {
        f64::from(self)
    }
}

impl Scalar for f64 {
    fn from_f32(value: f32) -> Self {
        f64::from(value)
    }
    fn from_f64(value: f64) -> Self {
        value
    }
    fn widen(self) -> f64 {
        self
    }
}

/// `p = pool(relu(W x + b))`.
pub struct ConvForward<'a, D: Device + ?Sized> {
    /// Number of samples N.
    pub samples: usize,
    /// Parameters (dim).
    pub theta: &'a D::Buffer,
    /// Input (N, IC, H, W).
    pub x: &'a D::Buffer,
    /// Output: pooled values (N, OC, H/2, W/2).
    pub p: &'a mut D::Buffer,
    /// Output: route codes (N, OC, H/2, W/2).
    pub route: &'a mut D::Codes,
}

/// `tp = (W tx + tW x + tb)[route]`, zero where dead.
pub struct ConvTangent<'a, D: Device + ?Sized> {
    /// Number of samples N.
    pub samples: usize,
    /// Number of directions K.
    pub directions: usize,
    /// Parameters (dim).
    pub theta: &'a D::Buffer,
    /// Tangents of the parameters (K, pitch).
    pub vectors: &'a D::Buffer,
    /// Input (N, IC, H, W).
    pub x: &'a D::Buffer,
    /// Tangents of the input (K, N, IC, H, W); `None` in the first layer.
    pub tx: Option<&'a D::Buffer>,
    /// Route codes (N, OC, H/2, W/2).
    pub route: &'a D::Codes,
    /// Output: tangents of the pooled values (K, N, OC, H/2, W/2).
    pub tp: &'a mut D::Buffer,
}

/// `dz = unroute(dp)`, `dW = dz x^T`, `db = sum dz`, `dx = W^T dz`.
pub struct ConvBackward<'a, D: Device + ?Sized> {
    /// Number of samples N.
    pub samples: usize,
    /// Parameters (dim).
    pub theta: &'a D::Buffer,
    /// Input (N, IC, H, W).
    pub x: &'a D::Buffer,
    /// Route codes (N, OC, H/2, W/2).
    pub route: &'a D::Codes,
    /// Adjoint of the pooled values (N, OC, H/2, W/2); entries at dead outputs are ignored.
    pub dp: &'a D::Buffer,
    /// Output: gradient (dim), at this layer's weight and bias.
    pub gradient: &'a mut D::Buffer,
    /// Whether the gradient is added to, instead of replaced.
    pub accumulate: bool,
    /// Output: adjoint of the input (N, IC, H, W); `None` in the first layer.
    pub dx: Option<&'a mut D::Buffer>,
}

/// `tdz = unroute(tdp)`, `tdW = tdz x^T + dz tx^T`, `tdb = sum tdz`, `tdx = W^T tdz + tW^T dz`. Without `dp`, the terms with `dz` are
/// left out: a [`ConvCoupling`] has them.
pub struct ConvTangentBackward<'a, D: Device + ?Sized> {
    /// Number of samples N.
    pub samples: usize,
    /// Number of directions K.
    pub directions: usize,
    /// Parameters (dim).
    pub theta: &'a D::Buffer,
    /// Tangents of the parameters (K, pitch).
    pub vectors: &'a D::Buffer,
    /// Input (N, IC, H, W).
    pub x: &'a D::Buffer,
    /// Tangents of the input (K, N, IC, H, W); `None` in the first layer.
    pub tx: Option<&'a D::Buffer>,
    /// Route codes (N, OC, H/2, W/2).
    pub route: &'a D::Codes,
    /// Adjoint of the pooled values (N, OC, H/2, W/2); entries at dead outputs are ignored. `None` where its terms are not wanted.
    pub dp: Option<&'a D::Buffer>,
    /// Tangents of that adjoint (K, N, OC, H/2, W/2); entries at dead outputs are ignored.
    pub tdp: &'a D::Buffer,
    /// Output: Hessian-vector products (K, pitch), at this layer's weight and bias.
    pub products: &'a mut D::Buffer,
    /// Whether the products are added to, instead of replaced.
    pub accumulate: bool,
    /// Output: tangents of the adjoint of the input (K, N, IC, H, W); `None` in the first layer.
    pub tdx: Option<&'a mut D::Buffer>,
}

/// What two conv blocks' parameters have to do with each other through the adjoint of the second: with channels c between them,
/// `tdW2[o, c] += sum_j M[j, o, c] t1[c, j]` and `td1[c, j] += sum_(o, taps) M[j, o, c] tW2[o, c]`.
///
/// `t1[c]` is the direction's part for the weights of channel c of the first block, and then its bias: J components.
pub struct ConvCoupling<'a, D: Device + ?Sized> {
    /// Number of directions K.
    pub directions: usize,
    /// `M` (J, OC, IC, K, K): for each of the J, an array as the second block's weight.
    pub matrix: &'a D::Buffer,
    /// Tangents of the parameters (K, pitch).
    pub vectors: &'a D::Buffer,
    /// Output: Hessian-vector products (K, pitch), which are added to, at the first block's weight and bias and the second's
    /// weight.
    pub products: &'a mut D::Buffer,
}

/// `y = W x + b`, then the ReLU if the layer has one.
pub struct DenseForward<'a, D: Device + ?Sized> {
    /// Number of samples N.
    pub samples: usize,
    /// Parameters (dim).
    pub theta: &'a D::Buffer,
    /// Input (N, I).
    pub x: &'a D::Buffer,
    /// Output (N, O).
    pub y: &'a mut D::Buffer,
}

/// `ty = m (W tx + tW x + tb)` with the mask `m = 1[y > 0]` if the layer has a ReLU. Without `x`, `ty` comes with `tW x`, and the
/// vectors hold no weights, only the bias.
pub struct DenseTangent<'a, D: Device + ?Sized> {
    /// Number of samples N.
    pub samples: usize,
    /// Number of directions K.
    pub directions: usize,
    /// Parameters (dim).
    pub theta: &'a D::Buffer,
    /// Tangents of the parameters (K, pitch).
    pub vectors: &'a D::Buffer,
    /// Input (N, I); `None` where `tW x` is in `ty` already.
    pub x: Option<&'a D::Buffer>,
    /// Tangents of the input (K, N, I); `None` in the first layer. One of `x` and `tx` is there.
    pub tx: Option<&'a D::Buffer>,
    /// The layer's output (N, O), for its mask.
    pub y: &'a D::Buffer,
    /// Output: tangents of the output (K, N, O).
    pub ty: &'a mut D::Buffer,
}

/// `dz = m dy` (in place), `dW = dz^T x`, `db = sum dz`, `dx = dz W`.
pub struct DenseBackward<'a, D: Device + ?Sized> {
    /// Number of samples N.
    pub samples: usize,
    /// Parameters (dim).
    pub theta: &'a D::Buffer,
    /// Input (N, I).
    pub x: &'a D::Buffer,
    /// The layer's output (N, O), for its mask.
    pub y: &'a D::Buffer,
    /// In: adjoint `dy` of the output (N, O). Out: masked to `dz`, as [`DenseTangentBackward`] wants it.
    pub dy: &'a mut D::Buffer,
    /// Output: gradient (dim), at this layer's weight and bias.
    pub gradient: &'a mut D::Buffer,
    /// Whether the gradient is added to, instead of replaced.
    pub accumulate: bool,
    /// Output: adjoint of the input (N, I); `None` in the first layer.
    pub dx: Option<&'a mut D::Buffer>,
}

/// `tdz = m tdy` (in place), `tdW = tdz^T x + dz^T tx`, `tdb = sum tdz`, `tdx = tdz W + dz tW`. Without `x`, `tdx` comes with
/// `dz tW`, the vectors hold no weights, and no `tdW` is wanted.
pub struct DenseTangentBackward<'a, D: Device + ?Sized> {
    /// Number of samples N.
    pub samples: usize,
    /// Number of directions K.
    pub directions: usize,
    /// Parameters (dim).
    pub theta: &'a D::Buffer,
    /// Tangents of the parameters (K, pitch).
    pub vectors: &'a D::Buffer,
    /// Input (N, I); `None` where `dz tW` is in `tdx` already.
    pub x: Option<&'a D::Buffer>,
    /// Tangents of the input (K, N, I); `None` in the first layer.
    pub tx: Option<&'a D::Buffer>,
    /// The layer's output (N, O), for its mask.
    pub y: &'a D::Buffer,
    /// Masked adjoint of the output (N, O), as [`DenseBackward`] left it.
    pub dz: &'a D::Buffer,
    /// In: tangents `tdy` of the adjoint of the output (K, N, O). Out: masked to `tdz`.
    pub tdy: &'a mut D::Buffer,
    /// Output: Hessian-vector products (K, pitch), at this layer's weight and bias.
    pub products: &'a mut D::Buffer,
    /// Whether the products are added to, instead of replaced.
    pub accumulate: bool,
    /// Output: tangents of the adjoint of the input (K, N, I); `None` in the first layer.
    pub tdx: Option<&'a mut D::Buffer>,
}

/// Entries of a matrix that are zero: a kernel may pass by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// None that are known of.
    Unknown,
    /// Entry (i, j) with j > i + n.
    Right(usize),
    /// Entry (i, j) with i > j + n.
    Below(usize),
}

/// A row-major matrix in each direction: that of the k-th starts at `offset + k * pitch`. A pitch of 0 is one for all.
pub struct Matrices<'a, D: Device + ?Sized> {
    /// Where they lie.
    pub buffer: &'a D::Buffer,
    /// First entry of the first matrix.
    pub offset: usize,
    /// Distance between matrices.
    pub pitch: usize,
    /// Whether what lies there is the transpose.
    pub transposed: bool,
    /// Which entries are zero.
    pub zeros: Zeros,
}

impl<'a, D: Device + ?Sized> Matrices<'a, D> {
    /// One matrix, at the beginning of a buffer, for all directions.
    pub fn same(buffer: &'a D::Buffer) -> Self {
        Self::new(buffer, 0, 0)
    }

    /// Matrices at these places.
    pub fn new(buffer: &'a D::Buffer, offset: usize, pitch: usize) -> Self {
        Self { buffer, offset, pitch, transposed: false, zeros: Zeros::Unknown }
    }

    /// The same, with entries that are zero.
    pub fn with(self, zeros: Zeros) -> Self {
        Self { zeros, ..self }
    }

    /// Their transposes.
    pub fn t(self) -> Self {
        let zeros = match self.zeros {
            Zeros::Unknown => Zeros::Unknown,
            Zeros::Right(n) => Zeros::Below(n),
            Zeros::Below(n) => Zeros::Right(n),
        };
        Self { transposed: !self.transposed, zeros, ..self }
    }
}

/// As [`Matrices`], to be written.
pub struct MatricesMut<'a, D: Device + ?Sized> {
    /// Where they lie.
    pub buffer: &'a mut D::Buffer,
    /// First entry of the first matrix.
    pub offset: usize,
    /// Distance between matrices.
    pub pitch: usize,
}

/// What becomes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// It replaces what is there.
    Set,
    /// It is added to it.
    Add,
    /// It is subtracted from it.
    Subtract,
}

/// `C = A B` in each direction, or `C += A B`, or `C -= A B`.
pub struct Multiply<'a, D: Device + ?Sized> {
    /// Number of directions K.
    pub directions: usize,
    /// Rows of A and C; columns of A and rows of B; columns of B and C.
    pub shape: [usize; 3],
    /// A.
    pub a: Matrices<'a, D>,
    /// B.
    pub b: Matrices<'a, D>,
    /// Output: C.
    pub c: MatricesMut<'a, D>,
    /// What becomes of the product.
    pub store: Store,
}

/// Softmax cross-entropy of each sample, and `r = s - onehot(label)`.
///
/// The correct class's entry of `r` is minus the sum of the others, not `s - 1`, which would cancel late in training.
pub struct LossForward<'a, D: Device + ?Sized> {
    /// Number of samples N.
    pub samples: usize,
    /// Number of classes C.
    pub classes: usize,
    /// Logits (N, C).
    pub logits: &'a D::Buffer,
    /// Labels (N).
    pub labels: &'a D::Codes,
    /// Output: loss of each sample (N).
    pub losses: &'a mut D::Buffer,
    /// Output: `s - onehot(label)` (N, C).
    pub r: &'a mut D::Buffer,
}

/// `dlogits = scale * r`; `scale` is one over the size of the whole subset.
pub struct LossBackward<'a, D: Device + ?Sized> {
    /// Number of samples N.
    pub samples: usize,
    /// Number of classes C.
    pub classes: usize,
    /// One over the size of the whole subset.
    pub scale: f64,
    /// `s - onehot(label)` (N, C).
    pub r: &'a D::Buffer,
    /// Output: adjoint of the logits (N, C).
    pub dlogits: &'a mut D::Buffer,
}

/// `tdlogits = scale * (diag(s) - s s^T) tlogits`.
///
/// With c the correct class and m = t_c + sum_{j != c} r_j (t_j - t_c), entry j is r_j (t_j - m) and entry c is minus the
/// sum of the others: no cancellation when s_c is near one.
pub struct LossTangentBackward<'a, D: Device + ?Sized> {
    /// Number of samples N.
    pub samples: usize,
    /// Number of classes C.
    pub classes: usize,
    /// Number of directions K.
    pub directions: usize,
    /// One over the size of the whole subset.
    pub scale: f64,
    /// `s - onehot(label)` (N, C).
    pub r: &'a D::Buffer,
    /// Labels (N).
    pub labels: &'a D::Codes,
    /// Tangents of the logits (K, N, C).
    pub tlogits: &'a D::Buffer,
    /// Output: tangents of the adjoint of the logits (K, N, C).
    pub tdlogits: &'a mut D::Buffer,
}

/// One step of RMSProp with momentum in TensorFlow 1's form, on every component:
/// `ms <- decay ms + (1 - decay) g^2`, `mom <- momentum mom + rate g / sqrt(ms + epsilon)`, `theta <- theta - mom`.
pub struct RmsPropStep<'a, D: Device + ?Sized> {
    /// Number of components.
    pub len: usize,
    /// Learning rate of this step.
    pub rate: f64,
    /// Decay of the mean square.
    pub decay: f64,
    /// Momentum.
    pub momentum: f64,
    /// Added to the mean square inside the root.
    pub epsilon: f64,
    /// Gradient (len).
    pub gradient: &'a D::Buffer,
    /// Mean square (len), updated.
    pub mean_square: &'a mut D::Buffer,
    /// Momentum (len), updated.
    pub momenta: &'a mut D::Buffer,
    /// Parameters (len), updated.
    pub theta: &'a mut D::Buffer,
}

/// `count` columns in a buffer, each contiguous: row i of column j is at `offset + j * pitch + i`.
pub struct Columns<'a, D: Device + ?Sized> {
    /// Where they lie.
    pub buffer: &'a D::Buffer,
    /// First row of the first column.
    pub offset: usize,
    /// Distance between columns.
    pub pitch: usize,
    /// Number of columns.
    pub count: usize,
}

/// As [`Columns`], to be written.
pub struct ColumnsMut<'a, D: Device + ?Sized> {
    /// Where they lie.
    pub buffer: &'a mut D::Buffer,
    /// First row of the first column.
    pub offset: usize,
    /// Distance between columns.
    pub pitch: usize,
    /// Number of columns.
    pub count: usize,
}

/// One range of rows of the tall product `A^T B`.
pub struct Gram<'a, D: Device + ?Sized> {
    /// Number of rows.
    pub rows: usize,
    /// Left columns.
    pub a: Columns<'a, D>,
    /// Right columns.
    pub b: Columns<'a, D>,
}

/// `W <- (W - V h) m` on a range of rows, in one sweep.
pub struct Update<'a, D: Device + ?Sized> {
    /// Number of rows.
    pub rows: usize,
    /// Columns of W (b), overwritten.
    pub w: ColumnsMut<'a, D>,
    /// Columns of V (k); may be none.
    pub v: Columns<'a, D>,
    /// `k x b`, row-major.
    pub h: &'a [f64],
    /// `b x b`, row-major.
    pub m: &'a [f64],
}

/// `X = V s` on a range of rows.
pub struct Combine<'a, D: Device + ?Sized> {
    /// Number of rows.
    pub rows: usize,
    /// Columns of V (k).
    pub v: Columns<'a, D>,
    /// `k x p`, row-major.
    pub s: &'a [f64],
    /// Output: columns of X (p).
    pub x: ColumnsMut<'a, D>,
}

/// What runs the kernels. Shapes are those of the call structs, with at least one sample and direction; a mismatch is a bug and panics.
pub trait Device: Sync {
    /// The type it computes in.
    type Scalar: Scalar;
    /// An array of scalars.
    type Buffer: Send + Sync;
    /// An array of small codes: routes and labels.
    type Codes: Send + Sync;
    /// Bytes that a route code takes, with what the kernels keep of it.
    const CODE_BYTES: usize;

    /// Name, precision and driver in one line, for logs and run records.
    fn description(&self) -> String;

    /// The largest buffer that a kernel can bind, in scalars.
    fn max_buffer_len(&self) -> usize;

    /// Bytes that a [`crate::objective::Linearization`] may keep by default.
    fn default_memory(&self) -> usize;

    /// Whether the device has kernels for a conv block of this shape.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] if not.
    fn check_conv(&self, _layer: &Conv) -> Result<()> {
        Ok(())
    }

    /// Whether it has kernels for all layers of a network: to be asked before a run leaves files behind.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] if not.
    fn check(&self, network: &Network) -> Result<()> {
        network.layers().iter().try_for_each(|layer| match layer {
            Layer::Conv(conv) => self.check_conv(conv),
            Layer::Dense(_) => Ok(()),
        })
    }

    /// A buffer of zeros.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if it does not fit.
    fn zeros(&self, len: usize) -> Result<Self::Buffer>;

    /// A buffer with these values, rounded or widened to the device's type.
    ///
    /// # Errors
    /// As [`Device::zeros`].
    fn upload(&self, values: &[f32]) -> Result<Self::Buffer> {
        let mut buffer = self.zeros(values.len())?;
        self.write(&mut buffer, 0, &values.iter().map(|&v| Self::Scalar::from_f32(v)).collect::<Vec<_>>());
        Ok(buffer)
    }

    /// An array of codes, all zero.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if it does not fit.
    fn codes(&self, len: usize) -> Result<Self::Codes>;

    /// Copies host scalars to `offset..` of a buffer.
    fn write(&self, buffer: &mut Self::Buffer, offset: usize, values: &[Self::Scalar]);

    /// Copies codes from the host to the beginning of an array.
    fn write_codes(&self, codes: &mut Self::Codes, values: &[u8]);

    /// Waits and copies a range of a buffer to the host.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device was lost.
    fn read(&self, buffer: &Self::Buffer, range: Range<usize>) -> Result<Vec<Self::Scalar>>;

    /// Waits and copies the first `len` scalars to the host, rounded to f32.
    ///
    /// # Errors
    /// As [`Device::read`].
    fn download(&self, buffer: &Self::Buffer, len: usize) -> Result<Vec<f32>> {
        Ok(self.read(buffer, 0..len)?.into_iter().map(|s| s.widen() as f32).collect())
    }

    /// Waits and copies the first `len` codes to the host.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device was lost.
    fn read_codes(&self, codes: &Self::Codes, len: usize) -> Result<Vec<u8>>;

    /// Sets a range to zero.
    fn clear(&self, buffer: &mut Self::Buffer, range: Range<usize>);

    /// Copies `len` scalars from one buffer to another.
    fn copy(&self, from: &Self::Buffer, at: usize, to: &mut Self::Buffer, to_at: usize, len: usize);

    /// See [`ConvForward`].
    fn conv_forward(&self, layer: &Conv, call: ConvForward<'_, Self>);
    /// See [`ConvTangent`].
    fn conv_tangent(&self, layer: &Conv, call: ConvTangent<'_, Self>);
    /// See [`ConvBackward`].
    fn conv_backward(&self, layer: &Conv, call: ConvBackward<'_, Self>);
    /// See [`ConvTangentBackward`].
    fn conv_tangent_backward(&self, layer: &Conv, call: ConvTangentBackward<'_, Self>);
    /// See [`ConvCoupling`]; `second` follows `first`.
    fn conv_coupling(&self, first: &Conv, second: &Conv, call: ConvCoupling<'_, Self>);
    /// See [`DenseForward`].
    fn dense_forward(&self, layer: &Dense, call: DenseForward<'_, Self>);
    /// See [`DenseTangent`].
    fn dense_tangent(&self, layer: &Dense, call: DenseTangent<'_, Self>);
    /// See [`DenseBackward`].
    fn dense_backward(&self, layer: &Dense, call: DenseBackward<'_, Self>);
    /// See [`DenseTangentBackward`].
    fn dense_tangent_backward(&self, layer: &Dense, call: DenseTangentBackward<'_, Self>);
    /// See [`Multiply`].
    fn multiply(&self, call: Multiply<'_, Self>);
    /// See [`LossForward`].
    fn loss_forward(&self, call: LossForward<'_, Self>);
    /// See [`LossBackward`].
    fn loss_backward(&self, call: LossBackward<'_, Self>);
    /// See [`LossTangentBackward`].
    fn loss_tangent_backward(&self, call: LossTangentBackward<'_, Self>);
    /// See [`RmsPropStep`].
    fn rmsprop_step(&self, call: RmsPropStep<'_, Self>);

    /// Products `A^T B`, each summed over its pieces, row-major `(a.count, b.count)`; short partial sums in the device's type, the
    /// rest in f64 on the host, to which all products take one trip. All pieces of a product have the same counts.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device was lost.
    fn gram(&self, products: &[&[Gram<'_, Self>]]) -> Result<Vec<Vec<f64>>>;
    /// See [`Update`].
    fn update(&self, call: Update<'_, Self>);
    /// See [`Combine`].
    fn combine(&self, call: Combine<'_, Self>);
}
