//! What an encoder sends: bit rate, frame rate, GOP length. Pure.

use std::time::Duration;

use base::Mono;
use media::{Sample, TrackKind};

/// How often the figures are renewed.
const INTERVAL: Duration = Duration::from_secs(1);
/// Over how many intervals the bit rate limit is judged, the current one included.
const LIMIT_INTERVALS: usize = 5;

/// The figures of the last full interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) kbps: u64,
    pub(crate) frame_rate: f64,
    /// From keyframe to keyframe; zero before the second one.
    pub(crate) gop_ms: i64,
}

/// Counts samples and renews [`Figures`] once a second.
#[derive(Debug)]
pub(crate) struct Meter {
    figures: Figures,
    since: Mono,
    bytes: u64,
    frames: u64,
    last_keyframe_ms: Option<i64>,
    gop_ms: i64,
    /// Bytes of the intervals before the current one.
    recent_bytes: [u64; LIMIT_INTERVALS - 1],
    intervals: usize,
}

impl Meter {
    pub(crate) fn new(now: Mono) -> Self {
        Self {
            figures: Figures::default(),
            since: now,
            bytes: 0,
            frames: 0,
            last_keyframe_ms: None,
            gop_ms: 0,
            recent_bytes: [0; LIMIT_INTERVALS - 1],
            intervals: 0,
        }
    }

    /// Counts one sample with presentation time `pts_ms`; the new figures when an interval ended with it.
    pub(crate) fn observe(&mut self, kind: TrackKind, pts_ms: i64, sample: &Sample, now: Mono) -> Option<Figures> {
        self.bytes += sample.payload.len() as u64;
        if kind == TrackKind::Video {
            self.frames += 1;
            if sample.sync {
                self.gop_ms = self.last_keyframe_ms.map_or(0, |last| pts_ms - last);
                self.last_keyframe_ms = Some(pts_ms);
            }
        }
        let elapsed = now.since(self.since);
        if elapsed < INTERVAL {
            return None;
        }
        let seconds = elapsed.as_secs_f64();
        let kbps = (self.bytes as f64 * 8.0 / 1_000.0 / seconds) as u64;
        self.recent_bytes[self.intervals % (LIMIT_INTERVALS - 1)] = self.bytes;
        self.intervals += 1;
        self.figures = Figures { kbps, frame_rate: self.frames as f64 / seconds, gop_ms: self.gop_ms };
        (self.since, self.bytes, self.frames) = (now, 0, 0);
        Some(self.figures)
    }

    /// The bit rate over five seconds, as if nothing more came in them: a flood is seen before the five seconds are over.
    pub(crate) fn sustained_kbps(&self) -> u64 {
        let bytes = self.recent_bytes.iter().sum::<u64>().saturating_add(self.bytes);
        bytes.saturating_mul(8) / 1_000 / (LIMIT_INTERVALS as u64 * INTERVAL.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn figures_are_those_of_the_last_second() {
        let mut meter = Meter::new(Mono::ZERO);
        let mut last = None;
        for frame in 0..=125_i64 {
            let now = Mono::from_origin(Duration::from_millis(frame as u64 * 40));
            let sample = Sample {
                dts: 0,
                cts_offset: 0,
                duration: 0,
                sync: frame % 50 == 0,
                payload: Bytes::from(vec![0; 5_000]),
            };
            last = meter.observe(TrackKind::Video, frame * 40, &sample, now).or(last);
        }
        let figures = last.unwrap();
        assert_eq!((figures.kbps, figures.frame_rate.round() as u32, figures.gop_ms), (1_000, 25, 2_000));
        assert_eq!(meter.sustained_kbps(), 800, "four full seconds, and the fifth has just begun");
    }

    #[test]
    fn a_flood_is_seen_within_its_first_second() {
        let mut meter = Meter::new(Mono::ZERO);
        let sample = Sample { dts: 0, cts_offset: 0, duration: 0, sync: true, payload: Bytes::from(vec![0; 125_000]) };
        for _ in 0..50 {
            assert_eq!(meter.observe(TrackKind::Video, 0, &sample, Mono::ZERO), None);
        }
        assert_eq!(meter.sustained_kbps(), 10_000);
    }
}
