//! Appendix B: how well the Hessian of a subset stands for that of a larger set.

use super::spectra::{StoredPair, StoredSpectrum, resumable};
use super::tracking::Overlap;
use super::{NetworkLandscape, Session};
use crate::Result;
use crate::data::Dataset;
use crate::device::Device;
use crate::eigen::Options;
use crate::figure::End;
use crate::network::Network;
use crate::objective::Jet;
use crate::run::TensorData;
use serde::{Deserialize, Serialize};

/// A row of `tables/subsets.csv`: one eigenpair of one subset's Hessian beside the larger set's of the same rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubsetRow {
    /// Samples of the subset; the last size is the reference itself.
    pub samples: usize,
    /// End of the spectrum.
    pub end: End,
    /// 1 for the outermost.
    pub rank: usize,
    /// Eigenvalue of the subset's Hessian.
    pub value: f64,
    /// Recomputed residual.
    pub residual: f64,
    /// `converged`, `noise-floor` or `budget-spent`.
    pub status: String,
    /// Eigenvalue of the reference of the same rank.
    pub reference: f64,
    /// Angle between the eigenvectors of the same rank, in degrees.
    pub angle: f64,
    /// Angle between this eigenvector and the span of the reference's at this end, in degrees.
    pub angle_to_span: f64,
}

/// A row of `tables/subset_overlap.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubsetOverlapRow {
    /// Samples of the subset.
    pub samples: usize,
    /// End of the spectrum.
    pub end: End,
    /// Dimension k of both subspaces.
    pub pairs: usize,
    /// `||V^T W||_F^2 / k` of the subset's and the reference's eigenvectors.
    pub overlap: f64,
}

/// A row of `tables/subset_error.csv`: the curvature along one of the smallest subset's eigenvectors, elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubsetErrorRow {
    /// End of the spectrum.
    pub end: End,
    /// 1 for the outermost.
    pub rank: usize,
    /// Eigenvalue of the subset's Hessian: `v^T H v` on the samples that v was found on.
    pub value: f64,
    /// `v^T H v` over the reference.
    pub reference: f64,
    /// Shards of the reference, each as large as the subset, that the vector was not found on.
    pub shards: usize,
    /// Standard deviation of `v^T H v` over those shards: the standard error of an estimate from one of them.
    pub standard_error: f64,
}

