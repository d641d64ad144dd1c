//! AAC's AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1) and ADTS header (ISO/IEC 13818-7 6.2).

use bytes::Bytes;

use crate::{
    Error, Result,
    bits::{BitReader, BitWriter},
};

/// samplingFrequencyIndex 0 to 12 (ISO/IEC 14496-3 Table 1.18), in Hz.
const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// samplingFrequencyIndex that stands for an explicit 24-bit rate.
const EXPLICIT_RATE: u32 = 15;
/// Explicit sampling rates, in Hz: AAC's level definitions end at 96 kHz; twice that is certainly a broken header.
const SAMPLE_RATE_RANGE: std::ops::RangeInclusive<u32> = 4_000..=192_000;
/// aac_frame_length has 13 bits and counts the header (ISO/IEC 13818-7 6.2.1).
const MAX_ADTS_FRAME_BYTES: usize = (1 << 13) - 1;
/// Length of an ADTS header without CRC, in bytes.
pub const ADTS_HEADER_BYTES: usize = 7;

/// audioObjectType values (ISO/IEC 14496-3 Table 1.17).
const SBR: u8 = 5;
const PS: u8 = 29;

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
    /// Reads an AudioSpecificConfig: AAC Main, LC, SSR and LTP, with SBR and PS signalled in either explicit way, and
    /// with a program_config_element in the place of a channelConfiguration. Bytes behind it are dropped.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for other audio object types; otherwise when it ends early or a field is out of range.
    pub fn from_record(record: &[u8]) -> Result<Self> {
        let asc = AudioSpecificConfig::parse(record)?;
        Ok(Self {
            record: Bytes::copy_from_slice(record.get(..asc.length_bytes).unwrap_or(record)),
            object_type: asc.object_type,
            sample_rate: asc.sample_rate,
            channels: asc.channels,
            frame_samples: asc.frame_samples,
        })
    }

    /// The configuration that an ADTS header describes, without extensions: AAC in MPEG-TS has no other.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for channel_configuration 0: its layout is inside the raw data.
    pub fn from_adts(header: &AdtsHeader) -> Result<Self> {
        let mut writer = BitWriter::default();
        writer.bits(5, header.object_type.into()).bits(4, header.rate_index.into());
        writer.bits(4, header.channel_configuration.into()).bits(3, 0);
        if header.channel_configuration == 0 {
            return Err(Error::Unsupported("ADTS with channel_configuration 0".into()));
        }
        Self::from_record(&writer.into_bytes())
    }

    /// `mp4a.40.N` (RFC 6381 3.3).
    pub fn rfc6381(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }
}

/// The ADTS header without CRC for one raw_data_block of `payload_len` bytes (ISO/IEC 13818-7 6.2), as MPEG-TS needs it.
/// SBR and PS stay implicit, which is how receivers of ADTS expect them.
///
/// # Errors
/// [`Error::Unsupported`] for what ADTS cannot say: 960-sample frames, unlisted rates, layouts given by a
/// program_config_element; [`Error::TooLarge`] for a payload over 8,184 bytes.
pub fn adts_header(config: &Config, payload_len: usize) -> Result<[u8; ADTS_HEADER_BYTES]> {
    let asc = AudioSpecificConfig::parse(&config.record)?;
    let frame_bytes = payload_len.saturating_add(ADTS_HEADER_BYTES);
    if frame_bytes > MAX_ADTS_FRAME_BYTES {
        return Err(Error::TooLarge {
            what: "ADTS frame",
            value: frame_bytes as u64,
            limit: MAX_ADTS_FRAME_BYTES as u64,
        });
    }
    let rate_index = SAMPLE_RATES
        .iter()
        .position(|rate| *rate == asc.sample_rate)
        .ok_or_else(|| Error::Unsupported(format!("ADTS with a sample rate of {} Hz", asc.sample_rate)))?;
    if asc.frame_samples != 1024 || asc.channel_configuration == 0 {
        return Err(Error::Unsupported("ADTS with 960-sample frames or a program_config_element".into()));
    }
    let mut writer = BitWriter::default();
    // syncword, MPEG-4, layer 0, no CRC.
    writer.bits(12, 0xFFF).bits(4, 0b0001);
    writer.bits(2, u32::from(asc.core_object_type) - 1).bits(4, rate_index as u32).flag(false);
    writer.bits(3, asc.channel_configuration.into()).bits(4, 0);
    // A buffer fullness of all ones: variable rate; one raw_data_block.
    writer.bits(13, frame_bytes as u32).bits(11, 0x7FF).bits(2, 0);
    let mut header = [0; ADTS_HEADER_BYTES];
    header.copy_from_slice(&writer.into_bytes());
    Ok(header)
}

