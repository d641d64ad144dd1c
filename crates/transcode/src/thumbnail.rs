//! Posters: one keyframe in, one JPEG out, by a child that lives for a moment.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use media::{CodecConfig, Sample, Track};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Child,
    sync::Semaphore,
};

use crate::{
    Capabilities, Error,
    child::spawn,
    command::Args,
    progress::{LastWords, Lines},
    telemetry,
};

/// Posters made at the same time: they must not take a core from the ladders of a small machine.
pub const THUMBNAILS_MAX: usize = 2;
/// Longest wait for a poster, its turn included, in milliseconds.
pub const THUMBNAIL_MS_MAX: u64 = 3_000;
/// Largest poster, in bytes: 1920 pixels of noise at this quality are less.
const JPEG_BYTES_MAX: u64 = 4 << 20;
/// Most bytes of FFmpeg's complaints that are read.
const STDERR_BYTES_MAX: u64 = 16 << 10;
/// Widest poster, in pixels.
const WIDTH_MAX: u32 = 1_920;
/// Posters give way to everything else.
const NICE: u32 = 10;
/// Annex B's start code (ITU-T H.264 B.1.1).
const START_CODE: [u8; 4] = [0, 0, 0, 1];

static TURNS: Semaphore = Semaphore::const_new(THUMBNAILS_MAX);

/// A JPEG of `keyframe`, `width` pixels wide (even, at most 1920) in the picture's shape. At most [`THUMBNAILS_MAX`] are made
/// at the same time.
///
/// # Errors
/// [`Error::Absent`] without FFmpeg, [`Error::Timeout`] after [`THUMBNAIL_MS_MAX`], [`Error::Exit`] when FFmpeg cannot
/// decode the picture, [`Error::Unsupported`] and [`Error::Media`] when it is none.
pub async fn thumbnail(caps: &Capabilities, track: &Track, keyframe: &Sample, width: u32) -> Result<Bytes, Error> {
    let limit = Duration::from_millis(THUMBNAIL_MS_MAX);
    let made = tokio::time::timeout(limit, make(caps, track, keyframe, width)).await;
    let made = made.unwrap_or(Err(Error::Timeout { what: "a poster", limit_ms: THUMBNAIL_MS_MAX }));
    telemetry::thumbnail(if made.is_ok() { "made" } else { "failed" });
    made
}

async fn make(caps: &Capabilities, track: &Track, keyframe: &Sample, width: u32) -> Result<Bytes, Error> {
    let tool = caps.tool().map_err(|reason| Error::Absent { reason: reason.to_owned() })?;
    let (format, input) = elementary_stream(&track.codec, keyframe)?;
    let turn = TURNS.acquire().await.expect("the semaphore is never closed");
    let child = spawn(tool, NICE, &arguments(format, width)).await?;
    let jpeg = exchange(child, input).await;
    drop(turn);
    jpeg
}

fn arguments(format: &str, width: u32) -> Vec<String> {
    let width = width.clamp(16, WIDTH_MAX) / 2 * 2;
    let mut args = Args::default();
    args.add("-hide_banner -nostdin -nostats -loglevel repeat+level+error -threads 1 -f");
    args.push(format);
    args.add("-i pipe:0 -frames:v 1 -vf");
    args.push(format!("scale={width}:-2:out_range=full,format=yuvj420p"));
    args.add("-c:v mjpeg -q:v 4 -threads 1 -f image2pipe pipe:1");
    args.0
}

/// Writes the picture and reads the poster, at the same time: neither pipe can block the other.
async fn exchange(mut child: Child, input: Bytes) -> Result<Bytes, Error> {
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(Error::Unsupported("FFmpeg without pipes".into()));
    };
    let (mut jpeg, mut complaint) = (Vec::new(), Vec::new());
    let write = async move {
        // A child that has seen enough, or has failed, closes its end: its exit status tells which.
        let _ = stdin.write_all(&input).await;
    };
    let (mut stdout, mut stderr) = (stdout.take(JPEG_BYTES_MAX), stderr.take(STDERR_BYTES_MAX));
    let ((), read, _) = tokio::join!(write, stdout.read_to_end(&mut jpeg), stderr.read_to_end(&mut complaint));
    let failed = |source| Error::Pipe { what: "a poster", source };
    read.map_err(failed)?;
    // A child that still has something to say is killed by its drop.
    drop((stdout, stderr));
    let status = child.wait().await.map_err(failed)?;
    if status.success() && jpeg.starts_with(&[0xff, 0xd8]) {
        return Ok(jpeg.into());
    }
    let (mut lines, mut last_words) = (Lines::default(), LastWords::default());
    lines.feed(&complaint, |line| last_words.line(line));
    Err(Error::Exit { status: status.to_string(), stderr: last_words.shown() })
}

