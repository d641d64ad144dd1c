//! Leases whose time is over, and steps that have waited too long.

use super::super::{engine::*, op::op, *};
use super::{
    fail::{give_up, requeue, take},
    nodes, rows,
};

/// Leases reaped in one run: bounds how long it takes; the next is a second later.
const REAPED_MAX: i64 = 500;
/// Steps promoted in one run.
const PROMOTED_MAX: i64 = 2_000;

impl Catalogue {
    /// Takes back the leases whose time is over, or that have not moved for the `wall_ms` of their spec; each counts as an attempt.
    /// A step that different nodes lost, or whose attempts are used up, is quarantined. Nodes that lose too much are cordoned and
    /// what they consumed is refunded; steps that have waited too long are raised a class. Once a second, by whoever leads.
    ///
    /// # Errors
    /// The database's; what was reaped before stays so.
    pub async fn reap(&self) -> Result<Reaped> {
        let rules = self.rules().clone();
        let mut reaped = Reaped::default();
        for (step, token) in self.read(|tx| Box::pin(lapsed(tx))).await? {
            let outcome = self.write(op!(step, token, rules; |tx| reap_step(tx, step, *token, rules))).await?;
            let Some((state, cordoned)) = outcome else { continue };
            reaped.lost += 1;
            reaped.retried += u64::from(state == StepState::Ready);
            reaped.quarantined += u64::from(state != StepState::Ready);
            reaped.cordoned.extend(cordoned);
        }
        self.refund().await?;
        reaped.promoted = self.write(op!(rules; |tx| promote(tx, rules))).await?;
        Ok(reaped)
    }
}

async fn lapsed(tx: &mut Tx<'_>) -> Result<Vec<(StepId, i64)>> {
    const SELECT: &str = "SELECT id, token FROM steps \
        WHERE state = 'leased' AND (lease_until <= $1 OR moved + wall_ms <= $1) ORDER BY lease_until LIMIT $2";
    let rows = tx.rows(SELECT, args![tx.now(), REAPED_MAX]).await?;
    rows.iter().map(|row| Ok((row.id("id")?, row.int("token")?))).collect()
}

/// The state after it, and the node if it was cordoned; `None` when the lease holds after all.
async fn reap_step(
    tx: &mut Tx<'_>,
    id: &StepId,
    token: i64,
    rules: &LeaseRules,
) -> Result<Option<(StepState, Option<String>)>> {
    const STILL: &str = "SELECT lease_until <= $3 AS silent FROM steps \
        WHERE id = $1 AND token = $2 AND state = 'leased' AND (lease_until <= $3 OR moved + wall_ms <= $3)";
    let Some(step) = rows::leased(tx, id, token).await? else { return Ok(None) };
    // Its worker may have spoken since the list was made.
    let Some(row) = tx.row(STILL, args![id, token, tx.now()]).await? else { return Ok(None) };
    let silent = row.flag("silent")?;
    if !take(tx, &step).await? {
        return Ok(None);
    }
    nodes::remember(tx, &step, "lost").await?;
    let strike = nodes::strike(tx, &step, rules).await?;
    let attempt = (step.attempt - strike.refund).max(0);
    let nodes = nodes::lost_on(tx, id).await?;
    let error = lost(&step.node, silent, nodes);
    let state = if nodes >= rules.poison_nodes || attempt >= step.attempts_max {
        give_up(tx, &step, StepState::Quarantined, attempt, &error).await?
    } else {
        requeue(tx, &step, attempt, &error, rules).await?
    };
    Ok(Some((state, strike.cordoned)))
}

fn lost(node: &str, silent: bool, nodes: i64) -> StepError {
    let (code, what) = if silent {
        ("lease_lost", "stopped answering in the middle of the step")
    } else {
        ("stalled", "made no progress for longer than the step may take")
    };
    let others = if nodes > 1 { format!(" {nodes} different workers were lost on it.") } else { String::new() };
    StepError {
        class: ErrorClass::Transient,
        code: code.into(),
        human: format!(
            "Worker {node} {what}.{others} If it does not end well by itself, look at that worker, then retry the job."
        ),
        log: None,
        worker: Some(node.to_owned()),
    }
}

async fn promote(tx: &mut Tx<'_>, rules: &LeaseRules) -> Result<u64> {
    const FORGET: &str = "DELETE FROM strikes WHERE at <= $1";
    macro_rules! sql {
        ($lock:literal) => {
            concat!(
                "UPDATE steps SET class = class - 1, lane_since = $2, \
                 lane = cap || '/' || CAST(class - 1 AS TEXT) || '/' || tenant \
                 WHERE id IN (SELECT id FROM steps WHERE lane IS NOT NULL AND class > 0 AND lane_since <= $1 \
                 ORDER BY lane_since LIMIT $3",
                $lock,
                ")"
            )
        };
    }
    let sql = match tx.dialect() {
        Dialect::Sqlite => sql!(""),
        // A step that is just being claimed needs no promotion.
        Dialect::Postgres => sql!(" FOR UPDATE SKIP LOCKED"),
    };
    let now = tx.now();
    tx.execute(FORGET, args![now.plus_ms(-rules.strikes_within_ms)]).await?;
    tx.execute(sql, args![now.plus_ms(-rules.promote_after_ms), now, PROMOTED_MAX]).await
}
