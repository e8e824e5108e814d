//! Tests of whole charts, from data to SVG and PNG.

use super::super::raster::parse;
use super::super::{Color, ColorBar, End, Ramp, Series, SpectrumRow, eigenvalues_over_steps, svg_to_png};
use super::*;
use crate::Error;
use resvg::tiny_skia::Pixmap;

/// A chart like the figures of a short training run.
fn spectrum_chart() -> Chart {
    let mut rows = Vec::new();
    for step in (0..=500u64).step_by(25) {
        for rank in 1..=20 {
            let value = (5.0 + 0.1 * step as f64) / rank as f64;
            rows.push(SpectrumRow { step, end: End::Largest, rank, value });
        }
        rows.push(SpectrumRow { step, end: End::Smallest, rank: 1, value: -2.0 / (1.0 + step as f64 / 50.0) });
    }
    let losses: Vec<(f64, f64)> = (0..=500).map(f64::from).map(|step| (step, 2.3 * (-step / 130.0).exp())).collect();
    eigenvalues_over_steps("Spectrum <λ> & \"loss\"", &rows, &losses)
}

fn chart_of(points: &[(f64, f64)], scale: Scale) -> Chart {
    let mut chart = Chart::new("title", "x", "y");
    chart.x_scale = scale;
    chart.y_scale = scale;
    let curves = [Series::line, Series::dotted, Series::points];
    chart.series = curves.map(|curve| curve(points.to_vec(), Color::BLACK).label("curve")).to_vec();
    chart
}

fn painted(svg: &str, scale: f32) -> Pixmap {
    Pixmap::decode_png(&svg_to_png(svg, scale).unwrap()).unwrap()
}

fn count_pixels(picture: &Pixmap, wanted: impl Fn(u8, u8, u8) -> bool) -> usize {
    let pixels = picture.pixels().iter();
    pixels.filter(|pixel| wanted(pixel.red(), pixel.green(), pixel.blue())).count()
}

#[test]
fn svg_is_well_formed_and_has_the_size() {
    let svg = spectrum_chart().to_svg(900, 600).unwrap();
    let tree = parse(&svg).unwrap();
    assert_eq!((tree.size().width(), tree.size().height()), (900.0, 600.0));
    assert!(svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("font-family=\"DejaVu Sans, Verdana, sans-serif\""));
    assert!(svg.contains("&lt;λ&gt; &amp; &quot;loss&quot;"));
}

#[test]
fn same_chart_gives_same_bytes() {
    let (one, two) = (spectrum_chart(), spectrum_chart());
    let svg = one.to_svg(900, 600).unwrap();
    assert_eq!(svg, two.to_svg(900, 600).unwrap());
    let png = svg_to_png(&svg, 0.5).unwrap();
    assert_eq!(png, svg_to_png(&svg, 0.5).unwrap());
}

#[test]
fn png_has_the_size_and_all_the_colours() {
    let svg = spectrum_chart().to_svg(900, 600).unwrap();
    let picture = painted(&svg, 1.5);
    assert_eq!((picture.width(), picture.height()), (1350, 900));
    assert!(picture.pixels().iter().all(|pixel| pixel.alpha() == 255));
    let reds = count_pixels(&picture, |r, g, b| r > 180 && g < 60 && b < 60);
    let blues = count_pixels(&picture, |r, g, b| r < 40 && g < 130 && b > 110);
    let greens = count_pixels(&picture, |r, g, b| r < 120 && g > 150 && b < 120);
    let blacks = count_pixels(&picture, |r, g, b| r < 10 && g < 10 && b < 10);
    for (name, count) in [("red", reds), ("blue", blues), ("green", greens)] {
        assert!(count > 1000, "{name}: {count}");
    }
    assert!(blacks > 500, "black: {blacks}");
}

