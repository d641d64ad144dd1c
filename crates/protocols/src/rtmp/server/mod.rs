//! The server's side of a connection.

mod commands;
mod config;
mod replies;

use std::{collections::VecDeque, time::Duration};

use base::Mono;
use bytes::Bytes;

use self::replies::status;
use super::{
    Error, Event, MediaKind, Output, Rejection, RequestId, amf,
    chunk::Message,
    connection::{Connection, Incoming, seed},
    message::{self, Aggregate, Command, Unroll},
};

pub use config::{CAPS_EX_MOD_EX, ServerConfig};

/// Room for events that a session keeps between inputs; a read of 128 KiB seldom holds more messages.
const EVENTS_KEPT: usize = 64;

/// The server's side of an RTMP connection: at most one stream at a time, published or played.
///
/// ```
/// use base::Mono;
/// use protocols::rtmp::{Error, Output, ServerConfig, ServerSession};
///
/// let mut session = ServerSession::new(ServerConfig::default(), Mono::ZERO);
/// let c0_and_c1 = [&[3][..], &[0; 1536]].concat();
/// session.handle_input(Mono::ZERO, &c0_and_c1)?;
/// let Output::Transmit(answer) = session.poll_output() else { panic!("S0, S1 and S2") };
/// assert_eq!(answer.len(), 1 + 1536 + 1536);
/// let Output::Timeout(Some(deadline)) = session.poll_output() else { panic!("the handshake's deadline") };
/// assert!(matches!(session.handle_timeout(deadline), Err(Error::Timeout { .. })));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct ServerSession {
    config: ServerConfig,
    connection: Connection,
    events: VecDeque<Event>,
    /// `None` until connect.
    application: Option<Application>,
    phase: Phase,
    /// When the phase began; while publishing, when the last message ended.
    since: Mono,
    now: Mono,
    next_request: u64,
    next_message_stream: u32,
    /// The peer announced its stream with FCPublish, and expects the answers that belong to it.
    fc_publish: bool,
    /// Media was welcome once: what is still on its way after the stream's end is no error.
    has_published: bool,
    clock: Unroll,
    unknown_commands: u32,
    unknown_commands_since: Mono,
}

/// What connect named.
#[derive(Debug)]
struct Application {
    name: String,
    query: Option<String>,
}

/// What the connection is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Handshake,
    /// Waiting for connect, publish or play.
    Command,
    PublishAsked {
        request: RequestId,
        message_stream: u32,
    },
    Publishing {
        request: RequestId,
        message_stream: u32,
    },
    PlayAsked {
        request: RequestId,
        message_stream: u32,
        reset: bool,
    },
    Playing {
        request: RequestId,
        message_stream: u32,
    },
    /// The peer was refused, and should close.
    Closing,
}

impl Phase {
    /// The request in hand or accepted, and its message stream.
    fn request(self) -> Option<(RequestId, u32)> {
        match self {
            Self::PublishAsked { request, message_stream }
            | Self::Publishing { request, message_stream }
            | Self::PlayAsked { request, message_stream, .. }
            | Self::Playing { request, message_stream } => Some((request, message_stream)),
            Self::Handshake | Self::Command | Self::Closing => None,
        }
    }
}

impl ServerSession {
    /// A session that waits for a handshake.
    pub fn new(config: ServerConfig, now: Mono) -> Self {
        Self {
            connection: Connection::server(seed(now), config.output_queue_bytes_max),
            config,
            events: VecDeque::new(),
            application: None,
            phase: Phase::Handshake,
            since: now,
            now,
            next_request: 0,
            next_message_stream: 1,
            fc_publish: false,
            has_published: false,
            clock: Unroll::default(),
            unknown_commands: 0,
            unknown_commands_since: now,
        }
    }

    /// Takes bytes from the peer, cut anywhere. Poll the output to its end after each call: events hold the media just read.
    ///
    /// # Errors
    /// When the connection cannot go on. A status that names the cause is then among the output, where the peer can read one:
    /// transmit what is left, then close.
    pub fn handle_input(&mut self, now: Mono, mut input: &[u8]) -> Result<(), Error> {
        self.now = now;
        self.connection.begin_input(input);
        while let Some(incoming) = self.connection.read(&mut input).inspect_err(|error| self.tell(error))? {
            self.handle_incoming(incoming).inspect_err(|error| self.tell(error))?;
        }
        self.connection.end_input();
        self.connection.overflow().map_or(Ok(()), Err)
    }

    /// What to do next. Call until it says [`Output::Timeout`].
    pub fn poll_output(&mut self) -> Output {
        if let Some(bytes) = self.connection.transmit() {
            return Output::Transmit(bytes);
        }
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        // A burst of tiny messages must not cost its memory for the connection's life.
        self.events.shrink_to(EVENTS_KEPT);
        if self.connection.overflow().is_some() {
            return Output::Timeout(Some(self.now));
        }
        Output::Timeout(self.deadline().map(|deadline| self.since + deadline.limit))
    }

