//! Analysis of a source: what a manager needs to plan its encodes.

use super::{
    AnalyseSpec, Analysis, Cancel, Failure, Input, Limits, Loudness, Probe, SourceTrack, VideoInfo, WorkSink, cut,
    failure,
    features::Features,
    frames::Meter,
    picture::{frame_mode, global_args, seek_args},
    probe::{Source, look},
    process::{Listener, Program, Step},
    scan::{Scan, media_ms, scan},
    times::Times,
};
use crate::{Tool, progress::Lines};

/// Sync pictures told of a source.
const KEYFRAMES_MAX: usize = 2_048;
/// A difference between two sync pictures from which on the second begins a shot, by FFmpeg's scene score.
const SHOT_SCORE_MIN: f64 = 0.3;
/// Sync pictures closer than this on the mean, in milliseconds, are cut anywhere, and not looked at: decoding all of a source
/// of only sync pictures would cost more than a better cut gains.
const SHOTS_APART_MS_MIN: i64 = 400;
/// Samples of the video that are encoded to measure complexity, and the length of each in milliseconds.
const COMPLEXITY_SAMPLES: i64 = 5;
const COMPLEXITY_SAMPLE_MS: i64 = 1_500;
/// The height at which complexity is measured, in pixels.
const COMPLEXITY_HEIGHT: u32 = 360;
/// The constant quality at which it is measured.
const COMPLEXITY_CRF: u32 = 23;

/// What the manager plans by: the exact times of all pictures, where to cut, and, when asked, loudness and complexity.
///
/// Packets are read, not decoded, unless the container does not tell when pictures are shown. `probe` must be this source's.
///
/// # Errors
/// `no_such_track`; `timeline_broken` when the source's clock goes back; `too_many_frames`; else by what FFmpeg said.
#[allow(clippy::too_many_arguments, reason = "a step's tool, source, task, limits, end and report")]
pub async fn analyse(
    tool: &Tool,
    input: &Input,
    probe: &Probe,
    spec: &AnalyseSpec,
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Analysis, Failure> {
    let step = Step::begin(tool, input, limits, cancel);
    let source = look(&step).await?;
    tracing::debug!(same = source.probe == *probe, "analysis begins");
    let mut analysis = Analysis::default();
    let spans = Spans::of(spec);
    if let Some(index) = spec.video_track {
        let (track, info) = source.video(index)?;
        let scanned = scan(&step, &source, index, progress, spans.scan).await?;
        let shots = shots(&step, &source, index, &scanned, progress, spans.shots).await?;
        describe(&mut analysis, &scanned, &shots, track, spec);
        if spec.complexity {
            analysis.complexity = complexity(&step, &source, index, info, &analysis).await?;
        }
    }
    if let Some(index) = spec.audio_track.filter(|_| spec.loudness) {
        let is_audio = source.probe.track(index).is_some_and(|track| track.audio.is_some());
        if !is_audio {
            return Err(failure::no_track(index, "audio"));
        }
        analysis.loudness = loudness(&step, &source, index, progress, spans.loudness).await?;
    }
    progress(super::Work { permille: 1_000, out_time_ms: Some(media_ms(&source).1), ..Default::default() });
    Ok(analysis)
}

/// The parts of the work, in thousandths.
struct Spans {
    scan: (u32, u32),
    shots: (u32, u32),
    loudness: (u32, u32),
}

impl Spans {
    fn of(spec: &AnalyseSpec) -> Self {
        match (spec.video_track.is_some(), spec.loudness) {
            (true, true) => Self { scan: (0, 300), shots: (300, 600), loudness: (600, 1_000) },
            (true, false) => Self { scan: (0, 500), shots: (500, 1_000), loudness: (1_000, 1_000) },
            _ => Self { scan: (0, 0), shots: (0, 0), loudness: (0, 1_000) },
        }
    }
}

fn describe(analysis: &mut Analysis, scanned: &Scan, shots: &[i64], track: &SourceTrack, spec: &AnalyseSpec) {
    let Scan { times, keys, bytes, .. } = scanned;
    let Some(first_pts) = times.first() else { return };
    let rate = track.video.as_ref().and_then(|video| video.frame_rate);
    let by_rate = rate.map_or(3_600, |(n, d)| 90_000 * i64::from(d) / i64::from(n));
    analysis.frame_ticks = times.median_step().unwrap_or_else(|| scanned.last_ticks.unwrap_or(by_rate)).max(1);
    // A last picture that is shown for ever is a container's mistake, unless pictures are that slow.
    let believable = |ticks: &i64| *ticks <= analysis.frame_ticks * 4;
    let last = scanned.last_ticks.filter(believable).unwrap_or(analysis.frame_ticks);
    analysis.frames = times.count();
    analysis.first_pts = first_pts;
    analysis.end_pts = times.last() + last;
    analysis.variable_frame_rate = times.is_variable();
    let tail = if keys.first().is_some() { analysis.end_pts - keys.last() } else { analysis.end_pts - first_pts };
    analysis.keyframe_interval_ms_max = scanned.keys_apart_max.max(tail) / 90;
    analysis.keyframes = thinned(keys);
    let ms = ((analysis.end_pts - first_pts) / 90).max(1) as u64;
    analysis.video_kbps = (*bytes > 0).then_some(bytes * 8 / ms);
    let (chunk_ms, gop_ms) = (spec.chunk_ms, spec.gop_ms);
    let plan = cut::Plan { times, keys, shots, end_pts: analysis.end_pts, chunk_ms, gop_ms };
    analysis.chunks = plan.chunks();
}

fn thinned(keys: &Times) -> Vec<i64> {
    let every = (keys.count() as usize).div_ceil(KEYFRAMES_MAX).max(1);
    keys.iter().step_by(every).collect()
}

/// The sync pictures that begin a shot: only sync pictures are decoded, each compared with the one before.
async fn shots(
    step: &Step<'_>,
    source: &Source,
    index: u32,
    scanned: &Scan,
    progress: WorkSink<'_>,
    span: (u32, u32),
) -> Result<Vec<i64>, Failure> {
    let keys = &scanned.keys;
    let length = scanned.times.last() - scanned.times.first().unwrap_or(0);
    if keys.count() < 3 || length / 90 / (keys.count() as i64) < SHOTS_APART_MS_MIN {
        return Ok(Vec::new());
    }
    let features = Features::of(step.tool).await?;
    let mut args = global_args(step.limits);
    args.add("-copyts -skip_frame nokey");
    args.0.extend(step.input.args(&features.demuxers));
    args.push("-filter_complex");
    let look = "scale=160:90:flags=fast_bilinear,format=yuv420p,select='gte(scene,0)',metadata=mode=print:file=-";
    args.push(format!("[0:{index}]settb=1/90000,{look}[seen]"));
    args.add("-map [seen]");
    args.add(frame_mode(step.tool));
    args.add("-f null /dev/null");
    let meter = Meter::new(progress, span, media_ms(source));
    let mut seen = Seen { lines: Lines::default(), lift: source.lift(), at: None, shots: Vec::new(), meter };
    match step.run(Program::Ffmpeg, args.0, &mut seen).await {
        Ok(_) => {}
        // A cut at a shot is better, and not needed.
        Err(failure) if failure.class == super::Class::Input => {
            tracing::info!(%failure, "changes of shot are not known");
            return Ok(Vec::new());
        }
        Err(failure) => return Err(failure),
    }
    seen.meter.finish(None);
    let known: Vec<i64> = keys.iter().collect();
    seen.shots.retain(|pts| known.binary_search(pts).is_ok());
    seen.shots.sort_unstable();
    seen.shots.dedup();
    Ok(seen.shots)
}

/// Listens to the scene scores of sync pictures.
struct Seen<'a> {
    lines: Lines,
    lift: i64,
    at: Option<i64>,
    shots: Vec<i64>,
    meter: Meter<'a>,
}

