//! Summaries of small samples.

/// The median; NaN for no values.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// Spearman's rank correlation of pairs; NaN for fewer than three, or where one side is constant.
pub(super) fn rank_correlation(pairs: &[(f64, f64)]) -> f64 {
    if pairs.len() < 3 {
        return f64::NAN;
    }
    let x = ranks(pairs.iter().map(|p| p.0).collect());
    let y = ranks(pairs.iter().map(|p| p.1).collect());
    let mean = (pairs.len() as f64 - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    product(&x, &y) / (product(&x, &x) * product(&y, &y)).sqrt()
}

/// Ranks from 0; equal values share their mean rank.
fn ranks(values: Vec<f64>) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tie in order.chunk_by(|&i, &j| values[i] == values[j]) {
        let rank = first as f64 + (tie.len() as f64 - 1.0) / 2.0;
        tie.iter().for_each(|&i| ranks[i] = rank);
        first += tie.len();
    }
    ranks
}

/// Share of values for which `holds`; NaN for no values.
pub(super) fn share(values: &[f64], holds: impl Fn(f64) -> bool) -> f64 {
    values.iter().filter(|&&v| holds(v)).count() as f64 / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn rank_correlations() {
        assert_eq!(rank_correlation(&[(1.0, 1.0), (2.0, 8.0), (3.0, 27.0)]), 1.0);
        assert_eq!(rank_correlation(&[(1.0, 9.0), (2.0, 4.0), (3.0, 1.0)]), -1.0);
        // Ties: ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3.
        let tied = rank_correlation(&[(1.0, 1.0), (2.0, 2.0), (2.0, 3.0), (5.0, 4.0)]);
        assert!((tied - 4.5 / (4.5f64 * 5.0).sqrt()).abs() < 1e-12);
        assert!(rank_correlation(&[(1.0, 1.0), (2.0, 1.0), (3.0, 1.0)]).is_nan());
        assert!(rank_correlation(&[(1.0, 1.0)]).is_nan());
    }
}
