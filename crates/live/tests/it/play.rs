//! Playing over RTMP.

use media::flv::{self, Unit};
use metrics_exporter_prometheus::PrometheusBuilder;
use protocols::rtmp::{ClientAction, ClientEvent, MediaKind};

use crate::{
    node::{Node, eventually},
    peer::{Peer, Seen},
    tape::{self, Frame, both},
};

/// The message of a frame, as it was published.
fn body(frame: &Frame) -> Vec<u8> {
    let Unit::Sample { sample, .. } = &frame.unit else { panic!("a configuration") };
    [&flv::frame_header(&frame.track, sample)[..], &sample.payload].concat()
}

fn is_last_of(tape: &[Frame]) -> impl Fn(&Seen) -> bool + use<> {
    let last = body(tape.last().unwrap());
    move |seen: &Seen| seen.body == last
}

#[tokio::test]
async fn a_player_starts_at_the_newest_keyframe_at_once() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let tape = both(2_500);
    let mut encoder = node.encoder("live/a", tape.clone());
    encoder.all();
    let mut player = Peer::play(rtmp.local_addr(), "live", "a").await;
    let seen = player.media_until(is_last_of(&tape)).await;
    let (headers, frames) = seen.split_at(2);
    assert!(headers.iter().all(Seen::is_header), "{headers:?}");
    assert!(frames[0].is_keyframe());
    let newest = tape.iter().position(|frame| frame.ms == 2_000 && frame.kind == media::TrackKind::Video).unwrap();
    let expected: Vec<Vec<u8>> = tape[newest..].iter().map(body).collect();
    assert!(
        frames.iter().map(|seen| &seen.body[..]).eq(expected.iter().map(|body| &body[..])),
        "every frame since, in order"
    );
    assert!(frames.windows(2).all(|pair| pair[0].timestamp_ms <= pair[1].timestamp_ms));
}

#[tokio::test]
async fn a_hundred_players_get_the_same_bytes() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let tape = both(3_000);
    let mut encoder = node.encoder("live/a", tape.clone());
    encoder.until(500);
    let mut players = Vec::new();
    for _ in 0..100 {
        players.push(Peer::play(rtmp.local_addr(), "live", "a").await);
    }
    eventually("all are seated", || node.live.rtmp_players() == 100).await;
    encoder.all();
    let mut all = Vec::new();
    for mut player in players {
        let seen = player.media_until(is_last_of(&tape)).await;
        assert!(seen[2].is_keyframe());
        all.push(seen);
    }
    assert!(all[0].len() > 100 && all.iter().all(|seen| *seen == all[0]));
}

#[tokio::test]
async fn a_slow_player_skips_to_a_keyframe_is_counted_and_slows_nobody() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let node = metrics::with_local_recorder(&recorder, || {
        Node::new(|settings| {
            (settings.live.reader_lag_ms_max, settings.live.publish_kbps_max) = (2_000, u32::MAX);
        })
    });
    let rtmp = node.rtmp().await;
    // 25 MB a second: more than the kernel keeps for a peer that does not read.
    let tape = tape::tape(&[tape::video().sizes(1_000_000, 800_000)], 12_000);
    let mut encoder = node.encoder("live/a", tape.clone());
    encoder.until(700);
    let mut slow = Peer::play(rtmp.local_addr(), "live", "a").await;
    let mut fast = Peer::play(rtmp.local_addr(), "live", "a").await;
    eventually("both are seated", || node.live.rtmp_players() == 2).await;
    let (mut got, last) = (Vec::new(), is_last_of(&tape));
    let (read_on, told) = tokio::sync::oneshot::channel::<()>();
    let slow = tokio::spawn(async move {
        told.await.unwrap();
        slow.media_until(last).await
    });
    let mut read_on = Some(read_on);
    for ms in (800..12_100).step_by(100) {
        if ms > 8_000 {
            let _ = read_on.take().map(|read_on| read_on.send(()));
        }
        encoder.until(ms);
        let sent = tape.iter().rfind(|frame| frame.ms < ms).unwrap();
        if got.last().is_none_or(|seen: &Seen| seen.body != body(sent)) {
            got.extend(fast.media_until(|seen| seen.body == body(sent)).await);
        }
    }
    let frames = |seen: &[Seen]| seen.iter().filter(|seen| !seen.is_header()).count();
    assert_eq!(frames(&got), tape.len() - 1, "the fast player has every frame");

    let seen = slow.await.unwrap();
    assert!(frames(&seen) < tape.len() - 1, "the slow player has not");
    let steps = seen.windows(2).filter(|pair| !pair[0].is_header() && !pair[1].is_header());
    assert!(
        steps.clone().all(|pair| pair[1].timestamp_ms - pair[0].timestamp_ms <= 34),
        "no hole without a new configuration"
    );
    let resumed: Vec<&Seen> =
        seen.iter().skip_while(|seen| seen.is_header()).skip_while(|seen| !seen.is_header()).collect();
    assert!(resumed.iter().find(|seen| !seen.is_header()).unwrap().is_keyframe());
    let text = recorder.handle().render();
    let skips = text.lines().find_map(|line| line.strip_prefix("headwater_live_reader_skips_total ")).unwrap();
    assert!(skips.parse::<u64>().unwrap() >= 1, "{text}");
}

