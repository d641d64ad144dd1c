//! H.264 (ITU-T H.264, ISO/IEC 14496-10) and its configuration record (ISO/IEC 14496-15 5.3.3.1).

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    VideoInfo, check_picture_size, frame_rate,
    nal::{self, Role, Syntax},
    records,
};
use crate::{
    Result,
    bits::{BitReader, unescape},
};

/// An access unit in canonical form, see [`canonical`].
pub type AccessUnit = super::AccessUnit<Config>;

/// numOfSequenceParameterSets has five bits.
const MAX_SPS: usize = 31;
/// numOfPictureParameterSets has eight bits.
const MAX_PPS: usize = 255;
/// chroma_format_idc: 3 is 4:4:4 (7.4.2.1.1).
const MAX_CHROMA_FORMAT_IDC: u32 = 3;
/// bit_depth_luma_minus8 and bit_depth_chroma_minus8 (7.4.2.1.1).
const MAX_BIT_DEPTH_MINUS8: u32 = 6;
/// num_ref_frames_in_pic_order_cnt_cycle (7.4.2.1.1).
const MAX_POC_CYCLE: u32 = 255;
/// seq_parameter_set_id (7.4.2.1.1).
const MAX_SPS_ID: u32 = 31;
/// pic_parameter_set_id (7.4.2.2).
const MAX_PPS_ID: u32 = 255;

/// nal_unit_type values (Table 7-1).
const NAL_IDR: u8 = 5;
const NAL_SPS: u8 = 7;
const NAL_PPS: u8 = 8;
const NAL_AUD: u8 = 9;
const NAL_FILLER: u8 = 12;
const NAL_SPS_EXTENSION: u8 = 13;

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
    /// Reads an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1.2). The second value is the length in bytes (1, 2
    /// or 4) that stands before each NAL unit of the source's samples; the record of the configuration says 4, which is
    /// what [`canonical`] makes of them.
    ///
    /// # Errors
    /// When the record ends early, holds no SPS or no PPS, or its first SPS cannot be read.
    pub fn from_record(record: &[u8]) -> Result<(Self, u8)> {
        let mut fields = records::Fields::new("AVCDecoderConfigurationRecord", record);
        let [version, _, _, _, length_size, sps_count] = fields.array()?;
        if version != 1 {
            return Err(fields.invalid(format!("configurationVersion {version}, not 1")));
        }
        let length_size = (length_size & 3) + 1;
        if length_size == 3 {
            return Err(fields.invalid("lengthSizeMinusOne 2"));
        }
        let sps = fields.sets((sps_count & 0x1F).into())?;
        let pps_count = fields.u8()?;
        let pps = fields.sets(pps_count.into())?;
        // Encoders forget these fields; all but the SPS extensions are in the SPS as well.
        let extensions = fields.array::<4>().map_or(0, |[_, _, _, count]| count);
        let sps_extensions = fields.sets(extensions.into()).unwrap_or_default();
        Ok((Self::new(sps, pps, &sps_extensions)?, length_size))
    }

    /// Builds the configuration from the parameter sets of a byte stream (MPEG-TS, RTP), given without start codes.
    ///
    /// # Errors
    /// When one of the lists is empty or too long, or the first SPS cannot be read.
    pub fn from_parameter_sets(sps: Vec<Bytes>, pps: Vec<Bytes>) -> Result<Self> {
        Self::new(sps, pps, &[])
    }

    /// `avc1.PPCCLL` (RFC 6381 3.3).
    pub fn rfc6381(&self) -> String {
        let [profile, constraints, level] = self.profile;
        format!("avc1.{profile:02X}{constraints:02X}{level:02X}")
    }

    fn new(sps: Vec<Bytes>, pps: Vec<Bytes>, sps_extensions: &[Bytes]) -> Result<Self> {
        records::check_sets("SPS", &sps, MAX_SPS, |nal| nal_type(nal) == NAL_SPS)?;
        records::check_sets("PPS", &pps, MAX_PPS, |nal| nal_type(nal) == NAL_PPS)?;
        let first = Sps::parse(sps.first().map_or(&[], |nal| nal))?;
        let record = build_record(&first, &sps, &pps, sps_extensions);
        Ok(Self { record, sps, pps, profile: first.profile, info: first.info })
    }
}

