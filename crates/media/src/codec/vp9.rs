//! VP9 and its configuration record (VP Codec ISO Media File Format Binding).

use bytes::Bytes;

use super::{AccessUnit, VideoInfo, check_picture_size};
use crate::{Error, Result, bits::BitReader};

/// Bytes of a VPCodecConfigurationRecord without codec initialisation data, which VP9 does not have.
const RECORD_BYTES: usize = 8;
/// Highest level (VP ISO binding, `level`): 6.2.
const MAX_LEVEL: u8 = 62;

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
    /// Reads a VPCodecConfigurationRecord, with or without the full-box header of `vpcC` before it (encoders differ in
    /// what they put into Enhanced RTMP). The record does not tell the picture size: `info` comes from the sample entry
    /// or from [`FrameHeader::parse`] of a key frame.
    ///
    /// # Errors
    /// When it ends early, or a field is out of range.
    pub fn from_record(record: &[u8], info: VideoInfo) -> Result<Self> {
        const WHAT: &str = "VPCodecConfigurationRecord";
        // A profile 1 of level 0 with a bit depth of 0 cannot be: these four bytes are version and flags.
        let record = record.strip_prefix(&[1, 0, 0, 0]).unwrap_or(record);
        let Some(&[profile, level, format, primaries, transfer, matrix]) = record.get(..6) else {
            return Err(Error::Truncated { what: WHAT, need: RECORD_BYTES, have: record.len() });
        };
        let bit_depth = format >> 4;
        if profile > 3 || !matches!(bit_depth, 8 | 10 | 12) || level > MAX_LEVEL {
            return Err(Error::invalid(WHAT, format!("profile {profile}, level {level}, bit depth {bit_depth}")));
        }
        let level = if level == 0 { least_level(info) } else { level };
        let record = [profile, level, format, primaries, transfer, matrix, 0, 0];
        Ok(Self { record: Bytes::copy_from_slice(&record), profile, level, bit_depth, info })
    }

    /// The configuration that a key frame describes; the level is the least one with pictures of its size.
    ///
    /// # Errors
    /// When it cannot be read or is not a key frame.
    pub fn from_key_frame(frame: &[u8]) -> Result<Self> {
        let header = FrameHeader::parse(frame)?;
        let key = header.key.ok_or_else(|| Error::invalid("VP9 frame", "not a key frame"))?;
        // chromaSubsampling (VP ISO binding): 4:2:0 colocated, 4:2:2, 4:4:4.
        let subsampling = match key.subsampling {
            [true, true] => 1,
            [true, false] => 2,
            _ => 3,
        };
        let format = key.bit_depth << 4 | subsampling << 1 | u8::from(key.full_range);
        // color_space to the code points of ISO/IEC 23091-2; 2 is unspecified.
        let [primaries, transfer, matrix] = match key.color_space {
            1 | 3 => [6, 6, 6],
            2 => [1, 1, 1],
            4 => [7, 7, 7],
            5 => [9, 2, 9],
            7 => [1, 13, 0],
            _ => [2, 2, 2],
        };
        Self::from_record(&[header.profile, 0, format, primaries, transfer, matrix, 0, 0], key.info())
    }

    /// `vp09.PP.LL.DD` (VP ISO binding, codecs parameter string).
    pub fn rfc6381(&self) -> String {
        format!("vp09.{:02}.{:02}.{:02}", self.profile, self.level, self.bit_depth)
    }
}

/// A frame or superframe as a sample: it is stored as it comes. `parameter_sets` is `Some` when a key frame tells another
/// picture size or format than `config`, or there is none yet; levels and colours come from `record`, the source's
/// VPCodecConfigurationRecord, as long as that agrees with the frame.
///
/// # Errors
/// When the frame header cannot be read, or `record` neither fits nor can be replaced.
pub fn access_unit(payload: Bytes, record: &[u8], config: Option<&Config>) -> Result<AccessUnit<Config>> {
    let header = FrameHeader::parse(&payload)?;
    let Some(key) = header.key else { return Ok(AccessUnit { payload, sync: false, parameter_sets: None }) };
    let fits = |config: &Config| {
        (config.profile, config.bit_depth) == (header.profile, key.bit_depth)
            && (config.info.width, config.info.height) == (key.width, key.height)
    };
    if config.is_some_and(fits) {
        return Ok(AccessUnit { payload, sync: true, parameter_sets: None });
    }
    let parameter_sets = match Config::from_record(record, key.info()) {
        Ok(config) if fits(&config) => config,
        _ => Config::from_key_frame(&payload)?,
    };
    Ok(AccessUnit { payload, sync: true, parameter_sets: Some(parameter_sets) })
}

