//! The worker's life: register, claim, work, report, drain, leave.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use store::catalogue::{ErrorClass, Progress, StepError, WorkerId};
use tokio::{
    sync::{Mutex, watch},
    task::{JoinError, JoinHandle, JoinSet},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Shared,
    client::{Backoff, CallError, Client, Hold, retrying},
    failure,
    gateway::Gateway,
    lease::{Fate, Heart, Rhythm},
    scratch::{Scratch, StepFolder},
    task::{Parts, Task},
    telemetry::Outcome,
};
use crate::protocol::{CLAIM_WAIT_MS_MAX, Claim, EncodeJob, Leased, Output, Register, Registered, Spec};

/// Longest wait for work that was told to stop, in milliseconds: FFmpeg is killed at once, the rest is closing files. Then its task is
/// aborted.
const STOP_MS_MAX: u64 = 5_000;
/// How long a claim that is on its way when the worker stops may still be answered, in milliseconds: an answer that was sent already
/// arrives. A manager takes back a lease whose answer found nobody.
const LAST_CLAIM_MS_MAX: u64 = 250;
/// How long the last words to the manager (results, releases, leaving) may take after the grace, in milliseconds.
const LAST_WORDS_MS_MAX: u64 = 3_000;
/// Pause after a claim that came back at once without a step, and while the disk is too full, in milliseconds.
const IDLE_MS: u64 = 500;
const DISK_FULL_MS: u64 = 5_000;
/// Pause after the manager refused the worker itself (wrong token, too old), in milliseconds: a person has to act.
const REFUSED_MS: u64 = 10_000;
/// Scratch space of a step whose size nobody knows, in bytes.
const UNKNOWN_BYTES: u64 = 64 << 20;
/// Longest message of a panic that is passed on, in characters.
const PANIC_CHARS_MAX: usize = 500;

/// A worker that runs.
pub(crate) struct Running {
    shared: Arc<Shared>,
    client: Client,
    scratch: Scratch,
    gateway: Gateway,
    session: Mutex<Option<Registered>>,
    /// No new claims.
    drain: CancellationToken,
    /// What is not finished is given back.
    end: CancellationToken,
    /// The process goes, told or not.
    gone: CancellationToken,
}

