//! AV1 (AV1 Bitstream & Decoding Process) and its configuration record (AV1 Codec ISO Media File Format Binding 2.3).

use bytes::{BufMut, Bytes, BytesMut};

use super::{VideoInfo, check_picture_size, frame_rate};
use crate::{Error, Result, bits::BitReader};

/// An access unit in canonical form, see [`canonical`].
pub type AccessUnit = super::AccessUnit<Config>;

/// Bytes of an AV1CodecConfigurationRecord before its configOBUs.
pub const RECORD_HEAD_BYTES: usize = 4;
/// Bytes of a leb128 value (4.10.5).
const MAX_LEB128_BYTES: usize = 8;

/// obu_type values (6.2.2).
const OBU_SEQUENCE_HEADER: u8 = 1;
const OBU_TEMPORAL_DELIMITER: u8 = 2;
const OBU_FRAME_HEADER: u8 = 3;
const OBU_FRAME: u8 = 6;
const OBU_TILE_LIST: u8 = 8;
const OBU_PADDING: u8 = 15;

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
    /// Reads an AV1CodecConfigurationRecord. Its first bytes are made anew from the sequence header in its configOBUs.
    ///
    /// # Errors
    /// When there is no sequence header OBU in it (it may come with the first key frame: see
    /// [`Config::from_sequence_header`]), or it cannot be read.
    pub fn from_record(record: &[u8]) -> Result<Self> {
        const WHAT: &str = "AV1CodecConfigurationRecord";
        let (head, obus) = record.split_at_checked(RECORD_HEAD_BYTES).ok_or(Error::Truncated {
            what: WHAT,
            need: RECORD_HEAD_BYTES,
            have: record.len(),
        })?;
        if head[0] != 0x81 {
            return Err(Error::invalid(WHAT, format!("marker and version {:#04x}, not 0x81", head[0])));
        }
        let header = find_sequence_header(obus)?.ok_or_else(|| Error::invalid(WHAT, "no sequence header OBU"))?;
        let sized = Obus::new(obus).all(|obu| obu.is_ok_and(|obu| obu.has_size));
        if !sized {
            return Self::from_sequence_header(header);
        }
        let sequence = Sequence::parse(header)?;
        let [marker, profile, flags] = sequence.record_head();
        let mut record = BytesMut::with_capacity(record.len());
        record.put_slice(&[marker, profile, flags, head[3]]);
        record.put_slice(obus);
        Ok(sequence.into_config(record.freeze()))
    }

    /// The configuration that a sequence header OBU describes; `payload` is what follows its header and size.
    ///
    /// # Errors
    /// When the sequence header cannot be read.
    pub fn from_sequence_header(payload: &[u8]) -> Result<Self> {
        let sequence = Sequence::parse(payload)?;
        let mut record = BytesMut::with_capacity(RECORD_HEAD_BYTES + 2 + payload.len());
        record.put_slice(&sequence.record_head());
        record.put_u8(0); // initial_presentation_delay_present 0
        put_obu(OBU_SEQUENCE_HEADER << 3, None, payload, &mut record);
        Ok(sequence.into_config(record.freeze()))
    }

    /// `av01.…` (AV1 ISO binding 5).
    pub fn rfc6381(&self) -> String {
        self.codec_string.clone()
    }

    /// The payload of the sequence header OBU in the record.
    pub fn sequence_header(&self) -> Option<&[u8]> {
        find_sequence_header(self.record.get(RECORD_HEAD_BYTES..)?).ok().flatten()
    }
}

