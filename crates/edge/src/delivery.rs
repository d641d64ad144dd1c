//! The deliver phase: a body that goes to one client, and is logged when it has.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri};
use http_body::{Body as _, Frame, SizeHint};

use crate::{
    Body, BoxError, CacheStatus, OriginError, RequestRecord, flight::Reader, guard::caught, io::Connection,
    object::Object, observe, site::Site,
};

/// Where the bytes come from.
pub(crate) enum Source {
    /// Nowhere: HEAD, 204, 304.
    Nothing,
    /// The edge's own words.
    Own(Bytes),
    /// The cache.
    Kept { object: Arc<Object>, next: usize },
    /// A fetch on its way.
    Flight(Reader),
    /// The origin, for this client alone.
    Origin(Body),
}

/// The body of every answer. It holds references, never copies, so a slow client costs no memory of its own.
pub(crate) struct Delivery {
    source: Source,
    /// Bytes of the source before the part that is sent.
    skip: u64,
    /// Bytes still to be sent, when that is known.
    left: Option<u64>,
    log: Option<Box<LogPhase>>,
}

impl Delivery {
    /// `length` bytes of `source` after the first `skip`; with no length, to its end.
    pub(crate) fn new(source: Source, skip: u64, length: Option<u64>, log: Box<LogPhase>) -> Self {
        Self { source, skip, left: length, log: Some(log) }
    }

    /// No bytes, and nothing to log.
    pub(crate) fn nothing() -> Self {
        Self { source: Source::Nothing, skip: 0, left: Some(0), log: None }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        match &mut self.source {
            Source::Nothing => Poll::Ready(None),
            Source::Own(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Source::Kept { object, next } => {
                let chunk = object.chunks.get(*next).cloned();
                *next += 1;
                Poll::Ready(chunk.map(Ok))
            }
            Source::Flight(reader) => reader.poll_chunk(cx).map(|chunk| chunk.map(|chunk| chunk.map_err(Into::into))),
            Source::Origin(body) => poll_origin(body, cx),
        }
    }

    /// The part of a piece that is to be sent.
    fn cut(&mut self, mut chunk: Bytes) -> Bytes {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
        self.skip -= skipped as u64;
        let mut chunk = chunk.split_off(skipped);
        if let Some(left) = &mut self.left {
            chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left = left.saturating_sub(chunk.len() as u64);
        }
        chunk
    }

    fn end(&mut self) {
        self.source = Source::Nothing;
        self.log = None;
    }
}

impl http_body::Body for Delivery {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            if this.left == Some(0) {
                this.end();
                return Poll::Ready(None);
            }
            let chunk = match std::task::ready!(this.poll_source(cx)) {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => {
                    tracing::debug!(%error, "an answer breaks off");
                    this.end();
                    return Poll::Ready(Some(Err(error)));
                }
                // The connection must not pass for whole when bytes are missing.
                None if this.left.is_some() => {
                    this.end();
                    return Poll::Ready(Some(Err(OriginError::Length.into())));
                }
                None => {
                    this.end();
                    return Poll::Ready(None);
                }
            };
            let chunk = this.cut(chunk);
            if !chunk.is_empty() {
                if let Some(log) = &mut this.log {
                    log.sent_bytes += chunk.len() as u64;
                    log.connection.on_progress();
                }
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

fn poll_origin(body: &mut Body, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
    loop {
        let frame = match caught("body", || Pin::new(&mut *body).poll_frame(cx)) {
            Ok(poll) => std::task::ready!(poll),
            Err(_) => return Poll::Ready(Some(Err(OriginError::Panicked.into()))),
        };
        match frame {
            // Trailers are not passed on.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => return Poll::Ready(Some(Ok(data))),
                Err(_) => continue,
            },
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        }
    }
}

/// What the log phase tells; it does so when it is dropped, with the body it belongs to.
pub(crate) struct LogPhase {
    pub(crate) site: Arc<Site>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) route: Option<usize>,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// The normalised path, where it differs from the URI's.
    pub(crate) path: Option<String>,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) status: StatusCode,
    pub(crate) cache: CacheStatus,
    pub(crate) started: Instant,
    pub(crate) sent_bytes: u64,
}

impl Drop for LogPhase {
    fn drop(&mut self) {
        let class = self.route.and_then(|at| self.site.routes.all().get(at)).map_or("refused", |route| route.class);
        let record = RequestRecord {
            remote: self.connection.remote,
            method: &self.method,
            path: self.path.as_deref().unwrap_or(self.uri.path()),
            user_agent: self.user_agent.as_ref(),
            class,
            status: self.status,
            bytes: self.sent_bytes,
            cache: self.cache,
            duration: self.started.elapsed(),
        };
        observe::log(self.site.metrics(self.route), self.site.observer.as_ref(), &record);
        self.connection.on_request_end();
    }
}
