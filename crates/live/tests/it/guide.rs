//! `/channels.json`.

use crate::{
    node::Node,
    tape::{self, both},
};

#[tokio::test]
async fn a_channel_is_listed_from_its_first_complete_part_on() {
    let node = Node::plain();
    assert!(node.channels().await.is_empty());
    let mut encoder = node.encoder("live/a", both(4_000));
    let mut ms = 0;
    while node.channels().await.is_empty() {
        assert!(ms < 1_500, "the first part is long complete");
        assert!(node.live.streams().iter().all(|stream| stream.id.as_str() == "live/a"));
        ms += 40;
        encoder.until(ms);
    }
    assert!(ms > 100);
    assert_eq!(node.status("/live/a/index.m3u8").await, 200, "what is listed can be had");

    encoder.all();
    let guide = node.get("/channels.json").await.json();
    let channel = &guide["channels"][0];
    assert_eq!(channel["hls"], "/live/a/index.m3u8");
    assert_eq!(channel["dash"], "/live/a/manifest.mpd");
    assert_eq!((&channel["app"], &channel["name"], &channel["live"]), (&"live".into(), &"a".into(), &true.into()));
    assert_eq!((&channel["video"]["width"], &channel["video"]["frame_rate"]), (&1_280.into(), &30.0.into()));
    assert_eq!(channel["audio"]["sample_rate"], 48_000);
    assert_eq!(channel["gop_ms"], 1_000);
    assert!(channel["thumbnail"].is_null(), "nothing on this machine can make a picture");
    assert!(channel["started_at"].as_str().unwrap().starts_with("2020-01-01T00:00:"));
}

#[tokio::test]
async fn viewers_who_wait_are_told_of_a_new_channel_once_it_plays() {
    let node = Node::plain();
    let version = |guide: &serde_json::Value| guide["version"].as_u64().unwrap();
    let before = node.get("/channels.json").await.json();
    let parked = node.park(&format!("/channels.json?after={}", version(&before))).await;
    let mut encoder = node.encoder("live/a", both(4_000));
    assert!(!parked.is_finished(), "nothing to see yet");
    encoder.until(1_500);
    let after = parked.await.unwrap().json();
    assert_eq!(after["channels"][0]["id"], "live/a");
    assert!(version(&after) > version(&before));
}

#[tokio::test]
async fn a_guide_of_an_earlier_process_is_replaced_at_once() {
    let node = Node::plain();
    let version = node.get("/channels.json").await.json()["version"].as_u64().unwrap();
    for other in [1, version - 1, version + 1_000_000] {
        assert_eq!(node.status(&format!("/channels.json?after={other}")).await, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_guide_that_does_not_change_is_answered_all_the_same() {
    let node = Node::plain();
    let version = node.get("/channels.json").await.json()["version"].as_u64().unwrap();
    let before = tokio::time::Instant::now();
    let answer = node.get(&format!("/channels.json?after={version}")).await;
    assert_eq!((answer.json()["version"].as_u64(), before.elapsed().as_secs()), (Some(version), 25));
}

#[tokio::test]
async fn a_publisher_that_sends_nothing_is_no_channel_and_leaves_nothing() {
    let node = Node::plain();
    drop(node.encoder("live/silent", both(10)));
    let mut encoder = node.encoder("live/a", tape::tape(&[tape::video()], 3_000));
    encoder.all();
    assert_eq!(node.channels().await, ["live/a"]);
    crate::node::eventually("the silent stream is forgotten", || node.live.streams().len() == 1).await;
}
