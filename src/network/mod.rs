//! The network: a list of conv blocks and dense layers, and where each parameter lies in the flattened vector.
//!
//! A parameter vector, a gradient, a direction and an eigenvector are all the same thing here: `dim` scalars, the
//! concatenation of the parameters in layer order, each flattened row-major, with PyTorch's names and shapes.

mod init;
mod spec;

pub use init::Init;

use crate::data::ImageShape;
use crate::{Error, Result};

/// Convolution (odd kernel, zero padding that keeps the size), bias, ReLU, 2x2 max-pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Input channels.
    pub in_channels: usize,
    /// Output channels ("maps").
    pub out_channels: usize,
    /// Height of the input.
    pub height: usize,
    /// Width of the input.
    pub width: usize,
    /// Side of the square kernel; odd.
    pub kernel: usize,
    /// Where the weight `(out_channels, in_channels, kernel, kernel)` starts in a parameter vector.
    pub weight: usize,
    /// Where the bias `(out_channels)` starts in a parameter vector.
    pub bias: usize,
    /// Distance between two directions of a block of parameter vectors.
    pub pitch: usize,
}

impl Conv {
    /// Height after pooling (an odd last row is dropped, as PyTorch does).
    pub fn pooled_height(&self) -> usize {
        self.height / 2
    }

    /// Width after pooling.
    pub fn pooled_width(&self) -> usize {
        self.width / 2
    }

    /// Scalars of one input sample.
    pub fn input_len(&self) -> usize {
        self.in_channels * self.height * self.width
    }

    /// Scalars of one pooled output sample; also its number of route codes.
    pub fn output_len(&self) -> usize {
        self.out_channels * self.pooled_height() * self.pooled_width()
    }

    /// Weights that feed one output: `in_channels * kernel * kernel`.
    pub fn patch_len(&self) -> usize {
        self.in_channels * self.kernel * self.kernel
    }

    /// Number of weights.
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.patch_len()
    }

    /// The same layer with its parameters elsewhere.
    pub(crate) fn moved(&self, weight: usize, bias: usize, pitch: usize) -> Self {
        Self { weight, bias, pitch, ..self.clone() }
    }
}

/// Matrix, bias, optional ReLU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dense {
    /// Input features.
    pub inputs: usize,
    /// Output features.
    pub outputs: usize,
    /// Whether a ReLU follows.
    pub relu: bool,
    /// Where the weight `(outputs, inputs)` starts in a parameter vector.
    pub weight: usize,
    /// Where the bias `(outputs)` starts in a parameter vector.
    pub bias: usize,
    /// Distance between two directions of a block of parameter vectors.
    pub pitch: usize,
}

/// One layer of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Convolution, ReLU and pooling.
    Conv(Conv),
    /// Fully connected.
    Dense(Dense),
}

impl Layer {
    /// Scalars of one input sample.
    pub fn input_len(&self) -> usize {
        match self {
            Layer::Conv(c) => c.input_len(),
            Layer::Dense(d) => d.inputs,
        }
    }

    /// Scalars of one output sample.
    pub fn output_len(&self) -> usize {
        match self {
            Layer::Conv(c) => c.output_len(),
            Layer::Dense(d) => d.outputs,
        }
    }

    /// The same layer with its parameters elsewhere.
    pub(crate) fn moved(&self, weight: usize, bias: usize, pitch: usize) -> Self {
        match self {
            Layer::Conv(c) => Layer::Conv(c.moved(weight, bias, pitch)),
            Layer::Dense(d) => Layer::Dense(Dense { weight, bias, pitch, ..d.clone() }),
        }
    }

    /// Multiply-adds of one sample's forward pass, as a dense computation.
    pub fn multiply_adds(&self) -> usize {
        match self {
            Layer::Conv(c) => c.weight_len() * c.height * c.width,
            Layer::Dense(d) => d.inputs * d.outputs,
        }
    }
}

/// A named parameter tensor and its place in the flattened vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// PyTorch's name: `conv1.weight`, `fc2.bias`, ...
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// First component in the flattened vector.
    pub offset: usize,
}

impl Parameter {
    /// Number of components.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no components (never true in a valid network).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The components' range in a flattened vector.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// `(fan_in, fan_out)` of a weight; `None` for a bias.
    pub fn fans(&self) -> Option<(usize, usize)> {
        match self.shape[..] {
            [out, input] => Some((input, out)),
            [out, input, h, w] => Some((input * h * w, out * h * w)),
            _ => None,
        }
    }
}

/// What a layer is before its input size is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Conv { kernel: usize, maps: usize },
    Dense { outputs: usize },
}

