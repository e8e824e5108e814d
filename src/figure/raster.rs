//! The embedded font, text measurement, and SVG to PNG.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb::Database};

use crate::{Error, Result};

/// Font families named in the SVG. The first is the embedded font; the others
/// are for viewers of the SVG that lack it.
pub(super) const FONT_FAMILIES: &str = "DejaVu Sans, Verdana, sans-serif";

const EMBEDDED_FAMILY: &str = "DejaVu Sans";
const FONT: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/fonts/DejaVuSans-subset.ttf"));

/// Most pixels in a PNG; four bytes each are held in memory.
const MOST_PIXELS: f64 = 1e8;

/// Only the embedded font, never the system's, so that output does not depend
/// on what is installed.
static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_data(FONT.to_vec());
    fonts.set_serif_family(EMBEDDED_FAMILY);
    fonts.set_sans_serif_family(EMBEDDED_FAMILY);
    fonts.set_monospace_family(EMBEDDED_FAMILY);
    Arc::new(fonts)
});

/// Paints an SVG document, enlarged by `scale`, and returns it as a PNG file.
///
/// All text is set in the embedded font, and the same document always gives the
/// same bytes. Fails for text that is not SVG and for impossible sizes.
pub fn svg_to_png(svg: &str, scale: f32) -> Result<Vec<u8>> {
    let tree = parse(svg)?;
    let pixels = |length: f32| (f64::from(length) * f64::from(scale)).round();
    let (width, height) = (pixels(tree.size().width()), pixels(tree.size().height()));
    // Written so that a scale that is not a number fails too.
    if !(width >= 1.0 && height >= 1.0 && width * height <= MOST_PIXELS) {
        return Err(Error::Usage(format!("cannot paint a picture of {width} by {height} pixels")));
    }
    let mut pixmap = Pixmap::new(width as u32, height as u32)
        .ok_or_else(|| Error::Usage(format!("cannot paint a picture of {width} by {height} pixels")))?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|error| Error::Usage(format!("cannot encode the picture as PNG: {error}")))
}

/// Width in pixels of `text` in the embedded font at `size` pixels.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    let escaped = printable(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"><text font-family="{FONT_FAMILIES}" font-size="{size}">{escaped}</text></svg>"#
    );
    // A text that cannot be measured takes no room; drawing it reports why.
    parse(&svg).map_or(0.0, |tree| f64::from(tree.root().abs_bounding_box().width()))
}

/// The font size, at most `size`, at which `text` is no longer than `room`.
pub(super) fn fitting_size(text: &str, size: f64, room: f64) -> f64 {
    let width = text_width(text, size);
    if width > room { size * room / width } else { size }
}

/// `text` without the characters that XML has no place for.
pub(super) fn printable(text: &str) -> String {
    let forbidden = |symbol: char| symbol.is_control() || matches!(symbol, '\u{fffe}' | '\u{ffff}');
    text.replace(forbidden, " ")
}

pub(super) fn parse(svg: &str) -> Result<Tree> {
    let options = Options { font_family: EMBEDDED_FAMILY.to_owned(), fontdb: Arc::clone(&FONTS), ..Options::default() };
    Tree::from_str(svg, &options).map_err(|error| Error::Usage(format!("cannot read the SVG: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_takes_room_in_proportion() {
        let width = text_width("λ₁ & <x>", 15.0);
        assert!((30.0..120.0).contains(&width), "{width}");
        let double = text_width("λ₁ & <x>", 30.0);
        assert!((double / width - 2.0).abs() < 0.02, "{width} {double}");
        assert!(text_width("", 15.0) < 1e-6);
    }

    #[test]
    fn embedded_font_has_the_symbols() {
        // A missing symbol is drawn as the same box as any other missing one.
        let picture = |symbol: char| {
            let svg = format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"><text y="30" font-size="30">{symbol}</text></svg>"#
            );
            svg_to_png(&svg, 1.0).unwrap()
        };
        let missing = picture('\u{4e00}');
        for symbol in "Aéλα−|×⁻⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₉ₖ–…≥≤∇ᵀ∞≈σ±→Δθ∈²₂ₙ‖·✓✗".chars()
        {
            assert_ne!(picture(symbol), missing, "{symbol}");
        }
    }

    #[test]
    fn what_cannot_be_painted_is_an_error() {
        let svg = r#"<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"/>"#;
        assert!(svg_to_png(svg, 1.0).is_ok());
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e6] {
            assert!(svg_to_png(svg, scale).is_err(), "{scale}");
        }
        assert!(svg_to_png("not an SVG", 1.0).is_err());
    }
}
