//! Colours of the curves.

use super::ramp::{BLUE_GREEN, mixed};

/// An opaque sRGB colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color {
    /// Red, 0 to 255.
    pub red: u8,
    /// Green, 0 to 255.
    pub green: u8,
    /// Blue, 0 to 255.
    pub blue: u8,
}

impl Color {
    /// Black.
    pub const BLACK: Self = Self::rgb(0, 0, 0);
    /// White.
    pub const WHITE: Self = Self::rgb(255, 255, 255);
    /// A middle grey, for curves that only give context.
    pub const GREY: Self = Self::rgb(128, 128, 128);

    /// The colour with these components.
    pub const fn rgb(red: u8, green: u8, blue: u8) -> Self {
        Self { red, green, blue }
    }
}

/// Strong to pale red, the ramp of the most negative eigenvalues.
const NEGATIVE: [Color; 2] = [Color::rgb(200, 0, 30), Color::rgb(250, 170, 160)];

/// The colour of the `rank`-th largest eigenvalue of `count` (ranks from 1):
/// dark blue for the largest, green for the last.
pub fn positive_color(rank: usize, count: usize) -> Color {
    along(&BLUE_GREEN, rank, count)
}

/// The colour of the `rank`-th most negative eigenvalue of `count` (ranks from
/// 1): strong red for the most negative, paler for the following ones.
pub fn negative_color(rank: usize, count: usize) -> Color {
    along(&NEGATIVE, rank, count)
}

/// The ramp's colour at `rank`; ranks outside 1 to `count` take the nearest end.
fn along(stops: &[Color], rank: usize, count: usize) -> Color {
    if count < 2 {
        return stops[0];
    }
    let fraction = (rank.clamp(1, count) - 1) as f64 / (count - 1) as f64;
    mixed(stops, fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramps_start_and_end_where_they_should() {
        assert_eq!(positive_color(1, 20), BLUE_GREEN[0]);
        assert_eq!(positive_color(20, 20), BLUE_GREEN[3]);
        assert_eq!(negative_color(1, 5), NEGATIVE[0]);
        assert_eq!(negative_color(5, 5), NEGATIVE[1]);
    }

    #[test]
    fn odd_ranks_and_counts_have_a_colour() {
        assert_eq!(positive_color(1, 1), BLUE_GREEN[0]);
        assert_eq!(positive_color(0, 0), BLUE_GREEN[0]);
        assert_eq!(positive_color(0, 3), BLUE_GREEN[0]);
        assert_eq!(negative_color(9, 3), NEGATIVE[1]);
    }

    #[test]
    fn neighbouring_ranks_differ() {
        for rank in 1..20 {
            assert_ne!(positive_color(rank, 20), positive_color(rank + 1, 20));
            assert_ne!(negative_color(rank, 20), negative_color(rank + 1, 20));
        }
    }
}
