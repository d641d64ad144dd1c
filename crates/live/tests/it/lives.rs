//! The lives of a stream: publishers that come, go, come back and take over.

use live::{FeedError, PublishError};

use crate::{
    node::{Node, eventually},
    tape::{self, both, header},
};

const MEDIA: &str = "/live/a/v0/index.m3u8";

fn discontinuities(playlist: &str) -> usize {
    playlist.lines().filter(|line| *line == "#EXT-X-DISCONTINUITY").count()
}

#[tokio::test]
async fn a_second_publisher_is_refused_and_the_first_plays_on() {
    let node = Node::plain();
    let id = "live/a".parse().unwrap();
    let mut first = node.encoder("live/a", both(4_000));
    first.until(1_000);
    assert_eq!(node.live.publish(&id).err(), Some(PublishError::Taken(id.clone())));
    first.all();
    assert_eq!(discontinuities(&node.text(MEDIA).await), 0);
}

#[tokio::test]
async fn takeover_gives_the_stream_to_the_newest_publisher_alone() {
    let node = Node::new(|settings| settings.live.takeover = true);
    let mut first = node.encoder("live/a", both(8_000));
    first.until(3_000);
    let mut second = node.encoder("live/a", both(4_000));
    assert!(matches!(first.try_until(4_000), Err(FeedError::TakenOver)), "frames of two encoders are never mixed");
    second.until(2_000);
    drop(first);
    second.until(4_000);
    let playlist = node.text(MEDIA).await;
    assert_eq!((discontinuities(&playlist), playlist.contains("ENDLIST")), (1, false), "{playlist}");
    assert_eq!(node.channels().await, ["live/a"]);
}

#[tokio::test]
async fn coming_back_in_time_is_one_discontinuity_and_no_end() {
    let node = Node::new(|settings| settings.live.reconnect_ms = 600_000);
    let mut encoder = node.encoder("live/a", both(5_000));
    encoder.all();
    drop(encoder);
    let gone = node.text(MEDIA).await;
    assert!(!gone.contains("ENDLIST") && gone.contains("#EXTINF"), "{gone}");
    let mut encoder = node.encoder("live/a", both(5_000));
    encoder.all();
    let playlist = node.text(MEDIA).await;
    assert_eq!((discontinuities(&playlist), playlist.contains("ENDLIST")), (1, false), "{playlist}");
}

#[tokio::test]
async fn a_stream_that_ended_says_so_and_may_begin_again() {
    let node = Node::plain();
    let mut encoder = node.encoder("live/a", both(5_000));
    encoder.all();
    drop(encoder);
    let ended = node.eventually(MEDIA, |text| text.contains("#EXT-X-ENDLIST")).await;
    assert_eq!(discontinuities(&ended), 0);
    assert!(node.text("/live/a/manifest.mpd").await.contains("type=\"static\""));
    assert!(!node.live.streams()[0].live);
    let mut encoder = node.encoder("live/a", both(5_000));
    assert!(!node.live.streams()[0].live, "an encoder that has sent nothing is no stream");
    encoder.all();
    let again = node.text(MEDIA).await;
    assert_eq!((discontinuities(&again), again.contains("ENDLIST")), (1, false), "{again}");
}

#[tokio::test]
async fn a_codec_change_in_mid_stream_is_a_discontinuity_with_a_new_map() {
    let node = Node::plain();
    let mut tape = both(4_000);
    let other = testkit::Samples::video_360p().gop(&[30]).rtmp().starting_ms(4_000);
    tape.push(header(&other, 4_000));
    tape.extend(tape::tape(&[other, tape::audio().starting_ms(4_000)], 4_000).split_off(2));
    let mut encoder = node.encoder("live/a", tape);
    encoder.all();
    let playlist = node.text(MEDIA).await;
    assert_eq!(discontinuities(&playlist), 1, "{playlist}");
    let maps = playlist.lines().filter(|line| line.starts_with("#EXT-X-MAP")).count();
    assert_eq!(maps, 2, "{playlist}");
    assert!(node.text("/live/a/index.m3u8").await.contains("RESOLUTION=640x360"));
}

#[tokio::test]
async fn a_picture_that_comes_late_leads_from_then_on() {
    let node = Node::plain();
    let mut tape = tape::tape(&[tape::audio()], 2_000);
    tape.extend(tape::tape(&[tape::video().starting_ms(2_000), tape::audio().starting_ms(2_000)], 5_000));
    let mut encoder = node.encoder("live/a", tape);
    encoder.until(2_000);
    assert!(!node.text("/live/a/index.m3u8").await.contains("v0"));
    encoder.all();
    assert!(node.text("/live/a/index.m3u8").await.contains("v0/index.m3u8"));
    assert!(node.text(MEDIA).await.contains("#EXTINF"));
}

#[tokio::test]
async fn a_clock_that_jumps_is_a_discontinuity() {
    let node = Node::plain();
    let mut tape = both(4_000);
    let (video, audio) = (tape::video().starting_ms(500_000), tape::audio().starting_ms(500_000));
    tape.extend(tape::tape(&[video, audio], 4_000).split_off(2));
    let mut encoder = node.encoder("live/a", tape);
    encoder.until(4_000);
    // The node's clock does not jump with the encoder's.
    let mut publisher = encoder.publisher;
    for frame in
        tape::tape(&[tape::video().starting_ms(500_000), tape::audio().starting_ms(500_000)], 4_000).split_off(2)
    {
        publisher.feed(frame.kind, frame.unit, base::Clock::mono(&node.clock)).unwrap();
    }
    let playlist = node.text(MEDIA).await;
    assert_eq!(discontinuities(&playlist), 1, "{playlist}");
}

#[tokio::test]
async fn the_node_holds_as_many_streams_as_it_may() {
    let node = Node::new(|settings| settings.live.streams_max = 2);
    let (_a, mut b) = (node.encoder("live/a", both(100)), node.encoder("live/b", both(2_000)));
    b.all();
    let third = "live/c".parse().unwrap();
    assert_eq!(node.live.publish(&third).err(), Some(PublishError::Full(2)));
    drop(b);
    let again = "live/b".parse().unwrap();
    assert!(node.live.publish(&again).is_ok(), "a stream in its window takes no second place");
    drop(_a);
    eventually("a stream that never was gives its place back", || node.live.publish(&third).is_ok()).await;
}
