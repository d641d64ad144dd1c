//! A step's end in success, and what it adds to its job.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::super::{assets, engine::*, op::op, *};
use super::{
    claim::start_held,
    create::{insert_steps, settle},
    fail::end_job,
    rows::{self, Held, Leased, lane},
};
use crate::Error;

impl Catalogue {
    /// Records what a step produced and applies the expansion, in one transaction: the steps behind it are unblocked, and the job
    /// is done when no step is left. Events `job.step.done` and `job.done`.
    ///
    /// # Errors
    /// [`Error::Refused`] when the expansion names steps that are not there; or the database's.
    pub async fn complete(
        &self,
        step: &StepId,
        token: i64,
        output: &Value,
        expansion: &Expansion,
    ) -> Result<Fenced<()>> {
        self.write(op!(step, token, output, expansion; |tx| complete(tx, step, *token, output, expansion))).await
    }
}

async fn complete(
    tx: &mut Tx<'_>,
    id: &StepId,
    token: i64,
    output: &Value,
    expansion: &Expansion,
) -> Result<Fenced<()>> {
    const DONE: &str = "UPDATE steps SET state = 'done', output = $3, error = NULL, lease_until = NULL, finished = $4 \
        WHERE id = $1 AND token = $2 AND state = 'leased'";
    let Some(step) = rows::leased(tx, id, token).await? else { return Ok(Fenced::Lost) };
    if tx.execute(DONE, args![id, token, output, tx.now()]).await? == 0 {
        return Ok(Fenced::Lost);
    }
    start_held(tx, &step.job).await?;
    let Leased { name, kind, rendition, attempt, .. } = &step;
    let data = json!({ "step": id, "name": name, "kind": kind, "rendition": rendition, "attempt": attempt });
    tx.emit(&step.job.event("job.step.done", data)).await?;
    unblock(tx, &step.job, id).await?;

    let mut opened = insert_steps_of(tx, &step.job, expansion).await?;
    let redone = redo(tx, &step.job, &expansion.redo).await?;
    opened += redone.opened;
    publish(tx, &step.job, expansion).await?;
    close_step(tx, &step.job, opened).await?;
    if let Some(name) = redone.exhausted {
        end_job(tx, &step.job, JobState::Failed, Some(&exhausted(&name))).await?;
    }
    Ok(Fenced::Held(()))
}

/// Counts a step off the steps in front of those that wait for it, and readies them at zero.
pub(super) async fn unblock(tx: &mut Tx<'_>, job: &Held, done: &StepId) -> Result<()> {
    const UNBLOCK: &str = concat!(
        "UPDATE steps SET waiting = waiting - 1, \
         state = CASE WHEN waiting <= 1 THEN 'ready' ELSE 'blocked' END, \
         lane = CASE WHEN waiting <= 1 AND $3 = 1 THEN ",
        lane!(),
        " ELSE NULL END, lane_since = $2, ready_at = $2 \
         WHERE id IN (SELECT step FROM step_needs WHERE needs = $1) AND state = 'blocked'"
    );
    if tx.execute(UNBLOCK, args![done, tx.now(), job.running()]).await? > 0 {
        tx.touch();
    }
    Ok(())
}

/// Counts a step off the job's open ones and `opened` on; the job that has none left is done.
pub(super) async fn close_step(tx: &mut Tx<'_>, job: &Held, opened: i64) -> Result<()> {
    const CLOSE: &str = "UPDATE jobs SET open = open - 1 + $2, updated = $3, \
        state = CASE WHEN open - 1 + $2 = 0 THEN 'done' ELSE state END, \
        finished = CASE WHEN open - 1 + $2 = 0 THEN $3 ELSE NULL END WHERE id = $1 RETURNING open";
    let row = tx.row(CLOSE, args![&job.id, opened, tx.now()]).await?;
    let open = row.map(|row| row.int("open")).transpose()?;
    if open == Some(0) {
        tx.emit(&job.event("job.done", json!({}))).await?;
    }
    Ok(())
}

async fn insert_steps_of(tx: &mut Tx<'_>, job: &Held, expansion: &Expansion) -> Result<i64> {
    if expansion.steps.is_empty() {
        return Ok(0);
    }
    insert_steps(tx, job, &expansion.steps).await
}

