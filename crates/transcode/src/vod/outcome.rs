//! What came out.

use serde::{Deserialize, Serialize};

use super::Chunk;

/// A track as encoded or copied, read back from the file that was written. Times are ticks of 90 kHz on the source's timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Encoded {
    /// Samples in the file: pictures, or frames of sound.
    pub frames: u64,
    /// Of the first sample shown.
    pub first_pts: i64,
    /// The end of the last sample.
    pub end_pts: i64,
    /// Of the samples' times, as [`Chunk::digest`].
    pub digest: String,
    /// Pictures of the source that went in, before those over the frame rate's limit were left out; for sound as `frames`.
    pub source_frames: u64,
    /// Of the times of the pictures that went in, as [`Chunk::digest`]; for sound as `digest`.
    pub source_digest: String,
    /// Pictures of the source that no decoder could read: they are missing here, and the neighbours are shown longer.
    pub damaged: u64,
    /// Of the file.
    pub bytes: u64,
    /// Mean rate in kbit/s.
    pub kbps_mean: u32,
    /// Mean over all pictures, 0 to 1.
    pub ssim: Option<f64>,
    /// Mean over all pictures, 0 to 100.
    pub vmaf: Option<f64>,
    /// Processor time used, in milliseconds; 0 where it cannot be told.
    pub cpu_ms: u64,
}

impl Encoded {
    /// Whether every picture of `chunk` went in, but for those that no decoder could read.
    pub fn covers(&self, chunk: &Chunk) -> bool {
        if self.damaged == 0 {
            return self.source_frames == chunk.frames && self.source_digest == chunk.digest;
        }
        self.source_frames + self.damaged == chunk.frames
    }
}

/// How like two tracks are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Mean over all pictures, 0 to 1.
    pub ssim: f64,
    /// Mean over all pictures, 0 to 100; none where FFmpeg has no libvmaf.
    pub vmaf: Option<f64>,
}

/// A storyboard as made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storyboard {
    /// From picture to picture, in milliseconds.
    pub interval_ms: i64,
    /// Pictures side by side on a sheet.
    pub columns: u32,
    /// Rows of a sheet.
    pub rows: u32,
    /// Of one picture, in pixels.
    pub width: u32,
    /// Of one picture, in pixels.
    pub height: u32,
    /// File names in the directory, in order.
    pub sheets: Vec<String>,
    /// Pictures on all sheets together.
    pub count: u32,
}

/// One rung of a per-title ladder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RungChoice {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Constant quality for x264.
    pub crf: f32,
    /// The rate it is expected to have, in kbit/s.
    pub kbps: u32,
    /// The rate it must not go over, in kbit/s.
    pub kbps_max: u32,
    /// Expected: VMAF (0 to 100) where FFmpeg has it, else SSIM times 100.
    pub score: f64,
}
