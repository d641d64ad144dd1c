//! A step's end in failure: again, elsewhere, or for good.

use base::Wall;
use serde_json::json;

use super::super::{assets, engine::*, op::op, *};
use super::{
    claim::start_held,
    complete::{close_step, unblock},
    nodes,
    rows::{self, Held, Leased, lane},
};

impl Catalogue {
    /// Records that an attempt failed and decides by the error's class: `input` fails for good; `transient` goes back to the queue
    /// after a pause that doubles; `capacity` does too, for other nodes; both until the attempts are used up; `bug` is quarantined.
    /// A step that failed for good fails its job, unless its spec says `"optional": true`: then it counts as done. The state after
    /// it. Events `job.step.failed`, `job.failed`, `asset.errored`.
    ///
    /// # Errors
    /// The database's.
    pub async fn fail(&self, step: &StepId, token: i64, error: &StepError) -> Result<Fenced<StepState>> {
        let rules = self.rules().clone();
        let failed = self.write(op!(step, token, error, rules; |tx| fail(tx, step, *token, error, rules))).await?;
        if let Fenced::Held((_, Some(_))) = failed {
            self.refund().await?;
        }
        Ok(match failed {
            Fenced::Held((state, _)) => Fenced::Held(state),
            Fenced::Lost => Fenced::Lost,
        })
    }
}

/// The state after it, and the node if it was cordoned for it.
type Failed = (StepState, Option<String>);

async fn fail(
    tx: &mut Tx<'_>,
    id: &StepId,
    token: i64,
    error: &StepError,
    rules: &LeaseRules,
) -> Result<Fenced<Failed>> {
    let Some(step) = rows::leased(tx, id, token).await? else { return Ok(Fenced::Lost) };
    // The row of the step is held from here on: a claim never waits for it, a heartbeat does.
    if !take(tx, &step).await? {
        return Ok(Fenced::Lost);
    }
    let error = StepError { worker: error.worker.clone().or(Some(step.node.clone())), ..error.clone() };
    if error.class == ErrorClass::Input {
        let state = give_up(tx, &step, StepState::Failed, step.attempt, &error).await?;
        return Ok(Fenced::Held((state, None)));
    }
    if error.class == ErrorClass::Capacity {
        nodes::remember(tx, &step, "capacity").await?;
    }
    let strike = nodes::strike(tx, &step, rules).await?;
    let attempt = (step.attempt - strike.refund).max(0);
    let state = match error.class {
        ErrorClass::Bug => give_up(tx, &step, StepState::Quarantined, attempt, &error).await?,
        _ if attempt >= step.attempts_max => give_up(tx, &step, StepState::Failed, attempt, &error).await?,
        _ => requeue(tx, &step, attempt, &error, rules).await?,
    };
    Ok(Fenced::Held((state, strike.cordoned)))
}

/// Takes the step from its worker: every later write with its token is refused. `false` when that had happened already.
pub(super) async fn take(tx: &mut Tx<'_>, step: &Leased) -> Result<bool> {
    const TAKE: &str = "UPDATE steps SET state = 'blocked', token = token + 1, lease_until = NULL \
        WHERE id = $1 AND token = $2 AND state = 'leased'";
    Ok(tx.execute(TAKE, args![&step.id, step.token]).await? > 0)
}

/// Puts a taken step back into the queue after a pause.
pub(super) async fn requeue(
    tx: &mut Tx<'_>,
    step: &Leased,
    attempt: i64,
    error: &StepError,
    rules: &LeaseRules,
) -> Result<StepState> {
    const REQUEUE: &str = concat!(
        "UPDATE steps SET state = 'ready', lane = CASE WHEN $2 = 1 THEN ",
        lane!(),
        " ELSE NULL END, lane_since = $3, ready_at = $4, attempt = $5, error = $6, avoid = CASE WHEN $7 = 1 THEN 1 ELSE avoid END \
         WHERE id = $1"
    );
    let ready_at = tx.now().plus_ms(pause_ms(attempt, rules));
    let avoid = error.class == ErrorClass::Capacity;
    let mut args = args![&step.id, step.job.running(), tx.now(), ready_at, attempt, stored(error)];
    args.extend(args![avoid]);
    tx.execute(REQUEUE, args).await?;
    tell(tx, step, StepState::Ready, attempt, error, Some(ready_at)).await?;
    Ok(StepState::Ready)
}

