//! Every format decodes, without a complaint, and says the same.

use std::time::Duration;

use e2e::{Encoder, Platform, decode, eventually, get, keyframe_times, packets};

const SOON: Duration = Duration::from_secs(15);

/// FFmpeg as a patient HLS reader: from the beginning of the window, as fast as it comes.
const FROM_START: [&str; 2] = ["-live_start_index", "0"];

#[test]
fn every_format_of_a_passthrough_stream_decodes() {
    let platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let _encoder = Encoder::bars(&platform.publish_url("encoder/colorbar"), "640x360", 30, 30);
    until_settled(&platform, "/encoder/colorbar/v0/index.m3u8");
    for path in [
        "/encoder/colorbar/index.m3u8",
        "/encoder/colorbar.m3u8",
        "/hls/colorbar.m3u8",
        "/encoder/colorbar/ts.m3u8",
        "/encoder/colorbar/manifest.mpd",
    ] {
        assert_eq!(decode(&platform.url(path), 4, &[]), "", "{path}\n{}", platform.log());
    }
    let found = packets(&platform.url("/encoder/colorbar/ts.m3u8"), 4, &FROM_START);
    expect_contiguous("ts", &found);
    let found = packets(&platform.url("/encoder/colorbar/index.m3u8"), 4, &FROM_START);
    expect_contiguous("cmaf", &found);
}

/// Waits until a playlist lists only segments that begin with a keyframe: the short one that opens a stream is followed by one that does
/// not, and both leave the playlist after three target durations.
fn until_settled(platform: &Platform, path: &str) {
    eventually("whole groups of pictures", SOON, || {
        let text = platform.get(path).text();
        (text.contains("#EXT-X-INDEPENDENT-SEGMENTS") && text.matches("#EXTINF").count() >= 3).then_some(())
    });
}

/// Both kinds are there, in order, without a hole and without a step back.
fn expect_contiguous(what: &str, packets: &[e2e::Packet]) {
    for kind in ["video", "audio"] {
        let of_kind: Vec<_> = packets.iter().filter(|packet| packet.kind == kind).collect();
        assert!(of_kind.len() > 60, "{what}: only {} packets of {kind}", of_kind.len());
        for pair in of_kind.windows(2) {
            let step = pair[1].dts - pair[0].dts;
            assert!(step > 0.0 && step < 0.060, "{what}: {kind} steps by {step} s at {}", pair[0].dts);
        }
    }
}

#[test]
fn renditions_of_the_ladder_are_aligned_and_decode() {
    let platform = Platform::serve(&["--set", "transcode.preset=nott", "--set", "transcode.cpu_percent_max=400"]);
    let _encoder = Encoder::bars(&platform.publish_url("encoder/ladder"), "1280x720", 30, 60);
    let playlist = eventually("three renditions beside the source", Duration::from_secs(30), || {
        let answer = platform.get("/encoder/ladder/index.m3u8");
        Some(answer.text()).filter(|text| answer.status == 200 && text.matches("#EXT-X-STREAM-INF").count() == 4)
    });
    for resolution in ["1280x720", "640x360", "426x240"] {
        assert!(playlist.contains(&format!("RESOLUTION={resolution}")), "{playlist}");
    }
    for attribute in ["CODECS=\"avc1.", "mp4a.40.2", "FRAME-RATE=30.000", "AVERAGE-BANDWIDTH=", "AUDIO=\""] {
        assert!(playlist.contains(attribute), "{attribute} is missing: {playlist}");
    }
    let times: Vec<Vec<i64>> = ["v0", "v1", "v2", "v3"]
        .into_iter()
        .map(|track| {
            let path = format!("/encoder/ladder/{track}/index.m3u8");
            until_settled(&platform, &path);
            let url = platform.url(&path);
            assert_eq!(decode(&url, 4, &[]), "", "{track}\n{}", platform.log());
            let ts = platform.url(&format!("/encoder/ladder/{track}/ts.m3u8"));
            assert_eq!(decode(&ts, 4, &[]), "", "{track} as MPEG-TS\n{}", platform.log());
            keyframe_times(&packets(&url, 8, &FROM_START))
        })
        .collect();
    // A rendition begins a GOP or two later than the source; from there on every keyframe stands at the source's time.
    for (index, rendition) in times.iter().enumerate() {
        assert!(rendition.len() >= 2, "rendition {index}: {rendition:?}\n{}", platform.log());
        let common = rendition.iter().filter(|time| times[0].contains(time)).count();
        let covered = rendition
            .iter()
            .filter(|time| times[0].first() <= Some(time) && *time <= times[0].last().expect("not empty"))
            .count();
        assert_eq!(common, covered, "rendition {index} has keyframes of its own: {rendition:?} against {:?}", times[0]);
    }
}

