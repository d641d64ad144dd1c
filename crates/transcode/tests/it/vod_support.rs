//! Tiny sources made by FFmpeg, and the tool that reads them.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;
use media::{Sample, Track, mp4};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use transcode::{
    Tool,
    vod::{self, AnalyseSpec, Analysis, Cancel, Chunk, Failure, Input, Limits, Probe, VideoCodec, VideoEncode},
};

use crate::support::capabilities;

/// A folder for one test, with the real FFmpeg unless told otherwise.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) tool: Tool,
    pub(crate) limits: Limits,
    pub(crate) cancel: Cancel,
}

pub(crate) fn nowhere(_: vod::Work) {}

impl Bench {
    pub(crate) async fn new() -> Self {
        static TOOL: OnceCell<Tool> = OnceCell::const_new();
        let tool = TOOL.get_or_init(async || capabilities().await.tool().unwrap().clone()).await.clone();
        let limits = Limits { nice: 0, stall_ms: 30_000, ..Limits::default() };
        Self { dir: tempfile::tempdir().unwrap(), tool, limits, cancel: Cancel::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn input(&self, name: &str) -> Input {
        Input::new(self.path(name).to_string_lossy())
    }

    /// Runs FFmpeg with `args`, words separated by spaces, to make the file `name`.
    pub(crate) fn make(&self, name: &str, args: &str) -> Input {
        let mut command = Command::new("ffmpeg");
        command.args("-hide_banner -nostdin -loglevel error -y".split(' '));
        command.args(args.split_whitespace()).arg(self.path(name)).current_dir(self.dir.path());
        let output = command.output().expect("these tests need ffmpeg");
        assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
        self.input(name)
    }

    /// 160x90 with a tone; `options` are the encoder's.
    pub(crate) fn film(&self, name: &str, rate: &str, seconds: u32, options: &str) -> Input {
        let picture = format!("-f lavfi -i testsrc2=size=160x90:rate={rate}");
        self.make(
            name,
            &format!("{picture} -f lavfi -i sine=sample_rate=48000 -t {seconds} -pix_fmt yuv420p {options}"),
        )
    }

    /// Puts a shell script in FFmpeg's place; `"$real"` is the true one, and all but encodes of H.264 go to it.
    pub(crate) fn fake_ffmpeg(&mut self, script: &str) {
        let path = self.path("ffmpeg");
        let real = &self.tool.ffmpeg;
        let text = format!(
            "#!/bin/sh\nreal={real}\ncase \"$*\" in *'-c:v libx264'*) ;; *) exec \"$real\" \"$@\" ;; esac\n{script}\n"
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.tool.ffmpeg = path.to_string_lossy().into_owned();
    }

    pub(crate) async fn probe(&self, input: &Input) -> Result<Probe, Failure> {
        vod::probe(&self.tool, input, &self.limits, &self.cancel).await
    }

    /// Of the first video track.
    pub(crate) async fn analyse(&self, input: &Input, chunk_ms: i64) -> Analysis {
        let probe = self.probe(input).await.unwrap();
        let video_track = probe.video().map(|track| track.index);
        let audio_track = probe.audio().map(|track| track.index);
        let spec =
            AnalyseSpec { video_track, audio_track, chunk_ms, gop_ms: 1_000, loudness: false, complexity: false };
        vod::analyse(&self.tool, input, &probe, &spec, &self.limits, &self.cancel, &nowhere).await.unwrap()
    }

    pub(crate) async fn encode(
        &self,
        input: &Input,
        encode: &VideoEncode,
        name: &str,
    ) -> Result<vod::Encoded, Failure> {
        let out = self.path(name);
        vod::encode_video(&self.tool, input, encode, &out, &self.limits, &self.cancel, &nowhere).await
    }
}

/// A quick encode of track 0.
pub(crate) fn quick(chunk: Option<&Chunk>) -> VideoEncode {
    VideoEncode {
        track: 0,
        chunk: chunk.cloned(),
        width: 160,
        height: 90,
        codec: VideoCodec::H264,
        crf: Some(23.0),
        kbps_max: 2_000,
        gop_ms: 1_000,
        preset: "veryfast".into(),
        profile: None,
        fps_max: None,
        deinterlace: false,
        pixel_format: "yuv420p".into(),
        hardware: false,
        extra: Vec::new(),
        ssim: false,
        vmaf: false,
        keyframes_at: None,
    }
}

/// The one track of a file and its samples.
pub(crate) fn read(path: &Path) -> (Track, Vec<Sample>) {
    let mut demuxer = mp4::Demuxer::new();
    demuxer.push(&Bytes::from(std::fs::read(path).unwrap())).unwrap();
    demuxer.finish().unwrap();
    let (mut track, mut samples) = (None, Vec::new());
    while let Some(event) = demuxer.poll() {
        match event {
            mp4::Event::Track { track: found, .. } => {
                assert!(track.is_none_or(|before| before == found), "a track changes");
                track = Some(found);
            }
            mp4::Event::Chunk(chunk) => samples.extend(chunk.samples),
        }
    }
    (track.unwrap(), samples)
}

pub(crate) fn pts(samples: &[Sample]) -> Vec<i64> {
    let mut pts: Vec<_> = samples.iter().map(Sample::pts).collect();
    pts.sort_unstable();
    pts
}

/// What the contract says a digest is, written anew.
pub(crate) fn digest(pts: &[i64]) -> String {
    let bytes: Vec<u8> = pts.iter().flat_map(|pts| pts.to_be_bytes()).collect();
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The times at which FFmpeg shows the video's pictures, in ticks of 90 kHz: another way than any in the crate.
pub(crate) fn decoded_pts(path: &Path) -> Vec<i64> {
    let mut command = Command::new("ffprobe");
    command.args("-v error -select_streams v:0 -show_entries frame=best_effort_timestamp -of csv=p=0".split(' '));
    let output = command.arg(path).output().unwrap();
    let times = String::from_utf8_lossy(&output.stdout);
    let mut base = Command::new("ffprobe");
    base.args("-v error -select_streams v:0 -show_entries stream=time_base -of csv=p=0".split(' '));
    let base = String::from_utf8_lossy(&base.arg(path).output().unwrap().stdout).into_owned();
    let base = base.lines().next().unwrap();
    let (n, d) = base.trim().trim_end_matches(',').split_once('/').unwrap();
    let (n, d): (f64, f64) = (n.parse().unwrap(), d.parse().unwrap());
    let mut pts: Vec<i64> = Vec::new();
    for line in times.lines().map(|line| line.trim().trim_end_matches(',')) {
        let told = line.parse::<f64>().ok().map(|time| (time * n * 90_000.0 / d).round() as i64);
        // MPEG-PS tells no time for some packets, and ffprobe guesses none for the picture that only the end of the file brings
        // out: it is shown one step behind the one before it.
        let behind = match pts.as_slice() {
            [.., before, last] if line == "N/A" => Some(last + (last - before)),
            _ => None,
        };
        pts.extend(told.or(behind));
    }
    pts.sort_unstable();
    pts
}
