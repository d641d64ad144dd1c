//! Program specific information (ISO/IEC 13818-1 2.4.4): the tables that say what is on which PID.

use crate::{CodecConfig, Error, Result};

/// PID of the program association table.
pub(super) const PAT_PID: u16 = 0;
/// PID of the program map table, in what is written here.
pub(super) const PMT_PID: u16 = 0x1000;
/// PID of the video, in what is written here.
pub(super) const VIDEO_PID: u16 = 0x100;
/// PID of the audio, in what is written here.
pub(super) const AUDIO_PID: u16 = 0x101;

/// Longest section, in bytes after `section_length` (2.4.4.5: at most 1021).
pub(super) const SECTION_BYTES_MAX: usize = 1021;

const PAT_TABLE_ID: u8 = 0;
const PMT_TABLE_ID: u8 = 2;
const REGISTRATION_DESCRIPTOR: u8 = 5;

/// What an elementary stream carries (2.4.4.9 table 2-34, ATSC A/53, SMPTE registrations).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamType {
    /// 0x1B.
    Avc,
    /// 0x24.
    Hevc,
    /// 0x0F: AAC in ADTS.
    Aac,
    /// 0x81 (ATSC A/52).
    Ac3,
    /// 0x87 (ATSC A/52).
    Eac3,
    /// Anything else, by its number.
    Other(u8),
}

impl StreamType {
    pub(super) fn of(codec: &CodecConfig) -> Result<Self> {
        match codec {
            CodecConfig::Avc(_) => Ok(Self::Avc),
            CodecConfig::Hevc(_) => Ok(Self::Hevc),
            CodecConfig::Aac(_) => Ok(Self::Aac),
            CodecConfig::Ac3(c) => Ok(if c.enhanced { Self::Eac3 } else { Self::Ac3 }),
            other => Err(Error::Unsupported(format!("{} in MPEG-TS", other.name()))),
        }
    }

    pub(super) fn from_number(number: u8) -> Self {
        match number {
            0x1B => Self::Avc,
            0x24 => Self::Hevc,
            0x0F => Self::Aac,
            0x81 => Self::Ac3,
            0x87 => Self::Eac3,
            other => Self::Other(other),
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Avc => 0x1B,
            Self::Hevc => 0x24,
            Self::Aac => 0x0F,
            Self::Ac3 => 0x81,
            Self::Eac3 => 0x87,
            Self::Other(number) => number,
        }
    }

    /// PES stream_id (2.4.3.7 table 2-22); AC-3 is private_stream_1 (ATSC A/52 A3).
    pub(super) fn pes_stream_id(self) -> u8 {
        match self {
            Self::Avc | Self::Hevc => 0xE0,
            Self::Aac => 0xC0,
            Self::Ac3 | Self::Eac3 | Self::Other(_) => 0xBD,
        }
    }

    fn registration(self) -> Option<&'static [u8; 4]> {
        match self {
            Self::Hevc => Some(b"HEVC"),
            Self::Ac3 => Some(b"AC-3"),
            Self::Eac3 => Some(b"EAC3"),
            Self::Avc | Self::Aac | Self::Other(_) => None,
        }
    }
}

/// A PAT section with one program, whose map is on [`PMT_PID`].
pub(super) fn pat_section() -> Vec<u8> {
    let [high, low] = PMT_PID.to_be_bytes();
    section(PAT_TABLE_ID, &[0, 1, 0xE0 | high, low])
}

/// The PMT section of that program.
pub(super) fn pmt_section(pcr_pid: u16, streams: &[(u16, StreamType)]) -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    body.extend_from_slice(&(0xE000 | pcr_pid).to_be_bytes());
    body.extend_from_slice(&0xF000u16.to_be_bytes()); // no program descriptors
    for &(pid, stream_type) in streams {
        body.push(stream_type.number());
        body.extend_from_slice(&(0xE000 | pid).to_be_bytes());
        let Some(format) = stream_type.registration() else {
            body.extend_from_slice(&0xF000u16.to_be_bytes());
            continue;
        };
        body.extend_from_slice(&(0xF000 | 6u16).to_be_bytes());
        body.extend_from_slice(&[REGISTRATION_DESCRIPTOR, 4]);
        body.extend_from_slice(format);
    }
    section(PMT_TABLE_ID, &body)
}

