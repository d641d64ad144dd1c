//! Keeps a ladder going: one child after another, judged by what they make.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use base::{Clock, Mono, SystemClock};
use media::{Sample, Track};
use tokio::{
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};

use crate::{
    Config, Event, Plan, Progress, Rendition,
    backoff::Backoff,
    gate::Gate,
    ladder::Shared,
    plan::costliest,
    run::{Next, Run, Start},
    telemetry::{self, Cause},
    watch::{Position, Verdict, Watch},
    wire::Made,
};

/// How often a child is judged, in milliseconds.
const TICK_MS: u64 = 100;
/// How often progress is told, in milliseconds.
const PROGRESS_MS: u64 = 1_000;
/// How long FFmpeg may take to finish what it has at a stop, and what a dead child left in its sockets, in milliseconds.
const DRAIN_MS_MAX: u64 = 1_000;

/// The task behind a [`crate::Ladder`].
pub(crate) struct Supervisor {
    plan: Plan,
    config: Config,
    stream: String,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    stopped: watch::Receiver<bool>,
    clock: SystemClock,
    /// Indexes of the renditions still made.
    active: Vec<usize>,
    tracks: Vec<Option<Track>>,
    gate: Gate,
    timeline: u64,
    interrupted: bool,
    restarts: u32,
}

/// Why a child's time was over.
enum End {
    /// The ladder was stopped, or nobody listens any more.
    Over,
    /// The source changed: a new child begins at the next keyframe.
    Source(&'static str),
    /// The machine is too slow.
    Behind { lag_ms: u64, speed: f64 },
    /// It failed, after delivering for some time or never.
    Failed { cause: Cause, reason: String, delivered_for: Option<Duration> },
}

/// What is known of the child that runs.
struct Reading {
    watch: Watch,
    outputs: Vec<Option<i64>>,
    made: Vec<u64>,
    first_delivered: Option<Mono>,
    told: Mono,
    told_made: Vec<u64>,
}

impl Supervisor {
    pub(crate) fn new(
        plan: Plan,
        config: Config,
        stream: String,
        shared: Arc<Shared>,
        events: mpsc::Sender<Event>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let count = plan.renditions.len();
        Self {
            plan,
            config,
            stream,
            shared,
            events,
            stopped,
            clock: SystemClock::start(),
            active: (0..count).collect(),
            tracks: vec![None; count],
            gate: Gate::new(count),
            timeline: 0,
            interrupted: false,
            restarts: 0,
        }
    }

    /// Runs until the ladder is stopped, dropped, or has failed.
    pub(crate) async fn run(mut self) {
        if let Some(reason) = self.plan.passthrough_only.take() {
            telemetry::passthrough(&self.stream, &reason);
            self.send(Event::Failed { reason }).await;
            return;
        }
        let _running = telemetry::Running::new();
        let mut backoff = Backoff::new(&self.config);
        loop {
            let end = self.one_child().await;
            self.shared.pid.store(0, Ordering::Relaxed);
            let going_on = match end {
                End::Over => false,
                End::Source(reason) => self.interrupt(Cause::Source, reason.to_owned()).await,
                End::Behind { lag_ms, speed } => self.shed(lag_ms, speed).await,
                End::Failed { cause, reason, delivered_for } => {
                    let wait = backoff.next(delivered_for);
                    self.recover(cause, reason, wait).await
                }
            };
            if !going_on {
                return;
            }
        }
    }

    async fn one_child(&mut self) -> End {
        let (epoch, tracks) = self.open_queue();
        let plan = self.plan.clone();
        let Some(tool) = &plan.tool else {
            return self.cannot_start("the plan has renditions but no FFmpeg".into());
        };
        let start = Start {
            plan: &plan,
            tool,
            config: &self.config,
            active: &self.active,
            epoch: &epoch,
            tracks,
            shared: self.shared.clone(),
            stopped: self.stopped.clone(),
        };
        let mut run = match Run::start(start).await {
            Ok(run) => run,
            Err(error) => return self.cannot_start(chain(&error)),
        };
        self.shared.pid.store(run.pid().unwrap_or(0), Ordering::Relaxed);
        let names: Vec<_> = self.active_renditions().map(|rendition| rendition.name.as_str()).collect();
        telemetry::started(&self.stream, run.pid().unwrap_or(0), &names);
        let end = self.watch_over(&mut run).await;
        run.kill().await;
        end
    }

    fn cannot_start(&self, reason: String) -> End {
        End::Failed { cause: Cause::Start, reason, delivered_for: None }
    }

