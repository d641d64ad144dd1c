//! What both sides share: handshake, chunk streams, protocol control messages, acknowledgements and the output queue.

use base::Mono;
use bytes::{Bytes, BytesMut};

use super::{
    At, Error, MediaKind, amf,
    chunk::{self, CHUNK_SIZE_DEFAULT, Message},
    handshake::Handshake,
    message::{self, chunk_stream},
};

/// What the connection makes of its input.
#[derive(Debug)]
pub(super) enum Incoming {
    /// The handshake is done; what follows are messages.
    Ready,
    /// A message that is not about the connection itself.
    Message(Message),
    /// The peer has received this many bytes.
    Acknowledged(u32),
    /// A user control event other than pings, by its type.
    UserControl(u16),
}

/// One end of an RTMP connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// `None` once done.
    handshake: Option<Handshake>,
    reader: chunk::Reader,
    out: BytesMut,
    /// Where a message's body is made before it is cut into chunks.
    scratch: BytesMut,
    out_chunk_size: usize,
    out_bytes_max: usize,
    overflow: bool,
    received_bytes: u64,
    acknowledged_bytes: u64,
    /// The peer's window, after which we acknowledge; and the one it was last told.
    peer_window_bytes: u32,
    own_window_bytes: u32,
}

/// The window until a peer names one, in bytes: what Flash Media Server used.
pub(super) const WINDOW_ACK_BYTES_DEFAULT: u32 = 2_500_000;

impl Connection {
    pub(super) fn server(seed: u64, out_bytes_max: usize) -> Self {
        Self::new(Handshake::server(seed), BytesMut::new(), out_bytes_max)
    }

    pub(super) fn client(seed: u64, digest: bool, out_bytes_max: usize) -> Self {
        let mut out = BytesMut::new();
        let handshake = Handshake::client(seed, digest, &mut out);
        Self::new(handshake, out, out_bytes_max)
    }

    fn new(handshake: Handshake, out: BytesMut, out_bytes_max: usize) -> Self {
        Self {
            handshake: Some(handshake),
            reader: chunk::Reader::default(),
            out,
            scratch: BytesMut::new(),
            out_chunk_size: CHUNK_SIZE_DEFAULT,
            out_bytes_max,
            overflow: false,
            received_bytes: 0,
            acknowledged_bytes: 0,
            peer_window_bytes: WINDOW_ACK_BYTES_DEFAULT,
            own_window_bytes: 0,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.handshake.is_none()
    }

    /// Where the next byte of input stands.
    pub(super) fn at(&self) -> At {
        At::offset(self.reader.offset_bytes())
    }

    pub(super) fn out_chunk_size(&self) -> usize {
        self.out_chunk_size
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.out.len()
    }

    /// Memory that unfinished messages hold.
    pub(super) fn partial_bytes(&self) -> usize {
        self.reader.partial_bytes()
    }

    /// The error to fail with once the output queue has overflowed.
    pub(super) fn overflow(&self) -> Option<Error> {
        let error = || Error::SlowReader { queued_bytes: self.out.len(), limit_bytes: self.out_bytes_max };
        self.overflow.then(error)
    }

    /// Everything queued, as one buffer.
    pub(super) fn transmit(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| self.out.split().freeze())
    }

    /// Counts input that is about to be read.
    pub(super) fn begin_input(&mut self, input: &[u8]) {
        self.received_bytes += input.len() as u64;
    }

