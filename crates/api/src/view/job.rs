use serde::Serialize;
use serde_json::Value;
use store::catalogue::{self, ErrorClass, JobState, QueueDepth, StepId, StepState};
use utoipa::ToSchema;

use super::{RecipeRef, error_class, job_state, maybe_time, step_state, time};

/// What went wrong in a step.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepError {
    /// Whose fault: the source's, a passing one, the node's, ours.
    #[schema(schema_with = error_class)]
    class: ErrorClass,
    /// A stable word.
    #[schema(example = "not_media")]
    code: String,
    /// One or two sentences that end with what to do.
    human: String,
    /// The node it happened on.
    worker: Option<String>,
    /// The last lines of the tool's log; in `GET /api/v1/steps/{id}` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

impl From<catalogue::StepError> for StepError {
    fn from(error: catalogue::StepError) -> Self {
        Self { class: error.class, code: error.code, human: error.human, worker: error.worker, log: None }
    }
}

impl StepError {
    fn with_log(error: catalogue::StepError) -> Self {
        let log = error.log.clone();
        Self { log, ..error.into() }
    }
}

/// A job: one run of a recipe over an asset.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Job {
    /// Its id.
    id: String,
    /// Its asset.
    asset: String,
    /// Whose.
    tenant: String,
    /// Where it is.
    #[schema(schema_with = job_state)]
    state: JobState,
    /// The recipe.
    recipe: RecipeRef,
    /// Lower goes first; 0 is usual.
    priority: i64,
    /// Why it failed.
    error: Option<StepError>,
    /// Creation.
    #[schema(format = DateTime)]
    created: String,
    /// Last change.
    #[schema(format = DateTime)]
    updated: String,
    /// When it ended.
    #[schema(format = DateTime)]
    finished: Option<String>,
}

impl From<catalogue::Job> for Job {
    fn from(job: catalogue::Job) -> Self {
        Self {
            id: job.id.into(),
            asset: job.asset.into(),
            tenant: job.tenant,
            state: job.state,
            recipe: job.recipe.into(),
            priority: job.priority,
            error: job.error.map(Into::into),
            created: time(job.created),
            updated: time(job.updated),
            finished: maybe_time(job.finished),
        }
    }
}

/// A job with its steps.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobWithSteps {
    /// The job.
    #[serde(flatten)]
    pub(crate) job: Job,
    /// Its steps in the order they were made.
    pub(crate) steps: Vec<Step>,
}

impl JobWithSteps {
    pub(crate) fn new(job: catalogue::Job, steps: Vec<catalogue::Step>, needs: &[(StepId, StepId)]) -> Self {
        let name_of = |id: &StepId| steps.iter().find(|step| step.id == *id).map(|step| step.name.clone());
        let needs_of =
            |id: &StepId| needs.iter().filter(|(step, _)| step == id).filter_map(|(_, need)| name_of(need)).collect();
        let needed: Vec<Vec<String>> = steps.iter().map(|step| needs_of(&step.id)).collect();
        let steps = steps.into_iter().zip(needed).map(|(step, needs)| Step::new(step, needs)).collect();
        Self { job: job.into(), steps }
    }
}

/// A step of a job: what a worker does in one go.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Step {
    /// Its id.
    id: String,
    /// Its job.
    job: String,
    /// Its job's asset.
    asset: String,
    /// Name within the job.
    #[schema(example = "encode/v720/3")]
    name: String,
    /// What it does.
    #[schema(example = "encode")]
    kind: String,
    /// The rendition it works for.
    rendition: Option<String>,
    /// The capability its worker needs.
    cap: String,
    /// Expected cost in seconds of one core.
    weight: f64,
    /// Where it is.
    #[schema(schema_with = step_state)]
    state: StepState,
    /// Names of the steps that it stands behind.
    needs: Vec<String>,
    /// Tries so far that counted.
    attempt: i64,
    /// Tries it has.
    attempts_max: i64,
    /// Who works on it, or did last.
    worker: Option<String>,
    /// How far the current try is.
    progress: Option<Progress>,
    /// The newest error, kept while it is tried again.
    error: Option<StepError>,
    /// Creation.
    #[schema(format = DateTime)]
    created: String,
    /// Begin of the newest try.
    #[schema(format = DateTime)]
    started: Option<String>,
    /// End.
    #[schema(format = DateTime)]
    finished: Option<String>,
}

/// How far a step is.
#[derive(Debug, Serialize, ToSchema)]
struct Progress {
    /// 0 to 1000.
    permille: u32,
    /// Position in the media.
    out_time_ms: Option<i64>,
    /// Frames per second of work.
    fps: Option<f64>,
    /// Bytes moved or written.
    bytes: Option<u64>,
}

impl Step {
    fn new(step: catalogue::Step, needs: Vec<String>) -> Self {
        Self {
            id: step.id.into(),
            job: step.job.into(),
            asset: step.asset.into(),
            name: step.name,
            kind: step.kind,
            rendition: step.rendition,
            cap: step.cap,
            weight: step.weight,
            state: step.state,
            needs,
            attempt: step.attempt,
            attempts_max: step.attempts_max,
            worker: step.worker.map(Into::into),
            progress: step.progress.map(Into::into),
            error: step.error.map(Into::into),
            created: time(step.created),
            started: maybe_time(step.started),
            finished: maybe_time(step.finished),
        }
    }

