//! sprig: numbers.

use num_bigint::BigInt;

use super::cast::{printed, text, to_float, to_int64, typed_list};
use super::{Args as _, Entry};
use crate::error::Failure;
use crate::run::Run;
use crate::strconv;
use crate::value::{Element, Value};

pub(super) const TABLE: &[Entry] = &[
    ("atoi", "string", |_, a| {
        let (value, error) = strconv::parse_int(&a.str(0), 10);
        let kept = error != Some(strconv::NumberError::Syntax);
        Ok(Value::int(if kept { value } else { 0 }))
    }),
    ("int64", "any", |_, a| Ok(Value::int64(to_int64(&a[0])))),
    ("int", "any", |_, a| Ok(Value::int(to_int64(&a[0])))),
    ("float64", "any", |_, a| Ok(to_float(&a[0]).into())),
    ("toDecimal", "any", |run, a| {
        let plain = printed(run, &a[0])?;
        Ok(Value::int64(match strconv::parse_int(&plain, 8) {
            (value, None) => value,
            _ => 0,
        }))
    }),
    ("seq", "...int", seq),
    ("until", "int", |run, a| {
        let count = a.int(0);
        until(run, 0, count, if count < 0 { -1 } else { 1 })
    }),
    ("untilStep", "int int int", |run, a| {
        until(run, a.int(0), a.int(1), a.int(2))
    }),
    ("add1", "any", |_, a| {
        Ok(Value::int64(to_int64(&a[0]).wrapping_add(1)))
    }),
    ("add", "...any", |_, a| {
        Ok(Value::int64(
            a.iter().map(to_int64).fold(0, i64::wrapping_add),
        ))
    }),
    ("sub", "any any", |_, a| {
        Ok(Value::int64(to_int64(&a[0]).wrapping_sub(to_int64(&a[1]))))
    }),
    ("div", "any any", |_, a| divided(a, i64::wrapping_div)),
    ("mod", "any any", |_, a| divided(a, i64::wrapping_rem)),
    ("mul", "any ...any", |_, a| {
        Ok(Value::int64(
            a.iter().map(to_int64).fold(1, i64::wrapping_mul),
        ))
    }),
    ("biggest", "any ...any", max),
    ("max", "any ...any", max),
    ("min", "any ...any", |_, a| {
        Ok(Value::int64(a.iter().map(to_int64).min().unwrap_or(0)))
    }),
    ("maxf", "any ...any", |_, a| {
        Ok(extreme(a, f64::INFINITY, f64::max).into())
    }),
    ("minf", "any ...any", |_, a| {
        Ok(extreme(a, f64::NEG_INFINITY, f64::min).into())
    }),
    ("ceil", "any", |_, a| Ok(to_float(&a[0]).ceil().into())),
    ("floor", "any", |_, a| Ok(to_float(&a[0]).floor().into())),
    ("round", "any int ...float", round),
    ("randInt", "int int", |run, a| {
        let (low, high) = (a.int(0), a.int(1));
        let range = high.wrapping_sub(low);
        if range <= 0 {
            return Err(Failure::new("invalid argument to Intn"));
        }
        let offset = super::crypto::random_below(run, range.unsigned_abs());
        Ok(Value::int(low.wrapping_add_unsigned(offset)))
    }),
    ("add1f", "any", |run, a| {
        let values = [a[0].clone(), Value::int(1)];
        decimals(run, to_float(&values[0]), &values[1..], Decimal::plus)
    }),
    ("addf", "...any", |run, a| {
        decimals(run, 0.0, a, Decimal::plus)
    }),
    ("subf", "any ...any", |run, a| {
        decimals(run, to_float(&a[0]), a.rest(1), Decimal::minus)
    }),
    ("mulf", "any ...any", |run, a| {
        decimals(run, to_float(&a[0]), a.rest(1), Decimal::times)
    }),
    ("divf", "any ...any", |run, a| {
        decimals(run, to_float(&a[0]), a.rest(1), Decimal::by)
    }),
];

