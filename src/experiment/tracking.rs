//! Curvature along fixed eigenvectors at every kept step, and how subspaces turn: what figure 2 is drawn from.

use super::spectra::StoredSpectrum;
use super::{Landscape, Session};
use crate::Result;
use crate::figure::End;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A row of `tables/curvature.csv`: the curvature at step `step` along an outermost eigenvector of step `origin`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvatureRow {
    /// Steps of the training at which the curvature is taken: t.
    pub step: u64,
    /// End of the spectrum that the eigenvector v comes from.
    pub end: End,
    /// Steps of the training at which it is an eigenvector: t0.
    pub origin: u64,
    /// `v(t0)^T H(t) v(t0)`.
    pub curvature: f64,
    /// `g(t)^T v(t0)`.
    pub slope: f64,
}

/// A row of `tables/overlap.csv`: how much of one spectrum's subspace lies in the next one's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverlapRow {
    /// End of the spectra.
    pub end: End,
    /// Step of the one.
    pub from: u64,
    /// Step of the next.
    pub to: u64,
    /// Dimension k of both.
    pub pairs: usize,
    /// `||V^T W||_F^2 / k`: 1 if they are the same, about k / d for random ones.
    pub overlap: f64,
}

/// Follows the outermost eigenvectors of all spectra through all kept steps.
///
/// # Errors
/// What the device or the files meet. What was written stands, and a resumed run goes on there.
pub fn run<L: Landscape>(landscape: &mut L, session: &mut Session<'_>) -> Result<()> {
    let Session { configuration, run, .. } = *session;
    let steps = configuration.tracked_steps();
    session.observer.begin("tracking", steps.len() as u64);
    let mut rows: Vec<CurvatureRow> = run.read_table_so_far("curvature")?;
    let known: BTreeSet<u64> = rows.iter().map(|row| row.step).collect();
    // The spectra are large: they are read only where something is still to be computed of them.
    let finished = run.table("overlap").exists() && steps.is_subset(&known);
    let origins = if finished { Vec::new() } else { origins(session)? };
    let directions: Vec<&[f32]> = origins.iter().map(|(_, _, v)| v.as_slice()).collect();
    for (i, &step) in steps.iter().enumerate() {
        if !known.contains(&step) {
            let jets = landscape.jets(&session.theta(step)?, &directions)?;
            rows.extend(origins.iter().zip(jets).map(|((end, origin, _), jet)| CurvatureRow {
                step,
                end: *end,
                origin: *origin,
                curvature: jet.curvature,
                slope: jet.slope,
            }));
            run.write_table("curvature", &rows)?;
        }
        session.observer.advance(i as u64 + 1, &format!("step {step}"));
    }
    session.observer.end(&format!("{} curvatures at {} steps", rows.len(), steps.len()));
    Ok(())
}

/// The outermost eigenvectors of all spectra; writes `tables/overlap.csv` on the way.
fn origins(session: &Session<'_>) -> Result<Vec<(End, u64, Vec<f32>)>> {
    let (mut origins, mut overlaps) = (Vec::new(), Vec::new());
    let mut before: Option<(u64, StoredSpectrum)> = None;
    for &step in &session.configuration.spectra.at {
        let spectrum = StoredSpectrum::read(&session.run.spectrum(step))?;
        for end in [End::Largest, End::Smallest] {
            origins.extend(spectrum.outermost(end).map(|pair| (end, step, pair.vector.clone())));
            if let Some((from, before)) = &before {
                let Overlap { pairs, overlap, .. } = Overlap::of(before, &spectrum, end);
                overlaps.push(OverlapRow { end, from: *from, to: step, pairs, overlap });
            }
        }
        before = Some((step, spectrum));
    }
    session.run.write_table("overlap", &overlaps)?;
    Ok(origins)
}

/// How the eigenvectors of two spectra lie to each other at one end.
pub(super) struct Overlap {
    /// Cosines of one's eigenvectors (rows, by rank) and the other's.
    pub cosines: Vec<f64>,
    /// Dimension k of both subspaces.
    pub pairs: usize,
    /// `||V^T W||_F^2 / k`.
    pub overlap: f64,
}

impl Overlap {
    pub fn of(one: &StoredSpectrum, other: &StoredSpectrum, end: End) -> Self {
        let [v, w] = [one, other].map(|s| s.ranked(end).iter().map(|p| p.vector.as_slice()).collect::<Vec<_>>());
        let pairs = v.len().min(w.len());
        let cosines = cosines(&v, &w);
        Self { overlap: cosines.iter().map(|c| c * c).sum::<f64>() / pairs as f64, cosines, pairs }
    }
}

/// `a_i^T b_j`, row-major, in f64.
pub(super) fn cosines(a: &[&[f32]], b: &[&[f32]]) -> Vec<f64> {
    let pairs: Vec<(&[f32], &[f32])> = a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b))).collect();
    pairs.par_iter().map(|(a, b)| a.iter().zip(*b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()).collect()
}
