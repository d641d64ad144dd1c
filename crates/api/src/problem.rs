//! Refusals that say what was wrong and what to do: RFC 9457 problem details.

use std::borrow::Cow;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use base::Fault;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use vod::manager::ManagerError;

/// What every `type` begins with; the code follows.
const TYPE_PREFIX: &str = "urn:headwater:problem:";

/// A refusal. As a response it carries no body until [`Problem::render`] has given it the request's id.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    hint: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body of a refusal (`application/problem+json`, RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Details<'a> {
    /// `urn:headwater:problem:CODE`.
    #[schema(example = "urn:headwater:problem:not_found")]
    r#type: String,
    /// The kind of problem, the same for every occurrence.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What was wrong this time.
    detail: &'a str,
    /// A stable word for programs.
    #[schema(example = "not_found")]
    code: &'a str,
    /// What to do about it.
    hint: &'a str,
    /// The request's id, also in the header `x-request-id` and in the server's log.
    request_id: &'a str,
}

impl Problem {
    /// A refusal with all that a client needs.
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code, title, detail: detail.into(), hint: hint.into(), headers: Vec::new() }
    }

    /// The same with a header.
    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// 400: a value that cannot be used.
    pub(crate) fn invalid(detail: impl Into<Cow<'static, str>>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", "The request cannot be used", detail, hint)
    }

    /// 404: nothing of this name that the caller may see.
    pub(crate) fn not_found(what: &str, name: &str) -> Self {
        let name: String = name.chars().take(100).collect();
        let detail = format!("There is no {what} {name:?}, or it belongs to another tenant.");
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "Not found",
            detail,
            "List what there is and take its id from there.",
        )
    }

    /// 403: the caller may not.
    pub(crate) fn forbidden(detail: impl Into<Cow<'static, str>>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail, hint)
    }

    /// 409: not in this state.
    pub(crate) fn conflict(
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::CONFLICT, code, "Not in this state", detail, hint)
    }

    /// 503: a limit or a dependency; later may be better.
    pub(crate) fn unavailable(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        let hint = "Try again in a few seconds; the operations page and the server's log say more.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, "Not available now", detail, hint)
            .header(header::RETRY_AFTER, HeaderValue::from_static("2"))
    }

    /// 500: ours. The cause goes to the log under the request's id, not to the client.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The server failed",
            "This request met an error in the server.",
            "Look for the request id in the server's log and report it.",
        )
    }

    /// What an error of a store or of the on-demand plane means to the client; `error` goes to the log when it is not the client's.
    pub(crate) fn of_fault(fault: Fault, error: &dyn std::error::Error) -> Self {
        match fault {
            Fault::Client => Self::invalid(
                chain(error),
                "Correct what the detail names; /api/v1/openapi.json describes the request.",
            ),
            Fault::Upstream | Fault::Overload => {
                tracing::warn!(error = chain(error), fault = fault.label(), "an API request met a failing dependency");
                Self::unavailable(
                    "dependency_failed",
                    "A part of the platform that this request needs does not answer.",
                )
            }
            Fault::Internal => {
                tracing::error!(error = chain(error), "an API request failed");
                Self::internal()
            }
        }
    }

    /// The response with its body.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let details = Details {
            r#type: format!("{TYPE_PREFIX}{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            hint: &self.hint,
            request_id,
        };
        let body = serde_json::to_vec(&details).expect("texts and a number are JSON");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.headers.iter().cloned());
        response
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Cursor { .. } => crate::page::not_a_cursor(),
            store::Error::Conflict { .. } => {
                Self::conflict("conflict", chain(&error), "Take another name, or change what is there already.")
            }
            error => Self::of_fault(error.fault(), &error),
        }
    }
}

impl From<ManagerError> for Problem {
    fn from(error: ManagerError) -> Self {
        let unusable = |code, title, hint: &'static str| {
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, title, chain(&error), hint)
        };
        match error {
            ManagerError::Store(error) => error.into(),
            ManagerError::NoAsset => Self::not_found("asset", "of this id"),
            ManagerError::NoSource => {
                Self::conflict("no_source", chain(&error), "Wait until its upload is complete, or upload it again.")
            }
            ManagerError::NoRecipe { .. } => unusable(
                "no_recipe",
                "No such recipe",
                "GET /api/v1/recipes lists those there are; PUT /api/v1/recipes/NAME stores another.",
            ),
            ManagerError::Recipe(_) | ManagerError::RecipeName { .. } => unusable(
                "invalid_recipe",
                "The recipe cannot be used",
                "Correct what the detail names; compare with the recipe default.",
            ),
            ManagerError::Url { .. } => unusable(
                "invalid_source",
                "The source cannot be fetched",
                "Give an absolute URL of a public server, such as https://example.com/film.mov.",
            ),
            ManagerError::Source(_) => {
                unusable("unusable_source", "The source is not accepted", "Take another source or another recipe.")
            }
            ManagerError::Destination { .. } => {
                unusable("invalid_destination", "The destination cannot be used", "Correct what the detail names.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_has_every_member() {
        let problem = Problem::not_found("asset", "ast_1");
        let response = problem.render("req_1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        for member in ["type", "title", "detail", "code", "hint", "request_id"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {body}");
        }
        assert_eq!(body["status"], 404);
    }
}
