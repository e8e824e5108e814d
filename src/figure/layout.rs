//! What charts and heat maps have in common: where the plot lies, and what is
//! around it.

use super::Color;
use super::axis::{Axis, Tick};
use super::bar::Bar;
use super::canvas::{Anchor, Canvas};
use super::frame::{Frame, Pixel};
use super::raster::{fitting_size, text_width};
use crate::{Error, Result};

pub(super) const TITLE_SIZE: f64 = 18.0;
pub(super) const LABEL_SIZE: f64 = 16.0;
pub(super) const TICK_SIZE: f64 = 14.0;

/// Empty border of the whole figure.
pub(super) const MARGIN: f64 = 14.0;
/// Between the plot and its tick labels.
pub(super) const TICK_GAP: f64 = 8.0;
/// Between the plot and its colour bar.
const BAR_GAP: f64 = 16.0;
/// Least width and height of the plot itself.
const LEAST_PLOT: f64 = 60.0;

pub(super) const TEXT: Color = Color::rgb(34, 34, 34);
const FAINT_TEXT: Color = Color::rgb(120, 120, 120);
pub(super) const BORDER: Color = Color::rgb(110, 110, 110);
const GRID: Color = Color::rgb(214, 214, 214);
const MINOR_GRID: Color = Color::rgb(239, 239, 239);
const ZERO_LINE: Color = Color::rgb(150, 150, 150);

/// The ticks and grid lines of one axis.
pub(super) struct Grid {
    pub ticks: Vec<Tick>,
    minor: Vec<f64>,
}

impl Grid {
    fn new(axis: &Axis, wanted: usize) -> Self {
        Self { ticks: axis.ticks(wanted), minor: axis.minor(wanted) }
    }

    /// Grid of a vertical axis `length` pixels long.
    pub fn vertical(axis: &Axis, length: f64) -> Self {
        // Skipped decades make a logarithmic axis hard to read, so they go last.
        let spacing = if axis.is_linear() { 50.0 } else { 30.0 };
        let most = if axis.is_linear() { 8.0 } else { 14.0 };
        let mut wanted = (length / spacing).clamp(2.0, most) as usize;
        loop {
            let grid = Self::new(axis, wanted);
            if wanted == 2 || grid.least_distance() * length >= TICK_SIZE * 1.2 {
                return grid;
            }
            wanted -= 1;
        }
    }

    /// Grid of a horizontal axis `length` pixels long: as many ticks as their
    /// labels leave room for.
    fn horizontal(axis: &Axis, length: f64) -> Self {
        let mut wanted = (length / 60.0).clamp(2.0, if axis.is_linear() { 7.0 } else { 12.0 }) as usize;
        loop {
            let grid = Self::new(axis, wanted);
            if wanted == 2 || grid.least_distance() * length >= grid.widest() + TICK_SIZE {
                return grid;
            }
            wanted -= 1;
        }
    }

    pub fn widest(&self) -> f64 {
        let width = |tick: &Tick| text_width(&tick.label, TICK_SIZE);
        self.ticks.iter().map(width).fold(0.0, f64::max)
    }

    /// Least distance of neighbouring ticks, as a fraction of the axis.
    fn least_distance(&self) -> f64 {
        let distance = |pair: &[Tick]| pair[1].at - pair[0].at;
        self.ticks.windows(2).map(distance).fold(1.0, f64::min)
    }
}

/// The texts around a plot.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    pub title: &'a str,
    pub x_label: &'a str,
    pub y_label: &'a str,
}

/// The places of a plot and of what is around it.
pub(super) struct Layout<'a> {
    texts: Texts<'a>,
    /// Width and height of the whole.
    size: Pixel,
    pub frame: Frame,
    x_grid: Grid,
    y_grid: Grid,
    bar: Option<Bar<'a>>,
}

impl<'a> Layout<'a> {
    /// The layout of a picture of this `size`, with `below` pixels kept free
    /// under the plot's label.
    pub fn new(
        size: Pixel,
        texts: Texts<'a>,
        x_axis: &Axis,
        y_axis: &Axis,
        bar: Option<Bar<'a>>,
        below: f64,
    ) -> Result<Self> {
        let below = TICK_GAP + TICK_SIZE + line_height(texts.x_label, LABEL_SIZE) + below + MARGIN;
        let mut frame = Frame {
            left: MARGIN + line_height(texts.y_label, LABEL_SIZE) + TICK_GAP,
            top: MARGIN + line_height(texts.title, TITLE_SIZE),
            right: size.0 - MARGIN,
            bottom: size.1 - below,
        };
        if let Some(bar) = &bar {
            frame.right -= BAR_GAP + bar.width(frame.height());
        }
        let y_grid = Grid::vertical(y_axis, frame.height());
        frame.left += y_grid.widest();
        // The last tick label may reach past the plot by half its width.
        let x_grid = Grid::horizontal(x_axis, frame.width());
        if bar.is_none() {
            frame.right -= (x_grid.widest() / 2.0 - MARGIN / 2.0).max(0.0);
        }
        if frame.width() < LEAST_PLOT || frame.height() < LEAST_PLOT {
            let (width, height) = size;
            return Err(Error::Usage(format!(
                "a figure of {width:.0} by {height:.0} pixels leaves no room for its plot"
            )));
        }
        Ok(Self { texts, size, frame, x_grid, y_grid, bar })
    }

