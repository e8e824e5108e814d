//! Appendix B: the Hessian of a subset beside that of a larger set.

use super::{BLUE, Part, RED, end_name, number, pair_name, side_by_side};
use crate::Result;
use crate::experiment::statistics::median;
use crate::experiment::{Configuration, SubsetErrorRow, SubsetOverlapRow, SubsetRow};
use crate::figure::{Chart, End, ReportTable, Scale, Series};
use crate::run::RunDirectory;

pub(super) fn part(run: &RunDirectory, configuration: &Configuration) -> Result<Part> {
    let settings = &configuration.appendix_b;
    let rows: Vec<SubsetRow> = run.read_table("subsets")?;
    let overlaps: Vec<SubsetOverlapRow> = run.read_table("subset_overlap")?;
    let errors: Vec<SubsetErrorRow> = run.read_table("subset_error")?;
    let (subset, reference) = (settings.sizes[0], settings.reference);
    let mut part = Part::new(
        "appendix-b",
        "Appendix B: estimating the Hessian from a subset",
        format!(
            "The extreme eigenpairs at step {} on nested subsets of the training set, compared with those on {reference} samples. \
             The smallest subset is {:.1}% of them.",
            settings.at,
            100.0 * subset as f64 / reference as f64
        ),
    );
    let samples: Vec<&SubsetRow> = rows.iter().filter(|r| r.samples < reference).collect();
    let chart = |title: &str, y_label: &str, value: fn(&SubsetRow) -> f64| {
        let mut chart = Chart::new(title, "samples of the subset", y_label);
        chart.x_scale = Scale::Log10;
        for (end, color) in [(End::Largest, BLUE), (End::Smallest, RED)] {
            let at = |size: usize| -> Vec<f64> {
                samples.iter().filter(|r| r.end == end && r.samples == size).map(|r| value(r)).collect()
            };
            let all = samples.iter().filter(|r| r.end == end).map(|r| (r.samples as f64, value(r))).collect();
            let medians = settings.sizes.iter().map(|&size| (size as f64, median(&at(size)))).collect();
            chart.series.push(Series::points(all, color));
            chart.series.push(Series::line(medians, color).width(2.4).label(format!("{}, median", end_name(end))));
        }
        chart
    };
    let mut values = chart("eigenvalues", "relative difference", |r| ((r.value - r.reference) / r.reference).abs());
    values.y_scale = Scale::Log10;
    let mut angles = chart("eigenvectors", "angle in degrees", |r| r.angle);
    angles.y_range = Some((0.0, 90.0));
    for (end, color) in [(End::Largest, BLUE), (End::Smallest, RED)] {
        let spans = samples.iter().filter(|r| r.end == end).map(|r| (r.samples as f64, r.angle_to_span)).collect();
        angles.series.push(Series::crosses(spans, color).label(format!("{}, to the span", end_name(end))));
    }
    let svg = side_by_side(&format!("Spectra of subsets against {reference} samples"), values, angles)?;
    part.draw(
        "appendix-b",
        svg,
        "Left: eigenvalues of the same rank. Right: angles between eigenvectors of the same rank (dots), and to the span of the \
         reference's eigenvectors at that end (crosses). Beyond the paper: over subset sizes.",
    );

    for end in [End::Largest, End::Smallest] {
        let ours: Vec<&&SubsetRow> = samples.iter().filter(|r| r.end == end && r.samples == subset).collect();
        let differences: Vec<f64> = ours.iter().map(|r| ((r.value - r.reference) / r.reference).abs()).collect();
        let angles: Vec<f64> = ours.iter().map(|r| r.angle).collect();
        let overlap = overlaps.iter().find(|o| o.end == end && o.samples == subset).map_or(f64::NAN, |o| o.overlap);
        part.find(
            &format!(
                "The first elements of a small subset's spectrum are close enough to the whole's ({}; the paper: 5% of the \
                 training set against all of it).",
                end_name(end)
            ),
            (!ours.is_empty()).then(|| median(&differences) < 0.25 && overlap > 0.5),
            format!(
                "On {subset} of {reference} samples the eigenvalues differ by a median {} (relative) over {} ranks, the eigenvectors \
                 of the same rank by {}°, and the overlap of the two subspaces is {}.",
                number(median(&differences)),
                ours.len(),
                number(median(&angles)),
                number(overlap)
            ),
        );
    }
    part.tables.push(ReportTable {
        caption: format!(
            "Curvature along the eigenvectors found on {subset} samples: there, and on {reference}; and the standard error of an \
             estimate from {subset} other samples, by {} shards.",
            errors.first().map_or(0, |e| e.shards)
        ),
        header: ["eigenvector", "on the subset", "on the reference", "standard error", "difference / error"]
            .map(String::from)
            .to_vec(),
        rows: errors
            .iter()
            .map(|e| {
                vec![
                    pair_name(e.end, e.rank),
                    number(e.value),
                    number(e.reference),
                    number(e.standard_error),
                    number((e.value - e.reference) / e.standard_error),
                ]
            })
            .collect(),
    });
    Ok(part)
}
