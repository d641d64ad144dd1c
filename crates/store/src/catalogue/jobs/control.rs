//! What people do to jobs: cancel, pause, resume, prioritise, retry.

use serde_json::json;

use super::super::{assets, engine::*, op::op, *};
use super::{
    create::settle,
    fail::end_job,
    rows::{self, Held, lane},
};

impl Catalogue {
    /// Stops a job: its steps are cancelled, their workers hear it at their next heartbeat, and an asset of which nothing plays is
    /// errored. `false` when it had ended, or there is none. Event `job.cancelled`.
    ///
    /// # Errors
    /// The database's.
    pub async fn cancel_job(&self, id: &JobId) -> Result<bool> {
        self.write(op!(id; |tx| cancel(tx, id))).await
    }

    /// Leases nothing new of a running job; what runs is finished. Event `job.paused`.
    ///
    /// # Errors
    /// The database's.
    pub async fn pause_job(&self, id: &JobId) -> Result<bool> {
        self.write(op!(id; |tx| pause(tx, id))).await
    }

    /// Lets a paused job go on. Event `job.resumed`.
    ///
    /// # Errors
    /// The database's.
    pub async fn resume_job(&self, id: &JobId) -> Result<bool> {
        self.write(op!(id; |tx| resume(tx, id))).await
    }

    /// Changes the priority of a job that has not ended: lower goes first.
    ///
    /// # Errors
    /// The database's.
    pub async fn prioritise_job(&self, id: &JobId, priority: i64) -> Result<bool> {
        self.write(op!(id, priority; |tx| prioritise(tx, id, *priority))).await
    }

    /// Takes up a job that failed or was cancelled where it stood: what is done stays done, the rest gets all its attempts again.
    /// `false` when it had not ended so, or its asset is gone. Event `job.retried`.
    ///
    /// # Errors
    /// The database's.
    pub async fn retry_job(&self, id: &JobId) -> Result<bool> {
        self.write(op!(id; |tx| retry(tx, id))).await
    }

    /// Gives a step that failed, was cancelled or quarantined all its attempts again and takes its job up; an optional step that
    /// failed is done again by itself. `false` when the step is none of these.
    ///
    /// # Errors
    /// The database's.
    pub async fn retry_step(&self, id: &StepId) -> Result<bool> {
        self.write(op!(id; |tx| retry_step(tx, id))).await
    }
}

async fn cancel(tx: &mut Tx<'_>, id: &JobId) -> Result<bool> {
    let Some(job) = rows::hold(tx, id).await?.filter(open) else { return Ok(false) };
    let error = StepError {
        class: ErrorClass::Input,
        code: "cancelled".into(),
        human: "The job was cancelled. Retry it to go on where it stopped, or delete the asset.".into(),
        log: None,
        worker: None,
    };
    end_job(tx, &job, JobState::Cancelled, Some(&error)).await?;
    Ok(true)
}

fn open(job: &Held) -> bool {
    matches!(job.state, JobState::Running | JobState::Paused)
}

/// Cancels the jobs of an asset that is being deleted; the asset itself is left as it is.
pub(crate) async fn cancel_jobs_of(tx: &mut Tx<'_>, asset: &AssetId) -> Result<()> {
    const SELECT: &str = "SELECT id FROM jobs WHERE asset = $1 AND state IN ('running', 'paused') ORDER BY id";
    for row in tx.rows(SELECT, args![asset]).await? {
        if let Some(job) = rows::hold(tx, &row.id("id")?).await?.filter(open) {
            end_job(tx, &job, JobState::Cancelled, None).await?;
        }
    }
    Ok(())
}

async fn pause(tx: &mut Tx<'_>, id: &JobId) -> Result<bool> {
    const STEPS: &str = "UPDATE steps SET lane = NULL WHERE job = $1 AND lane IS NOT NULL";
    let Some(job) = rows::hold(tx, id).await?.filter(Held::running) else { return Ok(false) };
    set_state(tx, &job, JobState::Paused).await?;
    tx.execute(STEPS, args![id]).await?;
    tx.emit(&job.event("job.paused", json!({}))).await?;
    Ok(true)
}

async fn resume(tx: &mut Tx<'_>, id: &JobId) -> Result<bool> {
    const STEPS: &str =
        concat!("UPDATE steps SET lane = ", lane!(), ", lane_since = $2 WHERE job = $1 AND state = 'ready'");
    let paused = |job: &Held| job.state == JobState::Paused;
    let Some(job) = rows::hold(tx, id).await?.filter(paused) else { return Ok(false) };
    set_state(tx, &job, JobState::Running).await?;
    tx.execute(STEPS, args![id, tx.now()]).await?;
    tx.emit(&job.event("job.resumed", json!({}))).await?;
    Ok(true)
}

