//! Assets: films and sound recordings, from their first byte to their viewers.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use store::catalogue::{Asset, AssetFilter, AssetId, AssetPatch, AssetState, JobFilter, JobId};
use utoipa::{IntoParams, ToSchema};

use super::Context;
use crate::{
    extract::{Caller, Id, Json, Query, check_text, created, parse_json, read_body},
    page::{Asked, Listing},
    problem::{Details, Problem},
    service::Shared,
    view,
};

/// Longest title, in characters.
const TITLE_CHARS_MAX: usize = 300;
/// Largest `metadata`, in bytes of JSON: it is echoed in every listing.
const METADATA_BYTES_MAX: usize = 16 << 10;
/// Longest part of a title that a listing is searched for, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// The query of the listing of assets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AssetsQuery {
    /// Rows per page, 1 to 100; 50 when left out.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only those in this state.
    #[param(schema_with = view::asset_state)]
    state: Option<AssetState>,
    /// Only those with this text in their title, in whatever case.
    text: Option<String>,
    /// Only this tenant's.
    tenant: Option<String>,
}

/// Assets, newest first.
#[utoipa::path(get, path = "/api/v1/assets", operation_id = "list_assets", tag = "assets", params(AssetsQuery),
    responses((status = 200, body = Listing<view::Asset>), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(context): Context,
    caller: Caller,
    Query(query): Query<AssetsQuery>,
) -> Result<Json<Listing<view::Asset>>, Problem> {
    let asked = Asked::read(query.limit, query.cursor)?;
    check_text("text", query.text.as_deref().unwrap_or_default(), TEXT_CHARS_MAX)?;
    let filter = AssetFilter { tenant: caller.tenant_filter(query.tenant)?, state: query.state, text: query.text };
    let page = context.catalogue.assets(&filter, asked.after.as_deref(), asked.limit).await?;
    Ok(Json(Listing::of(page, view::Asset::from)))
}

/// A new asset from a URL.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAsset {
    /// Where the bytes are: `http`, `https`, `ftp`, `ftps`, `sftp` or `s3`.
    #[schema(example = "https://example.com/film.mov")]
    url: String,
    /// Title for people; the file's name when left out.
    title: Option<String>,
    /// The recipe by name; `default` when left out.
    recipe: Option<String>,
    /// Whose it is; the token's tenant when left out.
    tenant: Option<String>,
    /// Fields of your own, echoed back.
    metadata: Option<Value>,
}

/// Make an asset of a URL, which the platform fetches; or, as `multipart/form-data`, of a file in the body.
#[utoipa::path(post, path = "/api/v1/assets", operation_id = "create_asset", tag = "assets",
    request_body(content((NewAsset = "application/json"), (Vec<u8> = "multipart/form-data"))),
    responses((status = 201, body = view::Asset), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn create(State(context): Context, caller: Caller, request: Request) -> Result<Response, Problem> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if content_type.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data")) {
        return context.to_uploads(request).await;
    }
    let body = read_body(request.into_body(), crate::extract::JSON_BYTES_MAX).await?;
    let asset = from_url(&context, &caller, parse_json(&body)?).await?;
    Ok(created(&format!("/api/v1/assets/{}", asset.id), view::Asset::from(asset)))
}

async fn from_url(context: &Shared, caller: &Caller, new: NewAsset) -> Result<Asset, Problem> {
    let title = new.title.unwrap_or_default();
    check_text("title", &title, TITLE_CHARS_MAX)?;
    let metadata = metadata(new.metadata)?;
    let tenant = caller.tenant_for_new(new.tenant)?;
    let about = vod::manager::NewAsset { tenant, title, recipe: new.recipe, metadata };
    let (asset, _) = context.manager.create_from_url(&new.url, None, about).await?;
    Ok(asset)
}

fn metadata(given: Option<Value>) -> Result<Value, Problem> {
    let value = given.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let bytes = value.to_string().len();
    if !value.is_object() {
        return Err(Problem::invalid(
            "metadata is not an object.",
            "Send fields by name: {\"metadata\": {\"my_id\": \"7\"}}.",
        ));
    }
    if bytes > METADATA_BYTES_MAX {
        let detail = format!("metadata has {bytes} bytes.");
        return Err(Problem::invalid(detail, format!("Shorten it to {METADATA_BYTES_MAX} bytes.")));
    }
    Ok(value)
}

/// An asset.
#[utoipa::path(get, path = "/api/v1/assets/{id}", operation_id = "get_asset", tag = "assets", params(("id" = String, Path)),
    responses((status = 200, body = view::Asset), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn get(
    State(context): Context,
    caller: Caller,
    Id(id): Id<AssetId>,
) -> Result<Json<view::Asset>, Problem> {
    Ok(Json(seen(&context, &caller, &id).await?.into()))
}

/// The asset, if the caller may see it.
async fn seen(context: &Shared, caller: &Caller, id: &AssetId) -> Result<Asset, Problem> {
    let asset = context.catalogue.asset(id).await?;
    let visible = asset.filter(|asset| asset.state != AssetState::Deleted && caller.0.sees(&asset.tenant));
    visible.ok_or_else(|| Problem::not_found("asset", id.as_str()))
}

/// Send a file in one go; the last part of the path is its name.
#[utoipa::path(put, path = "/api/v1/assets/{id}", operation_id = "put_asset", tag = "assets",
    params(("id" = String, Path, description = "Name of the file, such as `film.mov`")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = view::Asset), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn put(State(context): Context, request: Request) -> Result<Response, Problem> {
    context.to_uploads(request).await
}

/// Fields to change; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssetChange {
    /// Title for people.
    title: Option<String>,
    /// Fields of your own; replaces all of them.
    metadata: Option<Value>,
}

