//! The end of the node.

use live::PublishError;

use crate::{
    node::Node,
    peer::{Peer, Seen},
    tape::both,
};

#[tokio::test]
async fn a_stop_ends_streams_at_once_and_tells_everybody() {
    let node = Node::new(|settings| settings.live.reconnect_ms = 600_000);
    let rtmp = node.rtmp().await;
    let mut encoder = node.encoder("demo/bars", both(3_000));
    encoder.all();
    let mut publisher = Peer::publish(rtmp.local_addr(), "live", "a").await;
    publisher.send(&both(3_000)).await;
    node.eventually("/live/a/v0/index.m3u8", |text| text.contains("#EXTINF")).await;
    let mut player = Peer::play(rtmp.local_addr(), "live", "a").await;
    player.media_until(Seen::is_keyframe).await;

    drop(encoder);
    rtmp.stop();
    while player.media().await.is_some() {}
    let told = async { while publisher.event().await.unwrap() != Some(protocols::rtmp::ClientEvent::Closed) {} };
    told.await;
    for path in ["/live/a/v0/index.m3u8", "/demo/bars/v0/index.m3u8"] {
        node.eventually(path, |text| text.contains("#EXT-X-ENDLIST")).await;
    }
    assert_eq!(node.live.publish(&"live/b".parse().unwrap()).err(), Some(PublishError::Stopping));
    drop((player, publisher));
    tokio::time::timeout(crate::node::DEADLINE, rtmp.stopped()).await.expect("the listener ends");
    assert!(tokio::net::TcpStream::connect(rtmp.local_addr()).await.is_err());
}
