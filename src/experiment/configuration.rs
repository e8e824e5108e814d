//! Settings of an experiment: a preset, changed by `key=value`, stored with the run.

use super::Experiment;
use crate::data::Dataset;
use crate::network::{Init, Network};
use crate::train::{NegativeCurvature, Schedule};
use crate::{Error, Result, eigen};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The presets in `assets/presets`.
const PRESETS: [(&str, &str); 2] = [
    ("quick", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/presets/quick.toml"))),
    ("paper", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/presets/paper.toml"))),
];

/// Where the images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfiguration {
    /// `mnist`, `idx` or `cifar10`.
    pub dataset: String,
    /// Directory of the files; not for the embedded MNIST.
    pub directory: Option<PathBuf>,
}

impl DataConfiguration {
    /// What the files in a directory look like: `cifar10` if there are its batches, else `idx`.
    pub fn guess(directory: &Path) -> &'static str {
        let is_batch = |folder: &Path| folder.join("data_batch_1.bin").exists();
        if is_batch(directory) || is_batch(&directory.join("cifar-10-batches-bin")) { "cifar10" } else { "idx" }
    }

    /// Reads the data set.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is not known, [`Error::File`] for files that are missing or broken.
    pub fn load(&self) -> Result<Dataset> {
        match (self.dataset.as_str(), &self.directory) {
            ("mnist", None) => Dataset::mnist_embedded(),
            ("mnist" | "idx", Some(directory)) => Dataset::idx_directory(directory),
            ("cifar10", Some(directory)) => Dataset::cifar10_directory(directory),
            ("idx" | "cifar10", None) => {
                Err(Error::Usage(format!("data set {} needs --data DIR with its files", self.dataset)))
            }
            (other, _) => Err(Error::Usage(format!("data set \"{other}\" is not one of mnist, idx, cifar10"))),
        }
    }
}

/// The network and its initial parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfiguration {
    /// `lenet`, or layers as [`Network::parse`] reads them.
    pub layers: String,
    /// Initialiser.
    pub init: Init,
    /// Seed of the initial parameters.
    pub seed: u64,
}

/// Which spectra to compute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpectraConfiguration {
    /// Steps of the training at which the Hessian is looked at.
    pub at: Vec<u64>,
    /// Samples of the fixed subset that defines the Hessian.
    pub samples: usize,
    /// Draws the subset at random by this seed; without, it is the first samples.
    pub subset_seed: Option<u64>,
    /// Number of largest eigenvalues.
    pub largest: usize,
    /// Number of most negative eigenvalues.
    pub smallest: usize,
    /// Relative residual, see [`eigen::Options::tolerance`].
    pub tolerance: f64,
    /// Vectors a block.
    pub block: usize,
    /// Most vectors in the basis.
    pub basis: usize,
    /// Most Hessian-vector products a spectrum.
    pub max_hvps: usize,
    /// Whether a fresh random block must fail to find a pair beyond those returned.
    pub guard: bool,
    /// Seed of the start vectors.
    pub seed: u64,
}

impl SpectraConfiguration {
    /// The solver's options.
    pub fn options(&self) -> eigen::Options {
        eigen::Options {
            largest: self.largest,
            smallest: self.smallest,
            tolerance: self.tolerance,
            block: self.block,
            basis: self.basis,
            max_products: self.max_hvps,
            max_seconds: None,
            guard: self.guard,
            seed: self.seed,
            residuals: eigen::Residuals::Recomputed,
            vectors: true,
        }
    }
}

/// Where curvature is followed: figure 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackingConfiguration {
    /// The curvature along each outermost eigenvector is computed every so many steps, and at the spectra.
    pub every: u64,
    /// Steps t0 whose top eigenvector gets a panel.
    pub top: Vec<u64>,
    /// Steps t0 whose bottom eigenvector gets a panel.
    pub bottom: Vec<u64>,
}

/// What the length of a step along an eigenvector v is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineScale {
    /// Equation 1 of the paper: the step is `-alpha (g^T v) v`.
    Gradient,
    /// The step is `-alpha v`.
    Unit,
}

