//! What a figure shows, independent of how it is drawn.

use super::{Color, draw};
use crate::Result;

/// One chart: a title, two axes and the curves.
///
/// Build it with [`Chart::new`] and set the fields that should differ.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Text above the plot; empty for none.
    pub title: String,
    /// Text under the horizontal axis; empty for none.
    pub x_label: String,
    /// Text beside the vertical axis; empty for none.
    pub y_label: String,
    /// Scale of the horizontal axis.
    pub x_scale: Scale,
    /// Scale of the vertical axis.
    pub y_scale: Scale,
    /// Values at the left and right border; chosen from the data when `None`.
    /// Curves are cut off at the borders.
    pub x_range: Option<(f64, f64)>,
    /// Values at the lower and upper border; chosen from the data when `None`.
    /// Curves are cut off at the borders.
    pub y_range: Option<(f64, f64)>,
    /// The curves, each over the ones before it; dotted curves and points lie
    /// over all lines.
    pub series: Vec<Series>,
}

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal distances are equal differences.
    Linear,
    /// Equal distances are equal ratios; only positive values have a place.
    Log10,
}

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A solid line.
    Line,
    /// A dotted line.
    Dotted,
    /// Separate dots, not joined.
    Points,
}

/// One curve.
///
/// A point that has no place on the axes (not finite, too large to place, or
/// not positive on a logarithmic axis) leaves a gap in the curve.
#[derive(Clone, Debug)]
pub struct Series {
    /// Text in the legend; `None` leaves the curve out of it. Curves with the
    /// same label share one entry, which shows all their colours in order.
    pub label: Option<String>,
    /// The points, in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
    /// Colour of the line or dots.
    pub color: Color,
    /// Line, dotted line or separate dots.
    pub style: Style,
    /// Width of the line, or diameter of the dots, in pixels.
    pub width: f64,
}

impl Chart {
    /// An empty chart with linear axes.
    pub fn new(title: impl Into<String>, x_label: impl Into<String>, y_label: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            x_label: x_label.into(),
            y_label: y_label.into(),
            x_scale: Scale::Linear,
            y_scale: Scale::Linear,
            x_range: None,
            y_range: None,
            series: Vec::new(),
        }
    }

    /// The chart as an SVG document of `width` by `height` pixels.
    ///
    /// The same chart always gives the same bytes. Fails when there is no room
    /// for the plot, or when `x_range` or `y_range` is not a range of its axis.
    pub fn to_svg(&self, width: u32, height: u32) -> Result<String> {
        draw::svg(self, width, height)
    }
}

impl Series {
    /// A solid line without a legend entry.
    pub fn line(points: Vec<(f64, f64)>, color: Color) -> Self {
        Self { label: None, points, color, style: Style::Line, width: 1.6 }
    }

    /// A dotted line without a legend entry.
    pub fn dotted(points: Vec<(f64, f64)>, color: Color) -> Self {
        Self { style: Style::Dotted, width: 2.8, ..Self::line(points, color) }
    }

    /// Separate dots without a legend entry.
    pub fn points(points: Vec<(f64, f64)>, color: Color) -> Self {
        Self { style: Style::Points, width: 6.0, ..Self::line(points, color) }
    }

    /// The same curve with this text in the legend.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The same curve with this line width or dot diameter, in pixels.
    pub fn width(mut self, width: f64) -> Self {
        self.width = width;
        self
    }
}
