//! Webhooks: events POSTed to endpoints as Standard Webhooks 1.0 has it, in order per endpoint, again and again for a day.

mod health;
mod post;
mod sender;
mod sign;

use std::time::Duration;

pub(crate) use post::{Poster, Sent};
pub(crate) use sender::Sender;
pub(crate) use sign::{Message, new_secret};

/// How long a delivery waits before each further try.
///
/// ```
/// let schedule = api::Schedule::default();
/// assert_eq!(schedule.pauses.len(), 10);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Pause before the second try, the third, ... When they are used up the delivery has failed.
    pub pauses: Vec<Duration>,
    /// Each pause is made longer by up to this share of itself, in percent, so that endpoints which failed together do not come
    /// back together.
    pub jitter_percent: u32,
    /// An endpoint that fails this long is switched off.
    pub give_up_after: Duration,
}

impl Default for Schedule {
    /// Ten more tries over about a day; off after five days.
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let pauses = [5, 30, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR, 8 * HOUR];
        Self {
            pauses: pauses.map(Duration::from_secs).to_vec(),
            jitter_percent: 20,
            give_up_after: Duration::from_secs(5 * 24 * HOUR),
        }
    }
}

impl Schedule {
    /// The pause after `tries` tries failed, in milliseconds, with `chance` (0 to 1) of its jitter; `None`: given up.
    fn pause_ms(&self, tries: i64, chance: f64) -> Option<i64> {
        let pause = self.pauses.get(usize::try_from(tries.max(1) - 1).ok()?)?.as_millis() as f64;
        Some((pause * (1.0 + chance * f64::from(self.jitter_percent) / 100.0)) as i64)
    }
}

/// Whether events of `kind` go where `patterns` are asked for: exact, `asset.*`, or `*`.
pub(crate) fn wants(patterns: &[String], kind: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => (start.is_empty() || start.ends_with('.')) && kind.starts_with(start),
        None => pattern == kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_they_are_used_up() {
        let schedule = Schedule::default();
        assert_eq!(schedule.pause_ms(1, 0.0), Some(5_000));
        assert_eq!(schedule.pause_ms(2, 1.0), Some(36_000));
        assert_eq!(schedule.pause_ms(10, 0.0), Some(8 * 3_600_000));
        assert_eq!(schedule.pause_ms(11, 0.0), None);
        let hours = schedule.pauses.iter().sum::<Duration>().as_secs() / 3_600;
        assert!((20..=24).contains(&hours), "{hours} h");
    }

    #[test]
    fn patterns_are_exact_or_end_in_a_star() {
        let check = |pattern: &str, kind: &str, expected: bool| {
            assert_eq!(wants(&[pattern.to_owned()], kind), expected, "{pattern} {kind}");
        };
        check("*", "asset.ready", true);
        check("asset.*", "asset.ready", true);
        check("asset.*", "job.done", false);
        check("asset*", "asset.ready", false);
        check("asset.ready", "asset.ready", true);
        check("asset.ready", "asset.ready.late", false);
    }
}
