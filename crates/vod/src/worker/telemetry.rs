//! What a worker tells about itself: counts for metrics, and the same for tests and `headwater workers`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// How a step ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Done,
    Failed,
    /// The lease became another's: killed and discarded.
    Lost,
    /// Somebody cancelled the job.
    Cancelled,
    /// Given back, as the worker stops.
    Released,
}

impl Outcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
            Self::Released => "released",
        }
    }
}

/// Counts since the worker was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// Registrations: 1, and one more for each manager that did not know it any more.
    pub registered: u64,
    /// Steps claimed.
    pub claimed: u64,
    /// Steps at work now.
    pub busy: u64,
    /// Steps reported as done.
    pub done: u64,
    /// Steps reported as failed.
    pub failed: u64,
    /// Steps whose lease was lost.
    pub lost: u64,
    /// Steps cancelled from outside.
    pub cancelled: u64,
    /// Steps given back.
    pub released: u64,
    /// Heartbeats that were answered.
    pub heartbeats: u64,
    /// Claims not sent, as the disk is too full.
    pub disk_refusals: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    registered: AtomicU64,
    claimed: AtomicU64,
    busy: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    cancelled: AtomicU64,
    released: AtomicU64,
    heartbeats: AtomicU64,
    disk_refusals: AtomicU64,
}

impl Counts {
    pub(crate) fn snapshot(&self) -> WorkerStats {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        WorkerStats {
            registered: of(&self.registered),
            claimed: of(&self.claimed),
            busy: of(&self.busy),
            done: of(&self.done),
            failed: of(&self.failed),
            lost: of(&self.lost),
            cancelled: of(&self.cancelled),
            released: of(&self.released),
            heartbeats: of(&self.heartbeats),
            disk_refusals: of(&self.disk_refusals),
        }
    }

    pub(crate) fn registered(&self) {
        self.registered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn claimed(&self) {
        self.claimed.fetch_add(1, Ordering::Relaxed);
        gauge!("headwater_worker_busy_slots").set((self.busy.fetch_add(1, Ordering::Relaxed) + 1) as f64);
    }

    pub(crate) fn heartbeat(&self) {
        self.heartbeats.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn disk_refusal(&self) {
        self.disk_refusals.fetch_add(1, Ordering::Relaxed);
        counter!("headwater_worker_disk_refusals_total").increment(1);
    }

    pub(crate) fn ended(&self, kind: &'static str, outcome: Outcome, took: Duration) {
        let count = match outcome {
            Outcome::Done => &self.done,
            Outcome::Failed => &self.failed,
            Outcome::Lost => &self.lost,
            Outcome::Cancelled => &self.cancelled,
            Outcome::Released => &self.released,
        };
        count.fetch_add(1, Ordering::Relaxed);
        gauge!("headwater_worker_busy_slots").set((self.busy.fetch_sub(1, Ordering::Relaxed) - 1) as f64);
        counter!("headwater_worker_steps_total", "kind" => kind, "outcome" => outcome.label()).increment(1);
        histogram!("headwater_worker_step_seconds", "kind" => kind).record(took.as_secs_f64());
    }
}

/// Describes the worker's metrics to the recorder; once, at the start of the process.
pub fn describe_metrics() {
    describe_counter!("headwater_worker_steps_total", "Steps that this worker ended, by kind and outcome.");
    describe_gauge!("headwater_worker_busy_slots", "Steps at work now.");
    describe_histogram!("headwater_worker_step_seconds", "Seconds from a step's claim to its end, by kind.");
    describe_counter!("headwater_worker_disk_refusals_total", "Claims not sent as the scratch disk is too full.");
}
