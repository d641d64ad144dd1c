//! Every route, and the document of them: a handler that is not here does not answer, and one that is here is in the document.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    problem::Problem,
    resource::{assets, events, jobs, platform, recipes, tokens, uploads, users, webhooks, workers},
    service::{Shared, no_route},
    verb,
};

/// What every path begins with.
pub(crate) const ROOT: &str = "/api/v1/";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Headwater control API",
        description = "Assets, uploads, jobs, workers, webhooks and access of a Headwater platform. Errors are RFC 9457 problem \
                       details with a stable `code` and a `hint`. Listings have at most 100 rows and an opaque cursor. A POST \
                       with an `Idempotency-Key` is done once. Requests carry a bearer token; those from the server's own machine \
                       need none.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT"),
    ),
    modifiers(&Bearer),
    security(("bearer" = [])),
    tags(
        (name = "assets", description = "Films and sound recordings"),
        (name = "uploads", description = "Bytes on their way in (tus 1.0)"),
        (name = "recipes", description = "What is made of a source"),
        (name = "jobs", description = "Work on assets, and its steps"),
        (name = "workers", description = "Who does the work, and how much waits"),
        (name = "events", description = "What happens, as it happens"),
        (name = "webhooks", description = "What happens, told to others (Standard Webhooks)"),
        (name = "access", description = "Tokens and users"),
        (name = "platform", description = "Housekeeping"),
    )
)]
struct Base;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("hwt_...").build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

fn documented() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(assets::list, assets::create))
        .routes(routes!(assets::get, assets::put, assets::update, assets::delete))
        .routes(routes!(assets::reencode))
        .routes(routes!(assets::renditions))
        .routes(routes!(assets::progress))
        .routes(routes!(uploads::list, uploads::create, uploads::describe))
        .routes(routes!(uploads::get, uploads::overridden, uploads::offset, uploads::append, uploads::end))
        .routes(routes!(recipes::list))
        .routes(routes!(recipes::validate))
        .routes(routes!(recipes::get, recipes::put))
        .routes(routes!(recipes::dry_run))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::get))
        .routes(routes!(jobs::progress))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::pause))
        .routes(routes!(jobs::resume))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::prioritise))
        .routes(routes!(jobs::step))
        .routes(routes!(jobs::retry_step))
        .routes(routes!(workers::list))
        .routes(routes!(workers::get))
        .routes(routes!(workers::cordon))
        .routes(routes!(workers::uncordon))
        .routes(routes!(workers::drain))
        .routes(routes!(workers::queue))
        .routes(routes!(events::follow))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::get, webhooks::update, webhooks::delete))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::replay))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::delete))
        .routes(routes!(platform::whoami))
        .routes(routes!(platform::gc))
        .routes(routes!(platform::destinations))
        .routes(routes!(platform::put_destination, platform::delete_destination))
}

/// The router of everything but the worker protocol.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let (router, document) = documented().split_for_parts();
    let json = bytes::Bytes::from(published(document));
    router
        .route("/api/v1/openapi.json", axum::routing::get(move || async move { document_response(json) }))
        .fallback(|uri: Uri| async move { no_route(&uri) })
        .method_not_allowed_fallback(not_allowed)
        .with_state(shared)
}

/// The OpenAPI 3.1 document of the control API, as it is served at `/api/v1/openapi.json`: indented JSON with a line break at its
/// end, the same at every call.
///
/// ```
/// assert!(api::openapi_json().contains("/api/v1/jobs/{id}:cancel"));
/// ```
pub fn openapi_json() -> String {
    published(documented().into_openapi())
}

fn published(mut document: Document) -> String {
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (verb::outwards(&path), item)).collect();
    let mut json = document.to_pretty_json().expect("a document of texts is JSON");
    json.push('\n');
    json
}

fn document_response(json: bytes::Bytes) -> Response {
    let mut response = Response::new(Body::from(json));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    response
}

async fn not_allowed(method: Method, uri: Uri) -> Response {
    let path: String = verb::outwards(uri.path()).chars().take(200).collect();
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "Not by this method",
        format!("{path} does not answer {method}."),
        "GET /api/v1/openapi.json lists the methods of every path.",
    )
    .into_response()
}
