//! New jobs and new steps.

use std::collections::HashMap;

use serde_json::json;

use super::super::{engine::*, op::op, *};
use super::rows::{Held, lane};
use crate::Error;

impl Catalogue {
    /// Starts a job on an asset, whose recipe it becomes. Event `job.created`.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no such asset, the job has no steps, or a step waits for one that is not there; or the
    /// database's.
    pub async fn create_job(&self, asset: &AssetId, job: &NewJob) -> Result<()> {
        self.write(op!(asset, job; |tx| create(tx, asset, job))).await
    }
}

async fn create(tx: &mut Tx<'_>, asset: &AssetId, job: &NewJob) -> Result<()> {
    const RECIPE: &str = "UPDATE assets SET recipe_name = $2, recipe_version = $3 WHERE id = $1";
    insert_job(tx, asset, job).await?;
    tx.execute(RECIPE, args![asset, &job.recipe.name, job.recipe.version]).await.map(drop)
}

/// Writes a job with its first steps for an asset that is there.
pub(crate) async fn insert_job(tx: &mut Tx<'_>, asset: &AssetId, job: &NewJob) -> Result<()> {
    const INSERT: &str = "INSERT INTO jobs (id, asset, tenant, state, recipe, recipe_version, priority, context, open, created, \
        updated) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)";
    if job.steps.is_empty() {
        return Err(Error::Refused { why: format!("job {} has no steps; give it at least one", job.id) });
    }
    let Some(tenant) = tenant_of(tx, asset).await? else {
        return Err(Error::Refused { why: format!("there is no asset {asset}; create it before its job") });
    };
    let held = Held {
        id: job.id.clone(),
        asset: asset.clone(),
        tenant,
        state: JobState::Running,
        priority: job.priority,
        created: tx.now(),
        started: false,
    };
    let mut args = args![&held.id, asset, &held.tenant, held.state, &job.recipe.name, job.recipe.version];
    args.extend(args![job.priority, &job.context, job.steps.len() as u64, tx.now()]);
    tx.execute(INSERT, args).await?;
    insert_steps(tx, &held, &job.steps).await?;
    let data = json!({ "recipe": job.recipe, "priority": job.priority, "steps": job.steps.len() });
    tx.emit(&held.event("job.created", data)).await
}

/// The tenant of an asset that is not deleted, nor will be before the end of the transaction.
async fn tenant_of(tx: &mut Tx<'_>, asset: &AssetId) -> Result<Option<String>> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => "SELECT tenant FROM assets WHERE id = $1 AND state <> 'deleted'",
        Dialect::Postgres => "SELECT tenant FROM assets WHERE id = $1 AND state <> 'deleted' FOR UPDATE",
    };
    tx.row(sql, args![asset]).await?.map(|row| row.text("tenant")).transpose()
}

/// A step that a new one may wait for.
struct Known {
    id: StepId,
    done: bool,
}

/// Adds steps to a job that is held; those whose names it has already are left as they are. How many were added.
pub(super) async fn insert_steps(tx: &mut Tx<'_>, job: &Held, steps: &[NewStep]) -> Result<i64> {
    let (mut known, mut seq) = known_steps(tx, &job.id).await?;
    let mut waiting: Vec<&NewStep> = steps.iter().filter(|step| !known.contains_key(&step.name)).collect();
    let mut added = 0;
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut later = Vec::new();
        for step in waiting {
            if known.contains_key(&step.name) {
                continue;
            }
            if !step.after.iter().all(|name| known.contains_key(name)) {
                later.push(step);
                continue;
            }
            seq += 1;
            let id = insert_step(tx, job, step, seq, &known).await?;
            known.insert(step.name.clone(), Known { id, done: false });
            added += 1;
        }
        if later.len() == before {
            return Err(unreachable_step(later[0], &known));
        }
        waiting = later;
    }
    if added > 0 {
        tx.touch();
    }
    Ok(added)
}

fn unreachable_step(step: &NewStep, known: &HashMap<String, Known>) -> Error {
    let missing = step.after.iter().find(|name| !known.contains_key(*name)).map_or("itself", String::as_str);
    Error::Refused { why: format!("step {:?} waits for {missing:?}, which never comes; correct the plan", step.name) }
}