    pub fn draw_grid(&self, canvas: &Canvas) -> Result<()> {
        for &at in &self.x_grid.minor {
            canvas.line(&self.upright(at), MINOR_GRID, 1.0)?;
        }
        for &at in &self.y_grid.minor {
            canvas.line(&self.level(at), MINOR_GRID, 1.0)?;
        }
        for tick in &self.x_grid.ticks {
            canvas.line(&self.upright(tick.at), GRID, 1.0)?;
        }
        for tick in &self.y_grid.ticks {
            canvas.line(&self.level(tick.at), GRID, 1.0)?;
        }
        Ok(())
    }

    /// Draws short lines outside the plot at the ticks, for plots that cover
    /// their grid.
    pub fn draw_tick_lines(&self, canvas: &Canvas) -> Result<()> {
        for tick in &self.x_grid.ticks {
            let (x, bottom) = (self.frame.x(tick.at), self.frame.bottom);
            canvas.line(&[(x, bottom), (x, bottom + TICK_GAP / 2.0)], BORDER, 1.0)?;
        }
        for tick in &self.y_grid.ticks {
            let (left, y) = (self.frame.left, self.frame.y(tick.at));
            canvas.line(&[(left - TICK_GAP / 2.0, y), (left, y)], BORDER, 1.0)?;
        }
        Ok(())
    }

    /// Draws the lines of zero at these places of the two axes.
    pub fn draw_zero(&self, canvas: &Canvas, x_at: Option<f64>, y_at: Option<f64>) -> Result<()> {
        if let Some(at) = x_at {
            canvas.line(&self.upright(at), ZERO_LINE, 1.2)?;
        }
        if let Some(at) = y_at {
            canvas.line(&self.level(at), ZERO_LINE, 1.2)?;
        }
        Ok(())
    }

    /// Draws what lies around the plot: border, tick labels, texts, colour bar.
    pub fn draw_surroundings(&self, canvas: &Canvas) -> Result<()> {
        draw_border(canvas, &self.frame)?;
        for tick in &self.x_grid.ticks {
            let place = (self.frame.x(tick.at), self.frame.bottom + TICK_GAP);
            canvas.text(&tick.label, place, TICK_SIZE, TEXT, Anchor::Top)?;
        }
        for tick in &self.y_grid.ticks {
            let place = (self.frame.left - TICK_GAP, self.frame.y(tick.at));
            canvas.text(&tick.label, place, TICK_SIZE, TEXT, Anchor::Right)?;
        }
        if let Some(bar) = &self.bar {
            bar.draw(canvas, self.frame.right + BAR_GAP, &self.frame)?;
        }
        self.draw_texts(canvas)
    }

    /// Says in the middle of the plot that there is nothing to show.
    pub fn draw_no_data(&self, canvas: &Canvas) -> Result<()> {
        let middle = (self.frame.x(0.5), self.frame.y(0.5));
        canvas.text("no data", middle, LABEL_SIZE, FAINT_TEXT, Anchor::Middle)
    }

    fn draw_texts(&self, canvas: &Canvas) -> Result<()> {
        let (frame, texts, full) = (&self.frame, self.texts, self.size);
        let middle = frame.x(0.5);
        let (room_x, room_y) = (full.0 - 2.0 * MARGIN, full.1 - 2.0 * MARGIN);

        // Long titles and labels move off the plot's middle to stay in the figure.
        let size = fitting_size(texts.title, TITLE_SIZE, room_x);
        let reach = MARGIN + text_width(texts.title, size) / 2.0;
        let place = (middle.min(full.0 - reach).max(reach), MARGIN);
        canvas.text(texts.title, place, size, TEXT, Anchor::Top)?;

        let size = fitting_size(texts.x_label, LABEL_SIZE, frame.width());
        let place = (middle, frame.bottom + TICK_GAP + TICK_SIZE + 8.0);
        canvas.text(texts.x_label, place, size, TEXT, Anchor::Top)?;

        let size = fitting_size(texts.y_label, LABEL_SIZE, room_y);
        let reach = MARGIN + text_width(texts.y_label, size) / 2.0;
        let place = (MARGIN, frame.y(0.5).min(full.1 - reach).max(reach));
        canvas.text(texts.y_label, place, size, TEXT, Anchor::Upwards)
    }

    /// The line across the plot at a place of the horizontal axis.
    pub fn upright(&self, at: f64) -> [Pixel; 2] {
        [(self.frame.x(at), self.frame.top), (self.frame.x(at), self.frame.bottom)]
    }

    fn level(&self, at: f64) -> [Pixel; 2] {
        [(self.frame.left, self.frame.y(at)), (self.frame.right, self.frame.y(at))]
    }
}

/// Height of a line of text with the space around it; nothing for no text.
pub(super) fn line_height(text: &str, size: f64) -> f64 {
    if text.is_empty() { 0.0 } else { size * 1.2 + 8.0 }
}

pub(super) fn draw_border(canvas: &Canvas, frame: &Frame) -> Result<()> {
    let (left, top, right, bottom) = (frame.left, frame.top, frame.right, frame.bottom);
    let around = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
    canvas.line(&around, BORDER, 1.0)
}
