//! Portraits of eigenvectors: their filters as small pictures.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};

use super::{Color, Ramp};
use crate::{Error, Result};

/// Filters in a row.
const ROW: usize = 8;
/// Side in pixels of the square that one weight becomes.
const WEIGHT: usize = 10;
/// White between filters, with a thin frame in it.
const FILTER_GAP: usize = 8;
/// White between the banks of a column.
const BANK_GAP: usize = 26;
/// White between the columns.
const COLUMN_GAP: usize = 48;
/// White around everything.
const MARGIN: usize = 10;
/// Most pixels in a portrait.
const MOST_PIXELS: usize = 100_000_000;

/// Around each filter, so that one of nearly zero weights still shows.
const FRAME: Color = Color::rgb(190, 190, 190);
/// A weight that is no number.
const HOLE: Color = Color::rgb(150, 150, 150);

/// The filters of one vector, such as an eigenvector's part of a convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterBank {
    /// Rows of a filter.
    pub height: usize,
    /// Columns of a filter.
    pub width: usize,
    /// The filters, each `height` rows of `width` weights.
    pub filters: Vec<Vec<f64>>,
}

impl FilterBank {
    /// Width and height of the picture, in pixels.
    fn size(&self) -> (usize, usize) {
        let columns = self.filters.len().min(ROW);
        let rows = self.filters.len().div_ceil(ROW);
        let length = |count: usize, weights: usize| count * (weights * WEIGHT + FILTER_GAP) - FILTER_GAP;
        (length(columns, self.width), length(rows, self.height))
    }

    fn check(&self) -> Result<()> {
        let wanted = self.height.checked_mul(self.width).unwrap_or(0);
        if self.filters.is_empty() || wanted == 0 {
            return Err(Error::Usage("a portrait needs at least one filter, of at least one weight".into()));
        }
        match self.filters.iter().find(|filter| filter.len() != wanted) {
            None => Ok(()),
            Some(odd) => Err(Error::Usage(format!(
                "a filter of {} by {} weights cannot have {} of them",
                self.height,
                self.width,
                odd.len()
            ))),
        }
    }

    /// Paints the filters, from the pixel `left`, `top` to the right and downwards.
    fn paint(&self, picture: &mut RgbImage, left: usize, top: usize, ramp: Ramp) {
        let weights = || self.filters.iter().flatten().filter(|weight| weight.is_finite());
        let largest = weights().fold(0.0, |largest: f64, weight| largest.max(weight.abs()));
        for (index, filter) in self.filters.iter().enumerate() {
            let (width, height) = (self.width * WEIGHT, self.height * WEIGHT);
            let x = left + index % ROW * (width + FILTER_GAP);
            let y = top + index / ROW * (height + FILTER_GAP);
            fill(picture, (x - 1, y - 1), (width + 2, height + 2), FRAME);
            for (place, &weight) in filter.iter().enumerate() {
                let color = if weight.is_finite() { ramp.color(middle_is_zero(weight, largest)) } else { HOLE };
                let corner = (x + place % self.width * WEIGHT, y + place / self.width * WEIGHT);
                fill(picture, corner, (WEIGHT, WEIGHT), color);
            }
        }
    }
}

