//! The fetch and store phases of a shared request: a task of its own, so that no client's end is its end.

use std::{future::Future, pin::Pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body as _;
use metrics::counter;

use crate::{
    Body, BoxOrigin, CacheStatus, OriginError,
    cache::{Entry, Key},
    flight::Writer,
    freshness::{Freshness, Sharing, sharing},
    guard::guarded,
    object::{Head, Object},
    site::Site,
};

/// How long it is remembered that a key's answers are not to be shared: short, because it may change with any answer.
const UNSHARED_MEMORY: Duration = Duration::from_secs(2);

/// One call to an origin for everyone who asks.
pub(crate) struct Fetch {
    pub(crate) site: Arc<Site>,
    pub(crate) origin: BoxOrigin,
    pub(crate) writer: Writer,
    /// What the cache holds and the origin may confirm.
    pub(crate) aged: Option<Arc<Object>>,
}

impl Fetch {
    /// Runs on the caller's runtime until the body is whole, has failed, or is wanted by nobody.
    pub(crate) fn start(self) {
        tokio::spawn(async move {
            // The writer is inside: when the future is dropped after a panic, its readers are told.
            let _ = guarded("fetch", self.run()).await;
        });
    }

    async fn run(mut self) {
        let Some(request) = shared_request(self.writer.key(), self.aged.as_deref()) else {
            return self.writer.fail(OriginError::Failed("the key is no URI".into()));
        };
        let call = self.origin.clone().call(request);
        let answer = self.unless_cancelled(within(self.site.upstream_timeout(), guarded("origin", call))).await;
        match answer {
            None => self.writer.fail(OriginError::Cancelled),
            Some(Err(TimedOut)) => self.on_failure(OriginError::TimedOut),
            Some(Ok(Err(_))) => self.on_failure(OriginError::Panicked),
            Some(Ok(Ok(Err(error)))) => self.on_failure(OriginError::Failed(error.to_string())),
            Some(Ok(Ok(Ok(answer)))) if answer.status().is_informational() => self.on_failure(no_answer()),
            Some(Ok(Ok(Ok(answer)))) => self.on_answer(answer).await,
        }
    }

    fn on_failure(&self, error: OriginError) {
        counter!("headwater_edge_origin_errors_total").increment(1);
        tracing::warn!(key = %self.writer.key(), %error, "a fetch failed");
        match self.stale_on_error() {
            Some(object) => self.writer.answer_kept(object, CacheStatus::Stale),
            None => self.writer.fail(error),
        }
    }

    fn stale_on_error(&self) -> Option<Arc<Object>> {
        self.aged.clone().filter(|object| object.head.freshness.may_serve_on_error(self.site.now()))
    }

    async fn on_answer(&mut self, answer: Response<Body>) {
        let now = self.site.now();
        let status = answer.status();
        if let (StatusCode::NOT_MODIFIED, Some(aged)) = (status, &self.aged) {
            let object = Arc::new(aged.renewed(answer.headers(), now));
            self.store(object.clone());
            return self.writer.answer_kept(object, CacheStatus::Revalidated);
        }
        if status.is_server_error()
            && let Some(object) = self.stale_on_error()
        {
            return self.writer.answer_kept(object, CacheStatus::Stale);
        }
        let freshness = Freshness::of(status, answer.headers(), now);
        let length = declared_length(&answer);
        match sharing(status, answer.headers(), length, &freshness, self.site.config.object_bytes_max) {
            Sharing::Nobody => self.hand_over(answer),
            Sharing::Waiters => self.share(answer, length, freshness, false).await,
            Sharing::Store => self.share(answer, length, freshness, true).await,
        }
    }

    fn hand_over(&self, answer: Response<Body>) {
        // A refusal may become an answer at any time, so only a success is remembered.
        if answer.status() == StatusCode::OK {
            let until = self.site.now() + UNSHARED_MEMORY;
            self.site.cache.insert(self.writer.key().clone(), Entry::Unshared { until });
        }
        self.writer.hand_over(answer);
    }

    /// Passes the body on while it comes, then the store phase.
    async fn share(&mut self, answer: Response<Body>, length: Option<u64>, freshness: Freshness, store: bool) {
        let (parts, body) = answer.into_parts();
        let head = Arc::new(Head::new(parts.status, parts.headers, length, freshness));
        self.writer.share(head.clone(), store);
        match self.pump(body, length).await {
            Ok(whole) if whole && store => {
                self.store(Arc::new(Object::new(&head, self.writer.chunks())));
                self.writer.finish(Ok(()));
            }
            Ok(_) => self.writer.finish(Ok(())),
            Err(error) => {
                tracing::debug!(key = %self.writer.key(), %error, "a body broke off");
                self.writer.finish(Err(error));
            }
        }
    }

    /// Whether the flight kept all of the body.
    async fn pump(&mut self, mut body: Body, length: Option<u64>) -> Result<bool, OriginError> {
        let idle = self.site.upstream_idle_timeout();
        let mut received = 0_u64;
        loop {
            let frame = std::future::poll_fn(|cx| {
                let frame = Pin::new(&mut body).poll_frame(cx);
                if frame.is_pending() {
                    self.writer.tell();
                }
                frame
            });
            let frame = guarded("body", frame);
            let data: Bytes = match self.unless_cancelled(within(idle, frame)).await {
                None => return Err(OriginError::Cancelled),
                Some(Err(TimedOut)) => return Err(OriginError::TimedOut),
                Some(Ok(Err(_))) => return Err(OriginError::Panicked),
                Some(Ok(Ok(Some(Err(error))))) => return Err(OriginError::Failed(error.to_string())),
                Some(Ok(Ok(None))) => break,
                Some(Ok(Ok(Some(Ok(frame))))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => data,
                    _ => continue,
                },
            };
            received = received.saturating_add(data.len() as u64);
            if length.is_some_and(|length| received > length) {
                return Err(OriginError::Length);
            }
            self.room(data.len()).await?;
            self.writer.append(data);
        }
        if length.is_some_and(|length| received != length) {
            Err(OriginError::Length)
        } else {
            Ok(self.writer.is_whole())
        }
    }

    fn store(&self, object: Arc<Object>) {
        self.site.cache.insert(self.writer.key().clone(), Entry::Object(object));
    }

    /// Waits for room, which lacks only where a body is too long to be kept. A client that reads too slowly to make room is cut
    /// off by its own write deadline.
    async fn room(&self, length: usize) -> Result<(), OriginError> {
        let room = std::future::poll_fn(|cx| self.writer.poll_room(cx, length));
        self.unless_cancelled(room).await.ok_or(OriginError::Cancelled)
    }

    /// `None` when nobody waits any more.
    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(out) => Poll::Ready(Some(out)),
            Poll::Pending => self.writer.poll_cancelled(cx).map(|()| None),
        })
        .await
    }
}

