//! H.265 (ITU-T H.265, ISO/IEC 23008-2) and its configuration record (ISO/IEC 14496-15 8.3.3.1).

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    VideoInfo, check_picture_size, frame_rate,
    nal::{self, Role, Syntax},
    records,
};
use crate::{
    Error, Result,
    bits::{BitReader, unescape},
};

/// An access unit in canonical form, see [`canonical`].
pub type AccessUnit = super::AccessUnit<Config>;

/// vps_video_parameter_set_id has four bits.
const MAX_VPS: usize = 16;
/// sps_seq_parameter_set_id is 0 to 15 (7.4.3.2.1).
const MAX_SPS: usize = 16;
/// pps_pic_parameter_set_id is 0 to 63 (7.4.3.3.1).
const MAX_PPS: usize = 64;
/// chroma_format_idc: 3 is 4:4:4 (7.4.3.2.1).
const MAX_CHROMA_FORMAT_IDC: u32 = 3;
/// bit_depth_luma_minus8 and bit_depth_chroma_minus8 (7.4.3.2.1).
const MAX_BIT_DEPTH_MINUS8: u32 = 8;
/// log2_max_pic_order_cnt_lsb_minus4 (7.4.3.2.1).
const MAX_LOG2_POC_LSB_MINUS4: u32 = 12;
/// num_short_term_ref_pic_sets (7.4.3.2.1).
const MAX_SHORT_TERM_SETS: u32 = 64;
/// num_long_term_ref_pics_sps (7.4.3.2.1).
const MAX_LONG_TERM_PICTURES: u32 = 32;
/// Pictures in one short-term reference picture set: sps_max_dec_pic_buffering_minus1 is at most 15 (A.4.2).
const MAX_SET_PICTURES: u32 = 16;

/// nal_unit_type values (Table 7-1).
const NAL_IRAP: std::ops::RangeInclusive<u8> = 16..=23;
const NAL_VPS: u8 = 32;
const NAL_SPS: u8 = 33;
const NAL_PPS: u8 = 34;
const NAL_AUD: u8 = 35;
const NAL_FILLER: u8 = 38;
const NAL_PREFIX_SEI: u8 = 39;
const NAL_SUFFIX_SEI: u8 = 40;

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
    /// Reads an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 8.3.3.1.2). The second value is the length in bytes (1,
    /// 2 or 4) that stands before each NAL unit of the source's samples; the record of the configuration says 4, which is
    /// what [`canonical`] makes of them. Its other fields are made anew from the SPS; SEI messages are kept.
    ///
    /// # Errors
    /// When the record ends early, a parameter set of some type is missing, or its first SPS cannot be read.
    pub fn from_record(record: &[u8]) -> Result<(Self, u8)> {
        let mut fields = records::Fields::new("HEVCDecoderConfigurationRecord", record);
        // Some encoders write version 0 (the drafts'); nothing else differs.
        let [version] = fields.array()?;
        if version > 1 {
            return Err(fields.invalid(format!("configurationVersion {version}, not 1")));
        }
        fields.take(20)?; // profile, level, chroma, depths and rate: the SPS says it better
        let [length_size, arrays] = fields.array()?;
        let length_size = (length_size & 3) + 1;
        if length_size == 3 {
            return Err(fields.invalid("lengthSizeMinusOne 2"));
        }
        let mut sets = ParameterSets::default();
        for _ in 0..arrays {
            let nal_type = fields.u8()? & 0x3F;
            let count = fields.u16()?;
            let nals = fields.sets(count.into())?;
            sets.list(nal_type).extend(nals);
        }
        Ok((sets.into_config()?, length_size))
    }

    /// Builds the configuration from the parameter sets of a byte stream (MPEG-TS, RTP), given without start codes.
    ///
    /// # Errors
    /// When one of the lists is empty or too long, or the first SPS cannot be read.
    pub fn from_parameter_sets(vps: Vec<Bytes>, sps: Vec<Bytes>, pps: Vec<Bytes>) -> Result<Self> {
        ParameterSets { vps, sps, pps, ..Default::default() }.into_config()
    }

    /// `hvc1.…` (ISO/IEC 14496-15 Annex E).
    pub fn rfc6381(&self) -> String {
        self.codec_string.clone()
    }
}