/// Computes the spectra of the subsets and of the reference, and compares them.
///
/// # Errors
/// What the solver, the device or the files meet. What was written stands, and a resumed run goes on there.
pub fn run<D: Device>(
    device: &D,
    network: &Network,
    data: &Dataset,
    memory: Option<usize>,
    session: &mut Session<'_>,
) -> Result<()>
where
    TensorData: From<Vec<D::Scalar>>,
{
    let Session { configuration, run, .. } = *session;
    let settings = &configuration.appendix_b;
    let theta = session.theta(settings.at)?;
    let options = Options { largest: settings.largest, smallest: settings.smallest, ..configuration.spectra.options() };
    let sizes: Vec<usize> = settings.sizes.iter().copied().chain([settings.reference]).collect();
    session.observer.begin("subsets", sizes.len() as u64 + 1);
    for (i, &size) in sizes.iter().enumerate() {
        let path = run.subset_spectrum(size);
        let name = format!("samples-{size:06}");
        if path.exists() {
            run.finished(&name);
        } else {
            let subset = data.train.subset(size, configuration.spectra.subset_seed)?;
            let mut landscape = NetworkLandscape::new(device, network, &subset, memory)?;
            let mut tell = |detail: &str| session.observer.advance(i as u64, &format!("{size} samples: {detail}"));
            let log = path.with_extension("csv");
            let spectrum = resumable(&mut landscape, run, &name, &theta, &options, &log, &mut tell)?;
            let mut file = spectrum.to_file();
            file.note("step", settings.at);
            file.note("samples", size);
            file.write(&path)?;
            run.finished(&name);
        }
        session.observer.advance(i as u64 + 1, "");
    }

    let outcome = format!("subsets of {sizes:?} samples at step {}", settings.at);
    // The last of the tables: where it is, the spectra need not be read again.
    if run.table("subset_error").exists() {
        session.observer.end(&outcome);
        return Ok(());
    }
    let spectra: Vec<StoredSpectrum> =
        sizes.iter().map(|&size| StoredSpectrum::read(&run.subset_spectrum(size))).collect::<Result<_>>()?;
    let reference = spectra.last().expect("the reference");
    let (mut rows, mut overlaps) = (Vec::new(), Vec::new());
    for (&samples, spectrum) in sizes.iter().zip(&spectra) {
        for end in [End::Largest, End::Smallest] {
            let Overlap { cosines, pairs, overlap } = Overlap::of(spectrum, reference, end);
            overlaps.push(SubsetOverlapRow { samples, end, pairs, overlap });
            let theirs = reference.ranked(end);
            let both = spectrum.ranked(end).into_iter().zip(&theirs).enumerate();
            rows.extend(both.map(|(i, (pair, reference))| {
                let cosines = &cosines[i * theirs.len()..(i + 1) * theirs.len()];
                let inside = cosines.iter().map(|c| c * c).sum::<f64>().sqrt();
                SubsetRow {
                    samples,
                    end,
                    rank: pair.rank,
                    value: pair.value,
                    residual: pair.residual,
                    status: pair.status.clone(),
                    reference: reference.value,
                    angle: degrees(cosines[i].abs()),
                    angle_to_span: degrees(inside),
                }
            }));
        }
    }
    run.write_table("subsets", &rows)?;
    run.write_table("subset_overlap", &overlaps)?;

    session.observer.advance(sizes.len() as u64, &format!("curvature of {} samples one by one", settings.reference));
    let all = data.train.subset(settings.reference, configuration.spectra.subset_seed)?;
    let mut landscape = NetworkLandscape::new(device, network, &all, memory)?;
    let pairs = &spectra[0].pairs;
    let directions: Vec<&[f32]> = pairs.iter().map(|p| p.vector.as_slice()).collect();
    let jets = landscape.sample_jets(&theta, &directions)?;
    // The vectors were found on the first samples; those would tell of themselves. A random subset is spread over all.
    let own = if configuration.spectra.subset_seed.is_none() { settings.sizes[0] } else { 0 };
    let error = |(pair, jets): (&StoredPair, &Vec<Jet>)| standard_error(pair, jets, own, settings.sizes[0]);
    let errors: Vec<SubsetErrorRow> = pairs.iter().zip(&jets).map(error).collect();
    run.write_table("subset_error", &errors)?;
    session.observer.end(&outcome);
    Ok(())
}

fn degrees(cosine: f64) -> f64 {
    cosine.min(1.0).acos().to_degrees()
}

/// Mean of the curvature, and its spread over shards of `size` samples beyond the `own` ones.
fn standard_error(pair: &StoredPair, jets: &[Jet], own: usize, size: usize) -> SubsetErrorRow {
    let shards: Vec<f64> = jets[own..].chunks_exact(size).map(|shard| Jet::mean(shard).curvature).collect();
    let mean = shards.iter().sum::<f64>() / shards.len() as f64;
    let squares: f64 = shards.iter().map(|s| (s - mean).powi(2)).sum();
    SubsetErrorRow {
        end: pair.end,
        rank: pair.rank,
        value: pair.value,
        reference: Jet::mean(jets).curvature,
        shards: shards.len(),
        standard_error: (squares / (shards.len() as f64 - 1.0)).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_error_is_that_of_shards() {
        let pair = StoredPair {
            end: End::Largest,
            rank: 1,
            value: 5.0,
            residual: 0.0,
            status: "converged".into(),
            vector: Vec::new(),
        };
        let jet = |curvature: f64| Jet { curvature, ..Jet::default() };
        // The vector's own two samples; shards of two with means 2, 4, 6; a ninth sample that is in no shard.
        let jets = [100.0, 60.0, 1.0, 3.0, 3.0, 5.0, 5.0, 7.0, 5.0].map(jet);
        let row = standard_error(&pair, &jets, 2, 2);
        assert_eq!((row.shards, row.reference, row.standard_error), (3, 21.0, 2.0));
    }
}
