//! Figures and findings, one file a figure, from a run's tables, and its clock where seconds are told; and the report that holds them all.

mod appendix_b;
mod appendix_c;
mod figure1;
mod figure2;
mod figure3;
mod figure4;
mod figure5;
mod figure6;
mod portraits;

use super::Configuration;
use super::configuration::one_line;
use crate::figure::{
    Chart, Color, ColorBar, End, Panel, Panels, Picture, Ramp, Report, ReportFigure, ReportFinding, ReportTable,
    Section, Series, Verdict, svg_to_png,
};
use crate::run::{RunDirectory, write_atomic};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

const ORANGE: Color = Color::rgb(222, 118, 20);
const TEAL: Color = Color::rgb(16, 120, 140);
const BLUE: Color = Color::rgb(24, 90, 180);
const RED: Color = Color::rgb(200, 20, 40);

/// What a run's numbers say about a claim of the paper: a row of `tables/findings.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which figure or appendix makes the claim.
    pub figure: String,
    /// What the paper says, or what goes beyond it.
    pub claim: String,
    /// Whether the paper makes no such claim.
    pub beyond: bool,
    /// Whether it held here.
    pub verdict: Verdict,
    /// What this run's numbers say.
    pub statement: String,
}

/// A section of the report as a figure's file makes it.
struct Part {
    id: &'static str,
    title: &'static str,
    intro: String,
    drawings: Vec<Drawing>,
    findings: Vec<Finding>,
    tables: Vec<ReportTable>,
}

/// A picture with the name of its files.
struct Drawing {
    name: &'static str,
    picture: Picture,
    caption: String,
}

impl Part {
    fn new(id: &'static str, title: &'static str, intro: impl Into<String>) -> Self {
        Self { id, title, intro: intro.into(), drawings: Vec::new(), findings: Vec::new(), tables: Vec::new() }
    }

    fn draw(&mut self, name: &'static str, svg: String, caption: impl Into<String>) {
        self.drawings.push(Drawing { name, picture: Picture::Svg(svg), caption: caption.into() });
    }

    /// States whether a claim of the paper holds; with `None` there is too little to say.
    fn find(&mut self, claim: &str, holds: Option<bool>, statement: String) {
        self.push(claim, false, holds, statement);
    }

    /// As [`Part::find`], of what the paper does not claim.
    fn find_beyond(&mut self, claim: &str, holds: Option<bool>, statement: String) {
        self.push(claim, true, holds, statement);
    }

    fn push(&mut self, claim: &str, beyond: bool, holds: Option<bool>, statement: String) {
        let verdict = match holds {
            Some(true) => Verdict::Holds,
            Some(false) => Verdict::DoesNotHold,
            None => Verdict::Undecided,
        };
        self.findings.push(Finding { figure: self.id.into(), claim: claim.into(), beyond, verdict, statement });
    }
}

/// What makes a section from a run's tables.
type MakePart = fn(&RunDirectory, &Configuration) -> Result<Part>;

/// The sections of whatever the run has tables for.
fn parts(run: &RunDirectory, configuration: &Configuration) -> Result<Vec<Part>> {
    let all: [(&str, MakePart); 9] = [
        ("eigenvalues", figure1::part),
        ("participation", portraits::part),
        ("curvature", figure2::part),
        ("profile", figure3::part),
        ("lines", figure4::part),
        ("lines", figure5::part),
        ("lines", figure6::part),
        ("subset_error", appendix_b::part),
        ("appendix_c", appendix_c::part),
    ];
    all.into_iter().filter(|(table, _)| run.table(table).exists()).map(|(_, part)| part(run, configuration)).collect()
}

/// Draws all figures of a run, states its findings and writes `report.html`, from its tables; returns the findings.
///
/// # Errors
/// [`Error::File`] if there is no run, a table is broken, or a file cannot be written.
pub fn report(run: &RunDirectory, record: &toml::Table) -> Result<Vec<Finding>> {
    let broken = |problem: &str| Error::file(run.manifest(), problem);
    let configuration = record.get("configuration").ok_or_else(|| broken("has no configuration"))?;
    let text = toml::to_string_pretty(configuration).expect("a table is plain");
    let configuration: Configuration = configuration.clone().try_into().map_err(|e: toml::de::Error| {
        broken(&format!("is not the record of `reproduce`: {}", one_line(e.message())))
    })?;
    let parts = parts(run, &configuration)?;
    if parts.is_empty() {
        return Err(Error::file(run.root(), "has no tables yet: run `eigenscope reproduce` first"));
    }
    for drawing in parts.iter().flat_map(|part| &part.drawings) {
        match &drawing.picture {
            Picture::Svg(svg) => run.write_figure(drawing.name, svg, &svg_to_png(svg, 2.0)?)?,
            Picture::Png(png) => write_atomic(&run.figure(drawing.name, "png"), png)?,
        }
    }
    let findings: Vec<Finding> = parts.iter().flat_map(|part| part.findings.iter().cloned()).collect();
    run.write_table("findings", &findings)?;
    write_atomic(&run.report(), page(&configuration, record, text, parts).to_html().as_bytes())?;
    Ok(findings)
}

