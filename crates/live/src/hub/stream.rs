//! One stream: the ring for readers of frames, the presentation for readers over HTTP, and its life from the first
//! publisher to the end of the rewind window.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use base::{Clock, Mono, StreamId, Wall};
use media::{Sample, Track, TrackKind};
use packager::{Presentation, Role, TrackName};
use tokio::sync::{Notify, watch};

use super::{
    meter::Figures,
    ring::{Item, Ring},
};
use crate::{
    Config, ladder,
    lock::lock,
    rtmp::Fanout,
    telemetry::{Counters, StreamMetrics},
};

/// A stream and everything that reads from it. Cheap to share; locks are held for memory work only, never across an await.
///
/// Order of locks: the hub's streams, then `state`, then any one of the others.
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Arc<dyn Clock>,
    /// When the stream was created: the zero of its timeline.
    pub(crate) created: Wall,
    created_mono: Mono,
    pub(crate) counters: Counters,
    pub(crate) metrics: StreamMetrics,
    ring: Mutex<Ring>,
    /// Wakes readers of the ring.
    pub(crate) frames: Notify,
    presentation: Mutex<Presentation>,
    /// The presentation's version: wakes blocked HTTP answers.
    version: watch::Sender<u64>,
    pub(crate) fanout: Fanout,
    pub(crate) ladder: ladder::Slot,
    state: Mutex<State>,
    /// The thumbnail's worker, one at a time.
    pub(crate) thumbnail: tokio::sync::Mutex<crate::origin::Thumbnail>,
    ended: AtomicBool,
    /// Counts publishers; a delayed end applies only to the publisher it was meant for.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    publishing: bool,
    /// When the current or last publisher's first frames came.
    since: Option<Wall>,
    ended_at: Option<Wall>,
    figures: Figures,
    notices: Vec<String>,
    taken_over: Option<Arc<Notify>>,
}

/// What a person wants to know of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSummary {
    /// `APP/NAME`.
    pub id: StreamId,
    /// Whether an encoder is sending, or expected back within moments.
    pub live: bool,
    /// When the current (or last) publisher began.
    pub started_at: Option<Wall>,
    /// Ingest bit rate in kbit/s.
    pub kbps: u64,
    /// Measured ingest frame rate.
    pub frame_rate: f64,
    /// Measured keyframe distance.
    pub gop_ms: i64,
    /// Warnings for operators and viewers.
    pub notices: Vec<String>,
}

/// The presentation's track names: the source's picture and sound. Renditions are `v1`, `v2`, ….
pub(crate) fn track_name(kind: TrackKind) -> TrackName {
    let name = match kind {
        TrackKind::Video => "v0",
        TrackKind::Audio => "a0",
    };
    name.parse().expect("a constant track name is valid")
}

impl Stream {
    pub(crate) fn new(id: StreamId, config: Arc<Config>, clock: Arc<dyn Clock>, counters: Counters) -> Self {
        Self {
            counters,
            metrics: StreamMetrics::new(&id),
            created_mono: clock.mono(),
            presentation: Mutex::new(Presentation::new(config.packager())),
            fanout: Fanout::new(&config),
            created: clock.wall(),
            id,
            config,
            clock,
            ring: Mutex::default(),
            frames: Notify::new(),
            version: watch::Sender::new(0),
            ladder: ladder::Slot::default(),
            state: Mutex::default(),
            thumbnail: tokio::sync::Mutex::default(),
            ended: AtomicBool::new(false),
            generation: AtomicU64::new(0),
        }
    }

