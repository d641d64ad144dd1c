use bytes::{BufMut, BytesMut};

use super::{
    CODEC_ID_AVC, SOUND_AAC, TYPE_AUDIO, TYPE_SCRIPT, TYPE_VIDEO, frame_header, sequence_header, timestamp_ms,
    write::fourcc,
};
use crate::{CodecConfig, Sample, Track, TrackKind};

/// FLVTAG up to its data (Annex E.4.1), in bytes.
pub const TAG_HEADER_BYTES: usize = 11;

/// TypeFlags of the FLV header (Annex E.2).
const HAS_AUDIO: u8 = 4;
const HAS_VIDEO: u8 = 1;

/// Writes samples as an FLV file or pipe. Every call appends whole tags to `out`: what it wrote can be sent at once.
///
/// Timestamps are the samples' own less an origin, in milliseconds modulo 2^32; what lies before the origin is stamped
/// zero. Audio and video have one track each: FLV players know no more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Muxer {
    origin_ms: i64,
}

impl Muxer {
    /// A muxer that leaves the timeline where it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// A muxer for which `origin_ms` is time zero: a viewer who joins late, a timeline that begins below zero.
    pub fn with_origin(origin_ms: i64) -> Self {
        Self { origin_ms }
    }

    /// Writes the FLV header, then `onMetaData` and the sequence headers of `tracks` at time zero.
    pub fn start(&self, tracks: &[&Track], out: &mut BytesMut) {
        let flags = tracks.iter().fold(0, |flags, track| {
            flags
                | match track.kind() {
                    TrackKind::Audio => HAS_AUDIO,
                    TrackKind::Video => HAS_VIDEO,
                }
        });
        out.put_slice(&[b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]);
        put_tag(TYPE_SCRIPT, 0, &[&metadata(tracks)], out);
        for track in tracks {
            self.track(track, self.origin_ms, out);
        }
    }

    /// Writes the sequence header of a new configuration; nothing for codecs without one.
    pub fn track(&self, track: &Track, timestamp_ms: i64, out: &mut BytesMut) {
        if let Some(message) = sequence_header(&track.codec) {
            put_tag(tag_type(track.kind()), self.stamp(timestamp_ms), &[&message], out);
        }
    }

    /// Writes a sample.
    pub fn sample(&self, track: &Track, sample: &Sample, out: &mut BytesMut) {
        let header = frame_header(track, sample);
        let timestamp_ms = self.stamp(timestamp_ms(track, sample));
        put_tag(tag_type(track.kind()), timestamp_ms, &[&header, &sample.payload], out);
    }

    fn stamp(&self, timestamp_ms: i64) -> i64 {
        timestamp_ms.saturating_sub(self.origin_ms)
    }
}

/// The tag header for `data_bytes` of audio or video, for writers that send payloads from where they are. What follows the
/// data is PreviousTagSize: `data_bytes` plus [`TAG_HEADER_BYTES`], in 32 bits, big-endian.
pub fn tag_header(kind: TrackKind, timestamp_ms: i64, data_bytes: usize) -> [u8; TAG_HEADER_BYTES] {
    fields(tag_type(kind), timestamp_ms, data_bytes)
}

fn fields(tag_type: u8, timestamp_ms: i64, data_bytes: usize) -> [u8; TAG_HEADER_BYTES] {
    let [_, s0, s1, s2] = (data_bytes as u32).to_be_bytes();
    let [t0, t1, t2, t3] = (timestamp_ms.max(0) as u32).to_be_bytes();
    [tag_type, s0, s1, s2, t1, t2, t3, t0, 0, 0, 0]
}

fn tag_type(kind: TrackKind) -> u8 {
    match kind {
        TrackKind::Audio => TYPE_AUDIO,
        TrackKind::Video => TYPE_VIDEO,
    }
}

fn put_tag(tag_type: u8, timestamp_ms: i64, data: &[&[u8]], out: &mut BytesMut) {
    let data_bytes = data.iter().map(|part| part.len()).sum::<usize>();
    out.reserve(TAG_HEADER_BYTES + data_bytes + 4);
    out.put_slice(&fields(tag_type, timestamp_ms, data_bytes));
    data.iter().for_each(|part| out.put_slice(part));
    out.put_u32((data_bytes + TAG_HEADER_BYTES) as u32);
}

/// `onMetaData` (Annex E.5, Enhanced RTMP v2 for FourCCs as codec ids) as AMF0: what players show or size their window by.
fn metadata(tracks: &[&Track]) -> Vec<u8> {
    let mut pairs: Vec<(&str, f64)> = Vec::new();
    for track in tracks {
        if let Some(info) = track.codec.video() {
            pairs.extend([("width", info.width.into()), ("height", info.height.into())]);
            pairs.extend(info.frame_rate.map(|(n, d)| ("framerate", f64::from(n) / f64::from(d))));
        }
        if let Some(info) = track.codec.audio() {
            pairs.extend([("audiosamplerate", info.sample_rate.into()), ("audiochannels", info.channels.into())]);
        }
        let key = if track.kind() == TrackKind::Video { "videocodecid" } else { "audiocodecid" };
        let id = match track.codec.as_ref() {
            CodecConfig::Avc(_) => CODEC_ID_AVC.into(),
            CodecConfig::Aac(_) => SOUND_AAC.into(),
            codec => u32::from_be_bytes(fourcc(codec)),
        };
        pairs.push((key, id.into()));
    }
    const STRING: u8 = 2;
    const ECMA_ARRAY: u8 = 8;
    const OBJECT_END: [u8; 3] = [0, 0, 9];
    let mut script = vec![STRING];
    put_amf_name("onMetaData", &mut script);
    script.put_u8(ECMA_ARRAY);
    script.put_u32(pairs.len() as u32);
    for (name, value) in pairs {
        put_amf_name(name, &mut script);
        script.put_u8(0); // number
        script.put_f64(value);
    }
    script.put_slice(&OBJECT_END);
    script
}

fn put_amf_name(name: &str, out: &mut Vec<u8>) {
    out.put_u16(name.len() as u16);
    out.put_slice(name.as_bytes());
}