/// The filters of eigenvectors as a PNG file: the banks of the positive end one
/// under the other in the `left` column, those of the negative end in the
/// `right` one, beginning at the same heights.
///
/// A bank's filters stand eight in a row. Each bank has its own scale, from minus
/// its largest magnitude at the ramp's start to plus that at its end, with zero
/// in the middle. The same banks always give the same bytes. Fails for no banks
/// at all, and for banks without filters or with filters of other sizes than
/// they say.
pub fn portrait_png(left: &[FilterBank], right: &[FilterBank], ramp: Ramp) -> Result<Vec<u8>> {
    left.iter().chain(right).try_for_each(FilterBank::check)?;
    if left.is_empty() && right.is_empty() {
        return Err(Error::Usage("a portrait needs at least one bank of filters".into()));
    }
    let widest = |banks: &[FilterBank]| banks.iter().map(|bank| bank.size().0).max();
    let right_column = MARGIN + widest(left).map_or(0, |width| width + COLUMN_GAP);
    let width = match widest(right) {
        Some(width) => right_column + width + MARGIN,
        None => right_column - COLUMN_GAP + MARGIN,
    };
    let mut tops = Vec::new();
    let mut bottom = MARGIN;
    for index in 0..left.len().max(right.len()) {
        let height = |bank: Option<&FilterBank>| bank.map_or(0, |bank| bank.size().1);
        let top = if index == 0 { bottom } else { bottom + BANK_GAP };
        tops.push(top);
        bottom = top + height(left.get(index)).max(height(right.get(index)));
    }
    let height = bottom + MARGIN;
    if width.saturating_mul(height) > MOST_PIXELS {
        return Err(Error::Usage(format!("cannot paint a portrait of {width} by {height} pixels")));
    }

    let mut picture = RgbImage::from_pixel(width as u32, height as u32, rgb(Color::WHITE));
    for (column, banks) in [(MARGIN, left), (right_column, right)] {
        for (bank, &top) in banks.iter().zip(&tops) {
            bank.paint(&mut picture, column, top, ramp);
        }
    }
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(picture.as_raw(), picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .map_err(|error| Error::Usage(format!("cannot encode the portrait as PNG: {error}")))?;
    Ok(png)
}

/// Where `weight` is between -`largest` at 0 and `largest` at 1.
fn middle_is_zero(weight: f64, largest: f64) -> f64 {
    if largest > 0.0 { 0.5 + 0.5 * (weight / largest) } else { 0.5 }
}

fn fill(picture: &mut RgbImage, corner: (usize, usize), size: (usize, usize), color: Color) {
    for y in corner.1..corner.1 + size.1 {
        for x in corner.0..corner.0 + size.0 {
            picture.put_pixel(x as u32, y as u32, rgb(color));
        }
    }
}

fn rgb(color: Color) -> Rgb<u8> {
    Rgb([color.red, color.green, color.blue])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bank(height: usize, width: usize, filters: &[&[f64]]) -> FilterBank {
        FilterBank { height, width, filters: filters.iter().map(|filter| filter.to_vec()).collect() }
    }

    fn painted(left: &[FilterBank], right: &[FilterBank]) -> RgbImage {
        let png = portrait_png(left, right, Ramp::Diverging).unwrap();
        image::load_from_memory(&png).unwrap().into_rgb8()
    }

    /// The colour in the middle of a weight, from the bank's corner.
    fn weight_at(picture: &RgbImage, corner: (usize, usize), row: usize, column: usize) -> Rgb<u8> {
        let middle = |start: usize, index: usize| (start + index * WEIGHT + WEIGHT / 2) as u32;
        *picture.get_pixel(middle(corner.0, column), middle(corner.1, row))
    }

    #[test]
    fn weights_are_rows_of_squares_about_zero() {
        let one = bank(2, 3, &[&[-4.0, 0.0, 4.0, 2.0, -2.0, f64::NAN]]);
        let picture = painted(std::slice::from_ref(&one), &[]);
        assert_eq!(picture.dimensions(), (30 + 2 * MARGIN as u32, 20 + 2 * MARGIN as u32));
        let corner = (MARGIN, MARGIN);
        let expected = [[0.0, 0.5, 1.0], [0.75, 0.25, f64::NAN]];
        for (row, fractions) in expected.iter().enumerate() {
            for (column, &fraction) in fractions.iter().enumerate() {
                let color = if fraction.is_nan() { HOLE } else { Ramp::Diverging.color(fraction) };
                assert_eq!(weight_at(&picture, corner, row, column), rgb(color), "{row} {column}");
            }
        }
        // Squares are crisp: their corner has their colour.
        assert_eq!(*picture.get_pixel(MARGIN as u32, MARGIN as u32), rgb(Ramp::Diverging.color(0.0)));
        assert_eq!(*picture.get_pixel(0, 0), rgb(Color::WHITE));
    }

    #[test]
    fn banks_have_their_own_scales_and_stand_side_by_side() {
        let strong = bank(1, 1, &[&[1000.0]]);
        let weak = bank(1, 1, &[&[-1e-9]]);
        let picture = painted(&[strong.clone(), weak.clone()], &[weak, strong]);
        let right = MARGIN + WEIGHT + COLUMN_GAP;
        let lower = MARGIN + WEIGHT + BANK_GAP;
        let [blue, red] = [0.0, 1.0].map(|fraction| rgb(Ramp::Diverging.color(fraction)));
        assert_eq!(weight_at(&picture, (MARGIN, MARGIN), 0, 0), red);
        assert_eq!(weight_at(&picture, (right, MARGIN), 0, 0), blue);
        assert_eq!(weight_at(&picture, (MARGIN, lower), 0, 0), blue);
        assert_eq!(weight_at(&picture, (right, lower), 0, 0), red);
        assert_eq!(picture.dimensions(), ((right + WEIGHT + MARGIN) as u32, (lower + WEIGHT + MARGIN) as u32));
    }

    #[test]
    fn a_ninth_filter_begins_a_row() {
        let mut filters = vec![vec![0.0]; 8];
        filters.push(vec![1.0]);
        let picture = painted(&[], &[FilterBank { height: 1, width: 1, filters }]);
        let corner = (MARGIN, MARGIN + WEIGHT + FILTER_GAP);
        assert_eq!(weight_at(&picture, corner, 0, 0), rgb(Ramp::Diverging.color(1.0)));
        assert_eq!(picture.dimensions().0 as usize, 2 * MARGIN + 8 * (WEIGHT + FILTER_GAP) - FILTER_GAP);
    }

    #[test]
    fn zeros_are_the_middle_and_same_banks_give_same_bytes() {
        let zeros = bank(1, 2, &[&[0.0, -0.0]]);
        let picture = painted(std::slice::from_ref(&zeros), &[]);
        assert_eq!(weight_at(&picture, (MARGIN, MARGIN), 0, 1), rgb(Ramp::Diverging.color(0.5)));
        let png = || portrait_png(std::slice::from_ref(&zeros), &[], Ramp::Sequential).unwrap();
        assert_eq!(png(), png());
    }

    #[test]
    fn impossible_banks_are_usage_errors() {
        let wide = bank(1, 30_000, &[&[1.0; 30_000]]);
        for wrong in [
            bank(1, 1, &[]),
            bank(0, 5, &[&[]]),
            bank(2, 2, &[&[1.0, 2.0, 3.0, 4.0], &[1.0]]),
            bank(usize::MAX, 2, &[&[1.0]]),
            // Together with the wide one, too large a picture.
            FilterBank { height: 30_000, width: 1, filters: vec![vec![0.0; 30_000]] },
        ] {
            let portrait = portrait_png(&[wide.clone(), wrong], &[], Ramp::Diverging);
            assert!(matches!(portrait, Err(Error::Usage(_))));
        }
        assert!(matches!(portrait_png(&[], &[], Ramp::Diverging), Err(Error::Usage(_))));
    }
}
