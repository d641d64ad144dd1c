//! Claiming, holding and giving back.

use base::Wall;
use serde_json::json;

use super::super::{engine::*, op::op, *};
use super::{
    rows::{self, Held, lane, step_columns},
    workers::glimpsed,
};

/// How long after its last sign a worker counts as alive, as a multiple of a lease.
pub(super) const ALIVE_LEASES: i64 = 2;

impl Catalogue {
    /// Leases a step to a worker that has `caps`, in one statement: lowest class first; in it the tenant with the fewest leased
    /// steps; then job priority, job age, and the order of the steps. `None` when nothing fits, and for a worker that is unknown,
    /// cordoned or draining. Event `job.started` with a job's first lease.
    ///
    /// # Errors
    /// The database's.
    pub async fn claim(&self, worker: &WorkerId, caps: &[String]) -> Result<Option<Lease>> {
        let (caps, lease_ms) = (json!(caps), self.rules().lease_ms);
        self.write(op!(worker, caps, lease_ms; |tx| claim(tx, worker, caps, *lease_ms))).await
    }

    /// Extends the lease and keeps the progress; the new end of the lease.
    ///
    /// A lease whose time is over but which nobody has reaped is extended as well.
    ///
    /// # Errors
    /// The database's.
    pub async fn heartbeat(&self, step: &StepId, token: i64, progress: &Progress) -> Result<Fenced<Wall>> {
        let lease_ms = self.rules().lease_ms;
        self.write(op!(step, token, progress, lease_ms; |tx| heartbeat(tx, step, *token, progress, *lease_ms))).await
    }

    /// Gives a step back unfinished, without counting the attempt: a worker that drains.
    ///
    /// # Errors
    /// The database's.
    pub async fn release(&self, step: &StepId, token: i64) -> Result<Fenced<()>> {
        self.write(op!(step, token; |tx| release(tx, step, *token))).await
    }

    /// The step, if `token` holds its lease.
    ///
    /// # Errors
    /// The database's.
    pub async fn holds(&self, step: &StepId, token: i64) -> Result<Option<Step>> {
        self.read(op!(step, token; |tx| holds(tx, step, *token))).await
    }

    /// The leases that hold: their staging must stay.
    ///
    /// # Errors
    /// The database's.
    pub async fn live_tokens(&self) -> Result<Vec<(StepId, i64)>> {
        self.read(|tx| Box::pin(live_tokens(tx))).await
    }
}

/// Whether worker `$1`'s node may take step `s`: one that failed it for want of capacity may not while another could.
macro_rules! may_take {
    () => {
        "(s.avoid = 0 OR NOT EXISTS (SELECT 1 FROM step_nodes n \
             WHERE n.step = s.id AND n.kind = 'capacity' AND n.node = (SELECT name FROM me)) \
          OR NOT EXISTS (SELECT 1 FROM workers o WHERE o.seen > $5 AND o.draining = 0 \
             AND o.caps LIKE '%\"' || s.cap || '\"%' \
             AND NOT EXISTS (SELECT 1 FROM cordons c WHERE c.name = o.name) \
             AND NOT EXISTS (SELECT 1 FROM step_nodes n WHERE n.step = s.id AND n.kind = 'capacity' AND n.node = o.name)))"
    };
}

/// The begin of a claim: who claims, and the lanes with work, found by leaping from one to the next in the index.
macro_rules! lanes {
    ($caps:literal) => {
        concat!(
            "WITH RECURSIVE me AS (SELECT w.name FROM workers w WHERE w.id = $1 AND w.draining = 0 \
                 AND NOT EXISTS (SELECT 1 FROM cordons c WHERE c.name = w.name)), \
             caps AS (",
            $caps,
            "), \
             lanes AS ( \
                 SELECT c.cap, (SELECT MIN(s.lane) FROM steps s WHERE s.lane > c.cap || '/' AND s.lane < c.cap || '0') AS lane \
                 FROM caps c \
                 UNION ALL \
                 SELECT l.cap, (SELECT MIN(s.lane) FROM steps s WHERE s.lane > l.lane AND s.lane < l.cap || '0') \
                 FROM lanes l WHERE l.lane IS NOT NULL), \
             busy AS (SELECT tenant, COUNT(*) AS n FROM steps WHERE state = 'leased' GROUP BY tenant), "
        )
    };
}