#[test]
fn http_answers_say_what_they_are() {
    let platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let _encoder = Encoder::bars(&platform.publish_url("live/types"), "320x180", 30, 30);
    let media = platform.get_text("/live/types/v0/index.m3u8", SOON);
    let init = media
        .lines()
        .find_map(|line| line.split("#EXT-X-MAP:URI=\"").nth(1)?.split('"').next())
        .expect("a map")
        .to_owned();
    let segment = eventually("a whole segment", SOON, || {
        let text = platform.get("/live/types/v0/index.m3u8").text();
        text.lines().find(|line| line.ends_with(".m4s") && !line.starts_with('#')).map(str::to_owned)
    });
    let manifest = platform.get("/live/types/manifest.mpd");
    let ts = platform.get_text("/live/types/v0/ts.m3u8", SOON);
    let ts = ts.lines().find(|line| line.ends_with(".ts")).expect("a TS segment").to_owned();
    let check = |path: &str, kind: &str, cache: &str| {
        let answer = platform.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{path}: {}", answer.head);
        assert!(answer.header("cache-control").is_some_and(|value| value.contains(cache)), "{path}: {}", answer.head);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}: {}", answer.head);
    };
    check("/live/types/index.m3u8", "application/vnd.apple.mpegurl", "max-age=0");
    check("/live/types/v0/index.m3u8", "application/vnd.apple.mpegurl", "max-age=0");
    check(&format!("/live/types/v0/{init}"), "video/mp4", "immutable");
    check(&format!("/live/types/v0/{segment}"), "video/mp4", "immutable");
    check(&format!("/live/types/v0/{ts}"), "video/mp2t", "immutable");
    check("/live/types/manifest.mpd", "application/dash+xml", "max-age=0");
    check("/live/types/thumb.jpg", "image/jpeg", "max-age=5");
    assert!(manifest.text().contains("urn:mpeg:dash:utc:http"), "{}", manifest.text());
    let again = platform.get(&format!("/live/types/v0/{segment}"));
    assert_eq!(again.header("x-cache-status"), Some("HIT"), "{}", again.head);
    let preflight = e2e::raw(
        platform.http,
        b"OPTIONS /live/types/index.m3u8 HTTP/1.1\r\nHost: x\r\nOrigin: http://elsewhere.example\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: range\r\nConnection: close\r\n\r\n",
    );
    let preflight = preflight.expect("an answer");
    assert_eq!(preflight.status, 204, "{}", preflight.head);
    let range = e2e::raw(
        platform.http,
        format!("GET /live/types/v0/{segment} HTTP/1.1\r\nHost: x\r\nRange: bytes=4-7\r\nConnection: close\r\n\r\n")
            .as_bytes(),
    );
    let range = range.expect("an answer");
    assert_eq!(
        (range.status, range.body.as_slice()),
        (206, again.body.get(4..8).expect("a segment has bytes")),
        "{}",
        range.head
    );
}

#[test]
fn the_hinted_part_streams_and_a_blocked_reload_is_answered_with_it() {
    let platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let _encoder = Encoder::bars(&platform.publish_url("live/low"), "320x180", 30, 30);
    platform.get_text("/live/low/v0/index.m3u8", SOON);
    for _ in 0..5 {
        let text = platform.get("/live/low/v0/index.m3u8").text();
        let hint = text.lines().find(|line| line.starts_with("#EXT-X-PRELOAD-HINT")).expect("a hint").to_owned();
        let uri = hint.split("URI=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a URI").to_owned();
        let mut numbers = uri.split('.');
        let (msn, part) = (numbers.next().expect("a number"), numbers.next().expect("a part"));
        let reload = format!("/live/low/v0/index.m3u8?_HLS_msn={msn}&_HLS_part={part}");
        let (part_answer, playlist) = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| get(platform.http, &format!("/live/low/v0/{uri}")).expect("an answer"));
            let playlist = get(platform.http, &reload).expect("an answer");
            (waiting.join().expect("no panic"), playlist)
        });
        assert_eq!((part_answer.status, playlist.status), (200, 200), "{uri}");
        assert!(part_answer.body.windows(4).any(|window| window == b"moof"), "{uri} is a CMAF chunk");
        assert!(
            playlist.text().contains(&format!("URI=\"{uri}\"")) || playlist.text().contains(&format!("{msn}.m4s")),
            "{}",
            playlist.text()
        );
    }
    let far = platform.get("/live/low/v0/index.m3u8?_HLS_msn=9999999999");
    assert_eq!(far.status, 400, "{}", far.text());
}
