//! `metrics.csv`: one row a training step.

use super::write_atomic;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

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

/// Writes all rows.
///
/// # Errors
/// [`Error::File`] if the file cannot be written.
pub fn write_metrics(path: &Path, rows: &[MetricsRow]) -> Result<()> {
    write_table(path, rows)
}

/// Reads all rows.
///
/// # Errors
/// [`Error::File`] if the file is missing or broken.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricsRow>> {
    read_table(path)
}

/// Writes a CSV table with a header.
pub(super) fn write_table<R: Serialize>(path: &Path, rows: &[R]) -> Result<()> {
    let broken = |e: &dyn std::fmt::Display| Error::file(path, format!("cannot be written: {e}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(|e| broken(&e))?;
    }
    write_atomic(path, &writer.into_inner().map_err(|e| broken(&e))?)
}

/// Reads a CSV table with a header.
pub(super) fn read_table<R: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<R>> {
    let broken = |e: csv::Error| Error::file(path, format!("cannot be read: {e}"));
    let mut reader = csv::Reader::from_path(path).map_err(broken)?;
    reader.deserialize().collect::<Result<_, _>>().map_err(broken)
}
