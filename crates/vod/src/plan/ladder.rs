//! A recipe's ladder meets a source: which pictures are made, of what size and rate, and whether the source's own track serves.

use transcode::vod::{Analysis, RungChoice, SourceTrack, VideoCodec, VideoEncode, VideoInfo};

use super::weigh;
use crate::recipe::{Ladder, Passthrough, Rung, Top};

/// Longest distance of sync pictures in a track that is passed through: players start and switch there.
const KEYFRAME_INTERVAL_MS_MAX: i64 = 6_000;
/// A source within this share of a rung's size is that rung.
const SAME_SIZE: f64 = 0.9;
/// Above this many pictures per second a rung's rate grows with the square root of the frame rate.
const FRAME_RATE_BASE: f64 = 30.0;
/// A track passes through up to this multiple of the rate that its rung would get.
const PASSTHROUGH_RATE: f64 = 1.5;
/// Highest rate of a track that passes through whatever its size, in kbit/s.
const PASSTHROUGH_KBPS_MAX: u64 = 50_000;
/// The highest level of H.264 that passes through: 5.2.
const PASSTHROUGH_LEVEL_MAX: i32 = 52;

/// A rendition of pictures to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Name in URLs: `v720`, `v720-hevc`.
    pub name: String,
    /// The picture's width in pixels, even.
    pub width: u32,
    /// The picture's height in pixels, even.
    pub height: u32,
    /// How; `chunk` and `keyframes_at` are filled in per step.
    pub how: How,
}

/// Where a rendition's pictures come from.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a ladder has a handful")]
pub enum How {
    /// The source's track as it is.
    Copy,
    /// Encoded.
    Encode(VideoEncode),
}

/// The renditions of `ladder`, from the smallest to the largest. Before the analysis nothing passes through.
pub fn pictures(ladder: &Ladder, gop_ms: i64, track: &SourceTrack, analysis: Option<&Analysis>) -> Vec<Picture> {
    let Some(video) = &track.video else { return Vec::new() };
    let short = video.width.min(video.height) & !1;
    let fits = analysis.is_some_and(|analysis| passes_through(ladder, track, video, analysis));
    let copy = Picture { name: name(ladder.codec, short), width: video.width, height: video.height, how: How::Copy };
    if fits && ladder.passthrough == Passthrough::Only {
        return vec![copy];
    }
    let mut rungs = rungs(ladder, short);
    if ladder.passthrough == Passthrough::Only {
        rungs.truncate(1);
    }
    if fits {
        rungs.retain(|rung| f64::from(rung.height) < f64::from(short) * SAME_SIZE);
    }
    let mut pictures: Vec<Picture> =
        rungs.iter().rev().map(|rung| encoded(ladder, rung, gop_ms, track, video, short)).collect();
    pictures.extend(fits.then_some(copy));
    pictures
}

/// `pictures` with what the per-title search chose: rungs that it left out are gone, copies stay.
pub(super) fn per_title(pictures: Vec<Picture>, choices: &[RungChoice]) -> Vec<Picture> {
    let chosen = |picture: Picture| {
        let How::Encode(mut encode) = picture.how else { return Some(picture) };
        let choice = choices.iter().find(|choice| (choice.width, choice.height) == (picture.width, picture.height))?;
        encode.crf = Some(choice.crf);
        encode.kbps_max = choice.kbps_max;
        Some(Picture { how: How::Encode(encode), ..picture })
    };
    pictures.into_iter().filter_map(chosen).collect()
}

/// Rungs for a source of this short side, from the largest to the smallest: never larger, at least one.
fn rungs(ladder: &Ladder, short: u32) -> Vec<Rung> {
    let mut rungs: Vec<Rung> = ladder.rungs.iter().filter(|rung| rung.height <= short).cloned().collect();
    let near = rungs.first().is_some_and(|top| f64::from(top.height) >= f64::from(short) * SAME_SIZE);
    let over = ladder.rungs.first().is_some_and(|largest| short > largest.height);
    let own = match ladder.top {
        _ if ladder.passthrough == Passthrough::Only => rungs.first().is_none_or(|top| top.height != short),
        // The recipe's largest rung is its word on size: a 4K source does not get 4K from a recipe that ends at 1080.
        Top::Source => !near && !over,
        Top::Rung => false,
    };
    if own || rungs.is_empty() {
        rungs.insert(0, interpolated(ladder, short));
    }
    rungs
}

