//! Numbers as tick labels.

pub(super) fn ten_to(exponent: i32) -> f64 {
    10f64.powi(exponent)
}

/// Label of a tick of evenly spaced ones. All labels of an axis have the same
/// form, which the `largest` value and the step's `exponent` decide.
pub(super) fn even_label(value: f64, exponent: i32, largest: f64) -> String {
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
pub(super) fn short_number(digit: u8, exponent: i32) -> String {
    match exponent {
        -3..0 => format!("{:.*}", -exponent as usize, f64::from(digit) * ten_to(exponent)),
        0..4 => format!("{digit}{}", "0".repeat(exponent as usize)),
        _ if digit == 1 => power_of_ten(exponent),
        _ => format!("{digit}×10{}", superscript(exponent)),
    }
}

pub(super) fn power_of_ten(exponent: i32) -> String {
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
