//! The operations listener over a real socket.

use std::time::Duration;

use headwater::ops::{Ops, Readiness};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longest wait for an answer from loopback.
const DEADLINE: Duration = Duration::from_secs(10);

async fn start() -> (std::net::SocketAddr, Readiness) {
    let readiness = Readiness::default();
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let address = "127.0.0.1:0".parse().expect("an address");
    let ops = Ops::bind(address, readiness.clone(), metrics).await.expect("a free port");
    let address = ops.local_addr().expect("it is bound");
    tokio::spawn(ops.run());
    (address, readiness)
}

async fn exchange(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(bytes).await.expect("it reads");
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer))
        .await
        .expect("it answers and closes")
        .expect("it answers");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn probes_are_answered() {
    let (address, readiness) = start().await;
    let get = async |path: &str| {
        exchange(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await
    };
    assert!(get("/healthz").await.starts_with("HTTP/1.1 200 "));
    assert!(get("/readyz").await.starts_with("HTTP/1.1 200 "));
    readiness.drain();
    let draining = get("/readyz").await;
    assert!(draining.starts_with("HTTP/1.1 503 ") && draining.contains("\"draining\""), "{draining}");
    assert!(get("/version").await.contains(env!("CARGO_PKG_VERSION")));
    assert!(get("/nothing").await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_others_are_still_served() {
    let (address, _readiness) = start().await;
    let refused = exchange(address, b"\x03\x00\x00\x00 not http at all\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused:?}");
    let oversized = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
    let refused = exchange(address, oversized.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 431 ") || refused.is_empty(), "{refused:?}");
    let healthy = exchange(address, b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(healthy.ends_with("ok\n"), "{healthy:?}");
}
