//! What a worker says it made is held against what is known: a worker that errs or lies is refused before anything is
//! published. Sizes of objects are compared with the object store by the caller.

use std::collections::HashSet;

use serde::Deserialize;
use store::catalogue::{Step, StepError, StepState};
use transcode::vod::{Analysis, CHUNKS_MAX, Chunk, Encoded};

use super::{Limits, bug, disbelieved};
use crate::protocol::{EncodeJob, OBJECT_NAME_BYTES_MAX, ObjectRef, Output, RenditionSummary, Spec};

/// Tracks of a source that are kept in the catalogue: transport streams of whole multiplexes have hundreds.
const TRACKS_MAX: usize = 1_000;
/// Parts of a fetched source.
const PARTS_MAX: usize = 100_000;
/// How far the length of a decoded track may be from the expected one, in milliseconds: a frame of sound, priming, and a
/// picture shown longer.
const LENGTH_TOLERANCE_MS: i64 = 1_000;
/// The same as a share of the length, one in so many.
const LENGTH_TOLERANCE_SHARE: i64 = 200;
/// Packets of sound that may lie before the beginning of the presentation: encoders prime with up to three, and tracks that
/// begin with the container lose no more.
const PRIMING_PACKETS_MAX: u64 = 8;
/// Longest file name, in bytes: that of usual file systems.
const FILE_NAME_BYTES_MAX: usize = 255;

/// Whether `output` can be what `step` was asked for. `steps` are those of the job, for stitch and package. The objects that
/// it names are handed back: whether they are stored with that size is still to be checked.
///
/// # Errors
/// What does not hold, for another node to try again.
pub fn check(
    step: &Step,
    spec: &Spec,
    output: &Output,
    steps: &[Step],
    limits: &Limits,
) -> Result<Vec<ObjectRef>, StepError> {
    let held = match (spec, output) {
        (Spec::Fetch { bytes_max, .. }, Output::Fetched { file_name, parts, bytes, sha256 }) => {
            fetched(step, *bytes_max, file_name, parts, *bytes, sha256)
        }
        (Spec::Probe { .. }, Output::Probed { probe, sha256 }) => {
            must(probe.tracks.len() <= TRACKS_MAX, "too many tracks")
                .and(must((0..i64::MAX / 90_000).contains(&probe.duration_ms), "an impossible length"))
                .and(must(sha256.as_deref().is_none_or(is_sha256), "a hash that is none"))
                .map(|()| Vec::new())
        }
        (Spec::Analyse { spec, .. }, Output::Analysed { analysis, .. }) => {
            analysed(analysis, spec.video_track.is_some()).map(|()| Vec::new())
        }
        (Spec::Encode { job }, Output::Encoded { object, encoded }) => encode(step, job, object, encoded),
        (Spec::Stitch { rendition, expected }, Output::Stitched { bad, frames }) => {
            stitched(rendition, expected, bad, *frames, steps)
        }
        (Spec::Package { rendition, .. }, Output::Packaged { media, index, summary }) => {
            packaged(step, rendition, media, index, summary, steps, limits)
        }
        (Spec::Validate { expected_frames, expected_ms, .. }, Output::Validated { frames, duration_ms, quality }) => {
            return validated(*expected_frames, *expected_ms, *frames, *duration_ms, quality.as_ref());
        }
        (Spec::Thumbnails { at_permille, .. }, Output::Thumbnails { images }) => {
            must((1..=at_permille.len()).contains(&images.len()), "another number of pictures than asked for")
                .and_then(|()| own(step, images.iter()))
        }
        (Spec::Storyboard { .. }, Output::Storyboard(board)) => {
            let places = board.sheets.len() as u64 * u64::from(board.columns) * u64::from(board.rows);
            let shaped = board.interval_ms > 0 && board.width > 0 && board.height > 0;
            must(shaped && (1..=places).contains(&u64::from(board.count)), "a storyboard with an impossible grid")
                .and_then(|()| own(step, board.sheets.iter()))
        }
        (Spec::Subtitles { .. }, Output::Subtitles { media, .. }) => own(step, [media]),
        (Spec::Transfer { .. }, Output::Transferred { .. })
        | (Spec::Notify { .. } | Spec::CleanUp {}, Output::Done {}) => Ok(Vec::new()),
        _ => Err("an output of another kind of step".to_owned()),
    };
    held.map_err(|what| refused(step, &what))
}

fn refused(step: &Step, what: &str) -> StepError {
    let human = format!(
        "The worker's report of step {} does not hold: {what}. Nothing of it was published; the worker's version and machine \
         should be checked.",
        step.name
    );
    disbelieved(human)
}

/// The encode outputs of a rendition, chunks in order, with the index of each chunk.
pub(super) fn encodes(steps: &[Step], rendition: Option<&str>) -> Vec<(u32, Encoded)> {
    let mut found: Vec<(u32, Encoded)> =
        outputs(steps, rendition).filter_map(|(index, _, output)| Some((index, encoded(output)?))).collect();
    found.sort_by_key(|(index, _)| *index);
    found
}

