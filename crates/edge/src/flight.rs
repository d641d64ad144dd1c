//! A fetch on its way, and everyone who reads from it.
//!
//! A [`Flight`] is filled by one [`Writer`] (the fetch, a task of its own) and read by any number of [`Reader`]s, on any core,
//! from its first byte whenever they come. Readers are woken by what happens; nothing polls. The lock is held to copy a
//! reference, never while waking.

mod waiting;

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use base::Mono;
use bytes::Bytes;
use http::Response;
use metrics::{Gauge, gauge};

use self::waiting::{Place, Waiting};
use crate::{
    Body, CacheStatus, OriginError,
    cache::Key,
    object::{Head, Object},
};

/// Parts of the table, so that cores seldom meet at one lock.
const TABLE_SHARDS: usize = 64;

/// What became of a fetch, known when its head is.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// The body follows, for everyone.
    Shared(Arc<Head>),
    /// An object that the cache holds answers: renewed by a 304, or stale in place of an error.
    Kept(Arc<Object>, CacheStatus),
    /// The answer is for one client: the first to call [`Reader::take_answer`]; the others fetch by themselves.
    Unshared,
    /// There is no answer.
    Failed(OriginError),
}

/// Bytes appended at most before readers are woken, so that a body which is always ready still streams.
const UNTOLD_BYTES_MAX: u64 = 256 * 1024;

/// All fetches on their way, by key.
pub(crate) struct Flights {
    shards: Box<[Shard]>,
    hasher: RandomState,
    gauge: Gauge,
}

type Shard = Mutex<HashMap<Key, Arc<Flight>>>;

/// What [`Flights::enter`] found.
pub(crate) enum Entered<T> {
    /// The answer had arrived meanwhile.
    Found(T),
    /// Somebody is fetching it.
    Joined(Reader),
    /// Nobody is: the caller starts the fetch with the writer, and reads like everyone.
    Lead(Reader, Writer),
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..TABLE_SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            gauge: gauge!("headwater_edge_inflight"),
        }
    }

    /// Joins the flight of `key` or starts one. `again` looks into the cache once more with the table's shard locked: a fetch
    /// stores its object before it leaves the table, so one of the two is seen.
    /// With `keep` the flight that is started goes on without readers.
    pub(crate) fn enter<T>(
        self: &Arc<Self>,
        key: &Key,
        now: Mono,
        limits: Limits,
        again: impl FnOnce() -> Option<T>,
    ) -> Entered<T> {
        let mut shard = lock(self.shard(key));
        if let Some(reader) = shard.get(key).and_then(|flight| Reader::join(flight, now)) {
            return Entered::Joined(reader);
        }
        if let Some(found) = again() {
            return Entered::Found(found);
        }
        let flight = Arc::new(Flight::new(key.clone(), limits));
        let reader = Reader::first(&flight);
        if shard.insert(key.clone(), flight.clone()).is_none() {
            self.gauge.increment(1);
        }
        Entered::Lead(reader, Writer { flight, table: self.clone() })
    }

    /// Whether somebody is fetching `key`.
    pub(crate) fn contains(&self, key: &Key) -> bool {
        lock(self.shard(key)).contains_key(key)
    }

    /// Ends the wait of everyone who has no head yet.
    pub(crate) fn fail_waiting(&self, error: &OriginError) {
        for shard in &self.shards {
            let flights: Vec<_> = lock(shard).values().cloned().collect();
            flights.iter().for_each(|flight| flight.fail_unless_decided(error));
        }
    }

    fn leave(&self, flight: &Arc<Flight>) {
        let mut shard = lock(self.shard(&flight.key));
        if shard.get(&flight.key).is_some_and(|present| Arc::ptr_eq(present, flight)) {
            shard.remove(&flight.key);
            self.gauge.decrement(1);
        }
    }

    fn shard(&self, key: &Key) -> &Shard {
        let hash = self.hasher.hash_one(key) as usize;
        &self.shards[hash % TABLE_SHARDS]
    }
}

/// Bounds of one flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes kept of its body. A longer body of unknown length is streamed on: newcomers fetch by themselves, the fetch stays
    /// at most this far ahead of its fastest reader, and a reader that falls behind by more is dropped.
    pub(crate) bytes_max: u64,
    /// Whether it goes on when nobody reads.
    pub(crate) keep: bool,
}

