//! RTMP in and out.

use std::time::Duration;

use e2e::{Encoder, Platform, decode, eventually, packets, picture_sums};

const SOON: Duration = Duration::from_secs(15);

/// The command as people have it, `-re` included, with `rtmp://HOST:PORT/encoder/colorbar` at its end.
fn broadcast_tvshow(url: &str, paced: bool) -> Encoder {
    let mut arguments = if paced { vec!["-re"] } else { Vec::new() };
    arguments.extend_from_slice(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=1280x720:rate=60,format=yuv420p",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=48000:beep_factor=4",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-tune",
        "zerolatency",
        "-profile:v",
        "high",
        "-b:v",
        "1400k",
        "-bufsize",
        "2800k",
        "-x264opts",
        "keyint=120:min-keyint=120:scenecut=-1",
        "-c:a",
        "aac",
        "-b:a",
        "32k",
        "-f",
        "flv",
        url,
    ]);
    Encoder::run(&arguments)
}

#[test]
fn the_classic_command_publishes_and_plays() {
    let platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let url = platform.publish_url("encoder/colorbar");
    let _encoder = broadcast_tvshow(&url, true);
    platform.get_text("/encoder/colorbar/index.m3u8", SOON);
    assert_eq!(decode(&url, 3, &[]), "", "{}", platform.log());
    let packets = packets(&url, 3, &[]);
    let first = packets.iter().find(|packet| packet.kind == "video").expect("pictures");
    assert!(first.key, "RTMP play begins with a keyframe: {first:?}");
}

#[test]
fn an_encoder_faster_than_real_time_is_held_to_it() {
    let platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let mut encoder = broadcast_tvshow(&platform.publish_url("encoder/fast"), false);
    eventually("the warning", SOON, || {
        platform.get("/channels.json").text().contains("faster than real time").then_some(())
    });
    let text = platform.get_text("/encoder/fast/v0/index.m3u8", SOON);
    let seconds: f64 =
        text.lines().filter_map(|line| line.strip_prefix("#EXTINF:")?.split(',').next()?.parse::<f64>().ok()).sum();
    assert!(seconds < 15.0, "the playlist ran ahead: {seconds} s of media\n{text}");
    assert!(encoder.is_running(), "the encoder is slowed down, not thrown out: {}", encoder.wait(SOON).1);
}

#[test]
fn a_second_publisher_is_refused_with_a_reason() {
    let platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let url = platform.publish_url("live/one");
    let mut first = Encoder::bars(&url, "320x180", 30, 30);
    platform.get_text("/live/one/index.m3u8", SOON);
    let mut second = Encoder::bars(&url, "320x180", 30, 30);
    let (success, _) = second.wait(SOON);
    assert!(!success, "a second publisher is refused");
    assert!(platform.log().contains("is being published by another encoder"), "{}", platform.log());
    assert!(first.is_running(), "the first publisher goes on");
}

#[test]
fn keys_open_streams_and_are_shown_nowhere() {
    let key = "sesame-7f3a";
    let keys = format!("live.publish_keys=[\"live/church={key}\"]");
    let platform = Platform::serve(&[
        "--set",
        "transcode.preset=off",
        "--set",
        &keys,
        "--set",
        "live.publish_from_loopback=false",
    ]);
    let (refused, _) = Encoder::bars(&platform.publish_url("live/church"), "320x180", 30, 30).wait(SOON);
    assert!(!refused, "no key, no publishing");
    let (refused, _) = Encoder::bars(&platform.publish_url("live/church?key=wrong"), "320x180", 30, 30).wait(SOON);
    assert!(!refused, "a wrong key does not publish");
    let mut by_query = Encoder::bars(&platform.publish_url(&format!("live/church?key={key}")), "320x180", 30, 30);
    let playlist = platform.get_text("/live/church/index.m3u8", SOON);
    by_query.stop();
    eventually("the stream is free again", SOON, || {
        platform.get("/channels.json").text().contains("\"live\":false").then_some(())
    });
    let _by_name = Encoder::bars(&platform.publish_url(&format!("live/{key}")), "320x180", 30, 30);
    eventually("the stream is back", SOON, || {
        platform.get("/channels.json").text().contains("\"live\":true").then_some(())
    });
    let everything = [
        playlist,
        platform.get("/channels.json").text(),
        platform.get("/live/church/manifest.mpd").text(),
        platform.log(),
    ];
    assert!(everything.iter().all(|text| !text.contains(key)), "the key is shown: {everything:?}");
}

#[test]
fn passthrough_neither_loses_nor_reorders_frames() {
    let platform = Platform::serve(&["--set", "transcode.preset=off", "--set", "live.reconnect_ms=500"]);
    let folder = tempfile::tempdir().expect("a folder");
    let source = e2e::make_clip(folder.path());
    let mut sender =
        Encoder::run(&["-re", "-i", &source, "-c", "copy", "-f", "flv", &platform.publish_url("live/exact")]);
    sender.wait(Duration::from_secs(30));
    eventually("the end", SOON, || {
        platform.get("/live/exact/v0/index.m3u8").text().contains("#EXT-X-ENDLIST").then_some(())
    });
    let wanted = picture_sums(&source);
    for path in ["/live/exact/index.m3u8", "/live/exact/ts.m3u8"] {
        let got = picture_sums(&platform.url(path));
        assert_eq!(wanted.len(), got.len(), "{path}: frames lost");
        assert!(wanted == got, "{path}: frames differ or are out of order");
    }
    let (before, after) = (packets(&source, 30, &[]), packets(&platform.url("/live/exact/index.m3u8"), 30, &[]));
    let moved = e2e::shift(&before, &after, "audio") - e2e::shift(&before, &after, "video");
    assert!(moved.abs() <= 0.005, "sound moved against the picture by {moved} s");
}
