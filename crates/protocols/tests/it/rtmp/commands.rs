//! What each command is answered with, and what the driver hears of it.

use protocols::rtmp::{CAPS_EX_MOD_EX, Event, amf, amf::Value};

use super::peer::{Script, Server, object};

/// Runs a script; what the server said after the answer to connect, and what happened after it. Each message is acted on before
/// the next one comes.
fn run(script: Script) -> (Vec<String>, Vec<Event>) {
    let mut server = Server::new();
    script.build().chunks(8).try_for_each(|piece| server.input(piece)).expect("well-formed");
    (server.said().split_off(1), server.events.split_off(1))
}

fn check(script: Script, said: &[&str], events: &[&str]) {
    let (all_said, all_events) = run(script);
    let names: Vec<String> = all_events.iter().map(|event| format!("{event:?}")).collect();
    let names: Vec<&str> = names.iter().map(|name| name.split([' ', '(']).next().unwrap_or_default()).collect();
    assert_eq!(all_said, said);
    assert_eq!(names, events);
}

const PUBLISH_START: &str = "onStatus NetStream.Publish.Start";
const UNPUBLISHED: &str = "onStatus NetStream.Unpublish.Success";
const BAD_NAME: &str = "onStatus NetStream.Publish.BadName";
const PLAY: [&str; 2] = ["onStatus NetStream.Play.Reset", "onStatus NetStream.Play.Start"];

fn playing() -> Script {
    Script::connected().command(1, "play", 3.0, &[Value::Null, "colorbar".into()])
}

#[test]
fn publishing() {
    let null = Value::Null;
    check(Script::publishing(), &["_result", PUBLISH_START], &["Publish"]);
    let fmle = || {
        Script::connected()
            .command(0, "releaseStream", 2.0, &[null.clone(), "colorbar".into()])
            .command(0, "FCPublish", 3.0, &[null.clone(), "colorbar".into()])
            .command(0, "createStream", 4.0, std::slice::from_ref(&null))
            .command(1, "publish", 5.0, &[null.clone(), "colorbar".into(), "live".into()])
    };
    let begun = ["_result", "_result", "_result", "onFCPublish NetStream.Publish.Start", PUBLISH_START];
    check(fmle(), &begun, &["Publish"]);
    let ended = ["onFCUnpublish NetStream.Unpublish.Success", UNPUBLISHED, "_result"];
    check(
        fmle().command(0, "FCUnpublish", 6.0, &[null.clone(), "colorbar".into()]).command(
            0,
            "deleteStream",
            7.0,
            &[null.clone(), 1.0.into()],
        ),
        &[&begun[..], &ended].concat(),
        &["Publish", "Unpublish"],
    );
    let delete = |stream: f64| Script::publishing().command(0, "deleteStream", 7.0, &[null.clone(), stream.into()]);
    check(delete(1.0), &["_result", PUBLISH_START], &["Publish", "Unpublish"]);
    check(delete(2.0), &["_result", PUBLISH_START], &["Publish"]);
    let close = Script::publishing().command(1, "closeStream", 0.0, std::slice::from_ref(&null));
    check(close, &["_result", PUBLISH_START, UNPUBLISHED], &["Publish", "Unpublish"]);
    // Media on its way after the end is dropped; another publish may follow.
    let again = delete(1.0).message(0, 9, 1, &[0x17]).command(2, "publish", 8.0, &[null.clone(), "other".into()]);
    check(again, &["_result", PUBLISH_START, PUBLISH_START], &["Publish", "Unpublish", "Publish"]);
}

#[test]
fn publishing_that_the_driver_is_not_asked_for() {
    let null = Value::Null;
    for name in [Value::Null, "".into(), "?key=x".into()] {
        check(Script::connected().command(1, "publish", 3.0, &[null.clone(), name]), &[BAD_NAME], &[]);
    }
    let second =
        Script::publishing().command(2, "publish", 4.0, &[null.clone(), "other".into()]).message(0, 9, 1, &[0x17]);
    check(second, &["_result", PUBLISH_START, BAD_NAME], &["Publish", "Media"]);
    let play = Script::publishing().command(2, "play", 4.0, &[null, "other".into()]);
    check(play, &["_result", PUBLISH_START, "onStatus NetStream.Play.Failed"], &["Publish"]);
}