struct Flight {
    key: Key,
    started: Instant,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    verdict: Option<Verdict>,
    answer: Option<Response<Body>>,
    origin_time: Option<Duration>,
    chunks: VecDeque<Bytes>,
    /// Index of the first of `chunks` in the whole body.
    first: usize,
    /// Bytes of `chunks`.
    kept_bytes: u64,
    /// Bytes of the body so far.
    end: u64,
    /// Bytes appended since readers were woken.
    untold_bytes: u64,
    /// How far the fastest reader has read, in bytes.
    lead: u64,
    finish: Option<Result<(), OriginError>>,
    /// Nobody may join.
    closed: bool,
    /// More of the body has come than may be kept.
    overflown: bool,
    /// It goes on when nobody reads.
    keep: bool,
    cancelled: bool,
    readers: usize,
    waiting: Waiting,
    writer: Option<Waker>,
}

impl Flight {
    fn new(key: Key, limits: Limits) -> Self {
        let state = State { keep: limits.keep, readers: 1, ..State::default() };
        Self { key, started: Instant::now(), limits, state: Mutex::new(state) }
    }

    fn fail_unless_decided(&self, error: &OriginError) {
        let writer = self.change(|state| {
            if state.verdict.is_none() {
                state.verdict = Some(Verdict::Failed(error.clone()));
                state.closed = true;
                state.cancelled = true;
            }
            state.writer.take()
        });
        writer.into_iter().for_each(Waker::wake);
    }

    /// Changes the state, and wakes every waiting reader.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let out = self.set(change);
        self.wake();
        out
    }

    /// Changes the state; readers learn of it with the next wake.
    fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut lock(&self.state))
    }

    /// Wakes every waiting reader, outside the lock.
    fn wake(&self) {
        let waiting = self.set(|state| {
            state.untold_bytes = 0;
            state.waiting.take()
        });
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

/// One client's (or the renewal's) view of a flight.
pub(crate) struct Reader {
    flight: Arc<Flight>,
    next: usize,
    position: u64,
    place: Option<Place>,
}

impl Reader {
    fn first(flight: &Arc<Flight>) -> Self {
        Self { flight: flight.clone(), next: 0, position: 0, place: None }
    }

    fn join(flight: &Arc<Flight>, now: Mono) -> Option<Self> {
        let mut state = lock(&flight.state);
        let useful = match &state.verdict {
            None => true,
            // What is stale already is not for those who come now.
            Some(Verdict::Shared(head)) => head.freshness.is_fresh(now),
            Some(_) => false,
        };
        if state.closed || !useful {
            return None;
        }
        state.readers += 1;
        drop(state);
        Some(Self::first(flight))
    }

    /// Waits for the head.
    pub(crate) async fn verdict(&mut self) -> Verdict {
        std::future::poll_fn(|cx| self.poll_verdict(cx)).await
    }

    fn poll_verdict(&mut self, cx: &Context<'_>) -> Poll<Verdict> {
        let mut state = lock(&self.flight.state);
        match &state.verdict {
            Some(verdict) => Poll::Ready(verdict.clone()),
            None => {
                state.waiting.wait(&mut self.place, cx.waker());
                Poll::Pending
            }
        }
    }

    /// The answer of an unshared flight, for the first who asks.
    pub(crate) fn take_answer(&self) -> Option<Response<Body>> {
        lock(&self.flight.state).answer.take()
    }

    /// How long the origin took to begin its answer.
    pub(crate) fn origin_time(&self) -> Option<Duration> {
        lock(&self.flight.state).origin_time
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) fn poll_chunk(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, OriginError>>> {
        let mut state = lock(&self.flight.state);
        let Some(at) = self.next.checked_sub(state.first) else {
            return Poll::Ready(Some(Err(OriginError::Lagged)));
        };
        if let Some(chunk) = state.chunks.get(at).cloned() {
            self.next += 1;
            self.position += chunk.len() as u64;
            state.lead = state.lead.max(self.position);
            let writer = if state.overflown { state.writer.take() } else { None };
            drop(state);
            writer.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(chunk)));
        }
        match &state.finish {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error.clone()))),
            None => {
                state.waiting.wait(&mut self.place, cx.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = lock(&self.flight.state);
        state.waiting.forget(self.place.take());
        state.readers = state.readers.saturating_sub(1);
        if state.readers == 0 && !state.keep {
            state.closed = true;
            state.cancelled = true;
            let writer = state.writer.take();
            drop(state);
            writer.into_iter().for_each(Waker::wake);
        }
    }
}

/// The fetch's end of a flight. Dropped before its end, it tells everyone that the fetch was given up.
///
/// Readers are woken by [`Writer::tell`], at the end, and by every [`UNTOLD_BYTES_MAX`]: when the fetch would wait, not for each
/// piece. So a thousand readers of a small answer are woken once, and find its head and body together.
pub(crate) struct Writer {
    flight: Arc<Flight>,
    table: Arc<Flights>,
}

