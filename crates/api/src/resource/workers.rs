//! Workers, and the queue that they work off.

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use store::catalogue::WorkerId;
use utoipa::ToSchema;

use super::{Context, PageQuery};
use crate::{
    extract::{Id, Json, Name, Query, check_name, check_text},
    page::Listing,
    problem::{Details, Problem},
    view,
};

/// Longest reason of a cordon, in characters.
const REASON_CHARS_MAX: usize = 500;

/// Workers by name of their process.
#[utoipa::path(get, path = "/api/v1/workers", operation_id = "list_workers", tag = "workers", params(PageQuery),
    responses((status = 200, body = Listing<view::Worker>), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(context): Context,
    Query(query): Query<PageQuery>,
) -> Result<Json<Listing<view::Worker>>, Problem> {
    let asked = query.asked()?;
    let rows = context.catalogue.workers().await?;
    Listing::cut("workers", rows, |worker| worker.id.as_str(), &asked, view::Worker::from).map(Json)
}

/// A worker.
#[utoipa::path(get, path = "/api/v1/workers/{id}", operation_id = "get_worker", tag = "workers", params(("id" = String, Path)),
    responses((status = 200, body = view::Worker), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn get(State(context): Context, Id(id): Id<WorkerId>) -> Result<Json<view::Worker>, Problem> {
    let worker = context.catalogue.worker(&id).await?;
    worker.map(|worker| Json(worker.into())).ok_or_else(|| Problem::not_found("worker", id.as_str()))
}

/// Why a node gets no new steps.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cordon {
    /// For people who ask why.
    reason: Option<String>,
}

/// Give a node no new steps, whatever process of that name asks. By node name.
#[utoipa::path(post, path = "/api/v1/workers/{id}/~cordon", operation_id = "cordon_worker", tag = "workers",
    params(("id" = String, Path, description = "Name of the node")), request_body = Option<Cordon>,
    responses((status = 204), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn cordon(
    State(context): Context,
    Name(name): Name,
    Json(body): Json<Option<Cordon>>,
) -> Result<StatusCode, Problem> {
    check_name("worker", &name)?;
    let reason = body.unwrap_or_default().reason.unwrap_or_else(|| "cordoned by hand".into());
    check_text("reason", &reason, REASON_CHARS_MAX)?;
    known(context.catalogue.cordon(&name, Some(&reason)).await?, &name)
}

/// Give a node steps again. By node name.
#[utoipa::path(post, path = "/api/v1/workers/{id}/~uncordon", operation_id = "uncordon_worker", tag = "workers",
    params(("id" = String, Path, description = "Name of the node")),
    responses((status = 204), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn uncordon(State(context): Context, Name(name): Name) -> Result<StatusCode, Problem> {
    check_name("worker", &name)?;
    known(context.catalogue.cordon(&name, None).await?, &name)
}

/// Have a worker finish what it has and leave. By the id of its process.
#[utoipa::path(post, path = "/api/v1/workers/{id}/~drain", operation_id = "drain_worker", tag = "workers", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn drain(State(context): Context, Id(id): Id<WorkerId>) -> Result<StatusCode, Problem> {
    known(context.catalogue.drain_worker(&id).await?, id.as_str())
}

fn known(done: bool, name: &str) -> Result<StatusCode, Problem> {
    if done { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("worker", name)) }
}

/// How much work waits, for people and autoscalers: KEDA's `metrics-api` scaler reads `caps.encode.wanted`.
#[utoipa::path(get, path = "/api/v1/queue", operation_id = "get_queue", tag = "workers", responses((status = 200, body = view::Queue)))]
pub(crate) async fn queue(State(context): Context) -> Result<Json<view::Queue>, Problem> {
    Ok(Json(context.catalogue.queue().await?.into()))
}
