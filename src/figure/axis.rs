//! Axes: where a value lies, and which values get a tick.

use super::Scale;
use super::numbers::{even_label, power_of_ten, short_number, ten_to};
use crate::{Error, Result};

/// A scale with its two borders, in the unit in which the axis is uniform
/// (values, or decades).
#[derive(Debug)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

/// A labelled value on an axis.
#[derive(Debug)]
pub(super) struct Tick {
    /// Place between the borders, 0 to 1.
    pub at: f64,
    pub label: String,
}

impl Axis {
    /// The axis that shows exactly `range`, or else all `values` with `padding`
    /// (a fraction of the length) at either side.
    pub fn new(
        scale: Scale,
        range: Option<(f64, f64)>,
        values: impl Iterator<Item = f64>,
        padding: f64,
    ) -> Result<Self> {
        if !scale.is_usable() {
            return Err(Error::Usage(format!("an axis cannot have the scale {scale:?}")));
        }
        if let Some((from, to)) = range {
            return match (scale.uniform(from), scale.uniform(to)) {
                (Some(low), Some(high)) if scale.is_wide(low, high) => Ok(Self { scale, low, high }),
                _ => Err(Error::Usage(format!("an axis cannot show the range {from} to {to}"))),
            };
        }
        let (low, high) = values
            .filter_map(|value| scale.uniform(value))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| (low.min(place), high.max(place)));
        let (low, high) = if low > high {
            (0.0, 1.0)
        } else if scale.is_wide(low, high) {
            let pad = (high - low) * padding;
            (low - pad, high + pad)
        } else {
            (low - scale.reach(low), high + scale.reach(high))
        };
        Ok(Self { scale, low, high })
    }

    pub fn is_linear(&self) -> bool {
        self.scale == Scale::Linear
    }

    /// Place of `value`: 0 at the low border, 1 at the high border, or `None`
    /// for a value that this axis cannot show anywhere.
    pub fn place(&self, value: f64) -> Option<f64> {
        // Far outside the borders the exact place does not matter, and a bound
        // keeps the clipping arithmetic finite.
        self.scale.uniform(value).map(|place| self.fraction(place).clamp(-1e6, 1e6))
    }

    /// The value at a place.
    pub fn value(&self, at: f64) -> f64 {
        self.scale.value(self.low * (1.0 - at) + self.high * at)
    }

    /// The labelled ticks, about `wanted` of them and never many more.
    pub fn ticks(&self, wanted: usize) -> Vec<Tick> {
        if self.scale == Scale::Linear {
            return self.even_ticks(wanted);
        }
        let strides = (1..=self.stride(wanted)).rev();
        let decades = strides.map(|stride| self.decades(stride)).find(|ticks| ticks.len() >= 2);
        // Too short for decades: 1, 2, 5; shorter still: evenly spaced values.
        decades.or_else(|| self.short_ticks()).unwrap_or_else(|| self.even_ticks(wanted))
    }

    /// Places of the unlabelled grid lines between the ticks.
    pub fn minor(&self, wanted: usize) -> Vec<f64> {
        let lines = if self.scale == Scale::Linear {
            Vec::new()
        } else if self.stride(wanted) > 1 {
            self.multiples(&[1])
        } else if self.high - self.low <= 6.0 {
            self.multiples(&[2, 3, 4, 5, 6, 7, 8, 9])
        } else {
            Vec::new()
        };
        // Hundreds of lines would only shade the plot.
        let shown = if lines.len() <= 60 { lines.len() } else { 0 };
        lines[..shown].iter().map(|line| self.fraction(line.place)).collect()
    }

    /// Place of zero, when it is inside an axis that has a zero.
    pub fn zero(&self) -> Option<f64> {
        let inside = self.scale != Scale::Log10 && self.low < 0.0 && self.high > 0.0;
        inside.then(|| self.fraction(0.0))
    }

    fn fraction(&self, place: f64) -> f64 {
        (place - self.low) / (self.high - self.low)
    }

    /// Every how many decades a tick is labelled.
    fn stride(&self, wanted: usize) -> i32 {
        let zero = usize::from(self.zero().is_some());
        (self.multiples(&[1]).len() + zero).div_ceil(wanted.max(2)).max(1) as i32
    }

    /// Ticks at zero and at the powers of ten whose exponents are multiples of
    /// `stride`.
    fn decades(&self, stride: i32) -> Vec<Tick> {
        let is_log = self.scale == Scale::Log10;
        let mut lines = self.multiples(&[1]);
        // The first power beside zero needs room for its label too.
        let from_zero = 0.6 * f64::from(stride);
        lines.retain(|line| {
            line.exponent.rem_euclid(stride) == 0 && (is_log || stride == 1 || line.place.abs() >= from_zero)
        });
        let mut ticks: Vec<Tick> =
            lines.iter().map(|line| self.tick(line.place, line.signed(power_of_ten(line.exponent)))).collect();
        if let Some(at) = self.zero() {
            let before = lines.iter().filter(|line| line.negative).count();
            ticks.insert(before, Tick { at, label: "0".to_owned() });
        }
        ticks
    }

    /// Ticks at 1, 2 and 5 times powers of ten, if those are at least two.
    fn short_ticks(&self) -> Option<Vec<Tick>> {
        let lines = self.multiples(&[1, 2, 5]);
        let enough = self.zero().is_none() && lines.len() >= 2;
        let tick = |line: &Multiple| self.tick(line.place, line.signed(short_number(line.digit, line.exponent)));
        enough.then(|| lines.iter().map(tick).collect())
    }

    fn tick(&self, place: f64, label: String) -> Tick {
        Tick { at: self.fraction(place), label }
    }

    /// The values ±`digit` · 10^`exponent` inside a logarithmic axis, ascending.
    fn multiples(&self, digits: &[u8]) -> Vec<Multiple> {
        // Place of 1, and the first place where the axis is logarithmic.
        let (one, first) = match self.scale {
            Scale::Linear => return Vec::new(),
            Scale::Log10 => (0.0, f64::NEG_INFINITY),
            Scale::SymLog { linear } => (1.0 - linear.log10(), 1.0),
        };
        let side = |negative: bool, low: f64, high: f64| {
            let low = low.max(first);
            let exponents = (low - one).floor() as i32..=(high - one).floor() as i32;
            exponents
                .flat_map(|exponent| digits.iter().map(move |&digit| (digit, exponent)))
                .map(|(digit, exponent)| (digit, exponent, one + f64::from(digit).log10() + f64::from(exponent)))
                .filter(|&(_, _, place)| place >= low - 1e-9 && place <= high + 1e-9)
                .map(|(digit, exponent, place)| Multiple {
                    negative,
                    digit,
                    exponent,
                    place: if negative { -place } else { place },
                })
                .collect::<Vec<_>>()
        };
        let mut lines = Vec::new();
        if self.scale != Scale::Log10 {
            lines = side(true, -self.high, -self.low);
            lines.reverse();
        }
        lines.extend(side(false, self.low, self.high));
        lines
    }

    /// Ticks at multiples of 1, 2 or 5 times a power of ten.
    fn even_ticks(&self, wanted: usize) -> Vec<Tick> {
        let (low, high) = (self.scale.value(self.low), self.scale.value(self.high));
        let rough = (high - low) / wanted.max(2) as f64;
        let mut exponent = rough.log10().floor() as i32;
        let factor = match rough / ten_to(exponent) {
            ratio if ratio <= 1.4 => 1.0,
            ratio if ratio <= 3.2 => 2.0,
            ratio if ratio <= 7.1 => 5.0,
            _ => {
                exponent += 1;
                1.0
            }
        };
        let step = factor * ten_to(exponent);
        // Doubles still count exactly this far: the axis is at least a
        // billionth of its values long.
        let first = (low / step - 1e-6).ceil() as i64;
        let last = (high / step + 1e-6).floor() as i64;
        let largest = low.abs().max(high.abs());
        (first..=last)
            .map(|index| {
                let value = index as f64 * step;
                self.tick(self.scale.uniform(value).unwrap_or(self.low), even_label(value, exponent, largest))
            })
            .collect()
    }
}

