//! Figure 3: the loss and its quadratic model along v_1 and v_d.

use super::{ORANGE, Part, TEAL, number};
use crate::Result;
use crate::experiment::{Configuration, ProfileRow};
use crate::figure::{Chart, End, Panel, Panels, Series};
use crate::run::RunDirectory;

pub(super) fn part(run: &RunDirectory, configuration: &Configuration) -> Result<Part> {
    let rows: Vec<ProfileRow> = run.read_table("profile")?;
    let settings = &configuration.lines;
    let mut part = Part::new(
        "fig3",
        "Figure 3: locality of negative curvature",
        format!(
            "The true loss at step {} along the top and the bottom eigenvector, θ - α (gᵀv) v, and what gradient and \
             eigenvalue predict.",
            settings.profile_at
        ),
    );
    let of = |end: End, range: f64| -> Vec<&ProfileRow> {
        rows.iter().filter(|r| r.end == end && r.range == range).collect()
    };
    let mut panels = Vec::new();
    for (end, name) in [(End::Largest, "v₁, the largest eigenvalue"), (End::Smallest, "v_d, the smallest eigenvalue")]
    {
        for range in settings.ranges {
            let rows = of(end, range);
            let mut chart = Chart::new(name, "α", "loss");
            let points = |value: fn(&ProfileRow) -> f64| rows.iter().map(|r| (r.alpha, value(r))).collect::<Vec<_>>();
            chart.series = vec![
                Series::line(points(|r| r.loss), ORANGE).width(2.6).label("true loss"),
                Series::dashed(points(|r| r.quadratic), TEAL).width(2.2).label("quadratic model"),
            ];
            panels.push(Panel::Chart(chart));
        }
    }
    let title = format!("Loss and quadratic model at step {}", settings.profile_at);
    part.draw(
        "fig3",
        Panels { title, columns: 2, panels }.to_svg(1000, 820)?,
        "Small range on the left, large on the right.",
    );

    // The largest departure of the model, as a share of the largest change that it predicts.
    let departure = |end: End, range: f64| {
        let rows = of(end, range);
        let start =
            rows.iter().min_by(|a, b| a.alpha.abs().total_cmp(&b.alpha.abs())).map_or(f64::NAN, |r| r.quadratic);
        let largest = |value: &dyn Fn(&ProfileRow) -> f64| rows.iter().map(|r| value(r).abs()).fold(0.0, f64::max);
        largest(&|r| r.loss - r.quadratic) / largest(&|r| r.quadratic - start)
    };
    let [[top_small, top_large], [bottom_small, bottom_large]] =
        [End::Largest, End::Smallest].map(|end| settings.ranges.map(|range| departure(end, range)));
    let [small, large] = settings.ranges;
    part.find(
        "Along v₁ the quadratic model stays acceptable even for large α.",
        Some(top_large < 0.5),
        format!(
            "Its largest error is {} of the largest change it predicts for |α| ≤ {small}, and {} for |α| ≤ {large}.",
            number(top_small),
            number(top_large)
        ),
    );
    part.find(
        "Along v_d the model is reasonable for small α and wildly inaccurate for large α.",
        Some(bottom_small < 0.5 && bottom_large > 0.5),
        format!(
            "Its largest error is {} of the largest change it predicts for |α| ≤ {small}, and {} for |α| ≤ {large}.",
            number(bottom_small),
            number(bottom_large)
        ),
    );
    Ok(part)
}
