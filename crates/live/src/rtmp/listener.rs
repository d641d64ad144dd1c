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
use crate::{Error, hub::Hub, keys::is_loopback, lock::lock, telemetry};

/// Connections the kernel holds for us while we are busy.
const BACKLOG: i32 = 4_096;
/// How long a stop waits for the peers to take leave.
const FAREWELL: Duration = Duration::from_secs(2);
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

    /// Stops accepting and takes the node off air: publishers and players are told so, and every stream ends at once, for nobody
    /// can come back. [`RtmpListener::stopped`] waits until they have gone.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Returns when the listener has stopped and its connections are gone.
    pub async fn stopped(&self) {
        self.stop.closed().await;
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
            asked = async { stopped.wait_for(|stop| *stop).await.is_ok() } => {
                if asked {
                    drop(listener);
                    take_leave(&hub, connections).await;
                }
                return;
            }
        }
        telemetry::rtmp_connections(connections.len());
    }
}

/// Connections that do nothing yet are cut off at the end of the wait; the others end by themselves.
async fn take_leave(hub: &Hub, mut connections: JoinSet<()>) {
    hub.stop();
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FAREWELL, all).await;
    telemetry::rtmp_connections(0);
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
        let mut counts = lock(&self.counts);
        if counts.get(&ip).is_some_and(|count| *count >= max) && !is_loopback(ip) {
            return None;
        }
        *counts.entry(ip).or_default() += 1;
        Some(Place { per_ip: self.clone(), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.per_ip.counts);
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_places_and_gets_them_back() {
        let per_ip = Arc::new(PerIp::default());
        let admit = |ip: &str| per_ip.admit(ip.parse().unwrap(), 2);
        let (first, _second) = (admit("192.0.2.7"), admit("192.0.2.7"));
        assert!(admit("192.0.2.7").is_none());
        assert!(admit("192.0.2.8").is_some(), "another address is not affected");
        drop(first);
        assert!(admit("192.0.2.7").is_some());
        let here: Vec<_> = (0..10).map(|_| admit("::ffff:127.0.0.1")).collect();
        assert!(here.iter().all(Option::is_some));
        drop(here);
        assert_eq!(lock(&per_ip.counts).len(), 1, "an address that left is forgotten");
    }
}
