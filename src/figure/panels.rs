//! Several plots in one picture.

use super::canvas::{Anchor, Canvas, page};
use super::frame::Pixel;
use super::layout::{MARGIN, TEXT, TITLE_SIZE, line_height};
use super::raster::fitting_size;
use super::{Chart, HeatMap, draw, heat};
use crate::Result;

/// A grid of plots under a common title.
#[derive(Clone, Debug)]
pub struct Panels {
    /// Text above all; empty for none.
    pub title: String,
    /// Plots in a row, at least 1 (0 counts as 1).
    pub columns: usize,
    /// The plots, row by row; the last row may have fewer.
    pub panels: Vec<Panel>,
}

/// One of several plots.
#[derive(Clone, Debug)]
pub enum Panel {
    /// Curves.
    Chart(Chart),
    /// Coloured cells.
    HeatMap(HeatMap),
}

impl Panels {
    /// All plots as one SVG document of `width` by `height` pixels.
    ///
    /// The same panels always give the same bytes. Fails when there is no room
    /// for the plots, or when one of them cannot be drawn.
    pub fn to_svg(&self, width: u32, height: u32) -> Result<String> {
        page(width, height, |canvas| self.draw(canvas, (f64::from(width), f64::from(height))))
    }

    fn draw(&self, canvas: &Canvas, size: Pixel) -> Result<()> {
        let wanted = TITLE_SIZE * 1.15;
        let text_size = fitting_size(&self.title, wanted, size.0 - 2.0 * MARGIN);
        canvas.text(&self.title, (size.0 / 2.0, MARGIN), text_size, TEXT, Anchor::Top)?;

        // The plots have margins of their own.
        let top = line_height(&self.title, wanted);
        let columns = self.columns.clamp(1, self.panels.len().max(1));
        let rows = self.panels.len().div_ceil(columns).max(1);
        let part = (size.0 / columns as f64, (size.1 - top) / rows as f64);
        for (index, panel) in self.panels.iter().enumerate() {
            let (row, column) = (index / columns, index % columns);
            let canvas = canvas.part((part.0 * column as f64, top + part.1 * row as f64));
            match panel {
                Panel::Chart(chart) => draw::chart(&canvas, chart, part)?,
                Panel::HeatMap(map) => heat::draw(&canvas, map, part)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::raster::parse;
    use super::super::{Color, HeatScale, Ramp, Series};
    use super::*;
    use crate::Error;

    fn chart(title: &str) -> Panel {
        let mut chart = Chart::new(title, "x", "y");
        chart.series.push(Series::line(vec![(0.0, 0.0), (1.0, 1.0)], Color::rgb(1, 2, 3)));
        Panel::Chart(chart)
    }

    fn map() -> Panel {
        Panel::HeatMap(HeatMap {
            title: "map".into(),
            x_label: "x".into(),
            y_label: "y".into(),
            x: vec![0.0, 1.0],
            y: vec![0.0, 1.0],
            values: vec![vec![1.0, 2.0], vec![3.0, 4.0]],
            ramp: Ramp::Sequential,
            scale: HeatScale::Linear,
        })
    }

    fn panels(columns: usize, panels: Vec<Panel>) -> Panels {
        Panels { title: "all".into(), columns, panels }
    }

    /// First point of each path of the curves' colour, in pixels.
    fn starts(svg: &str) -> Vec<Pixel> {
        svg.lines()
            .filter(|line| line.contains("#010203") && line.starts_with("<polyline"))
            .filter_map(|line| line.split_once("points=\"")?.1.split_once(' '))
            .filter_map(|(first, _)| first.split_once(','))
            .map(|(x, y)| (x.parse::<f64>().unwrap() / 10.0, y.parse::<f64>().unwrap() / 10.0))
            .collect()
    }

    #[test]
    fn panels_lie_in_a_grid_row_by_row() {
        let all = panels(2, vec![chart("one"), chart("two"), chart("three")]);
        let svg = all.to_svg(800, 600).unwrap();
        parse(&svg).unwrap();
        for text in ["all", "one", "two", "three"] {
            assert!(svg.contains(text), "{text}");
        }
        let starts = starts(&svg);
        assert_eq!(starts.len(), 3, "{svg}");
        let moved = |index: usize| (starts[index].0 - starts[0].0, starts[index].1 - starts[0].1);
        assert_eq!(moved(1), (400.0, 0.0));
        assert!(moved(2).0 == 0.0 && (250.0..300.0).contains(&moved(2).1), "{starts:?}");
    }

    #[test]
    fn a_single_panel_is_the_chart_itself() {
        let Panel::Chart(alone) = chart("one") else { unreachable!() };
        let all = Panels { title: String::new(), columns: 3, panels: vec![chart("one")] };
        assert_eq!(all.to_svg(500, 400).unwrap(), alone.to_svg(500, 400).unwrap());
    }

    #[test]
    fn charts_and_heat_maps_mix() {
        let all = panels(2, vec![chart("one"), map()]);
        let svg = all.to_svg(900, 400).unwrap();
        assert_eq!(svg, all.to_svg(900, 400).unwrap());
        parse(&svg).unwrap();
    }

    #[test]
    fn odd_grids_draw_fine_and_full_ones_fail() {
        assert!(panels(0, vec![chart("one")]).to_svg(400, 300).is_ok());
        assert!(panels(3, Vec::new()).to_svg(400, 300).is_ok());
        let many = panels(8, (0..8).map(|_| chart("one")).collect());
        assert!(matches!(many.to_svg(400, 300), Err(Error::Usage(_))));
    }
}
