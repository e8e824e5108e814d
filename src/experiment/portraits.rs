//! What eigenvectors look like: their energy in each layer, how many parameters take part, the first layer's filters.

use super::Session;
use super::spectra::{StoredPair, StoredSpectrum};
use crate::Result;
use crate::figure::End;
use crate::network::{Layer, Network};
use serde::{Deserialize, Serialize};

/// The outermost pairs of either end whose filters are kept.
const PICTURED: usize = 3;

/// A row of `tables/energy.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnergyRow {
    /// Steps of the training.
    pub step: u64,
    /// End of the spectrum.
    pub end: End,
    /// 1 for the outermost.
    pub rank: usize,
    /// Parameter tensor, such as `conv1.weight`.
    pub parameter: String,
    /// Sum of the squares of the eigenvector's components there; one over all tensors.
    pub energy: f64,
}

/// A row of `tables/participation.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParticipationRow {
    /// Steps of the training.
    pub step: u64,
    /// End of the spectrum.
    pub end: End,
    /// 1 for the outermost.
    pub rank: usize,
    /// Eigenvalue.
    pub eigenvalue: f64,
    /// `1 / sum v_i^4`: how many parameters take part, d if all do alike.
    pub participation: f64,
}

/// A row of `tables/filters.csv`: one filter of the first layer as an eigenvector has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilterRow {
    /// Steps of the training.
    pub step: u64,
    /// End of the spectrum.
    pub end: End,
    /// 1 for the outermost.
    pub rank: usize,
    /// Output channel.
    pub filter: usize,
    /// Rows of the filter; it has as many columns.
    pub size: usize,
    /// Its components, row by row, averaged over input channels; separated by spaces.
    pub components: String,
}

/// Describes the eigenvectors of all spectra of a run.
///
/// # Errors
/// What the files meet.
pub fn run(network: &Network, session: &mut Session<'_>) -> Result<()> {
    let Session { configuration, run, .. } = *session;
    if run.table("participation").exists() {
        return Ok(());
    }
    let (mut energies, mut participations, mut filters) = (Vec::new(), Vec::new(), Vec::new());
    for &step in &configuration.spectra.at {
        for pair in &StoredSpectrum::read(&run.spectrum(step))?.pairs {
            let StoredPair { end, rank, .. } = *pair;
            for p in network.parameters() {
                let energy = pair.vector[p.range()].iter().map(|v| f64::from(*v).powi(2)).sum();
                energies.push(EnergyRow { step, end, rank, parameter: p.name.clone(), energy });
            }
            let fourth: f64 = pair.vector.iter().map(|v| f64::from(*v).powi(4)).sum();
            let participation = fourth.recip();
            participations.push(ParticipationRow { step, end, rank, eigenvalue: pair.value, participation });
            if let (Layer::Conv(conv), true) = (&network.layers()[0], rank <= PICTURED) {
                let (size, weights) = (conv.kernel, &pair.vector[conv.weight..]);
                let patch = size * size;
                for filter in 0..conv.out_channels {
                    let channels = &weights[filter * conv.in_channels * patch..][..conv.in_channels * patch];
                    let mean = |i: usize| channels.iter().skip(i).step_by(patch).sum::<f32>() / conv.in_channels as f32;
                    let components: Vec<String> = (0..patch).map(|i| format!("{:e}", mean(i))).collect();
                    filters.push(FilterRow { step, end, rank, filter, size, components: components.join(" ") });
                }
            }
        }
    }
    run.write_table("energy", &energies)?;
    run.write_table("filters", &filters)?;
    // The last: the section is drawn once this table is there.
    run.write_table("participation", &participations)
}