impl Writer {
    pub(crate) fn key(&self) -> &Key {
        &self.flight.key
    }

    /// The body follows. With `keep` it is read to its end even if nobody waits, because it will be stored.
    pub(crate) fn share(&self, head: Arc<Head>, keep: bool) {
        self.flight.set(|state| state.keep |= keep);
        self.decide(Verdict::Shared(head));
    }

    /// An object answers in place of a body.
    pub(crate) fn answer_kept(&self, object: Arc<Object>, status: CacheStatus) {
        self.decide(Verdict::Kept(object, status));
        self.finish(Ok(()));
    }

    /// The answer is for one client.
    pub(crate) fn hand_over(&self, answer: Response<Body>) {
        self.flight.set(|state| state.answer = Some(answer));
        self.decide(Verdict::Unshared);
        self.finish(Ok(()));
    }

    /// There is no (whole) answer.
    pub(crate) fn fail(&self, error: OriginError) {
        self.decide(Verdict::Failed(error.clone()));
        self.finish(Err(error));
    }

    /// Ready when a piece of `length` bytes may be appended: at once while the body can be kept, then when the fastest reader
    /// has read what must go to make room. From then on nobody may join, and the fetch lives as long as its readers.
    pub(crate) fn poll_room(&self, cx: &Context<'_>, length: usize) -> Poll<()> {
        let (length, bytes_max) = (length as u64, self.flight.limits.bytes_max);
        let mut state = lock(&self.flight.state);
        if state.kept_bytes.saturating_add(length) <= bytes_max {
            return Poll::Ready(());
        }
        let newly = !std::mem::replace(&mut state.overflown, true);
        state.closed = true;
        state.keep = false;
        state.cancelled |= state.readers == 0;
        let gone = state.end.saturating_add(length).saturating_sub(bytes_max).min(state.end);
        let is_room = state.lead >= gone;
        if !is_room {
            state.writer = Some(cx.waker().clone());
        }
        drop(state);
        if newly {
            self.table.leave(&self.flight);
        }
        if is_room {
            return Poll::Ready(());
        }
        self.tell();
        Poll::Pending
    }

    /// The next piece of the body, for which there is room.
    pub(crate) fn append(&self, chunk: Bytes) {
        let bytes_max = self.flight.limits.bytes_max;
        let untold_bytes = self.flight.set(|state| {
            let length = chunk.len() as u64;
            state.untold_bytes = state.untold_bytes.saturating_add(length);
            state.end = state.end.saturating_add(length);
            state.kept_bytes = state.kept_bytes.saturating_add(length);
            state.chunks.push_back(chunk);
            while state.kept_bytes > bytes_max && state.chunks.len() > 1 {
                let gone = state.chunks.pop_front().map_or(0, |gone| gone.len() as u64);
                state.kept_bytes = state.kept_bytes.saturating_sub(gone);
                state.first += 1;
            }
            state.untold_bytes
        });
        if untold_bytes >= UNTOLD_BYTES_MAX {
            self.tell();
        }
    }

    /// Wakes the readers: the fetch is about to wait.
    pub(crate) fn tell(&self) {
        self.flight.wake();
    }

    /// Whether all of the body so far is kept.
    pub(crate) fn is_whole(&self) -> bool {
        !lock(&self.flight.state).overflown
    }

    /// The pieces so far, for the cache.
    pub(crate) fn chunks(&self) -> Vec<Bytes> {
        lock(&self.flight.state).chunks.iter().cloned().collect()
    }

    /// The body is whole, or will not be.
    pub(crate) fn finish(&self, result: Result<(), OriginError>) {
        self.flight.change(|state| {
            state.finish.get_or_insert(result);
            state.closed = true;
        });
        self.table.leave(&self.flight);
    }

    /// Ready when nobody waits for this any more.
    pub(crate) fn poll_cancelled(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.flight.state);
        if state.cancelled {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn decide(&self, verdict: Verdict) {
        let origin_time = self.flight.started.elapsed();
        self.flight.set(|state| {
            state.origin_time.get_or_insert(origin_time);
            state.verdict.get_or_insert(verdict);
        });
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.fail(OriginError::Cancelled);
    }
}

/// A panic while the lock is held leaves a state that is still whole: each change is a few assignments.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::freshness::Freshness;

    const LIMITS: Limits = Limits { bytes_max: 10, keep: false };

    fn enter(table: &Arc<Flights>) -> Entered<()> {
        table.enter(&"/a".into(), Mono::ZERO, LIMITS, || None)
    }

