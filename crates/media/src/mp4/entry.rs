//! Sample entries: a track's codec and its configuration (ISO/IEC 14496-12 8.5.2, 12.1.3, 12.2.3).

use bytes::Bytes;

use super::boxes::{Box, Reader, name, need};
use crate::{
    CodecConfig, Error, Result, TrackKind,
    bits::BitReader,
    codec::{VideoInfo, aac, ac3, av1, avc, hevc, opus, vp9},
};

/// What a sample entry says.
pub(super) struct Entry {
    pub(super) codec: CodecConfig,
    /// Bytes of a NAL unit's length in the samples.
    pub(super) nal_length_bytes: u8,
}

/// Reads a sample entry; `data` is the buffer that it is a part of.
pub(super) fn read(data: &Bytes, kind: TrackKind, entry: &Box) -> Result<Entry> {
    match kind {
        TrackKind::Video => read_visual(entry),
        TrackKind::Audio => read_audio(data, entry),
    }
}

fn read_visual(entry: &Box) -> Result<Entry> {
    let mut r = Reader::new("visual sample entry", entry.body);
    r.skip(24)?;
    let info = VideoInfo { width: r.u16()?.into(), height: r.u16()?.into(), frame_rate: None };
    r.skip(50)?;
    let boxes = r.rest();
    let mut nal_length_bytes = 4;
    let codec = match &entry.kind {
        b"avc1" | b"avc3" => {
            let (config, bytes) = avc::Config::from_record(need(boxes, b"avcC")?)?;
            nal_length_bytes = bytes;
            CodecConfig::Avc(config)
        }
        b"hvc1" | b"hev1" => {
            let (config, bytes) = hevc::Config::from_record(need(boxes, b"hvcC")?)?;
            nal_length_bytes = bytes;
            CodecConfig::Hevc(config)
        }
        b"av01" => CodecConfig::Av1(av1::Config::from_record(need(boxes, b"av1C")?)?),
        b"vp09" => CodecConfig::Vp9(vp9::Config::from_record(need(boxes, b"vpcC")?, info)?),
        kind => return Err(unsupported("picture sample entry", *kind)),
    };
    Ok(Entry { codec, nal_length_bytes })
}

fn read_audio(data: &Bytes, entry: &Box) -> Result<Entry> {
    let mut r = Reader::new("audio sample entry", entry.body);
    r.skip(8)?;
    let version = r.u16()?;
    r.skip(18)?;
    // QuickTime's version 1 has four more fields.
    if version == 1 {
        r.skip(16)?;
    }
    let boxes = r.rest();
    let codec = match &entry.kind {
        b"mp4a" => CodecConfig::Aac(read_esds(need(boxes, b"esds")?)?),
        b"Opus" => CodecConfig::Opus(opus::Config::from_dops(need(boxes, b"dOps")?)?),
        b"ac-3" => CodecConfig::Ac3(read_ac3(data, need(boxes, b"dac3")?, false)?),
        b"ec-3" => CodecConfig::Ac3(read_ac3(data, need(boxes, b"dec3")?, true)?),
        kind => return Err(unsupported("sound sample entry", *kind)),
    };
    Ok(Entry { codec, nal_length_bytes: 0 })
}

/// The AudioSpecificConfig in an ES_Descriptor (ISO/IEC 14496-1 7.2.6.5).
fn read_esds(body: &[u8]) -> Result<aac::Config> {
    const WHAT: &str = "esds";
    let mut r = Reader::new(WHAT, body);
    r.skip(4)?; // version, flags
    let mut es = descriptor(&mut r, 3)?;
    es.skip(2)?; // ES_ID
    let flags = es.u8()?;
    let depends_on = flags & 0x80 != 0;
    let url = flags & 0x40 != 0;
    let clock = flags & 0x20 != 0;
    es.skip(if depends_on { 2 } else { 0 })?;
    if url {
        let length = es.u8()?;
        es.skip(length.into())?;
    }
    es.skip(if clock { 2 } else { 0 })?;
    let mut decoder = descriptor(&mut es, 4)?;
    let object_type = decoder.u8()?;
    // MPEG-4 audio, and the MPEG-2 AAC profiles (Table 5).
    if !matches!(object_type, 0x40 | 0x66..=0x68) {
        return Err(Error::Unsupported(format!("mp4a with objectTypeIndication {object_type:#04x}")));
    }
    decoder.skip(12)?;
    let info = descriptor(&mut decoder, 5)?;
    aac::Config::from_record(info.rest())
}

/// The body of the next descriptor with this tag; others before it are passed over.
fn descriptor<'a>(r: &mut Reader<'a>, wanted: u8) -> Result<Reader<'a>> {
    loop {
        let tag = r.u8()?;
        let mut length = 0;
        for _ in 0..4 {
            let byte = r.u8()?;
            length = length << 7 | usize::from(byte & 0x7F);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let body = r.bytes(length)?;
        if tag == wanted {
            return Ok(Reader::new("descriptor", body));
        }
    }
}

/// `dac3` and `dec3` (ETSI TS 102 366 F.4, F.6).
fn read_ac3(data: &Bytes, record: &[u8], enhanced: bool) -> Result<ac3::Config> {
    const WHAT: &str = "AC-3 configuration";
    let mut r = BitReader::new(WHAT, record);
    r.skip(if enhanced { 16 } else { 0 })?; // data_rate, num_ind_sub
    let sample_rate = match r.bits(2)? {
        0 => 48_000,
        1 => 44_100,
        2 => 32_000,
        _ => return Err(Error::Unsupported("E-AC-3 with a reduced sample rate".into())),
    };
    // AC-3: bsid, bsmod. E-AC-3: bsid, a reserved bit, asvc, bsmod.
    r.skip(if enhanced { 10 } else { 8 })?;
    let acmod = r.bits(3)?;
    let full = match acmod {
        0 | 2 => 2,
        1 => 1,
        3 | 4 => 3,
        5 | 6 => 4,
        _ => 5,
    };
    let channels = full + u32::from(r.flag()?);
    Ok(ac3::Config { record: data.slice_ref(record), enhanced, sample_rate, channels })
}

fn unsupported(what: &str, kind: [u8; 4]) -> Error {
    Error::Unsupported(format!("{what} {}", name(kind)))
}
