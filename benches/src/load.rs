//! RTMP publishers and players, many in one thread.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Clock, Mono, SystemClock};
use bytes::{Bytes, BytesMut};
use protocols::rtmp::{
    ClientAction as Action, ClientConfig, ClientEvent, ClientOutput, ClientSession, MediaKind, chunk,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    Outcome,
    flv::{Clip, Tag},
};

/// A handshake and its commands must be through by then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const CHUNK_BYTES: usize = 60_000;

/// A connected session that has been granted its wish.
pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    pub(crate) session: ClientSession,
    clock: SystemClock,
}

/// Connects to `rtmp://127.0.0.1:PORT/APP/NAME` and waits for the server's consent.
pub(crate) async fn connect(port: u16, app: &str, name: &str, action: Action) -> Outcome<Peer> {
    timeout(CONNECT_TIMEOUT, dial(port, app, name, action)).await.map_err(|_| "the server did not answer in time")?
}

async fn dial(port: u16, app: &str, name: &str, action: Action) -> Outcome<Peer> {
    let clock = SystemClock::start();
    let config = ClientConfig::new(action, format!("rtmp://127.0.0.1:{port}/{app}"), app, name);
    let session = ClientSession::new(config, Mono::ZERO);
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.set_nodelay(true)?;
    let mut peer = Peer { socket, session, clock };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        while let Some(event) = peer.poll().await? {
            match event {
                ClientEvent::Ready => return Ok(peer),
                ClientEvent::Closed => return Err("closed by the server".into()),
                _ => {}
            }
        }
        let count = peer.socket.read(&mut buffer).await?;
        if count == 0 {
            return Err("closed by the server".into());
        }
        peer.session.handle_input(peer.clock.mono(), &buffer[..count])?;
    }
}

impl Peer {
    /// Sends what the session has to say; the next event, if there is one.
    pub(crate) async fn poll(&mut self) -> Outcome<Option<ClientEvent>> {
        loop {
            match self.session.poll_output() {
                ClientOutput::Transmit(bytes) => self.socket.write_all(&bytes).await?,
                ClientOutput::Event(event) => return Ok(Some(event)),
                ClientOutput::Timeout(_) => return Ok(None),
            }
        }
    }

    /// Feeds what the server sent.
    pub(crate) fn input(&mut self, bytes: &[u8]) -> Outcome<()> {
        Ok(self.session.handle_input(self.clock.mono(), bytes)?)
    }
}

fn serialise(out: &mut BytesMut, tag: &Tag, timestamp_ms: u32, message_stream: u32) {
    let (chunk_stream, message_type) = if tag.video { (6, 9) } else { (4, 8) };
    chunk::write_message(out, CHUNK_BYTES, chunk_stream, timestamp_ms, message_type, message_stream, &[&tag.body]);
}

/// Publishes the clip in real time, over and over, until `stop`. `sent` learns the time at which each video frame left.
pub(crate) async fn publish(
    port: u16,
    app: &str,
    name: &str,
    clip: Arc<Clip>,
    stop: Arc<AtomicBool>,
    sent: Option<Arc<FrameTimes>>,
) -> Outcome<()> {
    let mut peer = connect(port, app, name, Action::Publish).await?;
    let message_stream = peer.session.message_stream().ok_or("no message stream")?;
    let mut out = BytesMut::new();
    // Set Chunk Size (RTMP 1.0, 5.4.1), then the headers.
    chunk::write_message(&mut out, 128, 2, 0, 1, 0, &[&(CHUNK_BYTES as u32).to_be_bytes()]);
    clip.headers.iter().for_each(|tag| serialise(&mut out, tag, 0, message_stream));
    peer.socket.write_all(&out).await?;
    let begin = Instant::now();
    let mut drain = vec![0; 4_096];
    for round in 0_u32.. {
        for tag in &clip.frames {
            let timestamp_ms = round * clip.duration_ms + tag.timestamp_ms;
            sleep_until(begin + Duration::from_millis(timestamp_ms.into())).await;
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            out.clear();
            serialise(&mut out, tag, timestamp_ms, message_stream);
            if let (true, Some(sent)) = (tag.video, &sent) {
                sent.note(&tag.body);
            }
            peer.socket.write_all(&out).await?;
            // Acknowledgements are not needed; they must not pile up.
            while peer.socket.try_read(&mut drain).is_ok_and(|count| count > 0) {}
        }
    }
    Ok(())
}

/// When each video frame left the publisher. Frames are known by their bytes, as servers may shift timestamps.
pub(crate) struct FrameTimes {
    origin: std::time::Instant,
    times: Mutex<HashMap<u64, Duration>>,
}

impl FrameTimes {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { origin: std::time::Instant::now(), times: Mutex::default() })
    }

    fn note(&self, body: &[u8]) {
        let now = self.origin.elapsed();
        self.times.lock().expect("nobody panics with it").insert(fingerprint(body), now);
    }

    /// Time since the frame last left.
    fn since(&self, body: &[u8]) -> Option<Duration> {
        let sent = *self.times.lock().expect("nobody panics with it").get(&fingerprint(body))?;
        Some(self.origin.elapsed().saturating_sub(sent))
    }
}

/// The frame's length and its last bytes: the FLV header in front may be written anew.
fn fingerprint(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.len().hash(&mut hasher);
    body.get(body.len().saturating_sub(64)..).hash(&mut hasher);
    hasher.finish()
}

/// A player that throws everything away; counts bytes.
pub(crate) async fn discard(
    port: u16,
    app: &str,
    name: &str,
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
) -> Outcome<()> {
    let peer = connect(port, app, name, Action::Play).await?;
    let mut socket = peer.socket;
    let mut buffer = vec![0; 32 * 1024];
    while !stop.load(Ordering::Relaxed) {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            return Err("the server closed a player".into());
        }
        bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// A player that notes the delay of every video frame against the publisher's clock, while `measuring`.
pub(crate) async fn probe(
    port: u16,
    app: &str,
    name: &str,
    sent: Arc<FrameTimes>,
    measuring: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> Outcome<Vec<Duration>> {
    let mut peer = connect(port, app, name, Action::Play).await?;
    let mut delays = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while !stop.load(Ordering::Relaxed) {
        while let Some(event) = peer.poll().await? {
            if let ClientEvent::Media { kind: MediaKind::Video, body, .. } = event
                && measuring.load(Ordering::Relaxed)
                && let Some(delay) = sent.since(&body)
            {
                delays.push(delay);
            }
        }
        let count = peer.socket.read(&mut buffer).await?;
        if count == 0 {
            return Err("the server closed a probe".into());
        }
        peer.input(&buffer[..count])?;
    }
    Ok(delays)
}

/// Time from connecting to the first video frame.
pub(crate) async fn first_frame(port: u16, app: &str, name: &str) -> Outcome<Duration> {
    let begin = std::time::Instant::now();
    let mut peer = connect(port, app, name, Action::Play).await?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        while let Some(event) = peer.poll().await? {
            if let ClientEvent::Media { kind: MediaKind::Video, body, .. } = event
                && is_frame(&body)
            {
                return Ok(begin.elapsed());
            }
        }
        let count = timeout(CONNECT_TIMEOUT, peer.socket.read(&mut buffer)).await.map_err(|_| "no frame in time")??;
        if count == 0 {
            return Err("closed by the server".into());
        }
        peer.input(&buffer[..count])?;
    }
}

fn is_frame(body: &Bytes) -> bool {
    Tag { video: true, timestamp_ms: 0, body: body.clone() }.is_keyframe()
}
