//! Figure 2: curvature along fixed eigenvectors as the training goes on.

use super::{BLUE, ORANGE, Part, RED, end_name, number, percent, steps_of};
use crate::Result;
use crate::experiment::statistics::{median, rank_correlation, share};
use crate::experiment::{Configuration, CurvatureRow, EigenvalueRow, OverlapRow};
use crate::figure::{Chart, End, HeatMap, HeatScale, Mark, Panel, Panels, Ramp, Series};
use crate::run::RunDirectory;

pub(super) fn part(run: &RunDirectory, configuration: &Configuration) -> Result<Part> {
    let mut rows: Vec<CurvatureRow> = run.read_table("curvature")?;
    rows.sort_by_key(|r| r.step);
    let eigenvalues: Vec<EigenvalueRow> = run.read_table("eigenvalues")?;
    let overlaps: Vec<OverlapRow> = run.read_table("overlap")?;
    let mut part = Part::new(
        "fig2",
        "Figure 2: how long an eigenvector keeps its curvature",
        "The curvature v(t₀)ᵀ H(t) v(t₀) along an eigenvector that was computed at step t₀, for all steps t. If the \
         eigenspace is stable, it follows the eigenvalue.",
    );
    let tracking = &configuration.tracking;
    let panel = |end: End, origin: u64| Panel::Chart(curve(&rows, &eigenvalues, end, origin));
    let panels = tracking
        .top
        .iter()
        .map(|&t| panel(End::Largest, t))
        .chain(tracking.bottom.iter().map(|&t| panel(End::Smallest, t)));
    let svg = Panels { title: "Curvature along fixed eigenvectors".into(), columns: 2, panels: panels.collect() };
    part.draw(
        "fig2",
        svg.to_svg(1000, 780)?,
        "Solid: curvature along the top eigenvector (blue) or the bottom one (red) of step t₀, marked in orange. Dotted: the \
         extreme eigenvalue at each checkpoint.",
    );
    let maps = [End::Largest, End::Smallest].map(|end| Panel::HeatMap(persistence(&rows, end)));
    let svg = Panels { title: "Persistence of curvature".into(), columns: 2, panels: maps.into() }.to_svg(1000, 460)?;
    part.draw("fig2-persistence", svg, "Beyond the paper: the same for every t₀ (rows) and t (columns), at both ends.");
    if !overlaps.is_empty() {
        part.draw(
            "fig2-overlap",
            overlap_chart(&overlaps).to_svg(900, 480)?,
            "Beyond the paper: overlap of the subspaces of \
            successive checkpoints; 1 if they are the same.",
        );
    }

    // How the curvature along v_1(t0) compares with lambda_1(t) at the checkpoints, t0 itself left out.
    let followed = |end: End| -> Vec<(f64, f64)> {
        let value = |step: u64| eigenvalues.iter().find(|e| e.step == step && e.end == end && e.rank == 1);
        let others = rows.iter().filter(|r| r.end == end && r.step != r.origin);
        others.filter_map(|r| Some((value(r.step)?.value, r.curvature))).collect()
    };
    let top = followed(End::Largest);
    let ratios: Vec<f64> = top.iter().map(|(value, curvature)| curvature / value).collect();
    let correlation = rank_correlation(&top);
    part.find(
        "The curvature along v₁(t₀) follows the trend of the top eigenvalue: the top eigenspace is stable.",
        (top.len() > 2).then_some(median(&ratios) > 0.5 && correlation > 0.5),
        format!(
            "Over {} pairs of t₀ and another checkpoint t, the median of v₁(t₀)ᵀ H(t) v₁(t₀) / λ₁(t) is {}, and the rank \
             correlation of the two is {}.",
            top.len(),
            number(median(&ratios)),
            number(correlation)
        ),
    );
    let bottom: Vec<f64> =
        rows.iter().filter(|r| r.end == End::Smallest && r.step != r.origin).map(|r| r.curvature).collect();
    let positive = share(&bottom, |c| c > 0.0);
    part.find(
        "The curvature along v_d(t₀) is positive for many other t: the negative eigenspace is less stable.",
        (!bottom.is_empty()).then_some(positive > 0.25),
        format!(
            "It is positive at {} of {} other steps ({}).",
            bottom.iter().filter(|c| **c > 0.0).count(),
            bottom.len(),
            percent(positive)
        ),
    );
    let medians = [End::Largest, End::Smallest]
        .map(|end| median(&overlaps.iter().filter(|o| o.end == end).map(|o| o.overlap).collect::<Vec<_>>()));
    part.find(
        "The subspace of the largest eigenvectors is more stable than that of the most negative ones.",
        (!overlaps.is_empty()).then_some(medians[0] > medians[1]),
        format!(
            "Between successive checkpoints the median overlap of the top subspaces is {}, that of the bottom ones {}.",
            number(medians[0]),
            number(medians[1])
        ),
    );
    Ok(part)
}

fn curve(rows: &[CurvatureRow], eigenvalues: &[EigenvalueRow], end: End, origin: u64) -> Chart {
    let (name, color) = if end == End::Largest { ("v₁", BLUE) } else { ("v_d", RED) };
    let mut chart = Chart::new(format!("{name} of step t₀ = {origin}"), "training step t", "v(t₀)ᵀ H(t) v(t₀)");
    let value: Vec<(f64, f64)> =
        eigenvalues.iter().filter(|e| e.end == end && e.rank == 1).map(|e| (e.step as f64, e.value)).collect();
    let points =
        rows.iter().filter(|r| r.end == end && r.origin == origin).map(|r| (r.step as f64, r.curvature)).collect();
    chart.series = vec![Series::line(points, color).width(2.0), Series::dotted(value, super::Color::GREY)];
    chart.marks = vec![Mark::VerticalLine { x: origin as f64, color: ORANGE, label: None }];
    chart
}

fn persistence(rows: &[CurvatureRow], end: End) -> HeatMap {
    let rows: Vec<&CurvatureRow> = rows.iter().filter(|r| r.end == end).collect();
    let (steps, origins) = (steps_of(&rows, |r| r.step), steps_of(&rows, |r| r.origin));
    let value = |origin: u64, step: u64| {
        rows.iter().find(|r| r.origin == origin && r.step == step).map_or(f64::NAN, |r| r.curvature)
    };
    HeatMap {
        title: format!("{}: {}", end_name(end), if end == End::Largest { "v₁(t₀)" } else { "v_d(t₀)" }),
        x_label: "t".into(),
        y_label: "t₀".into(),
        x: steps.iter().map(|&s| s as f64).collect(),
        y: origins.iter().map(|&s| s as f64).collect(),
        values: origins.iter().map(|&o| steps.iter().map(|&s| value(o, s)).collect()).collect(),
        ramp: Ramp::Diverging,
        scale: HeatScale::SymLog { linear: 0.1 },
    }
}

fn overlap_chart(overlaps: &[OverlapRow]) -> Chart {
    let mut chart = Chart::new("Overlap of successive subspaces", "training step", "overlap");
    chart.y_range = Some((0.0, 1.0));
    for (end, color) in [(End::Largest, BLUE), (End::Smallest, RED)] {
        let rows: Vec<&OverlapRow> = overlaps.iter().filter(|o| o.end == end).collect();
        let points: Vec<(f64, f64)> = rows.iter().map(|o| (o.to as f64, o.overlap)).collect();
        let label = format!("{}, {} vectors", end_name(end), rows.first().map_or(0, |o| o.pairs));
        chart.series.push(Series::line(points.clone(), color).label(label));
        chart.series.push(Series::points(points, color));
    }
    chart
}
