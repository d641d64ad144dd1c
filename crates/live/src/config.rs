use std::ops::RangeInclusive;

use thiserror::Error;

use crate::keys::PublishKey;

/// Less than this cannot be rewound: a playlist holds three target durations at least.
const WINDOW_MS_MIN: u32 = 10_000;

base::section! {
    /// Live streams: who may publish, how they are packaged, and what they may cost.
    pub struct Config in "live" {
        /// Address of the RTMP listener.
        rtmp: String = "\"0.0.0.0:1935\"",
        /// Stream keys, each `APP/NAME=KEY`, `APP/*=KEY` or `*=KEY`. Publishers from this machine need none; all others need one, given as
        /// `?key=KEY` behind the stream's name, or (for `APP/NAME=KEY`) as the stream's name itself.
        publish_keys: Vec<PublishKey> = "[]",
        /// Whether publishers from this machine (loopback) may publish without a key.
        publish_from_loopback: bool = "true",
        /// Whether a second publisher of a stream replaces the first; otherwise it is refused.
        takeover: bool = "false",
        /// Target duration of a segment, in milliseconds (500 to 10000). A segment ends at the first keyframe at or after it.
        segment_duration_ms: u32 = "2000",
        /// Target duration of an LL-HLS part, in milliseconds (100 to 1000).
        part_duration_ms: u32 = "200",
        /// How far viewers can rewind, in milliseconds (10,000 to 86,400,000).
        window_ms: u32 = "600000",
        /// How much of the window is kept in memory, in milliseconds (at least 10,000); the rest is in the store.
        memory_window_ms: u32 = "60000",
        /// How long a stream waits for its encoder to come back before its playlists end, in milliseconds (0 to 600,000).
        reconnect_ms: u32 = "1500",
        /// How far an encoder may run ahead of real time before its sending is slowed down, in milliseconds (0 to 60,000).
        ahead_ms_max: u32 = "1000",
        /// Highest bit rate of one publisher, in kbit/s, over five seconds; a publisher over it is dropped.
        publish_kbps_max: u32 = "100000",
        /// How long frames to RTMP players are gathered into one write when a stream has many players, in milliseconds (0 to 50).
        gather_ms: u32 = "40",
        /// How far an RTMP player may fall behind before it skips to the next keyframe, in milliseconds (100 to 60,000).
        reader_lag_ms_max: u32 = "5000",
        /// Most bytes an RTMP player may be behind before it skips to the next keyframe.
        reader_lag_bytes_max: u64 = "16777216",
        /// Most RTMP connections at a time.
        rtmp_connections_max: u32 = "20000",
        /// Most RTMP connections at a time from one address (loopback is not counted).
        rtmp_connections_per_ip_max: u32 = "256",
        /// Most streams at a time, ended ones in their window included.
        streams_max: u32 = "1000",
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("live.{key} = {value} is out of its range")]
pub struct OutOfRange {
    /// The setting.
    pub key: &'static str,
    /// As configured.
    pub value: u64,
    /// The lowest and the highest value.
    pub range: RangeInclusive<u64>,
}

impl Config {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first setting that is out of its range, with the range. Without the check such a value is moved into it.
    pub fn check(&self) -> Result<(), OutOfRange> {
        /// A day: what is longer is a recording.
        const WINDOW_MS_MAX: u64 = 86_400_000;
        let segment_ms = self.segment_duration_ms.into();
        let settings: [(&str, u64, RangeInclusive<u64>); 13] = [
            ("segment_duration_ms", segment_ms, 500..=10_000),
            ("part_duration_ms", self.part_duration_ms.into(), 100..=segment_ms.min(1_000)),
            ("window_ms", self.window_ms.into(), WINDOW_MS_MIN.into()..=WINDOW_MS_MAX),
            ("memory_window_ms", self.memory_window_ms.into(), WINDOW_MS_MIN.into()..=WINDOW_MS_MAX),
            ("reconnect_ms", self.reconnect_ms.into(), 0..=600_000),
            ("ahead_ms_max", self.ahead_ms_max.into(), 0..=60_000),
            ("publish_kbps_max", self.publish_kbps_max.into(), 1..=u32::MAX.into()),
            ("gather_ms", self.gather_ms.into(), 0..=50),
            ("reader_lag_ms_max", self.reader_lag_ms_max.into(), 100..=60_000),
            ("reader_lag_bytes_max", self.reader_lag_bytes_max, 65_536..=u64::MAX),
            ("rtmp_connections_max", self.rtmp_connections_max.into(), 1..=u32::MAX.into()),
            ("rtmp_connections_per_ip_max", self.rtmp_connections_per_ip_max.into(), 1..=u32::MAX.into()),
            ("streams_max", self.streams_max.into(), 1..=u32::MAX.into()),
        ];
        match settings.into_iter().find(|(_, value, range)| !range.contains(value)) {
            Some((key, value, range)) => Err(OutOfRange { key, value, range }),
            None => Ok(()),
        }
    }

    /// Values the packager can work with, from whatever was configured.
    pub(crate) fn packager(&self) -> packager::Config {
        let window_ms = self.window_ms.max(WINDOW_MS_MIN);
        packager::Config {
            segment_target_ms: self.segment_duration_ms.clamp(500, 10_000),
            part_target_ms: self.part_duration_ms.clamp(100, 1_000),
            window_ms,
            memory_window_ms: self.memory_window_ms.clamp(WINDOW_MS_MIN, window_ms),
            ..packager::Config::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_is_named_with_its_range() {
        let check = |change: fn(&mut Config), expected: Option<(&str, RangeInclusive<u64>)>| {
            let mut config = Config::default();
            change(&mut config);
            let got = config.check().err().map(|error| (error.key, error.range));
            assert_eq!(got, expected);
        };
        check(|_| {}, None);
        check(|config| config.segment_duration_ms = 5, Some(("segment_duration_ms", 500..=10_000)));
        check(|config| config.part_duration_ms = 1_001, Some(("part_duration_ms", 100..=1_000)));
        check(
            |config| (config.segment_duration_ms, config.part_duration_ms) = (500, 600),
            Some(("part_duration_ms", 100..=500)),
        );
        check(|config| config.window_ms = 9_999, Some(("window_ms", 10_000..=86_400_000)));
        check(|config| config.memory_window_ms = 700_000, None);
        check(|config| config.streams_max = 0, Some(("streams_max", 1..=4_294_967_295)));
    }
}
