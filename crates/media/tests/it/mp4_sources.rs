//! Streams made by the real encoder, and what the real decoder says of ours.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use media::{Sample, Track, mp4};

/// Runs one of FFmpeg's programs without standard input.
fn run(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.stdin(std::process::Stdio::null()).args(args);
    command
        .output()
        .unwrap_or_else(|error| panic!("these tests need {program} on the PATH (apt install ffmpeg): {error}"))
}

/// What `ffmpeg` with these arguments writes to standard output.
pub(crate) fn ffmpeg(args: &[&str]) -> Vec<u8> {
    let output = run("ffmpeg", &[&["-v", "error", "-nostdin"], args].concat());
    assert!(output.status.success(), "ffmpeg {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Whether this `ffmpeg` was built with an encoder.
pub(crate) fn has_encoder(name: &str) -> bool {
    let listed = String::from_utf8(ffmpeg(&["-encoders"])).expect("a list of encoders is text");
    listed.lines().any(|line| line.split_whitespace().nth(1) == Some(name))
}

/// What `ffmpeg` has to say at this log level while it decodes the file.
pub(crate) fn complaints(level: &str, file: &TempFile) -> String {
    let output = run("ffmpeg", &["-v", level, "-nostdin", "-xerror", "-i", file.path(), "-f", "null", "-"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ffmpeg cannot decode {}: {said}", file.path());
    said
}

/// `pts,dts,size,flags` of each packet of a stream (`v:0`, `a:0`), as `ffprobe` reads them.
pub(crate) fn packets(file: &TempFile, stream: &str) -> Vec<String> {
    let entries = "packet=pts,dts,size,flags";
    let args = ["-v", "error", "-select_streams", stream, "-show_entries", entries, "-of", "csv=p=0", file.path()];
    let output = run("ffprobe", &args);
    assert!(output.status.success(), "ffprobe {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("csv is text");
    text.lines().map(|line| line.trim_end_matches(',').to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Three seconds of picture, 25 frames a second.
pub(crate) const PICTURE: &[&str] = &["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=3"];
/// Three seconds of sound at 44.1 kHz.
pub(crate) const SOUND: &[&str] = &["-f", "lavfi", "-i", "sine=440:duration=3:sample_rate=44100"];

/// A fragment for every frame, as from a live encoder. One source at a time: with two, ffmpeg 5.1 writes times that are off by a frame
/// where it drains its encoders.
pub(crate) fn fragment_per_frame(source: &[&str], codec: &[&str]) -> Vec<u8> {
    let format = ["-f", "mp4", "-movflags", "frag_every_frame+empty_moov+default_base_moof", "-"];
    ffmpeg(&[source, codec, &format[..]].concat())
}

/// A fragment for every keyframe and 200 ms; its `moov` waits for the first packets, which AC-3 needs, and may have edit lists.
pub(crate) fn fragment_per_keyframe(sources: &[&str], codecs: &[&str]) -> Vec<u8> {
    let format =
        ["-f", "mp4", "-movflags", "frag_keyframe+delay_moov+default_base_moof", "-frag_duration", "200000", "-"];
    ffmpeg(&[sources, codecs, &format[..]].concat())
}

/// A file that goes away with its owner.
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    pub(crate) fn new(extension: &str, parts: &[&[u8]]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("media-{}-{}.{extension}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, parts.concat()).expect("the target's temporary folder can be written");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("the target's path is UTF-8")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A track and all its samples.
pub(crate) struct Demuxed {
    pub(crate) id: u32,
    pub(crate) track: Track,
    pub(crate) chunks: Vec<mp4::Chunk>,
}

impl Demuxed {
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.chunks.iter().flat_map(|c| c.samples.clone()).collect()
    }
}

/// Reads a file through the push demuxer in pieces of this size.
pub(crate) fn demux(file: &[u8], piece_bytes: usize) -> Vec<Demuxed> {
    let mut demuxer = mp4::Demuxer::new();
    let mut tracks: Vec<Demuxed> = Vec::new();
    for piece in file.chunks(piece_bytes) {
        demuxer.push(piece).expect("ffmpeg writes MP4");
        while let Some(event) = demuxer.poll() {
            match event {
                mp4::Event::Track { track_id, track } => {
                    tracks.push(Demuxed { id: track_id, track, chunks: Vec::new() })
                }
                mp4::Event::Chunk(chunk) => {
                    let track = tracks.iter_mut().find(|t| t.id == chunk.track_id).expect("the track was told before");
                    track.chunks.push(chunk);
                }
            }
        }
    }
    tracks
}

/// Head and payloads of a chunk.
pub(crate) fn chunk_bytes(fragment: &mp4::Fragment) -> Bytes {
    let mut out = mp4::fragment_header(fragment).to_vec();
    for sample in fragment.samples {
        out.extend_from_slice(&sample.payload);
    }
    assert_eq!(out.len(), mp4::chunk_len(fragment));
    out.into()
}
