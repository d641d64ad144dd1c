//! The chunk stream (RTMP 1.0, chapter 5): messages cut into chunks, interleaved over chunk streams.

mod reader;
mod writer;

use bytes::Bytes;

pub use reader::{LIMITS, Limits, Reader};
pub use writer::write_message;

/// The chunk size of both directions until Set Chunk Size (RTMP 1.0, 5.4.1).
pub const CHUNK_SIZE_DEFAULT: usize = 128;

/// Largest chunk size honoured: no message is longer than 2^24-1 bytes, so a larger chunk size means the same
/// (RTMP 1.0, 5.4.1 says so), and only a broken peer asks for it.
pub const CHUNK_SIZE_MAX: u32 = 0xff_ffff;

/// The timestamp field's value that says "see the extended timestamp" (RTMP 1.0, 5.3.1.3).
const EXTENDED_TIMESTAMP: u32 = 0xff_ffff;

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Milliseconds, modulo 2^32.
    pub timestamp_ms: u32,
    /// What the body is (RTMP 1.0, 5.4 and 7.1).
    pub message_type: u8,
    /// The message stream it belongs to; 0 is the connection itself.
    pub message_stream: u32,
    /// The chunk stream it came on.
    pub chunk_stream: u32,
    /// The body, in a buffer of its own.
    pub body: Bytes,
}
