//! The experiments of the paper, over one training run and one set of spectra.
//!
//! Each experiment computes tables, resumably; each figure is drawn, and each finding stated, from the tables alone:
//!
//! ```text
//! training -> spectra -> tracking, lines, portraits      appendix_b, appendix_c
//!                |           |        |
//!             figure1     figure2  figure3 .. figure6    -> findings -> report
//! ```

mod appendix_b;
mod appendix_c;
mod configuration;
mod estimate;
mod figures;
mod landscape;
mod line_search;
mod lines;
mod portraits;
mod reproduce;
mod spectra;
mod statistics;
mod tracking;
mod training;

pub use appendix_b::{SubsetErrorRow, SubsetOverlapRow, SubsetRow};
pub use appendix_c::{DirectionRow, Method, OptimizerRow, OptimizerSeconds};
pub use configuration::{
    AppendixBConfiguration, AppendixCConfiguration, Configuration, DataConfiguration, LineScale, LinesConfiguration,
    NetworkConfiguration, SpectraConfiguration, TrackingConfiguration,
};
pub use estimate::estimate;
pub use figures::{Finding, report};
pub use landscape::{Landscape, LossChanges, NetworkLandscape};
pub use line_search::{Minimum, evenly, grid, minimize, quadratic_coefficient};
pub use lines::{LineRow, ProfileRow, run as lines, search as search_lines};
pub use portraits::{EnergyRow, FilterRow, ParticipationRow};
pub use reproduce::{Experiment, reproduce};
pub use spectra::{
    CostRow, EigenvalueRow, LossRow, Spectrum, SpectrumRequest, SpectrumSeconds, StoredPair, StoredSpectrum,
    compute_spectrum, run as spectra,
};
pub use tracking::{CurvatureRow, OverlapRow, run as tracking};
pub use training::{TrainingPlan, train};

use crate::Result;
use crate::data::ImageShape;
use crate::run::RunDirectory;

/// A run under way: its settings, its files, and who is told.
pub struct Session<'a> {
    /// The settings.
    pub configuration: &'a Configuration,
    /// The files.
    pub run: &'a RunDirectory,
    /// Shape of the images that the checkpoints' network looks at.
    pub shape: ImageShape,
    /// Who is told how far it has come.
    pub observer: &'a mut dyn Observer,
}

impl Session<'_> {
    /// The parameters (dim) at a kept step.
    fn theta(&self, step: u64) -> Result<Vec<f32>> {
        self.run.theta(step, self.shape)
    }
}

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
