//! The commands of RTMP 1.0, 7.2, and those that encoders and players send beside them.

use std::time::Duration;

use super::{
    Application, Command, Error, Event, Phase, RequestId, ServerSession, amf,
    replies::{self, Offers, status},
};
use crate::rtmp::{Rejection, name};

/// Unknown commands answered in [`UNKNOWN_COMMANDS_PERIOD`]. Encoders send two or three; a flood of them is an attack.
pub(super) const UNKNOWN_COMMANDS_MAX: u32 = 64;
const UNKNOWN_COMMANDS_PERIOD: Duration = Duration::from_secs(60);

/// Message streams that a connection may create. One is in use at a time.
const MESSAGE_STREAMS_MAX: u32 = 1024;

/// Characters of a peer's words in an event.
const SHOWN_CHARS_MAX: usize = 32;

impl ServerSession {
    /// Acts on a command and answers it.
    pub(super) fn handle_command(&mut self, command: &Command, message_stream: u32) -> Result<(), Error> {
        match command.name.as_str() {
            "connect" => self.connect(command),
            "_result" | "_error" | "onStatus" => Ok(()),
            _ if self.application.is_none() => self.before_connect(command),
            "createStream" => self.create_stream(command),
            "publish" => self.publish(command, message_stream),
            "play" => self.play(command, message_stream),
            "pause" | "pauseRaw" => self.pause(command, message_stream),
            "deleteStream" => self.delete_stream(command),
            "closeStream" => self.close_stream(message_stream),
            "FCUnpublish" => self.fc_unpublish(command),
            name => self.answer_in_passing(name, command, message_stream),
        }
    }

    /// Commands that change nothing.
    fn answer_in_passing(&mut self, name: &str, command: &Command, message_stream: u32) -> Result<(), Error> {
        let (connection, transaction) = (&mut self.connection, command.transaction);
        match name {
            "releaseStream" | "_checkbw" => replies::result(connection, transaction, amf::Value::Undefined),
            "FCPublish" => {
                self.fc_publish = true;
                replies::result(connection, transaction, amf::Value::Undefined);
            }
            "FCSubscribe" => {
                replies::result(connection, transaction, amf::Value::Undefined);
                replies::subscribed(connection);
            }
            // A live stream has no length.
            "getStreamLength" => replies::result(connection, transaction, 0.0.into()),
            "seek" => {
                status(
                    connection,
                    message_stream,
                    "error",
                    "NetStream.Seek.Failed",
                    "A live stream has no place to seek to.",
                );
            }
            "play2" => {
                let description = "play2 is not supported: use play.";
                status(connection, message_stream, "error", Rejection::PLAY_FAILED, description);
            }
            "receiveAudio" | "receiveVideo" | "FCUnsubscribe" | "setPeerInfo" => {
                let what = format!("command {name}");
                self.events.push_back(Event::Ignored { what });
            }
            _ => return self.unknown(command),
        }
        Ok(())
    }

    fn unknown(&mut self, command: &Command) -> Result<(), Error> {
        if self.now.since(self.unknown_commands_since) >= UNKNOWN_COMMANDS_PERIOD {
            self.unknown_commands_since = self.now;
            self.unknown_commands = 0;
        }
        self.unknown_commands += 1;
        if self.unknown_commands > UNKNOWN_COMMANDS_MAX {
            return Err(Error::UnknownCommands { limit: UNKNOWN_COMMANDS_MAX, at: command.at });
        }
        let name = shown(&command.name);
        let description = format!("The command {name} is not known here.");
        replies::error(&mut self.connection, command.transaction, "NetConnection.Call.Failed", &description);
        self.events.push_back(Event::Ignored { what: format!("command {name}") });
        Ok(())
    }

    fn before_connect(&mut self, command: &Command) -> Result<(), Error> {
        let what = match command.name.as_str() {
            "publish" => "publish before connect",
            "play" => "play before connect",
            "createStream" => "createStream before connect",
            _ => "a command before connect",
        };
        replies::error(&mut self.connection, command.transaction, "NetConnection.Call.Failed", what);
        Err(Error::Command { what, at: command.at })
    }

    fn connect(&mut self, command: &Command) -> Result<(), Error> {
        let fail = |what| Error::Command { what, at: command.at };
        if self.application.is_some() {
            return Err(fail("connect a second time"));
        }
        let object = command.argument(0).ok_or_else(|| fail("connect without its object"))?;
        let text = |name: &str| object.get(name).and_then(amf::Value::as_str);
        let (application, query) = name::application(text("app").unwrap_or_default());
        if application.is_empty() {
            let description = "No application is named: use rtmp://HOST/APP/NAME.";
            replies::error(&mut self.connection, command.transaction, "NetConnection.Connect.InvalidApp", description);
            return Err(fail("connect without an application: use rtmp://HOST/APP/NAME"));
        }
        let offers = Offers::read(object);
        // AMF 3 peers send their commands as type 17; answers in AMF 0 are understood by all.
        let encoding = object.get("objectEncoding").and_then(amf::Value::as_number).unwrap_or(0.0);
        replies::connected(&mut self.connection, &self.config, command.transaction, encoding, &offers);
        self.events.push_back(Event::Connected {
            app: application.clone(),
            tc_url: text("tcUrl").map(str::to_owned),
            flash_version: text("flashVer").map(str::to_owned),
            enhanced: offers.any(),
        });
        self.application = Some(Application { name: application, query });
        Ok(())
    }

    fn create_stream(&mut self, command: &Command) -> Result<(), Error> {
        if self.next_message_stream > MESSAGE_STREAMS_MAX {
            return Err(Error::Command { what: "createStream over and over", at: command.at });
        }
        replies::result(&mut self.connection, command.transaction, f64::from(self.next_message_stream).into());
        self.next_message_stream += 1;
        Ok(())
    }

