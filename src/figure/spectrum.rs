//! Extreme eigenvalues over training, next to the loss.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Chart, Color, Scale, Series, negative_color, positive_color};

/// The end of a spectrum from which ranks are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The largest (most positive) eigenvalues.
    Largest,
    /// The smallest (most negative) eigenvalues.
    Smallest,
}

/// One eigenvalue of the Hessian at one training step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpectrumRow {
    /// Number of training steps taken before; 0 is the initial point.
    pub step: u64,
    /// The end of the spectrum from which `rank` counts.
    pub end: End,
    /// 1 for the most extreme eigenvalue, 2 for the next one.
    pub rank: usize,
    /// The eigenvalue, with its sign.
    pub value: f64,
}

/// The evolution of the extreme eigenvalues during training: the absolute value
/// of each on a logarithmic axis, positive ones dark blue (largest) to green,
/// negative ones red (most negative) to pale red, and the training loss, pairs
/// of step and loss, as a dotted black curve on the same axis.
///
/// Rows can come in any order. A value of the other sign than its end's leaves
/// a gap: a smallest eigenvalue that is positive is no negative curvature. An
/// eigenvalue that passes through zero does not stretch the axis: it leaves
/// the plot a millionth below the largest value.
pub fn eigenvalues_over_steps(title: &str, rows: &[SpectrumRow], losses: &[(f64, f64)]) -> Chart {
    let y_label = if losses.is_empty() { "|eigenvalue|" } else { "|eigenvalue|, training loss" };
    let mut chart = Chart::new(title, "training step", y_label);
    chart.y_scale = Scale::Log10;

    // Negative curves come later, on top: they are few, and can cross the others.
    for end in [End::Largest, End::Smallest] {
        let curves = curves(rows, end);
        // Ranks come in ascending order.
        let count = curves.last().map_or(0, |&(rank, _)| rank);
        for (rank, points) in curves {
            let color = match end {
                End::Largest => positive_color(rank, count),
                End::Smallest => negative_color(rank, count),
            };
            let width = if rank == 1 { 2.4 } else { 1.4 };
            let series = Series::line(points, color).width(width);
            chart.series.push(series.label(legend_text(end, count)));
        }
    }
    chart.y_range = range_without_zeros(&chart.series, losses);
    if !losses.is_empty() {
        let loss = Series::dotted(losses.to_vec(), Color::BLACK);
        chart.series.push(loss.label("training loss"));
    }
    chart
}

/// The vertical range to show when the eigenvalues come too close to zero to
/// show them all, else `None`. Losses are always shown.
fn range_without_zeros(eigenvalues: &[Series], losses: &[(f64, f64)]) -> Option<(f64, f64)> {
    let extremes = |points: &mut dyn Iterator<Item = f64>| {
        points
            .filter(|value| *value > 0.0 && value.is_finite())
            .fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)))
    };
    let sizes = eigenvalues.iter().flat_map(|series| &series.points);
    let (smallest, largest) = extremes(&mut sizes.map(|point| point.1));
    let (least_loss, most_loss) = extremes(&mut losses.iter().map(|point| point.1));
    let top = largest.max(most_loss);
    let floor = (top * 1e-6).min(least_loss);
    (smallest < floor).then_some((floor / 1.5, top * 1.5))
}

/// The curves of one end by ascending rank, without those that are all gaps.
fn curves(rows: &[SpectrumRow], end: End) -> Vec<(usize, Vec<(f64, f64)>)> {
    let mut by_rank: BTreeMap<usize, Vec<(u64, f64)>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.end == end) {
        let size = match end {
            End::Largest => row.value,
            End::Smallest => -row.value,
        };
        let size = if size > 0.0 { size } else { f64::NAN };
        by_rank.entry(row.rank).or_default().push((row.step, size));
    }
    by_rank
        .into_iter()
        .filter(|(_, points)| points.iter().any(|(_, size)| size.is_finite()))
        .map(|(rank, mut points)| {
            points.sort_by_key(|&(step, _)| step);
            let as_float = |(step, size)| (step as f64, size);
            (rank, points.into_iter().map(as_float).collect())
        })
        .collect()
}

