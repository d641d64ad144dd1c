//! Peers that mean no good, while a healthy stream plays on.

use protocols::rtmp::{ClientAction, chunk};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    node::{DEADLINE, Node, eventually},
    peer::Peer,
    tape::both,
};

/// The server closes the connection, whatever it says before.
async fn is_closed(socket: &mut TcpStream) {
    let mut buffer = vec![0; 4_096];
    let closed = async { while socket.read(&mut buffer).await.is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(DEADLINE, closed).await.expect("the server closes");
}

#[tokio::test]
async fn nonsense_ends_its_own_connection_alone() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let mut encoder = node.encoder("live/a", both(6_000));
    encoder.until(2_000);
    let mut random = testkit::Random::new(11);
    let noise: Vec<u8> = (0..20_000).map(|_| random.next_u64() as u8).collect();
    let handshake_then = |rest: &[u8]| [&[3][..], &[0; 1_536], &[0; 1_536], rest].concat();
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        noise.clone(),
        handshake_then(&noise),
        // Set Chunk Size 0 (RTMP 1.0, 5.4.1).
        handshake_then(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let mut socket = TcpStream::connect(rtmp.local_addr()).await.unwrap();
        let _ = socket.write_all(&bytes).await;
        is_closed(&mut socket).await;
    }
    encoder.all();
    assert_eq!(node.status("/live/a/v0/1.m4s").await, 200);
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once_and_places_come_back() {
    let node = Node::new(|settings| settings.live.rtmp_connections_max = 2);
    let rtmp = node.rtmp().await;
    let first = Peer::publish(rtmp.local_addr(), "live", "a").await;
    let _second = Peer::publish(rtmp.local_addr(), "live", "b").await;
    is_closed(&mut TcpStream::connect(rtmp.local_addr()).await.unwrap()).await;
    first.close().await;
    let id = "live/a".parse().unwrap();
    eventually("the place is free", || node.live.publish(&id).is_ok()).await;
}

#[tokio::test]
async fn a_flood_of_pings_that_nobody_reads_is_bounded() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let mut encoder = node.encoder("live/a", both(1_000));
    encoder.all();
    let mut player = Peer::play(rtmp.local_addr(), "live", "a").await;
    let mut ping = bytes::BytesMut::new();
    // User Control, Ping Request (RTMP 1.0, 7.1.7).
    chunk::write_message(&mut ping, 128, 2, 0, 4, 0, &[&[0, 6, 0, 0, 0, 1]]);
    let flood = ping.repeat(20_000);
    let _ = player.socket.write_all(&flood).await;
    is_closed(&mut player.socket).await;
    eventually("the player is gone", || node.live.rtmp_players() == 0).await;
}

#[tokio::test]
async fn a_stream_nobody_publishes_is_no_place_to_wait() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    for (app, name) in [("live", "a"), ("x", ".."), ("live", "a%00b")] {
        let (code, _) = Peer::refused(rtmp.local_addr(), ClientAction::Play, app, name).await;
        assert_eq!(code, "NetStream.Play.StreamNotFound", "{app}/{name}");
    }
}