/// Context, renditions, asset and events of an expansion.
async fn publish(tx: &mut Tx<'_>, job: &Held, expansion: &Expansion) -> Result<()> {
    if !expansion.context.is_empty() {
        merge_context(tx, job, &expansion.context).await?;
    }
    for rendition in &expansion.renditions {
        assets::put_rendition(tx, rendition).await?;
    }
    if expansion.asset != AssetPatch::default() {
        assets::apply_patch(tx, &job.asset, &expansion.asset).await?;
    }
    for event in &expansion.events {
        tx.emit(event).await?;
    }
    Ok(())
}

async fn merge_context(tx: &mut Tx<'_>, job: &Held, more: &serde_json::Map<String, Value>) -> Result<()> {
    const GET: &str = "SELECT context FROM jobs WHERE id = $1";
    const PUT: &str = "UPDATE jobs SET context = $2 WHERE id = $1";
    let context = tx.row(GET, args![&job.id]).await?.map(|row| row.json("context")).transpose()?;
    let mut merged = match context {
        Some(Value::Object(context)) => context,
        _ => serde_json::Map::new(),
    };
    merged.extend(more.clone());
    tx.execute(PUT, args![&job.id, &Value::Object(merged)]).await.map(drop)
}

/// What a redo did.
#[derive(Default)]
struct Redone {
    /// Steps that were done and are not now.
    opened: i64,
    /// One that may not be done again.
    exhausted: Option<String>,
}

/// Sends the named steps and all that stands behind them back to the queue.
async fn redo(tx: &mut Tx<'_>, job: &Held, names: &[String]) -> Result<Redone> {
    const AGAIN: &str = "UPDATE steps SET state = 'blocked', lane = NULL, output = NULL, lease_until = NULL, progress = NULL, \
        finished = NULL, token = token + 1 WHERE id = $1";
    let mut redone = Redone::default();
    if names.is_empty() {
        return Ok(redone);
    }
    let steps = summaries(tx, &job.id).await?;
    let behind = dependents(tx, &job.id).await?;
    let mut todo = Vec::new();
    for name in names {
        let Some(step) = steps.values().find(|step| &step.name == name) else {
            return Err(Error::Refused { why: format!("job {} has no step {name:?} to be done again", job.id) });
        };
        // A step that is done well each time and found bad each time would go round for ever.
        if step.attempt >= step.attempts_max {
            redone.exhausted = Some(name.clone());
        }
        todo.push(step.id.clone());
    }
    let mut seen: HashSet<StepId> = todo.iter().cloned().collect();
    while let Some(id) = todo.pop() {
        redone.opened += i64::from(steps.get(&id).is_some_and(|step| step.done));
        tx.execute(AGAIN, args![&id]).await?;
        let next = behind.get(&id).into_iter().flatten();
        todo.extend(next.filter(|next| seen.insert((*next).clone())).cloned());
    }
    settle(tx, job).await?;
    Ok(redone)
}

struct Summary {
    id: StepId,
    name: String,
    done: bool,
    attempt: i64,
    attempts_max: i64,
}

async fn summaries(tx: &mut Tx<'_>, job: &JobId) -> Result<HashMap<StepId, Summary>> {
    const SELECT: &str = "SELECT id, name, state, attempt, attempts_max FROM steps WHERE job = $1";
    let rows = tx.rows(SELECT, args![job]).await?;
    let summary = |row: &Row| {
        Ok(Summary {
            id: row.id("id")?,
            name: row.text("name")?,
            done: row.text("state")? == "done",
            attempt: row.int("attempt")?,
            attempts_max: row.int("attempts_max")?,
        })
    };
    rows.iter().map(|row| summary(row).map(|step| (step.id.clone(), step))).collect()
}

/// Which steps wait for which.
async fn dependents(tx: &mut Tx<'_>, job: &JobId) -> Result<HashMap<StepId, Vec<StepId>>> {
    let mut behind: HashMap<StepId, Vec<StepId>> = HashMap::new();
    for (step, needs) in super::list::needs(tx, job).await? {
        behind.entry(needs).or_default().push(step);
    }
    Ok(behind)
}

fn exhausted(name: &str) -> StepError {
    StepError {
        class: ErrorClass::Bug,
        code: "redone_too_often".into(),
        human: format!(
            "Step {name} was done again and again and its result was bad each time. Retry the job, or report it."
        ),
        log: None,
        worker: None,
    }
}