/// Finished encode steps of a rendition: index of the chunk, step, output.
pub(crate) fn outputs<'a>(steps: &'a [Step], rendition: Option<&str>) -> impl Iterator<Item = (u32, &'a Step, Output)> {
    let rendition = rendition.unwrap_or_default().to_owned();
    steps
        .iter()
        .filter(move |step| step.kind == "encode" && step.rendition.as_deref() == Some(rendition.as_str()))
        .filter(|step| step.state == StepState::Done)
        .filter_map(|step| Some((chunk_index(&step.name), step, Output::deserialize(step.output.as_ref()?).ok()?)))
}

/// The number at the end of `encode/v720/3`; 0 for whole tracks.
fn chunk_index(name: &str) -> u32 {
    name.rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(0)
}

fn encoded(output: Output) -> Option<Encoded> {
    match output {
        Output::Encoded { encoded, .. } => Some(encoded),
        _ => None,
    }
}

/// Chunks whose encoded pictures are not those of the source, by what the encoders themselves reported.
pub(super) fn mismatched(rendition: Option<&str>, expected: &[Chunk], steps: &[Step]) -> Vec<u32> {
    let made = encodes(steps, rendition);
    let holds = |chunk: &Chunk| made.iter().any(|(index, encoded)| *index == chunk.index && encoded.covers(chunk));
    expected.iter().filter(|chunk| !holds(chunk)).map(|chunk| chunk.index).collect()
}

type Held<T> = Result<T, String>;

fn must(holds: bool, what: &str) -> Held<()> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The objects, if each lies below the step's own prefix of this very lease.
fn own<'a>(step: &Step, objects: impl IntoIterator<Item = &'a ObjectRef>) -> Held<Vec<ObjectRef>> {
    let delivered = Spec::deserialize(&step.spec).is_ok_and(|spec| spec.delivers());
    let prefix = prefix(step, delivered, step.token);
    let mut names = HashSet::new();
    let mut owned = Vec::new();
    for object in objects {
        let name = object.key.strip_prefix(&prefix).unwrap_or_default();
        must(valid_object_name(name), &format!("the object {:?} is not below {prefix}", object.key))?;
        must(names.insert(name.to_owned()), &format!("the object {name:?} is named twice"))?;
        must(object.bytes > 0, &format!("the object {name:?} is empty"))?;
        must(is_sha256(&object.sha256), &format!("the object {name:?} has no hash"))?;
        owned.push(object.clone());
    }
    Ok(owned)
}

/// Where the objects of a lease are: `work/JOB/STEP-TOKEN/`, or `assets/ASSET/STEP-TOKEN/` when they are delivered.
pub fn prefix(step: &Step, delivered: bool, token: i64) -> String {
    if delivered {
        format!("assets/{}/{}-{token}/", step.asset, step.id)
    } else {
        format!("work/{}/{}-{token}/", step.job, step.id)
    }
}

