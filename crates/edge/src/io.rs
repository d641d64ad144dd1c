//! One connection's socket with its deadlines: a client that says nothing, or too slowly, or takes nothing, does not stay.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use metrics::counter;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use crate::Config;

/// A write of at least this many bytes counts as an answer that makes progress; HTTP/2 control frames are smaller.
const PROGRESS_BYTES_MIN: usize = 256;

/// What the socket and the requests on it tell each other.
pub(crate) struct Connection {
    pub(crate) remote: SocketAddr,
    opened: Instant,
    /// Requests that are being answered.
    active: AtomicUsize,
    /// Requests that have been answered.
    answered: AtomicUsize,
    /// When the last answer ended or moved on, in milliseconds after `opened`.
    progress_ms: AtomicU64,
}

impl Connection {
    pub(crate) fn new(remote: SocketAddr) -> Self {
        Self {
            remote,
            opened: Instant::now(),
            active: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            progress_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn on_request(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.on_progress();
    }

    pub(crate) fn on_request_end(&self) {
        self.on_progress();
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn on_progress(&self) {
        let ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress_ms.store(ms, Ordering::Relaxed);
    }

    fn is_idle(&self) -> bool {
        self.active.load(Ordering::Relaxed) == 0
    }

    fn last_progress(&self) -> Instant {
        self.opened + Duration::from_millis(self.progress_ms.load(Ordering::Relaxed))
    }
}

/// How long a connection may wait, and for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    header: Duration,
    idle: Duration,
    write: Duration,
    /// No answer on the connection moves on, though each must within this time.
    stall: Duration,
}

impl Deadlines {
    pub(crate) fn new(config: &Config) -> Self {
        let longest_wait_ms = config.upstream_timeout_ms.max(config.upstream_idle_timeout_ms);
        Self {
            header: Duration::from_millis(config.header_timeout_ms),
            idle: Duration::from_millis(config.idle_timeout_ms),
            write: Duration::from_millis(config.write_timeout_ms),
            stall: Duration::from_millis(longest_wait_ms.saturating_add(config.write_timeout_ms)),
        }
    }
}

/// A socket that fails with `TimedOut` when a deadline passes.
pub(crate) struct Socket<S> {
    inner: S,
    connection: Arc<Connection>,
    deadlines: Deadlines,
    reading: Reading,
    /// Requests that had been answered at the last look.
    answered: usize,
    /// Whether the client began with the preface of HTTP/2, where bytes between requests need not be the head of one.
    is_http_2: Option<bool>,
    /// Since when the bytes for the client wait.
    writing: Option<Pin<Box<Sleep>>>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What the bytes that come are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reading {
    /// The head of a request, since then. Bytes do not move this deadline: one byte per second is too slow.
    Head(Instant),
    /// Nothing is expected yet.
    Idle,
    /// Requests are being answered.
    Busy,
}

impl<S> Socket<S> {
    pub(crate) fn new(inner: S, connection: Arc<Connection>, deadlines: Deadlines) -> Self {
        let reading = Reading::Head(Instant::now());
        Self { inner, connection, deadlines, reading, answered: 0, is_http_2: None, writing: None, timer: None }
    }

    /// Follows what the requests did since the last look.
    fn refresh(&mut self) {
        let answered = self.connection.answered.load(Ordering::Relaxed);
        let has_answered = std::mem::replace(&mut self.answered, answered) != answered;
        self.reading = match (self.connection.is_idle(), self.reading) {
            (false, _) => Reading::Busy,
            (true, Reading::Busy) => Reading::Idle,
            // It was asked and answered between two looks.
            (true, _) if has_answered => Reading::Idle,
            (true, same) => same,
        };
    }

    fn deadline(&self) -> Instant {
        match self.reading {
            Reading::Head(since) => since + self.deadlines.header,
            Reading::Idle => self.connection.last_progress() + self.deadlines.idle,
            Reading::Busy => self.connection.last_progress() + self.deadlines.stall,
        }
    }

    fn on_bytes(&mut self, bytes: &[u8]) {
        let is_http_2 = *self.is_http_2.get_or_insert(bytes.starts_with(b"PRI"));
        if self.reading == Reading::Idle && !is_http_2 {
            self.reading = Reading::Head(Instant::now());
        }
    }

    /// Nothing came: is it too late? The timer is seldom moved: when it fires early, it is set to the deadline of then.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        loop {
            let deadline = self.deadline();
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if timer.deadline() > deadline {
                timer.as_mut().reset(deadline);
            }
            std::task::ready!(timer.as_mut().poll(cx));
            self.refresh();
            let deadline = self.deadline();
            if deadline <= Instant::now() {
                return Poll::Ready(self.reading.label());
            }
            if let Some(timer) = &mut self.timer {
                timer.as_mut().reset(deadline);
            }
        }
    }

    fn poll_written(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Ready(Ok(bytes)) if *bytes >= PROGRESS_BYTES_MIN => self.connection.on_progress(),
            Poll::Ready(_) => {}
            Poll::Pending => {
                let deadline = Instant::now() + self.deadlines.write;
                let timer = self.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                return timer.as_mut().poll(cx).map(|()| Err(timed_out("write")));
            }
        }
        self.writing = None;
        result
    }
}

impl Reading {
    fn label(self) -> &'static str {
        match self {
            Self::Head(_) => "header",
            Self::Idle => "idle",
            Self::Busy => "stall",
        }
    }
}

fn timed_out(what: &'static str) -> io::Error {
    counter!("headwater_edge_timeouts_total", "what" => what).increment(1);
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.refresh();
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if read.is_ready() {
            self.on_bytes(buf.filled().get(before..).unwrap_or_default());
            return read;
        }
        self.poll_deadline(cx).map(|what| Err(timed_out(what)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.poll_written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.poll_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
