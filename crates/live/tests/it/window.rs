//! The rewind window beyond memory.

use std::time::Duration;

use store::{Key, Objects};

use crate::{
    node::{DEADLINE, Node, eventually},
    tape::{self, both},
};

fn node(store: Objects) -> Node {
    Node::new(|settings| {
        (settings.live.memory_window_ms, settings.live.window_ms) = (12_000, 60_000);
        settings.store = Some(store);
    })
}

async fn stored(store: &Objects) -> usize {
    store.list(&Key::new("live").unwrap()).await.unwrap().len()
}

/// Waits for the number of stored objects.
async fn until_stored(store: &Objects, wanted: impl Fn(usize) -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let wait = async {
        while !wanted(stored(store).await) {
            tick.tick().await;
        }
    };
    let done = tokio::time::timeout(DEADLINE, wait).await.is_ok();
    assert!(done, "the store holds {} objects", stored(store).await);
}

#[tokio::test]
async fn segments_come_back_from_the_store_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let store = Objects::local(folder.path()).unwrap();
    let node = node(store.clone());
    let mut encoder = node.encoder("live/a", both(40_000));
    encoder.until(4_500);
    let mut before = Vec::new();
    for path in ["/live/a/v0/0.m4s", "/live/a/v0/1.m4s", "/live/a/a0/0.m4s", "/live/a/a0/1.m4s"] {
        before.push((path, node.get(path).await.body));
    }
    // Two tracks, 12 s of them in memory; an encoder out of real time gives the store the time it would have.
    for (ms, objects) in [(20_000, 6), (30_000, 16), (40_000, 26)] {
        encoder.until(ms);
        until_stored(&store, |count| count >= objects).await;
    }
    for (path, body) in before {
        let answer = node.get(path).await;
        assert!(answer.status == 200 && !body.is_empty() && answer.body == body, "{path}");
    }
    assert!(!node.text("/live/a/v0/index.m3u8").await.contains("#EXT-X-GAP"));
    assert_eq!(node.status("/live/a/v0/0.0.m4s").await, 404, "parts are for the live edge");
}

#[tokio::test]
async fn stored_segments_go_with_the_window_and_with_their_stream() {
    let folder = tempfile::tempdir().unwrap();
    let store = Objects::local(folder.path()).unwrap();
    let node = node(store.clone());
    let mut encoder = node.encoder("live/a", tape::tape(&[tape::video()], 120_000));
    for (ms, objects) in [(20_000, 3), (30_000, 8), (40_000, 13), (50_000, 18), (60_000, 23)] {
        encoder.until(ms);
        until_stored(&store, |count| count >= objects).await;
    }
    encoder.until(120_000);
    until_stored(&store, |count| (1..=24).contains(&count)).await;
    assert_eq!(node.status("/live/a/v0/0.m4s").await, 404);
    drop(encoder);
    node.eventually("/live/a/v0/index.m3u8", |text| text.contains("ENDLIST")).await;
    node.clock.advance(Duration::from_secs(61));
    eventually("the stream is forgotten", || node.live.streams().is_empty()).await;
    until_stored(&store, |count| count == 0).await;
    assert_eq!(node.status("/live/a/index.m3u8").await, 404);
}

#[tokio::test]
async fn what_an_earlier_process_left_is_deleted() {
    let store = Objects::memory();
    let key = Key::new("live/live/a/1/v0/0.m4s").unwrap();
    store.put(&key, vec!["old".into()]).await.unwrap();
    let other = Key::new("assets/a").unwrap();
    store.put(&other, vec!["mine".into()]).await.unwrap();
    let _node = node(store.clone());
    until_stored(&store, |count| count == 0).await;
    assert!(store.get_range(&other, 0..4).await.is_ok());
}

#[tokio::test]
async fn a_store_that_fails_makes_gaps_and_does_not_hold_up_the_live_edge() {
    let folder = tempfile::tempdir().unwrap();
    let store = Objects::local(folder.path()).unwrap();
    let node = node(store);
    // No folder of that name can be made any more.
    std::fs::write(folder.path().join("live"), "in the way").unwrap();
    let mut encoder = node.encoder("live/a", both(40_000));
    encoder.all();
    let playlist = node.eventually("/live/a/v0/index.m3u8", |text| text.contains("#EXT-X-GAP")).await;
    assert!(playlist.contains("#EXT-X-PRELOAD-HINT"), "{playlist}");
    assert_eq!(node.status("/live/a/v0/18.m4s").await, 200);
}