#[test]
fn playing_and_stopping() {
    let null = Value::Null;
    check(playing(), &PLAY, &["Play"]);
    let no_reset = [null.clone(), "colorbar".into(), (-2.0).into(), (-1.0).into(), false.into()];
    check(Script::connected().command(1, "play", 3.0, &no_reset), &PLAY[1..], &["Play"]);
    let pause = playing().command(1, "pause", 0.0, &[null.clone(), true.into(), 0.0.into()]);
    let pause = pause.command(1, "pause", 0.0, &[null.clone(), false.into(), 0.0.into()]);
    let said = [&PLAY[..], &["onStatus NetStream.Pause.Notify", "onStatus NetStream.Unpause.Notify"]].concat();
    check(pause, &said, &["Play", "PlayPause", "PlayPause"]);
    let stop = playing().command(1, "play", 0.0, &[null.clone(), false.into()]);
    check(stop, &PLAY, &["Play", "PlayStop"]);
    let change = playing().command(1, "play", 0.0, &[null.clone(), "other".into()]);
    check(change, &[PLAY, PLAY].concat(), &["Play", "PlayStop", "Play"]);
    let delete = playing().command(0, "deleteStream", 0.0, &[null.clone(), 1.0.into()]);
    check(delete, &PLAY, &["Play", "PlayStop"]);
    let seek = playing().command(1, "seek", 0.0, &[null.clone(), 1000.0.into()]);
    check(seek, &[&PLAY[..], &["onStatus NetStream.Seek.Failed"]].concat(), &["Play"]);
    let play2 = Script::connected().command(1, "play2", 0.0, &[null, object(&[])]);
    check(play2, &["onStatus NetStream.Play.Failed"], &[]);
}

#[test]
fn a_request_withdrawn_before_it_is_answered_stays_withdrawn() {
    let mut server = Server::new();
    let withdrawn = Script::publishing().command(0, "deleteStream", 4.0, &[Value::Null, 1.0.into()]);
    server.input(&withdrawn.build()).expect("well-formed");
    assert!(matches!(server.events[..], [Event::Connected { .. }, Event::Publish { .. }, Event::Unpublish]));
    assert!(!server.said().contains(&PUBLISH_START.to_owned()), "{:?}", server.said());
}

