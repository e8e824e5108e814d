//! Reports: figures, findings and tables as one self-contained page.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::{Deserialize, Serialize};

const STYLE: &str = include_str!("report.css");
/// Id of the table of contents, and of the part with the configuration.
const CONTENTS: &str = "contents";
const CONFIGURATION: &str = "configuration";

/// What a run found, as one HTML page that needs nothing else: no network, no
/// scripts, no other files.
#[derive(Clone, Debug)]
pub struct Report {
    /// Heading of the page.
    pub title: String,
    /// A line under the heading; empty for none.
    pub subtitle: String,
    /// The most important results, a paragraph each.
    pub summary: Vec<String>,
    /// The parts of the report.
    pub sections: Vec<Section>,
    /// The run's configuration as TOML; empty for none.
    pub configuration: String,
    /// Names and values of what made the results: version, device, times.
    pub made_by: Vec<(String, String)>,
}

/// A part of a report.
#[derive(Clone, Debug)]
pub struct Section {
    /// What links to this part end with. Characters that a link cannot have
    /// become dashes, and an id that is taken gets a number.
    pub id: String,
    /// Heading of the part.
    pub title: String,
    /// What the part is about; empty lines separate paragraphs.
    pub intro: String,
    /// The figures.
    pub figures: Vec<ReportFigure>,
    /// What the figures and tables show.
    pub findings: Vec<ReportFinding>,
    /// The tables.
    pub tables: Vec<ReportTable>,
}

/// A picture with what it shows.
#[derive(Clone, Debug)]
pub struct ReportFigure {
    /// The picture.
    pub picture: Picture,
    /// Text under the picture, and instead of it where pictures are not shown.
    pub caption: String,
}

/// A picture in one of two formats.
#[derive(Clone, Debug)]
pub enum Picture {
    /// An SVG document.
    Svg(String),
    /// A PNG file.
    Png(Vec<u8>),
}

/// A claim of the paper beside what a run shows.
#[derive(Clone, Debug)]
pub struct ReportFinding {
    /// What the paper says.
    pub claim: String,
    /// Whether this run agrees.
    pub verdict: Verdict,
    /// What this run's numbers say.
    pub statement: String,
}

/// Whether a claim agrees with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The run agrees.
    Holds,
    /// The run contradicts.
    DoesNotHold,
    /// The run's numbers do not say.
    Undecided,
}

/// A table of texts.
#[derive(Clone, Debug)]
pub struct ReportTable {
    /// Text above the table; empty for none.
    pub caption: String,
    /// Names of the columns.
    pub header: Vec<String>,
    /// The rows; short ones are filled with empty cells.
    pub rows: Vec<Vec<String>>,
}

impl Verdict {
    /// Sign, words, and name of the style.
    fn shown(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Holds => ("✓", "holds", "holds"),
            Self::DoesNotHold => ("✗", "does not hold", "does-not-hold"),
            Self::Undecided => ("?", "undecided", "undecided"),
        }
    }

    fn badge(self) -> Markup {
        let (sign, words, style) = self.shown();
        html! { span class={ "badge " (style) } { span aria-hidden="true" { (sign) " " } (words) } }
    }
}

impl Report {
    /// The report as an HTML document. The same report always gives the same
    /// bytes.
    pub fn to_html(&self) -> String {
        let ids = section_ids(&self.sections);
        let mut pictures = 0;
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    (self.header())
                    (self.contents(&ids))
                    main {
                        @for (section, id) in self.sections.iter().zip(&ids) {
                            (section.show(id, &mut pictures))
                        }
                        (self.configuration())
                    }
                    (self.footer())
                }
            }
        };
        page.into_string()
    }

    fn header(&self) -> Markup {
        html! {
            header {
                h1 { (self.title) }
                @if !self.subtitle.is_empty() { p.subtitle { (self.subtitle) } }
                @if !self.summary.is_empty() {
                    div.summary { @for paragraph in &self.summary { p { (paragraph) } } }
                }
                @if self.sections.iter().any(|section| !section.figures.is_empty()) {
                    p.hint { "Tap a figure to enlarge it." }
                }
            }
        }
    }

    fn contents(&self, ids: &[String]) -> Markup {
        html! {
            nav id=(CONTENTS) aria-label="Contents" {
                h2 { "Contents" }
                ol {
                    @for (section, id) in self.sections.iter().zip(ids) {
                        li { a href={ "#" (id) } { (section.title) } (section.tally()) }
                    }
                    @if !self.configuration.trim().is_empty() {
                        li { a href={ "#" (CONFIGURATION) } { "Configuration" } }
                    }
                }
            }
        }
    }

    fn configuration(&self) -> Markup {
        html! {
            @if !self.configuration.trim().is_empty() {
                section id=(CONFIGURATION) {
                    h2 { "Configuration" }
                    details {
                        summary { "The run's settings, as TOML" }
                        pre tabindex="0" { code { (self.configuration) } }
                    }
                }
            }
        }
    }

    fn footer(&self) -> Markup {
        html! {
            @if !self.made_by.is_empty() {
                footer {
                    h2 { "Made by" }
                    dl { @for (name, value) in &self.made_by { div { dt { (name) } dd { (value) } } } }
                }
            }
        }
    }
}

impl Section {
    fn show(&self, id: &str, pictures: &mut usize) -> Markup {
        html! {
            section id=(id) {
                h2 { (self.title) }
                @for paragraph in self.intro.split("\n\n").map(str::trim).filter(|text| !text.is_empty()) {
                    p { (paragraph) }
                }
                @for figure in &self.figures {
                    (figure.show({ *pictures += 1; *pictures }, &self.title))
                }
                @if !self.findings.is_empty() {
                    h3 { "Findings" }
                    @for finding in &self.findings { (finding.show()) }
                }
                @for table in &self.tables { (table.show(&self.title)) }
            }
        }
    }

