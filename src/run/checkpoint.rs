//! Checkpoints: parameters and optimiser state under PyTorch's names.

use super::{Tensor, TensorFile};
use crate::data::ImageShape;
use crate::network::Network;
use crate::train::TrainerState;
use crate::{Error, Result};
use std::path::Path;

/// Version of the checkpoint's layout, in its metadata.
const FORMAT: u32 = 1;

/// A network's parameters at a step of its training.
///
/// As a file: safetensors with `conv1.weight`, ..., `fc2.bias` as `load_state_dict` of the obvious `nn.Module` wants them,
/// the optimiser's `rms.NAME` and `momentum.NAME` beside them, and `format`, `step` and `seed` in the metadata. A file
/// with the parameters alone, from PyTorch, is a checkpoint too: step 0, fresh optimiser.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The network that the parameters belong to.
    pub network: Network,
    /// Parameters, optimiser state, and the number of steps done.
    pub state: TrainerState,
    /// Seed of the run that made it, if known.
    pub seed: Option<u64>,
}

impl Checkpoint {
    /// Writes the checkpoint.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let TrainerState { theta, mean_square, momenta, .. } = &self.state;
        self.write_parts(path, &[("", theta), ("rms.", mean_square), ("momentum.", momenta)])
    }

    /// Writes the parameters alone: a third of the size, and no training goes on from it.
    ///
    /// # Errors
    /// As [`Checkpoint::write`].
    pub fn write_snapshot(&self, path: &Path) -> Result<()> {
        self.write_parts(path, &[("", &self.state.theta)])
    }

    fn write_parts(&self, path: &Path, parts: &[(&str, &Vec<f32>)]) -> Result<()> {
        let mut file = TensorFile::default();
        for (prefix, vector) in parts {
            for p in self.network.parameters() {
                file.insert(format!("{prefix}{}", p.name), &p.shape, vector[p.range()].to_vec());
            }
        }
        file.note("format", FORMAT);
        file.note("network", self.network.spec());
        file.note("step", self.state.step);
        if let Some(seed) = self.seed {
            file.note("seed", seed);
        }
        file.write(path)
    }

    /// Reads a checkpoint of a network on images of shape `input`.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing, broken, of a newer format, or not a network on such images.
    pub fn read(path: &Path, input: ImageShape) -> Result<Self> {
        let file = TensorFile::read(path)?;
        let number = |key: &str| -> Result<Option<u64>> {
            let parse = |v: &String| {
                v.parse().map_err(|_| Error::file(path, format!("its metadata has {key} = \"{v}\", not a number")))
            };
            file.metadata.get(key).map(parse).transpose()
        };
        if let Some(format) = number("format")?.filter(|&f| f > u64::from(FORMAT)) {
            let problem = format!("has format {format}; this version reads up to {FORMAT}: update eigenscope");
            return Err(Error::file(path, problem));
        }
        let is_state = |name: &str| name.starts_with("rms.") || name.starts_with("momentum.");
        let shapes: Vec<(String, Vec<usize>)> =
            file.tensors.iter().filter(|(n, _)| !is_state(n)).map(|(n, t)| (n.clone(), t.shape.clone())).collect();
        let network = Network::from_shapes(&shapes, input).map_err(|e| Error::file(path, e))?;
        if let Some((name, _)) = shapes.iter().find(|(n, _)| network.parameters().iter().all(|p| &p.name != n)) {
            return Err(Error::file(
                path,
                format!("holds {name}, which no network of conv blocks and dense layers has"),
            ));
        }
        let vector = |prefix: &str| -> Result<Vec<f32>> {
            let mut vector = Vec::with_capacity(network.dim());
            for p in network.parameters() {
                let Tensor { shape, data } = file.get(&format!("{prefix}{}", p.name))?;
                if shape != &p.shape {
                    let problem = format!("{prefix}{} has shape {shape:?}, not {:?}", p.name, p.shape);
                    return Err(Error::file(path, problem));
                }
                vector.extend(data.to_f32());
            }
            Ok(vector)
        };
        let mut state = TrainerState::start(vector("")?);
        if file.tensors.keys().any(|n| is_state(n)) {
            state.mean_square = vector("rms.")?;
            state.momenta = vector("momentum.")?;
        }
        state.step = number("step")?.unwrap_or(0);
        Ok(Self { network, state, seed: number("seed")? })
    }
}