type Result = std::result::Result<Value, Failure>;

fn divided(a: &[Value], divide: fn(i64, i64) -> i64) -> Result {
    let (one, two) = (to_int64(&a[0]), to_int64(&a[1]));
    if two == 0 {
        return Err(Failure::new("runtime error: integer divide by zero"));
    }
    Ok(Value::int64(divide(one, two)))
}

fn max(_: &mut Run<'_, '_>, a: &[Value]) -> Result {
    Ok(Value::int64(a.iter().map(to_int64).max().unwrap_or(0)))
}

/// `math.Max` and `math.Min`: an infinity on that side wins, then NaN, and the zeros are told apart.
fn extreme(a: &[Value], infinity: f64, pick: fn(f64, f64) -> f64) -> f64 {
    let mut best = to_float(&a[0]);
    for value in a.rest(1).iter().map(to_float) {
        best = if best == infinity || value == infinity {
            infinity
        } else if best.is_nan() || value.is_nan() {
            f64::NAN
        } else if best == 0.0 && value == 0.0 {
            let wants_positive = infinity > 0.0;
            if best.is_sign_positive() == wants_positive {
                best
            } else {
                value
            }
        } else {
            pick(best, value)
        };
    }
    best
}

/// The integers from `start` to before `stop`.
fn integers(
    run: &mut Run<'_, '_>,
    start: i64,
    stop: i64,
    step: i64,
) -> std::result::Result<Vec<i64>, Failure> {
    if (stop < start) != (step < 0) || step == 0 || start == stop {
        return Ok(Vec::new());
    }
    let distance = start.abs_diff(stop);
    let count = distance.div_ceil(step.unsigned_abs());
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    run.step(count)?;
    run.work(count.saturating_mul(crate::run::ENTRY_SIZE))?;
    let mut values = Vec::with_capacity(count);
    let mut value = start;
    for _ in 0..count {
        values.push(value);
        value = value.wrapping_add(step);
    }
    Ok(values)
}

fn until(run: &mut Run<'_, '_>, start: i64, stop: i64, step: i64) -> Result {
    let values = integers(run, start, stop, step)?;
    typed_list(
        run,
        Element::Int,
        values.into_iter().map(Value::int).collect(),
    )
}

fn seq(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let (start, step, end) = match a.len() {
        1 => (1, None, a.int(0)),
        2 => (a.int(0), None, a.int(1)),
        3 => (a.int(0), Some(a.int(1)), a.int(2)),
        _ => return Ok(Value::string("")),
    };
    let direction = if end < start { -1 } else { 1 };
    if end < start && step.is_some_and(|step| step > 0) {
        return Ok(Value::string(""));
    }
    let stop = end.wrapping_add(direction);
    let values = integers(run, start, stop, step.unwrap_or(direction))?;
    let words: Vec<String> = values.iter().map(i64::to_string).collect();
    text(run, words.join(" "))
}

fn round(_: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let round_on = if a.len() > 2 { a.float(2) } else { 0.5 };
    let power = power_of_ten(a.int(1));
    let digits = power * to_float(&a[0]);
    let fraction = digits - digits.trunc();
    let rounded = if fraction >= round_on {
        digits.ceil()
    } else {
        digits.floor()
    };
    Ok((rounded / power).into())
}

/// `math.Pow(10, places)`, by Go's way of multiplying.
fn power_of_ten(places: i64) -> f64 {
    if places == 0 {
        return 1.0;
    }
    if places.unsigned_abs() > 400 {
        return if places > 0 { f64::INFINITY } else { 0.0 };
    }
    // 10 is 0.625 * 2^4
    let (mut fraction, mut exponent) = (0.625f64, 4i32);
    let (mut result, mut result_exponent) = (1.0f64, 0i32);
    let mut left = places.unsigned_abs();
    while left > 0 {
        if left & 1 == 1 {
            result *= fraction;
            result_exponent += exponent;
        }
        fraction *= fraction;
        exponent <<= 1;
        if fraction < 0.5 {
            fraction += fraction;
            exponent -= 1;
        }
        left >>= 1;
    }
    if places < 0 {
        result = 1.0 / result;
        result_exponent = -result_exponent;
    }
    // In two steps, so that no power of two overflows by itself.
    let half = result_exponent / 2;
    result * 2f64.powi(half) * 2f64.powi(result_exponent - half)
}

