//! One rendition's pictures of one chunk, exact to the picture.

use std::path::Path;

use super::{
    Cancel, Chunk, Class, Encoded, Failure, Input, Limits, VideoEncode, WorkSink, failure,
    features::Features,
    frames::{self, Meter},
    grid::{Grid, Marks, Thinning},
    picture::{self, Pictures, frame_mode, global_args, seek_args, track_output, video_args},
    probe::{Source, look},
    process::{Ended, Listener, Program, Step},
    scan::media_ms,
    similarity,
    times::{Digest, Times},
    track_file::{TrackFile, Written},
};
use crate::Tool;

/// How far before a chunk FFmpeg begins to decode, in milliseconds: at its sync picture; if pictures are missing then, well
/// before it; and, for containers that seek badly, at the beginning.
const BACK_MS: [i64; 3] = [0, 15_000, 1_000_000_000_000];
/// Most sync pictures asked for by time: they stand on the command line.
const KEYFRAMES_AT_MAX: usize = 4_000;
/// Pictures of a chunk that may be missing because no decoder can read them, as a part of all.
const DAMAGED_PART_MAX: u64 = 10;
/// The part of the work that encoding is when quality is measured as well, in thousandths.
const ENCODE_PERMILLE: u32 = 800;

/// Encodes a chunk of a video track, or all of it, to the file `out`: fragmented MP4 of one track, with the source's exact
/// times, a closed GOP at each sync picture, and the same parameter sets for every chunk of a rendition made with the same encoder.
///
/// Every picture of the source with `start_pts <= pts < end_pts` is in it, but for those over `fps_max` and those that cannot
/// be decoded ([`Encoded::damaged`]); that is checked against the chunk and against what the decoder gave.
///
/// # Errors
/// `short_output` when FFmpeg's result is not whole though it says so; `damaged` when too much of the source cannot be
/// decoded; else by what FFmpeg said. The unfinished file is removed.
pub async fn encode_video(
    tool: &Tool,
    input: &Input,
    encode: &VideoEncode,
    out: &Path,
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Encoded, Failure> {
    picture::check(encode)?;
    let step = Step::begin(tool, input, limits, cancel);
    let encoded = encode_in(&step, encode, out, progress).await;
    if encoded.is_err() {
        TrackFile::discard(out).await;
    }
    encoded
}

async fn encode_in(
    step: &Step<'_>,
    encode: &VideoEncode,
    out: &Path,
    progress: WorkSink<'_>,
) -> Result<Encoded, Failure> {
    let source = look(step).await?;
    let compared = encode.ssim || encode.vmaf;
    let span = (0, if compared { ENCODE_PERMILLE } else { 1_000 });
    let mut cpu_ms = 0;
    let mut encoded = None;
    for (attempt, back_ms) in BACK_MS.into_iter().enumerate() {
        let run = Run { step, source: &source, encode, out, back_ms };
        let made = run.go(progress, span).await?;
        cpu_ms += made.cpu_ms;
        let whole = encode.chunk.as_ref().is_none_or(|chunk| made.encoded.covers(chunk));
        let seeks_again = !whole && attempt + 1 < BACK_MS.len() && run.seeks();
        encoded = Some(made);
        if !seeks_again {
            break;
        }
    }
    let made = encoded.ok_or_else(|| failure::short_output("nothing was made"))?;
    let mut encoded = accept(made, encode.chunk.as_ref())?;
    encoded.cpu_ms = cpu_ms;
    if compared {
        let quality = similarity::of_encode(step, &source, encode, out, &encoded, progress, ENCODE_PERMILLE).await?;
        encoded.ssim = encode.ssim.then_some(quality.ssim);
        encoded.vmaf = quality.vmaf;
    }
    Ok(encoded)
}

/// A result whose pictures are not the chunk's is accepted only when the decoder has said why.
fn accept(made: Made, chunk: Option<&Chunk>) -> Result<Encoded, Failure> {
    let Made { mut encoded, log, complaints, .. } = made;
    let Some(chunk) = chunk.filter(|chunk| !encoded.covers(chunk)) else { return Ok(encoded) };
    let (have, want) = (encoded.source_frames, chunk.frames);
    if have >= want {
        let human = format!(
            "The decoder shows other pictures ({have}) than analysis counted ({want}). Analyse the source again, and report \
             this with the file's details if it stays so."
        );
        return Err(Failure::new(Class::Bug, "frames_disagree", human).with_log(log));
    }
    if complaints == 0 {
        return Err(failure::short_output(format_args!("{have} of {want} pictures")).with_log(log));
    }
    let damaged = want - have;
    if damaged * DAMAGED_PART_MAX > want {
        let human = format!(
            "{damaged} of {want} pictures in one part of the video cannot be decoded. Send the file again \
            from the original."
        );
        return Err(Failure::new(Class::Input, "damaged", human).with_log(log));
    }
    encoded.damaged = damaged;
    Ok(encoded)
}

/// One run of FFmpeg.
struct Run<'a> {
    step: &'a Step<'a>,
    source: &'a Source,
    encode: &'a VideoEncode,
    out: &'a Path,
    back_ms: i64,
}