    /// How many findings there are of each kind.
    fn tally(&self) -> Markup {
        html! {
            @for verdict in [Verdict::Holds, Verdict::DoesNotHold, Verdict::Undecided] {
                @let count = self.findings.iter().filter(|finding| finding.verdict == verdict).count();
                @let (sign, words, style) = verdict.shown();
                @if count > 0 {
                    " "
                    span class={ "tally " (style) } title={ (count) " " (words) } {
                        (count) span aria-hidden="true" { (sign) } span.unseen { " " (words) }
                    }
                }
            }
        }
    }
}

impl ReportFigure {
    fn show(&self, number: usize, section: &str) -> Markup {
        let alternative = if self.caption.trim().is_empty() { section } else { self.caption.trim() };
        html! {
            figure {
                @match &self.picture {
                    Picture::Svg(svg) => {
                        @let svg = inlined(svg, number);
                        div class=(card(svg_width(&svg))) tabindex="0" role="img" aria-label=(alternative) {
                            (PreEscaped(svg))
                        }
                    }
                    Picture::Png(png) => {
                        @let (width, height) = png_size(png).unzip();
                        div class=(card(width)) tabindex="0" {
                            img src={ "data:image/png;base64," (STANDARD.encode(png)) } alt=(alternative)
                                width=[width] height=[height];
                        }
                    }
                }
                @if !self.caption.trim().is_empty() {
                    figcaption { (self.caption.trim()) }
                }
            }
        }
    }
}

impl ReportFinding {
    fn show(&self) -> Markup {
        let (_, _, style) = self.verdict.shown();
        html! {
            article class={ "finding " (style) } {
                (self.verdict.badge())
                dl {
                    div { dt { "Paper" } dd { (self.claim) } }
                    div { dt { "This run" } dd { (self.statement) } }
                }
            }
        }
    }
}

impl ReportTable {
    fn show(&self, section: &str) -> Markup {
        let columns = self.rows.iter().map(Vec::len).chain([self.header.len()]).max().unwrap_or(0);
        let cell = |row: &'_ [String], column: usize| row.get(column).cloned().unwrap_or_default();
        let numeric: Vec<bool> =
            (0..columns).map(|column| is_numeric(self.rows.iter().filter_map(|row| row.get(column)))).collect();
        let style = |column: usize| numeric[column].then_some("number");
        let name = if self.caption.is_empty() { section } else { &self.caption };
        html! {
            div.table role="region" tabindex="0" aria-label=(name) {
                table {
                    @if !self.caption.is_empty() { caption { (self.caption) } }
                    thead {
                        tr { @for column in 0..columns { th scope="col" class=[style(column)] { (cell(&self.header, column)) } } }
                    }
                    tbody {
                        @for row in &self.rows {
                            tr { @for column in 0..columns { td class=[style(column)] { (cell(row, column)) } } }
                        }
                    }
                }
            }
        }
    }
}

/// Whether all cells that say something are numbers, perhaps with a unit.
fn is_numeric<'a>(cells: impl Iterator<Item = &'a String>) -> bool {
    let mut filled = cells.map(|cell| cell.trim()).filter(|cell| !matches!(*cell, "" | "–" | "—" | "-")).peekable();
    let begins_as_number = |cell: &str| {
        let digits = cell.trim_start_matches(['−', '-', '+', '±', '≈', '<', '>', '≤', '≥', ' ', '.']);
        digits.starts_with(|symbol: char| symbol.is_ascii_digit())
    };
    filled.peek().is_some() && filled.all(|cell| begins_as_number(cell) || matches!(cell, "NaN" | "inf" | "-inf"))
}

/// A link target for each section, all different.
fn section_ids(sections: &[Section]) -> Vec<String> {
    let mut taken: BTreeSet<String> = [CONTENTS, CONFIGURATION].map(str::to_owned).into();
    let usable = |symbol: char| if symbol.is_ascii_alphanumeric() || "-_".contains(symbol) { symbol } else { '-' };
    let unique = |section: &Section| {
        let wanted: String = section.id.chars().map(usable).collect();
        let wanted = if wanted.is_empty() { "section".to_owned() } else { wanted };
        let numbered = (2..).map(|number: usize| format!("{wanted}-{number}"));
        let id = std::iter::once(wanted.clone()).chain(numbered).find(|id| !taken.contains(id)).unwrap_or_default();
        taken.insert(id.clone());
        id
    };
    sections.iter().map(unique).collect()
}

/// An SVG document as part of a page: without what stands before its element,
/// and with ids that no other figure has.
fn inlined(svg: &str, number: usize) -> String {
    let element = svg.find("<svg").map_or("", |start| &svg[start..]);
    let mut element = element.trim_end().to_owned();
    for before in [" id=\"", "url(#", "href=\"#"] {
        element = element.replace(before, &format!("{before}figure-{number}-"));
    }
    element
}

/// The styles of a picture's card; one that is wider than the page's column can
/// be enlarged.
fn card(width: Option<u32>) -> &'static str {
    if width.is_some_and(|width| width > 1000) { "picture wide" } else { "picture" }
}

/// Width of an SVG document that says so in its first tag.
fn svg_width(svg: &str) -> Option<u32> {
    let (tag, _) = svg.split_once('>')?;
    tag.split_once(" width=\"")?.1.split_once('"')?.0.parse().ok()
}

/// Width and height of a PNG file, from its first chunk.
fn png_size(png: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(png.get(at..at + 4)?.try_into().ok()?));
    (png.get(12..16)? == b"IHDR").then_some(())?;
    number(16).zip(number(20))
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
