//! Self-contained transport stream segments (RFC 8216 3.2), written with one copy of the payload.
//!
//! Every segment is written alone, and yet any segments may follow one another: on each PID the number of packets is a
//! multiple of 16, so that every segment begins with continuity counter 0 where the one before ended with 15. At most 15
//! packets a PID are spent on it, as stuffing in the last PES packet; PAT and PMT are sent 16 times, spread over the segment.

use std::ops::Range;

use base::{Timescale, time::rescale};
use bytes::Bytes;

use super::{
    CLOCK_WRAP, CONTINUITY_MODULUS, PACKET_BYTES,
    packet::{PAYLOAD_BYTES, PesWriter, Pid, field_bytes},
    psi::{AUDIO_PID, PAT_PID, PMT_PID, StreamType, VIDEO_PID, pat_section, pmt_section},
};
use crate::{
    CodecConfig, Error, Result, Sample, Track, TrackKind,
    codec::aac::{ADTS_HEADER_BYTES, adts_header},
};

/// Added to every PTS and DTS, in 90 kHz: 10 s, so that a timeline's first samples, B-frames and audio priming included,
/// stay clear of the wrap at zero. Modulo 2^33.
pub const CLOCK_OFFSET: i64 = 900_000;
/// The PCR runs this far behind the DTS of what is being sent, in 90 kHz: 500 ms of a decoder's buffer.
pub const PCR_LEAD: i64 = 45_000;
/// Most bytes of frames in one audio PES packet: its length field has 16 bits, and 8 KiB hold 180 ms of 320 kbit/s.
pub const AUDIO_PES_BYTES_MAX: usize = 8 * 1024;

/// PCRs are at most this far apart, in 90 kHz: 100 ms (2.7.2).
const PCR_INTERVAL: i64 = 9_000;
/// A longer gap between samples, in 90 kHz, is a hole in the timeline and is not filled with PCRs: 10 s.
const PCR_GAP_MAX: i64 = 900_000;
/// Times each of PAT and PMT is sent.
const PSI_REPEATS: usize = CONTINUITY_MODULUS;
/// PES_packet_length has 16 bits.
const PES_LENGTH_MAX: usize = 0xFFFF;
/// aac_frame_length has 13 bits and counts the header (ISO/IEC 13818-7 6.2.1).
const ADTS_PAYLOAD_BYTES_MAX: usize = (1 << 13) - 1 - ADTS_HEADER_BYTES;
/// start code prefix, stream_id, PES_packet_length, two bytes of flags, PES_header_data_length.
const PES_FIXED_BYTES: usize = 9;
/// A time stamp of 33 bits.
const TIME_STAMP_BYTES: usize = 5;

/// How segments are written; equal for all segments of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Longest time of audio in one PES packet, in milliseconds: few packets against late sound.
    pub audio_pes_ms: u32,
    /// By how much decoding times run earlier than the samples', in 90 kHz: the largest negative composition offset of the
    /// video, which a transport stream cannot express. A segment that needs more takes more.
    pub dts_lead: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { audio_pes_ms: 150, dts_lead: 0 }
    }
}

/// Writes a segment: PAT, PMT, then PES packets of video and audio in the order of their decoding times.
///
/// H.264 and H.265 get an access unit delimiter, and before a sync sample the parameter sets; AAC gets ADTS headers. The PCR
/// is on the video's PID, or on the audio's when there is no video track.
///
/// # Errors
/// [`Error::Unsupported`] for codecs without a home in MPEG-TS here (AV1, VP9, Opus); [`Error::Invalid`] without any track,
/// or with a track in the other's place; [`Error::Truncated`] for a sample whose NAL lengths lie; [`Error::TooLarge`] for
/// an audio frame that fits no PES packet.
pub fn segment(
    video: Option<(&Track, &[Sample])>,
    audio: Option<(&Track, &[Sample])>,
    options: &Options,
) -> Result<Bytes> {
    let mut streams = Vec::with_capacity(2);
    if let Some((track, samples)) = video {
        streams.push(Stream::new(track, samples, VIDEO_PID, TrackKind::Video)?);
    }
    if let Some((track, samples)) = audio {
        streams.push(Stream::new(track, samples, AUDIO_PID, TrackKind::Audio)?);
    }
    let pcr_pid = streams.first().ok_or_else(|| Error::invalid("segment", "no track"))?.pid;
    for stream in &mut streams {
        stream.plan(stream.pid == pcr_pid, options)?;
    }
    let steps = schedule(&streams);
    Ok(write(&streams, pcr_pid, &steps))
}

/// One elementary stream and its PES packets.
struct Stream<'a> {
    pid: u16,
    stream_type: StreamType,
    codec: &'a CodecConfig,
    timescale: Timescale,
    samples: &'a [Sample],
    /// Before a sync sample: delimiter and parameter sets, behind start codes.
    sync_prefix: Vec<u8>,
    /// Before any other sample: the delimiter.
    prefix: &'static [u8],
    /// Before each AAC frame, once its length is filled in.
    adts: Option<[u8; ADTS_HEADER_BYTES]>,
    pes: Vec<Pes>,
}