/// Brings an access unit to the form that [`Sample`](crate::Sample) describes: 4-byte lengths, no parameter sets,
/// delimiters or filler. It shares the memory of `payload` when that has this form already, or only lacks it at the front.
///
/// `sync` comes from the NAL units: an IDR picture, whatever the container claims. A payload without any slice (parameter
/// sets or SEI alone) becomes an empty one: there is no picture to store.
///
/// # Errors
/// When a length points past the end, or an in-band SPS cannot be read.
pub fn canonical(payload: Bytes, length_size: u8, config: &Config) -> Result<AccessUnit> {
    nal::canonical(payload, length_size, config)
}

/// Brings an access unit behind start codes (ITU-T H.264 Annex B) to the same form as [`canonical`]. Without `config`,
/// the first parameter sets make one: `parameter_sets` is then `Some` as soon as an SPS and a PPS are there.
///
/// # Errors
/// When an in-band SPS cannot be read.
pub fn annexb_to_canonical(annexb: &[u8], config: Option<&Config>) -> Result<AccessUnit> {
    nal::annexb_to_canonical(annexb, config)
}

/// Appends an access unit as MPEG-TS carries it (ITU-T H.222.0 2.14): access unit delimiter, the parameter sets before a
/// sync sample, then the NAL units of the canonical `payload`, all behind start codes.
pub fn write_annexb(config: &Config, payload: &[u8], sync: bool, out: &mut impl BufMut) {
    // primary_pic_type 7: any slice type.
    nal::put_annexb(&[NAL_AUD, 0xF0], out);
    if sync {
        config.sps.iter().chain(&config.pps).for_each(|set| nal::put_annexb(set, out));
    }
    nal::write_annexb(payload, out);
}

/// nal_unit_type (ITU-T H.264 7.4.1); 0, which is unspecified, for no bytes at all.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1F)
}

impl Syntax for Config {
    const WHAT: &'static str = "H.264 access unit";

    fn role(nal: &[u8]) -> Role {
        match nal_type(nal) {
            // Data partitions B and C (3, 4) and auxiliary pictures (19) come with a primary coded picture.
            1 | 2 => Role::Slice { sync: false },
            NAL_IDR => Role::Slice { sync: true },
            NAL_SPS | NAL_PPS => Role::ParameterSet,
            NAL_AUD | NAL_FILLER | NAL_SPS_EXTENSION => Role::Discard,
            _ if nal.is_empty() => Role::Discard,
            _ => Role::Keep,
        }
    }

    fn updated<'a>(current: Option<&Self>, nals: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>> {
        let mut sps = current.map_or_else(Vec::new, |config| config.sps.clone());
        let mut pps = current.map_or_else(Vec::new, |config| config.pps.clone());
        let mut changed = false;
        for nal in nals {
            changed |= match nal_type(nal) {
                NAL_SPS => records::put_set(&mut sps, nal, sps_id),
                _ => records::put_set(&mut pps, nal, pps_id),
            };
        }
        if !changed || sps.is_empty() || pps.is_empty() {
            return Ok(None);
        }
        Self::from_parameter_sets(sps, pps).map(Some)
    }
}

/// seq_parameter_set_id stands behind the header and the three profile bytes (7.3.2.1.1).
fn sps_id(nal: &[u8]) -> Option<u32> {
    records::set_id(nal, 4)
}

fn pps_id(nal: &[u8]) -> Option<u32> {
    records::set_id(nal, 1).filter(|id| *id <= MAX_PPS_ID)
}

fn build_record(first: &Sps, sps: &[Bytes], pps: &[Bytes], sps_extensions: &[Bytes]) -> Bytes {
    let mut record = BytesMut::new();
    record.put_u8(1);
    record.put_slice(&first.profile);
    record.put_u8(0xFC | 3);
    record.put_u8(0xE0 | sps.len() as u8);
    records::put_sets(sps, &mut record);
    record.put_u8(pps.len() as u8);
    records::put_sets(pps, &mut record);
    // Baseline, Main and Extended have no such fields (5.3.3.1.2).
    if !matches!(first.profile[0], 66 | 77 | 88) {
        record.put_slice(&[
            0xFC | first.chroma_format_idc,
            0xF8 | first.bit_depth_minus8[0],
            0xF8 | first.bit_depth_minus8[1],
        ]);
        record.put_u8(sps_extensions.len() as u8);
        records::put_sets(sps_extensions, &mut record);
    }
    record.freeze()
}

