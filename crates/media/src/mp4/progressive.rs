//! The head of a classic MP4 file: `ftyp`, `moov` with full sample tables, and the header of `mdat` (ISO/IEC 14496-12 8.5 to 8.7).
//!
//! The head stands first, so that a player begins before the last byte came, and it is all there is to write: the samples' payloads
//! follow in chunks, in the order that was told.

use base::{
    Timescale,
    time::{rescale, rescale_nearest},
};
use bytes::Bytes;

use super::{
    boxes::{full_box, put_box},
    init::{LANGUAGE_UND, put_media, put_movie_header, put_sample_description, put_track_header},
};
use crate::{CodecConfig, Error, Result, Track, TrackKind};

/// Ticks per second of the movie's own times: those of edit lists and of the whole.
pub const PROGRESSIVE_TIMESCALE: Timescale = Timescale::VIDEO;

/// Most samples in one track: 46 hours of 60 frames a second. Their tables would be 160 MB.
const SAMPLES_MAX: usize = 10_000_000;
/// What a sample can need in the tables, in bytes: `stts` 8, `ctts` 8, `stss` 4, `stsz` 4.
const SAMPLE_TABLE_BYTES_MAX: u64 = 24;
/// What a chunk can need in the tables, in bytes: `stsc` 12, `co64` 8.
const CHUNK_TABLE_BYTES_MAX: u64 = 20;
/// More than everything else in a track's header, in bytes; codec configurations are below 64 KiB.
const TRACK_HEADER_BYTES_MAX: u64 = 128 << 10;

/// One sample as the tables tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSample {
    /// Ticks to the next sample's decoding time.
    pub duration: u32,
    /// Presentation time minus decoding time, in ticks.
    pub cts_offset: i32,
    /// Bytes of payload.
    pub bytes: u32,
    /// Decoding can start here.
    pub sync: bool,
}

/// The sample tables of a track, run-length coded as they grow. Push the samples in decoding order and end a chunk where another
/// track's bytes, or none, follow.
#[derive(Clone, Debug, Default)]
pub struct SampleTable {
    durations: Vec<(u32, u32)>,
    offsets: Vec<(u32, i32)>,
    syncs: Vec<u32>,
    sizes: Vec<u32>,
    /// Samples and bytes of each chunk.
    chunks: Vec<(u32, u64)>,
    open: (u32, u64),
    /// Decoding time of the next sample.
    ticks: u64,
    /// Where the sample that is presented last ends: with reordering behind `ticks`.
    presented: u64,
}

impl SampleTable {
    /// Before the first sample.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next sample.
    ///
    /// # Errors
    /// When the track has too many.
    pub fn push(&mut self, sample: TableSample) -> Result<()> {
        if self.sizes.len() >= SAMPLES_MAX {
            let (value, limit) = (self.sizes.len() as u64 + 1, SAMPLES_MAX as u64);
            return Err(Error::TooLarge { what: "samples of a track", value, limit });
        }
        run(&mut self.durations, sample.duration);
        run(&mut self.offsets, sample.cts_offset);
        self.sizes.push(sample.bytes);
        if sample.sync {
            self.syncs.push(self.sizes.len() as u32);
        }
        self.ticks = self.ticks.saturating_add(sample.duration.into());
        self.presented = self.presented.max(self.ticks.saturating_add_signed(sample.cts_offset.into()));
        self.open = (self.open.0 + 1, self.open.1.saturating_add(sample.bytes.into()));
        Ok(())
    }

    /// The samples since the last end lie one behind another in the file. Nothing when there are none.
    pub fn end_chunk(&mut self) {
        if self.open.0 > 0 {
            self.chunks.push(std::mem::take(&mut self.open));
        }
    }

