//! Portraits of eigenvectors: which layers they live in, how many parameters take part, what their filters look like.

use super::{Drawing, Part, distinct, number, pair_name, percent, steps_of};
use crate::experiment::statistics::median;
use crate::experiment::{Configuration, EnergyRow, FilterRow, ParticipationRow};
use crate::figure::{Chart, Color, End, FilterBank, Panel, Panels, Picture, Ramp, ReportTable, Series, portrait_png};
use crate::run::RunDirectory;
use crate::{Error, Result};

/// Ranks that the table of energies shows.
const LISTED: usize = 3;
/// One colour a parameter tensor.
const COLORS: [Color; 8] = [
    Color::rgb(24, 90, 180),
    Color::rgb(120, 180, 230),
    Color::rgb(16, 140, 110),
    Color::rgb(140, 205, 120),
    Color::rgb(200, 20, 40),
    Color::rgb(245, 150, 140),
    Color::rgb(200, 120, 20),
    Color::rgb(240, 190, 90),
];

pub(super) fn part(run: &RunDirectory, configuration: &Configuration) -> Result<Part> {
    let participation: Vec<ParticipationRow> = run.read_table("participation")?;
    let energies: Vec<EnergyRow> = run.read_table("energy")?;
    let filters: Vec<FilterRow> = run.read_table("filters")?;
    let mut part = Part::new(
        "portraits",
        "Portraits of eigenvectors",
        "Beyond the paper: the share of an eigenvector's squared length in each parameter tensor, the number of parameters \
         that take part (1 / Σ vᵢ⁴), and the first layer's filters as the eigenvector has them.",
    );
    part.draw(
        "portrait-energy",
        energy_chart(&energies)?,
        "Energy of the outermost eigenvectors in each parameter tensor along the training.",
    );
    let steps = steps_of(&participation, |r| r.step);
    // The step of figure 3, if it was looked at, and the last.
    let early = steps.iter().copied().filter(|&s| s == configuration.lines.profile_at).map(|s| ("portrait-early", s));
    let late =
        steps.iter().copied().last().filter(|&s| s != configuration.lines.profile_at).map(|s| ("portrait-late", s));
    for (name, step) in early.chain(late) {
        part.tables.push(table(&participation, &energies, step));
        let bank = |end: End| banks(run, &filters, step, end);
        let (left, right) = (bank(End::Largest)?, bank(End::Smallest)?);
        if left.is_empty() || right.is_empty() {
            continue;
        }
        let caption = format!(
            "First-layer filters at step {step}, the outermost eigenvectors on top: positive end on the left, negative end on the \
             right. Red is positive, blue negative, each eigenvector on its own scale."
        );
        part.drawings.push(Drawing {
            name,
            picture: Picture::Png(portrait_png(&left, &right, Ramp::Diverging)?),
            caption,
        });
    }
    let of =
        |end: End| -> Vec<f64> { participation.iter().filter(|p| p.end == end).map(|p| p.participation).collect() };
    let [top, bottom] = [End::Largest, End::Smallest].map(|end| median(&of(end)));
    let dense = |end: End| {
        let rows = energies.iter().filter(|e| e.end == end);
        let all = rows.clone().map(|e| e.energy).sum::<f64>();
        rows.filter(|e| e.parameter.starts_with("fc")).map(|e| e.energy).sum::<f64>() / all
    };
    part.intro.push_str(&format!(
        " Here the median number of parameters that take part is {} at the positive end and {} at the negative one; {} of the \
         energy lies in dense layers at the positive end, {} at the negative one.",
        number(top),
        number(bottom),
        percent(dense(End::Largest)),
        percent(dense(End::Smallest))
    ));
    Ok(part)
}

fn energy_chart(energies: &[EnergyRow]) -> Result<String> {
    let names = distinct(energies.iter().map(|row| row.parameter.as_str()));
    let panel = |(end, name): (End, &str)| {
        let mut chart = Chart::new(name, "training step", "share of the energy");
        chart.y_range = Some((0.0, 1.0));
        for (i, name) in names.iter().enumerate() {
            let rows = energies.iter().filter(|e| e.end == end && e.rank == 1 && e.parameter == *name);
            let points: Vec<(f64, f64)> = rows.map(|e| (e.step as f64, e.energy)).collect();
            let color = COLORS[i % COLORS.len()];
            chart.series.push(Series::line(points.clone(), color).width(2.0).label(*name));
            chart.series.push(Series::points(points, color));
        }
        Panel::Chart(chart)
    };
    let panels = [(End::Largest, "v₁"), (End::Smallest, "v_d")].map(panel).into();
    Panels { title: "Where the outermost eigenvectors live".into(), columns: 2, panels }.to_svg(1000, 560)
}

/// The pictured filters of one end at one step, by rank.
fn banks(run: &RunDirectory, filters: &[FilterRow], step: u64, end: End) -> Result<Vec<FilterBank>> {
    let mut banks: Vec<FilterBank> = Vec::new();
    let rows: Vec<&FilterRow> = filters.iter().filter(|f| f.step == step && f.end == end).collect();
    let ranks = rows.iter().map(|f| f.rank).max().unwrap_or(0);
    for rank in 1..=ranks {
        let of_rank: Vec<&&FilterRow> = rows.iter().filter(|f| f.rank == rank).collect();
        let Some(size) = of_rank.first().map(|f| f.size) else { continue };
        let parse = |row: &&&FilterRow| -> Result<Vec<f64>> {
            let components: std::result::Result<Vec<f64>, _> = row.components.split(' ').map(str::parse).collect();
            let broken = || Error::file(run.table("filters"), format!("has a broken filter at step {step}"));
            components.ok().filter(|c| c.len() == size * size).ok_or_else(broken)
        };
        let filters = of_rank.iter().map(parse).collect::<Result<_>>()?;
        banks.push(FilterBank { height: size, width: size, filters });
    }
    Ok(banks)
}

fn table(participation: &[ParticipationRow], energies: &[EnergyRow], step: u64) -> ReportTable {
    fn layer(row: &EnergyRow) -> &str {
        row.parameter.split('.').next().unwrap_or(&row.parameter)
    }
    let layers = distinct(energies.iter().map(layer));
    let rows = participation.iter().filter(|p| p.step == step && p.rank <= LISTED).map(|p| {
        let energy = |name: &str| -> f64 {
            let same = |e: &&EnergyRow| e.step == step && e.end == p.end && e.rank == p.rank && layer(e) == name;
            energies.iter().filter(same).map(|e| e.energy).sum()
        };
        let head = [pair_name(p.end, p.rank), number(p.eigenvalue), format!("{:.0}", p.participation)];
        head.into_iter().chain(layers.iter().map(|l| percent(energy(l)))).collect()
    });
    ReportTable {
        caption: format!("Eigenvectors at step {step}: parameters that take part, and energy by layer."),
        header: ["eigenvector", "eigenvalue", "parameters"]
            .map(String::from)
            .into_iter()
            .chain(layers.iter().map(|name| name.to_string()))
            .collect(),
        rows: rows.collect(),
    }
}
