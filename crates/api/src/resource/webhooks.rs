//! Webhook endpoints and what is sent to them.

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use store::catalogue::{DeliveryId, Webhook, WebhookId};
use utoipa::{IntoParams, ToSchema};

use super::{Context, PageQuery};
use crate::{
    extract::{Caller, Id, Json, Names, Query, created, parse_id},
    idempotency::KeptBody,
    page::{Asked, Listing},
    problem::{Details, Problem},
    service::Shared,
    view,
    webhook::{Message, Sent, new_secret},
};

/// Most endpoints of one tenant: each event is delivered once for each.
const WEBHOOKS_MAX: usize = 50;
/// Most patterns of one endpoint.
const PATTERNS_MAX: usize = 32;
/// Longest pattern and URL, in bytes.
const PATTERN_BYTES_MAX: usize = 100;
const URL_BYTES_MAX: usize = 2_048;
/// Pages of a listing of deliveries that are looked through for one.
const PAGES_MAX: usize = 50;

/// The query of the listing of endpoints.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WebhooksQuery {
    /// Rows per page, 1 to 100; 50 when left out.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only this tenant's.
    tenant: Option<String>,
}

/// Webhook endpoints.
#[utoipa::path(get, path = "/api/v1/webhooks", operation_id = "list_webhooks", tag = "webhooks", params(WebhooksQuery),
    responses((status = 200, body = Listing<view::Webhook>), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(context): Context,
    caller: Caller,
    Query(query): Query<WebhooksQuery>,
) -> Result<Json<Listing<view::Webhook>>, Problem> {
    let asked = Asked::read(query.limit, query.cursor)?;
    let tenant = caller.tenant_filter(query.tenant)?;
    let rows = context.catalogue.webhooks(tenant.as_deref()).await?;
    Listing::cut("webhooks", rows, |webhook| webhook.id.as_str(), &asked, view::Webhook::from).map(Json)
}

/// A new webhook endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWebhook {
    /// Where to POST.
    #[schema(example = "https://example.com/hooks/headwater")]
    url: String,
    /// Event types, `asset.*` or `*`; all when left out.
    events: Option<Vec<String>>,
    /// Whose events; the token's tenant when left out.
    tenant: Option<String>,
}

/// Make an endpoint. It gets the events from now on. The answer has its secret, this once.
#[utoipa::path(post, path = "/api/v1/webhooks", operation_id = "create_webhook", tag = "webhooks", request_body = NewWebhook,
    responses((status = 201, body = view::WebhookWithSecret), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(context): Context,
    caller: Caller,
    Json(new): Json<NewWebhook>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant_for_new(new.tenant)?;
    if context.catalogue.webhooks(Some(&tenant)).await?.len() >= WEBHOOKS_MAX {
        let detail = format!("The tenant has {WEBHOOKS_MAX} webhooks.");
        return Err(Problem::conflict("too_many_webhooks", detail, "Delete one, or have one receiver pass events on."));
    }
    let webhook = Webhook {
        id: WebhookId::new(),
        tenant,
        url: url(&context, &new.url)?,
        events: patterns(new.events.unwrap_or_else(|| vec!["*".into()]))?,
        secrets: vec![new_secret()],
        enabled: true,
        queued: context.catalogue.last_event().await?,
        created: context.catalogue.now().await?,
    };
    context.catalogue.create_webhook(&webhook).await?;
    with_secret(StatusCode::CREATED, webhook)
}

fn url(context: &Shared, text: &str) -> Result<String, Problem> {
    let hint = "Give a public https:// URL; api.webhook_private allows private addresses.";
    if text.len() > URL_BYTES_MAX {
        return Err(Problem::invalid(format!("url has {} bytes.", text.len()), "Shorten it to 2048 bytes."));
    }
    let url = context.poster.check(text).map_err(|why| Problem::invalid(format!("{why}."), hint))?;
    Ok(url.into())
}

