//! `Idempotency-Key` on POST (IETF draft-ietf-httpapi-idempotency-key-header-07): the same request twice is done once.
//!
//! What is done is done by a task of its own: a client that hangs up does not leave a request half done and its key taken.

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use sha2::{Digest, Sha256};
use store::catalogue::{Catalogue, Idempotency, Principal, StoredResponse};

use crate::{
    extract::JSON_BYTES_MAX,
    problem::{Problem, chain},
};

/// The header.
pub(crate) const KEY_HEADER: &str = "idempotency-key";
/// On an answer that is given again.
pub(crate) const REPLAYED_HEADER: &str = "idempotency-replayed";
/// Longest key, in bytes: a UUID has 36.
const KEY_BYTES_MAX: usize = 255;
/// Headers that an answer given again has.
const KEPT_HEADERS: [http::HeaderName; 2] = [header::CONTENT_TYPE, header::LOCATION];

/// What is kept of an answer in place of its body, when the body holds a secret that is shown once.
#[derive(Clone, Debug)]
pub(crate) struct KeptBody(pub(crate) Bytes);

/// Whether a request takes part: a POST with a key whose body, if any, is JSON.
pub(crate) fn applies<B>(request: &Request<B>) -> bool {
    let json = request.headers().get(header::CONTENT_TYPE).is_none_or(crate::extract::is_json);
    request.method() == Method::POST && request.headers().contains_key(KEY_HEADER) && json
}

/// Answers `request` by `answer`, or as it was answered before.
///
/// # Errors
/// 400 for a key that is none, 409 while the first request of the key is at work, 422 when the key came with another request.
pub(crate) async fn once<F, A>(
    catalogue: &Catalogue,
    principal: &Principal,
    request: Request<Body>,
    answer: F,
) -> Result<Response, Problem>
where
    F: FnOnce(Request<Body>) -> A + Send + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let key = key(request.headers())?;
    let (parts, body) = request.into_parts();
    let body = crate::extract::read_body(body, JSON_BYTES_MAX).await?;
    let fingerprint = fingerprint(&parts, &body);
    let held = Held { catalogue: catalogue.clone(), key, principal: principal.name.clone() };
    match catalogue.idempotency_begin(&held.key, &held.principal, &fingerprint).await? {
        Idempotency::New => {}
        Idempotency::InFlight => return Err(in_flight()),
        Idempotency::Mismatch => return Err(mismatch()),
        Idempotency::Replay(stored) => return Ok(again(stored)),
    }
    let request = Request::from_parts(parts, Body::from(body));
    let work = tokio::spawn(async move {
        let answered = tokio::spawn(answer(request)).await;
        held.settle(answered).await
    });
    work.await.unwrap_or_else(|_| Err(Problem::internal()))
}

/// A key that this request holds.
struct Held {
    catalogue: Catalogue,
    key: String,
    principal: String,
}

impl Held {
    /// Keeps an answer that did something; a refusal did nothing, and the key is free for the corrected request.
    async fn settle(self, answered: Result<Response, tokio::task::JoinError>) -> Result<Response, Problem> {
        let Ok(response) = answered else {
            self.free().await;
            return Err(Problem::internal());
        };
        if !response.status().is_success() {
            self.free().await;
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
            self.free().await;
            return Err(Problem::internal());
        };
        let kept = parts.extensions.get::<KeptBody>().map_or_else(|| body.clone(), |kept| kept.0.clone());
        let stored = StoredResponse {
            status: parts.status.as_u16(),
            headers: kept_headers(&parts.headers),
            body: kept.to_vec(),
        };
        if let Err(error) = self.catalogue.idempotency_finish(&self.key, &self.principal, &stored).await {
            tracing::warn!(error = chain(&error), "an answer could not be kept under its Idempotency-Key");
        }
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    async fn free(&self) {
        if let Err(error) = self.catalogue.idempotency_abandon(&self.key, &self.principal).await {
            tracing::warn!(error = chain(&error), "an Idempotency-Key could not be freed");
        }
    }
}

/// The key: a quoted string as the draft has it, or bare as most clients send it.
fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(KEY_HEADER).iter();
    let key = values.next().and_then(|value| value.to_str().ok()).map(|text| text.trim().trim_matches('"'));
    let fits = |key: &&str| (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    match (key.filter(fits), values.next()) {
        (Some(key), None) => Ok(key.to_owned()),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_idempotency_key",
            "Not an Idempotency-Key",
            format!("The Idempotency-Key is not one text of 1 to {KEY_BYTES_MAX} visible ASCII characters."),
            "Send a fresh UUID with each new request, and the same one when you repeat it.",
        )),
    }
}

fn fingerprint(parts: &http::request::Parts, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    for part in [parts.method.as_str().as_bytes(), target.as_bytes()] {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(body);
    data_encoding::HEXLOWER.encode(&hash.finalize())
}

fn kept_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |name: &http::HeaderName| Some((name.to_string(), headers.get(name)?.to_str().ok()?.to_owned()));
    KEPT_HEADERS.iter().filter_map(text).collect()
}

fn again(stored: StoredResponse) -> Response {
    let mut response = Response::new(Body::from(stored.body));
    *response.status_mut() = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
    for (name, value) in stored.headers {
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    response
}

fn in_flight() -> Problem {
    Problem::conflict(
        "idempotency_in_flight",
        "The first request with this Idempotency-Key is still at work.",
        "Repeat the request in a second: it is then answered as the first one was.",
    )
    .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

fn mismatch() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency_mismatch",
        "Another request had this key",
        "This Idempotency-Key came with a different request before.",
        "Take a fresh key for each new request; repeat only the very same request under its key.",
    )
}