/// A network: layers in order, and the layout of the parameter vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    spec: String,
    input: ImageShape,
    layers: Vec<Layer>,
    parameters: Vec<Parameter>,
    dim: usize,
}

impl Network {
    /// The LeNet of the paper: conv 5x5 with 32 and 64 maps, 1024 hidden units, `classes` outputs.
    ///
    /// 3,274,634 parameters on 28x28x1, 4,259,274 on 32x32x3.
    pub fn lenet(input: ImageShape, classes: usize) -> Result<Self> {
        Self::parse(&format!("conv 5x5 32, conv 5x5 64, dense 1024, dense {classes}"), input, classes)
    }

    /// Reads a network from text: `lenet`, or conv blocks and dense layers separated by commas, such as
    /// `conv 3x3 4, conv 3x3 8, dense 16, dense 10`. The last layer is dense, has `classes` outputs and no ReLU.
    ///
    /// # Errors
    /// [`Error::Usage`] for text that is not a network, or that does not fit the input or the classes.
    pub fn parse(text: &str, input: ImageShape, classes: usize) -> Result<Self> {
        if text.trim().eq_ignore_ascii_case("lenet") {
            return Self::lenet(input, classes);
        }
        let blocks = spec::parse(text)?;
        if blocks.last() != Some(&Block::Dense { outputs: classes }) {
            return Err(Error::Usage(format!(
                "network \"{text}\": the last layer must be \"dense {classes}\", one output for each class"
            )));
        }
        Self::build(&blocks, input)
    }

    /// The network whose parameters have these names and shapes, as a checkpoint lists them.
    ///
    /// # Errors
    /// [`Error::Usage`] if no network of conv blocks and dense layers on `input` has these parameters.
    pub fn from_shapes(shapes: &[(String, Vec<usize>)], input: ImageShape) -> Result<Self> {
        let shape_of = |name: &str| shapes.iter().find(|(n, _)| n == name).map(|(_, shape)| shape.as_slice());
        let mut blocks = Vec::new();
        for i in 1.. {
            match shape_of(&format!("conv{i}.weight")) {
                Some(&[maps, _, kernel, _]) => blocks.push(Block::Conv { kernel, maps }),
                _ => break,
            }
        }
        for i in 1.. {
            match shape_of(&format!("fc{i}.weight")) {
                Some(&[outputs, _]) => blocks.push(Block::Dense { outputs }),
                _ => break,
            }
        }
        let is_possible = |block: &Block| match *block {
            Block::Conv { kernel, maps } => kernel % 2 == 1 && maps > 0,
            Block::Dense { outputs } => outputs > 0,
        };
        if let Some(block) = blocks.iter().find(|block| !is_possible(block)) {
            let layer = spec::format(std::slice::from_ref(block));
            let message = format!("the checkpoint has a layer \"{layer}\": kernels are odd, and no layer is empty");
            return Err(Error::Usage(message));
        }
        if !matches!(blocks.last(), Some(Block::Dense { .. })) {
            return Err(Error::Usage("the checkpoint has no parameters conv1.weight, ..., fc1.weight, ...".into()));
        }
        let network = Self::build(&blocks, input)?;
        for p in &network.parameters {
            if shape_of(&p.name) != Some(&p.shape[..]) {
                return Err(Error::Usage(format!(
                    "{} should have shape {:?} on {}x{}x{} images, the checkpoint has {}; is it from another data set?",
                    p.name,
                    p.shape,
                    input.height,
                    input.width,
                    input.channels,
                    shape_of(&p.name).map_or("none".into(), |s| format!("{s:?}")),
                )));
            }
        }
        Ok(network)
    }

