//! Floating-point numbers as text: `strconv.FormatFloat`.

/// More digits than this are zeros in every `f64`.
const EXACT_DIGITS: usize = 1_100;

/// The significant digits of a number and where its decimal point stands behind them.
struct Digits {
    digits: Vec<u8>,
    point: i32,
}

fn digits(magnitude: f64, precision: Option<usize>) -> Digits {
    if magnitude == 0.0 {
        return Digits {
            digits: Vec::new(),
            point: 0,
        };
    }
    let text = match precision {
        None => format!("{magnitude:e}"),
        Some(precision) => format!("{magnitude:.*e}", precision.min(EXACT_DIGITS)),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    Digits {
        digits,
        point: exponent.parse::<i32>().unwrap_or(0) + 1,
    }
}

/// `strconv.FormatFloat(f, verb, precision, 64)` for the verbs e E f g G b x X; none is the shortest that reads back.
pub(crate) fn format_float(value: f64, verb: u8, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let magnitude = value.abs();
    let body = match verb {
        b'e' | b'E' => {
            let digits = digits(magnitude, precision);
            let shown = precision.unwrap_or(digits.digits.len().saturating_sub(1));
            with_exponent(&digits, shown, verb)
        }
        b'f' => fixed(magnitude, precision),
        b'g' | b'G' => general(magnitude, precision, verb),
        b'b' => binary(magnitude),
        _ => hexadecimal(magnitude, precision, verb == b'X'),
    };
    format!("{sign}{body}")
}

fn with_exponent(digits: &Digits, precision: usize, mark: u8) -> String {
    let mut out = String::new();
    let digit = |at: usize| digits.digits.get(at).map_or('0', |d| char::from(*d));
    out.push(digit(0));
    if precision > 0 {
        out.push('.');
        (1..=precision).for_each(|at| out.push(digit(at)));
    }
    let exponent = if digits.digits.is_empty() {
        0
    } else {
        digits.point - 1
    };
    out.push(char::from(mark));
    out.push(if exponent < 0 { '-' } else { '+' });
    out.push_str(&format!("{:02}", exponent.unsigned_abs()));
    out
}

fn fixed(magnitude: f64, precision: Option<usize>) -> String {
    let Some(precision) = precision else {
        return format!("{magnitude}");
    };
    let exact = precision.min(EXACT_DIGITS);
    let mut text = format!("{magnitude:.exact$}");
    text.extend(std::iter::repeat_n('0', precision - exact));
    text
}

fn general(magnitude: f64, precision: Option<usize>, verb: u8) -> String {
    let wanted = precision.map(|p| p.max(1));
    let digits = digits(magnitude, wanted.map(|p| p - 1));
    let count = digits.digits.len();
    let signed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let mut precision = wanted.unwrap_or(count);
    let mut threshold = signed(precision);
    if threshold > signed(count) && signed(count) >= i64::from(digits.point) {
        threshold = signed(count);
    }
    if wanted.is_none() {
        threshold = 6;
    }
    let exponent = i64::from(digits.point) - 1;
    if exponent < -4 || exponent >= threshold {
        precision = precision.min(count);
        return with_exponent(
            &digits,
            precision.saturating_sub(1),
            if verb == b'G' { b'E' } else { b'e' },
        );
    }
    if signed(precision) > i64::from(digits.point) {
        precision = count;
    }
    let decimals = signed(precision) - i64::from(digits.point);
    plain(&digits, usize::try_from(decimals).unwrap_or(0))
}

fn plain(digits: &Digits, decimals: usize) -> String {
    let digit = |at: i64| {
        let digit = usize::try_from(at)
            .ok()
            .and_then(|at| digits.digits.get(at));
        digit.map_or('0', |d| char::from(*d))
    };
    let point = i64::from(digits.point);
    let mut out = String::new();
    if point > 0 {
        (0..point).for_each(|at| out.push(digit(at)));
    } else {
        out.push('0');
    }
    if decimals > 0 {
        out.push('.');
        let decimals = i64::try_from(decimals).unwrap_or(i64::MAX);
        (0..decimals).for_each(|at| out.push(digit(point + at)));
    }
    out
}

const MANTISSA_BITS: u32 = 52;

/// The mantissa with its implicit bit, and the exponent of its highest bit.
fn parts(magnitude: f64) -> (u64, i32) {
    let bits = magnitude.to_bits();
    let exponent = i32::try_from(bits >> MANTISSA_BITS & 0x7ff).unwrap_or(0);
    let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
    if exponent == 0 {
        (mantissa, -1022)
    } else {
        (mantissa | 1 << MANTISSA_BITS, exponent - 1023)
    }
}

fn binary(magnitude: f64) -> String {
    let (mantissa, exponent) = parts(magnitude);
    format!("{mantissa}p{:+}", exponent - 52)
}

fn hexadecimal(magnitude: f64, precision: Option<usize>, upper: bool) -> String {
    let (mut mantissa, mut exponent) = parts(magnitude);
    if mantissa == 0 {
        exponent = 0;
    }
    mantissa <<= 60 - MANTISSA_BITS;
    while mantissa != 0 && mantissa & 1 << 60 == 0 {
        mantissa <<= 1;
        exponent -= 1;
    }
    if let Some(precision) = precision.filter(|p| *p < 15) {
        let shift = precision * 4;
        let extra = (mantissa << shift) & ((1 << 60) - 1);
        mantissa >>= 60 - shift;
        if extra | (mantissa & 1) > 1 << 59 {
            mantissa += 1;
        }
        mantissa <<= 60 - shift;
        if mantissa & 1 << 61 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let mut out = format!("0x{}", mantissa >> 60 & 1);
    mantissa <<= 4;
    let digit = |mantissa: &mut u64, out: &mut String| {
        out.push_str(&format!("{:x}", *mantissa >> 60 & 15));
        *mantissa <<= 4;
    };
    match precision {
        None if mantissa != 0 => {
            out.push('.');
            while mantissa != 0 {
                digit(&mut mantissa, &mut out);
            }
        }
        Some(precision) if precision > 0 => {
            out.push('.');
            for _ in 0..precision {
                digit(&mut mantissa, &mut out);
            }
        }
        _ => {}
    }
    out.push_str(if exponent < 0 { "p-" } else { "p+" });
    out.push_str(&format!("{:02}", exponent.unsigned_abs()));
    if upper { out.to_uppercase() } else { out }
}