fn patterns(patterns: Vec<String>) -> Result<Vec<String>, Problem> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b == b'.' || b == b'_';
    let fits = |pattern: &String| {
        let (word, whole) = pattern.strip_suffix('*').map_or((pattern.as_str(), true), |start| (start, false));
        let ends = whole || word.is_empty() || word.ends_with('.');
        (1..=PATTERN_BYTES_MAX).contains(&pattern.len()) && ends && word.bytes().all(allowed)
    };
    if (1..=PATTERNS_MAX).contains(&patterns.len()) && patterns.iter().all(fits) {
        return Ok(patterns);
    }
    Err(Problem::invalid(
        "events holds something that is no type of events.",
        "Name 1 to 32, such as asset.ready, asset.* or *.",
    ))
}

/// The endpoint with its newest secret; a repetition of the request is answered without.
fn with_secret(status: StatusCode, mut webhook: Webhook) -> Result<Response, Problem> {
    let secret = webhook.secrets.first().cloned();
    let location = format!("/api/v1/webhooks/{}", webhook.id);
    webhook.secrets.truncate(2);
    let mut shown = view::WebhookWithSecret { webhook: webhook.into(), secret: None };
    let kept = kept(&shown)?;
    shown.secret = secret;
    let mut response = created(&location, shown);
    *response.status_mut() = status;
    response.extensions_mut().insert(kept);
    Ok(response)
}

/// What is kept of an answer for its repetition.
pub(super) fn kept(without_secret: &impl Serialize) -> Result<KeptBody, Problem> {
    let body = serde_json::to_vec(without_secret).map_err(|_| Problem::internal())?;
    Ok(KeptBody(Bytes::from(body)))
}

/// An endpoint.
#[utoipa::path(get, path = "/api/v1/webhooks/{id}", operation_id = "get_webhook", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = view::Webhook), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn get(
    State(context): Context,
    caller: Caller,
    Id(id): Id<WebhookId>,
) -> Result<Json<view::Webhook>, Problem> {
    Ok(Json(seen(&context, &caller, &id).await?.into()))
}

async fn seen(context: &Shared, caller: &Caller, id: &WebhookId) -> Result<Webhook, Problem> {
    let webhook = context.catalogue.webhook(id).await?.filter(|webhook| caller.0.sees(&webhook.tenant));
    webhook.ok_or_else(|| Problem::not_found("webhook", id.as_str()))
}

/// Fields to change; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookChange {
    /// Where to POST.
    url: Option<String>,
    /// Event types, `asset.*` or `*`.
    events: Option<Vec<String>>,
    /// On or off. While it is off events wait, and are sent when it is on again.
    enabled: Option<bool>,
}

/// Change an endpoint.
#[utoipa::path(patch, path = "/api/v1/webhooks/{id}", operation_id = "update_webhook", tag = "webhooks", params(("id" = String, Path)),
    request_body = WebhookChange,
    responses((status = 200, body = view::Webhook), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn update(
    State(context): Context,
    caller: Caller,
    Id(id): Id<WebhookId>,
    Json(change): Json<WebhookChange>,
) -> Result<Json<view::Webhook>, Problem> {
    let mut webhook = seen(&context, &caller, &id).await?;
    if let Some(text) = change.url {
        webhook.url = url(&context, &text)?;
    }
    if let Some(events) = change.events {
        webhook.events = patterns(events)?;
    }
    webhook.enabled = change.enabled.unwrap_or(webhook.enabled);
    stored(&context, &webhook).await?;
    Ok(Json(webhook.into()))
}

async fn stored(context: &Shared, webhook: &Webhook) -> Result<(), Problem> {
    match context.catalogue.update_webhook(webhook).await? {
        true => Ok(()),
        false => Err(Problem::not_found("webhook", webhook.id.as_str())),
    }
}

/// Delete an endpoint and its deliveries.
#[utoipa::path(delete, path = "/api/v1/webhooks/{id}", operation_id = "delete_webhook", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn delete(
    State(context): Context,
    caller: Caller,
    Id(id): Id<WebhookId>,
) -> Result<StatusCode, Problem> {
    seen(&context, &caller, &id).await?;
    match context.catalogue.delete_webhook(&id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("webhook", id.as_str())),
    }
}

