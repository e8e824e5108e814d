//! Tests of heat maps, from values to pixels.

use super::super::{Color, svg_to_png};
use super::*;
use resvg::tiny_skia::Pixmap;

fn map(x: &[f64], y: &[f64], values: Vec<Vec<f64>>) -> HeatMap {
    HeatMap {
        title: String::new(),
        x_label: String::new(),
        y_label: String::new(),
        x: x.to_vec(),
        y: y.to_vec(),
        values,
        ramp: Ramp::Diverging,
        scale: HeatScale::Linear,
    }
}

fn count(picture: &Pixmap, color: Color) -> usize {
    let same = |pixel: &&resvg::tiny_skia::PremultipliedColorU8| {
        (pixel.red(), pixel.green(), pixel.blue()) == (color.red, color.green, color.blue)
    };
    picture.pixels().iter().filter(same).count()
}

fn painted(map: &HeatMap) -> Pixmap {
    Pixmap::decode_png(&svg_to_png(&map.to_svg(400, 300).unwrap(), 1.0).unwrap()).unwrap()
}

/// Corners of the cells, which come after the page and before the bar: x, y,
/// width and height.
fn cells(map: &HeatMap) -> Vec<[f64; 4]> {
    let svg = map.to_svg(400, 300).unwrap();
    let number = |line: &str, name: &str| -> Option<f64> {
        line.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0.parse().ok()
    };
    let rectangles = svg.lines().filter(|line| line.starts_with("<rect"));
    let corners = |line: &str| ["x", "y", "width", "height"].map(|name| number(line, name).unwrap());
    let all: Vec<[f64; 4]> = rectangles.map(corners).collect();
    let shown = map.values.iter().flatten().filter(|value| value.is_finite()).count();
    all[1..=shown].to_vec()
}

#[test]
fn borders_lie_half_way_between_neighbours() {
    assert_eq!(edges(&[0.0, 1.0, 3.0, 10.0]), [-0.5, 0.5, 2.0, 6.5, 13.5]);
    assert_eq!(edges(&[2.0, 4.0]), [1.0, 3.0, 5.0]);
    assert_eq!(edges(&[7.0]), [6.5, 7.5]);
    assert!(edges(&[]).is_empty());
}

#[test]
fn uneven_places_have_uneven_cells() {
    let cells = cells(&map(&[0.0, 1.0, 3.0], &[0.0], vec![vec![1.0, 2.0, 3.0]]));
    // Borders at -0.5, 0.5, 2 and 4.
    let unit = cells[1][0] - cells[0][0];
    assert!(((cells[2][0] - cells[1][0]) / unit - 1.5).abs() < 0.01, "{cells:?}");
    assert!((cells[2][2] / unit - 2.0).abs() < 0.01, "{cells:?}");
}

#[test]
fn rows_go_upwards_and_colours_are_symmetric_about_zero() {
    let picture = painted(&map(&[0.0], &[0.0, 1.0], vec![vec![-2.0], vec![2.0]]));
    let row_of = |color: Color| {
        (0..300).find(|&y| {
            picture
                .pixel(150, y)
                .is_some_and(|pixel| (pixel.red(), pixel.green(), pixel.blue()) == (color.red, color.green, color.blue))
        })
    };
    let (blue, red) = (row_of(Ramp::Diverging.color(0.0)).unwrap(), row_of(Ramp::Diverging.color(1.0)).unwrap());
    assert!(red < blue, "{red} {blue}");
    // A map without negative values still has zero in the middle.
    let picture = painted(&map(&[0.0, 1.0], &[0.0], vec![vec![0.0, 2.0]]));
    let (zero, top) = (count(&picture, Ramp::Diverging.color(0.5)), count(&picture, Ramp::Diverging.color(1.0)));
    assert!(zero > 10_000 && top > 10_000, "{zero} {top}");
}

#[test]
fn holes_stay_white_to_their_borders() {
    let values = vec![vec![1.0, 1.0, 1.0], vec![1.0, f64::NAN, 1.0], vec![1.0, f64::INFINITY, 1.0]];
    let cells = cells(&map(&[0.0, 1.0, 2.0], &[0.0, 1.0, 2.0], values.clone()));
    assert_eq!(cells.len(), 7);
    let full = painted(&map(&[0.0, 1.0, 2.0], &[0.0, 1.0, 2.0], vec![vec![1.0; 3]; 3]));
    let holed = painted(&map(&[0.0, 1.0, 2.0], &[0.0, 1.0, 2.0], values));
    let color = Ramp::Diverging.color(1.0);
    let share = count(&holed, color) as f64 / count(&full, color) as f64;
    assert!((share - 7.0 / 9.0).abs() < 0.02, "{share}");
}

#[test]
fn neighbours_leave_no_seams() {
    let places: Vec<f64> = (0..37).map(f64::from).collect();
    let picture = painted(&map(&places, &places, vec![vec![1.0; 37]; 37]));
    let color = Ramp::Diverging.color(1.0);
    // A straight look through the middle of the plot, clear of its borders.
    for step in 100..250 {
        let pixel = picture.pixel(step, 120).unwrap();
        assert_eq!((pixel.red(), pixel.green(), pixel.blue()), (color.red, color.green, color.blue), "{step}");
    }
}

#[test]
fn symmetric_logarithm_spreads_the_decades() {
    let mut decades = map(&[0.0, 1.0, 2.0], &[0.0], vec![vec![0.01, 1.0, 100.0]]);
    decades.scale = HeatScale::SymLog { linear: 0.01 };
    let picture = painted(&decades);
    // From zero, one decade of five, three of five, five of five.
    for fraction in [0.1, 0.3, 0.5] {
        let color = Ramp::Diverging.color(0.5 + fraction);
        assert!(count(&picture, color) > 5000, "{fraction}");
    }
}

#[test]
fn odd_maps_draw_fine() {
    for ramp in [Ramp::Diverging, Ramp::Sequential] {
        for scale in [HeatScale::Linear, HeatScale::SymLog { linear: 1e-3 }] {
            for values in [vec![vec![0.0, 0.0]], vec![vec![f64::NAN, f64::NAN]], vec![vec![1e300, -1e-300]]] {
                let odd = HeatMap { ramp, scale, ..map(&[0.0, 1.0], &[5.0], values) };
                assert!(odd.to_svg(400, 300).is_ok(), "{odd:?}");
            }
        }
    }
    assert!(map(&[], &[], Vec::new()).to_svg(400, 300).unwrap().contains("no data"));
    assert!(map(&[0.0], &[0.0], vec![vec![f64::NAN]]).to_svg(400, 300).unwrap().contains("no data"));
}

#[test]
fn impossible_maps_are_usage_errors() {
    let mut unusable = map(&[0.0], &[0.0], vec![vec![1.0]]);
    unusable.scale = HeatScale::SymLog { linear: 0.0 };
    for wrong in [
        map(&[0.0, 1.0], &[0.0], vec![vec![1.0]]),
        map(&[0.0], &[0.0, 1.0], vec![vec![1.0]]),
        map(&[1.0, 0.0], &[0.0], vec![vec![1.0, 2.0]]),
        map(&[0.0, f64::NAN], &[0.0], vec![vec![1.0, 2.0]]),
        unusable,
    ] {
        assert!(matches!(wrong.to_svg(400, 300), Err(Error::Usage(_))), "{wrong:?}");
    }
}
