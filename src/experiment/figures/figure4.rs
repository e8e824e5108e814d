//! Figure 4: the curvature of a quadratic fit over a range against the eigenvalue.

use super::{Part, by_step, number, percent, side_by_side, step_bar, steps_of};
use crate::Result;
use crate::experiment::statistics::median;
use crate::experiment::{Configuration, LineRow};
use crate::figure::{Chart, Color, End, Mark, Ramp, Scale};
use crate::run::RunDirectory;

/// Where the axes turn from linear to logarithmic.
const LINEAR: f64 = 0.5;
const SCALE: Scale = Scale::SymLog { linear: LINEAR };

/// A fit at one range: the curvature and the error that noise may have made.
type Fit = fn(&LineRow) -> Option<(f64, f64)>;

const FITS: [Fit; 2] = [|r| Some((r.fit_small?, r.fit_small_error?)), |r| Some((r.fit_large?, r.fit_large_error?))];

/// Whether the noise may have moved the fit by more than a tenth of it, or of the eigenvalue.
fn doubtful(fit: (f64, f64), eigenvalue: f64) -> bool {
    fit.1 > 0.1 * fit.0.abs().max(eigenvalue.abs())
}

pub(super) fn part(run: &RunDirectory, configuration: &Configuration) -> Result<Part> {
    let rows: Vec<LineRow> = run.read_table("lines")?;
    let ranges = configuration.lines.ranges;
    let mut part = Part::new(
        "fig4",
        "Figure 4: curvature at a larger scale",
        "The curvature of a least-squares parabola through the loss along each eigenvector, against the eigenvalue. For a true \
         quadratic every point lies on y = x.",
    );
    let chart = |r: usize| {
        let mut chart = Chart::new(format!("fit over |α| ≤ {}", ranges[r]), "eigenvalue", "curvature of the fit");
        (chart.x_scale, chart.y_scale) = (SCALE, SCALE);
        // Both axes show the eigenvalues and the fits that are sound; what is in doubt may lie far outside.
        let sound =
            rows.iter().filter_map(|row| FITS[r](row).filter(|&f| !doubtful(f, row.eigenvalue))).map(|fit| fit.0);
        let shown = rows.iter().map(|row| row.eigenvalue).chain(sound);
        let ends = shown.fold((-LINEAR, LINEAR), |(low, high): (f64, f64), v| (low.min(v), high.max(v)));
        let range = Some((1.5 * ends.0, 1.5 * ends.1));
        (chart.x_range, chart.y_range) = (range, range);
        chart.series = by_step(
            &rows,
            Ramp::BlueGreen,
            |row| row.step,
            |row| Some((row.eigenvalue, FITS[r](row)?.0)),
            |row| FITS[r](row).is_some_and(|fit| doubtful(fit, row.eigenvalue)),
        );
        chart.marks = vec![Mark::Diagonal { color: Color::GREY, label: Some("y = x".into()) }];
        chart.color_bar = step_bar(Ramp::BlueGreen, &steps_of(&rows, |row| row.step));
        chart
    };
    let svg = side_by_side("Curvature of a quadratic fit against the eigenvalue", chart(0), chart(1))?;
    part.draw(
        "fig4",
        svg,
        "One point an eigenvector and checkpoint. Hollow: rounding noise may move the fit by more than a tenth; \
         such points may also lie outside the panel.",
    );

    for (range, fit) in ranges.iter().zip(FITS) {
        let found: Vec<(End, f64, f64)> = rows
            .iter()
            .filter_map(|row| Some((row.end, row.eigenvalue, fit(row).filter(|&f| !doubtful(f, row.eigenvalue))?.0)))
            .collect();
        let excess = |end: End| -> Vec<f64> {
            found.iter().filter(|f| f.0 == end).map(|(_, value, fit)| (fit - value) / value.abs()).collect()
        };
        let above = |end: End| excess(end).iter().filter(|e| **e > 0.0).count();
        let (positive, negative) = (excess(End::Largest), excess(End::Smallest));
        let share = (above(End::Largest) + above(End::Smallest)) as f64 / found.len() as f64;
        part.find(
            &format!("All points are above the line: the Hessian underestimates the curvature over |α| ≤ {range}."),
            (!found.is_empty()).then_some(share >= 0.95),
            format!(
                "{} of the {} points that stand out of the noise are above y = x: {} of {} at the positive end, {} of {} at the \
                 negative one.",
                percent(share),
                found.len(),
                above(End::Largest),
                positive.len(),
                above(End::Smallest),
                negative.len()
            ),
        );
        part.find(
            &format!("The effect is more pronounced for negative eigenvalues (|α| ≤ {range})."),
            (positive.len() > 2 && negative.len() > 2).then(|| median(&negative) > median(&positive)),
            format!(
                "The median of (fit - λ) / |λ| is {} at the negative end and {} at the positive one.",
                number(median(&negative)),
                number(median(&positive))
            ),
        );
    }
    Ok(part)
}