impl Running {
    pub(crate) fn new(shared: Arc<Shared>, client: Client, scratch: Scratch, gateway: Gateway) -> Self {
        let (drain, end, gone) = Default::default();
        Self { shared, client, scratch, gateway, session: Mutex::default(), drain, end, gone }
    }

    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) {
        let running = Arc::new(self);
        let mut slots = JoinSet::new();
        for _ in 0..running.shared.slots {
            let running = running.clone();
            slots.spawn(async move { running.slot().await });
        }
        shutdown.await;
        running.stop(slots).await;
    }

    /// Stops claiming, waits for what ends within the grace, gives back the rest, and leaves.
    async fn stop(&self, mut slots: JoinSet<()>) {
        let grace = Duration::from_millis(self.shared.config.drain_ms);
        tracing::info!(busy = self.shared.counts.snapshot().busy, ?grace, "the worker stops: finishing its steps");
        self.drain.cancel();
        let mut finished = async || while slots.join_next().await.is_some() {};
        if tokio::time::timeout(grace, finished()).await.is_err() {
            self.end.cancel();
            let patience = Duration::from_millis(STOP_MS_MAX + LAST_WORDS_MS_MAX);
            if tokio::time::timeout(patience, finished()).await.is_err() {
                self.gone.cancel();
                tracing::warn!("some steps could not be given back; their leases run out by themselves");
            }
        }
        if let Some(registered) = self.session.lock().await.take() {
            let told = retrying(&self.gone, || self.client.leave(&registered.worker));
            let _ = tokio::time::timeout(Duration::from_millis(LAST_WORDS_MS_MAX), told).await;
        }
        tracing::info!("the worker has left");
    }

    /// One pair of hands: claims a step, does it, claims the next.
    async fn slot(&self) {
        while !self.drain.is_cancelled() {
            let Some(registered) = self.registered().await else { return };
            match self.claim(&registered).await {
                Ok(Some(leased)) => self.work(leased, &registered).await,
                Ok(None) => {}
                Err(error) => self.not_claimed(&error, &registered.worker).await,
            }
        }
    }

    /// The current registration; `None` when the worker stops first.
    async fn registered(&self) -> Option<Registered> {
        let mut session = tokio::select! {
            session = self.session.lock() => session,
            () = self.drain.cancelled() => return None,
        };
        if let Some(registered) = &*session {
            return Some(registered.clone());
        }
        let registered = self.register().await?;
        tracing::info!(worker = %registered.worker, name = %self.shared.name, "registered with the manager");
        self.shared.counts.registered();
        Some(session.insert(registered).clone())
    }

    async fn register(&self) -> Option<Registered> {
        loop {
            let body = self.introduction();
            match retrying(&self.drain, || self.client.register(&body)).await {
                Ok(registered) => return Some(registered),
                Err(CallError::GivenUp) => return None,
                Err(error) => {
                    tracing::error!(
                        error = %error.detail(),
                        "the manager refuses this worker; check its address, and its token with `headwater token`"
                    );
                    self.idle(REFUSED_MS).await;
                }
            }
        }
    }

    fn introduction(&self) -> Register {
        let encoders = self.shared.tool().map(|tool| tool.encoders.iter().map(|e| e.name().to_owned()).collect());
        Register {
            name: self.shared.name.clone(),
            caps: self.shared.caps.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
            memory_bytes: memory_bytes(),
            disk_free_bytes: self.scratch.disk().map_or(0, |disk| disk.free),
            encoders: encoders.unwrap_or_default(),
        }
    }

    async fn claim(&self, registered: &Registered) -> Result<Option<Leased>, CallError> {
        let room = self.scratch.room_bytes().unwrap_or(0);
        if room == 0 {
            self.shared.counts.disk_refusal();
            tracing::warn!("the scratch disk is too full to take steps; free some space or move worker.scratch");
            self.idle(DISK_FULL_MS).await;
            return Ok(None);
        }
        let (worker, caps) = (registered.worker.clone(), self.shared.caps.clone());
        let body = Claim { worker, caps, disk_free_bytes: room, wait_ms: CLAIM_WAIT_MS_MAX };
        let asked = Instant::now();
        let claim = self.client.claim(&body);
        tokio::pin!(claim);
        // A claim is not dropped at once when the worker stops: its answer may hold a step, which is given back then.
        let last = async {
            self.drain.cancelled().await;
            tokio::time::sleep(Duration::from_millis(LAST_CLAIM_MS_MAX)).await;
        };
        let answer = tokio::select! {
            answer = &mut claim => answer,
            () = last => return Ok(None),
        };
        if matches!(answer, Ok(None)) && asked.elapsed() < Duration::from_millis(IDLE_MS) {
            self.idle(IDLE_MS).await;
        }
        answer
    }

    async fn not_claimed(&self, error: &CallError, worker: &WorkerId) {
        match error {
            CallError::Refused { status: http::StatusCode::NOT_FOUND | http::StatusCode::GONE, .. } => {
                tracing::warn!("the manager does not know this worker any more; registering again");
                let mut session = self.session.lock().await;
                if session.as_ref().is_some_and(|registered| registered.worker == *worker) {
                    *session = None;
                }
                drop(session);
                self.idle(IDLE_MS).await;
            }
            CallError::Unreachable { detail, retry_after } => {
                tracing::warn!(%detail, "the manager does not answer; trying again");
                let pause = Backoff::new().pause() + retry_after.unwrap_or_default();
                self.idle(pause.as_millis() as u64 + IDLE_MS).await;
            }
            error => {
                tracing::error!(error = %error.detail(), "the manager refuses to hand out steps");
                self.idle(REFUSED_MS).await;
            }
        }
    }

    async fn idle(&self, ms: u64) {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms)) => {}
            () = self.drain.cancelled() => {}
        }
    }

    /// Does a step from its claim to its end.
    async fn work(&self, leased: Leased, registered: &Registered) {
        let (began, kind, name) = (Instant::now(), leased.spec.kind(), leased.name.clone());
        self.shared.counts.claimed();
        tracing::info!(step = %leased.step, %name, job = %leased.job, attempt = leased.attempt, "step begins");
        let outcome = self.hold(leased, registered).await;
        self.shared.counts.ended(kind, outcome, began.elapsed());
        tracing::info!(%name, ?outcome, took_ms = began.elapsed().as_millis() as u64, "step ended");
    }

    /// Holds the lease with heartbeats while the work goes on and until its end is told.
    async fn hold(&self, leased: Leased, registered: &Registered) -> Outcome {
        let hold = Hold { step: leased.step.clone(), token: leased.token };
        let (progress, progress_seen) = watch::channel(Progress::default());
        let (cancel, fate) = (CancellationToken::new(), Arc::new(OnceLock::new()));
        let heart = Heart {
            client: self.client.clone(),
            hold: hold.clone(),
            rhythm: rhythm(registered, &leased),
            progress: progress_seen,
            cancel: cancel.clone(),
            fate: fate.clone(),
            counts: self.shared.counts.clone(),
        };
        // Whatever ends this function ends the heartbeats.
        let _beating = AbortOnDropHandle::new(tokio::spawn(heart.beat()));
        let ended = if self.drain.is_cancelled() {
            Ended::Stopped
        } else {
            self.perform(leased, &hold, progress, &cancel).await
        };
        match ended {
            Ended::InVain => match fate.get() {
                Some(Fate::Cancelled) => Outcome::Cancelled,
                _ => Outcome::Lost,
            },
            Ended::Stopped => self.release(&hold).await,
            Ended::With(result) => self.report(&hold, *result, &cancel, &fate).await,
        }
    }

    /// Runs the work in a task of its own, whose panic stays there, and stops it when it is in vain.
    async fn perform(
        &self,
        leased: Leased,
        hold: &Hold,
        progress: watch::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Ended {
        // Removed when this function ends, after the work has.
        let folder: StepFolder = match self.scratch.step(leased.spec.kind(), scratch_bytes(&leased)) {
            Ok(folder) => folder,
            Err(error) => return Ended::With(Err(error).into()),
        };
        let stop = cancel.child_token();
        let source = self.gateway.open(&self.client, hold, &leased.file_name, &stop);
        let task = Task::new(Parts {
            leased,
            hold: hold.clone(),
            client: self.client.clone(),
            source: Some(source),
            folder: folder.path(),
            cancel: stop.clone(),
            progress,
            config: self.shared.config.clone(),
            threads: self.shared.threads,
        });
        let mut work = tokio::spawn(self.shared.execute.clone().execute(task));
        let ended = tokio::select! {
            joined = &mut work => return Ended::With(flatten(joined).into()),
            () = cancel.cancelled() => Ended::InVain,
            () = self.end.cancelled() => Ended::Stopped,
        };
        stop.cancel();
        wind_down(work).await;
        ended
    }

    async fn report(
        &self,
        hold: &Hold,
        result: Result<Output, StepError>,
        cancel: &CancellationToken,
        fate: &OnceLock<Fate>,
    ) -> Outcome {
        let given_up = cancel.child_token();
        // A worker that stops does not wait for a manager that does not answer.
        let _watch = AbortOnDropHandle::new(tokio::spawn({
            let (gone, given_up) = (self.gone.clone(), given_up.clone());
            async move {
                gone.cancelled().await;
                given_up.cancel();
            }
        }));
        let (answer, outcome) = match result {
            Ok(output) => self.complete(hold, output, &given_up).await,
            Err(error) => (self.fail(hold, error, &given_up).await, Outcome::Failed),
        };
        match (answer, fate.get()) {
            (Ok(()), _) => outcome,
            (Err(_), Some(Fate::Cancelled)) => Outcome::Cancelled,
            (Err(error), _) => {
                tracing::warn!(step = %hold.step, error = %error.detail(), "the end of a step could not be told");
                Outcome::Lost
            }
        }
    }

    async fn complete(
        &self,
        hold: &Hold,
        output: Output,
        given_up: &CancellationToken,
    ) -> (Result<(), CallError>, Outcome) {
        match retrying(given_up, || self.client.complete(hold, &output)).await {
            // The manager does not take the output: that is for people to see, not a silent loss.
            Err(CallError::Refused { code, detail, .. }) => {
                let error = failure::bug("bad_output", format!("The manager refused the result ({code}): {detail}"));
                match self.fail(hold, error, given_up).await {
                    // It has ended the step by itself.
                    Err(CallError::Lost) => (Ok(()), Outcome::Failed),
                    answer => (answer, Outcome::Failed),
                }
            }
            answer => (answer, Outcome::Done),
        }
    }

    async fn fail(&self, hold: &Hold, error: StepError, given_up: &CancellationToken) -> Result<(), CallError> {
        let error = StepError { worker: Some(self.shared.name.clone()), ..error };
        tracing::warn!(step = %hold.step, class = %error.class, code = %error.code, human = %error.human, "step failed");
        retrying(given_up, || self.client.fail(hold, &error)).await
    }

    async fn release(&self, hold: &Hold) -> Outcome {
        match retrying(&self.gone, || self.client.release(hold)).await {
            Ok(()) => Outcome::Released,
            Err(_) => Outcome::Lost,
        }
    }
}

