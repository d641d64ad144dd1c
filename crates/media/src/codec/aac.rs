//! AAC's AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1) and ADTS header (ISO/IEC 13818-7 6.2).

use bytes::Bytes;

/// An AudioSpecificConfig.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The AudioSpecificConfig as it goes into `esds`.
    pub record: Bytes,
    /// audioObjectType: 2 is AAC-LC, 5 SBR, 29 PS.
    pub object_type: u8,
    /// Samples per second of the core coder: the clock of the packets.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u32,
    /// 1024, or 960 when frameLengthFlag is set: in ticks of `sample_rate`.
    pub frame_samples: u32,
}

impl Config {
    /// `mp4a.40.N` (RFC 6381 3.3).
    pub fn rfc6381(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }
}