/// Whether a worker may call an object so: one path segment of letters, digits, `-`, `_` and `.`, not beginning with a dot.
pub fn valid_object_name(name: &str) -> bool {
    (1..=OBJECT_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Parts may come from earlier leases of the same step: a fetch goes on where it stood.
fn fetched(
    step: &Step,
    bytes_max: u64,
    file_name: &str,
    parts: &[ObjectRef],
    bytes: u64,
    sha256: &str,
) -> Held<Vec<ObjectRef>> {
    must(!parts.is_empty() && parts.len() <= PARTS_MAX, "an impossible number of parts")?;
    must(bytes <= bytes_max, "more bytes than allowed")?;
    must(parts.iter().map(|part| part.bytes).sum::<u64>() == bytes, "parts that are not the whole")?;
    must(is_sha256(sha256), "a hash that is none")?;
    let named = (1..=FILE_NAME_BYTES_MAX).contains(&file_name.len())
        && !file_name.contains(|c: char| c.is_control() || c == '/');
    must(named, "an impossible file name")?;
    let begin = format!("assets/{}/{}-", step.asset, step.id);
    let mut keys = HashSet::new();
    for part in parts {
        let rest = part.key.strip_prefix(&begin).and_then(|rest| rest.split_once('/'));
        let token = rest.and_then(|(token, _)| token.parse::<i64>().ok()).unwrap_or(0);
        let (held, name) = ((1..=step.token).contains(&token), rest.map_or("", |(_, name)| name));
        must(held && valid_object_name(name), &format!("the part {:?} is not of this step", part.key))?;
        must(part.bytes > 0, "an empty part")?;
        must(keys.insert(&part.key), "a part that is named twice")?;
    }
    Ok(parts.to_vec())
}

fn analysed(analysis: &Analysis, video: bool) -> Held<()> {
    if !video {
        return must(analysis.chunks.is_empty(), "chunks without pictures");
    }
    let chunks = &analysis.chunks;
    must(chunks.len() <= CHUNKS_MAX, "too many chunks")?;
    let Some(first) = chunks.first() else { return must(analysis.frames == 0, "pictures without chunks") };
    must(first.start_pts == analysis.first_pts, "chunks that begin beside the first picture")?;
    must(
        chunks.last().is_some_and(|last| last.end_pts == analysis.end_pts),
        "chunks that end beside the last picture",
    )?;
    must(chunks.windows(2).all(|pair| pair[0].end_pts == pair[1].start_pts), "chunks with gaps between them")?;
    must(chunks.iter().enumerate().all(|(n, chunk)| chunk.index as usize == n), "chunks out of order")?;
    must(chunks.iter().all(|chunk| chunk.start_pts < chunk.end_pts && chunk.frames > 0), "an empty chunk")?;
    must(chunks.iter().map(|chunk| chunk.frames).sum::<u64>() == analysis.frames, "chunks that are not all pictures")
}

fn encode(step: &Step, job: &EncodeJob, object: &ObjectRef, encoded: &Encoded) -> Held<Vec<ObjectRef>> {
    must(encoded.bytes == object.bytes, "another size than the object's")?;
    must(encoded.frames > 0 && encoded.end_pts > encoded.first_pts, "an empty track")?;
    if let EncodeJob::Video(encode) = job
        && let Some(chunk) = &encode.chunk
    {
        // Whether every picture is there is for the stitch step to say; what is elsewhere is no chunk at all.
        let inside = encoded.first_pts >= chunk.start_pts && encoded.first_pts < chunk.end_pts;
        must(inside && encoded.frames <= chunk.frames.max(encoded.source_frames), "pictures of another chunk")?;
    }
    own(step, [object])
}

fn stitched(rendition: &str, expected: &[Chunk], bad: &[u32], frames: u64, steps: &[Step]) -> Held<Vec<ObjectRef>> {
    let known: HashSet<u32> = expected.iter().map(|chunk| chunk.index).collect();
    let named: HashSet<u32> = bad.iter().copied().collect();
    must(named.len() == bad.len() && named.is_subset(&known), "bad chunks that are none")?;
    let made: u64 = encodes(steps, Some(rendition)).iter().map(|(_, encoded)| encoded.frames).sum();
    must(!bad.is_empty() || frames == made, &format!("{frames} pictures where the chunks have {made}"))?;
    Ok(Vec::new())
}

fn packaged(
    step: &Step,
    rendition: &str,
    media: &ObjectRef,
    index: &ObjectRef,
    summary: &RenditionSummary,
    steps: &[Step],
    limits: &Limits,
) -> Held<Vec<ObjectRef>> {
    let parts = encodes(steps, Some(rendition));
    let samples: u64 = parts.iter().map(|(_, encoded)| encoded.frames).sum();
    let (made, said) = (samples, summary.samples);
    // Packets of sound before the beginning of the presentation (priming) are left out.
    let primed = if rendition.starts_with('v') { 0 } else { PRIMING_PACKETS_MAX };
    must(said <= made && made - said <= primed, &format!("{said} samples were packaged where {made} were encoded"))?;
    let begin = parts.iter().map(|(_, encoded)| encoded.first_pts).min().unwrap_or(0);
    let end = parts.iter().map(|(_, encoded)| encoded.end_pts).max().unwrap_or(0);
    let length = (end - begin) / 90;
    must(near(summary.duration_ms, length), &format!("{} ms were packaged of {length}", summary.duration_ms))?;
    let codecs = (1..=100).contains(&summary.codecs.len()) && summary.codecs.bytes().all(|b| b.is_ascii_graphic());
    must(codecs && summary.segments > 0 && summary.bandwidth > 0, "a summary that is none")?;
    if rendition.starts_with('v') {
        let (width, height) = (summary.width.unwrap_or(0), summary.height.unwrap_or(0));
        let pixels = u64::from(width) * u64::from(height);
        must(pixels > 0 && pixels <= limits.pixels_max, "an impossible picture size")?;
    }
    own(step, [media, index])
}

fn validated(
    expected_frames: Option<u64>,
    expected_ms: i64,
    frames: Option<u64>,
    duration_ms: i64,
    quality: Option<&transcode::vod::Quality>,
) -> Result<Vec<ObjectRef>, StepError> {
    let holds = |quality: &transcode::vod::Quality| {
        (-1.0..=1.0).contains(&quality.ssim) && quality.vmaf.is_none_or(|vmaf| (0.0..=100.0).contains(&vmaf))
    };
    if !quality.is_none_or(holds) {
        return Err(disbelieved("The worker measured a quality that is none. Check the worker's FFmpeg."));
    }
    let lost = expected_frames.zip(frames).filter(|(expected, found)| expected != found);
    if let Some((expected, found)) = lost {
        let human = format!(
            "{found} pictures can be decoded where the source has {expected}. `headwater jobs retry` makes it again."
        );
        return Err(bug("frames_missing", human));
    }
    if !near(duration_ms, expected_ms) {
        let human = format!(
            "{duration_ms} ms can be decoded where the source has {expected_ms}. `headwater jobs retry` makes it again."
        );
        return Err(bug("length_differs", human));
    }
    Ok(Vec::new())
}

fn near(ms: i64, expected_ms: i64) -> bool {
    ms.abs_diff(expected_ms) <= (LENGTH_TOLERANCE_MS.max(expected_ms / LENGTH_TOLERANCE_SHARE)).unsigned_abs()
}
