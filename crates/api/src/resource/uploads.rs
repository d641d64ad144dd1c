//! Uploads: the listing is answered here, the tus protocol by the on-demand plane.

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::Deserialize;
use store::catalogue::{UploadId, UploadState};
use utoipa::IntoParams;

use super::Context;
use crate::{
    extract::{Caller, Id, Json, Query},
    page::{Asked, Listing},
    problem::{Details, Problem},
    view,
};

/// The query of the listing of uploads.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UploadsQuery {
    /// Rows, 1 to 100; 50 when left out.
    limit: Option<u32>,
    /// Only those in this state.
    #[param(schema_with = view::upload_state)]
    state: Option<UploadState>,
    /// Only this tenant's.
    tenant: Option<String>,
}

/// The newest uploads.
#[utoipa::path(get, path = "/api/v1/uploads", operation_id = "list_uploads", tag = "uploads", params(UploadsQuery),
    responses((status = 200, body = Listing<view::Upload>), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(context): Context,
    caller: Caller,
    Query(query): Query<UploadsQuery>,
) -> Result<Json<Listing<view::Upload>>, Problem> {
    let asked = Asked::read(query.limit, None)?;
    let tenant = caller.tenant_filter(query.tenant)?;
    let rows = context.catalogue.uploads(tenant.as_deref(), query.state, asked.limit).await?;
    Ok(Json(Listing::whole(rows, Into::into)))
}

/// An upload: how far it is, and the asset it becomes.
#[utoipa::path(get, path = "/api/v1/uploads/{id}", operation_id = "get_upload", tag = "uploads", params(("id" = String, Path)),
    responses((status = 200, body = view::Upload), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn get(
    State(context): Context,
    caller: Caller,
    Id(id): Id<UploadId>,
) -> Result<Json<view::Upload>, Problem> {
    let upload = context.catalogue.upload(&id).await?.filter(|upload| caller.0.sees(&upload.tenant));
    upload.map(|upload| Json(upload.into())).ok_or_else(|| Problem::not_found("upload", id.as_str()))
}

/// Begin a resumable upload (tus 1.0, creation). `Upload-Metadata` may name `filename`, `title`, `recipe`, `tenant` and more.
#[utoipa::path(post, path = "/api/v1/uploads", operation_id = "create_upload", tag = "uploads",
    params(("tus-resumable" = String, Header), ("upload-length" = Option<u64>, Header), ("upload-defer-length" = Option<u64>, Header),
        ("upload-metadata" = Option<String>, Header), ("upload-concat" = Option<String>, Header)),
    responses((status = 201, description = "`Location` is the upload's URL"), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn create(State(context): Context, request: Request) -> Result<Response, Problem> {
    context.to_uploads(request).await
}

/// How many bytes of an upload are stored (tus 1.0, core).
#[utoipa::path(head, path = "/api/v1/uploads/{id}", operation_id = "head_upload", tag = "uploads",
    params(("id" = String, Path), ("tus-resumable" = String, Header)),
    responses((status = 200, description = "`Upload-Offset` is where the next PATCH begins"), (status = "4XX")))]
pub(crate) async fn offset(State(context): Context, request: Request) -> Result<Response, Problem> {
    context.to_uploads(request).await
}

/// Send bytes (tus 1.0, core and checksum).
#[utoipa::path(patch, path = "/api/v1/uploads/{id}", operation_id = "patch_upload", tag = "uploads",
    params(("id" = String, Path), ("tus-resumable" = String, Header), ("upload-offset" = u64, Header), ("upload-checksum" = Option<String>, Header)),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream"),
    responses((status = 204), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn append(State(context): Context, request: Request) -> Result<Response, Problem> {
    context.to_uploads(request).await
}

/// End an upload and forget its bytes (tus 1.0, termination).
#[utoipa::path(delete, path = "/api/v1/uploads/{id}", operation_id = "delete_upload", tag = "uploads",
    params(("id" = String, Path), ("tus-resumable" = String, Header)),
    responses((status = 204), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn end(State(context): Context, request: Request) -> Result<Response, Problem> {
    context.to_uploads(request).await
}

/// What of tus is spoken here.
#[utoipa::path(options, path = "/api/v1/uploads", operation_id = "describe_uploads", tag = "uploads",
    responses((status = 204, description = "`Tus-Version`, `Tus-Extension`, `Tus-Max-Size`, `Tus-Checksum-Algorithm`")))]
pub(crate) async fn describe(State(context): Context, request: Request) -> Result<Response, Problem> {
    context.to_uploads(request).await
}

/// A POST that stands for PATCH or DELETE by `X-HTTP-Method-Override` (tus 1.0, core).
#[utoipa::path(post, path = "/api/v1/uploads/{id}", operation_id = "override_upload", tag = "uploads",
    params(("id" = String, Path), ("x-http-method-override" = String, Header)),
    responses((status = 204), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn overridden(State(context): Context, request: Request) -> Result<Response, Problem> {
    context.to_uploads(request).await
}
