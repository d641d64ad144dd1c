//! An elementary stream on its way out: samples planned as PES packets (ISO/IEC 13818-1 2.4.3.6), then written.

use std::ops::Range;

use base::{Timescale, time::rescale};
use bytes::Bytes;

use super::{
    CONTINUITY_MODULUS, Options,
    mux::clock,
    packet::{PAYLOAD_BYTES, PesWriter, field_bytes},
    psi::StreamType,
};
use crate::{
    CodecConfig, Error, Result, Sample, Track, TrackKind,
    codec::aac::{ADTS_HEADER_BYTES, adts_header},
};

/// Most bytes of frames in one audio PES packet: its length field has 16 bits, and 8 KiB hold 180 ms of 320 kbit/s.
pub const AUDIO_PES_BYTES_MAX: usize = 8 * 1024;

/// PES_packet_length has 16 bits.
const PES_LENGTH_MAX: usize = 0xFFFF;
/// aac_frame_length has 13 bits and counts the header (ISO/IEC 13818-7 6.2.1).
const ADTS_PAYLOAD_BYTES_MAX: usize = (1 << 13) - 1 - ADTS_HEADER_BYTES;
/// start code prefix, stream_id, PES_packet_length, two bytes of flags, PES_header_data_length.
const PES_FIXED_BYTES: usize = 9;
/// A time stamp of 33 bits.
const TIME_STAMP_BYTES: usize = 5;

/// One elementary stream and its PES packets.
pub(super) struct Stream<'a> {
    pub(super) pid: u16,
    pub(super) stream_type: StreamType,
    codec: &'a CodecConfig,
    timescale: Timescale,
    samples: &'a [Sample],
    /// Before a sync sample: delimiter and parameter sets, behind start codes.
    sync_prefix: Vec<u8>,
    /// Before any other sample: the delimiter.
    prefix: &'static [u8],
    /// Before each AAC frame, once its length is filled in.
    adts: Option<[u8; ADTS_HEADER_BYTES]>,
    pub(super) pes: Vec<Pes>,
}

/// One PES packet as planned.
pub(super) struct Pes {
    samples: Range<usize>,
    /// In 90 kHz, without the offset.
    pts: i64,
    pub(super) dts: i64,
    /// Header and payload.
    pub(super) bytes: usize,
    /// Bytes of stuffing among `bytes`, at the end of the header.
    stuffing: usize,
    pub(super) packets: usize,
    pub(super) random_access: bool,
}

impl Pes {
    fn header_bytes(&self) -> usize {
        PES_FIXED_BYTES + self.time_stamp_bytes() + self.stuffing
    }

    fn time_stamp_bytes(&self) -> usize {
        if self.pts == self.dts { TIME_STAMP_BYTES } else { 2 * TIME_STAMP_BYTES }
    }
}

impl<'a> Stream<'a> {
    pub(super) fn new(track: &'a Track, samples: &'a [Sample], pid: u16, kind: TrackKind) -> Result<Self> {
        if track.kind() != kind {
            return Err(Error::invalid("segment", format!("{} in the place of {kind:?}", track.codec.name())));
        }
        let (prefix, sync_prefix) = prefixes(&track.codec);
        let adts = match &*track.codec {
            CodecConfig::Aac(config) => Some(adts_header(config, 0)?),
            _ => None,
        };
        Ok(Self {
            pid,
            stream_type: StreamType::of(&track.codec)?,
            codec: &track.codec,
            timescale: track.timescale,
            samples,
            sync_prefix,
            prefix,
            adts,
            pes: Vec::new(),
        })
    }

    /// Plans the PES packets of all samples.
    pub(super) fn plan(&mut self, has_pcr: bool, options: &Options) -> Result<()> {
        match self.codec.kind() {
            TrackKind::Video => self.plan_video(options)?,
            TrackKind::Audio => self.plan_audio(options)?,
        }
        for pes in &mut self.pes {
            let first = PAYLOAD_BYTES - field_bytes(has_pcr, pes.random_access);
            pes.packets = 1 + pes.bytes.saturating_sub(first).div_ceil(PAYLOAD_BYTES);
        }
        self.pad();
        Ok(())
    }

    /// Spreads the last PES packet over more transport packets until their number on this PID is a multiple of 16. Each
    /// needs a byte of payload, and the header stays in the first one: where the payload is too short, stuffing in the PES header
    /// makes up for it.
    fn pad(&mut self) {
        let packets: usize = self.pes.iter().map(|pes| pes.packets).sum();
        let Some(last) = self.pes.last_mut() else { return };
        last.packets += packets.next_multiple_of(CONTINUITY_MODULUS) - packets;
        let payload_bytes = last.bytes - last.header_bytes();
        last.stuffing = (last.packets - 1).saturating_sub(payload_bytes);
        last.bytes += last.stuffing;
    }

