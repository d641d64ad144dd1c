use base::time::{Timescale, rescale_nearest};

/// How far a correct millisecond timestamp may lie from the exact time: rounded at the encoder, and once more where the
/// first timestamp was taken for exact.
const ROUNDING_MS: i64 = 2;

/// Makes exact audio times out of timestamps that RTMP and FLV round to milliseconds.
///
/// A packet begins where the one before ends, so that 1024 samples at 44.1 kHz stay 1024 samples instead of 23 or 24 ms.
/// Only when the timestamp leaves that by more than half a packet (and more than rounding explains) is there a gap or
/// jump: then the timestamp counts. The error is therefore bounded by half a packet and never adds up.
#[derive(Clone, Debug)]
pub struct AudioClock {
    timescale: Timescale,
    /// Where the last packet ends, in ticks.
    next: Option<i64>,
}

impl AudioClock {
    /// A clock whose first packet will be where its timestamp says; `timescale` is that of the track.
    pub fn new(timescale: Timescale) -> Self {
        Self { timescale, next: None }
    }

    /// The decoding time of a packet of `packet_samples` ticks that is stamped `timestamp_ms`, in ticks.
    pub fn stamp(&mut self, timestamp_ms: i64, packet_samples: u32) -> i64 {
        let stamped = rescale_nearest(timestamp_ms, Timescale::MS, self.timescale);
        let rounding = rescale_nearest(ROUNDING_MS, Timescale::MS, self.timescale);
        let tolerance = i64::from(packet_samples / 2).max(rounding);
        let dts = self.next.filter(|next| next.abs_diff(stamped) <= tolerance.unsigned_abs()).unwrap_or(stamped);
        self.next = Some(dts.saturating_add(packet_samples.into()));
        dts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AAC: u32 = 1_024;

    #[test]
    fn a_day_of_rounded_timestamps_makes_contiguous_packets() {
        for rate in [8_000, 11_025, 22_050, 44_100, 48_000, 96_000] {
            let timescale = Timescale::hz(rate);
            let mut clock = AudioClock::new(timescale);
            for packet in 0..86_400 * i64::from(rate) / i64::from(AAC) {
                let exact = packet * i64::from(AAC);
                assert_eq!(clock.stamp(timescale.to_ms(exact), AAC), exact, "{rate} Hz, packet {packet}");
            }
        }
    }

    #[test]
    fn gaps_and_jumps_pass_through() {
        let mut clock = AudioClock::new(Timescale::hz(48_000));
        let stamps = [0, 21, 43, 64, 200, 221, 10_000, 50, 71];
        let ticks = [0, 1_024, 2_048, 3_072, 9_600, 10_624, 480_000, 2_400, 3_424];
        assert_eq!(stamps.map(|ms| clock.stamp(ms, AAC)), ticks);
    }

    #[test]
    fn a_sender_whose_clock_drifts_is_followed_within_half_a_packet() {
        let mut clock = AudioClock::new(Timescale::hz(48_000));
        for packet in 0..100_000_i64 {
            // A sound card of 48,048 Hz: 0.1 % fast, stamped by the computer's clock.
            let stamp_ms = packet * 1_024 * 1_000 / 48_048;
            let dts = clock.stamp(stamp_ms, AAC);
            assert!(dts.abs_diff(stamp_ms * 48) <= 512, "packet {packet}");
        }
    }

    #[test]
    fn tiny_packets_do_not_take_rounding_for_a_gap() {
        let mut clock = AudioClock::new(Timescale::hz(48_000));
        for packet in 0..10_000_i64 {
            assert_eq!(clock.stamp(packet * 120 / 48, 120), packet * 120);
        }
    }

    #[test]
    fn absurd_timestamps_saturate() {
        let mut clock = AudioClock::new(Timescale::hz(48_000));
        for stamp_ms in [i64::MAX, i64::MIN, 0, i64::MAX / 48] {
            clock.stamp(stamp_ms, u32::MAX);
        }
    }
}