    /// A step by itself, with the log of its error.
    pub(crate) fn with_log(mut step: catalogue::Step, needs: Vec<String>) -> Self {
        let error = step.error.take().map(StepError::with_log);
        Self { error, ..Self::new(step, needs) }
    }
}

impl From<catalogue::Progress> for Progress {
    fn from(progress: catalogue::Progress) -> Self {
        let catalogue::Progress { permille, out_time_ms, fps, bytes } = progress;
        Self { permille, out_time_ms, fps, bytes }
    }
}

/// How far a job is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobProgress {
    /// The job.
    job: String,
    /// Its asset.
    asset: String,
    /// Where it is.
    #[schema(schema_with = job_state)]
    state: JobState,
    /// 0 to 1000; 1000 only when it is done.
    permille: u32,
    /// Time until it is done; `null` until there is evidence, and while it is paused.
    eta_ms: Option<i64>,
    /// Jobs that go before it in the queue, while none of its steps runs.
    position: Option<u64>,
    /// Whether the asset plays already.
    playable: bool,
    /// Why it failed.
    error: Option<StepError>,
    /// By rendition, in the order of the plan.
    renditions: Vec<RenditionProgress>,
    /// Steps at work, and those that failed.
    steps: Vec<StepProgress>,
    /// How many steps are in which state.
    counts: StepCounts,
}

/// How far a rendition is.
#[derive(Debug, Serialize, ToSchema)]
struct RenditionProgress {
    /// Its name.
    name: String,
    /// 0 to 1000; 1000 when it is published.
    permille: u32,
    /// `waiting`, `working`, `ready` or `failed`.
    #[schema(value_type = String)]
    state: vod::progress::RenditionState,
}

/// How far a step is that is at work or failed.
#[derive(Debug, Serialize, ToSchema)]
struct StepProgress {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// Where it is.
    #[schema(schema_with = step_state)]
    state: StepState,
    /// 0 to 1000.
    permille: u32,
    /// Frames per second of work.
    fps: Option<f64>,
    /// Who works on it, or did last.
    worker: Option<String>,
    /// Tries so far that counted.
    attempt: i64,
    /// Its newest error.
    error: Option<StepError>,
}

/// Steps by state.
#[derive(Debug, Serialize, ToSchema)]
struct StepCounts {
    /// All.
    total: u64,
    /// Done.
    done: u64,
    /// With a worker.
    leased: u64,
    /// May be claimed.
    ready: u64,
    /// Behind others.
    blocked: u64,
    /// Failed for good, or quarantined.
    failed: u64,
    /// Cancelled.
    cancelled: u64,
}

/// Most steps of a job that its progress names: a job of many failed chunks is read step by step.
const PROGRESS_STEPS_MAX: usize = 64;

impl JobProgress {
    pub(crate) fn new(
        job: catalogue::Job,
        steps: Vec<catalogue::Step>,
        progress: vod::progress::JobProgress,
        playable: bool,
    ) -> Self {
        let told = |step: &catalogue::Step| {
            matches!(step.state, StepState::Leased | StepState::Failed | StepState::Quarantined)
        };
        let renditions = progress.renditions.into_iter().map(|rendition| RenditionProgress {
            name: rendition.name,
            permille: rendition.permille,
            state: rendition.state,
        });
        Self {
            job: job.id.into(),
            asset: job.asset.into(),
            state: progress.state,
            permille: progress.permille,
            eta_ms: progress.eta_ms,
            position: progress.position,
            playable,
            error: job.error.map(Into::into),
            renditions: renditions.collect(),
            steps: steps.into_iter().filter(told).take(PROGRESS_STEPS_MAX).map(Into::into).collect(),
            counts: progress.steps.into(),
        }
    }
}

impl From<catalogue::Step> for StepProgress {
    fn from(step: catalogue::Step) -> Self {
        Self {
            id: step.id.into(),
            name: step.name,
            state: step.state,
            permille: step.progress.as_ref().map_or(0, |progress| progress.permille),
            fps: step.progress.as_ref().and_then(|progress| progress.fps),
            worker: step.worker.map(Into::into),
            attempt: step.attempt,
            error: step.error.map(Into::into),
        }
    }
}

impl From<vod::progress::StepCounts> for StepCounts {
    fn from(counts: vod::progress::StepCounts) -> Self {
        let vod::progress::StepCounts { total, done, leased, ready, blocked, failed, cancelled } = counts;
        Self { total, done, leased, ready, blocked, failed, cancelled }
    }
}

/// A worker process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Worker {
    /// The id of this process; a restart gets another.
    id: String,
    /// The node's name.
    name: String,
    /// What it can do.
    caps: Vec<String>,
    /// What it said of itself: version, cores, disk, encoders.
    info: Value,
    /// It gets no new steps.
    cordoned: bool,
    /// Why.
    cordon_reason: Option<String>,
    /// It finishes what it has and leaves.
    draining: bool,
    /// First sign of life.
    #[schema(format = DateTime)]
    registered: String,
    /// Last sign of life.
    #[schema(format = DateTime)]
    seen: String,
}