    fn plan_video(&mut self, options: &Options) -> Result<()> {
        let deepest = self.samples.iter().map(|s| -i64::from(s.cts_offset)).max().unwrap_or(0).max(0);
        // One tick more than rounded down, so that no PTS falls before its DTS.
        let needed = if deepest > 0 { self.to_90k(deepest) + 1 } else { 0 };
        let lead = needed.max(options.dts_lead.into());
        for (i, sample) in self.samples.iter().enumerate() {
            let prefix_bytes = if sample.sync { self.sync_prefix.len() } else { self.prefix.len() };
            let mut pes = Pes {
                samples: i..i + 1,
                pts: self.to_90k(sample.pts()),
                dts: self.to_90k(sample.dts).wrapping_sub(lead),
                bytes: 0,
                stuffing: 0,
                packets: 0,
                random_access: sample.sync,
            };
            pes.bytes = pes.header_bytes() + prefix_bytes + self.access_unit_bytes(&sample.payload)?;
            self.pes.push(pes);
        }
        Ok(())
    }

    /// Bytes of the sample behind start codes: as many as behind lengths, but for delimiters.
    fn access_unit_bytes(&self, payload: &[u8]) -> Result<usize> {
        let mut bytes = 0;
        for nal in Nals(payload) {
            let nal = nal?;
            if !self.is_delimiter(nal) {
                bytes += START_CODE.len() + nal.len();
            }
        }
        Ok(bytes)
    }

    /// A delimiter is written before every access unit, so one that came with it goes.
    fn is_delimiter(&self, nal: &[u8]) -> bool {
        match (self.stream_type, nal.first()) {
            (StreamType::Avc, Some(header)) => header & 0x1F == 9,
            (StreamType::Hevc, Some(header)) => header >> 1 & 0x3F == 35,
            _ => nal.is_empty(),
        }
    }

    fn plan_audio(&mut self, options: &Options) -> Result<()> {
        let longest = self.timescale.from_ms(options.audio_pes_ms.into());
        let mut i = 0;
        while let Some(first) = self.samples.get(i) {
            let (end, frames_bytes) = self.audio_group(i, longest);
            let pts = self.to_90k(first.pts());
            let mut pes =
                Pes { samples: i..end, pts, dts: pts, bytes: 0, stuffing: 0, packets: 0, random_access: false };
            pes.bytes = pes.header_bytes() + frames_bytes;
            // Up to 15 bytes of stuffing may come on top.
            let limit = PES_LENGTH_MAX - CONTINUITY_MODULUS;
            if pes.bytes > limit {
                return Err(Error::TooLarge { what: "audio PES packet", value: pes.bytes as u64, limit: limit as u64 });
            }
            self.check_frames(i..end)?;
            self.pes.push(pes);
            i = end;
        }
        Ok(())
    }

    /// The frames from `start` that go into one PES packet, and their bytes: consecutive in time, within the limits, at least one.
    fn audio_group(&self, start: usize, longest: i64) -> (usize, usize) {
        let mut end = start;
        let mut bytes = 0;
        let begin = self.samples.get(start).map_or(0, |s| s.dts);
        let mut previous: Option<&Sample> = None;
        for frame in self.samples.get(start..).unwrap_or_default() {
            let frame_bytes = frame.payload.len() + self.frame_header_bytes();
            let fits = bytes + frame_bytes <= AUDIO_PES_BYTES_MAX
                && frame.dts.saturating_add(frame.duration.into()).saturating_sub(begin) <= longest;
            if previous.is_some_and(|p| !fits || !self.follows(p, frame)) {
                break;
            }
            bytes += frame_bytes;
            end += 1;
            previous = Some(frame);
        }
        (end, bytes)
    }

    /// Whether `next` begins where `frame` ends, within a quarter of a frame. A PES packet tells only its first frame's time; the
    /// others' follow from the samples in a frame, whatever duration the source gave them.
    fn follows(&self, frame: &Sample, next: &Sample) -> bool {
        let ticks = match self.codec {
            CodecConfig::Aac(c) => rescale(c.frame_samples.into(), Timescale::hz(c.sample_rate.max(1)), self.timescale),
            _ => frame.duration.into(),
        };
        frame.dts.saturating_add(ticks).abs_diff(next.dts) <= ticks.unsigned_abs() / 4
    }

    fn frame_header_bytes(&self) -> usize {
        if self.adts.is_some() { ADTS_HEADER_BYTES } else { 0 }
    }

    fn check_frames(&self, frames: Range<usize>) -> Result<()> {
        let limit = if self.adts.is_some() { ADTS_PAYLOAD_BYTES_MAX } else { PES_LENGTH_MAX };
        let frames = self.samples.get(frames).unwrap_or_default();
        match frames.iter().map(|frame| frame.payload.len()).find(|&bytes| bytes > limit) {
            Some(bytes) => Err(Error::TooLarge { what: "audio frame", value: bytes as u64, limit: limit as u64 }),
            None => Ok(()),
        }
    }

    fn to_90k(&self, ticks: i64) -> i64 {
        rescale(ticks, self.timescale, Timescale::VIDEO)
    }

    /// Writes a planned PES packet.
    pub(super) fn put_pes(&self, out: &mut PesWriter, pes: &Pes) {
        put_header(out, self.stream_type, pes);
        self.put_payload(out, pes);
    }