    /// Chunks that were ended.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    fn bytes(&self) -> u64 {
        self.chunks.iter().fold(0, |sum, chunk| sum.saturating_add(chunk.1))
    }

    /// Upper bound of what the tables need in the head, in bytes.
    fn head_bytes_max(&self) -> u64 {
        let samples = self.sizes.len() as u64 * SAMPLE_TABLE_BYTES_MAX;
        TRACK_HEADER_BYTES_MAX + samples + self.chunks.len() as u64 * CHUNK_TABLE_BYTES_MAX
    }
}

/// Lengthens the last run, or begins another.
fn run<T: PartialEq>(runs: &mut Vec<(u32, T)>, value: T) {
    match runs.last_mut().filter(|(_, same)| *same == value) {
        Some((count, _)) => *count += 1,
        None => runs.push((1, value)),
    }
}

/// A track of the file.
#[derive(Clone, Debug)]
pub struct ProgressiveTrack<'a> {
    /// Its codec and timescale.
    pub track: &'a Track,
    /// Its samples; media time zero is the first one's decoding time.
    pub table: &'a SampleTable,
    /// Ticks from the beginning of the movie until the track is presented (an empty edit).
    pub delay: u64,
    /// The media time that is presented first: the reordering of pictures, the priming of sound, and what lies before the beginning.
    pub media_time: u64,
    /// ISO 639-2/T code, three lower-case letters.
    pub language: Option<[u8; 3]>,
}

impl ProgressiveTrack<'_> {
    /// Ticks that are presented.
    fn shown(&self) -> u64 {
        self.table.presented.saturating_sub(self.media_time)
    }

    fn movie_ticks(&self, ticks: u64) -> u64 {
        let ticks = i64::try_from(ticks).unwrap_or(i64::MAX);
        u64::try_from(rescale_nearest(ticks, self.track.timescale, PROGRESSIVE_TIMESCALE)).unwrap_or(0)
    }

    /// How long the movie is for this track; the last sample must not end behind it, so the remainder counts.
    fn duration(&self) -> u64 {
        self.movie_ticks(self.delay).saturating_add(self.movie_ticks_up(self.shown()))
    }

    fn movie_ticks_up(&self, ticks: u64) -> u64 {
        let ticks = i64::try_from(ticks).unwrap_or(i64::MAX);
        u64::try_from(-rescale(-ticks, self.track.timescale, PROGRESSIVE_TIMESCALE)).unwrap_or(0)
    }
}

/// `ftyp`, `moov` and the header of `mdat`; the chunks' payloads follow in `order`, which names the track of each chunk by its place
/// in `tracks`. Track ids count from 1.
///
/// Chunk offsets have 64 bits when the file may reach 4 GiB. Composition offsets are version 1 where one is negative, else version 0.
///
/// # Errors
/// When `order` does not name every chunk of every track once.
pub fn progressive_head(tracks: &[ProgressiveTrack], order: &[usize]) -> Result<Bytes> {
    let payload = tracks.iter().fold(0_u64, |sum, track| sum.saturating_add(track.table.bytes()));
    let head_max: u64 = tracks.iter().map(|track| track.table.head_bytes_max()).sum();
    let large = payload.saturating_add(head_max) > u64::from(u32::MAX);
    let offsets = chunk_offsets(tracks, order)?;
    let mut out = Vec::with_capacity(usize::try_from(head_max.min(64 << 20)).unwrap_or(0));
    put_box(&mut out, b"ftyp", |b| put_brands(b, tracks));
    // Where the chunk offsets stand, to be moved by the size of the head once that is known.
    let mut places = Vec::new();
    put_movie(&mut out, tracks, &offsets, large, &mut places);
    if large {
        out.extend_from_slice(&1u32.to_be_bytes());
        out.extend_from_slice(b"mdat");
        out.extend_from_slice(&payload.saturating_add(16).to_be_bytes());
    } else {
        out.extend_from_slice(&(payload as u32 + 8).to_be_bytes());
        out.extend_from_slice(b"mdat");
    }
    let head_bytes = out.len() as u64;
    for (at, offset) in places {
        let offset = offset.saturating_add(head_bytes);
        if large {
            out[at..at + 8].copy_from_slice(&offset.to_be_bytes());
        } else {
            out[at..at + 4].copy_from_slice(&(offset as u32).to_be_bytes());
        }
    }
    Ok(out.into())
}

