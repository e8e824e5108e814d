//! What a figure shows, independent of how it is drawn.

use super::canvas::page;
use super::{Color, ColorBar, Scale, draw};
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
    /// The curves, each over the ones before it; dashed and dotted curves and
    /// points lie over all lines.
    pub series: Vec<Series>,
    /// Lines that guide the eye, under the curves.
    pub marks: Vec<Mark>,
    /// What the colours of the curves stand for, at the right of the plot.
    pub color_bar: Option<ColorBar>,
}

/// A line across the plot that is no data.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// A line from the lower to the upper border. An axis without a given range
    /// reaches to `x`.
    VerticalLine {
        /// Where it is on the horizontal axis.
        x: f64,
        /// Its colour.
        color: Color,
        /// Text in the legend; `None` leaves the line out of it.
        label: Option<String>,
    },
    /// A dashed line where both coordinates are equal, on whatever scales.
    Diagonal {
        /// Its colour.
        color: Color,
        /// Text in the legend; `None` leaves the line out of it.
        label: Option<String>,
    },
}

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A solid line.
    Line,
    /// A dotted line.
    Dotted,
    /// A dashed line.
    Dashed,
    /// Separate dots, not joined.
    Points,
    /// Separate diagonal crosses.
    Crosses,
    /// Separate circles, white inside.
    Hollow,
}

impl Style {
    /// Whether the points are joined.
    pub(super) fn is_joined(self) -> bool {
        matches!(self, Self::Line | Self::Dotted | Self::Dashed)
    }
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
    /// Colour of the line or points.
    pub color: Color,
    /// How the points are drawn.
    pub style: Style,
    /// Width of the line, or diameter of the points, in pixels.
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
            marks: Vec::new(),
            color_bar: None,
        }
    }

    /// The chart as an SVG document of `width` by `height` pixels.
    ///
    /// The same chart always gives the same bytes. Fails when there is no room
    /// for the plot, or when `x_range` or `y_range` is not a range of its axis.
    pub fn to_svg(&self, width: u32, height: u32) -> Result<String> {
        page(width, height, |canvas| draw::chart(canvas, self, (f64::from(width), f64::from(height))))
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

    /// A dashed line without a legend entry.
    pub fn dashed(points: Vec<(f64, f64)>, color: Color) -> Self {
        Self { style: Style::Dashed, ..Self::line(points, color) }
    }

    /// Separate diagonal crosses without a legend entry.
    pub fn crosses(points: Vec<(f64, f64)>, color: Color) -> Self {
        Self { style: Style::Crosses, width: 8.0, ..Self::line(points, color) }
    }

    /// Separate circles, white inside, without a legend entry.
    pub fn hollow(points: Vec<(f64, f64)>, color: Color) -> Self {
        Self { style: Style::Hollow, width: 8.0, ..Self::line(points, color) }
    }

    /// The same curve with this text in the legend.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The same curve with this line width or point diameter, in pixels.
    pub fn width(mut self, width: f64) -> Self {
        self.width = width;
        self
    }
}
