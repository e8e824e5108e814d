//! A training run into a run directory: metrics, checkpoints, resumable.

use super::{Configuration, Observer};
use crate::Result;
use crate::data::{Dataset, Samples};
use crate::device::Device;
use crate::network::{Init, Network};
use crate::objective::{DEFAULT_CHUNK, Objective};
use crate::run::{Checkpoint, MetricsRow, RunDirectory, read_rows, save_interval, write_rows};
use crate::train::{Schedule, Trainer, TrainerState};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How often the state is saved, so that an interrupted training goes on nearly where it was. A save takes some 50 ms for
/// the LeNet.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// What to train, for how long, and what to record.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingPlan {
    /// Steps in all.
    pub steps: u64,
    /// Steps whose parameters and optimiser state are kept.
    pub checkpoints: BTreeSet<u64>,
    /// Steps whose parameters alone are kept.
    pub snapshots: BTreeSet<u64>,
    /// The subset's loss is recorded every so many steps, and at every checkpoint.
    pub evaluate_every: u64,
    /// Initialiser.
    pub init: Init,
    /// Seed of the initial parameters.
    pub seed: u64,
    /// How to train.
    pub schedule: Schedule,
}

impl TrainingPlan {
    /// The training of an experiment: the state is kept at its spectra, the parameters wherever curvature is followed.
    pub fn of(configuration: &Configuration) -> Self {
        Self {
            steps: configuration.steps,
            checkpoints: configuration.spectra.at.iter().copied().chain([configuration.steps]).collect(),
            snapshots: configuration.tracked_steps(),
            evaluate_every: configuration.evaluate_every,
            init: configuration.network.init,
            seed: configuration.network.seed,
            schedule: configuration.training.clone(),
        }
    }
}

/// Trains `network`, or continues from the latest checkpoint in `run`. `subset` and `validation` are fixed sets on which
/// loss and accuracy are recorded.
///
/// # Errors
/// What the training, the device or the files meet. What was written stands.
#[allow(clippy::too_many_arguments, reason = "each part comes from another room")]
pub fn train<D: Device>(
    device: &D,
    data: &Dataset,
    network: &Network,
    plan: &TrainingPlan,
    subset: &Samples,
    validation: &Samples,
    run: &RunDirectory,
    observer: &mut dyn Observer,
) -> Result<TrainerState> {
    let found = run.latest_checkpoint(plan.steps, data.shape)?;
    let (state, mut rows) = match found {
        Some(checkpoint) => {
            let mut rows = read_rows::<MetricsRow>(&run.metrics())?;
            rows.retain(|row| row.step < checkpoint.state.step);
            (checkpoint.state, rows)
        }
        None => (TrainerState::start(plan.init.parameters(network, plan.seed)), Vec::new()),
    };
    let mut trainer = Trainer::new(device, network, &data.train, plan.schedule.clone(), &state)?;
    let mut subset = Objective::new(device, network, subset, DEFAULT_CHUNK)?;
    let mut validation = Objective::new(device, network, validation, DEFAULT_CHUNK)?;

    observer.begin("training", plan.steps);
    let save_every = save_interval(SAVE_EVERY);
    let mut saved = Instant::now();
    loop {
        let step = trainer.step_count();
        let mut row = MetricsRow {
            step,
            learning_rate: None,
            batch_loss: None,
            batch_accuracy: None,
            subset_loss: None,
            subset_accuracy: None,
            validation_accuracy: None,
        };
        let keep = plan.checkpoints.contains(&step);
        if keep || step == plan.steps || step % plan.evaluate_every == 0 {
            let evaluation = subset.evaluate(trainer.theta())?;
            (row.subset_loss, row.subset_accuracy) = (Some(evaluation.loss), Some(evaluation.accuracy));
            observer.advance(step, &format!("loss {:.4}", evaluation.loss));
        }
        if keep || step == plan.steps {
            row.validation_accuracy = Some(validation.evaluate(trainer.theta())?.accuracy);
        }
        let checkpoint = || -> Result<Checkpoint> {
            Ok(Checkpoint { network: network.clone(), state: trainer.state()?, seed: Some(plan.seed) })
        };
        // The metrics first: a checkpoint promises the rows before it.
        if keep {
            write_rows(&run.metrics(), &rows)?;
            checkpoint()?.write(&run.checkpoint(step))?;
        } else if plan.snapshots.contains(&step) {
            checkpoint()?.write_snapshot(&run.snapshot(step))?;
        } else if saved.elapsed() >= save_every {
            write_rows(&run.metrics(), &rows)?;
            checkpoint()?.write(&run.unfinished("training"))?;
            saved = Instant::now();
        }
        if step == plan.steps {
            rows.push(row);
            break;
        }
        let report = trainer.step()?;
        row.learning_rate = Some(report.rate);
        (row.batch_loss, row.batch_accuracy) = (Some(report.batch.loss), Some(report.batch.accuracy));
        rows.push(row);
    }
    write_rows(&run.metrics(), &rows)?;
    run.finished("training");
    let last = rows.last().expect("at least one row");
    observer.end(&format!(
        "loss {:.4}, validation accuracy {:.2}%",
        last.subset_loss.unwrap_or(f64::NAN),
        100.0 * last.validation_accuracy.unwrap_or(f64::NAN)
    ));
    trainer.state()
}
