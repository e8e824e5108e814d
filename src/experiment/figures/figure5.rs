//! Figure 5: the best step size along each eigenvector against the eigenvalue.

use super::{BLUE, Part, RED, by_step, half_width, number, side_by_side, step_bar, steps_of};
use crate::Result;
use crate::experiment::statistics::{median, rank_correlation, share};
use crate::experiment::{Configuration, LineRow};
use crate::figure::{Chart, Color, End, Mark, Ramp, Scale, Series};
use crate::run::RunDirectory;

/// Half widths of the two panels in the paper.
const RANGES: [f64; 2] = [1.0, 100.0];

/// A minimum that is inside the search and stands out of the noise.
fn sound(row: &LineRow) -> bool {
    row.resolved && !row.boundary && row.alpha.is_some()
}

pub(super) fn part(run: &RunDirectory, _: &Configuration) -> Result<Part> {
    let rows: Vec<LineRow> = run.read_table("lines")?;
    let mut part = Part::new(
        "fig5",
        "Figure 5: the best step size",
        "1/α*, where α* minimises the loss along θ - α (gᵀv) v, against the eigenvalue. For a true quadratic every point lies \
         on y = x. Both signs of α were searched.",
    );
    let chart = |range: f64| {
        let mut chart = Chart::new(format!("eigenvalues in [-{range}, {range}]"), "eigenvalue", "1 / α*");
        (chart.x_range, chart.y_range) = (Some((-range, range)), Some((-range, range)));
        chart.series = by_step(
            &rows,
            Ramp::RedYellow,
            |row| row.step,
            |row| row.alpha.filter(|a| *a != 0.0).map(|a| (row.eigenvalue, 1.0 / a)),
            |row| !sound(row),
        );
        chart.marks = vec![Mark::Diagonal { color: Color::GREY, label: Some("y = x".into()) }];
        chart.color_bar = step_bar(Ramp::RedYellow, &steps_of(&rows, |row| row.step));
        chart
    };
    let small = half_width(RANGES[0], &rows.iter().map(|r| r.eigenvalue).collect::<Vec<_>>());
    let svg = side_by_side("Inverse of the best step size against the eigenvalue", chart(small), chart(RANGES[1]))?;
    part.draw("fig5", svg, "Hollow: the minimum is at the boundary of the search, or in the noise.");
    let svg = side_by_side("Best steps beyond the quadratic model", inverse_chart(&rows), cubic_chart(&rows))?;
    part.draw(
        "fig5-beyond",
        svg,
        "Beyond the paper. Left: α* against 1/|λ|, on logarithmic axes. Right: the distance to the minimum against the distance \
         that the cubic model predicts, from slope, curvature and third derivative.",
    );
    findings(&mut part, &rows);
    Ok(part)
}