#[test]
fn dotted_curves_are_dots() {
    let points = vec![(0.0, 0.0), (1.0, 1.0)];
    let mut chart = Chart::new("", "", "");
    chart.series.push(Series::dotted(points.clone(), Color::BLACK));
    let dots = |chart: &Chart| chart.to_svg(400, 300).unwrap().matches("<circle").count();
    assert!(dots(&chart) > 40, "{}", dots(&chart));
    chart.series = vec![Series::line(points, Color::BLACK)];
    assert_eq!(dots(&chart), 0);
}

#[test]
fn odd_data_draws_fine() {
    let cases: [&[(f64, f64)]; 8] = [
        &[],
        &[(1.0, 1.0)],
        &[(0.0, 0.0)],
        &[(1.0, 5.0), (2.0, 5.0), (3.0, 5.0)],
        &[(1.0, f64::NAN), (f64::INFINITY, 2.0)],
        &[(-1.0, -1.0), (1.0, f64::NEG_INFINITY)],
        &[(1.0, 1e-300), (2.0, 1e300)],
        &[(f64::MIN, f64::MAX), (5e-324, -5e-324)],
    ];
    for points in cases {
        for scale in [Scale::Linear, Scale::Log10, Scale::SymLog { linear: 1e-3 }] {
            let svg = chart_of(points, scale).to_svg(400, 300).unwrap();
            let picture = painted(&svg, 1.0);
            let dark = count_pixels(&picture, |r, _, _| r < 100);
            assert!(dark > 100, "{points:?} {scale:?}: {dark}");
        }
    }
}

#[test]
fn chart_without_drawable_points_says_so() {
    let svg = chart_of(&[(1.0, -1.0)], Scale::Log10).to_svg(400, 300);
    assert!(svg.unwrap().contains("no data"));
    let svg = chart_of(&[(1.0, 1.0)], Scale::Log10).to_svg(400, 300);
    assert!(!svg.unwrap().contains("no data"));
}

#[test]
fn curves_stay_inside_a_given_range() {
    let mut chart = Chart::new("", "", "");
    chart.y_range = Some((0.0, 1.0));
    let red = Color::rgb(255, 0, 0);
    let points = vec![(0.0, -50.0), (1.0, 50.0), (2.0, 0.5)];
    chart.series.push(Series::line(points, red));
    let picture = painted(&chart.to_svg(400, 300).unwrap(), 1.0);
    let reds = |rows: std::ops::Range<u32>| {
        rows.flat_map(|y| (0..400).map(move |x| (x, y)))
            .filter_map(|(x, y)| picture.pixel(x, y))
            .filter(|pixel| pixel.red() > 200 && pixel.green() < 100)
            .count()
    };
    assert!(reds(20..260) > 100);
    // The margins, above and below the plot.
    assert_eq!(reds(0..12), 0);
    assert_eq!(reds(285..300), 0);
}

#[test]
fn impossible_sizes_and_ranges_are_usage_errors() {
    let chart = spectrum_chart();
    for (width, height) in [(0, 0), (50, 600), (900, 50), (30_000, 600)] {
        let svg = chart.to_svg(width, height);
        assert!(matches!(svg, Err(Error::Usage(_))), "{width} {height}");
    }
    let mut chart = spectrum_chart();
    chart.y_range = Some((-1.0, 1.0));
    assert!(matches!(chart.to_svg(900, 600), Err(Error::Usage(_))));
}

#[test]
fn control_characters_do_not_break_the_svg() {
    let mut chart = chart_of(&[(1.0, 1.0)], Scale::Linear);
    chart.title = "a\u{0}b\nc\u{ffff}".to_owned();
    parse(&chart.to_svg(400, 300).unwrap()).unwrap();
}

#[test]
fn long_titles_stay_inside_the_figure() {
    let mut chart = chart_of(&[(1.0, 1.0)], Scale::Linear);
    chart.title = "long ".repeat(60);
    let picture = painted(&chart.to_svg(400, 300).unwrap(), 1.0);
    let border = (0..300).flat_map(|y| [(2, y), (397, y)]);
    for (x, y) in border {
        assert_eq!(picture.pixel(x, y).map(|pixel| pixel.red()), Some(255));
    }
}

