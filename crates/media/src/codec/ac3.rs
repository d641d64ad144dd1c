//! AC-3 and E-AC-3 (ETSI TS 102 366).

use bytes::Bytes;

use crate::{Error, Result, bits::BitReader};

const WHAT: &str = "AC-3 syncframe";
const SYNCWORD: [u8; 2] = [0x0B, 0x77];
/// fscod 0 to 2 (Table 4.1), in Hz.
const SAMPLE_RATES: [u32; 3] = [48_000, 44_100, 32_000];
/// frmsizecod / 2 (Table 4.13), in kbit/s.
const BIT_RATES_KBPS: [u32; 19] =
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/// acmod (Table 4.3).
const CHANNELS: [u32; 8] = [2, 1, 2, 3, 3, 4, 4, 5];
/// numblkscod (Table E1.4).
const BLOCKS: [u32; 4] = [1, 2, 3, 6];
/// Samples in one audio block (4.1).
const BLOCK_SAMPLES: u32 = 256;
/// bsid up to which a stream is AC-3 (4.4.2.1).
const MAX_AC3_BSID: u8 = 8;
/// bsid of E-AC-3 (E.1.3.1.6).
const EAC3_BSID: std::ops::RangeInclusive<u8> = 11..=16;

/// What a syncframe's bit stream information says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The `dac3` or `dec3` box body (ETSI TS 102 366 Annex F).
    pub record: Bytes,
    /// E-AC-3 rather than AC-3.
    pub enhanced: bool,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels, the LFE included.
    pub channels: u32,
}

impl Config {
    /// The configuration that a packet's first syncframe describes; there is no other header.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for E-AC-3 with dependent substreams or reduced sample rates; otherwise when there is no
    /// syncframe.
    pub fn from_packet(packet: &[u8]) -> Result<Self> {
        let (frame, _) = Syncframe::parse_packet(packet)?;
        Ok(Self {
            record: Bytes::copy_from_slice(frame.record().as_slice()),
            enhanced: frame.enhanced,
            sample_rate: frame.sample_rate,
            channels: frame.channels(),
        })
    }

    /// Whether `packet` still has this configuration; without an allocation. The data rate of E-AC-3 may vary.
    ///
    /// # Errors
    /// As [`Config::from_packet`].
    pub fn describes(&self, packet: &[u8]) -> Result<bool> {
        let (frame, _) = Syncframe::parse_packet(packet)?;
        let record = frame.record();
        let constant = if frame.enhanced { 2 } else { 0 };
        let same_record = record.as_slice().get(constant..) == self.record.get(constant..);
        Ok(same_record && self.enhanced == frame.enhanced && self.sample_rate == frame.sample_rate)
    }
}

/// Samples per channel in a packet: 1536 for an AC-3 syncframe, 256 per block for E-AC-3.
///
/// # Errors
/// As [`Config::from_packet`].
pub fn packet_samples(packet: &[u8]) -> Result<u32> {
    Syncframe::parse_packet(packet).map(|(_, samples)| samples)
}

/// The fields of bsi() that a configuration needs (4.3.2, E.1.2.2).
#[derive(Debug)]
struct Syncframe {
    enhanced: bool,
    dependent: bool,
    fscod: u8,
    bsid: u8,
    bsmod: u8,
    acmod: u8,
    lfeon: bool,
    sample_rate: u32,
    /// bit_rate_code of `dac3`, data_rate of `dec3`.
    rate: u32,
    samples: u32,
    frame_bytes: usize,
}

/// A `dac3` or `dec3` body: the first `length` bytes.
struct Record {
    bytes: [u8; 8],
    length: usize,
}

