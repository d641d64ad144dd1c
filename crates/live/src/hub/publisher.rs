//! The one writer of a stream.

use std::{sync::Arc, time::Duration};

use base::{Mono, StreamId, Timescale};
use media::{Sample, Track, TrackKind, flv::Unit};
use packager::TrackName;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{
    Hub,
    meter::Meter,
    ring::{Ring, Tracks},
    stream::{Stream, track_name},
};
use crate::ladder;

/// How long a publisher's first track waits for the other one, in media time.
const PREROLL_MS: i64 = 500;
/// Frames kept meanwhile: far above what half a second holds.
const PREROLL_FRAMES_MAX: usize = 1_024;
/// Bytes kept meanwhile: half a second of 256 Mbit/s.
const PREROLL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a publisher may send without a frame that decoding can begin with.
const FIRST_KEYFRAME_MAX: Duration = Duration::from_secs(15);
/// A clock that moves by less than this in a second stands still, in milliseconds.
const CLOCK_STEP_MS_MIN: i64 = 100;
/// How many seconds in a row an encoder's clock may stand still: what it sends piles up in one segment meanwhile.
const CLOCK_STILL_SECONDS_MAX: u32 = 15;

/// Why a stream cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Another publisher holds the stream.
    #[error(
        "{0} is being published by another encoder; stop that one first, choose another name, or set live.takeover"
    )]
    Taken(StreamId),
    /// The node goes off air.
    #[error("this server is stopping; try again in a moment")]
    Stopping,
    /// The node is full.
    #[error("this server holds its {0} streams (live.streams_max)")]
    Full(u32),
}

/// Why a publisher's frames cannot be taken any longer.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The packager refuses.
    #[error("packaging")]
    Packaging(#[from] packager::Error),
    /// Too much per second.
    #[error("{kbps} kbit/s is over the limit of {limit} (live.publish_kbps_max)")]
    Bitrate {
        /// Measured over five seconds.
        kbps: u64,
        /// As configured.
        limit: u32,
    },
    /// Nothing can be decoded.
    #[error("no keyframe, or no decoder configuration, within {0} s")]
    NoKeyframe(u64),
    /// Nothing can be told apart in time.
    #[error("timestamps stood still for {0} s")]
    ClockStandsStill(u32),
    /// Another publisher has the stream now.
    #[error("another publisher took over")]
    TakenOver,
}

/// The one writer of a stream; dropping it unpublishes.
pub struct Publisher {
    hub: Arc<Hub>,
    stream: Arc<Stream>,
    generation: u64,
    taken_over: Arc<Notify>,
    names: [TrackName; 2],
    tracks: Tracks,
    expected: Expected,
    /// Frames that came before all tracks were known.
    preroll: Vec<(TrackKind, Sample)>,
    preroll_bytes: usize,
    started: bool,
    /// Whether viewers can have the stream: from its first complete part on.
    announced: bool,
    /// Whether a frame that decoding can begin with is still to come, and since when it is.
    waiting: bool,
    waiting_since: Option<Mono>,
    first_ms: Option<i64>,
    /// Added to the encoder's clock, so that the stream's timeline goes on when encoders come and go.
    offset_ms: i64,
    meter: Meter,
    /// Media time at the last full second, and for how many of them it stood still.
    clock_ms: i64,
    clock_still_seconds: u32,
}

/// Which tracks the encoder announced; `None` when it did not say.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    video: Option<bool>,
    audio: Option<bool>,
}

impl Publisher {
    pub(super) fn new(hub: Arc<Hub>, stream: Arc<Stream>, generation: u64, taken_over: Arc<Notify>) -> Self {
        let now = stream.clock.mono();
        Self {
            hub,
            generation,
            taken_over,
            names: [track_name(TrackKind::Video), track_name(TrackKind::Audio)],
            tracks: Tracks::default(),
            expected: Expected::default(),
            preroll: Vec::new(),
            preroll_bytes: 0,
            started: false,
            announced: false,
            waiting: true,
            waiting_since: None,
            first_ms: None,
            offset_ms: 0,
            meter: Meter::new(now),
            clock_ms: i64::MIN,
            clock_still_seconds: 0,
            stream,
        }
    }

    /// The stream's name.
    pub fn id(&self) -> &StreamId {
        &self.stream.id
    }

    /// Resolves when another publisher took over.
    pub(crate) fn taken_over(&self) -> Arc<Notify> {
        self.taken_over.clone()
    }

    /// Shows a warning about this publisher to operators and viewers.
    pub(crate) fn notice(&self, text: String) {
        if self.stream.notice(text.clone()) {
            warn!(stream = %self.stream.id, "{text}");
            self.hub.changed();
        }
    }

    /// What the encoder's metadata says of the tracks to come.
    pub fn expect(&mut self, video: bool, audio: bool) {
        self.expected = Expected { video: Some(video), audio: Some(audio) };
    }

    /// Takes what the encoder sent next.
    ///
    /// # Errors
    /// When the frames cannot be published; the publisher must then be dropped.
    pub fn feed(&mut self, kind: TrackKind, unit: Unit, now: Mono) -> Result<(), FeedError> {
        if !self.stream.is_current(self.generation) {
            return Err(FeedError::TakenOver);
        }
        match unit {
            // Further tracks of a multitrack publisher have no place yet.
            Unit::Track { track_id: 0, track } => self.track(track)?,
            Unit::Sample { track_id: 0, sample } => self.sample(kind, sample, now)?,
            // The end of a sequence is no end of the stream: the encoder says that by unpublishing.
            Unit::Track { .. } | Unit::Sample { .. } | Unit::End => {}
        }
        self.check_entrance(now)
    }

