use serde::Serialize;
use serde_json::Value;
use store::catalogue::{self, DeliveryState};
use utoipa::ToSchema;

use super::{delivery_state, time};

/// An event, as the event stream and webhooks tell it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Event {
    /// Its id: a position in the stream. Give it as `after` or `Last-Event-ID` to read on.
    #[schema(example = "0-42")]
    pub(crate) id: String,
    /// What happened.
    #[schema(example = "asset.ready")]
    pub(crate) r#type: String,
    /// Whose.
    tenant: String,
    /// The asset it is about.
    asset: Option<String>,
    /// The job it is about.
    job: Option<String>,
    /// Details.
    data: Value,
    /// When.
    #[schema(format = DateTime)]
    at: String,
}

impl From<catalogue::Event> for Event {
    fn from(event: catalogue::Event) -> Self {
        Self {
            id: event.cursor.into(),
            r#type: event.kind,
            tenant: event.tenant,
            asset: event.asset.map(Into::into),
            job: event.job.map(Into::into),
            data: event.data,
            at: time(event.at),
        }
    }
}

/// A webhook endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Webhook {
    /// Its id.
    id: String,
    /// Whose events.
    tenant: String,
    /// Where events are sent.
    url: String,
    /// Event types, `asset.*` or `*`.
    events: Vec<String>,
    /// How many secrets sign: two while they are exchanged.
    secrets: usize,
    /// Off when a person said so, after 410, or after failing for five days.
    enabled: bool,
    /// Creation.
    #[schema(format = DateTime)]
    created: String,
}

impl From<catalogue::Webhook> for Webhook {
    fn from(webhook: catalogue::Webhook) -> Self {
        Self {
            id: webhook.id.into(),
            tenant: webhook.tenant,
            url: webhook.url,
            events: webhook.events,
            secrets: webhook.secrets.len(),
            enabled: webhook.enabled,
            created: time(webhook.created),
        }
    }
}

/// A webhook endpoint with its newest secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookWithSecret {
    /// The endpoint.
    #[serde(flatten)]
    pub(crate) webhook: Webhook,
    /// Signs what is sent (Standard Webhooks); `null` when this answer is given again.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub(crate) secret: Option<String>,
}

/// An event on its way to an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Delivery {
    /// Its id.
    id: String,
    /// The endpoint.
    webhook: String,
    /// The event.
    event: Event,
    /// How it stands.
    #[schema(schema_with = delivery_state)]
    state: DeliveryState,
    /// Tries so far.
    attempt: i64,
    /// The next try, while it is pending.
    #[schema(format = DateTime)]
    next_at: Option<String>,
    /// Status or error of the last try.
    last: Option<String>,
}

impl From<catalogue::Delivery> for Delivery {
    fn from(delivery: catalogue::Delivery) -> Self {
        Self {
            id: delivery.id.into(),
            webhook: delivery.webhook.into(),
            event: delivery.event.into(),
            state: delivery.state,
            attempt: delivery.attempt,
            next_at: (delivery.state == DeliveryState::Pending).then(|| time(delivery.next_at)),
            last: delivery.last,
        }
    }
}

/// What a receiver said to a test.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestResult {
    /// Whether it answered 2xx.
    pub(crate) delivered: bool,
    /// Its status, or why there was none.
    pub(crate) answer: String,
}
