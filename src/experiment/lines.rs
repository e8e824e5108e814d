//! The loss along every eigenvector at every checkpoint: what figures 3 to 6 are drawn from.

use super::configuration::{LineScale, LinesConfiguration};
use super::line_search::{evenly, grid, minimize, quadratic_coefficient};
use super::spectra::{StoredPair, StoredSpectrum};
use super::{Landscape, LossChanges, Session};
use crate::Result;
use crate::figure::End;
use crate::objective::{Jet, Probe};
use serde::{Deserialize, Serialize};

/// Directions that are searched together, and written together.
const GROUP: usize = 8;
/// Steps, in units of the grid's shortest, at which rounding noise is measured: there a cubic is all there is.
const NOISE_STEPS: [f64; 6] = [-0.3, -0.2, -0.1, 0.1, 0.2, 0.3];

/// A row of `tables/lines.csv`: the loss along one eigenvector v. Distances are in parameter space, along v.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineRow {
    /// Steps of the training.
    pub step: u64,
    /// End of the spectrum.
    pub end: End,
    /// 1 for the outermost.
    pub rank: usize,
    /// Eigenvalue, as the solver found it.
    pub eigenvalue: f64,
    /// `g^T v`.
    pub slope: f64,
    /// `v^T H v`, by a jet.
    pub curvature: f64,
    /// Third derivative of the loss along v.
    pub third: f64,
    /// Root mean square of the rounding noise of loss differences, along the first two directions of the group that was
    /// searched together.
    pub noise: f64,
    /// Curvature of the quadratic fit over the small range; none if the slope vanishes.
    pub fit_small: Option<f64>,
    /// What the noise may have done to it.
    pub fit_small_error: Option<f64>,
    /// Curvature of the quadratic fit over the large range.
    pub fit_large: Option<f64>,
    /// What the noise may have done to it.
    pub fit_large_error: Option<f64>,
    /// Where along v the loss is lowest.
    pub displacement: f64,
    /// That as a step size, `alpha* = -displacement / slope`; none if the slope vanishes.
    pub alpha: Option<f64>,
    /// How much lower the loss is there.
    pub gain: f64,
    /// Whether that was at the end of the search, so that the true minimum may lie beyond.
    pub boundary: bool,
    /// Whether the gain stands out of the noise.
    pub resolved: bool,
    /// Evaluations that narrowed it down.
    pub refinements: usize,
    /// Where the cubic model from slope, curvature and third derivative has its minimum, if it has one.
    pub cubic_displacement: Option<f64>,
    /// How much lower the loss is there; negative if it is higher.
    pub cubic_gain: Option<f64>,
    /// How much lower the loss is at `alpha = 1 / |lambda|`; negative if it is higher.
    pub inverse_gain: Option<f64>,
}

/// A row of `tables/profile.csv`: the loss along the outermost eigenvectors at one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileRow {
    /// End of the spectrum.
    pub end: End,
    /// What alpha is measured in.
    pub scale: LineScale,
    /// Half width of the range that the point belongs to.
    pub range: f64,
    /// Step size.
    pub alpha: f64,
    /// Loss.
    pub loss: f64,
    /// What slope and eigenvalue predict.
    pub quadratic: f64,
}

/// Searches all eigenvectors of a run that were not searched yet.
///
/// # Errors
/// What the device or the files meet. What was written stands, and a resumed run goes on there.
pub fn run<L: Landscape>(landscape: &mut L, session: &mut Session<'_>) -> Result<()> {
    let Session { configuration, run, .. } = *session;
    let settings = &configuration.lines;
    let at = &configuration.spectra.at;
    session.observer.begin("lines", at.len() as u64);
    let (mut lines, mut flagged): (Vec<LineRow>, usize) = (run.read_table_so_far("lines")?, 0);
    for (i, &step) in at.iter().enumerate() {
        let count = configuration.spectra.largest + configuration.spectra.smallest;
        let found = lines.iter().filter(|row| row.step == step).count();
        let profile = step == settings.profile_at && !run.table("profile").exists();
        if found < count || profile {
            let spectrum = StoredSpectrum::read(&run.spectrum(step))?;
            let theta = session.theta(step)?;
            for (g, group) in spectrum.pairs.chunks(GROUP).enumerate() {
                if g * GROUP + group.len() > found {
                    let done = (g * GROUP).min(spectrum.pairs.len());
                    session
                        .observer
                        .advance(i as u64, &format!("step {step}: {done} of {} lines", spectrum.pairs.len()));
                    lines.extend(search(landscape, settings, step, &theta, group)?);
                    run.write_table("lines", &lines)?;
                }
            }
            if profile {
                run.write_table("profile", &profiles(landscape, settings, &theta, &spectrum)?)?;
            }
        }
        flagged += lines.iter().filter(|r| r.step == step && (r.boundary || !r.resolved)).count();
        session.observer.advance(i as u64 + 1, "");
    }
    let count = lines.len();
    session.observer.end(&format!("{count} lines, {flagged} of them with a minimum at the boundary or in the noise"));
    Ok(())
}

