//! What handlers take from a request, checked: every refusal is a [`Problem`].

use std::str::FromStr;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use store::catalogue::Principal;

use crate::problem::Problem;

/// Largest JSON body, in bytes: a recipe with all its rungs is below 64 KiB.
pub(crate) const JSON_BYTES_MAX: usize = 1 << 20;

/// A JSON body, in and out.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

/// The query, where every parameter is one that the handler names.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

/// The one parameter of the path, decoded.
#[derive(Debug)]
pub(crate) struct Name(pub(crate) String);

/// The parameters of the path, decoded.
#[derive(Debug)]
pub(crate) struct Names<const N: usize>(pub(crate) [String; N]);

/// The one parameter of the path: an id. A text that is none names nothing: 404.
#[derive(Debug)]
pub(crate) struct Id<T>(pub(crate) T);

/// Who asks.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) Principal);

impl Caller {
    /// The tenant that a listing is held to: the caller's own, or the one asked for by a caller who sees all.
    pub(crate) fn tenant_filter(&self, asked: Option<String>) -> Result<Option<String>, Problem> {
        if let Some(tenant) = &asked {
            self.check_tenant(tenant)?;
        }
        Ok(self.0.tenant.clone().or(asked))
    }

    /// The tenant that something new belongs to.
    pub(crate) fn tenant_for_new(&self, asked: Option<String>) -> Result<String, Problem> {
        Ok(self.tenant_filter(asked)?.unwrap_or_else(|| TENANT_DEFAULT.to_owned()))
    }

    fn check_tenant(&self, tenant: &str) -> Result<(), Problem> {
        check_name("tenant", tenant)?;
        if self.0.sees(tenant) {
            return Ok(());
        }
        Err(Problem::forbidden(
            format!("The token belongs to another tenant than {tenant:?}."),
            "Leave tenant out: the token's own is taken.",
        ))
    }
}

/// Whose something is when nobody said.
pub(crate) const TENANT_DEFAULT: &str = "default";
/// Longest name of a tenant, recipe, user or worker, in bytes: names become path segments and labels.
const NAME_BYTES_MAX: usize = 128;

/// Checks a name: `A-Z a-z 0-9 - _ .`, not a dot first.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Problem> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    Err(Problem::invalid(
        format!("{shown:?} cannot be the name of a {what}."),
        format!("Use 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 - _ . and not a dot first."),
    ))
}

/// Checks a text for people.
pub(crate) fn check_text(what: &str, text: &str, chars_max: usize) -> Result<(), Problem> {
    let chars = text.chars().count();
    if chars <= chars_max {
        return Ok(());
    }
    Err(Problem::invalid(format!("{what} has {chars} characters."), format!("Shorten it to {chars_max} characters.")))
}

pub(crate) fn is_json(content_type: &HeaderValue) -> bool {
    let essence = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// The whole body.
///
/// # Errors
/// 413 when it is larger than `bytes_max`, 400 when it breaks off.
pub(crate) async fn read_body(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "The body is too large",
            format!("The body is over {bytes_max} bytes."),
            "Send less; files go to /api/v1/uploads.",
        )),
        Err(_) => Err(Problem::invalid("The body broke off.", "Send the request again.")),
    }
}

/// Reads JSON into `T`. An empty body is `null`, which is what an optional body is when it is left out.
pub(crate) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let hint = "Send JSON as /api/v1/openapi.json describes it.";
    let value: Value = match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(body)
            .map_err(|error| Problem::invalid(format!("The body is not JSON: {error}."), hint))?,
    };
    if has_nul(&value) {
        // Postgres has no U+0000 in texts.
        return Err(Problem::invalid("A text in the body holds U+0000.", "Take the NUL characters out."));
    }
    serde_json::from_value(value).map_err(|error| Problem::invalid(format!("The body does not fit: {error}."), hint))
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| !is_json(kind)) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "The body is not JSON",
                "The Content-Type is not application/json.",
                "Send JSON with Content-Type: application/json.",
            ));
        }
        let body = read_body(request.into_body(), JSON_BYTES_MAX).await?;
        parse_json(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                let mut response = Response::new(Body::from(body));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(error) => {
                tracing::error!(%error, "an answer is not JSON");
                Problem::internal().into_response()
            }
        }
    }
}

/// 201 with the new thing and where it is.
pub(crate) fn created<T: Serialize>(location: &str, body: T) -> Response {
    let mut response = Json(body).into_response();
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let hint = "Use the parameters that /api/v1/openapi.json names for this request.";
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(Problem::invalid("The query holds U+0000.", hint));
        }
        let read = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        read.map(|query| Self(query.0))
            .map_err(|error| Problem::invalid(format!("The query does not fit: {}.", error.body_text()), hint))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Names([name]) = Names::<1>::from_request_parts(parts, state).await?;
        Ok(Self(name))
    }
}

impl<const N: usize, S: Send + Sync> FromRequestParts<S> for Names<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // Fails for bytes that are no UTF-8.
        let path = axum::extract::Path::<Vec<String>>::from_request_parts(parts, state).await;
        let names = path.ok().and_then(|path| path.0.try_into().ok());
        names.map(Self).ok_or_else(|| Problem::not_found("resource", parts.uri.path()))
    }
}

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: FromStr + Kind,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Name(text) = Name::from_request_parts(parts, state).await?;
        parse_id(&text).map(Self)
    }
}

/// An id from a path.
pub(crate) fn parse_id<T: FromStr + Kind>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::not_found(T::KIND, text))
}

/// What an id names, for people.
pub(crate) trait Kind {
    /// `asset`, `job`, ...
    const KIND: &'static str;
}

macro_rules! kinds {
    ($($id:ident $kind:literal),*) => { $( impl Kind for store::catalogue::$id { const KIND: &'static str = $kind; } )* };
}

kinds!(AssetId "asset", JobId "job", StepId "step", UploadId "upload", WorkerId "worker", WebhookId "webhook",
    DeliveryId "delivery", TokenId "token", UserId "user");

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Fails closed: a request that came past authentication is nobody's.
        let principal = parts.extensions.get::<Principal>().cloned();
        principal.map(Self).ok_or_else(Problem::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_path_segment() {
        for (name, ok) in
            [("a", true), ("x264_fast-1.0", true), ("", false), (".a", false), ("a/b", false), ("a b", false)]
        {
            assert_eq!(check_name("recipe", name).is_ok(), ok, "{name:?}");
        }
    }

    #[test]
    fn nul_is_found_however_deep() {
        let check = |text: &str, ok: bool| assert_eq!(parse_json::<Value>(text.as_bytes()).is_ok(), ok, "{text}");
        check(r#"{"a":["b"]}"#, true);
        check(r#"{"a":["b\u0000"]}"#, false);
        check(r#"{"a\u0000":1}"#, false);
        check("{", false);
        check("", true);
    }

    #[test]
    fn a_tenants_caller_stays_in_its_tenant() {
        let caller = |tenant: Option<&str>| {
            Caller(Principal { name: "t".into(), scopes: Vec::new(), tenant: tenant.map(Into::into) })
        };
        assert_eq!(caller(None).tenant_filter(None).unwrap(), None);
        assert_eq!(caller(None).tenant_for_new(None).unwrap(), "default");
        assert_eq!(caller(Some("a")).tenant_filter(None).unwrap().as_deref(), Some("a"));
        assert_eq!(caller(Some("a")).tenant_for_new(Some("a".into())).unwrap(), "a");
        assert!(caller(Some("a")).tenant_filter(Some("b".into())).is_err());
    }
}
