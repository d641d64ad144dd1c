//! What an encoder sends: a second-long GOP of pictures, with sound beside them.

use media::{Track, TrackKind, flv::Unit};
use testkit::Samples;

/// One message of an encoder.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: TrackKind,
    /// The encoder's clock.
    pub(crate) ms: i64,
    pub(crate) track: Track,
    pub(crate) unit: Unit,
}

pub(crate) fn video() -> Samples {
    Samples::video_720p().gop(&[30]).sizes(4_000, 1_000).rtmp()
}

pub(crate) fn audio() -> Samples {
    Samples::audio_48k().rtmp()
}

/// The configurations of `sources`, then `duration_ms` of their samples in the order of their times.
pub(crate) fn tape(sources: &[Samples], duration_ms: i64) -> Vec<Frame> {
    let mut frames: Vec<Frame> = sources.iter().flat_map(|source| samples(source, duration_ms)).collect();
    frames.sort_by_key(|frame| (frame.ms, frame.kind));
    let start = frames.first().map_or(0, |frame| frame.ms);
    sources.iter().map(|source| header(source, start)).chain(frames).collect()
}

/// Pictures and sound.
pub(crate) fn both(duration_ms: i64) -> Vec<Frame> {
    tape(&[video(), audio()], duration_ms)
}

pub(crate) fn header(source: &Samples, ms: i64) -> Frame {
    let track = source.track();
    Frame { kind: track.kind(), ms, unit: Unit::Track { track_id: 0, track: track.clone() }, track }
}

fn samples(source: &Samples, duration_ms: i64) -> impl Iterator<Item = Frame> {
    let track = source.track();
    source.until_ms(duration_ms).into_iter().map(move |sample| Frame {
        kind: track.kind(),
        ms: track.timescale.to_ms(sample.dts),
        unit: Unit::Sample { track_id: 0, sample },
        track: track.clone(),
    })
}