/// A value on a logarithmic axis: ±`digit` · 10^`exponent`.
#[derive(Debug)]
struct Multiple {
    negative: bool,
    digit: u8,
    exponent: i32,
    /// In the uniform unit.
    place: f64,
}

impl Multiple {
    fn signed(&self, size: String) -> String {
        if self.negative { format!("−{size}") } else { size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, low: f64, high: f64, wanted: usize) -> Vec<String> {
        let axis = Axis::new(scale, Some((low, high)), std::iter::empty(), 0.0).unwrap();
        let ticks = axis.ticks(wanted);
        assert!(ticks.iter().all(|tick| (-1e-6..1.0 + 1e-6).contains(&tick.at)), "{ticks:?}");
        assert!(ticks.is_sorted_by(|a, b| a.at < b.at), "{ticks:?}");
        ticks.into_iter().map(|tick| tick.label).collect()
    }

    fn fitted(scale: Scale, values: &[f64]) -> Axis {
        Axis::new(scale, None, values.iter().copied(), 0.05).unwrap()
    }

    #[test]
    fn linear_ticks_are_round_numbers() {
        assert_eq!(labels(Scale::Linear, 0.0, 500.0, 6), ["0", "100", "200", "300", "400", "500"]);
        assert_eq!(labels(Scale::Linear, -0.3, 0.3, 6), ["−0.3", "−0.2", "−0.1", "0", "0.1", "0.2", "0.3"]);
        assert_eq!(labels(Scale::Linear, 0.0, 10_000.0, 5), ["0", "2000", "4000", "6000", "8000", "10000"]);
        assert_eq!(labels(Scale::Linear, 0.0, 3e7, 3), ["0", "1×10⁷", "2×10⁷", "3×10⁷"]);
        assert_eq!(labels(Scale::Linear, -1.5e-6, 0.0, 3), ["−1.5×10⁻⁶", "−1.0×10⁻⁶", "−0.5×10⁻⁶", "0"]);
    }

    #[test]
    fn log_ticks_are_powers_of_ten() {
        assert_eq!(labels(Scale::Log10, 0.01, 200.0, 8), ["10⁻²", "10⁻¹", "1", "10", "10²"]);
        assert_eq!(labels(Scale::Log10, 1e-12, 1.0, 5), ["10⁻¹²", "10⁻⁹", "10⁻⁶", "10⁻³", "1"]);
    }

    #[test]
    fn short_log_axes_still_have_two_ticks() {
        assert_eq!(labels(Scale::Log10, 0.9, 6.0, 8), ["1", "2", "5"]);
        assert_eq!(labels(Scale::Log10, 0.15, 1.5, 8), ["0.2", "0.5", "1"]);
        assert_eq!(labels(Scale::Log10, 1.5e5, 6e5, 8), ["2×10⁵", "5×10⁵"]);
        assert_eq!(labels(Scale::Log10, 2.1, 2.5, 4), ["2.1", "2.2", "2.3", "2.4", "2.5"]);
    }

    #[test]
    fn symlog_ticks_are_mirrored_powers_of_ten() {
        let scale = Scale::SymLog { linear: 0.1 };
        assert_eq!(labels(scale, -10.0, 100.0, 8), ["−10", "−1", "−10⁻¹", "0", "10⁻¹", "1", "10", "10²"]);
        let scale = Scale::SymLog { linear: 1e-3 };
        // Skipped decades keep their distance to zero.
        assert_eq!(labels(scale, -1e3, 1e6, 6), ["−10³", "−1", "0", "1", "10³", "10⁶"]);
        let scale = Scale::SymLog { linear: 1e-8 };
        assert_eq!(labels(scale, -10.0, 1e5, 6), ["−1", "−10⁻⁵", "0", "10⁻⁵", "1", "10⁵"]);
        assert_eq!(labels(scale, 5.0, 6e6, 3), ["10²", "10⁴", "10⁶"]);
    }

    #[test]
    fn short_symlog_axes_still_have_two_ticks() {
        let scale = Scale::SymLog { linear: 1.0 };
        assert_eq!(labels(scale, -0.4, 0.4, 4), ["−0.4", "−0.2", "0", "0.2", "0.4"]);
        assert_eq!(labels(scale, 3.0, 30.0, 6), ["5", "10", "20"]);
        assert_eq!(labels(scale, -30.0, -3.0, 6), ["−20", "−10", "−5"]);
        assert_eq!(labels(scale, 21.0, 24.0, 3), ["21", "22", "23", "24"]);
    }

    #[test]
    fn symlog_minor_lines_are_mirrored_and_outside_the_linear_part() {
        let axis = Axis::new(Scale::SymLog { linear: 1.0 }, Some((-10.0, 10.0)), std::iter::empty(), 0.0).unwrap();
        let minor = axis.minor(8);
        assert_eq!(minor.len(), 16);
        for (left, right) in minor.iter().zip(minor.iter().rev()) {
            assert!((left + right - 1.0).abs() < 1e-12);
        }
        assert!(minor.iter().all(|&at| axis.value(at).abs() > 1.9));
    }

    #[test]
    fn values_come_back_from_their_places() {
        for scale in [Scale::Linear, Scale::Log10, Scale::SymLog { linear: 0.5 }] {
            let axis = Axis::new(scale, Some((0.01, 300.0)), std::iter::empty(), 0.0).unwrap();
            for value in [0.02, 0.5, 7.0, 250.0] {
                let back = axis.value(axis.place(value).unwrap());
                assert!((back - value).abs() < 1e-9, "{scale:?} {value} {back}");
            }
        }
    }

    #[test]
    fn log_axis_refuses_what_has_no_logarithm() {
        let axis = fitted(Scale::Log10, &[0.0, -3.0, f64::NAN, f64::INFINITY, 1.0, 100.0]);
        assert!(axis.place(0.0).is_none() && axis.place(-3.0).is_none());
        assert!(axis.place(f64::NAN).is_none() && axis.place(f64::INFINITY).is_none());
        let middle = axis.place(10.0).unwrap();
        assert!((middle - 0.5).abs() < 1e-12);
    }

    #[test]
    fn every_axis_has_a_length_and_ticks() {
        let cases: [&[f64]; 9] = [
            &[],
            &[0.0],
            &[7.0, 7.0],
            &[-2e-8],
            &[1.0, 1.0 + 1e-12],
            &[1e9, 1e9 + 3.0],
            &[f64::MIN_POSITIVE, 5e-324],
            &[-1e300, 1e300],
            &[f64::MAX, f64::NAN],
        ];
        for values in cases {
            for scale in [Scale::Linear, Scale::Log10, Scale::SymLog { linear: 1e-2 }] {
                let axis = fitted(scale, values);
                assert!(axis.low < axis.high, "{values:?} {axis:?}");
                let count = axis.ticks(6).len();
                assert!((2..=13).contains(&count), "{values:?} {axis:?} {count}");
                for &value in values {
                    assert!(axis.place(value).is_none_or(|at| (0.0..=1.0).contains(&at)));
                }
            }
        }
    }

    #[test]
    fn impossible_ranges_are_refused() {
        for (scale, range) in [
            (Scale::Linear, (1.0, 1.0)),
            (Scale::Linear, (2.0, 1.0)),
            (Scale::Linear, (0.0, f64::NAN)),
            (Scale::Log10, (0.0, 1.0)),
            (Scale::SymLog { linear: 0.0 }, (-1.0, 1.0)),
            (Scale::SymLog { linear: f64::NAN }, (-1.0, 1.0)),
            (Scale::SymLog { linear: 1.0 }, (2.0, 1.0)),
        ] {
            let axis = Axis::new(scale, Some(range), std::iter::empty(), 0.0);
            assert!(matches!(axis, Err(Error::Usage(_))), "{range:?}");
        }
    }
}
