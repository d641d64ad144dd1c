//! Pictures of a source: a poster, and sheets of small ones to look through.

use std::path::Path;

use super::{
    Cancel, Class, Failure, Input, Limits, SourceTrack, Storyboard, StoryboardSpec, VideoInfo, WorkSink, failure,
    features::Features,
    frames::{self, Meter},
    picture::{frame_mode, global_args, seek_args},
    probe::{Source, look},
    process::{Listener, Program, Step, Text},
    scan::media_ms,
};
use crate::{Tool, command::Args};

/// Largest poster, in bytes: 4K of noise at this quality is less.
const JPEG_BYTES_MAX: usize = 16 << 20;
/// Widest picture, in pixels.
const WIDTH_MAX: u32 = 3_840;
/// How far behind the time asked for a poster is looked for that is not black, in milliseconds.
const BLACK_MS_MAX: i64 = 10_000;
/// Mean luma above which a picture is not black, of 16 to 235.
const BLACK_LUMA_MAX: u32 = 30;
/// Most pictures of a storyboard: more than a viewer's hand can tell apart.
const STORYBOARD_PICTURES_MAX: i64 = 1_200;
/// Shortest interval, in milliseconds.
const INTERVAL_MS_MIN: i64 = 100;
/// Largest sheet, in pixels of either side: what browsers decode everywhere.
const SHEET_SIDE_MAX: u32 = 8_192;
/// Sources longer than this, in milliseconds, are shown by their sync pictures only: decoding all would take too long.
const DECODED_MS_MAX: i64 = 300_000;

/// Writes a JPEG of the picture at or after `at_ms` (on the platform's timeline) to `out`, `width` pixels wide in the source's
/// shape: the first within ten seconds that is not black, else the one at `at_ms`, else the first of all.
///
/// # Errors
/// `no_such_track` without pictures, `no_pictures` when none can be decoded; else by what FFmpeg said.
#[allow(clippy::too_many_arguments, reason = "a step's tool, source, task, limits and end")]
pub async fn poster(
    tool: &Tool,
    input: &Input,
    at_ms: i64,
    width: u32,
    out: &Path,
    limits: &Limits,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let step = Step::begin(tool, input, limits, cancel);
    let source = look(&step).await?;
    let (track, info) = pictured(&source)?;
    let shape = Shape::of(info, width);
    let start_ms = source.probe.start_ms;
    for (at_ms, lit) in [(at_ms, true), (at_ms, false), (start_ms, false)] {
        let jpeg = still(&step, &source, track.index, &shape, (at_ms, lit)).await?;
        if jpeg.starts_with(&[0xff, 0xd8]) {
            return tokio::fs::write(out, &jpeg).await.map_err(|error| failure::file(out, &error));
        }
    }
    let human = "No picture of the video can be decoded. Convert the file to H.264 and send it again.";
    Err(Failure::new(Class::Input, "no_pictures", human))
}

async fn still(
    step: &Step<'_>,
    source: &Source,
    index: u32,
    shape: &Shape,
    (at_ms, lit): (i64, bool),
) -> Result<Vec<u8>, Failure> {
    let features = Features::of(step.tool).await?;
    let at = (at_ms - source.lift_ms) * 90;
    let mut args = global_args(step.limits);
    args.0.extend(seek_args(source, at, 0));
    args.add("-copyts");
    args.0.extend(step.input.args(&features.demuxers));
    args.push("-filter_complex");
    let from = if at_ms <= source.probe.start_ms { String::new() } else { format!("trim=start_pts={at}") };
    let to = if lit { format!("trim=end_pts={}", at + BLACK_MS_MAX * 90) } else { String::new() };
    let look = format!(
        "format=yuv420p,signalstats,metadata=mode=select:key=lavfi.signalstats.YAVG:value={BLACK_LUMA_MAX}:function=greater"
    );
    let look = if lit { look } else { String::new() };
    let jpeg = shape.jpeg();
    let chain = ["settb=1/90000", &from, &to, &shape.scale(), &look, &jpeg].map(str::to_owned);
    let chain: Vec<_> = chain.into_iter().filter(|filter| !filter.is_empty()).collect();
    args.push(format!("[0:{index}]{}[still]", chain.join(",")));
    args.add("-map [still] -frames:v 1");
    args.add(frame_mode(step.tool));
    args.add("-c:v mjpeg -q:v 3 -f image2pipe pipe:1");
    let mut bytes = Text::up_to(JPEG_BYTES_MAX);
    step.run(Program::Ffmpeg, args.0, &mut bytes).await?;
    Ok(bytes.text)
}

fn pictured(source: &Source) -> Result<(&SourceTrack, &VideoInfo), Failure> {
    let track = source.probe.video().ok_or_else(|| failure::no_track(0, "video"))?;
    source.video(track.index)
}

