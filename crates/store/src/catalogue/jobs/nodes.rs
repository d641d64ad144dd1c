//! What is held against nodes: steps they lost or failed, and the cordon that follows.

use super::super::{engine::*, op::op, *};
use super::{
    control::revive,
    rows::{self, Leased},
};

/// Steps whose attempts are given back in one go; the next run goes on.
const REFUNDS_MAX: i64 = 500;

/// Remembers that the node of `step` lost it (`lost`) or was too small for it (`capacity`).
pub(super) async fn remember(tx: &mut Tx<'_>, step: &Leased, kind: &'static str) -> Result<()> {
    const PUT: &str = "INSERT INTO step_nodes (step, node, kind, at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (step, node, kind) DO UPDATE SET at = $4";
    tx.execute(PUT, args![&step.id, &step.node, kind, tx.now()]).await.map(drop)
}

/// How many different nodes lost the step.
pub(super) async fn lost_on(tx: &mut Tx<'_>, step: &StepId) -> Result<i64> {
    const COUNT: &str = "SELECT COUNT(*) AS nodes FROM step_nodes WHERE step = $1 AND kind = 'lost'";
    tx.row(COUNT, args![step]).await?.map_or(Ok(0), |row| row.int("nodes"))
}

/// What a strike led to.
#[derive(Debug, Default)]
pub(super) struct Strike {
    /// The node, when it was cordoned for this one.
    pub(super) cordoned: Option<String>,
    /// Attempts of this step that do not count because its node is cordoned.
    pub(super) refund: i64,
}

/// Counts a lost or failed attempt against its node, and cordons the node that has too many.
///
/// A step that other nodes fail as well speaks against itself, not against them. The last node at work is never cordoned: nobody
/// would be left.
pub(super) async fn strike(tx: &mut Tx<'_>, step: &Leased, rules: &LeaseRules) -> Result<Strike> {
    const PUT: &str =
        "INSERT INTO strikes (step, token, node, at) VALUES ($1, $2, $3, $4) ON CONFLICT (step, token) DO NOTHING";
    const COUNT: &str = "SELECT COUNT(DISTINCT s.step) AS steps, \
        (SELECT COUNT(*) FROM cordons WHERE name = $1 AND automatic = 1) AS cordons FROM strikes s \
        WHERE s.node = $1 AND s.at > $2 \
        AND NOT EXISTS (SELECT 1 FROM strikes o WHERE o.step = s.step AND o.node <> s.node AND o.at > $2)";
    const OTHERS: &str = "SELECT COUNT(*) AS others FROM workers w WHERE w.name <> $1 AND w.seen > $2 AND w.draining = 0 \
        AND NOT EXISTS (SELECT 1 FROM cordons c WHERE c.name = w.name)";
    const CORDON: &str =
        "INSERT INTO cordons (name, reason, at, automatic) VALUES ($1, $2, $3, 1) ON CONFLICT (name) DO NOTHING";
    let now = tx.now();
    tx.execute(PUT, args![&step.id, step.token, &step.node, now]).await?;
    let Some(counted) = tx.row(COUNT, args![&step.node, now.plus_ms(-rules.strikes_within_ms)]).await? else {
        return Ok(Strike::default());
    };
    if counted.flag("cordons")? {
        return Ok(Strike { cordoned: None, refund: forgive(tx, &step.id).await? });
    }
    let steps = counted.int("steps")?;
    if steps < rules.strikes_max {
        return Ok(Strike::default());
    }
    let alive = now.plus_ms(-super::claim::ALIVE_LEASES * rules.lease_ms);
    let others = tx.row(OTHERS, args![&step.node, alive]).await?.map_or(Ok(0), |row| row.int("others"))?;
    if others == 0 {
        return Ok(Strike::default());
    }
    let minutes = rules.strikes_within_ms / 60_000;
    let reason = format!("lost or failed {steps} steps within {minutes} min; look at its log, then uncordon it");
    let new = tx.execute(CORDON, args![&step.node, reason, now]).await? > 0;
    let refund = forgive(tx, &step.id).await?;
    Ok(Strike { cordoned: new.then(|| step.node.clone()), refund })
}

/// Takes off a step what nodes that the platform cordoned hold against it; the attempts that this gives back.
async fn forgive(tx: &mut Tx<'_>, step: &StepId) -> Result<i64> {
    const STRIKES: &str =
        "DELETE FROM strikes WHERE step = $1 AND node IN (SELECT name FROM cordons WHERE automatic = 1)";
    const LOST: &str = "DELETE FROM step_nodes WHERE step = $1 AND kind = 'lost' \
        AND node IN (SELECT name FROM cordons WHERE automatic = 1)";
    tx.execute(LOST, args![step]).await?;
    let strikes = tx.execute(STRIKES, args![step]).await?;
    Ok(i64::try_from(strikes).unwrap_or(0))
}

impl Catalogue {
    /// Gives back the attempts that cordoned nodes consumed, and takes up the jobs that failed by them. Each in its own
    /// transaction: what a crash leaves, the next run does.
    pub(super) async fn refund(&self) -> Result<()> {
        for (step, job) in self.read(|tx| Box::pin(refundable(tx))).await? {
            self.write(op!(step, job; |tx| refund_step(tx, step, job))).await?;
        }
        Ok(())
    }
}

async fn refundable(tx: &mut Tx<'_>) -> Result<Vec<(StepId, JobId)>> {
    const SELECT: &str = "SELECT DISTINCT s.id, s.job FROM strikes k JOIN steps s ON s.id = k.step \
        JOIN cordons c ON c.name = k.node WHERE c.automatic = 1 LIMIT $1";
    let rows = tx.rows(SELECT, args![REFUNDS_MAX]).await?;
    rows.iter().map(|row| Ok((row.id("id")?, row.id("job")?))).collect()
}

async fn refund_step(tx: &mut Tx<'_>, step: &StepId, job: &JobId) -> Result<()> {
    const REFUND: &str = "UPDATE steps SET attempt = CASE WHEN attempt > $2 THEN attempt - $2 ELSE 0 END \
        WHERE id = $1 AND state <> 'done' RETURNING state, error";
    let Some(mut job) = rows::hold(tx, job).await? else { return Ok(()) };
    let refund = forgive(tx, step).await?;
    let Some(row) = tx.row(REFUND, args![step, refund]).await? else { return Ok(()) };
    let state = row.word("state", StepState::from_word)?;
    let error: Option<StepError> = row.opt_stored("error")?;
    let by_node = error.is_some_and(|error| matches!(error.class, ErrorClass::Transient | ErrorClass::Capacity));
    let ended = matches!(state, StepState::Failed | StepState::Quarantined);
    if refund > 0 && ended && by_node && job.state == JobState::Failed {
        revive(tx, &mut job, None).await?;
    }
    Ok(())
}