/// One PES packet as planned.
struct Pes {
    samples: Range<usize>,
    /// In 90 kHz, without the offset.
    pts: i64,
    dts: i64,
    /// Header and payload.
    bytes: usize,
    /// Bytes of stuffing among `bytes`, at the end of the header.
    stuffing: usize,
    packets: usize,
    random_access: bool,
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
    fn new(track: &'a Track, samples: &'a [Sample], pid: u16, kind: TrackKind) -> Result<Self> {
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

    fn plan(&mut self, has_pcr: bool, options: &Options) -> Result<()> {
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

/// What is written, in order.
enum Step {
    /// PAT and PMT.
    Tables,
    /// A packet with nothing but the PCR of a time.
    Pcr(i64),
    /// A PES packet of a stream, by indices.
    Pes(usize, usize),
}

/// Merges the streams by decoding time, spreads the tables among them, and puts PCRs where they would be too far apart.
fn schedule(streams: &[Stream]) -> Vec<Step> {
    let total: usize = streams.iter().map(|s| s.pes.len()).sum();
    let mut steps = Vec::with_capacity(total + PSI_REPEATS + PSI_REPEATS);
    let mut next = vec![0; streams.len()];
    let mut tables = 0;
    let mut pcr = None;
    for done in 0..total {
        while tables < PSI_REPEATS && tables * total <= done * PSI_REPEATS {
            steps.push(Step::Tables);
            tables += 1;
        }
        let Some((stream, dts)) = earliest(streams, &next) else { break };
        let carries_pcr = stream == 0;
        put_pcrs(&mut steps, &mut pcr, dts, carries_pcr);
        let Some(index) = next.get_mut(stream) else { break };
        steps.push(Step::Pes(stream, *index));
        *index += 1;
    }
    steps.extend((tables..PSI_REPEATS).map(|_| Step::Tables));
    steps
}

/// The stream whose next PES packet comes first, the first stream where two are equal.
fn earliest(streams: &[Stream], next: &[usize]) -> Option<(usize, i64)> {
    let heads = streams.iter().zip(next).enumerate();
    let times = heads.filter_map(|(i, (stream, &at))| stream.pes.get(at).map(|pes| (i, pes.dts)));
    times.min_by_key(|&(_, dts)| dts)
}

fn put_pcrs(steps: &mut Vec<Step>, last: &mut Option<i64>, now: i64, carries_pcr: bool) {
    match *last {
        None if !carries_pcr => {
            steps.push(Step::Pcr(now));
            *last = Some(now);
        }
        Some(mut at) if (PCR_INTERVAL..PCR_GAP_MAX).contains(&now.wrapping_sub(at)) => {
            while now - at > PCR_INTERVAL {
                at += PCR_INTERVAL;
                steps.push(Step::Pcr(at));
            }
            *last = Some(at);
        }
        _ => {}
    }
    if carries_pcr {
        *last = Some(now);
    }
}

fn write(streams: &[Stream], pcr_pid: u16, steps: &[Step]) -> Bytes {
    let packets: usize = steps
        .iter()
        .map(|step| match *step {
            Step::Tables => 2,
            Step::Pcr(_) => 1,
            Step::Pes(stream, index) => streams[stream].pes[index].packets,
        })
        .sum();
    let mut out = Vec::with_capacity(packets * PACKET_BYTES);
    let programs: Vec<_> = streams.iter().map(|s| (s.pid, s.stream_type)).collect();
    let (pat, pmt) = (pat_section(), pmt_section(pcr_pid, &programs));
    let (mut pat_pid, mut pmt_pid) = (Pid::new(PAT_PID), Pid::new(PMT_PID));
    let mut pids: Vec<_> = streams.iter().map(|s| Pid::new(s.pid)).collect();
    for step in steps {
        match *step {
            Step::Tables => {
                pat_pid.put_section(&mut out, &pat);
                pmt_pid.put_section(&mut out, &pmt);
            }
            Step::Pcr(time) => pids[0].put_pcr(&mut out, clock(time) - PCR_LEAD),
            Step::Pes(stream, index) => put_pes(&mut out, &streams[stream], index, &mut pids[stream], stream == 0),
        }
    }
    debug_assert_eq!(out.len(), packets * PACKET_BYTES);
    out.into()
}

fn put_pes(out: &mut Vec<u8>, stream: &Stream, index: usize, pid: &mut Pid, carries_pcr: bool) {
    let pes = &stream.pes[index];
    let mut writer = PesWriter {
        out,
        pid,
        pcr: carries_pcr.then(|| clock(pes.dts) - PCR_LEAD),
        random_access: pes.random_access,
        bytes_left: pes.bytes,
        packets_left: pes.packets,
        started: false,
        room: 0,
    };
    put_pes_header(&mut writer, stream.stream_type, pes);
    stream.put_payload(&mut writer, pes);
}

/// PES packet header (2.4.3.6). A video's length is left open, as 2.4.3.7 allows: an access unit may pass 64 KiB.
fn put_pes_header(out: &mut PesWriter, stream_type: StreamType, pes: &Pes) {
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

/// A time on the stream's clock.
fn clock(time: i64) -> i64 {
    time.wrapping_add(CLOCK_OFFSET).rem_euclid(CLOCK_WRAP)
}
