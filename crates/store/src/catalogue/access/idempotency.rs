//! Idempotency-Key (IETF draft): a request that is sent twice is done once, and the second answer is the first's.

use serde_json::json;

use super::super::{engine::*, op::op, *};

/// How long an answer is kept: longer than any client retries.
pub const IDEMPOTENCY_KEPT_MS: i64 = 24 * 3_600_000;

/// A request in flight for longer than this was lost with its server: the next one of its key is done. No answer takes this long, for
/// uploads are resumed by offset and not by key.
pub const IN_FLIGHT_MS_MAX: i64 = 15 * 60_000;

/// Keys that are out of date and removed by one request at most, so that none waits long.
const SWEPT_MAX: u32 = 100;

/// What is known of a request when it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// Nothing: do it, then [`Catalogue::idempotency_finish`] or [`Catalogue::idempotency_abandon`].
    New,
    /// It is being done at this moment.
    InFlight,
    /// The key was used for another request.
    Mismatch,
    /// It was done: this was the answer.
    Replay(StoredResponse),
}

/// An answer that is kept to be given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// Status code.
    pub status: u16,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Catalogue {
    /// Begins a request under `key`, which is this principal's alone. `fingerprint` stands for the request: method, path and a hash of
    /// the body. Of several callers at the same time one gets [`Idempotency::New`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn idempotency_begin(&self, key: &str, principal: &str, fingerprint: &str) -> Result<Idempotency> {
        self.write(op!(key, principal, fingerprint; |tx| begin(tx, key, principal, fingerprint))).await
    }

    /// Keeps the answer for whoever sends the request again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn idempotency_finish(&self, key: &str, principal: &str, response: &StoredResponse) -> Result<()> {
        self.write(op!(key, principal, response; |tx| finish(tx, key, principal, response))).await
    }

    /// Forgets a request that came to nothing, so that it may be sent again under its key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn idempotency_abandon(&self, key: &str, principal: &str) -> Result<()> {
        self.write(op!(key, principal; |tx| abandon(tx, key, principal))).await
    }
}

async fn begin(tx: &mut Tx<'_>, key: &str, principal: &str, fingerprint: &str) -> Result<Idempotency> {
    sweep(tx, key, principal).await?;
    let sql =
        "INSERT INTO idempotency (principal, key, fingerprint, created) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    if tx.execute(sql, args![principal, key, fingerprint, tx.now()]).await? == 1 {
        return Ok(Idempotency::New);
    }
    let sql = "SELECT fingerprint, status, headers, body FROM idempotency WHERE principal = $1 AND key = $2";
    // Abandoned just now: who asks again gets it.
    let Some(row) = tx.row(sql, args![principal, key]).await? else { return Ok(Idempotency::InFlight) };
    if row.text("fingerprint")? != fingerprint {
        return Ok(Idempotency::Mismatch);
    }
    Ok(response(&row)?.map_or(Idempotency::InFlight, Idempotency::Replay))
}

/// Removes what this key had when that is out of date, and some of what others had.
async fn sweep(tx: &mut Tx<'_>, key: &str, principal: &str) -> Result<()> {
    let (kept, in_flight) = (tx.now().plus_ms(-IDEMPOTENCY_KEPT_MS), tx.now().plus_ms(-IN_FLIGHT_MS_MAX));
    let own = "DELETE FROM idempotency WHERE principal = $1 AND key = $2 \
               AND (created <= $3 OR (status IS NULL AND created <= $4))";
    tx.execute(own, args![principal, key, kept, in_flight]).await?;
    let others = match tx.dialect() {
        Dialect::Sqlite => {
            "DELETE FROM idempotency WHERE (principal, key) IN \
             (SELECT principal, key FROM idempotency WHERE created <= $1 ORDER BY created LIMIT $2)"
        }
        // Two who sweep at the same time take different ones.
        Dialect::Postgres => {
            "DELETE FROM idempotency WHERE (principal, key) IN \
             (SELECT principal, key FROM idempotency WHERE created <= $1 ORDER BY created LIMIT $2 FOR UPDATE SKIP LOCKED)"
        }
    };
    tx.execute(others, args![kept, SWEPT_MAX]).await.map(drop)
}

async fn finish(tx: &mut Tx<'_>, key: &str, principal: &str, response: &StoredResponse) -> Result<()> {
    let sql = "UPDATE idempotency SET status = $3, headers = $4, body = $5 \
               WHERE principal = $1 AND key = $2 AND status IS NULL";
    let args = args![principal, key, u32::from(response.status), &json!(response.headers), response.body.clone()];
    tx.execute(sql, args).await.map(drop)
}

async fn abandon(tx: &mut Tx<'_>, key: &str, principal: &str) -> Result<()> {
    let sql = "DELETE FROM idempotency WHERE principal = $1 AND key = $2 AND status IS NULL";
    tx.execute(sql, args![principal, key]).await.map(drop)
}

fn response(row: &Row) -> Result<Option<StoredResponse>> {
    let Some(status) = row.opt_int("status")? else { return Ok(None) };
    let status = u16::try_from(status).unwrap_or(u16::MAX);
    Ok(Some(StoredResponse {
        status,
        headers: row.stored("headers")?,
        body: row.opt_bytes("body")?.unwrap_or_default(),
    }))
}
