//! Where FFmpeg reads a step's source: a listener on loopback that asks the manager.
//!
//! FFmpeg's arguments can be read by every user of the machine, so the worker's token must not be among them; and FFmpeg gives up where
//! a connection breaks, while a worker outlives a restart of its manager. A path that cannot be guessed stands for one lease and ends
//! with it.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use data_encoding::HEXLOWER;
use http::{HeaderMap, Method, StatusCode, header};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    client::{Client, Hold},
    read::{Reader, Span, pieces},
};

/// Bytes of a path's random part.
const SECRET_BYTES: usize = 16;
/// Longest file name extension that is passed on, in characters: some demuxers are chosen by it.
const EXTENSION_CHARS_MAX: usize = 8;

/// The listener. Stops with its last clone.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    address: SocketAddr,
    open: Open,
    _server: Arc<AbortOnDropHandle<()>>,
}

/// What paths stand for.
#[derive(Clone, Debug, Default)]
struct Open(Arc<Mutex<HashMap<String, Lease>>>);

#[derive(Clone, Debug)]
struct Lease {
    client: Client,
    hold: Hold,
    given_up: CancellationToken,
}

/// One lease's path; closed when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    url: String,
    secret: String,
    open: Open,
}

impl Gateway {
    /// # Errors
    /// When loopback has no free port.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, open) = (listener.local_addr()?, Open::default());
        let router = Router::new().route("/{secret}/{name}", get(answer)).with_state(open.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the worker's loopback listener ended");
            }
        });
        Ok(Self { address, open, _server: Arc::new(AbortOnDropHandle::new(server)) })
    }

    /// A path for the source of the step that `hold` names.
    pub(crate) fn open(&self, client: &Client, hold: &Hold, file_name: &str, given_up: &CancellationToken) -> Entry {
        let secret = HEXLOWER.encode(&rand::random::<[u8; SECRET_BYTES]>());
        let lease = Lease { client: client.clone(), hold: hold.clone(), given_up: given_up.clone() };
        self.open.lock().insert(secret.clone(), lease);
        let url = format!("http://{}/{secret}/source{}", self.address, extension(file_name));
        Entry { url, secret, open: self.open.clone() }
    }
}

impl Entry {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.open.lock().remove(&self.secret);
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `.mov`, or nothing.
fn extension(file_name: &str) -> String {
    let extension = file_name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let plain = extension.len() <= EXTENSION_CHARS_MAX && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain && !extension.is_empty() { format!(".{}", extension.to_ascii_lowercase()) } else { String::new() }
}

async fn answer(
    State(open): State<Open>,
    Path((secret, _)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let lease = open.lock().get(&secret).cloned();
    let Some(Lease { client, hold, given_up }) = lease else { return StatusCode::NOT_FOUND.into_response() };
    let span = headers.get(header::RANGE).and_then(|value| parse_range(value.to_str().ok()?));
    let url = client.source_url(&hold);
    match Reader::open(&client, url, &given_up, span).await {
        Ok(Some(reader)) => respond(reader, span.is_some(), &method),
        Ok(None) => StatusCode::RANGE_NOT_SATISFIABLE.into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.human).into_response(),
    }
}

/// The one form of range that FFmpeg asks for; others are answered with everything (RFC 9110 14.2).
fn parse_range(value: &str) -> Option<Span> {
    let (from, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let from: u64 = from.parse().ok()?;
    if last.is_empty() {
        return Some((from, None));
    }
    let last: u64 = last.parse().ok()?;
    (from <= last && last < u64::MAX).then(|| (from, Some(last + 1)))
}

fn respond(reader: Reader, partial: bool, method: &Method) -> Response {
    let (from, end, total) = reader.extent();
    let mut response = Response::builder()
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, end - from);
    if partial && end > from {
        let range = format!("bytes {from}-{}/{total}", end - 1);
        response = response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range);
    }
    let body = if method == Method::HEAD { Body::empty() } else { Body::from_stream(pieces(reader)) };
    response.body(body).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_ffmpeg_writes_them() {
        assert_eq!(parse_range("bytes=0-"), Some((0, None)));
        assert_eq!(parse_range("bytes=10-19"), Some((10, Some(20))));
        for other in ["bytes=-5", "bytes=9-2", "bytes=a-", "bytes=0-1,4-5", "lines=0-", "bytes=0-18446744073709551615"]
        {
            assert_eq!(parse_range(other), None, "{other}");
        }
    }

    #[test]
    fn extensions_are_plain() {
        let check = |name: &str, expected: &str| assert_eq!(extension(name), expected, "{name}");
        check("Film.MXF", ".mxf");
        check("film", "");
        check("film.", "");
        check("film.a/b", "");
        check("film.verylongone", "");
    }
}
