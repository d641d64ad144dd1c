//! What steps cost, in seconds of one core of a usual server. Only ratios matter: the time left is computed from what the
//! steps of the same job really took.

use transcode::vod::{SourceTrack, VideoCodec, VideoEncode, VideoInfo};

/// Pixels per core-second that a decoder of H.264 reads, and a scaler takes in.
const DECODED_PIXELS: f64 = 220e6;
/// Pixels per core-second that a decoder of other codecs reads.
const DECODED_PIXELS_OTHER: f64 = 140e6;
/// Seconds of two channels of sound that one core encodes per second.
const SOUND_SPEED: f64 = 60.0;
/// Bytes that packaging, copying and comparing move per core-second.
const MOVED_BYTES: f64 = 100e6;
/// Pixels per core-second that SSIM compares.
const COMPARED_PIXELS: f64 = 200e6;
/// Pixels per core-second that VMAF compares.
const COMPARED_PIXELS_VMAF: f64 = 40e6;
/// What every step costs beside its work: a process, a few requests.
pub(crate) const STEP: f64 = 0.3;
/// Frames per second of a source that does not say.
const FRAME_RATE_USUAL: f64 = 30.0;

/// Frames per second of a track.
pub(crate) fn frame_rate(video: &VideoInfo) -> f64 {
    match video.frame_rate {
        Some((n, d)) if n > 0 && d > 0 => (f64::from(n) / f64::from(d)).clamp(1.0, 480.0),
        _ => FRAME_RATE_USUAL,
    }
}

/// Decoding `frames` pictures.
pub(crate) fn decode(track: &SourceTrack, frames: f64) -> f64 {
    let Some(video) = &track.video else { return 0.0 };
    let rate = if track.codec == "h264" { DECODED_PIXELS } else { DECODED_PIXELS_OTHER };
    f64::from(video.coded_width) * f64::from(video.coded_height) * frames / rate
}

/// Encoding `frames` pictures of `track`, decoding included.
pub(crate) fn encode(track: &SourceTrack, encode: &VideoEncode, frames: f64) -> f64 {
    let source_rate = track.video.as_ref().map_or(FRAME_RATE_USUAL, frame_rate);
    let kept = encode.fps_max.map_or(1.0, |max| (f64::from(max) / source_rate).min(1.0));
    let pixels = f64::from(encode.width) * f64::from(encode.height) * frames * kept;
    STEP + decode(track, frames) + pixels / encoded_pixels(encode.codec, &encode.preset, encode.hardware)
}

/// Sound of `ms` milliseconds.
pub(crate) fn sound(ms: i64, channels: u32) -> f64 {
    STEP + seconds(ms) * f64::from(channels.div_ceil(2).max(1)) / SOUND_SPEED
}

/// Copying `bytes` through a core: packaging, copying a track, stitching.
pub(crate) fn moving(bytes: f64) -> f64 {
    STEP + bytes / MOVED_BYTES
}

/// Bytes of `ms` milliseconds at `kbps`.
pub(crate) fn bytes_of(ms: i64, kbps: u32) -> f64 {
    seconds(ms) * f64::from(kbps) * 125.0
}

/// Reading a source's packets, and decoding its sync pictures.
pub(crate) fn analyse(
    track: Option<&SourceTrack>,
    ms: i64,
    source_bytes: Option<u64>,
    loudness: bool,
    complexity: bool,
) -> f64 {
    let pictures = track.and_then(|track| track.video.as_ref()).map_or(0.0, |video| seconds(ms) * frame_rate(video));
    // About one picture in fifty is a sync picture.
    let shots = track.map_or(0.0, |track| decode(track, pictures / 50.0));
    let trials = if complexity { track.map_or(0.0, |track| decode(track, pictures.min(1_500.0)) * 3.0) } else { 0.0 };
    let heard = if loudness { sound(ms, 2) } else { 0.0 };
    moving(source_bytes.unwrap_or(0) as f64) + shots + trials + heard
}

/// Decoding a rendition of `width` x `height`, and comparing it with the source.
pub(crate) fn validate(
    track: Option<&SourceTrack>,
    width: u32,
    height: u32,
    frames: f64,
    ssim: bool,
    vmaf: bool,
) -> f64 {
    let pixels = f64::from(width) * f64::from(height) * frames;
    let source = if ssim || vmaf { track.map_or(0.0, |track| decode(track, frames)) } else { 0.0 };
    let compared = f64::from(u8::from(ssim)) / COMPARED_PIXELS + f64::from(u8::from(vmaf)) / COMPARED_PIXELS_VMAF;
    STEP + source + pixels / DECODED_PIXELS + pixels * compared
}

/// Pixels per core-second of an encoder.
fn encoded_pixels(codec: VideoCodec, preset: &str, hardware: bool) -> f64 {
    let number: Option<i32> = preset.parse().ok();
    let software = match codec {
        VideoCodec::H264 => by_preset(preset, [270e6, 180e6, 105e6, 62e6, 50e6, 37e6, 22e6, 11e6, 7e6]),
        VideoCodec::Hevc => by_preset(preset, [60e6, 45e6, 28e6, 24e6, 20e6, 14e6, 5e6, 2e6, 1.2e6]),
        VideoCodec::Av1 => 25e6 * 1.35_f64.powi(number.unwrap_or(8).clamp(0, 13) - 8),
        VideoCodec::Vp9 => 8e6 * 1.4_f64.powi(number.unwrap_or(2).clamp(0, 8) - 2),
    };
    if hardware { software.max(400e6) } else { software }
}

fn by_preset(preset: &str, rates: [f64; 9]) -> f64 {
    let names = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"];
    // x264's own default where the word is another encoder's.
    rates[names.iter().position(|name| *name == preset).unwrap_or(5)]
}

fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1_000.0
}
