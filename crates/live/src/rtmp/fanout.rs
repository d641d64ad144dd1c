//! Delivery of one stream's frames to its RTMP players.
//!
//! A shard serves some hundred players from one task: it gathers frames for a few hundredths of a second when there are many
//! players, serialises them once, and writes the same bytes to every socket. The cost of a player is the number of writes,
//! hardly the bytes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    net::tcp::OwnedWriteHalf,
    sync::{Notify, mpsc},
};

use super::{
    batch::{Batch, Builder, Framing},
    player::{Delivery, Lag, Queue},
};
use crate::{
    Config,
    hub::{Item, Stream, Tracks},
    lock::lock,
};

/// Players served by one task.
const SHARD_PLAYERS_MAX: usize = 500;
/// Players waiting to be seated, per shard.
const JOINS_MAX: usize = SHARD_PLAYERS_MAX;
/// Up to this many players frames are sent at once: there is nothing to gain by gathering.
const PLAYERS_AT_ONCE: usize = 16;
/// Gathering longer would be seen: the platform promises at most 50 ms.
const GATHER_MS_MAX: u32 = 50;
/// Most bytes of protocol messages that wait for one player: acknowledgements and answers to pings are some tens each.
const CONTROL_BYTES_MAX: usize = 64 * 1024;
/// How soon a player that could not take everything is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// A player as its connection and its shard see it.
pub(crate) struct Player {
    pub(crate) socket: Arc<OwnedWriteHalf>,
    pub(crate) framing: Framing,
    /// Protocol messages from the session, to be sent between frames.
    control: Mutex<Vec<Bytes>>,
    /// Bytes of protocol messages since everything was last sent.
    control_bytes: AtomicUsize,
    /// The connection is over.
    pub(crate) gone: AtomicBool,
    /// The player paused: frames are left out until it resumes.
    pub(crate) paused: AtomicBool,
    /// Wakes the connection: the stream ended, or the shard gave the player up.
    pub(crate) released: Arc<Notify>,
}

impl Player {
    pub(crate) fn new(socket: Arc<OwnedWriteHalf>, framing: Framing) -> Arc<Self> {
        Arc::new(Self {
            socket,
            framing,
            control: Mutex::default(),
            control_bytes: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            released: Arc::default(),
        })
    }

    /// Queues a protocol message; it goes out between frames. A player that asks for answers and does not take them is given up.
    pub(crate) fn control(&self, message: Bytes) {
        if self.control_bytes.fetch_add(message.len(), Ordering::Relaxed) > CONTROL_BYTES_MAX {
            self.give_up();
        } else {
            lock(&self.control).push(message);
        }
    }

    fn take_control(&self) -> Vec<Bytes> {
        std::mem::take(&mut lock(&self.control))
    }

    /// Ends the player from the sending side.
    fn give_up(&self) {
        self.gone.store(true, Ordering::Relaxed);
        self.released.notify_one();
    }
}

/// The shards of one stream.
pub(crate) struct Fanout {
    shards: Mutex<Vec<Shard>>,
    gather: Duration,
    lag: Lag,
}

struct Shard {
    joins: mpsc::Sender<Arc<Player>>,
    players: Arc<AtomicUsize>,
}

impl Fanout {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            shards: Mutex::default(),
            gather: Duration::from_millis(config.gather_ms.min(GATHER_MS_MAX).into()),
            lag: Lag {
                max: Duration::from_millis(config.reader_lag_ms_max.into()),
                bytes_max: usize::try_from(config.reader_lag_bytes_max).unwrap_or(usize::MAX),
            },
        }
    }

    /// Seats `player`; frames flow to it from the newest keyframe on.
    pub(crate) fn join(&self, stream: &Arc<Stream>, player: Arc<Player>) {
        let mut shards = lock(&self.shards);
        let free = |shard: &&Shard| shard.players.load(Ordering::Relaxed) < SHARD_PLAYERS_MAX;
        if let Some(shard) = shards.iter().find(free)
            && shard.seat(player.clone())
        {
            return;
        }
        let (joins, receiver) = mpsc::channel(JOINS_MAX);
        let players = Arc::new(AtomicUsize::new(0));
        let shard = Shard { joins, players: players.clone() };
        tokio::spawn(Server::new(stream.clone(), players, self.gather, self.lag).run(receiver));
        shard.seat(player);
        shards.push(shard);
    }

    /// Number of players.
    pub(crate) fn players(&self) -> usize {
        let shards = lock(&self.shards);
        shards.iter().map(|shard| shard.players.load(Ordering::Relaxed)).sum()
    }

    /// The stream is over: shards release their players and stop.
    pub(crate) fn end(&self) {
        lock(&self.shards).clear();
    }
}

impl Shard {
    fn seat(&self, player: Arc<Player>) -> bool {
        self.players.fetch_add(1, Ordering::Relaxed);
        let seated = self.joins.try_send(player).is_ok();
        if !seated {
            self.players.fetch_sub(1, Ordering::Relaxed);
        }
        seated
    }
}

struct Seat {
    player: Arc<Player>,
    queue: Queue,
}

/// The task behind a shard.
struct Server {
    stream: Arc<Stream>,
    seats: Vec<Seat>,
    count: Arc<AtomicUsize>,
    gather: Duration,
    lag: Lag,
    /// The next frame to send.
    cursor: u64,
    /// The configurations of the frames there.
    tracks: Tracks,
}