fn page(configuration: &Configuration, record: &toml::Table, text: String, parts: Vec<Part>) -> Report {
    let made_by: Vec<(String, String)> = record
        .get("made_by")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_string)))
        .collect();
    let of = |key: &str| made_by.iter().find(|(k, _)| k == key).map_or("?", |(_, v)| v.as_str());
    let subtitle = format!(
        "{} on {}, {} steps of RMSProp; Hessian of {} training samples; {}",
        configuration.network.layers,
        of("data"),
        configuration.steps,
        configuration.spectra.samples,
        of("device")
    );
    let claims = parts.iter().flat_map(|p| &p.findings).filter(|f| !f.beyond);
    let verdicts: Vec<Verdict> = claims.map(|f| f.verdict).collect();
    let count = |verdict| verdicts.iter().filter(|&&v| v == verdict).count();
    let summary = vec![format!(
        "Of {} claims of the paper that this run can speak to, {} held, {} did not, and {} could not be decided.",
        verdicts.len(),
        count(Verdict::Holds),
        count(Verdict::DoesNotHold),
        count(Verdict::Undecided)
    )];
    let section = |part: Part| Section {
        id: part.id.into(),
        title: part.title.into(),
        intro: part.intro,
        figures: part.drawings.into_iter().map(|d| ReportFigure { picture: d.picture, caption: d.caption }).collect(),
        findings: part
            .findings
            .into_iter()
            .map(|f| {
                let claim = if f.beyond { format!("Beyond the paper: {}", f.claim) } else { f.claim };
                ReportFinding { claim, verdict: f.verdict, statement: f.statement }
            })
            .collect(),
        tables: part.tables,
    };
    Report {
        title: "Negative eigenvalues of the Hessian: this run beside the paper".into(),
        subtitle,
        summary,
        sections: parts.into_iter().map(section).collect(),
        configuration: text,
        made_by,
    }
}

/// Two panels side by side, with the same caption height for all figures of the kind.
fn side_by_side(title: &str, left: Chart, right: Chart) -> Result<String> {
    let panels = vec![Panel::Chart(left), Panel::Chart(right)];
    Panels { title: title.into(), columns: 2, panels }.to_svg(1000, 500)
}

/// The bar that tells early points from late ones.
fn step_bar(ramp: Ramp, steps: &[u64]) -> Option<ColorBar> {
    let (low, high) = (*steps.first()? as f64, *steps.last()? as f64);
    (high > low).then(|| ColorBar { ramp, low, high, label: "training step".into() })
}

/// The colour of a step among all.
fn step_color(ramp: Ramp, step: u64, steps: &[u64]) -> Color {
    let (first, last) = (steps.first().copied().unwrap_or(0), steps.last().copied().unwrap_or(0));
    ramp.color(if last > first { (step - first) as f64 / (last - first) as f64 } else { 0.0 })
}

/// The distinct steps of rows, ascending.
fn steps_of<R>(rows: &[R], step: impl Fn(&R) -> u64) -> Vec<u64> {
    rows.iter().map(step).collect::<std::collections::BTreeSet<u64>>().into_iter().collect()
}

/// Points colored by their step: solid ones, and hollow ones for what is in doubt.
fn by_step<R>(
    rows: &[R],
    ramp: Ramp,
    step: impl Fn(&R) -> u64,
    point: impl Fn(&R) -> Option<(f64, f64)>,
    doubtful: impl Fn(&R) -> bool,
) -> Vec<Series> {
    let steps = steps_of(rows, &step);
    let mut series = Vec::new();
    for &at in &steps {
        let color = step_color(ramp, at, &steps);
        let of = |doubt: bool| -> Vec<(f64, f64)> {
            rows.iter().filter(|r| step(r) == at && doubtful(r) == doubt).filter_map(&point).collect()
        };
        series.push(Series::points(of(false), color));
        series.push(Series::hollow(of(true), color));
    }
    series.retain(|s| !s.points.is_empty());
    series
}

/// The paper's half width of a panel, or, where few eigenvalues are that small, the first of 1, 2, 5, 10, ... times it that
/// takes in a fifth of them.
fn half_width(of_paper: f64, eigenvalues: &[f64]) -> f64 {
    let steps = (0..).flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(decade)));
    let enough = |width: &f64| 5 * eigenvalues.iter().filter(|v| v.abs() <= *width).count() >= eigenvalues.len();
    steps.map(|step| step * of_paper).take(20).find(enough).unwrap_or(of_paper)
}

/// How an end is spoken of.
fn end_name(end: End) -> &'static str {
    match end {
        End::Largest => "positive end",
        End::Smallest => "negative end",
    }
}

/// How a pair is listed.
fn pair_name(end: End, rank: usize) -> String {
    format!("{} {rank}", if end == End::Largest { "largest" } else { "smallest" })
}

/// The distinct names, in the order in which they come.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// A number for a sentence or a table cell: four digits, or a power of ten.
fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        "-".into()
    } else if value == 0.0 || (0.001..10_000.0).contains(&size) {
        let decimals = (3 - size.max(1e-300).log10().floor() as i32).clamp(0, 6) as usize;
        format!("{value:.decimals$}")
    } else {
        format!("{value:.2e}")
    }
}

/// A share as a percentage.
fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.0}%", 100.0 * share) } else { "-".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        let texts = [0.0, 1.0, -12.345, 123.456, 0.012_345, 1e-5, 123_456.0, f64::NAN].map(number);
        assert_eq!(texts, ["0.000000", "1.000", "-12.35", "123.5", "0.01235", "1.00e-5", "1.23e5", "-"]);
        assert_eq!(percent(0.256), "26%");
    }

    #[test]
    fn panels_are_as_wide_as_in_the_paper_or_as_they_must_be() {
        assert_eq!(half_width(0.5, &[0.1, 3.0, -40.0]), 0.5);
        assert_eq!(half_width(0.5, &[1.7, 3.0, -40.0]), 2.5);
        assert_eq!(half_width(1.0, &[]), 1.0);
    }
}