/// Brings a temporal unit in the low-overhead format (5.2) to the form that [`Sample`](crate::Sample) describes: every
/// OBU with its size, without temporal delimiters, tile lists and padding (AV1 ISO binding 2.4). It shares the memory of
/// `payload` when that has this form already, or only lacks it at the front.
///
/// `sync` means that the first frame is a shown key frame. A key frame without a sequence header before it gets the one
/// of `config`, because a sync sample must contain it. `parameter_sets` is `Some` when the temporal unit holds another
/// sequence header than `config`, which is always so without one. A payload without any frame becomes an empty one.
///
/// # Errors
/// When an OBU points past the end, or a new sequence header cannot be read.
pub fn canonical(payload: Bytes, config: Option<&Config>) -> Result<AccessUnit> {
    let current = config.and_then(Config::sequence_header);
    let mut new_header = None;
    let (mut has_header, mut rewrite, mut frame) = (false, false, None);
    let (mut kept, mut kept_from) = (false, 0);
    let mut obus = Obus::new(&payload);
    while let Some(obu) = obus.next().transpose()? {
        // What is left out at the front needs no copy: nearly always a temporal delimiter.
        rewrite |= !obu.has_size || kept && !obu.is_stored();
        kept |= obu.is_stored();
        if !kept {
            kept_from = payload.len() - obus.rest.len();
        }
        match obu.kind {
            OBU_SEQUENCE_HEADER => {
                has_header = true;
                new_header = Some(obu.payload).filter(|header| Some(*header) != current);
            }
            OBU_FRAME | OBU_FRAME_HEADER if frame.is_none() => frame = Some(is_shown_key_frame(obu.payload)),
            _ => {}
        }
    }
    let parameter_sets = new_header.map(Config::from_sequence_header).transpose()?;
    let Some(sync) = frame else {
        return Ok(AccessUnit { payload: Bytes::new(), sync: false, parameter_sets });
    };
    let missing_header = current.filter(|_| sync && !has_header);
    if !rewrite && missing_header.is_none() {
        return Ok(AccessUnit { payload: payload.slice(kept_from.min(payload.len())..), sync, parameter_sets });
    }
    let mut out = BytesMut::with_capacity(payload.len().saturating_add(64));
    if let Some(header) = missing_header {
        put_obu(OBU_SEQUENCE_HEADER << 3, None, header, &mut out);
    }
    for obu in Obus::new(&payload).map_while(Result::ok).filter(Obu::is_stored) {
        put_obu(obu.header, obu.extension, obu.payload, &mut out);
    }
    Ok(AccessUnit { payload: out.freeze(), sync, parameter_sets })
}

/// One open bitstream unit (5.3).
#[derive(Clone, Copy, Debug)]
pub struct Obu<'a> {
    /// obu_type.
    pub kind: u8,
    /// obu_has_size_field.
    pub has_size: bool,
    /// What follows the header and the size.
    pub payload: &'a [u8],
    header: u8,
    extension: Option<u8>,
}

impl Obu<'_> {
    /// Whether ISO-BMFF stores it (AV1 ISO binding 2.4).
    fn is_stored(&self) -> bool {
        !matches!(self.kind, OBU_TEMPORAL_DELIMITER | OBU_TILE_LIST | OBU_PADDING)
    }
}

/// The OBUs of a temporal unit in the low-overhead format; ends after the first error. An OBU without a size reaches to
/// the end.
#[derive(Clone, Debug)]
pub struct Obus<'a> {
    total: usize,
    rest: &'a [u8],
}

impl<'a> Obus<'a> {
    /// Begins at the first OBU of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Self { total: data.len(), rest: data }
    }

    fn read(&mut self) -> Result<Obu<'a>> {
        let [header] = self.take()?;
        let extension = if header & 4 != 0 { Some(self.take::<1>()?[0]) } else { None };
        let has_size = header & 2 != 0;
        let size = if has_size { self.leb128()? } else { self.rest.len() };
        let (payload, rest) = self.rest.split_at_checked(size).ok_or_else(|| self.truncated(size))?;
        self.rest = rest;
        Ok(Obu { kind: header >> 3 & 15, has_size, payload, header, extension })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(|| self.truncated(N))?;
        self.rest = rest;
        Ok(*head)
    }

    fn leb128(&mut self) -> Result<usize> {
        let mut value = 0_u64;
        for index in 0..MAX_LEB128_BYTES {
            let [byte] = self.take()?;
            value |= u64::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                return usize::try_from(value).map_err(|_| self.truncated(usize::MAX));
            }
        }
        Err(Error::invalid("OBU", "a leb128 size of more than 8 bytes"))
    }

    fn truncated(&self, need: usize) -> Error {
        let at = self.total - self.rest.len();
        Error::Truncated { what: "OBU", need: at.saturating_add(need), have: self.total }
    }
}

