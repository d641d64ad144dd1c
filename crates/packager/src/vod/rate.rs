//! Frame rates and bit rates of a finished track.

use base::Timescale;

use super::index::IndexedSegment;
use crate::bandwidth;

/// Rates of film, television and screens, as frames in so many seconds.
const USUAL: &[(u32, u32)] = &[
    (24_000, 1_001),
    (24, 1),
    (25, 1),
    (30_000, 1_001),
    (30, 1),
    (48, 1),
    (50, 1),
    (60_000, 1_001),
    (60, 1),
    (15, 1),
    (12, 1),
    (10, 1),
    (120, 1),
];
/// How near a measured mean must be to a rate to be taken for it, in millionths: 24 and 23.976 are 1,000 apart.
const NEAR_MILLIONTHS: u64 = 400;
/// The same for what the codec's header says, which is right where the measure suffers from a first or last frame.
const TOLD_MILLIONTHS: u64 = 10_000;

/// Frames per second from what was measured and what the header tells.
pub(super) fn frame_rate(
    frames: u64,
    ticks: u64,
    timescale: Timescale,
    told: Option<(u32, u32)>,
) -> Option<(u32, u32)> {
    if frames == 0 || ticks == 0 {
        return told;
    }
    // The mean in millionths of a frame per second.
    let mean = u128::from(frames) * u128::from(timescale.get()) * 1_000_000 / u128::from(ticks);
    let near = |rate: &(u32, u32), millionths: u64| {
        let rate = u128::from(rate.0) * 1_000_000 / u128::from(rate.1.max(1));
        rate > 0 && mean.abs_diff(rate) * 1_000_000 <= rate * u128::from(millionths)
    };
    let usual = USUAL.iter().copied().find(|rate| near(rate, NEAR_MILLIONTHS));
    let measured = || {
        let thousandths = u32::try_from((mean + 500) / 1_000).ok()?.max(1);
        let divisor = (1..=1_000).rev().find(|n| thousandths % n == 0 && 1_000 % n == 0).unwrap_or(1);
        Some((thousandths / divisor, 1_000 / divisor))
    };
    told.filter(|rate| near(rate, TOLD_MILLIONTHS)).or(usual).or_else(measured)
}

/// A frame rate for attributes that want a decimal number.
pub(super) fn decimal(rate: (u32, u32)) -> f64 {
    f64::from(rate.0) / f64::from(rate.1.max(1))
}

/// Target duration of segments in whole seconds: EXTINF, rounded, is at most this (RFC 8216bis 4.4.3.1).
pub(super) fn target_s(segments: impl Iterator<Item = i64>, timescale: Timescale) -> i64 {
    segments.map(|ticks| (timescale.to_us(ticks) + 500_000) / 1_000_000).max().unwrap_or(0).max(1)
}

/// Peak and mean bits per second of segments.
pub(super) fn bandwidth(segments: &[IndexedSegment], timescale: Timescale) -> (u64, u64) {
    let us = |ticks: i64| u64::try_from(timescale.to_us(ticks)).unwrap_or(0);
    let sizes: Vec<(u64, u64)> = segments.iter().map(|segment| (segment.bytes, us(segment.ticks))).collect();
    let target_s = target_s(segments.iter().map(|segment| segment.ticks), timescale);
    let (bytes, all_us) = sizes.iter().fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
    let mean = bandwidth::bits_per_second(bytes, all_us);
    // One more: EXTINF is rounded, and bits per second are rounded down.
    (bandwidth::peak(&sizes, target_s.unsigned_abs() * 1_000_000).max(mean) + 1, mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_taken_for_the_rate_it_is_near_to() {
        let check = |frames: u64, ms: u64, told, want| {
            assert_eq!(frame_rate(frames, ms * 90, Timescale::VIDEO, told), Some(want), "{frames} in {ms} ms");
        };
        check(250, 10_000, None, (25, 1));
        check(2_398, 100_017, None, (24_000, 1_001));
        check(2_398, 100_017, Some((24_000, 1_001)), (24_000, 1_001));
        check(2_398, 100_017, Some((90_000, 1)), (24_000, 1_001));
        check(123, 10_000, None, (123, 10));
        check(1, 3_000, None, (333, 1_000));
        assert_eq!(frame_rate(0, 0, Timescale::VIDEO, None), None);
    }
}