#[tokio::test]
async fn a_paused_player_gets_nothing_and_resumes_at_a_keyframe() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let tape = tape::tape(&[tape::video()], 20_000);
    let mut encoder = node.encoder("live/a", tape.clone());
    encoder.until(1_000);
    let mut player = Peer::play(rtmp.local_addr(), "live", "a").await;
    player.media_until(Seen::is_keyframe).await;
    player.pause(true).await;
    // Whatever was under way is older than the answer.
    let mut ms = 1_000;
    let paused =
        |event: &ClientEvent| matches!(event, ClientEvent::Status { code, .. } if code == "NetStream.Pause.Notify");
    loop {
        ms += 34;
        encoder.until(ms);
        if player.event_now().await.is_some_and(|event| paused(&event)) {
            break;
        }
    }
    player.pause(false).await;
    let resumed =
        |event: &ClientEvent| matches!(event, ClientEvent::Status { code, .. } if code == "NetStream.Unpause.Notify");
    loop {
        ms += 34;
        encoder.until(ms);
        match player.event_now().await {
            Some(event) if resumed(&event) => break,
            Some(ClientEvent::Media { .. }) => panic!("a frame for a paused player"),
            _ => {}
        }
    }
    encoder.all();
    let seen = player.media_until(is_last_of(&tape)).await;
    assert!(seen[0].is_header() && seen[1].is_keyframe(), "{:?}", seen[0].kind);
}

#[tokio::test]
async fn sound_alone_plays_from_the_newest_packet() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let tape = tape::tape(&[tape::audio()], 4_000);
    let mut encoder = node.encoder("live/a", tape.clone());
    encoder.until(3_000);
    let mut player = Peer::play(rtmp.local_addr(), "live", "a").await;
    eventually("it is seated", || node.live.rtmp_players() == 1).await;
    encoder.all();
    let seen = player.media_until(is_last_of(&tape)).await;
    assert!(seen.iter().all(|seen| seen.kind == MediaKind::Audio));
    assert!(seen[0].is_header() && seen[1].timestamp_ms > 2_900, "{}", seen[1].timestamp_ms);
}

#[tokio::test]
async fn a_new_configuration_reaches_players_before_its_frames() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let mut tape = tape::tape(&[tape::video()], 2_000);
    tape.extend(tape::tape(&[testkit::Samples::video_360p().gop(&[30]).rtmp().starting_ms(2_000)], 1_000));
    let mut encoder = node.encoder("live/a", tape.clone());
    encoder.until(500);
    let mut player = Peer::play(rtmp.local_addr(), "live", "a").await;
    eventually("it is seated", || node.live.rtmp_players() == 1).await;
    encoder.all();
    let seen = player.media_until(is_last_of(&tape)).await;
    let headers: Vec<usize> = seen.iter().enumerate().filter(|(_, seen)| seen.is_header()).map(|(at, _)| at).collect();
    assert_eq!(headers.len(), 2);
    assert!(seen[headers[1] + 1].is_keyframe());
}

#[tokio::test]
async fn the_end_of_the_stream_tells_its_players() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let mut encoder = node.encoder("live/a", both(2_000));
    encoder.until(1_000);
    let mut player = Peer::play(rtmp.local_addr(), "live", "a").await;
    player.media_until(Seen::is_keyframe).await;
    drop(encoder);
    while player.media().await.is_some() {}
    eventually("the seat is free", || node.live.rtmp_players() == 0).await;
    let (code, _) = Peer::refused(rtmp.local_addr(), ClientAction::Play, "live", "a").await;
    assert_eq!(code, "NetStream.Play.StreamNotFound");
}

#[tokio::test]
async fn players_stay_through_a_republish() {
    let node = Node::new(|settings| settings.live.reconnect_ms = 600_000);
    let rtmp = node.rtmp().await;
    let mut encoder = node.encoder("live/a", both(2_000));
    encoder.all();
    let mut player = Peer::play(rtmp.local_addr(), "live", "a").await;
    let first = player.media_until(Seen::is_keyframe).await.pop().unwrap();
    drop(encoder);
    let tape = tape::tape(&[tape::video().seed(5), tape::audio().seed(5)], 2_000);
    node.encoder("live/a", tape.clone()).all();
    let seen = player.media_until(is_last_of(&tape)).await;
    assert!(seen.iter().any(Seen::is_header), "the new encoder's configuration");
    assert!(seen.last().unwrap().timestamp_ms > first.timestamp_ms, "one timeline");
}

#[tokio::test]
async fn a_player_that_leaves_frees_its_seat_without_a_frame() {
    let node = Node::plain();
    let rtmp = node.rtmp().await;
    let mut encoder = node.encoder("live/a", both(2_000));
    encoder.all();
    let mut player = Peer::play(rtmp.local_addr(), "live", "a").await;
    player.media_until(Seen::is_keyframe).await;
    assert_eq!(node.live.rtmp_players(), 1);
    player.close().await;
    eventually("the seat is free", || node.live.rtmp_players() == 0).await;
}
