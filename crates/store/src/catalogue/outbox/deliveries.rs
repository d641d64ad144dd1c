//! Events on their way to webhook endpoints: queued once, sent in order, tried until settled.

use super::{
    super::{
        engine::*,
        op::op,
        page::{Mark, page, rows_to_ask},
        *,
    },
    event, webhooks,
};
use crate::Error;

macro_rules! delivery_columns {
    () => {
        "d.id AS delivery, d.webhook AS webhook, d.xid AS xid, d.seq AS seq, d.kind AS kind, d.tenant AS tenant, \
         d.asset AS asset, d.job AS job, d.data AS data, d.at AS at, d.state AS state, d.attempt AS attempt, \
         d.next_at AS next_at, d.last AS last"
    };
}

const LISTING: &str = "deliveries";

impl Catalogue {
    /// Makes the events after each endpoint's position into pending deliveries, where the endpoint asked for them, and moves the
    /// position in the same transaction: an event is queued exactly once for an endpoint, however many call this. Looks at `limit`
    /// events at a time. How many deliveries there are more; 0 when every endpoint has everything.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn queue_deliveries(&self, limit: u32) -> Result<u64> {
        let limit = limit.max(1);
        loop {
            let (seen, queued) = self.write(op!(limit; |tx| queue(tx, *limit))).await?;
            if queued > 0 || seen == 0 {
                return Ok(queued);
            }
        }
    }

    /// Deliveries to be tried now, with their endpoints: of each that is on its oldest pending one, if its time has come. An endpoint
    /// gets its events in order, and one that fails holds up only itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_deliveries(&self, limit: u32) -> Result<Vec<(Delivery, Webhook)>> {
        self.read(op!(limit; |tx| due(tx, *limit))).await
    }

    /// Records a try: `state` is delivered, failed for good, or pending with the next try in `next_in_ms`. `last` is what the endpoint
    /// answered. A delivery that is settled already stays as it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle_delivery(
        &self,
        id: &DeliveryId,
        state: DeliveryState,
        last: &str,
        next_in_ms: i64,
    ) -> Result<()> {
        self.write(op!(id, state, last, next_in_ms; |tx| settle(tx, id, *state, last, *next_in_ms))).await
    }

    /// A page of an endpoint's deliveries, newest event first. `after` is the `next` of the page before.
    ///
    /// # Errors
    /// [`Error::Cursor`] when `after` is no position in this listing, or when the database fails.
    pub async fn deliveries(&self, webhook: &WebhookId, after: Option<&str>, limit: u32) -> Result<Page<Delivery>> {
        let after = Mark::decode_opt(LISTING, after)?.map(position).transpose()?;
        self.read(op!(webhook, after, limit; |tx| list(tx, webhook, *after, *limit))).await
    }

    /// Sends an event again, whatever became of it, with its tries counted anew; false when there is no such delivery.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn replay_delivery(&self, id: &DeliveryId) -> Result<bool> {
        self.write(op!(id; |tx| replay(tx, id))).await
    }
}

/// How many events were looked at, and how many deliveries came of them.
async fn queue(tx: &mut Tx<'_>, limit: u32) -> Result<(usize, u64)> {
    let webhooks = webhooks::locked_enabled(tx).await?;
    let Some(behind) = webhooks.iter().map(|webhook| webhook.queued).min() else { return Ok((0, 0)) };
    let events = super::read(tx, behind, None, limit).await?;
    let Some(reached) = events.last().map(|event| event.cursor) else { return Ok((0, 0)) };
    let mut queued = 0;
    for webhook in webhooks.iter().filter(|webhook| webhook.queued < reached) {
        for event in events.iter().filter(|event| event.cursor > webhook.queued && webhook.wants(event)) {
            queued += insert(tx, webhook, event).await?;
        }
        let sql = "UPDATE webhooks SET queued_xid = $2, queued_seq = $3 WHERE id = $1";
        tx.execute(sql, args![&webhook.id, reached.transaction, reached.seq]).await?;
    }
    Ok((events.len(), queued))
}

