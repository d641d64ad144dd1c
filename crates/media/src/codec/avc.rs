//! H.264 (ITU-T H.264, ISO/IEC 14496-10) and its configuration record (ISO/IEC 14496-15 5.3.3.1).

use bytes::Bytes;

use super::VideoInfo;

/// An AVCDecoderConfigurationRecord and what its first sequence parameter set says.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The AVCDecoderConfigurationRecord as it goes into `avcC`, with lengthSizeMinusOne 3.
    pub record: Bytes,
    /// Sequence parameter sets, without start codes.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, without start codes.
    pub pps: Vec<Bytes>,
    /// profile_idc, constraint flags and level_idc: the three bytes of the CODECS value.
    pub profile: [u8; 3],
    /// From the first SPS.
    pub info: VideoInfo,
}

impl Config {
    /// `avc1.PPCCLL` (RFC 6381 3.3).
    pub fn rfc6381(&self) -> String {
        let [profile, constraints, level] = self.profile;
        format!("avc1.{profile:02X}{constraints:02X}{level:02X}")
    }
}
