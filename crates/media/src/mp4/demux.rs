//! Fragmented MP4 as it arrives through a pipe.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::{
    boxes::{Header, read_header},
    movie::{Defaults, Movie, MovieTrack},
    read::{Chunk, Place, read_fragment},
    within,
};
use crate::{
    CodecConfig, Error, Result, Sample, Track, TrackKind,
    codec::{AccessUnit, av1, avc, hevc},
};

/// Largest `moov` or `moof`, in bytes: 65,536 samples of 16 bytes, or configurations of 64 tracks, with room.
pub const HEADER_BYTES_MAX: u64 = 4 << 20;
/// Largest `moof` and `mdat` pair, in bytes: 10 s of 50 Mbit/s. This much memory a peer can hold.
pub const CHUNK_BYTES_MAX: u64 = 64 << 20;

/// What came out of the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A track, before its samples; again when parameter sets among the samples change its configuration.
    Track {
        /// track_ID.
        track_id: u32,
        /// With the timescale of the file.
        track: Track,
    },
    /// Samples of a track told before, in canonical form (see [`Sample`]). Edit lists are applied to their times, so that `dts` may
    /// be negative and differ from [`Chunk::base_dts`].
    Chunk(Chunk),
}

/// Reads fragmented MP4 piece by piece: push bytes as they come, then take the events. A chunk is there as soon as its
/// `mdat` is complete. Memory is bounded by [`CHUNK_BYTES_MAX`] and what was pushed since the last [`Demuxer::poll`].
#[derive(Debug, Default)]
pub struct Demuxer {
    buffer: BytesMut,
    /// Of the buffer's beginning within the file.
    position: u64,
    /// Bytes to pass over: the rest of a box that is not read.
    skip_bytes: u64,
    /// The buffer begins with a whole `moof`; the next box begins here.
    after_moof: Option<usize>,
    movie: Movie,
    events: VecDeque<Event>,
}

impl Demuxer {
    /// Before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they come, cut anywhere.
    ///
    /// # Errors
    /// When a box lies about its size or is over its limit, or a track or sample cannot be read. Nothing can be read after that.
    pub fn push(&mut self, data: &[u8]) -> Result<()> {
        let skipped = self.skip_bytes.min(data.len() as u64);
        self.skip_bytes -= skipped;
        self.position += skipped;
        self.buffer.extend_from_slice(data.get(skipped as usize..).unwrap_or_default());
        while self.step()? {}
        Ok(())
    }

    /// The next event, in the order of the stream.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Says that no more bytes come.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the last box is not complete.
    pub fn finish(&self) -> Result<()> {
        if self.buffer.is_empty() && self.skip_bytes == 0 {
            return Ok(());
        }
        let have = self.buffer.len();
        Err(Error::Truncated { what: "last box", need: have.saturating_add(1), have })
    }

    /// Reads one box; false when it is not complete.
    fn step(&mut self) -> Result<bool> {
        let at = self.after_moof.unwrap_or(0);
        let rest = self.buffer.get(at..).unwrap_or_default();
        let Some(header) = read_header(rest)? else { return Ok(false) };
        let box_bytes = header.box_bytes.ok_or_else(|| Error::invalid("box", "without end in a stream"))?;
        match (&header.kind, self.after_moof) {
            (b"moov" | b"moof", None) => self.read_header_box(header, box_bytes),
            (b"moof", Some(_)) => Err(Error::invalid("moof", "another one before the mdat of the first")),
            (_, Some(at)) => self.read_after_moof(header, at, box_bytes),
            (_, None) => {
                self.pass_over(box_bytes);
                Ok(true)
            }
        }
    }

    fn read_header_box(&mut self, header: Header, box_bytes: u64) -> Result<bool> {
        within("box", box_bytes, HEADER_BYTES_MAX)?;
        let bytes = box_bytes as usize;
        if self.buffer.len() < bytes {
            return Ok(false);
        }
        if header.kind == *b"moof" {
            self.after_moof = Some(bytes);
            return Ok(true);
        }
        let moov = self.take(bytes);
        self.movie = Movie::read(&moov, moov.get(header.header_bytes..).unwrap_or_default())?;
        for MovieTrack { id, track, .. } in &self.movie.tracks {
            self.events.push_back(Event::Track { track_id: *id, track: track.clone() });
        }
        Ok(true)
    }

    /// Boxes between `moof` and `mdat` are kept, because data offsets count across them.
    fn read_after_moof(&mut self, header: Header, at: usize, box_bytes: u64) -> Result<bool> {
        let end = box_bytes.saturating_add(at as u64);
        within("movie fragment", end, CHUNK_BYTES_MAX)?;
        let end = end as usize;
        if self.buffer.len() < end {
            return Ok(false);
        }
        self.after_moof = Some(end);
        if header.kind == *b"mdat" {
            self.after_moof = None;
            let data_position = self.position;
            let data = self.take(end);
            self.read_chunks(&data, data_position)?;
        }
        Ok(true)
    }

