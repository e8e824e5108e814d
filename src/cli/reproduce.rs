//! `eigenscope reproduce`: an experiment of the paper by one command.

use super::Printer;
use super::arguments::{DataArguments, DeviceArguments};
use super::progress::Progress;
use clap::{Args, ValueEnum};
use eigenscope::data::Dataset;
use eigenscope::device::Precision;
use eigenscope::experiment::{Configuration, EigenvalueRow, figure1};
use eigenscope::run::RunDirectory;
use eigenscope::{Result, with_device};
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// Largest and most negative eigenvalues along the training
    Fig1,
}

#[derive(Args)]
#[command(after_help = "Examples:
  eigenscope reproduce fig1 --preset quick
  eigenscope reproduce fig1 --preset paper --device gpu --out runs/paper
  eigenscope reproduce fig1 --set spectra.samples=1024 --set spectra.largest=20 --out runs/larger
  eigenscope reproduce fig1 --preset quick --dataset cifar10 --data cifar-10-batches-bin --out runs/cifar")]
pub struct Arguments {
    /// What to reproduce
    #[arg(value_enum)]
    target: Target,
    /// quick (minutes on a laptop without a GPU) or paper (the full setting)
    #[arg(long, default_value = "quick", value_name = "NAME")]
    preset: String,
    /// Change a setting of the preset, such as spectra.samples=512; may be given several times
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
    let mut configuration = Configuration::preset(&arguments.preset, &arguments.settings)?;
    if arguments.data.dataset.is_some() || arguments.data.data.is_some() {
        configuration.data = arguments.data.configuration();
    }
    let data = configuration.data.load()?;
    let choice = arguments.device.open(Precision::F32)?;
    let root = arguments.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(&arguments.preset));
    let settings = toml::Table::try_from(&configuration).expect("a configuration is plain");
    let record = run_record(settings, &data, &choice.description());
    let run = RunDirectory::open(&root, &record, arguments.resume)?;
    let Target::Fig1 = arguments.target;
    with_device!(&choice.device, device => {
        figure1(device, &configuration, &data, &run, arguments.device.memory(), &mut Progress::new())?
    });

    let rows: Vec<EigenvalueRow> = run.read_table("eigenvalues")?;
    let mut text = String::from("  step   largest   most negative\n");
    for &step in &configuration.spectra.at {
        let outermost = |end: &str| {
            let row = rows.iter().find(|r| r.step == step && r.end == end && r.rank == 1);
            row.map_or("-".to_string(), |r| format!("{:.4}", r.value))
        };
        let _ = writeln!(text, "{step:>6}  {:>8}  {:>14}", outermost("largest"), outermost("smallest"));
    }
    let _ = writeln!(text, "figure: {}", run.figure("fig1", "png").display());
    let _ = writeln!(text, "tables: {}", run.table("eigenvalues").display());
    printer.print(
        &json!({
            "out": run.root(),
            "figures": [run.figure("fig1", "svg"), run.figure("fig1", "png")],
            "tables": [run.table("eigenvalues"), run.table("loss"), run.table("cost")],
            "device": choice.description(),
            "eigenvalues": rows,
        }),
        &text,
    );
    Ok(())
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
