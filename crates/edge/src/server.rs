//! Threads, listeners and connections: one current-thread runtime per core, each with a listener of its own.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr, TcpListener as StdListener, ToSocketAddrs},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use base::{Clock, SystemClock};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use metrics::{Gauge, counter, gauge};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    Config, Error, Observer, OriginError, Route, exchange,
    guard::guarded,
    io::{Connection, Deadlines, Socket},
    problem::Problem,
    site::{Life, Site},
};

/// Connections that wait to be accepted, per listener; a burst of players at the start of an event.
const BACKLOG: i32 = 4_096;

/// Requests at once on one HTTP/2 connection; a player has a handful.
const H2_STREAMS_MAX: u32 = 128;

/// Pause after the system refuses to accept, as when it is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Part of the drain in which those who still wait are told that the server stops.
const REFUSAL_TIME_MAX: Duration = Duration::from_millis(500);

/// The edge with its listeners bound and its routes known, not yet serving.
pub struct Server {
    site: Arc<Site>,
    listeners: Vec<StdListener>,
    addr: SocketAddr,
}

impl Server {
    /// Binds the configured address, once per worker.
    ///
    /// # Errors
    /// When the address cannot be had, or a route or limit makes no sense.
    pub fn bind(config: &Config, routes: Vec<Route>) -> Result<Self, Error> {
        Self::bind_with_clock(config, routes, Arc::new(SystemClock::start()))
    }

    /// The same with another source of the time by which kept answers age.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub fn bind_with_clock(config: &Config, routes: Vec<Route>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let site = Site::new(config, routes, clock)?;
        let (addr, listeners) = listen(config)?;
        Ok(Self { site: Arc::new(site), listeners, addr })
    }

    /// The same server, telling `observer` of every answer.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        if let Some(site) = Arc::get_mut(&mut self.site) {
            site.observer = Some(observer);
        }
        self
    }

    /// Where it listens; the real port where the configured one was 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Starts the threads and returns.
    ///
    /// # Errors
    /// When a thread or runtime cannot be had.
    pub fn start(self) -> Result<Handle, Error> {
        let house = Arc::new(House::new(self.site));
        let mut handle = Handle { house: house.clone(), addr: self.addr, threads: Vec::new() };
        for (worker, listener) in self.listeners.into_iter().enumerate() {
            let house = house.clone();
            let failed = |source| Error::Worker { worker, source };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
            let listener = {
                let _entered = runtime.enter();
                TcpListener::from_std(listener).map_err(failed)?
            };
            let work = move || runtime.block_on(work(house, listener));
            let thread = std::thread::Builder::new().name(format!("edge-{worker}")).spawn(work).map_err(failed)?;
            handle.threads.push(thread);
        }
        tracing::info!(addr = %self.addr, workers = handle.threads.len(), "the edge serves");
        Ok(handle)
    }

    /// Serves until `shutdown`, then drains for at most the configured `drain_ms`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let drain = Duration::from_millis(self.site.config.drain_ms);
        let handle = self.start()?;
        shutdown.await;
        handle.drain(drain).await;
        Ok(())
    }
}

/// A serving edge. Dropped, it stops at once.
pub struct Handle {
    house: Arc<House>,
    addr: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

impl Handle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        *self.house.connections.borrow()
    }

    /// Accepts nothing more and lets every answer end within `deadline`. Requests that still wait for an origin shortly before
    /// it are answered 503, what is left at its end is cut off.
    pub async fn drain(mut self, deadline: Duration) {
        let refusal = REFUSAL_TIME_MAX.min(deadline / 2);
        self.house.site.enter(Life::Draining);
        let mut connections = self.house.connections.subscribe();
        if !empty_within(&mut connections, deadline.saturating_sub(refusal)).await {
            self.house.site.enter(Life::Refusing);
            self.house.site.flights.fail_waiting(&OriginError::Draining);
            empty_within(&mut connections, refusal).await;
        }
        let cut_off = self.connections();
        tracing::info!(cut_off, "the edge has drained");
        self.house.site.enter(Life::Stopped);
        for thread in self.threads.drain(..) {
            let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
            if !matches!(joined, Ok(true)) {
                tracing::error!("a worker of the edge had panicked");
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.house.site.enter(Life::Stopped);
    }
}

impl Site {
    pub(crate) fn enter(&self, life: Life) {
        self.life.send_if_modified(|now| {
            let later = life > *now;
            *now = life.max(*now);
            later
        });
    }
}

/// The site and who is in it.
struct House {
    site: Arc<Site>,
    connections: watch::Sender<usize>,
    open: AtomicUsize,
    per_ip: Mutex<HashMap<IpAddr, usize>>,
    gauge: Gauge,
}

impl House {
    fn new(site: Arc<Site>) -> Self {
        Self {
            site,
            connections: watch::Sender::new(0),
            open: AtomicUsize::new(0),
            per_ip: Mutex::default(),
            gauge: gauge!("headwater_edge_connections"),
        }
    }

    /// Counts a connection in, unless a limit says no.
    fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Guest> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let mut guest = Guest { house: self.clone(), ip: None };
        if open >= self.site.config.connections_max {
            return self.turn_away("process", guest);
        }
        if !self.count_in(ip) {
            return self.turn_away("address", guest);
        }
        guest.ip = Some(ip);
        self.changed();
        Some(guest)
    }

    fn count_in(&self, ip: IpAddr) -> bool {
        let per_ip_max = self.site.config.connections_per_ip_max;
        if per_ip_max == 0 {
            return true;
        }
        let mut per_ip = self.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        let count = per_ip.entry(ip).or_insert(0);
        let is_room = *count < per_ip_max;
        *count += usize::from(is_room);
        is_room
    }

    fn count_out(&self, ip: IpAddr) {
        if self.site.config.connections_per_ip_max == 0 {
            return;
        }
        let mut per_ip = self.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = per_ip.get_mut(&ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                per_ip.remove(&ip);
            }
        }
    }

    fn turn_away(&self, limit: &'static str, guest: Guest) -> Option<Guest> {
        counter!("headwater_edge_connections_refused_total", "limit" => limit).increment(1);
        drop(guest);
        None
    }

    fn changed(&self) {
        let open = self.open.load(Ordering::Relaxed);
        self.gauge.set(open as f64);
        self.connections.send_replace(open);
    }
}

