use std::net::SocketAddr;

use base::Fault;
use thiserror::Error;

use crate::FeedError;

/// What can go wrong when the live plane is set up.
#[derive(Debug, Error)]
pub enum Error {
    /// The listener's address is not one, or could not be taken.
    #[error(
        "cannot listen for RTMP on {address}; is another server running there? Choose another with --rtmp HOST:PORT"
    )]
    Listen {
        /// As configured.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The example in the documentation builds requests.
    #[error("not a valid request")]
    Request(#[from] http::Error),
}

impl Error {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Listen { .. } => Fault::Internal,
            Self::Request(_) => Fault::Client,
        }
    }
}

/// Why a connection ended, for its log line and counter.
#[derive(Debug, Error)]
pub(crate) enum ConnectionError {
    #[error("RTMP session")]
    Session(#[from] protocols::rtmp::Error),
    #[error("socket")]
    Io(#[from] std::io::Error),
    #[error("the peer did not take {bytes} bytes within {seconds} s")]
    WriteTimeout { bytes: usize, seconds: u64 },
    #[error("media of stream {stream}")]
    Media { stream: base::StreamId, source: media::Error },
    #[error("packaging of stream {stream}")]
    Packaging { stream: base::StreamId, source: packager::Error },
    #[error("{stream} sends {kbps} kbit/s, over the limit of {limit} (live.publish_kbps_max)")]
    Bitrate { stream: base::StreamId, kbps: u64, limit: u32 },
    #[error("another publisher took over {stream}")]
    TakenOver { stream: base::StreamId },
    #[error(
        "{stream} sent nothing that decoding can begin with (no keyframe, or no decoder configuration) for {seconds} s"
    )]
    NoKeyframe { stream: base::StreamId, seconds: u64 },
    #[error("the timestamps of {stream} stood still for {seconds} s")]
    ClockStandsStill { stream: base::StreamId, seconds: u32 },
    #[error("the player stopped")]
    Stopped,
    #[error("refused: {0}")]
    Refused(String),
}

impl ConnectionError {
    /// What became of a publisher's frames, with the name of its stream.
    pub(crate) fn of_feed(error: FeedError, stream: &base::StreamId) -> Self {
        let stream = stream.clone();
        match error {
            FeedError::Packaging(source) => Self::Packaging { stream, source },
            FeedError::Bitrate { kbps, limit } => Self::Bitrate { stream, kbps, limit },
            FeedError::NoKeyframe(seconds) => Self::NoKeyframe { stream, seconds },
            FeedError::ClockStandsStill(seconds) => Self::ClockStandsStill { stream, seconds },
            FeedError::TakenOver => Self::TakenOver { stream },
        }
    }

    /// Whether the peer was told something that it should have the time to read.
    pub(crate) fn was_told(&self) -> bool {
        !matches!(self, Self::Io(_) | Self::WriteTimeout { .. })
    }

    /// A bounded label for metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Session(error) => error.reason(),
            Self::Io(_) => "io",
            Self::WriteTimeout { .. } => "write_timeout",
            Self::Media { .. } => "media",
            Self::Packaging { .. } => "packaging",
            Self::Bitrate { .. } => "bitrate",
            Self::TakenOver { .. } => "taken_over",
            Self::NoKeyframe { .. } => "no_keyframe",
            Self::ClockStandsStill { .. } => "clock_stands_still",
            Self::Stopped => "stopped",
            Self::Refused(_) => "refused",
        }
    }
}

/// The peer of a connection, for log lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
