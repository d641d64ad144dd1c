//! Both ends of a connection for tests: a driver for the server session, and a client that writes messages by hand.

use base::Mono;
use bytes::{Bytes, BytesMut};
use protocols::rtmp::{Error, Event, Output, ServerConfig, ServerSession, amf, amf::Value, chunk};

/// A server session with everything it said.
pub(super) struct Server {
    pub(super) session: ServerSession,
    pub(super) events: Vec<Event>,
    pub(super) sent: BytesMut,
}

impl Server {
    pub(super) fn new() -> Self {
        Self::with(ServerConfig::default())
    }

    pub(super) fn with(config: ServerConfig) -> Self {
        Self { session: ServerSession::new(config, Mono::ZERO), events: Vec::new(), sent: BytesMut::new() }
    }

    /// Gives `input` to the session and collects what it says. Every request is accepted.
    pub(super) fn input(&mut self, input: &[u8]) -> Result<(), Error> {
        let result = self.session.handle_input(Mono::ZERO, input);
        self.drain();
        result
    }

    pub(super) fn drain(&mut self) {
        loop {
            match self.session.poll_output() {
                Output::Transmit(bytes) => self.sent.extend_from_slice(&bytes),
                Output::Event(event) => {
                    if let Event::Publish { request, .. } | Event::Play { request, .. } = &event {
                        self.session.accept(*request);
                    }
                    self.events.push(event);
                }
                Output::Timeout(_) => return,
            }
        }
    }

    /// The messages sent after the handshake.
    pub(super) fn messages(&self) -> Vec<chunk::Message> {
        messages(self.sent.get(HANDSHAKE_BYTES..).unwrap_or_default())
    }

    /// Names of the commands sent, and codes of the statuses: `onStatus NetStream.Publish.Start`.
    pub(super) fn said(&self) -> Vec<String> {
        self.messages().iter().filter_map(said).collect()
    }
}

pub(super) const HANDSHAKE_BYTES: usize = 1 + 1536 + 1536;

/// Reads messages as a client does.
pub(super) fn messages(mut input: &[u8]) -> Vec<chunk::Message> {
    let mut reader = chunk::Reader::default();
    let mut messages = Vec::new();
    while let Some(message) = reader.read(&mut input).expect("the server writes well-formed chunks") {
        if message.message_type == 1 {
            let size = u32::from_be_bytes(message.body[..].try_into().expect("four bytes"));
            reader.set_chunk_size(size).expect("the server's chunk size is legal");
        }
        messages.push(message);
    }
    messages
}

fn said(message: &chunk::Message) -> Option<String> {
    if message.message_type != 20 {
        return None;
    }
    let values = amf::read_all(&message.body).expect("the server writes AMF");
    let name = values.first()?.as_str()?.to_owned();
    let code = values.get(3).and_then(|info| info.get("code")).and_then(Value::as_str);
    Some(code.map_or(name.clone(), |code| format!("{name} {code}")))
}

/// C0, C1 and C2 of a simple handshake.
pub(super) fn handshake() -> Vec<u8> {
    [&[3][..], &[0; 2 * 1536]].concat()
}

/// Messages in chunks of the default size.
#[derive(Default)]
pub(super) struct Script(pub(super) BytesMut);

impl Script {
    /// A script that begins with a handshake.
    pub(super) fn new() -> Self {
        Self(BytesMut::from(&handshake()[..]))
    }

    /// A script that has connected to `live`.
    pub(super) fn connected() -> Self {
        Self::new().command(0, "connect", 1.0, &[object(&[("app", "live".into())])])
    }

    /// A script that publishes `live/colorbar`.
    pub(super) fn publishing() -> Self {
        Self::connected().command(0, "createStream", 2.0, &[Value::Null]).command(
            1,
            "publish",
            3.0,
            &[Value::Null, "colorbar".into(), "live".into()],
        )
    }

    pub(super) fn command(self, message_stream: u32, name: &str, transaction: f64, arguments: &[Value]) -> Self {
        let values = [&[name.into(), transaction.into()], arguments].concat();
        self.values(20, message_stream, &values)
    }

    pub(super) fn values(self, message_type: u8, message_stream: u32, values: &[Value]) -> Self {
        let mut body = BytesMut::new();
        values.iter().for_each(|value| amf::write(&mut body, value));
        self.message(0, message_type, message_stream, &body)
    }

    pub(super) fn message(mut self, timestamp_ms: u32, message_type: u8, message_stream: u32, body: &[u8]) -> Self {
        chunk::write_message(&mut self.0, 128, 3, timestamp_ms, message_type, message_stream, &[body]);
        self
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn build(self) -> Bytes {
        self.0.freeze()
    }
}

pub(super) fn object(pairs: &[(&str, Value)]) -> Value {
    Value::Object(pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}