/// What this platform reads of a sequence parameter set (ITU-T H.264 7.3.2.1.1).
#[derive(Debug)]
struct Sps {
    profile: [u8; 3],
    chroma_format_idc: u8,
    bit_depth_minus8: [u8; 2],
    info: VideoInfo,
}

impl Sps {
    fn parse(nal: &[u8]) -> Result<Self> {
        let rbsp = unescape(nal);
        let mut r = BitReader::new("H.264 SPS", &rbsp);
        r.skip(8)?;
        let profile = [r.u8(8)?, r.u8(8)?, r.u8(8)?];
        r.ue_max("seq_parameter_set_id", MAX_SPS_ID)?;
        let chroma = if has_chroma_info(profile[0]) { Chroma::parse(&mut r)? } else { Chroma::default() };
        r.ue_max("log2_max_frame_num_minus4", 12)?;
        skip_picture_order_count(&mut r)?;
        r.ue()?; // max_num_ref_frames
        r.skip(1)?; // gaps_in_frame_num_value_allowed_flag
        let width = u64::from(r.ue()?).saturating_add(1) * 16;
        let map_units = u64::from(r.ue()?).saturating_add(1);
        let frame_mbs_only = r.flag()?;
        let fields = if frame_mbs_only { 1 } else { 2 };
        if !frame_mbs_only {
            r.skip(1)?; // mb_adaptive_frame_field_flag
        }
        let height = map_units * 16 * fields;
        r.skip(1)?; // direct_8x8_inference_flag
        let [left, right, top, bottom] = if r.flag()? { [r.ue()?, r.ue()?, r.ue()?, r.ue()?] } else { [0; 4] };
        let [unit_x, unit_y] = chroma.crop_units(fields);
        let width = width.saturating_sub(unit_x * (u64::from(left) + u64::from(right)));
        let height = height.saturating_sub(unit_y * (u64::from(top) + u64::from(bottom)));
        let (width, height) = check_picture_size(width, height)?;
        // Broken VUI is common and harmless: it only costs the frame rate.
        let frame_rate = vui_frame_rate(&mut r).unwrap_or(None);
        Ok(Self {
            profile,
            chroma_format_idc: chroma.format_idc,
            bit_depth_minus8: chroma.bit_depth_minus8,
            info: VideoInfo { width, height, frame_rate },
        })
    }
}