/// Change an asset's title or metadata.
#[utoipa::path(patch, path = "/api/v1/assets/{id}", operation_id = "update_asset", tag = "assets", params(("id" = String, Path)),
    request_body = AssetChange,
    responses((status = 200, body = view::Asset), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn update(
    State(context): Context,
    caller: Caller,
    Id(id): Id<AssetId>,
    Json(change): Json<AssetChange>,
) -> Result<Json<view::Asset>, Problem> {
    seen(&context, &caller, &id).await?;
    check_text("title", change.title.as_deref().unwrap_or_default(), TITLE_CHARS_MAX)?;
    let metadata = change.metadata.map(|value| metadata(Some(value))).transpose()?;
    let patch = AssetPatch { title: change.title, metadata, ..AssetPatch::default() };
    let asset = context.catalogue.update_asset(&id, &patch).await?;
    asset.map(|asset| Json(asset.into())).ok_or_else(|| Problem::not_found("asset", id.as_str()))
}

/// Delete an asset: it is gone at once, its objects soon after.
#[utoipa::path(delete, path = "/api/v1/assets/{id}", operation_id = "delete_asset", tag = "assets", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn delete(
    State(context): Context,
    caller: Caller,
    Id(id): Id<AssetId>,
) -> Result<StatusCode, Problem> {
    seen(&context, &caller, &id).await?;
    match context.catalogue.delete_asset(&id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("asset", id.as_str())),
    }
}

/// How to encode an asset again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reencode {
    /// The recipe by name; that of the asset when left out, in its newest version.
    recipe: Option<String>,
    /// Lower goes first; 0 is usual.
    #[schema(minimum = -1000, maximum = 1000)]
    priority: Option<i64>,
}

/// Encode an asset again: its renditions are replaced one by one, and it plays all the time.
#[utoipa::path(post, path = "/api/v1/assets/{id}/~reencode", operation_id = "reencode_asset", tag = "assets",
    params(("id" = String, Path)), request_body = Option<Reencode>,
    responses((status = 201, body = view::Job), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn reencode(
    State(context): Context,
    caller: Caller,
    Id(id): Id<AssetId>,
    Json(how): Json<Option<Reencode>>,
) -> Result<Response, Problem> {
    seen(&context, &caller, &id).await?;
    let how = how.unwrap_or_default();
    let priority = super::jobs::priority(how.priority.unwrap_or(0))?;
    let job = context.manager.reencode(&id, how.recipe.as_deref()).await?;
    if priority != 0 {
        context.catalogue.prioritise_job(&job, priority).await?;
    }
    let row = context.catalogue.job(&job).await?.ok_or_else(|| Problem::not_found("job", job.as_str()))?;
    Ok(created(&format!("/api/v1/jobs/{job}"), view::Job::from(row)))
}

/// What of an asset is ready to play.
#[utoipa::path(get, path = "/api/v1/assets/{id}/renditions", operation_id = "list_renditions", tag = "assets",
    params(("id" = String, Path)),
    responses((status = 200, body = Listing<view::Rendition>), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn renditions(
    State(context): Context,
    caller: Caller,
    Id(id): Id<AssetId>,
) -> Result<Json<Listing<view::Rendition>>, Problem> {
    seen(&context, &caller, &id).await?;
    let rows = context.catalogue.renditions(&id).await?;
    Ok(Json(Listing::whole(rows, Into::into)))
}

/// How far the newest job of an asset is.
#[utoipa::path(get, path = "/api/v1/assets/{id}/progress", operation_id = "get_asset_progress", tag = "assets",
    params(("id" = String, Path)),
    responses((status = 200, body = view::JobProgress), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn progress(
    State(context): Context,
    caller: Caller,
    Id(id): Id<AssetId>,
) -> Result<Json<view::JobProgress>, Problem> {
    seen(&context, &caller, &id).await?;
    let job = newest_job(&context, &id).await?.ok_or_else(|| Problem::not_found("job of the asset", id.as_str()))?;
    Ok(Json(context.progress(&job).await?))
}

async fn newest_job(context: &Shared, asset: &AssetId) -> Result<Option<JobId>, Problem> {
    let filter = JobFilter { tenant: None, state: None, asset: Some(asset.clone()) };
    let page = context.catalogue.jobs(&filter, None, 1).await?;
    Ok(page.rows.into_iter().next().map(|job| job.id))
}