/// The size of a small picture.
struct Shape {
    width: u32,
    height: u32,
}

impl Shape {
    fn of(info: &VideoInfo, width: u32) -> Self {
        let width = width.clamp(16, WIDTH_MAX) / 2 * 2;
        let height = u64::from(width) * u64::from(info.height) / u64::from(info.width.max(1));
        let height = u32::try_from(height).unwrap_or(WIDTH_MAX).clamp(2, SHEET_SIDE_MAX) / 2 * 2;
        Self { width, height: height.max(2) }
    }

    fn scale(&self) -> String {
        format!("scale={}:{}:flags=bicubic,setsar=1", self.width, self.height)
    }

    fn jpeg(&self) -> String {
        "scale=out_range=full,format=yuvj420p".into()
    }
}

/// Writes sheets of small pictures at even distances, `storyboard-0.jpg` and so on, to the directory `dir`. Picture `n` shows
/// the source about `n * interval_ms` after its beginning, row by row.
///
/// # Errors
/// As [`poster`].
#[allow(clippy::too_many_arguments, reason = "a step's tool, source, task, limits, end and report")]
pub async fn storyboard(
    tool: &Tool,
    input: &Input,
    spec: &StoryboardSpec,
    dir: &Path,
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Storyboard, Failure> {
    let step = Step::begin(tool, input, limits, cancel);
    let source = look(&step).await?;
    let (track, info) = pictured(&source)?;
    let shape = Shape::of(info, spec.width);
    let columns = spec.columns.clamp(1, (SHEET_SIDE_MAX / shape.width).max(1));
    let rows = spec.rows.clamp(1, (SHEET_SIDE_MAX / shape.height).max(1));
    let duration_ms = source.probe.duration_ms.max(1);
    let interval_ms = spec.interval_ms.max(INTERVAL_MS_MIN).max(duration_ms.div_euclid(STORYBOARD_PICTURES_MAX) + 1);
    let args = sheets_args(&step, track.index, &shape, (columns, rows), (interval_ms, duration_ms), dir).await?;
    let mut counted = Counted {
        pictures: 0,
        start_ms: source.probe.start_ms,
        meter: Meter::new(progress, (0, 1_000), media_ms(&source)),
    };
    step.run(Program::Ffmpeg, args.0, &mut counted).await?;
    let count = counted.pictures;
    if count == 0 {
        let human = "No picture of the video can be decoded. Convert the file to H.264 and send it again.";
        return Err(Failure::new(Class::Input, "no_pictures", human));
    }
    counted.meter.finish(None);
    let sheets = (0..count.div_ceil(columns * rows)).map(|n| format!("storyboard-{n}.jpg")).collect();
    Ok(Storyboard { interval_ms, columns, rows, width: shape.width, height: shape.height, sheets, count })
}

async fn sheets_args(
    step: &Step<'_>,
    index: u32,
    shape: &Shape,
    (columns, rows): (u32, u32),
    (interval_ms, duration_ms): (i64, i64),
    dir: &Path,
) -> Result<Args, Failure> {
    let features = Features::of(step.tool).await?;
    let mut args = global_args(step.limits);
    if duration_ms > DECODED_MS_MAX {
        args.add("-skip_frame nokey");
    }
    args.0.extend(step.input.args(&features.demuxers));
    args.push("-filter_complex");
    let (scale, speck, jpeg) = (shape.scale(), frames::SPECK, shape.jpeg());
    args.push(format!(
        "[0:{index}]setpts=PTS-STARTPTS,fps=1000/{interval_ms}:round=near,{scale},split[all][some];\
         [some]tile={columns}x{rows},{jpeg}[sheet];[all]settb=1/90000,{speck}[frames]"
    ));
    args.add("-map [sheet]");
    args.add(frame_mode(step.tool));
    args.add("-c:v mjpeg -q:v 5 -y -f image2 -start_number 0");
    args.push(format!("file:{}/storyboard-%d.jpg", dir.to_string_lossy().replace('%', "%%")));
    frames::list_args(&mut args, &["frames"], frame_mode(step.tool));
    Ok(args)
}

struct Counted<'a> {
    pictures: u32,
    start_ms: i64,
    meter: Meter<'a>,
}

impl Listener for Counted<'_> {
    async fn data(&mut self, _bytes: &[u8]) -> Result<(), Failure> {
        Ok(())
    }

    fn line(&mut self, line: &str) -> bool {
        if let Some(moved) = self.meter.line(line, None) {
            return moved;
        }
        let Some((_, pts)) = frames::parse(line) else { return false };
        self.pictures += 1;
        self.meter.reached(self.start_ms + pts / 90);
        true
    }
}