impl Seen<'_> {
    fn score(&mut self, line: &str) {
        if let Some((_, rest)) = line.split_once(" pts:") {
            let pts = rest.split_whitespace().next().and_then(|pts| pts.parse::<i64>().ok());
            self.at = pts.map(|pts| pts + self.lift);
            if let Some(pts) = self.at {
                self.meter.reached(pts / 90);
            }
        } else if let Some(score) = line.strip_prefix("lavfi.scene_score=") {
            let is_shot = score.parse::<f64>().is_ok_and(|score| score >= SHOT_SCORE_MIN);
            self.shots.extend(self.at.take().filter(|_| is_shot));
        }
    }
}

impl Listener for Seen<'_> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut lines = std::mem::take(&mut self.lines);
        lines.feed(bytes, |line| self.score(line));
        self.lines = lines;
        Ok(())
    }

    fn line(&mut self, line: &str) -> bool {
        self.meter.line(line, None).unwrap_or(false)
    }
}

/// EBU R 128 of one audio track; none for silence or a track without a sample.
async fn loudness(
    step: &Step<'_>,
    source: &Source,
    index: u32,
    progress: WorkSink<'_>,
    span: (u32, u32),
) -> Result<Option<Loudness>, Failure> {
    let features = Features::of(step.tool).await?;
    let mut args = global_args(step.limits);
    // The summary is told as information, the values every tenth of a second in more words.
    for level in args.0.iter_mut().filter(|arg| *arg == "repeat+level+warning") {
        *level = "repeat+level+info".into();
    }
    args.0.extend(step.input.args(&features.demuxers));
    args.add(&format!("-map 0:{index} -af ebur128=peak=true:framelog=verbose -f null /dev/null"));
    let media = media_ms(source);
    let mut ear = Ear { summary: Summary::default(), meter: Meter::new(progress, span, media), start_ms: media.0 };
    step.run(Program::Ffmpeg, args.0, &mut ear).await?;
    ear.meter.finish(None);
    Ok(ear.summary.loudness())
}

