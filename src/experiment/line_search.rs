//! Minima of the loss along many lines at once, and quadratic fits.
//!
//! All lines advance together: the grid is one batch of forward passes, and so is each round of narrowing.

use crate::Result;
use crate::objective::Probe;

/// A narrowing ends when the bracket is this much narrower than the step is long.
const NARROW: f64 = 1e-4;
/// Share of the larger part of a bracket that a golden section takes.
const GOLDEN: f64 = 0.381_966_011_250_105;

/// The lowest point found along a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Minimum {
    /// Where it is.
    pub step: f64,
    /// The loss there, less that at zero.
    pub change: f64,
    /// Whether the search ended at an end of the line, beyond which the loss may be lower still.
    pub boundary: bool,
    /// Evaluations that narrowed it down.
    pub refinements: usize,
}

/// Steps from `nearest` to `reach` on both sides of zero, evenly spaced in their logarithm, ascending.
pub fn grid(nearest: f64, reach: f64, per_decade: usize) -> Vec<f64> {
    let count = ((reach / nearest).log10() * per_decade as f64).ceil().max(1.0) as usize;
    let step = |i: usize| if i == count { reach } else { nearest * (reach / nearest).powf(i as f64 / count as f64) };
    let positive = (0..=count).map(step);
    let mut steps: Vec<f64> = positive.clone().map(|s| -s).rev().collect();
    steps.extend(positive);
    steps
}

/// `count` evenly spaced values from `-half_width` to `half_width`.
pub fn evenly(half_width: f64, count: usize) -> Vec<f64> {
    let last = (count - 1) as f64;
    (0..count).map(|i| half_width * (2.0 * i as f64 - last) / last).collect()
}

/// The quadratic coefficient of the least-squares parabola through `(alpha, change)`, `alpha` symmetric about zero, and
/// what an error of one in every change, independent of each other, would do to it.
pub fn quadratic_coefficient(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean_square = points.iter().map(|(a, _)| a * a).sum::<f64>() / count;
    let weight: f64 = points.iter().map(|(a, _)| (a * a - mean_square).powi(2)).sum();
    let coefficient = points.iter().map(|(a, y)| (a * a - mean_square) * y).sum::<f64>() / weight;
    (coefficient, weight.sqrt().recip())
}

/// Narrows down the minimum along each line, given points `(step, change)` on it that include `(0, 0)`.
///
/// A point that is lower than its neighbours brackets a minimum with them. The two lowest such points are narrowed by
/// parabolic steps, and golden sections where those do not pay, and the better one is taken. A bracket is done after
/// `refinements` evaluations, when it is narrow, or when the changes left in it are below `noise`.
///
/// # Errors
/// What `changes` meets.
pub fn minimize(
    changes: &mut dyn FnMut(&[Probe]) -> Result<Vec<f64>>,
    known: &[Vec<(f64, f64)>],
    refinements: usize,
    noise: f64,
) -> Result<Vec<Minimum>> {
    let mut brackets: Vec<Bracket> =
        known.iter().enumerate().flat_map(|(d, points)| Bracket::of_line(d, points)).collect();
    for _ in 0..refinements {
        let proposed: Vec<(usize, Probe)> = brackets
            .iter_mut()
            .enumerate()
            .filter_map(|(i, b)| Some((i, Probe { step: b.propose(noise)?, direction: b.direction })))
            .collect();
        if proposed.is_empty() {
            break;
        }
        let probes: Vec<Probe> = proposed.iter().map(|p| p.1).collect();
        for ((i, probe), change) in proposed.into_iter().zip(changes(&probes)?) {
            brackets[i].insert(probe.step, change);
        }
    }
    let best = |direction: usize| {
        let of_line = || brackets.iter().filter(|b| b.direction == direction);
        let lowest = of_line().min_by(|a, b| a.at.1.total_cmp(&b.at.1)).expect("every line has a lowest point");
        Minimum {
            step: lowest.at.0,
            change: lowest.at.1,
            boundary: lowest.sides.is_none(),
            refinements: of_line().map(|b| b.refinements).sum(),
        }
    };
    Ok((0..known.len()).map(best).collect())
}

/// A point that is no higher than one on either side of it.
struct Bracket {
    direction: usize,
    at: (f64, f64),
    /// None at the end of the line.
    sides: Option<[(f64, f64); 2]>,
    refinements: usize,
    /// Width before the last two insertions.
    widths: [f64; 2],
}

impl Bracket {
    /// The brackets of the two lowest local minima among points.
    fn of_line(direction: usize, points: &[(f64, f64)]) -> Vec<Self> {
        let mut points = points.to_vec();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by(|a, b| a.0 == b.0);
        // A change that is not a number counts as high.
        points.iter_mut().filter(|p| p.1.is_nan()).for_each(|p| p.1 = f64::INFINITY);
        let lower = |i: usize, j: Option<usize>| j.and_then(|j| points.get(j)).is_none_or(|p| points[i].1 <= p.1);
        let mut minima: Vec<usize> =
            (0..points.len()).filter(|&i| lower(i, i.checked_sub(1)) && lower(i, Some(i + 1))).collect();
        minima.sort_by(|&i, &j| points[i].1.total_cmp(&points[j].1));
        minima.truncate(2);
        let bracket = |i: usize| {
            let sides = (i > 0 && i + 1 < points.len()).then(|| [points[i - 1], points[i + 1]]);
            Self { direction, at: points[i], sides, refinements: 0, widths: [f64::INFINITY; 2] }
        };
        minima.into_iter().map(bracket).collect()
    }

