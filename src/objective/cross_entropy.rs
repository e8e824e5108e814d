//! Softmax cross-entropy of one sample on the host, in f64, and its derivatives along a curve of logits.
//!
//! With `d_j = z_j - z_c`, c the correct class, the loss is `log sum_j exp(d_j)`. Its derivatives are then cumulants under
//! the softmax of differences, and no term cancels when the correct class has almost all of the probability.

use super::Jet;

/// The loss at logits `z`.
pub(super) fn loss(z: &[f64], label: usize) -> f64 {
    let top = z.iter().fold(f64::NEG_INFINITY, |top, &z| top.max(z));
    if top > z[label] {
        return top - z[label] + z.iter().map(|z| (z - top).exp()).sum::<f64>().ln();
    }
    // The correct class leads: its own term is the one of log(1 + ...).
    let others = z.iter().enumerate().filter(|&(j, _)| j != label).map(|(_, z)| (z - top).exp());
    let loss = others.sum::<f64>().ln_1p();
    // `max` above skips a NaN.
    if z.iter().any(|z| z.is_nan()) { f64::NAN } else { loss }
}

/// The loss and its first three derivatives at s = 0 along the logits `z0 + z1 s + z2 s^2 + z3 s^3`.
pub(super) fn jet(z: [&[f64]; 4], label: usize) -> Jet {
    let top = z[0].iter().fold(f64::NEG_INFINITY, |top, &z| top.max(z));
    let total: f64 = z[0].iter().map(|z| (z - top).exp()).sum();
    // Probability, and coefficients of d_j.
    let terms: Vec<[f64; 4]> = (0..z[0].len())
        .map(|j| [(z[0][j] - top).exp() / total, z[1][j] - z[1][label], z[2][j] - z[2][label], z[3][j] - z[3][label]])
        .collect();
    let expect = |f: &dyn Fn(&[f64; 4]) -> f64| terms.iter().map(|t| t[0] * f(t)).sum::<f64>();
    let [a, b, c] = [1, 2, 3].map(|k| expect(&|t| t[k]));
    let variance = expect(&|t| (t[1] - a).powi(2));
    let covariance = expect(&|t| (t[1] - a) * (t[2] - b));
    let third_cumulant = expect(&|t| (t[1] - a).powi(3));
    Jet {
        loss: loss(z[0], label),
        slope: a,
        curvature: 2.0 * b + variance,
        third: 6.0 * c + 6.0 * covariance + third_cumulant,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_keeps_its_digits_when_it_is_tiny() {
        let exact = (2.0f64 * (-40.0f64).exp()).ln_1p();
        assert_eq!(loss(&[40.0, 0.0, 0.0], 0), exact);
        assert!((loss(&[40.0, 0.0, 0.0], 1) - 40.0).abs() < 1e-12);
        assert!((loss(&[0.0; 10], 3) - 10f64.ln()).abs() < 1e-15);
        assert!(loss(&[0.0, f64::NAN], 0).is_nan() && loss(&[f64::NAN, 0.0], 1).is_nan());
        assert!((loss(&[1000.0, -1000.0], 1) - 2000.0).abs() < 1e-9);
    }

    #[test]
    fn the_jet_is_that_of_finite_differences() {
        let z: [[f64; 3]; 4] = [[0.3, -1.2, 2.0], [1.0, 0.5, -0.7], [0.2, -0.4, 0.9], [-0.3, 0.8, 0.1]];
        for label in 0..3 {
            let at = |s: f64| {
                let logits: Vec<f64> = (0..3).map(|j| z[0][j] + s * (z[1][j] + s * (z[2][j] + s * z[3][j]))).collect();
                loss(&logits, label)
            };
            let h = 1e-3;
            let [m2, m1, p1, p2] = [-2.0, -1.0, 1.0, 2.0].map(|k| at(k * h));
            let jet = jet([&z[0], &z[1], &z[2], &z[3]], label);
            let middle = at(0.0);
            assert!((jet.loss - middle).abs() < 1e-15);
            assert!((jet.slope - (8.0 * (p1 - m1) - (p2 - m2)) / (12.0 * h)).abs() < 1e-10);
            let second = (16.0 * (p1 + m1) - (p2 + m2) - 30.0 * middle) / (12.0 * h * h);
            assert!((jet.curvature - second).abs() < 1e-8, "{} {second}", jet.curvature);
            let third = (p2 - 2.0 * p1 + 2.0 * m1 - m2) / (2.0 * h * h * h);
            assert!((jet.third - third).abs() < 1e-4, "{} {third}", jet.third);
        }
    }
}
