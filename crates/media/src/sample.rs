use std::sync::Arc;

use base::Timescale;
use bytes::Bytes;

use crate::CodecConfig;

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// One elementary stream with its decoder configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// The decoder configuration; a new one is a new `Track` value under the same place in the stream.
    pub codec: Arc<CodecConfig>,
    /// Ticks per second of the samples' times.
    pub timescale: Timescale,
}

impl Track {
    /// A video track in 90 kHz, an audio track in its sample rate: the timescales of this platform.
    pub fn new(codec: CodecConfig) -> Self {
        let timescale = match &codec {
            CodecConfig::Aac(aac) => Timescale::new(aac.sample_rate).unwrap_or(Timescale::VIDEO),
            CodecConfig::Opus(_) => Timescale::hz(48_000),
            CodecConfig::Ac3(ac3) => Timescale::new(ac3.sample_rate).unwrap_or(Timescale::VIDEO),
            _ => Timescale::VIDEO,
        };
        Self { codec: Arc::new(codec), timescale }
    }

    /// Video or audio.
    pub fn kind(&self) -> TrackKind {
        self.codec.kind()
    }
}

/// One access unit: the currency of the platform. Every input becomes samples, every output is made from them.
///
/// Cloning shares the payload. The payload is in the form ISO-BMFF stores: for H.264 and H.265, NAL units each behind a
/// 4-byte big-endian length, without parameter sets and access unit delimiters unless they differ from the track's
/// configuration (ISO/IEC 14496-15 5.3.2); for AV1, the OBUs of a temporal unit without temporal delimiters, each with its
/// size field; for AAC, one raw_data_block without ADTS; for Opus, one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Decoding time, in ticks of the track's timescale.
    pub dts: i64,
    /// Presentation time minus decoding time, in ticks.
    pub cts_offset: i32,
    /// Ticks to the next sample's `dts`; zero while that is not known.
    pub duration: u32,
    /// A stream access point of type 1 or 2 (ISO/IEC 14496-12 Annex I): decoding can start here. True for all audio.
    pub sync: bool,
    /// The coded bytes, shared by all consumers.
    pub payload: Bytes,
}

impl Sample {
    /// Presentation time, in ticks of the track's timescale.
    pub fn pts(&self) -> i64 {
        self.dts + i64::from(self.cts_offset)
    }
}
