use super::{CODEC_ID_AVC, CODEC_ID_HEVC, SOUND_AAC};
use crate::{Error, Result};

/// A FourCC of Enhanced RTMP v2.
pub(super) type FourCc = [u8; 4];

/// A video codec that this platform packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VideoCodec {
    Avc,
    Hevc,
    Av1,
    Vp9,
}

/// An audio codec that this platform packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AudioCodec {
    Aac,
    Opus,
    Ac3,
}

impl VideoCodec {
    /// From CodecID (Annex E.4.3.1).
    pub(super) fn from_codec_id(id: u8) -> Result<Self> {
        let name = match id {
            CODEC_ID_AVC => return Ok(Self::Avc),
            CODEC_ID_HEVC => return Ok(Self::Hevc),
            2 => "Sorenson H.263 video",
            3 => "Screen video",
            4 => "On2 VP6 video",
            5 => "On2 VP6 video with alpha",
            6 => "Screen video 2",
            // What some encoders took before Enhanced RTMP, beside 12 for H.265.
            13 => "AV1 video with the codec id 13 (Enhanced RTMP's av01 is)",
            _ => return Err(Error::Unsupported(format!("video with the codec id {id}"))),
        };
        Err(Error::Unsupported(name.into()))
    }

    /// From VideoFourCc (Enhanced RTMP v2).
    pub(super) fn from_fourcc(fourcc: FourCc) -> Result<Self> {
        match &fourcc {
            b"avc1" => Ok(Self::Avc),
            b"hvc1" => Ok(Self::Hevc),
            b"av01" => Ok(Self::Av1),
            b"vp09" => Ok(Self::Vp9),
            b"vp08" => Err(Error::Unsupported("VP8 video (vp08)".into())),
            b"vvc1" => Err(Error::Unsupported("H.266 video (vvc1)".into())),
            _ => Err(unknown("video", fourcc)),
        }
    }

    /// Whether its coded frames have a composition time before them.
    pub(super) fn has_composition_time(self) -> bool {
        matches!(self, Self::Avc | Self::Hevc)
    }
}

impl AudioCodec {
    /// From SoundFormat (Annex E.4.2.1).
    pub(super) fn from_sound_format(format: u8) -> Result<Self> {
        let name = match format {
            SOUND_AAC => return Ok(Self::Aac),
            0 | 3 => "linear PCM audio",
            1 => "ADPCM audio",
            2 | 14 => "MP3 audio",
            4..=6 => "Nellymoser audio",
            7 | 8 => "G.711 audio",
            11 => "Speex audio",
            _ => return Err(Error::Unsupported(format!("audio with the sound format {format}"))),
        };
        Err(Error::Unsupported(name.into()))
    }

    /// From AudioFourCc (Enhanced RTMP v2).
    pub(super) fn from_fourcc(fourcc: FourCc) -> Result<Self> {
        match &fourcc {
            b"mp4a" => Ok(Self::Aac),
            b"Opus" => Ok(Self::Opus),
            b"ac-3" | b"ec-3" => Ok(Self::Ac3),
            b"fLaC" => Err(Error::Unsupported("FLAC audio (fLaC)".into())),
            b".mp3" => Err(Error::Unsupported("MP3 audio (.mp3)".into())),
            _ => Err(unknown("audio", fourcc)),
        }
    }
}

fn unknown(kind: &str, fourcc: FourCc) -> Error {
    Error::Unsupported(format!("{kind} with the FourCC {}", fourcc.escape_ascii()))
}
