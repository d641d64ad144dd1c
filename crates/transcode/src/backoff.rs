//! How long to wait before the next start.

use std::time::Duration;

use crate::Config;

/// A child that delivered for this long, in milliseconds, has proved itself: the next failure is a first one again.
const HEALTHY_MS: u64 = 30_000;

/// Counts failures in a row.
#[derive(Debug)]
pub(crate) struct Backoff {
    first_ms: u64,
    ms_max: u64,
    restarts_max: u32,
    /// Restarts since the last healthy run.
    restarts: u32,
    /// Restarts in a row without any output.
    barren: u32,
}

impl Backoff {
    pub(crate) fn new(config: &Config) -> Self {
        let (first_ms, ms_max) = (config.restart_backoff_ms, config.restart_backoff_ms_max);
        Self { first_ms, ms_max, restarts_max: config.restarts_max, restarts: 0, barren: 0 }
    }

    /// Notes the end of a run that delivered for `delivered_for` (nothing at all: `None`). Returns the wait before the next
    /// one; `None` means give up.
    pub(crate) fn next(&mut self, delivered_for: Option<Duration>) -> Option<Duration> {
        if delivered_for.is_some_and(|time| time.as_millis() >= u128::from(HEALTHY_MS)) {
            self.restarts = 0;
        }
        self.barren = if delivered_for.is_some() { 0 } else { self.barren + 1 };
        if self.barren > self.restarts_max {
            return None;
        }
        let doublings = self.restarts.checked_sub(1);
        self.restarts = self.restarts.saturating_add(1);
        let factor = doublings.map_or(0, |n| 1u64.checked_shl(n).unwrap_or(u64::MAX));
        Some(Duration::from_millis(self.first_ms.saturating_mul(factor).min(self.ms_max)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_then_doubling_to_the_cap() {
        let mut backoff = Backoff::new(&Config::default());
        let brief = Some(Duration::from_millis(100));
        let waits: Vec<_> = (0..8).map(|_| backoff.next(brief).unwrap().as_millis()).collect();
        assert_eq!(waits, [0, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        assert_eq!(backoff.next(Some(Duration::from_secs(31))), Some(Duration::ZERO));
    }

    #[test]
    fn a_child_that_never_delivers_is_given_up() {
        let mut backoff = Backoff::new(&Config { restarts_max: 2, ..Config::default() });
        let answers: Vec<_> = (0..3).map(|_| backoff.next(None).is_some()).collect();
        assert_eq!(answers, [true, true, false]);
    }
}
