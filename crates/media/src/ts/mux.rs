//! Self-contained transport stream segments (RFC 8216 3.2), written with one copy of the payload.
//!
//! Every segment is written alone, and yet any segments may follow one another: on each PID the number of packets is a
//! multiple of 16, so that every segment begins with continuity counter 0 where the one before ended with 15. At most 15
//! packets a PID are spent on it, as stuffing in the last PES packet; PAT and PMT are sent 16 times, spread over the segment.

use bytes::Bytes;

use super::{
    CLOCK_WRAP, CONTINUITY_MODULUS, PACKET_BYTES,
    packet::{PesWriter, Pid},
    psi::{AUDIO_PID, PAT_PID, PMT_PID, VIDEO_PID, pat_section, pmt_section},
    stream::Stream,
};
use crate::{Error, Result, Sample, Track, TrackKind};

/// Added to every PTS and DTS, in 90 kHz: 10 s, so that a timeline's first samples, B-frames and audio priming included,
/// stay clear of the wrap at zero. Modulo 2^33.
pub const CLOCK_OFFSET: i64 = 900_000;
/// The PCR runs this far behind the DTS of what is being sent, in 90 kHz: 500 ms of a decoder's buffer.
pub const PCR_LEAD: i64 = 45_000;

/// PCRs are at most this far apart, in 90 kHz: 100 ms (2.7.2).
const PCR_INTERVAL: i64 = 9_000;
/// A longer gap between samples, in 90 kHz, is a hole in the timeline and is not filled with PCRs: 10 s.
const PCR_GAP_MAX: i64 = 900_000;
/// Times each of PAT and PMT is sent.
const PSI_REPEATS: usize = CONTINUITY_MODULUS;

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
    stream.put_pes(&mut writer, pes);
}

/// A time on the stream's clock.
pub(super) fn clock(time: i64) -> i64 {
    time.wrapping_add(CLOCK_OFFSET).rem_euclid(CLOCK_WRAP)
}
