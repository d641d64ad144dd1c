//! What is seen from outside: the log line, the metrics and the observer's record of each answer.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode};
use metrics::{Counter, Histogram, counter, histogram};

/// How the cache took part in an answer: nginx's names, and what each means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// Nothing was kept: this request began the fetch, or the answer was for this client alone.
    Miss,
    /// Answered from the cache, or from a fetch that another request had begun (nginx says HIT after its lock, too).
    Hit,
    /// What was kept had aged; a fetch replaced it.
    Expired,
    /// What was kept had aged and was given all the same: its renewal has just begun, or has failed.
    Stale,
    /// What was kept had aged and was given while an earlier request renews it.
    Updating,
    /// What was kept had aged, and its origin said that it still holds.
    Revalidated,
    /// The cache was not asked: the route, the method or the client's credentials forbid it.
    Bypass,
    /// The edge itself refused or answered; there is no `X-Cache-Status`.
    None,
}

impl CacheStatus {
    /// The value of `X-Cache-Status` and of the `cache` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Miss => "MISS",
            Self::Hit => "HIT",
            Self::Expired => "EXPIRED",
            Self::Stale => "STALE",
            Self::Updating => "UPDATING",
            Self::Revalidated => "REVALIDATED",
            Self::Bypass => "BYPASS",
            Self::None => "NONE",
        }
    }

    const ALL: usize = 8;
}

/// One answered request, when its last byte was handed to the connection or the client went away.
#[derive(Clone, Debug)]
pub struct RequestRecord<'a> {
    /// The client.
    pub remote: SocketAddr,
    /// The method.
    pub method: &'a Method,
    /// The normalised path; as sent when it was refused. It has no query, so no token.
    pub path: &'a str,
    /// `User-Agent`, as sent.
    pub user_agent: Option<&'a HeaderValue>,
    /// The route's class.
    pub class: &'static str,
    /// The answer's status.
    pub status: StatusCode,
    /// Bytes of the body that went to the connection.
    pub bytes: u64,
    /// How the cache took part.
    pub cache: CacheStatus,
    /// From the request's head to the answer's last byte.
    pub duration: Duration,
}

/// Somebody who wants to know of every answer, such as a counter of viewers. It is called on the serving threads: it must
/// neither block nor take long.
pub trait Observer: Send + Sync + 'static {
    /// An answer has been delivered, or given up.
    fn on_request(&self, record: &RequestRecord<'_>);
}

/// Classes of status: 1xx to 5xx.
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The metrics of one class of routes; each handle is made when it is first used, and kept.
pub(crate) struct ClassMetrics {
    class: &'static str,
    requests: [OnceLock<Counter>; STATUS_CLASSES.len() * CacheStatus::ALL],
    bytes: OnceLock<Counter>,
    seconds: OnceLock<Histogram>,
}

impl ClassMetrics {
    pub(crate) fn new(class: &'static str) -> Self {
        let requests = [const { OnceLock::new() }; STATUS_CLASSES.len() * CacheStatus::ALL];
        Self { class, requests, bytes: OnceLock::new(), seconds: OnceLock::new() }
    }

    /// The answer's head is ready.
    pub(crate) fn on_head(&self, time: Duration) {
        let seconds = || histogram!("headwater_edge_response_seconds", "class" => self.class);
        self.seconds.get_or_init(seconds).record(time.as_secs_f64());
    }

    fn on_end(&self, record: &RequestRecord<'_>) {
        let status_class = usize::from(record.status.as_u16() / 100).clamp(1, STATUS_CLASSES.len()) - 1;
        let at = status_class * CacheStatus::ALL + record.cache as usize;
        let made = || {
            let status_class = STATUS_CLASSES.get(status_class).copied().unwrap_or_default();
            counter!("headwater_edge_requests_total", "class" => self.class, "status_class" => status_class, "cache" => record.cache.label())
        };
        if let Some(requests) = self.requests.get(at) {
            requests.get_or_init(made).increment(1);
        }
        let bytes = || counter!("headwater_edge_bytes_total", "class" => self.class);
        self.bytes.get_or_init(bytes).increment(record.bytes);
    }
}

/// The log phase: one event becomes the log line, the metrics and the observer's record.
pub(crate) fn log(metrics: &ClassMetrics, observer: Option<&Arc<dyn Observer>>, record: &RequestRecord<'_>) {
    metrics.on_end(record);
    tracing::debug!(
        remote = %record.remote, method = %record.method, path = record.path, status = record.status.as_u16(),
        bytes = record.bytes, cache = record.cache.label(), ms = record.duration.as_millis() as u64, "request"
    );
    if let Some(observer) = observer {
        observer.on_request(record);
    }
}