/// Points of the first curve of this colour, in pixels from the upper left.
fn drawn_points(svg: &str, color: &str) -> Vec<Pixel> {
    svg.lines()
        .filter(|line| line.starts_with("<polyline") && line.contains(color))
        .filter_map(|line| line.split_once("points=\"")?.1.split_once('"'))
        .flat_map(|(points, _)| points.split_whitespace())
        .filter_map(|point| point.split_once(','))
        .map(|(x, y)| (x.parse::<f64>().unwrap() / 10.0, y.parse::<f64>().unwrap() / 10.0))
        .collect()
}

#[test]
fn diagonal_passes_through_equal_places_of_equal_scales() {
    for scale in [Scale::Linear, Scale::Log10, Scale::SymLog { linear: 0.1 }] {
        let mut chart = Chart::new("", "", "");
        (chart.x_scale, chart.y_scale) = (scale, scale);
        let range = if scale == Scale::Log10 { (1e-3, 1e3) } else { (-1e3, 1e3) };
        (chart.x_range, chart.y_range) = (Some(range), Some(range));
        chart.marks.push(Mark::Diagonal { color: Color::rgb(1, 2, 3), label: None });
        let svg = chart.to_svg(500, 400).unwrap();
        let points = drawn_points(&svg, "#010203");
        assert!(points.len() > 40, "{scale:?} {}", points.len());
        let (first, last) = (points[0], points[points.len() - 1]);
        let (width, height) = (last.0 - first.0, first.1 - last.1);
        assert!(width > 300.0 && height > 250.0);
        for (x, y) in points {
            let places = ((x - first.0) / width, (first.1 - y) / height);
            assert!((places.0 - places.1).abs() < 2e-3, "{scale:?} {places:?}");
        }
    }
}

#[test]
fn diagonal_is_the_identity_on_scales_that_differ() {
    let mut chart = Chart::new("", "", "");
    chart.y_scale = Scale::SymLog { linear: 1.0 };
    (chart.x_range, chart.y_range) = (Some((-100.0, 100.0)), Some((-100.0, 100.0)));
    let color = Color::rgb(1, 2, 3);
    chart.marks.push(Mark::Diagonal { color, label: None });
    let x_axis = Axis::new(Scale::Linear, chart.x_range, std::iter::empty(), 0.0).unwrap();
    let y_axis = Axis::new(chart.y_scale, chart.y_range, std::iter::empty(), 0.0).unwrap();
    let points = drawn_points(&chart.to_svg(500, 400).unwrap(), "#010203");
    let corner = |pick: fn(&Pixel) -> f64| {
        let values = || points.iter().map(pick);
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
    };
    let ((left, right), (top, bottom)) = (corner(|p| p.0), corner(|p| p.1));
    for &(x, y) in &points {
        let value = y_axis.value((bottom - y) / (bottom - top));
        let expected = x_axis.place(value).unwrap();
        assert!(((x - left) / (right - left) - expected).abs() < 6e-3, "{x} {y} {value}");
    }
}

