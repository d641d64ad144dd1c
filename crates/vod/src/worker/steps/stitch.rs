//! Compare the chunks of a rendition with the source: nothing is copied, only what the encoders said of their files is judged.

use transcode::vod::{Chunk, Encoded};

use super::super::{
    failure::{self, Result},
    task::Task,
};
use crate::protocol::Output;

/// How far a time may be beside the source's, in ticks of 90 kHz: a millisecond, which containers round to.
const TICKS_TOLERATED: i64 = 90;

pub(super) fn stitch(task: &Task, expected: &[Chunk]) -> Result<Output> {
    let encoded = encoded(task)?;
    if encoded.len() != expected.len() {
        return Err(failure::bad_inputs(&format!("{} chunks instead of {}", encoded.len(), expected.len())));
    }
    Ok(compare(expected, &encoded))
}

/// What the encode steps before this one said, in the order of their chunks.
fn encoded(task: &Task) -> Result<Vec<&Encoded>> {
    task.leased()
        .inputs
        .iter()
        .map(|(name, output)| match output {
            Output::Encoded { encoded, .. } => Ok(encoded),
            _ => Err(failure::bad_inputs(&format!("{name}, which encoded nothing"))),
        })
        .collect()
}

fn compare(expected: &[Chunk], encoded: &[&Encoded]) -> Output {
    let pairs = expected.iter().zip(encoded);
    let bad = pairs.filter(|(chunk, encoded)| !matches(chunk, encoded)).map(|(chunk, _)| chunk.index).collect();
    Output::Stitched { bad, frames: encoded.iter().map(|encoded| encoded.frames).sum() }
}

/// Every picture of the chunk went in, every one came out unless the rate was limited, and none lies outside of it: then the chunks
/// join without a gap or an overlap.
fn matches(chunk: &Chunk, encoded: &Encoded) -> bool {
    let picture_ticks = (chunk.end_pts - chunk.start_pts) / i64::try_from(chunk.frames.max(1)).unwrap_or(1);
    let whole = encoded.damaged == 0 && encoded.frames == encoded.source_frames;
    let times_kept = !whole || encoded.digest == chunk.digest;
    let begins = if whole {
        (encoded.first_pts - chunk.start_pts).abs() <= TICKS_TOLERATED
    } else {
        encoded.first_pts >= chunk.start_pts - TICKS_TOLERATED
    };
    // The last picture's duration is the encoder's guess; at a limited rate it may be long.
    let late = chunk.end_pts + picture_ticks + TICKS_TOLERATED;
    let ends = encoded.first_pts < chunk.end_pts && (!whole || encoded.end_pts <= late);
    encoded.covers(chunk) && encoded.frames > 0 && times_kept && begins && ends
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u32; 0] = [];

    fn chunk(index: u32) -> Chunk {
        let start_pts = 90_000 * i64::from(index);
        let digest = format!("digest {index}");
        Chunk {
            index,
            start_pts,
            end_pts: start_pts + 90_000,
            frames: 25,
            digest,
            shot: false,
            keyframes: vec![start_pts],
        }
    }

    fn encoded(chunk: &Chunk) -> Encoded {
        Encoded {
            frames: chunk.frames,
            first_pts: chunk.start_pts,
            end_pts: chunk.end_pts,
            digest: chunk.digest.clone(),
            source_frames: chunk.frames,
            source_digest: chunk.digest.clone(),
            damaged: 0,
            bytes: 1,
            kbps_mean: 1,
            ssim: None,
            vmaf: None,
            cpu_ms: 0,
        }
    }

    fn bad(change: impl Fn(&mut Encoded)) -> Vec<u32> {
        let expected: Vec<Chunk> = (0..3).map(chunk).collect();
        let mut made: Vec<Encoded> = expected.iter().map(encoded).collect();
        change(&mut made[1]);
        let Output::Stitched { bad, .. } = compare(&expected, &made.iter().collect::<Vec<_>>()) else { unreachable!() };
        bad
    }

    #[test]
    fn chunks_as_the_source_has_them_are_good() {
        assert_eq!(bad(|_| {}), NONE);
        assert_eq!(bad(|e| e.end_pts += 3_600), NONE, "the last picture's duration is a guess");
        assert_eq!(bad(|e| (e.frames, e.digest) = (13, "fewer".into())), NONE, "the rate was limited");
        assert_eq!(bad(|e| (e.damaged, e.source_frames, e.frames) = (2, 23, 23)), NONE, "two could not be read");
    }

    #[test]
    fn a_chunk_that_differs_is_made_again() {
        assert_eq!(bad(|e| (e.frames, e.source_frames) = (24, 24)), [1], "a picture is missing");
        assert_eq!(bad(|e| e.source_digest = "other".into()), [1], "other pictures went in");
        assert_eq!(bad(|e| e.digest = "other".into()), [1], "times moved");
        assert_eq!(bad(|e| e.first_pts += 3_600), [1], "begins late");
        assert_eq!(bad(|e| e.end_pts += 90_000), [1], "ends in the next chunk");
        assert_eq!(bad(|e| e.frames = 0), [1], "empty");
    }
}
