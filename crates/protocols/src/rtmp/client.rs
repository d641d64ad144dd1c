//! The client's side of a connection: publishing to a server, or playing from one.

use std::{collections::VecDeque, time::Duration};

use base::Mono;
use bytes::Bytes;

use super::{
    Error, MediaKind, amf,
    amf::Value,
    chunk::Message,
    connection::{Connection, Incoming, WINDOW_ACK_BYTES_DEFAULT, seed},
    message::{self, Aggregate, Command, Unroll},
};

/// What a client session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAction {
    /// Send a stream.
    Publish,
    /// Receive a stream.
    Play,
}

/// Where a client session connects, and for what.
#[derive(Clone)]
pub struct ClientConfig {
    /// The application, e.g. `live`.
    pub app: String,
    /// The URL of the application, e.g. `rtmp://host/live`.
    pub tc_url: String,
    /// What to do.
    pub action: ClientAction,
    /// The stream's name, with its query.
    pub name: String,
    /// Chunk size of what the session sends, in bytes.
    pub chunk_size: usize,
    /// Whether to begin with the digest form of the handshake.
    pub digest: bool,
    /// Codecs to name in connect, as Enhanced RTMP v1 does; none for plain RTMP.
    pub fourccs: &'static [&'static str],
    /// From the session's beginning to [`ClientEvent::Ready`].
    pub ready_deadline: Duration,
    /// Bytes that may wait for the server in the session.
    pub output_queue_bytes_max: usize,
}

impl ClientConfig {
    /// A configuration with the usual values.
    pub fn new(
        action: ClientAction,
        tc_url: impl Into<String>,
        app: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            app: app.into(),
            tc_url: tc_url.into(),
            action,
            name: name.into(),
            chunk_size: 60_000,
            digest: false,
            fourccs: &[],
            ready_deadline: Duration::from_secs(10),
            output_queue_bytes_max: 32 << 20,
        }
    }
}

/// Without the name and the URL: either may hold a key.
impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientConfig")
            .field("action", &self.action)
            .field("chunk_size", &self.chunk_size)
            .finish_non_exhaustive()
    }
}

/// What a client session wants next. The driver polls until [`ClientOutput::Timeout`].
#[derive(Clone, Debug)]
pub enum ClientOutput {
    /// Bytes to write to the server, in order.
    Transmit(Bytes),
    /// Something happened.
    Event(ClientEvent),
    /// Nothing more until input arrives or this time comes; then `handle_timeout`.
    Timeout(Option<Mono>),
}

/// What happened in a client session.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// The server accepted: send media, or expect it.
    Ready,
    /// Audio or video of the stream played.
    Media {
        /// Audio or video.
        kind: MediaKind,
        /// Unrolled: continues past 2^32 ms.
        timestamp_ms: i64,
        /// The body of the FLV tag.
        body: Bytes,
    },
    /// `onMetaData` of the stream played.
    Metadata {
        /// An object or ECMA array.
        values: Value,
    },
    /// A status of the server.
    Status {
        /// `status`, `warning` or `error`.
        level: String,
        /// E.g. `NetStream.Play.Start`.
        code: String,
        /// The server's words.
        description: String,
    },
    /// The stream is over.
    Closed,
}

/// How far the client is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Handshake,
    Connecting,
    Creating,
    Asking { message_stream: u32 },
    Ready { message_stream: u32 },
    Closed,
}

const CONNECT_TRANSACTION: f64 = 1.0;
const CREATE_STREAM_TRANSACTION: f64 = 4.0;

/// The client's side of an RTMP connection.
#[derive(Debug)]
pub struct ClientSession {
    config: ClientConfig,
    connection: Connection,
    events: VecDeque<ClientEvent>,
    phase: Phase,
    deadline: Mono,
    clock: Unroll,
}

impl ClientSession {
    /// A session whose first output begins the handshake.
    pub fn new(config: ClientConfig, now: Mono) -> Self {
        Self {
            connection: Connection::client(seed(now), config.digest, config.output_queue_bytes_max),
            deadline: now + config.ready_deadline,
            config,
            events: VecDeque::new(),
            phase: Phase::Handshake,
            clock: Unroll::default(),
        }
    }

    /// Takes bytes from the server, cut anywhere.
    ///
    /// # Errors
    /// When the connection cannot go on, or the server refuses.
    pub fn handle_input(&mut self, _now: Mono, mut input: &[u8]) -> Result<(), Error> {
        self.connection.begin_input(input);
        while let Some(incoming) = self.connection.read(&mut input)? {
            match incoming {
                Incoming::Ready => self.connect(),
                Incoming::Message(message) => self.handle_message(message)?,
                Incoming::UserControl(message::STREAM_EOF) if self.config.action == ClientAction::Play => self.closed(),
                Incoming::Acknowledged(_) | Incoming::UserControl(_) => {}
            }
        }
        self.connection.end_input();
        self.connection.overflow().map_or(Ok(()), Err)
    }

