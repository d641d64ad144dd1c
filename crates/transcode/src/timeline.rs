//! Between the source's timeline and FFmpeg's: FLV counts milliseconds in 32 bits, the source 90 kHz without end. Pure.

use std::collections::BTreeMap;

use base::Timescale;
use media::Sample;

/// FLV time of a run's first sample, in milliseconds: room for negative composition offsets, as nothing may go below zero.
pub(crate) const START_MS: i64 = 1_000;
/// Pictures whose exact time is remembered while FFmpeg has them: over a minute at 120 frames per second.
const PICTURES_MAX: usize = 8_192;

/// The times of one run of FFmpeg, which begins at [`START_MS`].
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    base_ms: Option<i64>,
    exact: BTreeMap<i64, i64>,
}

impl Timeline {
    /// A sample on FFmpeg's timeline, its times whole milliseconds in ticks of `timescale`. Pictures are remembered.
    pub(crate) fn enter(&mut self, sample: &Sample, timescale: Timescale, picture: bool) -> Sample {
        let dts_ms = timescale.to_ms(sample.dts);
        let pts_ms = timescale.to_ms(sample.pts());
        let base_ms = *self.base_ms.get_or_insert(dts_ms);
        if picture {
            self.exact.insert(pts_ms - base_ms + START_MS, sample.pts());
            if self.exact.len() > PICTURES_MAX {
                self.exact.pop_first();
            }
        }
        // Rounded up, so that the muxer's rounding down to milliseconds gives the same millisecond again.
        let dts = ceil_ticks(dts_ms - base_ms + START_MS, timescale);
        let pts = ceil_ticks(pts_ms - base_ms + START_MS, timescale);
        let cts_offset = i32::try_from(pts - dts).unwrap_or(sample.cts_offset);
        Sample { dts, cts_offset, ..sample.clone() }
    }

    /// A sample from FFmpeg on the source's timeline. A picture has exactly the presentation time of the one it was made of.
    pub(crate) fn leave(&self, mut sample: Sample, timescale: Timescale, picture: bool) -> Sample {
        let offset_ms = self.base_ms.unwrap_or(0) - START_MS;
        let pts_ms = base::time::rescale_nearest(sample.pts(), timescale, Timescale::MS);
        let exact = self.exact.get(&pts_ms).filter(|_| picture);
        let pts = exact.copied().unwrap_or_else(|| sample.pts() + timescale.from_ms(offset_ms));
        sample.dts = pts - i64::from(sample.cts_offset);
        sample
    }
}

fn ceil_ticks(ms: i64, timescale: Timescale) -> i64 {
    -base::time::rescale(-ms, Timescale::MS, timescale)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn sample(dts: i64, cts_offset: i32) -> Sample {
        Sample { dts, cts_offset, duration: 0, sync: true, payload: Bytes::new() }
    }

    #[test]
    fn a_picture_comes_back_at_its_exact_time() {
        let mut timeline = Timeline::default();
        let check = |timeline: &mut Timeline, dts: i64, cts: i32| {
            let inside = timeline.enter(&sample(dts, cts), Timescale::VIDEO, true);
            assert_eq!((inside.dts % 90, inside.pts() % 90), (0, 0), "whole milliseconds");
            let encoded = sample(inside.pts(), 0);
            assert_eq!(timeline.leave(encoded, Timescale::VIDEO, true).pts(), dts + i64::from(cts));
            inside.dts
        };
        // 59.94 Hz, far up the timeline: past 32 bits of milliseconds.
        let start = (i64::from(u32::MAX) + 7) * 90 + 13;
        assert_eq!(check(&mut timeline, start, 3_003), 90_000);
        for n in 1..600 {
            check(&mut timeline, start + n * 3_003 / 2, 0);
        }
    }

    #[test]
    fn the_table_of_times_is_bounded() {
        let mut timeline = Timeline::default();
        for n in 0..20_000 {
            timeline.enter(&sample(n * 1_500, 0), Timescale::VIDEO, true);
        }
        assert_eq!(timeline.exact.len(), PICTURES_MAX);
    }

    #[test]
    fn sound_is_moved_by_the_same_offset() {
        let mut timeline = Timeline::default();
        timeline.enter(&sample(900_000, 0), Timescale::VIDEO, true);
        let audio = Timescale::hz(48_000);
        let inside = timeline.enter(&sample(480_960, 0), audio, false);
        assert_eq!(audio.to_ms(inside.dts), START_MS + 20);
        assert_eq!(timeline.leave(inside, audio, false).dts, 480_960);
    }
}
