//! Which parts of a run an experiment needs, and in which order they are computed.

use super::{
    Configuration, NetworkLandscape, Observer, Session, TrainingPlan, appendix_b, appendix_c, lines, portraits,
    spectra, tracking, train,
};
use crate::Result;
use crate::data::Dataset;
use crate::device::Device;
use crate::run::{RunDirectory, TensorData};

/// An experiment of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Experiment {
    /// The eigenvalues along the training.
    Figure1,
    /// Curvature along fixed eigenvectors.
    Figure2,
    /// The loss along v_1 and v_d.
    Figure3,
    /// Curvature over a range against the eigenvalue.
    Figure4,
    /// Best step size against the eigenvalue.
    Figure5,
    /// Best improvement against the eigenvalue.
    Figure6,
    /// The Hessian of a subset.
    AppendixB,
    /// The optimiser that the paper proposes.
    AppendixC,
}

impl Experiment {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Figure1,
        Self::Figure2,
        Self::Figure3,
        Self::Figure4,
        Self::Figure5,
        Self::Figure6,
        Self::AppendixB,
        Self::AppendixC,
    ];
}

/// Computes what `experiments` need and is not there yet; [`super::report`] draws it.
///
/// # Errors
/// What the training, the solver, the device or the files meet. What was written stands, and a resumed run goes on there.
pub fn reproduce<D: Device>(
    device: &D,
    experiments: &[Experiment],
    configuration: &Configuration,
    data: &Dataset,
    run: &RunDirectory,
    memory: Option<usize>,
    observer: &mut dyn Observer,
) -> Result<()>
where
    TensorData: From<Vec<D::Scalar>>,
{
    use Experiment::*;
    let wanted = |some: &[Experiment]| some.iter().any(|e| experiments.contains(e));
    let network = configuration.network(data)?;
    let settings = &configuration.spectra;
    let subset = data.train.subset(settings.samples, settings.subset_seed)?;
    if wanted(&[Figure1, Figure2, Figure3, Figure4, Figure5, Figure6, AppendixB]) {
        let validation = data.validation.first(configuration.validation_samples.min(data.validation.len()))?;
        let plan = TrainingPlan::of(configuration);
        train(device, data, &network, &plan, &subset, &validation, run, observer)?;
    }
    let mut session = Session { configuration, run, shape: data.shape, observer };
    let mut landscape = NetworkLandscape::new(device, &network, &subset, memory)?;
    if wanted(&[Figure1, Figure2, Figure3, Figure4, Figure5, Figure6]) {
        spectra::run(&mut landscape, &mut session)?;
        portraits::run(&network, &mut session)?;
    }
    if wanted(&[Figure2]) {
        tracking::run(&mut landscape, &mut session)?;
    }
    if wanted(&[Figure3, Figure4, Figure5, Figure6]) {
        lines::run(&mut landscape, &mut session)?;
    }
    drop(landscape);
    if wanted(&[AppendixB]) {
        appendix_b::run(device, &network, data, memory, &mut session)?;
    }
    if wanted(&[AppendixC]) {
        appendix_c::run(device, &network, data, &subset, memory, &mut session)?;
    }
    Ok(())
}