struct Made {
    encoded: Encoded,
    log: String,
    complaints: u64,
    cpu_ms: u64,
}

impl Run<'_> {
    async fn go(&self, progress: WorkSink<'_>, span: (u32, u32)) -> Result<Made, Failure> {
        let args = self.args().await?;
        let chunk = self.encode.chunk.as_ref();
        let whole = media_ms(self.source);
        let media = chunk.map_or(whole, |chunk| (chunk.start_pts / 90, chunk.end_pts / 90));
        let file = TrackFile::create(self.out, self.source.lift_ms, self.step.limits.file_bytes).await?;
        let mut scribe = Scribe {
            file: file.ends_at(chunk.map(|chunk| chunk.end_pts)),
            decoded: Pass::new(self),
            meter: Meter::new(progress, span, media),
        };
        let Ended { log, cpu_ms, complaints } = self.step.run(Program::Ffmpeg, args, &mut scribe).await?;
        let written = scribe.file.finish().await.map_err(|failure| keep_log(failure, &log))?;
        scribe.meter.finish(Some(written.encoded.bytes));
        let encoded = scribe.decoded.check(written).map_err(|failure| keep_log(failure, &log))?;
        Ok(Made { encoded, log, complaints, cpu_ms })
    }

    fn seeks(&self) -> bool {
        !self.seek().is_empty()
    }

    fn seek(&self) -> Vec<String> {
        let lift = self.source.lift();
        let start = self.encode.chunk.as_ref().map(|chunk| chunk.start_pts - lift);
        start.map(|start| seek_args(self.source, start, self.back_ms)).unwrap_or_default()
    }

    async fn args(&self) -> Result<Vec<String>, Failure> {
        let Self { step, encode, .. } = self;
        let features = Features::of(step.tool).await?;
        let encoder = features.video_encoder(encode.codec, encode.hardware)?;
        let (before, upload) = picture::upload(encoder);
        let lift = self.source.lift();
        let thinning = Thinning::new(grid(encode).earlier_by(lift), encode.fps_max);
        let (_, info) = self.source.video(encode.track)?;
        let range = encode.chunk.as_ref().map(|chunk| (chunk.start_pts - lift, chunk.end_pts - lift));
        let pictures = Pictures { encode, info, features: &features, thinning: &thinning, range };
        let mut args = global_args(step.limits);
        args.0.extend(before);
        args.0.extend(self.seek());
        args.add("-copyts");
        args.0.extend(step.input.args(&features.demuxers));
        args.push("-filter_complex");
        let speck = frames::SPECK;
        let (head, chain) = (pictures.head(), pictures.chain());
        args.push(format!(
            "[0:{}]{head},split[all][some];[all]{speck}[frames];[some]{chain}{upload}[made]",
            encode.track
        ));
        args.add("-map [made]");
        args.add(frame_mode(step.tool));
        args.add("-enc_time_base 1/90000");
        args.0.extend(video_args(encode, encoder));
        args.0.extend(force_key_frames(encode, lift));
        if step.limits.threads > 0 {
            args.add(&format!("-threads {}", step.limits.threads));
        }
        track_output(&mut args);
        frames::list_args(&mut args, &["frames"], frame_mode(step.tool));
        Ok(args.0)
    }
}

fn keep_log(failure: Failure, log: &str) -> Failure {
    let own = failure.log.clone();
    failure.with_log(format!("{log}\n{own}").trim().to_owned())
}

/// The grid on the platform's timeline.
pub(super) fn grid(encode: &VideoEncode) -> Grid {
    encode.chunk.as_ref().map_or(Grid::endless(encode.gop_ms), |chunk| Grid::of_chunk(chunk, encode.gop_ms))
}