/// The loss along eigenvectors: figures 3 to 6.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinesConfiguration {
    /// The step of the training that figure 3 shows.
    pub profile_at: u64,
    /// Points of each of its curves.
    pub profile_points: usize,
    /// Half width of its curves at equal distances in parameter space.
    pub profile_reach: f64,
    /// Half widths, in alpha, of the small and the large range of figures 3 and 4.
    pub ranges: [f64; 2],
    /// What alpha is measured in, in figures 3 and 4.
    pub scale: LineScale,
    /// Points of each quadratic fit.
    pub fit_points: usize,
    /// Shortest step of the search's grid, as a distance in parameter space.
    pub nearest: f64,
    /// Longest step, likewise; a minimum there is marked as on the boundary.
    pub reach: f64,
    /// Points of the grid per factor of ten, on either side.
    pub per_decade: usize,
    /// Most evaluations that narrow a minimum down.
    pub refinements: usize,
}

impl LinesConfiguration {
    /// Refuses settings that cannot work.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the setting.
    pub fn check(&self) -> Result<()> {
        let Self { ranges, fit_points, profile_points, profile_reach, nearest, reach, per_decade, .. } = self;
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let wrong = if !(positive(ranges[0]) && positive(ranges[1]) && ranges[1] > ranges[0]) {
            format!("ranges {ranges:?} must be a small and a larger half width")
        } else if *fit_points < 3 || *profile_points < 3 {
            "fit_points and profile_points must be at least 3".into()
        } else if !(1..=1000).contains(per_decade) {
            "per_decade must be from 1 to 1000".into()
        } else if !(positive(*nearest) && positive(*reach) && reach > nearest) {
            format!("reach {reach} must be above nearest {nearest}, and that above 0")
        } else if !positive(*profile_reach) {
            format!("profile_reach {profile_reach} must be positive")
        } else {
            return Ok(());
        };
        Err(Error::Usage(format!("lines: {wrong}")))
    }
}

/// Spectra of subsets against that of a larger set: appendix B.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppendixBConfiguration {
    /// The step of the training that is looked at; one of the spectra's.
    pub at: u64,
    /// Sizes of the subsets, nested; the first is the one whose standard errors are estimated.
    pub sizes: Vec<usize>,
    /// Size of the set they are compared with.
    pub reference: usize,
    /// Number of largest eigenvalues.
    pub largest: usize,
    /// Number of most negative eigenvalues.
    pub smallest: usize,
}

/// The optimiser that the paper proposes: appendix C.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppendixCConfiguration {
    /// Seeds of the initial parameters and of the order of the samples, one run of each optimiser for each.
    pub seeds: Vec<u64>,
    /// Steps of each run.
    pub steps: u64,
    /// The loss on the fixed subset is recorded every so many steps.
    pub evaluate_every: u64,
    /// Steps at which the running direction is compared with the true bottom eigenvector.
    pub compare_at: Vec<u64>,
    /// How the direction is estimated and used.
    pub optimizer: NegativeCurvature,
}

/// All settings of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Training steps.
    pub steps: u64,
    /// The loss on the fixed subset is recorded every so many steps.
    pub evaluate_every: u64,
    /// Validation samples whose accuracy is recorded at each checkpoint.
    pub validation_samples: usize,
    /// Where the images come from.
    pub data: DataConfiguration,
    /// The network.
    pub network: NetworkConfiguration,
    /// How it is trained.
    pub training: Schedule,
    /// Which spectra.
    pub spectra: SpectraConfiguration,
    /// Figure 2.
    pub tracking: TrackingConfiguration,
    /// Figures 3 to 6.
    pub lines: LinesConfiguration,
    /// Appendix B.
    pub appendix_b: AppendixBConfiguration,
    /// Appendix C.
    pub appendix_c: AppendixCConfiguration,
}