/// Brings an access unit to the form that [`Sample`](crate::Sample) describes, exactly as
/// [`avc::canonical`](super::avc::canonical) does. `sync` means an IRAP picture (nal_unit_type 16 to 23): IDR, CRA or BLA.
///
/// # Errors
/// When a length points past the end, or an in-band SPS cannot be read.
pub fn canonical(payload: Bytes, length_size: u8, config: &Config) -> Result<AccessUnit> {
    nal::canonical(payload, length_size, config)
}

/// Brings an access unit behind start codes (ITU-T H.265 Annex B) to the same form as [`canonical`]. Without `config`,
/// the first parameter sets make one: `parameter_sets` is then `Some` as soon as a VPS, an SPS and a PPS are there.
///
/// # Errors
/// When an in-band SPS cannot be read.
pub fn annexb_to_canonical(annexb: &[u8], config: Option<&Config>) -> Result<AccessUnit> {
    nal::annexb_to_canonical(annexb, config)
}

/// Appends an access unit as MPEG-TS carries it (ITU-T H.222.0 2.17): access unit delimiter, the parameter sets before a
/// sync sample, then the NAL units of the canonical `payload`, all behind start codes.
pub fn write_annexb(config: &Config, payload: &[u8], sync: bool, out: &mut impl BufMut) {
    // nuh_temporal_id_plus1 1; pic_type 2: any slice type.
    nal::put_annexb(&[NAL_AUD << 1, 1, 0x50], out);
    if sync {
        config.vps.iter().chain(&config.sps).chain(&config.pps).for_each(|set| nal::put_annexb(set, out));
    }
    nal::write_annexb(payload, out);
}

/// nal_unit_type (ITU-T H.265 7.4.2.2); 48, which is unspecified, for no bytes at all.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(48, |header| header >> 1 & 0x3F)
}

impl Syntax for Config {
    const WHAT: &'static str = "H.265 access unit";

    fn role(nal: &[u8]) -> Role {
        // Layers above the base one (scalability, multiview) need a configuration of their own.
        let Some(&[high, low]) = nal.get(..2) else { return Role::Discard };
        if (high & 1) << 5 | low >> 3 != 0 {
            return Role::Discard;
        }
        match nal_type(nal) {
            0..=15 => Role::Slice { sync: false },
            kind if NAL_IRAP.contains(&kind) => Role::Slice { sync: true },
            NAL_VPS | NAL_SPS | NAL_PPS => Role::ParameterSet,
            NAL_AUD | NAL_FILLER => Role::Discard,
            _ => Role::Keep,
        }
    }

    fn updated<'a>(current: Option<&Self>, nals: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>> {
        let mut sets = current.map_or_else(ParameterSets::default, |config| ParameterSets {
            vps: config.vps.clone(),
            sps: config.sps.clone(),
            pps: config.pps.clone(),
            ..Default::default()
        });
        let mut changed = false;
        for nal in nals {
            changed |= match nal_type(nal) {
                NAL_VPS => records::put_set(&mut sets.vps, nal, vps_id),
                NAL_SPS => records::put_set(&mut sets.sps, nal, sps_id),
                _ => records::put_set(&mut sets.pps, nal, |nal| records::set_id(nal, 2)),
            };
        }
        if !changed || sets.vps.is_empty() || sets.sps.is_empty() || sets.pps.is_empty() {
            return Ok(None);
        }
        sets.into_config().map(Some)
    }
}

/// vps_video_parameter_set_id: the four bits behind the header.
fn vps_id(nal: &[u8]) -> Option<u32> {
    nal.get(2).map(|byte| u32::from(byte >> 4))
}

