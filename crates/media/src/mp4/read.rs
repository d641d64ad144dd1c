//! Reading movie fragments (ISO/IEC 14496-12 8.8).

use bytes::Bytes;

use super::{
    boxes::{Box, Boxes, Reader, find, need},
    movie::{Defaults, TIME_MAX, TRACKS_MAX},
    within,
};
use crate::{Error, Result, Sample};

/// Most samples in one movie fragment: 13 minutes of 80 frames a second, 23 minutes of AAC.
pub const FRAGMENT_SAMPLES_MAX: usize = 65_536;

/// Samples of one track from one movie fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// As in the movie header.
    pub track_id: u32,
    /// `tfdt` baseMediaDecodeTime of the first sample, as written.
    pub base_dts: u64,
    /// In decoding order; payloads are slices of the input.
    pub samples: Vec<Sample>,
}

/// The samples in one or more `moof` and `mdat` pairs, one [`Chunk`] for each fragment of a track.
///
/// Written for what this platform writes: every fragment tells its own defaults, and payloads are not rewritten. For the
/// output of others, which may leave defaults to `trex`, use [`Demuxer`](super::Demuxer).
///
/// # Errors
/// When a box or a sample reaches past the end of its parent or of `data`, or a count is over its limit.
pub fn read_chunks(data: &Bytes) -> Result<Vec<Chunk>> {
    let mut chunks = Vec::new();
    for item in Boxes::new(data) {
        let item = item?;
        if item.kind == *b"moof" {
            let place = Place { data, moof_start: item.start, data_position: 0 };
            read_fragment(place, item.body, |_| Defaults::default(), &mut chunks)?;
        }
    }
    Ok(chunks)
}

/// Where the bytes of a movie fragment are.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Holds the fragment and its data.
    pub(super) data: &'a Bytes,
    /// Of the `moof` box within `data`.
    pub(super) moof_start: usize,
    /// Of `data` within the file.
    pub(super) data_position: u64,
}

/// Appends one [`Chunk`] for each track fragment with samples.
pub(super) fn read_fragment(
    place: Place,
    moof: &[u8],
    defaults: impl Fn(u32) -> Defaults,
    chunks: &mut Vec<Chunk>,
) -> Result<()> {
    // Without a base of its own, a track fragment's data follows that of the one before it (8.8.7.1).
    let mut end_of_previous = place.moof_start as u64;
    let mut budget = Budget { samples: 0, bytes: 0 };
    let mut count: u64 = 0;
    for item in Boxes::new(moof) {
        let item = item?;
        if item.kind != *b"traf" {
            continue;
        }
        count += 1;
        within("track fragments", count, TRACKS_MAX as u64)?;
        let mut traf = TrackFragment::read(place, item.body, &defaults, end_of_previous)?;
        traf.read_runs(item.body, &mut budget)?;
        end_of_previous = traf.at;
        if !traf.chunk.samples.is_empty() {
            chunks.push(traf.chunk);
        }
    }
    Ok(())
}

/// What the samples of a movie fragment have used of its limits: a small box must not stand for many samples.
struct Budget {
    samples: usize,
    /// Of payload. Samples that share bytes could multiply them.
    bytes: u64,
}

impl Budget {
    fn take_samples(&mut self, count: usize) -> Result<()> {
        self.samples = self.samples.saturating_add(count);
        let limit = FRAGMENT_SAMPLES_MAX as u64;
        within("samples in a movie fragment", self.samples as u64, limit)
    }

    fn take_bytes(&mut self, count: u32, data: &Bytes) -> Result<()> {
        self.bytes = self.bytes.saturating_add(count.into());
        within("bytes of samples in a movie fragment", self.bytes, data.len() as u64)
    }
}

/// A `traf` while its runs are read.
struct TrackFragment<'a> {
    data: &'a Bytes,
    defaults: Defaults,
    /// Where data offsets count from, in `data`.
    base: u64,
    /// Where the next run without a data offset begins.
    at: u64,
    dts: i64,
    chunk: Chunk,
}