/// The order within a lane, which is the index's.
macro_rules! in_lane {
    () => {
        "s.priority, s.job_created, s.job, s.seq"
    };
}

/// What a lease sets, and what the claim answers.
macro_rules! take {
    ($pick:expr) => {
        concat!(
            " UPDATE steps SET state = 'leased', lane = NULL, attempt = attempt + 1, token = token + 1, worker = $1, \
             node = (SELECT name FROM me), lease_until = $4, progress = NULL, at_permille = 0, at_media_ms = 0, at_bytes = 0, \
             moved = $3, started = $3, finished = NULL \
             WHERE EXISTS (SELECT 1 FROM me) AND id = (",
            $pick,
            ") RETURNING ",
            step_columns!(),
            ", (SELECT j.started FROM jobs j WHERE j.id = steps.job) AS job_started, \
             (SELECT w.seen FROM workers w WHERE w.id = $1) AS worker_seen"
        )
    };
}

const CLAIM_SQLITE: &str = concat!(
    lanes!("SELECT value AS cap FROM json_each($2)"),
    "heads AS (SELECT (SELECT s.id FROM steps s WHERE s.lane = l.lane AND s.ready_at <= $3 AND ",
    may_take!(),
    " ORDER BY ",
    in_lane!(),
    " LIMIT 1) AS id FROM lanes l WHERE l.lane IS NOT NULL)",
    take!(concat!(
        "SELECT s.id FROM heads h JOIN steps s ON s.id = h.id LEFT JOIN busy b ON b.tenant = s.tenant \
         ORDER BY s.class, COALESCE(b.n, 0), ",
        in_lane!(),
        " LIMIT 1"
    ))
);

/// The first step of each lane gives the lanes their order; then the first that no other claim holds is taken.
const CLAIM_POSTGRES: &str = concat!(
    lanes!("SELECT jsonb_array_elements_text(CAST($2 AS jsonb)) AS cap"),
    "heads AS (SELECT l.lane, h.* FROM lanes l CROSS JOIN LATERAL ( \
         SELECT s.class, s.tenant, s.priority, s.job_created, s.job, s.seq FROM steps s \
         WHERE s.lane = l.lane AND s.ready_at <= $3 AND ",
    may_take!(),
    " ORDER BY ",
    in_lane!(),
    " LIMIT 1) h WHERE l.lane IS NOT NULL), \
      ranked AS (SELECT s.lane FROM heads s LEFT JOIN busy b ON b.tenant = s.tenant \
         ORDER BY s.class, COALESCE(b.n, 0), ",
    in_lane!(),
    ")",
    take!(concat!(
        "SELECT p.id FROM ranked r CROSS JOIN LATERAL ( \
             SELECT s.id FROM steps s WHERE s.lane = r.lane AND s.ready_at <= $3 AND ",
        may_take!(),
        " ORDER BY ",
        in_lane!(),
        " LIMIT 1 FOR UPDATE OF s SKIP LOCKED) p LIMIT 1"
    ))
);

async fn claim(tx: &mut Tx<'_>, worker: &WorkerId, caps: &Value, lease_ms: i64) -> Result<Option<Lease>> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => CLAIM_SQLITE,
        Dialect::Postgres => CLAIM_POSTGRES,
    };
    let now = tx.now();
    let alive = now.plus_ms(-ALIVE_LEASES * lease_ms);
    let Some(row) = tx.row(sql, args![worker, caps, now, now.plus_ms(lease_ms), alive]).await? else {
        glimpsed(tx, worker, None).await?;
        return Ok(None);
    };
    let step = rows::step(&row)?;
    glimpsed(tx, worker, row.opt_wall("worker_seen")?).await?;
    if row.opt_int("job_started")?.is_none() {
        start_job(tx, &step).await?;
    }
    Ok(Some(Lease { step }))
}

