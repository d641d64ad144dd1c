//! Sound, always whole; and tracks of any kind that are taken over as they are.

use std::path::Path;

use super::{
    AudioCodec, AudioEncode, AudioInfo, Cancel, Class, Encoded, Failure, Input, Limits, SourceTrack, TrackKind,
    WorkSink, failure,
    features::Features,
    frames::Meter,
    picture::{global_args, track_output},
    probe::{Source, look},
    process::{Listener, Program, Step},
    scan::{media_ms, track_end},
    track_file::TrackFile,
};
use crate::{Tool, command::Args};

/// Sound that begins later than the source by more than this gets silence before it, in milliseconds: a frame of sound.
const LATE_MS_MAX: i64 = 25;
/// Gaps in the source's times from here on become silence, in seconds; shorter ones are rounding.
const GAP_SECONDS: &str = "0.02";
/// An output that ends this much before the source says, in milliseconds, is looked into.
const SHORT_MS: i64 = 1_500;
/// Channel counts that every player knows.
const CHANNELS: [u32; 4] = [8, 6, 2, 1];
/// Codecs this platform's packager knows.
const PACKAGED: [&str; 8] = ["h264", "hevc", "av1", "vp9", "aac", "opus", "ac3", "eac3"];
/// Loudest and quietest change, in decibels.
const GAIN_DB_MAX: f32 = 60.0;

