//! One RTMP connection: a thin loop between a socket and a sans-IO session.

use std::{
    cell::RefCell,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base::{Mono, StreamId};
use bytes::Bytes;
use media::{TrackKind, flv};
use protocols::rtmp::{Event, MediaKind, Output, Rejection, RequestId, ServerConfig, ServerSession, amf};
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{Instant, Sleep},
};
use tracing::{debug, info, warn};

use super::{batch::Framing, fanout::Player};
use crate::{
    error::{ConnectionError, Peer},
    hub::{FeedError, Hub, PublishError, Publisher, Stream},
    keys::{self, Claim},
    pace::Pacer,
    telemetry,
};

/// What one read takes at most; one buffer per thread, so that a silent connection holds none.
const READ_BYTES_MAX: usize = 128 * 1024;
/// A peer must take what the session has to say within this time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Being ahead by this much more than allowed is worth a warning.
const AHEAD_NOTICE: Duration = Duration::from_millis(500);
/// A connection with nothing to wait for looks again after this time.
const IDLE: Duration = Duration::from_secs(60);

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES_MAX]);
}

/// What the peer does.
enum Role {
    /// Nothing yet.
    Guest,
    Publisher(Box<Ingest>),
    Player { player: Arc<Player>, stream: Arc<Stream> },
}

/// A publishing peer's way from FLV tags to the hub.
struct Ingest {
    request: RequestId,
    stream: StreamId,
    publisher: Publisher,
    reader: flv::Reader,
    pacer: Pacer,
}

pub(super) struct Connection {
    socket: Arc<TcpStream>,
    peer: SocketAddr,
    hub: Arc<Hub>,
    session: ServerSession,
    role: Role,
    /// Until when the publisher is not read from, because it is ahead of real time.
    hold_until: Option<Instant>,
}

/// Serves one accepted socket to its end, and says why it ended.
pub(super) async fn serve(hub: Arc<Hub>, socket: TcpStream, peer: SocketAddr) {
    // Frames to players are gathered here; the kernel must not wait for more.
    let _ = socket.set_nodelay(true);
    let session = ServerSession::new(ServerConfig::default(), hub.clock.mono());
    let mut connection =
        Connection { socket: Arc::new(socket), peer, hub, session, role: Role::Guest, hold_until: None };
    let result = connection.run().await;
    if let Err(ConnectionError::Session(_)) = &result {
        connection.farewell().await;
    }
    connection.leave();
    match result {
        Ok(()) => debug!(peer = %Peer(peer), "RTMP connection closed"),
        Err(error) => {
            telemetry::connection_error(error.label());
            warn!(peer = %Peer(peer), error = %telemetry::chain(&error), "RTMP connection ended");
        }
    }
}

impl Connection {
    async fn run(&mut self) -> Result<(), ConnectionError> {
        let timer = tokio::time::sleep(IDLE);
        tokio::pin!(timer);
        loop {
            let deadline = self.drain().await?;
            self.arm(timer.as_mut(), deadline);
            let released = self.released();
            tokio::select! {
                ready = self.socket.readable(), if self.hold_until.is_none() => {
                    ready?;
                    if !self.read()? {
                        return Ok(());
                    }
                }
                () = timer.as_mut() => self.timer_fired()?,
                () = async { released.as_ref().expect("the branch is guarded").notified().await }, if released.is_some() => {
                    return self.released_by_hub().await;
                }
            }
        }
    }

    /// Sets the timer to the earlier of the session's deadline and the end of a hold.
    fn arm(&self, timer: std::pin::Pin<&mut Sleep>, deadline: Option<Mono>) {
        let now = self.hub.clock.mono();
        let session = Instant::now() + deadline.map_or(IDLE, |deadline| deadline.since(now));
        let wanted = self.hold_until.map_or(session, |hold| hold.min(session));
        // Moving a timer costs; it may fire early, it may not fire late.
        if timer.is_elapsed() || wanted < timer.deadline() {
            timer.reset(wanted);
        }
    }

    fn timer_fired(&mut self) -> Result<(), ConnectionError> {
        if self.hold_until.is_some_and(|hold| hold <= Instant::now()) {
            self.hold_until = None;
        }
        Ok(self.session.handle_timeout(self.hub.clock.mono())?)
    }

    /// What ends this connection from the other side: a takeover of its stream, or the end of the stream it plays.
    fn released(&self) -> Option<Arc<Notify>> {
        match &self.role {
            Role::Guest => None,
            Role::Publisher(ingest) => Some(ingest.publisher.taken_over()),
            Role::Player { player, .. } => Some(player.released.clone()),
        }
    }

