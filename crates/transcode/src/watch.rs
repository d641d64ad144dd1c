//! Judges a running child by what comes out of it: stalled, or slower than real time. Pure; time is an argument.

use std::{collections::VecDeque, time::Duration};

use base::{Mono, Timescale};

use crate::Config;

/// How far back speed is measured, in milliseconds: longer than a GOP's rhythm, shorter than a viewer's patience.
const WINDOW_MS: u64 = 4_000;
/// The window must span this much before it says anything about speed, in milliseconds.
const WINDOW_MS_MIN: u64 = 1_000;
/// Points kept in the window: ticks are a tenth of a second apart.
const POINTS_MAX: usize = 64;
/// Late for so many times `shed_after_ms` sheds a rung however fast the output is: it must not stay late for ever.
const LATE_FACTOR: u32 = 4;

/// What a tick finds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Fine,
    /// Input flows and nothing comes out.
    Stalled(Duration),
    /// The machine is too slow for this ladder.
    Behind {
        lag_ms: u64,
        speed: f64,
    },
}

/// Input and output positions at a tick, presentation times in 90 kHz.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    /// Video samples pushed since the beginning.
    pub(crate) pushed: u64,
    /// Newest picture pushed.
    pub(crate) input_pts: Option<i64>,
    /// Newest picture of the slowest rendition.
    pub(crate) output_pts: Option<i64>,
}

/// Watches one child.
#[derive(Debug)]
pub(crate) struct Watch {
    stall: Duration,
    start: Duration,
    speed_min: f64,
    lag_ms: u64,
    after: Duration,
    points: VecDeque<(Mono, i64, i64)>,
    /// Since when input has flowed without output.
    unanswered: Option<Mono>,
    pushed_at_output: u64,
    any_output: bool,
    slow_since: Option<Mono>,
    late_since: Option<Mono>,
}

impl Watch {
    /// A child to which `pushed` samples came too late.
    pub(crate) fn new(config: &Config, pushed: u64) -> Self {
        Self {
            stall: Duration::from_millis(config.stall_ms),
            start: Duration::from_millis(config.start_ms.max(config.stall_ms)),
            speed_min: f64::from(config.speed_min_percent) / 100.0,
            lag_ms: config.shed_lag_ms,
            after: Duration::from_millis(config.shed_after_ms),
            points: VecDeque::new(),
            unanswered: None,
            pushed_at_output: pushed,
            any_output: false,
            slow_since: None,
            late_since: None,
        }
    }

    /// A sample came out when `pushed` had gone in.
    pub(crate) fn output(&mut self, pushed: u64) {
        self.any_output = true;
        self.pushed_at_output = pushed;
        self.unanswered = None;
    }

    /// Judges the child at `now`; `feeding` is whether it has been given anything to answer.
    pub(crate) fn tick(&mut self, now: Mono, at: Position, feeding: bool) -> Verdict {
        if let Some(silent) = self.silence(now, at.pushed, feeding) {
            return Verdict::Stalled(silent);
        }
        let (Some(input), Some(output)) = (at.input_pts, at.output_pts) else { return Verdict::Fine };
        self.points.push_back((now, input, output));
        let old = |point: &(Mono, i64, i64)| now - point.0 > Duration::from_millis(WINDOW_MS);
        while self.points.len() > POINTS_MAX || self.points.front().is_some_and(old) {
            self.points.pop_front();
        }
        self.judge_speed(now)
    }

    /// How far the output is behind the input, in milliseconds.
    pub(crate) fn lag_ms(&self) -> u64 {
        self.points.back().map_or(0, |&(_, input, output)| ms(input - output))
    }

    /// Media time made per unit of time over the window; `None` while that is too short to tell.
    pub(crate) fn speed(&self) -> Option<f64> {
        let (elapsed_ms, _, made_ms) = self.advance()?;
        Some(made_ms / elapsed_ms)
    }

    fn silence(&mut self, now: Mono, pushed: u64, feeding: bool) -> Option<Duration> {
        if !feeding || pushed == self.pushed_at_output {
            self.unanswered = None;
            return None;
        }
        let since = *self.unanswered.get_or_insert(now);
        let limit = if self.any_output { self.stall } else { self.start };
        Some(now - since).filter(|silent| *silent >= limit)
    }