/// What an ADTS header says (ISO/IEC 13818-7 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdtsHeader {
    /// audioObjectType: profile_ObjectType plus one.
    pub object_type: u8,
    /// samplingFrequencyIndex.
    pub rate_index: u8,
    /// channel_configuration; 0 when a program_config_element in the raw data tells the layout.
    pub channel_configuration: u8,
    /// 7, or 9 with a CRC.
    pub header_bytes: usize,
    /// Bytes from this header to the next one.
    pub frame_bytes: usize,
    /// raw_data_blocks in this frame, 1 to 4, each of 1024 samples.
    pub raw_data_blocks: u8,
}

impl AdtsHeader {
    /// Reads the header at the beginning of `data`.
    ///
    /// # Errors
    /// When there is no syncword, or a field is out of range.
    pub fn parse(data: &[u8]) -> Result<Self> {
        const WHAT: &str = "ADTS header";
        let mut r = BitReader::new(WHAT, data.get(..data.len().min(ADTS_HEADER_BYTES)).unwrap_or_default());
        if r.bits(12)? != 0xFFF {
            return Err(Error::invalid(WHAT, "no syncword"));
        }
        r.skip(1)?; // ID
        let layer = r.u8(2)?;
        let header_bytes = if r.flag()? { 7 } else { 9 };
        let object_type = r.u8(2)? + 1;
        let rate_index = r.u8(4)?;
        r.skip(1)?; // private_bit
        let channel_configuration = r.u8(3)?;
        r.skip(4)?; // original/copy, home, copyright bits
        let frame_bytes = r.bits(13)? as usize;
        r.skip(11)?; // adts_buffer_fullness
        let raw_data_blocks = r.u8(2)? + 1;
        if layer != 0 || usize::from(rate_index) >= SAMPLE_RATES.len() || frame_bytes < header_bytes {
            return Err(Error::invalid(WHAT, format!("layer {layer}, rate index {rate_index}, {frame_bytes} bytes")));
        }
        Ok(Self { object_type, rate_index, channel_configuration, header_bytes, frame_bytes, raw_data_blocks })
    }

    /// Samples per second.
    pub fn sample_rate(&self) -> u32 {
        SAMPLE_RATES.get(usize::from(self.rate_index)).copied().unwrap_or_default()
    }
}

#[derive(Debug)]
struct AudioSpecificConfig {
    object_type: u8,
    core_object_type: u8,
    sample_rate: u32,
    channel_configuration: u8,
    channels: u32,
    frame_samples: u32,
    length_bytes: usize,
}

