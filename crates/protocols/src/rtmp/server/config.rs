//! How a server session behaves.

use std::time::Duration;

/// `capsEx`: ModEx signals are parsed (Enhanced RTMP v2, CapsExMask).
pub const CAPS_EX_MOD_EX: u32 = 0x04;

/// How a server session behaves.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Chunk size of what the session sends, in bytes; announced with the answer to connect.
    pub chunk_size: usize,
    /// Bytes after which the peer is asked to acknowledge (RTMP 1.0, 5.4.4).
    pub window_ack_bytes: u32,
    /// From the session's beginning to the end of the handshake.
    pub handshake_deadline: Duration,
    /// From the handshake, or from the end of a stream, to a publish or play command.
    pub command_deadline: Duration,
    /// Longest time between two messages of a publisher.
    pub idle_deadline: Duration,
    /// From a rejection to the peer's closing.
    pub close_deadline: Duration,
    /// Bytes that may wait for the peer in the session. Over it, the session fails with [`super::Error::SlowReader`].
    pub output_queue_bytes_max: usize,
    /// Video codecs named to peers that speak Enhanced RTMP.
    pub video_fourccs: &'static [&'static str],
    /// Audio codecs named to peers that speak Enhanced RTMP.
    pub audio_fourccs: &'static [&'static str],
    /// `capsEx` bits named to peers that speak Enhanced RTMP v2.
    pub caps_ex: u32,
}

impl Default for ServerConfig {
    /// The platform's values. The chunk size is the one FFmpeg uses: most frames are then one chunk. The output queue holds
    /// a GOP of 16 Mbit/s video of 4 s.
    fn default() -> Self {
        Self {
            chunk_size: 60_000,
            window_ack_bytes: 2_500_000,
            handshake_deadline: Duration::from_secs(10),
            command_deadline: Duration::from_secs(10),
            idle_deadline: Duration::from_secs(30),
            close_deadline: Duration::from_secs(5),
            output_queue_bytes_max: 8 << 20,
            video_fourccs: &["avc1", "hvc1", "av01", "vp09"],
            audio_fourccs: &["mp4a", "Opus", "ac-3", "ec-3"],
            caps_ex: CAPS_EX_MOD_EX,
        }
    }
}
