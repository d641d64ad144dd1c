use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

use super::{Reader, TYPE_AUDIO, TYPE_VIDEO, Unit, mux::TAG_HEADER_BYTES};
use crate::{Error, Result, TrackKind};

/// The largest audio or video tag, in bytes: a key frame of half a second at 200 Mbit/s has less. The format could say
/// 16 MiB - 1, which is also what a pipe that lost its place claims.
pub const MAX_TAG_BYTES: usize = 12 << 20;

/// The FLV header (Annex E.2) without what DataOffset adds, in bytes.
const HEADER_BYTES: usize = 9;
/// DataOffset: versions to come may have a longer header, but hardly of a kilobyte.
const MAX_DATA_OFFSET: u32 = 1_024;
/// PreviousTagSize (Annex E.3), in bytes. Encoders get its value wrong, and nobody needs it.
const PREVIOUS_TAG_SIZE_BYTES: usize = 4;
/// The Filter flag of the tag type: an encrypted tag (Annex E.4.1).
const FILTERED: u8 = 0x20;

/// Cuts an FLV byte stream, in whatever pieces it arrives, into the units of its tags.
///
/// Push bytes, then call [`Demuxer::next_unit`] until it has nothing more. A tag's units are there as soon as its last
/// byte is. It holds at most one unfinished tag and what was pushed last; script data and unknown tags are skipped without
/// being held.
#[derive(Debug, Default)]
pub struct Demuxer {
    buffer: BytesMut,
    state: State,
    reader: Reader,
    clock: Unroller,
    ready: VecDeque<(TrackKind, Unit)>,
    /// Why the byte stream cannot be followed any further.
    broken: Option<Error>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Header,
    /// Bytes to pass over before the next tag.
    Skip(usize),
    TagHeader,
    Body(Tag),
}

#[derive(Clone, Copy, Debug)]
struct Tag {
    kind: TrackKind,
    size: usize,
    timestamp_ms: i64,
}

impl Demuxer {
    /// A demuxer at the beginning of a file or pipe.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where the next bytes may be read to directly, without [`Demuxer::push`]'s copy: append only.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Frames that came before their sequence header, see [`Reader::orphans`].
    pub fn orphans(&self) -> u64 {
        self.reader.orphans()
    }

    /// Whether the byte stream cannot be followed any further: [`Demuxer::next_unit`] has nothing more than this error.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some() && self.ready.is_empty()
    }

    /// The next unit and the kind of its track; `None` until more bytes are pushed. [`Unit::End`] has the kind of the
    /// track that ended.
    ///
    /// # Errors
    /// An error in a tag's body leaves the demuxer usable: the next call goes on with the next tag. An error in the framing
    /// is final and comes back at every call.
    pub fn next_unit(&mut self) -> Result<Option<(TrackKind, Unit)>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(Some(ready));
            }
            if let Some(error) = &self.broken {
                return Err(error.clone());
            }
            let proceeds = match self.state {
                State::Header => self.header(),
                State::Skip(count) => Ok(self.skip(count)),
                State::TagHeader => self.tag_header(),
                State::Body(tag) if self.buffer.len() < tag.size => Ok(false),
                State::Body(tag) => {
                    self.state = State::Skip(PREVIOUS_TAG_SIZE_BYTES);
                    self.body(tag)?;
                    continue;
                }
            };
            match proceeds {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => {
                    self.buffer = BytesMut::new();
                    self.broken = Some(error);
                }
            }
        }
    }

    /// FLV header (Annex E.2).
    fn header(&mut self) -> Result<bool> {
        let Some([signature @ .., version, _flags, o0, o1, o2, o3]) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(false);
        };
        if signature != b"FLV" {
            return Err(Error::invalid("FLV header", format!("signature {}, not FLV", signature.escape_ascii())));
        }
        let data_offset = u32::from_be_bytes([*o0, *o1, *o2, *o3]);
        if *version != 1 || data_offset < HEADER_BYTES as u32 {
            return Err(Error::invalid("FLV header", format!("version {version}, data offset {data_offset}")));
        }
        if data_offset > MAX_DATA_OFFSET {
            let (value, limit) = (data_offset.into(), MAX_DATA_OFFSET.into());
            return Err(Error::TooLarge { what: "FLV header", value, limit });
        }
        self.state = State::Skip(data_offset as usize + PREVIOUS_TAG_SIZE_BYTES);
        Ok(true)
    }

    fn skip(&mut self, count: usize) -> bool {
        let now = count.min(self.buffer.len());
        self.buffer.advance(now);
        let left = count - now;
        self.state = if left == 0 { State::TagHeader } else { State::Skip(left) };
        left == 0
    }

    /// FLVTAG (Annex E.4.1).
    fn tag_header(&mut self) -> Result<bool> {
        let Some(&[tag_type, s0, s1, s2, t1, t2, t3, t0, _, _, _]) = self.buffer.first_chunk::<TAG_HEADER_BYTES>()
        else {
            return Ok(false);
        };
        let size = u32::from_be_bytes([0, s0, s1, s2]) as usize;
        let kind = match tag_type & 0x1F {
            TYPE_AUDIO => TrackKind::Audio,
            TYPE_VIDEO => TrackKind::Video,
            _ => {
                self.state = State::Skip(TAG_HEADER_BYTES + size + PREVIOUS_TAG_SIZE_BYTES);
                return Ok(true);
            }
        };
        if tag_type & FILTERED != 0 {
            return Err(Error::Unsupported("encrypted FLV".into()));
        }
        if size > MAX_TAG_BYTES {
            return Err(Error::TooLarge { what: "FLV tag", value: size as u64, limit: MAX_TAG_BYTES as u64 });
        }
        self.buffer.advance(TAG_HEADER_BYTES);
        let timestamp_ms = self.clock.unroll(u32::from_be_bytes([t0, t1, t2, t3]));
        self.state = State::Body(Tag { kind, size, timestamp_ms });
        Ok(true)
    }

    fn body(&mut self, tag: Tag) -> Result<()> {
        let body = self.buffer.split_to(tag.size).freeze();
        let units = match tag.kind {
            TrackKind::Video => self.reader.read_video(tag.timestamp_ms, body)?,
            TrackKind::Audio => self.reader.read_audio(tag.timestamp_ms, body)?,
        };
        self.ready.extend(units.into_iter().map(|unit| (tag.kind, unit)));
        Ok(())
    }
}

/// Frees 32-bit timestamps of their wrap-around, each taken for the value nearest to the one before.
#[derive(Debug, Default)]
struct Unroller {
    last: Option<(u32, i64)>,
}

impl Unroller {
    fn unroll(&mut self, timestamp: u32) -> i64 {
        let unrolled = match self.last {
            None => i64::from(timestamp),
            Some((last, unrolled)) => unrolled.saturating_add((timestamp.wrapping_sub(last) as i32).into()),
        };
        self.last = Some((timestamp, unrolled));
        unrolled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_go_on_past_2_to_the_32() {
        let mut clock = Unroller::default();
        let check = |(timestamp, want): (u32, i64)| assert_eq!(clock.unroll(timestamp), want);
        [
            (0xFFFF_FFF0, 4_294_967_280),
            (0xFFFF_FFFF, 4_294_967_295),
            (15, 4_294_967_311),
            (5, 4_294_967_301),
            (0xFFFF_FFFF, 4_294_967_295),
            (0x7000_0000, 6_174_015_488),
            (0xD000_0000, 7_784_628_224),
            (0x3000_0000, 9_395_240_960),
        ]
        .into_iter()
        .for_each(check);
    }
}
