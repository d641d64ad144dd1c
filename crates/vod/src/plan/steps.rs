//! Steps as rows: names, capabilities, classes and what they cost.

use store::catalogue::{NewStep, Source};
use transcode::vod::{AudioEncode, Chunk, VideoCodec, VideoEncode};

use super::{CLASS_FIRST, CLASS_LATER, Limits, weigh};
use crate::protocol::{EncodeJob, Spec, cap};

/// Leases of a step that may count before it fails for good.
const ATTEMPTS_MAX: i64 = 5;
/// The same for steps that depend on other people's servers.
const ATTEMPTS_MAX_NETWORK: i64 = 10;
/// What a fetch costs when nobody knows its size: it waits more than it works.
const FETCH_WEIGHT: f64 = 2.0;
/// The shortest time that an attempt may take, in milliseconds: six hours, as a fetch may be slow for good reasons; work
/// that does not move on is stopped much earlier.
const ATTEMPT_MS_MIN: i64 = 6 * 3_600_000;
/// What an attempt may take for each expected core-second, in milliseconds.
const ATTEMPT_MS_PER_WEIGHT: f64 = 60_000.0;
/// What a probe costs.
const PROBE_WEIGHT: f64 = 1.0;

/// A step with the usual fields.
pub(crate) fn step(name: impl Into<String>, spec: &Spec, class: i64, weight: f64, after: Vec<String>) -> NewStep {
    NewStep {
        name: name.into(),
        kind: spec.kind().to_owned(),
        rendition: rendition(spec).map(str::to_owned),
        cap: capability(spec),
        class,
        weight: weight.max(weigh::STEP),
        spec: row(spec, weight),
        attempts_max: attempts_max(spec),
        after,
    }
}

/// The spec as JSON, with how long an attempt may take: the step is taken away from a worker that is slower than any that
/// would be worth having.
fn row(spec: &Spec, weight: f64) -> serde_json::Value {
    let mut row = serde_json::to_value(spec).expect("a spec has text keys alone");
    let wall_ms = ATTEMPT_MS_MIN + (weight * ATTEMPT_MS_PER_WEIGHT) as i64;
    if let Some(fields) = row.as_object_mut() {
        fields.insert("wall_ms".to_owned(), wall_ms.into());
    }
    row
}

/// A step whose failure does not fail its job: nobody's viewing depends on it.
pub(crate) fn optional(mut step: NewStep) -> NewStep {
    if let Some(spec) = step.spec.as_object_mut() {
        spec.insert("optional".to_owned(), true.into());
    }
    step
}

pub(crate) fn fetch(source: &Source, url: &str, limits: &Limits) -> NewStep {
    let spec = Spec::Fetch {
        url: url.to_owned(),
        file_name: source.file_name.clone(),
        bytes_max: limits.bytes_max,
        part_bytes: limits.part_bytes,
        private_addresses: limits.private_addresses,
        auth: None,
    };
    let weight = source.bytes.map_or(FETCH_WEIGHT, |bytes| weigh::moving(bytes as f64));
    step("fetch", &spec, CLASS_FIRST, weight, Vec::new())
}

pub(crate) fn probe(hash: bool, after: Vec<String>) -> NewStep {
    step("probe", &Spec::Probe { hash }, CLASS_FIRST, PROBE_WEIGHT, after)
}

pub(crate) fn encode_chunk(name: &str, class: i64, weight: f64, encode: VideoEncode, chunk: &Chunk) -> NewStep {
    let encode = VideoEncode { chunk: Some(chunk.clone()), ..encode };
    let step_name = format!("encode/{name}/{}", chunk.index);
    of_rendition(step(step_name, &Spec::Encode { job: EncodeJob::Video(encode) }, class, weight, Vec::new()), name)
}

pub(crate) fn encode_sound(name: &str, class: i64, weight: f64, encode: AudioEncode) -> NewStep {
    let spec = Spec::Encode { job: EncodeJob::Audio(encode) };
    of_rendition(step(format!("encode/{name}"), &spec, class, weight, Vec::new()), name)
}

pub(crate) fn copy(name: &str, class: i64, weight: f64, track: u32) -> NewStep {
    let spec = Spec::Encode { job: EncodeJob::Copy { track } };
    of_rendition(step(format!("encode/{name}"), &spec, class, weight, Vec::new()), name)
}

pub(crate) fn notify(index: usize, url: &str, after: Vec<String>) -> NewStep {
    let spec = Spec::Notify { url: url.to_owned(), body: serde_json::Value::Null, private_addresses: false };
    optional(step(format!("notify/{index}"), &spec, CLASS_LATER, weigh::STEP, after))
}

fn of_rendition(mut step: NewStep, name: &str) -> NewStep {
    step.rendition = Some(name.to_owned());
    step
}

fn rendition(spec: &Spec) -> Option<&str> {
    match spec {
        Spec::Stitch { rendition, .. }
        | Spec::Package { rendition, .. }
        | Spec::Validate { rendition, .. }
        | Spec::Subtitles { rendition, .. } => Some(rendition),
        _ => None,
    }
}

fn capability(spec: &Spec) -> String {
    let cap = match spec {
        Spec::Fetch { .. } | Spec::Transfer { .. } | Spec::Notify { .. } => cap::TRANSFER,
        Spec::Stitch { .. } | Spec::Package { .. } | Spec::CleanUp {} => cap::PACKAGE,
        Spec::Encode { job: EncodeJob::Video(encode) } => return encoder(encode.codec),
        Spec::Encode { .. } => cap::ENCODE,
        _ => cap::ANALYSE,
    };
    cap.to_owned()
}

/// The capability that encodes a codec.
pub(crate) fn encoder(codec: VideoCodec) -> String {
    match codec {
        VideoCodec::H264 => cap::ENCODE.to_owned(),
        VideoCodec::Hevc => format!("{}-hevc", cap::ENCODE),
        VideoCodec::Av1 => format!("{}-av1", cap::ENCODE),
        VideoCodec::Vp9 => format!("{}-vp9", cap::ENCODE),
    }
}

const fn attempts_max(spec: &Spec) -> i64 {
    match spec {
        Spec::Fetch { .. } | Spec::Transfer { .. } | Spec::Notify { .. } => ATTEMPTS_MAX_NETWORK,
        _ => ATTEMPTS_MAX,
    }
}