/// Where each chunk of each track begins, counted from the beginning of the payloads.
fn chunk_offsets(tracks: &[ProgressiveTrack], order: &[usize]) -> Result<Vec<Vec<u64>>> {
    let wrong = || Error::invalid("order of chunks", "does not name every chunk of every track once");
    let mut offsets: Vec<Vec<u64>> = tracks.iter().map(|track| Vec::with_capacity(track.table.chunks.len())).collect();
    let mut at: u64 = 0;
    for &track in order {
        let (table, placed) =
            tracks.get(track).map(|track| track.table).zip(offsets.get_mut(track)).ok_or_else(wrong)?;
        let (_, bytes) = table.chunks.get(placed.len()).ok_or_else(wrong)?;
        placed.push(at);
        at = at.saturating_add(*bytes);
    }
    let complete = tracks.iter().zip(&offsets).all(|(track, placed)| track.table.chunks.len() == placed.len());
    if complete { Ok(offsets) } else { Err(wrong()) }
}

/// `iso6` is what composition offsets of version 1 need; `mp41` and `isom` are what old players look for.
fn put_brands(b: &mut Vec<u8>, tracks: &[ProgressiveTrack]) {
    b.extend_from_slice(b"isom\0\0\x02\0isomiso6mp41");
    if tracks.iter().any(|track| matches!(&*track.track.codec, CodecConfig::Av1(_))) {
        b.extend_from_slice(b"av01");
    }
}

fn put_movie(
    out: &mut Vec<u8>,
    tracks: &[ProgressiveTrack],
    offsets: &[Vec<u64>],
    large: bool,
    places: &mut Vec<(usize, u64)>,
) {
    let duration = tracks.iter().map(ProgressiveTrack::duration).max().unwrap_or(0);
    put_box(out, b"moov", |b| {
        put_movie_header(b, PROGRESSIVE_TIMESCALE, duration, tracks.len() as u32 + 1);
        for ((track, offsets), id) in tracks.iter().zip(offsets).zip(1..) {
            put_box(b, b"trak", |b| {
                put_track_header(b, track.track, id, track.duration());
                put_edits(b, track);
                let language = track.language.map_or(LANGUAGE_UND, packed_language);
                put_box(b, b"mdia", |b| {
                    put_media(b, track.track, language, track.table.ticks, |b| {
                        put_sample_description(b, track.track);
                        put_tables(b, track, offsets, large, places);
                    });
                });
            });
        }
    });
}

/// Three letters of five bits each (8.4.2.3); anything else is `und`.
fn packed_language(code: [u8; 3]) -> u16 {
    if !code.iter().all(u8::is_ascii_lowercase) {
        return LANGUAGE_UND;
    }
    code.iter().fold(0, |packed, letter| packed << 5 | u16::from(letter - 0x60))
}

/// `edts` where presentation does not begin with the first sample (8.6.6).
fn put_edits(b: &mut Vec<u8>, track: &ProgressiveTrack) {
    let delay = track.movie_ticks(track.delay);
    if delay == 0 && track.media_time == 0 {
        return;
    }
    // -1 marks the empty edit.
    let edits = [(delay, u64::MAX), (track.movie_ticks_up(track.shown()), track.media_time)];
    let edits = if delay == 0 { &edits[1..] } else { &edits[..] };
    put_box(b, b"edts", |b| {
        full_box(b, b"elst", 1, 0, |b| {
            b.extend_from_slice(&(edits.len() as u32).to_be_bytes());
            for (duration, media_time) in edits {
                b.extend_from_slice(&duration.to_be_bytes());
                b.extend_from_slice(&media_time.to_be_bytes());
                b.extend_from_slice(&[0, 1, 0, 0]); // media_rate 1.0
            }
        });
    });
}

