//! The headers inside audio and video messages: legacy (Annex E.4.2, E.4.3) and extended (Enhanced RTMP v2).

use bytes::{Buf, Bytes};

use super::{
    FRAME_COMMAND, PACKET_CODED_FRAMES, PACKET_MOD_EX, PACKET_SEQUENCE_END, PACKET_SEQUENCE_START, SOUND_EX_HEADER,
    VIDEO_CODED_FRAMES_X, VIDEO_EX_HEADER,
    fourcc::{AudioCodec, FourCc, VideoCodec},
};
use crate::{Error, Result};

/// VideoPacketType values (Enhanced RTMP v2, ExVideoTagHeader).
const VIDEO_METADATA: u8 = 4;
const VIDEO_MPEG2TS_SEQUENCE_START: u8 = 5;
const VIDEO_MULTITRACK: u8 = 6;
/// AudioPacketType values (Enhanced RTMP v2, ExAudioTagHeader).
const AUDIO_MULTICHANNEL_CONFIG: u8 = 4;
const AUDIO_MULTITRACK: u8 = 5;
/// AvMultitrackType values.
const ONE_TRACK: u8 = 0;
const MANY_TRACKS: u8 = 1;
const MANY_TRACKS_MANY_CODECS: u8 = 2;
/// VideoPacketModExType and AudioPacketModExType.
const TIMESTAMP_OFFSET_NANO: u8 = 0;

/// What a message says of one track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet<C> {
    pub(super) track_id: u8,
    pub(super) codec: C,
    pub(super) content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A decoder configuration record.
    Start(Bytes),
    /// Coded frames, presented `composition_ms` after their decoding time.
    Frames {
        composition_ms: i32,
        payload: Bytes,
    },
    End,
}

/// A codec's side of the message syntax.
pub(super) trait Codec: Copy {
    const MULTITRACK: u8;
    fn from_fourcc(fourcc: FourCc) -> Result<Self>;
    /// Reads what follows the headers; `None` for what means nothing here.
    fn content(self, packet_type: u8, body: Body) -> Result<Option<Content>>;
}

/// The packets of a message, read one by one. A message for everybody else has none.
#[derive(Debug)]
pub(super) struct Packets<C> {
    body: Option<Body>,
    packet_type: u8,
    layout: Layout<C>,
    /// TimestampOffsetNano: nanoseconds to add to the message's timestamp.
    pub(super) offset_ns: u32,
}

#[derive(Clone, Copy, Debug)]
enum Layout<C> {
    Single(C),
    OneTrack(C),
    ManyTracks(C),
    ManyTracksManyCodecs,
}

impl Packets<VideoCodec> {
    /// Reads VideoTagHeader or ExVideoTagHeader.
    pub(super) fn video(message: Bytes) -> Result<Self> {
        if message.is_empty() {
            return Ok(Self::none());
        }
        let mut body = Body::new("FLV video message", message);
        let first = body.u8()?;
        let frame_type = first >> 4 & 7;
        if first & VIDEO_EX_HEADER != 0 {
            return Self::extended(body, first & 15, frame_type == FRAME_COMMAND);
        }
        if frame_type == FRAME_COMMAND {
            return Ok(Self::none());
        }
        let codec = VideoCodec::from_codec_id(first & 15)?;
        let packet_type = body.u8()?;
        if packet_type == PACKET_SEQUENCE_START {
            body.u24()?; // CompositionTime, which only coded frames have
        }
        if packet_type > PACKET_SEQUENCE_END {
            return Err(body.invalid(format!("AVCPacketType {packet_type}")));
        }
        Ok(Self { body: Some(body), packet_type, layout: Layout::Single(codec), offset_ns: 0 })
    }
}

impl Packets<AudioCodec> {
    /// Reads AudioTagHeader or ExAudioTagHeader.
    pub(super) fn audio(message: Bytes) -> Result<Self> {
        if message.is_empty() {
            return Ok(Self::none());
        }
        let mut body = Body::new("FLV audio message", message);
        let first = body.u8()?;
        if first >> 4 == SOUND_EX_HEADER {
            return Self::extended(body, first & 15, false);
        }
        let codec = AudioCodec::from_sound_format(first >> 4)?;
        let packet_type = body.u8()?;
        if packet_type > PACKET_CODED_FRAMES {
            return Err(body.invalid(format!("AACPacketType {packet_type}")));
        }
        Ok(Self { body: Some(body), packet_type, layout: Layout::Single(codec), offset_ns: 0 })
    }
}

impl<C: Codec> Packets<C> {
    fn none() -> Self {
        Self { body: None, packet_type: 0, layout: Layout::ManyTracksManyCodecs, offset_ns: 0 }
    }

