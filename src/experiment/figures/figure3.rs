//! Figure 3: the loss and its quadratic model along v_1 and v_d.

use super::{ORANGE, Part, TEAL, number};
use crate::Result;
use crate::experiment::{Configuration, LineRow, LineScale, ProfileRow};
use crate::figure::{Chart, End, Panel, Panels, Series};
use crate::run::RunDirectory;

const ENDS: [(End, &str); 2] =
    [(End::Largest, "v₁, the largest eigenvalue"), (End::Smallest, "v_d, the smallest eigenvalue")];

pub(super) fn part(run: &RunDirectory, configuration: &Configuration) -> Result<Part> {
    let rows: Vec<ProfileRow> = run.read_table("profile")?;
    let settings = &configuration.lines;
    let mut part = Part::new(
        "fig3",
        "Figure 3: locality of negative curvature",
        format!(
            "The true loss at step {} along the top and the bottom eigenvector, θ - α {}, and what gradient and eigenvalue \
             predict.",
            settings.profile_at,
            if settings.scale == LineScale::Gradient { "(gᵀv) v" } else { "v" }
        ),
    );
    let of = |end: End, scale: LineScale, range: f64| -> Vec<&ProfileRow> {
        rows.iter().filter(|r| r.end == end && r.scale == scale && r.range == range).collect()
    };
    let panel = |name: &str, x_label: &str, rows: &[&ProfileRow]| {
        let mut chart = Chart::new(name, x_label, "loss");
        let points = |value: fn(&ProfileRow) -> f64| rows.iter().map(|r| (r.alpha, value(r))).collect::<Vec<_>>();
        chart.series = vec![
            Series::line(points(|r| r.loss), ORANGE).width(2.6).label("true loss"),
            Series::dashed(points(|r| r.quadratic), TEAL).width(2.2).label("quadratic model"),
        ];
        Panel::Chart(chart)
    };
    let panels = ENDS.iter().flat_map(|&(end, name)| {
        let of = &of;
        settings.ranges.map(move |range| panel(name, "α", &of(end, settings.scale, range)))
    });
    let title = format!("Loss and quadratic model at step {}", settings.profile_at);
    let svg = Panels { title, columns: 2, panels: panels.collect() }.to_svg(1000, 820)?;
    part.draw("fig3", svg, "Small range on the left, large on the right.");
    let reach = settings.profile_reach;
    let panels = ENDS.map(|(end, name)| panel(name, "distance", &of(end, LineScale::Unit, reach))).into();
    let title = "The same at equal distances in parameter space".into();
    let svg = Panels { title, columns: 2, panels }.to_svg(1000, 460)?;
    part.draw(
        "fig3-distance",
        svg,
        "Beyond the paper: equation 1 scales α by gᵀv, which differs from direction to direction; here both directions are \
         followed equally far.",
    );

    // The largest departure of the model, as a share of the largest change that it predicts; none where that change is lost
    // in rounding noise.
    let lines: Vec<LineRow> = run.read_table_so_far("lines")?;
    let noise = lines.iter().filter(|r| r.step == settings.profile_at).map(|r| r.noise).fold(0.0, f64::max);
    let departure = |end: End, scale: LineScale, range: f64| {
        let rows = of(end, scale, range);
        let start =
            rows.iter().min_by(|a, b| a.alpha.abs().total_cmp(&b.alpha.abs())).map_or(f64::NAN, |r| r.quadratic);
        let largest = |value: &dyn Fn(&ProfileRow) -> f64| rows.iter().map(|r| value(r).abs()).fold(0.0, f64::max);
        let predicted = largest(&|r| r.quadratic - start);
        if predicted > 10.0 * noise { largest(&|r| r.loss - r.quadratic) / predicted } else { f64::NAN }
    };
    let decided = |values: &[f64], holds: bool| values.iter().all(|v| v.is_finite()).then_some(holds);
    let [[top_small, top_large], [bottom_small, bottom_large]] =
        [End::Largest, End::Smallest].map(|end| settings.ranges.map(|range| departure(end, settings.scale, range)));
    let [small, large] = settings.ranges;
    let errors = |at_small: f64, at_large: f64| {
        format!(
            "Its largest error is {} of the largest change it predicts for |α| ≤ {small}, and {} for |α| ≤ {large}.",
            number(at_small),
            number(at_large)
        )
    };
    part.find(
        "Along v₁ the quadratic model stays acceptable even for large α.",
        decided(&[top_large], top_large < 0.5),
        errors(top_small, top_large),
    );
    part.find(
        "Along v_d the model is reasonable for small α and wildly inaccurate for large α.",
        decided(&[bottom_small, bottom_large], bottom_small < 0.5 && bottom_large > 0.5),
        errors(bottom_small, bottom_large),
    );
    let [top, bottom] = [End::Largest, End::Smallest].map(|end| departure(end, LineScale::Unit, reach));
    part.find_beyond(
        "At equal distances, too, the model is worse along v_d than along v₁.",
        decided(&[top, bottom], bottom > top),
        format!(
            "Up to a distance of {reach} its largest error is {} of the largest change it predicts along v₁, and {} along v_d.",
            number(top),
            number(bottom)
        ),
    );
    Ok(part)
}