/// The beginning of a frame's uncompressed_header() (VP9 bitstream specification 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Profile 0 to 3.
    pub profile: u8,
    /// What only a key frame tells; `None` for other frames and for frames that repeat an earlier one.
    pub key: Option<KeyFrame>,
}

/// What a key frame says of the pictures from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFrame {
    /// 8, 10 or 12.
    pub bit_depth: u8,
    /// subsampling_x and subsampling_y.
    pub subsampling: [bool; 2],
    /// color_space (7.2.2).
    pub color_space: u8,
    /// color_range: full rather than studio swing.
    pub full_range: bool,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

impl KeyFrame {
    /// The picture size as a track holds it; VP9 says nothing of the frame rate.
    pub fn info(&self) -> VideoInfo {
        VideoInfo { width: self.width, height: self.height, frame_rate: None }
    }
}

impl FrameHeader {
    /// Reads the header of a frame, or of the first frame of a superframe.
    ///
    /// # Errors
    /// When it ends early, or its marker or sync code is missing.
    pub fn parse(frame: &[u8]) -> Result<Self> {
        const WHAT: &str = "VP9 frame";
        const SYNC_CODE: u32 = 0x49_83_42;
        let mut r = BitReader::new(WHAT, frame);
        if r.bits(2)? != 2 {
            return Err(Error::invalid(WHAT, "no frame_marker"));
        }
        let profile = r.u8(1)? | r.u8(1)? << 1;
        if profile == 3 {
            r.skip(1)?; // reserved_zero
        }
        let show_existing_frame = r.flag()?;
        if show_existing_frame || r.flag()? {
            return Ok(Self { profile, key: None });
        }
        r.skip(2)?; // show_frame, error_resilient_mode
        if r.bits(24)? != SYNC_CODE {
            return Err(Error::invalid(WHAT, "a key frame without frame_sync_code"));
        }
        Ok(Self { profile, key: Some(KeyFrame::parse(&mut r, profile)?) })
    }
}

impl KeyFrame {
    /// color_config() and frame_size() (6.2.2, 6.2.3).
    fn parse(r: &mut BitReader<'_>, profile: u8) -> Result<Self> {
        const RGB: u8 = 7;
        let bit_depth = match profile {
            0 | 1 => 8,
            _ if r.flag()? => 12,
            _ => 10,
        };
        let color_space = r.u8(3)?;
        let odd_profile = profile & 1 == 1;
        let full_range = color_space == RGB || r.flag()?;
        let subsampling = match (color_space == RGB, odd_profile) {
            (true, _) => [false, false],
            (false, true) => [r.flag()?, r.flag()?],
            (false, false) => [true, true],
        };
        if odd_profile {
            r.skip(1)?; // reserved_zero
        }
        let (width, height) = (u64::from(r.bits(16)?) + 1, u64::from(r.bits(16)?) + 1);
        let (width, height) = check_picture_size(width, height)?;
        Ok(Self { bit_depth, subsampling, color_space, full_range, width, height })
    }
}

/// The least level with pictures of this size (VP9 levels: MaxPicSize in luma samples).
fn least_level(info: VideoInfo) -> u8 {
    const LEVELS: [(u64, u8); 8] = [
        (36_864, 10),
        (73_728, 11),
        (122_880, 20),
        (245_760, 21),
        (552_960, 30),
        (983_040, 31),
        (2_228_224, 40),
        (8_912_896, 50),
    ];
    let size = u64::from(info.width) * u64::from(info.height);
    LEVELS.iter().find(|(limit, _)| size <= *limit).map_or(60, |(_, level)| *level)
}
