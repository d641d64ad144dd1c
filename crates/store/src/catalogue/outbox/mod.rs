//! The outbox: events, written in the transaction of the change they tell, read in an order that never changes behind a reader.
//!
//! On SQLite rows are numbered in the order of their commits. On Postgres they are not: a transaction that took its number first may
//! commit last, and a reader that has gone past would never see it. So a position there is (transaction, row), and readers stop
//! below the oldest transaction that is still under way; whatever commits later is behind that line.

mod deliveries;
mod webhooks;

use super::{engine::*, op::op, page::PAGE_ROWS_MAX, *};

/// Events that one transaction trims at most: others wait for it meanwhile.
const TRIM_ROWS_MAX: u32 = 5_000;

macro_rules! event_columns {
    () => {
        "xid, seq, kind, tenant, asset, job, data, at"
    };
}

impl Catalogue {
    /// Events after a position, oldest first, at most `limit` of them and never more than [`PAGE_ROWS_MAX`]; of one tenant or of all.
    ///
    /// An event that was not there yet is always after those that were: reading on from the last cursor misses none and repeats none.
    /// Events that were trimmed are passed over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events(&self, after: Cursor, tenant: Option<&str>, limit: u32) -> Result<Vec<Event>> {
        let tenant = tenant.map(str::to_owned);
        self.read(op!(after, tenant, limit; |tx| read(tx, *after, tenant.as_deref(), *limit))).await
    }

    /// The position of the newest event; the beginning when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_event(&self) -> Result<Cursor> {
        self.read(op!(; |tx| last(tx))).await
    }

    /// Writes events that belong to no change of the catalogue, all of them or none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn emit(&self, events: &[NewEvent]) -> Result<()> {
        self.write(op!(events; |tx| emit(tx, events))).await
    }

    /// Removes events older than this, and deliveries settled before; how many events. What an endpoint that is switched on has not
    /// queued yet stays, whatever its age.
    ///
    /// # Errors
    /// When the database fails; what was removed until then stays removed.
    pub async fn trim_events(&self, older_than_ms: i64) -> Result<u64> {
        let mut trimmed = 0;
        loop {
            let (events, deliveries) = self.write(op!(older_than_ms; |tx| trim(tx, *older_than_ms))).await?;
            trimmed += events;
            if events.max(deliveries) < u64::from(TRIM_ROWS_MAX) {
                return Ok(trimmed);
            }
        }
    }
}

async fn read(tx: &mut Tx<'_>, after: Cursor, tenant: Option<&str>, limit: u32) -> Result<Vec<Event>> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => concat!(
            "SELECT ",
            event_columns!(),
            " FROM events WHERE $1 >= 0 AND seq > $2 AND (tenant = $3 OR $3 IS NULL) ORDER BY seq LIMIT $4"
        ),
        Dialect::Postgres => concat!(
            "SELECT ",
            event_columns!(),
            " FROM events WHERE (xid, seq) > ($1, $2) AND (tenant = $3 OR $3 IS NULL) \
             AND xid < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) ORDER BY xid, seq LIMIT $4"
        ),
    };
    let args = args![after.transaction, after.seq, tenant, limit.min(PAGE_ROWS_MAX)];
    tx.rows(sql, args).await?.iter().map(event).collect()
}

async fn last(tx: &mut Tx<'_>) -> Result<Cursor> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => "SELECT xid, seq FROM events ORDER BY seq DESC LIMIT 1",
        Dialect::Postgres => {
            "SELECT xid, seq FROM events WHERE xid < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) \
             ORDER BY xid DESC, seq DESC LIMIT 1"
        }
    };
    Ok(tx.row(sql, args![]).await?.as_ref().map(cursor).transpose()?.unwrap_or_default())
}

async fn emit(tx: &mut Tx<'_>, events: &[NewEvent]) -> Result<()> {
    for event in events {
        tx.emit(event).await?;
    }
    Ok(())
}

async fn trim(tx: &mut Tx<'_>, older_than_ms: i64) -> Result<(u64, u64)> {
    let before = tx.now().plus_ms(older_than_ms.saturating_neg());
    let events = "DELETE FROM events WHERE seq IN (SELECT seq FROM events e WHERE e.at < $1 AND NOT EXISTS \
                  (SELECT 1 FROM webhooks w WHERE w.enabled = 1 AND (w.queued_xid, w.queued_seq) < (e.xid, e.seq)) LIMIT $2)";
    let deliveries = "DELETE FROM deliveries WHERE id IN \
                      (SELECT id FROM deliveries WHERE state <> 'pending' AND settled < $1 LIMIT $2)";
    let events = tx.execute(events, args![before, TRIM_ROWS_MAX]).await?;
    Ok((events, tx.execute(deliveries, args![before, TRIM_ROWS_MAX]).await?))
}

/// Reads [`event_columns`].
fn event(row: &Row) -> Result<Event> {
    Ok(Event {
        cursor: cursor(row)?,
        kind: row.text("kind")?,
        tenant: row.text("tenant")?,
        asset: row.opt_id("asset")?,
        job: row.opt_id("job")?,
        data: row.json("data")?,
        at: row.wall("at")?,
    })
}

fn cursor(row: &Row) -> Result<Cursor> {
    Ok(Cursor { transaction: row.int("xid")?, seq: row.int("seq")? })
}
