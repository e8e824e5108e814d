//! Appendix C: RMSProp with and without steps along the running bottom eigenvector.

use super::{BLUE, ORANGE, Part, RED, number, side_by_side};
use crate::Result;
use crate::experiment::statistics::median;
use crate::experiment::{Configuration, DirectionRow, Method, OptimizerRow, OptimizerSeconds};
use crate::figure::{Chart, Color, ReportTable, Scale, Series};
use crate::run::RunDirectory;

const METHODS: [(Method, Color, &str); 2] =
    [(Method::Rmsprop, BLUE, "RMSProp"), (Method::Alternating, ORANGE, "with steps along the running v_d")];

pub(super) fn part(run: &RunDirectory, configuration: &Configuration) -> Result<Part> {
    let settings = &configuration.appendix_c;
    let rows: Vec<OptimizerRow> = run.read_table("appendix_c")?;
    let directions: Vec<DirectionRow> = run.read_table_so_far("appendix_c_direction")?;
    let seconds: Vec<OptimizerSeconds> = run.read_clock_so_far("appendix_c")?;
    let mut part = Part::new(
        "appendix-c",
        "Appendix C: an optimiser that follows negative curvature",
        format!(
            "The optimiser that the paper proposes and did not try: each RMSProp step is followed by one along the running \
             estimate v~ of the bottom eigenvector, from minibatch products. Seeds {:?}, {} steps each.",
            settings.seeds, settings.steps
        ),
    );
    let curves = |title: &str, x_label: &str, x: &dyn Fn(&OptimizerRow) -> Option<f64>| {
        let mut chart = Chart::new(title, x_label, "loss on the fixed subset");
        chart.y_scale = Scale::Log10;
        for (method, color, name) in METHODS {
            for &seed in &settings.seeds {
                let of = rows.iter().filter(|r| r.method == method && r.seed == seed);
                let points = of.filter_map(|r| Some((x(r)?, r.loss))).collect();
                chart.series.push(Series::line(points, color).width(1.8).label(name));
            }
        }
        chart
    };
    let at = |row: &OptimizerRow| seconds_of(&seconds, row);
    let by_step = curves("by steps", "step", &|r| Some(r.step as f64));
    let by_clock = curves("by the clock", "seconds", &at);
    part.draw(
        "appendix-c",
        side_by_side("RMSProp with and without steps along negative curvature", by_step, by_clock)?,
        "One curve a seed. Seconds are those of the steps alone.",
    );
    if !directions.is_empty() {
        part.draw(
            "appendix-c-direction",
            side_by_side("The running direction against the true bottom eigenvector", cosines(&directions), values(&directions))?,
            "Left: |cosine| of v~ and v_d on the fixed subset. Right: v~ᵀ H v~ there, the optimiser's own running estimate from \
             minibatches, and λ_d.",
        );
    }

    let last = |method: Method| -> Vec<f64> {
        settings
            .seeds
            .iter()
            .filter_map(|&seed| rows.iter().filter(|r| r.method == method && r.seed == seed).max_by_key(|r| r.step))
            .map(|r| r.loss)
            .collect()
    };
    let (plain, alternating) = (last(Method::Rmsprop), last(Method::Alternating));
    let better = plain.iter().zip(&alternating).filter(|(p, a)| a < p).count();
    let cost = |method: Method| -> Vec<f64> {
        let done = seconds.iter().filter(|s| s.method == method && s.step > 0);
        done.map(|s| s.seconds / s.step as f64).collect()
    };
    let overhead = median(&cost(Method::Alternating)) / median(&cost(Method::Rmsprop));
    part.find(
        "Steps along a running estimate of the bottom eigenvector could lower the training loss further.",
        (!plain.is_empty()).then_some(2 * better > plain.len()),
        format!(
            "After {} steps the loss is lower with them for {better} of {} seeds: median {} against {} of plain RMSProp. A step \
             costs {} times as much.",
            settings.steps,
            plain.len(),
            number(median(&alternating)),
            number(median(&plain)),
            number(overhead)
        ),
    );
    let compared: Vec<f64> = rows
        .iter()
        .filter(|r| r.method == Method::Rmsprop)
        .filter_map(|r| loss_at(&rows, &seconds, r, at(r)?))
        .collect();
    part.find_beyond(
        "It does so at equal cost.",
        (!compared.is_empty()).then(|| median(&compared) < 1.0),
        format!(
            "At equal seconds the median of its loss over RMSProp's is {} ({} moments of all seeds).",
            number(median(&compared)),
            compared.len()
        ),
    );
    let step = |last: bool| {
        let steps = directions.iter().map(|d| d.step);
        if last { steps.max() } else { steps.min() }
    };
    let at = |step: Option<u64>, of: fn(&DirectionRow) -> f64| -> f64 {
        median(&directions.iter().filter(|d| Some(d.step) == step).map(of).collect::<Vec<f64>>())
    };
    let (first, last) = (step(false), step(true));
    let captured: fn(&DirectionRow) -> f64 = |d| d.rayleigh / d.eigenvalue;
    part.find(
        "A running approximation of the smallest eigenvector can be kept along the training.",
        last.map(|_| at(last, captured) > 0.5),
        format!(
            "After {} steps |cos(v~, v_d)| is {} and v~ᵀ H v~ reaches {} of λ_d; after {} steps they are {} and {} (medians over \
             seeds).",
            first.unwrap_or(0),
            number(at(first, |d| d.cosine)),
            number(at(first, captured)),
            last.unwrap_or(0),
            number(at(last, |d| d.cosine)),
            number(at(last, captured))
        ),
    );
    part.tables.push(ReportTable {
        caption: "The running direction at the steps of comparison.".into(),
        header: ["seed", "step", "running estimate", "v~ᵀHv~", "λ_d", "|cos|"].map(String::from).to_vec(),
        rows: directions
            .iter()
            .map(|d| {
                let estimate = d.estimate.map_or("-".into(), number);
                vec![
                    d.seed.to_string(),
                    d.step.to_string(),
                    estimate,
                    number(d.rayleigh),
                    number(d.eigenvalue),
                    number(d.cosine),
                ]
            })
            .collect(),
    });
    Ok(part)
}

