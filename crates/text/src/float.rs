//! Floats as Go prints them.

/// `strconv.FormatFloat(value, 'g', -1, 64)`: the shortest digits that read back, with an exponent
/// below -4 and from 6 on. For finite values.
pub(crate) fn general(value: f64) -> String {
    let (digits, exponent) = shortest(value);
    if (-4..6).contains(&exponent) {
        format!("{value}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    }
}

/// sops's `ValToString`: with 'G', and always told apart from an integer.
pub(crate) fn flat(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = general(value).replace('e', "E");
    if text.contains(['.', 'E']) {
        text
    } else {
        format!("{value:.1}")
    }
}

/// `encoding/json`: with an exponent below -6 and from 21 on, as short as JavaScript's. For finite
/// values.
pub(crate) fn json(value: f64) -> String {
    let (digits, exponent) = shortest(value);
    if value == 0.0 || (-6..21).contains(&exponent) {
        format!("{value}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{}", exponent.abs())
    }
}

fn shortest(value: f64) -> (String, i32) {
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (digits.to_owned(), exponent.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (value, in_general, in_flat, in_json) in [
            (1.5, "1.5", "1.5", "1.5"),
            (1e6, "1e+06", "1E+06", "1000000"),
            (1_234_567.5, "1.2345675e+06", "1.2345675E+06", "1234567.5"),
            (123_456.0, "123456", "123456.0", "123456"),
            (0.0001, "0.0001", "0.0001", "0.0001"),
            (0.00001, "1e-05", "1E-05", "0.00001"),
            (1e-7, "1e-07", "1E-07", "1e-7"),
            (1e21, "1e+21", "1E+21", "1e+21"),
            (-2.0, "-2", "-2.0", "-2"),
            (-0.0, "-0", "-0.0", "-0"),
        ] {
            assert_eq!(general(value), in_general);
            assert_eq!(flat(value), in_flat);
            assert_eq!(json(value), in_json);
        }
        assert_eq!(flat(f64::NEG_INFINITY), "-Inf");
    }
}