    /// To be called when the time that [`Output::Timeout`] named has come; harmless before it.
    ///
    /// # Errors
    /// When a deadline passed, or the peer reads too slowly.
    pub fn handle_timeout(&mut self, now: Mono) -> Result<(), Error> {
        self.now = now;
        self.connection.overflow().map_or(Ok(()), Err)?;
        match self.deadline() {
            Some(Deadline { what, limit }) if now >= self.since + limit => {
                let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                let error = Error::Timeout { what, limit_ms, at: self.connection.at() };
                self.tell(&error);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Grants a publish or play request. Without effect when the peer has withdrawn it.
    pub fn accept(&mut self, request: RequestId) {
        match self.phase {
            Phase::PublishAsked { request: asked, message_stream } if asked == request => {
                self.has_published = true;
                self.enter(Phase::Publishing { request, message_stream });
                replies::publish_start(&mut self.connection, message_stream, self.fc_publish);
            }
            Phase::PlayAsked { request: asked, message_stream, reset } if asked == request => {
                self.enter(Phase::Playing { request, message_stream });
                replies::play_start(&mut self.connection, message_stream, reset);
            }
            _ => {}
        }
    }

    /// Refuses a publish or play request, or ends one that was accepted, e.g. for media that cannot be packaged. The peer is
    /// told why and expected to close; what else it sends is ignored. Without effect when the peer has withdrawn the request.
    pub fn reject(&mut self, request: RequestId, rejection: Rejection) {
        if let Some((asked, message_stream)) = self.phase.request()
            && asked == request
        {
            self.enter(Phase::Closing);
            status(&mut self.connection, message_stream, "error", rejection.code, &rejection.description);
        }
    }

    /// Play side: queues the body of an FLV tag, as its first bytes and the rest. Without effect unless a stream is played.
    ///
    /// When the output queue is full, the message is dropped and [`Self::handle_timeout`], which [`Output::Timeout`] then asks
    /// for at once, fails.
    pub fn send_media(&mut self, kind: MediaKind, timestamp_ms: u32, header: &[u8], payload: &Bytes) {
        if let Phase::Playing { message_stream, .. } = self.phase {
            self.connection.write_media(message_stream, kind, timestamp_ms, &[header, payload]);
        }
    }

    /// Play side: queues `onMetaData`. Without effect unless a stream is played.
    pub fn send_metadata(&mut self, timestamp_ms: u32, values: &[(&str, amf::Value)]) {
        if let Phase::Playing { message_stream, .. } = self.phase {
            let pairs = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            self.connection.write_data(
                message_stream,
                timestamp_ms,
                &["onMetaData".into(), amf::Value::EcmaArray(pairs)],
            );
        }
    }

    /// Ends the stream being played, or tells the publisher that its stream is over. A player may ask for another stream.
    pub fn end_of_stream(&mut self) {
        match self.phase {
            Phase::Playing { message_stream, .. } => {
                self.enter(Phase::Command);
                replies::play_end(&mut self.connection, message_stream);
            }
            Phase::Publishing { message_stream, .. } => {
                self.enter(Phase::Closing);
                replies::unpublish(&mut self.connection, message_stream, self.fc_publish);
            }
            _ => {}
        }
    }

    /// Says that the driver will not read from the peer before `until`, e.g. because a publisher is ahead of real time: its
    /// silence until then is not held against it.
    pub fn excuse_silence(&mut self, until: Mono) {
        if matches!(self.phase, Phase::Publishing { .. }) {
            self.since = self.since.max(until);
        }
    }

    /// Chunk size of what this session sends, for [`super::chunk::write_message`].
    pub fn out_chunk_size(&self) -> usize {
        self.connection.out_chunk_size()
    }

    /// The message stream being played, for [`super::chunk::write_message`]; `None` while none is.
    pub fn play_message_stream(&self) -> Option<u32> {
        match self.phase {
            Phase::Playing { message_stream, .. } => Some(message_stream),
            _ => None,
        }
    }

    /// Bytes that wait in the session for the peer.
    pub fn queued_bytes(&self) -> usize {
        self.connection.queued_bytes()
    }

    /// Memory that unfinished messages of the peer hold, in bytes.
    pub fn partial_bytes(&self) -> usize {
        self.connection.partial_bytes()
    }
}

/// What should happen, and how long after the phase's beginning.
struct Deadline {
    what: &'static str,
    limit: Duration,
}

impl ServerSession {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = self.now;
    }

    fn deadline(&self) -> Option<Deadline> {
        let (what, limit) = match self.phase {
            Phase::Handshake => ("no handshake", self.config.handshake_deadline),
            Phase::Command if self.application.is_none() => ("no connect command", self.config.command_deadline),
            Phase::Command => ("no publish or play command", self.config.command_deadline),
            Phase::Publishing { .. } => ("no message from the publisher", self.config.idle_deadline),
            Phase::Closing => ("the peer was refused and did not close", self.config.close_deadline),
            // The driver has the request in hand; a player may listen in silence.
            Phase::PublishAsked { .. } | Phase::PlayAsked { .. } | Phase::Playing { .. } => return None,
        };
        Some(Deadline { what, limit })
    }

    /// Tells the peer why its connection ends, if it is far enough to read it.
    fn tell(&mut self, error: &Error) {
        if self.connection.is_ready() {
            status(&mut self.connection, 0, "error", "NetConnection.Connect.Closed", &error.to_string());
        }
    }

    fn handle_incoming(&mut self, incoming: Incoming) -> Result<(), Error> {
        match incoming {
            Incoming::Ready => self.enter(Phase::Command),
            Incoming::Acknowledged(bytes) => self.events.push_back(Event::Acknowledged { bytes }),
            // Set Buffer Length and its like: the server sends as fast as the stream is.
            Incoming::UserControl(_) => {}
            Incoming::Message(_) if self.phase == Phase::Closing => {}
            Incoming::Message(message) => {
                if matches!(self.phase, Phase::Publishing { .. }) {
                    self.since = self.now;
                }
                self.handle_message(message)?;
            }
        }
        Ok(())
    }

    fn handle_message(&mut self, message: Message) -> Result<(), Error> {
        match message.message_type {
            message::AUDIO | message::VIDEO => self.handle_media(message),
            message::AGGREGATE => self.handle_aggregate(message),
            message::DATA_AMF0 | message::DATA_AMF3 => {
                self.handle_data(&message);
                Ok(())
            }
            message::COMMAND_AMF0 | message::COMMAND_AMF3 => {
                let at = message::at(&message, self.connection.at().offset_bytes);
                let command = Command::read(&message, at)?;
                self.handle_command(&command, message.message_stream)
            }
            message::SHARED_OBJECT_AMF0 | message::SHARED_OBJECT_AMF3 => self.ignore("shared object message"),
            other => self.ignore(&format!("message of type {other}")),
        }
    }

    fn ignore(&mut self, what: &str) -> Result<(), Error> {
        self.events.push_back(Event::Ignored { what: what.to_owned() });
        Ok(())
    }

    /// Media is welcome from the publish command on; a driver that rejects it has events to drop.
    fn handle_media(&mut self, message: Message) -> Result<(), Error> {
        match self.phase {
            Phase::Publishing { .. } | Phase::PublishAsked { .. } => {}
            _ if self.has_published => return Ok(()),
            _ => {
                return Err(Error::MediaBeforePublish { at: message::at(&message, self.connection.at().offset_bytes) });
            }
        }
        let kind = if message.message_type == message::AUDIO { MediaKind::Audio } else { MediaKind::Video };
        let timestamp_ms = self.clock.unroll(message.timestamp_ms);
        // Empty messages are keep-alives of some encoders, without meaning for the stream.
        if !message.body.is_empty() {
            self.events.push_back(Event::Media { kind, timestamp_ms, body: message.body });
        }
        Ok(())
    }

    fn handle_aggregate(&mut self, message: Message) -> Result<(), Error> {
        for part in Aggregate::new(message) {
            match part {
                Ok(part) if matches!(part.message_type, message::AUDIO | message::VIDEO) => self.handle_media(part)?,
                Ok(part) if part.message_type == message::DATA_AMF0 => self.handle_data(&part),
                Ok(_) => {}
                Err(()) => self.ignore("rest of an aggregate message that ends within a part, or has too many")?,
            }
        }
        Ok(())
    }

    /// Metadata informs; bad metadata does not end a broadcast.
    fn handle_data(&mut self, message: &Message) {
        if !matches!(self.phase, Phase::Publishing { .. } | Phase::PublishAsked { .. }) {
            return;
        }
        let event = match message::values(message) {
            Ok(values) => data_event(values),
            Err(error) => Event::Ignored { what: format!("data message that is not AMF: {error}") },
        };
        self.events.push_back(event);
    }
}

/// `onMetaData`, plain or wrapped in `@setDataFrame`; other data messages are of no use here.
fn data_event(values: Vec<amf::Value>) -> Event {
    let mut values = values.into_iter().peekable();
    if values.peek().and_then(amf::Value::as_str) == Some("@setDataFrame") {
        values.next();
    }
    match (values.next(), values.next()) {
        (Some(amf::Value::String(name)), Some(values)) if name == "onMetaData" => Event::Metadata { values },
        (Some(amf::Value::String(name)), _) => {
            Event::Ignored { what: format!("data message {}", commands::shown(&name)) }
        }
        _ => Event::Ignored { what: "data message without a name".to_owned() },
    }
}