impl From<catalogue::Worker> for Worker {
    fn from(worker: catalogue::Worker) -> Self {
        Self {
            id: worker.id.into(),
            name: worker.name,
            caps: worker.caps,
            info: worker.info,
            cordoned: worker.cordoned,
            cordon_reason: worker.cordon_reason,
            draining: worker.draining,
            registered: time(worker.registered),
            seen: time(worker.seen),
        }
    }
}

/// The queue, in numbers that an autoscaler can read by path: `caps.encode.wanted`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queue {
    /// Steps that could be claimed now.
    pub(crate) ready: u64,
    /// Steps at work.
    pub(crate) leased: u64,
    /// Expected cost of the ready ones, in seconds of one core.
    pub(crate) ready_weight: f64,
    /// The same by the capability that a worker needs.
    pub(crate) caps: std::collections::BTreeMap<String, Depth>,
    /// The same by capability and class; the lower class goes first.
    pub(crate) data: Vec<ClassDepth>,
}

/// How much of the queue needs a capability.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Depth {
    /// Steps that could be claimed now.
    ready: u64,
    /// Steps at work.
    leased: u64,
    /// Ready and leased: the slots that would be busy if there were enough.
    wanted: u64,
    /// Expected cost of the ready ones, in seconds of one core.
    ready_weight: f64,
}

/// How much of the queue needs a capability, in one class.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClassDepth {
    /// The capability.
    cap: String,
    /// The class.
    class: i64,
    /// Steps that could be claimed now.
    ready: u64,
    /// Steps at work.
    leased: u64,
    /// Expected cost of the ready ones, in seconds of one core.
    ready_weight: f64,
}

impl From<Vec<QueueDepth>> for Queue {
    fn from(depths: Vec<QueueDepth>) -> Self {
        let mut caps = std::collections::BTreeMap::<String, Depth>::new();
        for depth in &depths {
            let cap = caps.entry(depth.cap.clone()).or_default();
            cap.ready += depth.ready;
            cap.leased += depth.leased;
            cap.wanted += depth.ready + depth.leased;
            cap.ready_weight += depth.ready_weight;
        }
        Self {
            ready: caps.values().map(|cap| cap.ready).sum(),
            leased: caps.values().map(|cap| cap.leased).sum(),
            ready_weight: caps.values().map(|cap| cap.ready_weight).sum(),
            caps,
            data: depths.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<QueueDepth> for ClassDepth {
    fn from(depth: QueueDepth) -> Self {
        let QueueDepth { cap, class, ready, leased, ready_weight } = depth;
        Self { cap, class, ready, leased, ready_weight }
    }
}

/// What a recipe would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DryRun {
    /// The recipe.
    recipe: RecipeRef,
    /// The source was not analysed: its chunks are assumed to be even.
    estimated: bool,
    /// Core-seconds of all steps together.
    core_seconds: f64,
    /// Every step, in the order in which they are claimed.
    steps: Vec<DryRunStep>,
}

/// A step of a plan.
#[derive(Debug, Serialize, ToSchema)]
struct DryRunStep {
    /// Its name.
    name: String,
    /// What it does.
    kind: String,
    /// The rendition it works for.
    rendition: Option<String>,
    /// The capability its worker needs.
    cap: String,
    /// Queue class; the lower goes first.
    class: i64,
    /// Expected cost in seconds of one core.
    core_seconds: f64,
    /// Names of the steps that it stands behind.
    needs: Vec<String>,
    /// FFmpeg's output options, for steps that encode.
    ffmpeg: Vec<String>,
}

impl DryRun {
    pub(crate) fn new(plan: vod::manager::DryRun, recipe: catalogue::RecipeRef, estimated: bool) -> Self {
        let step = |step: vod::manager::DryRunStep| DryRunStep {
            name: step.name,
            kind: step.kind,
            rendition: step.rendition,
            cap: step.cap,
            class: step.class,
            core_seconds: step.core_seconds,
            needs: step.after,
            ffmpeg: step.ffmpeg,
        };
        let steps = plan.steps.into_iter().map(step).collect();
        Self { recipe: recipe.into(), estimated, core_seconds: plan.core_seconds, steps }
    }
}

/// What a clean-up removed, or would.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GcReport {
    /// Nothing was removed.
    dry_run: bool,
    /// Objects.
    objects: u64,
    /// Their bytes.
    bytes: u64,
    /// Deleted assets whose last traces went.
    assets: u64,
    /// Prefixes of the object store that went, the first hundred.
    prefixes: Vec<String>,
}

impl From<vod::manager::GcReport> for GcReport {
    fn from(report: vod::manager::GcReport) -> Self {
        let vod::manager::GcReport { dry_run, objects, bytes, assets, prefixes } = report;
        Self { dry_run, objects, bytes, assets, prefixes }
    }
}
