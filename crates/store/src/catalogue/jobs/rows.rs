//! Rows of jobs and steps, and the job that is held while its steps change.

use base::Wall;

use super::super::{engine::*, *};

macro_rules! job_columns {
    () => {
        "id, asset, tenant, state, recipe, recipe_version, priority, context, error, created, updated, finished"
    };
}
macro_rules! step_columns {
    () => {
        "id, job, asset, tenant, name, kind, rendition, cap, class, weight, spec, state, attempt, attempts_max, token, worker, \
         lease_until, progress, moved, output, error, ready_at, created, started, finished"
    };
}
/// The lane of a step that may be claimed.
macro_rules! lane {
    () => {
        "cap || '/' || CAST(class AS TEXT) || '/' || tenant"
    };
}
pub(super) use {job_columns, lane, step_columns};

pub(super) fn job(row: &Row) -> Result<Job> {
    Ok(Job {
        id: row.id("id")?,
        asset: row.id("asset")?,
        tenant: row.text("tenant")?,
        state: row.word("state", JobState::from_word)?,
        recipe: RecipeRef { name: row.text("recipe")?, version: row.int("recipe_version")? },
        priority: row.int("priority")?,
        context: row.json("context")?,
        error: row.opt_stored("error")?,
        created: row.wall("created")?,
        updated: row.wall("updated")?,
        finished: row.opt_wall("finished")?,
    })
}

pub(super) fn step(row: &Row) -> Result<Step> {
    Ok(Step {
        id: row.id("id")?,
        job: row.id("job")?,
        asset: row.id("asset")?,
        tenant: row.text("tenant")?,
        name: row.text("name")?,
        kind: row.text("kind")?,
        rendition: row.opt_text("rendition")?,
        cap: row.text("cap")?,
        class: row.int("class")?,
        weight: row.real("weight")?,
        spec: row.json("spec")?,
        state: row.word("state", StepState::from_word)?,
        attempt: row.int("attempt")?,
        attempts_max: row.int("attempts_max")?,
        token: row.int("token")?,
        worker: row.opt_id("worker")?,
        lease_until: row.opt_wall("lease_until")?,
        progress: row.opt_stored("progress")?,
        moved: row.opt_wall("moved")?,
        output: row.opt_json("output")?,
        error: row.opt_stored("error")?,
        ready_at: row.wall("ready_at")?,
        created: row.wall("created")?,
        started: row.opt_wall("started")?,
        finished: row.opt_wall("finished")?,
    })
}

/// What a change of a job's steps needs to know of the job, which stays held until the end of the transaction.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) id: JobId,
    pub(super) asset: AssetId,
    pub(super) tenant: String,
    pub(super) state: JobState,
    pub(super) priority: i64,
    pub(super) created: Wall,
    pub(super) started: bool,
}

macro_rules! held_columns {
    () => {
        "j.id, j.asset, j.tenant, j.state, j.priority, j.created, j.started"
    };
}

pub(super) fn held(row: &Row) -> Result<Held> {
    Ok(Held {
        id: row.id("id")?,
        asset: row.id("asset")?,
        tenant: row.text("tenant")?,
        state: row.word("state", JobState::from_word)?,
        priority: row.int("priority")?,
        created: row.wall("created")?,
        started: row.opt_int("started")?.is_some(),
    })
}

/// Holds a job against every other change until the end of the transaction.
pub(super) async fn hold(tx: &mut Tx<'_>, id: &JobId) -> Result<Option<Held>> {
    const SQL: &str = concat!("SELECT ", held_columns!(), " FROM jobs j WHERE j.id = $1");
    const LOCKED: &str = concat!("SELECT ", held_columns!(), " FROM jobs j WHERE j.id = $1 FOR UPDATE");
    let sql = match tx.dialect() {
        // One writer at a time: there is nobody to hold it against.
        Dialect::Sqlite => SQL,
        Dialect::Postgres => LOCKED,
    };
    tx.row(sql, args![id]).await?.as_ref().map(held).transpose()
}

impl Held {
    /// Whether its ready steps stand in their lanes.
    pub(super) fn running(&self) -> bool {
        self.state == JobState::Running
    }

    /// An event about the job.
    pub(super) fn event(&self, kind: &'static str, data: Value) -> NewEvent {
        NewEvent {
            kind,
            tenant: self.tenant.clone(),
            asset: Some(self.asset.clone()),
            job: Some(self.id.clone()),
            data,
        }
    }
}

/// The step that a write with a fencing token is about, and its job; the job is held.
#[derive(Clone, Debug)]
pub(super) struct Leased {
    pub(super) job: Held,
    pub(super) id: StepId,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) rendition: Option<String>,
    pub(super) attempt: i64,
    pub(super) attempts_max: i64,
    pub(super) token: i64,
    pub(super) node: String,
    pub(super) optional: bool,
}

/// The step if `token` holds its lease.
pub(super) async fn leased(tx: &mut Tx<'_>, id: &StepId, token: i64) -> Result<Option<Leased>> {
    macro_rules! sql {
        ($end:literal) => {
            concat!(
                "SELECT ",
                held_columns!(),
                ", s.name, s.kind, s.rendition, s.attempt, s.attempts_max, s.token, s.node, s.optional \
                 FROM steps s JOIN jobs j ON j.id = s.job WHERE s.id = $1 AND s.token = $2 AND s.state = 'leased'",
                $end
            )
        };
    }
    let sql = match tx.dialect() {
        Dialect::Sqlite => sql!(""),
        Dialect::Postgres => sql!(" FOR UPDATE OF j"),
    };
    let Some(row) = tx.row(sql, args![id, token]).await? else { return Ok(None) };
    Ok(Some(Leased {
        job: held(&row)?,
        id: id.clone(),
        name: row.text("name")?,
        kind: row.text("kind")?,
        rendition: row.opt_text("rendition")?,
        attempt: row.int("attempt")?,
        attempts_max: row.int("attempts_max")?,
        token,
        node: row.opt_text("node")?.unwrap_or_default(),
        optional: row.flag("optional")?,
    }))
}