/// How work ended.
enum Ended {
    With(Box<Result<Output, StepError>>),
    /// The lease is gone.
    InVain,
    /// The worker stops.
    Stopped,
}

fn rhythm(registered: &Registered, leased: &Leased) -> Rhythm {
    let positive = |ms: i64, floor: u64| u64::try_from(ms).unwrap_or(0).max(floor);
    let lease_ms = positive(registered.lease_ms, 1);
    Rhythm {
        lease_ms,
        heartbeat_ms: positive(registered.heartbeat_ms, 1).min(lease_ms),
        progress_ms: positive(leased.progress_ms, 0),
    }
}

async fn wind_down(mut work: JoinHandle<Result<Output, StepError>>) {
    if tokio::time::timeout(Duration::from_millis(STOP_MS_MAX), &mut work).await.is_err() {
        work.abort();
        let _ = work.await;
    }
}

fn flatten(joined: Result<Result<Output, StepError>, JoinError>) -> Result<Output, StepError> {
    let error = match joined {
        Ok(result) => return result,
        Err(error) => error,
    };
    let Ok(panic) = error.try_into_panic() else { return Err(failure::stopped()) };
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let text: String = text.unwrap_or("without a message").chars().take(PANIC_CHARS_MAX).collect();
    tracing::error!(panic = %text, "a step panicked");
    let human = "The worker has a bug that this step meets; report it with the log below, then retry the job.";
    Err(StepError { class: ErrorClass::Bug, log: Some(text), ..failure::bug("panic", human) })
}

