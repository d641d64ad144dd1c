//! What is asked for.

use serde::{Deserialize, Serialize};

use super::Chunk;

/// What to find out about a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnalyseSpec {
    /// FFmpeg's stream number; none: nothing about pictures.
    pub video_track: Option<u32>,
    /// FFmpeg's stream number; none: no loudness.
    pub audio_track: Option<u32>,
    /// About how long a chunk is, in milliseconds.
    pub chunk_ms: i64,
    /// About how far apart the renditions' sync pictures are, in milliseconds.
    pub gop_ms: i64,
    /// Whether to measure loudness, which decodes the audio track.
    pub loudness: bool,
    /// Whether to measure complexity, which encodes samples of the video track.
    pub complexity: bool,
}

/// A video codec this room encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoCodec {
    /// H.264.
    H264,
    /// H.265.
    Hevc,
    /// AV1.
    Av1,
    /// VP9.
    Vp9,
}

/// An audio codec this room encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioCodec {
    /// AAC-LC.
    Aac,
    /// Opus.
    Opus,
}

/// A video encode of a whole track or of one chunk of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoEncode {
    /// FFmpeg's stream number.
    pub track: u32,
    /// The piece; none: all of it.
    pub chunk: Option<Chunk>,
    /// In pixels; rounded down to even.
    pub width: u32,
    /// In pixels; rounded down to even.
    pub height: u32,
    /// The codec.
    pub codec: VideoCodec,
    /// Constant quality, as the encoder counts it; none: `kbps_max` is the mean rate.
    pub crf: Option<f32>,
    /// The highest rate over two seconds, in kbit/s.
    pub kbps_max: u32,
    /// About how far apart sync pictures are, in milliseconds.
    pub gop_ms: i64,
    /// The encoder's preset: `veryfast`, or a number for AV1 and VP9.
    pub preset: String,
    /// The codec's profile.
    pub profile: Option<String>,
    /// Pictures per second at most; those too many are left out on a grid that is the same for all chunks.
    pub fps_max: Option<u32>,
    /// Makes one whole picture of two fields.
    pub deinterlace: bool,
    /// FFmpeg's name: `yuv420p`.
    pub pixel_format: String,
    /// Uses a hardware encoder where FFmpeg and the machine have one.
    pub hardware: bool,
    /// More output options for FFmpeg, from a list of those allowed.
    pub extra: Vec<String>,
    /// Measures SSIM against the source.
    pub ssim: bool,
    /// Measures VMAF against the source, where FFmpeg can.
    pub vmaf: bool,
    /// Sync pictures at these times instead, in ticks of 90 kHz.
    pub keyframes_at: Option<Vec<i64>>,
}

/// An audio encode of a whole track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AudioEncode {
    /// FFmpeg's stream number.
    pub track: u32,
    /// The codec.
    pub codec: AudioCodec,
    /// Mean rate in kbit/s.
    pub kbps: u32,
    /// Mixes down to so many channels at most; none: as many as the source has, up to eight.
    pub channels: Option<u32>,
    /// Louder or quieter, in decibels.
    pub gain_db: Option<f32>,
}

/// A storyboard: small pictures at even distances, on sheets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryboardSpec {
    /// From picture to picture, in milliseconds; grows when there would be too many.
    pub interval_ms: i64,
    /// Pictures side by side on a sheet.
    pub columns: u32,
    /// Rows of a sheet.
    pub rows: u32,
    /// Of one picture, in pixels; the height follows from the source's shape.
    pub width: u32,
}

/// A rung that a per-title ladder may have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RungSpec {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The rate this rung has without analysis, in kbit/s; per title it gets at most one and a half times this.
    pub kbps: u32,
}
