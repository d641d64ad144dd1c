//! Chunks to messages.

use bytes::{Bytes, BytesMut};

use super::{CHUNK_SIZE_DEFAULT, CHUNK_SIZE_MAX, EXTENDED_TIMESTAMP, Message};
use crate::rtmp::{At, Error};

/// What a peer may make the reader hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Chunk streams in a connection. Encoders use 3 to 6; each costs its state for the connection's life.
    pub chunk_streams: usize,
    /// Bytes of an audio, video or aggregate message. A keyframe of 100 Mbit/s video is about 5 MB.
    pub media_message_bytes: usize,
    /// Bytes of a data message. Metadata of long recordings lists every keyframe.
    pub data_message_bytes: usize,
    /// Bytes of any other message. Commands are well below 4 KiB.
    pub command_message_bytes: usize,
    /// Bytes that all unfinished messages may hold.
    pub partial_bytes: usize,
}

/// The limits of every session.
pub const LIMITS: Limits = Limits {
    chunk_streams: 32,
    media_message_bytes: 16 << 20,
    data_message_bytes: 1 << 20,
    command_message_bytes: 64 << 10,
    partial_bytes: 32 << 20,
};

impl Limits {
    fn message_bytes(&self, message_type: u8) -> usize {
        match message_type {
            8 | 9 | 22 => self.media_message_bytes,
            15 | 16 | 18 | 19 => self.data_message_bytes,
            _ => self.command_message_bytes,
        }
    }
}

/// Memory set aside for a message before any of it has arrived, in bytes; what a message that is declared and never sent costs.
const FIRST_RESERVE_BYTES: usize = 64 << 10;

/// Each further reservation is at most this many times what has arrived.
const RESERVE_GROWTH: usize = 4;

/// Media messages up to [`FIRST_RESERVE_BYTES`] are carved from blocks of this size: a stream's frames come and go in the same order, so
/// that a block is given back whole, and an allocation a second takes the place of a hundred.
const BLOCK_BYTES: usize = 256 << 10;

/// Longest chunk header: see the writer.
const HEADER_BYTES_MAX: usize = 18;

/// Reassembles messages from chunks. Each message is copied once, from the input into its own place of exactly its length.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    chunk_size: usize,
    streams: Vec<ChunkStream>,
    /// The chunk whose payload is being read: index of its stream, and payload bytes to come.
    open: Option<(usize, usize)>,
    /// The chunk stream of the chunk before: consecutive chunks are mostly of one stream.
    last: usize,
    /// A header that is cut by the end of the input.
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    partial_bytes: usize,
    offset_bytes: u64,
    /// What is left of the block that small media messages are carved from; none before the first.
    block: BytesMut,
}

/// What RTMP 1.0, 5.3.1.2 keeps of a chunk stream, and its unfinished message.
#[derive(Debug)]
struct ChunkStream {
    id: u32,
    timestamp_ms: u32,
    /// The timestamp or timestamp delta of the last header that had one.
    field: u32,
    extended: bool,
    length: usize,
    message_type: u8,
    message_stream: u32,
    /// `None` between messages.
    body: Option<Body>,
}

/// An unfinished message.
#[derive(Debug)]
enum Body {
    /// A place of exactly its length in a block.
    Carved(BytesMut),
    /// Memory of its own, which grows as the message arrives.
    Own(Vec<u8>),
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::Carved(bytes) => bytes.len(),
            Self::Own(bytes) => bytes.len(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Carved(bytes) => bytes.capacity(),
            Self::Own(bytes) => bytes.capacity(),
        }
    }

    fn extend(&mut self, more: &[u8]) {
        match self {
            Self::Carved(bytes) => bytes.extend_from_slice(more),
            Self::Own(bytes) => bytes.extend_from_slice(more),
        }
    }

    fn freeze(self) -> Bytes {
        match self {
            Self::Carved(bytes) => bytes.freeze(),
            Self::Own(bytes) => Bytes::from(bytes),
        }
    }
}

/// A place for a message of `length` bytes: in the block when it is small media, else to be grown.
fn begin_body(block: &mut BytesMut, message_type: u8, length: usize) -> Body {
    if !matches!(message_type, 8 | 9) || !(1..=FIRST_RESERVE_BYTES).contains(&length) {
        return Body::Own(Vec::new());
    }
    if block.capacity() < length {
        *block = BytesMut::with_capacity(BLOCK_BYTES);
    }
    let rest = block.split_off(length);
    Body::Carved(std::mem::replace(block, rest))
}