/// About how much a step writes to scratch files.
fn scratch_bytes(leased: &Leased) -> u64 {
    let inputs = |outputs: &[(String, Output)]| outputs.iter().map(|(_, output)| output_bytes(output)).sum::<u64>();
    match &leased.spec {
        Spec::Fetch { part_bytes, .. } => part_bytes.saturating_mul(2),
        Spec::Encode { job: EncodeJob::Video(encode) } => match &encode.chunk {
            // kbit/s are 125 bytes per second; the time is in 90 kHz.
            Some(chunk) => {
                u64::from(encode.kbps_max)
                    * 125
                    * u64::try_from((chunk.end_pts - chunk.start_pts) / 90_000 + 1).unwrap_or(0)
            }
            None => leased.source_bytes.unwrap_or(UNKNOWN_BYTES),
        },
        Spec::Encode { job: EncodeJob::Copy { .. } } => leased.source_bytes.unwrap_or(UNKNOWN_BYTES),
        Spec::Package { .. } | Spec::Validate { .. } => inputs(&leased.inputs),
        Spec::Encode { .. } | Spec::Storyboard { .. } | Spec::Thumbnails { .. } | Spec::Subtitles { .. } => {
            UNKNOWN_BYTES
        }
        Spec::Analyse { .. } => UNKNOWN_BYTES,
        Spec::Probe { .. } | Spec::Stitch { .. } | Spec::Transfer { .. } | Spec::Notify { .. } | Spec::CleanUp {} => 0,
    }
}

fn output_bytes(output: &Output) -> u64 {
    match output {
        Output::Encoded { object, .. } => object.bytes,
        Output::Packaged { media, .. } => media.bytes,
        _ => 0,
    }
}

/// Of the machine; 0 where nobody says.
fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    total.map_or(0, |kib| kib * 1_024)
}
