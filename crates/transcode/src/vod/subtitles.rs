//! Subtitles to WebVTT.

use std::path::Path;

use super::{
    Cancel, Class, Failure, Input, Limits, failure,
    features::Features,
    picture::global_args,
    probe::look,
    process::{Program, Step, Text},
};
use crate::Tool;

/// Largest text, in bytes: the subtitles of a day.
const VTT_BYTES_MAX: usize = 16 << 20;

/// Writes the subtitle track `track` as WebVTT to `out`, with times on the platform's timeline. A track without a cue is a file
/// without a cue.
///
/// # Errors
/// `no_such_track`; `not_text` for subtitles that are pictures; else by what FFmpeg said.
pub async fn subtitles(
    tool: &Tool,
    input: &Input,
    track: u32,
    out: &Path,
    limits: &Limits,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let step = Step::begin(tool, input, limits, cancel);
    let source = look(&step).await?;
    let found = source.probe.track(track).filter(|found| found.kind == super::TrackKind::Subtitle);
    let found = found.ok_or_else(|| failure::no_track(track, "subtitle"))?;
    if !found.text {
        let human =
            format!("Subtitles of {} are pictures and cannot become text. Add a subtitle file instead.", found.codec);
        return Err(Failure::new(Class::Input, "not_text", human));
    }
    let features = Features::of(tool).await?;
    let mut args = global_args(limits);
    args.add(&format!("-copyts -itsoffset {}.{:03}", source.lift_ms / 1_000, source.lift_ms % 1_000));
    args.0.extend(input.args(&features.demuxers));
    args.add(&format!("-map 0:{track} -c:s webvtt -flush_packets 1 -f webvtt pipe:1"));
    let mut vtt = Text::up_to(VTT_BYTES_MAX);
    let ended = step.run(Program::Ffmpeg, args.0, &mut vtt).await?;
    if !vtt.text.starts_with(b"WEBVTT") {
        return Err(failure::short_output("it wrote no WebVTT").with_log(ended.log));
    }
    tokio::fs::write(out, &vtt.text).await.map_err(|error| failure::file(out, &error))
}
