//! Jobs, steps and leases.
//!
//! A step that may be claimed stands in a *lane*: capability, class and tenant in one text, so that a claim finds the first
//! step of every lane in one index, however many wait. Locks are taken in one order: job, its steps, asset.

mod claim;
mod complete;
mod control;
mod create;
mod fail;
mod list;
mod nodes;
mod reap;
mod rows;
mod workers;

pub(crate) use control::cancel_jobs_of;
pub(crate) use create::insert_job;

use serde_json::Value;

use super::*;

/// Classes of the queue are 0 (first) to this.
pub const CLASS_MAX: i64 = 9;

/// Which jobs to list; `None` is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// In this state.
    pub state: Option<JobState>,
    /// Of this asset.
    pub asset: Option<AssetId>,
}

/// How much waits and runs of a capability and class.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueDepth {
    /// Capability.
    pub cap: String,
    /// Class.
    pub class: i64,
    /// Steps that may be claimed, now or after their pause.
    pub ready: u64,
    /// Steps with a worker.
    pub leased: u64,
    /// Expected seconds of one core in the ready ones.
    pub ready_weight: f64,
}

/// A job to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Its id, made by the caller.
    pub id: JobId,
    /// The recipe.
    pub recipe: RecipeRef,
    /// Lower goes first; 0 is usual.
    pub priority: i64,
    /// What the manager keeps between steps: an object.
    pub context: Value,
    /// Its first steps.
    pub steps: Vec<NewStep>,
}

/// What a step's completion adds to its job, computed before by the manager from the job, the step and its output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expansion {
    /// Steps to add.
    pub steps: Vec<NewStep>,
    /// Steps, by name, that are done again with their attempts as they are (a bad chunk), and whatever stands behind them.
    pub redo: Vec<String>,
    /// Merged into [`Job::context`] key by key.
    pub context: serde_json::Map<String, Value>,
    /// Renditions to publish (create, or replace one of the same name).
    pub renditions: Vec<Rendition>,
    /// Changes of the asset.
    pub asset: AssetPatch,
    /// Events beside those that every transition writes by itself.
    pub events: Vec<NewEvent>,
}

/// Fields of an asset to change; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AssetPatch {
    /// Title.
    pub title: Option<String>,
    /// State.
    pub state: Option<AssetState>,
    /// Source.
    pub source: Option<Source>,
    /// Probe.
    pub media: Option<Value>,
    /// Length.
    pub duration_ms: Option<i64>,
    /// Poster key.
    pub poster: Option<String>,
    /// Storyboard.
    pub storyboard: Option<Value>,
    /// Error.
    pub error: Option<StepError>,
    /// Free fields.
    pub metadata: Option<Value>,
}

/// What became of a write that carries a fencing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced<T> {
    /// The token holds.
    Held(T),
    /// It does not: kill the work and discard it.
    Lost,
}

/// A claimed step.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// The step, leased: `token`, `attempt` and `lease_until` are the new ones.
    pub step: Step,
}

/// How leases and retries go.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseRules {
    /// Length of a lease.
    pub lease_ms: i64,
    /// First pause before a retry; doubles per attempt, with jitter.
    pub backoff_ms: i64,
    /// Longest pause.
    pub backoff_max_ms: i64,
    /// A step lost or crashed on this many different nodes is poison.
    pub poison_nodes: i64,
    /// A node that lost or failed this many steps ...
    pub strikes_max: i64,
    /// ... within this time is cordoned, and the attempts it consumed are refunded.
    pub strikes_within_ms: i64,
    /// A ready step this old is raised one class.
    pub promote_after_ms: i64,
}

impl Default for LeaseRules {
    fn default() -> Self {
        Self {
            lease_ms: 30_000,
            backoff_ms: 2_000,
            backoff_max_ms: 300_000,
            poison_nodes: 2,
            strikes_max: 3,
            strikes_within_ms: 600_000,
            promote_after_ms: 900_000,
        }
    }
}

/// What one run of the reaper did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Leases that had run out.
    pub lost: u64,
    /// Of those, back in the queue.
    pub retried: u64,
    /// Of those, quarantined.
    pub quarantined: u64,
    /// Nodes cordoned.
    pub cordoned: Vec<String>,
    /// Steps raised a class.
    pub promoted: u64,
}