    /// The frames, for readers.
    pub(crate) fn ring(&self) -> MutexGuard<'_, Ring> {
        lock(&self.ring)
    }

    /// Reads or changes the presentation, and wakes blocked answers when that changed what they would say.
    pub(crate) fn present<T>(&self, work: impl FnOnce(&mut Presentation) -> T) -> T {
        let (result, version) = {
            let mut presentation = lock(&self.presentation);
            let result = work(&mut presentation);
            (result, presentation.version())
        };
        self.version.send_if_modified(|seen| std::mem::replace(seen, version) != version);
        result
    }

    /// Follows the presentation's version.
    pub(crate) fn watch_version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Whether the stream's playlists ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Time since the stream was created, in milliseconds, whatever happens to the machine's wall clock.
    pub(super) fn elapsed_ms(&self) -> i64 {
        let elapsed = self.clock.mono().since(self.created_mono);
        i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
    }

    /// Whether players may join: the stream is on air, or an encoder has just taken it.
    pub(crate) fn is_playable(&self) -> bool {
        !self.is_ended() || self.state().publishing
    }

    /// Whether viewers can have its Multivariant Playlist.
    pub(crate) fn is_watchable(&self) -> bool {
        self.present(|presentation| presentation.multivariant_playlist().is_ok())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Takes the publisher's place. `Err` when it is taken and may not be taken over.
    pub(super) fn occupy(&self) -> Result<(u64, Arc<Notify>), ()> {
        let mut state = self.state();
        if state.publishing {
            let Some(previous) = state.taken_over.as_ref().filter(|_| self.config.takeover) else { return Err(()) };
            previous.notify_one();
        }
        let taken_over = Arc::new(Notify::new());
        state.publishing = true;
        state.ended_at = None;
        state.notices.clear();
        state.taken_over = Some(taken_over.clone());
        Ok((self.generation.fetch_add(1, Ordering::AcqRel) + 1, taken_over))
    }

    /// Tells the publisher's connection to let go.
    pub(super) fn dismiss(&self) {
        if let Some(publisher) = &self.state().taken_over {
            publisher.notify_one();
        }
    }

    /// Whether `generation` is still the newest publisher.
    pub(crate) fn is_current(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Acquire) == generation
    }

    /// The timeline of a new publisher begins.
    pub(crate) fn begin(&self, tracks: &[Track]) -> Result<(), packager::Error> {
        let now = self.clock.wall();
        let mut state = self.state();
        state.since = Some(now);
        self.ended.store(false, Ordering::Release);
        self.ring().restart(tracks);
        self.frames.notify_waiters();
        let leader = tracks.iter().map(Track::kind).min();
        self.present(|presentation| {
            presentation.begin_epoch(now);
            tracks.iter().try_for_each(|track| {
                let role = if Some(track.kind()) == leader { Role::Leader } else { Role::Audio };
                presentation.set_track(&track_name(track.kind()), role, track.clone())
            })
        })
    }

    /// A track's configuration changed in mid-stream.
    pub(super) fn set_track(&self, track: Track) -> Result<(), packager::Error> {
        let kind = track.kind();
        let role =
            if kind == TrackKind::Video || self.ring().tracks().video.is_none() { Role::Leader } else { Role::Audio };
        self.ring().push_track(track.clone());
        self.frames.notify_waiters();
        self.ladder.push_track(&track);
        self.present(|presentation| presentation.set_track(&track_name(kind), role, track))
    }

    /// One frame of the source.
    pub(crate) fn push(&self, kind: TrackKind, name: &TrackName, sample: Sample) -> Result<(), packager::Error> {
        self.ring().push_sample(kind, sample.clone());
        self.frames.notify_waiters();
        self.ladder.push_sample(kind, &sample);
        self.present(|presentation| presentation.push(name, sample))
    }

    /// The publisher `generation` is gone: its last frames are published, and the stream waits for its return.
    pub(super) fn vacate(&self, generation: u64) -> bool {
        let mut state = self.state();
        if !self.is_current(generation) {
            return false;
        }
        state.publishing = false;
        state.taken_over = None;
        state.figures = Figures::default();
        self.metrics.ingest(&state.figures);
        self.ladder.stop();
        let now = self.clock.wall();
        self.present(|presentation| presentation.end_epoch(now));
        true
    }

    /// Ends the playlists and the players, unless another publisher came after `generation`.
    pub(super) fn finish(&self, generation: u64) -> bool {
        let mut state = self.state();
        if !self.is_current(generation) || state.publishing {
            return false;
        }
        state.ended_at = Some(self.clock.wall());
        self.ended.store(true, Ordering::Release);
        self.present(Presentation::end);
        self.ring().clear();
        self.fanout.end();
        self.frames.notify_waiters();
        true
    }

    /// Drops what left the rewind window.
    pub(super) fn expire(&self) {
        let now = self.clock.wall();
        self.present(|presentation| presentation.expire(now));
    }

    /// Whether all of the stream left the rewind window, or it ended without ever having had any frames.
    pub(super) fn is_expired(&self) -> bool {
        let window_ms = i64::from(self.config.packager().window_ms);
        let state = self.state();
        let age_ms = |ended: Wall| self.clock.wall().unix_ms() - ended.unix_ms();
        state.ended_at.is_some_and(|ended| state.since.is_none() || age_ms(ended) > window_ms)
    }

    pub(super) fn set_figures(&self, figures: Figures) {
        self.metrics.ingest(&figures);
        self.state().figures = figures;
    }

    /// Shows `notice` to operators and viewers; the same text only once. True when it is new.
    pub(crate) fn notice(&self, notice: String) -> bool {
        /// More than these would not be read.
        const NOTICES_MAX: usize = 8;
        let mut state = self.state();
        let new = !state.notices.contains(&notice) && state.notices.len() < NOTICES_MAX;
        if new {
            state.notices.push(notice);
        }
        new
    }

    pub(crate) fn summary(&self) -> StreamSummary {
        let state = self.state();
        StreamSummary {
            id: self.id.clone(),
            live: !self.is_ended() && state.since.is_some(),
            started_at: state.since,
            kbps: state.figures.kbps,
            frame_rate: state.figures.frame_rate,
            gop_ms: state.figures.gop_ms,
            notices: state.notices.clone(),
        }
    }

    /// The newest frames a reader that has seen everything before `from` has not seen, and where it stands then. A reader that
    /// fell off the ring continues at the newest keyframe, and is told so.
    pub(crate) fn read(&self, from: u64, mut each: impl FnMut(&Item)) -> ReadOutcome {
        let ring = self.ring();
        let (start, skipped) = match ring.since(from) {
            Some(_) => (from, false),
            None => (ring.entrance(), true),
        };
        if skipped {
            ring.tracks().iter().for_each(|track| each(&Item::Track(track.clone())));
        }
        if let Some(items) = ring.since(start) {
            items.for_each(each);
        }
        ReadOutcome { next: ring.end(), skipped }
    }
}

/// Where a reader of the ring stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadOutcome {
    pub(crate) next: u64,
    pub(crate) skipped: bool,
}
