//! `eigenscope train`: a training run with checkpoints.

use super::Printer;
use super::arguments::{DataArguments, DeviceArguments, SubsetArguments};
use super::progress::Progress;
use clap::Args;
use eigenscope::data::Dataset;
use eigenscope::device::{Device, Precision};
use eigenscope::experiment::{TrainingPlan, train};
use eigenscope::network::{Init, Network};
use eigenscope::run::{MetricsRow, RunDirectory, read_rows};
use eigenscope::train::Schedule;
use eigenscope::{Error, Result, with_device};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;

#[derive(Args)]
pub struct Arguments {
    /// Steps of RMSProp
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=100_000_000))]
    steps: u64,
    /// Keep a checkpoint every K steps, the first before step 0 and the last after the last step
    #[arg(long, default_value_t = 100, value_name = "K")]
    checkpoint_every: u64,
    /// Record the loss on the fixed subset every K steps
    #[arg(long, default_value_t = 10, value_name = "K")]
    evaluate_every: u64,
    /// Run directory: run.toml, metrics.csv, checkpoints/
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Continue the run in --out from its latest checkpoint
    #[arg(long)]
    resume: bool,
    /// lenet, or layers such as "conv 5x5 32, conv 5x5 64, dense 1024, dense 10"
    #[arg(long, default_value = "lenet", value_name = "LAYERS")]
    network: String,
    /// glorot, he or truncated-normal
    #[arg(long, default_value = "glorot", value_name = "NAME")]
    init: Init,
    /// Seed of the initial parameters and of the order of the samples
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: u64,
    /// Samples a minibatch
    #[arg(long, default_value_t = Schedule::default().batch, value_name = "N")]
    batch: usize,
    /// Learning rate of the first step
    #[arg(long, default_value_t = Schedule::default().rate, value_name = "RATE")]
    rate: f64,
    #[command(flatten)]
    subset: SubsetArguments,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

pub fn run(arguments: Arguments, printer: &Printer) -> Result<()> {
    if arguments.checkpoint_every == 0 || arguments.evaluate_every == 0 {
        return Err(Error::Usage("--checkpoint-every and --evaluate-every must be at least 1".into()));
    }
    let data = arguments.data.load()?;
    let network = Network::parse(&arguments.network, data.shape, data.classes)?;
    let subset = arguments.subset.select(&data, 500)?;
    let validation = data.validation.first(data.validation.len().min(2_500))?;
    let plan = TrainingPlan {
        steps: arguments.steps,
        checkpoints: (0..arguments.steps)
            .step_by(arguments.checkpoint_every as usize)
            .chain([arguments.steps])
            .collect(),
        snapshots: BTreeSet::new(),
        evaluate_every: arguments.evaluate_every,
        init: arguments.init,
        seed: arguments.seed,
        schedule: Schedule {
            batch: arguments.batch,
            rate: arguments.rate,
            seed: arguments.seed,
            ..Schedule::default()
        },
    };
    plan.schedule.check(data.train.len())?;
    let choice = arguments.device.open(Precision::F32)?;
    with_device!(&choice.device, device => device.check(&network)?);
    let record = record(&arguments, &data, &network, &plan, subset.len(), &choice.description());
    let (run, _) = RunDirectory::open(&arguments.out, &record, arguments.resume)?;
    if let Some(last) = run.kept_steps().max().filter(|&last| last > plan.steps) {
        let out = arguments.out.display();
        return Err(Error::Usage(format!("{out} holds {last} steps already: --steps {} would lose some", plan.steps)));
    }
    let mut progress = Progress::new();
    with_device!(&choice.device, device => {
        train(device, &data, &network, &plan, &subset, &validation, &run, &mut progress)?
    });
    let rows: Vec<MetricsRow> = read_rows(&run.metrics())?;
    let last = rows.last().ok_or_else(|| Error::file(run.metrics(), "has no rows"))?;
    printer.print(
        &json!({
            "steps": plan.steps,
            "loss": last.subset_loss,
            "accuracy": last.subset_accuracy,
            "validation_accuracy": last.validation_accuracy,
            "device": choice.description(),
            "checkpoint": run.checkpoint(plan.steps).display().to_string(),
            "out": run.root().display().to_string(),
        }),
        &format!(
            "{} steps: loss {:.5} on {} training samples, validation accuracy {:.2}%\nlast checkpoint: {}",
            plan.steps,
            last.subset_loss.unwrap_or(f64::NAN),
            subset.len(),
            100.0 * last.validation_accuracy.unwrap_or(f64::NAN),
            run.checkpoint(plan.steps).display()
        ),
    )
}

/// What `run.toml` holds.
fn record(
    arguments: &Arguments,
    data: &Dataset,
    network: &Network,
    plan: &TrainingPlan,
    samples: usize,
    device: &str,
) -> toml::Table {
    let schedule = toml::Table::try_from(&plan.schedule).expect("a schedule is plain");
    let seeds = |seed: Option<u64>| seed.map_or(toml::Value::from("none"), |s| toml::Value::from(s.to_string()));
    let mut configuration = toml::Table::new();
    configuration.insert("network".into(), network.spec().into());
    configuration.insert("init".into(), plan.init.to_string().into());
    configuration.insert("seed".into(), plan.seed.to_string().into());
    configuration.insert("checkpoint_every".into(), arguments.checkpoint_every.to_string().into());
    configuration.insert("samples".into(), samples.to_string().into());
    configuration.insert("subset_seed".into(), seeds(arguments.subset.subset_seed));
    configuration.insert("training".into(), schedule.into());
    super::reproduce::run_record(configuration, data, device)
}
