//! H.265 (ITU-T H.265, ISO/IEC 23008-2) and its configuration record (ISO/IEC 14496-15 8.3.3.1).

use bytes::Bytes;

use super::VideoInfo;

/// An HEVCDecoderConfigurationRecord and what its sequence parameter set says.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The HEVCDecoderConfigurationRecord as it goes into `hvcC`, with lengthSizeMinusOne 3.
    pub record: Bytes,
    /// Video parameter sets, without start codes.
    pub vps: Vec<Bytes>,
    /// Sequence parameter sets, without start codes.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, without start codes.
    pub pps: Vec<Bytes>,
    /// The CODECS value (ISO/IEC 14496-15 Annex E), `hvc1.1.6.L93.B0`.
    pub codec_string: String,
    /// From the first SPS.
    pub info: VideoInfo,
}

impl Config {
    /// `hvc1.…` (ISO/IEC 14496-15 Annex E).
    pub fn rfc6381(&self) -> String {
        self.codec_string.clone()
    }
}