    /// What to do next. Call until it says [`ClientOutput::Timeout`].
    pub fn poll_output(&mut self) -> ClientOutput {
        if let Some(bytes) = self.connection.transmit() {
            return ClientOutput::Transmit(bytes);
        }
        if let Some(event) = self.events.pop_front() {
            return ClientOutput::Event(event);
        }
        let waiting = !matches!(self.phase, Phase::Ready { .. } | Phase::Closed);
        ClientOutput::Timeout(waiting.then_some(self.deadline))
    }

    /// To be called when the time that [`ClientOutput::Timeout`] named has come.
    ///
    /// # Errors
    /// When the server has not accepted in time, or does not read what it is sent.
    pub fn handle_timeout(&mut self, now: Mono) -> Result<(), Error> {
        self.connection.overflow().map_or(Ok(()), Err)?;
        if now < self.deadline || matches!(self.phase, Phase::Ready { .. } | Phase::Closed) {
            return Ok(());
        }
        let limit_ms = u64::try_from(self.config.ready_deadline.as_millis()).unwrap_or(u64::MAX);
        Err(Error::Timeout { what: "the server accepted no stream", limit_ms, at: self.connection.at() })
    }

    /// Publish side: queues the body of an FLV tag, as its first bytes and the rest. Without effect unless ready.
    ///
    /// # Errors
    /// When the server does not read what it is sent.
    pub fn send_media(
        &mut self,
        kind: MediaKind,
        timestamp_ms: u32,
        header: &[u8],
        payload: &Bytes,
    ) -> Result<(), Error> {
        if let (ClientAction::Publish, Phase::Ready { message_stream }) = (self.config.action, self.phase) {
            self.connection.write_media(message_stream, kind, timestamp_ms, &[header, payload]);
        }
        self.connection.overflow().map_or(Ok(()), Err)
    }

    /// Publish side: queues `@setDataFrame` with `onMetaData`. Without effect unless ready.
    pub fn send_metadata(&mut self, timestamp_ms: u32, values: &[(&str, Value)]) {
        if let (ClientAction::Publish, Phase::Ready { message_stream }) = (self.config.action, self.phase) {
            let pairs = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            let values = ["@setDataFrame".into(), "onMetaData".into(), Value::EcmaArray(pairs)];
            self.connection.write_data(message_stream, timestamp_ms, &values);
        }
    }

    /// Ends the stream politely: what is queued then can be transmitted before closing.
    pub fn close(&mut self) {
        if let Phase::Ready { message_stream } | Phase::Asking { message_stream } = self.phase {
            if self.config.action == ClientAction::Publish {
                self.call("FCUnpublish", 6.0, &[self.config.name.as_str().into()]);
            }
            self.call("deleteStream", 7.0, &[f64::from(message_stream).into()]);
            self.phase = Phase::Closed;
        }
    }

    /// Chunk size of what this session sends.
    pub fn out_chunk_size(&self) -> usize {
        self.connection.out_chunk_size()
    }

    /// The message stream that is published or played, once ready.
    pub fn message_stream(&self) -> Option<u32> {
        match self.phase {
            Phase::Ready { message_stream } => Some(message_stream),
            _ => None,
        }
    }
}

impl ClientSession {
    /// Sends a command without object on the connection.
    fn call(&mut self, name: &str, transaction: f64, arguments: &[Value]) {
        self.call_on(0, name, transaction, arguments);
    }

    fn call_on(&mut self, message_stream: u32, name: &str, transaction: f64, arguments: &[Value]) {
        let values = [&[name.into(), transaction.into(), Value::Null], arguments].concat();
        self.connection.write_command(message_stream, &values);
    }

    fn connect(&mut self) {
        self.phase = Phase::Connecting;
        self.connection.write_window_ack_size(WINDOW_ACK_BYTES_DEFAULT);
        self.connection.write_set_chunk_size(self.config.chunk_size);
        let mut object = vec![
            ("app".to_owned(), self.config.app.as_str().into()),
            ("flashVer".to_owned(), "FMLE/3.0 (compatible; Headwater)".into()),
            ("tcUrl".to_owned(), self.config.tc_url.as_str().into()),
            ("objectEncoding".to_owned(), 0.0.into()),
        ];
        if !self.config.fourccs.is_empty() {
            let list = self.config.fourccs.iter().map(|codec| (*codec).into()).collect();
            object.push(("fourCcList".to_owned(), Value::StrictArray(list)));
        }
        self.connection.write_command(0, &["connect".into(), CONNECT_TRANSACTION.into(), Value::Object(object)]);
    }

