//! FFmpeg's options for pictures: filters, encoders, and the output that carries exact times.

use super::{
    Class, Failure, Limits, VideoCodec, VideoEncode, VideoInfo, features::Features, grid::Thinning, probe::Source,
};
use crate::{Tool, command::Args};

/// The device that VA-API encoders open: the first render node of the machine.
pub(super) const VAAPI_DEVICE: &str = "/dev/dri/renderD128";
/// Pictures between sync pictures that an encoder would set by itself: never within a day.
const GOP_PICTURES: u32 = 10_000_000;
/// Decoded beyond the end for deinterlacing, which looks ahead, in ticks: 0.2 s.
const LOOK_AHEAD: i64 = 18_000;
/// Added to all output times, in seconds, because MP4 has no negative ones; taken off again when the output is read.
pub(super) const OUTPUT_OFFSET_SECONDS: i64 = 10;
/// Output options a recipe may set: those that change pictures, and neither names, times nor files.
const EXTRA_OPTIONS: [&str; 34] = [
    "-aq-mode",
    "-aq-strength",
    "-auto-alt-ref",
    "-b_strategy",
    "-bf",
    "-color_primaries",
    "-color_range",
    "-color_trc",
    "-colorspace",
    "-cpu-used",
    "-deadline",
    "-deblock",
    "-lag-in-frames",
    "-level",
    "-me_range",
    "-motion-est",
    "-partitions",
    "-psy-rd",
    "-qcomp",
    "-qdiff",
    "-qmax",
    "-qmin",
    "-rc-lookahead",
    "-refs",
    "-row-mt",
    "-subq",
    "-svtav1-params",
    "-tile-columns",
    "-tile-rows",
    "-trellis",
    "-tune",
    "-weightp",
    "-x264-params",
    "-x265-params",
];
/// Keys of `-x264-params` and its like that name files, or would move sync pictures.
const PARAMS_REFUSED: [&str; 24] = [
    "analysis-load",
    "analysis-save",
    "asm",
    "cqm",
    "cqmfile",
    "csv",
    "dump-yuv",
    "dup-threshold",
    "dolby-vision-rpu",
    "keyint",
    "lambda-file",
    "log-file",
    "min-keyint",
    "open-gop",
    "opencl-clbin",
    "pass",
    "qpfile",
    "recon",
    "scaling-list",
    "scenecut",
    "stats",
    "stats-file",
    "stitchable",
    "zones",
];
/// Longest extra option or value, in characters.
const EXTRA_CHARS_MAX: usize = 1_000;

/// Whether `extra` holds only options that a recipe may set, as pairs of name and value.
///
/// # Errors
/// Which one is refused, for the recipe's author.
pub fn check_extra(extra: &[String]) -> Result<(), String> {
    for pair in extra.chunks(2) {
        let [name, value] = pair else { return Err(format!("{} has no value", pair.concat())) };
        let plain = name.split_once(':').map_or(name.as_str(), |(plain, stream)| match stream {
            "v" | "v:0" => plain,
            _ => "",
        });
        if !EXTRA_OPTIONS.contains(&plain) {
            return Err(format!("{name} is not among the options a recipe may set: {}", EXTRA_OPTIONS.join(" ")));
        }
        if value.len() > EXTRA_CHARS_MAX || value.chars().any(char::is_control) {
            return Err(format!("the value of {name} is too long or not text"));
        }
        if plain.ends_with("-params") {
            let keys = value.split(':').map(|part| part.split('=').next().unwrap_or(part).trim());
            let key = |key: &str| key.trim_start_matches("no-").replace('_', "-").to_ascii_lowercase();
            if let Some(refused) =
                keys.into_iter().find(|name| PARAMS_REFUSED.iter().any(|bad| key(name).starts_with(bad)))
            {
                return Err(format!("{refused} in {name} is not allowed: it names a file or moves sync pictures"));
            }
        }
    }
    Ok(())
}

/// The options every run of FFmpeg begins with.
pub(super) fn global_args(limits: &Limits) -> Args {
    let mut args = Args::default();
    args.add("-hide_banner -nostdin -nostats -loglevel repeat+level+warning -progress pipe:0 -stats_period 0.5");
    if limits.threads > 0 {
        args.add(&format!("-filter_complex_threads {0} -threads {0}", limits.threads));
    }
    args
}

/// One picture out for each picture in; `-fps_mode` came with 5.1 and `-vsync` went after it.
pub(super) fn frame_mode(tool: &Tool) -> &'static str {
    if tool.version.number >= (5, 1) { "-fps_mode passthrough" } else { "-vsync passthrough" }
}

/// Exact times for an output that [`super::track_file`] reads: fragmented MP4 on standard output, without edit list, each
/// fragment with its decoding time.
pub(super) fn track_output(args: &mut Args) {
    args.add("-avoid_negative_ts disabled -max_muxing_queue_size 4096 -output_ts_offset");
    args.push(OUTPUT_OFFSET_SECONDS.to_string());
    args.add(
        "-video_track_timescale 90000 -use_editlist 0 -movflags delay_moov+default_base_moof+frag_discont+skip_trailer",
    );
    args.add("-map_metadata -1 -map_chapters -1 -frag_duration 500000 -flush_packets 1 -f mp4 pipe:1");
}

