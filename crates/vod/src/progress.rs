//! How far a job is, and when it will be done: from the weights of its steps and what they really took. Pure.

use std::collections::BTreeMap;

use base::Wall;
use serde::{Deserialize, Serialize};
use store::catalogue::{Job, JobState, Step, StepState};

use crate::plan::AHEAD;

/// Time over which it is counted how many steps run beside each other, in milliseconds.
const WINDOW_MS: i64 = 60_000;
/// Before this share of the job's weight is done nothing is foretold.
const EVIDENCE_SHARE: f64 = 0.01;
/// A running step says something about its speed from here on, in thousandths.
const EVIDENCE_PERMILLE: u32 = 50;
/// What is shown at most before a job is done: nobody waits at a hundred percent.
const PERMILLE_MAX: u32 = 999;

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobProgress {
    /// The job's state.
    pub state: JobState,
    /// 0 to 1000; 1000 only when the job is done.
    pub permille: u32,
    /// Time until it is done; `None` until there is evidence, and while it is paused.
    pub eta_ms: Option<i64>,
    /// Jobs whose steps go before its own, while none of its steps runs.
    pub position: Option<u64>,
    /// Per rendition, in the order of the plan.
    pub renditions: Vec<RenditionProgress>,
    /// Steps that run now.
    pub running: Vec<RunningStep>,
    /// How many steps are in which state.
    pub steps: StepCounts,
}

/// How far a rendition is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenditionProgress {
    /// Name: `v720`.
    pub name: String,
    /// 0 to 1000; 1000 when it is published.
    pub permille: u32,
    /// Where it is.
    pub state: RenditionState,
}

/// Where a rendition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenditionState {
    /// No step of it has run.
    Waiting,
    /// Steps run, or have run.
    Working,
    /// Viewers have it.
    Ready,
    /// A step failed for good.
    Failed,
}

/// A step that a worker holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunningStep {
    /// Name: `encode/v720/3`.
    pub name: String,
    /// 0 to 1000.
    pub permille: u32,
    /// Frames per second of work.
    pub fps: Option<f64>,
    /// The worker.
    pub worker: Option<String>,
    /// 1 for the first.
    pub attempt: i64,
}

/// Steps by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCounts {
    /// All.
    pub total: u64,
    /// Done.
    pub done: u64,
    /// With a worker.
    pub leased: u64,
    /// May be claimed.
    pub ready: u64,
    /// Behind others.
    pub blocked: u64,
    /// Failed for good, or quarantined.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
}

/// How far `job` with these `steps` is; `position` as the queue tells it, `now` by the database's clock.
pub fn of(job: &Job, steps: &[Step], position: Option<u64>, now: Wall) -> JobProgress {
    let ahead = job.context.get(AHEAD).and_then(|value| value.as_f64()).unwrap_or(0.0).max(0.0);
    let total = ahead + steps.iter().map(|step| step.weight).sum::<f64>();
    let done: f64 = steps.iter().map(|step| step.weight * share(step)).sum();
    let steps_of = counts(steps);
    JobProgress {
        state: job.state,
        permille: if job.state == JobState::Done { 1_000 } else { permille(done, total).min(PERMILLE_MAX) },
        eta_ms: eta_ms(job, steps, ahead, done, total, now),
        position: position.filter(|_| job.state == JobState::Running && steps_of.leased == 0),
        renditions: renditions(steps),
        running: steps.iter().filter(|step| step.state == StepState::Leased).map(running).collect(),
        steps: steps_of,
    }
}

fn permille(done: f64, total: f64) -> u32 {
    if total > 0.0 { (done / total * 1_000.0).clamp(0.0, 1_000.0) as u32 } else { 0 }
}

/// How much of a step is over, 0 to 1. What failed for good is over, too.
fn share(step: &Step) -> f64 {
    match step.state {
        StepState::Done | StepState::Failed | StepState::Cancelled | StepState::Quarantined => 1.0,
        StepState::Leased => f64::from(step_permille(step)) / 1_000.0,
        StepState::Blocked | StepState::Ready => 0.0,
    }
}

fn step_permille(step: &Step) -> u32 {
    step.progress.as_ref().map_or(0, |progress| progress.permille.min(1_000))
}

fn counts(steps: &[Step]) -> StepCounts {
    let mut counts = StepCounts { total: steps.len() as u64, ..StepCounts::default() };
    for step in steps {
        let count = match step.state {
            StepState::Done => &mut counts.done,
            StepState::Leased => &mut counts.leased,
            StepState::Ready => &mut counts.ready,
            StepState::Blocked => &mut counts.blocked,
            StepState::Failed | StepState::Quarantined => &mut counts.failed,
            StepState::Cancelled => &mut counts.cancelled,
        };
        *count += 1;
    }
    counts
}

fn running(step: &Step) -> RunningStep {
    RunningStep {
        name: step.name.clone(),
        permille: step_permille(step),
        fps: step.progress.as_ref().and_then(|progress| progress.fps),
        worker: step.worker.as_ref().map(ToString::to_string),
        attempt: step.attempt,
    }
}

