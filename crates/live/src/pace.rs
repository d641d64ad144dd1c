//! Holds an encoder to real time. Pure.

use std::time::Duration;

use base::Mono;

/// A step in media time beyond this is a jump of the encoder's clock, not speed.
const JUMP_MS: i64 = 10_000;
/// How much of a stall may be caught up at any speed.
const CATCH_UP_MS_MAX: f64 = 30_000.0;
/// The pace allowed in the long run: real time, and the drift of a bad clock.
const RATE: f64 = 1.001;

/// A leaky bucket: media time flows in, wall time flows out.
#[derive(Debug)]
pub(crate) struct Pacer {
    ahead_ms_max: f64,
    /// Media time received and not yet covered by wall time; negative after a stall.
    level_ms: f64,
    last_media_ms: Option<i64>,
    last_now: Mono,
}

impl Pacer {
    pub(crate) fn new(ahead_ms_max: u32, now: Mono) -> Self {
        Self { ahead_ms_max: f64::from(ahead_ms_max), level_ms: 0.0, last_media_ms: None, last_now: now }
    }

    /// Takes note of a sample at `media_ms`; returns how long to stop reading from the encoder, zero when it is on time.
    pub(crate) fn observe(&mut self, media_ms: i64, now: Mono) -> Duration {
        let elapsed_ms = now.since(self.last_now).as_secs_f64() * 1_000.0;
        self.last_now = now;
        self.level_ms = (self.level_ms - elapsed_ms * RATE).max(-CATCH_UP_MS_MAX);
        let step_ms = media_ms - self.last_media_ms.unwrap_or(media_ms);
        if !(-JUMP_MS..=JUMP_MS).contains(&step_ms) {
            self.last_media_ms = Some(media_ms);
        } else if step_ms > 0 {
            self.last_media_ms = Some(media_ms);
            self.level_ms += step_ms as f64;
        } else if self.last_media_ms.is_none() {
            self.last_media_ms = Some(media_ms);
        }
        Duration::from_secs_f64((self.level_ms - self.ahead_ms_max).max(0.0) / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_origin(Duration::from_millis(ms))
    }

    /// Sends 60 s of media at `speed` times real time, obeying the pacer; returns the wall time it took, in seconds.
    fn seconds_taken(speed: f64) -> f64 {
        let mut pacer = Pacer::new(1_000, at(0));
        let mut now = Duration::ZERO;
        for frame in 0..1_500 {
            now += pacer.observe(frame * 40, Mono::from_origin(now));
            now += Duration::from_secs_f64(0.040 / speed);
        }
        now.as_secs_f64()
    }

    #[test]
    fn a_fast_encoder_is_held_to_real_time_and_a_true_one_is_left_alone() {
        assert!((58.0..61.0).contains(&seconds_taken(50.0)), "{}", seconds_taken(50.0));
        assert!((59.9..60.1).contains(&seconds_taken(1.0)), "{}", seconds_taken(1.0));
    }

    #[test]
    fn a_stall_may_be_caught_up_and_a_jump_is_not_speed() {
        let mut pacer = Pacer::new(1_000, at(0));
        assert_eq!(pacer.observe(0, at(0)), Duration::ZERO);
        assert_eq!(pacer.observe(5_000, at(5_000)), Duration::ZERO);
        assert_eq!(pacer.observe(9_000, at(9_500)), Duration::ZERO);
        assert_eq!(pacer.observe(90_000_000, at(9_510)), Duration::ZERO);
        assert!(pacer.observe(90_003_000, at(9_520)) > Duration::from_secs(1));
    }
}
