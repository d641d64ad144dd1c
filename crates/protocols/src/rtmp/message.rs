//! Message types and the small vocabulary around them.

use super::{At, Error, amf, chunk::Message};

// RTMP 1.0, 5.4: protocol control messages; 6.2: user control; 7.1: commands, data, media.
pub(super) const SET_CHUNK_SIZE: u8 = 1;
pub(super) const ABORT: u8 = 2;
pub(super) const ACKNOWLEDGEMENT: u8 = 3;
pub(super) const USER_CONTROL: u8 = 4;
pub(super) const WINDOW_ACK_SIZE: u8 = 5;
pub(super) const SET_PEER_BANDWIDTH: u8 = 6;
pub(super) const AUDIO: u8 = 8;
pub(super) const VIDEO: u8 = 9;
pub(super) const DATA_AMF3: u8 = 15;
pub(super) const SHARED_OBJECT_AMF3: u8 = 16;
pub(super) const COMMAND_AMF3: u8 = 17;
pub(super) const DATA_AMF0: u8 = 18;
pub(super) const SHARED_OBJECT_AMF0: u8 = 19;
pub(super) const COMMAND_AMF0: u8 = 20;
pub(super) const AGGREGATE: u8 = 22;

// RTMP 1.0, 7.1.7: user control events.
pub(super) const STREAM_BEGIN: u16 = 0;
pub(super) const STREAM_EOF: u16 = 1;
pub(super) const SET_BUFFER_LENGTH: u16 = 3;
pub(super) const PING_REQUEST: u16 = 6;
pub(super) const PING_RESPONSE: u16 = 7;

/// Chunk streams of what we send. 2 is the specification's for control messages; the others are what encoders use.
pub(super) mod chunk_stream {
    pub(crate) const CONTROL: u32 = 2;
    pub(crate) const COMMAND: u32 = 3;
    pub(crate) const AUDIO: u32 = 4;
    pub(crate) const DATA: u32 = 5;
    pub(crate) const VIDEO: u32 = 6;
}

/// Where a message was found.
pub(super) fn at(message: &Message, offset_bytes: u64) -> At {
    At { offset_bytes, chunk_stream: Some(message.chunk_stream), message_type: Some(message.message_type) }
}

/// A command: name, transaction and arguments, of which the first is the command object.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: String,
    pub(super) transaction: f64,
    arguments: Vec<amf::Value>,
    pub(super) at: At,
}

impl Command {
    /// Reads a message of type 17 or 20.
    pub(super) fn read(message: &Message, at: At) -> Result<Self, Error> {
        let values = values(message).map_err(|source| Error::Amf { source, at })?;
        let mut values = values.into_iter();
        let Some(amf::Value::String(name)) = values.next() else {
            return Err(Error::Command { what: "a command does not begin with its name", at });
        };
        let transaction = values.next().and_then(|value| value.as_number()).unwrap_or(0.0);
        Ok(Self { name, transaction, arguments: values.collect(), at })
    }

    /// An argument; 0 is the command object.
    pub(super) fn argument(&self, index: usize) -> Option<&amf::Value> {
        self.arguments.get(index)
    }

    pub(super) fn text(&self, index: usize) -> Option<&str> {
        self.argument(index)?.as_str()
    }
}

/// The values of a command or data message.
pub(super) fn values(message: &Message) -> Result<Vec<amf::Value>, amf::Error> {
    let body: &[u8] = &message.body;
    match (message.message_type, body.split_first()) {
        // The AMF 3 forms begin with a byte 0, and are AMF 0 that may switch to AMF 3 after it.
        (DATA_AMF3 | COMMAND_AMF3, Some((0, rest))) => amf::read_all(rest),
        _ => amf::read_all(body),
    }
}

/// Parts read of an aggregate message. Servers put a second or two into one: a few hundred parts.
const AGGREGATE_PARTS_MAX: usize = 4_096;

/// An aggregate's parts: FLV tags without their file (RTMP 1.0, 7.1.6).
pub(super) struct Aggregate {
    message: Message,
    offset: usize,
    parts: usize,
    /// What to add to the parts' timestamps: the message's says when the first is due.
    shift_ms: Option<u32>,
}

impl Aggregate {
    pub(super) fn new(message: Message) -> Self {
        Self { message, offset: 0, parts: 0, shift_ms: None }
    }

