//! The server's side of a connection.

use std::time::Duration;

use base::Mono;
use bytes::Bytes;

use super::{Error, MediaKind, Output, Rejection, RequestId, amf};

/// How a server session behaves.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Chunk size of what we send, in bytes; announced after connect.
    pub chunk_size: usize,
    /// Bytes after which each side acknowledges (RTMP 1.0, 5.4.4).
    pub window_ack_bytes: u32,
    /// From the first byte's wait to the end of the handshake.
    pub handshake_deadline: Duration,
    /// From the handshake, or from the end of a stream, to a publish or play command.
    pub command_deadline: Duration,
    /// Longest silence of a publisher.
    pub idle_deadline: Duration,
    /// Bytes that may wait for the peer in the session.
    pub output_queue_bytes_max: usize,
    /// Video codecs offered to peers that speak Enhanced RTMP.
    pub video_fourccs: &'static [&'static str],
    /// Audio codecs offered to peers that speak Enhanced RTMP.
    pub audio_fourccs: &'static [&'static str],
    /// Capabilities offered to peers that speak Enhanced RTMP v2: `capsEx` bits.
    pub caps_ex: u32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            chunk_size: 60_000,
            window_ack_bytes: 2_500_000,
            handshake_deadline: Duration::from_secs(10),
            command_deadline: Duration::from_secs(10),
            idle_deadline: Duration::from_secs(30),
            output_queue_bytes_max: 8 << 20,
            video_fourccs: &["avc1", "hvc1", "av01", "vp09"],
            audio_fourccs: &["mp4a", "Opus", "ac-3", "ec-3"],
            caps_ex: 0,
        }
    }
}

/// The server's side of an RTMP connection.
#[derive(Debug)]
pub struct ServerSession {
    config: ServerConfig,
}

impl ServerSession {
    /// A session that waits for a handshake.
    pub fn new(config: ServerConfig, _now: Mono) -> Self {
        Self { config }
    }

    /// Takes bytes from the peer, cut anywhere.
    ///
    /// # Errors
    /// When the connection cannot go on; transmit what is left to transmit, then close.
    pub fn handle_input(&mut self, _now: Mono, _input: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    /// What to do next. Call until it says [`Output::Timeout`].
    pub fn poll_output(&mut self) -> Output {
        Output::Timeout(None)
    }

    /// To be called when a time that [`Output::Timeout`] named has come.
    ///
    /// # Errors
    /// When a deadline passed, or the peer reads too slowly.
    pub fn handle_timeout(&mut self, _now: Mono) -> Result<(), Error> {
        Ok(())
    }

    /// Grants a publish or play request.
    pub fn accept(&mut self, _request: RequestId) {}

    /// Refuses a publish or play request; the peer is told why and expected to close.
    pub fn reject(&mut self, _request: RequestId, _rejection: Rejection) {}

    /// Play side: sends the body of an FLV tag, as its first bytes and the rest.
    pub fn send_media(&mut self, _kind: MediaKind, _timestamp_ms: u32, _header: &[u8], _payload: &Bytes) {}

    /// Play side: sends `onMetaData`.
    pub fn send_metadata(&mut self, _timestamp_ms: u32, _values: &[(&str, amf::Value)]) {}

    /// Ends the stream being played or published, and tells the peer; the connection may go on.
    pub fn end_of_stream(&mut self) {}

    /// Chunk size of what this session sends, for [`super::chunk::write_message`].
    pub fn out_chunk_size(&self) -> usize {
        self.config.chunk_size
    }

    /// The message stream being played, for [`super::chunk::write_message`]; `None` before play is accepted and after it ends.
    pub fn play_message_stream(&self) -> Option<u32> {
        None
    }

    /// Bytes that wait in the session for the peer.
    pub fn queued_bytes(&self) -> usize {
        0
    }
}
