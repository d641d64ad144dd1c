//! Looking at jobs, steps and the queue.

use super::super::{
    engine::*,
    op::op,
    page::{Mark, page, rows_to_ask},
    *,
};
use super::rows::{self, job_columns, step_columns};

/// Of this listing's cursors.
const LISTING: &str = "jobs";

impl Catalogue {
    /// One job.
    ///
    /// # Errors
    /// The database's.
    pub async fn job(&self, id: &JobId) -> Result<Option<Job>> {
        self.read(op!(id; |tx| job(tx, id))).await
    }

    /// Jobs, newest first.
    ///
    /// # Errors
    /// [`Error::Cursor`] when `after` is no position in this listing; or the database's.
    pub async fn jobs(&self, filter: &JobFilter, after: Option<&str>, limit: u32) -> Result<Page<Job>> {
        let after = Mark::decode_opt(LISTING, after)?;
        self.read(op!(filter, after, limit; |tx| jobs(tx, filter, after.as_ref(), *limit))).await
    }

    /// The steps of a job in their order.
    ///
    /// # Errors
    /// The database's.
    pub async fn steps(&self, job: &JobId) -> Result<Vec<Step>> {
        self.read(op!(job; |tx| steps(tx, job))).await
    }

    /// One step.
    ///
    /// # Errors
    /// The database's.
    pub async fn step(&self, id: &StepId) -> Result<Option<Step>> {
        self.read(op!(id; |tx| step(tx, id))).await
    }

    /// Which step of a job waits for which: (step, needs).
    ///
    /// # Errors
    /// The database's.
    pub async fn step_needs(&self, job: &JobId) -> Result<Vec<(StepId, StepId)>> {
        self.read(op!(job; |tx| needs(tx, job))).await
    }

    /// How much waits and runs, by capability and class.
    ///
    /// # Errors
    /// The database's.
    pub async fn queue(&self) -> Result<Vec<QueueDepth>> {
        self.read(|tx| Box::pin(queue(tx))).await
    }

    /// How many jobs have steps that go before this job's own, by class, priority and age; `None` when it has none in the queue.
    ///
    /// # Errors
    /// The database's.
    pub async fn queue_position(&self, job: &JobId) -> Result<Option<u64>> {
        self.read(op!(job; |tx| position(tx, job))).await
    }
}

async fn job(tx: &mut Tx<'_>, id: &JobId) -> Result<Option<Job>> {
    const SELECT: &str = concat!("SELECT ", job_columns!(), " FROM jobs WHERE id = $1");
    tx.row(SELECT, args![id]).await?.as_ref().map(rows::job).transpose()
}

async fn jobs(tx: &mut Tx<'_>, filter: &JobFilter, after: Option<&Mark>, limit: u32) -> Result<Page<Job>> {
    const SELECT: &str = concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs WHERE (tenant = $1 OR $1 IS NULL) AND (state = $2 OR $2 IS NULL) AND (asset = $3 OR $3 IS NULL) \
         AND (created < $4 OR (created = $4 AND id < $5) OR $4 IS NULL) ORDER BY created DESC, id DESC LIMIT $6"
    );
    let mut args = args![filter.tenant.as_deref(), filter.state, filter.asset.as_ref()];
    args.extend(args![after.map(|mark| mark.at), after.map(|mark| mark.tie.as_str()), rows_to_ask(limit)]);
    let found: Vec<Job> = tx.rows(SELECT, args).await?.iter().map(rows::job).collect::<Result<_>>()?;
    Ok(page(found, limit, LISTING, |job| Mark { at: job.created.unix_ms(), tie: job.id.to_string() }))
}

async fn steps(tx: &mut Tx<'_>, job: &JobId) -> Result<Vec<Step>> {
    const SELECT: &str = concat!("SELECT ", step_columns!(), " FROM steps WHERE job = $1 ORDER BY seq");
    tx.rows(SELECT, args![job]).await?.iter().map(rows::step).collect()
}

async fn step(tx: &mut Tx<'_>, id: &StepId) -> Result<Option<Step>> {
    const SELECT: &str = concat!("SELECT ", step_columns!(), " FROM steps WHERE id = $1");
    tx.row(SELECT, args![id]).await?.as_ref().map(rows::step).transpose()
}

pub(super) async fn needs(tx: &mut Tx<'_>, job: &JobId) -> Result<Vec<(StepId, StepId)>> {
    const SELECT: &str = "SELECT n.step, n.needs FROM step_needs n JOIN steps s ON s.id = n.step JOIN steps d ON d.id = n.needs \
        WHERE s.job = $1 ORDER BY s.seq, d.seq";
    tx.rows(SELECT, args![job]).await?.iter().map(|row| Ok((row.id("step")?, row.id("needs")?))).collect()
}

async fn queue(tx: &mut Tx<'_>) -> Result<Vec<QueueDepth>> {
    const SELECT: &str = "SELECT cap, class, \
        CAST(SUM(CASE WHEN lane IS NOT NULL THEN 1 ELSE 0 END) AS BIGINT) AS ready, \
        CAST(SUM(CASE WHEN state = 'leased' THEN 1 ELSE 0 END) AS BIGINT) AS leased, \
        CAST(SUM(CASE WHEN lane IS NOT NULL THEN weight ELSE 0.0 END) AS DOUBLE PRECISION) AS ready_weight \
        FROM steps WHERE lane IS NOT NULL OR state = 'leased' GROUP BY cap, class ORDER BY cap, class";
    let depth = |row: &Row| {
        Ok(QueueDepth {
            cap: row.text("cap")?,
            class: row.int("class")?,
            ready: row.unsigned("ready")?,
            leased: row.unsigned("leased")?,
            ready_weight: row.real("ready_weight")?,
        })
    };
    tx.rows(SELECT, args![]).await?.iter().map(depth).collect()
}

async fn position(tx: &mut Tx<'_>, job: &JobId) -> Result<Option<u64>> {
    const FIRST: &str = "SELECT class, priority, job_created FROM steps WHERE job = $1 AND lane IS NOT NULL \
        ORDER BY class LIMIT 1";
    const BEFORE: &str = "SELECT COUNT(DISTINCT job) AS jobs FROM steps WHERE lane IS NOT NULL AND job <> $1 \
        AND (class < $2 OR (class = $2 AND (priority < $3 OR (priority = $3 \
        AND (job_created < $4 OR (job_created = $4 AND job < $1))))))";
    let Some(row) = tx.row(FIRST, args![job]).await? else { return Ok(None) };
    let args = args![job, row.int("class")?, row.int("priority")?, row.int("job_created")?];
    tx.row(BEFORE, args).await?.map(|row| row.unsigned("jobs")).transpose()
}