/// The summary of the ebur128 filter, line by line.
#[derive(Debug, Default)]
struct Summary {
    integrated_lufs: Option<f64>,
    range_lu: Option<f64>,
    true_peak_db: Option<f64>,
}

impl Summary {
    fn line(&mut self, line: &str) {
        let mut words = line.rsplit("] ").next().unwrap_or(line).split_whitespace();
        let (Some(name), Some(value)) = (words.next(), words.next()) else { return };
        let Ok(value) = value.parse::<f64>() else { return };
        match name {
            "I:" => self.integrated_lufs = Some(value),
            "LRA:" => self.range_lu = Some(value),
            "Peak:" => self.true_peak_db = Some(value),
            _ => {}
        }
    }

    fn loudness(&self) -> Option<Loudness> {
        /// Under this the gate of EBU R 128 has let nothing through.
        const SILENCE_LUFS: f64 = -69.9;
        let integrated_lufs = self.integrated_lufs.filter(|lufs| lufs.is_finite() && *lufs > SILENCE_LUFS)?;
        let true_peak_db = self.true_peak_db.filter(|peak| peak.is_finite())?;
        Some(Loudness { integrated_lufs, true_peak_db, range_lu: self.range_lu.unwrap_or(0.0) })
    }
}

struct Ear<'a> {
    summary: Summary,
    meter: Meter<'a>,
    start_ms: i64,
}

impl Listener for Ear<'_> {
    async fn data(&mut self, _bytes: &[u8]) -> Result<(), Failure> {
        Ok(())
    }

    fn line(&mut self, line: &str) -> bool {
        let moved = self.meter.line(line, None).unwrap_or(false);
        if moved {
            self.meter.follow(self.start_ms);
        }
        moved
    }

    fn said(&mut self, line: &str) {
        self.summary.line(line);
    }
}

/// Bits per pixel of short samples, spread evenly, in a quick encode at a fixed quality.
async fn complexity(
    step: &Step<'_>,
    source: &Source,
    index: u32,
    info: &VideoInfo,
    analysis: &Analysis,
) -> Result<Option<f64>, Failure> {
    let features = Features::of(step.tool).await?;
    if !features.encoder("libx264") || analysis.frames == 0 {
        return Ok(None);
    }
    let height = COMPLEXITY_HEIGHT.min(info.height);
    let width = (u64::from(info.width) * u64::from(height) / u64::from(info.height.max(1)) / 2 * 2).max(2);
    let length = analysis.end_pts - analysis.first_pts;
    let sample = (COMPLEXITY_SAMPLE_MS * 90).min(length);
    let count = COMPLEXITY_SAMPLES.min(length / sample.max(1)).max(1);
    let (mut bytes, mut frames) = (0, 0);
    for n in 0..count {
        let start = analysis.first_pts + (length - sample) * (2 * n + 1) / (2 * count) - source.lift();
        let mut args = global_args(step.limits);
        args.0.extend(seek_args(source, start, 0));
        args.add("-copyts");
        args.0.extend(step.input.args(&features.demuxers));
        args.push("-filter_complex");
        let end = start + sample;
        let shape = format!("scale={width}:{height}:flags=bicubic,format=yuv420p");
        args.push(format!("[0:{index}]settb=1/90000,trim=start_pts={start}:end_pts={end},{shape}[some]"));
        args.add("-map [some]");
        args.add(frame_mode(step.tool));
        args.add(&format!("-c:v libx264 -preset veryfast -crf {COMPLEXITY_CRF} -f h264 -flush_packets 1 pipe:1"));
        let mut scale = Scale::default();
        step.run(Program::Ffmpeg, args.0, &mut scale).await?;
        bytes += scale.bytes;
        frames += scale.frames;
    }
    let pixels = (frames * width * u64::from(height)) as f64;
    Ok((frames > 0).then(|| (bytes * 8) as f64 / pixels))
}

/// Weighs an output.
#[derive(Default)]
pub(super) struct Scale {
    pub(super) bytes: u64,
    pub(super) frames: u64,
}

impl Listener for Scale {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn line(&mut self, line: &str) -> bool {
        let frames = line.strip_prefix("frame=").and_then(|frames| frames.trim().parse().ok());
        let moved = frames.is_some_and(|frames| frames != self.frames);
        self.frames = frames.unwrap_or(self.frames);
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_loudness_is_read() {
        let mut summary = Summary::default();
        for line in [
            "[Parsed_ebur128_0 @ 0x55] [info] Summary:",
            "[info]     I:         -23.1 LUFS",
            "[info]     LRA:         3.2 LU",
            "[info]     Peak:       -4.5 dBFS",
        ] {
            summary.line(line);
        }
        let expected = Loudness { integrated_lufs: -23.1, true_peak_db: -4.5, range_lu: 3.2 };
        assert_eq!(summary.loudness(), Some(expected));
        summary.line("    I: -70.0 LUFS");
        assert_eq!(summary.loudness(), None);
    }
}