/// The pictures of one encode, on the container's timeline.
pub(super) struct Pictures<'a> {
    pub(super) encode: &'a VideoEncode,
    pub(super) info: &'a VideoInfo,
    pub(super) features: &'a Features,
    pub(super) thinning: &'a Thinning,
    /// From and to, exclusive, in ticks.
    pub(super) range: Option<(i64, i64)>,
}

impl Pictures<'_> {
    /// What comes before everything: exact ticks, and an end, which also ends the reading of the source.
    pub(super) fn head(&self) -> String {
        let ahead = if self.encode.deinterlace { LOOK_AHEAD } else { 0 };
        let end = self.range.map(|(_, end)| format!(",trim=end_pts={}", end + ahead));
        format!("settb=1/90000{}", end.unwrap_or_default())
    }

    /// From decoded pictures to those that are encoded, or compared with.
    pub(super) fn chain(&self) -> String {
        let mut chain: Vec<String> = Vec::new();
        if self.encode.deinterlace {
            let filter = if self.features.filter("bwdif") { "bwdif" } else { "yadif" };
            // Its ticks are half as long; one picture for each picture.
            chain.push(format!("{filter}=mode=send_frame:parity=auto:deint=all,settb=1/90000"));
        }
        if let Some((start, end)) = self.range {
            chain.push(format!("trim=start_pts={start}:end_pts={end}"));
        }
        chain.push(self.thinning.filter());
        let (width, height) = (even(self.encode.width), even(self.encode.height));
        chain.push(format!("scale={width}:{height}:flags=bicubic,setsar=1"));
        let narrow =
            self.info.hdr && !self.encode.pixel_format.contains("10") && !self.encode.pixel_format.contains("12");
        if narrow && self.features.filter("zscale") && self.features.filter("tonemap") {
            chain.push("zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0".into());
            chain.push("zscale=t=bt709:m=bt709:r=tv".into());
        }
        chain.push(format!("format={}", self.encode.pixel_format));
        chain.join(",")
    }
}

fn even(side: u32) -> u32 {
    (side / 2 * 2).max(2)
}

/// The output options of a video encode with `encoder`, FFmpeg's name of one ([`VideoCodec::software_encoder`]): what a dry run
/// shows. Times, filters and files are not among them.
pub fn video_args(encode: &VideoEncode, encoder: &str) -> Vec<String> {
    let mut args = Args::default();
    args.add("-c:v");
    args.push(encoder);
    let kbps = encode.kbps_max.max(1);
    let crf = encode.crf.map(|crf| format!("{crf}"));
    let preset = &encode.preset;
    match encoder {
        "libx264" | "libx265" => {
            args.add("-preset");
            args.push(preset.as_str());
            args.add("-forced-idr 1");
            rate(&mut args, crf.as_deref().map(|crf| ("-crf", crf)), kbps);
            if encoder == "libx264" {
                args.add("-sc_threshold 0 -keyint_min 1 -flags +cgop");
            } else {
                args.add("-tag:v hvc1");
            }
        }
        "libsvtav1" => {
            args.add("-preset");
            args.push(speed(preset, 8, 13));
            args.add(&format!("-crf {}", crf.as_deref().unwrap_or("35")));
        }
        "libaom-av1" => {
            args.add("-row-mt 1 -cpu-used");
            args.push(speed(preset, 6, 8));
            constrained(&mut args, crf.as_deref(), kbps);
        }
        "libvpx-vp9" => {
            args.add("-row-mt 1 -deadline good -cpu-used");
            args.push(speed(preset, 4, 5));
            constrained(&mut args, crf.as_deref(), kbps);
        }
        _ => hardware(&mut args, encoder, crf.as_deref(), kbps),
    }
    if let Some(profile) = &encode.profile {
        args.add("-profile:v");
        args.push(profile.as_str());
    }
    args.add(&format!("-g {GOP_PICTURES}"));
    args.0.extend(encode.extra.iter().cloned());
    if encoder == "libx265" {
        join_x265_params(&mut args.0);
    }
    args.0
}

/// FFmpeg listens to the last `-x265-params` only, and has no options of its own for closed GOPs.
fn join_x265_params(args: &mut Vec<String>) {
    let mut params = String::from("open-gop=0:scenecut=0:repeat-headers=0:log-level=error");
    while let Some(at) = args.iter().position(|arg| arg == "-x265-params") {
        let end = (at + 2).min(args.len());
        let given = args.drain(at..end).nth(1).unwrap_or_default();
        params = format!("{given}:{params}");
    }
    args.extend(["-x265-params".to_owned(), params]);
}

/// A fixed quality under a lid, or a mean rate. The window of two seconds is what players buffer at least.
fn rate(args: &mut Args, quality: Option<(&str, &str)>, kbps: u32) {
    match quality {
        Some((name, value)) => args.add(&format!("{name} {value}")),
        None => args.add(&format!("-b:v {kbps}k")),
    }
    args.add(&format!("-maxrate {kbps}k -bufsize {}k", kbps.saturating_mul(2)));
}

