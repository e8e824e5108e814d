//! Colour bars: what the colours of a ramp stand for.

use super::axis::Axis;
use super::canvas::{Anchor, Canvas};
use super::frame::Frame;
use super::layout::{BORDER, Grid, LABEL_SIZE, TEXT, TICK_GAP, TICK_SIZE, draw_border, line_height};
use super::raster::fitting_size;
use super::{Color, Ramp, Scale};
use crate::Result;

const WIDTH: f64 = 16.0;
/// Enough colours for a bar to look smooth.
const STRIPES: u32 = 128;

/// A legend for curves whose colours stand for a quantity, at the right of the
/// plot.
#[derive(Clone, Debug)]
pub struct ColorBar {
    /// The ramp that the colours are from.
    pub ramp: Ramp,
    /// The quantity at the ramp's start.
    pub low: f64,
    /// The quantity at the ramp's end.
    pub high: f64,
    /// What the quantity is; empty for no text.
    pub label: String,
}

/// A bar with its axis, from the lower end to the upper one.
pub(super) struct Bar<'a> {
    axis: Axis,
    ramp: Ramp,
    /// Whether the ramp starts at the upper end.
    reversed: bool,
    label: &'a str,
}

impl<'a> Bar<'a> {
    pub fn new(bar: &'a ColorBar) -> Result<Self> {
        // A bar of a single value, or of none, still needs an axis.
        let axis = Axis::new(Scale::Linear, None, [bar.low, bar.high].into_iter(), 0.0)?;
        Ok(Self { axis, ramp: bar.ramp, reversed: bar.low > bar.high, label: &bar.label })
    }

    /// A bar without text for values on `axis`.
    pub fn of_axis(axis: Axis, ramp: Ramp) -> Self {
        Self { axis, ramp, reversed: false, label: "" }
    }

    /// The colour of a value, if it has a place on the axis.
    pub fn color(&self, value: f64) -> Option<Color> {
        self.axis.place(value).map(|at| self.color_at(at))
    }

    fn color_at(&self, at: f64) -> Color {
        self.ramp.color(if self.reversed { 1.0 - at } else { at })
    }

    /// Width of the bar and its texts beside a plot of this `height`.
    pub fn width(&self, height: f64) -> f64 {
        let ticks = Grid::vertical(&self.axis, height).widest();
        WIDTH + TICK_GAP + ticks + line_height(self.label, LABEL_SIZE)
    }

    /// Draws the bar from `left` to the right, as high as the `plot`.
    pub fn draw(&self, canvas: &Canvas, left: f64, plot: &Frame) -> Result<()> {
        let frame = Frame { left, right: left + WIDTH, ..*plot };
        for stripe in 0..STRIPES {
            let at = |index: u32| f64::from(index) / f64::from(STRIPES);
            let color = self.color_at((at(stripe) + at(stripe + 1)) / 2.0);
            // Stripes run on under the next ones, which leaves no seams.
            canvas.rectangle([(frame.left, frame.top), (frame.right, frame.y(at(stripe)))], color)?;
        }
        draw_border(canvas, &frame)?;
        let grid = Grid::vertical(&self.axis, frame.height());
        for tick in &grid.ticks {
            let (y, right) = (frame.y(tick.at), frame.right);
            canvas.line(&[(right, y), (right + TICK_GAP / 2.0, y)], BORDER, 1.0)?;
            canvas.text(&tick.label, (right + TICK_GAP, y), TICK_SIZE, TEXT, Anchor::Left)?;
        }
        let size = fitting_size(self.label, LABEL_SIZE, frame.height());
        let label_left = frame.right + TICK_GAP + grid.widest() + 8.0;
        canvas.text(self.label, (label_left, frame.y(0.5)), size, TEXT, Anchor::Upwards)
    }
}