impl<'a> Iterator for Obus<'a> {
    type Item = Result<Obu<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let obu = self.read();
        if obu.is_err() {
            self.rest = &[];
        }
        Some(obu)
    }
}

/// The payload of the first sequence header OBU in `obus`.
///
/// # Errors
/// When an OBU before it points past the end.
pub fn find_sequence_header(obus: &[u8]) -> Result<Option<&[u8]>> {
    for obu in Obus::new(obus) {
        let obu = obu?;
        if obu.kind == OBU_SEQUENCE_HEADER {
            return Ok(Some(obu.payload));
        }
    }
    Ok(None)
}

/// The first bits of uncompressed_header() (5.9.2). With reduced_still_picture_header they mean something else, but such
/// a sequence is one still picture, for which any answer does.
fn is_shown_key_frame(payload: &[u8]) -> bool {
    const SHOW_EXISTING_FRAME: u8 = 0b1000_0000;
    const FRAME_TYPE: u8 = 0b0110_0000;
    const SHOW_FRAME: u8 = 0b0001_0000;
    payload.first().is_some_and(|byte| byte & (SHOW_EXISTING_FRAME | FRAME_TYPE | SHOW_FRAME) == SHOW_FRAME)
}

/// Appends an OBU with obu_has_size_field set.
fn put_obu(header: u8, extension: Option<u8>, payload: &[u8], out: &mut BytesMut) {
    out.put_u8(header | 2);
    if let Some(extension) = extension {
        out.put_u8(extension);
    }
    let mut size = payload.len();
    while size >= 0x80 {
        out.put_u8(size as u8 | 0x80);
        size >>= 7;
    }
    out.put_u8(size as u8);
    out.put_slice(payload);
}

/// sequence_header_obu() (5.5.1) up to color_config().
#[derive(Debug)]
struct Sequence {
    profile: u8,
    level: u8,
    tier: bool,
    color: Color,
    info: VideoInfo,
}

impl Sequence {
    fn parse(payload: &[u8]) -> Result<Self> {
        let mut r = BitReader::new("AV1 sequence header", payload);
        let profile = r.u8(3)?;
        if profile > 2 {
            return Err(Error::invalid("AV1 sequence header", format!("seq_profile {profile}, which is reserved")));
        }
        r.skip(1)?; // still_picture
        let reduced = r.flag()?;
        let Operation { level, tier, frame_rate } = match reduced {
            true => Operation { level: r.u8(5)?, tier: false, frame_rate: None },
            false => Operation::parse(&mut r)?,
        };
        let (width_bits, height_bits) = (r.bits(4)? + 1, r.bits(4)? + 1);
        let (width, height) = (u64::from(r.bits(width_bits)?) + 1, u64::from(r.bits(height_bits)?) + 1);
        let (width, height) = check_picture_size(width, height)?;
        if !reduced && r.flag()? {
            r.skip(4 + 3)?; // delta_frame_id_length_minus_2, additional_frame_id_length_minus_1
        }
        r.skip(3)?; // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
        if !reduced {
            skip_inter_tools(&mut r)?;
        }
        r.skip(3)?; // enable_superres, enable_cdef, enable_restoration
        let color = Color::parse(&mut r, profile)?;
        Ok(Self { profile, level, tier, color, info: VideoInfo { width, height, frame_rate } })
    }