impl<'a> TrackFragment<'a> {
    fn read(place: Place<'a>, traf: &[u8], defaults: impl Fn(u32) -> Defaults, end_of_previous: u64) -> Result<Self> {
        const BASE_DATA_OFFSET: u32 = 0x1;
        const DESCRIPTION_INDEX: u32 = 0x2;
        const DURATION: u32 = 0x8;
        const SIZE: u32 = 0x10;
        const FLAGS: u32 = 0x20;
        const BASE_IS_MOOF: u32 = 0x2_0000;
        let mut r = Reader::new("tfhd", need(traf, b"tfhd")?);
        let (_, present) = r.version_flags()?;
        let track_id = r.u32()?;
        let mut defaults = defaults(track_id);
        let mut base = if present & BASE_IS_MOOF != 0 { place.moof_start as u64 } else { end_of_previous };
        if present & BASE_DATA_OFFSET != 0 {
            let position = r.u64()?;
            base = position.checked_sub(place.data_position).ok_or_else(|| {
                Error::invalid("tfhd", format!("base_data_offset {position} lies before the fragment"))
            })?;
        }
        if present & DESCRIPTION_INDEX != 0 {
            r.skip(4)?;
        }
        if present & DURATION != 0 {
            defaults.duration = r.u32()?;
        }
        if present & SIZE != 0 {
            defaults.size = r.u32()?;
        }
        if present & FLAGS != 0 {
            defaults.flags = r.u32()?;
        }
        let base_dts = read_base_dts(traf)?.unwrap_or(defaults.base_dts);
        within("baseMediaDecodeTime", base_dts, TIME_MAX)?;
        Ok(Self {
            data: place.data,
            defaults,
            base,
            at: base,
            dts: base_dts as i64,
            chunk: Chunk { track_id, base_dts, samples: Vec::new() },
        })
    }

    fn read_runs(&mut self, traf: &[u8], budget: &mut Budget) -> Result<()> {
        for item in Boxes::new(traf) {
            let item = item?;
            if item.kind == *b"trun" {
                self.read_run(&item, budget)?;
            }
        }
        Ok(())
    }

    fn read_run(&mut self, trun: &Box, budget: &mut Budget) -> Result<()> {
        const DATA_OFFSET: u32 = 0x1;
        const FIRST_FLAGS: u32 = 0x4;
        let mut r = Reader::new("trun", trun.body);
        let (_, present) = r.version_flags()?;
        let count = r.u32()? as usize;
        budget.take_samples(count)?;
        if present & DATA_OFFSET != 0 {
            let offset = r.u32()? as i32;
            self.at = self
                .base
                .checked_add_signed(offset.into())
                .ok_or_else(|| Error::invalid("trun", format!("data_offset {offset} lies before the data")))?;
        }
        let mut first_flags = if present & FIRST_FLAGS != 0 { Some(r.u32()?) } else { None };
        let field_bytes = 4 * (present >> 8 & 0xF).count_ones() as usize;
        let need = field_bytes.saturating_mul(count);
        if need > r.rest().len() {
            return Err(Error::Truncated { what: "trun", need, have: r.rest().len() });
        }
        self.chunk.samples.reserve(count.min(self.data.len()));
        for _ in 0..count {
            self.read_sample(&mut r, present, first_flags.take(), budget)?;
        }
        Ok(())
    }

    fn read_sample(
        &mut self,
        r: &mut Reader,
        present: u32,
        first_flags: Option<u32>,
        budget: &mut Budget,
    ) -> Result<()> {
        const NON_SYNC: u32 = 0x1_0000;
        let mut field = |flag: u32, default: u32| if present & flag != 0 { r.u32() } else { Ok(default) };
        let duration = field(0x100, self.defaults.duration)?;
        let size = field(0x200, self.defaults.size)?;
        let flags = field(0x400, first_flags.unwrap_or(self.defaults.flags))?;
        // Version 0 has unsigned offsets, and writers that put negative ones there.
        let cts_offset = field(0x800, 0)? as i32;
        let dts = self.dts;
        self.dts = dts.saturating_add(duration.into());
        budget.take_bytes(size, self.data)?;
        let payload = self.take(size)?;
        // An empty sample only takes its time.
        if !payload.is_empty() {
            self.chunk.samples.push(Sample { dts, cts_offset, duration, sync: flags & NON_SYNC == 0, payload });
        }
        Ok(())
    }

    fn take(&mut self, size: u32) -> Result<Bytes> {
        let end = self.at.saturating_add(size.into());
        let range = usize::try_from(self.at).ok().zip(usize::try_from(end).ok());
        let Some((start, end)) = range.filter(|&(_, end)| end <= self.data.len()) else {
            let need = usize::try_from(end).unwrap_or(usize::MAX);
            return Err(Error::Truncated { what: "movie fragment", need, have: self.data.len() });
        };
        self.at = end as u64;
        Ok(self.data.slice(start..end))
    }
}

fn read_base_dts(traf: &[u8]) -> Result<Option<u64>> {
    let Some(tfdt) = find(traf, b"tfdt")? else { return Ok(None) };
    let mut r = Reader::new("tfdt", tfdt);
    let (version, _) = r.version_flags()?;
    Ok(Some(if version == 1 { r.u64()? } else { r.u32()?.into() }))
}
