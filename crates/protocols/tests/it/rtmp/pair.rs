//! Server and client sessions against each other.

use base::Mono;
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use protocols::rtmp::{
    ClientAction, ClientConfig, ClientEvent, ClientOutput, ClientSession, Error, Event, MediaKind, Output, Rejection,
    ServerConfig, ServerSession, chunk,
};

use super::peer::{Script, Server};

/// Both ends, and how the bytes between them are cut.
struct Pair {
    client: ClientSession,
    server: ServerSession,
    splits: Vec<usize>,
    next_split: usize,
    client_events: Vec<ClientEvent>,
    server_events: Vec<Event>,
    answer: fn(&mut ServerSession, &Event),
}

fn accept(session: &mut ServerSession, event: &Event) {
    if let Event::Publish { request, .. } | Event::Play { request, .. } = event {
        session.accept(*request);
    }
}

impl Pair {
    fn new(config: ClientConfig, splits: &[usize]) -> Self {
        Self {
            client: ClientSession::new(config, Mono::ZERO),
            server: ServerSession::new(ServerConfig::default(), Mono::ZERO),
            splits: splits.to_vec(),
            next_split: 0,
            client_events: Vec::new(),
            server_events: Vec::new(),
            answer: accept,
        }
    }

    /// The next piece of `bytes`.
    fn cut<'a>(&mut self, bytes: &mut &'a [u8]) -> &'a [u8] {
        let split = self.splits[self.next_split % self.splits.len()];
        self.next_split += 1;
        let (piece, rest) = bytes.split_at(split.min(bytes.len()));
        *bytes = rest;
        piece
    }

    /// Carries bytes both ways until neither end has more to say.
    fn run(&mut self) -> Result<(), Error> {
        loop {
            let to_server = self.poll_client();
            let mut rest = &to_server[..];
            while !rest.is_empty() {
                let piece = self.cut(&mut rest);
                self.server.handle_input(Mono::ZERO, piece)?;
            }
            let to_client = self.poll_server();
            let mut rest = &to_client[..];
            while !rest.is_empty() {
                let piece = self.cut(&mut rest);
                self.client.handle_input(Mono::ZERO, piece)?;
            }
            if to_server.is_empty() && to_client.is_empty() {
                return Ok(());
            }
        }
    }

    fn poll_client(&mut self) -> BytesMut {
        let mut sent = BytesMut::new();
        loop {
            match self.client.poll_output() {
                ClientOutput::Transmit(bytes) => sent.extend_from_slice(&bytes),
                ClientOutput::Event(event) => self.client_events.push(event),
                ClientOutput::Timeout(_) => return sent,
            }
        }
    }

    fn poll_server(&mut self) -> BytesMut {
        let mut sent = BytesMut::new();
        loop {
            match self.server.poll_output() {
                Output::Transmit(bytes) => sent.extend_from_slice(&bytes),
                Output::Event(event) => {
                    (self.answer)(&mut self.server, &event);
                    self.server_events.push(event);
                }
                Output::Timeout(_) => return sent,
            }
        }
    }

    fn server_media(&self) -> Vec<(MediaKind, i64, Bytes)> {
        let media = |event: &Event| match event {
            Event::Media { kind, timestamp_ms, body } => Some((*kind, *timestamp_ms, body.clone())),
            _ => None,
        };
        self.server_events.iter().filter_map(media).collect()
    }

    fn client_media(&self) -> Vec<(MediaKind, i64, Bytes)> {
        let media = |event: &ClientEvent| match event {
            ClientEvent::Media { kind, timestamp_ms, body } => Some((*kind, *timestamp_ms, body.clone())),
            _ => None,
        };
        self.client_events.iter().filter_map(media).collect()
    }
}

fn config(action: ClientAction) -> ClientConfig {
    ClientConfig::new(action, "rtmp://localhost/live", "live?token=a", "colorbar?key=b")
}

