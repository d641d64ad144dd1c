//! Storing what a step made: a streamed `PUT` whose hash is known before, so that it can be sent again as often as needed.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use http::{Method, StatusCode, header};
use sha2::{Digest, Sha256};
use tokio::io::BufReader;
use tokio_util::{io::ReaderStream, sync::CancellationToken};

use super::{
    client::{CallError, Client, Hold, read_json, retrying, send},
    failure::{self, Result},
    read::refused,
};
use crate::protocol::{ObjectRef, SHA256_HEADER};

/// Bytes read from a file at a time: large enough that the calls do not count.
const PIECE_BYTES: usize = 256 << 10;
/// A PUT whose body does not move for this long, in milliseconds, is given up and sent again. The manager may take as long to answer
/// after the last byte, while it finishes a large object.
const STALL_MS: u64 = 60_000;
/// Tries of a PUT, each with its own pauses below: a store that is broken for longer fails the step for now.
const PUT_MS_MAX: u64 = 600_000;

/// Bytes to be stored, with what identifies them.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    body: Content,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

#[derive(Clone, Debug)]
enum Content {
    File(PathBuf),
    Memory(Bytes),
}

impl Ready {
    /// A file, whose hash is computed.
    pub(crate) async fn file(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        let hashed = tokio::task::spawn_blocking(move || hash_file(&path).map(|(bytes, sha256)| (path, bytes, sha256)));
        let hashed =
            hashed.await.map_err(|_| failure::bug("panic", "Hashing a file panicked; report it with the log."))?;
        let (path, bytes, sha256) = hashed.map_err(|error| failure::disk(&error))?;
        Ok(Self { body: Content::File(path), bytes, sha256 })
    }

    /// A file whose bytes were hashed while they were written.
    pub(crate) fn hashed(path: PathBuf, bytes: u64, hash: Sha256) -> Self {
        Self { body: Content::File(path), bytes, sha256: HEXLOWER.encode(&hash.finalize()) }
    }

    /// Bytes in memory.
    pub(crate) fn memory(body: Bytes) -> Self {
        let sha256 = HEXLOWER.encode(&Sha256::digest(&body));
        Self { bytes: body.len() as u64, body: Content::Memory(body), sha256 }
    }

    async fn body(&self, sent: &Arc<AtomicU64>) -> std::io::Result<reqwest::Body> {
        let path = match &self.body {
            Content::Memory(bytes) => return Ok(bytes.clone().into()),
            Content::File(path) => path,
        };
        let file = tokio::fs::File::open(path).await?;
        let sent = sent.clone();
        let pieces = ReaderStream::with_capacity(BufReader::new(file), PIECE_BYTES).inspect(move |piece| {
            let bytes = piece.as_ref().map_or(0, Bytes::len);
            sent.fetch_add(bytes as u64, Ordering::Relaxed);
        });
        Ok(reqwest::Body::wrap_stream(pieces))
    }
}

fn hash_file(path: &Path) -> std::io::Result<(u64, String)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        hash.update(piece);
        bytes += read as u64;
    }
    Ok((bytes, HEXLOWER.encode(&hash.finalize())))
}

/// Stores `ready` as `name`; safe to be done twice.
pub(crate) async fn put(
    client: &Client,
    hold: &Hold,
    name: &str,
    ready: &Ready,
    given_up: &CancellationToken,
) -> Result<ObjectRef> {
    let sent = retrying(given_up, || put_once(client, hold, name, ready));
    match tokio::time::timeout(Duration::from_millis(PUT_MS_MAX), sent).await {
        Ok(Ok(object)) if object.sha256 == ready.sha256 && object.bytes == ready.bytes => Ok(object),
        Ok(Ok(_)) => Err(failure::bug("bad_answer", "The manager stored other bytes than the worker sent; report it.")),
        Ok(Err(CallError::Refused { status, code, .. })) if passing(status, &code) => Err(failure::transient(
            "transfer_damaged",
            "Bytes were damaged on their way to the manager; the step is tried again.",
        )),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(failure::transient(
            "store_unreachable",
            "The manager could not store a result for ten minutes; look at its object store.",
        )),
    }
}

/// Refusals that another attempt, which has another token and reads its file again, may not meet.
fn passing(status: StatusCode, code: &str) -> bool {
    matches!(code, "hash_mismatch" | "size_mismatch" | "body" | "exists") || status == StatusCode::PRECONDITION_FAILED
}

async fn put_once(
    client: &Client,
    hold: &Hold,
    name: &str,
    ready: &Ready,
) -> std::result::Result<ObjectRef, CallError> {
    let sent = Arc::new(AtomicU64::new(0));
    let unreadable = |error: std::io::Error| CallError::Unreachable { detail: error.to_string(), retry_after: None };
    let request = client
        .request(Method::PUT, client.store_url(hold, name))
        .header(SHA256_HEADER, &ready.sha256)
        .header(header::CONTENT_LENGTH, ready.bytes)
        .body(ready.body(&sent).await.map_err(unreadable)?);
    tokio::select! {
        answer = async { read_json(send(request).await?).await } => answer,
        () = stalled(&sent) => Err(CallError::Unreachable { detail: "the upload stalled".into(), retry_after: None }),
    }
}

/// Ends when the count stands still for too long.
async fn stalled(sent: &AtomicU64) {
    let mut before = None;
    loop {
        let now = sent.load(Ordering::Relaxed);
        if before == Some(now) {
            return;
        }
        before = Some(now);
        tokio::time::sleep(Duration::from_millis(STALL_MS)).await;
    }
}
