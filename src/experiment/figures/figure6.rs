//! Figure 6: the best improvement of the loss along each eigenvector against the eigenvalue.

use super::{Part, by_step, half_width, number, side_by_side, step_bar, steps_of};
use crate::Result;
use crate::experiment::statistics::{median, rank_correlation};
use crate::experiment::{Configuration, LineRow};
use crate::figure::{Chart, Ramp, ReportTable, Scale};
use crate::run::RunDirectory;

/// Half widths of the two panels in the paper.
const RANGES: [f64; 2] = [0.5, 5.0];

pub(super) fn part(run: &RunDirectory, _: &Configuration) -> Result<Part> {
    let rows: Vec<LineRow> = run.read_table("lines")?;
    let steps = steps_of(&rows, |row| row.step);
    let mut part = Part::new(
        "fig6",
        "Figure 6: the best improvement along each eigenvector",
        "How much lower the loss is at the best step along each eigenvector alone.",
    );
    let chart = |range: f64| {
        let mut chart = Chart::new(format!("eigenvalues in [-{range}, {range}]"), "eigenvalue", "loss improvement");
        chart.x_range = Some((-range, range));
        chart.y_scale = Scale::Log10;
        let inside: Vec<&LineRow> = rows.iter().filter(|r| r.eigenvalue.abs() <= range).collect();
        chart.series = by_step(
            &inside,
            Ramp::BlueGreen,
            |row| row.step,
            |row| (row.gain > 0.0).then_some((row.eigenvalue, row.gain)),
            |row| !row.resolved || row.boundary,
        );
        chart.color_bar = step_bar(Ramp::BlueGreen, &steps);
        chart
    };
    let small = half_width(RANGES[0], &rows.iter().map(|r| r.eigenvalue).collect::<Vec<_>>());
    let large = RANGES[1].max(10.0 * small);
    let svg = side_by_side("Best loss improvement against the eigenvalue", chart(small), chart(large))?;
    part.draw("fig6", svg, "Hollow: the minimum is at the boundary of the search, or in the noise.");

    // Gains below the noise count as well: that they are small is known.
    let side = |negative: bool| -> Vec<&LineRow> { rows.iter().filter(|r| (r.eigenvalue < 0.0) == negative).collect() };
    let (positive, negative) = (side(false), side(true));
    let gains = |rows: &[&LineRow]| rows.iter().map(|r| r.gain).collect::<Vec<f64>>();
    // Per checkpoint, since the loss itself falls by orders of magnitude.
    let of =
        |rows: &[&LineRow], step: u64| -> Vec<f64> { rows.iter().filter(|r| r.step == step).map(|r| r.gain).collect() };
    let at: Vec<(u64, Vec<f64>, Vec<f64>)> = steps
        .iter()
        .map(|&step| (step, of(&positive, step), of(&negative, step)))
        .filter(|(_, p, n)| !p.is_empty() && !n.is_empty())
        .collect();
    let more = at.iter().filter(|(_, p, n)| median(n) > median(p)).count();
    part.find(
        "The most improvement is obtained in directions of negative curvature.",
        (!at.is_empty()).then_some(2 * more > at.len()),
        format!(
            "The median improvement is larger along negative than along positive curvature at {more} of {} checkpoints; over all \
             of them it is {} ({} directions) against {} ({}).",
            at.len(),
            number(median(&gains(&negative))),
            negative.len(),
            number(median(&gains(&positive))),
            positive.len()
        ),
    );
    let total = |values: &[f64]| values.iter().sum::<f64>();
    let larger = at.iter().filter(|(_, p, n)| total(p) > total(n)).count();
    part.find(
        "The total gain is still larger for directions of positive curvature, of which there are more.",
        (!at.is_empty()).then_some(2 * larger > at.len()),
        format!(
            "Summed over the directions that were computed, it is larger for positive curvature at {larger} of {} checkpoints: {} \
             against {} over all.",
            at.len(),
            number(total(&gains(&positive))),
            number(total(&gains(&negative)))
        ),
    );
    let trend = |rows: &[&LineRow]| rank_correlation(&rows.iter().map(|r| (r.step as f64, r.gain)).collect::<Vec<_>>());
    let (falling, steady) = (trend(&positive), trend(&negative));
    part.find(
        "In directions of positive curvature there is less improvement to be had later in training.",
        (steps.len() > 2 && falling.is_finite()).then_some(falling < -0.2),
        format!(
            "The rank correlation of step and improvement is {} over {} directions.",
            number(falling),
            positive.len()
        ),
    );
    part.find(
        "In directions of negative curvature the potential improvement remains stable throughout.",
        (steps.len() > 2 && steady.is_finite()).then_some(steady.abs() < 0.3),
        format!(
            "The rank correlation of step and improvement is {} over {} directions.",
            number(steady),
            negative.len()
        ),
    );
    part.tables.push(ReportTable {
        caption: "Improvement of the loss over the computed directions, one at a time, by the sign of the curvature."
            .into(),
        header: ["step", "positive: median", "sum", "negative: median", "sum"].map(String::from).to_vec(),
        rows: at
            .iter()
            .map(|(step, p, n)| {
                vec![step.to_string(), number(median(p)), number(total(p)), number(median(n)), number(total(n))]
            })
            .collect(),
    });
    Ok(part)
}
