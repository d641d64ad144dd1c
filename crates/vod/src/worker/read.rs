//! Reading the source and other objects from the manager: a stream that goes on where it broke.

use std::{io, time::Duration};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::{Stream, stream};
use http::{Method, StatusCode, header};
use reqwest::Response;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    client::{Backoff, CallError, Client, Hold, send},
    failure::{self, Result},
};
use crate::protocol::ObjectRef;

/// A connection that brings nothing for this long, in milliseconds, is given up and made again.
const STALL_MS: u64 = 20_000;
/// Tries in a row that bring nothing before a read fails: about five minutes with the longest pauses. A manager that is gone longer has
/// taken the lease back.
const TRIES_MAX: u32 = 64;

/// Which bytes: from, and up to (exclusive) when that is told.
pub(crate) type Span = (u64, Option<u64>);

/// A stored object as a stream of pieces. Broken transfers go on by `Range`; objects never change, so no validator is needed.
#[derive(Debug)]
pub(crate) struct Reader {
    client: Client,
    url: Url,
    given_up: CancellationToken,
    response: Option<Response>,
    /// Of the next piece within the object.
    position: u64,
    /// Exclusive.
    end: u64,
    total: u64,
    tries: u32,
    backoff: Backoff,
}

/// What an answer to a ranged request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    from: u64,
    end: u64,
    total: u64,
}

impl Reader {
    /// Opens `url`, all of it or `span`. `None` when the span is outside of the object.
    pub(crate) async fn open(
        client: &Client,
        url: Url,
        given_up: &CancellationToken,
        span: Option<Span>,
    ) -> Result<Option<Self>> {
        let mut reader = Self {
            client: client.clone(),
            url,
            given_up: given_up.clone(),
            response: None,
            position: span.map_or(0, |(from, _)| from),
            end: 0,
            total: 0,
            tries: 0,
            backoff: Backoff::new(),
        };
        let Some((response, extent)) = reader.request(span).await? else { return Ok(None) };
        reader.response = Some(response);
        (reader.position, reader.end, reader.total) = (extent.from, extent.end, extent.total);
        Ok(Some(reader))
    }

    /// The first byte that comes, the end (exclusive), and the object's size.
    pub(crate) fn extent(&self) -> (u64, u64, u64) {
        (self.position, self.end, self.total)
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.position < self.end {
            if self.response.is_none() {
                let again = self.request(Some((self.position, Some(self.end)))).await?;
                self.response = Some(self.same_object(again)?);
            }
            if let Some(piece) = self.piece().await? {
                return Ok(Some(piece));
            }
            self.response = None;
            self.pause("the transfer broke").await?;
        }
        Ok(None)
    }

