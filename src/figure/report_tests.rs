//! Tests of reports, as text.

use super::super::{Chart, Color, FilterBank, Ramp, Series, portrait_png};
use super::*;

fn finding(verdict: Verdict) -> ReportFinding {
    ReportFinding { claim: "it is <so> & so".into(), verdict, statement: "3 of 4".into() }
}

fn report() -> Report {
    let mut chart = Chart::new("curves", "x", "y");
    chart.series.push(Series::line(vec![(0.0, 0.0), (1.0, 1.0)], Color::BLACK));
    let bank = FilterBank { height: 1, width: 2, filters: vec![vec![1.0, -1.0]] };
    let figures = vec![
        ReportFigure { picture: Picture::Svg(chart.to_svg(600, 400).unwrap()), caption: "Curves \"of\" λ.".into() },
        ReportFigure {
            picture: Picture::Png(portrait_png(&[bank], &[], Ramp::Diverging).unwrap()),
            caption: String::new(),
        },
    ];
    let section = |id: &str, title: &str| Section {
        id: id.into(),
        title: title.into(),
        intro: "one\n\ntwo".into(),
        figures: figures.clone(),
        findings: vec![finding(Verdict::Holds), finding(Verdict::DoesNotHold), finding(Verdict::Undecided)],
        tables: vec![ReportTable {
            caption: "numbers".into(),
            header: vec!["name".into(), "value".into()],
            rows: vec![vec!["a".into(), "−1.5×10⁻³".into()], vec!["b".into()], vec!["c".into(), "2".into()]],
        }],
    };
    Report {
        title: "A <report>".into(),
        subtitle: "of a run".into(),
        summary: vec!["in short".into()],
        sections: vec![section("first", "First part"), section("first", "Second part")],
        configuration: "steps = 5 # <&>".into(),
        made_by: vec![("device".into(), "none".into())],
    }
}

/// The values of an attribute, in order.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let before = format!(" {attribute}=\"");
    html.split(before.as_str()).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect()
}

#[test]
fn texts_are_escaped() {
    let html = report().to_html();
    assert!(html.starts_with("<!DOCTYPE html><html lang=\"en\">"));
    assert!(html.contains("A &lt;report&gt;") && !html.contains("<report>"));
    assert!(html.contains("it is &lt;so&gt; &amp; so"));
    assert!(html.contains("steps = 5 # &lt;&amp;&gt;"));
    assert!(values(&html, "aria-label").contains(&"Curves &quot;of&quot; λ."));
}

#[test]
fn page_needs_nothing_else() {
    let html = report().to_html();
    assert!(!html.contains("<script") && !html.contains("<link") && !html.contains("@import"));
    for address in values(&html, "src") {
        assert!(address.starts_with("data:image/png;base64,"), "{address}");
    }
    // Namespaces are names, not addresses that are fetched.
    let addresses = html.matches("http").count();
    assert_eq!(addresses, html.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
    assert!(!STYLE.contains("url("));
}

#[test]
fn links_lead_to_sections() {
    let html = report().to_html();
    let ids = values(&html, "id");
    let different: BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), different.len(), "{ids:?}");
    let links = values(&html, "href");
    assert_eq!(links, ["#first", "#first-2", "#configuration"]);
    for link in links {
        assert!(ids.contains(&&link[1..]), "{link}");
    }
}

#[test]
fn odd_section_ids_become_usable() {
    let section = |id: &str| Section { id: id.into(), figures: Vec::new(), ..report().sections[0].clone() };
    let ids = section_ids(&["", "contents", "a b/ü", "a b/ü", "x"].map(section));
    assert_eq!(ids, ["section", "contents-2", "a-b--", "a-b---2", "x"]);
}

#[test]
fn ids_inside_figures_are_apart() {
    let svg = r##"<?xml version="1.0"?><!DOCTYPE svg><svg viewBox="0 0 1 1"><clipPath id="a"/><g clip-path="url(#a)"/><use href="#a"/></svg>
"##;
    let first = inlined(svg, 1);
    assert_eq!(
        first,
        r##"<svg viewBox="0 0 1 1"><clipPath id="figure-1-a"/><g clip-path="url(#figure-1-a)"/><use href="#figure-1-a"/></svg>"##
    );
    assert_ne!(first, inlined(svg, 2));
    assert_eq!(inlined("no picture", 1), "");
}

#[test]
fn pictures_have_a_text_and_a_size() {
    let html = report().to_html();
    // A figure without a caption takes the section's title.
    assert_eq!(values(&html, "alt"), ["First part", "Second part"]);
    assert!(html.contains("width=\"40\" height=\"30\">"));
    assert_eq!(html.matches("viewBox=\"0 0 6000 4000\"").count(), 2);
    assert_eq!(png_size(b"not a picture"), None);
    assert_eq!(html.matches("class=\"picture\"").count(), 4);
    let wide = Chart::new("", "", "").to_svg(1500, 400).unwrap();
    assert_eq!(card(svg_width(&wide)), "picture wide");
    assert_eq!(svg_width("no picture"), None);
}

#[test]
fn verdicts_are_words_as_well_as_colours() {
    let html = report().to_html();
    for words in ["holds", "does not hold", "undecided"] {
        assert!(html.contains(&format!("</span>{words}</span>")), "{words}");
    }
    assert_eq!(serde_json::to_string(&Verdict::DoesNotHold).unwrap(), "\"does-not-hold\"");
    assert_eq!(serde_json::from_str::<Verdict>("\"holds\"").unwrap(), Verdict::Holds);
}

#[test]
fn columns_of_numbers_are_aligned() {
    let html = report().to_html();
    assert!(html.contains("<th scope=\"col\">name</th><th scope=\"col\" class=\"number\">value</th>"));
    assert!(html.contains("<td>b</td><td class=\"number\"></td>"));
    let numeric = |cells: &[&str]| {
        let cells: Vec<String> = cells.iter().map(|&cell| cell.to_owned()).collect();
        is_numeric(cells.iter())
    };
    assert!(numeric(&["1", "−2", "≈ 3 %", "–", ""]));
    assert!(!numeric(&["1", "conv1"]) && !numeric(&["", "–"]) && !numeric(&[]));
}

#[test]
fn empty_report_is_a_page() {
    let nothing = Report {
        title: String::new(),
        subtitle: String::new(),
        summary: Vec::new(),
        sections: vec![Section {
            id: String::new(),
            title: String::new(),
            intro: String::new(),
            figures: vec![ReportFigure { picture: Picture::Png(Vec::new()), caption: String::new() }],
            findings: Vec::new(),
            tables: vec![ReportTable { caption: String::new(), header: Vec::new(), rows: Vec::new() }],
        }],
        configuration: String::new(),
        made_by: Vec::new(),
    };
    let html = nothing.to_html();
    assert!(html.ends_with("</body></html>"));
    assert!(!html.contains("<details"));
    assert_eq!(html, nothing.to_html());
    assert_eq!(report().to_html(), report().to_html());
}
