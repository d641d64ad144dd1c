//! The handle that the live room owns, and what comes out of it.

use std::sync::{Arc, Mutex};

use media::{Sample, Track, TrackKind};
use thiserror::Error;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};

use crate::{
    Config, Plan,
    queue::{Limits, Queue},
    supervisor::Supervisor,
    telemetry,
};

/// Events between the supervisor and the live room: half a second of five renditions at 60 frames per second. A live room
/// that does not read makes FFmpeg wait, and in the end the input queue overflow.
const EVENTS_MAX: usize = 256;

/// What goes into a ladder.
#[derive(Clone, Debug)]
pub enum Feed {
    /// A track's configuration; a changed one restarts FFmpeg at the next keyframe.
    Track(Track),
    /// A sample, in decoding order. Sound is ignored unless the plan makes sound.
    Sample(TrackKind, Sample),
    /// What follows does not join what came before (the reader skipped): the ladder goes on at the next keyframe.
    KeyframeStart,
}

/// What comes out of a ladder. `rendition` is an index into [`Plan::renditions`].
#[derive(Clone, Debug)]
pub enum Event {
    /// A rendition's configuration: before its first sample, and when it changes.
    Track {
        /// Index into [`Plan::renditions`].
        rendition: usize,
        /// Its configuration.
        track: Track,
    },
    /// A sample on the source's timeline. A keyframe's presentation time equals that of the source's keyframe, in every rendition.
    Sample {
        /// Index into [`Plan::renditions`].
        rendition: usize,
        /// Pictures in 90 kHz, sound in its sample rate.
        sample: Sample,
    },
    /// About once a second while FFmpeg runs.
    Progress(Progress),
    /// The child ended or stalled and its output is interrupted; the next samples begin with a keyframe that was not
    /// delivered before.
    Interrupted {
        /// For people, with FFmpeg's last words.
        reason: String,
    },
    /// Output follows again after an interruption.
    Restarted {
        /// Restarts of this ladder so far.
        attempt: u32,
    },
    /// This rendition has ended because the machine is too slow for it; the others go on after an interruption.
    Shed {
        /// Index into [`Plan::renditions`].
        rendition: usize,
        /// For people.
        reason: String,
    },
    /// The ladder has ended: no FFmpeg, nothing to make, or given up. The source plays on alone.
    Failed {
        /// For people.
        reason: String,
    },
}

/// How the running child does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Pictures per second in the fastest rendition.
    pub fps: f64,
    /// Media time made per unit of time: 1.0 keeps up.
    pub speed: f64,
    /// How far the slowest rendition is behind the source, in milliseconds.
    pub lag_ms: u64,
    /// Pictures FFmpeg has made since it started, as it counts them.
    pub frames: u64,
    /// Pictures dropped by FFmpeg and by the ladder's own bounds.
    pub dropped: u64,
}

/// The input queue was full; the ladder skipped to a keyframe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("FFmpeg is too slow: {dropped_pictures} waiting pictures were dropped")]
pub struct Overflow {
    /// Pictures dropped.
    pub dropped_pictures: u64,
}

/// A running ladder. Dropping it kills the child.
#[derive(Debug)]
pub struct Ladder {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

/// The output of a [`Ladder`].
#[derive(Debug)]
pub struct LadderEvents {
    events: mpsc::Receiver<Event>,
}

/// What the handle, the writer and the supervisor share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Mutex<Queue>,
    pub(crate) filled: Notify,
    pub(crate) dropped: std::sync::atomic::AtomicU64,
    pub(crate) pid: std::sync::atomic::AtomicU32,
}

impl Ladder {
    /// Starts FFmpeg for `plan` and a task that watches over it; `stream` is for logs. A plan without renditions answers with
    /// [`Event::Failed`]. Must be called within a tokio runtime.
    pub fn start(plan: Plan, config: &Config, stream: &str) -> (Self, LadderEvents) {
        let limits = Limits { bytes_max: config.queue_bytes_max, ms_max: config.queue_ms_max };
        let audio = plan.source.audio.clone().filter(|_| plan.makes_audio());
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new(limits, plan.source.video.clone(), audio)),
            filled: Notify::new(),
            dropped: Default::default(),
            pid: Default::default(),
        });
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let (stop, stopped) = watch::channel(false);
        let supervisor = Supervisor::new(plan, config.clone(), stream.to_owned(), shared.clone(), events_in, stopped);
        let task = Some(tokio::spawn(supervisor.run()));
        (Self { shared, stop, task }, LadderEvents { events })
    }

    /// Gives the ladder something to work on; never blocks.
    ///
    /// # Errors
    /// [`Overflow`] when FFmpeg is so slow that waiting pictures had to be dropped; the ladder goes on at a keyframe.
    pub fn push(&self, unit: Feed) -> Result<(), Overflow> {
        let mut queue = self.shared.lock();
        let dropped_pictures = match unit {
            Feed::Track(track) => {
                queue.track(track);
                0
            }
            Feed::KeyframeStart => {
                queue.cut();
                0
            }
            Feed::Sample(kind, sample) => queue.push(kind, sample),
        };
        drop(queue);
        self.shared.filled.notify_one();
        if dropped_pictures == 0 {
            return Ok(());
        }
        self.shared.dropped.fetch_add(dropped_pictures, std::sync::atomic::Ordering::Relaxed);
        telemetry::overflow(dropped_pictures);
        Err(Overflow { dropped_pictures })
    }

    /// The process id of the running child, for operators and tests.
    pub fn pid(&self) -> Option<u32> {
        Some(self.shared.pid.load(std::sync::atomic::Ordering::Relaxed)).filter(|&pid| pid != 0)
    }

    /// Ends the input, gives FFmpeg a moment to finish what it has, then kills it. No child is left when this returns.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Ladder {
    fn drop(&mut self) {
        // The supervisor owns the child, which is killed when it is dropped.
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl LadderEvents {
    /// The next event; `None` after the last one.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