fn findings(part: &mut Part, rows: &[LineRow]) {
    let sound: Vec<&LineRow> = rows.iter().filter(|r| sound(r)).collect();
    let alpha = |row: &LineRow| row.alpha.unwrap_or(f64::NAN);
    let steep: Vec<f64> = sound
        .iter()
        .filter(|r| r.eigenvalue > 1.0)
        .map(|r| (1.0 / alpha(r) - r.eigenvalue).abs() / r.eigenvalue)
        .collect();
    part.find(
        "α* ≈ 1/λ for positive eigenvalues.",
        (!steep.is_empty()).then(|| median(&steep) < 0.3),
        format!(
            "For λ > 1 the median of |1/α* - λ| / λ is {}, over {} directions whose minimum is inside the search and out of the \
             noise; it is below 0.3 for {}.",
            number(median(&steep)),
            steep.len(),
            super::percent(share(&steep, |e| e < 0.3))
        ),
    );
    let negative: Vec<&&LineRow> = sound.iter().filter(|r| r.eigenvalue < 0.0).collect();
    let products: Vec<f64> = negative.iter().map(|r| alpha(r) * r.eigenvalue.abs()).collect();
    let near = share(&products, |p| (p - 1.0).abs() < 0.3);
    part.find(
        "α* is not 1/|λ| for negative eigenvalues.",
        (products.len() > 2).then_some(near < 0.5),
        format!(
            "α* |λ| has the median {} over {} directions, and is within 0.3 of one for {}.",
            number(median(&products)),
            products.len(),
            super::percent(near)
        ),
    );
    let pairs: Vec<(f64, f64)> =
        negative.iter().filter(|r| alpha(r) > 0.0).map(|r| (1.0 / r.eigenvalue.abs(), alpha(r))).collect();
    let correlation = rank_correlation(&pairs);
    part.find(
        "For negative eigenvalues the best step size seems to be decorrelated from the eigenvalue.",
        (pairs.len() > 5).then_some(correlation.abs() < 0.3),
        format!("The rank correlation of α* and 1/|λ| is {} over {} directions.", number(correlation), pairs.len()),
    );
    let larger = products.iter().filter(|p| **p > 1.0).count();
    part.find(
        "In directions of negative curvature the best step sizes are much larger than 1/|λ| (appendix A).",
        (products.len() > 2).then(|| median(&products) > 2.0),
        format!(
            "α* is larger than 1/|λ| in {larger} of {} directions; the median of α* |λ| is {}.",
            products.len(),
            number(median(&products))
        ),
    );
    let ratio = |rows: &[&&LineRow]| -> Vec<f64> {
        rows.iter().filter_map(|r| Some(r.displacement / r.cubic_displacement?)).collect()
    };
    let cubic = ratio(&negative);
    let same_sign: Vec<&f64> = cubic.iter().filter(|r| **r > 0.0).collect();
    // Both models on the same directions: those where the cubic has a minimum.
    let shares = |gain: fn(&LineRow) -> Option<f64>| -> Vec<f64> {
        negative.iter().filter(|r| r.cubic_gain.is_some()).filter_map(|r| Some(gain(r)? / r.gain)).collect()
    };
    let (by_cubic, by_inverse) = (shares(|r| r.cubic_gain), shares(|r| r.inverse_gain));
    part.find_beyond(
        "The third derivative gives the step that negative curvature calls for (the question that section 2.4 ends on).",
        (by_cubic.len() > 2).then(|| median(&by_cubic) > median(&by_inverse) && median(&by_cubic) > 0.5),
        format!(
            "The cubic model has a minimum along {} of {} directions of negative curvature, on the side of the true one along {}; \
             the median of the true distance over the predicted one is {}. Its step realises a median {} of the best gain and \
             lowers the loss along {}; the step 1/|λ| realises {}.",
            cubic.len(),
            negative.len(),
            same_sign.len(),
            number(median(&cubic)),
            number(median(&by_cubic)),
            by_cubic.iter().filter(|g| **g > 0.0).count(),
            number(median(&by_inverse))
        ),
    );
}

fn ends(rows: &[LineRow], chart: &mut Chart, point: impl Fn(&LineRow) -> Option<(f64, f64)>) {
    (chart.x_scale, chart.y_scale) = (Scale::Log10, Scale::Log10);
    for (end, color) in [(End::Largest, BLUE), (End::Smallest, RED)] {
        let of = |good: bool| -> Vec<(f64, f64)> {
            rows.iter().filter(|r| r.end == end && sound(r) == good).filter_map(&point).collect()
        };
        chart.series.push(Series::points(of(true), color).label(super::end_name(end)));
        chart.series.push(Series::hollow(of(false), color));
    }
    chart.marks = vec![Mark::Diagonal { color: Color::GREY, label: Some("y = x".into()) }];
}

fn inverse_chart(rows: &[LineRow]) -> Chart {
    let mut chart = Chart::new("step size", "1 / |λ|", "α*");
    ends(rows, &mut chart, |r| Some((1.0 / r.eigenvalue.abs(), r.alpha?)));
    chart
}

fn cubic_chart(rows: &[LineRow]) -> Chart {
    let mut chart = Chart::new("distance to the minimum", "predicted by the cubic model", "measured");
    ends(rows, &mut chart, |r| Some((r.cubic_displacement?.abs(), r.displacement.abs())));
    chart
}
