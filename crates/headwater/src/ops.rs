//! The operations listener: `/metrics`, `/healthz`, `/readyz`, `/version`. Plain HTTP/1.1 without a login, on
//! loopback by default.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

mod readiness;

pub use readiness::{Part, Readiness};

/// Connections at once: a few scrapers and people; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// A request's header has to be here within this time, also the next one on a kept connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection lives no longer than this, whatever its peer does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// A request's header is no larger: enough for any browser's cookies on a shared host name (hyper's own minimum is 8
/// KiB).
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Pause after a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listener, bound and not yet serving.
#[derive(Debug)]
pub struct Ops {
    listener: TcpListener,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    readiness: Readiness,
    metrics: PrometheusHandle,
}

impl Ops {
    /// Binds the listener.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub async fn bind(address: SocketAddr, readiness: Readiness, metrics: PrometheusHandle) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("operations listener at {address}: {error}; choose another address with --ops"),
            )
        };
        let listener = TcpListener::bind(address).await.map_err(named)?;
        Ok(Self { listener, state: Arc::new(State { readiness, metrics }) })
    }

    /// The address in use, with the port the system chose when 0 was asked for.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until dropped: a draining process still answers its scraper and its load balancer.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let state = Arc::clone(&self.state);
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection(stream, state)).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "operations listener: accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &state);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "operations connection ended");
    }
}

fn answer(method: &Method, path: &str, state: &State) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/metrics" => of_kind(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", state.metrics.render()),
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => readyz(&state.readiness),
        "/version" => of_json(StatusCode::OK, &json!({"name": "headwater", "version": env!("CARGO_PKG_VERSION")})),
        "/" => text(StatusCode::OK, "/metrics\n/healthz\n/readyz\n/version\n"),
        _ => text(StatusCode::NOT_FOUND, "not found: try /metrics, /healthz, /readyz or /version\n"),
    }
}

fn readyz(readiness: &Readiness) -> Response<Full<Bytes>> {
    let reasons = readiness.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    of_json(status, &json!({"ready": reasons.is_empty(), "reasons": reasons, "listeners": readiness.listeners()}))
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    of_kind(status, "text/plain; charset=utf-8", body)
}

fn of_json(status: StatusCode, value: &serde_json::Value) -> Response<Full<Bytes>> {
    of_kind(status, "application/json", format!("{value}\n"))
}

fn of_kind(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn state() -> State {
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
        State { readiness: Readiness::default(), metrics }
    }

    async fn ask(state: &State, method: Method, path: &str) -> (StatusCode, String) {
        let response = answer(&method, path, state);
        let status = response.status();
        let Ok(body) = response.into_body().collect().await;
        (status, String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }

    #[tokio::test]
    async fn ready_means_every_listener_is_up_and_nothing_drains() {
        let state = state();
        let check = async |status: StatusCode, reason: &str| {
            let (got, body) = ask(&state, Method::GET, "/readyz").await;
            assert_eq!(got, status, "{body}");
            assert!(body.contains(reason), "{body}");
        };
        let http = state.readiness.expect("http");
        let rtmp = state.readiness.expect("rtmp");
        check(StatusCode::SERVICE_UNAVAILABLE, "http: not listening yet").await;
        http.up("127.0.0.1:8080".parse().expect("an address"));
        check(StatusCode::SERVICE_UNAVAILABLE, "[\"rtmp: not listening yet\"]").await;
        rtmp.up("127.0.0.1:1935".parse().expect("an address"));
        check(StatusCode::OK, "\"http\":\"127.0.0.1:8080\"").await;
        rtmp.down("address in use");
        check(StatusCode::SERVICE_UNAVAILABLE, "rtmp: address in use").await;
        rtmp.up("127.0.0.1:1935".parse().expect("an address"));
        state.readiness.drain();
        check(StatusCode::SERVICE_UNAVAILABLE, "[\"draining\"]").await;
    }

    #[tokio::test]
    async fn only_known_paths_and_reading_methods_are_answered() {
        let state = state();
        let check = async |method: Method, path: &str, status: StatusCode| {
            assert_eq!(ask(&state, method.clone(), path).await.0, status, "{method} {path}");
        };
        check(Method::GET, "/healthz", StatusCode::OK).await;
        check(Method::HEAD, "/healthz", StatusCode::OK).await;
        check(Method::GET, "/version", StatusCode::OK).await;
        check(Method::GET, "/metrics", StatusCode::OK).await;
        check(Method::POST, "/metrics", StatusCode::METHOD_NOT_ALLOWED).await;
        check(Method::GET, "/metrics/../etc", StatusCode::NOT_FOUND).await;
    }
}
