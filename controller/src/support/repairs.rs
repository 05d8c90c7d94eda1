//! A limit on undoing what others write.

use std::time::Duration;

use tokio::time::Instant;

/// The time within which repairs are counted.
const SPAN: Duration = Duration::from_secs(60);

/// What of others was overwritten within the present minute.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repairs {
    count: u32,
    began: Option<Instant>,
}

impl Repairs {
    /// Counts a repair, or returns how long to wait with it: somebody else writes as often as we do
    /// (another controller with other keys, say), and must not keep both and the API server busy.
    pub fn allow(&mut self, limit: u32, now: Instant) -> Result<(), Duration> {
        let left = self
            .began
            .and_then(|began| SPAN.checked_sub(now.duration_since(began)))
            .filter(|left| !left.is_zero());
        match left {
            Some(left) if self.count >= limit => return Err(left),
            Some(_) => self.count += 1,
            None => {
                *self = Self {
                    count: 1,
                    began: Some(now),
                };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_over_a_secret_is_slowed_down() {
        let mut repairs = Repairs::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        for _ in 0..20 {
            assert_eq!(repairs.allow(20, at(10)), Ok(()));
        }
        assert_eq!(repairs.allow(20, at(20)), Err(Duration::from_secs(50)));
        assert_eq!(repairs.allow(20, at(70)), Ok(()));
        assert_eq!(repairs.allow(20, at(71)), Ok(()));
    }
}
