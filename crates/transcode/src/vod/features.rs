//! What an FFmpeg can do that only video on demand asks for, found once per program.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    process::Stdio,
    sync::{Arc, LazyLock},
    time::Duration,
};

use tokio::{process::Command, sync::Mutex};

use super::{Class, Failure, VideoCodec};
use crate::Tool;

/// Longest wait for a listing: a slow disk's cold start, not a hang.
const LISTING_MS_MAX: u64 = 10_000;
/// Demuxers that open other files or devices, run scripts, or take text and pictures for films: never used on foreign bytes.
const REFUSED: [&str; 26] = [
    "alsa",
    "ansi",
    "avisynth",
    "concat",
    "dash",
    "fbdev",
    "ffmetadata",
    "hls",
    "iec61883",
    "image2",
    "image2pipe",
    "imf",
    "ipmovie_pipe",
    "jack",
    "kmsgrab",
    "lavfi",
    "libcdio",
    "openal",
    "pulse",
    "rtp",
    "rtsp",
    "sap",
    "sdp",
    "tty",
    "vapoursynth",
    "webm_dash_manifest",
];
/// More of these: capture devices and still pictures, by how their names begin or end.
const REFUSED_PARTS: [&str; 6] = ["_pipe", "video4linux2", "x11grab", "libdc1394", "oss", "xbin"];

/// What an FFmpeg can do.
#[derive(Debug, Default)]
pub(super) struct Features {
    pub(super) ffprobe: String,
    pub(super) prlimit: bool,
    encoders: BTreeSet<String>,
    filters: BTreeSet<String>,
    /// For `-format_whitelist`.
    pub(super) demuxers: String,
    hardware: BTreeSet<&'static str>,
}

impl Features {
    /// Of `tool`; asked once while this process lives.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn of(tool: &Tool) -> Result<Arc<Self>, Failure> {
        static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Features>>>> = LazyLock::new(Mutex::default);
        let mut known = KNOWN.lock().await;
        if let Some(features) = known.get(&tool.ffmpeg) {
            return Ok(features.clone());
        }
        let features = Arc::new(Self::ask(tool).await?);
        known.insert(tool.ffmpeg.clone(), features.clone());
        Ok(features)
    }

    async fn ask(tool: &Tool) -> Result<Self, Failure> {
        let listing = async |what: &str| {
            let answer = answer(&tool.ffmpeg, &["-hide_banner", "-loglevel", "error", what]).await;
            answer.map_err(|reason| {
                Failure::new(Class::Capacity, "no_ffmpeg", format!("{reason}. Install FFmpeg on this worker."))
            })
        };
        let (encoders, filters) = (names(&listing("-encoders").await?), names(&listing("-filters").await?));
        let demuxers = names(&listing("-demuxers").await?);
        let ffprobe = ffprobe_beside(&tool.ffmpeg);
        answer(&ffprobe, &["-version"]).await.map_err(|reason| {
            Failure::new(
                Class::Capacity,
                "no_ffprobe",
                format!("{reason}. Install ffprobe beside FFmpeg on this worker."),
            )
        })?;
        let mut features = Self {
            ffprobe,
            prlimit: answer("prlimit", &["--core=0", "true"]).await.is_ok(),
            encoders,
            filters,
            demuxers: demuxers.iter().filter(|name| is_safe(name)).map(String::as_str).collect::<Vec<_>>().join(","),
            hardware: BTreeSet::new(),
        };
        features.hardware = working_hardware(tool, &features.encoders).await;
        Ok(features)
    }

    /// Whether it has the filter.
    pub(super) fn filter(&self, name: &str) -> bool {
        self.filters.contains(name)
    }

    /// Whether it has the encoder.
    pub(super) fn encoder(&self, name: &str) -> bool {
        self.encoders.contains(name)
    }

    /// The encoder to use for `codec`.
    ///
    /// # Errors
    /// When this FFmpeg has none.
    pub(super) fn video_encoder(&self, codec: VideoCodec, hardware: bool) -> Result<&'static str, Failure> {
        let accelerated = hardware_encoders(codec).into_iter().find(|name| hardware && self.hardware.contains(name));
        let in_software = software_encoders(codec).iter().copied().find(|name| self.encoder(name));
        accelerated.or(in_software).ok_or_else(|| {
            let human = format!("This worker's FFmpeg has no encoder for {codec:?}. Install one built with it.");
            Failure::new(Class::Capacity, "no_encoder", human)
        })
    }
}