/// A rung of the source's own size: rates follow the number of pixels by the power of three quarters.
fn interpolated(ladder: &Ladder, short: u32) -> Rung {
    let below = ladder.rungs.iter().find(|rung| rung.height <= short);
    let above = ladder.rungs.iter().rev().find(|rung| rung.height > short);
    let nearest = below.or(above).expect("a checked ladder has a rung");
    let scale = (f64::from(short) / f64::from(nearest.height)).powf(1.5);
    let mut kbps_max = (f64::from(nearest.kbps_max) * scale).round().max(50.0) as u32;
    if let Some(above) = above {
        kbps_max = kbps_max.min(above.kbps_max);
    }
    Rung { height: short, kbps_max, ..nearest.clone() }
}

fn encoded(ladder: &Ladder, rung: &Rung, gop_ms: i64, track: &SourceTrack, video: &VideoInfo, short: u32) -> Picture {
    let (width, height) = scaled(video, short, rung.height);
    let fps_max = rung.fps_max.unwrap_or(ladder.fps_max).min(ladder.fps_max);
    let source_rate = weigh::frame_rate(video);
    let frame_rate = source_rate.min(f64::from(fps_max));
    let faster = (frame_rate / FRAME_RATE_BASE).max(1.0).sqrt();
    let encode = VideoEncode {
        track: track.index,
        chunk: None,
        width,
        height,
        codec: ladder.codec,
        crf: rung.crf,
        kbps_max: (f64::from(rung.kbps_max) * faster).round() as u32,
        gop_ms,
        preset: ladder.preset.clone(),
        profile: ladder.profile.clone(),
        fps_max: (source_rate > f64::from(fps_max)).then_some(fps_max),
        deinterlace: video.interlaced,
        pixel_format: ladder.pixel_format.clone(),
        hardware: ladder.hardware,
        extra: ladder.extra.clone(),
        ssim: false,
        vmaf: false,
        keyframes_at: None,
    };
    Picture { name: name(ladder.codec, rung.height), width, height, how: How::Encode(encode) }
}

/// The picture with its short side brought to `to`; both sides even.
fn scaled(video: &VideoInfo, short: u32, to: u32) -> (u32, u32) {
    let long = video.width.max(video.height);
    let scaled = (u64::from(long) * u64::from(to) + u64::from(short)) / (2 * u64::from(short.max(1))) * 2;
    let scaled = u32::try_from(scaled).unwrap_or(long).max(2);
    let long = if to == short { long & !1 } else { scaled };
    if video.width >= video.height { (long, to) } else { (to, long) }
}

fn name(codec: VideoCodec, height: u32) -> String {
    match codec {
        VideoCodec::H264 => format!("v{height}"),
        VideoCodec::Hevc => format!("v{height}-hevc"),
        VideoCodec::Av1 => format!("v{height}-av1"),
        VideoCodec::Vp9 => format!("v{height}-vp9"),
    }
}

/// Whether every player plays the source's own track: H.264, 8 bits, 4:2:0, whole frames, upright, square pixels, a sync
/// picture at least every six seconds, not larger and not much richer than the ladder allows.
fn passes_through(ladder: &Ladder, track: &SourceTrack, video: &VideoInfo, analysis: &Analysis) -> bool {
    if ladder.passthrough == Passthrough::Never || ladder.codec != VideoCodec::H264 {
        return false;
    }
    let plain = track.codec == "h264"
        && video.pixel_format == "yuv420p"
        && video.bit_depth == 8
        && !video.interlaced
        && !video.hdr
        && video.rotation == 0
        && video.sar.0 == video.sar.1
        && video.level.is_none_or(|level| level <= PASSTHROUGH_LEVEL_MAX);
    let short = video.width.min(video.height);
    let largest = ladder.rungs.first().map_or(0, |rung| rung.height);
    let in_size = short <= largest && weigh::frame_rate(video) <= f64::from(ladder.fps_max) + 0.5;
    let starts_clean = analysis.keyframes.first() == Some(&analysis.first_pts);
    let switches = (1..=KEYFRAME_INTERVAL_MS_MAX).contains(&analysis.keyframe_interval_ms_max);
    plain && in_size && starts_clean && switches && in_rate(ladder, video, short, analysis)
}

fn in_rate(ladder: &Ladder, video: &VideoInfo, short: u32, analysis: &Analysis) -> bool {
    let Some(kbps) = analysis.video_kbps else { return false };
    if ladder.passthrough == Passthrough::Only {
        return kbps <= PASSTHROUGH_KBPS_MAX;
    }
    let faster = (weigh::frame_rate(video) / FRAME_RATE_BASE).max(1.0).sqrt();
    let allowed = f64::from(interpolated(ladder, short).kbps_max) * faster * PASSTHROUGH_RATE;
    kbps <= PASSTHROUGH_KBPS_MAX && kbps as f64 <= allowed
}