    /// Reads on to the next thing to act on. `None` at the end of the input.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, Error> {
        if let Some(handshake) = &mut self.handshake {
            let (before, offset_bytes) = (input.len(), self.reader.offset_bytes());
            let done = handshake.read(input, &mut self.out, offset_bytes)?;
            self.reader.set_offset(offset_bytes + (before - input.len()) as u64);
            if !done {
                return Ok(None);
            }
            self.handshake = None;
            return Ok(Some(Incoming::Ready));
        }
        while let Some(message) = self.reader.read(input)? {
            let incoming = match message.message_type {
                message::SET_CHUNK_SIZE..=message::SET_PEER_BANDWIDTH => self.control(&message)?,
                _ => Some(Incoming::Message(message)),
            };
            if incoming.is_some() {
                return Ok(incoming);
            }
        }
        Ok(None)
    }

    /// Acknowledges what was received when the peer's window asks for it (RTMP 1.0, 5.4.3). Call after reading all input.
    pub(super) fn end_input(&mut self) {
        if self.is_ready() && self.received_bytes - self.acknowledged_bytes >= u64::from(self.peer_window_bytes.max(1))
        {
            self.acknowledged_bytes = self.received_bytes;
            // The sequence number wraps by definition.
            self.write_control(message::ACKNOWLEDGEMENT, &(self.received_bytes as u32).to_be_bytes());
        }
    }

    /// Acts on a protocol control message (RTMP 1.0, 5.4).
    fn control(&mut self, message: &Message) -> Result<Option<Incoming>, Error> {
        let at = message::at(message, self.reader.offset_bytes());
        if message.message_type == message::USER_CONTROL {
            return self.user_control(message, at);
        }
        let Some(number) = message.body.first_chunk().copied().map(u32::from_be_bytes) else {
            return Err(Error::Control { at });
        };
        match message.message_type {
            message::SET_CHUNK_SIZE => self.reader.set_chunk_size(number).map_err(|error| match error {
                Error::ChunkSize { size, limit, .. } => Error::ChunkSize { size, limit, at },
                other => other,
            })?,
            message::ABORT => self.reader.abort(number),
            message::ACKNOWLEDGEMENT => return Ok(Some(Incoming::Acknowledged(number))),
            message::WINDOW_ACK_SIZE => self.peer_window_bytes = number,
            // RTMP 1.0, 5.4.5: answered with Window Acknowledgement Size when that differs from the last one sent.
            message::SET_PEER_BANDWIDTH if number != self.own_window_bytes => self.write_window_ack_size(number),
            _ => {}
        }
        Ok(None)
    }

    fn user_control(&mut self, message: &Message, at: At) -> Result<Option<Incoming>, Error> {
        let Some((event, rest)) = message.body.split_first_chunk::<2>() else { return Err(Error::Control { at }) };
        let number = rest.first_chunk().copied().map_or(0, u32::from_be_bytes);
        match u16::from_be_bytes(*event) {
            message::PING_REQUEST => {
                self.write_user_control(message::PING_RESPONSE, number);
                Ok(None)
            }
            event => Ok(Some(Incoming::UserControl(event))),
        }
    }

    pub(super) fn write_window_ack_size(&mut self, bytes: u32) {
        self.own_window_bytes = bytes;
        self.write_control(message::WINDOW_ACK_SIZE, &bytes.to_be_bytes());
    }

    pub(super) fn write_set_peer_bandwidth(&mut self, bytes: u32) {
        const DYNAMIC: u8 = 2;
        let [a, b, c, d] = bytes.to_be_bytes();
        self.write_control(message::SET_PEER_BANDWIDTH, &[a, b, c, d, DYNAMIC]);
    }

    /// Announces a chunk size and uses it from the next message on.
    pub(super) fn write_set_chunk_size(&mut self, bytes: usize) {
        let bytes = bytes.clamp(1, chunk::CHUNK_SIZE_MAX as usize);
        self.write_control(message::SET_CHUNK_SIZE, &(bytes as u32).to_be_bytes());
        self.out_chunk_size = bytes;
    }

    pub(super) fn write_user_control(&mut self, event: u16, number: u32) {
        let ([a, b], [c, d, e, f]) = (event.to_be_bytes(), number.to_be_bytes());
        self.write_control(message::USER_CONTROL, &[a, b, c, d, e, f]);
    }

    /// Tells the server how much of a played stream this client buffers.
    pub(super) fn write_set_buffer_length(&mut self, message_stream: u32, buffer_ms: u32) {
        let event = message::SET_BUFFER_LENGTH.to_be_bytes();
        let body = [&event[..], &message_stream.to_be_bytes(), &buffer_ms.to_be_bytes()].concat();
        self.write_control(message::USER_CONTROL, &body);
    }

    fn write_control(&mut self, message_type: u8, body: &[u8]) {
        self.write(chunk_stream::CONTROL, 0, message_type, 0, &[body]);
    }

    /// Sends a command; the values begin with its name and transaction.
    pub(super) fn write_command(&mut self, message_stream: u32, values: &[amf::Value]) {
        self.write_values(chunk_stream::COMMAND, 0, message::COMMAND_AMF0, message_stream, values);
    }

    pub(super) fn write_data(&mut self, message_stream: u32, timestamp_ms: u32, values: &[amf::Value]) {
        self.write_values(chunk_stream::DATA, timestamp_ms, message::DATA_AMF0, message_stream, values);
    }

    pub(super) fn write_media(&mut self, message_stream: u32, kind: MediaKind, timestamp_ms: u32, parts: &[&[u8]]) {
        let (chunk_stream, message_type) = match kind {
            MediaKind::Audio => (chunk_stream::AUDIO, message::AUDIO),
            MediaKind::Video => (chunk_stream::VIDEO, message::VIDEO),
        };
        self.write(chunk_stream, timestamp_ms, message_type, message_stream, parts);
    }

    fn write_values(
        &mut self,
        chunk_stream: u32,
        timestamp_ms: u32,
        message_type: u8,
        message_stream: u32,
        values: &[amf::Value],
    ) {
        let mut body = std::mem::take(&mut self.scratch);
        body.clear();
        values.iter().for_each(|value| amf::write(&mut body, value));
        self.write(chunk_stream, timestamp_ms, message_type, message_stream, &[&body]);
        self.scratch = body;
    }

    /// Queues a message, unless the queue is full: then the connection fails at the next call that can.
    fn write(&mut self, chunk_stream: u32, timestamp_ms: u32, message_type: u8, message_stream: u32, parts: &[&[u8]]) {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        self.overflow |= self.out.len().saturating_add(bytes) > self.out_bytes_max;
        if !self.overflow {
            chunk::write_message(
                &mut self.out,
                self.out_chunk_size,
                chunk_stream,
                timestamp_ms,
                message_type,
                message_stream,
                parts,
            );
        }
    }
}

/// A seed for the handshake's filler: it differs between connections as far as their times do, which is all it must.
pub(super) fn seed(now: Mono) -> u64 {
    now.since_origin().as_nanos() as u64
}
