//! ffprobe's answer, typed and held against reason.

use std::path::Path;

use serde::Deserialize;

use super::{
    AudioInfo, Cancel, Class, Failure, Input, Limits, Probe, SourceTrack, TrackKind, VideoInfo, failure,
    features::Features,
    process::{Program, Step, Text},
};
use crate::Tool;

/// Most bytes of ffprobe's JSON: hundreds of tracks with their tags.
const JSON_BYTES_MAX: usize = 4 << 20;
/// Most tracks of a source: a film with 30 languages of sound and text has 60.
const TRACKS_MAX: usize = 256;
/// Longest side of a picture, in pixels: 16K.
const SIDE_MAX: u32 = 16_384;
/// Longest name or tag kept, in characters.
const TEXT_CHARS_MAX: usize = 200;
/// Sample entries and brands of protected MP4 (ISO/IEC 14496-12 8.12; Apple's `drm*`).
const PROTECTED_TAGS: [&str; 6] = ["encv", "enca", "enct", "drmi", "drms", "p608"];
/// FFmpeg's names of subtitle codecs that are text.
const TEXT_CODECS: [&str; 14] = [
    "subrip",
    "srt",
    "ass",
    "ssa",
    "mov_text",
    "webvtt",
    "text",
    "microdvd",
    "mpl2",
    "pjs",
    "realtext",
    "sami",
    "stl",
    "subviewer",
];

/// What a source is: container and tracks.
///
/// # Errors
/// Class [`Class::Input`] with the codes `empty`, `not_media`, `truncated`, `encrypted`, `no_tracks`, `unknown_codec`.
pub async fn probe(tool: &Tool, input: &Input, limits: &Limits, cancel: &Cancel) -> Result<Probe, Failure> {
    let step = Step::begin(tool, input, limits, cancel);
    Ok(look(&step).await?.probe)
}

/// A source, and how its container's times become the platform's.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) probe: Probe,
    /// Milliseconds added to the container's times so that none is negative; zero for nearly all sources.
    pub(super) lift_ms: i64,
    /// Of each stream, seconds per tick as a fraction.
    time_bases: Vec<(u32, (u32, u32))>,
}

impl Source {
    /// Seconds per tick of the container's times of a stream.
    pub(super) fn time_base(&self, index: u32) -> (u32, u32) {
        let found = self.time_bases.iter().find(|(stream, _)| *stream == index);
        found.map_or((1, 90_000), |(_, base)| *base)
    }

    /// The same in ticks of 90 kHz.
    pub(super) fn lift(&self) -> i64 {
        self.lift_ms * 90
    }

    /// The video track `index`.
    pub(super) fn video(&self, index: u32) -> Result<(&SourceTrack, &VideoInfo), Failure> {
        let track = self.probe.track(index);
        let found = track.and_then(|track| Some((track, track.video.as_ref()?)));
        found.ok_or_else(|| failure::no_track(index, "video"))
    }
}

/// The same within a step that goes on.
pub(super) async fn look(step: &Step<'_>) -> Result<Source, Failure> {
    if !step.input.is_remote() {
        look_at_file(Path::new(&step.input.url)).await?;
    }
    let features = Features::of(step.tool).await?;
    let mut args: Vec<String> = "-hide_banner -loglevel repeat+level+error -show_format -show_streams -show_packets -read_intervals %+#4 -of json"
        .split(' ')
        .map(str::to_owned)
        .collect();
    args.extend(step.input.args(&features.demuxers));
    let mut json = Text::up_to(JSON_BYTES_MAX);
    let ended = step.run(Program::Ffprobe, args, &mut json).await?;
    understand(&json.text).map_err(|failure| failure.with_log(ended.log))
}

