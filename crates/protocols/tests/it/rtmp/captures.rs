//! Connections of real clients, recorded (see `testdata/rtmp/README.md`), cut in many ways.

use protocols::rtmp::{Event, MediaKind};

use super::peer::Server;

/// One line for each event; media is counted.
fn summary(events: &[Event]) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut audio, mut video, mut last_ms) = (0, 0, 0);
    for event in events {
        match event {
            Event::Connected { app, tc_url, flash_version, enhanced } => {
                lines.push(format!("connected {app} {tc_url:?} {flash_version:?} enhanced={enhanced}"));
            }
            Event::Publish { app, name, query, kind, .. } => {
                lines.push(format!("publish {app}/{name} {query:?} {kind}"))
            }
            Event::Play { app, name, query, start_ms, .. } => {
                lines.push(format!("play {app}/{name} {query:?} from {start_ms}"))
            }
            Event::Media { kind: MediaKind::Audio, timestamp_ms, .. } => (audio, last_ms) = (audio + 1, *timestamp_ms),
            Event::Media { kind: MediaKind::Video, timestamp_ms, .. } => (video, last_ms) = (video + 1, *timestamp_ms),
            Event::Metadata { values } => {
                lines.push(format!("metadata {:?} x {:?}", values.get("width"), values.get("height")))
            }
            other => lines.push(format!("{other:?}")),
        }
    }
    lines.push(format!("{audio} audio, {video} video, to {last_ms} ms"));
    lines
}

fn check(capture: &[u8], expected: &[&str]) {
    for piece_bytes in [capture.len(), 1, 2, 7, 1000, 1536, 3073] {
        let mut server = Server::new();
        for piece in capture.chunks(piece_bytes) {
            server.input(piece).expect("a real client is understood");
        }
        assert_eq!(summary(&server.events), expected, "in pieces of {piece_bytes} bytes");
    }
}

#[test]
fn ffmpeg_publishing() {
    check(
        include_bytes!("../../../testdata/rtmp/ffmpeg-5.1-publish.bin"),
        &[
            r#"connected live Some("rtmp://127.0.0.1:21936/live") Some("FMLE/3.0 (compatible; Lavf59.27.100)") enhanced=false"#,
            r#"publish live/a Some("key=x") live"#,
            r#"metadata Some(Number(64.0)) x Some(Number(36.0))"#,
            r#"Unpublish"#,
            r#"46 audio, 12 video, to 923 ms"#,
        ],
    );
}

#[test]
fn librtmp_publishing() {
    check(
        include_bytes!("../../../testdata/rtmp/librtmp-2.3-publish.bin"),
        &[
            r#"connected live Some("rtmp://127.0.0.1:21937/live") None enhanced=false"#,
            r#"publish live/b None live"#,
            r#"metadata Some(Number(64.0)) x Some(Number(36.0))"#,
            r#"Unpublish"#,
            r#"46 audio, 12 video, to 923 ms"#,
        ],
    );
}

#[test]
fn ffmpeg_playing() {
    check(
        include_bytes!("../../../testdata/rtmp/ffmpeg-5.1-play.bin"),
        &[
            r#"connected live Some("rtmp://127.0.0.1:21938/live") Some("LNX 9,0,124,2") enhanced=false"#,
            r#"play live/c None from -2000"#,
            r#"PlayStop"#,
            r#"0 audio, 0 video, to 0 ms"#,
        ],
    );
}

#[test]
fn librtmp_playing() {
    check(
        include_bytes!("../../../testdata/rtmp/librtmp-2.3-play.bin"),
        &[
            r#"connected live Some("rtmp://127.0.0.1:21939/live") None enhanced=false"#,
            r#"play live/c None from 0"#,
            r#"0 audio, 0 video, to 0 ms"#,
        ],
    );
}