/// In order of preference.
fn software_encoders(codec: VideoCodec) -> &'static [&'static str] {
    match codec {
        VideoCodec::H264 => &["libx264"],
        VideoCodec::Hevc => &["libx265"],
        // Through FFmpeg 5 and 6, SVT-AV1 does not make sync pictures where it is told to.
        VideoCodec::Av1 => &["libaom-av1", "libsvtav1"],
        VideoCodec::Vp9 => &["libvpx-vp9"],
    }
}

fn hardware_encoders(codec: VideoCodec) -> [&'static str; 4] {
    match codec {
        VideoCodec::H264 => ["h264_nvenc", "h264_qsv", "h264_vaapi", "h264_videotoolbox"],
        VideoCodec::Hevc => ["hevc_nvenc", "hevc_qsv", "hevc_vaapi", "hevc_videotoolbox"],
        VideoCodec::Av1 => ["av1_nvenc", "av1_qsv", "av1_vaapi", "av1_videotoolbox"],
        VideoCodec::Vp9 => ["vp9_nvenc", "vp9_qsv", "vp9_vaapi", "vp9_videotoolbox"],
    }
}

/// The hardware encoders that make a picture here: that one is compiled in says nothing about the machine. Without a device
/// node or driver of any kind nothing is tried.
async fn working_hardware(tool: &Tool, encoders: &BTreeSet<String>) -> BTreeSet<&'static str> {
    const SIGNS_OF_HARDWARE: [&str; 3] = ["/dev/dri", "/dev/nvidiactl", "/System/Library"];
    let mut working = BTreeSet::new();
    if !SIGNS_OF_HARDWARE.iter().any(|path| Path::new(path).exists()) {
        return working;
    }
    let codecs = [VideoCodec::H264, VideoCodec::Hevc, VideoCodec::Av1, VideoCodec::Vp9];
    for name in codecs.into_iter().flat_map(hardware_encoders).filter(|name| encoders.contains(*name)) {
        let mut args = vec!["-hide_banner", "-nostdin", "-loglevel", "error"];
        if name.ends_with("_vaapi") {
            args.extend(["-vaapi_device", super::picture::VAAPI_DEVICE]);
        }
        args.extend(["-f", "lavfi", "-i", "color=size=256x256:rate=25", "-frames:v", "2", "-vf"]);
        args.push(if name.ends_with("_vaapi") { "format=nv12,hwupload" } else { "format=nv12" });
        args.extend(["-c:v", name, "-f", "null", "-"]);
        if answer(&tool.ffmpeg, &args).await.is_ok() {
            working.insert(name);
        }
    }
    working
}

/// The names in a table of `FLAGS name description` lines; of `a,b` both.
fn names(listing: &str) -> BTreeSet<String> {
    let rows = listing.lines().filter_map(|line| line.split_whitespace().nth(1));
    rows.flat_map(|name| name.split(',')).filter(|name| *name != "=").map(str::to_owned).collect()
}

fn is_safe(demuxer: &str) -> bool {
    !REFUSED.contains(&demuxer)
        && !REFUSED_PARTS.iter().any(|part| demuxer.starts_with(part) || demuxer.ends_with(part))
}

/// `/opt/bin/ffmpeg` has `/opt/bin/ffprobe` beside it; a lone one uses the search path's.
fn ffprobe_beside(ffmpeg: &str) -> String {
    let path = Path::new(ffmpeg);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(ffmpeg);
    let beside = path.with_file_name(name.replace("ffmpeg", "ffprobe"));
    let is_bare = path.parent().is_none_or(|parent| parent.as_os_str().is_empty());
    if name.contains("ffmpeg") && (is_bare || beside.is_file()) {
        return beside.to_string_lossy().into_owned();
    }
    "ffprobe".into()
}

async fn answer(program: &str, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_millis(LISTING_MS_MAX), command.output()).await;
    match output {
        Err(_) => Err(format!("{program} does not answer within {LISTING_MS_MAX} ms")),
        Ok(Err(error)) => Err(format!("{program} cannot be started: {error}")),
        Ok(Ok(output)) if !output.status.success() => Err(format!("{program} ended with {}", output.status)),
        Ok(Ok(output)) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_references_is_refused() {
        let check = |name: &str, safe: bool| assert_eq!(is_safe(name), safe, "{name}");
        for name in ["mov", "matroska", "mpegts", "mxf", "gxf", "avi", "wav", "mp3", "flac", "gif"] {
            check(name, true);
        }
        for name in ["hls", "concat", "dash", "sdp", "tty", "png_pipe", "image2", "video4linux2"] {
            check(name, false);
        }
    }

    #[test]
    fn ffprobe_is_looked_for_beside_ffmpeg() {
        assert_eq!(ffprobe_beside("ffmpeg"), "ffprobe");
        assert_eq!(ffprobe_beside("/nowhere/ffmpeg"), "ffprobe");
    }
}
