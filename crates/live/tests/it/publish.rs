//! Publishing over RTMP, and what ends it.

use std::time::Duration;

use base::Clock;
use live::{FeedError, PublishError};
use media::{TrackKind, flv::Unit};
use protocols::rtmp::{ClientAction, MediaKind};

use crate::{
    node::{Node, eventually},
    peer::Peer,
    tape::{self, Frame, both},
};

const MEDIA: &str = "/live/a/v0/index.m3u8";

#[tokio::test]
async fn what_is_published_over_rtmp_plays_as_it_came() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let mut peer = Peer::publish(rtmp.local_addr(), "live", "a").await;
    let tape = both(5_000);
    peer.send(&tape).await;
    node.eventually(MEDIA, |text| text.contains("\n1.m4s")).await;
    let (first, second) = (node.get("/live/a/v0/0.m4s").await.body, node.get("/live/a/v0/1.m4s").await.body);
    let segment = [first, second].concat();
    let payload = |frame: &Frame| match &frame.unit {
        Unit::Sample { sample, .. } if frame.kind == TrackKind::Video => Some(sample.payload.clone()),
        _ => None,
    };
    let payloads: Vec<u8> = tape.iter().filter_map(payload).take(60).flatten().collect();
    assert!(segment.windows(200).any(|bytes| bytes == &payloads[..200]));
    assert!(segment.windows(200).any(|bytes| bytes == &payloads[payloads.len() - 200..]), "two seconds are 60 frames");
    peer.close().await;
    node.eventually(MEDIA, |text| text.contains("ENDLIST")).await;
}

#[tokio::test]
async fn metadata_that_announces_one_track_starts_the_stream_with_it() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let mut peer = Peer::publish(rtmp.local_addr(), "live", "a").await;
    peer.send_metadata(&[("videocodecid", 7.0.into())]);
    peer.send(&tape::tape(&[tape::video()], 400)).await;
    node.eventually("/live/a/index.m3u8", |text| text.contains("v0/index.m3u8")).await;
}

#[tokio::test]
async fn a_second_publisher_over_rtmp_is_told_why_it_may_not() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let mut first = Peer::publish(rtmp.local_addr(), "live", "a").await;
    let (code, description) = Peer::refused(rtmp.local_addr(), ClientAction::Publish, "live", "a").await;
    assert_eq!(code, "NetStream.Publish.BadName");
    assert!(description.contains("live/a") && description.contains("another encoder"), "{description}");
    first.send(&both(3_000)).await;
    node.eventually(MEDIA, |text| text.contains("\n0.m4s")).await;
}

#[tokio::test]
async fn a_takeover_tells_the_one_that_has_to_go() {
    let node = Node::new(|settings| settings.live.takeover = true);
    let rtmp = node.rtmp().await;
    let mut first = Peer::publish(rtmp.local_addr(), "live", "a").await;
    let mut second = Peer::publish(rtmp.local_addr(), "live", "a").await;
    let (_, description) = first.ended_with().await;
    assert!(description.contains("took over"), "{description}");
    second.send(&both(3_000)).await;
    node.eventually(MEDIA, |text| text.contains("\n0.m4s")).await;
}

#[tokio::test]
async fn a_codec_that_cannot_be_packaged_is_refused_by_its_name() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let check = async |kind: MediaKind, body: &[u8], named: &str| {
        let mut peer = Peer::publish(rtmp.local_addr(), "live", "a").await;
        // More than the server reads at once is on its way when it says no.
        for ms in 0..5_000 {
            peer.queue_raw(kind, ms, &[body, &[0; 200]].concat());
        }
        peer.flush().await;
        let (code, description) = peer.ended_with().await;
        assert_eq!(code, "NetStream.Publish.Rejected");
        assert!(description.contains(named), "{description}");
        eventually("the stream is free again", || node.live.streams().is_empty()).await;
    };
    check(MediaKind::Video, &[0x12, 0], "H.263").await;
    check(MediaKind::Audio, &[0x2f, 0], "MP3").await;
}

