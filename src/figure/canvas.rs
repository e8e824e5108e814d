//! Drawing of lines, dots and text into an SVG document.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, DashedPathElement, DottedPathElement, PathElement, Rectangle, Text};
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
/// Largest width and height of a figure.
const LARGEST: u32 = 20_000;
/// Width of the lines of crosses and rings.
const OUTLINE: f64 = 1.8;

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

/// A white page, measured in pixels, or a part of one.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    /// The page's pixel at which this part begins.
    origin: Pixel,
}

/// Draws a page of `width` by `height` pixels, and gives it as an SVG document.
pub(super) fn page(width: u32, height: u32, draw: impl FnOnce(&Canvas) -> Result<()>) -> Result<String> {
    if width > LARGEST || height > LARGEST {
        return Err(Error::Usage(format!(
            "a figure can be at most {LARGEST} pixels wide and high, not {width} by {height}"
        )));
    }
    let mut svg = String::new();
    let fine = |length: u32| length * FINE as u32;
    let area = SVGBackend::with_string(&mut svg, (fine(width), fine(height))).into_drawing_area();
    area.fill(&rgb(Color::WHITE)).map_err(failed)?;
    let canvas = Canvas { area, origin: (0.0, 0.0) };
    draw(&canvas)?;
    canvas.area.present().map_err(failed)?;
    drop(canvas);
    Ok(with_pixel_size(&svg, width, height))
}

impl Canvas<'_> {
    /// The part that begins at `origin`.
    pub fn part(&self, origin: Pixel) -> Self {
        Self { area: self.area.clone(), origin: (self.origin.0 + origin.0, self.origin.1 + origin.1) }
    }

    pub fn line(&self, points: &[Pixel], color: Color, width: f64) -> Result<()> {
        let style = rgb(color).stroke_width(fine_length(width));
        self.area.draw(&PathElement::new(self.path(points), style)).map_err(failed)
    }

    pub fn dashed(&self, points: &[Pixel], color: Color, width: f64) -> Result<()> {
        let style = rgb(color).stroke_width(fine_length(width));
        let (dash, gap) = (fine_length(4.0 + width * 2.0), fine_length(3.0 + width));
        let dashes = DashedPathElement::new(self.path(points), dash as i32, gap as i32, style);
        self.area.draw(&dashes).map_err(failed)
    }

    pub fn dotted(&self, points: &[Pixel], color: Color, width: f64) -> Result<()> {
        let path = self.path(points);
        let (radius, style) = dot_shape(width, color);
        let spacing = fine_length(width * 2.1) as i32;
        let dots = DottedPathElement::new(path, 0, spacing, move |place| Circle::new(place, radius, style));
        self.area.draw(&dots).map_err(failed)
    }

    pub fn dot(&self, place: Pixel, width: f64, color: Color) -> Result<()> {
        let (radius, style) = dot_shape(width, color);
        let dot = Circle::new(self.fine(place), radius, style);
        self.area.draw(&dot).map_err(failed)
    }

    /// A circle that is white inside.
    pub fn ring(&self, place: Pixel, width: f64, color: Color) -> Result<()> {
        self.dot(place, width, Color::WHITE)?;
        let style = rgb(color).stroke_width(fine_length(OUTLINE));
        let ring = Circle::new(self.fine(place), fine_length((width - OUTLINE) / 2.0), style);
        self.area.draw(&ring).map_err(failed)
    }

    /// A diagonal cross.
    pub fn cross(&self, place: Pixel, width: f64, color: Color) -> Result<()> {
        let reach = width / 2.0;
        let corner = |right: f64, down: f64| (place.0 + right * reach, place.1 + down * reach);
        self.line(&[corner(-1.0, -1.0), corner(1.0, 1.0)], color, OUTLINE)?;
        self.line(&[corner(-1.0, 1.0), corner(1.0, -1.0)], color, OUTLINE)
    }

    /// A filled rectangle with these opposite corners.
    pub fn rectangle(&self, corners: [Pixel; 2], color: Color) -> Result<()> {
        let rectangle = Rectangle::new(corners.map(|corner| self.fine(corner)), rgb(color).filled());
        self.area.draw(&rectangle).map_err(failed)
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
        let text = Text::new(printable(text), self.fine(place), style);
        self.area.draw(&text).map_err(failed)
    }

    fn path(&self, points: &[Pixel]) -> Vec<(i32, i32)> {
        points.iter().map(|&point| self.fine(point)).collect()
    }

    fn fine(&self, (x, y): Pixel) -> (i32, i32) {
        let fine = |length: f64| (length * FINE).round() as i32;
        (fine(self.origin.0 + x), fine(self.origin.1 + y))
    }
}

/// Gives a finished document its size in pixels, and its lines round corners.
fn with_pixel_size(svg: &str, width: u32, height: u32) -> String {
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

fn fine_length(length: f64) -> u32 {
    (length * FINE).round().max(1.0) as u32
}

fn failed(error: DrawingAreaErrorKind<std::io::Error>) -> Error {
    Error::Usage(format!("the figure could not be drawn: {error}"))
}