    fn lead(table: &Arc<Flights>) -> (Reader, Writer) {
        match enter(table) {
            Entered::Lead(reader, writer) => (reader, writer),
            _ => panic!("somebody leads already"),
        }
    }

    fn join(table: &Arc<Flights>) -> Option<Reader> {
        match enter(table) {
            Entered::Joined(reader) => Some(reader),
            _ => None,
        }
    }

    fn head(lifetime_s: u64) -> Arc<Head> {
        let freshness = Freshness { lifetime: Duration::from_secs(lifetime_s), ..Freshness::default() };
        Arc::new(Head::new(StatusCode::OK, HeaderMap::new(), None, freshness))
    }

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn next(reader: &mut Reader) -> Poll<Option<Result<Bytes, OriginError>>> {
        reader.poll_chunk(&cx())
    }

    fn piece(text: &'static str) -> Poll<Option<Result<Bytes, OriginError>>> {
        Poll::Ready(Some(Ok(Bytes::from_static(text.as_bytes()))))
    }

    #[test]
    fn every_reader_reads_from_the_first_byte() {
        let table = Arc::new(Flights::new());
        let (mut first, writer) = lead(&table);
        assert!(first.poll_verdict(&cx()).is_pending());
        writer.share(head(9), true);
        assert!(matches!(first.poll_verdict(&cx()), Poll::Ready(Verdict::Shared(_))));
        writer.append("ab".into());
        assert_eq!(next(&mut first), piece("ab"));
        assert_eq!(next(&mut first), Poll::Pending);
        let mut second = join(&table).expect("a fresh body may be joined");
        assert_eq!(next(&mut second), piece("ab"));
        writer.finish(Ok(()));
        assert_eq!((next(&mut first), next(&mut second)), (Poll::Ready(None), Poll::Ready(None)));
        assert!(join(&table).is_none() && !table.contains(&"/a".into()));
    }

    #[test]
    fn what_is_stale_at_once_is_not_joined_once_it_is_known() {
        let table = Arc::new(Flights::new());
        let (_reader, writer) = lead(&table);
        let early = join(&table);
        assert!(early.is_some());
        writer.share(head(0), false);
        // Who comes now leads another flight, and the end of the first does not remove it.
        let (_another, _writer) = lead(&table);
        writer.finish(Ok(()));
        assert!(table.contains(&"/a".into()));
    }

    #[test]
    fn the_last_readers_end_ends_the_fetch_unless_it_will_be_stored() {
        let check = |keep: bool| {
            let table = Arc::new(Flights::new());
            let (reader, writer) = lead(&table);
            writer.share(head(9), keep);
            let other = join(&table);
            drop(reader);
            assert!(writer.poll_cancelled(&cx()).is_pending());
            drop(other);
            assert_eq!(writer.poll_cancelled(&cx()).is_ready(), !keep);
            assert_eq!(join(&table).is_some(), keep);
        };
        check(true);
        check(false);
    }

    #[test]
    fn a_body_too_long_to_be_kept_waits_for_its_fastest_reader_and_drops_its_slowest() {
        let table = Arc::new(Flights::new());
        let (mut fast, writer) = lead(&table);
        writer.share(head(9), true);
        let mut slow = join(&table).expect("a fresh body may be joined");
        let append = |text: &'static str| {
            let room = writer.poll_room(&cx(), text.len());
            room.map(|()| writer.append(Bytes::from_static(text.as_bytes())))
        };
        assert!(append("12345").is_ready() && append("67890").is_ready());
        assert!(writer.is_whole());
        assert!(append("abcde").is_pending(), "nobody has read the first piece");
        assert!(!writer.is_whole() && join(&table).is_none());
        assert_eq!(next(&mut fast), piece("12345"));
        assert!(append("abcde").is_ready(), "what the fastest has read may go");
        assert_eq!(next(&mut slow), Poll::Ready(Some(Err(OriginError::Lagged))));
        assert_eq!((next(&mut fast), next(&mut fast)), (piece("67890"), piece("abcde")));
        assert!(append("longer than everything that is kept").is_ready(), "nothing else is in the way");
        assert_eq!(next(&mut fast), piece("longer than everything that is kept"));
        drop((fast, slow));
        assert!(writer.poll_cancelled(&cx()).is_ready());
    }

    #[test]
    fn a_dropped_writer_tells_everyone() {
        let table = Arc::new(Flights::new());
        let (mut reader, writer) = lead(&table);
        drop(writer);
        assert!(matches!(reader.poll_verdict(&cx()), Poll::Ready(Verdict::Failed(OriginError::Cancelled))));
        assert!(!table.contains(&"/a".into()));
    }
}