/// sps_seq_parameter_set_id, behind profile_tier_level().
fn sps_id(nal: &[u8]) -> Option<u32> {
    let rbsp = unescape(nal);
    let mut r = BitReader::new("H.265 SPS", &rbsp);
    Profile::parse(&mut r).ok()?;
    r.ue().ok()
}

#[derive(Debug, Default)]
struct ParameterSets {
    vps: Vec<Bytes>,
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
    prefix_sei: Vec<Bytes>,
    suffix_sei: Vec<Bytes>,
    /// NAL units of types that a record should not hold.
    other: Vec<Bytes>,
}

impl ParameterSets {
    fn list(&mut self, nal_type: u8) -> &mut Vec<Bytes> {
        match nal_type {
            NAL_VPS => &mut self.vps,
            NAL_SPS => &mut self.sps,
            NAL_PPS => &mut self.pps,
            NAL_PREFIX_SEI => &mut self.prefix_sei,
            NAL_SUFFIX_SEI => &mut self.suffix_sei,
            _ => &mut self.other,
        }
    }

    fn into_config(self) -> Result<Config> {
        records::check_sets("VPS", &self.vps, MAX_VPS, |nal| nal_type(nal) == NAL_VPS)?;
        records::check_sets("SPS", &self.sps, MAX_SPS, |nal| nal_type(nal) == NAL_SPS)?;
        records::check_sets("PPS", &self.pps, MAX_PPS, |nal| nal_type(nal) == NAL_PPS)?;
        let first = Sps::parse(self.sps.first().map_or(&[], |nal| nal))?;
        let record = self.record(&first);
        let Self { vps, sps, pps, .. } = self;
        Ok(Config { record, vps, sps, pps, codec_string: first.profile.codec_string(), info: first.info })
    }

    fn record(&self, sps: &Sps) -> Bytes {
        let mut record = BytesMut::new();
        record.put_u8(1);
        record.put_slice(&sps.profile.bytes);
        // min_spatial_segmentation_idc 0 and parallelismType 0: nothing promised.
        record.put_slice(&[0xF0, 0, 0xFC]);
        record.put_slice(&[
            0xFC | sps.chroma_format_idc,
            0xF8 | sps.bit_depth_minus8[0],
            0xF8 | sps.bit_depth_minus8[1],
        ]);
        // avgFrameRate 0 and constantFrameRate 0: unspecified.
        record.put_u16(0);
        record
            .put_u8((sps.profile.max_sub_layers_minus1 + 1) << 3 | u8::from(sps.profile.temporal_id_nesting) << 2 | 3);
        let arrays = [
            (NAL_VPS, &self.vps),
            (NAL_SPS, &self.sps),
            (NAL_PPS, &self.pps),
            (NAL_PREFIX_SEI, &self.prefix_sei),
            (NAL_SUFFIX_SEI, &self.suffix_sei),
        ];
        record.put_u8(arrays.iter().filter(|(_, sets)| !sets.is_empty()).count() as u8);
        for (nal_type, sets) in arrays.into_iter().filter(|(_, sets)| !sets.is_empty()) {
            // array_completeness: `hvc1` promises that there are no others in the samples.
            record.put_u8(0x80 | nal_type);
            record.put_u16(sets.len() as u16);
            records::put_sets(sets, &mut record);
        }
        record.freeze()
    }
}

/// The head of a sequence parameter set, up to and with profile_tier_level() (7.3.2.2.1, 7.3.3).
#[derive(Debug)]
struct Profile {
    max_sub_layers_minus1: u8,
    temporal_id_nesting: bool,
    /// general_profile_space to general_level_idc, as the record holds them.
    bytes: [u8; 12],
}

