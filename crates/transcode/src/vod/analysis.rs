//! What analysis finds: exact frame times, where to cut, how loud.

use serde::{Deserialize, Serialize};

/// Most chunks of one source: more cost the queue more than they gain; chunks of longer sources are longer.
pub const CHUNKS_MAX: usize = 400;

/// What analysis found. Times are ticks of 90 kHz on the source's timeline. Without a video track all about frames is zero or
/// empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Pictures.
    pub frames: u64,
    /// Of the first picture.
    pub first_pts: i64,
    /// The end of the last picture.
    pub end_pts: i64,
    /// The pictures are not evenly spaced.
    pub variable_frame_rate: bool,
    /// The median picture's duration.
    pub frame_ticks: i64,
    /// The longest way from one sync picture to the next, in milliseconds.
    pub keyframe_interval_ms_max: i64,
    /// The source's sync pictures; thinned out evenly when there are very many.
    pub keyframes: Vec<i64>,
    /// The pieces to encode; together they are every picture, once.
    pub chunks: Vec<Chunk>,
    /// Of the audio track asked for.
    pub loudness: Option<Loudness>,
    /// How hard the pictures are to code: bits per pixel of a quick encode at a fixed quality. Around 0.02 for slides, 0.1
    /// for films, above 0.3 for noise.
    pub complexity: Option<f64>,
    /// Of the source's video track, by its packets.
    pub video_kbps: Option<u64>,
}

/// One piece of a video track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Counts from 0.
    pub index: u32,
    /// Of its first picture.
    pub start_pts: i64,
    /// Exclusive.
    pub end_pts: i64,
    /// Pictures with `start_pts <= pts < end_pts`.
    pub frames: u64,
    /// SHA-256, in hexadecimal, of the pictures' times in order, each as 8 bytes, big endian.
    pub digest: String,
    /// Begins at a change of shot.
    pub shot: bool,
    /// Pictures to be made sync pictures in every rendition; the first is `start_pts`.
    pub keyframes: Vec<i64>,
}

/// EBU R 128.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loudness {
    /// Of the whole programme, in LUFS.
    pub integrated_lufs: f64,
    /// In dBTP.
    pub true_peak_db: f64,
    /// Loudness range, in LU.
    pub range_lu: f64,
}
