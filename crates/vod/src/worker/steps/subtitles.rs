//! A text track as WebVTT.

use transcode::{Tool, vod};

use super::super::{
    failure::{self, Result},
    publish::Ready,
    task::Task,
};
use crate::protocol::Output;

/// Name of the stored object.
const OBJECT: &str = "subtitles.vtt";
/// Largest WebVTT file, in bytes: a day of dense talk is about 6 MB.
const VTT_BYTES_MAX: u64 = 32 << 20;

pub(super) async fn subtitles(task: &Task, tool: &Tool, track: u32) -> Result<Output> {
    let (input, out) = (task.input()?, task.folder().join(OBJECT));
    let limits = task.limits(task.config().other_ms_max);
    vod::subtitles(tool, &input, track, &out, &limits, task.cancelled()).await.map_err(failure::tool)?;
    let bytes = tokio::fs::metadata(&out).await.map_err(|error| failure::disk(&error))?.len();
    if bytes > VTT_BYTES_MAX {
        let human = format!(
            "The subtitles are {bytes} bytes long, and at most {VTT_BYTES_MAX} are accepted; remove the track."
        );
        return Err(failure::input("subtitles_too_large", human));
    }
    let text = tokio::fs::read(&out).await.map_err(|error| failure::disk(&error))?;
    let (cues, duration_ms) = measure(&String::from_utf8_lossy(&text));
    let media = task.put(OBJECT, &Ready::memory(text.into())).await?;
    Ok(Output::Subtitles { media, duration_ms, cues })
}

/// The number of cues, and the end of the last one (WebVTT 4.1: a cue's timings are the lines with `-->`).
fn measure(text: &str) -> (u64, i64) {
    let ends = text
        .lines()
        .filter_map(|line| line.split_once("-->"))
        .map(|(_, rest)| rest.split_whitespace().next().and_then(timestamp_ms).unwrap_or(0));
    ends.fold((0, 0), |(cues, last), end| (cues + 1, last.max(end)))
}

/// `[HH:]MM:SS.mmm`.
fn timestamp_ms(text: &str) -> Option<i64> {
    let (clock, ms) = text.split_once('.')?;
    let seconds = clock.split(':').try_fold(0_i64, |sum, part| sum.checked_mul(60)?.checked_add(part.parse().ok()?))?;
    seconds.checked_mul(1_000)?.checked_add(ms.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_are_counted_and_the_last_end_is_found() {
        let check = |text: &str, expected: (u64, i64)| assert_eq!(measure(text), expected, "{text}");
        check("WEBVTT\n\n", (0, 0));
        check(
            "WEBVTT\n\n00:01.000 --> 00:03.500\nHello\n\n1\n01:00:00.000 --> 01:00:02.040 align:start\nBye\n",
            (2, 3_602_040),
        );
        check("WEBVTT\n\n00:09.000 --> 00:10.000\na\n\n00:01.000 --> 00:02.000\nb", (2, 10_000));
        check("WEBVTT\n\nx --> y\n\n00:01.000 -->", (2, 0));
    }
}
