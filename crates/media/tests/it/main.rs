//! Integration tests of `media`: one binary.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod codec;
mod codec_golden;
mod flv;
mod flv_ffmpeg;
mod mp4;
mod mp4_ffmpeg;
mod mp4_progressive;
mod mp4_sources;
mod ts;
mod ts_ffmpeg;
