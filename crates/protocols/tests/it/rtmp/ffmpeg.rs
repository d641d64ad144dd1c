//! FFmpeg publishes to, and plays from, a server session on a loopback socket.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use base::Mono;
use bytes::Bytes;
use protocols::rtmp::{Error, Event, MediaKind, Output, Rejection, ServerConfig, ServerSession};

/// A peer that says nothing for this long has failed the test.
const PATIENCE: Duration = Duration::from_secs(30);
const FRAMES: usize = 50;

/// Drives a session over a socket until the peer closes or the session fails.
fn drive(mut socket: TcpStream, mut on_event: impl FnMut(&mut ServerSession, Event)) -> Result<(), Error> {
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes timeouts");
    let begin = Instant::now();
    let now = || Mono::from_origin(begin.elapsed());
    let mut session = ServerSession::new(ServerConfig::default(), now());
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match socket.read(&mut buffer) {
            Ok(0) | Err(_) => return Ok(()),
            Ok(count) => count,
        };
        let result = session.handle_input(now(), &buffer[..count]);
        loop {
            match session.poll_output() {
                // A peer that has gone shows at the next read.
                Output::Transmit(bytes) => _ = socket.write_all(&bytes),
                Output::Event(event) => on_event(&mut session, event),
                Output::Timeout(_) => break,
            }
        }
        result?;
    }
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    (listener, port)
}

/// Publishes two seconds of colour bars and a tone, with timestamps that begin at `begin_seconds`.
fn publish(url: &str, begin_seconds: &str) -> std::process::Child {
    let filters = ["testsrc2=size=320x180:rate=25", "sine=frequency=440:sample_rate=48000"];
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-v", "error", "-nostdin"]);
    for filter in filters {
        command.args(["-f", "lavfi", "-i", filter]);
    }
    command.args(["-t", "2", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-bf", "2", "-g", "25"]);
    command.args(["-c:a", "aac", "-output_ts_offset", begin_seconds, "-f", "flv", url]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("ffmpeg is installed")
}

/// Everything that FFmpeg publishes to a session.
fn record(begin_seconds: &str) -> Vec<Event> {
    let (listener, port) = listen();
    let encoder = publish(&format!("rtmp://127.0.0.1:{port}/live/colorbar?key=hunter2"), begin_seconds);
    let (socket, _) = listener.accept().expect("FFmpeg connects");
    let mut events = Vec::new();
    let result = drive(socket, |session, event| {
        if let Event::Publish { request, .. } = &event {
            session.accept(*request);
        }
        events.push(event);
    });
    assert!(result.is_ok(), "{result:?}");
    let output = encoder.wait_with_output().expect("FFmpeg ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    events
}

fn media(events: &[Event]) -> impl Iterator<Item = (MediaKind, i64, &Bytes)> {
    events.iter().filter_map(|event| match event {
        Event::Media { kind, timestamp_ms, body } => Some((*kind, *timestamp_ms, body)),
        _ => None,
    })
}

/// All frames, in order, from `begin_ms` on for two seconds.
fn check_times(events: &[Event], begin_ms: i64) {
    for (kind, frames) in [(MediaKind::Video, FRAMES), (MediaKind::Audio, 93)] {
        let of_kind: Vec<_> = media(events).filter(|(of, ..)| *of == kind).collect();
        // Every frame, and one tag of configuration first (AVCPacketType and AACPacketType 0).
        assert!(of_kind.len() > frames, "{kind:?}: {}", of_kind.len());
        assert_eq!(of_kind[0].2.get(1), Some(&0), "{kind:?} begins with its configuration");
        let times: Vec<_> = of_kind[1..].iter().map(|(_, time, _)| *time - begin_ms).collect();
        assert!(times.is_sorted(), "{kind:?}: {times:?}");
        // Decoding begins before presentation by two frames at most.
        assert!(times[0] >= -80 && (1_800..2_200).contains(&times[times.len() - 1]), "{kind:?}: {times:?}");
    }
}

/// FFmpeg repeats an extended timestamp in the chunks that continue a message.
#[test]
fn ffmpeg_publishes_across_the_24_bit_boundary() {
    let events = record("16776.5");
    check_times(&events, 16_776_500);
    assert!(
        media(&events).any(|(_, time, body)| time > 0xff_ffff && body.len() > 4_096),
        "chunks continue after the boundary"
    );
}

#[test]
fn ffmpeg_publishes() {
    let events = record("0");
    assert!(!format!("{events:?}").contains("hunter2"), "keys do not print");
    assert!(events.iter().any(|event| matches!(event, Event::Connected { app, .. } if app == "live")));
    let published = |event: &Event| {
        matches!(event, Event::Publish { app, name, query: Some(query), kind, .. }
            if app == "live" && name == "colorbar" && query == "key=hunter2" && kind == "live")
    };
    assert!(events.iter().any(published), "{events:?}");
    let width = events.iter().find_map(|event| match event {
        Event::Metadata { values } => values.get("width")?.as_number(),
        _ => None,
    });
    assert_eq!(width, Some(320.0));
    assert_eq!(events.last(), Some(&Event::Unpublish));

    check_times(&events, 0);
}

/// The timestamps cross 24 bits.
#[test]
fn ffmpeg_plays_what_was_published() {
    let events = record("16776.5");
    let (listener, port) = listen();
    let player = Command::new("ffmpeg")
        .args(["-hide_banner", "-v", "error", "-nostdin", "-i", &format!("rtmp://127.0.0.1:{port}/live/colorbar")])
        .args(["-map", "0:v", "-f", "framecrc", "-", "-map", "0:a", "-f", "null", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ffmpeg is installed");
    let (socket, _) = listener.accept().expect("FFmpeg connects");
    let result = drive(socket, |session, event| {
        if let Event::Play { request, app, name, .. } = &event {
            assert_eq!((app.as_str(), name.as_str()), ("live", "colorbar"));
            session.accept(*request);
            session.send_metadata(0, &[("width", 320.0.into()), ("height", 180.0.into())]);
            for (kind, timestamp_ms, body) in media(&events) {
                let (header, payload) = (body.slice(..1), body.slice(1..));
                session.send_media(kind, u32::try_from(timestamp_ms).expect("a short stream"), &header, &payload);
            }
            session.end_of_stream();
        }
    });
    assert!(result.is_ok(), "{result:?}");
    let output = player.wait_with_output().expect("FFmpeg ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
    let frames = String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with('0')).count();
    assert_eq!(frames, FRAMES);
}

#[test]
fn ffmpeg_shows_why_it_is_refused() {
    let (listener, port) = listen();
    let encoder = publish(&format!("rtmp://127.0.0.1:{port}/live/colorbar"), "0");
    let (socket, _) = listener.accept().expect("FFmpeg connects");
    let result = drive(socket, |session, event| {
        if let Event::Publish { request, .. } = event {
            let why = "live/colorbar has a publisher already: choose another name";
            session.reject(request, Rejection::new(Rejection::PUBLISH_BAD_NAME, why));
        }
    });
    assert!(result.is_ok(), "FFmpeg closes by itself");
    let output = encoder.wait_with_output().expect("FFmpeg ends");
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("has a publisher already: choose another name"), "{stderr}");
}