/// The steps of a job by name, and the last number given.
async fn known_steps(tx: &mut Tx<'_>, job: &JobId) -> Result<(HashMap<String, Known>, i64)> {
    const SELECT: &str = "SELECT id, name, state, seq FROM steps WHERE job = $1";
    let mut known = HashMap::new();
    let mut last = 0;
    for row in tx.rows(SELECT, args![job]).await? {
        last = last.max(row.int("seq")?);
        known.insert(row.text("name")?, Known { id: row.id("id")?, done: row.text("state")? == "done" });
    }
    Ok((known, last))
}

async fn insert_step(
    tx: &mut Tx<'_>,
    job: &Held,
    step: &NewStep,
    seq: i64,
    known: &HashMap<String, Known>,
) -> Result<StepId> {
    const INSERT: &str = "INSERT INTO steps (id, job, asset, tenant, name, seq, kind, rendition, cap, class, weight, spec, optional, wall_ms, \
         priority, job_created, state, waiting, lane, lane_since, attempts_max, ready_at, created) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $20, $20)";
    if !usable(&step.cap) {
        let why = format!("step {:?} asks for {:?}; capabilities are of a-z, 0-9, _, - and .", step.name, step.cap);
        return Err(Error::Refused { why });
    }
    let id = StepId::new();
    let needs: Vec<&StepId> = {
        let mut needs: Vec<_> = step.after.iter().map(|name| &known[name]).collect();
        needs.sort_by(|a, b| a.id.cmp(&b.id));
        needs.dedup_by(|a, b| a.id == b.id);
        needs.iter().map(|need| &need.id).collect()
    };
    let waiting = step.after.iter().collect::<std::collections::HashSet<_>>();
    let waiting = waiting.iter().filter(|name| !known[**name].done).count() as u64;
    let state = if waiting == 0 { StepState::Ready } else { StepState::Blocked };
    let class = step.class.clamp(0, CLASS_MAX);
    let in_lane = state == StepState::Ready && job.running();
    let lane = in_lane.then(|| format!("{}/{class}/{}", step.cap, job.tenant));
    let optional = step.spec.get("optional").and_then(Value::as_bool).unwrap_or(false);
    let wall_ms = step.spec.get("wall_ms").and_then(Value::as_i64);

    let mut args = args![&id, &job.id, &job.asset, &job.tenant, &step.name, seq, &step.kind];
    args.extend(args![step.rendition.as_deref(), &step.cap, class, step.weight, &step.spec, optional, wall_ms]);
    args.extend(args![job.priority, job.created, state, waiting, lane, tx.now(), step.attempts_max.max(1)]);
    tx.execute(INSERT, args).await?;
    insert_needs(tx, &id, &needs).await?;
    Ok(id)
}

/// Capabilities stand in lanes and in quoted lists, so they are plain words.
fn usable(cap: &str) -> bool {
    !cap.is_empty() && cap.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.'))
}

async fn insert_needs(tx: &mut Tx<'_>, step: &StepId, needs: &[&StepId]) -> Result<()> {
    if needs.is_empty() {
        return Ok(());
    }
    let sql = match tx.dialect() {
        Dialect::Sqlite => "INSERT INTO step_needs (step, needs) SELECT $1, value FROM json_each($2)",
        Dialect::Postgres => {
            "INSERT INTO step_needs (step, needs) SELECT $1, jsonb_array_elements_text(CAST($2 AS jsonb))"
        }
    };
    tx.execute(sql, args![step, &json!(needs)]).await.map(drop)
}

/// Puts every blocked step of a held job right: counts what it waits for, and readies it when that is nothing.
pub(super) async fn settle(tx: &mut Tx<'_>, job: &Held) -> Result<()> {
    const COUNT: &str = "UPDATE steps SET waiting = (SELECT COUNT(*) FROM step_needs n JOIN steps d ON d.id = n.needs \
        WHERE n.step = steps.id AND d.state <> 'done') WHERE job = $1 AND state = 'blocked'";
    const READY: &str = concat!(
        "UPDATE steps SET state = 'ready', lane = CASE WHEN $3 = 1 THEN ",
        lane!(),
        " ELSE NULL END, lane_since = $2, ready_at = $2 WHERE job = $1 AND state = 'blocked' AND waiting = 0"
    );
    tx.execute(COUNT, args![&job.id]).await?;
    let readied = tx.execute(READY, args![&job.id, tx.now(), job.running()]).await?;
    if readied > 0 {
        tx.touch();
    }
    Ok(())
}