/// A section in the long form, for transport stream or program 1, version 0, current, the only one.
fn section(table_id: u8, body: &[u8]) -> Vec<u8> {
    let length = (5 + body.len() + 4) as u16;
    let mut out = Vec::with_capacity(3 + usize::from(length));
    out.push(table_id);
    out.extend_from_slice(&(0xB000 | length).to_be_bytes());
    out.extend_from_slice(&[0, 1, 0xC1, 0, 0]);
    out.extend_from_slice(body);
    let crc = crc32(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// What a section says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// PID of the first program's map.
    Pat { pmt_pid: u16 },
    /// The program's elementary streams.
    Pmt { streams: Vec<(u16, StreamType)> },
}

/// Reads a whole section; `None` for tables that are not read here or not yet valid.
pub(super) fn read_section(data: &[u8]) -> Result<Option<Table>> {
    if crc32(data) != 0 {
        return Err(Error::invalid("section", "CRC_32 does not match"));
    }
    let body = data.len().checked_sub(4).and_then(|end| data.get(8..end)).unwrap_or_default();
    let current = data.get(5).is_some_and(|b| b & 1 == 1);
    match data.first() {
        Some(&PAT_TABLE_ID) if current => Ok(first_program(body).map(|pmt_pid| Table::Pat { pmt_pid })),
        Some(&PMT_TABLE_ID) if current => Ok(Some(Table::Pmt { streams: read_streams(body)? })),
        _ => Ok(None),
    }
}

/// Program number 0 names the network information table instead.
fn first_program(body: &[u8]) -> Option<u16> {
    let mut programs = body.chunks_exact(4).filter(|entry| !entry.starts_with(&[0, 0]));
    programs.next().and_then(|entry| pid_at(entry, 2))
}

fn read_streams(body: &[u8]) -> Result<Vec<(u16, StreamType)>> {
    let truncated = |need| Error::Truncated { what: "program map", need, have: body.len() };
    let program_info = usize::from(length_at(body, 2).ok_or_else(|| truncated(4))?);
    let mut at = 4 + program_info;
    let mut streams = Vec::new();
    while let Some(&number) = body.get(at) {
        let (Some(pid), Some(info)) = (pid_at(body, at + 1), length_at(body, at + 3)) else {
            return Err(truncated(at + 5));
        };
        let descriptors = body.get(at + 5..at + 5 + usize::from(info)).ok_or_else(|| truncated(at + 5))?;
        streams.push((pid, refine(StreamType::from_number(number), descriptors)));
        at += 5 + usize::from(info);
    }
    Ok(streams)
}

/// DVB carries AC-3 as private data (0x06) with a descriptor: 0x6A for AC-3, 0x7A for E-AC-3 (ETSI EN 300 468 Annex D).
fn refine(stream_type: StreamType, mut descriptors: &[u8]) -> StreamType {
    if stream_type != StreamType::Other(6) {
        return stream_type;
    }
    while let [tag, length, rest @ ..] = descriptors {
        let (body, after) = rest.split_at(usize::from(*length).min(rest.len()));
        match (tag, body) {
            (0x6A, _) | (&REGISTRATION_DESCRIPTOR, b"AC-3") => return StreamType::Ac3,
            (0x7A, _) | (&REGISTRATION_DESCRIPTOR, b"EAC3") => return StreamType::Eac3,
            (&REGISTRATION_DESCRIPTOR, b"HEVC") => return StreamType::Hevc,
            _ => descriptors = after,
        }
    }
    stream_type
}

fn pid_at(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?) & 0x1FFF)
}

fn length_at(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?) & 0x0FFF)
}

/// CRC_32 of Annex A: polynomial 0x04C11DB7, no reflection. Over a section with its own CRC it is zero.
fn crc32(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut crc = (i as u32) << 24;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc >> 31 == 1 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    data.iter().fold(u32::MAX, |crc, &byte| crc << 8 ^ TABLE[(crc >> 24) as usize ^ usize::from(byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_mpeg_2s() {
        assert_eq!(crc32(b"123456789"), 0x0376_E6E7);
    }

    #[test]
    fn sections_read_as_written() {
        assert_eq!(read_section(&pat_section()), Ok(Some(Table::Pat { pmt_pid: PMT_PID })));
        let streams = vec![
            (VIDEO_PID, StreamType::Hevc),
            (AUDIO_PID, StreamType::Aac),
            (0x102, StreamType::Ac3),
            (0x103, StreamType::Eac3),
        ];
        let written = pmt_section(VIDEO_PID, &streams);
        assert_eq!(read_section(&written), Ok(Some(Table::Pmt { streams })));
    }

    #[test]
    fn a_changed_bit_is_noticed() {
        let mut written = pat_section();
        written[9] ^= 1;
        assert!(matches!(read_section(&written), Err(Error::Invalid { .. })));
    }
}