async fn look_at_file(path: &Path) -> Result<(), Failure> {
    let metadata = tokio::fs::metadata(path).await.map_err(|error| failure::file(path, &error))?;
    if metadata.is_file() && metadata.len() == 0 {
        return Err(Failure::new(Class::Input, "empty", "The file is empty. Send it again from the original."));
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct Answer {
    format: Option<Format>,
    #[serde(default)]
    streams: Vec<Stream>,
    /// The first few: whether they are encrypted.
    #[serde(default)]
    packets: Vec<Packet>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Packet {
    side_data_list: Vec<serde_json::Map<String, serde_json::Value>>,
}

impl Packet {
    fn is_encrypted(&self) -> bool {
        let mut kinds = self.side_data_list.iter().filter_map(|data| data.get("side_data_type")?.as_str());
        kinds.any(|kind| kind == "Encryption info")
    }
}

#[derive(Debug, Default, Deserialize)]
struct Format {
    format_name: Option<String>,
    start_time: Option<String>,
    duration: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stream {
    index: u32,
    codec_type: Option<String>,
    codec_name: Option<String>,
    codec_tag_string: Option<String>,
    profile: Option<String>,
    bit_rate: Option<String>,
    start_time: Option<String>,
    duration: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    sample_aspect_ratio: Option<String>,
    avg_frame_rate: Option<String>,
    r_frame_rate: Option<String>,
    time_base: Option<String>,
    pix_fmt: Option<String>,
    bits_per_raw_sample: Option<String>,
    field_order: Option<String>,
    color_transfer: Option<String>,
    has_b_frames: Option<u32>,
    level: Option<i32>,
    channels: Option<u32>,
    sample_rate: Option<String>,
    channel_layout: Option<String>,
    disposition: Disposition,
    tags: serde_json::Map<String, serde_json::Value>,
    side_data_list: Vec<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Disposition {
    default: u8,
    forced: u8,
    attached_pic: u8,
}

fn understand(json: &[u8]) -> Result<Source, Failure> {
    let answer: Answer = serde_json::from_slice(json).map_err(|error| {
        let human = "ffprobe's answer cannot be read. Update FFmpeg, and report this with the file's details.";
        Failure::new(Class::Bug, "ffprobe_answer", human).with_log(error.to_string())
    })?;
    let format = answer.format.ok_or_else(failure::not_media)?;
    let is_protected =
        |stream: &Stream| stream.codec_tag_string.as_deref().is_some_and(|tag| PROTECTED_TAGS.contains(&tag));
    if answer.streams.iter().any(is_protected) || answer.packets.iter().any(Packet::is_encrypted) {
        return Err(Failure::new(Class::Input, "encrypted", failure::ENCRYPTED));
    }
    if answer.streams.len() > TRACKS_MAX {
        let human = format!("The file has more than {TRACKS_MAX} tracks. Leave out those that are not needed.");
        return Err(Failure::new(Class::Input, "too_many_tracks", human));
    }
    let start_ms = answer.streams.iter().filter_map(|s| ms(s.start_time.as_deref())).min();
    let start_ms = ms(format.start_time.as_deref()).into_iter().chain(start_ms).min().unwrap_or(0);
    let lift_ms = -(start_ms.min(0).div_euclid(1_000) * 1_000);
    let kept = answer.streams.iter().filter(|stream| stream.disposition.attached_pic == 0);
    let tracks: Vec<_> = kept.map(|stream| track(stream, lift_ms, start_ms)).collect();
    if !tracks.iter().any(|track| matches!(track.kind, TrackKind::Video | TrackKind::Audio)) {
        let pictured = answer.streams.iter().any(|s| matches!(s.codec_type.as_deref(), Some("video" | "audio")));
        let (code, human) = match pictured {
            true => {
                ("unknown_codec", "The file's tracks cannot be decoded. Convert it to H.264 and AAC and send it again.")
            }
            false => ("no_tracks", "The file has neither pictures nor sound. Check that the right file was sent."),
        };
        return Err(Failure::new(Class::Input, code, human));
    }
    let longest = tracks.iter().filter_map(|track| track.duration_ms).max();
    let duration_ms = ms(format.duration.as_deref()).or(longest).unwrap_or(0).max(0);
    let time_base = |stream: &Stream| Some((stream.index, fraction(stream.time_base.as_deref(), '/')?));
    let time_bases = answer.streams.iter().filter_map(time_base).collect();
    let container = short(format.format_name.as_deref()).unwrap_or_default();
    Ok(Source { probe: Probe { container, duration_ms, start_ms: start_ms + lift_ms, tracks }, lift_ms, time_bases })
}

fn track(stream: &Stream, lift_ms: i64, start_ms: i64) -> SourceTrack {
    let video = video(stream);
    let audio = audio(stream);
    let codec = short(stream.codec_name.as_deref()).unwrap_or_else(|| "unknown".into());
    let kind = match stream.codec_type.as_deref() {
        Some("video") if video.is_some() => TrackKind::Video,
        Some("audio") if audio.is_some() => TrackKind::Audio,
        Some("subtitle") => TrackKind::Subtitle,
        _ => TrackKind::Other,
    };
    let tagged = |name: &str| {
        let found = stream.tags.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| short(value.as_str()))
    };
    SourceTrack {
        index: stream.index,
        kind,
        text: kind == TrackKind::Subtitle && TEXT_CODECS.contains(&codec.as_str()),
        codec,
        profile: short(stream.profile.as_deref()).filter(|profile| profile != "unknown"),
        language: tagged("language").filter(|language| language != "und"),
        title: tagged("title"),
        default: stream.disposition.default != 0,
        forced: stream.disposition.forced != 0,
        bit_rate: stream.bit_rate.as_deref().and_then(|rate| rate.parse().ok()),
        start_ms: ms(stream.start_time.as_deref()).unwrap_or(start_ms) + lift_ms,
        duration_ms: ms(stream.duration.as_deref()).or_else(|| clock_ms(&tagged("duration")?)).filter(|ms| *ms >= 0),
        video,
        audio,
    }
}

/// None for what is no video or cannot be decoded.
fn video(stream: &Stream) -> Option<VideoInfo> {
    let (coded_width, coded_height) = (stream.width?, stream.height?);
    if stream.codec_type.as_deref() != Some("video") || stream.codec_name.is_none() {
        return None;
    }
    if !(1..=SIDE_MAX).contains(&coded_width) || !(1..=SIDE_MAX).contains(&coded_height) {
        return None;
    }
    let sar = fraction(stream.sample_aspect_ratio.as_deref(), ':').unwrap_or((1, 1));
    let rotation = rotation(stream);
    let (width, height) = shown(coded_width, coded_height, sar, rotation);
    let pixel_format = short(stream.pix_fmt.as_deref()).unwrap_or_default();
    let raw_bits = stream.bits_per_raw_sample.as_deref().and_then(|bits| bits.parse().ok());
    let rate = |text: &Option<String>| fraction(text.as_deref(), '/').filter(|(n, d)| n / d <= 1_000);
    Some(VideoInfo {
        width,
        height,
        coded_width,
        coded_height,
        rotation,
        sar,
        frame_rate: rate(&stream.avg_frame_rate).or_else(|| rate(&stream.r_frame_rate)),
        bit_depth: depth(&pixel_format).or(raw_bits.filter(|bits| (8..=16).contains(bits))).unwrap_or(8),
        pixel_format,
        interlaced: matches!(stream.field_order.as_deref(), Some("tt" | "bb" | "tb" | "bt")),
        hdr: matches!(stream.color_transfer.as_deref(), Some("smpte2084" | "arib-std-b67")),
        has_b_frames: stream.has_b_frames.unwrap_or(0) > 0,
        level: stream.level.filter(|level| *level > 0),
    })
}

fn audio(stream: &Stream) -> Option<AudioInfo> {
    let channels = stream.channels.filter(|channels| *channels > 0)?;
    let sample_rate = stream.sample_rate.as_deref()?.parse().ok().filter(|rate| *rate > 0)?;
    if stream.codec_type.as_deref() != Some("audio") || stream.codec_name.is_none() {
        return None;
    }
    Some(AudioInfo { channels, sample_rate, layout: short(stream.channel_layout.as_deref()) })
}

/// Square pixels, made by enlarging one side, so that no detail is lost; then turned; then even.
fn shown(width: u32, height: u32, sar: (u32, u32), rotation: i32) -> (u32, u32) {
    let (n, d) = (u64::from(sar.0), u64::from(sar.1));
    let even = |value: u64| u32::try_from((value / 2 * 2).max(2)).unwrap_or(SIDE_MAX);
    let (w, h) = (u64::from(width), u64::from(height));
    let (w, h) = if n >= d { ((w * n + d / 2) / d, h) } else { (w, (h * d + n / 2) / n) };
    if rotation % 180 == 0 { (even(w), even(h)) } else { (even(h), even(w)) }
}

/// The display matrix turns counter-clockwise, the older tag clockwise.
fn rotation(stream: &Stream) -> i32 {
    let matrix = stream.side_data_list.iter().find_map(|data| data.get("rotation")?.as_f64());
    let tag = stream.tags.get("rotate").and_then(|tag| tag.as_str()?.parse::<f64>().ok());
    let clockwise = matrix.map(|degrees| -degrees).or(tag).unwrap_or(0.0);
    if !clockwise.is_finite() {
        return 0;
    }
    ((clockwise / 90.0).round() as i64 * 90).rem_euclid(360) as i32
}

/// `yuv420p10le` has ten bits.
fn depth(pixel_format: &str) -> Option<u8> {
    let name = pixel_format.trim_end_matches("le").trim_end_matches("be");
    if let Some(rest) = name.strip_prefix("p0").filter(|rest| !rest.is_empty()) {
        return rest.parse().ok();
    }
    let bits = name.rsplit_once('p').and_then(|(_, bits)| bits.parse().ok());
    bits.filter(|bits| (8..=16).contains(bits)).or((!name.is_empty()).then_some(8))
}

fn fraction(text: Option<&str>, separator: char) -> Option<(u32, u32)> {
    let (n, d) = text?.split_once(separator)?;
    let (n, d) = (n.parse().ok()?, d.parse().ok()?);
    (n > 0 && d > 0).then_some((n, d))
}

/// Decimal seconds to milliseconds.
fn ms(seconds: Option<&str>) -> Option<i64> {
    let seconds: f64 = seconds?.parse().ok()?;
    (seconds.is_finite() && seconds.abs() < 1e9).then(|| (seconds * 1_000.0).round() as i64)
}

/// Matroska's DURATION tag: `00:01:02.500000000`.
fn clock_ms(clock: &str) -> Option<i64> {
    let mut parts = clock.splitn(3, ':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let rest = ms(parts.next())?;
    ((0..100_000).contains(&hours) && (0..60).contains(&minutes)).then(|| (hours * 60 + minutes) * 60_000 + rest)
}

fn short(text: Option<&str>) -> Option<String> {
    let text: String = text?.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pictures_are_measured_as_shown() {
        let check = |coded: (u32, u32), sar, rotation, expected: (u32, u32)| {
            assert_eq!(shown(coded.0, coded.1, sar, rotation), expected, "{coded:?} {sar:?} {rotation}");
        };
        check((1920, 1080), (1, 1), 0, (1920, 1080));
        check((1920, 1080), (1, 1), 90, (1080, 1920));
        check((1440, 1080), (4, 3), 0, (1920, 1080));
        check((720, 576), (16, 15), 0, (768, 576));
        check((720, 480), (8, 9), 0, (720, 540));
        check((161, 91), (1, 1), 180, (160, 90));
        check((1, 1), (1, 1), 0, (2, 2));
    }

    #[test]
    fn bits_are_read_from_the_pixel_formats_name() {
        let check = |name: &str, bits: Option<u8>| assert_eq!(depth(name), bits, "{name}");
        check("yuv420p", Some(8));
        check("yuv420p10le", Some(10));
        check("yuv444p12be", Some(12));
        check("p010le", Some(10));
        check("nv12", Some(8));
        check("", None);
    }

    #[test]
    fn times_are_lifted_to_zero_and_above() {
        let json = br#"{"format":{"format_name":"mpegts","start_time":"-1.200000","duration":"2.0"},
            "streams":[{"index":3,"codec_type":"audio","codec_name":"aac","channels":2,"sample_rate":"48000","start_time":"-0.2"}]}"#;
        let source = understand(json).unwrap();
        assert_eq!((source.lift_ms, source.probe.start_ms), (2_000, 800));
        assert_eq!(source.probe.tracks[0].start_ms, 1_800);
        assert_eq!(clock_ms("01:02:03.500000000"), Some(3_723_500));
    }

    proptest! {
        #[test]
        fn answers_never_panic(json in "\\{\"format\":\\{\"start_time\":\"[-0-9.e]{0,9}\"\\},\"streams\":\\[\\{\"index\":1,\
            \"codec_type\":\"video\",\"codec_name\":\"x\",\"width\":[0-9]{1,6},\"height\":[0-9]{1,6},\
            \"sample_aspect_ratio\":\"[0-9]{0,10}:[0-9]{0,10}\",\"avg_frame_rate\":\"[0-9]{0,10}/[0-9]{0,10}\",\
            \"tags\":\\{\"rotate\":\"[-0-9einf.]{0,6}\",\"DURATION\":\"[0-9:.]{0,12}\"\\}\\}\\]\\}") {
            let _ = understand(json.as_bytes());
        }

        #[test]
        fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = understand(&bytes);
        }
    }
}