/// The rows of a group of eigenvectors at one point.
///
/// # Errors
/// What the device meets.
pub fn search<L: Landscape>(
    landscape: &mut L,
    settings: &LinesConfiguration,
    step: u64,
    theta: &[f32],
    pairs: &[StoredPair],
) -> Result<Vec<LineRow>> {
    let directions: Vec<&[f32]> = pairs.iter().map(|p| p.vector.as_slice()).collect();
    let jets = landscape.jets(theta, &directions)?;
    let mut changes = landscape.along(theta, &directions)?;
    let noise = measure_noise(&mut changes, settings, &jets)?;

    // Everything that does not depend on what is found, in one batch.
    let grid = grid(settings.nearest, settings.reach, settings.per_decade);
    let lines: Vec<Line> =
        jets.iter().zip(pairs).map(|(&jet, pair)| Line::new(settings, &grid, jet, pair.value)).collect();
    let probes: Vec<Probe> = lines
        .iter()
        .enumerate()
        .flat_map(|(direction, line)| line.steps.iter().map(move |&step| Probe { direction, step }))
        .filter(|probe| probe.step != 0.0)
        .collect();
    let mut found = changes(&probes)?.into_iter();
    let mut change = |step: f64| if step == 0.0 { 0.0 } else { found.next().expect("one a probe") };
    let known: Vec<Vec<(f64, f64)>> =
        lines.iter().map(|line| line.steps.iter().map(|&s| (s, change(s))).collect()).collect();
    // The searches may use every point that is known and within reach.
    let within = |point: &(f64, f64)| point.0.abs() <= settings.reach;
    let starts: Vec<Vec<(f64, f64)>> =
        known.iter().map(|k| k.iter().copied().filter(within).chain([(0.0, 0.0)]).collect()).collect();
    let minima = minimize(&mut *changes, &starts, settings.refinements, noise)?;

    let rows = lines.iter().zip(pairs).zip(known.iter().zip(minima));
    Ok(rows
        .map(|((line, pair), (known, minimum))| {
            let Jet { slope, curvature, third, .. } = line.jet;
            let [small, large] = [0, 1].map(|r| line.fit(settings, known, r));
            let error = |fit: Option<(f64, f64)>| fit.map(|(_, sensitivity)| noise * sensitivity);
            let extra = &known[known.len() - 2..];
            LineRow {
                step,
                end: pair.end,
                rank: pair.rank,
                eigenvalue: pair.value,
                slope,
                curvature,
                third,
                noise,
                fit_small: small.map(|fit| fit.0),
                fit_small_error: error(small),
                fit_large: large.map(|fit| fit.0),
                fit_large_error: error(large),
                displacement: minimum.step,
                alpha: finite(-minimum.step / slope),
                gain: -minimum.change,
                boundary: minimum.boundary,
                resolved: -minimum.change > 3.0 * noise,
                refinements: minimum.refinements,
                cubic_displacement: line.cubic,
                cubic_gain: line.cubic.and_then(|_| finite(-extra[0].1)),
                inverse_gain: line.inverse.and_then(|_| finite(-extra[1].1)),
            }
        })
        .collect())
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The distance along the direction that alpha = 1 stands for.
fn unit(scale: LineScale, jet: Jet) -> f64 {
    match scale {
        LineScale::Gradient => -jet.slope,
        LineScale::Unit => -1.0,
    }
}

/// What is looked at along one direction.
struct Line {
    jet: Jet,
    /// The fits' alphas, small and large range, and the distance that alpha = 1 stands for.
    alphas: [Vec<f64>; 2],
    unit: f64,
    /// The cubic model's minimum, and the step of alpha = 1 / |lambda|.
    cubic: Option<f64>,
    inverse: Option<f64>,
    /// All of them as distances: the fits', the grid, and the two extra ones last.
    steps: Vec<f64>,
}

impl Line {
    fn new(settings: &LinesConfiguration, grid: &[f64], jet: Jet, eigenvalue: f64) -> Self {
        let unit = unit(settings.scale, jet);
        let alphas = settings.ranges.map(|range| evenly(range, settings.fit_points));
        let cubic = cubic_minimum(jet);
        let inverse = finite(-jet.slope / eigenvalue.abs());
        let fits = alphas.iter().flatten().map(|alpha| alpha * unit);
        let extra = [cubic.unwrap_or(0.0), inverse.unwrap_or(0.0)];
        let steps = fits.chain(grid.iter().copied()).chain(extra).collect();
        Self { jet, alphas, unit, cubic, inverse, steps }
    }

    /// The curvature of the fit over range `r`, and its sensitivity to noise.
    fn fit(&self, settings: &LinesConfiguration, known: &[(f64, f64)], r: usize) -> Option<(f64, f64)> {
        let points = &known[r * settings.fit_points..][..settings.fit_points];
        let points: Vec<(f64, f64)> = self.alphas[r].iter().zip(points).map(|(&alpha, &(_, y))| (alpha, y)).collect();
        let (coefficient, sensitivity) = quadratic_coefficient(&points);
        let scale = 2.0 / (self.unit * self.unit);
        Some((finite(coefficient * scale)?, finite(sensitivity * scale)?))
    }
}

/// The minimum of `slope s + curvature s^2 / 2 + third s^3 / 6`, where there is one.
fn cubic_minimum(Jet { slope, curvature, third, .. }: Jet) -> Option<f64> {
    let discriminant = curvature * curvature - 2.0 * slope * third;
    let root = discriminant.sqrt();
    // Two forms of the same root, each without cancellation where it is used.
    finite(if curvature > 0.0 { -2.0 * slope / (curvature + root) } else { (root - curvature) / third })
}

/// Root mean square of what is left of tiny loss changes along two directions when their Taylor series is taken off.
fn measure_noise(changes: &mut LossChanges<'_>, settings: &LinesConfiguration, jets: &[Jet]) -> Result<f64> {
    let probes: Vec<Probe> = (0..jets.len().min(2))
        .flat_map(|direction| NOISE_STEPS.map(|step| Probe { direction, step: step * settings.nearest }))
        .collect();
    let found = changes(&probes)?;
    let residual = |(probe, change): (&Probe, f64)| {
        let (jet, s) = (jets[probe.direction], probe.step);
        change - s * (jet.slope + s * (jet.curvature / 2.0 + s * jet.third / 6.0))
    };
    let squares: f64 = probes.iter().zip(found).map(residual).map(|r| r * r).sum();
    Ok((squares / probes.len() as f64).sqrt())
}

/// The loss and its quadratic model along v_1 and v_d.
fn profiles<L: Landscape>(
    landscape: &mut L,
    settings: &LinesConfiguration,
    theta: &[f32],
    spectrum: &StoredSpectrum,
) -> Result<Vec<ProfileRow>> {
    let pairs: Vec<&StoredPair> =
        [End::Largest, End::Smallest].into_iter().filter_map(|end| spectrum.outermost(end)).collect();
    let directions: Vec<&[f32]> = pairs.iter().map(|p| p.vector.as_slice()).collect();
    let jets = landscape.jets(theta, &directions)?;
    let mut changes = landscape.along(theta, &directions)?;
    let mut rows = Vec::new();
    let [small, large] = settings.ranges;
    let curves = [(settings.scale, small), (settings.scale, large), (LineScale::Unit, settings.profile_reach)];
    for (direction, (pair, jet)) in pairs.iter().zip(jets).enumerate() {
        for (scale, range) in curves {
            let unit = unit(scale, jet);
            let alphas = evenly(range, settings.profile_points);
            let probes: Vec<Probe> = alphas.iter().map(|a| Probe { direction, step: a * unit }).collect();
            rows.extend(alphas.iter().zip(&probes).zip(changes(&probes)?).map(|((&alpha, probe), change)| {
                ProfileRow {
                    end: pair.end,
                    scale,
                    range,
                    alpha,
                    loss: jet.loss + change,
                    quadratic: jet.loss + probe.step * (jet.slope + probe.step * pair.value / 2.0),
                }
            }));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cubic_model_finds_its_minimum() {
        for (slope, curvature, third) in
            [(0.3, 2.0, 0.1), (-0.3, 2.0, 0.1), (0.2, -1.0, -3.0), (0.2, -1.0, 3.0), (1e-9, -1.0, 2.0), (0.5, 2.0, 0.0)]
        {
            let jet = Jet { loss: 0.0, slope, curvature, third };
            let exists = curvature * curvature > 2.0 * slope * third;
            match cubic_minimum(jet) {
                Some(s) => {
                    assert!((slope + s * (curvature + s * third / 2.0)).abs() < 1e-12, "{jet:?}: {s}");
                    assert!(curvature + s * third > 0.0, "{jet:?}: {s} is a maximum");
                }
                None => assert!(!exists, "{jet:?}"),
            }
        }
        // No third derivative and negative curvature: no minimum.
        assert_eq!(cubic_minimum(Jet { loss: 0.0, slope: 0.1, curvature: -1.0, third: 0.0 }), None);
        assert_eq!(cubic_minimum(Jet { loss: 0.0, slope: 2.0, curvature: 1.0, third: 1.0 }), None);
    }
}