/// Notes a job's first lease, unless somebody holds the job: then its next lease or its first completed step does.
async fn start_job(tx: &mut Tx<'_>, step: &Step) -> Result<()> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => "UPDATE jobs SET started = $2, updated = $2 WHERE id = $1 AND started IS NULL",
        // The step is locked by now and the order is job before step: so this one does not wait.
        Dialect::Postgres => {
            "UPDATE jobs SET started = $2, updated = $2 \
             WHERE id = (SELECT id FROM jobs WHERE id = $1 AND started IS NULL FOR UPDATE SKIP LOCKED)"
        }
    };
    if tx.execute(sql, args![&step.job, tx.now()]).await? > 0 {
        tx.emit(&NewEvent {
            kind: "job.started",
            tenant: step.tenant.clone(),
            asset: Some(step.asset.clone()),
            job: Some(step.job.clone()),
            data: json!({}),
        })
        .await?;
    }
    Ok(())
}

/// Like [`start_job`], for who holds the job.
pub(super) async fn start_held(tx: &mut Tx<'_>, job: &Held) -> Result<()> {
    const START: &str = "UPDATE jobs SET started = $2 WHERE id = $1";
    if job.started {
        return Ok(());
    }
    tx.execute(START, args![&job.id, tx.now()]).await?;
    tx.emit(&job.event("job.started", json!({}))).await
}

async fn heartbeat(
    tx: &mut Tx<'_>,
    step: &StepId,
    token: i64,
    progress: &Progress,
    lease_ms: i64,
) -> Result<Fenced<Wall>> {
    const EXTEND: &str = "UPDATE steps SET lease_until = $3, progress = $4, \
        moved = CASE WHEN $5 > at_permille OR $6 > at_media_ms OR $7 > at_bytes THEN $8 ELSE moved END, \
        at_permille = CASE WHEN $5 > at_permille THEN $5 ELSE at_permille END, \
        at_media_ms = CASE WHEN $6 > at_media_ms THEN $6 ELSE at_media_ms END, \
        at_bytes = CASE WHEN $7 > at_bytes THEN $7 ELSE at_bytes END \
        WHERE id = $1 AND token = $2 AND state = 'leased' \
        RETURNING worker, (SELECT w.seen FROM workers w WHERE w.id = steps.worker) AS worker_seen";
    let until = tx.now().plus_ms(lease_ms);
    let mut args = args![step, token, until, serde_json::to_string(progress).unwrap_or_default()];
    args.extend(args![progress.permille, progress.out_time_ms.unwrap_or(0), progress.bytes.unwrap_or(0), tx.now()]);
    let Some(row) = tx.row(EXTEND, args).await? else { return Ok(Fenced::Lost) };
    if let Some(worker) = row.opt_id("worker")? {
        glimpsed(tx, &worker, row.opt_wall("worker_seen")?).await?;
    }
    Ok(Fenced::Held(until))
}

async fn release(tx: &mut Tx<'_>, step: &StepId, token: i64) -> Result<Fenced<()>> {
    const RELEASE: &str = concat!(
        "UPDATE steps SET state = 'ready', lane = CASE WHEN $4 = 1 THEN ",
        lane!(),
        " ELSE NULL END, attempt = attempt - 1, token = token + 1, lease_until = NULL, progress = NULL, lane_since = $3, \
         ready_at = $3 WHERE id = $1 AND token = $2 AND state = 'leased'"
    );
    let Some(leased) = rows::leased(tx, step, token).await? else { return Ok(Fenced::Lost) };
    let released = tx.execute(RELEASE, args![step, token, tx.now(), leased.job.running()]).await?;
    if released == 0 {
        return Ok(Fenced::Lost);
    }
    tx.touch();
    Ok(Fenced::Held(()))
}

async fn holds(tx: &mut Tx<'_>, step: &StepId, token: i64) -> Result<Option<Step>> {
    const SELECT: &str =
        concat!("SELECT ", step_columns!(), " FROM steps WHERE id = $1 AND token = $2 AND state = 'leased'");
    tx.row(SELECT, args![step, token]).await?.as_ref().map(rows::step).transpose()
}

async fn live_tokens(tx: &mut Tx<'_>) -> Result<Vec<(StepId, i64)>> {
    const SELECT: &str = "SELECT id, token FROM steps WHERE state = 'leased'";
    tx.rows(SELECT, args![]).await?.iter().map(|row| Ok((row.id("id")?, row.int("token")?))).collect()
}