impl AudioSpecificConfig {
    fn parse(record: &[u8]) -> Result<Self> {
        let mut r = BitReader::new("AudioSpecificConfig", record);
        let mut object_type = object_type(&mut r)?;
        let sample_rate = sampling_frequency(&mut r)?;
        let channel_configuration = r.u8(4)?;
        let mut core_object_type = object_type;
        if matches!(object_type, SBR | PS) {
            sampling_frequency(&mut r)?;
            core_object_type = self::object_type(&mut r)?;
        }
        if !matches!(core_object_type, 1..=4) {
            return Err(Error::Unsupported(format!("AAC with audio object type {core_object_type}")));
        }
        let frame_samples = if r.flag()? { 960 } else { 1024 };
        if r.flag()? {
            r.skip(14)?; // coreCoderDelay
        }
        r.skip(1)?; // extensionFlag: nothing follows for these object types
        let core_channels = match channel_configuration {
            0 => program_config_channels(&mut r)?,
            configuration => channels_of(configuration)?,
        };
        if object_type == core_object_type {
            object_type = trailing_extension(&mut r).unwrap_or(object_type);
        }
        // Parametric stereo makes two channels of one (ISO/IEC 14496-3 1.6.6).
        let channels = if object_type == PS && core_channels == 1 { 2 } else { core_channels };
        let length_bytes = r.position().div_ceil(8);
        Ok(Self {
            object_type,
            core_object_type,
            sample_rate,
            channel_configuration,
            channels,
            frame_samples,
            length_bytes,
        })
    }
}

/// GetAudioObjectType() (Table 1.16).
fn object_type(r: &mut BitReader<'_>) -> Result<u8> {
    match r.u8(5)? {
        31 => Ok(32 + r.u8(6)?),
        value => Ok(value),
    }
}

fn sampling_frequency(r: &mut BitReader<'_>) -> Result<u32> {
    let index = r.bits(4)?;
    if index == EXPLICIT_RATE {
        let rate = r.bits(24)?;
        return Some(rate)
            .filter(|rate| SAMPLE_RATE_RANGE.contains(rate))
            .ok_or_else(|| Error::invalid("AudioSpecificConfig", format!("a sample rate of {rate} Hz")));
    }
    SAMPLE_RATES.get(index as usize).copied().ok_or_else(|| {
        Error::invalid("AudioSpecificConfig", format!("samplingFrequencyIndex {index}, which is reserved"))
    })
}

/// Table 1.19.
fn channels_of(configuration: u8) -> Result<u32> {
    match configuration {
        1..=6 => Ok(configuration.into()),
        7 | 12 | 14 => Ok(8),
        11 => Ok(7),
        13 => Ok(24),
        _ => Err(Error::invalid(
            "AudioSpecificConfig",
            format!("channelConfiguration {configuration}, which is reserved"),
        )),
    }
}

/// program_config_element() (4.4.1.1): only its channels are of use here.
fn program_config_channels(r: &mut BitReader<'_>) -> Result<u32> {
    r.skip(4 + 2 + 4)?; // element_instance_tag, object_type, sampling_frequency_index
    let [front, side, back] = [r.bits(4)?, r.bits(4)?, r.bits(4)?];
    let [lfe, data, coupling] = [r.bits(2)?, r.bits(3)?, r.bits(4)?];
    for mixdown_bits in [4, 4, 3] {
        if r.flag()? {
            r.skip(mixdown_bits)?;
        }
    }
    let mut channels = lfe;
    for _ in 0..front + side + back {
        channels += if r.flag()? { 2 } else { 1 };
        r.skip(4)?; // element_tag_select
    }
    r.skip((lfe * 4 + data * 4 + coupling * 5) as usize)?;
    r.align();
    let comment_bytes = r.bits(8)? as usize;
    r.skip(comment_bytes * 8)?;
    if channels == 0 {
        return Err(Error::invalid("program_config_element", "no channel"));
    }
    Ok(channels)
}

/// The backward compatible way to signal SBR and PS, behind the core's configuration (1.6.6.1).
fn trailing_extension(r: &mut BitReader<'_>) -> Option<u8> {
    let mut ahead = r.clone();
    if ahead.bits(11).ok()? != 0x2B7 || object_type(&mut ahead).ok()? != SBR {
        return None;
    }
    if !ahead.flag().ok()? {
        *r = ahead;
        return None;
    }
    sampling_frequency(&mut ahead).ok()?;
    *r = ahead.clone();
    if ahead.bits(11) != Ok(0x548) {
        return Some(SBR);
    }
    let parametric_stereo = ahead.flag() == Ok(true);
    *r = ahead;
    Some(if parametric_stereo { PS } else { SBR })
}
