//! Parts and segments of one track, and the bodies made of them.

use std::sync::OnceLock;

use base::{Timescale, time::rescale};
use bytes::Bytes;
use media::Sample;

use crate::{BodyPlan, Piece, TrackName};

/// A CMAF chunk: the smallest thing published. Its header is made once and shared by every answer.
#[derive(Debug)]
pub(crate) struct Part {
    /// `moof` and the header of `mdat`.
    pub(crate) header: Bytes,
    pub(crate) samples: Vec<Sample>,
    pub(crate) bytes: u64,
}

impl Part {
    fn append_to(&self, pieces: &mut Vec<Piece>) {
        pieces.push(Piece::Inline(self.header.clone()));
        pieces.extend(self.samples.iter().map(|sample| Piece::Shared(sample.payload.clone())));
    }
}

/// Where a closed segment's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Storage {
    Memory,
    /// Offered by `next_spill`, not yet confirmed.
    Spilling,
    Spilled {
        object: String,
    },
    /// EXT-X-GAP: there never were samples, or they are lost.
    Gap,
}

/// A segment of one track: its parts, one behind another.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) msn: u64,
    pub(crate) init_id: u32,
    /// Of this segment's ticks; another configuration may have another.
    pub(crate) timescale: Timescale,
    /// Presentation time of the first sample, in the track's ticks.
    pub(crate) start_pts: i64,
    /// Length, in the track's ticks.
    pub(crate) ticks: i64,
    pub(crate) bytes: u64,
    /// Begins with a sync sample.
    pub(crate) independent: bool,
    pub(crate) closed: bool,
    pub(crate) parts: Vec<Part>,
    pub(crate) storage: Storage,
    /// Playlist lines before the parts.
    pub(crate) head_lines: String,
    /// Playlist lines of the parts.
    pub(crate) part_lines: String,
    /// Playlist lines after the parts, once closed.
    pub(crate) tail_lines: String,
    /// The MPEG-TS form, while it is worth keeping.
    pub(crate) ts: OnceLock<Bytes>,
}

impl Segment {
    pub(crate) fn is_gap(&self) -> bool {
        self.storage == Storage::Gap
    }

    pub(crate) fn end_90k(&self) -> i64 {
        rescale(self.start_pts + self.ticks, self.timescale, Timescale::VIDEO)
    }

    /// The body: everything so far, and the next part as pending while the segment is open.
    pub(crate) fn plan(&self, track: &TrackName) -> BodyPlan {
        let mut pieces = match &self.storage {
            Storage::Spilled { object } => {
                vec![Piece::File { object: object.clone(), offset: 0, len: self.bytes }]
            }
            _ => Vec::with_capacity(self.parts.iter().map(|part| 1 + part.samples.len()).sum()),
        };
        self.parts.iter().for_each(|part| part.append_to(&mut pieces));
        if !self.closed {
            pieces.push(Piece::Pending { track: track.clone(), msn: self.msn, part: self.next_part() });
        }
        BodyPlan { pieces }
    }

    /// One part's body.
    pub(crate) fn part_plan(&self, part: u32) -> Option<BodyPlan> {
        let part = self.parts.get(usize::try_from(part).ok()?)?;
        let mut pieces = Vec::with_capacity(1 + part.samples.len());
        part.append_to(&mut pieces);
        Some(BodyPlan { pieces })
    }

    /// Index of the part after the last complete one.
    pub(crate) fn next_part(&self) -> u32 {
        u32::try_from(self.parts.len()).unwrap_or(u32::MAX)
    }

    /// All samples held in memory, in decoding order.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.parts.iter().flat_map(|part| part.samples.iter().cloned()).collect()
    }

    /// Lets the payloads go: they are stored elsewhere (`Spilled`) or lost (`Gap`).
    pub(crate) fn release(&mut self, storage: Storage) {
        self.storage = storage;
        self.parts = Vec::new();
        self.part_lines = String::new();
        self.ts = OnceLock::new();
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}