impl Profile {
    fn parse(r: &mut BitReader<'_>) -> Result<Self> {
        r.skip(16 + 4)?; // NAL unit header, sps_video_parameter_set_id
        let max_sub_layers_minus1 = r.u8(3)?;
        if max_sub_layers_minus1 > 6 {
            return Err(Error::invalid("H.265 SPS", "sps_max_sub_layers_minus1 7"));
        }
        let temporal_id_nesting = r.flag()?;
        let mut bytes = [0; 12];
        for byte in &mut bytes {
            *byte = r.u8(8)?;
        }
        let mut sub_layers = [(false, false); 6];
        let present = sub_layers.iter_mut().take(max_sub_layers_minus1.into());
        for sub_layer in present {
            *sub_layer = (r.flag()?, r.flag()?);
        }
        if max_sub_layers_minus1 > 0 {
            r.skip(2 * usize::from(8 - max_sub_layers_minus1))?;
        }
        for (profile, level) in sub_layers {
            r.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
        }
        Ok(Self { max_sub_layers_minus1, temporal_id_nesting, bytes })
    }

    /// ISO/IEC 14496-15 E.3.
    fn codec_string(&self) -> String {
        let [head, c0, c1, c2, c3, constraints @ .., level] = self.bytes;
        let space = ["", "A", "B", "C"][usize::from(head >> 6)];
        let tier = if head & 0x20 == 0 { 'L' } else { 'H' };
        let compatibility = u32::from_be_bytes([c0, c1, c2, c3]).reverse_bits();
        let mut text = format!("hvc1.{space}{}.{compatibility:X}.{tier}{level}", head & 0x1F);
        let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for byte in constraints.iter().take(used) {
            text.push_str(&format!(".{byte:X}"));
        }
        text
    }
}

/// What this platform reads of a sequence parameter set (ITU-T H.265 7.3.2.2.1).
#[derive(Debug)]
struct Sps {
    profile: Profile,
    chroma_format_idc: u8,
    bit_depth_minus8: [u8; 2],
    info: VideoInfo,
}

impl Sps {
    fn parse(nal: &[u8]) -> Result<Self> {
        let rbsp = unescape(nal);
        let mut r = BitReader::new("H.265 SPS", &rbsp);
        let profile = Profile::parse(&mut r)?;
        r.ue_max("sps_seq_parameter_set_id", MAX_SPS as u32 - 1)?;
        let chroma_format_idc = r.ue_max("chroma_format_idc", MAX_CHROMA_FORMAT_IDC)?;
        if chroma_format_idc == 3 {
            r.skip(1)?; // separate_colour_plane_flag
        }
        let (width, height) = (u64::from(r.ue()?), u64::from(r.ue()?));
        let [left, right, top, bottom] = if r.flag()? { [r.ue()?, r.ue()?, r.ue()?, r.ue()?] } else { [0; 4] };
        // SubWidthC and SubHeightC (Table 6-1).
        let (unit_x, unit_y) = [(1, 1), (2, 2), (2, 1), (1, 1)][chroma_format_idc as usize & 3];
        let width = width.saturating_sub(unit_x * (u64::from(left) + u64::from(right)));
        let height = height.saturating_sub(unit_y * (u64::from(top) + u64::from(bottom)));
        let (width, height) = check_picture_size(width, height)?;
        let bit_depth_minus8 = [
            r.ue_max("bit_depth_luma_minus8", MAX_BIT_DEPTH_MINUS8)? as u8,
            r.ue_max("bit_depth_chroma_minus8", MAX_BIT_DEPTH_MINUS8)? as u8,
        ];
        // Broken tails are harmless: they only cost the frame rate.
        let frame_rate = tail_frame_rate(&mut r, profile.max_sub_layers_minus1).unwrap_or(None);
        let info = VideoInfo { width, height, frame_rate };
        Ok(Self { profile, chroma_format_idc: chroma_format_idc as u8, bit_depth_minus8, info })
    }
}