    /// Puts the queue and the gate where a new child begins.
    fn open_queue(&mut self) -> (crate::queue::Epoch, (Track, Option<Track>)) {
        let mut queue = self.shared.lock();
        let epoch = queue.epoch().clone();
        if epoch.timeline != self.timeline {
            self.timeline = epoch.timeline;
            self.gate.forget();
        }
        self.gate.shut();
        // The first child is given everything that waits; a later one has no time to catch up with what nobody misses.
        if self.restarts > 0 {
            queue.rewind(self.gate.delivered_pts());
        }
        (epoch, queue.tracks())
    }

    async fn watch_over(&mut self, run: &mut Run) -> End {
        let mut reading =
            Reading::new(&self.config, self.plan.renditions.len(), self.shared.lock().pushed(), self.clock.mono());
        let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drain_until: Option<Mono> = None;
        let mut stopped = self.stopped.clone();
        let mut over = *stopped.borrow();
        loop {
            let next = tokio::select! {
                biased;
                // An error means that the handle was dropped, which aborts this task anyway.
                _ = stopped.changed(), if !over => { over = true; continue }
                next = run.next() => next,
                _ = ticks.tick() => {
                    if over || run.has_exited() {
                        let until = *drain_until.get_or_insert(self.clock.mono() + Duration::from_millis(DRAIN_MS_MAX));
                        if self.clock.mono() >= until {
                            return self.ended(run, &reading, over);
                        }
                    } else if let Some(end) = self.tick(run, &mut reading).await {
                        return end;
                    }
                    continue;
                }
            };
            match next {
                Next::Made(rendition, made) => {
                    if !self.deliver(rendition, made, &mut reading).await {
                        return End::Over;
                    }
                }
                Next::EpochOver => return End::Source(self.shared.lock().epoch().reason),
                Next::Exited => return self.ended(run, &reading, over),
                Next::Broken(error) => {
                    let reason = format!("{}; {}", chain(&error), run.last_words());
                    return self.failed(Cause::Exit, reason, &reading);
                }
            }
        }
    }

    fn ended(&self, run: &Run, reading: &Reading, over: bool) -> End {
        if over {
            return End::Over;
        }
        let reason = format!("FFmpeg ended with {}; {}", run.exit_text(), run.last_words());
        self.failed(Cause::Exit, reason, reading)
    }

    fn failed(&self, cause: Cause, reason: String, reading: &Reading) -> End {
        let delivered_for = reading.first_delivered.map(|first| self.clock.mono() - first);
        End::Failed { cause, reason, delivered_for }
    }

    /// Passes on what is new of a unit; false when nobody listens any more.
    async fn deliver(&mut self, rendition: usize, made: Made, reading: &mut Reading) -> bool {
        match made {
            Made::Track(track) => self.deliver_track(rendition, track).await,
            Made::Sample(track, sample) => {
                reading.note(rendition, &track, &sample, self.shared.lock().pushed());
                if !self.gate.admit(rendition, track.kind(), &sample) {
                    telemetry::repeated();
                    return true;
                }
                if reading.first_delivered.is_none() {
                    reading.first_delivered = Some(self.clock.mono());
                    if !self.resumed().await {
                        return false;
                    }
                }
                telemetry::sample();
                self.send(Event::Sample { rendition, sample }).await
            }
        }
    }

    async fn deliver_track(&mut self, rendition: usize, track: Track) -> bool {
        let Some(place) = self.tracks.get_mut(rendition) else { return true };
        if place.as_ref() == Some(&track) {
            return true;
        }
        *place = Some(track.clone());
        self.send(Event::Track { rendition, track }).await
    }

    async fn resumed(&mut self) -> bool {
        if !std::mem::take(&mut self.interrupted) {
            return true;
        }
        tracing::info!(stream = self.stream, restarts = self.restarts, "ladder resumed");
        self.send(Event::Restarted { attempt: self.restarts }).await
    }

    async fn tick(&mut self, run: &Run, reading: &mut Reading) -> Option<End> {
        let now = self.clock.mono();
        let position = self.position(reading);
        match reading.watch.tick(now, position, run.is_fed()) {
            Verdict::Stalled(silent) => {
                let reason =
                    format!("FFmpeg made nothing of its input for {} ms; {}", silent.as_millis(), run.last_words());
                return Some(self.failed(Cause::Stall, reason, reading));
            }
            Verdict::Behind { lag_ms, speed } => return Some(End::Behind { lag_ms, speed }),
            Verdict::Fine => {}
        }
        if now - reading.told >= Duration::from_millis(PROGRESS_MS) && run.is_fed() {
            let dropped = self.shared.dropped.load(Ordering::Relaxed);
            let progress = reading.progress(now, run, dropped);
            telemetry::progress(&self.stream, &progress);
            if !self.send(Event::Progress(progress)).await {
                return Some(End::Over);
            }
        }
        None
    }