    fn read_part(&mut self) -> Option<Message> {
        const TAG_HEADER_BYTES: usize = 11;
        const BACK_POINTER_BYTES: usize = 4;
        let header = self.message.body.get(self.offset..)?.first_chunk::<TAG_HEADER_BYTES>()?;
        let [message_type, a, b, c, d, e, f, g, ..] = *header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let own_ms = u32::from_be_bytes([g, d, e, f]);
        let begin = self.offset + TAG_HEADER_BYTES;
        if self.message.body.len() < begin + length || self.parts >= AGGREGATE_PARTS_MAX {
            return None;
        }
        self.parts += 1;
        self.offset = begin + length + BACK_POINTER_BYTES;
        let shift_ms = *self.shift_ms.get_or_insert(self.message.timestamp_ms.wrapping_sub(own_ms));
        Some(Message {
            timestamp_ms: own_ms.wrapping_add(shift_ms),
            message_type,
            body: self.message.body.slice(begin..begin + length),
            ..self.message
        })
    }
}

impl Iterator for Aggregate {
    /// `Err`, once, for an aggregate that ends within a part or has more than [`AGGREGATE_PARTS_MAX`].
    type Item = Result<Message, ()>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.message.body.len() {
            return None;
        }
        let part = self.read_part();
        if part.is_none() {
            self.offset = self.message.body.len();
        }
        Some(part.ok_or(()))
    }
}

/// Continues 32-bit timestamps past 2^32 ms.
#[derive(Debug, Default)]
pub(super) struct Unroll {
    last_ms: Option<i64>,
}

impl Unroll {
    /// The nearest continuation of the timestamp before: steps back of less than 2^31 ms stay steps back.
    pub(super) fn unroll(&mut self, timestamp_ms: u32) -> i64 {
        let unrolled = match self.last_ms {
            None => i64::from(timestamp_ms),
            Some(last) => last.saturating_add(i64::from(timestamp_ms.wrapping_sub(last as u32).cast_signed())),
        };
        self.last_ms = Some(unrolled);
        unrolled
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn timestamps_continue_past_2_to_the_32() {
        let mut unroll = Unroll::default();
        let mut check = |timestamp: u32, expected: i64| assert_eq!(unroll.unroll(timestamp), expected, "{timestamp}");
        check(u32::MAX - 40, 4_294_967_255);
        check(u32::MAX, 4_294_967_295);
        check(10, 4_294_967_306);
        check(u32::MAX - 5, 4_294_967_290);
        check(40, 4_294_967_336);
        check(1 << 31, 6_442_450_944);
        check(3 << 30, 7_516_192_768);
        check(0, 8_589_934_592);
    }

    /// Type, timestamp and body of a part.
    type Part = (u8, u32, Vec<u8>);

    fn aggregate(timestamp_ms: u32, body: Vec<u8>) -> Vec<Result<Part, ()>> {
        let message = Message {
            timestamp_ms,
            message_type: AGGREGATE,
            message_stream: 1,
            chunk_stream: 6,
            body: Bytes::from(body),
        };
        Aggregate::new(message)
            .map(|part| part.map(|part| (part.message_type, part.timestamp_ms, part.body.to_vec())))
            .collect()
    }

    #[test]
    fn aggregates_are_split_and_shifted() {
        let first = [9, 0, 0, 2, 0, 0, 100, 0, 0, 0, 0, 0xaa, 0xbb, 0, 0, 0, 13];
        let second = [8, 0, 0, 1, 0, 0, 110, 0, 0, 0, 0, 0xcc, 0, 0, 0, 12];
        let both = [&first[..], &second].concat();
        let expected = vec![Ok((9, 5000, vec![0xaa, 0xbb])), Ok((8, 5010, vec![0xcc]))];
        assert_eq!(aggregate(5000, both.clone()), expected);
        assert_eq!(aggregate(5000, both[..both.len() - 4].to_vec()), expected, "the last back pointer may be missing");
        assert_eq!(aggregate(5000, both[..both.len() - 5].to_vec())[1], Err(()));
        assert_eq!(aggregate(0, vec![1]), vec![Err(())]);
        let many = aggregate(0, second.repeat(AGGREGATE_PARTS_MAX + 5));
        assert_eq!((many.len(), many.last()), (AGGREGATE_PARTS_MAX + 1, Some(&Err(()))));
        assert_eq!(aggregate(0, vec![]), vec![]);
    }
}
