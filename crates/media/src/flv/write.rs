use std::ops::Deref;

use base::time::{Timescale, rescale_nearest};
use bytes::Bytes;

use super::{
    CODEC_ID_AVC, FRAME_INTER, FRAME_KEY, PACKET_CODED_FRAMES, PACKET_SEQUENCE_START, SOUND_AAC, SOUND_EX_HEADER,
    VIDEO_CODED_FRAMES_X, VIDEO_EX_HEADER, fourcc::FourCc,
};
use crate::{CodecConfig, Sample, Track};

/// The longest header: ExVideoTagHeader with a composition time, in bytes.
const MAX_HEADER_BYTES: usize = 8;
/// SoundRate, SoundSize and SoundType, which AAC fixes (Annex E.4.2.1): 44 kHz, 16 bits, stereo.
const AAC_SOUND: u8 = SOUND_AAC << 4 | 0b1111;
/// CompositionTime has 24 bits with a sign (Annex E.4.3.1), in milliseconds.
const COMPOSITION_MS: std::ops::RangeInclusive<i64> = -(1 << 23)..=(1 << 23) - 1;

/// The bytes that stand before a sample's payload in an RTMP message or FLV tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    bytes: [u8; MAX_HEADER_BYTES],
    length: u8,
}

impl FrameHeader {
    fn new(parts: &[&[u8]]) -> Self {
        let mut header = Self { bytes: [0; MAX_HEADER_BYTES], length: 0 };
        for byte in parts.iter().copied().flatten() {
            if let Some(slot) = header.bytes.get_mut(usize::from(header.length)) {
                *slot = *byte;
                header.length += 1;
            }
        }
        header
    }
}

impl Deref for FrameHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or(&self.bytes)
    }
}

/// The message that announces a configuration: legacy for H.264 and AAC, which every player knows, Enhanced RTMP v2 for
/// the others. `None` for AC-3 and E-AC-3, whose frames describe themselves.
pub fn sequence_header(codec: &CodecConfig) -> Option<Bytes> {
    const KEY_START: u8 = VIDEO_EX_HEADER | FRAME_KEY << 4 | PACKET_SEQUENCE_START;
    const SOUND_START: u8 = SOUND_EX_HEADER << 4 | PACKET_SEQUENCE_START;
    let fourcc = fourcc(codec);
    let message = match codec {
        CodecConfig::Avc(avc) => {
            [&[FRAME_KEY << 4 | CODEC_ID_AVC, PACKET_SEQUENCE_START, 0, 0, 0], avc.record.as_ref()].concat()
        }
        CodecConfig::Hevc(hevc) => [&[KEY_START], fourcc.as_slice(), &hevc.record].concat(),
        CodecConfig::Av1(av1) => [&[KEY_START], fourcc.as_slice(), &av1.record].concat(),
        // With the version and flags of `vpcC`, as senders and receivers in the field have it.
        CodecConfig::Vp9(vp9) => [&[KEY_START], fourcc.as_slice(), &[1, 0, 0, 0], &vp9.record].concat(),
        CodecConfig::Aac(aac) => [&[AAC_SOUND, PACKET_SEQUENCE_START], aac.record.as_ref()].concat(),
        CodecConfig::Opus(opus) => [&[SOUND_START], fourcc.as_slice(), &opus.head()].concat(),
        CodecConfig::Ac3(_) => return None,
    };
    Some(message.into())
}

/// What stands before the unchanged payload of a sample.
pub fn frame_header(track: &Track, sample: &Sample) -> FrameHeader {
    let frame_type = if sample.sync { FRAME_KEY } else { FRAME_INTER } << 4;
    let composition_ms = composition_ms(track, sample);
    let [_, composition @ ..] = composition_ms.to_be_bytes();
    let fourcc = fourcc(&track.codec);
    match track.codec.as_ref() {
        CodecConfig::Avc(_) => FrameHeader::new(&[&[frame_type | CODEC_ID_AVC, PACKET_CODED_FRAMES], &composition]),
        CodecConfig::Hevc(_) if composition_ms == 0 => {
            FrameHeader::new(&[&[VIDEO_EX_HEADER | frame_type | VIDEO_CODED_FRAMES_X], &fourcc])
        }
        CodecConfig::Hevc(_) => {
            FrameHeader::new(&[&[VIDEO_EX_HEADER | frame_type | PACKET_CODED_FRAMES], &fourcc, &composition])
        }
        CodecConfig::Av1(_) | CodecConfig::Vp9(_) => {
            FrameHeader::new(&[&[VIDEO_EX_HEADER | frame_type | PACKET_CODED_FRAMES], &fourcc])
        }
        CodecConfig::Aac(_) => FrameHeader::new(&[&[AAC_SOUND, PACKET_CODED_FRAMES]]),
        CodecConfig::Opus(_) | CodecConfig::Ac3(_) => {
            FrameHeader::new(&[&[SOUND_EX_HEADER << 4 | PACKET_CODED_FRAMES], &fourcc])
        }
    }
}

/// The sample's decoding time as RTMP and FLV stamp it: milliseconds, rounded to the nearest.
pub fn timestamp_ms(track: &Track, sample: &Sample) -> i64 {
    rescale_nearest(sample.dts, track.timescale, Timescale::MS)
}

fn composition_ms(track: &Track, sample: &Sample) -> i32 {
    let presented = sample.dts.saturating_add(sample.cts_offset.into());
    let presented_ms = rescale_nearest(presented, track.timescale, Timescale::MS);
    let difference = presented_ms.saturating_sub(timestamp_ms(track, sample));
    difference.clamp(*COMPOSITION_MS.start(), *COMPOSITION_MS.end()) as i32
}

/// VideoFourCc or AudioFourCc (Enhanced RTMP v2).
pub(super) fn fourcc(codec: &CodecConfig) -> FourCc {
    *match codec {
        CodecConfig::Avc(_) => b"avc1",
        CodecConfig::Hevc(_) => b"hvc1",
        CodecConfig::Av1(_) => b"av01",
        CodecConfig::Vp9(_) => b"vp09",
        CodecConfig::Aac(_) => b"mp4a",
        CodecConfig::Opus(_) => b"Opus",
        CodecConfig::Ac3(ac3) if ac3.enhanced => b"ec-3",
        CodecConfig::Ac3(_) => b"ac-3",
    }
}