fn has_chroma_info(profile_idc: u8) -> bool {
    matches!(profile_idc, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

#[derive(Debug)]
struct Chroma {
    format_idc: u8,
    bit_depth_minus8: [u8; 2],
}

impl Default for Chroma {
    fn default() -> Self {
        Self { format_idc: 1, bit_depth_minus8: [0; 2] }
    }
}

impl Chroma {
    fn parse(r: &mut BitReader<'_>) -> Result<Self> {
        let format_idc = r.ue_max("chroma_format_idc", MAX_CHROMA_FORMAT_IDC)? as u8;
        if format_idc == 3 {
            r.skip(1)?; // separate_colour_plane_flag
        }
        let luma = r.ue_max("bit_depth_luma_minus8", MAX_BIT_DEPTH_MINUS8)? as u8;
        let chroma = r.ue_max("bit_depth_chroma_minus8", MAX_BIT_DEPTH_MINUS8)? as u8;
        r.skip(1)?; // qpprime_y_zero_transform_bypass_flag
        if r.flag()? {
            let lists = if format_idc == 3 { 12 } else { 8 };
            for list in 0..lists {
                if r.flag()? {
                    skip_scaling_list(r, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
        Ok(Self { format_idc, bit_depth_minus8: [luma, chroma] })
    }

    /// CropUnitX and CropUnitY (equations 7-19 to 7-22).
    fn crop_units(&self, fields: u64) -> [u64; 2] {
        match self.format_idc {
            1 => [2, 2 * fields],
            2 => [2, fields],
            _ => [1, fields],
        }
    }
}

/// scaling_list() (7.3.2.1.1.1).
fn skip_scaling_list(r: &mut BitReader<'_>, size: usize) -> Result<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + i64::from(r.se()?)).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
}

fn skip_picture_order_count(r: &mut BitReader<'_>) -> Result<()> {
    match r.ue_max("pic_order_cnt_type", 2)? {
        0 => {
            r.ue_max("log2_max_pic_order_cnt_lsb_minus4", 12)?;
        }
        1 => {
            r.skip(1)?; // delta_pic_order_always_zero_flag
            r.se()?; // offset_for_non_ref_pic
            r.se()?; // offset_for_top_to_bottom_field
            for _ in 0..r.ue_max("num_ref_frames_in_pic_order_cnt_cycle", MAX_POC_CYCLE)? {
                r.se()?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// vui_parameters() up to the timing (E.1.1).
fn vui_frame_rate(r: &mut BitReader<'_>) -> Result<Option<(u32, u32)>> {
    if !r.flag()? {
        return Ok(None);
    }
    if r.flag()? && r.u8(8)? == super::EXTENDED_SAR {
        r.skip(32)?;
    }
    if r.flag()? {
        r.skip(1)?; // overscan_appropriate_flag
    }
    if r.flag()? {
        r.skip(4)?; // video_format, video_full_range_flag
        if r.flag()? {
            r.skip(24)?; // colour_primaries, transfer_characteristics, matrix_coefficients
        }
    }
    if r.flag()? {
        r.ue()?; // chroma_sample_loc_type_top_field
        r.ue()?; // chroma_sample_loc_type_bottom_field
    }
    if !r.flag()? {
        return Ok(None);
    }
    let (num_units_in_tick, time_scale) = (r.bits(32)?, r.bits(32)?);
    // A tick is a field: two of them are a frame (E.2.1, Table E-6).
    Ok(frame_rate(time_scale.into(), u64::from(num_units_in_tick) * 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::BitWriter;

    /// x264 writes neither an explicit sample aspect ratio with 4:4:4, nor this picture order count.
    #[test]
    fn an_sps_with_all_its_optional_parts() {
        let mut w = BitWriter::default();
        w.bits(8, 0x67).bits(8, 244).bits(8, 0).bits(8, 50).ue(0).ue(3).flag(false).ue(2).ue(0).flag(false);
        w.flag(true); // twelve scaling lists: flat, one that ends early, and none
        w.flag(true);
        for _ in 0..16 {
            w.ue(0);
        }
        w.flag(true).ue(16); // delta -8: the first value is 0, use the default list
        w.bits(10, 0);
        w.ue(0).ue(1).flag(false).ue(1).ue(2).ue(2).ue(3).ue(4); // pic_order_cnt_type 1 with a cycle of two
        w.ue(4).flag(false).ue(79).ue(44).flag(true).flag(true); // 1280x720
        w.flag(true).ue(0).ue(7).ue(0).ue(3); // cropped by 7 and 3: 4:4:4 counts single samples
        w.flag(true).flag(true).bits(8, 255).bits(32, 0x0004_0003);
        w.flag(true).flag(false).flag(true).bits(4, 0).flag(true).bits(24, 0).flag(true).ue(0).ue(0);
        w.flag(true).bits(32, 1).bits(32, 100);
        let sps = Sps::parse(&w.into_bytes()).unwrap();
        assert_eq!(sps.info, VideoInfo { width: 1_273, height: 717, frame_rate: Some((50, 1)) });
        assert_eq!((sps.chroma_format_idc, sps.bit_depth_minus8), (3, [2, 0]));
    }

    #[test]
    fn codecs_value_has_three_bytes_in_hexadecimal() {
        let config = Config {
            record: Bytes::new(),
            sps: vec![],
            pps: vec![],
            profile: [0x64, 0, 0x20],
            info: VideoInfo { width: 0, height: 0, frame_rate: None },
        };
        assert_eq!(config.rfc6381(), "avc1.640020");
    }
}
