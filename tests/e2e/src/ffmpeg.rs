//! FFmpeg as the publisher, and as the judge of what comes out.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A publishing FFmpeg; stopped when dropped.
pub struct Encoder {
    child: Child,
    stderr: Option<JoinHandle<String>>,
}

impl Encoder {
    /// Publishes test pictures with sound: `size` pixels at `rate` frames per second, a keyframe every `gop` frames.
    ///
    /// # Panics
    /// When FFmpeg is missing: the test has failed.
    pub fn bars(url: &str, size: &str, rate: u32, gop: u32) -> Self {
        Self::bars_with(url, size, rate, gop, None, &[])
    }

    /// The same with a filter for the pictures and further output options.
    ///
    /// # Panics
    /// When FFmpeg is missing: the test has failed.
    pub fn bars_with(url: &str, size: &str, rate: u32, gop: u32, filter: Option<&str>, options: &[&str]) -> Self {
        let mut source = format!("testsrc2=size={size}:rate={rate},format=yuv420p");
        if let Some(filter) = filter {
            source = format!("{source},{filter}");
        }
        let gop = gop.to_string();
        let mut arguments = vec![
            "-re",
            "-f",
            "lavfi",
            "-i",
            &source,
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=440:sample_rate=48000:beep_factor=4",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-tune",
            "zerolatency",
            "-b:v",
            "900k",
            "-g",
            &gop,
            "-keyint_min",
            &gop,
            "-sc_threshold",
            "0",
            "-c:a",
            "aac",
            "-b:a",
            "64k",
        ];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&["-f", "flv", url]);
        Self::run(&arguments)
    }

    /// FFmpeg with these arguments.
    ///
    /// # Panics
    /// When FFmpeg is missing: the test has failed.
    pub fn run(arguments: &[&str]) -> Self {
        let mut child = Command::new("ffmpeg")
            .args(["-hide_banner", "-nostdin", "-v", "warning"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ffmpeg is installed: make test does it");
        let mut stderr = child.stderr.take().expect("piped");
        let reader = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Self { child, stderr: Some(reader) }
    }

    /// Ends the stream in good order, as Ctrl-C does.
    pub fn stop(&mut self) {
        crate::platform::signal(self.child.id(), "INT");
        let _ = self.child.wait();
    }

    /// Ends the encoder without a word to the server.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops the process where it is; it reads and writes nothing more.
    pub fn pause(&self) {
        crate::platform::signal(self.child.id(), "STOP");
    }

    /// Whether it is still publishing.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end, at most `deadline`; what it complained of.
    ///
    /// # Panics
    /// When it does not end: the test has failed.
    pub fn wait(&mut self, deadline: Duration) -> (bool, String) {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                let text = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
                return (status.success(), text);
            }
            assert!(begin.elapsed() < deadline, "ffmpeg does not end within {deadline:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Decodes `seconds` of a URL, with further input options; what FFmpeg complained of, empty when it was content.
///
/// # Panics
/// When FFmpeg fails to run: the test has failed.
pub fn decode(url: &str, seconds: u32, options: &[&str]) -> String {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostdin", "-v", "warning", "-xerror"])
        .args(options)
        .args(["-i", url, "-t", &seconds.to_string(), "-map", "0:v:0", "-map", "0:a:0?", "-f", "null", "-"])
        .output()
        .expect("ffmpeg is installed: make test does it");
    let complaints = complaints(&String::from_utf8_lossy(&output.stderr));
    if output.status.success() { complaints } else { format!("ffmpeg failed: {complaints}") }
}

/// What FFmpeg said, without the remark of its HLS reader (up to 5.1 at least) on reading the initialization segment again after
/// each reload of a live playlist.
fn complaints(stderr: &str) -> String {
    let mut kept = Vec::new();
    let mut after_remark = false;
    for line in stderr.lines() {
        let repeated = line.trim_start().starts_with("Last message repeated");
        after_remark = line.ends_with("Found duplicated MOOV Atom. Skipped it") || after_remark && repeated;
        if !after_remark {
            kept.push(line);
        }
    }
    kept.join("\n")
}

/// One packet as ffprobe sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// `video` or `audio`.
    pub kind: String,
    /// Seconds.
    pub pts: f64,
    /// Seconds.
    pub dts: f64,
    /// Seconds.
    pub duration: f64,
    /// Whether decoding can start here.
    pub key: bool,
    /// Bytes.
    pub size: u64,
}

/// The packets of `seconds` of a URL.
///
/// # Panics
/// When ffprobe fails: the test has failed.
pub fn packets(url: &str, seconds: u32, options: &[&str]) -> Vec<Packet> {
    let output = Command::new("ffprobe")
        .args(["-v", "error"])
        .args(options)
        .args(["-read_intervals", &format!("%+{seconds}"), "-show_packets", "-of", "json", url])
        .output()
        .expect("ffprobe is installed: make test does it");
    assert!(output.status.success(), "ffprobe {url}: {}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("ffprobe prints JSON");
    let number = |value: &serde_json::Value| value.as_str().and_then(|text| text.parse().ok());
    let packet = |packet: &serde_json::Value| {
        Some(Packet {
            kind: packet["codec_type"].as_str()?.to_owned(),
            pts: number(&packet["pts_time"])?,
            dts: number(&packet["dts_time"])?,
            duration: number(&packet["duration_time"]).unwrap_or_default(),
            key: packet["flags"].as_str()?.starts_with('K'),
            size: packet["size"].as_str()?.parse().ok()?,
        })
    };
    json["packets"].as_array().into_iter().flatten().filter_map(packet).collect()
}

/// Presentation times of the pictures at which decoding can start, in milliseconds.
pub fn keyframe_times(packets: &[Packet]) -> Vec<i64> {
    let keys = packets.iter().filter(|packet| packet.kind == "video" && packet.key);
    keys.map(|packet| (packet.pts * 1_000.0).round() as i64).collect()
}

/// Makes `source.flv` in `folder`: 8 s of test pictures with B-frames, a keyframe a second, and sound; its path.
///
/// # Panics
/// When FFmpeg fails: the test has failed.
pub fn make_clip(folder: &Path) -> String {
    let path = folder.join("source.flv").to_string_lossy().into_owned();
    let source = "testsrc2=size=320x180:rate=30,format=yuv420p";
    let (made, complaints) = Encoder::run(&[
        "-f",
        "lavfi",
        "-i",
        source,
        "-f",
        "lavfi",
        "-i",
        "sine=sample_rate=48000",
        "-t",
        "8",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-bf",
        "2",
        "-g",
        "30",
        "-sc_threshold",
        "0",
        "-c:a",
        "aac",
        "-y",
        &path,
    ])
    .wait(Duration::from_secs(60));
    assert!(made, "no clip: {complaints}");
    path
}

/// The MD5 sum of every decoded picture of a URL or file, in the order of presentation.
///
/// # Panics
/// When FFmpeg is missing: the test has failed.
pub fn picture_sums(url: &str) -> Vec<String> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i", url, "-map", "0:v:0", "-f", "framemd5", "-"])
        .output()
        .expect("ffmpeg is installed: make test does it");
    let text = String::from_utf8_lossy(&output.stdout);
    let sum = |line: &str| line.rsplit(',').next().map(|sum| sum.trim().to_owned());
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sum).collect()
}

/// By how many seconds the packets of a kind moved from `before` to `after`, found by the sizes of a run of them.
///
/// # Panics
/// When the packets are not those of `before`: the test has failed.
pub fn shift(before: &[Packet], after: &[Packet], kind: &str) -> f64 {
    const RUN: usize = 30;
    let of_kind =
        |packets: &[Packet]| -> Vec<Packet> { packets.iter().filter(|packet| packet.kind == kind).cloned().collect() };
    let sizes = |run: &[Packet]| -> Vec<u64> { run.iter().map(|packet| packet.size).collect() };
    let (before, after) = (of_kind(before), of_kind(after));
    // The first packet may be given parameter sets by whoever reads it.
    let wanted = sizes(after.get(1..=RUN).expect("enough packets"));
    let found = before.windows(RUN).position(|run| sizes(run) == wanted);
    let found = found.unwrap_or_else(|| panic!("the {kind} packets are not those of the source"));
    after[1].pts - before[found].pts
}
