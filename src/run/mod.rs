//! The run directory, and the only code that writes results.
//!
//! ```text
//! run.toml                          the resolved configuration, device, versions, data digest
//! metrics.csv                       one row a training step
//! checkpoints/step-000050.safetensors
//! spectra/step-000050.safetensors
//! tables/*.csv                      what the figures are drawn from
//! figures/*.svg, *.png
//! ```
//!
//! Every file is written under a temporary name and renamed, so a killed run leaves whole files only.

mod checkpoint;
mod directory;
mod files;
mod metrics;
mod solver_state;
mod tensors;

pub use checkpoint::Checkpoint;
pub use directory::RunDirectory;
pub use files::write_atomic;
pub use metrics::{MetricsRow, read_metrics, write_metrics};
pub use solver_state::{ConvergenceLog, ConvergenceRow, read_state, write_state};
pub use tensors::{Tensor, TensorData, TensorFile};