/// The pause before attempt `attempt + 1`: doubling, with jitter so that what failed together does not come back together.
fn pause_ms(attempt: i64, rules: &LeaseRules) -> i64 {
    let doublings = u32::try_from(attempt.saturating_sub(1).clamp(0, 32)).unwrap_or(0);
    let pause = rules.backoff_ms.saturating_mul(1_i64 << doublings).min(rules.backoff_max_ms).max(0);
    rand::random_range(pause / 2..=pause)
}

/// Ends a taken step for good: with its job, or, when it is optional, as if it were done.
pub(super) async fn give_up(
    tx: &mut Tx<'_>,
    step: &Leased,
    state: StepState,
    attempt: i64,
    error: &StepError,
) -> Result<StepState> {
    const END: &str = "UPDATE steps SET state = $2, error = $3, finished = $4, attempt = $5 WHERE id = $1";
    let state = if step.optional { StepState::Done } else { state };
    tx.execute(END, args![&step.id, state, stored(error), tx.now(), attempt]).await?;
    start_held(tx, &step.job).await?;
    tell(tx, step, state, attempt, error, None).await?;
    if step.optional {
        unblock(tx, &step.job, &step.id).await?;
        close_step(tx, &step.job, 0).await?;
    } else {
        end_job(tx, &step.job, JobState::Failed, Some(error)).await?;
    }
    Ok(state)
}

/// Ends a held job before all its steps are done. What is not done is cancelled; viewers keep what plays already.
pub(super) async fn end_job(tx: &mut Tx<'_>, job: &Held, state: JobState, error: Option<&StepError>) -> Result<()> {
    const STEPS: &str = "UPDATE steps SET state = 'cancelled', lane = NULL, lease_until = NULL, token = token + 1, finished = $2 \
        WHERE job = $1 AND state IN ('blocked', 'ready', 'leased')";
    const JOB: &str = "UPDATE jobs SET state = $2, error = $3, updated = $4, finished = $4 WHERE id = $1";
    tx.execute(STEPS, args![&job.id, tx.now()]).await?;
    tx.execute(JOB, args![&job.id, state, error.map(stored), tx.now()]).await?;
    let kind = if state == JobState::Cancelled { "job.cancelled" } else { "job.failed" };
    tx.emit(&job.event(kind, json!({ "error": error.map(told) }))).await?;
    match error {
        Some(error) => assets::errored(tx, &job.asset, error).await,
        None => Ok(()),
    }
}

fn stored(error: &StepError) -> String {
    // A struct of texts always serialises.
    serde_json::to_string(error).unwrap_or_default()
}

/// An error as events tell it: without the log, which the step keeps.
fn told(error: &StepError) -> Value {
    json!({ "class": error.class, "code": error.code, "human": error.human, "worker": error.worker })
}

async fn tell(
    tx: &mut Tx<'_>,
    step: &Leased,
    state: StepState,
    attempt: i64,
    error: &StepError,
    ready_at: Option<Wall>,
) -> Result<()> {
    let Leased { id, name, kind, rendition, attempts_max, .. } = step;
    let data = json!({
        "step": id, "name": name, "kind": kind, "rendition": rendition, "state": state,
        "attempt": attempt, "attempts_max": attempts_max, "error": told(error),
        "again_at": ready_at.map(|at| at.to_string()),
    });
    tx.emit(&step.job.event("job.step.failed", data)).await
}
