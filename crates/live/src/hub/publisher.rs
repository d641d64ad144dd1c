//! The one writer of a stream.

use std::sync::Arc;

use base::{Mono, StreamId, Timescale};
use media::{Sample, Track, TrackKind, flv::Unit};
use packager::TrackName;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{Hub, meter::Meter, ring::Tracks, stream::{Stream, track_name}};
use crate::{ladder, telemetry};

/// How long a publisher's first track waits for the other one, in media time.
const PREROLL_MS: i64 = 500;
/// Frames kept meanwhile: far above what half a second holds.
const PREROLL_FRAMES_MAX: usize = 1_024;
/// How long a picture track may go without a keyframe at its beginning.
const FIRST_KEYFRAME_MS_MAX: i64 = 15_000;

/// Why a stream cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Another publisher holds the stream.
    #[error("{0} is being published by another encoder; stop that one first, choose another name, or set live.takeover")]
    Taken(StreamId),
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
    #[error("no keyframe within {0} s")]
    NoKeyframe(u64),
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
    started: bool,
    seen_keyframe: bool,
    first_ms: Option<i64>,
    /// Added to the encoder's clock, so that the stream's timeline goes on when encoders come and go.
    offset_ms: i64,
    meter: Meter,
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
            started: false,
            seen_keyframe: false,
            first_ms: None,
            offset_ms: 0,
            meter: Meter::new(now),
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
        match unit {
            // Further tracks of a multitrack publisher have no place yet.
            Unit::Track { track_id: 0, track } => self.track(track),
            Unit::Sample { track_id: 0, sample } => self.sample(kind, sample, now),
            _ => Ok(()),
        }
    }

    fn track(&mut self, track: Track) -> Result<(), FeedError> {
        self.tracks.set(track.clone());
        if self.started {
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
        if !self.started {
            self.preroll.push((kind, sample));
            let complete = self.tracks_complete() || ms - first_ms >= PREROLL_MS || self.preroll.len() >= PREROLL_FRAMES_MAX;
            return if complete { self.start() } else { Ok(()) };
        }
        if kind == TrackKind::Video && !self.seen_keyframe {
            self.seen_keyframe = sample.sync;
            if !sample.sync && ms - first_ms > FIRST_KEYFRAME_MS_MAX {
                return Err(FeedError::NoKeyframe(FIRST_KEYFRAME_MS_MAX as u64 / 1_000));
            }
        }
        self.push(kind, sample)
    }

    fn measure(&mut self, kind: TrackKind, sample: &Sample, ms: i64, now: Mono) -> Result<(), FeedError> {
        let Some(figures) = self.meter.observe(kind, ms, sample, now) else { return Ok(()) };
        self.stream.set_figures(figures);
        telemetry::ingest(&self.stream.id, &figures);
        let limit = self.stream.config.publish_kbps_max;
        match self.meter.sustained_kbps() {
            Some(kbps) if kbps > u64::from(limit) => Err(FeedError::Bitrate { kbps, limit }),
            _ => Ok(()),
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
        let elapsed_ms = self.stream.clock.wall().unix_ms() - self.stream.created.unix_ms();
        self.offset_ms = elapsed_ms - self.first_ms.unwrap_or_default();
        self.stream.begin(&tracks)?;
        let codecs: Vec<String> = tracks.iter().map(|track| track.codec.rfc6381()).collect();
        info!(stream = %self.stream.id, codecs = codecs.join(","), "on air");
        ladder::start(&self.hub, &self.stream, &self.tracks, self.generation);
        self.hub.changed();
        for (kind, sample) in std::mem::take(&mut self.preroll) {
            self.seen_keyframe |= kind == TrackKind::Video && sample.sync;
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
        Ok(self.stream.push(kind, name, sample)?)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.hub.clone().unpublish(self.stream.clone(), self.generation);
    }
}
