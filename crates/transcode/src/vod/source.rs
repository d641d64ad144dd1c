//! What a source is.

use serde::{Deserialize, Serialize};

/// A source as ffprobe sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// FFmpeg's name of the container: `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// In milliseconds; 0 when neither container nor tracks say.
    pub duration_ms: i64,
    /// Where the container's timeline begins, in milliseconds; all media times are on that timeline.
    pub start_ms: i64,
    /// In the container's order. Cover art is not among them.
    pub tracks: Vec<SourceTrack>,
}

impl Probe {
    /// The track with FFmpeg's stream number `index`.
    pub fn track(&self, index: u32) -> Option<&SourceTrack> {
        self.tracks.iter().find(|track| track.index == index)
    }

    /// The video track to use when nobody says: the default one, then the largest.
    pub fn video(&self) -> Option<&SourceTrack> {
        let pixels = |track: &SourceTrack| track.video.as_ref().map_or(0, |v| u64::from(v.width) * u64::from(v.height));
        self.of_kind(TrackKind::Video).rev().max_by_key(|track| (track.default, pixels(track)))
    }

    /// The audio track to use when nobody says: the default one, then the first.
    pub fn audio(&self) -> Option<&SourceTrack> {
        self.of_kind(TrackKind::Audio).rev().max_by_key(|track| track.default)
    }

    /// The tracks of one kind, in the container's order.
    pub fn of_kind(&self, kind: TrackKind) -> impl DoubleEndedIterator<Item = &SourceTrack> {
        self.tracks.iter().filter(move |track| track.kind == kind)
    }
}

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Text or pictures of text.
    Subtitle,
    /// Anything else: data, timecode.
    Other,
}

/// One track of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceTrack {
    /// FFmpeg's stream number.
    pub index: u32,
    /// What it carries.
    pub kind: TrackKind,
    /// FFmpeg's name of the codec: `h264`.
    pub codec: String,
    /// `High`, `LC`.
    pub profile: Option<String>,
    /// As the container says, usually ISO 639-2; `und` is none.
    pub language: Option<String>,
    /// For people.
    pub title: Option<String>,
    /// The author's choice among its kind.
    pub default: bool,
    /// To be shown without being asked for.
    pub forced: bool,
    /// Bits per second.
    pub bit_rate: Option<u64>,
    /// Of its first sample, in milliseconds.
    pub start_ms: i64,
    /// In milliseconds.
    pub duration_ms: Option<i64>,
    /// Of a video track.
    pub video: Option<VideoInfo>,
    /// Of an audio track.
    pub audio: Option<AudioInfo>,
    /// Of a subtitle track: it is text, and can become WebVTT.
    pub text: bool,
}

/// A video track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoInfo {
    /// As shown: rotation applied, in square pixels, even.
    pub width: u32,
    /// As shown: rotation applied, in square pixels, even.
    pub height: u32,
    /// As coded.
    pub coded_width: u32,
    /// As coded.
    pub coded_height: u32,
    /// Degrees clockwise to show it upright: 0, 90, 180 or 270.
    pub rotation: i32,
    /// Sample aspect ratio as coded; 1:1 when not told.
    pub sar: (u32, u32),
    /// Frames per second as a fraction; of a variable rate the mean.
    pub frame_rate: Option<(u32, u32)>,
    /// FFmpeg's name: `yuv420p10le`.
    pub pixel_format: String,
    /// Bits of one component.
    pub bit_depth: u8,
    /// Two fields in each frame.
    pub interlaced: bool,
    /// PQ or HLG.
    pub hdr: bool,
    /// Frames are stored in another order than shown.
    pub has_b_frames: bool,
    /// As FFmpeg numbers it: 41 for H.264 level 4.1.
    pub level: Option<i32>,
}

/// An audio track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AudioInfo {
    /// 1 for mono.
    pub channels: u32,
    /// In hertz.
    pub sample_rate: u32,
    /// FFmpeg's name: `5.1(side)`.
    pub layout: Option<String>,
}
