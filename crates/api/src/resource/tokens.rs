//! Access tokens.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Deserialize;
use store::catalogue::{Scope, Token, TokenId, UserId};
use utoipa::ToSchema;

use super::{Context, PageQuery};
use crate::{
    auth::new_token_secret,
    extract::{Caller, Id, Json, Query, check_text, created, parse_id},
    page::Listing,
    problem::{Details, Problem},
    service::Shared,
    view,
};

/// Longest label, in characters.
const LABEL_CHARS_MAX: usize = 200;
/// Longest life that can be asked for, in days; a token without an end has none.
const DAYS_MAX: u32 = 3_660;
const MS_PER_DAY: i64 = 86_400_000;

/// Access tokens, without their secrets.
#[utoipa::path(get, path = "/api/v1/tokens", operation_id = "list_tokens", tag = "access", params(PageQuery),
    responses((status = 200, body = Listing<view::Token>), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(context): Context,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Listing<view::Token>>, Problem> {
    let asked = query.asked()?;
    let mut rows = context.catalogue.tokens().await?;
    rows.retain(|token| governs(&caller, token.tenant.as_deref()));
    Listing::cut("tokens", rows, |token| token.id.as_str(), &asked, view::Token::from).map(Json)
}

/// Whether the caller may see and change what belongs to `tenant`, or to every tenant.
pub(super) fn governs(caller: &Caller, tenant: Option<&str>) -> bool {
    match (&caller.0.tenant, tenant) {
        (None, _) => true,
        (Some(own), Some(tenant)) => own == tenant,
        (Some(_), None) => false,
    }
}

/// A new access token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// Label for people.
    label: String,
    /// What it may do.
    #[schema(schema_with = view::scopes)]
    scopes: Vec<Scope>,
    /// Only this tenant's assets; the caller's tenant when left out, or every one.
    tenant: Option<String>,
    /// The user it belongs to, by id.
    user: Option<String>,
    /// Days until it ends; never when left out.
    expires_in_days: Option<u32>,
}

/// Make an access token. The answer has its secret, this once.
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "create_token", tag = "access", request_body = NewToken,
    responses((status = 201, body = view::TokenWithSecret), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(context): Context,
    caller: Caller,
    Json(new): Json<NewToken>,
) -> Result<Response, Problem> {
    let token = token(&context, &caller, new).await?;
    let secret = new_token_secret();
    context.catalogue.create_token(&token, &secret).await?;
    let location = format!("/api/v1/tokens/{}", token.id);
    let mut shown = view::TokenWithSecret { token: token.into(), secret: None };
    let kept = super::webhooks::kept(&shown)?;
    shown.secret = Some(secret);
    let mut response = created(&location, shown);
    response.extensions_mut().insert(kept);
    Ok(response)
}

async fn token(context: &Shared, caller: &Caller, new: NewToken) -> Result<Token, Problem> {
    check_text("label", &new.label, LABEL_CHARS_MAX)?;
    let mut scopes = new.scopes;
    scopes.sort();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(Problem::invalid("scopes is empty.", "Name at least one of admin, write, read, worker."));
    }
    let tenant = caller.tenant_filter(new.tenant)?;
    if tenant.is_some() && scopes.contains(&Scope::Worker) {
        let hint = "Leave tenant out, with a token that is bound to none: workers work for all.";
        return Err(Problem::invalid("A worker's token cannot be bound to a tenant.", hint));
    }
    let user = new.user.as_deref().map(parse_id::<UserId>).transpose()?;
    if let Some(id) = &user {
        check_user(context, caller, id, &scopes).await?;
    }
    let now = context.catalogue.now().await?;
    let expires = match new.expires_in_days {
        None => None,
        Some(days @ 1..=DAYS_MAX) => Some(now.plus_ms(i64::from(days) * MS_PER_DAY)),
        Some(days) => {
            let detail = format!("expires_in_days is {days}.");
            return Err(Problem::invalid(detail, format!("Use 1 to {DAYS_MAX}, or leave it out.")));
        }
    };
    Ok(Token { id: TokenId::new(), label: new.label, scopes, tenant, user, expires, created: now })
}

/// A user's token may do no more than the user.
async fn check_user(context: &Shared, caller: &Caller, id: &UserId, scopes: &[Scope]) -> Result<(), Problem> {
    let users = context.catalogue.users().await?;
    let user = users.into_iter().find(|user| user.id == *id && governs(caller, user.tenant.as_deref()));
    let user = user.ok_or_else(|| Problem::not_found("user", id.as_str()))?;
    match scopes.iter().find(|scope| !user.scopes.contains(scope)) {
        None => Ok(()),
        Some(scope) => {
            let detail = format!("The user {} does not have the scope {scope}.", user.name);
            Err(Problem::forbidden(detail, "Leave the scope out, or give it to the user first."))
        }
    }
}

/// End a token. Other processes of a cluster may take it for five seconds more.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", operation_id = "revoke_token", tag = "access", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn revoke(
    State(context): Context,
    caller: Caller,
    Id(id): Id<TokenId>,
) -> Result<StatusCode, Problem> {
    let tokens = context.catalogue.tokens().await?;
    let governed = tokens.iter().any(|token| token.id == id && governs(&caller, token.tenant.as_deref()));
    if !governed || !context.catalogue.revoke_token(&id).await? {
        return Err(Problem::not_found("token", id.as_str()));
    }
    context.auth.forget();
    Ok(StatusCode::NO_CONTENT)
}
