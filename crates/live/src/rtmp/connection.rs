//! One RTMP connection: a thin loop between a socket and a sans-IO session.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    net::{Shutdown, SocketAddr},
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use base::{Mono, StreamId};
use bytes::Bytes;
use media::{TrackKind, flv};
use protocols::rtmp::{Event, MediaKind, Output, Rejection, RequestId, ServerConfig, ServerSession, amf};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    time::{Instant, Sleep},
};
use tracing::{debug, info, warn};

use super::{batch::Framing, fanout::Player};
use crate::{
    error::{ConnectionError, Peer},
    hub::{Hub, Publisher, Stream},
    keys::{self, Claim},
    pace::Pacer,
    telemetry,
};

/// What one read takes at most; one buffer per thread, so that a silent connection holds none.
const READ_BYTES_MAX: usize = 128 * 1024;
/// A peer must take what the session has to say within this time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer that was told why its connection ends has to read it: closing at once, with its bytes unread, would throw away
/// what it was told.
const LINGER: Duration = Duration::from_secs(2);
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
    Player {
        player: Arc<Player>,
        stream: Arc<Stream>,
    },
}

impl Role {
    /// Whether it is a player that its shard no longer serves.
    fn is_given_up(&self) -> bool {
        matches!(self, Self::Player { player, .. } if player.gone.load(Ordering::Relaxed))
    }
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
    input: OwnedReadHalf,
    output: Arc<OwnedWriteHalf>,
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
    let (input, output) = socket.into_split();
    let mut connection =
        Connection { input, output: Arc::new(output), peer, hub, session, role: Role::Guest, hold_until: None };
    let result = match connection.run().await {
        Err(ConnectionError::Stopped) => Ok(()),
        other => other,
    };
    if let Err(ConnectionError::Session(_)) = &result {
        connection.farewell().await;
    }
    connection.leave();
    match &result {
        Ok(()) => debug!(peer = %Peer(peer), "RTMP connection closed"),
        Err(error) => {
            telemetry::connection_error(error.label());
            match error {
                // Peers come and go.
                ConnectionError::Io(error) => debug!(peer = %Peer(peer), %error, "RTMP connection lost"),
                error => warn!(peer = %Peer(peer), error = %telemetry::chain(error), "RTMP connection ended"),
            }
        }
    }
    if result.is_err_and(|error| error.was_told()) {
        connection.linger().await;
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
                more = poll_fn(|cx| self.poll_read(cx)), if self.hold_until.is_none() => {
                    if !more? {
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
            Role::Publisher(ingest) if self.hub.is_stopping() => {
                info!(peer = %Peer(self.peer), stream = %ingest.stream, "the server stops: the publisher is asked to go");
                // The stream ends first: viewers learn it while they are still answered.
                drop(ingest);
                self.session.end_of_stream();
                self.farewell().await;
                self.linger().await;
                Ok(())
            }
            Role::Publisher(ingest) => {
                let stream = ingest.stream.clone();
                self.refuse(ingest.request, Rejection::PUBLISH_BAD_NAME, "another publisher took over".into()).await?;
                Err(ConnectionError::TakenOver { stream })
            }
            role @ Role::Player { .. } if role.is_given_up() => {
                self.role = role;
                self.leave();
                Ok(())
            }
            Role::Player { .. } => {
                self.session.end_of_stream();
                self.drain().await.map(|_| ())
            }
            Role::Guest => Ok(()),
        }
    }

    /// Reads once; false at the end of the connection. A read that does not fill the buffer has emptied the socket, which the
    /// runtime knows: there is one call to the system each time the peer sends something.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ConnectionError>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.input).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(false));
            }
            self.hub.counters.rtmp_in_bytes.increment(read.filled().len() as u64);
            self.session.handle_input(self.hub.clock.mono(), read.filled())?;
            Poll::Ready(Ok(true))
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
                self.output.writable().await?;
                match self.output.try_write(rest) {
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
            Event::Publish { request, app, name, query, .. } => {
                self.publish(request, &app, &name, query.as_deref()).await
            }
            Event::Play { request, app, name, .. } => self.play(request, &app, &name),
            Event::Metadata { values } => {
                self.metadata(&values);
                Ok(())
            }
            Event::Unpublish => {
                self.leave();
                Ok(())
            }
            // A part of a frame may be on its way: what else is sent would end up in it.
            Event::PlayStop => Err(ConnectionError::Stopped),
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

    async fn publish(
        &mut self,
        request: RequestId,
        app: &str,
        name: &str,
        query: Option<&str>,
    ) -> Result<(), ConnectionError> {
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
            Err(error) => self.refuse(request, Rejection::PUBLISH_BAD_NAME, error.to_string()).await,
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
        let found =
            StreamId::new(app, name).ok().and_then(|id| self.hub.stream(&id)).filter(|stream| stream.is_playable());
        let Some(stream) = found else {
            let why = format!("nobody publishes {app}/{name} at the moment");
            self.session.reject(request, Rejection::new(Rejection::PLAY_STREAM_NOT_FOUND, why));
            return Ok(());
        };
        self.session.accept(request);
        let Some(message_stream) = self.session.play_message_stream() else { return Ok(()) };
        let framing = Framing { chunk_size: self.session.out_chunk_size(), message_stream };
        let player = Player::new(self.output.clone(), framing);
        debug!(peer = %Peer(self.peer), stream = %stream.id, "playing over RTMP");
        // From here on everything goes through the shard, the session's answer to `play` first.
        self.role = Role::Player { player: player.clone(), stream: stream.clone() };
        self.session.send_metadata(0, &metadata(&stream));
        while let Output::Transmit(bytes) = self.session.poll_output() {
            player.control(bytes);
        }
        stream.fanout.join(&stream, player);
        if !stream.is_playable() {
            // It ended in this moment: nobody else would tell this player.
            stream.fanout.end();
        }
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

    /// Waits until the peer closes, or has had the time to read what it was told.
    async fn linger(&mut self) {
        if socket2::SockRef::from(self.output.as_ref().as_ref()).shutdown(Shutdown::Write).is_err() {
            return;
        }
        let discard = |connection: &mut Self, cx: &mut Context<'_>| {
            READ_BUFFER.with_borrow_mut(|buffer| {
                let mut read = ReadBuf::new(buffer);
                let more = ready!(Pin::new(&mut connection.input).poll_read(cx, &mut read)).is_ok();
                Poll::Ready(more && !read.filled().is_empty())
            })
        };
        let closed = async { while poll_fn(|cx| discard(self, cx)).await {} };
        let _ = tokio::time::timeout(LINGER, closed).await;
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
    fn take(
        &mut self,
        kind: MediaKind,
        timestamp_ms: i64,
        body: Bytes,
        now: Mono,
    ) -> Result<Duration, ConnectionError> {
        let media_error = |source| ConnectionError::Media { stream: self.stream.clone(), source };
        let (kind, units) = match kind {
            MediaKind::Video => (TrackKind::Video, self.reader.read_video(timestamp_ms, body)),
            MediaKind::Audio => (TrackKind::Audio, self.reader.read_audio(timestamp_ms, body)),
        };
        let units = units.map_err(media_error)?;
        for unit in units {
            self.publisher.feed(kind, unit, now).map_err(|error| ConnectionError::of_feed(error, &self.stream))?;
        }
        self.publisher.check_entrance(now).map_err(|error| ConnectionError::of_feed(error, &self.stream))?;
        Ok(self.pacer.observe(timestamp_ms, now))
    }
}

/// Also when its task panics or is cut off: the shard must not go on writing to a peer that nobody listens to.
impl Drop for Connection {
    fn drop(&mut self) {
        self.leave();
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
