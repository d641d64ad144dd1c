//! Playlists, parts and segments as players ask for them.

use http::{Method, Request};
use http_body_util::BodyExt;

use crate::{
    node::Node,
    tape::{self, both},
};

const MEDIA: &str = "/live/a/v0/index.m3u8";

/// The place of a part in a URI such as `3.2.m4s`.
fn place(uri: &str) -> (u64, u32) {
    let (msn, part) = uri.strip_suffix(".m4s").unwrap().split_once('.').unwrap();
    (msn.parse().unwrap(), part.parse().unwrap())
}

/// The part that EXT-X-PRELOAD-HINT names.
fn hinted(playlist: &str) -> (u64, u32) {
    let line = playlist.lines().find(|line| line.starts_with("#EXT-X-PRELOAD-HINT")).unwrap();
    place(line.split_once("URI=\"").unwrap().1.split('"').next().unwrap())
}

fn blocked(msn: u64, part: u32) -> String {
    format!("{MEDIA}?_HLS_msn={msn}&_HLS_part={part}")
}

#[tokio::test]
async fn the_first_playlist_has_parts_before_a_segment_is_complete() {
    let node = Node::plain();
    let mut encoder = node.encoder("live/a", both(4_000));
    encoder.until(350);
    let multivariant = node.text("/live/a/index.m3u8").await;
    assert!(
        multivariant.to_lowercase().contains("codecs=\"avc1.64001f,mp4a.40.2\"")
            && multivariant.contains("RESOLUTION=1280x720"),
        "{multivariant}"
    );
    let media = node.text(MEDIA).await;
    assert!(media.contains("#EXT-X-PART:") && media.contains("CAN-BLOCK-RELOAD=YES"), "{media}");
    assert!(!media.contains("#EXTINF"), "{media}");
    assert_eq!(node.status("/live/a/v0/0.0.m4s").await, 200);
}

#[tokio::test]
async fn a_blocked_reload_is_answered_with_the_part_it_asked_for() {
    let node = Node::plain();
    let mut encoder = node.encoder("live/a", both(8_000));
    encoder.until(2_900);
    for ms in [3_200, 3_500, 3_800, 4_100, 4_400, 4_700] {
        let (msn, part) = hinted(&node.text(MEDIA).await);
        let parked = node.park(&blocked(msn, part)).await;
        assert!(!parked.is_finished(), "{msn}.{part} is not there yet");
        encoder.until(ms);
        let answer = parked.await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(&format!("\"{msn}.{part}.m4s\"")), "{}", answer.text());
    }
}

#[tokio::test]
async fn reloads_that_cannot_be_are_refused() {
    let node = Node::plain();
    let mut encoder = node.encoder("live/a", both(8_000));
    encoder.until(5_000);
    let (msn, part) = hinted(&node.text(MEDIA).await);
    let check = async |query: String, expected: u16| {
        let answer = node.get(&format!("{MEDIA}?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (expected, "no-store"), "{query}");
    };
    check("_HLS_part=1".into(), 400).await;
    check("_HLS_msn=x".into(), 400).await;
    check("_HLS_skip=NO".into(), 400).await;
    check(format!("_HLS_msn={}", msn + 2), 400).await;
    check(format!("_HLS_msn={msn}&_HLS_part={}", part + 100), 400).await;
    check(format!("_HLS_msn={}", u64::MAX), 400).await;
    assert_eq!(node.status(&format!("{MEDIA}?_HLS_msn=0")).await, 200, "the past is there at once");
}

#[tokio::test(start_paused = true)]
async fn a_reload_of_a_stalled_stream_is_answered_503_and_not_never() {
    let node = Node::plain();
    let mut encoder = node.encoder("live/a", both(4_000));
    encoder.until(2_500);
    let (msn, part) = hinted(&node.text(MEDIA).await);
    let before = tokio::time::Instant::now();
    let answer = node.get(&blocked(msn, part)).await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (503, "no-store"));
    assert_eq!(before.elapsed().as_secs(), 6, "three target durations");
}

#[tokio::test]
async fn the_hinted_part_waits_until_it_is_there() {
    let node = Node::plain();
    let mut encoder = node.encoder("live/a", both(4_000));
    encoder.until(2_500);
    let (msn, part) = hinted(&node.text(MEDIA).await);
    let path = format!("/live/a/v0/{msn}.{part}.m4s");
    let parked = node.park(&path).await;
    assert!(!parked.is_finished());
    encoder.until(3_000);
    let answer = parked.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "video/mp4"));
    assert!(answer.header("cache-control").contains("immutable"));
    assert_eq!(answer.body, node.get(&path).await.body);
    assert_eq!(node.status(&format!("/live/a/v0/{msn}.{}.m4s", part + 50)).await, 404, "what nobody announced");
}

#[tokio::test]
async fn an_open_segment_comes_part_by_part_and_is_its_parts() {
    let node = Node::plain();
    let mut encoder = node.encoder("live/a", both(6_000));
    encoder.until(2_500);
    let (msn, _) = hinted(&node.text(MEDIA).await);
    let request = Request::get(format!("/live/a/v0/{msn}.m4s")).body(()).unwrap();
    let mut body = node.live.origin().answer(request).await.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let mut whole = first.to_vec();
    let rest = tokio::spawn(async move { body.collect().await.unwrap().to_bytes() });
    encoder.until(3_300);
    tokio::task::yield_now().await;
    assert!(!rest.is_finished(), "the segment is still open");
    encoder.until(6_000);
    whole.extend_from_slice(&rest.await.unwrap());

    let mut parts = Vec::new();
    for part in 0.. {
        let answer = node.get(&format!("/live/a/v0/{msn}.{part}.m4s")).await;
        if answer.status != 200 {
            break;
        }
        parts.extend_from_slice(&answer.body);
    }
    assert!(parts.len() > 10_000 && parts == whole, "{} {}", parts.len(), whole.len());
    let closed = node.get(&format!("/live/a/v0/{msn}.m4s")).await;
    assert!(closed.body == whole);
    assert_eq!(closed.header("content-length"), whole.len().to_string());
}