impl Server {
    fn new(stream: Arc<Stream>, count: Arc<AtomicUsize>, gather: Duration, lag: Lag) -> Self {
        let (cursor, tracks) = {
            let ring = stream.ring();
            (ring.end(), ring.tracks().clone())
        };
        Self { stream, seats: Vec::new(), count, gather, lag, cursor, tracks }
    }

    async fn run(mut self, mut joins: mpsc::Receiver<Arc<Player>>) {
        let mut behind = false;
        loop {
            if !self.wait(&mut joins, behind).await {
                break;
            }
            if self.seats.len() > PLAYERS_AT_ONCE && !self.gather.is_zero() {
                tokio::time::sleep(self.gather).await;
            }
            while let Ok(player) = joins.try_recv() {
                self.seat(player);
            }
            behind = self.deliver();
        }
        while let Ok(player) = joins.try_recv() {
            self.seat(player);
        }
    }

    /// Waits until there is something to do; false when the stream is over.
    async fn wait(&mut self, joins: &mut mpsc::Receiver<Arc<Player>>, behind: bool) -> bool {
        let stream = self.stream.clone();
        let frames = stream.frames.notified();
        tokio::pin!(frames);
        frames.as_mut().enable();
        if !self.seats.is_empty() && stream.ring().end() != self.cursor {
            return !joins.is_closed();
        }
        tokio::select! {
            player = joins.recv() => match player {
                Some(player) => self.seat(player),
                None => return false,
            },
            () = frames, if !self.seats.is_empty() => {}
            () = tokio::time::sleep(RETRY), if behind => {}
        }
        true
    }

    /// A new player gets the configurations, and the GOP up to where the others are.
    fn seat(&mut self, player: Arc<Player>) {
        let now = self.stream.clock.mono();
        let mut queue = Queue::new(now);
        let (tracks, gop) = {
            let ring = self.stream.ring();
            if self.seats.is_empty() {
                (self.cursor, self.tracks) = (ring.end(), ring.tracks().clone());
            }
            let from = ring.entrance();
            let count = usize::try_from(self.cursor.saturating_sub(from)).unwrap_or(usize::MAX);
            // Shared payloads: the publisher does not wait while they are copied.
            let gop: Vec<Item> = ring.since(from).into_iter().flatten().take(count).cloned().collect();
            (ring.tracks().clone(), gop)
        };
        let mut builder = Builder::new(player.framing, tracks);
        if gop.is_empty() {
            // The newest keyframe is still to be sent to the others, or to come.
            queue.await_entrance();
        } else {
            builder.headers();
        }
        gop.iter().for_each(|item| builder.item(item));
        if !gop.is_empty() {
            let lag = Lag { bytes_max: usize::MAX, ..self.lag };
            queue.media(&builder.finish(), lag, now);
        }
        self.seats.push(Seat { player, queue });
    }

    /// Sends what is new; true when some player could not take everything.
    fn deliver(&mut self) -> bool {
        let now = self.stream.clock.mono();
        let batches = self.batches();
        let (lag, mut behind, mut bytes_out, mut skips) = (self.lag, false, 0, 0);
        let seats = self.seats.len();
        self.seats.retain_mut(|seat| {
            let Seat { player, queue } = seat;
            player.take_control().into_iter().for_each(|message| queue.control(message));
            let before = queue.skips;
            match batches.iter().find(|(framing, _)| *framing == player.framing) {
                _ if player.paused.load(Ordering::Relaxed) => queue.await_entrance(),
                Some((_, batch)) => queue.media(batch, lag, now),
                None => {}
            }
            skips += queue.skips - before;
            let delivery = match player.gone.load(Ordering::Relaxed) {
                true => Delivery::Gone,
                false => queue.flush(now, |bytes| player.socket.try_write(bytes).inspect(|sent| bytes_out += sent)),
            };
            match delivery {
                Delivery::Done => player.control_bytes.store(0, Ordering::Relaxed),
                Delivery::Behind => behind = true,
                Delivery::Gone => player.give_up(),
            }
            delivery != Delivery::Gone
        });
        let counters = &self.stream.counters;
        counters.rtmp_out_bytes.increment(bytes_out as u64);
        if skips > 0 {
            counters.reader_skips.increment(skips);
        }
        self.count.fetch_sub(seats - self.seats.len(), Ordering::Relaxed);
        behind
    }

    /// The frames since the cursor, once for each framing in use.
    fn batches(&mut self) -> Vec<(Framing, Batch)> {
        let mut builders: Vec<(Framing, Builder)> = Vec::new();
        for seat in &self.seats {
            let framing = seat.player.framing;
            if !builders.iter().any(|(known, _)| *known == framing) {
                builders.push((framing, Builder::new(framing, self.tracks.clone())));
            }
        }
        let mut items = Vec::new();
        let outcome = self.stream.read(self.cursor, |item| items.push(item.clone()));
        self.cursor = outcome.next;
        if items.is_empty() {
            return Vec::new();
        }
        if outcome.skipped {
            // The whole shard fell off the ring.
            self.seats.iter_mut().for_each(|seat| seat.queue.skip(self.stream.clock.mono()));
            self.stream.counters.reader_skips.increment(self.seats.len() as u64);
        }
        for item in &items {
            builders.iter_mut().for_each(|(_, builder)| builder.item(item));
            if let Item::Track(track) = item {
                self.tracks.set(track.clone());
            }
        }
        builders.into_iter().map(|(framing, builder)| (framing, builder.finish())).collect()
    }
}

/// Also when the shard's task panics: its connections must not wait for frames that nobody sends.
impl Drop for Server {
    fn drop(&mut self) {
        self.seats.iter().for_each(|seat| seat.player.released.notify_one());
    }
}