    /// `None`: broken.
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        let Some(response) = &mut self.response else { return Ok(None) };
        let next = tokio::time::timeout(Duration::from_millis(STALL_MS), response.chunk());
        let next = tokio::select! {
            next = next => next,
            () = self.given_up.cancelled() => return Err(failure::stopped()),
        };
        let Ok(Ok(Some(mut piece))) = next else { return Ok(None) };
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        piece.truncate(left);
        self.position += piece.len() as u64;
        (self.tries, self.backoff) = (0, Backoff::new());
        Ok(Some(piece))
    }

    fn same_object(&self, answer: Option<(Response, Extent)>) -> Result<Response> {
        match answer {
            Some((response, extent)) if extent.total == self.total && extent.from == self.position => Ok(response),
            _ => Err(failure::transient(
                "object_changed",
                "An object changed while it was read; the step is tried again.",
            )),
        }
    }

    /// `None`: the span is outside of the object.
    async fn request(&mut self, span: Option<Span>) -> Result<Option<(Response, Extent)>> {
        loop {
            let mut request = self.client.request(Method::GET, self.url.clone());
            if let Some((from, end)) = span {
                let last = end.map(|end| (end - 1).to_string()).unwrap_or_default();
                request = request.header(header::RANGE, format!("bytes={from}-{last}"));
            }
            let answer = tokio::time::timeout(Duration::from_millis(STALL_MS), send(request));
            let answer = tokio::select! {
                answer = answer => answer,
                () = self.given_up.cancelled() => return Err(failure::stopped()),
            };
            match answer {
                Ok(Ok(response)) => match extent(&response) {
                    Some(extent) => return Ok(Some((response, extent))),
                    None => self.pause("the answer does not say which bytes it holds").await?,
                },
                Ok(Err(CallError::Refused { status: StatusCode::RANGE_NOT_SATISFIABLE, .. })) => return Ok(None),
                Ok(Err(CallError::Unreachable { detail, .. })) => self.pause(&detail).await?,
                Ok(Err(error)) => return Err(refused(&error)),
                Err(_) => self.pause("no answer").await?,
            }
        }
    }

    async fn pause(&mut self, why: &str) -> Result<()> {
        self.tries += 1;
        if self.tries >= TRIES_MAX {
            let human =
                format!("The manager does not hand out an object ({why}); look at its log and its object store.");
            return Err(failure::transient("manager_unreachable", human));
        }
        tokio::select! {
            () = tokio::time::sleep(self.backoff.pause()) => Ok(()),
            () = self.given_up.cancelled() => Err(failure::stopped()),
        }
    }
}

/// An answer of the manager that ends a transfer.
pub(crate) fn refused(error: &CallError) -> store::catalogue::StepError {
    match error {
        CallError::Refused { status: StatusCode::NOT_FOUND, .. } => failure::transient(
            "object_missing",
            "An object that the step needs is not in the store; retry the job, and look at the object store if that repeats.",
        ),
        CallError::Refused { .. } => {
            failure::bug("refused", format!("The manager refused the worker's transfer: {}.", error.detail()))
        }
        _ => failure::stopped(),
    }
}

fn extent(response: &Response) -> Option<Extent> {
    let text = |name| response.headers().get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let (range, total) = text(header::CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
        let (from, last) = range.split_once('-')?;
        let (from, last, total): (u64, u64, u64) = (from.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
        return (from <= last && last < total).then(|| Extent { from, end: last + 1, total });
    }
    let total = text(header::CONTENT_LENGTH)?.parse().ok()?;
    Some(Extent { from: 0, end: total, total })
}

/// An object whose size and hash are known: read to its end, both are checked.
#[derive(Debug)]
pub(crate) struct VerifiedReader {
    reader: Reader,
    hash: Sha256,
    expected: String,
}

impl VerifiedReader {
    pub(crate) async fn open(
        client: &Client,
        hold: &Hold,
        given_up: &CancellationToken,
        object: &ObjectRef,
    ) -> Result<Self> {
        let url = client.object_url(hold, &object.key);
        let reader = Reader::open(client, url, given_up, None).await?;
        let reader = reader.filter(|reader| reader.extent() == (0, object.bytes, object.bytes));
        let reader = reader.ok_or_else(|| corrupt(object.name()))?;
        Ok(Self { reader, hash: Sha256::new(), expected: object.sha256.clone() })
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = self.reader.next().await?;
        if let Some(piece) = &piece {
            self.hash.update(piece);
        } else if HEXLOWER.encode(&std::mem::take(&mut self.hash).finalize()) != self.expected {
            return Err(corrupt("an input"));
        }
        Ok(piece)
    }
}

/// A reader as a stream.
pub(crate) fn pieces(reader: Reader) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(reader, |mut reader| async move {
        let piece = reader.next().await.map_err(|error| io::Error::other(error.human))?;
        Ok(piece.map(|piece| (piece, reader)))
    })
}

fn corrupt(name: &str) -> store::catalogue::StepError {
    failure::transient(
        "object_corrupt",
        format!(
            "The stored object {name} has not the size or hash it was stored with; retry the job, and check the object store's disk."
        ),
    )
}
