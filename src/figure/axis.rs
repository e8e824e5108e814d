//! Axes: where a value lies, and which values get a tick.

use super::Scale;
use crate::{Error, Result};

/// Beyond this magnitude differences of values overflow, so values get no place.
const HUGE: f64 = 1e300;
/// Below this magnitude a linear axis treats a value as zero.
const TINY: f64 = 1e-290;

/// A scale with its two borders, in the unit in which the axis is uniform
/// (values, or their decimal logarithms).
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
        if let Some((from, to)) = range {
            return match (uniform(scale, from), uniform(scale, to)) {
                (Some(low), Some(high)) if is_wide(scale, low, high) => Ok(Self { scale, low, high }),
                _ => Err(Error::Usage(format!("an axis cannot show the range {from} to {to}"))),
            };
        }
        let (low, high) = values
            .filter_map(|value| uniform(scale, value))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| (low.min(place), high.max(place)));
        let (low, high) = if low > high {
            (0.0, 1.0)
        } else if is_wide(scale, low, high) {
            let pad = (high - low) * padding;
            (low - pad, high + pad)
        } else {
            let half = match scale {
                Scale::Log10 => 0.5,
                Scale::Linear if low.abs() < TINY => 1.0,
                Scale::Linear => low.abs() * 0.1,
            };
            (low - half, high + half)
        };
        Ok(Self { scale, low, high })
    }

    /// Place of `value`: 0 at the low border, 1 at the high border, or `None`
    /// for a value that this axis cannot show anywhere.
    pub fn place(&self, value: f64) -> Option<f64> {
        // Far outside the borders the exact place does not matter, and a bound
        // keeps the clipping arithmetic finite.
        uniform(self.scale, value).map(|place| self.fraction(place).clamp(-1e6, 1e6))
    }

    /// The labelled ticks, about `wanted` of them and never many more.
    pub fn ticks(&self, wanted: usize) -> Vec<Tick> {
        if self.scale == Scale::Linear {
            return self.even_ticks(self.low, self.high, wanted);
        }
        let decades = self.decades();
        let stride = self.stride(wanted);
        if decades.clone().count() >= 2 {
            return decades
                .filter(|exponent| exponent.rem_euclid(stride) == 0)
                .map(|exponent| Tick { at: self.fraction(f64::from(exponent)), label: power_of_ten(exponent) })
                .collect();
        }
        // Too short for decades: 1, 2, 5; shorter still: evenly spaced values.
        let steps = self.multiples(&[1, 2, 5]);
        if steps.len() >= 2 {
            return steps
                .into_iter()
                .map(|(digit, exponent)| Tick {
                    at: self.fraction(f64::from(digit).log10() + f64::from(exponent)),
                    label: short_number(digit, exponent),
                })
                .collect();
        }
        self.even_ticks(10f64.powf(self.low), 10f64.powf(self.high), wanted)
    }

    /// Places of the unlabelled grid lines between the ticks.
    pub fn minor(&self, wanted: usize) -> Vec<f64> {
        if self.scale == Scale::Linear {
            return Vec::new();
        }
        if self.stride(wanted) > 1 {
            // Hundreds of lines would only shade the plot.
            let shown = if self.decades().count() <= 40 { 40 } else { 0 };
            return self.decades().take(shown).map(|exponent| self.fraction(f64::from(exponent))).collect();
        }
        if self.high - self.low > 6.0 {
            return Vec::new();
        }
        self.multiples(&[2, 3, 4, 5, 6, 7, 8, 9])
            .into_iter()
            .map(|(digit, exponent)| self.fraction(f64::from(digit).log10() + f64::from(exponent)))
            .collect()
    }

    /// Place of zero, when it is inside a linear axis.
    pub fn zero(&self) -> Option<f64> {
        let inside = self.scale == Scale::Linear && self.low < 0.0 && self.high > 0.0;
        inside.then(|| self.fraction(0.0))
    }

    fn fraction(&self, place: f64) -> f64 {
        (place - self.low) / (self.high - self.low)
    }

    /// Exponents of the powers of ten inside a logarithmic axis.
    fn decades(&self) -> std::ops::RangeInclusive<i32> {
        (self.low - 1e-9).ceil() as i32..=(self.high + 1e-9).floor() as i32
    }

    /// Every how many decades a tick is labelled.
    fn stride(&self, wanted: usize) -> i32 {
        let wanted = wanted.max(2);
        self.decades().count().div_ceil(wanted).max(1) as i32
    }

    /// The values `digit` · 10^`exponent` inside a logarithmic axis, ascending.
    fn multiples(&self, digits: &[u8]) -> Vec<(u8, i32)> {
        let exponents = self.low.floor() as i32..=self.high.floor() as i32;
        exponents
            .flat_map(|exponent| digits.iter().map(move |&digit| (digit, exponent)))
            .filter(|&(digit, exponent)| {
                let place = f64::from(digit).log10() + f64::from(exponent);
                place >= self.low - 1e-9 && place <= self.high + 1e-9
            })
            .collect()
    }

    /// Ticks at multiples of 1, 2 or 5 times a power of ten, `low` to `high`.
    fn even_ticks(&self, low: f64, high: f64, wanted: usize) -> Vec<Tick> {
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
                Tick {
                    at: uniform(self.scale, value).map_or(0.0, |place| self.fraction(place)),
                    label: even_label(value, exponent, largest),
                }
            })
            .collect()
    }
}