    async fn released_by_hub(&mut self) -> Result<(), ConnectionError> {
        match std::mem::replace(&mut self.role, Role::Guest) {
            Role::Publisher(ingest) => {
                let stream = ingest.stream.clone();
                self.refuse(ingest.request, Rejection::PUBLISH_BAD_NAME, "another publisher took over".into()).await?;
                Err(ConnectionError::TakenOver { stream })
            }
            Role::Player { player, .. } if !player.gone.load(Ordering::Relaxed) => {
                self.session.end_of_stream();
                self.drain().await.map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Reads once; false at the end of the connection.
    fn read(&mut self) -> Result<bool, ConnectionError> {
        let now = self.hub.clock.mono();
        READ_BUFFER.with_borrow_mut(|buffer| match self.socket.try_read(buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                telemetry::rtmp_bytes_in(count);
                self.session.handle_input(now, buffer.get(..count).unwrap_or_default())?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error.into()),
        })
    }

    /// Does what the session wants; returns its next deadline.
    async fn drain(&mut self) -> Result<Option<Mono>, ConnectionError> {
        loop {
            match self.session.poll_output() {
                Output::Transmit(bytes) => self.transmit(bytes).await?,
                Output::Event(event) => self.event(event).await?,
                Output::Timeout(deadline) => return Ok(deadline),
            }
        }
    }

    /// While frames flow to a player, protocol messages must go between them: through its shard.
    async fn transmit(&self, bytes: Bytes) -> Result<(), ConnectionError> {
        if let Role::Player { player, .. } = &self.role {
            player.control(bytes);
            return Ok(());
        }
        let write = async {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                self.socket.writable().await?;
                match self.socket.try_write(rest) {
                    Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        match tokio::time::timeout(WRITE_TIMEOUT, write).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ConnectionError::WriteTimeout { bytes: bytes.len(), seconds: WRITE_TIMEOUT.as_secs() }),
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), ConnectionError> {
        match event {
            Event::Media { kind, timestamp_ms, body } => self.media(kind, timestamp_ms, body).await,
            Event::Publish { request, app, name, query, .. } => self.publish(request, &app, &name, query.as_deref()).await,
            Event::Play { request, app, name, .. } => self.play(request, &app, &name),
            Event::Metadata { values } => {
                self.metadata(&values);
                Ok(())
            }
            Event::Unpublish | Event::PlayStop => {
                self.leave();
                Ok(())
            }
            Event::PlayPause(paused) => {
                if let Role::Player { player, .. } = &self.role {
                    player.paused.store(paused, Ordering::Relaxed);
                }
                Ok(())
            }
            Event::Connected { app, flash_version, .. } => {
                debug!(peer = %Peer(self.peer), app, encoder = flash_version, "RTMP connected");
                Ok(())
            }
            Event::Acknowledged { .. } => Ok(()),
            Event::Ignored { what } => {
                debug!(peer = %Peer(self.peer), what, "ignored");
                Ok(())
            }
        }
    }

    async fn publish(&mut self, request: RequestId, app: &str, name: &str, query: Option<&str>) -> Result<(), ConnectionError> {
        let key = query.and_then(keys::key_of);
        let claim = Claim { app, name, key: key.as_deref(), peer: self.peer.ip() };
        let stream = match keys::authorise(&self.hub.config, claim) {
            Ok(stream) => stream,
            Err(refusal) => return self.refuse(request, Rejection::PUBLISH_DENIED, refusal.to_string()).await,
        };
        match self.hub.publish(&stream) {
            Ok(publisher) => {
                info!(peer = %Peer(self.peer), %stream, "publishing over RTMP");
                self.session.accept(request);
                let now = self.hub.clock.mono();
                let pacer = Pacer::new(self.hub.config.ahead_ms_max, now);
                let ingest = Ingest { request, stream, publisher, reader: flv::Reader::new(), pacer };
                self.role = Role::Publisher(Box::new(ingest));
                Ok(())
            }
            Err(error @ (PublishError::Taken(_) | PublishError::Full(_))) => {
                self.refuse(request, Rejection::PUBLISH_BAD_NAME, error.to_string()).await
            }
        }
    }

    /// Tells the peer why, and ends the connection.
    async fn refuse(&mut self, request: RequestId, code: &'static str, why: String) -> Result<(), ConnectionError> {
        self.session.reject(request, Rejection::new(code, why.clone()));
        while let Output::Transmit(bytes) = self.session.poll_output() {
            self.transmit(bytes).await?;
        }
        Err(ConnectionError::Refused(why))
    }

    fn play(&mut self, request: RequestId, app: &str, name: &str) -> Result<(), ConnectionError> {
        let found = StreamId::new(app, name).ok().and_then(|id| self.hub.stream(&id)).filter(|stream| !stream.is_ended());
        let Some(stream) = found else {
            let why = format!("nobody publishes {app}/{name} at the moment");
            self.session.reject(request, Rejection::new(Rejection::PLAY_STREAM_NOT_FOUND, why));
            return Ok(());
        };
        self.session.accept(request);
        let Some(message_stream) = self.session.play_message_stream() else { return Ok(()) };
        let framing = Framing { chunk_size: self.session.out_chunk_size(), message_stream };
        let player = Player::new(self.socket.clone(), framing);
        debug!(peer = %Peer(self.peer), stream = %stream.id, "playing over RTMP");
        // From here on everything goes through the shard, the session's answer to `play` first.
        self.role = Role::Player { player: player.clone(), stream: stream.clone() };
        self.session.send_metadata(0, &metadata(&stream));
        while let Output::Transmit(bytes) = self.session.poll_output() {
            player.control(bytes);
        }
        stream.fanout.join(&stream, player);
        Ok(())
    }

    fn metadata(&mut self, values: &amf::Value) {
        if let Role::Publisher(ingest) = &mut self.role {
            let announced = |key| values.get(key).is_some();
            let (video, audio) = (announced("videocodecid"), announced("audiocodecid"));
            if video || audio {
                ingest.publisher.expect(video, audio);
            }
        }
    }

    async fn media(&mut self, kind: MediaKind, timestamp_ms: i64, body: Bytes) -> Result<(), ConnectionError> {
        let Role::Publisher(ingest) = &mut self.role else { return Ok(()) };
        let now = self.hub.clock.mono();
        match ingest.take(kind, timestamp_ms, body, now) {
            Ok(hold) if hold.is_zero() => Ok(()),
            Ok(hold) => {
                if hold > AHEAD_NOTICE {
                    ingest.publisher.notice(
                        "the encoder sends faster than real time; it is being slowed down (with FFmpeg, put -re before the input)".into(),
                    );
                }
                self.hold_until = Some(Instant::now() + hold);
                self.session.excuse_silence(now + hold);
                Ok(())
            }
            Err(error) => {
                let (request, why) = (ingest.request, telemetry::chain(&error));
                // The peer may be gone already: the reason that counts is the first one.
                let _ = self.refuse(request, Rejection::PUBLISH_REJECTED, why).await;
                Err(error)
            }
        }
    }

    /// Sends what the session says of the error that ended it; a peer that does not take it is not waited for.
    async fn farewell(&mut self) {
        while let Output::Transmit(bytes) = self.session.poll_output() {
            if self.transmit(bytes).await.is_err() {
                return;
            }
        }
    }

    /// Lets go of the stream.
    fn leave(&mut self) {
        match std::mem::replace(&mut self.role, Role::Guest) {
            Role::Player { player, stream } => {
                player.gone.store(true, Ordering::Relaxed);
                stream.frames.notify_waiters();
            }
            Role::Publisher(_) | Role::Guest => {}
        }
    }
}

impl Ingest {
    /// One FLV tag body into the hub; returns how long to hold the encoder back.
    fn take(&mut self, kind: MediaKind, timestamp_ms: i64, body: Bytes, now: Mono) -> Result<Duration, ConnectionError> {
        let media_error = |source| ConnectionError::Media { stream: self.stream.clone(), source };
        let (kind, units) = match kind {
            MediaKind::Video => (TrackKind::Video, self.reader.read_video(timestamp_ms, body)),
            MediaKind::Audio => (TrackKind::Audio, self.reader.read_audio(timestamp_ms, body)),
        };
        let units = units.map_err(media_error)?;
        for unit in units {
            self.publisher.feed(kind, unit, now).map_err(|error| match error {
                FeedError::Packaging(source) => ConnectionError::Packaging { stream: self.stream.clone(), source },
                FeedError::Bitrate { kbps, limit } => ConnectionError::Bitrate { stream: self.stream.clone(), kbps, limit },
                FeedError::NoKeyframe(seconds) => ConnectionError::NoKeyframe { stream: self.stream.clone(), seconds },
            })?;
        }
        Ok(self.pacer.observe(timestamp_ms, now))
    }
}

/// onMetaData for players, from what the stream is now.
fn metadata(stream: &Stream) -> Vec<(&'static str, amf::Value)> {
    let tracks = stream.ring().tracks().clone();
    let summary = stream.summary();
    let mut values = vec![("server", amf::Value::String(concat!("headwater/", env!("CARGO_PKG_VERSION")).into()))];
    let mut number = |key, value: f64| values.push((key, amf::Value::Number(value)));
    if let Some(video) = tracks.video.as_ref().and_then(|track| track.codec.video()) {
        number("width", video.width.into());
        number("height", video.height.into());
        number("framerate", summary.frame_rate.round());
    }
    if let Some(audio) = tracks.audio.as_ref().and_then(|track| track.codec.audio()) {
        number("audiosamplerate", audio.sample_rate.into());
        number("audiochannels", audio.channels.into());
    }
    values
}
