//! Colour ramps, for curves that belong to a quantity and for heat maps.

use super::Color;

/// A row of colours that stands for a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ramp {
    /// Dark blue at the start to green at the end.
    BlueGreen,
    /// Dark red at the start, over orange, to amber at the end.
    RedYellow,
    /// Blue below the middle, nearly white in the middle, red above it.
    Diverging,
    /// Light to dark, in steps that look equal.
    Sequential,
}

/// Also the ramp of the largest positive eigenvalues.
pub(super) const BLUE_GREEN: [Color; 4] =
    [Color::rgb(8, 48, 120), Color::rgb(24, 110, 190), Color::rgb(20, 160, 150), Color::rgb(104, 190, 84)];

/// The end is as light as yellow can be and still show on white.
const RED_YELLOW: [Color; 4] =
    [Color::rgb(122, 4, 40), Color::rgb(206, 32, 32), Color::rgb(236, 120, 20), Color::rgb(228, 182, 0)];

/// Cynthia Brewer's RdBu, blue first.
const DIVERGING: [Color; 11] = [
    Color::rgb(5, 48, 97),
    Color::rgb(33, 102, 172),
    Color::rgb(67, 147, 195),
    Color::rgb(146, 197, 222),
    Color::rgb(209, 229, 240),
    Color::rgb(247, 247, 247),
    Color::rgb(253, 219, 199),
    Color::rgb(244, 165, 130),
    Color::rgb(214, 96, 77),
    Color::rgb(178, 24, 43),
    Color::rgb(103, 0, 31),
];

/// Van der Walt and Smith's viridis, light first.
const SEQUENTIAL: [Color; 11] = [
    Color::rgb(253, 231, 37),
    Color::rgb(189, 223, 38),
    Color::rgb(122, 209, 81),
    Color::rgb(68, 191, 112),
    Color::rgb(34, 168, 132),
    Color::rgb(33, 145, 140),
    Color::rgb(42, 120, 142),
    Color::rgb(53, 95, 141),
    Color::rgb(65, 68, 135),
    Color::rgb(72, 36, 117),
    Color::rgb(68, 1, 84),
];

impl Ramp {
    /// The colour at `fraction`, 0 at the start and 1 at the end. What lies
    /// outside takes the colour of the nearest end, and NaN that of the start.
    pub fn color(self, fraction: f64) -> Color {
        let stops: &[Color] = match self {
            Self::BlueGreen => &BLUE_GREEN,
            Self::RedYellow => &RED_YELLOW,
            Self::Diverging => &DIVERGING,
            Self::Sequential => &SEQUENTIAL,
        };
        mixed(stops, fraction)
    }
}

/// The colour at `fraction` between the first and the last of at least two stops.
pub(super) fn mixed(stops: &[Color], fraction: f64) -> Color {
    let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
    let position = fraction * (stops.len() - 1) as f64;
    let before = (position as usize).min(stops.len() - 2);
    let weight = position - before as f64;
    let mix = |a: u8, b: u8| (f64::from(a) * (1.0 - weight) + f64::from(b) * weight).round() as u8;
    let (a, b) = (stops[before], stops[before + 1]);
    Color::rgb(mix(a.red, b.red), mix(a.green, b.green), mix(a.blue, b.blue))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Ramp; 4] = [Ramp::BlueGreen, Ramp::RedYellow, Ramp::Diverging, Ramp::Sequential];

    /// The lightness L* of CIELAB, 0 for black and 100 for white.
    fn lightness(color: Color) -> f64 {
        let light = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        let y = 0.2126 * light(color.red) + 0.7152 * light(color.green) + 0.0722 * light(color.blue);
        116.0 * y.cbrt() - 16.0
    }

    #[test]
    fn fractions_outside_take_the_nearest_end() {
        for ramp in ALL {
            assert_eq!(ramp.color(-3.0), ramp.color(0.0));
            assert_eq!(ramp.color(f64::NEG_INFINITY), ramp.color(0.0));
            assert_eq!(ramp.color(f64::NAN), ramp.color(0.0));
            assert_eq!(ramp.color(7.0), ramp.color(1.0));
            assert_eq!(ramp.color(f64::INFINITY), ramp.color(1.0));
        }
    }

    #[test]
    fn ramps_have_their_hues() {
        let (early, late) = (Ramp::BlueGreen.color(0.0), Ramp::BlueGreen.color(1.0));
        assert!(early.blue > early.green && early.blue > early.red && late.green > late.blue);
        let (early, late) = (Ramp::RedYellow.color(0.0), Ramp::RedYellow.color(1.0));
        assert!(early.red > 2 * early.green && late.green > 150 && late.blue < 50);
        let (negative, positive) = (Ramp::Diverging.color(0.1), Ramp::Diverging.color(0.9));
        assert!(negative.blue > negative.red && positive.red > positive.blue);
    }

    #[test]
    fn everything_but_the_middle_of_the_diverging_ramp_shows_on_white() {
        for ramp in [Ramp::BlueGreen, Ramp::RedYellow] {
            for index in 0..=100 {
                assert!(lightness(ramp.color(f64::from(index) / 100.0)) < 77.0, "{ramp:?} {index}");
            }
        }
        assert!(lightness(Ramp::Diverging.color(0.5)) > 96.0);
    }

    #[test]
    fn diverging_ramp_is_as_dark_at_either_side() {
        for index in 0..=50 {
            let away = f64::from(index) / 100.0;
            let sides = [0.5 - away, 0.5 + away].map(|fraction| lightness(Ramp::Diverging.color(fraction)));
            assert!((sides[0] - sides[1]).abs() < 7.0, "{away} {sides:?}");
        }
    }

    #[test]
    fn sequential_ramp_darkens_evenly() {
        let steps: Vec<f64> = (0..=20).map(|i| lightness(Ramp::Sequential.color(f64::from(i) / 20.0))).collect();
        let mean = (steps[0] - steps[20]) / 20.0;
        for pair in steps.windows(2) {
            let step = pair[0] - pair[1];
            assert!((0.6 * mean..1.5 * mean).contains(&step), "{step} {mean}");
        }
    }
}
