//! What can go wrong in an RTMP connection, with the evidence to find the byte.

use std::fmt;

use base::Fault;

use super::amf;

/// Where in the connection something was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// Bytes of the connection read before the place, handshake included.
    pub offset_bytes: u64,
    /// The chunk stream, where one is known.
    pub chunk_stream: Option<u32>,
    /// The message type, where one is known.
    pub message_type: Option<u8>,
}

impl At {
    /// A place of which only the offset is known.
    pub const fn offset(offset_bytes: u64) -> Self {
        Self { offset_bytes, chunk_stream: None, message_type: None }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}", self.offset_bytes)?;
        if let Some(chunk_stream) = self.chunk_stream {
            write!(f, ", chunk stream {chunk_stream}")?;
        }
        match self.message_type {
            Some(message_type) => write!(f, ", message type {message_type}"),
            None => Ok(()),
        }
    }
}

/// Why an RTMP connection cannot go on. After one, the driver closes the connection.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// C0 or S0 names another version than 3 (RTMP 1.0, 5.2.2).
    #[error("RTMP version {version} is not spoken here, only 3{}: is this an RTMP client? ({at})", version_hint(*.version))]
    Version {
        /// The version byte.
        version: u8,
        /// Where.
        at: At,
    },
    /// Set Chunk Size outside 1 to the limit.
    #[error("a chunk size of {size} is outside 1 to {limit} ({at})")]
    ChunkSize {
        /// The size asked for.
        size: u32,
        /// The limit, in bytes.
        limit: u32,
        /// Where.
        at: At,
    },
    /// A chunk header that does not fit what came before it.
    #[error("{what} ({at})")]
    Chunk {
        /// What does not fit.
        what: &'static str,
        /// Where.
        at: At,
    },
    /// More chunk streams than the limit.
    #[error("more than {limit} chunk streams ({at})")]
    ChunkStreams {
        /// The limit.
        limit: usize,
        /// Where.
        at: At,
    },
    /// A message longer than its type's limit.
    #[error("a message of {length_bytes} bytes is over the limit of {limit_bytes} ({at})")]
    MessageTooLarge {
        /// The declared length.
        length_bytes: usize,
        /// The limit of the message's type.
        limit_bytes: usize,
        /// Where.
        at: At,
    },
    /// Unfinished messages hold more memory than the limit.
    #[error("unfinished messages hold over {limit_bytes} bytes ({at})")]
    PartialMessages {
        /// The limit.
        limit_bytes: usize,
        /// Where.
        at: At,
    },
    /// A protocol control message of the wrong length.
    #[error("a malformed protocol control message ({at})")]
    Control {
        /// Where.
        at: At,
    },
    /// A command or status that is not AMF.
    #[error("a command is not valid AMF ({at})")]
    Amf {
        /// What is wrong with it.
        source: amf::Error,
        /// Where.
        at: At,
    },
    /// A command that lacks an argument, or comes out of order.
    #[error("{what} ({at})")]
    Command {
        /// What is wrong with it.
        what: &'static str,
        /// Where.
        at: At,
    },
    /// More unknown commands than the limit.
    #[error("more than {limit} unknown commands in a minute ({at})")]
    UnknownCommands {
        /// The limit.
        limit: u32,
        /// Where.
        at: At,
    },
    /// Audio or video from a peer that publishes nothing.
    #[error("media before publish was accepted for any stream of this connection ({at})")]
    MediaBeforePublish {
        /// Where.
        at: At,
    },
    /// A deadline passed.
    #[error("{what} within {limit_ms} ms ({at})")]
    Timeout {
        /// What did not happen.
        what: &'static str,
        /// The deadline's length.
        limit_ms: u64,
        /// Where.
        at: At,
    },
    /// The peer does not read what it asked for.
    #[error("the peer reads too slowly: {queued_bytes} bytes are queued for it, the limit is {limit_bytes}")]
    SlowReader {
        /// Bytes waiting for the peer.
        queued_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// Client side: the server refused the connection or the stream.
    #[error("the server refused: {code} {description:?}")]
    Refused {
        /// The status code, e.g. `NetStream.Publish.BadName`.
        code: String,
        /// The server's words.
        description: String,
    },
}

impl Error {
    /// A bounded label for metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Version { .. } => "handshake",
            Self::ChunkSize { .. } => "chunk_size",
            Self::Chunk { .. } => "chunk",
            Self::ChunkStreams { .. } => "chunk_streams",
            Self::MessageTooLarge { .. } => "message_too_large",
            Self::PartialMessages { .. } => "partial_messages",
            Self::Control { .. } => "control",
            Self::Amf { .. } => "amf",
            Self::Command { .. } => "command",
            Self::UnknownCommands { .. } => "unknown_commands",
            Self::MediaBeforePublish { .. } => "media_before_publish",
            Self::Timeout { .. } => "timeout",
            Self::SlowReader { .. } => "slow_reader",
            Self::Refused { .. } => "refused",
        }
    }

    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Refused { .. } => Fault::Upstream,
            _ => Fault::Client,
        }
    }
}

fn version_hint(version: u8) -> &'static str {
    match version {
        6 | 8 => " (6 and 8 are RTMPE; publish with rtmp:// or rtmps://)",
        0x16 => " (0x16 begins a TLS handshake; publish with rtmp://)",
        b'A'..=b'Z' => " (this looks like HTTP)",
        _ => "",
    }
}
