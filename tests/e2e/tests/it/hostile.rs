//! Bad input of every kind, while a healthy stream plays on.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use e2e::{Encoder, Platform, eventually, raw};

const SOON: Duration = Duration::from_secs(15);

/// Bytes that are no RTMP, and RTMP that lies.
fn rtmp_attacks() -> Vec<(&'static str, Vec<u8>)> {
    let handshake = |after: &[u8]| {
        let mut bytes = vec![3];
        bytes.extend_from_slice(&[0; 1_536]);
        bytes.extend_from_slice(&[0; 1_536]);
        bytes.extend_from_slice(after);
        bytes
    };
    // A chunk header of type 0 on chunk stream 3: timestamp, length, type, message stream.
    let header = |length: u32, kind: u8| {
        let length = length.to_be_bytes();
        vec![3, 0, 0, 0, length[1], length[2], length[3], kind, 0, 0, 0, 0]
    };
    let mut flood_of_streams = Vec::new();
    for id in 64..2_000_u32 {
        flood_of_streams.extend_from_slice(&[1, (id - 64) as u8, ((id - 64) >> 8) as u8]);
        flood_of_streams.extend_from_slice(&header(0x00ff_ffff, 9)[1..]);
    }
    let mut nested = header(60_000, 20);
    nested.extend_from_slice(&[2, 0, 7]);
    nested.extend_from_slice(b"connect");
    for _ in 0..10_000 {
        nested.extend_from_slice(&[3, 0, 1, b'a']);
    }
    vec![
        ("nothing but a version", vec![3]),
        ("a wrong version", vec![0x16; 200]),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a chunk size of zero", handshake(&[&header(4, 1)[..], &[0, 0, 0, 0]].concat())),
        ("an absurd chunk size", handshake(&[&header(4, 1)[..], &[0x7f, 0xff, 0xff, 0xff]].concat())),
        ("a length that lies", handshake(&header(0x00ff_ffff, 20))),
        ("media without publish", handshake(&[&header(5, 9)[..], &[0x17, 0, 0, 0, 0]].concat())),
        ("too many chunk streams", handshake(&flood_of_streams)),
        ("AMF without end", handshake(&nested)),
        ("an unfinished message", handshake(&header(100, 20))),
        (
            "noise",
            handshake(&(0..50_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<u8>>()),
        ),
    ]
}

fn http_attacks() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes();
    let many_headers = (0..500).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    vec![
        ("climbing", get("/live/../../etc/passwd"), &[400, 404]),
        ("climbing, encoded", get("/live/%2e%2e/%2e%2e/etc/passwd"), &[400, 404]),
        ("climbing, twice encoded", get("/live/%252e%252e/x"), &[400, 404]),
        ("a backslash", get("/live\\..\\x"), &[400, 404]),
        ("NUL", get("/live/%00/x"), &[400, 404]),
        ("a huge path", get(&format!("/{}", "a".repeat(60_000))), &[400, 404, 414, 431]),
        ("many headers", format!("GET /channels.json HTTP/1.1\r\nHost: x\r\n{many_headers}Connection: close\r\n\r\n").into_bytes(), &[400, 431]),
        ("a huge header", format!("GET /channels.json HTTP/1.1\r\nHost: x\r\nX: {}\r\nConnection: close\r\n\r\n", "y".repeat(100_000)).into_bytes(), &[400, 431]),
        ("two lengths", b"POST /channels.json HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello!".to_vec(), &[400]),
        (
            "length and chunks",
            b"POST /channels.json HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n".to_vec(),
            &[400, 405],
        ),
        ("an unknown method", b"BREW /channels.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), &[405, 501]),
        ("a range out of bounds", b"GET /live/healthy/v0/init-0.mp4 HTTP/1.1\r\nHost: x\r\nRange: bytes=99999999-\r\nConnection: close\r\n\r\n".to_vec(), &[404, 416]),
        (
            "many ranges",
            format!("GET /time HTTP/1.1\r\nHost: x\r\nRange: bytes={}\r\nConnection: close\r\n\r\n", vec!["0-1"; 2_000].join(",")).into_bytes(),
            &[200, 206, 400, 416, 431],
        ),
    ]
}

#[test]
fn a_healthy_stream_plays_on_through_bad_input() {
    let mut platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let mut encoder = Encoder::bars(&platform.publish_url("live/healthy"), "320x180", 30, 30);
    let before = last_segment(&platform);

    for (name, bytes) in rtmp_attacks() {
        attack(platform.rtmp, &bytes);
        assert!(platform.is_running(), "{name} ended the platform\n{}", platform.log());
    }
    for (name, bytes, allowed) in http_attacks() {
        // A connection that is closed without an answer is an answer, too, where the request cannot be one.
        if let Ok(answer) = raw(platform.http, &bytes) {
            assert!(allowed.contains(&answer.status), "{name}: {} {}", answer.status, answer.text());
        }
        assert!(platform.is_running(), "{name} ended the platform\n{}", platform.log());
    }
    assert!(platform.metric("headwater_live_connection_errors_total") >= 5.0, "bad peers are counted");
    assert!(encoder.is_running(), "the healthy publisher is still there: {}", encoder.wait(SOON).1);
    eventually("the healthy stream goes on", SOON, || (last_segment(&platform) > before + 1).then_some(()));
}

/// Sends the bytes and waits a moment for what the server does with them.
fn attack(address: std::net::SocketAddr, bytes: &[u8]) {
    let mut socket = TcpStream::connect(address).expect("the port is open");
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout can be set");
    // The server may close before it has all.
    let _ = socket.write_all(bytes);
    let mut answer = [0; 8_192];
    while matches!(socket.read(&mut answer), Ok(count) if count > 0) {}
}

fn last_segment(platform: &Platform) -> u64 {
    let text = platform.get_text("/live/healthy/v0/index.m3u8", SOON);
    let number = |line: &str| line.strip_suffix(".m4s").and_then(|stem| stem.parse().ok());
    text.lines().filter_map(number).max().unwrap_or_default()
}

#[test]
fn a_peer_that_does_not_finish_its_handshake_is_closed_within_ten_seconds() {
    let platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let begin = Instant::now();
    let mut silent = TcpStream::connect(platform.rtmp).expect("the port is open");
    let mut dripping = TcpStream::connect(platform.rtmp).expect("the port is open");
    for socket in [&silent, &dripping] {
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout can be set");
    }
    let closed = |socket: &mut TcpStream| {
        let mut buffer = [0; 4_096];
        match socket.read(&mut buffer) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        }
    };
    eventually("both are closed", Duration::from_secs(20), || {
        let dripped = dripping.write_all(&[3]).is_err();
        ((dripped || closed(&mut dripping)) & closed(&mut silent)).then_some(())
    });
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[test]
fn a_player_that_never_reads_does_not_hold_the_others_up() {
    let platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let url = platform.publish_url("live/slow");
    let _encoder = Encoder::bars_with(
        &url,
        "1280x720",
        30,
        30,
        None,
        &[
            "-b:v",
            "8000k",
            "-minrate",
            "8000k",
            "-maxrate",
            "8000k",
            "-bufsize",
            "1000k",
            "-x264-params",
            "nal-hrd=cbr",
        ],
    );
    platform.get_text("/live/slow/index.m3u8", SOON);
    // An ffmpeg that is stopped in mid-play reads nothing more.
    let stuck = Encoder::run(&["-i", &url, "-f", "null", "-"]);
    eventually("the player is seated", SOON, || (platform.metric("headwater_live_rtmp_players") >= 1.0).then_some(()));
    stuck.pause();
    assert_eq!(e2e::decode(&url, 3, &[]), "", "{}", platform.log());
    eventually("the slow player is skipped and counted", Duration::from_secs(60), || {
        (platform.metric("headwater_live_reader_skips_total") >= 1.0).then_some(())
    });
    assert_eq!(e2e::decode(&url, 2, &[]), "", "{}", platform.log());
}