/// FFmpeg's name of a raw format that needs no container of ours, and the keyframe in it.
fn elementary_stream(codec: &CodecConfig, keyframe: &Sample) -> Result<(&'static str, Bytes), Error> {
    match codec {
        CodecConfig::Avc(avc) => Ok(("h264", annex_b(avc.sps.iter().chain(&avc.pps), &keyframe.payload)?)),
        CodecConfig::Hevc(hevc) => {
            let sets = hevc.vps.iter().chain(&hevc.sps).chain(&hevc.pps);
            Ok(("hevc", annex_b(sets, &keyframe.payload)?))
        }
        CodecConfig::Av1(av1) => {
            // The configOBUs behind the four bytes of the record (AV1 ISO binding 2.3.3) have the sequence header.
            let sequence_header = av1.record.get(4..).unwrap_or_default();
            Ok(("ivf", ivf(*b"AV01", &[sequence_header, &keyframe.payload])))
        }
        CodecConfig::Vp9(_) => Ok(("ivf", ivf(*b"VP90", &[&keyframe.payload]))),
        sound => Err(Error::Unsupported(format!("a poster of {}", sound.name()))),
    }
}

/// Parameter sets and the NAL units of a sample behind start codes (ITU-T H.264 Annex B).
fn annex_b<'a>(parameter_sets: impl Iterator<Item = &'a Bytes>, payload: &[u8]) -> Result<Bytes, Error> {
    let mut out = BytesMut::with_capacity(payload.len() + 256);
    for set in parameter_sets {
        out.put_slice(&START_CODE);
        out.put_slice(set);
    }
    let mut rest = payload;
    while !rest.is_empty() {
        let truncated = |need| Error::Media {
            what: "a keyframe",
            source: media::Error::Truncated { what: "NAL unit", need, have: rest.len() },
        };
        let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(|| truncated(4))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (unit, behind) = behind.split_at_checked(length).ok_or_else(|| truncated(length.saturating_add(4)))?;
        out.put_slice(&START_CODE);
        out.put_slice(unit);
        rest = behind;
    }
    Ok(out.freeze())
}

/// An IVF file of one frame: a header of 32 bytes, then size, time and frame. The picture size in the header is not used.
fn ivf(fourcc: [u8; 4], frame: &[&[u8]]) -> Bytes {
    let bytes: usize = frame.iter().map(|part| part.len()).sum();
    let mut out = BytesMut::with_capacity(bytes + 44);
    out.put_slice(b"DKIF");
    out.put_u16_le(0);
    out.put_u16_le(32);
    out.put_slice(&fourcc);
    out.put_u32_le(0);
    out.put_u32_le(30);
    out.put_u32_le(1);
    out.put_u64_le(1);
    out.put_u32_le(u32::try_from(bytes).unwrap_or(u32::MAX));
    out.put_u64_le(0);
    frame.iter().for_each(|part| out.put_slice(part));
    out.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_keyframe_becomes_annex_b() {
        let set = Bytes::from_static(&[0x67, 1]);
        let got = annex_b([&set].into_iter(), &[0, 0, 0, 2, 0x65, 9, 0, 0, 0, 1, 6]).unwrap();
        assert_eq!(got, [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x65, 9, 0, 0, 0, 1, 6].as_slice());
    }

    proptest! {
        #[test]
        fn lengths_that_lie_are_errors_and_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(out) = annex_b(std::iter::empty(), &payload) {
                prop_assert_eq!(out.len(), payload.len());
            }
        }
    }
}
