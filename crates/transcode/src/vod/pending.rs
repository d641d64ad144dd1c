//! Signatures whose bodies are on their way.
#![allow(unused_variables, missing_docs, clippy::too_many_arguments)]

use std::path::Path;

use super::*;
use crate::Tool;

fn coming<T>() -> Result<T, Failure> {
    Err(Failure { class: Class::Bug, code: "unfinished", human: "not built yet".into(), log: String::new() })
}

pub async fn probe(tool: &Tool, input: &Input, limits: &Limits, cancel: &Cancel) -> Result<Probe, Failure> {
    coming()
}

pub async fn analyse(
    tool: &Tool,
    input: &Input,
    probe: &Probe,
    spec: &AnalyseSpec,
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Analysis, Failure> {
    coming()
}

pub async fn encode_video(
    tool: &Tool,
    input: &Input,
    encode: &VideoEncode,
    out: &Path,
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Encoded, Failure> {
    coming()
}

pub async fn encode_audio(
    tool: &Tool,
    input: &Input,
    encode: &AudioEncode,
    out: &Path,
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Encoded, Failure> {
    coming()
}

pub async fn copy_track(
    tool: &Tool,
    input: &Input,
    track: u32,
    out: &Path,
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Encoded, Failure> {
    coming()
}

/// What a dry run shows: FFmpeg's output options for `encoder` ([`VideoCodec::software_encoder`] or a hardware one's name).
pub fn video_args(encode: &VideoEncode, encoder: &str) -> Vec<String> {
    Vec::new()
}

pub async fn poster(
    tool: &Tool,
    input: &Input,
    at_ms: i64,
    width: u32,
    out: &Path,
    limits: &Limits,
    cancel: &Cancel,
) -> Result<(), Failure> {
    coming()
}

pub async fn storyboard(
    tool: &Tool,
    input: &Input,
    spec: &StoryboardSpec,
    dir: &Path,
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Storyboard, Failure> {
    coming()
}

pub async fn subtitles(
    tool: &Tool,
    input: &Input,
    track: u32,
    out: &Path,
    limits: &Limits,
    cancel: &Cancel,
) -> Result<(), Failure> {
    coming()
}

pub async fn quality(
    tool: &Tool,
    reference: &Input,
    distorted: &Input,
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Quality, Failure> {
    coming()
}

pub async fn per_title(
    tool: &Tool,
    input: &Input,
    probe: &Probe,
    analysis: &Analysis,
    rungs: &[RungSpec],
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Vec<RungChoice>, Failure> {
    coming()
}