    fn record_head(&self) -> [u8; 3] {
        let c = &self.color;
        let flags = u8::from(self.tier) << 7
            | u8::from(c.bit_depth > 8) << 6
            | u8::from(c.bit_depth == 12) << 5
            | u8::from(c.monochrome) << 4
            | u8::from(c.subsampling[0]) << 3
            | u8::from(c.subsampling[1]) << 2
            | c.sample_position;
        [0x81, self.profile << 5 | self.level, flags]
    }

    fn into_config(self, record: Bytes) -> Config {
        Config { record, codec_string: self.codec_string(), info: self.info }
    }

    /// AV1 ISO binding 5: the fields after the bit depth are given all or not at all.
    fn codec_string(&self) -> String {
        let Color { bit_depth, monochrome, subsampling: [x, y], sample_position, description, full_range } = self.color;
        let tier = if self.tier { 'H' } else { 'M' };
        let mut text = format!("av01.{}.{:02}{tier}.{bit_depth:02}", self.profile, self.level);
        let is_default =
            !monochrome && x && y && matches!(description, None | Some([1, 1, 1] | [2, 2, 2])) && !full_range;
        if !is_default {
            let position = if x && y { sample_position } else { 0 };
            let [primaries, transfer, matrix] = description.unwrap_or([2, 2, 2]);
            let (mono, x, y, range) = (u8::from(monochrome), u8::from(x), u8::from(y), u8::from(full_range));
            text.push_str(&format!(".{mono}.{x}{y}{position}.{primaries:02}.{transfer:02}.{matrix:02}.{range}"));
        }
        text
    }
}

/// The timing and operating points of a sequence header.
#[derive(Debug)]
struct Operation {
    level: u8,
    tier: bool,
    frame_rate: Option<(u32, u32)>,
}

impl Operation {
    fn parse(r: &mut BitReader<'_>) -> Result<Self> {
        let mut frame_rate = None;
        let mut delay_bits = None;
        if r.flag()? {
            frame_rate = timing_info(r)?;
            if r.flag()? {
                delay_bits = Some(r.bits(5)? as usize + 1);
                r.skip(32 + 5 + 5)?; // the rest of decoder_model_info()
            }
        }
        let display_delays = r.flag()?;
        let points = r.bits(5)? + 1;
        let (mut level, mut tier) = (0, false);
        for point in 0..points {
            r.skip(12)?; // operating_point_idc
            let point_level = r.u8(5)?;
            let point_tier = point_level > 7 && r.flag()?;
            if let Some(bits) = delay_bits
                && r.flag()?
            {
                r.skip(2 * bits + 1)?; // operating_parameters_info()
            }
            if display_delays && r.flag()? {
                r.skip(4)?; // initial_display_delay_minus_1
            }
            if point == 0 {
                (level, tier) = (point_level, point_tier);
            }
        }
        Ok(Self { level, tier, frame_rate })
    }
}

/// timing_info() (5.5.3).
fn timing_info(r: &mut BitReader<'_>) -> Result<Option<(u32, u32)>> {
    let (units_in_tick, time_scale) = (r.bits(32)?, r.bits(32)?);
    if !r.flag()? {
        return Ok(None);
    }
    let ticks_per_picture = u64::from(uvlc(r)?) + 1;
    let denominator = u64::from(units_in_tick).checked_mul(ticks_per_picture);
    Ok(denominator.and_then(|denominator| frame_rate(time_scale.into(), denominator)))
}

/// uvlc() (4.10.3): 32 or more zeros stand for the largest value.
fn uvlc(r: &mut BitReader<'_>) -> Result<u32> {
    let mut zeros = 0;
    while !r.flag()? {
        zeros += 1;
    }
    if zeros >= 32 {
        return Ok(u32::MAX);
    }
    Ok(((1_u64 << zeros) - 1 + r.bits_u64(zeros)?) as u32)
}

