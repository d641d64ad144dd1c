//! Webhook endpoints.

use serde_json::json;

use super::super::{engine::*, op::op, *};

macro_rules! webhook_columns {
    () => {
        "id, tenant, url, events, secrets, enabled, queued_xid, queued_seq, created"
    };
}

impl Webhook {
    /// Whether this endpoint asked for the event: it is its tenant's, and of a type that it names, as `*`, `asset.*` or in full.
    pub fn wants(&self, event: &Event) -> bool {
        let names = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => (prefix.is_empty() || prefix.ends_with('.')) && event.kind.starts_with(prefix),
            None => *pattern == event.kind,
        };
        event.tenant == self.tenant && self.events.iter().any(names)
    }
}

impl Catalogue {
    /// Stores a new endpoint. It gets the events from now on, whatever `webhook.queued` says; creation is now.
    ///
    /// # Errors
    /// When the id is taken, or the database fails.
    pub async fn create_webhook(&self, webhook: &Webhook) -> Result<()> {
        self.write(op!(webhook; |tx| create(tx, webhook))).await
    }

    /// Endpoints of one tenant or of all, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks(&self, tenant: Option<&str>) -> Result<Vec<Webhook>> {
        let tenant = tenant.map(str::to_owned);
        self.read(op!(tenant; |tx| list(tx, tenant.as_deref()))).await
    }

    /// An endpoint.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhook(&self, id: &WebhookId) -> Result<Option<Webhook>> {
        self.read(op!(id; |tx| find(tx, id))).await
    }

    /// Changes where an endpoint is, what it asks for, its secrets and whether it is on; false when there is none of this id.
    ///
    /// One that is switched on again gets the events from now on: those in between are not sent.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn update_webhook(&self, webhook: &Webhook) -> Result<bool> {
        self.write(op!(webhook; |tx| update(tx, webhook))).await
    }

    /// Removes an endpoint and what was on its way to it; false when there is none of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_webhook(&self, id: &WebhookId) -> Result<bool> {
        self.write(op!(id; |tx| delete(tx, id))).await
    }
}

async fn create(tx: &mut Tx<'_>, webhook: &Webhook) -> Result<()> {
    let queued = super::last(tx).await?;
    let sql = concat!("INSERT INTO webhooks (", webhook_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    let args = args![
        &webhook.id,
        &webhook.tenant,
        &webhook.url,
        &json!(webhook.events),
        &json!(webhook.secrets),
        webhook.enabled,
        queued.transaction,
        queued.seq,
        tx.now(),
    ];
    tx.execute(sql, args).await.map(drop)
}

async fn list(tx: &mut Tx<'_>, tenant: Option<&str>) -> Result<Vec<Webhook>> {
    let sql =
        concat!("SELECT ", webhook_columns!(), " FROM webhooks WHERE (tenant = $1 OR $1 IS NULL) ORDER BY created, id");
    tx.rows(sql, args![tenant]).await?.iter().map(webhook).collect()
}

pub(super) async fn find(tx: &mut Tx<'_>, id: &WebhookId) -> Result<Option<Webhook>> {
    let sql = concat!("SELECT ", webhook_columns!(), " FROM webhooks WHERE id = $1");
    tx.row(sql, args![id]).await?.as_ref().map(webhook).transpose()
}

async fn update(tx: &mut Tx<'_>, webhook: &Webhook) -> Result<bool> {
    if webhook.enabled {
        let now = super::last(tx).await?;
        let sql = "UPDATE webhooks SET queued_xid = $2, queued_seq = $3 WHERE id = $1 AND enabled = 0";
        tx.execute(sql, args![&webhook.id, now.transaction, now.seq]).await?;
    }
    let sql = "UPDATE webhooks SET tenant = $2, url = $3, events = $4, secrets = $5, enabled = $6 WHERE id = $1";
    let (events, secrets) = (json!(webhook.events), json!(webhook.secrets));
    let args = args![&webhook.id, &webhook.tenant, &webhook.url, &events, &secrets, webhook.enabled];
    Ok(tx.execute(sql, args).await? == 1)
}

async fn delete(tx: &mut Tx<'_>, id: &WebhookId) -> Result<bool> {
    Ok(tx.execute("DELETE FROM webhooks WHERE id = $1", args![id]).await? == 1)
}

/// The endpoints that are on, held until the end of the transaction so that only one caller at a time queues for them.
pub(super) async fn locked_enabled(tx: &mut Tx<'_>) -> Result<Vec<Webhook>> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => concat!("SELECT ", webhook_columns!(), " FROM webhooks WHERE enabled = 1 ORDER BY id"),
        Dialect::Postgres => {
            concat!("SELECT ", webhook_columns!(), " FROM webhooks WHERE enabled = 1 ORDER BY id FOR UPDATE")
        }
    };
    tx.rows(sql, args![]).await?.iter().map(webhook).collect()
}

/// Reads [`webhook_columns`].
pub(super) fn webhook(row: &Row) -> Result<Webhook> {
    Ok(Webhook {
        id: row.id("id")?,
        tenant: row.text("tenant")?,
        url: row.text("url")?,
        events: row.stored("events")?,
        secrets: row.stored("secrets")?,
        enabled: row.flag("enabled")?,
        queued: Cursor { transaction: row.int("queued_xid")?, seq: row.int("queued_seq")? },
        created: row.wall("created")?,
    })
}

#[cfg(test)]
mod tests {
    use base::Wall;

    use super::*;

    fn check(patterns: &[&str], kind: &str, wanted: bool) {
        let at = Wall::from_unix_ms(0);
        let webhook = Webhook {
            id: WebhookId::new(),
            tenant: "default".into(),
            url: "https://example.org/".into(),
            events: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
            secrets: vec![],
            enabled: true,
            queued: Cursor::default(),
            created: at,
        };
        let event = Event {
            cursor: Cursor::default(),
            kind: kind.into(),
            tenant: "default".into(),
            asset: None,
            job: None,
            data: json!({}),
            at,
        };
        assert_eq!(webhook.wants(&event), wanted, "{patterns:?} {kind}");
        assert!(!webhook.wants(&Event { tenant: "other".into(), ..event }), "another's events");
    }

    #[test]
    fn an_endpoint_gets_what_it_names() {
        check(&["*"], "asset.ready", true);
        check(&["asset.*"], "asset.rendition.ready", true);
        check(&["asset.ready"], "asset.ready", true);
        check(&["job.*", "asset.ready"], "asset.ready", true);
        check(&["asset.*"], "assets.ready", false);
        check(&["asset*"], "asset.ready", false);
        check(&["asset"], "asset.ready", false);
        check(&[], "asset.ready", false);
    }
}