impl Configuration {
    /// The preset of this name, with the settings of a TOML file on top if there is one, and settings `key=value` on top of
    /// those, such as `spectra.samples=512`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name or a key that does not exist, or a value that does not fit; [`Error::File`] for a file
    /// that cannot be read.
    pub fn preset(name: &str, file: Option<&Path>, settings: &[String]) -> Result<Self> {
        let names = PRESETS.map(|(n, _)| n).join(", ");
        let (_, text) = PRESETS
            .iter()
            .find(|(n, _)| *n == name)
            .ok_or_else(|| Error::Usage(format!("preset \"{name}\" is not one of {names}")))?;
        let mut table: toml::Table = text.parse().expect("the presets are tested");
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, format!("cannot be read: {e}")))?;
            let over: toml::Table =
                text.parse().map_err(|e: toml::de::Error| Error::file(path, one_line(&e.to_string())))?;
            overlay(&mut table, over);
        }
        for setting in settings {
            apply(&mut table, setting)?;
        }
        let configuration: Self = table
            .try_into()
            .map_err(|e: toml::de::Error| Error::Usage(format!("settings: {}", one_line(e.message()))))?;
        configuration.check()?;
        Ok(configuration)
    }

    /// The network for a data set.
    ///
    /// # Errors
    /// As [`Network::parse`].
    pub fn network(&self, data: &Dataset) -> Result<Network> {
        Network::parse(&self.network.layers, data.shape, data.classes)
    }

    /// Steps at which the curvature along eigenvectors is computed.
    pub fn tracked_steps(&self) -> BTreeSet<u64> {
        (0..=self.steps).step_by(self.tracking.every as usize).chain(self.spectra.at.iter().copied()).collect()
    }

    fn check(&self) -> Result<()> {
        let usage = |message: String| Err(Error::Usage(message));
        for (name, value) in [
            ("evaluate_every", self.evaluate_every),
            ("tracking.every", self.tracking.every),
            ("appendix_c.evaluate_every", self.appendix_c.evaluate_every),
        ] {
            if value == 0 {
                return usage(format!("{name} must be at least 1"));
            }
        }
        if self.spectra.at.is_empty() {
            return usage("spectra.at lists no step".into());
        }
        if !self.spectra.at.is_sorted_by(|a, b| a < b) {
            return usage("spectra.at must be in ascending order, each step once".into());
        }
        if let Some(late) = self.spectra.at.iter().find(|&&s| s > self.steps) {
            return usage(format!("spectra.at has step {late}, but the training has {} steps", self.steps));
        }
        Ok(())
    }

    /// Refuses settings that one of `experiments` cannot work with on this data.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the setting.
    pub fn check_for(&self, experiments: &[Experiment], data: &Dataset) -> Result<()> {
        use Experiment::*;
        let usage = |message: String| Err(Error::Usage(message));
        let wants = |some: &[Experiment]| some.iter().any(|e| experiments.contains(e));
        let dim = self.network(data)?.dim();
        let available = data.train.len();
        self.training.check(available)?;
        let AppendixBConfiguration { sizes, reference, largest, smallest, .. } = &self.appendix_b;
        for (name, count, most) in [
            ("spectra.samples", self.spectra.samples, available),
            ("validation_samples", self.validation_samples, usize::MAX),
            ("appendix_b.reference", *reference, if wants(&[AppendixB]) { available } else { usize::MAX }),
        ] {
            if count == 0 || count > most {
                return usage(format!("{name} is {count}: from 1 to the {available} training samples"));
            }
        }
        let options = self.spectra.options();
        for (name, largest, smallest) in
            [("spectra", options.largest, options.smallest), ("appendix_b", *largest, *smallest)]
        {
            if largest == 0 || smallest == 0 {
                return usage(format!("{name}.largest and .smallest must be at least 1: the figures show both ends"));
            }
            if largest + smallest > dim {
                return usage(format!("{name} asks for {} eigenvalues of {dim}", largest + smallest));
            }
            let wrong = |e| Error::Usage(format!("{name}: {e}"));
            eigen::Options { largest, smallest, ..options.clone() }.check(dim, options.block).map_err(wrong)?;
        }
        for (some, name, steps) in [
            (&[Figure2][..], "tracking.top", self.tracking.top.as_slice()),
            (&[Figure2], "tracking.bottom", &self.tracking.bottom),
            (&[Figure3, Figure4, Figure5, Figure6], "lines.profile_at", &[self.lines.profile_at]),
        ] {
            if let Some(other) = steps.iter().find(|s| wants(some) && !self.spectra.at.contains(s)) {
                return usage(format!("{name} has step {other}, which is not in spectra.at"));
            }
        }
        if wants(&[AppendixB]) && !self.tracked_steps().contains(&self.appendix_b.at) {
            return usage(format!("appendix_b.at is step {}, of which no parameters are kept", self.appendix_b.at));
        }
        self.lines.check()?;
        let rising = !sizes.is_empty() && sizes.is_sorted_by(|a, b| a < b) && sizes[0] > 0;
        if !rising || sizes.last() >= Some(reference) || 3 * sizes[0] > *reference {
            return usage(
                "appendix_b.sizes must rise, from a third of appendix_b.reference or less, and stay below it".into(),
            );
        }
        if self.appendix_c.seeds.is_empty() || self.appendix_c.compare_at.iter().any(|&s| s > self.appendix_c.steps) {
            return usage("appendix_c: at least one seed, and compare_at within steps".into());
        }
        self.appendix_c.optimizer.check()
    }
}

