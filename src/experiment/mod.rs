//! The experiments of the paper: one file a figure, over one training run and one set of spectra.

mod configuration;
mod figure1;
mod spectra;
mod training;

pub use configuration::{Configuration, DataConfiguration, NetworkConfiguration, SpectraConfiguration};
pub use figure1::{EigenvalueRow, LossRow, draw as draw_figure1, run as figure1};
pub use spectra::{CostRow, Spectrum, SpectrumRequest, compute_spectrum};
pub use training::{TrainingPlan, train};

/// Who is told how far a long computation has come.
pub trait Observer {
    /// A task of `total` units begins.
    fn begin(&mut self, task: &str, total: u64);
    /// `done` units are done; `detail` says what is going on.
    fn advance(&mut self, done: u64, detail: &str);
    /// The task is done.
    fn end(&mut self, outcome: &str);
}

/// An observer that keeps silent.
pub struct Silent;

impl Observer for Silent {
    fn begin(&mut self, _: &str, _: u64) {}
    fn advance(&mut self, _: u64, _: &str) {}
    fn end(&mut self, _: &str) {}
}