    fn read_chunks(&mut self, data: &Bytes, data_position: u64) -> Result<()> {
        let header = read_header(data)?.ok_or_else(|| Error::invalid("moof", "no header"))?;
        let size = header.box_bytes.and_then(|size| usize::try_from(size).ok()).unwrap_or(data.len());
        let moof = data.get(header.header_bytes..size).unwrap_or_default();
        let mut chunks = Vec::new();
        let movie = &self.movie;
        let defaults = |id| movie.tracks.iter().find(|t| t.id == id).map_or(Defaults::default(), |t| t.defaults);
        read_fragment(Place { data, moof_start: 0, data_position }, moof, defaults, &mut chunks)?;
        for chunk in chunks {
            if let Some(track) = self.movie.tracks.iter_mut().find(|t| t.id == chunk.track_id) {
                emit(track, chunk, &mut self.events)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: usize) -> Bytes {
        self.position += bytes as u64;
        self.buffer.split_to(bytes).freeze()
    }

    fn pass_over(&mut self, bytes: u64) {
        let now = bytes.min(self.buffer.len() as u64);
        self.buffer.advance(now as usize);
        self.position += now;
        self.skip_bytes = bytes - now;
    }
}

/// Puts a chunk's samples into canonical form and its events into the queue, cut where the configuration changes.
fn emit(track: &mut MovieTrack, chunk: Chunk, events: &mut VecDeque<Event>) -> Result<()> {
    let Chunk { track_id, mut base_dts, samples } = chunk;
    let mut ready = Vec::with_capacity(samples.len());
    for mut sample in samples {
        let media_dts = sample.dts;
        track.defaults.base_dts = media_dts.saturating_add(sample.duration.into()).try_into().unwrap_or(0);
        sample.dts = media_dts.saturating_add(track.edit_shift);
        if let Some(codec) = canonical(track, &mut sample)? {
            if !ready.is_empty() {
                events.push_back(Event::Chunk(Chunk { track_id, base_dts, samples: std::mem::take(&mut ready) }));
            }
            base_dts = media_dts.try_into().unwrap_or(0);
            track.track.codec = codec.into();
            events.push_back(Event::Track { track_id, track: track.track.clone() });
        }
        // What is left of an access unit without a picture is nothing.
        if !sample.payload.is_empty() {
            ready.push(sample);
        }
    }
    if !ready.is_empty() {
        events.push_back(Event::Chunk(Chunk { track_id, base_dts, samples: ready }));
    }
    Ok(())
}

/// Makes the sample canonical; a configuration that came with it is given back.
fn canonical(track: &MovieTrack, sample: &mut Sample) -> Result<Option<CodecConfig>> {
    let payload = sample.payload.clone();
    let length_bytes = track.nal_length_bytes;
    let (payload, config) = match &*track.track.codec {
        CodecConfig::Avc(config) => split(avc::canonical(payload, length_bytes, config)?, CodecConfig::Avc),
        CodecConfig::Hevc(config) => split(hevc::canonical(payload, length_bytes, config)?, CodecConfig::Hevc),
        CodecConfig::Av1(config) => split(av1::canonical(payload, Some(config))?, CodecConfig::Av1),
        codec => {
            sample.sync |= codec.kind() == TrackKind::Audio;
            (payload, None)
        }
    };
    sample.payload = payload;
    Ok(config)
}

fn split<C>(unit: AccessUnit<C>, wrap: impl FnOnce(C) -> CodecConfig) -> (Bytes, Option<CodecConfig>) {
    (unit.payload, unit.parameter_sets.map(wrap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_over_the_limit_are_refused_before_their_bytes_come() {
        let check = |head: &[u8], limit: u64| {
            let refused = Demuxer::new().push(head);
            assert!(matches!(refused, Err(Error::TooLarge { limit: l, .. }) if l == limit), "{refused:?}");
        };
        check(b"\0\x50\0\0moov", HEADER_BYTES_MAX);
        check(b"\x10\0\0\0moof", HEADER_BYTES_MAX);
        check(b"\0\0\0\x08moof\x10\0\0\0mdat", CHUNK_BYTES_MAX);
        check(b"\0\0\0\x08moof\0\0\0\x01mdat\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", CHUNK_BYTES_MAX);
    }

    #[test]
    fn unknown_boxes_are_passed_over_without_memory() {
        let mut demuxer = Demuxer::new();
        demuxer.push(b"\0\0\0\x01free\0\0\0\x01\0\0\0\0").unwrap();
        for _ in 0..100 {
            demuxer.push(&[0; 4096]).unwrap();
        }
        assert_eq!(demuxer.buffer.len(), 0);
        assert_eq!(demuxer.skip_bytes, (1 << 32) - 16 - 409_600);
        assert!(demuxer.finish().is_err());
    }
}
