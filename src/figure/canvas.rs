//! Drawing of lines, dots and text into an SVG document.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, DottedPathElement, PathElement, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle};

use super::Color;
use super::frame::Pixel;
use super::raster::{FONT_FAMILIES, printable};
use crate::{Error, Result};

/// Drawing units per pixel. The drawing library has whole coordinates only, and
/// curves need finer ones to look smooth.
const FINE: f64 = 10.0;
/// The library divides the font sizes it is given by this.
const FONT_FACTOR: f64 = 1.24;

/// Which part of a text lies at its place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    /// The middle of the left end.
    Left,
    /// The middle of the right end.
    Right,
    /// The middle of the top.
    Top,
    /// The middle.
    Middle,
    /// The middle of the top of a text that reads upwards.
    Upwards,
}

/// A white page, measured in pixels.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

impl<'a> Canvas<'a> {
    pub fn new(svg: &'a mut String, width: u32, height: u32) -> Result<Self> {
        let fine = |length: u32| length * FINE as u32;
        let backend = SVGBackend::with_string(svg, (fine(width), fine(height)));
        let area = backend.into_drawing_area();
        area.fill(&rgb(Color::WHITE)).map_err(failed)?;
        Ok(Self { area })
    }

    pub fn line(&self, points: &[Pixel], color: Color, width: f64) -> Result<()> {
        let path: Vec<_> = points.iter().map(|&point| fine(point)).collect();
        let style = rgb(color).stroke_width(fine_length(width));
        self.area.draw(&PathElement::new(path, style)).map_err(failed)
    }

    pub fn dotted(&self, points: &[Pixel], color: Color, width: f64) -> Result<()> {
        let path: Vec<_> = points.iter().map(|&point| fine(point)).collect();
        let (radius, style) = dot_shape(width, color);
        let spacing = fine_length(width * 2.1) as i32;
        let dots = DottedPathElement::new(path, 0, spacing, move |place| Circle::new(place, radius, style));
        self.area.draw(&dots).map_err(failed)
    }

    pub fn dot(&self, place: Pixel, width: f64, color: Color) -> Result<()> {
        let (radius, style) = dot_shape(width, color);
        let dot = Circle::new(fine(place), radius, style);
        self.area.draw(&dot).map_err(failed)
    }

    pub fn text(&self, text: &str, place: Pixel, size: f64, color: Color, anchor: Anchor) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let (horizontal, vertical) = match anchor {
            Anchor::Left => (HPos::Left, VPos::Center),
            Anchor::Right => (HPos::Right, VPos::Center),
            Anchor::Top | Anchor::Upwards => (HPos::Center, VPos::Top),
            Anchor::Middle => (HPos::Center, VPos::Center),
        };
        let transform = match anchor {
            Anchor::Upwards => FontTransform::Rotate270,
            _ => FontTransform::None,
        };
        let font = (FONT_FAMILIES, size * FINE * FONT_FACTOR).into_font();
        let color = rgb(color);
        let style = TextStyle::from(font.transform(transform)).color(&color).pos(Pos::new(horizontal, vertical));
        let text = Text::new(printable(text), fine(place), style);
        self.area.draw(&text).map_err(failed)
    }

    /// Completes the document.
    pub fn finish(self) -> Result<()> {
        self.area.present().map_err(failed)
    }
}

/// Gives a finished document its size in pixels, and its lines round corners.
pub(super) fn with_pixel_size(svg: &str, width: u32, height: u32) -> String {
    let fine = |length: u32| length * FINE as u32;
    svg.replacen(
        &format!(r#"<svg width="{}" height="{}""#, fine(width), fine(height)),
        &format!(r#"<svg width="{width}" height="{height}" stroke-linejoin="round""#),
        1,
    )
}

fn dot_shape(width: f64, color: Color) -> (u32, ShapeStyle) {
    (fine_length(width / 2.0), rgb(color).filled())
}

fn rgb(color: Color) -> RGBColor {
    RGBColor(color.red, color.green, color.blue)
}

fn fine((x, y): Pixel) -> (i32, i32) {
    ((x * FINE).round() as i32, (y * FINE).round() as i32)
}

fn fine_length(length: f64) -> u32 {
    (length * FINE).round().max(1.0) as u32
}

fn failed(error: DrawingAreaErrorKind<std::io::Error>) -> Error {
    Error::Usage(format!("the figure could not be drawn: {error}"))
}