/// From enable_interintra_compound to order_hint_bits_minus_1.
fn skip_inter_tools(r: &mut BitReader<'_>) -> Result<()> {
    const SELECT_SCREEN_CONTENT_TOOLS: u8 = 2;
    r.skip(4)?; // interintra compound, masked compound, warped motion, dual filter
    let order_hint = r.flag()?;
    if order_hint {
        r.skip(2)?; // enable_jnt_comp, enable_ref_frame_mvs
    }
    let screen_content = if r.flag()? { SELECT_SCREEN_CONTENT_TOOLS } else { r.u8(1)? };
    if screen_content > 0 && !r.flag()? {
        r.skip(1)?; // seq_force_integer_mv
    }
    if order_hint {
        r.skip(3)?; // order_hint_bits_minus_1
    }
    Ok(())
}

/// color_config() (5.5.2).
#[derive(Debug)]
struct Color {
    bit_depth: u8,
    monochrome: bool,
    subsampling: [bool; 2],
    sample_position: u8,
    /// color_primaries, transfer_characteristics, matrix_coefficients.
    description: Option<[u8; 3]>,
    full_range: bool,
}

impl Color {
    fn parse(r: &mut BitReader<'_>, profile: u8) -> Result<Self> {
        const SRGB: [u8; 3] = [1, 13, 0];
        let high = r.flag()?;
        let bit_depth = match (high, profile) {
            (false, _) => 8,
            (true, 2) if r.flag()? => 12,
            _ => 10,
        };
        let monochrome = profile != 1 && r.flag()?;
        let description = if r.flag()? { Some([r.u8(8)?, r.u8(8)?, r.u8(8)?]) } else { None };
        let color = |subsampling, sample_position, full_range| Self {
            bit_depth,
            monochrome,
            subsampling,
            sample_position,
            description,
            full_range,
        };
        if monochrome {
            return Ok(color([true, true], 0, r.flag()?));
        }
        if description == Some(SRGB) {
            return Ok(color([false, false], 0, true));
        }
        let full_range = r.flag()?;
        let subsampling = match (profile, bit_depth) {
            (0, _) => [true, true],
            (1, _) => [false, false],
            (_, 12) => {
                let x = r.flag()?;
                [x, x && r.flag()?]
            }
            _ => [true, false],
        };
        let sample_position = if subsampling == [true, true] { r.u8(2)? } else { 0 };
        Ok(color(subsampling, sample_position, full_range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::BitWriter;

    /// No encoder at hand writes these optional parts: timing, decoder model, display delay, frame ids, HDR colours.
    #[test]
    fn a_sequence_header_with_all_its_optional_parts() {
        let mut w = BitWriter::default();
        w.bits(3, 0).bits(2, 0); // seq_profile, still_picture, reduced_still_picture_header
        w.flag(true).bits(32, 1_001).bits(32, 60_000).flag(true).bits(3, 0b010); // timing: two ticks per picture
        w.flag(true).bits(5, 9).bits(32, 1).bits(5, 9).bits(5, 9); // decoder model: delays of 10 bits
        w.flag(true).bits(5, 1); // initial display delays, two operating points
        for level in [13, 8] {
            w.bits(12, 0).bits(5, level).flag(true); // level and High tier
            w.flag(true).bits(21, 0).flag(true).bits(4, 9);
        }
        w.bits(4, 11).bits(4, 10).bits(12, 3_839).bits(11, 1_607);
        w.flag(true).bits(7, 0); // frame ids
        w.bits(3, 0).bits(4, 0).flag(true).bits(2, 0).flag(false).flag(true).flag(false).flag(true).bits(3, 6);
        w.bits(3, 0);
        w.flag(true).flag(false).flag(true).bits(8, 9).bits(8, 16).bits(8, 9).flag(false).bits(2, 1); // BT.2020 PQ
        let config = Config::from_sequence_header(&w.into_bytes()).unwrap();
        assert_eq!(config.codec_string, "av01.0.13H.10.0.111.09.16.09.0");
        assert_eq!(config.info, VideoInfo { width: 3_840, height: 1_608, frame_rate: Some((30_000, 1_001)) });
        assert_eq!(config.record[..4], [0x81, 13, 0b1100_1101, 0]);
    }
}