/// A body of `length` bytes that differs from others of its length.
fn body(length: usize, seed: u8) -> Bytes {
    (0..length).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

#[test]
fn a_publisher_and_its_end() {
    for digest in [false, true] {
        let mut pair = Pair::new(ClientConfig { digest, fourccs: &["hvc1"], ..config(ClientAction::Publish) }, &[1000]);
        pair.run().expect("the sessions understand each other");
        assert_eq!(pair.client_events[0], ClientEvent::Ready);
        pair.client.send_metadata(0, &[("width", 640.0.into())]);
        pair.client.send_media(MediaKind::Video, 40, &[0x17, 1], &body(100_000, 1)).expect("room");
        pair.client.close();
        pair.run().expect("the sessions understand each other");

        let [connected, publish, metadata, media, unpublish] = &pair.server_events[..] else {
            panic!("{:?}", pair.server_events)
        };
        let Event::Connected { app, enhanced: true, tc_url: Some(tc_url), .. } = connected else {
            panic!("{connected:?}")
        };
        assert_eq!((app.as_str(), tc_url.as_str()), ("live", "rtmp://localhost/live"));
        let Event::Publish { name, query: Some(query), kind, .. } = publish else { panic!("{publish:?}") };
        assert_eq!((name.as_str(), query.as_str(), kind.as_str()), ("colorbar", "token=a&key=b", "live"));
        let Event::Metadata { values } = metadata else { panic!("{metadata:?}") };
        assert_eq!(values.get("width"), Some(&640.0.into()));
        let Event::Media { kind: MediaKind::Video, timestamp_ms: 40, body: received } = media else {
            panic!("{media:?}")
        };
        assert_eq!(received[..], [&[0x17, 1], &body(100_000, 1)[..]].concat());
        assert_eq!(*unpublish, Event::Unpublish);
    }
}

#[test]
fn a_player_and_the_end_of_its_stream() {
    let mut pair = Pair::new(config(ClientAction::Play), &[777]);
    pair.run().expect("the sessions understand each other");
    assert!(pair.client_events.contains(&ClientEvent::Ready));
    assert!(matches!(&pair.server_events[1], Event::Play { name, start_ms: -2000, .. } if name == "colorbar"));

    let message_stream = pair.server.play_message_stream().expect("a stream is played");
    assert_eq!(Some(message_stream), pair.client.message_stream());
    pair.server.send_metadata(0, &[("width", 640.0.into())]);
    pair.server.send_media(MediaKind::Audio, 23, &[0xaf, 1], &body(300, 2));
    pair.run().expect("the sessions understand each other");
    // What a fan-out writes once for many players is what the session writes.
    let mut shared = BytesMut::new();
    chunk::write_message(
        &mut shared,
        pair.server.out_chunk_size(),
        6,
        40,
        9,
        message_stream,
        &[&[0x17], &body(70_000, 3)],
    );
    pair.client.handle_input(Mono::ZERO, &shared).expect("well-formed");
    pair.server.end_of_stream();
    pair.run().expect("the sessions understand each other");

    let audio = Bytes::from([&[0xaf, 1], &body(300, 2)[..]].concat());
    let video = Bytes::from([&[0x17], &body(70_000, 3)[..]].concat());
    assert_eq!(pair.client_media(), [(MediaKind::Audio, 23, audio), (MediaKind::Video, 40, video)]);
    assert!(pair.client_events.contains(&ClientEvent::Closed));
    assert_eq!(pair.server.play_message_stream(), None);
}

#[test]
fn a_refused_client_learns_why() {
    for (action, code) in
        [(ClientAction::Publish, Rejection::PUBLISH_DENIED), (ClientAction::Play, Rejection::PLAY_STREAM_NOT_FOUND)]
    {
        let mut pair = Pair::new(config(action), &[1000]);
        pair.answer = match action {
            ClientAction::Publish => |session, event| {
                if let Event::Publish { request, .. } = event {
                    session.reject(*request, Rejection::new(Rejection::PUBLISH_DENIED, "Use a key."));
                }
            },
            ClientAction::Play => |session, event| {
                if let Event::Play { request, .. } = event {
                    session.reject(*request, Rejection::new(Rejection::PLAY_STREAM_NOT_FOUND, "Use a key."));
                }
            },
        };
        let refused = Error::Refused { code: code.to_owned(), description: "Use a key.".to_owned() };
        assert_eq!(pair.run(), Err(refused));
    }
}

#[test]
fn a_publisher_can_be_refused_after_it_was_accepted() {
    let mut pair = Pair::new(config(ClientAction::Publish), &[1000]);
    pair.run().expect("the sessions understand each other");
    let Event::Publish { request, .. } = pair.server_events[1] else { panic!("{:?}", pair.server_events) };
    pair.server.reject(request, Rejection::new(Rejection::PUBLISH_REJECTED, "VP6 cannot be packaged."));
    assert_eq!(pair.run().map_err(|error| error.reason()), Err("refused"));
    // What was on its way is no error, and no event.
    let before = pair.server_events.len();
    pair.client.send_media(MediaKind::Video, 0, &[0x17, 1], &body(10, 0)).expect("room");
    let late = pair.poll_client();
    pair.server.handle_input(Mono::ZERO, &late).expect("ignored");
    pair.poll_server();
    assert_eq!(pair.server_events.len(), before);
}

#[test]
fn timestamps_cross_24_and_32_bits() {
    let times: [u32; 9] =
        [0xff_fffe, 0xff_ffff, 0x100_0000, 0x4000_0000, 0x7fff_ffff, 0xbfff_ffff, 0xffff_fff0, 5, 0xffff_ffff];
    let unrolled: [i64; 9] = [
        0xff_fffe,
        0xff_ffff,
        0x100_0000,
        0x4000_0000,
        0x7fff_ffff,
        0xbfff_ffff,
        0xffff_fff0,
        0x1_0000_0005,
        0xffff_ffff,
    ];
    let mut publish = Pair::new(ClientConfig { chunk_size: 100, ..config(ClientAction::Publish) }, &[10]);
    publish.run().expect("the sessions understand each other");
    let mut play = Pair::new(config(ClientAction::Play), &[10_000]);
    play.run().expect("the sessions understand each other");
    for time in times {
        publish.client.send_media(MediaKind::Video, time, &[0x27], &body(500, 0)).expect("room");
        play.server.send_media(MediaKind::Video, time, &[0x27], &body(500, 0));
    }
    publish.run().expect("the sessions understand each other");
    play.run().expect("the sessions understand each other");
    for media in [publish.server_media(), play.client_media()] {
        assert_eq!(media.iter().map(|(_, time, _)| *time).collect::<Vec<_>>(), unrolled);
        assert!(media.iter().all(|(.., received)| received[1..] == body(500, 0)));
    }
}

#[test]
fn both_sides_acknowledge_after_a_window() {
    let mut pair = Pair::new(config(ClientAction::Play), &[100_000]);
    pair.run().expect("the sessions understand each other");
    for _ in 0..60 {
        pair.server.send_media(MediaKind::Video, 0, &[0x17], &body(100_000, 0));
        pair.run().expect("the sessions understand each other");
    }
    let acknowledged: Vec<_> = pair
        .server_events
        .iter()
        .filter_map(|event| match event {
            Event::Acknowledged { bytes } => Some(*bytes),
            _ => None,
        })
        .collect();
    assert_eq!(acknowledged.len(), 2, "{acknowledged:?}");
    assert!(acknowledged[0] >= 2_500_000 && acknowledged[1] >= 5_000_000);

    // A publisher's own window, as it named it.
    let mut server = Server::new();
    let script = Script::publishing().message(0, 5, 0, &5_000u32.to_be_bytes());
    server.input(&script.build()).expect("well-formed");
    for _ in 0..20 {
        server.input(&Script::default().message(0, 9, 1, &[0; 1000]).build()).expect("well-formed");
    }
    let acknowledgements = server.messages().iter().filter(|message| message.message_type == 3).count();
    assert_eq!(acknowledgements, 4, "every 5,000 bytes of 23,800");
}

#[test]
fn a_player_that_does_not_read_is_given_up() {
    let config = ServerConfig { output_queue_bytes_max: 1 << 20, ..ServerConfig::default() };
    let mut server = Server::with(config);
    let play = Script::connected().command(1, "play", 2.0, &[protocols::rtmp::amf::Value::Null, "colorbar".into()]);
    server.input(&play.build()).expect("well-formed");
    let frame = body(100_000, 0);
    for _ in 0..100 {
        server.session.send_media(MediaKind::Video, 0, &[0x17], &frame);
        assert!(server.session.queued_bytes() <= (1 << 20) + 1000);
    }
    let Output::Transmit(_) = server.session.poll_output() else { panic!("what was queued is still transmitted") };
    let Output::Timeout(Some(at)) = server.session.poll_output() else { panic!("a timeout at once") };
    let error = server.session.handle_timeout(at).expect_err("a slow reader");
    assert_eq!(error.reason(), "slow_reader");
}

/// Chunks of a message, one by one.
fn chunks(chunk_size: usize, chunk_stream: u32, timestamp_ms: u32, message_type: u8, body: &[u8]) -> Vec<Bytes> {
    let mut out = BytesMut::new();
    chunk::write_message(&mut out, chunk_size, chunk_stream, timestamp_ms, message_type, 1, &[body]);
    let basic = if chunk_stream >= 64 { 2 } else { 1 };
    let extended = if timestamp_ms >= 0xff_ffff { 4 } else { 0 };
    let mut rest = out.freeze();
    let mut chunks = vec![rest.split_to((basic + 11 + extended + chunk_size).min(rest.len()))];
    while !rest.is_empty() {
        chunks.push(rest.split_to((basic + extended + chunk_size).min(rest.len())));
    }
    chunks
}

fn kind_of(video: bool) -> MediaKind {
    if video { MediaKind::Video } else { MediaKind::Audio }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn media_arrives_whole_however_it_is_cut(
        chunk_size in prop_oneof![1usize..=300, 1usize..=70_000],
        splits in prop::collection::vec(prop_oneof![1usize..=20, 1usize..=5_000], 1..10),
        digest: bool,
        messages in prop::collection::vec((any::<bool>(), 0u32..0x200_0000, 0usize..3_000), 1..12),
    ) {
        let mut pair = Pair::new(ClientConfig { chunk_size, digest, ..config(ClientAction::Publish) }, &splits);
        pair.run().expect("the sessions understand each other");
        let mut expected = Vec::new();
        for (index, (video, time, length)) in messages.into_iter().enumerate() {
            let payload = body(length, index as u8);
            pair.client.send_media(kind_of(video), time, &[0xaf], &payload).expect("room");
            expected.push((kind_of(video), i64::from(time), Bytes::from([&[0xaf], &payload[..]].concat())));
        }
        pair.run().expect("the sessions understand each other");
        prop_assert_eq!(pair.server_media(), expected);
    }

    #[test]
    fn audio_between_the_chunks_of_video_arrives_whole(
        chunk_size in prop_oneof![1usize..=300, 1usize..=70_000],
        splits in prop::collection::vec(1usize..=3_000, 1..10),
        time in prop_oneof![Just(0u32), Just(0xff_fff0), Just(u32::MAX - 20)],
        lengths in prop::collection::vec((1usize..2_000, 1usize..300), 1..6),
        mut order in prop::collection::vec(any::<bool>(), 64),
    ) {
        let (mut video, mut audio) = (Vec::new(), Vec::new());
        let mut expected = [Vec::new(), Vec::new()];
        for (index, (video_length, audio_length)) in lengths.iter().enumerate() {
            let (v, a) = (body(*video_length, index as u8), body(*audio_length, !index as u8));
            let time = time.wrapping_add(index as u32 * 10);
            video.extend(chunks(chunk_size, 6, time, 9, &v));
            audio.extend(chunks(chunk_size, 64 + index as u32, time, 8, &a));
            expected[0].push(v);
            expected[1].push(a);
        }
        let mut input = BytesMut::from(&Script::publishing().message(0, 1, 0, &(chunk_size as u32).to_be_bytes()).build()[..]);
        let (mut video, mut audio) = (video.into_iter().peekable(), audio.into_iter().peekable());
        while video.peek().is_some() || audio.peek().is_some() {
            order.rotate_left(1);
            let next = if order[0] { video.next().or_else(|| audio.next()) } else { audio.next().or_else(|| video.next()) };
            input.extend_from_slice(&next.expect("one of them is not empty"));
        }

        let mut server = Server::new();
        let mut rest = &input[..];
        for split in splits.iter().cycle() {
            let (piece, later) = rest.split_at((*split).min(rest.len()));
            server.input(piece).expect("well-formed");
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let bodies = |wanted: MediaKind| server.events.iter().filter_map(move |event| match event {
            Event::Media { kind, body, .. } if *kind == wanted => Some(body.clone()),
            _ => None,
        });
        prop_assert_eq!(bodies(MediaKind::Video).collect::<Vec<_>>(), expected[0].clone());
        prop_assert_eq!(bodies(MediaKind::Audio).collect::<Vec<_>>(), expected[1].clone());
    }
}