    fn put_payload(&self, out: &mut PesWriter, pes: &Pes) {
        for sample in self.samples.get(pes.samples.clone()).unwrap_or_default() {
            if self.codec.kind() == TrackKind::Video {
                self.put_access_unit(out, sample);
                continue;
            }
            if let Some(adts) = self.adts {
                out.push(&with_frame_length(adts, sample.payload.len()));
            }
            out.push(&sample.payload);
        }
    }

    fn put_access_unit(&self, out: &mut PesWriter, sample: &Sample) {
        out.push(if sample.sync { &self.sync_prefix } else { self.prefix });
        for nal in Nals(&sample.payload).map_while(Result::ok).filter(|nal| !self.is_delimiter(nal)) {
            out.push(&START_CODE);
            out.push(nal);
        }
    }
}

const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// access_unit_delimiter_rbsp of any slice types (ITU-T H.264 7.3.2.4).
const AVC_DELIMITER: &[u8] = &[0, 0, 0, 1, 0x09, 0xF0];
/// access_unit_delimiter_rbsp of any slice types (ITU-T H.265 7.3.2.5).
const HEVC_DELIMITER: &[u8] = &[0, 0, 0, 1, 0x46, 0x01, 0x50];

fn prefixes(codec: &CodecConfig) -> (&'static [u8], Vec<u8>) {
    match codec {
        CodecConfig::Avc(c) => (AVC_DELIMITER, with_sets(AVC_DELIMITER, c.sps.iter().chain(&c.pps))),
        CodecConfig::Hevc(c) => (HEVC_DELIMITER, with_sets(HEVC_DELIMITER, c.vps.iter().chain(&c.sps).chain(&c.pps))),
        _ => (&[], Vec::new()),
    }
}

fn with_sets<'a>(delimiter: &[u8], sets: impl Iterator<Item = &'a Bytes>) -> Vec<u8> {
    let mut out = delimiter.to_vec();
    for set in sets {
        out.extend_from_slice(&START_CODE);
        out.extend_from_slice(set);
    }
    out
}

/// aac_frame_length: 13 bits from bit 30 on, the header included (ISO/IEC 13818-7 6.2.1).
fn with_frame_length(mut adts: [u8; ADTS_HEADER_BYTES], payload_bytes: usize) -> [u8; ADTS_HEADER_BYTES] {
    let length = payload_bytes + ADTS_HEADER_BYTES;
    adts[3] = adts[3] & 0xFC | (length >> 11) as u8;
    adts[4] = (length >> 3) as u8;
    adts[5] = (length << 5) as u8 | adts[5] & 0x1F;
    adts
}

/// NAL units behind 4-byte lengths; ends after the first error.
struct Nals<'a>(&'a [u8]);

impl<'a> Iterator for Nals<'a> {
    type Item = Result<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let data = std::mem::take(&mut self.0);
        let Some((length, rest)) = data.split_first_chunk() else {
            return Some(Err(Error::Truncated { what: "NAL unit length", need: 4, have: data.len() }));
        };
        let length = u32::from_be_bytes(*length) as usize;
        let Some((nal, rest)) = rest.split_at_checked(length) else {
            return Some(Err(Error::Truncated { what: "NAL unit", need: length, have: rest.len() }));
        };
        self.0 = rest;
        Some(Ok(nal))
    }
}

/// PES packet header (2.4.3.6). A video's length is left open, as 2.4.3.7 allows: an access unit may pass 64 KiB.
fn put_header(out: &mut PesWriter, stream_type: StreamType, pes: &Pes) {
    let video = matches!(stream_type, StreamType::Avc | StreamType::Hevc);
    let length = if video { 0 } else { (pes.bytes - 6) as u16 };
    let [length_high, length_low] = length.to_be_bytes();
    let both = pes.pts != pes.dts;
    let header_data = (pes.time_stamp_bytes() + pes.stuffing) as u8;
    const ALIGNED: u8 = 0x84; // '10', data_alignment_indicator: the payload begins with an access unit
    let time_stamps = if both { 0xC0 } else { 0x80 };
    out.push(&[0, 0, 1, stream_type.pes_stream_id(), length_high, length_low, ALIGNED, time_stamps, header_data]);
    out.push(&time_stamp(if both { 3 } else { 2 }, clock(pes.pts)));
    if both {
        out.push(&time_stamp(1, clock(pes.dts)));
    }
    out.push(&[0xFF; CONTINUITY_MODULUS][..pes.stuffing]);
}

/// 33 bits among four bits of prefix and three marker bits (2.4.3.7).
fn time_stamp(prefix: u8, time: i64) -> [u8; TIME_STAMP_BYTES] {
    let t = time as u64;
    [
        prefix << 4 | (t >> 29) as u8 & 0x0E | 1,
        (t >> 22) as u8,
        (t >> 14) as u8 & 0xFE | 1,
        (t >> 7) as u8,
        (t << 1) as u8 & 0xFE | 1,
    ]
}