    fn position(&self, reading: &Reading) -> Position {
        let videos = self.active.iter().filter(|&&index| self.plan.renditions[index].video().is_some());
        let outputs: Option<Vec<i64>> = videos.map(|&index| reading.outputs.get(index).copied().flatten()).collect();
        let queue = self.shared.lock();
        Position {
            pushed: queue.pushed(),
            input_pts: queue.newest_pts(),
            output_pts: outputs.and_then(|all| all.into_iter().min()),
        }
    }

    /// Gives up the costliest rung; false when none is left.
    async fn shed(&mut self, lag_ms: u64, speed: f64) -> bool {
        let active: Vec<Rendition> = self.active_renditions().cloned().collect();
        let Some(at) = costliest(&active, self.plan.encoder) else { return false };
        let rendition = self.active.remove(at);
        let name = active[at].name.clone();
        let reason = format!(
            "this machine is too slow: the ladder runs at {speed:.2} of real time, {lag_ms} ms late; without {name}"
        );
        telemetry::shed(&self.stream, &name, &reason);
        if !self.send(Event::Shed { rendition, reason: reason.clone() }).await {
            return false;
        }
        if self.active_renditions().all(|rendition| rendition.video().is_none()) {
            return self.fail(format!("no rung keeps real time on this machine; {reason}")).await;
        }
        self.interrupt(Cause::Shed, reason).await
    }

    async fn recover(&mut self, cause: Cause, reason: String, wait: Option<Duration>) -> bool {
        let Some(wait) = wait else {
            return self
                .fail(format!("given up after {} restarts without output: {reason}", self.config.restarts_max))
                .await;
        };
        if !self.interrupt(cause, reason).await {
            return false;
        }
        let mut stopped = self.stopped.clone();
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => false,
            () = self.events.closed() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }

    async fn interrupt(&mut self, cause: Cause, reason: String) -> bool {
        telemetry::interrupted(&self.stream, cause, &reason);
        self.interrupted = true;
        self.restarts = self.restarts.saturating_add(1);
        self.send(Event::Interrupted { reason }).await
    }

    async fn fail(&mut self, reason: String) -> bool {
        telemetry::failed(&self.stream, &reason);
        self.send(Event::Failed { reason }).await;
        false
    }

    fn active_renditions(&self) -> impl Iterator<Item = &Rendition> {
        self.active.iter().filter_map(|&index| self.plan.renditions.get(index))
    }

    /// Hands an event to the live room, waiting for room; false when nobody listens, or when the ladder is stopped while the
    /// live room does not read.
    async fn send(&self, event: Event) -> bool {
        let event = match self.events.try_send(event) {
            Ok(()) => return true,
            Err(mpsc::error::TrySendError::Closed(_)) => return false,
            Err(mpsc::error::TrySendError::Full(event)) => event,
        };
        let mut stopped = self.stopped.clone();
        tokio::select! {
            sent = self.events.send(event) => sent.is_ok(),
            _ = stopped.wait_for(|stopped| *stopped) => false,
        }
    }
}

impl Reading {
    fn new(config: &Config, renditions: usize, pushed: u64, now: Mono) -> Self {
        Self {
            watch: Watch::new(config, pushed),
            outputs: vec![None; renditions],
            made: vec![0; renditions],
            first_delivered: None,
            told: now,
            told_made: vec![0; renditions],
        }
    }

    fn note(&mut self, rendition: usize, track: &Track, sample: &Sample, pushed: u64) {
        if track.kind() != media::TrackKind::Video {
            return;
        }
        self.watch.output(pushed);
        if let (Some(output), Some(made)) = (self.outputs.get_mut(rendition), self.made.get_mut(rendition)) {
            *output = Some(sample.pts());
            *made += 1;
        }
    }

    fn progress(&mut self, now: Mono, run: &Run, dropped: u64) -> Progress {
        let seconds = (now - self.told).as_secs_f64();
        let made = self.made.iter().zip(&self.told_made).map(|(now, before)| now - before).max().unwrap_or(0);
        self.told = now;
        self.told_made.clone_from(&self.made);
        let counters = run.counters();
        Progress {
            fps: made as f64 / seconds,
            speed: self.watch.speed().unwrap_or(1.0),
            lag_ms: self.watch.lag_ms(),
            frames: counters.frames,
            dropped: dropped + counters.dropped,
        }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
