//! The drawing of a chart.

use super::axis::Axis;
use super::bar::Bar;
use super::canvas::Canvas;
use super::frame::{Frame, Pixel};
use super::layout::{Layout, MARGIN, TEXT, Texts};
use super::legend::Legend;
use super::{Chart, Mark, Scale, Style};
use crate::Result;

/// Width of the lines that are marks.
const MARK: f64 = 1.6;
/// Points of a diagonal on either axis.
const DIAGONAL: u32 = 400;

/// Draws `chart` into the upper left `size` pixels of the canvas.
pub(super) fn chart(canvas: &Canvas, chart: &Chart, size: Pixel) -> Result<()> {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let marked = chart.marks.iter().filter_map(|mark| match mark {
        Mark::VerticalLine { x, .. } => Some(*x),
        Mark::Diagonal { .. } => None,
    });
    let x_axis = Axis::new(chart.x_scale, chart.x_range, points().map(|p| p.0).chain(marked), 0.02)?;
    let y_axis = Axis::new(chart.y_scale, chart.y_range, points().map(|p| p.1), 0.05)?;

    let legend = Legend::new(&chart.series, &chart.marks, size.0 - 2.0 * MARGIN);
    let texts = Texts { title: &chart.title, x_label: &chart.x_label, y_label: &chart.y_label };
    let bar = chart.color_bar.as_ref().map(Bar::new).transpose()?;
    let layout = Layout::new(size, texts, &x_axis, &y_axis, bar, legend.height())?;

    layout.draw_grid(canvas)?;
    // Horizontal axes often begin just left of zero, where a line says nothing.
    let x_zero = x_axis.zero().filter(|_| chart.x_scale != Scale::Linear);
    layout.draw_zero(canvas, x_zero, y_axis.zero())?;
    for mark in &chart.marks {
        draw_mark(canvas, mark, &layout, &x_axis, &y_axis)?;
    }
    let drawn = draw_series(canvas, chart, &layout.frame, &x_axis, &y_axis)?;
    layout.draw_surroundings(canvas)?;
    if !drawn {
        layout.draw_no_data(canvas)?;
    }
    legend.draw(canvas, size.0 / 2.0, size.1 - MARGIN - legend.height(), TEXT)
}

fn draw_mark(canvas: &Canvas, mark: &Mark, layout: &Layout, x_axis: &Axis, y_axis: &Axis) -> Result<()> {
    match mark {
        Mark::VerticalLine { x, color, .. } => {
            if let Some(at) = x_axis.place(*x).filter(|at| (-1e-9..=1.0 + 1e-9).contains(at)) {
                canvas.line(&layout.upright(at), *color, MARK)?;
            }
        }
        Mark::Diagonal { color, .. } => {
            // On scales that differ it may be steep, so both axes give points.
            let mut values: Vec<f64> = (0..=DIAGONAL)
                .map(|index| f64::from(index) / f64::from(DIAGONAL))
                .flat_map(|at| [x_axis.value(at), y_axis.value(at)])
                .collect();
            values.sort_by(f64::total_cmp);
            values.dedup();
            let curve: Vec<(f64, f64)> = values.into_iter().map(|value| (value, value)).collect();
            for piece in layout.frame.pieces(&curve, x_axis, y_axis) {
                canvas.dashed(&piece, *color, MARK)?;
            }
        }
    }
    Ok(())
}

/// Draws the curves; false when none of their points lies inside the frame.
fn draw_series(canvas: &Canvas, chart: &Chart, frame: &Frame, x_axis: &Axis, y_axis: &Axis) -> Result<bool> {
    let mut drawn = false;
    for layer in [Style::Line, Style::Dashed, Style::Dotted, Style::Points, Style::Hollow, Style::Crosses] {
        for series in chart.series.iter().filter(|s| s.style == layer) {
            let (color, width) = (series.color, series.width);
            if layer.is_joined() {
                for piece in frame.pieces(&series.points, x_axis, y_axis) {
                    match piece.as_slice() {
                        // A line of one point would not be visible.
                        &[point] => canvas.dot(point, width.max(5.0), color)?,
                        piece if layer == Style::Dotted => canvas.dotted(piece, color, width)?,
                        piece if layer == Style::Dashed => canvas.dashed(piece, color, width)?,
                        piece => canvas.line(piece, color, width)?,
                    }
                    drawn = true;
                }
                continue;
            }
            for place in frame.dots(&series.points, x_axis, y_axis) {
                match layer {
                    Style::Hollow => canvas.ring(place, width, color)?,
                    Style::Crosses => canvas.cross(place, width, color)?,
                    _ => canvas.dot(place, width, color)?,
                }
                drawn = true;
            }
        }
    }
    Ok(drawn)
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
