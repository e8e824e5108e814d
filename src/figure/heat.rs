//! Heat maps: a quantity over two others, as coloured cells.

use super::axis::Axis;
use super::bar::Bar;
use super::canvas::{Canvas, page};
use super::frame::Pixel;
use super::layout::{Layout, Texts};
use super::{Ramp, Scale};
use crate::{Error, Result};

/// Pixels by which cells reach under their neighbours.
const OVERLAP: f64 = 1.0;

/// A quantity on a grid of points, each the colour of a cell that reaches
/// half-way to its neighbours.
#[derive(Clone, Debug)]
pub struct HeatMap {
    /// Text above the plot; empty for none.
    pub title: String,
    /// Text under the horizontal axis; empty for none.
    pub x_label: String,
    /// Text beside the vertical axis; empty for none.
    pub y_label: String,
    /// Horizontal places of the columns, ascending, at any distances.
    pub x: Vec<f64>,
    /// Vertical places of the rows, ascending (upwards), at any distances.
    pub y: Vec<f64>,
    /// `values[j][i]` is the value at `x[i]`, `y[j]`; one that is not finite
    /// leaves a hole.
    pub values: Vec<Vec<f64>>,
    /// The colours, from the smallest value to the largest; with
    /// [`Ramp::Diverging`] zero is in the middle.
    pub ramp: Ramp,
    /// How the values are spread along the ramp.
    pub scale: HeatScale,
}

/// How values are spread along a ramp of colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeatScale {
    /// Equal differences are equal steps.
    Linear,
    /// As [`Scale::SymLog`].
    SymLog {
        /// The magnitude, above zero, below which the scale is linear.
        linear: f64,
    },
}

impl HeatMap {
    /// The heat map as an SVG document of `width` by `height` pixels.
    ///
    /// The same map always gives the same bytes. Fails when there is no room for
    /// the plot, when the values are not as many as the places, or when the
    /// places do not ascend.
    pub fn to_svg(&self, width: u32, height: u32) -> Result<String> {
        page(width, height, |canvas| draw(canvas, self, (f64::from(width), f64::from(height))))
    }

    /// The axis of the values.
    fn value_axis(&self) -> Result<Axis> {
        let scale = match self.scale {
            HeatScale::Linear => Scale::Linear,
            HeatScale::SymLog { linear } => Scale::SymLog { linear },
        };
        let values = || self.values.iter().flatten().copied().filter(|value| value.is_finite());
        if self.ramp != Ramp::Diverging {
            return Axis::new(scale, None, values(), 0.0);
        }
        let largest = values().map(f64::abs).fold(0.0, f64::max);
        let largest = if largest > 0.0 { largest } else { 1.0 };
        Axis::new(scale, None, [-largest, largest].into_iter(), 0.0)
    }

    fn check(&self) -> Result<()> {
        let (columns, rows) = (self.x.len(), self.y.len());
        if self.values.len() != rows || self.values.iter().any(|row| row.len() != columns) {
            return Err(Error::Usage(format!("a heat map of {columns} by {rows} places has other numbers of values")));
        }
        for places in [&self.x, &self.y] {
            let ascending = places.iter().all(|place| place.is_finite()) && places.is_sorted_by(|a, b| a < b);
            if !ascending {
                return Err(Error::Usage("the places of a heat map must be finite and ascend".into()));
            }
        }
        Ok(())
    }
}

/// Draws `map` into the upper left `size` pixels of the canvas.
pub(super) fn draw(canvas: &Canvas, map: &HeatMap, size: Pixel) -> Result<()> {
    map.check()?;
    let bar = Bar::of_axis(map.value_axis()?, map.ramp);
    let colors: Vec<Vec<_>> =
        map.values.iter().map(|row| row.iter().map(|&value| bar.color(value)).collect()).collect();
    let (x_edges, y_edges) = (edges(&map.x), edges(&map.y));
    let x_axis = Axis::new(Scale::Linear, None, x_edges.iter().copied(), 0.0)?;
    let y_axis = Axis::new(Scale::Linear, None, y_edges.iter().copied(), 0.0)?;
    let texts = Texts { title: &map.title, x_label: &map.x_label, y_label: &map.y_label };
    let layout = Layout::new(size, texts, &x_axis, &y_axis, Some(bar), 0.0)?;

    layout.draw_tick_lines(canvas)?;
    let place = |axis: &Axis, edges: &[f64]| -> Vec<f64> {
        edges.iter().map(|&edge| axis.place(edge).unwrap_or_default()).collect()
    };
    let columns: Vec<f64> = place(&x_axis, &x_edges).into_iter().map(|at| layout.frame.x(at)).collect();
    let rows: Vec<f64> = place(&y_axis, &y_edges).into_iter().map(|at| layout.frame.y(at)).collect();
    let color_of = |i: usize, j: usize| colors.get(j).and_then(|row| row.get(i)).copied().flatten();
    let mut drawn = false;
    for j in (0..map.y.len()).rev() {
        for i in 0..map.x.len() {
            let Some(color) = color_of(i, j) else { continue };
            // Cells run on a little under their later neighbours, which leaves no seams.
            let right = if color_of(i + 1, j).is_some() { OVERLAP } else { 0.0 };
            let down = if j > 0 && color_of(i, j - 1).is_some() { OVERLAP } else { 0.0 };
            canvas.rectangle([(columns[i], rows[j + 1]), (columns[i + 1] + right, rows[j] + down)], color)?;
            drawn = true;
        }
    }
    layout.draw_surroundings(canvas)?;
    if !drawn {
        layout.draw_no_data(canvas)?;
    }
    Ok(())
}

/// The borders of the cells around `places`, one more than those.
fn edges(places: &[f64]) -> Vec<f64> {
    match *places {
        [] => Vec::new(),
        [only] => vec![only - 0.5, only + 0.5],
        _ => {
            let last = places.len() - 1;
            let between = places.windows(2).map(|pair| pair[0] + (pair[1] - pair[0]) / 2.0);
            let first_edge = places[0] - (places[1] - places[0]) / 2.0;
            let last_edge = places[last] + (places[last] - places[last - 1]) / 2.0;
            std::iter::once(first_edge).chain(between).chain([last_edge]).collect()
        }
    }
}

#[cfg(test)]
#[path = "heat_tests.rs"]
mod tests;