async fn set_state(tx: &mut Tx<'_>, job: &Held, state: JobState) -> Result<()> {
    const SET: &str = "UPDATE jobs SET state = $2, updated = $3 WHERE id = $1";
    tx.execute(SET, args![&job.id, state, tx.now()]).await.map(drop)
}

async fn prioritise(tx: &mut Tx<'_>, id: &JobId, priority: i64) -> Result<bool> {
    const JOB: &str = "UPDATE jobs SET priority = $2, updated = $3 WHERE id = $1";
    const STEPS: &str = "UPDATE steps SET priority = $2 WHERE job = $1 AND state <> 'done'";
    let Some(job) = rows::hold(tx, id).await?.filter(open) else { return Ok(false) };
    tx.execute(JOB, args![id, priority, tx.now()]).await?;
    tx.execute(STEPS, args![id, priority]).await?;
    tx.emit(&job.event("job.prioritised", json!({ "priority": priority }))).await?;
    Ok(true)
}

async fn retry(tx: &mut Tx<'_>, id: &JobId) -> Result<bool> {
    const ATTEMPTS: &str =
        "UPDATE steps SET attempt = 0, avoid = 0 WHERE job = $1 AND state IN ('failed', 'cancelled', 'quarantined')";
    const NODES: &str =
        "DELETE FROM step_nodes WHERE step IN (SELECT id FROM steps WHERE job = $1 AND state <> 'done')";
    let Some(mut job) = rows::hold(tx, id).await?.filter(ended) else { return Ok(false) };
    tx.execute(ATTEMPTS, args![id]).await?;
    tx.execute(NODES, args![id]).await?;
    revive(tx, &mut job, None).await
}

fn ended(job: &Held) -> bool {
    matches!(job.state, JobState::Failed | JobState::Cancelled)
}

async fn retry_step(tx: &mut Tx<'_>, id: &StepId) -> Result<bool> {
    const JOB: &str = "SELECT job FROM steps WHERE id = $1";
    const STEP: &str = "SELECT state, error FROM steps WHERE id = $1";
    const ATTEMPTS: &str = "UPDATE steps SET attempt = 0, avoid = 0 WHERE id = $1";
    const NODES: &str = "DELETE FROM step_nodes WHERE step = $1";
    let Some(row) = tx.row(JOB, args![id]).await? else { return Ok(false) };
    let Some(mut job) = rows::hold(tx, &row.id("job")?).await? else { return Ok(false) };
    let Some(row) = tx.row(STEP, args![id]).await? else { return Ok(false) };
    let again = match row.word("state", StepState::from_word)? {
        StepState::Failed | StepState::Quarantined | StepState::Cancelled => ended(&job),
        // An optional one that failed.
        StepState::Done => row.opt_text("error")?.is_some(),
        StepState::Blocked | StepState::Ready | StepState::Leased => false,
    };
    if !again {
        return Ok(false);
    }
    tx.execute(ATTEMPTS, args![id]).await?;
    tx.execute(NODES, args![id]).await?;
    revive(tx, &mut job, Some(id)).await
}

/// Takes a held job up again: its failed, cancelled and quarantined steps, and `step` whatever its state, go back to the queue.
/// `false` when its asset is gone.
pub(super) async fn revive(tx: &mut Tx<'_>, job: &mut Held, step: Option<&StepId>) -> Result<bool> {
    const STEPS: &str = "UPDATE steps SET state = 'blocked', lane = NULL, token = token + 1, lease_until = NULL, \
        progress = NULL, finished = NULL WHERE job = $1 AND (state IN ('failed', 'cancelled', 'quarantined') OR id = $2)";
    const JOB: &str = "UPDATE jobs SET state = $2, error = NULL, finished = NULL, updated = $3, \
        open = (SELECT COUNT(*) FROM steps WHERE job = $1 AND state <> 'done') WHERE id = $1";
    const ASSET: &str = "SELECT state FROM assets WHERE id = $1 AND state <> 'deleted'";
    let Some(asset) = tx.row(ASSET, args![&job.asset]).await? else { return Ok(false) };
    if job.state != JobState::Paused {
        job.state = JobState::Running;
    }
    tx.execute(STEPS, args![&job.id, step]).await?;
    tx.execute(JOB, args![&job.id, job.state, tx.now()]).await?;
    settle(tx, job).await?;
    tx.emit(&job.event("job.retried", json!({ "step": step }))).await?;
    if asset.text("state")? == AssetState::Errored.as_str() {
        let patch = AssetPatch { state: Some(AssetState::Preparing), ..AssetPatch::default() };
        assets::apply_patch(tx, &job.asset, &patch).await?;
    }
    Ok(true)
}