    /// The next step to look at; none when there is nothing more to gain.
    fn propose(&mut self, noise: f64) -> Option<f64> {
        let [(a, fa), (c, fc)] = self.sides?;
        let (b, fb) = self.at;
        let narrow = c - a <= NARROW * b.abs().max(f64::MIN_POSITIVE);
        if narrow || fa.max(fc) - fb <= noise {
            return None;
        }
        // A parabola's vertex, unless the last two did not halve the bracket. Where it repeats the lowest point, a point
        // beside that one shows on which side the minimum is.
        let (left, right) = ((b - a) * (fb - fc), (b - c) * (fb - fa));
        let vertex = b - 0.5 * ((b - a) * left - (b - c) * right) / (left - right);
        let apart = 1e-3 * (c - a);
        let beside = if c - b > b - a { b + apart } else { b - apart };
        let step = if (vertex - b).abs() < apart { beside } else { vertex };
        if step > a && step < c && c - a <= 0.5 * self.widths[1] {
            return Some(step);
        }
        Some(if c - b > b - a { b + GOLDEN * (c - b) } else { b - GOLDEN * (b - a) })
    }

    fn insert(&mut self, step: f64, change: f64) {
        let Some([a, c]) = &mut self.sides else { return };
        self.refinements += 1;
        self.widths = [c.0 - a.0, self.widths[0]];
        let new = (step, change);
        // A change that is not a number counts as high.
        if change <= self.at.1 {
            *if step < self.at.0 { c } else { a } = self.at;
            self.at = new;
        } else {
            *if step < self.at.0 { a } else { c } = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches one function along each line.
    fn search(functions: &[fn(f64) -> f64], refinements: usize) -> Vec<Minimum> {
        let mut changes = |probes: &[Probe]| -> Result<Vec<f64>> {
            Ok(probes.iter().map(|p| functions[p.direction](p.step) - functions[p.direction](0.0)).collect())
        };
        let steps = grid(1e-3, 10.0, 2);
        let known: Vec<Vec<(f64, f64)>> =
            functions.iter().map(|f| steps.iter().map(|&s| (s, f(s) - f(0.0))).chain([(0.0, 0.0)]).collect()).collect();
        minimize(&mut changes, &known, refinements, 0.0).unwrap()
    }

    #[test]
    fn the_grid_is_symmetric_and_reaches_both_ends() {
        let steps = grid(1e-3, 10.0, 2);
        assert_eq!(steps.len(), 18);
        assert!((steps[0] + 10.0).abs() < 1e-12 && (steps[17] - 10.0).abs() < 1e-12 && steps[9] == 1e-3);
        assert!(steps.is_sorted() && steps.iter().zip(steps.iter().rev()).all(|(a, b)| *a == -*b));
        assert_eq!(evenly(1.0, 5), [-1.0, -0.5, 0.0, 0.5, 1.0]);
    }

    #[test]
    fn minima_of_known_functions() {
        let found = search(
            &[
                |s| 0.5 * 50.0 * s * s + 0.3 * s,
                |s| (s - 2.7).powi(4) - s,
                |s| (s + 4.0).abs(),
                |s| 0.1 * s.powi(4) - s * s + 0.05 * s,
                |s| if s > 0.0 { -2.0 * (-(3.0 * (s - 2.2)).powi(2)).exp() } else { -1.0 + (s + 1.0).powi(2) },
                |s| -s,
                |s| if s > 3.0 { f64::INFINITY } else { (s - 2.5).powi(2) },
                |s| if s > 0.5 { f64::NAN } else { (s - 0.2).powi(2) },
                |s| s * s,
            ],
            60,
        );
        // The deeper of two wells: the root of 0.4 s^3 - 2 s + 0.05 near -2.25.
        let well = (0..60).fold(-2.2f64, |s, _| s - (0.4 * s.powi(3) - 2.0 * s + 0.05) / (1.2 * s * s - 2.0));
        for (minimum, exact) in found.iter().zip([-0.006, 2.7 + 0.25f64.cbrt(), -4.0, well, 2.2, 10.0, 2.5, 0.2, 0.0]) {
            assert!((minimum.step - exact).abs() < 2e-4 * exact.abs().max(1e-3), "{minimum:?}, not {exact}");
        }
        let on_the_boundary: Vec<bool> = found.iter().map(|m| m.boundary).collect();
        assert_eq!(on_the_boundary, [false, false, false, false, false, true, false, false, false]);
        assert!(found[8].change == 0.0 && found[0].refinements < 12, "{:?}", found[0]);
    }

    #[test]
    fn a_minimum_is_never_higher_than_what_was_known() {
        for refinements in 0..8 {
            for minimum in search(&[|s| (3.0 * s).sin() + 0.1 * s, |s| (s - 1.0).powi(2)], refinements) {
                assert!(minimum.change <= 0.0 && minimum.refinements <= 2 * refinements);
            }
        }
    }

    #[test]
    fn the_fit_of_a_parabola_is_exact() {
        let points: Vec<(f64, f64)> = evenly(0.7, 9).into_iter().map(|a| (a, 3.0 - 2.0 * a + 1.5 * a * a)).collect();
        let (coefficient, _) = quadratic_coefficient(&points);
        assert!((coefficient - 1.5).abs() < 1e-13);
        // A cubic term changes nothing on a symmetric range; the sensitivity is that of a direct perturbation.
        let cubic: Vec<(f64, f64)> = points.iter().map(|&(a, y)| (a, y + 5.0 * a * a * a)).collect();
        assert!((quadratic_coefficient(&cubic).0 - 1.5).abs() < 1e-13);
        let variance: f64 = (0..9)
            .map(|i| {
                let mut moved = points.clone();
                moved[i].1 += 1.0;
                (quadratic_coefficient(&moved).0 - coefficient).powi(2)
            })
            .sum();
        assert!((variance.sqrt() / quadratic_coefficient(&points).1 - 1.0).abs() < 1e-12);
    }
}
