//! VP9 and its configuration record (VP Codec ISO Media File Format Binding).

use bytes::Bytes;

use super::VideoInfo;

/// A VPCodecConfigurationRecord and the picture size, which VP9 tells only in key frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The VPCodecConfigurationRecord as it goes into `vpcC`, behind its full-box header.
    pub record: Bytes,
    /// Profile 0 to 3.
    pub profile: u8,
    /// Level times ten, 10 to 62.
    pub level: u8,
    /// 8, 10 or 12.
    pub bit_depth: u8,
    /// From the first key frame.
    pub info: VideoInfo,
}

impl Config {
    /// `vp09.PP.LL.DD` (VP ISO binding, codecs parameter string).
    pub fn rfc6381(&self) -> String {
        format!("vp09.{:02}.{:02}.{:02}", self.profile, self.level, self.bit_depth)
    }
}