#[test]
fn where_playing_starts() {
    let start_of = |start: &[Value]| {
        let arguments = [&[Value::Null, "colorbar".into()], start].concat();
        match run(Script::connected().command(1, "play", 3.0, &arguments)).1.as_slice() {
            [Event::Play { start_ms, .. }] => *start_ms,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(start_of(&[]), -2000);
    assert_eq!(start_of(&[(-1.0).into()]), -1000);
    assert_eq!(start_of(&[(-2000.0).into()]), -2000);
    assert_eq!(start_of(&[5000.0.into()]), 5000);
    assert_eq!(start_of(&[f64::NAN.into()]), 0);
}

#[test]
fn questions_in_passing() {
    let ask = |name: &str| Script::connected().command(0, name, 9.0, &[Value::Null, "colorbar".into()]);
    check(ask("getStreamLength"), &["_result"], &[]);
    check(ask("_checkbw"), &["_result"], &[]);
    check(ask("FCSubscribe"), &["_result", "onFCSubscribe NetStream.Play.Start"], &[]);
    check(ask("receiveVideo"), &[], &["Ignored"]);
    check(ask("_result"), &[], &[]);
    // Without a transaction nobody waits.
    check(Script::connected().command(0, "releaseStream", 0.0, &[Value::Null]), &[], &[]);
}

#[test]
fn amf3_commands_are_amf0_after_a_byte() {
    let mut server = Server::new();
    let connect = object(&[("app", "live".into()), ("objectEncoding", 3.0.into())]);
    let script = Script::new().command(0, "connect", 1.0, &[connect]);
    // publish, with its name as an AMF 3 string after the avmplus marker.
    let publish = b"\0\x02\0\x07publish\0\x40\0\0\0\0\0\0\0\x05\x11\x06\x11colorbar";
    let metadata = b"\0\x02\0\x0aonMetaData\x11\x0a\x0b\x01\x0bwidth\x04\x40\x01";
    server.input(&script.message(0, 17, 1, publish).message(0, 15, 1, metadata).build()).expect("well-formed");
    assert!(matches!(&server.events[1], Event::Publish { name, .. } if name == "colorbar"), "{:?}", server.events);
    assert_eq!(server.events[2], Event::Metadata { values: object(&[("width", 64.0.into())]) });
    let result = amf::read_all(&server.messages()[3].body).expect("AMF");
    assert_eq!(result[3].get("objectEncoding"), Some(&3.0.into()));
}

#[test]
fn connect_answers_enhanced_rtmp_offers_and_only_those() {
    let properties = |offers: &[(&str, Value)]| {
        let mut server = Server::new();
        let pairs = [&[("app", "live".into())], offers].concat();
        server.input(&Script::new().command(0, "connect", 1.0, &[object(&pairs)]).build()).expect("well-formed");
        let [window, bandwidth, chunk_size, result] = &server.messages()[..] else { panic!("{:?}", server.messages()) };
        assert_eq!((window.message_type, &window.body[..]), (5, &2_500_000u32.to_be_bytes()[..]));
        assert_eq!((bandwidth.message_type, bandwidth.body[4]), (6, 2));
        assert_eq!((chunk_size.message_type, &chunk_size.body[..]), (1, &60_000u32.to_be_bytes()[..]));
        let enhanced = matches!(server.events[0], Event::Connected { enhanced: true, .. });
        (enhanced, amf::read_all(&result.body).expect("AMF")[2].clone())
    };
    let (enhanced, plain) = properties(&[]);
    assert!(!enhanced);
    assert_eq!(
        plain.pairs().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["fmsVer", "capabilities", "mode"]
    );

    let (enhanced, v1) = properties(&[("fourCcList", Value::StrictArray(vec!["hvc1".into()]))]);
    assert!(enhanced);
    assert!(matches!(v1.get("fourCcList"), Some(Value::StrictArray(list)) if list.contains(&"hvc1".into())));
    assert_eq!(v1.get("capsEx"), None);

    let map = object(&[("*", 7.0.into())]);
    let (enhanced, v2) =
        properties(&[("videoFourCcInfoMap", map.clone()), ("audioFourCcInfoMap", map), ("capsEx", 15.0.into())]);
    assert!(enhanced);
    assert_eq!(v2.get("videoFourCcInfoMap").and_then(|map| map.get("av01")), Some(&4.0.into()));
    assert_eq!(v2.get("audioFourCcInfoMap").and_then(|map| map.get("Opus")), Some(&4.0.into()));
    assert_eq!(v2.get("capsEx"), Some(&f64::from(CAPS_EX_MOD_EX).into()));
}

#[test]
fn pings_are_answered() {
    let mut server = Server::new();
    let ping = [&[0, 6][..], &77u32.to_be_bytes()].concat();
    server.input(&Script::new().message(0, 4, 0, &ping).build()).expect("well-formed");
    let [pong] = &server.messages()[..] else { panic!("{:?}", server.messages()) };
    assert_eq!((pong.message_type, &pong.body[..]), (4, &[0, 7, 0, 0, 0, 77][..]));
}

#[test]
fn a_peer_bandwidth_is_answered_when_it_is_new() {
    let mut server = Server::new();
    let limit = [&1_000u32.to_be_bytes()[..], &[2]].concat();
    server.input(&Script::new().message(0, 6, 0, &limit).message(0, 6, 0, &limit).build()).expect("well-formed");
    let [window] = &server.messages()[..] else { panic!("{:?}", server.messages()) };
    assert_eq!((window.message_type, &window.body[..]), (5, &1_000u32.to_be_bytes()[..]));
}

#[test]
fn aggregates_become_media() {
    let mut server = Server::new();
    let video = [9, 0, 0, 2, 0, 0, 10, 0, 0, 0, 0, 0x17, 1, 0, 0, 0, 13];
    let audio = [8, 0, 0, 2, 0, 0, 30, 0, 0, 0, 0, 0xaf, 1, 0, 0, 0, 13];
    server.input(&Script::publishing().message(1000, 22, 1, &[video, audio].concat()).build()).expect("well-formed");
    let times: Vec<_> = server
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Media { kind, timestamp_ms, body } => Some((*kind, *timestamp_ms, body[0])),
            _ => None,
        })
        .collect();
    use protocols::rtmp::MediaKind::{Audio, Video};
    assert_eq!(times, [(Video, 1000, 0x17), (Audio, 1020, 0xaf)]);
}

#[test]
fn empty_media_messages_are_no_events() {
    let (_, events) = run(Script::publishing().message(0, 9, 1, &[]).message(0, 8, 1, &[]));
    assert_eq!(events.len(), 1, "{events:?}");
}
