//! A text track as WebVTT.

use transcode::{Tool, vod};

use super::{
    super::{
        failure::{self, Result},
        publish::Ready,
        task::Task,
    },
    probed,
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
    let text = earlier(&String::from_utf8_lossy(&text), probed(task)?.start_ms);
    let (cues, duration_ms) = measure(&text);
    let media = task.put(OBJECT, &Ready::memory(text.into())).await?;
    Ok(Output::Subtitles { media, duration_ms, cues })
}

/// The text with its cues earlier by `ms`: from the source's timeline to the presentation's, which begins where the source does.
/// Cues that are over before that are at its beginning, and never shown.
fn earlier(text: &str, ms: i64) -> String {
    let shifted = |word: &str| timestamp_ms(word).map_or_else(|| word.to_owned(), |at| timestamp((at - ms).max(0)));
    let line = |line: &str| match line.split_once("-->") {
        Some((start, rest)) if timestamp_ms(start.trim()).is_some() => {
            let (end, settings) = rest.trim_start().split_once(' ').unwrap_or((rest.trim(), ""));
            format!("{} --> {} {settings}", shifted(start.trim()), shifted(end)).trim_end().to_owned()
        }
        _ => line.to_owned(),
    };
    let mut lines: Vec<String> = text.lines().map(line).collect();
    lines.push(String::new());
    lines.join("\n")
}

/// The number of cues, and the end of the last one (WebVTT 4.1: a cue's timings are the lines with `-->`).
fn measure(text: &str) -> (u64, i64) {
    let end = |rest: &str| rest.split_whitespace().next().and_then(timestamp_ms).unwrap_or(0);
    let ends = text.lines().filter_map(|line| line.split_once("-->")).map(|(_, rest)| end(rest));
    ends.fold((0, 0), |(cues, last), end| (cues + 1, last.max(end)))
}

/// `[HH:]MM:SS.mmm`.
fn timestamp_ms(text: &str) -> Option<i64> {
    let (clock, ms) = text.split_once('.')?;
    let seconds = clock.split(':').try_fold(0_i64, |sum, part| sum.checked_mul(60)?.checked_add(part.parse().ok()?))?;
    seconds.checked_mul(1_000)?.checked_add(ms.parse().ok()?)
}

fn timestamp(ms: i64) -> String {
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_move_to_the_presentation() {
        let check = |text: &str, ms: i64, expected: &str| assert_eq!(earlier(text, ms), expected);
        let text = "WEBVTT\n\n00:02.400 --> 00:03.900 align:start\nA --> B\n";
        check(text, 1_400, "WEBVTT\n\n00:00:01.000 --> 00:00:02.500 align:start\nA --> B\n");
        check(text, 5_000, "WEBVTT\n\n00:00:00.000 --> 00:00:00.000 align:start\nA --> B\n");
        check("WEBVTT\n\n01:00:02.400 --> 01:00:03.900\nx", 0, "WEBVTT\n\n01:00:02.400 --> 01:00:03.900\nx\n");
    }

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