fn renditions(steps: &[Step]) -> Vec<RenditionProgress> {
    let mut names: Vec<&str> = Vec::new();
    for step in steps {
        if let Some(name) = step.rendition.as_deref()
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names.into_iter().map(|name| rendition(name, steps)).collect()
}

/// Up to its publication: what is measured afterwards does not count.
fn rendition(name: &str, steps: &[Step]) -> RenditionProgress {
    let own: Vec<&Step> =
        steps.iter().filter(|step| step.rendition.as_deref() == Some(name) && step.kind != "validate").collect();
    let done: f64 = own.iter().map(|step| step.weight * share(step)).sum();
    let total: f64 = own.iter().map(|step| step.weight).sum();
    let any = |states: &[StepState]| own.iter().any(|step| states.contains(&step.state));
    let published =
        own.iter().any(|s| matches!(s.kind.as_str(), "package" | "subtitles") && s.state == StepState::Done);
    let state = if published {
        RenditionState::Ready
    } else if any(&[StepState::Failed, StepState::Quarantined]) {
        RenditionState::Failed
    } else if any(&[StepState::Leased, StepState::Done]) {
        RenditionState::Working
    } else {
        RenditionState::Waiting
    };
    let permille = if published { 1_000 } else { permille(done, total).min(PERMILLE_MAX) };
    RenditionProgress { name: name.to_owned(), permille, state }
}

/// Seconds that steps took, and the seconds that they were expected to take.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    real: f64,
    expected: f64,
}

impl Took {
    fn ratio(self) -> Option<f64> {
        (self.expected > 0.0 && self.real > 0.0).then_some(self.real / self.expected)
    }
}

/// Each remaining step is expected to take what steps of its own rendition, else of its kind, else of the job took; as many
/// of them run beside each other as did in the last minute.
fn eta_ms(job: &Job, steps: &[Step], ahead: f64, done: f64, total: f64, now: Wall) -> Option<i64> {
    match job.state {
        JobState::Running => {}
        JobState::Done => return Some(0),
        JobState::Paused | JobState::Failed | JobState::Cancelled => return None,
    }
    if total <= 0.0 || done / total < EVIDENCE_SHARE {
        return None;
    }
    let evidence = Evidence::of(steps, now);
    let all = evidence.all.ratio()?;
    let mut left = ahead * evidence.kinds.get("encode").and_then(|took| took.ratio()).unwrap_or(all);
    for step in steps {
        left += step.weight * (1.0 - share(step)) * evidence.ratio(step).unwrap_or(all);
    }
    let beside = beside_each_other(steps, now)?;
    Some((left / beside * 1_000.0) as i64)
}

#[derive(Debug, Default)]
struct Evidence<'a> {
    renditions: BTreeMap<(&'a str, &'a str), Took>,
    kinds: BTreeMap<&'a str, Took>,
    all: Took,
}

impl<'a> Evidence<'a> {
    fn of(steps: &'a [Step], now: Wall) -> Self {
        let mut evidence = Self::default();
        for step in steps {
            let Some((real, expected)) = taken(step, now) else { continue };
            let own = evidence.renditions.entry((&step.kind, group(step))).or_default();
            add(own, real, expected);
            add(evidence.kinds.entry(&step.kind).or_default(), real, expected);
            add(&mut evidence.all, real, expected);
        }
        evidence
    }

    fn ratio(&self, step: &Step) -> Option<f64> {
        let own = self.renditions.get(&(step.kind.as_str(), group(step))).and_then(|took| took.ratio());
        own.or_else(|| self.kinds.get(step.kind.as_str())?.ratio())
    }
}

fn add(took: &mut Took, real: f64, expected: f64) {
    took.real += real;
    took.expected += expected;
}

/// Renditions of pictures each go by their own speed; sound tracks are alike.
fn group(step: &Step) -> &str {
    step.rendition.as_deref().filter(|name| name.starts_with('v')).unwrap_or("other")
}

/// Seconds of a step's newest attempt and the weight that it did in them.
fn taken(step: &Step, now: Wall) -> Option<(f64, f64)> {
    let started = step.started?;
    let (until, share) = match step.state {
        StepState::Done => (step.finished?, 1.0),
        StepState::Leased if step_permille(step) >= EVIDENCE_PERMILLE => (now, share(step)),
        _ => return None,
    };
    let real = until.unix_ms() - started.unix_ms();
    (real > 0).then(|| (real as f64 / 1_000.0, step.weight * share))
}

/// Steps of the job that ran beside each other on average over the last minute; at least one.
fn beside_each_other(steps: &[Step], now: Wall) -> Option<f64> {
    let first = steps.iter().filter_map(|step| step.started).min()?;
    let begin = first.unix_ms().max(now.unix_ms() - WINDOW_MS);
    let window = (now.unix_ms() - begin).max(1);
    let overlap = |step: &Step| {
        let started = step.started?.unix_ms().max(begin);
        let ended = match step.state {
            StepState::Leased => now.unix_ms(),
            _ => step.finished?.unix_ms(),
        };
        Some((ended.min(now.unix_ms()) - started).max(0))
    };
    let busy: i64 = steps.iter().filter_map(overlap).sum();
    // A job that stands in a queue is slow by its share of the workers: below one is honest, but not below a tenth.
    Some((busy as f64 / window as f64).max(0.1))
}
