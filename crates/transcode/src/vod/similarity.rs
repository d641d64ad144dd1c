//! SSIM and VMAF: how like its source a rendition is.

use std::path::Path;

use super::{
    Cancel, Encoded, Failure, Input, Limits, Quality, VideoEncode, VideoInfo, WorkSink,
    encode::grid,
    failure,
    features::Features,
    frames::Meter,
    grid::Thinning,
    picture::{Pictures, frame_mode, global_args, seek_args},
    probe::{Source, look},
    process::{Listener, Program, Step},
    scan::media_ms,
};
use crate::{Tool, command::Args};

/// How like the first video track of `reference` that of `distorted` is, over its whole length: picture by picture from the
/// first on, in the reference's size. Both must have the same pictures, but `distorted` may lack some.
///
/// # Errors
/// `no_such_track` when one has no pictures; else by what FFmpeg said.
pub async fn quality(
    tool: &Tool,
    reference: &Input,
    distorted: &Input,
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Quality, Failure> {
    let step = Step::begin(tool, reference, limits, cancel);
    let second = Step::begin(tool, distorted, limits, cancel);
    let (source, made) = (look(&step).await?, look(&second).await?);
    let first_video = |source: &Source| -> Result<(u32, VideoInfo), Failure> {
        let track = source.probe.video().ok_or_else(|| failure::no_track(0, "video"))?;
        Ok((track.index, source.video(track.index)?.1.clone()))
    };
    let ((track, info), (made_track, _)) = (first_video(&source)?, first_video(&made)?);
    let features = Features::of(tool).await?;
    let shape = format!("scale={}:{}:flags=bicubic,setsar=1,format=yuv420p", info.width, info.height);
    let mut args = global_args(limits);
    args.0.extend(distorted.args(&features.demuxers));
    args.0.extend(reference.args(&features.demuxers));
    args.push("-filter_complex");
    let of = |input: u32, track: u32| format!("[{input}:{track}]settb=1/90000,setpts=PTS-STARTPTS,{shape}");
    args.push(format!("{}[d];{}[r];{}", of(0, made_track), of(1, track), comparison(&features)));
    compare(&step, args, tool, Meter::new(progress, (0, 1_000), media_ms(&made)), made.probe.start_ms)
        .await
        .map(|(quality, _)| quality)
}

/// How like its source an encode is that has just been written to `out`: the same pictures, filtered alike, at the same times.
pub(super) async fn of_encode(
    step: &Step<'_>,
    source: &Source,
    encode: &VideoEncode,
    out: &Path,
    encoded: &Encoded,
    progress: WorkSink<'_>,
    from_permille: u32,
) -> Result<Quality, Failure> {
    let features = Features::of(step.tool).await?;
    let lift = source.lift();
    let thinning = Thinning::new(grid(encode).earlier_by(lift), encode.fps_max);
    let (_, info) = source.video(encode.track)?;
    let range = encode.chunk.as_ref().map(|chunk| (chunk.start_pts - lift, chunk.end_pts - lift));
    let pictures = Pictures { encode, info, features: &features, thinning: &thinning, range };
    let mut args = global_args(step.limits);
    args.add("-copyts");
    let made = Input::new(out.to_string_lossy());
    args.0.extend(made.args(&features.demuxers));
    args.0.extend(range.map(|(start, _)| seek_args(source, start, 0)).unwrap_or_default());
    args.0.extend(step.input.args(&features.demuxers));
    args.push("-filter_complex");
    args.push(format!(
        "[0:0]settb=1/90000,setpts=PTS-({lift}),format={format}[d];[1:{track}]{head},{chain}[r];{comparison}",
        format = encode.pixel_format,
        track = encode.track,
        head = pictures.head(),
        chain = pictures.chain(),
        comparison = comparison(&features),
    ));
    let media = (encoded.first_pts / 90, encoded.end_pts / 90);
    let meter = Meter::new(progress, (from_permille, 1_000), media);
    let (quality, frames) = compare(step, args, step.tool, meter, source.lift_ms).await?;
    if frames != encoded.frames {
        return Err(failure::short_output(format_args!("{frames} of {} pictures were compared", encoded.frames)));
    }
    Ok(quality)
}

/// How like its source an encode of a few seconds is that is in memory, as NUT with times from 0; both in the size `target`.
/// `range` is the source's part, in ticks of the container's timeline.
pub(super) async fn of_sample(
    step: &Step<'_>,
    source: &Source,
    index: u32,
    range: (i64, i64),
    target: (u32, u32),
    sample: Vec<u8>,
) -> Result<Quality, Failure> {
    let features = Features::of(step.tool).await?;
    let mut args = Args::default();
    args.add("-hide_banner -nostats -loglevel repeat+level+info -protocol_whitelist pipe -f nut -i pipe:0");
    args.0.extend(seek_args(source, range.0, 0));
    args.add("-copyts");
    args.0.extend(step.input.args(&features.demuxers));
    args.push("-filter_complex");
    let shape = format!("scale={}:{}:flags=bicubic,setsar=1,format=yuv420p", target.0, target.1);
    let (start, end) = range;
    args.push(format!(
        "[0:0]settb=1/90000,{shape}[d];\
         [1:{index}]settb=1/90000,trim=start_pts={start}:end_pts={end},setpts=PTS-STARTPTS,{shape}[r];{}",
        comparison(&features)
    ));
    null_outputs(&mut args, step.tool);
    let nowhere: WorkSink<'_> = &|_| {};
    let mut jury = Jury::new(Meter::new(nowhere, (0, 0), (0, 1)), 0);
    let ended = step.run_fed(args.0, sample, &mut jury).await?;
    let ssim = jury.ssim.ok_or_else(|| failure::short_output("it measured nothing").with_log(ended.log))?;
    Ok(Quality { ssim, vmaf: jury.vmaf })
}

/// From `[d]` and `[r]` to measures in the log.
fn comparison(features: &Features) -> String {
    // Pictures meet by their times; the first input leads.
    const SYNC: &str = "shortest=1:repeatlast=0";
    if features.filter("libvmaf") {
        return format!("[d]split[d1][d2];[r]split[r1][r2];[d1][r1]libvmaf={SYNC}[v];[d2][r2]ssim={SYNC}[s]");
    }
    format!("[d][r]ssim={SYNC}[s]")
}

async fn compare(
    step: &Step<'_>,
    mut args: Args,
    tool: &Tool,
    meter: Meter<'_>,
    lift_ms: i64,
) -> Result<(Quality, u64), Failure> {
    // The measures are told as information.
    for level in args.0.iter_mut().filter(|arg| *arg == "repeat+level+warning") {
        *level = "repeat+level+info".into();
    }
    null_outputs(&mut args, tool);
    let mut jury = Jury::new(meter, lift_ms);
    let ended = step.run(Program::Ffmpeg, args.0, &mut jury).await?;
    jury.meter.finish(None);
    let ssim = jury.ssim.ok_or_else(|| failure::short_output("it measured nothing").with_log(ended.log))?;
    Ok((Quality { ssim, vmaf: jury.vmaf }, jury.frames))
}

/// The pictures themselves go nowhere.
fn null_outputs(args: &mut Args, tool: &Tool) {
    let vmaf = args.0.iter().any(|arg| arg.contains("libvmaf"));
    for label in ["[s]", "[v]"].iter().take(1 + usize::from(vmaf)) {
        args.push("-map");
        args.push(*label);
        args.add(frame_mode(tool));
        args.add("-f null /dev/null");
    }
}

/// Listens to the filters.
struct Jury<'a> {
    meter: Meter<'a>,
    lift_ms: i64,
    ssim: Option<f64>,
    vmaf: Option<f64>,
    frames: u64,
}

impl<'a> Jury<'a> {
    fn new(meter: Meter<'a>, lift_ms: i64) -> Self {
        Self { meter, lift_ms, ssim: None, vmaf: None, frames: 0 }
    }
}

impl Listener for Jury<'_> {
    async fn data(&mut self, _bytes: &[u8]) -> Result<(), Failure> {
        Ok(())
    }

    fn line(&mut self, line: &str) -> bool {
        if let Some(frames) = line.strip_prefix("frame=").and_then(|frames| frames.trim().parse().ok()) {
            self.frames = frames;
        }
        let moved = self.meter.line(line, None).unwrap_or(false);
        if moved {
            self.meter.follow(self.lift_ms);
        }
        moved
    }

    fn said(&mut self, line: &str) {
        let number = |name: &str| -> Option<f64> {
            let rest = line.split_once(name)?.1;
            rest.split_whitespace().next()?.parse().ok().filter(|value: &f64| value.is_finite())
        };
        if line.contains("ssim") {
            self.ssim = number(" All:").or(self.ssim);
        }
        self.vmaf = number("VMAF score: ").or(self.vmaf);
    }
}
