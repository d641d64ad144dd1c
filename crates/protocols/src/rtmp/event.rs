//! What a session tells its driver, and what the driver answers.

use std::fmt;

use base::Mono;
use bytes::Bytes;

use super::amf;

/// What a session wants next. The driver polls until [`Output::Timeout`].
#[derive(Clone, Debug)]
pub enum Output {
    /// Bytes to write to the peer, in order.
    Transmit(Bytes),
    /// Something happened.
    Event(Event),
    /// Nothing more until input arrives or this time comes; then `handle_timeout`.
    Timeout(Option<Mono>),
}

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Message type 8.
    Audio,
    /// Message type 9.
    Video,
}

/// Names a publish or play request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub(super) u64);

/// Why a request is refused, as the peer's program and user see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The status code, e.g. [`Rejection::PUBLISH_BAD_NAME`].
    pub code: &'static str,
    /// A sentence for the user, ending with a hint; no key in it.
    pub description: String,
}

impl Rejection {
    /// The stream has a publisher already, or its name is not allowed.
    pub const PUBLISH_BAD_NAME: &'static str = "NetStream.Publish.BadName";
    /// The key is missing or wrong.
    pub const PUBLISH_DENIED: &'static str = "NetStream.Publish.Denied";
    /// What is published cannot be used, e.g. its codec cannot be packaged.
    pub const PUBLISH_REJECTED: &'static str = "NetStream.Publish.Rejected";
    /// Nobody publishes the stream.
    pub const PLAY_STREAM_NOT_FOUND: &'static str = "NetStream.Play.StreamNotFound";
    /// The stream may not be played, or not now.
    pub const PLAY_FAILED: &'static str = "NetStream.Play.Failed";

    /// A rejection with a code and a sentence.
    pub fn new(code: &'static str, description: impl Into<String>) -> Self {
        Self { code, description: description.into() }
    }
}

/// What happened in a server session.
///
/// `Debug` shows no query and no published name: either may be or hold a stream key.
#[derive(Clone, PartialEq)]
pub enum Event {
    /// The peer connected to an application; the session has answered.
    Connected {
        /// The application, without query and without a trailing slash; may hold slashes.
        app: String,
        /// The URL the peer was given.
        tc_url: Option<String>,
        /// The peer's program, e.g. `FMLE/3.0 (compatible; Lavf59.27.100)`.
        flash_version: Option<String>,
        /// The peer offers Enhanced RTMP FourCC codecs.
        enhanced: bool,
    },
    /// The peer wants to publish: answer with `accept` or `reject`.
    Publish {
        /// To answer with.
        request: RequestId,
        /// As in [`Event::Connected`].
        app: String,
        /// The stream's name, or its key.
        name: String,
        /// Queries of the application and of the name, joined with `&`; may hold a key.
        query: Option<String>,
        /// `live`, `record` or `append`.
        kind: String,
    },
    /// The peer wants to play: answer with `accept` or `reject`.
    Play {
        /// To answer with.
        request: RequestId,
        /// As in [`Event::Connected`].
        app: String,
        /// The stream's name.
        name: String,
        /// Queries of the application and of the name, joined with `&`; may hold a token.
        query: Option<String>,
        /// Where to start, in milliseconds; -2000 (live or recorded) and -1000 (live only) are special (RTMP 1.0, 7.2.2.1).
        start_ms: i64,
    },
    /// Audio or video of the published stream.
    Media {
        /// Audio or video.
        kind: MediaKind,
        /// Unrolled: continues past 2^32 ms. Steps back are possible where the peer steps back.
        timestamp_ms: i64,
        /// The body of the FLV tag, in a buffer of its own.
        body: Bytes,
    },
    /// `onMetaData` of the published stream.
    Metadata {
        /// An object or ECMA array.
        values: amf::Value,
    },
    /// The peer stopped publishing; the connection may go on.
    Unpublish,
    /// The peer stopped playing; the connection may go on.
    PlayStop,
    /// The peer paused (true) or resumed.
    PlayPause(bool),
    /// The peer has received this many bytes (modulo 2^32).
    Acknowledged {
        /// The sequence number of the acknowledgement.
        bytes: u32,
    },
    /// The peer sent something legal of which this server makes no use.
    Ignored {
        /// What, e.g. `command setPeerInfo`.
        what: String,
    },
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { app, tc_url, flash_version, enhanced } => f
                .debug_struct("Connected")
                .field("app", app)
                .field("tc_url", &tc_url.as_deref().map(without_secrets))
                .field("flash_version", flash_version)
                .field("enhanced", enhanced)
                .finish(),
            Self::Publish { request, app, name: _, query, kind } => f
                .debug_struct("Publish")
                .field("request", request)
                .field("app", app)
                .field("name", &"redacted")
                .field("query", &query.as_ref().map(|_| "redacted"))
                .field("kind", kind)
                .finish(),
            Self::Play { request, app, name, query, start_ms } => f
                .debug_struct("Play")
                .field("request", request)
                .field("app", app)
                .field("name", name)
                .field("query", &query.as_ref().map(|_| "redacted"))
                .field("start_ms", start_ms)
                .finish(),
            Self::Media { kind, timestamp_ms, body } => f
                .debug_struct("Media")
                .field("kind", kind)
                .field("timestamp_ms", timestamp_ms)
                .field("body_bytes", &body.len())
                .finish(),
            Self::Metadata { values } => f.debug_struct("Metadata").field("values", values).finish(),
            Self::Unpublish => f.write_str("Unpublish"),
            Self::PlayStop => f.write_str("PlayStop"),
            Self::PlayPause(paused) => f.debug_tuple("PlayPause").field(paused).finish(),
            Self::Acknowledged { bytes } => f.debug_struct("Acknowledged").field("bytes", bytes).finish(),
            Self::Ignored { what } => f.debug_struct("Ignored").field("what", what).finish(),
        }
    }
}

/// A URL without its query and without user information.
fn without_secrets(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(before, _)| before);
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}/{path}")
}