#[tokio::test]
async fn a_thousand_parked_reloads_are_all_answered() {
    let node = Node::plain();
    let mut encoder = node.encoder("live/a", both(4_000));
    encoder.until(2_500);
    let (msn, part) = hinted(&node.text(MEDIA).await);
    let mut parked = Vec::new();
    for _ in 0..1_000 {
        parked.push(node.park(&blocked(msn, part)).await);
    }
    encoder.until(3_000);
    let mut bodies = Vec::new();
    for answer in parked {
        bodies.push(answer.await.unwrap().body);
    }
    assert!(
        bodies.iter().all(|body| body.windows(12).any(|text| text.starts_with(format!("{msn}.{part}.m4s").as_bytes())))
    );
}

#[tokio::test]
async fn every_object_has_its_type_its_class_and_cors() {
    let node = Node::plain();
    let mut encoder = node.encoder("live/a", both(6_000));
    encoder.until(5_000);
    let check = async |path: &str, media_type: &str, cache: &str| {
        let answer = node.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, media_type), "{path}");
        assert!(answer.header("cache-control").contains(cache), "{path}: {}", answer.header("cache-control"));
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        assert!(!answer.body.is_empty(), "{path}");
        assert!(!cache.contains("immutable") || !answer.header("etag").is_empty(), "{path} has no ETag");
    };
    const M3U8: &str = "application/vnd.apple.mpegurl";
    check("/live/a/index.m3u8", M3U8, "max-age=0").await;
    check("/live/a.m3u8", M3U8, "max-age=0").await;
    check("/hls/a.m3u8", M3U8, "max-age=0").await;
    check(MEDIA, M3U8, "max-age=0").await;
    check(&format!("{MEDIA}?_HLS_msn=0"), M3U8, "max-age=1").await;
    check("/live/a/ts.m3u8", M3U8, "max-age=1").await;
    check("/live/a/v0/ts.m3u8", M3U8, "max-age=1").await;
    check("/live/a/v0/0.ts", "video/mp2t", "immutable").await;
    check("/live/a/v0/0.m4s", "video/mp4", "immutable").await;
    check("/live/a/a0/0.m4s", "audio/mp4", "immutable").await;
    check("/live/a/v0/init-0.mp4", "video/mp4", "immutable").await;
    check("/live/a/manifest.mpd", "application/dash+xml", "max-age=0").await;
    check("/time", "text/plain; charset=utf-8", "no-store").await;
    check("/channels.json", "application/json", "max-age=0").await;

    // Not a redirect: libavformat resolves templates against the address that it asked for.
    check("/live/a.mpd", "application/dash+xml", "max-age=0").await;
    assert!(node.text("/live/a.mpd").await.contains(" media=\"a/v0/$Number$.m4s\""));
    assert!(node.text("/dash/a.mpd").await.contains(" media=\"../live/a/v0/$Number$.m4s\""));
    assert!(node.text("/hls/a.m3u8").await.contains("\n../live/a/v0/index.m3u8\n"));
    let preflight = node.ask(Method::OPTIONS, MEDIA).await;
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-headers").contains("Range"));
    assert_eq!(node.ask(Method::POST, MEDIA).await.status, 405);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_not_found_and_not_kept() {
    let node = Node::plain();
    let check = async |path: &str| {
        let answer = node.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (404, "no-store"), "{path}");
        assert_eq!(
            (answer.header("content-type"), answer.header("access-control-allow-origin")),
            ("application/problem+json", "*")
        );
    };
    check("/live/a/index.m3u8").await;
    check("/").await;
    check("/live/../../etc/passwd").await;
    let mut encoder = node.encoder("live/a", both(4_000));
    check("/live/a/index.m3u8").await;
    encoder.until(3_000);
    assert_eq!(node.status("/live/a/index.m3u8").await, 200);
    check("/live/b/index.m3u8").await;
    check("/live/a/v7/index.m3u8").await;
    check("/live/a/v0/init-99.mp4").await;
    check("/live/a/v0/99.m4s").await;
    check("/live/a/v0/0.99.m4s").await;
    check("/live/a/v0/99.ts").await;
    check("/live/a/thumb.jpg/x").await;
}

#[tokio::test]
async fn a_viewer_who_waits_for_a_stream_gets_its_first_playlist() {
    let node = Node::plain();
    let mut encoder = node.encoder("live/a", both(4_000));
    let parked = node.park("/live/a/index.m3u8").await;
    assert!(!parked.is_finished());
    encoder.until(700);
    assert_eq!(parked.await.unwrap().status, 200);
}

#[tokio::test]
async fn sound_alone_and_pictures_alone_play() {
    let check = async |source: testkit::Samples, track: &str, other: &str| {
        let node = Node::plain();
        let mut encoder = node.encoder("live/a", tape::tape(&[source], 5_000));
        encoder.until(5_000);
        let multivariant = node.text("/live/a/index.m3u8").await;
        assert!(multivariant.contains(track) && !multivariant.contains(other), "{multivariant}");
        let media = node.text(&format!("/live/a/{track}/index.m3u8")).await;
        assert!(media.contains("#EXTINF"), "{media}");
        assert_eq!(node.status("/live/a/manifest.mpd").await, 200);
    };
    check(tape::video(), "v0", "a0").await;
    check(tape::audio(), "a0", "v0").await;
}