impl Record {
    fn new(left_aligned: u64, length: usize) -> Self {
        Self { bytes: left_aligned.to_be_bytes(), length }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

impl Syncframe {
    /// The first syncframe of a packet, and the samples of all of them.
    fn parse_packet(packet: &[u8]) -> Result<(Self, u32)> {
        let first = Self::parse(packet)?;
        let mut samples = first.samples;
        let mut rest = packet.get(first.frame_bytes..).unwrap_or_default();
        while rest.starts_with(&SYNCWORD) {
            let frame = Self::parse(rest)?;
            if frame.dependent {
                return Err(Error::Unsupported("E-AC-3 with dependent substreams".into()));
            }
            samples = samples.saturating_add(frame.samples);
            rest = rest.get(frame.frame_bytes..).unwrap_or_default();
        }
        Ok((first, samples))
    }

    fn parse(data: &[u8]) -> Result<Self> {
        if data.len() < SYNCWORD.len() {
            return Err(Error::Truncated { what: WHAT, need: SYNCWORD.len(), have: data.len() });
        }
        if !data.starts_with(&SYNCWORD) {
            return Err(Error::invalid(WHAT, "no syncword"));
        }
        // bsid stands at the same place in both (E.1.3.1.6).
        let bsid = data.get(5).map_or(0, |byte| byte >> 3);
        let mut r = BitReader::new(WHAT, data);
        r.skip(16)?;
        match bsid {
            0..=MAX_AC3_BSID => Self::parse_ac3(r),
            _ if EAC3_BSID.contains(&bsid) => Self::parse_eac3(r),
            _ => Err(Error::Unsupported(format!("AC-3 with bsid {bsid}"))),
        }
    }

    fn parse_ac3(mut r: BitReader<'_>) -> Result<Self> {
        r.skip(16)?; // crc1
        let fscod = r.u8(2)?;
        let frmsizecod = r.bits(6)?;
        let (Some(&sample_rate), Some(&bit_rate)) =
            (SAMPLE_RATES.get(usize::from(fscod)), BIT_RATES_KBPS.get(frmsizecod as usize / 2))
        else {
            return Err(Error::invalid(WHAT, format!("fscod {fscod}, frmsizecod {frmsizecod}")));
        };
        let (bsid, bsmod, acmod) = (r.u8(5)?, r.u8(3)?, r.u8(3)?);
        let three_front = acmod & 1 == 1 && acmod != 1;
        let mixing_bits = [three_front, acmod & 4 != 0, acmod == 2].iter().filter(|present| **present).count() * 2;
        r.skip(mixing_bits)?; // cmixlev, surmixlev, dsurmod
        let lfeon = r.flag()?;
        // Table 4.13: 16-bit words in 1536 samples; at 44.1 kHz rounded down, odd codes have one more.
        let words = bit_rate * 96_000 / sample_rate + if sample_rate == 44_100 { frmsizecod & 1 } else { 0 };
        Ok(Self {
            enhanced: false,
            dependent: false,
            fscod,
            bsid,
            bsmod,
            acmod,
            lfeon,
            sample_rate,
            rate: frmsizecod / 2,
            samples: 6 * BLOCK_SAMPLES,
            frame_bytes: words as usize * 2,
        })
    }

    fn parse_eac3(mut r: BitReader<'_>) -> Result<Self> {
        let strmtyp = r.u8(2)?;
        r.skip(3)?; // substreamid
        let frame_bytes = (r.bits(11)? + 1) * 2;
        let fscod = r.u8(2)?;
        let Some(&sample_rate) = SAMPLE_RATES.get(usize::from(fscod)) else {
            return Err(Error::Unsupported("E-AC-3 at a reduced sample rate".into()));
        };
        let blocks = BLOCKS[r.bits(2)? as usize & 3];
        let (acmod, lfeon, bsid) = (r.u8(3)?, r.flag()?, r.u8(5)?);
        let samples = blocks * BLOCK_SAMPLES;
        let rate = u64::from(frame_bytes) * 8 * u64::from(sample_rate) / u64::from(samples) / 1_000;
        Ok(Self {
            enhanced: true,
            dependent: strmtyp == 1,
            fscod,
            bsid,
            // bsmod comes after optional mixing metadata; 0, complete main, is what is broadcast.
            bsmod: 0,
            acmod,
            lfeon,
            sample_rate,
            rate: rate as u32,
            samples,
            frame_bytes: frame_bytes as usize,
        })
    }

    fn channels(&self) -> u32 {
        CHANNELS[usize::from(self.acmod & 7)] + u32::from(self.lfeon)
    }

    /// AC3SpecificBox and EC3SpecificBox (F.4, F.6).
    fn record(&self) -> Record {
        let [fscod, bsid, bsmod, acmod] = [self.fscod, self.bsid, self.bsmod, self.acmod].map(u64::from);
        let (lfeon, rate) = (u64::from(self.lfeon), u64::from(self.rate));
        if self.enhanced {
            let value = rate.min(0x1FFF) << 27 | fscod << 22 | bsid << 17 | bsmod << 12 | acmod << 9 | lfeon << 8;
            Record::new(value << 24, 5)
        } else {
            let value = fscod << 22 | bsid << 17 | bsmod << 14 | acmod << 11 | lfeon << 10 | rate << 5;
            Record::new(value << 40, 3)
        }
    }
}
