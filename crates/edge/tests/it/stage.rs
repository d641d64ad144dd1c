//! The stage on which the tests play: a served edge, a scripted origin, a clock by hand, clients.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use base::{Clock, Mono, Wall};
use bytes::Bytes;
use edge::{Body, BoxError, BoxOrigin, Config, Handle, Policy, Route, Server};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

/// Longer than anything here takes on a busy machine; nothing waits for it unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A clock that stands until it is moved.
#[derive(Clone, Default)]
pub(crate) struct HandClock(Arc<AtomicU64>);

impl HandClock {
    pub(crate) fn advance_ms(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn mono(&self) -> Mono {
        Mono::from_origin(Duration::from_millis(self.0.load(Ordering::SeqCst)))
    }

    fn wall(&self) -> Wall {
        Wall::from_unix_ms(0)
    }
}

/// A served edge.
pub(crate) struct Stage {
    pub(crate) handle: Handle,
    pub(crate) clock: HandClock,
}

pub(crate) fn config() -> Config {
    Config { http: "127.0.0.1:0".into(), workers: 2, ..Config::default() }
}

pub(crate) fn hls() -> Policy {
    Policy::cached(["_HLS_msn", "_HLS_part", "_HLS_skip"])
}

impl Stage {
    /// One cached route over `origin`.
    pub(crate) fn cached(origin: BoxOrigin) -> Self {
        Self::new(&config(), vec![Route::prefix("/", origin).policy(hls())])
    }

    pub(crate) fn new(config: &Config, routes: Vec<Route>) -> Self {
        let clock = HandClock::default();
        let server = Server::bind_with_clock(config, routes, Arc::new(clock.clone())).unwrap();
        Self { handle: server.start().unwrap(), clock }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// One GET on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(path)).await
    }

    /// One GET with these headers.
    pub(crate) async fn get_with(&self, path: &str, headers: &[(&'static str, &str)]) -> Answer {
        let mut request = self.request(path);
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        self.send(request).await
    }

    pub(crate) fn request(&self, path: &str) -> Request<Full<Bytes>> {
        Request::builder().uri(path).header("host", "edge.test").body(Full::default()).unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        Answer::of(self.open(request).await).await
    }

    /// Sends a request and returns at the head of its answer.
    pub(crate) async fn open(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = TcpStream::connect(self.addr()).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        soon(sender.send_request(request)).await.unwrap()
    }

    /// An HTTP/2 connection, opened with prior knowledge.
    pub(crate) async fn h2(&self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.addr()).await.unwrap();
        let io = TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Writes `bytes` and reads what comes until the edge closes.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(self.addr()).await.unwrap();
        // A refusal may come, and close the connection, before all is written.
        let _ = stream.write_all(bytes.as_ref()).await;
        rest(stream).await
    }
}

/// What comes until the other side closes or resets.
pub(crate) async fn rest(mut stream: TcpStream) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = soon(stream.read(&mut buffer)).await {
        read.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn of(response: Response<Incoming>) -> Self {
        Self::try_of(response).await.expect("the body is whole")
    }

    /// Fails when the body breaks off.
    pub(crate) async fn try_of(response: Response<Incoming>) -> Result<Self, hyper::Error> {
        let (parts, body) = response.into_parts();
        let body = soon(body.collect()).await?.to_bytes();
        Ok(Self { status: parts.status, headers: parts.headers, body })
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `X-Cache-Status` and the body, the two things most tests are about.
    pub(crate) fn told(&self) -> (&str, &str) {
        (self.header("x-cache-status"), std::str::from_utf8(&self.body).unwrap())
    }
}

/// An origin's answer.
pub(crate) fn answer(status: u16, headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(edge::full(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    response
}

/// An origin that answers from a function of the request and the number of the call, from 1.
pub(crate) fn scripted(
    script: impl Fn(&Request<Body>, usize) -> Response<Body> + Send + Sync + 'static,
) -> (BoxOrigin, Calls) {
    let calls = Calls::default();
    let seen = calls.clone();
    let origin = BoxOrigin::new(move |request: Request<Body>| {
        let answer = script(&request, seen.record(&request));
        async move { answer }
    });
    (origin, calls)
}

/// The requests that reached an origin.
#[derive(Clone, Default)]
pub(crate) struct Calls {
    count: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Calls {
    pub(crate) fn record(&self, request: &Request<Body>) -> usize {
        self.seen.lock().unwrap().push((request.uri().to_string(), request.headers().clone()));
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub(crate) fn uris(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(uri, _)| uri.clone()).collect()
    }

    pub(crate) fn last_headers(&self) -> HeaderMap {
        self.seen.lock().unwrap().last().unwrap().1.clone()
    }
}

/// A body whose pieces the test sends one by one; it ends when the sender is dropped.
pub(crate) struct FedBody(mpsc::Receiver<Result<Bytes, BoxError>>);

pub(crate) type Feed = mpsc::Sender<Result<Bytes, BoxError>>;

pub(crate) fn fed() -> (Feed, Body) {
    let (feed, pieces) = mpsc::channel(1);
    (feed, FedBody(pieces).boxed_unsync())
}

impl http_body::Body for FedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// A body that has all of its pieces at once and does not know how many.
pub(crate) struct ReadyBody(pub(crate) std::vec::IntoIter<Bytes>);

impl http_body::Body for ReadyBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
    }
}

/// The next piece of a body as a client sees it.
pub(crate) async fn piece(body: &mut Incoming) -> Bytes {
    soon(body.frame()).await.expect("a frame comes").expect("the body goes on").into_data().expect("it is data")
}

/// Reads exactly `length` bytes of a body.
pub(crate) async fn exactly(body: &mut Incoming, length: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < length {
        read.extend_from_slice(&piece(body).await);
    }
    assert_eq!(read.len(), length);
    read
}

/// Fails the test rather than hang.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it does not take so long")
}

/// Waits for what another thread will do.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        ticks.tick().await;
    }
}