/// Encodes an audio track to the file `out`, fragmented MP4. Sound stays where it is on the source's timeline: gaps become
/// silence, and the silence with which encoders begin is left out, so that [`Encoded::first_pts`] is the first true sample.
///
/// # Errors
/// `no_such_track`, `no_encoder`, `short_output`; else by what FFmpeg said. The unfinished file is removed.
pub async fn encode_audio(
    tool: &Tool,
    input: &Input,
    encode: &AudioEncode,
    out: &Path,
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Encoded, Failure> {
    let step = Step::begin(tool, input, limits, cancel);
    let source = look(&step).await?;
    let track = source.probe.track(encode.track);
    let Some((track, info)) = track.and_then(|track| Some((track, track.audio.as_ref()?))) else {
        return Err(failure::no_track(encode.track, "audio"));
    };
    let features = Features::of(tool).await?;
    let mut args = before_output(&step, &features, encode.track);
    args.add("-af");
    args.push(filters(&source, track, info, encode));
    args.0.extend(codec_args(&features, info, encode)?);
    track_output(&mut args);
    write(&step, &source, track, args, out, progress).await
}

/// Takes over one track as it is into the file `out`, fragmented MP4.
///
/// # Errors
/// `not_packagable` and `format_changes` when it must be encoded instead; else as [`encode_audio`].
pub async fn copy_track(
    tool: &Tool,
    input: &Input,
    track: u32,
    out: &Path,
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Encoded, Failure> {
    let step = Step::begin(tool, input, limits, cancel);
    let source = look(&step).await?;
    let found = source.probe.track(track).ok_or_else(|| failure::no_track(track, "video or audio"))?;
    if !is_packaged(found) {
        let human = format!("A track of {} cannot be delivered as it is. Use a recipe that encodes it.", found.codec);
        return Err(Failure::new(Class::Input, "not_packagable", human));
    }
    let features = Features::of(tool).await?;
    let mut args = before_output(&step, &features, track);
    args.add("-c copy");
    if found.codec == "hevc" {
        args.add("-tag:v hvc1");
    }
    if found.codec == "aac" {
        // MPEG-TS repeats the configuration before each frame; without this a delayed `moov` has none. AAC from other
        // containers passes through as it is.
        args.add("-bsf:a aac_adtstoasc");
    }
    track_output(&mut args);
    write(&step, &source, found, args, out, progress).await
}

fn before_output(step: &Step<'_>, features: &Features, track: u32) -> Args {
    let mut args = global_args(step.limits);
    args.add("-copyts");
    args.0.extend(step.input.args(&features.demuxers));
    args.add(&format!("-map 0:{track}"));
    args
}

async fn write(
    step: &Step<'_>,
    source: &Source,
    track: &SourceTrack,
    args: Args,
    out: &Path,
    progress: WorkSink<'_>,
) -> Result<Encoded, Failure> {
    let written = write_in(step, source, track, args, out, progress).await;
    if written.is_err() {
        TrackFile::discard(out).await;
    }
    written
}

async fn write_in(
    step: &Step<'_>,
    source: &Source,
    track: &SourceTrack,
    args: Args,
    out: &Path,
    progress: WorkSink<'_>,
) -> Result<Encoded, Failure> {
    let file = TrackFile::create(out, source.lift_ms, step.limits.file_bytes).await?;
    let mut copyist =
        Copyist { file, meter: Meter::new(progress, (0, 1_000), media_ms(source)), lift_ms: source.lift_ms };
    let ended = step.run(Program::Ffmpeg, args.0, &mut copyist).await?;
    let written = copyist.file.finish().await.map_err(|failure| match failure.log.is_empty() {
        true => failure.with_log(ended.log.clone()),
        false => failure,
    })?;
    let mut encoded = written.encoded;
    encoded.cpu_ms = ended.cpu_ms;
    let told_ms = track.start_ms + track.duration_ms.unwrap_or(0);
    if encoded.end_pts / 90 + SHORT_MS < told_ms {
        // A truncated source promises more than it has: its packets tell.
        let end = track_end(step, source, track.index).await?;
        if encoded.end_pts + SHORT_MS * 90 < end {
            let detail = format!("it ends at {} ms, the source at {} ms", encoded.end_pts / 90, end / 90);
            return Err(failure::short_output(detail).with_log(ended.log));
        }
    }
    copyist.meter.finish(Some(encoded.bytes));
    Ok(encoded)
}

fn filters(source: &Source, track: &SourceTrack, info: &AudioInfo, encode: &AudioEncode) -> String {
    let rate = sample_rate(info, encode.codec);
    let mut resample = format!("aresample=osr={rate}:async=1:min_hard_comp={GAP_SECONDS}");
    if track.start_ms > source.probe.start_ms + LATE_MS_MAX {
        let first = (source.probe.start_ms - source.lift_ms) * i64::from(rate) / 1_000;
        resample.push_str(&format!(":first_pts={first}"));
    }
    if let Some(gain) = encode.gain_db.filter(|gain| gain.is_finite() && *gain != 0.0) {
        resample.push_str(&format!(",volume={:.2}dB", gain.clamp(-GAIN_DB_MAX, GAIN_DB_MAX)));
    }
    resample
}

fn sample_rate(info: &AudioInfo, codec: AudioCodec) -> u32 {
    match (codec, info.sample_rate) {
        (AudioCodec::Aac, rate @ (32_000 | 44_100 | 48_000)) => rate,
        _ => 48_000,
    }
}

fn codec_args(features: &Features, info: &AudioInfo, encode: &AudioEncode) -> Result<Vec<String>, Failure> {
    let encoder = match encode.codec {
        AudioCodec::Aac => "aac",
        AudioCodec::Opus => "libopus",
    };
    if !features.encoder(encoder) {
        let human = format!("This worker's FFmpeg has no encoder named {encoder}. Install one built with it.");
        return Err(Failure::new(Class::Capacity, "no_encoder", human));
    }
    let wanted = encode.channels.unwrap_or(8).min(info.channels).max(1);
    let channels = CHANNELS.into_iter().find(|count| *count <= wanted).unwrap_or(1);
    let mut args = Args::default();
    args.add(&format!("-c:a {encoder} -ac {channels} -b:a {}k", encode.kbps.max(8)));
    if encode.codec == AudioCodec::Opus && channels > 2 {
        args.add("-mapping_family 1");
    }
    Ok(args.0)
}

/// Listens to an FFmpeg that writes one track.
struct Copyist<'a> {
    file: TrackFile,
    meter: Meter<'a>,
    lift_ms: i64,
}

impl Listener for Copyist<'_> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.push(bytes).await
    }

    fn line(&mut self, line: &str) -> bool {
        let moved = self.meter.line(line, Some(self.file.bytes())).unwrap_or(false);
        if moved {
            self.meter.follow(self.lift_ms - super::picture::OUTPUT_OFFSET_SECONDS * 1_000);
        }
        moved
    }
}

/// Whether the packager takes this track as it is.
fn is_packaged(track: &SourceTrack) -> bool {
    matches!(track.kind, TrackKind::Video | TrackKind::Audio) && PACKAGED.contains(&track.codec.as_str())
}