    fn publish(&mut self, command: &Command, message_stream: u32) -> Result<(), Error> {
        let Some((name, query)) = self.named(command) else {
            let description = "No stream is named: use rtmp://HOST/APP/NAME.";
            return self.refuse(message_stream, Rejection::PUBLISH_BAD_NAME, description);
        };
        if self.phase != Phase::Command {
            let description = "This connection carries a stream already: use a connection for each stream.";
            return self.refuse(message_stream, Rejection::PUBLISH_BAD_NAME, description);
        }
        let request = self.request();
        self.enter(Phase::PublishAsked { request, message_stream });
        self.clock = Default::default();
        let kind = command.text(2).unwrap_or("live").to_owned();
        let app = self.application.as_ref().map(|application| application.name.clone()).unwrap_or_default();
        self.events.push_back(Event::Publish { request, app, name, query, kind });
        Ok(())
    }

    fn play(&mut self, command: &Command, message_stream: u32) -> Result<(), Error> {
        // Flash players stop with play(false), and change streams by playing the next.
        self.stop_playing();
        if command.argument(1).and_then(amf::Value::as_bool) == Some(false) {
            return Ok(());
        }
        let Some((name, query)) = self.named(command) else {
            let description = "No stream is named: use rtmp://HOST/APP/NAME.";
            return self.refuse(message_stream, Rejection::PLAY_STREAM_NOT_FOUND, description);
        };
        if self.phase != Phase::Command {
            let description = "This connection publishes: use a connection for each stream.";
            return self.refuse(message_stream, Rejection::PLAY_FAILED, description);
        }
        // RTMP 1.0, 7.2.2.1: the reset flag is a boolean or a number, and set where absent.
        let start = command.argument(2).and_then(amf::Value::as_number);
        let reset = command.argument(4).and_then(amf::Value::as_bool).unwrap_or(true);
        let request = self.request();
        self.enter(Phase::PlayAsked { request, message_stream, reset });
        let app = self.application.as_ref().map(|application| application.name.clone()).unwrap_or_default();
        self.events.push_back(Event::Play { request, app, name, query, start_ms: start_ms(start) });
        Ok(())
    }

    /// The stream that a publish or play command names, with the queries of application and name. `None` without a name.
    fn named(&self, command: &Command) -> Option<(String, Option<String>)> {
        let (name, query) = name::stream(command.text(1)?);
        let application = self.application.as_ref()?;
        let query = name::merge_queries(application.query.as_deref(), query.as_deref());
        (!name.is_empty()).then_some((name, query))
    }

    fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// Refuses what the driver need not be asked for. What the connection carries already goes on.
    fn refuse(&mut self, message_stream: u32, code: &str, description: &str) -> Result<(), Error> {
        status(&mut self.connection, message_stream, "error", code, description);
        if self.phase == Phase::Command {
            self.enter(Phase::Closing);
        }
        Ok(())
    }

    fn pause(&mut self, command: &Command, message_stream: u32) -> Result<(), Error> {
        if !matches!(self.phase, Phase::Playing { .. }) {
            return Ok(());
        }
        let paused = command.argument(1).and_then(amf::Value::as_bool).unwrap_or(true);
        let (code, description) = match paused {
            true => ("NetStream.Pause.Notify", "Paused the stream."),
            false => ("NetStream.Unpause.Notify", "Resumed the stream."),
        };
        status(&mut self.connection, message_stream, "status", code, description);
        self.events.push_back(Event::PlayPause(paused));
        Ok(())
    }

    /// RTMP 1.0, 7.2.2.3: no answer.
    fn delete_stream(&mut self, command: &Command) -> Result<(), Error> {
        let deleted = command.argument(1).and_then(amf::Value::as_number);
        let current = self.message_stream().map(f64::from);
        if deleted.is_none() || deleted == current {
            self.stop_publishing(false);
            self.stop_playing();
        }
        Ok(())
    }

    fn close_stream(&mut self, message_stream: u32) -> Result<(), Error> {
        if self.message_stream() == Some(message_stream) {
            self.stop_publishing(true);
            self.stop_playing();
        }
        Ok(())
    }

    fn fc_unpublish(&mut self, command: &Command) -> Result<(), Error> {
        self.stop_publishing(true);
        replies::result(&mut self.connection, command.transaction, amf::Value::Undefined);
        Ok(())
    }

    fn stop_publishing(&mut self, answer: bool) {
        if let Phase::Publishing { message_stream, .. } | Phase::PublishAsked { message_stream, .. } = self.phase {
            self.enter(Phase::Command);
            if answer {
                replies::unpublish(&mut self.connection, message_stream, self.fc_publish);
            }
            self.fc_publish = false;
            self.events.push_back(Event::Unpublish);
        }
    }

    fn stop_playing(&mut self) {
        if matches!(self.phase, Phase::Playing { .. } | Phase::PlayAsked { .. }) {
            self.enter(Phase::Command);
            self.events.push_back(Event::PlayStop);
        }
    }

    /// The message stream in use.
    fn message_stream(&self) -> Option<u32> {
        self.phase.request().map(|(_, message_stream)| message_stream)
    }
}

/// Where to start: players send milliseconds, though RTMP 1.0, 7.2.2.1 says seconds; -2 (the default) and -1 are meant as written.
fn start_ms(start: Option<f64>) -> i64 {
    match start.unwrap_or(-2.0) {
        special if special == -1.0 || special == -2.0 => special as i64 * 1000,
        start => start as i64,
    }
}

/// A peer's word, short enough and plain enough for a log line.
pub(super) fn shown(word: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    word.chars().take(SHOWN_CHARS_MAX).map(plain).collect()
}
