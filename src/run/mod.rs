//! The run directory, and the only code that writes results.
//!
//! ```text
//! run.toml                          the resolved configuration, device, versions, data digest
//! metrics.csv                       one row a training step
//! checkpoints/step-000050.safetensors
//! snapshots/step-000025.safetensors parameters alone, where curvature is followed
//! spectra/step-000050.safetensors   eigenpairs; beside it .csv, the convergence log
//! tables/*.csv                      what the figures are drawn from
//! clock/*.csv                       wall-clock seconds: these, and what is drawn or stated of them, differ between equal runs
//! figures/*.svg, *.png
//! report.html
//! ```
//!
//! What is under way is kept in `unfinished/` until it is done, so that a killed run goes on where it was.
//!
//! Every file is written under a temporary name and renamed, so a killed run leaves whole files only.

mod checkpoint;
mod directory;
mod files;
mod metrics;
mod rows;
mod solver_state;
mod tensors;

pub use checkpoint::Checkpoint;
pub use directory::RunDirectory;
pub(crate) use files::save_interval;
pub use files::write_atomic;
pub use metrics::MetricsRow;
pub use rows::{read_rows, write_rows};
pub use solver_state::{ConvergenceLog, ConvergenceRow, read_state, write_state};
pub use tensors::{Tensor, TensorData, TensorFile};
