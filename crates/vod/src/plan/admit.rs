//! Whether a source is one that this platform can work on, in words for the person who uploaded it.

use store::catalogue::StepError;
use transcode::vod::{Probe, SourceTrack, TrackKind};

use super::{Limits, input};
use crate::recipe::Recipe;

/// Names that FFmpeg gives to tracks whose samples are encrypted.
const ENCRYPTED: [&str; 4] = ["encv", "enca", "drms", "drmi"];
/// Names that FFmpeg gives to tracks that it has no decoder for.
const UNKNOWN: [&str; 3] = ["unknown", "none", ""];
/// Smallest side of a picture that encoders take, in pixels.
const SIDE_MIN: u32 = 16;
/// Largest side, in pixels: what H.264 encoders take at most.
const SIDE_MAX: u32 = 16_384;

/// Refuses sources that cannot become an asset.
///
/// # Errors
/// Class input, with what to do.
pub fn admit(probe: &Probe, recipe: &Recipe, limits: &Limits) -> Result<(), StepError> {
    let media: Vec<&SourceTrack> =
        probe.tracks.iter().filter(|t| matches!(t.kind, TrackKind::Video | TrackKind::Audio)).collect();
    if media.is_empty() {
        return Err(input("no_tracks", "The file has neither pictures nor sound. Upload a video or audio file."));
    }
    if media.iter().any(|track| ENCRYPTED.contains(&track.codec.as_str())) {
        return Err(input("encrypted", "The file is encrypted (DRM). Upload a version without copy protection."));
    }
    if media.iter().all(|track| UNKNOWN.contains(&track.codec.as_str())) {
        return Err(input(
            "unknown_codec",
            "The file's pictures and sound are in a format that FFmpeg does not know. Convert it, for example to MP4, and \
             upload it again.",
        ));
    }
    let has_sound = probe.audio().is_some();
    if recipe.video.is_empty() && !has_sound {
        return Err(input(
            "no_sound",
            "The recipe makes sound alone and the file has none. Choose another recipe, or upload a file with sound.",
        ));
    }
    length(probe, limits)?;
    probe.video().map_or(Ok(()), |track| picture(track, limits))
}

fn length(probe: &Probe, limits: &Limits) -> Result<(), StepError> {
    if probe.duration_ms > limits.duration_ms_max {
        let (is, may) = (hours(probe.duration_ms), hours(limits.duration_ms_max));
        let human = format!("The file is {is} hours long; at most {may} are accepted. Cut it into shorter parts.");
        return Err(input("too_long", human));
    }
    Ok(())
}

fn picture(track: &SourceTrack, limits: &Limits) -> Result<(), StepError> {
    let Some(video) = &track.video else { return Ok(()) };
    let (width, height) = (video.width, video.height);
    if width < SIDE_MIN || height < SIDE_MIN {
        let human = format!(
            "The picture is {width}x{height} pixels; at least {SIDE_MIN}x{SIDE_MIN} are needed. Upload a larger one."
        );
        return Err(input("picture_too_small", human));
    }
    if u64::from(width) * u64::from(height) > limits.pixels_max || width.max(height) > SIDE_MAX {
        let human = format!(
            "The picture is {width}x{height} pixels; at most {} million, and {SIDE_MAX} on a side, are accepted. Scale it down and upload it again.",
            limits.pixels_max / 1_000_000
        );
        return Err(input("picture_too_large", human));
    }
    Ok(())
}

fn hours(ms: i64) -> String {
    format!("{:.1}", ms as f64 / 3_600_000.0)
}