    /// Fails when a publisher that is there since long ago has sent nothing that decoding can begin with. To be called for
    /// whatever the encoder sends, also when no unit came of it.
    ///
    /// # Errors
    /// [`FeedError::NoKeyframe`].
    pub(crate) fn check_entrance(&mut self, now: Mono) -> Result<(), FeedError> {
        if self.waiting && now.since(*self.waiting_since.get_or_insert(now)) > FIRST_KEYFRAME_MAX {
            return Err(FeedError::NoKeyframe(FIRST_KEYFRAME_MAX.as_secs()));
        }
        Ok(())
    }

    fn track(&mut self, track: Track) -> Result<(), FeedError> {
        let first_picture = track.kind() == TrackKind::Video && self.tracks.video.is_none();
        self.tracks.set(track.clone());
        if self.started && first_picture {
            // A stream that began with sound alone: the picture leads from here on, on a timeline of its own.
            info!(stream = %self.stream.id, codec = track.codec.rfc6381(), "the picture came late");
            (self.started, self.announced, self.first_ms) = (false, false, None);
            (self.waiting, self.waiting_since) = (true, None);
        } else if self.started {
            info!(stream = %self.stream.id, codec = track.codec.rfc6381(), "track configuration changed");
            self.stream.set_track(track)?;
            self.hub.changed();
        }
        Ok(())
    }

    fn sample(&mut self, kind: TrackKind, sample: Sample, now: Mono) -> Result<(), FeedError> {
        let Some(track) = self.tracks.of(kind) else { return Ok(()) };
        let ms = track.timescale.to_ms(sample.dts);
        let first_ms = *self.first_ms.get_or_insert(ms);
        self.measure(kind, &sample, ms, now)?;
        if sample.sync && Ring::is_entrance(&self.tracks, kind) {
            self.waiting = false;
        }
        if self.started {
            return self.push(kind, sample);
        }
        self.preroll_bytes += sample.payload.len();
        self.preroll.push((kind, sample));
        let full = self.preroll.len() >= PREROLL_FRAMES_MAX || self.preroll_bytes >= PREROLL_BYTES_MAX;
        let complete = self.tracks_complete() || full || ms.abs_diff(first_ms) >= PREROLL_MS.unsigned_abs();
        if complete { self.start() } else { Ok(()) }
    }

    fn measure(&mut self, kind: TrackKind, sample: &Sample, ms: i64, now: Mono) -> Result<(), FeedError> {
        let figures = self.meter.observe(kind, ms, sample, now);
        let (kbps, limit) = (self.meter.sustained_kbps(), self.stream.config.publish_kbps_max);
        if kbps > u64::from(limit) {
            return Err(FeedError::Bitrate { kbps, limit });
        }
        let Some(figures) = figures else { return Ok(()) };
        self.stream.set_figures(figures);
        let moved = self.clock_ms.abs_diff(ms) >= CLOCK_STEP_MS_MIN.unsigned_abs();
        self.clock_ms = ms;
        self.clock_still_seconds = if moved { 0 } else { self.clock_still_seconds + 1 };
        match self.clock_still_seconds {
            0..CLOCK_STILL_SECONDS_MAX => Ok(()),
            seconds => Err(FeedError::ClockStandsStill(seconds)),
        }
    }

    /// Whether every track that can come is there.
    fn tracks_complete(&self) -> bool {
        let there = |track: &Option<Track>, expected: Option<bool>| track.is_some() || expected == Some(false);
        there(&self.tracks.video, self.expected.video) && there(&self.tracks.audio, self.expected.audio)
    }

    /// All tracks are known: the stream's timeline goes on from here.
    fn start(&mut self) -> Result<(), FeedError> {
        self.started = true;
        let tracks: Vec<Track> = self.tracks.iter().cloned().collect();
        self.offset_ms = self.stream.elapsed_ms() - self.first_ms.unwrap_or_default();
        self.stream.ladder.stop();
        self.stream.begin(&tracks)?;
        let codecs: Vec<String> = tracks.iter().map(|track| track.codec.rfc6381()).collect();
        info!(stream = %self.stream.id, codecs = codecs.join(","), "on air");
        ladder::start(&self.hub, &self.stream, &self.tracks, self.generation);
        self.preroll_bytes = 0;
        for (kind, sample) in std::mem::take(&mut self.preroll) {
            self.push(kind, sample)?;
        }
        Ok(())
    }

    fn push(&mut self, kind: TrackKind, mut sample: Sample) -> Result<(), FeedError> {
        let Some(track) = self.tracks.of(kind) else { return Ok(()) };
        sample.dts += base::time::rescale(self.offset_ms, Timescale::MS, track.timescale);
        let name = match kind {
            TrackKind::Video => &self.names[0],
            TrackKind::Audio => &self.names[1],
        };
        self.stream.push(kind, name, sample)?;
        if !self.announced && self.stream.is_watchable() {
            self.announced = true;
            self.hub.changed();
        }
        Ok(())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.hub.clone().unpublish(self.stream.clone(), self.generation);
    }
}