// ---- decimals ----

/// `shopspring/decimal`: `value * 10^exponent`.
struct Decimal {
    value: BigInt,
    exponent: i64,
}

/// So many decimals a quotient has.
const DIVISION_PRECISION: i64 = 16;

impl Decimal {
    fn new(float: f64) -> std::result::Result<Self, Failure> {
        if !float.is_finite() {
            return Err(Failure::new(
                "Cannot create a Decimal from an infinity or NaN",
            ));
        }
        let text = format!("{float:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let decimals = mantissa
            .split_once('.')
            .map_or(0, |(_, decimals)| decimals.len());
        let digits = mantissa.replace('.', "");
        Ok(Self {
            value: digits.parse().unwrap_or_default(),
            exponent: exponent.parse::<i64>().unwrap_or(0) - i64::try_from(decimals).unwrap_or(0),
        })
    }

    /// Both values with the smaller exponent.
    fn aligned(&self, other: &Self) -> (BigInt, BigInt, i64) {
        let exponent = self.exponent.min(other.exponent);
        (
            &self.value * power(self.exponent - exponent),
            &other.value * power(other.exponent - exponent),
            exponent,
        )
    }

    fn plus(&self, other: &Self) -> std::result::Result<Self, Failure> {
        let (one, two, exponent) = self.aligned(other);
        Ok(Self {
            value: one + two,
            exponent,
        })
    }

    fn minus(&self, other: &Self) -> std::result::Result<Self, Failure> {
        let (one, two, exponent) = self.aligned(other);
        Ok(Self {
            value: one - two,
            exponent,
        })
    }

    fn times(&self, other: &Self) -> std::result::Result<Self, Failure> {
        Ok(Self {
            value: &self.value * &other.value,
            exponent: self.exponent + other.exponent,
        })
    }

    /// Rounded half away from zero.
    fn by(&self, other: &Self) -> std::result::Result<Self, Failure> {
        use num_bigint::Sign;
        if other.value.sign() == Sign::NoSign {
            return Err(Failure::new("decimal division by 0"));
        }
        let shift = self.exponent - other.exponent + DIVISION_PRECISION;
        let above = self.value.magnitude() * power(shift.max(0)).magnitude();
        let below = other.value.magnitude() * power((-shift).max(0)).magnitude();
        let mut quotient = &above / &below;
        let rest = above - &quotient * &below;
        if rest * 2u32 >= below {
            quotient += 1u32;
        }
        let negative = (self.value.sign() == Sign::Minus) != (other.value.sign() == Sign::Minus);
        let sign = if negative { Sign::Minus } else { Sign::Plus };
        Ok(Self {
            value: BigInt::from_biguint(sign, quotient),
            exponent: -DIVISION_PRECISION,
        })
    }

    fn to_float(&self) -> f64 {
        format!("{}e{}", self.value, self.exponent)
            .parse()
            .unwrap_or(0.0)
    }
}

fn power(exponent: i64) -> BigInt {
    BigInt::from(10u32).pow(u32::try_from(exponent).unwrap_or(0))
}

type Operation = fn(&Decimal, &Decimal) -> std::result::Result<Decimal, Failure>;

fn decimals(run: &mut Run<'_, '_>, first: f64, rest: &[Value], operation: Operation) -> Result {
    let mut result = Decimal::new(first)?;
    for value in rest {
        // The numbers grow with each multiplication.
        run.step(usize::try_from(result.value.bits() / 64).unwrap_or(usize::MAX))?;
        result = operation(&result, &Decimal::new(to_float(value))?)?;
    }
    Ok(result.to_float().into())
}
