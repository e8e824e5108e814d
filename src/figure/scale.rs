//! How values are spread along an axis.

/// Beyond this magnitude differences of values overflow, so values get no place.
const HUGE: f64 = 1e300;
/// Below this magnitude a linear axis treats a value as zero.
const TINY: f64 = 1e-290;

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Equal distances are equal differences.
    Linear,
    /// Equal distances are equal ratios; only positive values have a place.
    Log10,
    /// Equal distances are equal ratios on both sides of zero, and equal
    /// differences between -`linear` and `linear`. Zero to `linear` is as long
    /// as one decade.
    SymLog {
        /// The magnitude, above zero, below which the scale is linear.
        linear: f64,
    },
}

impl Scale {
    /// `value` in the unit in which the axis is uniform (values, or decades), if
    /// the axis can show it.
    pub(super) fn uniform(self, value: f64) -> Option<f64> {
        match self {
            Self::Linear => (value.abs() <= HUGE).then_some(value),
            Self::Log10 => (value > 0.0 && value.is_finite()).then(|| value.log10()),
            Self::SymLog { linear } => {
                let decades = || (1.0 + value.abs().log10() - linear.log10()).max(1.0);
                let place = if value.abs() <= linear { value / linear } else { decades().copysign(value) };
                (value.is_finite() && self.is_usable()).then_some(place)
            }
        }
    }

    /// The value at a place in the uniform unit.
    pub(super) fn value(self, place: f64) -> f64 {
        match self {
            Self::Linear => place,
            Self::Log10 => 10f64.powf(place),
            Self::SymLog { linear } if place.abs() <= 1.0 => place * linear,
            Self::SymLog { linear } => 10f64.powf(place.abs() - 1.0 + linear.log10()).copysign(place),
        }
    }

    /// Whether any axis can have this scale.
    pub(super) fn is_usable(self) -> bool {
        match self {
            Self::Linear | Self::Log10 => true,
            Self::SymLog { linear } => (TINY..=HUGE).contains(&linear),
        }
    }

    /// Whether borders, in the uniform unit, are far enough apart for rounding
    /// errors not to show.
    pub(super) fn is_wide(self, low: f64, high: f64) -> bool {
        let least = match self {
            Self::Linear => (low.abs().max(high.abs()) * 1e-9).max(TINY),
            Self::Log10 | Self::SymLog { .. } => 1e-6,
        };
        high - low > least
    }

    /// How far an axis reaches to either side of its only value, in the
    /// uniform unit.
    pub(super) fn reach(self, place: f64) -> f64 {
        match self {
            Self::Log10 | Self::SymLog { .. } => 0.5,
            Self::Linear if place.abs() < TINY => 1.0,
            Self::Linear => place.abs() * 0.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scale_can_be_inverted() {
        for scale in [Scale::Linear, Scale::Log10, Scale::SymLog { linear: 1e-3 }, Scale::SymLog { linear: 40.0 }] {
            for value in [-2e5, -40.0, -1.0, -1e-3, -1e-7, 0.0, 5e-4, 1e-3, 0.02, 39.9, 3e7] {
                let Some(place) = scale.uniform(value) else {
                    assert!(scale == Scale::Log10 && value <= 0.0);
                    continue;
                };
                let back = scale.value(place);
                assert!((back - value).abs() <= 1e-12 * value.abs(), "{scale:?} {value} {back}");
            }
        }
    }

    #[test]
    fn symmetric_logarithm_is_odd_and_joins_its_linear_part() {
        let scale = Scale::SymLog { linear: 0.01 };
        let at = |value| scale.uniform(value).unwrap();
        assert_eq!(at(0.0), 0.0);
        assert_eq!(at(0.005), 0.5);
        assert_eq!(at(0.01), 1.0);
        for (value, place) in [(0.1, 2.0), (1.0, 3.0), (1e4, 7.0)] {
            assert!((at(value) - place).abs() < 1e-12);
            assert_eq!(at(-value), -at(value));
        }
        assert!(at(0.010000001) > 1.0);
    }

    #[test]
    fn symmetric_logarithm_without_a_linear_part_shows_nothing() {
        for linear in [0.0, -1.0, f64::NAN, f64::INFINITY, 5e-324] {
            assert_eq!(Scale::SymLog { linear }.uniform(1.0), None, "{linear}");
        }
        assert_eq!(Scale::SymLog { linear: 1.0 }.uniform(f64::NAN), None);
        assert!(Scale::SymLog { linear: TINY }.uniform(f64::MAX).is_some_and(f64::is_finite));
    }
}