/// From log2_max_pic_order_cnt_lsb_minus4 to the timing in vui_parameters().
fn tail_frame_rate(r: &mut BitReader<'_>, max_sub_layers_minus1: u8) -> Result<Option<(u32, u32)>> {
    let poc_lsb_bits = r.ue_max("log2_max_pic_order_cnt_lsb_minus4", MAX_LOG2_POC_LSB_MINUS4)? as usize + 4;
    let ordering_infos = if r.flag()? { max_sub_layers_minus1 + 1 } else { 1 };
    // Three fields per sub-layer, then six about block sizes and transform depths.
    for _ in 0..3 * ordering_infos + 6 {
        r.ue()?;
    }
    if r.flag()? && r.flag()? {
        skip_scaling_lists(r)?;
    }
    r.skip(2)?; // amp_enabled_flag, sample_adaptive_offset_enabled_flag
    if r.flag()? {
        r.skip(8)?; // pcm sample bit depths
        r.ue()?;
        r.ue()?;
        r.skip(1)?; // pcm_loop_filter_disabled_flag
    }
    skip_short_term_sets(r)?;
    if r.flag()? {
        for _ in 0..r.ue_max("num_long_term_ref_pics_sps", MAX_LONG_TERM_PICTURES)? {
            r.skip(poc_lsb_bits + 1)?;
        }
    }
    r.skip(2)?; // sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
    if r.flag()? { vui_frame_rate(r) } else { Ok(None) }
}

/// scaling_list_data() (7.3.4).
fn skip_scaling_lists(r: &mut BitReader<'_>) -> Result<()> {
    for size_id in 0..4_u32 {
        for _ in (0..6).step_by(if size_id == 3 { 3 } else { 1 }) {
            if !r.flag()? {
                r.ue()?; // scaling_list_pred_matrix_id_delta
                continue;
            }
            let coefficients = 64.min(1 << (4 + 2 * size_id));
            let dc = u32::from(size_id > 1);
            for _ in 0..coefficients + dc {
                r.se()?;
            }
        }
    }
    Ok(())
}

/// The st_ref_pic_set()s of an SPS (7.3.7).
fn skip_short_term_sets(r: &mut BitReader<'_>) -> Result<()> {
    let mut pictures = 0;
    for index in 0..r.ue_max("num_short_term_ref_pic_sets", MAX_SHORT_TERM_SETS)? {
        let predicted = index > 0 && r.flag()?;
        pictures = if predicted { predicted_set(r, pictures)? } else { explicit_set(r)? };
        if pictures > MAX_SET_PICTURES {
            return Err(Error::TooLarge {
                what: "short-term reference picture set",
                value: pictures.into(),
                limit: MAX_SET_PICTURES.into(),
            });
        }
    }
    Ok(())
}

/// A set predicted from the one before it, which has `reference` pictures; its own count (equations 7-61, 7-62).
fn predicted_set(r: &mut BitReader<'_>, reference: u32) -> Result<u32> {
    r.skip(1)?; // delta_rps_sign
    r.ue()?; // abs_delta_rps_minus1
    let mut pictures = 0;
    for _ in 0..=reference {
        let used_by_current = r.flag()?;
        pictures += u32::from(used_by_current || r.flag()?);
    }
    Ok(pictures)
}

fn explicit_set(r: &mut BitReader<'_>) -> Result<u32> {
    let negative = r.ue_max("num_negative_pics", MAX_SET_PICTURES)?;
    let positive = r.ue_max("num_positive_pics", MAX_SET_PICTURES)?;
    for _ in 0..negative + positive {
        r.ue()?;
        r.skip(1)?;
    }
    Ok(negative + positive)
}