async fn insert(tx: &mut Tx<'_>, webhook: &Webhook, event: &Event) -> Result<u64> {
    let sql = "INSERT INTO deliveries (id, webhook, xid, seq, kind, tenant, asset, job, data, at, state, attempt, next_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'pending', 0, $11) ON CONFLICT DO NOTHING";
    let args = args![
        &DeliveryId::new(),
        &webhook.id,
        event.cursor.transaction,
        event.cursor.seq,
        &event.kind,
        &event.tenant,
        event.asset.as_ref(),
        event.job.as_ref(),
        &event.data,
        event.at,
        tx.now(),
    ];
    tx.execute(sql, args).await
}

async fn due(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<(Delivery, Webhook)>> {
    let sql = concat!(
        "SELECT ",
        delivery_columns!(),
        " FROM webhooks w JOIN deliveries d ON d.id = (SELECT o.id FROM deliveries o \
         WHERE o.webhook = w.id AND o.state = 'pending' ORDER BY o.xid, o.seq LIMIT 1) \
         WHERE w.enabled = 1 AND d.next_at <= $1 ORDER BY d.next_at, d.id LIMIT $2"
    );
    let deliveries: Vec<Delivery> =
        tx.rows(sql, args![tx.now(), limit]).await?.iter().map(delivery).collect::<Result<_>>()?;
    let mut due = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        if let Some(webhook) = webhooks::find(tx, &delivery.webhook).await? {
            due.push((delivery, webhook));
        }
    }
    Ok(due)
}

async fn settle(tx: &mut Tx<'_>, id: &DeliveryId, state: DeliveryState, last: &str, next_in_ms: i64) -> Result<()> {
    let settled = (state != DeliveryState::Pending).then(|| tx.now());
    let sql = "UPDATE deliveries SET state = $2, attempt = attempt + 1, last = $3, next_at = $4, settled = $5 \
               WHERE id = $1 AND state = 'pending'";
    tx.execute(sql, args![id, state, last, tx.now().plus_ms(next_in_ms), settled]).await.map(drop)
}

/// (transaction, row) of a page's end.
fn position(mark: Mark) -> Result<Cursor> {
    let seq = mark.tie.parse().map_err(|_| Error::Cursor { text: mark.encode(LISTING) })?;
    Ok(Cursor { transaction: mark.at, seq })
}

async fn list(tx: &mut Tx<'_>, webhook: &WebhookId, after: Option<Cursor>, limit: u32) -> Result<Page<Delivery>> {
    let sql = concat!(
        "SELECT ",
        delivery_columns!(),
        " FROM deliveries d WHERE d.webhook = $1 AND ((d.xid, d.seq) < ($2, $3) OR $2 IS NULL) \
         ORDER BY d.xid DESC, d.seq DESC LIMIT $4"
    );
    let args = args![webhook, after.map(|at| at.transaction), after.map(|at| at.seq), rows_to_ask(limit)];
    let found = tx.rows(sql, args).await?.iter().map(delivery).collect::<Result<_>>()?;
    let mark = |delivery: &Delivery| {
        let Cursor { transaction, seq } = delivery.event.cursor;
        Mark { at: transaction, tie: seq.to_string() }
    };
    Ok(page(found, limit, LISTING, mark))
}

async fn replay(tx: &mut Tx<'_>, id: &DeliveryId) -> Result<bool> {
    // Whoever sends deliveries waits for the outbox to change.
    tx.touch();
    let sql = "UPDATE deliveries SET state = 'pending', attempt = 0, next_at = $2, settled = NULL WHERE id = $1";
    Ok(tx.execute(sql, args![id, tx.now()]).await? == 1)
}

/// Reads [`delivery_columns`].
fn delivery(row: &Row) -> Result<Delivery> {
    Ok(Delivery {
        id: row.id("delivery")?,
        webhook: row.id("webhook")?,
        event: event(row)?,
        state: row.word("state", DeliveryState::from_word)?,
        attempt: row.int("attempt")?,
        next_at: row.wall("next_at")?,
        last: row.opt_text("last")?,
    })
}
