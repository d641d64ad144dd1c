//! Who may publish, over sockets; that keys are never shown.

use live::PublishKey;
use protocols::rtmp::ClientAction::{Play, Publish};

use crate::{node::Node, peer::Peer, tape::both};

fn guarded(keys: &[&str]) -> Node {
    let publish_keys = keys.iter().map(|key| PublishKey::try_from((*key).to_owned()).unwrap()).collect();
    // Every peer of a test is on loopback: without its privilege it is like any other.
    Node::new(|settings| (settings.live.publish_keys, settings.live.publish_from_loopback) = (publish_keys, false))
}

#[tokio::test]
async fn loopback_publishes_without_a_key() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let mut peer = Peer::publish(rtmp.local_addr(), "live", "a").await;
    peer.send(&both(2_000)).await;
    node.eventually("/live/a/index.m3u8", |text| text.contains("v0/index.m3u8")).await;
}

#[tokio::test]
async fn without_the_right_key_publishing_is_refused_with_a_reason() {
    let node = guarded(&["live/church=sesame"]);
    let rtmp = node.rtmp().await;
    let check = async |name: &str, hint: &str| {
        let (code, description) = Peer::refused(rtmp.local_addr(), Publish, "live", name).await;
        assert_eq!(code, "NetStream.Publish.Denied", "{name}");
        assert!(description.contains(hint) && !description.contains("sesam"), "{name}: {description}");
    };
    check("church", "?key=KEY").await;
    check("church?key=sesam", "does not open").await;
    check("other?key=sesame", "does not open").await;
    check("../church", "names are").await;
    assert!(node.live.streams().is_empty());
    let nobody = guarded(&[]);
    let rtmp = nobody.rtmp().await;
    let (_, description) = Peer::refused(rtmp.local_addr(), Publish, "live", "church?key=x").await;
    assert!(description.contains("live.publish_keys"), "{description}");
}

#[tokio::test]
async fn a_key_publishes_and_is_shown_nowhere() {
    for name in ["church?key=sesame", "sesame"] {
        let node = guarded(&["live/church=sesame"]);
        let rtmp = node.rtmp().await;
        let mut peer = Peer::publish(rtmp.local_addr(), "live", name).await;
        peer.send(&both(5_000)).await;
        node.eventually("/live/church/v0/index.m3u8", |text| text.contains("\n1.m4s")).await;
        let mut texts = Vec::new();
        for path in
            ["/channels.json", "/live/church/index.m3u8", "/live/church/v0/index.m3u8", "/live/church/manifest.mpd"]
        {
            texts.push(node.text(path).await);
        }
        texts.push(format!("{:?}", node.live.streams()));
        assert!(texts.iter().all(|text| !text.contains("sesame")), "{texts:?}");
        let (code, _) = Peer::refused(rtmp.local_addr(), Play, "live", "sesame").await;
        assert_eq!(code, "NetStream.Play.StreamNotFound", "a key names no stream for viewers");
    }
}
