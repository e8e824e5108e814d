//! Arguments that several subcommands share.

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use eigenscope::Result;
use eigenscope::data::{Dataset, Samples};
use eigenscope::device::{Choice, Precision, choose};
use eigenscope::experiment::DataConfiguration;
use std::path::PathBuf;

#[derive(Args)]
pub struct DeviceArguments {
    /// auto (a discrete GPU, else an integrated one, else the CPU), cpu, gpu, or gpu:SUBSTRING of its name
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Memory for what Hessian-vector products reuse, such as 2GiB; what does not fit is recomputed, with the same result.
    /// For spectrum, half of it is for the basis
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
}

impl DeviceArguments {
    /// Opens the device and says which it is.
    pub fn open(&self, precision: Precision) -> Result<Choice> {
        let choice = choose(&self.device, precision)?;
        log::info!("device: {} ({})", choice.description(), choice.why);
        Ok(choice)
    }

    pub fn memory(&self) -> Option<usize> {
        self.memory.map(|size| usize::try_from(size.as_u64()).unwrap_or(usize::MAX))
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum PrecisionArgument {
    /// 32 bits, on any device
    F32,
    /// 64 bits, on the CPU
    F64,
}

impl From<PrecisionArgument> for Precision {
    fn from(argument: PrecisionArgument) -> Self {
        match argument {
            PrecisionArgument::F32 => Self::F32,
            PrecisionArgument::F64 => Self::F64,
        }
    }
}

#[derive(Args)]
pub struct DataArguments {
    /// mnist, idx (MNIST's format) or cifar10 [default: mnist, or what the files in --data are]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Directory with your own data: MNIST's four IDX files, gzip or raw, or CIFAR-10's binary batches
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl DataArguments {
    /// Which data set is meant.
    pub fn configuration(&self) -> DataConfiguration {
        let dataset = match (&self.dataset, &self.data) {
            (Some(name), _) => name.clone(),
            (None, Some(directory)) => DataConfiguration::guess(directory).into(),
            (None, None) => "mnist".into(),
        };
        DataConfiguration { dataset, directory: self.data.clone() }
    }

    /// Reads it.
    pub fn load(&self) -> Result<Dataset> {
        self.configuration().load()
    }
}

#[derive(Args)]
pub struct SubsetArguments {
    /// Training samples of the fixed subset that defines the loss: the first N [default: 256; train: 500]
    #[arg(long, value_name = "N")]
    pub samples: Option<usize>,
    /// Draw the N samples at random instead
    #[arg(long, value_name = "SEED")]
    pub subset_seed: Option<u64>,
}

impl SubsetArguments {
    /// The subset; `default` samples if the number is not given.
    pub fn select(&self, data: &Dataset, default: usize) -> Result<Samples> {
        let samples = self.samples.unwrap_or_else(|| default.min(data.train.len()));
        data.train.subset(samples, self.subset_seed)
    }
}