/// How to exchange a secret.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotate {
    /// Whether the secret before goes on signing beside the new one (the default), until the next exchange.
    #[serde(default = "yes")]
    keep_previous: bool,
}

fn yes() -> bool {
    true
}

/// Exchange an endpoint's secret: messages are signed with the new one and the one before. The answer has the new one, this once.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/~rotate-secret", operation_id = "rotate_webhook_secret", tag = "webhooks",
    params(("id" = String, Path)), request_body = Option<Rotate>,
    responses((status = 200, body = view::WebhookWithSecret), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn rotate(
    State(context): Context,
    caller: Caller,
    Id(id): Id<WebhookId>,
    Json(how): Json<Option<Rotate>>,
) -> Result<Response, Problem> {
    let mut webhook = seen(&context, &caller, &id).await?;
    webhook.secrets.insert(0, new_secret());
    webhook.secrets.truncate(if how.is_none_or(|how| how.keep_previous) { 2 } else { 1 });
    stored(&context, &webhook).await?;
    with_secret(StatusCode::OK, webhook)
}

/// Send a `webhook.test` message now, once, and say what the receiver answered.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/~test", operation_id = "test_webhook", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = view::TestResult), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn test(
    State(context): Context,
    caller: Caller,
    Id(id): Id<WebhookId>,
) -> Result<Json<view::TestResult>, Problem> {
    let webhook = seen(&context, &caller, &id).await?;
    let now = context.catalogue.now().await?;
    let sent = context.poster.send(&webhook, &Message::test(id.as_str(), now), now).await;
    Ok(Json(view::TestResult { delivered: matches!(sent, Sent::Delivered(_)), answer: sent.note() }))
}

/// What was and will be sent to an endpoint, newest first.
#[utoipa::path(get, path = "/api/v1/webhooks/{id}/deliveries", operation_id = "list_deliveries", tag = "webhooks",
    params(("id" = String, Path), PageQuery),
    responses((status = 200, body = Listing<view::Delivery>), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn deliveries(
    State(context): Context,
    caller: Caller,
    Id(id): Id<WebhookId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Listing<view::Delivery>>, Problem> {
    seen(&context, &caller, &id).await?;
    let asked = query.asked()?;
    let page = context.catalogue.deliveries(&id, asked.after.as_deref(), asked.limit).await?;
    Ok(Json(Listing::of(page, view::Delivery::from)))
}

/// Send a delivery again, with all its tries before it.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/deliveries/{delivery}/~replay", operation_id = "replay_delivery", tag = "webhooks",
    params(("id" = String, Path), ("delivery" = String, Path)),
    responses((status = 202), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn replay(
    State(context): Context,
    caller: Caller,
    Names(names): Names<2>,
) -> Result<StatusCode, Problem> {
    let [webhook, delivery] = names;
    let webhook = seen(&context, &caller, &parse_id::<WebhookId>(&webhook)?).await?;
    let id = parse_id::<DeliveryId>(&delivery)?;
    let found = belongs(&context, &webhook.id, &id).await? && context.catalogue.replay_delivery(&id).await?;
    if found { Ok(StatusCode::ACCEPTED) } else { Err(Problem::not_found("delivery", id.as_str())) }
}

/// Whether the delivery is one of this endpoint's.
async fn belongs(context: &Shared, webhook: &WebhookId, id: &DeliveryId) -> Result<bool, Problem> {
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let page = context.catalogue.deliveries(webhook, after.as_deref(), crate::page::LIMIT_MAX).await?;
        if page.rows.iter().any(|delivery| delivery.id == *id) {
            return Ok(true);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_types_of_events() {
        let check = |list: &[&str], ok: bool| {
            assert_eq!(patterns(list.iter().map(|&p| p.to_owned()).collect()).is_ok(), ok, "{list:?}");
        };
        check(&["*"], true);
        check(&["asset.*", "job.step.failed"], true);
        check(&[], false);
        check(&[""], false);
        check(&["a*b"], false);
        check(&["asset*"], false);
        check(&["Asset Ready"], false);
    }
}
