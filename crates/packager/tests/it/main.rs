//! Integration tests of `packager`: one binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod golden;
mod lint;
mod random;
mod runs;
mod source;
mod vod;
mod vod_ffmpeg;