fn put_tables(b: &mut Vec<u8>, track: &ProgressiveTrack, offsets: &[u64], large: bool, places: &mut Vec<(usize, u64)>) {
    let table = track.table;
    put_runs(b, b"stts", 0, &table.durations, |ticks| ticks);
    if table.offsets.iter().any(|(_, offset)| *offset != 0) {
        let version = u8::from(table.offsets.iter().any(|(_, offset)| *offset < 0));
        put_runs(b, b"ctts", version, &table.offsets, |offset| offset as u32);
    }
    // Without the box every sample is a sync sample (8.6.2.1).
    if track.track.kind() == TrackKind::Video && table.syncs.len() < table.sizes.len() {
        full_box(b, b"stss", 0, 0, |b| {
            b.extend_from_slice(&(table.syncs.len() as u32).to_be_bytes());
            table.syncs.iter().for_each(|number| b.extend_from_slice(&number.to_be_bytes()));
        });
    }
    put_chunk_sizes(b, table);
    full_box(b, b"stsz", 0, 0, |b| {
        b.extend_from_slice(&[0; 4]);
        b.extend_from_slice(&(table.sizes.len() as u32).to_be_bytes());
        table.sizes.iter().for_each(|bytes| b.extend_from_slice(&bytes.to_be_bytes()));
    });
    full_box(b, if large { b"co64" } else { b"stco" }, 0, 0, |b| {
        b.extend_from_slice(&(offsets.len() as u32).to_be_bytes());
        for offset in offsets {
            places.push((b.len(), *offset));
            b.extend_from_slice(if large { &[0; 8] } else { &[0; 4] });
        }
    });
}

fn put_runs<T: Copy>(b: &mut Vec<u8>, kind: &[u8; 4], version: u8, runs: &[(u32, T)], value: impl Fn(T) -> u32) {
    full_box(b, kind, version, 0, |b| {
        b.extend_from_slice(&(runs.len() as u32).to_be_bytes());
        for (count, run) in runs {
            b.extend_from_slice(&count.to_be_bytes());
            b.extend_from_slice(&value(*run).to_be_bytes());
        }
    });
}