/// Puts the values of `over` in place of those of `table`, section by section.
fn overlay(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(section)), toml::Value::Table(over)) => overlay(section, over),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// Sets one dotted key of a table.
fn apply(table: &mut toml::Table, setting: &str) -> Result<()> {
    let (key, value) = setting
        .split_once('=')
        .ok_or_else(|| Error::Usage(format!("--set \"{setting}\": write KEY=VALUE, such as spectra.samples=512")))?;
    let (key, value) = (key.trim(), value.trim());
    // What is not a TOML value is a plain string.
    let value = format!("x = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut t| t.remove("x"))
        .unwrap_or_else(|| toml::Value::String(value.to_string()));
    let mut path = key.split('.').peekable();
    let mut at = table;
    while let Some(part) = path.next() {
        if path.peek().is_none() {
            at.insert(part.to_string(), value);
            return Ok(());
        }
        at = at
            .get_mut(part)
            .and_then(toml::Value::as_table_mut)
            .ok_or_else(|| Error::Usage(format!("--set \"{setting}\": there is no section {part}")))?;
    }
    Ok(())
}

/// A message of several lines as one.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_sound() {
        for (name, _) in PRESETS {
            let configuration = Configuration::preset(name, None, &[]).unwrap();
            configuration.check_for(&Experiment::ALL, &Dataset::mnist_embedded().unwrap()).unwrap();
            assert_eq!(configuration.network.layers, "lenet");
        }
        let paper = Configuration::preset("paper", None, &[]).unwrap();
        assert_eq!((paper.steps, paper.spectra.samples, paper.training), (10_000, 2_500, Schedule::default()));
    }

    #[test]
    fn settings_reach_their_place() {
        let settings = ["spectra.samples=512", "network.layers=conv 3x3 4, dense 10", "lines.scale=unit"];
        let c = Configuration::preset("quick", None, &settings.map(String::from)).unwrap();
        assert_eq!((c.spectra.samples, c.lines.scale), (512, LineScale::Unit));
        assert_eq!(c.network.layers, "conv 3x3 4, dense 10");
    }

    #[test]
    fn a_file_goes_between_the_preset_and_the_settings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, "steps = 600\n[spectra]\nsamples = 100\nlargest = 3\n").unwrap();
        let c = Configuration::preset("quick", Some(&path), &["spectra.largest=5".into()]).unwrap();
        assert_eq!((c.steps, c.spectra.samples, c.spectra.largest, c.spectra.smallest), (600, 100, 5, 4));
        std::fs::write(&path, "steps = \n").unwrap();
        let message = Configuration::preset("quick", Some(&path), &[]).unwrap_err().to_string();
        assert!(message.contains("mine.toml") && !message.contains('\n'), "{message}");
    }

    #[test]
    fn wrong_settings_are_named() {
        let data = Dataset::mnist_embedded().unwrap();
        for (setting, hint) in [
            ("spectra.sample=512", "sample"),
            ("spectra.samples=many", "expected usize"),
            ("spectre.samples=512", "spectre"),
            ("steps", "KEY=VALUE"),
            ("steps=3", "step"),
            ("spectra.at=[]", "no step"),
            ("network.init=xavier", "xavier"),
            ("tracking.top=[3]", "step 3, which is not in spectra.at"),
            ("lines.fit_points=2", "fit_points"),
            ("lines.reach=0", "reach 0"),
            ("appendix_b.sizes=[9000]", "appendix_b.sizes"),
            ("appendix_b.sizes=[400]", "a third"),
            ("appendix_b.reference=60000", "appendix_b.reference is 60000"),
            ("spectra.samples=99999", "spectra.samples is 99999"),
            ("validation_samples=0", "validation_samples"),
            ("spectra.largest=50", "basis of 48"),
            ("spectra.smallest=0", "both ends"),
            ("spectra.tolerance=0.0", "tolerance 0"),
            ("training.batch=0", "batch 0"),
            ("network.layers=bogus", "bogus"),
            ("lines.per_decade=0", "per_decade"),
            ("lines.reach=inf", "reach inf"),
            ("appendix_c.optimizer.momentum=1", "momentum"),
        ] {
            let configuration = Configuration::preset("quick", None, &[setting.into()]);
            let message = configuration.and_then(|c| c.check_for(&Experiment::ALL, &data)).unwrap_err().to_string();
            assert!(message.contains(hint) && !message.contains('\n'), "{setting}: {message}");
        }
        assert!(Configuration::preset("slow", None, &[]).unwrap_err().to_string().contains("quick, paper"));
    }
}
