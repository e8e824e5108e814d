//! `eigenscope reproduce`: an experiment of the paper by one command.

use super::Printer;
use super::arguments::{DataArguments, DeviceArguments};
use super::progress::Progress;
use super::report::describe;
use clap::{Args, ValueEnum};
use eigenscope::data::Dataset;
use eigenscope::device::{Device, Precision};
use eigenscope::experiment::{Configuration, Experiment, estimate, report, reproduce};
use eigenscope::run::RunDirectory;
use eigenscope::{Result, with_device};
use std::path::PathBuf;

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Target {
    /// Everything below
    All,
    /// Largest and most negative eigenvalues along the training
    Fig1,
    /// Curvature along fixed eigenvectors as the training goes on
    Fig2,
    /// Loss and quadratic model along the outermost eigenvectors
    Fig3,
    /// Curvature over a range against the eigenvalue
    Fig4,
    /// Best step size along each eigenvector against the eigenvalue
    Fig5,
    /// Best loss improvement along each eigenvector against the eigenvalue
    Fig6,
    /// The Hessian of 5% of the training set against the whole's
    AppendixB,
    /// The optimiser that the paper proposes, beside RMSProp
    AppendixC,
}

impl Target {
    fn experiments(self) -> Vec<Experiment> {
        match self {
            Self::All => Experiment::ALL.to_vec(),
            Self::Fig1 => vec![Experiment::Figure1],
            Self::Fig2 => vec![Experiment::Figure2],
            Self::Fig3 => vec![Experiment::Figure3],
            Self::Fig4 => vec![Experiment::Figure4],
            Self::Fig5 => vec![Experiment::Figure5],
            Self::Fig6 => vec![Experiment::Figure6],
            Self::AppendixB => vec![Experiment::AppendixB],
            Self::AppendixC => vec![Experiment::AppendixC],
        }
    }
}

#[derive(Args)]
#[command(after_help = "Examples:
  eigenscope reproduce --preset quick
  eigenscope reproduce fig1 fig2 --preset paper --device gpu --out runs/paper
  eigenscope reproduce all --preset paper --device gpu --out runs/paper --resume
  eigenscope reproduce --set spectra.samples=1024 --set lines.scale=unit --out runs/larger
  eigenscope reproduce fig1 --dataset cifar10 --data cifar-10-batches-bin --out runs/cifar

One training run and one set of spectra serve all figures: more of them can be added to a run with --resume. \
Settings come from the preset, then from --config, then from --set; the result is stored in DIR/run.toml.")]
pub struct Arguments {
    /// What to reproduce
    #[arg(value_enum, default_value = "all")]
    targets: Vec<Target>,
    /// quick (minutes on a laptop without a GPU) or paper (the full setting)
    #[arg(long, default_value = "quick", value_name = "NAME")]
    preset: String,
    /// Settings on top of the preset, in its format (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Change a setting, such as spectra.samples=512; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Run directory [default: runs/PRESET]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue the run in --out where it stopped
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

pub fn run(arguments: Arguments, printer: &Printer) -> Result<()> {
    let mut configuration = Configuration::preset(&arguments.preset, arguments.config.as_deref(), &arguments.settings)?;
    if arguments.data.dataset.is_some() || arguments.data.data.is_some() {
        configuration.data = arguments.data.configuration();
    }
    let experiments: Vec<Experiment> = arguments.targets.iter().flat_map(|t| t.experiments()).collect();
    let data = configuration.data.load()?;
    configuration.check_for(&experiments, &data)?;
    let choice = arguments.device.open(Precision::F32)?;
    let network = configuration.network(&data)?;
    with_device!(&choice.device, device => device.check(&network)?);
    let root = arguments.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(&arguments.preset));
    let settings = toml::Table::try_from(&configuration).expect("a configuration is plain");
    let record = run_record(settings, &data, &choice.description());
    let (run, record) = RunDirectory::open(&root, &record, arguments.resume)?;
    let memory = arguments.device.memory();
    with_device!(&choice.device, device => {
        log::info!("{}", estimate(device, &experiments, &configuration, &data, &run)?);
        reproduce(device, &experiments, &configuration, &data, &run, memory, &mut Progress::new())?
    });
    let findings = report(&run, &record)?;
    describe(&run, &findings, printer)
}

/// What `run.toml` holds: the resolved configuration, and what made the run.
pub fn run_record(configuration: toml::Table, data: &Dataset, device: &str) -> toml::Table {
    let mut record = toml::Table::new();
    record.insert("configuration".into(), configuration.into());
    let mut made_by = toml::Table::new();
    made_by.insert("eigenscope".into(), env!("CARGO_PKG_VERSION").into());
    made_by.insert("device".into(), device.into());
    made_by.insert("data".into(), data.name.as_str().into());
    made_by.insert("data_sha256".into(), data.digest.as_str().into());
    record.insert("made_by".into(), made_by.into());
    record
}