/// Times of the timeline where that is possible: FFmpeg's expressions count from the first picture, whichever that is.
fn force_key_frames(encode: &VideoEncode, lift: i64) -> Vec<String> {
    let grid = grid(encode).earlier_by(lift);
    let points = match &encode.keyframes_at {
        Some(times) => {
            let early = |pts: &i64| ((i128::from(pts - lift) * 2 - 1) * 100).div_euclid(18);
            Some(times.iter().take(KEYFRAMES_AT_MAX).map(early).collect())
        }
        None => grid.points_us(KEYFRAMES_AT_MAX),
    };
    let wanted = match points {
        Some(points) => {
            let text = |us: i128| {
                let (sign, us) = if us < 0 { ("-", -us) } else { ("", us) };
                format!("{sign}{}.{:06}", us / 1_000_000, us % 1_000_000)
            };
            let points: Vec<_> = points.into_iter().map(text).collect();
            points.join(",")
        }
        None => {
            let first = encode.chunk.as_ref().map_or(0, |chunk| chunk.start_pts);
            let grid = self::grid(encode).earlier_by(first);
            let point = |seconds: &str| grid.point_text(&format!("round({seconds}*90000)"), "0");
            format!("expr:isnan(prev_forced_t)+gt({},{})", point("t"), point("prev_forced_t"))
        }
    };
    if wanted.is_empty() { Vec::new() } else { vec!["-force_key_frames".into(), wanted] }
}

/// What the decoder gave, and what of it must be in the output.
struct Pass {
    lift: i64,
    range: Option<(i64, i64)>,
    thinning: Thinning,
    marks: Expected,
    newest: Option<i64>,
    frames: u64,
    digest: Digest,
    kept: u64,
    kept_digest: Digest,
    sync: Times,
}

/// Which pictures must be sync pictures.
enum Expected {
    Grid(Marks),
    At(Vec<i64>),
}

impl Pass {
    fn new(run: &Run<'_>) -> Self {
        let encode = run.encode;
        let grid = grid(encode);
        let marks = match &encode.keyframes_at {
            Some(times) => {
                let mut times: Vec<_> = times.iter().copied().take(KEYFRAMES_AT_MAX).collect();
                times.sort_unstable_by(|a, b| b.cmp(a));
                Expected::At(times)
            }
            None => Expected::Grid(Marks::new(grid)),
        };
        Self {
            lift: run.source.lift(),
            range: encode.chunk.as_ref().map(|chunk| (chunk.start_pts, chunk.end_pts)),
            thinning: Thinning::new(grid, encode.fps_max),
            marks,
            newest: None,
            frames: 0,
            digest: Digest::default(),
            kept: 0,
            kept_digest: Digest::default(),
            sync: Times::default(),
        }
    }

    /// A picture came from the decoder.
    fn picture(&mut self, pts: i64) {
        if self.range.is_some_and(|(start, end)| pts < start || pts >= end)
            || self.newest.is_some_and(|newest| pts <= newest)
        {
            return;
        }
        self.newest = Some(pts);
        self.frames += 1;
        self.digest.add(pts);
        if !self.thinning.keeps(pts) {
            return;
        }
        self.kept += 1;
        self.kept_digest.add(pts);
        if self.marks.is_sync(pts) {
            self.sync.push(pts);
        }
    }

    /// The output against what the decoder gave.
    fn check(self, written: Written) -> Result<Encoded, Failure> {
        let Written { mut encoded, sync } = written;
        if encoded.frames != self.kept || encoded.digest != self.kept_digest.hex() {
            let detail = format!("{} pictures of {}, or at other times", encoded.frames, self.kept);
            return Err(failure::short_output(detail));
        }
        let mut have = sync.iter();
        if let Some(missing) = self.sync.iter().find(|wanted| !have.any(|pts| pts == *wanted)) {
            let human = format!("The encoder made no sync picture at {missing}. Use another encoder in the recipe.");
            return Err(Failure::new(Class::Bug, "no_sync_picture", human));
        }
        encoded.source_frames = self.frames;
        encoded.source_digest = self.digest.hex();
        Ok(encoded)
    }
}

impl Expected {
    fn is_sync(&mut self, pts: i64) -> bool {
        match self {
            Self::Grid(marks) => marks.marks(pts),
            Self::At(times) => {
                let before = times.len();
                while times.last().is_some_and(|time| *time <= pts) {
                    times.pop();
                }
                times.len() < before
            }
        }
    }
}

/// Listens to an encoding FFmpeg.
struct Scribe<'a> {
    file: TrackFile,
    decoded: Pass,
    meter: Meter<'a>,
}

impl Listener for Scribe<'_> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.push(bytes).await
    }

    fn line(&mut self, line: &str) -> bool {
        if let Some(moved) = self.meter.line(line, Some(self.file.bytes())) {
            return moved;
        }
        let Some((_, pts)) = frames::parse(line) else { return false };
        let pts = pts + self.decoded.lift;
        self.decoded.picture(pts);
        self.meter.reached(pts / 90);
        true
    }
}
