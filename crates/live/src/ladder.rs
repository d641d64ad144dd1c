//! A stream's ladder: frames of the source to FFmpeg, renditions back into the presentation.

use std::sync::{Arc, Mutex, MutexGuard};

use media::{Sample, Track, TrackKind};
use packager::{Role, TrackName};
use tracing::{info, warn};
use transcode::{Event, Feed, Ladder, LadderEvents, Plan, Preset, Source};

use crate::{
    hub::{Hub, Stream, Tracks},
    lock::lock,
};

/// A stream's place for its ladder.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Running>>);

struct Running {
    ladder: Ladder,
    cost_cores: f64,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        lock(&self.0)
    }

    pub(crate) fn push_track(&self, track: &Track) {
        self.push(|| Feed::Track(track.clone()));
    }

    pub(crate) fn push_sample(&self, kind: TrackKind, sample: &Sample) {
        self.push(|| Feed::Sample(kind, sample.clone()));
    }

    fn push(&self, feed: impl FnOnce() -> Feed) {
        if let Some(running) = &*self.lock() {
            // What overflows is counted by the ladder itself, which goes on at the next keyframe.
            let _ = running.ladder.push(feed());
        }
    }

    /// Ends the ladder; its child is gone soon after.
    pub(crate) fn stop(&self) {
        self.lock().take();
    }

    fn cost_cores(&self) -> f64 {
        self.lock().as_ref().map_or(0.0, |running| running.cost_cores)
    }
}

/// Starts the ladder of a stream that just went on air, if the settings, the machine and the source allow one.
pub(crate) fn start(hub: &Arc<Hub>, stream: &Arc<Stream>, tracks: &Tracks, generation: u64) {
    let Some(video) = tracks.video.clone() else { return };
    let preset = match Preset::named(&hub.transcode.preset) {
        Ok(preset) => preset,
        Err(error) => return warn!(%error, "no ladder"),
    };
    let plan = plan(hub, &preset, Source { video, audio: tracks.audio.clone(), frame_rate: None, video_kbps: None });
    for dropped in &plan.dropped {
        info!(stream = %stream.id, rung = dropped.name, reason = dropped.reason, "rung left out");
    }
    if let Some(reason) = &plan.passthrough_only {
        info!(stream = %stream.id, reason, "no ladder: the source plays alone");
        if !preset.rungs.is_empty() {
            stream.notice(format!("no smaller renditions: {reason}"));
        }
        return;
    }
    let renditions = names(&plan).into_iter().zip(nominal_bitrates(&plan)).collect();
    let cost_cores = plan.cost_cores;
    info!(stream = %stream.id, renditions = plan.renditions.len(), cost_cores, "starting the ladder");
    let (ladder, events) = Ladder::start(plan, &hub.transcode, stream.id.as_str());
    *stream.ladder.lock() = Some(Running { ladder, cost_cores });
    hub.runtime().spawn(follow(hub.clone(), stream.clone(), generation, renditions, events));
}

/// What this machine has left for one more ladder.
fn plan(hub: &Hub, preset: &Preset, source: Source) -> Plan {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let taken: f64 = hub.all().iter().map(|stream| stream.ladder.cost_cores()).sum();
    let free = (cores - taken).max(0.0).floor() as usize;
    transcode::plan_with(&hub.transcode, preset, &source, &hub.capabilities, free)
}

/// The presentation's names of a plan's renditions: `v1`, `v2`, …; sound made by the ladder has no place yet.
fn names(plan: &Plan) -> Vec<Option<TrackName>> {
    let name = |(index, rendition): (usize, &transcode::Rendition)| {
        rendition.video().map(|_| format!("v{}", index + 1).parse().expect("a letter and a number are a track name"))
    };
    plan.renditions.iter().enumerate().map(name).collect()
}

/// The bit rates the encoder aims at, in bits per second: what is announced while too little was measured.
fn nominal_bitrates(plan: &Plan) -> Vec<u64> {
    let bits = |rendition: &transcode::Rendition| rendition.video().map_or(0, |video| u64::from(video.kbps) * 1_000);
    plan.renditions.iter().map(bits).collect()
}

/// Takes what the ladder says until it ends.
async fn follow(
    hub: Arc<Hub>,
    stream: Arc<Stream>,
    generation: u64,
    renditions: Vec<(Option<TrackName>, u64)>,
    mut events: LadderEvents,
) {
    let (names, bitrates): (Vec<Option<TrackName>>, Vec<u64>) = renditions.into_iter().unzip();
    let name = |rendition: usize| names.get(rendition).cloned().flatten();
    while let Some(event) = events.next().await {
        if !stream.is_current(generation) {
            return;
        }
        let result = match event {
            Event::Track { rendition, track } => {
                let Some(name) = name(rendition) else { continue };
                info!(stream = %stream.id, %name, codec = track.codec.rfc6381(), "rendition on air");
                let nominal = bitrates.get(rendition).copied().unwrap_or_default();
                let result = stream.present(|presentation| {
                    presentation.set_track(&name, Role::Rendition, track)?;
                    presentation.set_nominal_bitrate(&name, nominal);
                    Ok(())
                });
                hub.changed();
                result
            }
            Event::Sample { rendition, sample } => {
                let Some(name) = name(rendition) else { continue };
                stream.present(|presentation| presentation.push(&name, sample))
            }
            Event::Interrupted { reason } => {
                warn!(stream = %stream.id, reason, "the ladder was interrupted");
                let lost: Vec<TrackName> = names.iter().flatten().cloned().collect();
                let now = stream.clock.wall();
                stream.present(|presentation| presentation.interrupt(&lost, now));
                Ok(())
            }
            Event::Restarted { attempt } => {
                info!(stream = %stream.id, attempt, "the ladder was restarted");
                Ok(())
            }
            Event::Shed { rendition, reason } => {
                let Some(name) = name(rendition) else { continue };
                warn!(stream = %stream.id, %name, reason, "a rung was shed");
                stream.present(|presentation| presentation.remove_track(&name));
                stream.notice(format!("a rendition was taken off: {reason}"));
                hub.changed();
                Ok(())
            }
            Event::Failed { reason } => {
                warn!(stream = %stream.id, reason, "the ladder gave up: the source plays alone");
                stream.present(|presentation| names.iter().flatten().for_each(|name| presentation.remove_track(name)));
                stream.notice(format!("no smaller renditions: {reason}"));
                hub.changed();
                Ok(())
            }
            Event::Progress { .. } => Ok(()),
        };
        if let Err(error) = result {
            warn!(stream = %stream.id, error = %crate::telemetry::chain(&error), "a rendition's samples were refused");
        }
    }
}
