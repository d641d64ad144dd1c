//! Peers that are broken, or mean harm: each gets an error that names the cause, and holds little memory.

use std::time::Duration;

use base::Mono;
use proptest::prelude::*;
use protocols::rtmp::{Event, Output, ServerConfig, ServerSession, amf, amf::Value};

use super::peer::{HANDSHAKE_BYTES, Script, Server, handshake, messages, object};

/// Gives the script to a server in one piece and byte by byte: both must fail for `reason`, and say `text`.
fn check(script: Script, reason: &str, text: &str) {
    let input = script.build();
    for piece_bytes in [input.len(), 1] {
        let mut server = Server::new();
        let result = input.chunks(piece_bytes).try_for_each(|piece| server.input(piece));
        let error = result.expect_err(text);
        assert_eq!(error.reason(), reason, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        // Once the handshake is done, the peer is told too.
        if server.sent.len() > HANDSHAKE_BYTES {
            let told = messages(&server.sent[HANDSHAKE_BYTES..]).iter().any(|message| {
                amf::read_all(&message.body).is_ok_and(|values| {
                    let info = values.get(3).unwrap_or(&Value::Null);
                    info.get("level") == Some(&"error".into())
                        && info.get("description").and_then(Value::as_str) == Some(&error.to_string())
                })
            });
            assert!(told, "{error}");
        }
    }
}

#[test]
fn every_broken_peer_gets_its_reason() {
    let bare = || Script::default();
    check(bare().bytes(&[6]), "handshake", "RTMPE");
    check(bare().bytes(b"GET / HTTP/1.1\r\n\r\n"), "handshake", "looks like HTTP");
    check(bare().bytes(&[0x16, 3, 1, 2, 0]), "handshake", "TLS");

    let control = |message_type, number: u32| Script::new().message(0, message_type, 0, &number.to_be_bytes());
    check(control(1, 0), "chunk_size", "a chunk size of 0 is outside 1 to 16777215");
    check(control(1, 1 << 24), "chunk_size", "a chunk size of 16777216");
    check(control(1, u32::MAX), "chunk_size", "a chunk size of 4294967295");
    check(Script::new().message(0, 1, 0, &[1, 2]), "control", "malformed protocol control message (at byte");
    check(Script::new().message(0, 4, 0, &[1]), "control", "message type 4");

    check(Script::new().bytes(&[0xc3]), "chunk", "chunk stream 3");
    check(
        Script::new().bytes(&[3, 0, 0, 0, 1, 0, 1, 20, 0, 0, 0, 0]),
        "message_too_large",
        "65537 bytes is over the limit of 65536",
    );
    check(Script::new().bytes(&[3, 0, 0, 0, 0x10, 0, 1, 18, 0, 0, 0, 0]), "message_too_large", "1048577 bytes");
    let stream = |id: usize| {
        [&[1, (id - 64) as u8, ((id - 64) >> 8) as u8][..], &[0, 0, 0, 0, 1, 0, 8, 0, 0, 0, 0], &[0; 128]].concat()
    };
    check(
        Script::new().bytes(&(64..10_064).flat_map(stream).collect::<Vec<_>>()),
        "chunk_streams",
        "more than 32 chunk streams",
    );

    let nested = b"\x03\0\x01a".repeat(10_000);
    check(
        Script::new().message(0, 20, 0, &[&b"\x02\0\x07connect\0\x3f\xf0\0\0\0\0\0\0"[..], &nested].concat()),
        "amf",
        "not valid AMF",
    );
    check(Script::new().message(0, 20, 0, &[2, 0, 200, b'x']), "amf", "message type 20");
    check(Script::new().message(0, 20, 0, &[]), "command", "does not begin with its name");
    check(Script::new().message(0, 17, 0, &[0, 5]), "command", "does not begin with its name");

    check(
        Script::new().command(1, "publish", 1.0, &[Value::Null, "colorbar".into()]),
        "command",
        "publish before connect",
    );
    check(Script::new().command(1, "play", 1.0, &[Value::Null, "colorbar".into()]), "command", "play before connect");
    check(Script::new().command(0, "connect", 1.0, &[]), "command", "connect without its object");
    check(Script::new().command(0, "connect", 1.0, &[object(&[])]), "command", "use rtmp://HOST/APP/NAME");
    check(
        Script::connected().command(0, "connect", 2.0, &[object(&[("app", "live".into())])]),
        "command",
        "a second time",
    );
    check(Script::new().message(0, 9, 1, &[0x17]), "media_before_publish", "media before publish");
    check(Script::connected().message(0, 8, 1, &[0xaf]), "media_before_publish", "message type 8");

    let flood =
        (0..1_000).fold(Script::connected(), |script, number| script.command(0, "frobnicate", number.into(), &[]));
    check(flood, "unknown_commands", "more than 64 unknown commands");
    let flood =
        (0..2_000).fold(Script::connected(), |script, number| script.command(0, "createStream", number.into(), &[]));
    check(flood, "command", "createStream over and over");
}

#[test]
fn unknown_commands_are_answered_once_and_only_where_an_answer_is_awaited() {
    let mut server = Server::new();
    let script = Script::connected().command(0, "frobnicate", 7.0, &[]).command(0, "silence", 0.0, &[]);
    server.input(&script.build()).expect("tolerated");
    assert_eq!(server.said(), ["_result NetConnection.Connect.Success", "_error NetConnection.Call.Failed"]);
    let ignored = |what: &str| Event::Ignored { what: what.to_owned() };
    assert_eq!(server.events[1..], [ignored("command frobnicate"), ignored("command silence")]);
}

#[test]
fn bad_metadata_does_not_end_a_broadcast() {
    let mut server = Server::new();
    let nested = [&b"\x02\0\x0aonMetaData"[..], &b"\x03\0\x01a".repeat(1_000)].concat();
    let script = Script::publishing()
        .message(0, 18, 1, &nested)
        .message(0, 18, 1, b"\x02\0\x05onCue")
        .message(0, 19, 1, &[1])
        .message(0, 99, 1, &[1])
        .message(0, 22, 1, &[1])
        .message(0, 9, 1, &[0x17]);
    server.input(&script.build()).expect("tolerated");
    let ignored = server.events.iter().filter(|event| matches!(event, Event::Ignored { .. })).count();
    assert_eq!(ignored, 5, "{:?}", server.events);
    assert!(matches!(server.events.last(), Some(Event::Media { .. })));
}

#[test]
fn a_length_that_lies_holds_little_memory() {
    let mut server = Server::new();
    let declared = Script::publishing().bytes(&[6, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0]).bytes(&[0; 128]);
    server.input(&declared.build()).expect("so far legal");
    assert!(server.session.partial_bytes() <= 64 << 10);
}

#[test]
fn silence_ends_at_each_deadline() {
    let at = |ms| Mono::from_origin(Duration::from_millis(ms));
    let check = |input: &[u8], accept: bool, expected_ms: Option<u64>, text: &str| {
        let mut session = ServerSession::new(ServerConfig::default(), at(0));
        session.handle_input(at(1_000), input).expect("so far legal");
        let deadline = loop {
            match session.poll_output() {
                Output::Transmit(_) => {}
                Output::Event(Event::Publish { request, .. } | Event::Play { request, .. }) if accept => {
                    session.accept(request)
                }
                Output::Event(_) => {}
                Output::Timeout(deadline) => break deadline,
            }
        };
        assert_eq!(deadline, expected_ms.map(at), "{text}");
        let Some(deadline) = deadline else { return };
        assert_eq!(
            session.handle_timeout(Mono::from_origin(deadline.since_origin() - Duration::from_millis(1))),
            Ok(())
        );
        let error = session.handle_timeout(deadline).expect_err(text);
        assert_eq!(error.reason(), "timeout");
        assert!(error.to_string().contains(text), "{error}");
    };
    check(&[], false, Some(10_000), "no handshake");
    check(&handshake()[..3072], false, Some(10_000), "no handshake");
    check(&handshake(), false, Some(11_000), "no connect command");
    check(&Script::connected().build(), false, Some(11_000), "no publish or play command");
    check(&Script::publishing().build(), false, None, "the driver is asked");
    check(&Script::publishing().build(), true, Some(31_000), "no message from the publisher");
    let play = Script::connected().command(1, "play", 2.0, &[Value::Null, "colorbar".into()]);
    check(&play.build(), true, None, "a player may listen in silence");
    let nameless = Script::connected().command(1, "publish", 2.0, &[Value::Null, "".into()]);
    check(&nameless.build(), true, Some(6_000), "did not close");
}

#[test]
fn a_publisher_that_is_held_back_is_not_silent() {
    let at = |seconds| Mono::from_origin(Duration::from_secs(seconds));
    let mut server = Server::new();
    server.input(&Script::publishing().build()).expect("well-formed");
    server.session.excuse_silence(at(100));
    assert_eq!(server.session.handle_timeout(at(129)), Ok(()));
    assert_eq!(server.session.handle_timeout(at(130)).map_err(|error| error.reason()), Err("timeout"));
}

#[test]
fn a_byte_a_second_does_not_move_the_deadline() {
    let mut session = ServerSession::new(ServerConfig::default(), Mono::ZERO);
    let input = handshake();
    for (second, byte) in input.iter().enumerate() {
        let now = Mono::from_origin(Duration::from_secs(second as u64));
        if session.handle_timeout(now).is_err() {
            assert_eq!(second, 10);
            return;
        }
        session.handle_input(now, &[*byte]).expect("so far legal");
    }
    panic!("the handshake's deadline did not come");
}

#[test]
fn keys_do_not_print() {
    let mut server = Server::new();
    let connect =
        object(&[("app", "live?key=hunter2".into()), ("tcUrl", "rtmp://u:hunter2@host/live?key=hunter2".into())]);
    let publish = [Value::Null, "hunter2?key=hunter2".into(), "live".into()];
    let script = Script::new().command(0, "connect", 1.0, &[connect]).command(1, "publish", 3.0, &publish);
    server.input(&script.build()).expect("well-formed");
    let printed = format!("{:?}", server.events);
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(printed.contains("rtmp://host/live"), "{printed}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn arbitrary_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..4_000), split in 1usize..4_000) {
        let mut server = Server::new();
        let _ = input.chunks(split).try_for_each(|piece| server.input(piece));
    }

    #[test]
    fn arbitrary_bytes_after_a_handshake_never_panic(
        input in prop::collection::vec(any::<u8>(), 0..4_000),
        publishing: bool,
        split in 1usize..4_000,
    ) {
        let script = if publishing { Script::publishing() } else { Script::new() };
        let mut server = Server::new();
        server.input(&script.build()).expect("well-formed");
        // A driver that goes on after an error gets errors, or nothing.
        input.chunks(split).for_each(|piece| _ = server.input(piece));
        prop_assert!(server.session.partial_bytes() <= 32 << 20);
    }

    #[test]
    fn arbitrary_messages_never_panic(
        messages in prop::collection::vec((any::<u32>(), 0u8..24, any::<u32>(), prop::collection::vec(any::<u8>(), 0..200)), 0..20),
    ) {
        let script = messages.into_iter().fold(Script::publishing(), |script, (time, message_type, message_stream, body)| {
            script.message(time, message_type, message_stream, &body)
        });
        let _ = Server::new().input(&script.build());
    }

    #[test]
    fn arbitrary_amf_never_panics(input in prop::collection::vec(prop_oneof![0u8..20, any::<u8>()], 0..500)) {
        let _ = amf::read_all(&input);
        let _ = amf::read_all(&[&[0x11], &input[..]].concat());
    }

    #[test]
    fn amf_reads_back_as_written(value in value()) {
        let mut out = bytes::BytesMut::new();
        amf::write(&mut out, &value);
        prop_assert_eq!(amf::read_all(&out), Ok(vec![value]));
    }
}

/// Any value that AMF 0 can write.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        prop::num::f64::NORMAL.prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        ".{0,20}".prop_map(Value::String),
        ".{0,20}".prop_map(Value::Xml),
        Just(Value::Null),
        Just(Value::Undefined),
        (prop::num::f64::NORMAL, any::<i16>())
            .prop_map(|(unix_ms, zone_minutes)| Value::Date { unix_ms, zone_minutes }),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let pairs = prop::collection::vec((".{0,8}", inner.clone()), 0..6);
        prop_oneof![
            pairs.clone().prop_map(Value::Object),
            pairs.prop_map(Value::EcmaArray),
            prop::collection::vec(inner, 0..6).prop_map(Value::StrictArray),
        ]
    })
}