#[test]
fn vertical_lines_stand_where_they_should() {
    let mut chart = Chart::new("", "", "");
    chart.series.push(Series::line(vec![(0.0, 0.0), (10.0, 1.0)], Color::BLACK));
    let mark = |x: f64| Mark::VerticalLine { x, color: Color::rgb(1, 2, 3), label: Some("the mark".into()) };
    chart.x_range = Some((0.0, 10.0));
    chart.marks = vec![mark(2.5), mark(f64::NAN), mark(11.0)];
    let svg = chart.to_svg(500, 400).unwrap();
    // The line and the sample in the legend.
    let points = drawn_points(&svg, "#010203");
    assert!(svg.contains("the mark"));
    let curve = drawn_points(&svg, "#000000");
    let expected = curve[0].0 + (curve[1].0 - curve[0].0) * 0.25;
    assert!((points[0].0 - expected).abs() < 0.2 && points[0].0 == points[1].0, "{points:?} {curve:?}");
    assert!((points[0].1 - points[1].1).abs() > 250.0);
    // Three samples share an entry, and nothing else was drawn.
    assert_eq!(points.len(), 2 + 3 * 2);
    // An axis that fits the data reaches to the mark.
    chart.x_range = None;
    let reached = drawn_points(&chart.to_svg(500, 400).unwrap(), "#010203");
    assert_eq!(reached.len(), 4 + 3 * 2);
}

#[test]
fn flagged_points_have_their_shapes() {
    let points = vec![(0.0, 0.0), (1.0, 1.0), (f64::NAN, 1.0)];
    let svg = |series: Series| {
        let mut chart = Chart::new("", "", "");
        chart.series.push(series);
        chart.to_svg(400, 300).unwrap()
    };
    let color = Color::rgb(1, 2, 3);
    let crosses = svg(Series::crosses(points.clone(), color));
    assert_eq!(drawn_points(&crosses, "#010203").len(), 2 * 4);
    let rings = svg(Series::hollow(points.clone(), color));
    assert_eq!(rings.matches("<circle").count(), 2 * 2);
    let dashes = svg(Series::dashed(points, color));
    assert!(drawn_points(&dashes, "#010203").len() > 30);
}

#[test]
fn zero_line_of_a_symmetric_logarithm_is_in_its_middle() {
    let mut chart = chart_of(&[(-50.0, -1e4), (1e3, 1e4)], Scale::SymLog { linear: 1.0 });
    chart.series.truncate(1);
    let svg = chart.to_svg(500, 400).unwrap();
    let lines = drawn_points(&svg, "#969696");
    assert_eq!(lines.len(), 4, "one for each axis");
    assert!(lines[0].0 == lines[1].0 && lines[2].1 == lines[3].1, "{lines:?}");
    let curve = drawn_points(&svg, "#000000");
    assert!((lines[2].1 - (curve[0].1 + curve[1].1) / 2.0).abs() < 0.2, "{lines:?} {curve:?}");
}

#[test]
fn colour_bars_show_their_ramp_and_ticks() {
    let mut chart = chart_of(&[(0.0, 0.0), (1.0, 1.0)], Scale::Linear);
    let bar = |low: f64, high: f64| ColorBar { ramp: Ramp::RedYellow, low, high, label: "training step".into() };
    chart.color_bar = Some(bar(0.0, 5000.0));
    let svg = chart.to_svg(500, 400).unwrap();
    for text in ["training step", "1000", "5000"] {
        assert!(svg.contains(text), "{text}");
    }
    let picture = painted(&svg, 1.0);
    let rows_of = |color: Color| -> Vec<u32> {
        let same = |x, y| {
            let pixel = picture.pixel(x, y).unwrap();
            (pixel.red(), pixel.green(), pixel.blue()) == (color.red, color.green, color.blue)
        };
        (0..400).filter(|&y| (300..500).filter(|&x| same(x, y)).count() > 10).collect()
    };
    // Colours of a low and of a high stripe.
    let ends = [4.5 / 128.0, 123.5 / 128.0].map(|at| rows_of(Ramp::RedYellow.color(at)));
    assert!(ends[0].first() > ends[1].last() && !ends[0].is_empty() && !ends[1].is_empty(), "{ends:?}");
    for (low, high) in [(3.0, 3.0), (f64::NAN, 1.0), (f64::INFINITY, f64::NEG_INFINITY), (9.0, 1.0)] {
        chart.color_bar = Some(bar(low, high));
        assert!(chart.to_svg(500, 400).is_ok(), "{low} {high}");
    }
}
