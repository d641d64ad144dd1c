//! Since when an endpoint fails. Kept in the catalogue's settings, so that five days count across restarts and leaders.

use std::{collections::HashMap, time::Duration};

use base::Wall;
use serde_json::Value;
use store::catalogue::{Catalogue, WebhookId};

/// What is known of the endpoints that were tried.
pub(super) struct Health {
    catalogue: Catalogue,
    /// `None`: its last delivery succeeded.
    failing_since: HashMap<WebhookId, Option<Wall>>,
}

impl Health {
    pub(super) fn new(catalogue: Catalogue) -> Self {
        Self { catalogue, failing_since: HashMap::new() }
    }

    /// It took a message.
    pub(super) async fn well(&mut self, id: &WebhookId) -> Result<(), store::Error> {
        if self.since(id).await?.is_some() {
            self.keep(id, None).await?;
        }
        Ok(())
    }

    /// It did not. Says whether it has failed for longer than `limit`.
    pub(super) async fn ill(&mut self, id: &WebhookId, now: Wall, limit: Duration) -> Result<bool, store::Error> {
        match self.since(id).await? {
            Some(since) => Ok(i128::from(now.unix_ms() - since.unix_ms()) > limit.as_millis() as i128),
            None => self.keep(id, Some(now)).await.map(|()| false),
        }
    }

    async fn since(&mut self, id: &WebhookId) -> Result<Option<Wall>, store::Error> {
        if let Some(since) = self.failing_since.get(id) {
            return Ok(*since);
        }
        let kept = self.catalogue.setting(&key(id)).await?;
        let since = kept.as_ref().and_then(Value::as_i64).map(Wall::from_unix_ms);
        self.failing_since.insert(id.clone(), since);
        Ok(since)
    }

    async fn keep(&mut self, id: &WebhookId, since: Option<Wall>) -> Result<(), store::Error> {
        let value = since.map_or(Value::Null, |since| since.unix_ms().into());
        self.catalogue.set_setting(&key(id), &value).await?;
        self.failing_since.insert(id.clone(), since);
        Ok(())
    }
}

fn key(id: &WebhookId) -> String {
    format!("webhook.failing.{id}")
}