/// An open connection, counted out when it ends.
struct Guest {
    house: Arc<House>,
    ip: Option<IpAddr>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.house.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(ip) = self.ip {
            self.house.count_out(ip);
        }
        self.house.changed();
    }
}

/// Whether no connection is left within `limit`.
async fn empty_within(connections: &mut watch::Receiver<usize>, limit: Duration) -> bool {
    tokio::time::timeout(limit, connections.wait_for(|open| *open == 0)).await.is_ok()
}

/// One worker's thread: accepts until the drain begins, then keeps its runtime until the end.
async fn work(house: Arc<House>, listener: TcpListener) {
    let mut draining = pin!(house.site.until(Life::Draining));
    loop {
        tokio::select! {
            () = &mut draining => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => open(&house, stream, remote),
                Err(error) => on_accept_error(&error).await,
            },
        }
    }
    drop(listener);
    house.site.until(Life::Stopped).await;
}

/// A client that is gone already is no reason to pause; being out of descriptors is.
async fn on_accept_error(error: &io::Error) {
    let harmless = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::Interrupted];
    if !harmless.contains(&error.kind()) {
        tracing::warn!(%error, "cannot accept; raise the limit of open files if it is too many open files");
        counter!("headwater_edge_accept_errors_total").increment(1);
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

fn open(house: &Arc<House>, stream: TcpStream, remote: SocketAddr) {
    let Some(guest) = house.admit(remote.ip()) else {
        // Best effort: it fits into any fresh socket's buffer.
        let full =
            Problem::new(503, "connections", "Too many connections are open").retry_after(1).hint("try again later");
        let _ = stream.try_write(&full.raw());
        return;
    };
    // Parts are small and must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let site = house.site.clone();
    tokio::spawn(async move {
        let _guest = guest;
        let _ = guarded("connection", converse(site, stream, remote)).await;
    });
}

/// One connection, from its first byte to its last.
async fn converse(site: Arc<Site>, stream: TcpStream, remote: SocketAddr) {
    let connection = Arc::new(Connection::new(remote));
    let socket = Socket::new(stream, connection.clone(), Deadlines::new(&site.config));
    let builder = protocol(&site.config);
    let service = {
        let site = site.clone();
        service_fn(move |request: Request<Incoming>| {
            let answer = exchange::serve(site.clone(), connection.clone(), request);
            async move { Ok::<_, Infallible>(answer.await) }
        })
    };
    let mut served = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = site.until(Life::Draining) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%remote, error = %chain(error.as_ref()), "a connection ended early");
    }
}

/// HTTP/1.1, or HTTP/2 when the client begins with its preface; the limits that are not ours to count.
fn protocol(config: &Config) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let header_bytes_max = config.header_bytes_max.max(HEADER_BYTES_MIN);
    builder
        .http1()
        // The socket has the deadlines.
        .header_read_timeout(None)
        .max_buf_size(header_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_header_list_size(u32::try_from(header_bytes_max).unwrap_or(u32::MAX));
    builder
}

/// hyper takes no smaller buffer than this.
const HEADER_BYTES_MIN: usize = 8 * 1024;

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// One listener per worker on one port: the kernel spreads the connections.
fn listen(config: &Config) -> Result<(SocketAddr, Vec<StdListener>), Error> {
    let wanted = address(&config.http)?;
    let failed = |source| Error::Listen { addr: wanted, source };
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if config.workers == 0 { cores() } else { config.workers };
    if wanted.port() != 0 {
        // With a shared port a second server would silently take half of the clients; an unshared one finds the first.
        drop(bind(wanted, false).map_err(failed)?);
    }
    let first = bind(wanted, true).map_err(failed)?;
    let addr = first.local_addr().map_err(failed)?;
    let further = (1..workers).map(|_| bind(addr, true));
    let listeners = std::iter::once(Ok(first)).chain(further).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    Ok((addr, listeners))
}

fn address(text: &str) -> Result<SocketAddr, Error> {
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| Error::Address { text: text.to_owned() })
}

fn bind(addr: SocketAddr, shared: bool) -> io::Result<StdListener> {
    let socket = RawSocket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    if shared {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}
