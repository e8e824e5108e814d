//! Layout of a chart, and the SVG that comes of it.

use super::axis::{Axis, Tick};
use super::canvas::{Anchor, Canvas, with_pixel_size};
use super::frame::Frame;
use super::legend::Legend;
use super::raster::{fitting_size, text_width};
use super::{Chart, Color, Scale, Style};
use crate::{Error, Result};

const TITLE_SIZE: f64 = 18.0;
const LABEL_SIZE: f64 = 16.0;
const TICK_SIZE: f64 = 14.0;

/// Empty border of the whole figure.
const MARGIN: f64 = 14.0;
/// Between the plot and its tick labels.
const TICK_GAP: f64 = 8.0;
/// Least width and height of the plot itself.
const LEAST_PLOT: f64 = 60.0;
/// Largest width and height of a figure.
const LARGEST: u32 = 20_000;

const TEXT: Color = Color::rgb(34, 34, 34);
const FAINT_TEXT: Color = Color::rgb(120, 120, 120);
const BORDER: Color = Color::rgb(110, 110, 110);
const GRID: Color = Color::rgb(214, 214, 214);
const MINOR_GRID: Color = Color::rgb(239, 239, 239);
const ZERO_LINE: Color = Color::rgb(150, 150, 150);

/// The ticks and grid lines of one axis.
struct Marks {
    ticks: Vec<Tick>,
    minor: Vec<f64>,
}

impl Marks {
    fn new(axis: &Axis, wanted: usize) -> Self {
        Self { ticks: axis.ticks(wanted), minor: axis.minor(wanted) }
    }

    /// Marks of a vertical axis `length` pixels long.
    fn vertical(axis: &Axis, scale: Scale, length: f64) -> Self {
        // Skipped decades make a logarithmic axis hard to read, so they go last.
        let spacing = match scale {
            Scale::Linear => 50.0,
            Scale::Log10 => 30.0,
        };
        Self::new(axis, (length / spacing).clamp(2.0, 8.0) as usize)
    }

    /// Marks of a horizontal axis `length` pixels long: as many as its labels
    /// leave room for.
    fn horizontal(axis: &Axis, length: f64) -> Self {
        let mut wanted = (length / 60.0).clamp(2.0, 7.0) as usize;
        loop {
            let marks = Self::new(axis, wanted);
            if wanted == 2 || marks.least_distance() * length >= marks.widest() + TICK_SIZE {
                return marks;
            }
            wanted -= 1;
        }
    }

    fn widest(&self) -> f64 {
        let width = |tick: &Tick| text_width(&tick.label, TICK_SIZE);
        self.ticks.iter().map(width).fold(0.0, f64::max)
    }

    /// Least distance of neighbouring ticks, as a fraction of the axis.
    fn least_distance(&self) -> f64 {
        let distance = |pair: &[Tick]| pair[1].at - pair[0].at;
        self.ticks.windows(2).map(distance).fold(1.0, f64::min)
    }
}

/// Draws `chart` as an SVG document of `width` by `height` pixels.
pub(super) fn svg(chart: &Chart, width: u32, height: u32) -> Result<String> {
    if width > LARGEST || height > LARGEST {
        return Err(Error::Usage(format!(
            "a figure can be at most {LARGEST} pixels wide and high, not {width} by {height}"
        )));
    }
    let (full_width, full_height) = (f64::from(width), f64::from(height));
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let x_axis = Axis::new(chart.x_scale, chart.x_range, points().map(|p| p.0), 0.02)?;
    let y_axis = Axis::new(chart.y_scale, chart.y_range, points().map(|p| p.1), 0.05)?;

    let legend = Legend::new(&chart.series, full_width - 2.0 * MARGIN);
    let below_plot = TICK_GAP + TICK_SIZE + line_height(&chart.x_label, LABEL_SIZE) + legend.height() + MARGIN;
    let mut frame = Frame {
        left: MARGIN + line_height(&chart.y_label, LABEL_SIZE) + TICK_GAP,
        top: MARGIN + line_height(&chart.title, TITLE_SIZE),
        right: full_width - MARGIN,
        bottom: full_height - below_plot,
    };
    let y_marks = Marks::vertical(&y_axis, chart.y_scale, frame.height());
    frame.left += y_marks.widest();
    // The last tick label may reach past the plot by half its width.
    let x_marks = Marks::horizontal(&x_axis, frame.width());
    frame.right -= (x_marks.widest() / 2.0 - MARGIN / 2.0).max(0.0);
    if frame.width() < LEAST_PLOT || frame.height() < LEAST_PLOT {
        return Err(Error::Usage(format!("a figure of {width} by {height} pixels leaves no room for its plot")));
    }

    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, width, height)?;
    draw_grid(&canvas, &frame, &x_marks, &y_marks)?;
    if let Some(at) = y_axis.zero() {
        let y = frame.y(at);
        canvas.line(&[(frame.left, y), (frame.right, y)], ZERO_LINE, 1.2)?;
    }
    let drawn = draw_series(&canvas, chart, &frame, &x_axis, &y_axis)?;
    draw_border(&canvas, &frame)?;
    if !drawn {
        let middle = (frame.x(0.5), frame.y(0.5));
        canvas.text("no data", middle, LABEL_SIZE, FAINT_TEXT, Anchor::Middle)?;
    }
    draw_labels(&canvas, chart, &frame, (full_width, full_height))?;
    legend.draw(&canvas, full_width / 2.0, full_height - MARGIN - legend.height(), TEXT)?;
    canvas.finish()?;
    Ok(with_pixel_size(&svg, width, height))
}

