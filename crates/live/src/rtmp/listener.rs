//! The RTMP listener: accepts within limits, one task per connection; a panic in one takes nothing else down.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tracing::{error, warn};

use super::connection;
use crate::{Error, hub::Hub, keys::is_loopback, telemetry};

/// Connections the kernel holds for us while we are busy.
const BACKLOG: i32 = 4_096;
/// Pause after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running RTMP listener. Dropping it stops accepting and ends its connections.
pub struct RtmpListener {
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
}

impl RtmpListener {
    pub(crate) async fn bind(hub: Arc<Hub>, address: &str) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address: address.to_owned(), source };
        let resolved = tokio::net::lookup_host(address).await.map_err(failed)?.next();
        let resolved = resolved.ok_or_else(|| failed(std::io::ErrorKind::AddrNotAvailable.into()))?;
        let listener = bind(resolved).map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(accept(hub, listener, stopped));
        Ok(Self { local_addr, stop })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops accepting and ends the connections.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(hub: Arc<Hub>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    let per_ip = Arc::new(PerIp::default());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let limits = (hub.config.rtmp_connections_max as usize, hub.config.rtmp_connections_per_ip_max);
                    let Some(place) = per_ip.admit(peer.ip(), limits.1).filter(|_| connections.len() < limits.0) else {
                        telemetry::connection_error("connections_max");
                        warn!(%peer, "RTMP connection refused: too many (live.rtmp_connections_max, live.rtmp_connections_per_ip_max)");
                        continue;
                    };
                    let hub = hub.clone();
                    connections.spawn(async move {
                        connection::serve(hub, socket, peer).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept RTMP connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(failure) = ended && failure.is_panic() {
                    telemetry::connection_error("panic");
                    error!("a connection's task panicked; only that connection is lost");
                }
            }
            () = async { let _ = stopped.wait_for(|stop| *stop).await; } => return,
        }
        telemetry::rtmp_connections(connections.len());
    }
}

/// Connections by address.
#[derive(Default)]
struct PerIp {
    counts: Mutex<HashMap<IpAddr, u32>>,
}

/// One connection's place; given back when dropped.
struct Place {
    per_ip: Arc<PerIp>,
    ip: IpAddr,
}

impl PerIp {
    fn admit(self: &Arc<Self>, ip: IpAddr, max: u32) -> Option<Place> {
        let mut counts = self.counts.lock().expect("no code panics while it holds the counts");
        let count = counts.entry(ip).or_default();
        if *count >= max && !is_loopback(ip) {
            return None;
        }
        *count += 1;
        Some(Place { per_ip: self.clone(), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.per_ip.counts.lock().expect("no code panics while it holds the counts");
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}
