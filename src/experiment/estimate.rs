//! What a run will take, before it starts.

use super::configuration::{AppendixBConfiguration, AppendixCConfiguration, SpectraConfiguration};
use super::{Configuration, CurvatureRow, Experiment, LineRow, OptimizerRow};
use crate::Result;
use crate::data::Dataset;
use crate::device::Device;
use crate::objective::{DEFAULT_CHUNK, Objective};
use crate::run::RunDirectory;
use indicatif::{HumanBytes, HumanDuration};
use std::time::{Duration, Instant};

/// Products per wanted pair, and in addition, that spectra of trained LeNets took on average, guard and residuals included.
const PRODUCTS: (f64, f64) = (5.0, 40.0);
/// Samples that the device is timed on.
const TIMED: usize = 256;

/// A line that says about how long `experiments` will take on this device and how much room they need, from the speed of
/// one forward pass, one gradient and one product. What the run has already is not counted again.
///
/// # Errors
/// [`crate::Error::Device`] if the device fails.
pub fn estimate<D: Device>(
    device: &D,
    experiments: &[Experiment],
    configuration: &Configuration,
    data: &Dataset,
    run: &RunDirectory,
) -> Result<String> {
    use Experiment::*;
    let wanted = |some: &[Experiment]| some.iter().any(|e| experiments.contains(e));
    let network = configuration.network(data)?;
    let dim = network.dim();
    let theta = device.upload(&configuration.network.init.parameters(&network, configuration.network.seed))?;
    let timed = TIMED.min(data.train.len());
    let mut objective = Objective::new(device, &network, &data.train.first(timed)?, DEFAULT_CHUNK)?;
    let (mut gradient, mut product) = (device.zeros(dim)?, device.zeros(dim)?);
    // Once to warm up, then the seconds of one sample.
    objective.evaluate(&theta)?;
    let start = Instant::now();
    objective.evaluate(&theta)?;
    let forward = start.elapsed().as_secs_f64() / timed as f64;
    objective.gradient_and_hvp(&theta, &mut gradient, &theta, &mut product)?;
    let start = Instant::now();
    objective.gradient(&theta, &mut gradient)?;
    let backward = start.elapsed().as_secs_f64() / timed as f64;
    let start = Instant::now();
    objective.gradient_and_hvp(&theta, &mut gradient, &theta, &mut product)?;
    device.read(&product, 0..1)?;
    let tangent = (start.elapsed().as_secs_f64() / timed as f64 - backward).max(0.5 * backward);

    let Configuration { spectra, lines, appendix_b, appendix_c, .. } = configuration;
    let SpectraConfiguration { largest, smallest, samples, .. } = *spectra;
    let pairs = (largest + smallest) as f64;
    let products = |pairs: f64| PRODUCTS.0 * pairs + PRODUCTS.1;
    let (mut seconds, mut bytes) = (0.0, 0.0);
    let figures = [Figure1, Figure2, Figure3, Figure4, Figure5, Figure6];
    if wanted(&figures) || wanted(&[AppendixB]) {
        let done = run.latest_checkpoint(configuration.steps, data.shape)?.map_or(0, |c| c.state.step);
        let steps = (configuration.steps - done) as f64;
        seconds += steps * configuration.training.batch as f64 * backward;
        seconds += steps / configuration.evaluate_every as f64 * samples as f64 * forward;
        let snapshots = configuration.tracked_steps().len() + 2 * spectra.at.len();
        bytes += (4 * dim * snapshots) as f64 * steps / configuration.steps.max(1) as f64;
    }
    if wanted(&figures) {
        let count = spectra.at.iter().filter(|&&step| !run.spectrum(step).exists()).count() as f64;
        seconds += count * products(pairs) * samples as f64 * tangent;
        bytes += count * (pairs + 1.0) * (4 * dim) as f64;
    }
    if wanted(&[Figure2]) {
        // A jet is about two thirds of a product.
        let all = configuration.tracked_steps().len() * 2 * spectra.at.len();
        let done = run.read_table_so_far::<CurvatureRow>("curvature")?.len();
        seconds += all.saturating_sub(done) as f64 * samples as f64 * tangent * 0.67;
    }
    if wanted(&[Figure3, Figure4, Figure5, Figure6]) {
        let decades = (lines.reach / lines.nearest).log10();
        let grid = 2.0 * (decades * lines.per_decade as f64 + 1.0);
        let each = grid + (2 * lines.fit_points + lines.refinements) as f64;
        let all = (largest + smallest) * spectra.at.len();
        let left = all.saturating_sub(run.read_table_so_far::<LineRow>("lines")?.len());
        let profiles = if run.table("profile").exists() { 0 } else { 6 * lines.profile_points };
        seconds += (left as f64 * each + profiles as f64) * samples as f64 * forward;
    }
    if wanted(&[AppendixB]) && !run.table("subset_error").exists() {
        let AppendixBConfiguration { sizes, reference, largest, smallest, .. } = appendix_b;
        let pairs = (largest + smallest) as f64;
        let left: Vec<usize> =
            sizes.iter().chain([reference]).copied().filter(|&size| !run.subset_spectrum(size).exists()).collect();
        seconds += left.iter().sum::<usize>() as f64 * products(pairs) * tangent;
        seconds += *reference as f64 * pairs * tangent * 0.67;
        bytes += left.len() as f64 * pairs * (4 * dim) as f64;
    }
    if wanted(&[AppendixC]) {
        let AppendixCConfiguration { seeds, steps, evaluate_every, compare_at, .. } = appendix_c;
        let done = run.read_table_so_far::<OptimizerRow>("appendix_c")?;
        let left = (2 * seeds.len()).saturating_sub(done.iter().filter(|row| row.step == *steps).count()) as f64;
        let evaluations = (steps / evaluate_every) as f64 * samples as f64;
        // Every other run makes products, and comparisons.
        let batch = configuration.training.batch as f64;
        let each = *steps as f64 * batch * (backward + 0.5 * tangent) + evaluations * forward;
        let comparisons = 0.5 * compare_at.len() as f64 * products(1.0) * samples as f64 * tangent;
        seconds += left * (each + comparisons);
    }
    Ok(format!(
        "about {} on this device, {} in {}",
        HumanDuration(Duration::from_secs_f64(seconds)),
        HumanBytes(bytes as u64),
        run.root().display()
    ))
}