    /// The part of the extended headers that audio and video share, from the packet type on.
    fn extended(mut body: Body, mut packet_type: u8, is_command: bool) -> Result<Self> {
        let mut offset_ns = 0;
        while packet_type == PACKET_MOD_EX {
            let mut size = usize::from(body.u8()?) + 1;
            if size == 256 {
                size = usize::from(body.u16()?) + 1;
            }
            let data = body.take(size)?;
            let types = body.u8()?;
            if types >> 4 == TIMESTAMP_OFFSET_NANO
                && let Some(&[a, b, c]) = data.get(..3)
            {
                offset_ns = u32::from_be_bytes([0, a, b, c]);
            }
            packet_type = types & 15;
        }
        // A command frame is one byte for players that seek; metadata is exempt from the frame type.
        if is_command && packet_type != VIDEO_METADATA {
            return Ok(Self::none());
        }
        if packet_type != C::MULTITRACK {
            let codec = C::from_fourcc(body.array()?)?;
            return Ok(Self { body: Some(body), packet_type, layout: Layout::Single(codec), offset_ns });
        }
        let types = body.u8()?;
        packet_type = types & 15;
        if packet_type == C::MULTITRACK {
            return Err(body.invalid("a multitrack packet inside a multitrack packet"));
        }
        let layout = match types >> 4 {
            ONE_TRACK => Layout::OneTrack(C::from_fourcc(body.array()?)?),
            MANY_TRACKS => Layout::ManyTracks(C::from_fourcc(body.array()?)?),
            MANY_TRACKS_MANY_CODECS => Layout::ManyTracksManyCodecs,
            other => return Err(body.invalid(format!("AvMultitrackType {other}"))),
        };
        Ok(Self { body: Some(body), packet_type, layout, offset_ns })
    }

    /// The next packet; `None` behind the last.
    pub(super) fn next(&mut self) -> Result<Option<Packet<C>>> {
        while let Some(mut body) = self.body.take() {
            let (codec, track_id, sized) = match self.layout {
                Layout::Single(codec) => (codec, 0, false),
                Layout::OneTrack(codec) => (codec, body.u8()?, false),
                Layout::ManyTracks(codec) => (codec, body.u8()?, true),
                Layout::ManyTracksManyCodecs => (C::from_fourcc(body.array()?)?, body.u8()?, true),
            };
            if sized {
                let size = body.u24()? as usize;
                let own = body.split(size)?;
                self.body = Some(std::mem::replace(&mut body, own)).filter(|rest| !rest.rest.is_empty());
            }
            if let Some(content) = codec.content(self.packet_type, body)? {
                return Ok(Some(Packet { track_id, codec, content }));
            }
        }
        Ok(None)
    }
}

impl Codec for VideoCodec {
    const MULTITRACK: u8 = VIDEO_MULTITRACK;

    fn from_fourcc(fourcc: FourCc) -> Result<Self> {
        Self::from_fourcc(fourcc)
    }

    fn content(self, packet_type: u8, mut body: Body) -> Result<Option<Content>> {
        Ok(match packet_type {
            PACKET_SEQUENCE_START => Some(Content::Start(body.rest)),
            PACKET_CODED_FRAMES => {
                let composition_ms = if self.has_composition_time() { body.i24()? } else { 0 };
                Some(Content::Frames { composition_ms, payload: body.rest })
            }
            VIDEO_CODED_FRAMES_X => Some(Content::Frames { composition_ms: 0, payload: body.rest }),
            PACKET_SEQUENCE_END => Some(Content::End),
            VIDEO_METADATA => None,
            VIDEO_MPEG2TS_SEQUENCE_START => {
                return Err(Error::Unsupported("a video configuration as MPEG-2 TS descriptor".into()));
            }
            other => return Err(body.invalid(format!("VideoPacketType {other}"))),
        })
    }
}

impl Codec for AudioCodec {
    const MULTITRACK: u8 = AUDIO_MULTITRACK;

    fn from_fourcc(fourcc: FourCc) -> Result<Self> {
        Self::from_fourcc(fourcc)
    }

    fn content(self, packet_type: u8, body: Body) -> Result<Option<Content>> {
        Ok(match packet_type {
            PACKET_SEQUENCE_START => Some(Content::Start(body.rest)),
            PACKET_CODED_FRAMES => Some(Content::Frames { composition_ms: 0, payload: body.rest }),
            PACKET_SEQUENCE_END => Some(Content::End),
            AUDIO_MULTICHANNEL_CONFIG => None,
            other => return Err(body.invalid(format!("AudioPacketType {other}"))),
        })
    }
}

/// What is left of a message; taking from it shares the message's memory.
#[derive(Debug)]
pub(super) struct Body {
    what: &'static str,
    total: usize,
    rest: Bytes,
}

impl Body {
    fn new(what: &'static str, rest: Bytes) -> Self {
        Self { what, total: rest.len(), rest }
    }

    fn take(&mut self, count: usize) -> Result<Bytes> {
        if count > self.rest.len() {
            return Err(self.truncated(count));
        }
        Ok(self.rest.split_to(count))
    }

    fn split(&mut self, count: usize) -> Result<Self> {
        Ok(Self { what: self.what, total: self.total, rest: self.take(count)? })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.rest.first_chunk().copied() {
            Some(array) => {
                self.rest.advance(N);
                Ok(array)
            }
            None => Err(self.truncated(N)),
        }
    }

    fn u8(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u24(&mut self) -> Result<u32> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    fn i24(&mut self) -> Result<i32> {
        self.array().map(|[a, b, c]| i32::from_be_bytes([a, b, c, 0]) >> 8)
    }

    fn truncated(&self, count: usize) -> Error {
        let at = self.total.saturating_sub(self.rest.len());
        Error::Truncated { what: self.what, need: at.saturating_add(count), have: self.total }
    }

    fn invalid(&self, why: impl Into<String>) -> Error {
        Error::invalid(self.what, why)
    }
}
