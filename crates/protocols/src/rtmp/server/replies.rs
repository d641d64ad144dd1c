//! What the server says: results, errors and statuses, in the words that players and encoders wait for.

use super::{
    ServerConfig, amf,
    amf::Value,
    message::{self},
};
use crate::rtmp::connection::Connection;

/// `onStatus` on a message stream (RTMP 1.0, 7.2.2); on 0 it is about the connection.
pub(super) fn status(connection: &mut Connection, message_stream: u32, level: &str, code: &str, description: &str) {
    notify(connection, message_stream, "onStatus", info(level, code, description));
}

fn notify(connection: &mut Connection, message_stream: u32, name: &str, info: Value) {
    connection.write_command(message_stream, &[name.into(), 0.0.into(), Value::Null, info]);
}

/// `_result` to a transaction; nothing where the peer waits for none.
pub(super) fn result(connection: &mut Connection, transaction: f64, value: Value) {
    if transaction != 0.0 {
        connection.write_command(0, &["_result".into(), transaction.into(), Value::Null, value]);
    }
}

/// `_error` to a transaction; nothing where the peer waits for none.
pub(super) fn error(connection: &mut Connection, transaction: f64, code: &str, description: &str) {
    if transaction != 0.0 {
        let info = info("error", code, description);
        connection.write_command(0, &["_error".into(), transaction.into(), Value::Null, info]);
    }
}

fn info(level: &str, code: &str, description: &str) -> Value {
    object([("level", level.into()), ("code", code.into()), ("description", description.into())])
}

fn object<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Object(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The answer to connect (RTMP 1.0, 7.2.1.1), with our half of the Enhanced RTMP v2 negotiation where the peer began one.
pub(super) fn connected(
    connection: &mut Connection,
    config: &ServerConfig,
    transaction: f64,
    object_encoding: f64,
    offers: &Offers,
) {
    connection.write_window_ack_size(config.window_ack_bytes);
    connection.write_set_peer_bandwidth(config.window_ack_bytes);
    connection.write_set_chunk_size(config.chunk_size);
    let mut properties = vec![
        ("fmsVer".to_owned(), "FMS/3,5,7,7009".into()),
        ("capabilities".to_owned(), 31.0.into()),
        ("mode".to_owned(), 1.0.into()),
    ];
    properties.extend(offers.answer(config));
    let mut info = vec![
        ("level".to_owned(), "status".into()),
        ("code".to_owned(), "NetConnection.Connect.Success".into()),
        ("description".to_owned(), "Connection succeeded.".into()),
    ];
    info.push(("objectEncoding".to_owned(), object_encoding.into()));
    connection
        .write_command(0, &["_result".into(), transaction.into(), Value::Object(properties), Value::Object(info)]);
}

/// What of Enhanced RTMP a peer's connect offers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offers {
    list: bool,
    video: bool,
    audio: bool,
    caps_ex: bool,
}

impl Offers {
    pub(super) fn read(object: &Value) -> Self {
        Self {
            list: object.get("fourCcList").is_some(),
            video: object.get("videoFourCcInfoMap").is_some(),
            audio: object.get("audioFourCcInfoMap").is_some(),
            caps_ex: object.get("capsEx").is_some(),
        }
    }

    pub(super) fn any(self) -> bool {
        self.list || self.video || self.audio
    }

    /// The same properties, with what this server can do.
    fn answer(self, config: &ServerConfig) -> Vec<(String, Value)> {
        // FourCcInfoMask of Enhanced RTMP v2: what is published is forwarded, not decoded.
        const CAN_FORWARD: f64 = 4.0;
        let map = |codecs: &[&str]| {
            Value::Object(codecs.iter().map(|codec| ((*codec).to_owned(), CAN_FORWARD.into())).collect())
        };
        let codecs = config.video_fourccs.iter().chain(config.audio_fourccs);
        let list = Value::StrictArray(codecs.map(|codec| (*codec).into()).collect());
        let all = [
            (self.list, "fourCcList", list),
            (self.video, "videoFourCcInfoMap", map(config.video_fourccs)),
            (self.audio, "audioFourCcInfoMap", map(config.audio_fourccs)),
            (self.caps_ex, "capsEx", f64::from(config.caps_ex).into()),
        ];
        all.into_iter().filter(|(offered, ..)| *offered).map(|(_, name, value)| (name.to_owned(), value)).collect()
    }
}

/// Publishing may begin. Encoders that sent FCPublish wait for its own notification first.
pub(super) fn publish_start(connection: &mut Connection, message_stream: u32, fc_publish: bool) {
    const CODE: &str = "NetStream.Publish.Start";
    connection.write_user_control(message::STREAM_BEGIN, message_stream);
    if fc_publish {
        notify(connection, 0, "onFCPublish", info("status", CODE, "Started publishing."));
    }
    status(connection, message_stream, "status", CODE, "Started publishing.");
}

/// Publishing is over.
pub(super) fn unpublish(connection: &mut Connection, message_stream: u32, fc_publish: bool) {
    const CODE: &str = "NetStream.Unpublish.Success";
    if fc_publish {
        notify(connection, 0, "onFCUnpublish", info("status", CODE, "Stopped publishing."));
    }
    status(connection, message_stream, "status", CODE, "Stopped publishing.");
}

/// Playing begins (RTMP 1.0, 7.2.2.1).
pub(super) fn play_start(connection: &mut Connection, message_stream: u32, reset: bool) {
    connection.write_user_control(message::STREAM_BEGIN, message_stream);
    if reset {
        status(connection, message_stream, "status", "NetStream.Play.Reset", "Playing and resetting the stream.");
    }
    status(connection, message_stream, "status", "NetStream.Play.Start", "Started playing the stream.");
    let allowed = amf::Value::Boolean(true);
    connection.write_data(message_stream, 0, &["|RtmpSampleAccess".into(), allowed.clone(), allowed]);
}

/// The stream that was played is over.
pub(super) fn play_end(connection: &mut Connection, message_stream: u32) {
    connection.write_user_control(message::STREAM_EOF, message_stream);
    status(
        connection,
        message_stream,
        "status",
        "NetStream.Play.UnpublishNotify",
        "The stream is no longer published.",
    );
    status(connection, message_stream, "status", "NetStream.Play.Stop", "Stopped playing the stream.");
}

/// `onFCSubscribe`, for which some players wait before they play.
pub(super) fn subscribed(connection: &mut Connection) {
    notify(connection, 0, "onFCSubscribe", info("status", "NetStream.Play.Start", "Subscribed."));
}
