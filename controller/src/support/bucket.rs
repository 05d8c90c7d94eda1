//! A token bucket: so many at once, then so many in a second.

use std::time::Duration;

use tokio::time::Instant;

/// A rate that was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Tokens in a second; above zero.
    per_second: f64,
    /// Tokens at once; at least one.
    burst: u32,
}

impl Rate {
    /// Makes a rate; `None` is no limit, which zero, less, and what is no number mean.
    pub fn new(per_second: f64, burst: u32) -> Option<Self> {
        let burst = burst.max(1);
        (per_second.is_finite() && per_second > 0.0).then_some(Self { per_second, burst })
    }

    /// Returns how many are let through at once.
    pub fn burst(self) -> u32 {
        self.burst
    }
}

/// The bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: f64,
    at: Instant,
}

/// What is left after a token was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Left {
    /// Whole tokens.
    pub tokens: u32,
    /// Time until the bucket is full.
    pub full_in: Duration,
    /// Time until the next token, if there was none; nothing was taken then.
    pub refused_for: Option<Duration>,
}

impl Bucket {
    /// Makes a full bucket.
    pub fn full(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: rate.burst.into(),
            at: now,
        }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Left {
        let burst = f64::from(rate.burst);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(burst);
        self.at = now;
        let after = |tokens: f64| {
            let seconds = (tokens / rate.per_second).max(0.0);
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
        };
        // Rounding must not cost the token that a client waited for.
        let refused_for = (self.tokens < 1.0 - 1e-9).then(|| after(1.0 - self.tokens));
        if refused_for.is_none() {
            self.tokens = (self.tokens - 1.0).max(0.0);
        }
        Left {
            tokens: whole(self.tokens + 1e-9),
            full_in: after(burst - self.tokens),
            refused_for,
        }
    }

    /// Returns whether nothing was taken for so long that the bucket is as good as new.
    pub fn is_full(&self, rate: Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens + passed * rate.per_second >= rate.burst.into()
    }
}

/// Returns the largest whole number up to `tokens`, bit by bit: no conversion is without loss.
fn whole(tokens: f64) -> u32 {
    let bits = (0..u32::BITS).rev().map(|bit| 1 << bit);
    bits.fold(0, |whole, bit| match f64::from(whole | bit) <= tokens {
        true => whole | bit,
        false => whole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_at_once_and_two_in_a_second() {
        let rate = Rate::new(2.0, 3).unwrap();
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut bucket = Bucket::full(rate, start);
        for (time, tokens, full_in, refused_for) in [
            (0, 2, 500, None),
            (0, 1, 1000, None),
            (0, 0, 1500, None),
            (0, 0, 1500, Some(500)),
            (250, 0, 1250, Some(250)),
            (500, 0, 1500, None),
            (9_000, 2, 500, None),
        ] {
            let left = bucket.take(rate, at(time));
            let expected = Left {
                tokens,
                full_in: Duration::from_millis(full_in),
                refused_for: refused_for.map(Duration::from_millis),
            };
            assert_eq!(left, expected, "at {time}");
        }
        assert!(!bucket.is_full(rate, at(9_400)));
        assert!(bucket.is_full(rate, at(9_500)));
    }

    #[test]
    fn any_burst_is_counted_at_once() {
        let now = Instant::now();
        for burst in [1, 2, 3, 1000, u32::MAX] {
            let rate = Rate::new(1.0, burst).unwrap();
            assert_eq!(Bucket::full(rate, now).take(rate, now).tokens, burst - 1);
        }
    }

    #[test]
    fn no_rate_is_no_limit() {
        for none in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Rate::new(none, 5), None);
        }
        assert_eq!(Rate::new(1.0, 0).unwrap().burst(), 1);
    }
}