/// `value` in the unit in which the axis is uniform, if the axis can show it.
fn uniform(scale: Scale, value: f64) -> Option<f64> {
    match scale {
        Scale::Linear => (value.abs() <= HUGE).then_some(value),
        Scale::Log10 => (value > 0.0 && value.is_finite()).then(|| value.log10()),
    }
}

/// Whether the borders are far enough apart for rounding errors not to show.
fn is_wide(scale: Scale, low: f64, high: f64) -> bool {
    high - low
        > match scale {
            Scale::Linear => (low.abs().max(high.abs()) * 1e-9).max(TINY),
            Scale::Log10 => 1e-6,
        }
}

fn ten_to(exponent: i32) -> f64 {
    10f64.powi(exponent)
}

/// Label of a linear tick. All labels of an axis have the same form, which the
/// `largest` value and the step's `exponent` decide.
fn even_label(value: f64, exponent: i32, largest: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let text = if (1e-3..1e6).contains(&largest) {
        format!("{value:.*}", (-exponent).max(0) as usize)
    } else {
        let shared = largest.log10().floor() as i32;
        let decimals = (shared - exponent).max(0) as usize;
        let mantissa = value / ten_to(shared);
        format!("{mantissa:.decimals$}×10{}", superscript(shared))
    };
    text.replace('-', "−")
}

/// `digit` · 10^`exponent` for a short logarithmic axis.
fn short_number(digit: u8, exponent: i32) -> String {
    match exponent {
        -3..0 => format!("{:.*}", -exponent as usize, f64::from(digit) * ten_to(exponent)),
        0..4 => format!("{digit}{}", "0".repeat(exponent as usize)),
        _ if digit == 1 => power_of_ten(exponent),
        _ => format!("{digit}×10{}", superscript(exponent)),
    }
}

fn power_of_ten(exponent: i32) -> String {
    match exponent {
        0 => "1".to_owned(),
        1 => "10".to_owned(),
        _ => format!("10{}", superscript(exponent)),
    }
}

fn superscript(number: i32) -> String {
    let sign = if number < 0 { "⁻" } else { "" };
    let digits = number.unsigned_abs().to_string();
    let raised =
        digits.bytes().map(|digit| ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][usize::from(digit - b'0')]);
    sign.chars().chain(raised).collect()
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
            for scale in [Scale::Linear, Scale::Log10] {
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
        ] {
            let axis = Axis::new(scale, Some(range), std::iter::empty(), 0.0);
            assert!(matches!(axis, Err(Error::Usage(_))), "{range:?}");
        }
    }
}