    fn judge_speed(&mut self, now: Mono) -> Verdict {
        let late = self.lag_ms() > self.lag_ms;
        let slow = late && self.too_slow();
        let late_for = lasting(&mut self.late_since, late, now);
        let slow_for = lasting(&mut self.slow_since, slow, now);
        if slow_for.is_some_and(|time| time >= self.after)
            || late_for.is_some_and(|time| time >= self.after * LATE_FACTOR)
        {
            return Verdict::Behind { lag_ms: self.lag_ms(), speed: self.speed().unwrap_or(0.0) };
        }
        Verdict::Fine
    }

    /// Slower than what came in, as far as that came in real time: a burst is not the machine's fault, nor is a pause.
    fn too_slow(&self) -> bool {
        self.advance().is_some_and(|(elapsed_ms, came_ms, made_ms)| {
            let due_ms = came_ms.min(elapsed_ms);
            due_ms > 0.0 && made_ms < due_ms * self.speed_min
        })
    }

    /// Over the window, in milliseconds: time elapsed, media time in, media time out.
    fn advance(&self) -> Option<(f64, f64, f64)> {
        let (first, last) = (self.points.front()?, self.points.back()?);
        let elapsed = last.0 - first.0;
        if elapsed < Duration::from_millis(WINDOW_MS_MIN) {
            return None;
        }
        Some((elapsed.as_secs_f64() * 1e3, ms(last.1 - first.1) as f64, ms(last.2 - first.2) as f64))
    }
}

fn ms(ticks: i64) -> u64 {
    u64::try_from(Timescale::VIDEO.to_ms(ticks)).unwrap_or(0)
}

/// How long a condition has lasted; `since` remembers its beginning.
fn lasting(since: &mut Option<Mono>, holds: bool, now: Mono) -> Option<Duration> {
    *since = since.filter(|_| holds).or(holds.then_some(now));
    since.map(|since| now - since)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks a watch every 100 ms; `position` is given the milliseconds and says what went in and came out, in milliseconds.
    fn first_verdict(until_ms: u64, position: impl Fn(u64) -> (u64, u64)) -> Option<(u64, Verdict)> {
        let mut watch = Watch::new(&Config::default(), 0);
        let mut out_before = 0;
        (0..until_ms).step_by(100).find_map(|t| {
            let (input, output) = position(t);
            if output > out_before {
                watch.output(input);
                out_before = output;
            }
            let pts = |ms: u64| (ms > 0).then_some(i64::try_from(ms).unwrap() * 90);
            let at = Position { pushed: input, input_pts: pts(input), output_pts: pts(output) };
            let verdict = watch.tick(Mono::from_origin(Duration::from_millis(t)), at, true);
            (verdict != Verdict::Fine).then_some((t, verdict))
        })
    }

    #[test]
    fn real_time_a_pause_and_a_burst_are_fine() {
        assert_eq!(first_verdict(60_000, |t| (t, t.saturating_sub(50))), None, "real time");
        assert_eq!(first_verdict(60_000, |t| (t.min(9_000), t.min(9_000))), None, "the source pauses");
        assert_eq!(first_verdict(60_000, |t| (t + 4_000, (t * 3 / 2).min(t + 4_000))), None, "a burst, caught up");
        assert_eq!(first_verdict(9_000, |t| (t * 2, t)), None, "the source is faster than real time");
    }

    #[test]
    fn silence_is_a_stall_and_the_first_output_has_longer() {
        assert_eq!(
            first_verdict(60_000, |t| (t, t.min(5_000))),
            Some((7_100, Verdict::Stalled(Duration::from_secs(2))))
        );
        assert_eq!(first_verdict(60_000, |t| (t, 0)), Some((8_100, Verdict::Stalled(Duration::from_secs(8)))));
    }

    #[test]
    fn sustained_slowness_is_behind() {
        let (at, verdict) = first_verdict(60_000, |t| (t, t * 4 / 5)).unwrap();
        assert!((5_000..=11_000).contains(&at), "{at}");
        assert!(matches!(verdict, Verdict::Behind { speed, lag_ms } if (0.7..0.9).contains(&speed) && lag_ms > 1_000));
        assert!(first_verdict(60_000, |t| (t + 3_000, t)).is_some(), "always three seconds late");
    }
}