/// `stsc`: runs of chunks with the same number of samples, each by its first chunk.
fn put_chunk_sizes(b: &mut Vec<u8>, table: &SampleTable) {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for ((samples, _), number) in table.chunks.iter().zip(1..) {
        if runs.last().is_none_or(|(_, same)| same != samples) {
            runs.push((number, *samples));
        }
    }
    full_box(b, b"stsc", 0, 0, |b| {
        b.extend_from_slice(&(runs.len() as u32).to_be_bytes());
        for (first, samples) in runs {
            b.extend_from_slice(&first.to_be_bytes());
            b.extend_from_slice(&samples.to_be_bytes());
            b.extend_from_slice(&1u32.to_be_bytes()); // sample_description_index
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(timescale: u32) -> Track {
        let codec = crate::codec::aac::Config::from_record(&[0x11, 0x90]).expect("AAC-LC, 48 kHz, stereo");
        Track { timescale: Timescale::hz(timescale), ..Track::new(CodecConfig::Aac(codec)) }
    }

    fn table(samples: &[(u32, i32, u32, bool)], chunk: usize) -> SampleTable {
        let mut table = SampleTable::new();
        for (n, &(duration, cts_offset, bytes, sync)) in samples.iter().enumerate() {
            table.push(TableSample { duration, cts_offset, bytes, sync }).expect("few samples");
            if (n + 1) % chunk == 0 {
                table.end_chunk();
            }
        }
        table.end_chunk();
        table
    }

    fn shown<'a>(track: &'a Track, table: &'a SampleTable) -> ProgressiveTrack<'a> {
        ProgressiveTrack { track, table, delay: 0, media_time: 0, language: None }
    }

    fn position(bytes: &[u8], needle: &[u8]) -> Option<usize> {
        bytes.windows(needle.len()).position(|window| window == needle)
    }

    #[test]
    fn tables_are_run_length_coded() {
        let table = table(&[(3, 0, 10, true), (3, 6, 11, false), (3, 6, 12, false), (4, 0, 13, true)], 3);
        assert_eq!(table.durations, [(3, 3), (1, 4)]);
        assert_eq!(table.offsets, [(1, 0), (2, 6), (1, 0)]);
        assert_eq!(table.syncs, [1, 4]);
        assert_eq!(table.chunks, [(3, 33), (1, 13)]);
    }

    #[test]
    fn chunks_of_two_tracks_lie_where_the_head_says() {
        let (track, first, second) =
            (track(48_000), table(&[(1, 0, 100, true); 2], 1), table(&[(1, 0, 7, true); 2], 1));
        let head = progressive_head(&[shown(&track, &first), shown(&track, &second)], &[0, 1, 0, 1]).expect("valid");
        let size = head.len() as u32;
        let at = |n: usize| {
            let stco = head.windows(4).enumerate().filter(|(_, kind)| kind == b"stco").nth(n).expect("a stco").0;
            let field = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
            (field(stco + 8), field(stco + 12), field(stco + 16))
        };
        assert_eq!((at(0), at(1)), ((2, size, size + 107), (2, size + 100, size + 207)));
        assert_eq!(
            &head[head.len() - 8..],
            [&222_u32.to_be_bytes()[..], b"mdat"].concat(),
            "a header of 8 bytes and 214"
        );
        assert!(position(&head, b"moov") < position(&head, b"mdat"));
    }

    #[test]
    fn a_file_over_4_gib_has_64_bit_offsets() {
        let (track, table) = (track(48_000), table(&[(1_024, 0, 0x7FFF_FFFF, true); 3], 1));
        let head = progressive_head(&[shown(&track, &table)], &[0; 3]).expect("valid");
        let co64 = position(&head, b"co64").expect("64-bit offsets");
        let offset = |n: usize| u64::from_be_bytes(head[co64 + 12 + 8 * n..][..8].try_into().expect("eight bytes"));
        assert_eq!(offset(2) - offset(0), 0xFFFF_FFFE);
        assert_eq!(offset(0), head.len() as u64);
        assert_eq!(&head[head.len() - 16..head.len() - 8], b"\0\0\0\x01mdat");
    }

    #[test]
    fn an_order_that_forgets_a_chunk_is_refused() {
        let (track, table) = (track(48_000), table(&[(1, 0, 1, true); 2], 1));
        for order in [&[0][..], &[0, 0, 0], &[0, 1], &[]] {
            assert!(progressive_head(&[shown(&track, &table)], order).is_err(), "{order:?}");
        }
    }

    #[test]
    fn edits_delay_and_trim() {
        let (track, table) = (track(48_000), table(&[(1_024, 0, 1, true); 4], 4));
        let edited = ProgressiveTrack { delay: 480, media_time: 1_024, ..shown(&track, &table) };
        let head = progressive_head(&[edited], &[0]).expect("valid");
        let elst = position(&head, b"elst").expect("an edit list");
        let want = [
            &[1, 0, 0, 0, 0, 0, 0, 2][..],
            &900_u64.to_be_bytes(),
            &u64::MAX.to_be_bytes(),
            &[0, 1, 0, 0],
            &5_760_u64.to_be_bytes(),
            &1_024_u64.to_be_bytes(),
        ];
        assert_eq!(head[elst + 4..][..44], want.concat()[..]);
        let plain = progressive_head(&[shown(&track, &table)], &[0]).expect("valid");
        assert_eq!(position(&plain, b"edts"), None);
    }

    #[test]
    fn languages_are_three_letters() {
        assert_eq!(packed_language(*b"und"), LANGUAGE_UND);
        assert_eq!(packed_language(*b"a/b"), LANGUAGE_UND);
        assert_eq!(packed_language(*b"eng"), 0x15C7);
    }
}
