//! AV1 (AV1 Bitstream & Decoding Process) and its configuration record (AV1 Codec ISO Media File Format Binding 2.3).

use bytes::Bytes;

use super::VideoInfo;

/// An AV1CodecConfigurationRecord and what its sequence header says.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The AV1CodecConfigurationRecord as it goes into `av1C`.
    pub record: Bytes,
    /// The CODECS value (AV1 ISO binding 5), `av01.0.08M.08`.
    pub codec_string: String,
    /// From the sequence header OBU.
    pub info: VideoInfo,
}

impl Config {
    /// `av01.…` (AV1 ISO binding 5).
    pub fn rfc6381(&self) -> String {
        self.codec_string.clone()
    }
}