fn legend_text(end: End, count: usize) -> String {
    match (end, count) {
        (End::Largest, 1) => "largest eigenvalue λ₁".to_owned(),
        (End::Largest, _) => format!("{count} largest eigenvalues λ₁ … λ{}", subscript(count)),
        (End::Smallest, 1) => "most negative eigenvalue".to_owned(),
        (End::Smallest, _) => format!("{count} most negative eigenvalues"),
    }
}

fn subscript(number: usize) -> String {
    let digits = number.to_string();
    digits.bytes().map(|digit| ['₀', '₁', '₂', '₃', '₄', '₅', '₆', '₇', '₈', '₉'][usize::from(digit - b'0')]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::*;

    fn row(step: u64, end: End, rank: usize, value: f64) -> SpectrumRow {
        SpectrumRow { step, end, rank, value }
    }

    #[test]
    fn one_curve_per_end_and_rank_and_the_loss() {
        let rows = [
            row(10, End::Largest, 1, 6.0),
            row(0, End::Largest, 1, 5.0),
            row(0, End::Largest, 2, 3.0),
            row(0, End::Smallest, 1, -0.5),
        ];
        let chart = eigenvalues_over_steps("t", &rows, &[(0.0, 2.3), (10.0, 1.0)]);
        assert_eq!(chart.series.len(), 4);
        assert_eq!(chart.series[0].points, [(0.0, 5.0), (10.0, 6.0)]);
        assert_eq!(chart.series[0].color, positive_color(1, 2));
        assert_eq!(chart.series[1].color, positive_color(2, 2));
        assert_eq!(chart.series[0].label, chart.series[1].label);
        assert_eq!(chart.series[2].points, [(0.0, 0.5)]);
        assert_eq!(chart.series[2].color, negative_color(1, 1));
        assert_eq!(chart.series[3].style, Style::Dotted);
        assert_eq!(chart.series[3].color, Color::BLACK);
        assert_eq!(chart.y_scale, Scale::Log10);
        assert_eq!(chart.y_range, None);
    }

    #[test]
    fn values_of_the_wrong_sign_are_gaps() {
        let rows = [
            row(0, End::Smallest, 1, -0.5),
            row(1, End::Smallest, 1, 0.5),
            row(2, End::Smallest, 1, -0.25),
            row(0, End::Smallest, 2, 0.1),
            row(0, End::Largest, 1, -1.0),
            row(1, End::Largest, 2, 0.0),
        ];
        let chart = eigenvalues_over_steps("t", &rows, &[]);
        assert_eq!(chart.series.len(), 1, "curves of gaps only are left out");
        let values: Vec<f64> = chart.series[0].points.iter().map(|p| p.1).collect();
        assert!(values[0] == 0.5 && values[1].is_nan() && values[2] == 0.25);
    }

    #[test]
    fn passing_through_zero_does_not_stretch_the_axis() {
        let rows = [row(0, End::Largest, 1, 10.0), row(0, End::Smallest, 1, -1.0), row(1, End::Smallest, 1, -1e-12)];
        let (low, high) = eigenvalues_over_steps("t", &rows, &[]).y_range.unwrap();
        assert!(low > 5e-6 && low < 1e-5 && high > 10.0);
        let losses = [(0.0, 1.0), (1.0, 1e-9)];
        let (low, _) = eigenvalues_over_steps("t", &rows, &losses).y_range.unwrap();
        assert!(low < 1e-9 && low > 1e-10);
    }

    #[test]
    fn nothing_to_show_is_still_a_chart() {
        let chart = eigenvalues_over_steps("t", &[], &[]);
        assert!(chart.series.is_empty());
        assert!(chart.to_svg(400, 300).is_ok());
    }

    #[test]
    fn legend_names_the_ranks() {
        assert_eq!(legend_text(End::Largest, 20), "20 largest eigenvalues λ₁ … λ₂₀");
        assert_eq!(legend_text(End::Smallest, 1), "most negative eigenvalue");
    }
}
