//! What a variant costs to receive: measured, and estimated only as long as nothing was.

use base::Timescale;

use crate::{Presentation, segment::Segment, track::TrackState};

/// Added to an estimate or a nominal bitrate, in percent: the next segment may be larger than the first frames tell.
const HEADROOM_PERCENT: u64 = 15;

impl Presentation {
    /// Peak bits per second: of any run of listed segments between half and one and a half target durations long (RFC 8216bis 4.1), so
    /// that a short segment, which is mostly key frame, counts with its neighbours.
    pub(crate) fn bandwidth(&self, state: &TrackState) -> u64 {
        let measured = self.peak(state);
        let expected = self.expected_bandwidth(state, measured);
        with_headroom(state.nominal_bits_per_second).max(measured).max(expected)
    }

    fn peak(&self, state: &TrackState) -> u64 {
        let target_us = self.target_s.unsigned_abs() * 1_000_000;
        let us = |segment: &Segment| u64::try_from(segment.timescale.to_us(segment.ticks)).unwrap_or(0);
        let sizes: Vec<(u64, u64)> = self.measured(state).map(|segment| (segment.bytes, us(segment))).collect();
        peak(&sizes, target_us)
    }

    /// Mean bits per second over the listed segments (AVERAGE-BANDWIDTH).
    pub(crate) fn average_bandwidth(&self, state: &TrackState) -> u64 {
        let (mut bits, mut us) = (0_u64, 0_u64);
        for segment in self.measured(state) {
            bits += segment.bytes * 8;
            us += u64::try_from(segment.timescale.to_us(segment.ticks)).unwrap_or(0);
        }
        let mean = (u128::from(bits) * 1_000_000).checked_div(us.into()).unwrap_or(0);
        let estimated = || self.expected_bandwidth(state, 0).max(state.nominal_bits_per_second);
        if us == 0 { estimated() } else { u64::try_from(mean).unwrap_or(u64::MAX) }
    }

    fn measured<'a>(&'a self, state: &'a TrackState) -> impl Iterator<Item = &'a Segment> {
        let whole = |segment: &&Segment| segment.closed && segment.bytes > 0 && segment.msn >= self.first_listed;
        state.segments.iter().filter(whole)
    }

    /// Before the first long segment is complete: its key frame, and the rate of the other frames for the rest of it. The short segment
    /// that opens the stream belongs to it.
    fn expected_bandwidth(&self, state: &TrackState, measured: u64) -> u64 {
        if measured > 0 {
            return 0;
        }
        let so_far = || state.segments.iter().filter(|segment| segment.bytes > 0);
        let samples = so_far().flat_map(|segment| &segment.parts).flat_map(|part| &part.samples);
        let sync_bytes: u64 = samples.filter(|sample| sample.sync).map(|sample| sample.payload.len() as u64).sum();
        let bytes: u64 = so_far().map(|segment| segment.bytes).sum();
        let elapsed_us: i64 = so_far().map(|segment| segment.timescale.to_us(segment.ticks)).sum();
        let elapsed_us = u64::try_from(elapsed_us).unwrap_or(0).max(1);
        let target_us = u64::from(self.config.segment_target_ms) * 1_000;
        let rest_us = target_us.saturating_sub(elapsed_us);
        let is_audio = state.track().kind() == media::TrackKind::Audio;
        let running = if is_audio { bytes } else { bytes.saturating_sub(sync_bytes) };
        let expected = u128::from(bytes) + u128::from(running) * u128::from(rest_us) / u128::from(elapsed_us);
        let bits_per_second = expected * 8 * 1_000_000 / u128::from(target_us.max(elapsed_us));
        with_headroom(u64::try_from(bits_per_second).unwrap_or(u64::MAX))
    }

    /// Longest listed segment of any track, in milliseconds.
    pub(crate) fn longest_segment_ms(&self) -> i64 {
        let listed = self.grid.cells().filter(|cell| cell.msn >= self.first_listed);
        let longest = listed.filter_map(|cell| Some(cell.end? - cell.start)).max().unwrap_or(0);
        Timescale::VIDEO.to_ms(longest).max(self.config.segment_target_ms.into())
    }
}

/// The largest bit rate of any run of segments, given as bytes and microseconds, that lasts between half and one and a half targets;
/// zero when no run does.
pub(crate) fn peak(sizes: &[(u64, u64)], target_us: u64) -> u64 {
    let runs_from = |first: usize| {
        let add = |run: &mut (u64, u64), &(bytes, us): &(u64, u64)| {
            *run = (run.0 + bytes, run.1 + us);
            Some(*run)
        };
        let runs = sizes.iter().skip(first).scan((0, 0), add);
        runs.take_while(|run| run.1 * 2 <= target_us * 3).filter(|run| run.1 * 2 >= target_us)
    };
    let rates = (0..sizes.len()).flat_map(runs_from).map(|(bytes, us)| bits_per_second(bytes, us));
    rates.max().unwrap_or(0)
}

pub(crate) fn bits_per_second(bytes: u64, us: u64) -> u64 {
    let bits = u128::from(bytes) * 8 * 1_000_000;
    u64::try_from(bits / u128::from(us.max(1))).unwrap_or(u64::MAX)
}

fn with_headroom(bits_per_second: u64) -> u64 {
    bits_per_second.saturating_add(bits_per_second / 100 * HEADROOM_PERCENT)
}