/// It took too long.
pub(crate) struct TimedOut;

/// A deadline around `work`.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, TimedOut> {
    tokio::time::timeout(limit, work).await.map_err(|_| TimedOut)
}

/// The request of a key: nothing of any one client is in it.
fn shared_request(key: &Key, aged: Option<&Object>) -> Option<Request<Body>> {
    let mut request = Request::new(crate::empty());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = key.parse::<Uri>().ok()?;
    if let Some(aged) = aged.filter(|aged| aged.head.status == StatusCode::OK) {
        let conditions = [(header::IF_NONE_MATCH, header::ETAG), (header::IF_MODIFIED_SINCE, header::LAST_MODIFIED)];
        for (condition, validator) in conditions {
            copy(&aged.head.headers, &validator, request.headers_mut(), condition);
        }
    }
    Some(request)
}

fn copy(from: &HeaderMap, name: &HeaderName, to: &mut HeaderMap, as_name: HeaderName) {
    if let Some(value) = from.get(name) {
        to.insert(as_name, value.clone());
    }
}

/// A 1xx comes before an answer, and is none.
pub(crate) fn no_answer() -> OriginError {
    OriginError::Failed("it answered with an informational status".into())
}

/// The body's length as its origin says or as the body knows.
pub(crate) fn declared_length(answer: &Response<Body>) -> Option<u64> {
    let header = answer.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    header.or(answer.body().size_hint().exact())
}