/// A chunk header as it stands on the wire.
struct Header {
    format: u8,
    chunk_stream: u32,
    /// Bytes of basic and message header; an extended timestamp follows.
    bytes: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new(LIMITS)
    }
}

impl Reader {
    /// A reader at the connection's first chunk.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            chunk_size: CHUNK_SIZE_DEFAULT,
            streams: Vec::new(),
            open: None,
            last: 0,
            header: [0; HEADER_BYTES_MAX],
            header_bytes: 0,
            partial_bytes: 0,
            offset_bytes: 0,
            block: BytesMut::new(),
        }
    }

    /// Tells where in the connection the next byte stands, for errors.
    pub fn set_offset(&mut self, offset_bytes: u64) {
        self.offset_bytes = offset_bytes;
    }

    /// Bytes of the connection read so far.
    pub fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// Memory that unfinished messages hold, in bytes.
    pub fn partial_bytes(&self) -> usize {
        self.partial_bytes
    }

    /// Set Chunk Size (RTMP 1.0, 5.4.1): holds from the next chunk on.
    ///
    /// # Errors
    /// When the size is 0 or over [`CHUNK_SIZE_MAX`].
    pub fn set_chunk_size(&mut self, size: u32) -> Result<(), Error> {
        let honoured = usize::try_from(size).ok().filter(|_| (1..=CHUNK_SIZE_MAX).contains(&size));
        let at = At::offset(self.offset_bytes);
        self.chunk_size = honoured.ok_or(Error::ChunkSize { size, limit: CHUNK_SIZE_MAX, at })?;
        Ok(())
    }

    /// Abort Message (RTMP 1.0, 5.4.2): forgets the unfinished message of a chunk stream.
    pub fn abort(&mut self, chunk_stream: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == chunk_stream)
            && let Some(body) = stream.body.take()
        {
            self.partial_bytes -= body.capacity();
        }
    }

    /// Reads on to the end of the next message, or of the input, and moves `input` past what was read.
    ///
    /// # Errors
    /// When the bytes are no chunks, or a limit is passed. The reader is then of no further use.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        loop {
            if let Some((index, left)) = self.open {
                if let Some(message) = self.read_payload(input, index, left)? {
                    return Ok(Some(message));
                }
                if self.open.is_some() && self.header_bytes == 0 && input.is_empty() {
                    return Ok(None);
                }
                continue;
            }
            if !self.read_header(input)? {
                return Ok(None);
            }
        }
    }

    /// Reads payload of the open chunk, first from bytes that were held back as a possible header.
    fn read_payload(&mut self, input: &mut &[u8], index: usize, left: usize) -> Result<Option<Message>, Error> {
        if self.header_bytes == 0 {
            let before = input.len();
            let message = self.fill(input, index, left)?;
            self.offset_bytes += (before - input.len()) as u64;
            return Ok(message);
        }
        let held = self.header;
        let mut rest = held.get(..self.header_bytes).unwrap_or_default();
        let message = self.fill(&mut rest, index, left)?;
        self.hold(rest);
        Ok(message)
    }

    /// Copies payload to its message; closes the chunk at its end, and yields the message at the message's end.
    fn fill(&mut self, input: &mut &[u8], index: usize, left: usize) -> Result<Option<Message>, Error> {
        let stream = self.streams.get_mut(index).expect("an open chunk has a stream");
        let (now, later) = input.split_at(left.min(input.len()));
        *input = later;

        let body = stream.body.as_mut().expect("a message is in the making while its chunk is open");
        let held = body.capacity();
        if let Body::Own(own) = body
            && own.capacity() - own.len() < now.len()
        {
            let target =
                (own.len() + now.len()).saturating_mul(RESERVE_GROWTH).max(FIRST_RESERVE_BYTES).min(stream.length);
            if self.partial_bytes + (target - held) > self.limits.partial_bytes {
                let limit_bytes = self.limits.partial_bytes;
                return Err(Error::PartialMessages { limit_bytes, at: self.at(index) });
            }
            own.reserve_exact(target - own.len());
        }
        self.partial_bytes += body.capacity() - held;
        body.extend(now);

        let left = left - now.len();
        let whole = body.len() == stream.length;
        self.open = (left > 0).then_some((index, left));
        if !whole {
            return Ok(None);
        }
        let body = stream.body.take().expect("the message is in the making");
        self.partial_bytes -= body.capacity();
        Ok(Some(Message {
            timestamp_ms: stream.timestamp_ms,
            message_type: stream.message_type,
            message_stream: stream.message_stream,
            chunk_stream: stream.id,
            body: body.freeze(),
        }))
    }

    /// Reads a chunk header and opens its chunk. False when the input ends within the header; its bytes are then kept.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<bool, Error> {
        if self.header_bytes == 0
            && let Some(taken) = self.open_chunk(input)?
        {
            self.consume(input, taken);
            return Ok(true);
        }
        // Slow path: the header is cut. Complete a copy of it with as much as a header can need, and give back what it did not.
        let kept = self.header_bytes;
        let room = self.header.get_mut(kept..).unwrap_or_default();
        let added = room.len().min(input.len());
        let (added_bytes, _) = input.split_at(added);
        room.iter_mut().zip(added_bytes).for_each(|(to, from)| *to = *from);
        let header = self.header;
        let (known, _) = header.split_at((kept + added).min(HEADER_BYTES_MAX));
        match self.open_chunk(known)? {
            Some(taken) => {
                // Fewer bytes taken than kept: a peer that leaves extended timestamps out; the rest is payload.
                self.hold(header.get(taken..kept).unwrap_or_default());
                self.consume(input, taken.saturating_sub(kept));
                Ok(true)
            }
            None => {
                self.header_bytes = kept + added;
                self.consume(input, added);
                Ok(false)
            }
        }
    }

    /// Keeps `bytes`, which are at most a header, for the next read.
    fn hold(&mut self, bytes: &[u8]) {
        self.header.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.header_bytes = bytes.len();
    }

    fn consume(&mut self, input: &mut &[u8], count: usize) {
        *input = input.get(count..).unwrap_or_default();
        self.offset_bytes += count as u64;
    }

    /// Opens the chunk whose header begins `bytes`, and returns the header's length. `None` when it is not all there.
    fn open_chunk(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let Some(header) = Header::parse(bytes) else { return Ok(None) };
        let Some(fields) = bytes.get(header.bytes - header.message_bytes()..header.bytes) else { return Ok(None) };
        let index = match self.find(header.chunk_stream) {
            Some(index) => index,
            // librtmp begins chunk stream 2 with type 1; what type 1 leaves out is then zero.
            None if header.format <= 1 => {
                // A new chunk stream is added only when its header is whole; until then nothing changes.
                if extended_missing(fields, bytes.get(header.bytes..)) {
                    return Ok(None);
                }
                self.add(header.chunk_stream)?
            }
            None => {
                let what = "a chunk stream begins without a message length (type 0 or 1)";
                return Err(Error::Chunk { what, at: self.at_stream(header.chunk_stream, None) });
            }
        };
        match header.format {
            3 => self.open_type_3(index, bytes, header.bytes),
            _ => self.open_with_fields(index, &header, fields, bytes),
        }
    }

    /// Types 0 to 2 begin a message.
    fn open_with_fields(
        &mut self,
        index: usize,
        header: &Header,
        fields: &[u8],
        bytes: &[u8],
    ) -> Result<Option<usize>, Error> {
        let mut timestamp = be24(fields.get(..3));
        let mut taken = header.bytes;
        let extended = timestamp == EXTENDED_TIMESTAMP;
        if extended {
            let Some(field) = be32(bytes.get(header.bytes..)) else { return Ok(None) };
            timestamp = field;
            taken += 4;
        }
        let at = self.at(index);
        let stream = self.streams.get_mut(index).expect("the stream was just found");
        if stream.body.is_some() {
            let what = "a new message begins on a chunk stream whose message is unfinished";
            return Err(Error::Chunk { what, at });
        }
        stream.field = timestamp;
        stream.extended = extended;
        stream.timestamp_ms = if header.format == 0 { timestamp } else { stream.timestamp_ms.wrapping_add(timestamp) };
        if let Some([a, b, c, message_type]) = fields.get(3..7) {
            stream.length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            stream.message_type = *message_type;
        }
        if let Some([a, b, c, d]) = fields.get(7..11) {
            stream.message_stream = u32::from_le_bytes([*a, *b, *c, *d]);
        }
        self.begin_message(index)?;
        self.open_payload(index);
        Ok(Some(taken))
    }

    /// Type 3 continues a message, or begins one that repeats the header before it (RTMP 1.0, 5.3.1.2.4).
    fn open_type_3(&mut self, index: usize, bytes: &[u8], header_bytes: usize) -> Result<Option<usize>, Error> {
        let stream = self.streams.get_mut(index).expect("the stream was just found");
        let continues = stream.body.is_some();
        let mut taken = header_bytes;
        if stream.extended {
            // Some peers leave the extended timestamp out of type 3: it is there when it repeats what was said.
            let Some(field) = be32(bytes.get(header_bytes..)) else { return Ok(None) };
            if field == stream.field || (continues && field == stream.timestamp_ms) {
                taken += 4;
            }
        }
        if !continues {
            stream.timestamp_ms = stream.timestamp_ms.wrapping_add(stream.field);
            self.begin_message(index)?;
        }
        self.open_payload(index);
        Ok(Some(taken))
    }

    fn begin_message(&mut self, index: usize) -> Result<(), Error> {
        let at = self.at(index);
        let stream = self.streams.get_mut(index).expect("the stream was just found");
        let limit_bytes = self.limits.message_bytes(stream.message_type);
        if stream.length > limit_bytes {
            return Err(Error::MessageTooLarge { length_bytes: stream.length, limit_bytes, at });
        }
        let body = begin_body(&mut self.block, stream.message_type, stream.length);
        self.partial_bytes += body.capacity();
        stream.body = Some(body);
        Ok(())
    }

    fn open_payload(&mut self, index: usize) {
        let stream = self.streams.get(index).expect("the stream was just found");
        let missing = stream.length - stream.body.as_ref().map_or(0, Body::len);
        self.open = Some((index, missing.min(self.chunk_size)));
    }

    fn find(&mut self, chunk_stream: u32) -> Option<usize> {
        if self.streams.get(self.last).is_some_and(|stream| stream.id == chunk_stream) {
            return Some(self.last);
        }
        self.last = self.streams.iter().position(|stream| stream.id == chunk_stream)?;
        Some(self.last)
    }

    fn add(&mut self, chunk_stream: u32) -> Result<usize, Error> {
        let limit = self.limits.chunk_streams;
        if self.streams.len() >= limit {
            return Err(Error::ChunkStreams { limit, at: self.at_stream(chunk_stream, None) });
        }
        self.streams.push(ChunkStream {
            id: chunk_stream,
            timestamp_ms: 0,
            field: 0,
            extended: false,
            length: 0,
            message_type: 0,
            message_stream: 0,
            body: None,
        });
        Ok(self.streams.len() - 1)
    }

    fn at(&self, index: usize) -> At {
        match self.streams.get(index) {
            Some(stream) => self.at_stream(stream.id, Some(stream.message_type)),
            None => At::offset(self.offset_bytes),
        }
    }

    fn at_stream(&self, chunk_stream: u32, message_type: Option<u8>) -> At {
        At { offset_bytes: self.offset_bytes, chunk_stream: Some(chunk_stream), message_type }
    }
}

impl Header {
    /// Reads the basic header (RTMP 1.0, 5.3.1.1). `None` when it is not all there.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let format = first >> 6;
        let (chunk_stream, basic_bytes) = match first & 0x3f {
            0 => (64 + u32::from(*bytes.get(1)?), 2),
            1 => (64 + u32::from(u16::from_le_bytes([*bytes.get(1)?, *bytes.get(2)?])), 3),
            id => (u32::from(id), 1),
        };
        let mut header = Self { format, chunk_stream, bytes: basic_bytes };
        header.bytes += header.message_bytes();
        Some(header)
    }

    fn message_bytes(&self) -> usize {
        match self.format {
            0 => 11,
            1 => 7,
            2 => 3,
            _ => 0,
        }
    }
}

fn extended_missing(fields: &[u8], after: Option<&[u8]>) -> bool {
    be24(fields.get(..3)) == EXTENDED_TIMESTAMP && be32(after).is_none()
}

fn be24(bytes: Option<&[u8]>) -> u32 {
    bytes.unwrap_or_default().iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn be32(bytes: Option<&[u8]>) -> Option<u32> {
    bytes?.first_chunk().map(|first| u32::from_be_bytes(*first))
}

#[cfg(test)]
mod tests;
