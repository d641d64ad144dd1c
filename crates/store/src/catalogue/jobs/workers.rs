//! Workers and their nodes.

use base::Wall;
use serde_json::json;

use super::super::{engine::*, op::op, *};
use crate::Error;

macro_rules! workers {
    ($rest:literal) => {
        concat!(
            "SELECT w.id, w.name, w.caps, w.info, w.draining, w.registered, w.seen, c.reason \
             FROM workers w LEFT JOIN cordons c ON c.name = w.name ",
            $rest
        )
    };
}

impl Catalogue {
    /// Makes a worker known, or tells what changed of it. The cordon of its node stays: the answer says how it stands.
    ///
    /// # Errors
    /// The database's.
    pub async fn register_worker(&self, worker: &Worker) -> Result<Worker> {
        self.write(op!(worker; |tx| register(tx, worker))).await
    }

    /// Every worker, by node name.
    ///
    /// # Errors
    /// The database's.
    pub async fn workers(&self) -> Result<Vec<Worker>> {
        const SELECT: &str = workers!("ORDER BY w.name, w.id");
        self.read(|tx| Box::pin(async move { tx.rows(SELECT, args![]).await?.iter().map(worker).collect() })).await
    }

    /// One worker.
    ///
    /// # Errors
    /// The database's.
    pub async fn worker(&self, id: &WorkerId) -> Result<Option<Worker>> {
        self.read(op!(id; |tx| find(tx, id))).await
    }

    /// Notes a sign of life. `None` for a worker that is not known: it has to register.
    ///
    /// # Errors
    /// The database's.
    pub async fn seen_worker(&self, id: &WorkerId) -> Result<Option<Worker>> {
        self.write(op!(id; |tx| seen(tx, id))).await
    }

    /// Lets a node get no new steps, with the reason; `None` lets it again, and forgets what was held against it. `false` when
    /// there is no such node, or it was not cordoned.
    ///
    /// # Errors
    /// The database's.
    pub async fn cordon(&self, name: &str, reason: Option<&str>) -> Result<bool> {
        let reason = reason.map(str::to_owned);
        self.write(op!(name, reason; |tx| cordon(tx, name, reason.as_deref()))).await
    }

    /// Lets a worker finish what it has and leave. `false` when it is not known.
    ///
    /// # Errors
    /// The database's.
    pub async fn drain_worker(&self, id: &WorkerId) -> Result<bool> {
        const DRAIN: &str = "UPDATE workers SET draining = 1 WHERE id = $1";
        self.write(op!(id; |tx| async { Ok(tx.execute(DRAIN, args![id]).await? > 0) })).await
    }

    /// Forgets workers that hold nothing and gave no sign for `older_than_ms`; how many.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_workers(&self, older_than_ms: i64) -> Result<u64> {
        const FORGET: &str = "DELETE FROM workers WHERE seen <= $1 AND NOT EXISTS \
            (SELECT 1 FROM steps s WHERE s.state = 'leased' AND s.worker = workers.id)";
        self.write(op!(older_than_ms; |tx| {
            let before = tx.now().plus_ms(-older_than_ms);
            tx.execute(FORGET, args![before])
        }))
        .await
    }
}

fn worker(row: &Row) -> Result<Worker> {
    let cordon_reason = row.opt_text("reason")?;
    Ok(Worker {
        id: row.id("id")?,
        name: row.text("name")?,
        caps: row.stored("caps")?,
        info: row.json("info")?,
        cordoned: cordon_reason.is_some(),
        cordon_reason,
        draining: row.flag("draining")?,
        registered: row.wall("registered")?,
        seen: row.wall("seen")?,
    })
}

async fn find(tx: &mut Tx<'_>, id: &WorkerId) -> Result<Option<Worker>> {
    const SELECT: &str = workers!("WHERE w.id = $1");
    tx.row(SELECT, args![id]).await?.as_ref().map(worker).transpose()
}

async fn register(tx: &mut Tx<'_>, worker: &Worker) -> Result<Worker> {
    const PUT: &str = "INSERT INTO workers (id, name, caps, info, draining, registered, seen) \
        VALUES ($1, $2, $3, $4, $5, $6, $6) \
        ON CONFLICT (id) DO UPDATE SET name = $2, caps = $3, info = $4, draining = $5, seen = $6";
    let caps = json!(worker.caps);
    tx.execute(PUT, args![&worker.id, &worker.name, &caps, &worker.info, worker.draining, tx.now()]).await?;
    tx.touch();
    let found = find(tx, &worker.id).await?;
    found.ok_or(Error::Row { column: "workers.id", why: "the row just written is not there".into() })
}

async fn seen(tx: &mut Tx<'_>, id: &WorkerId) -> Result<Option<Worker>> {
    const SEEN: &str = "UPDATE workers SET seen = $2 WHERE id = $1";
    tx.execute(SEEN, args![id, tx.now()]).await?;
    find(tx, id).await
}

/// A sign of life on the way of another request: written only when the last one is a while ago.
pub(super) async fn glimpsed(tx: &mut Tx<'_>, id: &WorkerId, last: Option<Wall>) -> Result<()> {
    /// Signs closer together are one. Milliseconds, far below the time after which a worker counts as gone.
    const INTERVAL_MS: i64 = 5_000;
    const SEEN: &str = "UPDATE workers SET seen = $2 WHERE id = $1 AND seen <= $3";
    let before = tx.now().plus_ms(-INTERVAL_MS);
    if last.is_some_and(|last| last > before) {
        return Ok(());
    }
    tx.execute(SEEN, args![id, tx.now(), before]).await.map(drop)
}

async fn cordon(tx: &mut Tx<'_>, name: &str, reason: Option<&str>) -> Result<bool> {
    const CORDON: &str = "INSERT INTO cordons (name, reason, at, automatic) \
        SELECT $1, $2, $3, 0 WHERE EXISTS (SELECT 1 FROM workers WHERE name = $1) \
        ON CONFLICT (name) DO UPDATE SET reason = $2, at = $3, automatic = 0";
    const UNCORDON: &str = "DELETE FROM cordons WHERE name = $1";
    const STRIKES: &str = "DELETE FROM strikes WHERE node = $1";
    if let Some(reason) = reason {
        return Ok(tx.execute(CORDON, args![name, reason, tx.now()]).await? > 0);
    }
    tx.execute(STRIKES, args![name]).await?;
    let lifted = tx.execute(UNCORDON, args![name]).await? > 0;
    tx.touch();
    Ok(lifted)
}
