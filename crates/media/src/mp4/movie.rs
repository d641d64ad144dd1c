//! Reading `moov` (ISO/IEC 14496-12 8.2).

use base::{Timescale, time::rescale};
use bytes::Bytes;

use super::{
    boxes::{Boxes, Reader, find, need},
    entry, within,
};
use crate::{Error, Result, Track, TrackKind};

/// Most tracks in a movie or fragments of tracks in a movie fragment: an adaptive ladder in one file has a dozen.
pub const TRACKS_MAX: usize = 64;
/// Latest time, in ticks: 25,000 years of 90 kHz. Sums of times below it cannot overflow.
pub(super) const TIME_MAX: u64 = 1 << 56;

/// The sound and picture tracks of an initialisation segment, by track_ID; tracks of other kinds are passed over.
///
/// # Errors
/// When there is no `moov`, a box lies about its size, or a track's codec is not one of [`CodecConfig`](crate::CodecConfig)'s.
pub fn read_init(data: &Bytes) -> Result<Vec<(u32, Track)>> {
    let movie = Movie::read(data, need(data, b"moov")?)?;
    Ok(movie.tracks.into_iter().map(|t| (t.id, t.track)).collect())
}

/// What `moov` says.
#[derive(Debug, Default)]
pub(super) struct Movie {
    pub(super) tracks: Vec<MovieTrack>,
}

/// One track of a movie.
#[derive(Debug)]
pub(super) struct MovieTrack {
    pub(super) id: u32,
    pub(super) track: Track,
    /// Bytes of a NAL unit's length in the samples.
    pub(super) nal_length_bytes: u8,
    pub(super) defaults: Defaults,
    /// Ticks to add to media times for presentation times: what the edit list says (ISO/IEC 14496-12 8.6.6).
    pub(super) edit_shift: i64,
}

/// What a sample has when its fragment does not say (8.8.3), and where a fragment without `tfdt` begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Defaults {
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
    pub(super) base_dts: u64,
}

impl Movie {
    /// `data` is the buffer that `moov` is a part of; configurations are slices of it.
    pub(super) fn read(data: &Bytes, moov: &[u8]) -> Result<Self> {
        let movie_timescale = read_movie_timescale(moov)?;
        let mut tracks = Vec::new();
        for item in Boxes::new(moov) {
            let item = item?;
            if item.kind != *b"trak" {
                continue;
            }
            if tracks.len() == TRACKS_MAX {
                return Err(Error::TooLarge {
                    what: "tracks",
                    value: tracks.len() as u64 + 1,
                    limit: TRACKS_MAX as u64,
                });
            }
            tracks.extend(read_track(data, item.body, movie_timescale)?);
        }
        if let Some(mvex) = find(moov, b"mvex")? {
            read_track_extends(mvex, &mut tracks)?;
        }
        Ok(Self { tracks })
    }
}

fn read_movie_timescale(moov: &[u8]) -> Result<Timescale> {
    timescale("mvhd", need(moov, b"mvhd")?)
}

/// `mvhd` and `mdhd` begin alike: creation time, modification time, timescale.
fn timescale(what: &'static str, body: &[u8]) -> Result<Timescale> {
    let mut r = Reader::new(what, body);
    let (version, _) = r.version_flags()?;
    r.skip(if version == 1 { 16 } else { 8 })?;
    Timescale::new(r.u32()?).ok_or_else(|| Error::invalid(what, "timescale 0"))
}

/// `None` for a track that is neither sound nor picture.
fn read_track(data: &Bytes, trak: &[u8], movie_timescale: Timescale) -> Result<Option<MovieTrack>> {
    let id = read_track_id(need(trak, b"tkhd")?)?;
    let mdia = need(trak, b"mdia")?;
    let mut handler = Reader::new("hdlr", need(mdia, b"hdlr")?);
    handler.skip(8)?;
    let kind = match &handler.array()? {
        b"vide" => TrackKind::Video,
        b"soun" => TrackKind::Audio,
        _ => return Ok(None),
    };
    let timescale = timescale("mdhd", need(mdia, b"mdhd")?)?;
    let stsd = need(need(need(mdia, b"minf")?, b"stbl")?, b"stsd")?;
    let mut r = Reader::new("stsd", stsd);
    r.skip(8)?; // version, flags, entry_count
    let first = Boxes::new(r.rest()).next().ok_or_else(|| Error::invalid("stsd", "no sample entry"))??;
    let entry = entry::read(data, kind, &first)?;
    let edit_shift = match find(trak, b"edts")? {
        Some(edts) => read_edit_shift(edts, movie_timescale, timescale)?,
        None => 0,
    };
    Ok(Some(MovieTrack {
        id,
        track: Track { codec: entry.codec.into(), timescale },
        nal_length_bytes: entry.nal_length_bytes,
        defaults: Defaults::default(),
        edit_shift,
    }))
}

fn read_track_id(tkhd: &[u8]) -> Result<u32> {
    let mut r = Reader::new("tkhd", tkhd);
    let (version, _) = r.version_flags()?;
    r.skip(if version == 1 { 16 } else { 8 })?;
    r.u32()
}

/// An empty edit delays the track, the first other edit says which media time is presented first; more is not honoured.
fn read_edit_shift(edts: &[u8], movie: Timescale, media: Timescale) -> Result<i64> {
    let Some(elst) = find(edts, b"elst")? else { return Ok(0) };
    let mut r = Reader::new("elst", elst);
    let (version, _) = r.version_flags()?;
    let count = r.u32()?;
    let mut delay: i64 = 0;
    for _ in 0..count.min(2) {
        let (duration, media_time) = match version {
            1 => (r.u64()?, r.u64()? as i64),
            _ => (u64::from(r.u32()?), i64::from(r.u32()? as i32)),
        };
        r.skip(4)?; // media_rate
        within("media_time", media_time.unsigned_abs(), TIME_MAX)?;
        if media_time >= 0 {
            return Ok(delay - media_time);
        }
        within("segment_duration", duration, TIME_MAX)?;
        delay = rescale(duration as i64, movie, media);
        within("empty edit", delay.unsigned_abs(), TIME_MAX)?;
    }
    Ok(delay)
}

fn read_track_extends(mvex: &[u8], tracks: &mut [MovieTrack]) -> Result<()> {
    for item in Boxes::new(mvex) {
        let item = item?;
        if item.kind != *b"trex" {
            continue;
        }
        let mut r = Reader::new("trex", item.body);
        r.skip(4)?;
        let id = r.u32()?;
        r.skip(4)?; // default_sample_description_index
        let defaults = Defaults { duration: r.u32()?, size: r.u32()?, flags: r.u32()?, base_dts: 0 };
        for track in tracks.iter_mut().filter(|t| t.id == id) {
            track.defaults = defaults;
        }
    }
    Ok(())
}
