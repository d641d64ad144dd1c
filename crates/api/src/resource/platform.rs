//! What is about the platform as a whole.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Context, PageQuery};
use crate::{
    extract::{Caller, Json, Name, Query},
    page::Listing,
    problem::{Details, Problem},
    view,
};

/// Who the server takes the caller for.
#[utoipa::path(get, path = "/api/v1/whoami", operation_id = "whoami", tag = "access",
    responses((status = 200, body = view::Caller), (status = 401, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn whoami(caller: Caller) -> Json<view::Caller> {
    Json(caller.0.into())
}

/// How to clean up.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gc {
    /// Only say what would go.
    #[serde(default)]
    dry_run: bool,
}

/// Remove objects that nothing names any more: of deleted assets, ended uploads and lost leases. The platform does it by itself, too.
#[utoipa::path(post, path = "/api/v1/maintenance/~gc", operation_id = "collect_garbage", tag = "platform", request_body = Option<Gc>,
    responses((status = 200, body = view::GcReport), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn gc(State(context): Context, Json(how): Json<Option<Gc>>) -> Result<Json<view::GcReport>, Problem> {
    let report = context.manager.gc(how.unwrap_or_default().dry_run).await?;
    Ok(Json(report.into()))
}

/// Where finished files are delivered to. Its profile, which has secrets, is not shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Destination {
    /// Its name, as recipes have it.
    name: String,
    /// Its protocol.
    #[schema(example = "sftp")]
    protocol: String,
}

/// Destinations of transfers.
#[utoipa::path(get, path = "/api/v1/destinations", operation_id = "list_destinations", tag = "platform", params(PageQuery),
    responses((status = 200, body = Listing<Destination>), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn destinations(
    State(context): Context,
    Query(query): Query<PageQuery>,
) -> Result<Json<Listing<Destination>>, Problem> {
    let asked = query.asked()?;
    let rows = context.manager.destinations().await?.into_iter().collect();
    let view = |(name, protocol)| Destination { name, protocol };
    Listing::cut("destinations", rows, |row: &(String, String)| row.0.as_str(), &asked, view).map(Json)
}

/// Store the profile of a destination, secrets included.
#[utoipa::path(put, path = "/api/v1/destinations/{id}", operation_id = "put_destination", tag = "platform",
    params(("id" = String, Path, description = "Name of the destination")), request_body = Value,
    responses((status = 204), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn put_destination(
    State(context): Context,
    Name(name): Name,
    Json(profile): Json<Value>,
) -> Result<StatusCode, Problem> {
    context.manager.put_destination(&name, Some(&profile)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forget a destination.
#[utoipa::path(delete, path = "/api/v1/destinations/{id}", operation_id = "delete_destination", tag = "platform",
    params(("id" = String, Path, description = "Name of the destination")),
    responses((status = 204), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn delete_destination(State(context): Context, Name(name): Name) -> Result<StatusCode, Problem> {
    if !context.manager.destinations().await?.contains_key(&name) {
        return Err(Problem::not_found("destination", &name));
    }
    context.manager.put_destination(&name, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
