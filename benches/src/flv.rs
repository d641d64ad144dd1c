//! The input of every measurement: one FLV made by FFmpeg, as RTMP message bodies.

use std::process::Command;

use bytes::Bytes;

use crate::Outcome;

/// One audio or video tag.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) video: bool,
    pub(crate) timestamp_ms: u32,
    pub(crate) body: Bytes,
}

impl Tag {
    /// A decoder configuration: sent once, at the beginning.
    pub(crate) fn is_header(&self) -> bool {
        self.body.get(1) == Some(&0)
    }

    /// A keyframe of an H.264 tag (FLV 10.1, E.4.3.1).
    pub(crate) fn is_keyframe(&self) -> bool {
        self.video && !self.is_header() && self.body.first().is_some_and(|first| first >> 4 == 1)
    }
}

/// A clip to be sent over and over: its headers, its frames, and its length.
#[derive(Clone, Debug)]
pub(crate) struct Clip {
    pub(crate) headers: Vec<Tag>,
    pub(crate) frames: Vec<Tag>,
    pub(crate) duration_ms: u32,
}

/// What the clip is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) frame_rate: u32,
    pub(crate) gop_frames: u32,
    pub(crate) video_kbps: u32,
    pub(crate) seconds: u32,
}

/// Makes a 720p H.264 and AAC clip with FFmpeg.
pub(crate) fn make(recipe: Recipe) -> Outcome<Clip> {
    let Recipe { frame_rate, gop_frames, video_kbps, seconds } = recipe;
    let source = format!("testsrc2=size=1280x720:rate={frame_rate},noise=alls=12:allf=t,format=yuv420p");
    let (rate, gop, time) = (format!("{video_kbps}k"), gop_frames.to_string(), seconds.to_string());
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", &source])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"])
        .args(["-t", &time, "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"])
        .args(["-b:v", &rate, "-maxrate", &rate, "-minrate", &rate, "-bufsize", &rate, "-nal-hrd", "cbr"])
        .args(["-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0"])
        .args(["-c:a", "aac", "-b:a", "64k", "-f", "flv", "pipe:1"])
        .output()?;
    if !output.status.success() {
        return Err(format!("FFmpeg made no clip: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    parse(Bytes::from(output.stdout), seconds * 1_000)
}

/// Splits an FLV file into tags (FLV 10.1, E.2 to E.4).
fn parse(file: Bytes, duration_ms: u32) -> Outcome<Clip> {
    let (mut headers, mut frames) = (Vec::new(), Vec::new());
    let mut at = 13;
    while let Some(head) = file.get(at..at + 11) {
        let size = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
        let timestamp_ms = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
        if at + 11 + size > file.len() {
            break;
        }
        let tag = Tag { video: head[0] == 9, timestamp_ms, body: file.slice(at + 11..at + 11 + size) };
        match head[0] {
            8 | 9 if tag.is_header() => headers.push(tag),
            // The last tag of a file may be an end-of-sequence mark.
            8 | 9 if tag.body.len() > 5 && timestamp_ms < duration_ms => frames.push(tag),
            _ => {}
        }
        at += 11 + size + 4;
    }
    if headers.len() < 2 || frames.is_empty() {
        return Err("the clip has no frames".into());
    }
    Ok(Clip { headers, frames, duration_ms })
}
