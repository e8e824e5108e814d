//! `metrics.csv`: one row a training step.

use serde::{Deserialize, Serialize};

/// A row: what the step saw before its update, and, now and then, how the parameters did then on fixed sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsRow {
    /// Steps done before.
    pub step: u64,
    /// Learning rate of the step; none in the row after the last.
    pub learning_rate: Option<f64>,
    /// Loss on the minibatch.
    pub batch_loss: Option<f64>,
    /// Accuracy on the minibatch.
    pub batch_accuracy: Option<f64>,
    /// Loss on the fixed subset.
    pub subset_loss: Option<f64>,
    /// Accuracy on the fixed subset.
    pub subset_accuracy: Option<f64>,
    /// Accuracy on validation samples.
    pub validation_accuracy: Option<f64>,
}