/// When a row's run had come to its step.
fn seconds_of(seconds: &[OptimizerSeconds], row: &OptimizerRow) -> Option<f64> {
    let same = |s: &&OptimizerSeconds| s.seed == row.seed && s.method == row.method && s.step == row.step;
    seconds.iter().find(same).map(|s| s.seconds)
}

/// The alternating run's loss over the plain one's of the row, at its time, linearly between evaluations.
fn loss_at(rows: &[OptimizerRow], seconds: &[OptimizerSeconds], row: &OptimizerRow, time: f64) -> Option<f64> {
    let curve: Vec<(f64, f64)> = rows
        .iter()
        .filter(|r| r.method == Method::Alternating && r.seed == row.seed)
        .filter_map(|r| Some((seconds_of(seconds, r)?, r.loss)))
        .collect();
    let pair = curve.windows(2).find(|w| w[0].0 <= time && time <= w[1].0 && w[1].0 > w[0].0 && time > 0.0)?;
    let share = (time - pair[0].0) / (pair[1].0 - pair[0].0);
    Some((pair[0].1 + share * (pair[1].1 - pair[0].1)) / row.loss)
}

fn cosines(directions: &[DirectionRow]) -> Chart {
    let mut chart = Chart::new("direction", "step", "|cos(v~, v_d)|");
    chart.y_range = Some((0.0, 1.0));
    chart.series = per_seed(directions, ORANGE, "|cos|", |d| d.cosine);
    chart
}

fn values(directions: &[DirectionRow]) -> Chart {
    let mut chart = Chart::new("curvature", "step", "curvature");
    chart.series = per_seed(directions, RED, "λ_d", |d| d.eigenvalue);
    chart.series.extend(per_seed(directions, ORANGE, "v~ᵀHv~", |d| d.rayleigh));
    let estimates = per_seed(directions, Color::GREY, "running estimate", |d| d.estimate.unwrap_or(f64::NAN));
    chart.series.extend(estimates);
    chart
}

fn per_seed(directions: &[DirectionRow], color: Color, label: &str, value: fn(&DirectionRow) -> f64) -> Vec<Series> {
    let mut seeds: Vec<u64> = directions.iter().map(|d| d.seed).collect();
    seeds.dedup();
    let line = |seed: &u64| {
        let points: Vec<(f64, f64)> =
            directions.iter().filter(|d| d.seed == *seed).map(|d| (d.step as f64, value(d))).collect();
        [Series::line(points.clone(), color).width(1.8).label(label), Series::points(points, color)]
    };
    seeds.iter().flat_map(line).collect()
}