#[tokio::test]
async fn an_encoder_faster_than_real_time_is_held_and_told() {
    let node = Node::new(|settings| settings.live.ahead_ms_max = 1_000);
    let rtmp = node.rtmp().await;
    let mut peer = Peer::publish(rtmp.local_addr(), "live", "a").await;
    let sending = tokio::spawn(async move {
        peer.send(&both(120_000)).await;
        peer
    });
    let notices = || node.live.streams().iter().flat_map(|stream| stream.notices.clone()).collect::<Vec<_>>();
    eventually("a notice", || notices().iter().any(|notice| notice.contains("faster than real time"))).await;
    assert_eq!(node.status("/live/a/v0/40.m4s").await, 404, "it has not been read to the end");
    sending.abort();
}

/// Pictures of which none is a keyframe.
fn without_keyframes(duration_ms: i64) -> Vec<Frame> {
    let mut frames = tape::tape(&[tape::video()], duration_ms);
    for frame in &mut frames {
        if let Unit::Sample { sample, .. } = &mut frame.unit {
            sample.sync = false;
        }
    }
    frames
}

#[tokio::test]
async fn a_publisher_without_a_keyframe_is_dropped_after_15_seconds() {
    let node = Node::plain();
    let mut encoder = node.encoder("live/a", without_keyframes(30_000));
    encoder.until(14_900);
    assert!(matches!(encoder.try_until(20_000), Err(FeedError::NoKeyframe(15))));
}

#[tokio::test]
async fn a_picture_that_is_announced_and_never_comes_is_no_endless_wait() {
    let node = Node::plain();
    let mut frames = both(30_000);
    frames.retain(|frame| frame.kind == TrackKind::Audio || matches!(frame.unit, Unit::Track { .. }));
    let mut encoder = node.encoder("live/a", frames);
    encoder.until(14_900);
    assert!(matches!(encoder.try_until(20_000), Err(FeedError::NoKeyframe(15))));
}

#[tokio::test]
async fn frames_without_a_configuration_do_not_hold_a_name_for_ever() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let mut peer = Peer::publish(rtmp.local_addr(), "live", "a").await;
    let frames = tape::tape(&[tape::video()], 1_000).split_off(1);
    peer.send(&frames).await;
    let sent = frames.len();
    eventually("the frames arrive", || node.live.streams().len() == 1).await;
    // The server has read the first frames once it answers this.
    assert!(sent > 20);
    let mut reason = None;
    for _ in 0..1_000 {
        node.clock.advance(Duration::from_millis(500));
        peer.queue(&frames[..1]);
        if !peer.flush().await {
            break;
        }
        if let Ok(ended) = tokio::time::timeout(Duration::from_millis(5), peer.ended_with()).await {
            reason = Some(ended);
            break;
        }
    }
    let (code, description) = reason.expect("the publisher is told");
    assert_eq!(code, "NetStream.Publish.Rejected");
    assert!(description.contains("no decoder configuration"), "{description}");
}

#[tokio::test]
async fn a_publisher_over_its_bit_rate_is_dropped_by_name() {
    let node = Node::new(|settings| settings.live.publish_kbps_max = 200);
    let mut encoder = node.encoder("live/a", both(30_000));
    let error = (1..=30).find_map(|second| encoder.try_until(second * 1_000).err());
    match error {
        Some(FeedError::Bitrate { kbps, limit: 200 }) => assert!(kbps < 260, "{kbps}: found in time"),
        other => panic!("{other:?}"),
    }
    let node = Node::new(|settings| settings.live.publish_kbps_max = 400);
    node.encoder("live/a", both(30_000)).all();
}

#[tokio::test]
async fn a_clock_that_stands_still_does_not_fill_the_memory() {
    let node = Node::plain();
    let mut encoder = node.encoder("live/a", both(5_000));
    encoder.until(3_000);
    let frame = tape::tape(&[tape::video().starting_ms(3_000)], 100).pop().unwrap();
    let mut still = || {
        node.clock.advance(Duration::from_millis(40));
        encoder.publisher.feed(frame.kind, frame.unit.clone(), node.clock.mono())
    };
    let error = (0..25 * 60).find_map(|_| still().err());
    assert!(matches!(error, Some(FeedError::ClockStandsStill(15))), "{error:?}");
}

#[tokio::test]
async fn a_peer_that_is_cut_off_leaves_the_stream_to_the_next() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let mut peer = Peer::publish(rtmp.local_addr(), "live", "a").await;
    peer.send(&both(3_000)).await;
    drop(peer);
    let id = "live/a".parse().unwrap();
    eventually("the name is free", || !matches!(node.live.publish(&id), Err(PublishError::Taken(_)))).await;
}
