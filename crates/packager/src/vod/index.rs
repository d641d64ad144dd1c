//! What is known of a track file.

use std::ops::Range;

use base::Timescale;
use bytes::Bytes;
use media::TrackKind;
use serde::{Deserialize, Serialize};

use super::{column::Column, wire::Wire};

/// Version of the index's JSON. Another one is refused: the track is packaged again.
pub const INDEX_VERSION: u32 = 1;
/// Most samples of a track: 46 hours of 60 frames a second, and what [`media::mp4::SampleTable`] takes.
pub(super) const SAMPLES_MAX: usize = 10_000_000;

/// The index of a CMAF track file: everything that playlists, manifests and a progressive MP4 say of it.
///
/// As JSON the fields of the samples are coded columns; what comes back from there agrees with itself, so that nothing computed from it
/// overflows or reaches outside the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
#[non_exhaustive]
pub struct TrackIndex {
    /// Pictures or sound.
    pub kind: TrackKind,
    /// RFC 6381.
    pub codecs: String,
    /// Of every time in it.
    pub timescale: Timescale,
    /// The initialization segment: the file's first bytes.
    pub init: Bytes,
    /// Media time at which the asset's presentation begins.
    pub zero_ticks: i64,
    /// Media time at which the track's own first sample is presented; a little before the beginning for sound that reaches over it.
    pub start_ticks: i64,
    /// Media time at which its last sample ends.
    pub end_ticks: i64,
    /// In order, one behind another.
    pub segments: Vec<IndexedSegment>,
    /// `moof` and `mdat` pairs in order.
    pub fragments: Vec<Fragment>,
    /// Peak bits per second (RFC 8216bis 4.1).
    pub bandwidth: u64,
    /// Mean bits per second.
    pub average_bandwidth: u64,
    /// Picture width in pixels.
    pub width: Option<u32>,
    /// Picture height in pixels.
    pub height: Option<u32>,
    /// Frames per second as a fraction; the mean where they vary.
    pub frame_rate: Option<(u32, u32)>,
    /// Channels of sound.
    pub channels: Option<u32>,
    /// Samples of sound per second.
    pub sample_rate: Option<u32>,
    /// Decoding time of the first sample.
    pub(super) first_dts: i64,
    pub(super) samples: Columns,
}

/// The fields of the samples.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Columns {
    pub(super) count: usize,
    pub(super) durations: Column,
    pub(super) offsets: Column,
    pub(super) sizes: Column,
    pub(super) syncs: Column,
}

/// A segment: `$Number$` counts them from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexedSegment {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
    /// Earliest presentation time.
    pub start_ticks: i64,
    /// Presentation time until the next segment's, or the track's end.
    pub ticks: i64,
    /// Begins with a sync sample.
    pub sync: bool,
    /// Its fragments, in [`TrackIndex::fragments`].
    pub fragments: Range<usize>,
}

/// A fragment: a group of pictures, or a stretch of sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fragment {
    /// First byte in the file.
    pub offset: u64,
    /// `moof` and the header of `mdat`.
    pub header_bytes: u32,
    /// What follows: the samples, one behind another.
    pub payload_bytes: u64,
    /// How many they are.
    pub samples: u32,
}

/// A sample without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackSample {
    /// Decoding time.
    pub dts: i64,
    /// Presentation time minus decoding time.
    pub cts_offset: i32,
    /// Ticks to the next sample's decoding time.
    pub duration: u32,
    /// Bytes of payload.
    pub bytes: u32,
    /// Decoding can start here.
    pub sync: bool,
}

impl Fragment {
    /// The samples' bytes in the file.
    pub fn payload(&self) -> Range<u64> {
        let start = self.offset + u64::from(self.header_bytes);
        start..start + self.payload_bytes
    }

    /// Bytes of the whole.
    pub fn bytes(&self) -> u64 {
        u64::from(self.header_bytes) + self.payload_bytes
    }
}

impl TrackSample {
    /// Presentation time.
    pub fn pts(&self) -> i64 {
        self.dts + i64::from(self.cts_offset)
    }
}

impl TrackIndex {
    /// Bytes of the track file.
    pub fn bytes(&self) -> u64 {
        self.fragments.last().map_or(self.init.len() as u64, |last| last.offset + last.bytes())
    }

    /// Bytes of a segment in the file; `None` when there is none of this number.
    pub fn segment(&self, number: u64) -> Option<Range<u64>> {
        let segment = self.segments.get(usize::try_from(number).ok()?)?;
        Some(segment.offset..segment.offset + segment.bytes)
    }

    /// Length of the asset's presentation as far as this track goes, in its ticks.
    pub fn duration_ticks(&self) -> i64 {
        (self.end_ticks - self.zero_ticks).max(0)
    }

    /// The same in milliseconds, rounded up.
    pub fn duration_ms(&self) -> i64 {
        -self.timescale.to_ms(-self.duration_ticks())
    }

    /// How many samples there are.
    pub fn sample_count(&self) -> usize {
        self.samples.count
    }

    /// The samples in decoding order.
    pub fn samples(&self) -> impl Iterator<Item = TrackSample> {
        let Columns { durations, offsets, sizes, syncs, .. } = &self.samples;
        let fields = durations.iter().zip(offsets.iter()).zip(sizes.iter()).zip(syncs.iter());
        fields.scan(self.first_dts, |next, (((duration, cts_offset), bytes), sync)| {
            let dts = *next;
            *next += i64::from(duration);
            Some(TrackSample { dts, cts_offset, duration: duration as u32, bytes: bytes as u32, sync: sync != 0 })
        })
    }

    /// Every segment can be decoded by itself.
    pub fn is_independent(&self) -> bool {
        self.segments.iter().all(|segment| segment.sync)
    }

    /// Bytes the index takes in memory, about: what a cache of indexes counts.
    pub fn memory_bytes(&self) -> usize {
        let columns = [&self.samples.durations, &self.samples.offsets, &self.samples.sizes, &self.samples.syncs];
        size_of::<Self>()
            + self.init.len()
            + self.segments.len() * size_of::<IndexedSegment>()
            + self.fragments.len() * size_of::<Fragment>()
            + columns.iter().map(|column| column.len()).sum::<usize>()
    }
}
