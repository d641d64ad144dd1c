//! The transcode room against the real FFmpeg.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod absent;
mod demo;
mod ladder;
mod orphan;
mod support;
mod thumbnail;
mod vod_encode;
mod vod_source;
mod vod_support;