    fn create_stream(&mut self) {
        self.phase = Phase::Creating;
        if self.config.action == ClientAction::Publish {
            let name = Value::String(self.config.name.clone());
            self.call("releaseStream", 2.0, std::slice::from_ref(&name));
            self.call("FCPublish", 3.0, &[name]);
        }
        self.call("createStream", CREATE_STREAM_TRANSACTION, &[]);
    }

    fn ask(&mut self, message_stream: u32) {
        /// How much a player tells the server it buffers, in milliseconds.
        const BUFFER_MS: u32 = 1_000;
        self.phase = Phase::Asking { message_stream };
        let name = Value::String(self.config.name.clone());
        match self.config.action {
            ClientAction::Publish => self.call_on(message_stream, "publish", 5.0, &[name, "live".into()]),
            ClientAction::Play => {
                self.call_on(message_stream, "play", 5.0, &[name, (-2000.0).into()]);
                self.connection.write_set_buffer_length(message_stream, BUFFER_MS);
            }
        }
    }

    fn handle_message(&mut self, message: Message) -> Result<(), Error> {
        match message.message_type {
            message::AUDIO | message::VIDEO => self.handle_media(message),
            message::AGGREGATE => Aggregate::new(message).flatten().for_each(|part| self.handle_media(part)),
            message::DATA_AMF0 | message::DATA_AMF3 => self.handle_data(&message),
            message::COMMAND_AMF0 | message::COMMAND_AMF3 => {
                let at = message::at(&message, self.connection.at().offset_bytes);
                self.handle_command(&Command::read(&message, at)?)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn handle_media(&mut self, message: Message) {
        let kind = match message.message_type {
            message::AUDIO => MediaKind::Audio,
            message::VIDEO => MediaKind::Video,
            _ => return,
        };
        let timestamp_ms = self.clock.unroll(message.timestamp_ms);
        self.events.push_back(ClientEvent::Media { kind, timestamp_ms, body: message.body });
    }

    fn handle_data(&mut self, message: &Message) {
        let values = message::values(message).unwrap_or_default();
        if let [Value::String(name), values, ..] = &values[..]
            && name == "onMetaData"
        {
            self.events.push_back(ClientEvent::Metadata { values: values.clone() });
        }
    }

    fn handle_command(&mut self, command: &Command) -> Result<(), Error> {
        match command.name.as_str() {
            "_result" => self.handle_result(command),
            "_error" if matches!(self.phase, Phase::Connecting | Phase::Creating) => {
                // Servers need not know releaseStream and FCPublish.
                match command.transaction {
                    CONNECT_TRANSACTION | CREATE_STREAM_TRANSACTION => Err(refused(command)),
                    _ => Ok(()),
                }
            }
            "onStatus" => self.handle_status(command),
            _ => Ok(()),
        }
    }

    fn handle_result(&mut self, command: &Command) -> Result<(), Error> {
        if self.phase == Phase::Connecting && command.transaction == CONNECT_TRANSACTION {
            self.create_stream();
        } else if self.phase == Phase::Creating && command.transaction == CREATE_STREAM_TRANSACTION {
            let number = command.argument(1).and_then(amf::Value::as_number);
            let fail = Error::Command { what: "createStream was answered without a message stream", at: command.at };
            self.ask(number.filter(|number| (0.0..=4e9).contains(number)).ok_or(fail)? as u32);
        }
        Ok(())
    }

    fn handle_status(&mut self, command: &Command) -> Result<(), Error> {
        let [level, code, description] = status(command);
        match (self.phase, level.as_str(), code.as_str()) {
            (Phase::Closed, ..) => {}
            (_, "error", _) => return Err(refused(command)),
            (Phase::Asking { message_stream }, _, "NetStream.Publish.Start" | "NetStream.Play.Start") => {
                self.phase = Phase::Ready { message_stream };
                self.events.push_back(ClientEvent::Ready);
            }
            (_, _, "NetStream.Play.UnpublishNotify" | "NetStream.Play.Stop" | "NetStream.Unpublish.Success") => {
                self.closed()
            }
            _ => {}
        }
        self.events.push_back(ClientEvent::Status { level, code, description });
        Ok(())
    }

    fn closed(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.events.push_back(ClientEvent::Closed);
        }
    }
}

/// Level, code and description of a status or error.
fn status(command: &Command) -> [String; 3] {
    let info = command.argument(1).unwrap_or(&Value::Null);
    ["level", "code", "description"].map(|name| info.get(name).and_then(Value::as_str).unwrap_or_default().to_owned())
}

fn refused(command: &Command) -> Error {
    let [_, code, description] = status(command);
    Error::Refused { code, description }
}
