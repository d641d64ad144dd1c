//! Synthetic sources: tracks of samples in arrival order, as RTMP and an encoder would deliver them.

use std::collections::BTreeMap;

use base::{Timescale, time::rescale};
use bytes::{BufMut, Bytes, BytesMut};
use media::{
    CodecConfig, Sample, Track,
    codec::{VideoInfo, aac, avc},
};
use packager::{Role, TrackName};

pub(crate) fn name(text: &str) -> TrackName {
    TrackName::new(text).unwrap()
}

pub(crate) fn avc(width: u32, height: u32, level: u8) -> Track {
    Track::new(CodecConfig::Avc(avc::Config {
        record: Bytes::from(vec![1, 0x64, 0, level, 0xFF, 0xE1, 0, 4, 0x67, 0x64, 0, level, 1, 0, 2, 0x68, 0xEE]),
        sps: vec![Bytes::from(vec![0x67, 0x64, 0, level])],
        pps: vec![Bytes::from_static(&[0x68, 0xEE])],
        profile: [0x64, 0, level],
        info: VideoInfo { width, height, frame_rate: None },
    }))
}

pub(crate) fn aac(sample_rate: u32) -> Track {
    Track::new(CodecConfig::Aac(aac::Config {
        record: Bytes::from_static(&[0x11, 0x90]),
        object_type: 2,
        sample_rate,
        channels: 2,
        frame_samples: 1024,
    }))
}

/// How a track's samples are made.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Video { rate: (i64, i64), gop: Vec<i64>, b_frames: i64 },
    Audio,
}

/// A track of a source.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) track: Track,
    pub(crate) kind: Kind,
    /// Milliseconds from the sample's decoding time to its arrival.
    pub(crate) lag_ms: i64,
    /// Source time of the first sample.
    pub(crate) start_ms: i64,
    /// Times are rounded to milliseconds, as RTMP does.
    pub(crate) rounded: bool,
}

pub(crate) fn video(rate: (i64, i64), gop: i64) -> Spec {
    Spec {
        name: "v0",
        role: Role::Leader,
        track: avc(1280, 720, 0x20),
        kind: Kind::Video { rate, gop: vec![gop], b_frames: 0 },
        lag_ms: 0,
        start_ms: 0,
        rounded: true,
    }
}

pub(crate) fn audio(sample_rate: u32) -> Spec {
    Spec {
        name: "a0",
        role: Role::Audio,
        track: aac(sample_rate),
        kind: Kind::Audio,
        lag_ms: 0,
        start_ms: 0,
        rounded: true,
    }
}

pub(crate) fn rendition(rate: (i64, i64), gop: i64, lag_ms: i64) -> Spec {
    Spec { name: "v1", role: Role::Rendition, track: avc(640, 360, 0x1E), lag_ms, ..video(rate, gop) }
}

impl Spec {
    pub(crate) fn name(&self) -> TrackName {
        name(self.name)
    }

    pub(crate) fn gops(mut self, gops: &[i64]) -> Self {
        if let Kind::Video { gop, .. } = &mut self.kind {
            *gop = gops.to_vec();
        }
        self
    }

    pub(crate) fn b_frames(mut self, count: i64) -> Self {
        if let Kind::Video { b_frames, .. } = &mut self.kind {
            *b_frames = count;
        }
        self
    }

    pub(crate) fn starting(mut self, start_ms: i64) -> Self {
        self.start_ms = start_ms;
        self
    }

    /// The samples with decoding times in `[from_ms, to_ms)` counted from the track's start.
    pub(crate) fn samples(&self, duration_ms: i64) -> Vec<Sample> {
        match &self.kind {
            Kind::Video { rate, gop, b_frames } => self.video_samples(duration_ms, *rate, gop, *b_frames),
            Kind::Audio => self.audio_samples(duration_ms),
        }
    }

    fn video_samples(&self, duration_ms: i64, (num, den): (i64, i64), gops: &[i64], b_frames: i64) -> Vec<Sample> {
        let frame_time = |n: i64| self.stamp(n * den * 90_000 / num, Timescale::VIDEO);
        let frames = duration_ms * num / den / 1_000;
        let mut samples = Vec::new();
        let (mut gop_start, mut gop_index) = (0, 0);
        for n in 0..frames {
            if n - gop_start == gops[gop_index % gops.len()] {
                (gop_start, gop_index) = (n, gop_index + 1);
            }
            let gop = gops[gop_index % gops.len()];
            let dts = frame_time(n);
            let presented = gop_start + presentation_order(n - gop_start, gop, b_frames) + i64::from(b_frames > 0);
            let pts = frame_time(presented);
            let sync = n == gop_start;
            samples.push(Sample { dts, cts_offset: (pts - dts) as i32, duration: 0, sync, payload: picture(n, sync) });
        }
        samples
    }

    fn audio_samples(&self, duration_ms: i64) -> Vec<Sample> {
        let timescale = self.track.timescale;
        let packets = rescale(duration_ms, Timescale::MS, timescale) / 1024;
        let sample = |n: i64| Sample {
            dts: self.stamp(n * 1024, timescale),
            cts_offset: 0,
            duration: 0,
            sync: true,
            payload: Bytes::from(n.to_be_bytes().repeat(8)),
        };
        (0..packets).map(sample).collect()
    }

    fn stamp(&self, ticks: i64, timescale: Timescale) -> i64 {
        let exact = ticks + timescale.from_ms(self.start_ms);
        if self.rounded { timescale.from_ms(timescale.to_ms(exact)) } else { exact }
    }
}

/// Where the `n`th coded frame of a closed GOP is shown: P before the B-frames it closes.
fn presentation_order(n: i64, gop: i64, b_frames: i64) -> i64 {
    if n == 0 || b_frames == 0 {
        return n;
    }
    let run = b_frames + 1;
    let (group, place) = ((n - 1) / run, (n - 1) % run);
    let anchor = (group * run + run).min(gop - 1);
    if place == 0 { anchor } else { group * run + place }
}

/// One NAL unit behind its length: a slice, larger for a key frame.
fn picture(n: i64, sync: bool) -> Bytes {
    let bytes: usize = if sync { 4_000 } else { 500 };
    let mut payload = BytesMut::with_capacity(bytes + 4);
    payload.put_u32(bytes as u32);
    payload.put_u8(if sync { 0x65 } else { 0x41 });
    payload.put_i64(n);
    payload.resize(bytes + 4, 0xA5);
    payload.freeze()
}

/// All tracks' samples in the order they arrive: (arrival in milliseconds since the source began, track, sample).
pub(crate) fn arrivals(specs: &[Spec], duration_ms: i64) -> Vec<(i64, TrackName, Sample)> {
    let mut all: BTreeMap<(i64, usize, usize), (TrackName, Sample)> = BTreeMap::new();
    for (i, spec) in specs.iter().enumerate() {
        for (n, sample) in spec.samples(duration_ms).into_iter().enumerate() {
            let at = spec.track.timescale.to_ms(sample.dts) - specs[0].start_ms + spec.lag_ms;
            all.insert((at, i, n), (spec.name(), sample));
        }
    }
    all.into_iter().map(|((at, ..), (name, sample))| (at, name, sample)).collect()
}
