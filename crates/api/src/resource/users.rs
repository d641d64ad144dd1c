//! Users: names that tokens belong to, and what those may have at most.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Deserialize;
use store::catalogue::{Scope, User, UserId};
use utoipa::ToSchema;

use super::{Context, PageQuery, tokens::governs};
use crate::{
    extract::{Caller, Id, Json, Query, check_name, created},
    page::Listing,
    problem::{Details, Problem},
    view,
};

/// Users.
#[utoipa::path(get, path = "/api/v1/users", operation_id = "list_users", tag = "access", params(PageQuery),
    responses((status = 200, body = Listing<view::User>), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(context): Context,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Listing<view::User>>, Problem> {
    let asked = query.asked()?;
    let mut rows = context.catalogue.users().await?;
    rows.retain(|user| governs(&caller, user.tenant.as_deref()));
    Listing::cut("users", rows, |user| user.id.as_str(), &asked, view::User::from).map(Json)
}

/// A new user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// Unique name.
    name: String,
    /// What their tokens may have at most.
    #[schema(schema_with = view::scopes)]
    scopes: Vec<Scope>,
    /// Tenant; the caller's when left out, or every one.
    tenant: Option<String>,
}

/// Make a user.
#[utoipa::path(post, path = "/api/v1/users", operation_id = "create_user", tag = "access", request_body = NewUser,
    responses((status = 201, body = view::User), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(context): Context,
    caller: Caller,
    Json(new): Json<NewUser>,
) -> Result<Response, Problem> {
    check_name("user", &new.name)?;
    let tenant = caller.tenant_filter(new.tenant)?;
    let mut scopes = new.scopes;
    scopes.sort();
    scopes.dedup();
    let created_at = context.catalogue.now().await?;
    let user = User { id: UserId::new(), name: new.name, scopes, tenant, created: created_at };
    context.catalogue.create_user(&user).await?;
    Ok(created(&format!("/api/v1/users/{}", user.id), view::User::from(user)))
}

/// Delete a user and end their tokens.
#[utoipa::path(delete, path = "/api/v1/users/{id}", operation_id = "delete_user", tag = "access", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn delete(State(context): Context, caller: Caller, Id(id): Id<UserId>) -> Result<StatusCode, Problem> {
    let users = context.catalogue.users().await?;
    let governed = users.iter().any(|user| user.id == id && governs(&caller, user.tenant.as_deref()));
    if !governed || !context.catalogue.delete_user(&id).await? {
        return Err(Problem::not_found("user", id.as_str()));
    }
    context.auth.forget();
    Ok(StatusCode::NO_CONTENT)
}
