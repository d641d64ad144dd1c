//! Read the packaged track back from the store, count it, decode samples of it, and compare it with the source when asked.

use base::Timescale;
use media::{
    TrackKind,
    mp4::{Demuxer, Event},
};
use store::catalogue::StepError;
use tokio::io::{AsyncWriteExt, BufWriter};
use transcode::{
    Tool,
    vod::{self, Input, Work},
};

use super::super::{
    failure::{self, Result},
    task::Task,
};
use crate::protocol::{ObjectRef, Output};

/// Name of the local copy.
const FILE: &str = "track.mp4";
/// Positions at which a picture is decoded, in thousandths of the length.
const DECODED_AT_PERMILLE: [i64; 3] = [0, 500, 950];
/// Width of the decoded pictures, which nobody sees.
const DECODED_WIDTH: u32 = 160;
/// How much longer or shorter than told a track may be, in milliseconds: codec frames do not end where the source does ...
const LENGTH_MS_TOLERATED: i64 = 500;
/// ... and in thousandths of its length: containers that tell their length wrongly are common.
const LENGTH_PERMILLE_TOLERATED: i64 = 20;
/// Thousandths of the step that are reading and counting.
const READ_PART: u32 = 300;

/// What there must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) quality: bool,
    pub(super) expected_frames: Option<u64>,
    pub(super) expected_ms: i64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    kind: TrackKind,
    frames: u64,
    first_ms: i64,
    end_ms: i64,
}

pub(super) async fn validate(task: &Task, tool: &Tool, order: &Order) -> Result<Output> {
    let media = task.leased().inputs.iter().find_map(|(_, output)| match output {
        Output::Packaged { media, .. } => Some(media),
        _ => None,
    });
    let media = media.ok_or_else(|| failure::bad_inputs("nothing that was packaged"))?;
    let counted = count(task, media).await?;
    judge(&counted, order)?;
    if counted.kind == TrackKind::Video {
        decode(task, tool, &counted).await?;
    }
    let quality = match counted.kind {
        TrackKind::Video if order.quality => Some(compare(task, tool).await?),
        _ => None,
    };
    let frames = (counted.kind == TrackKind::Video).then_some(counted.frames);
    Ok(Output::Validated { frames, duration_ms: counted.end_ms - counted.first_ms, quality })
}

/// Copies the track to the disk, where FFmpeg reads it, and counts its samples on the way.
async fn count(task: &Task, media: &ObjectRef) -> Result<Counted> {
    let path = task.folder().join(FILE);
    let disk = |error: std::io::Error| failure::disk(&error);
    let mut file = BufWriter::new(tokio::fs::File::create(&path).await.map_err(disk)?);
    let (mut reader, mut counter) = (task.read(media).await?, Counter::default());
    let mut done = 0;
    while let Some(piece) = reader.next().await? {
        counter.push(&piece).map_err(|error| unreadable(&error.to_string()))?;
        file.write_all(&piece).await.map_err(disk)?;
        done += piece.len() as u64;
        task.report_bytes(done, media.bytes, 0, READ_PART);
    }
    file.flush().await.map_err(disk)?;
    counter.demuxer.finish().map_err(|error| unreadable(&error.to_string()))?;
    counter.counted().ok_or_else(|| unreadable("no samples"))
}

#[derive(Default)]
struct Counter {
    demuxer: Demuxer,
    track: Option<(TrackKind, Timescale)>,
    frames: u64,
    first: Option<i64>,
    end: i64,
}

impl Counter {
    fn push(&mut self, piece: &[u8]) -> media::Result<()> {
        self.demuxer.push(piece)?;
        while let Some(event) = self.demuxer.poll() {
            match event {
                Event::Track { track, .. } => self.track = Some((track.kind(), track.timescale)),
                Event::Chunk(chunk) => {
                    self.frames += chunk.samples.len() as u64;
                    for sample in &chunk.samples {
                        let pts = sample.pts();
                        self.first = Some(self.first.map_or(pts, |first| first.min(pts)));
                        self.end = self.end.max(pts.saturating_add(sample.duration.into()));
                    }
                }
            }
        }
        Ok(())
    }

    fn counted(&self) -> Option<Counted> {
        let ((kind, timescale), first) = self.track.zip(self.first)?;
        Some(Counted { kind, frames: self.frames, first_ms: timescale.to_ms(first), end_ms: timescale.to_ms(self.end) })
    }
}

fn judge(counted: &Counted, order: &Order) -> Result<()> {
    if let Some(expected) = order.expected_frames.filter(|&expected| expected != counted.frames) {
        return Err(differs(&format!("it has {} pictures instead of {expected}", counted.frames)));
    }
    let length = counted.end_ms - counted.first_ms;
    let tolerated = LENGTH_MS_TOLERATED.max(order.expected_ms / 1_000 * LENGTH_PERMILLE_TOLERATED);
    if order.expected_ms > 0 && (length - order.expected_ms).abs() > tolerated {
        return Err(differs(&format!("it is {length} ms long instead of {}", order.expected_ms)));
    }
    Ok(())
}

/// Decodes pictures here and there: what was counted can also be seen.
async fn decode(task: &Task, tool: &Tool, counted: &Counted) -> Result<()> {
    let input = local(task);
    let limits = task.limits(task.config().other_ms_max);
    for permille in DECODED_AT_PERMILLE {
        let at_ms = counted.first_ms + (counted.end_ms - counted.first_ms) * permille / 1_000;
        let out = task.folder().join(format!("decoded-{permille}.jpg"));
        let decoded = vod::poster(tool, &input, at_ms, DECODED_WIDTH, &out, &limits, task.cancelled()).await;
        decoded.map_err(|failure| StepError { log: Some(failure.log), ..unreadable(&failure.human) })?;
    }
    Ok(())
}

async fn compare(task: &Task, tool: &Tool) -> Result<vod::Quality> {
    let limits = task.limits(task.config().encode_ms_max);
    let progress = |work: Work| task.report_part(work, READ_PART, 1_000);
    let (source, track) = (task.input()?, local(task));
    let compared = vod::quality(tool, &source, &track, &limits, task.cancelled(), &progress);
    compared.await.map_err(failure::tool)
}

fn local(task: &Task) -> Input {
    Input::new(task.folder().join(FILE).to_string_lossy())
}

fn differs(what: &str) -> StepError {
    failure::bug(
        "rendition_differs",
        format!("The packaged track is not what the source is: {what}. Retry the job; report it if it repeats."),
    )
}

fn unreadable(what: &str) -> StepError {
    let what = failure::quote(what);
    failure::bug(
        "rendition_unreadable",
        format!("The packaged track cannot be read back ({what}). Retry the job; report it if it repeats."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_is_held_against_its_source() {
        let counted = Counted { kind: TrackKind::Video, frames: 250, first_ms: 10_000, end_ms: 20_040 };
        let check = |expected_frames, expected_ms, code: Option<&str>| {
            let order = Order { quality: false, expected_frames, expected_ms };
            let judged = judge(&counted, &order).err().map(|error| error.code);
            assert_eq!(judged.as_deref(), code, "{order:?}");
        };
        check(Some(250), 10_000, None);
        check(None, 10_400, None);
        check(None, 0, None);
        check(Some(251), 10_000, Some("rendition_differs"));
        check(None, 11_000, Some("rendition_differs"));
    }
}