/// libvpx and libaom: a quality that is not bettered, under a mean rate.
fn constrained(args: &mut Args, crf: Option<&str>, kbps: u32) {
    if let Some(crf) = crf {
        args.add(&format!("-crf {crf}"));
    }
    args.add(&format!("-b:v {kbps}k"));
}

fn hardware(args: &mut Args, encoder: &str, crf: Option<&str>, kbps: u32) {
    match encoder.rsplit_once('_').map_or("", |(_, api)| api) {
        "nvenc" => {
            args.add("-preset p5 -forced-idr 1 -no-scenecut 1 -strict_gop 1 -rc vbr");
            rate(args, crf.map(|crf| ("-cq", crf)), kbps);
        }
        "vaapi" => rate(args, None, kbps),
        "qsv" => {
            args.add("-preset medium -forced_idr 1");
            rate(args, crf.map(|crf| ("-global_quality", crf)), kbps);
        }
        _ => rate(args, None, kbps),
    }
    if encoder.starts_with("hevc") {
        args.add("-tag:v hvc1");
    }
}

/// A number as it is, x264's names as steps of the encoder's scale, up to `fastest`; anything else is `usual`.
fn speed(preset: &str, usual: u32, fastest: u32) -> String {
    let steps = ["veryslow", "slower", "slow", "medium", "fast", "faster", "veryfast", "superfast", "ultrafast"];
    let named = steps.iter().position(|name| *name == preset).map(|at| fastest * (at as u32 + 1) / steps.len() as u32);
    preset.parse().ok().or(named).unwrap_or(usual).min(fastest).to_string()
}

/// Options before the input that a hardware encoder needs, and the filter that brings pictures to it.
pub(super) fn upload(encoder: &str) -> (Vec<String>, &'static str) {
    if encoder.ends_with("_vaapi") {
        return (vec!["-vaapi_device".into(), VAAPI_DEVICE.into()], ",format=nv12,hwupload");
    }
    (Vec::new(), if encoder.ends_with("_qsv") { ",format=nv12" } else { "" })
}

/// Refuses what FFmpeg would choke on or what a recipe may not have.
pub(super) fn check(encode: &VideoEncode) -> Result<(), Failure> {
    let refused = |human: String| Failure::new(Class::Bug, "bad_recipe", human);
    check_extra(&encode.extra).map_err(|reason| refused(format!("{reason}. Change the recipe.")))?;
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
    let words = [Some(&encode.preset), encode.profile.as_ref(), Some(&encode.pixel_format)];
    if let Some(bad) = words.into_iter().flatten().find(|text| !word(text)) {
        return Err(refused(format!("{bad:?} is no preset, profile or pixel format. Change the recipe.")));
    }
    if encode.crf.is_some_and(|crf| !(0.0..=63.0).contains(&crf)) || encode.fps_max == Some(0) {
        return Err(refused("Quality is from 0 to 63, and frames per second at least 1. Change the recipe.".into()));
    }
    Ok(())
}

/// `-ss` for a run that begins at or before `pts` of the container's timeline; none when that is the beginning. FFmpeg then
/// begins at the sync picture before.
pub(super) fn seek_args(source: &Source, pts: i64, back_ms: i64) -> Vec<String> {
    let start = (source.probe.start_ms - source.lift_ms) * 90;
    let target = pts - back_ms * 90;
    if target <= start + 9_000 {
        return Vec::new();
    }
    // Rounded up: the sync picture at `pts` itself is meant.
    let micros = (i128::from(target) * 100 + 8).div_euclid(9);
    let (sign, micros) = if micros < 0 { ("-", -micros) } else { ("", micros) };
    let text = format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    ["-noaccurate_seek", "-seek_timestamp", "1", "-ss", &text].map(str::to_owned).to_vec()
}

impl VideoCodec {
    /// FFmpeg's name of the encoder that is used without hardware.
    pub const fn software_encoder(self) -> &'static str {
        match self {
            Self::H264 => "libx264",
            Self::Hevc => "libx265",
            Self::Av1 => "libaom-av1",
            Self::Vp9 => "libvpx-vp9",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_about_pictures_are_allowed() {
        let check = |extra: &[&str], allowed: bool| {
            let extra: Vec<_> = extra.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(check_extra(&extra).is_ok(), allowed, "{extra:?}");
        };
        check(&["-tune", "film", "-x264-params", "aq-mode=3:psy-rd=1.0"], true);
        check(&["-bf:v", "2"], true);
        check(&["-tune"], false);
        check(&["-i", "/etc/passwd"], false);
        check(&["-f", "mp4"], false);
        check(&["-bf:a", "2"], false);
        check(&["-x264-params", "aq-mode=3:stats=/tmp/x"], false);
        check(&["-x264-params", "keyint=30"], false);
        check(&["-x265-params", "no-open_gop=1"], false);
    }

    #[test]
    fn speeds_of_other_encoders() {
        let check = |preset, expected: &str| assert_eq!(speed(preset, 8, 13), expected, "{preset}");
        check("7", "7");
        check("99", "13");
        check("veryfast", "10");
        check("whatever", "8");
    }
}
