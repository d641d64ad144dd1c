//! A classic MP4 that nobody stores: a head made of the indexes, and stretches of the track files.

use std::ops::Range;

use base::{Timescale, time::rescale};
use bytes::Bytes;
use media::{
    Track,
    mp4::{self, ProgressiveTrack, SampleTable, TableSample},
};

use super::{Error, TrackIndex};

/// A virtual MP4 file: the head, then the pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progressive {
    /// `ftyp`, `moov` and the header of `mdat`.
    pub head: Bytes,
    /// Stretches of the track files: 0 the pictures' (or the only one), 1 the sound's.
    pub pieces: Vec<(usize, Range<u64>)>,
    /// Bytes of the whole.
    pub bytes: u64,
    /// Where each piece begins in the file.
    starts: Vec<u64>,
}

/// A stretch of a virtual file, and where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// In the head.
    Head(Range<usize>),
    /// In a track file.
    Track(usize, Range<u64>),
}

/// The virtual MP4 of pictures and sound: moov first, the samples of the track files, interleaved by time.
///
/// # Errors
/// When an initialization segment cannot be read.
pub fn progressive(video: &TrackIndex, audio: Option<&TrackIndex>) -> Result<Progressive, Error> {
    let indexes: Vec<&TrackIndex> = std::iter::once(video).chain(audio).collect();
    let (mut tracks, mut tables, mut chunks) = (Vec::new(), Vec::new(), Vec::new());
    for (n, index) in indexes.iter().enumerate() {
        tracks.push(track(index)?);
        tables.push(table(index, n, &mut chunks)?);
    }
    // Stable: chunks of one track stay in order.
    chunks.sort_by_key(|chunk| (chunk.start_us, chunk.track));
    let parts: Vec<ProgressiveTrack> =
        indexes.iter().zip(&tracks).zip(&tables).map(|((index, track), table)| edited(index, track, table)).collect();
    let order: Vec<usize> = chunks.iter().map(|chunk| chunk.track).collect();
    let head = mp4::progressive_head(&parts, &order)?;
    let pieces: Vec<(usize, Range<u64>)> = chunks.into_iter().map(|chunk| (chunk.track, chunk.payload)).collect();
    let mut bytes = head.len() as u64;
    let mut starts = Vec::with_capacity(pieces.len());
    for (_, payload) in &pieces {
        starts.push(bytes);
        bytes += payload.end - payload.start;
    }
    Ok(Progressive { head, pieces, bytes, starts })
}

/// A fragment's samples.
struct Chunk {
    start_us: i64,
    track: usize,
    payload: Range<u64>,
}

fn track(index: &TrackIndex) -> Result<Track, Error> {
    let tracks = mp4::read_init(&index.init)?;
    let first = tracks.into_iter().next().map(|(_, track)| track);
    let track = first.filter(|track| track.timescale == index.timescale && track.kind() == index.kind);
    track.ok_or_else(|| Error::Index("its initialization segment is of another track".into()))
}

fn table(index: &TrackIndex, track: usize, chunks: &mut Vec<Chunk>) -> Result<SampleTable, Error> {
    let mut table = SampleTable::new();
    let mut samples = index.samples().peekable();
    for fragment in &index.fragments {
        let start = samples.peek().map_or(0, |first| first.dts);
        let start_us = rescale(start - index.zero_ticks, index.timescale, Timescale::hz(1_000_000));
        for sample in samples.by_ref().take(fragment.samples as usize) {
            table.push(TableSample {
                duration: sample.duration,
                cts_offset: sample.cts_offset,
                bytes: sample.bytes,
                sync: sample.sync,
            })?;
        }
        table.end_chunk();
        chunks.push(Chunk { start_us, track, payload: fragment.payload() });
    }
    Ok(table)
}

/// The presentation begins at the index's zero: what lies before it is cut off, what begins later is delayed.
fn edited<'a>(index: &TrackIndex, track: &'a Track, table: &'a SampleTable) -> ProgressiveTrack<'a> {
    let first = index.start_ticks.max(index.zero_ticks);
    ProgressiveTrack {
        track,
        table,
        delay: (first - index.zero_ticks).unsigned_abs(),
        media_time: u64::try_from(first - index.first_dts).unwrap_or(0),
        language: None,
    }
}

impl Progressive {
    /// Where the bytes of `range` are, in order; what lies behind the end is left out.
    pub fn stretches(&self, range: Range<u64>) -> impl Iterator<Item = Stretch> {
        let head_bytes = self.head.len() as u64;
        let head = range.start.min(head_bytes) as usize..range.end.min(head_bytes) as usize;
        let first = self.starts.partition_point(|start| *start <= range.start).saturating_sub(1);
        let pieces = self.pieces.iter().zip(&self.starts).skip(first);
        let within =
            pieces.take_while(move |(_, start)| **start < range.end).filter_map(move |((track, piece), start)| {
                let end = start + (piece.end - piece.start);
                let (from, to) = (range.start.max(*start), range.end.min(end));
                (from < to).then(|| Stretch::Track(*track, piece.start + (from - start)..piece.start + (to - start)))
            });
        (!head.is_empty()).then_some(Stretch::Head(head)).into_iter().chain(within)
    }

    /// Bytes it takes in memory, about.
    pub fn memory_bytes(&self) -> usize {
        self.head.len() + self.pieces.len() * (size_of::<(usize, Range<u64>)>() + size_of::<u64>())
    }
}
