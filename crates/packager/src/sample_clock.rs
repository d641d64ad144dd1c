//! From a source's timestamps to the presentation timeline: one shift per epoch, strictly increasing decoding times,
//! and sound on its own exact clock although RTMP rounds to milliseconds.

use base::{
    Timescale,
    time::{rescale, rescale_nearest},
};
use media::{Sample, Track};

/// Frame rates outside this range are a header's nonsense, in frames per second.
const FRAME_RATE: std::ops::RangeInclusive<f64> = 0.2..=480.0;
/// Frames measured before a measurement is worth more than a header that contradicts it.
const FRAMES_MEASURED_MIN: i64 = 8;
/// A step of more frames than this is a hole, and tells nothing of the frame rate.
const HOLE_FRAMES: i64 = 8;
/// A sound packet lasts until the next one while that is at most this many packets later; a longer silence is a hole.
const PACKET_STRETCH_MAX: i64 = 3;
/// Assumed when neither header nor measurement tells, in frames per second.
const FRAME_RATE_ASSUMED: i64 = 30;

/// The clock of one track within one epoch.
#[derive(Clone, Debug)]
pub(crate) struct SampleClock {
    timescale: Timescale,
    /// Presentation time minus source time, in 90 kHz ticks, and in the track's.
    shift_90k: i64,
    shift: i64,
    /// Ticks of one sound packet.
    packet: Option<i64>,
    /// Ticks of a frame as the codec header tells.
    frame_told: Option<i64>,
    last_dts: Option<i64>,
    /// Ticks and number of the steps between samples, holes left out.
    span: i64,
    steps: i64,
}

impl SampleClock {
    pub(crate) fn new(track: &Track) -> Self {
        let mut clock = Self {
            timescale: track.timescale,
            shift_90k: 0,
            shift: 0,
            packet: None,
            frame_told: None,
            last_dts: None,
            span: 0,
            steps: 0,
        };
        clock.configure(track);
        clock
    }

    /// The track's codec changed; the epoch runs on.
    pub(crate) fn configure(&mut self, track: &Track) {
        self.timescale = track.timescale;
        self.anchor(self.shift_90k);
        self.packet = track.codec.audio().and_then(|audio| {
            let output_rate = Timescale::new(audio.sample_rate)?;
            Some(rescale(audio.frame_samples.into(), output_rate, track.timescale)).filter(|&ticks| ticks > 0)
        });
        self.frame_told = track.codec.video().and_then(|video| video.frame_rate).and_then(|(num, den)| {
            let rate = f64::from(num) / f64::from(den);
            FRAME_RATE.contains(&rate).then(|| i64::from(den) * i64::from(self.timescale.get()) / i64::from(num.max(1)))
        });
    }

    /// An epoch begins: source time plus `shift_90k` (90 kHz ticks) is presentation time.
    pub(crate) fn anchor(&mut self, shift_90k: i64) {
        self.shift_90k = shift_90k;
        self.shift = rescale_nearest(shift_90k, Timescale::VIDEO, self.timescale);
        self.last_dts = None;
        (self.span, self.steps) = (0, 0);
    }

    /// Presentation time minus source time, in ticks.
    pub(crate) fn shift(&self) -> i64 {
        self.shift
    }

    /// Presentation time of the last sample's decoding.
    pub(crate) fn last_dts(&self) -> Option<i64> {
        self.last_dts
    }

    /// Places a sample of source time on the presentation timeline.
    pub(crate) fn place(&mut self, mut sample: Sample) -> Sample {
        let pts = sample.pts().saturating_add(self.shift);
        let raw = sample.dts.saturating_add(self.shift);
        let dts = self.last_dts.map_or(raw, |last| self.regular(raw, last)).max(0);
        self.measure(dts);
        self.last_dts = Some(dts);
        sample.dts = dts;
        sample.cts_offset =
            if self.packet.is_some() { 0 } else { i32::try_from(pts - dts).unwrap_or(sample.cts_offset) };
        sample
    }

    fn measure(&mut self, dts: i64) {
        let Some(step) = self.last_dts.map(|last| dts - last) else { return };
        let is_hole = self.steps > 1 && step > HOLE_FRAMES * self.span / self.steps;
        if !is_hole {
            self.span += step;
            self.steps += 1;
        }
    }