/// Height of a line of text with the space around it; nothing for no text.
fn line_height(text: &str, size: f64) -> f64 {
    if text.is_empty() { 0.0 } else { size * 1.2 + 8.0 }
}

fn draw_grid(canvas: &Canvas, frame: &Frame, x_marks: &Marks, y_marks: &Marks) -> Result<()> {
    let vertical = |at: f64| [(frame.x(at), frame.top), (frame.x(at), frame.bottom)];
    let horizontal = |at: f64| [(frame.left, frame.y(at)), (frame.right, frame.y(at))];
    for &at in &x_marks.minor {
        canvas.line(&vertical(at), MINOR_GRID, 1.0)?;
    }
    for &at in &y_marks.minor {
        canvas.line(&horizontal(at), MINOR_GRID, 1.0)?;
    }
    for tick in &x_marks.ticks {
        canvas.line(&vertical(tick.at), GRID, 1.0)?;
        let place = (frame.x(tick.at), frame.bottom + TICK_GAP);
        canvas.text(&tick.label, place, TICK_SIZE, TEXT, Anchor::Top)?;
    }
    for tick in &y_marks.ticks {
        canvas.line(&horizontal(tick.at), GRID, 1.0)?;
        let place = (frame.left - TICK_GAP, frame.y(tick.at));
        canvas.text(&tick.label, place, TICK_SIZE, TEXT, Anchor::Right)?;
    }
    Ok(())
}

/// Draws the curves; false when none of their points lies inside the frame.
fn draw_series(canvas: &Canvas, chart: &Chart, frame: &Frame, x_axis: &Axis, y_axis: &Axis) -> Result<bool> {
    let mut drawn = false;
    for layer in [Style::Line, Style::Dotted, Style::Points] {
        for series in chart.series.iter().filter(|s| s.style == layer) {
            let (color, width) = (series.color, series.width);
            if layer == Style::Points {
                for dot in frame.dots(&series.points, x_axis, y_axis) {
                    canvas.dot(dot, width, color)?;
                    drawn = true;
                }
                continue;
            }
            for piece in frame.pieces(&series.points, x_axis, y_axis) {
                match piece.as_slice() {
                    // A line of one point would not be visible.
                    &[point] => canvas.dot(point, width.max(5.0), color)?,
                    piece if layer == Style::Dotted => canvas.dotted(piece, color, width)?,
                    piece => canvas.line(piece, color, width)?,
                }
                drawn = true;
            }
        }
    }
    Ok(drawn)
}

fn draw_border(canvas: &Canvas, frame: &Frame) -> Result<()> {
    let (left, top, right, bottom) = (frame.left, frame.top, frame.right, frame.bottom);
    let around = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
    canvas.line(&around, BORDER, 1.0)
}

fn draw_labels(canvas: &Canvas, chart: &Chart, frame: &Frame, full: (f64, f64)) -> Result<()> {
    let middle = frame.x(0.5);
    let (room_x, room_y) = (full.0 - 2.0 * MARGIN, full.1 - 2.0 * MARGIN);

    // Long titles and labels move off the plot's middle to stay in the figure.
    let size = fitting_size(&chart.title, TITLE_SIZE, room_x);
    let reach = MARGIN + text_width(&chart.title, size) / 2.0;
    let place = (middle.min(full.0 - reach).max(reach), MARGIN);
    canvas.text(&chart.title, place, size, TEXT, Anchor::Top)?;

    let size = fitting_size(&chart.x_label, LABEL_SIZE, frame.width());
    let place = (middle, frame.bottom + TICK_GAP + TICK_SIZE + 8.0);
    canvas.text(&chart.x_label, place, size, TEXT, Anchor::Top)?;

    let size = fitting_size(&chart.y_label, LABEL_SIZE, room_y);
    let reach = MARGIN + text_width(&chart.y_label, size) / 2.0;
    let place = (MARGIN, frame.y(0.5).min(full.1 - reach).max(reach));
    canvas.text(&chart.y_label, place, size, TEXT, Anchor::Upwards)
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