/// vui_parameters() up to the timing (E.2.1).
fn vui_frame_rate(r: &mut BitReader<'_>) -> Result<Option<(u32, u32)>> {
    if r.flag()? && r.u8(8)? == super::EXTENDED_SAR {
        r.skip(32)?;
    }
    if r.flag()? {
        r.skip(1)?; // overscan_appropriate_flag
    }
    if r.flag()? {
        r.skip(4)?; // video_format, video_full_range_flag
        if r.flag()? {
            r.skip(24)?; // colour_primaries, transfer_characteristics, matrix_coeffs
        }
    }
    if r.flag()? {
        r.ue()?; // chroma_sample_loc_type_top_field
        r.ue()?; // chroma_sample_loc_type_bottom_field
    }
    r.skip(3)?; // neutral_chroma_indication_flag, field_seq_flag, frame_field_info_present_flag
    if r.flag()? {
        for _ in 0..4 {
            r.ue()?; // default display window
        }
    }
    if !r.flag()? {
        return Ok(None);
    }
    let (num_units_in_tick, time_scale) = (r.bits(32)?, r.bits(32)?);
    Ok(frame_rate(time_scale.into(), num_units_in_tick.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::BitWriter;

    /// Hardware encoders put these parts before the timing; x265 does not.
    #[test]
    fn an_sps_with_all_its_optional_parts() {
        let mut w = BitWriter::default();
        w.bits(16, 0x4201).bits(4, 0).bits(3, 1).flag(true); // two sub-layers
        w.bits(8, 0x01).bits(32, 0x6000_0000).bits(32, 0xB000_0000).bits(16, 0).bits(8, 120);
        w.bits(2, 0b11).bits(14, 0).bits(32, u32::MAX).bits(32, u32::MAX).bits(32, u32::MAX); // a sub-layer's profile and level
        w.ue(0).ue(2).ue(1_920).ue(1_088).flag(true).ue(2).ue(2).ue(0).ue(8); // 4:2:2, cropped
        w.ue(0).ue(0).ue(4).flag(true); // depths, log2_max_pic_order_cnt_lsb_minus4
        for value in [4, 2, 0, 4, 2, 0, 0, 3, 0, 3, 0, 0] {
            w.ue(value);
        }
        w.flag(true).flag(true); // scaling lists: one explicit of each size, the others predicted
        for (size_id, lists, coefficients) in [(0, 6, 16), (1, 6, 64), (2, 6, 65), (3, 2, 65)] {
            w.flag(true);
            for index in 0..coefficients {
                w.ue(index % 7 + size_id);
            }
            for _ in 1..lists {
                w.flag(false).ue(0);
            }
        }
        w.bits(2, 0b11).flag(true).bits(8, 0x77).ue(0).ue(1).flag(true); // PCM
        w.ue(3); // short-term sets: explicit, then predicted from 3 and from 4 pictures
        w.ue(2).ue(1).ue(0).flag(true).ue(3).flag(false).ue(1).flag(true);
        w.flag(true).flag(false).ue(0).flag(true).flag(true).flag(false).flag(true).flag(true);
        w.flag(true).flag(true).ue(5).bits(4, 0b1111).flag(false).flag(false);
        w.flag(true).ue(2).bits(9, 1).bits(9, 3); // long-term pictures
        w.bits(2, 0b11).flag(true);
        w.flag(true).bits(8, 255).bits(32, 0x0004_0003); // VUI: sample aspect ratio 4:3
        w.flag(true).flag(true).flag(true).bits(4, 0).flag(true).bits(24, 0).flag(true).ue(0).ue(0);
        w.bits(3, 0).flag(true).ue(0).ue(0).ue(0).ue(0).flag(true).bits(32, 1_001).bits(32, 60_000);
        let sps = Sps::parse(&w.into_bytes()).unwrap();
        assert_eq!(sps.info, VideoInfo { width: 1_912, height: 1_080, frame_rate: Some((60_000, 1_001)) });
        assert_eq!((sps.chroma_format_idc, sps.profile.max_sub_layers_minus1), (2, 1));
        assert_eq!(sps.profile.codec_string(), "hvc1.1.6.L120.B0");
    }
}