    /// Sound runs on its packet clock unless the stamp disagrees by more than half a packet; nothing ever runs backwards.
    fn regular(&self, raw: i64, last: i64) -> i64 {
        let expected = self.packet.map(|packet| last + packet);
        match (expected, self.packet) {
            (Some(expected), Some(packet)) if (raw - expected).abs() <= packet / 2 => expected,
            _ => raw.max(last + 1),
        }
    }

    /// Ticks a sample lasts when the next one comes `step` ticks later.
    pub(crate) fn duration(&self, step: i64) -> i64 {
        match self.packet {
            Some(packet) if step > PACKET_STRETCH_MAX * packet => packet,
            _ => step.max(1),
        }
    }

    /// Ticks a sample is expected to last.
    pub(crate) fn frame(&self) -> i64 {
        let measured = self.measured();
        match (self.packet, self.frame_told, measured) {
            (Some(packet), ..) => packet,
            (None, Some(told), Some(measured)) if contradicts(told, measured) => measured,
            (None, Some(told), _) => told,
            (None, None, Some(measured)) => measured,
            (None, None, None) => i64::from(self.timescale.get()) / FRAME_RATE_ASSUMED,
        }
        .max(1)
    }

    fn measured(&self) -> Option<i64> {
        let enough = self.steps >= if self.frame_told.is_some() { FRAMES_MEASURED_MIN } else { 1 };
        enough.then(|| (self.span + self.steps / 2) / self.steps)
    }

    /// Frames per second: the header's, unless the stamps contradict it; `None` for sound or before the second frame.
    pub(crate) fn frame_rate(&self) -> Option<f64> {
        let ticks = f64::from(self.timescale.get());
        if self.packet.is_some() || (self.frame_told.is_none() && self.measured().is_none()) {
            return None;
        }
        let told = self.frame_told.filter(|&told| self.measured().is_none_or(|measured| !contradicts(told, measured)));
        Some(match told {
            Some(told) => usual_rate(ticks / told as f64),
            None => usual_rate(ticks * self.steps as f64 / self.span.max(1) as f64),
        })
    }
}

fn contradicts(told: i64, measured: i64) -> bool {
    (told - measured).abs() * 5 > told
}

/// The usual frame rate within 0.4 % of `rate`, for stamps in milliseconds; else `rate` itself.
fn usual_rate(rate: f64) -> f64 {
    const USUAL: [f64; 14] = [
        60.0,
        30.0,
        25.0,
        50.0,
        24.0,
        15.0,
        120.0,
        48.0,
        20.0,
        10.0,
        30e3 / 1001.0,
        60e3 / 1001.0,
        24e3 / 1001.0,
        12.0,
    ];
    let near = |&usual: &f64| (usual - rate).abs() <= usual * 0.004;
    USUAL.into_iter().filter(near).min_by(|a, b| (a - rate).abs().total_cmp(&(b - rate).abs())).unwrap_or(rate)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use media::{CodecConfig, codec::aac};

    use super::*;

    fn aac() -> Track {
        Track::new(CodecConfig::Aac(aac::Config {
            record: Bytes::from_static(&[0x11, 0x90]),
            object_type: 2,
            sample_rate: 48_000,
            channels: 2,
            frame_samples: 1024,
        }))
    }

    fn sample(dts: i64) -> Sample {
        Sample { dts, cts_offset: 0, duration: 0, sync: true, payload: Bytes::new() }
    }

    #[test]
    fn millisecond_stamps_do_not_move_the_sound_clock() {
        let mut clock = SampleClock::new(&aac());
        clock.anchor(90_000);
        for n in 0..10_000_i64 {
            let stamp_ms = n * 1024 * 1000 / 48_000;
            assert_eq!(clock.place(sample(stamp_ms * 48)).dts, 48_000 + n * 1024);
        }
    }

    #[test]
    fn decoding_times_increase_and_gaps_stay() {
        let mut clock = SampleClock::new(&aac());
        let mut check = |dts: i64, placed: i64| assert_eq!(clock.place(sample(dts)).dts, placed, "{dts}");
        check(0, 0);
        check(1024, 1024);
        check(1024, 1025);
        check(10_000, 10_000);
        check(9_000, 10_001);
        assert_eq!(clock.duration(1024), 1024);
        assert_eq!(clock.duration(2048), 2048);
        assert_eq!(clock.duration(48_000), 1024);
    }
}