    fn build(blocks: &[Block], input: ImageShape) -> Result<Self> {
        let (mut channels, mut height, mut width) = (input.channels, input.height, input.width);
        let mut features = input.pixels();
        let (mut layers, mut parameters, mut dim) = (Vec::new(), Vec::new(), 0);
        let (mut convs, mut denses) = (0, 0);
        let mut add = |name: String, shape: Vec<usize>| {
            let parameter = Parameter { name, shape, offset: dim };
            dim += parameter.len();
            parameters.push(parameter);
            dim
        };
        for (i, block) in blocks.iter().enumerate() {
            match *block {
                Block::Conv { kernel, maps } => {
                    if denses > 0 {
                        return Err(Error::Usage("network: a conv block cannot follow a dense layer".into()));
                    }
                    if height < 2 || width < 2 {
                        return Err(Error::Usage(format!(
                            "network: conv block {} gets {height}x{width} images, too small to pool 2x2",
                            i + 1
                        )));
                    }
                    convs += 1;
                    let bias = add(format!("conv{convs}.weight"), vec![maps, channels, kernel, kernel]);
                    let end = add(format!("conv{convs}.bias"), vec![maps]);
                    let weight = bias - maps * channels * kernel * kernel;
                    debug_assert_eq!(end, bias + maps);
                    let conv = Conv {
                        in_channels: channels,
                        out_channels: maps,
                        height,
                        width,
                        kernel,
                        weight,
                        bias,
                        pitch: 0,
                    };
                    (channels, height, width) = (maps, conv.pooled_height(), conv.pooled_width());
                    features = conv.output_len();
                    layers.push(Layer::Conv(conv));
                }
                Block::Dense { outputs } => {
                    denses += 1;
                    let bias = add(format!("fc{denses}.weight"), vec![outputs, features]);
                    add(format!("fc{denses}.bias"), vec![outputs]);
                    let weight = bias - outputs * features;
                    let relu = i + 1 < blocks.len();
                    layers.push(Layer::Dense(Dense { inputs: features, outputs, relu, weight, bias, pitch: 0 }));
                    features = outputs;
                }
            }
        }
        for layer in &mut layers {
            match layer {
                Layer::Conv(c) => c.pitch = dim,
                Layer::Dense(d) => d.pitch = dim,
            }
        }
        Ok(Self { spec: spec::format(blocks), input, layers, parameters, dim })
    }

    /// The text that [`Network::parse`] reads back.
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// Shape of an input image.
    pub fn input(&self) -> ImageShape {
        self.input
    }

    /// Layers in order; the last is dense, without ReLU.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Parameters in order of the flattened vector.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Number of parameters `d`.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of classes: outputs of the last layer.
    pub fn classes(&self) -> usize {
        self.layers.last().map_or(0, Layer::output_len)
    }

    /// Floating-point operations of one sample and one direction of an HVP with the primal kept, counted dense: two
    /// products in a first layer (its input has no tangent), six in the others.
    pub fn hvp_flop(&self) -> f64 {
        let products = |i: usize| if i == 0 { 2.0 } else { 6.0 };
        self.layers.iter().enumerate().map(|(i, l)| 2.0 * products(i) * l.multiply_adds() as f64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MNIST: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };
    const CIFAR: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };

    #[test]
    fn lenet_has_the_papers_size() {
        assert_eq!(Network::lenet(MNIST, 10).unwrap().dim(), 3_274_634);
        assert_eq!(Network::lenet(CIFAR, 10).unwrap().dim(), 4_259_274);
    }

    #[test]
    fn parameters_have_pytorchs_names_and_shapes() {
        let network = Network::lenet(MNIST, 10).unwrap();
        let listed: Vec<_> = network.parameters().iter().map(|p| format!("{} {:?}", p.name, p.shape)).collect();
        assert_eq!(
            listed,
            [
                "conv1.weight [32, 1, 5, 5]",
                "conv1.bias [32]",
                "conv2.weight [64, 32, 5, 5]",
                "conv2.bias [64]",
                "fc1.weight [1024, 3136]",
                "fc1.bias [1024]",
                "fc2.weight [10, 1024]",
                "fc2.bias [10]"
            ]
        );
        let Layer::Conv(conv2) = &network.layers()[1] else { panic!("conv2 is a conv block") };
        assert_eq!((conv2.weight, conv2.bias, conv2.pitch), (832, 52_032, 3_274_634));
    }

    #[test]
    fn a_network_is_found_again_from_its_shapes() {
        let network = Network::parse("conv 3x3 4, conv 5x5 7, dense 11, dense 10", MNIST, 10).unwrap();
        let shapes: Vec<_> = network.parameters().iter().map(|p| (p.name.clone(), p.shape.clone())).collect();
        assert_eq!(Network::from_shapes(&shapes, MNIST).unwrap(), network);
        assert!(Network::from_shapes(&shapes, CIFAR).unwrap_err().to_string().contains("conv1.weight"));
        assert!(Network::from_shapes(&[], MNIST).is_err());
    }

    #[test]
    fn nonsense_is_refused_with_one_line() {
        for (text, hint) in [
            ("", "empty"),
            ("dense 9", "dense 10"),
            ("conv 3x3 4", "dense 10"),
            ("conv 4x4 4, dense 10", "odd"),
            ("conv 3x5 4, dense 10", "square"),
            ("dense 5, conv 3x3 2, dense 10", "cannot follow"),
            ("conv 3x3 0, dense 10", "at least 1"),
            ("pool 2, dense 10", "pool"),
            ("conv 3x3 1, conv 3x3 1, conv 3x3 1, conv 3x3 1, conv 3x3 1, dense 10", "too small"),
        ] {
            let message = Network::parse(text, MNIST, 10).unwrap_err().to_string();
            assert!(message.contains(hint), "{text:?} gave {message:?}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
