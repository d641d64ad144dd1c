//! What workers read and store: the source, and objects of their own job and asset.

use std::ops::Range;

use axum::{
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::TryStreamExt;
use serde::Deserialize;
use store::{
    Expected, Key, PutNew,
    catalogue::{Step, StepId},
};

use super::{
    Manager,
    service::{Refused, StepPath},
};
use crate::{
    plan,
    protocol::{ObjectRef, SHA256_HEADER},
};

/// Largest object that a worker may store, in bytes: a day of pictures at 80 Mbit/s is a little less.
const OBJECT_BYTES_MAX: u64 = 1 << 40;

/// Query of every request about objects.
#[derive(Debug, Deserialize)]
pub(super) struct Token {
    token: i64,
    key: Option<String>,
}

async fn held(manager: &Manager, step: &StepId, token: i64) -> Result<Step, Refused> {
    manager.catalogue().holds(step, token).await?.ok_or_else(Refused::lost)
}

/// `GET`, `HEAD steps/ID/source`.
pub(super) async fn source(
    State(manager): State<Manager>,
    StepPath(step): StepPath,
    Query(query): Query<Token>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let step = held(&manager, &step, query.token).await?;
    let asset = manager.catalogue().asset(&step.asset).await?;
    let blob = asset.and_then(|asset| asset.source.blob).ok_or_else(|| {
        Refused::new(
            StatusCode::NOT_FOUND,
            "no_source",
            "The asset's source is not stored; it was deleted, or never came.",
        )
    })?;
    let bytes = blob.bytes();
    let asked = asked(&headers, bytes)?;
    let whole = asked.clone().unwrap_or(0..bytes);
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        Body::from_stream(manager.objects().blob_stream(&blob, whole))
    };
    Ok(ranged(asked, bytes, body))
}

/// `GET`, `HEAD steps/ID/objects?key=K`.
pub(super) async fn object(
    State(manager): State<Manager>,
    StepPath(step): StepPath,
    Query(query): Query<Token>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let step = held(&manager, &step, query.token).await?;
    let none = || {
        Refused::new(
            StatusCode::NOT_FOUND,
            "no_object",
            "This step may read objects of its own job and asset; there is no such one.",
        )
    };
    let key = query.key.ok_or_else(none)?;
    let own = [format!("work/{}/", step.job), format!("assets/{}/", step.asset)];
    if !own.iter().any(|prefix| key.starts_with(prefix)) {
        return Err(none());
    }
    let key = Key::new(&key).map_err(|_| none())?;
    let bytes = manager.objects().head(&key).await?.ok_or_else(none)?.bytes;
    let asked = asked(&headers, bytes)?;
    if method == Method::HEAD || bytes == 0 {
        return Ok(ranged(asked, bytes, Body::empty()));
    }
    let (_, stream) = manager.objects().get_stream(&key, asked.clone()).await?;
    Ok(ranged(asked, bytes, Body::from_stream(stream)))
}

/// The range asked for, cut at the end; `None` for all (RFC 9110 14.2: ranges that are not understood, and lists of them, are
/// ignored).
fn asked(headers: &HeaderMap, bytes: u64) -> Result<Option<Range<u64>>, Refused> {
    let text = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some((first, last)) = text.and_then(|text| text.strip_prefix("bytes=")?.split_once('-')) else {
        return Ok(None);
    };
    let range = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(bytes),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..bytes,
        (Err(_), Ok(suffix)) if first.trim().is_empty() => bytes.saturating_sub(suffix)..bytes,
        _ => return Ok(None),
    };
    if range.is_empty() {
        let detail = format!("There are {bytes} bytes; the range begins behind them.");
        return Err(Refused::new(StatusCode::RANGE_NOT_SATISFIABLE, "range", detail));
    }
    Ok(Some(range))
}

fn ranged(asked: Option<Range<u64>>, bytes: u64, body: Body) -> Response {
    let range = asked.clone().unwrap_or(0..bytes);
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::CONTENT_LENGTH, range.end - range.start);
    if asked.is_some() {
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {}-{}/{bytes}", range.start, range.end - 1));
    }
    response.body(body).expect("these headers are valid")
}

/// `PUT steps/ID/objects/NAME`.
pub(super) async fn put(
    State(manager): State<Manager>,
    Path((_, name)): Path<(String, String)>,
    StepPath(step): StepPath,
    Query(query): Query<Token>,
    request: Request,
) -> Result<Response, Refused> {
    let bad = |detail: String| Refused::new(StatusCode::BAD_REQUEST, "bad_request", detail);
    if !plan::valid_object_name(&name) {
        return Err(bad("An object's name is letters, digits, -, _ and ., at most 100 of them.".to_owned()));
    }
    let step = held(&manager, &step, query.token).await?;
    let spec = plan::spec(&step).map_err(|error| bad(error.human))?;
    let sha256 = header_text(request.headers(), SHA256_HEADER)
        .map(str::to_ascii_lowercase)
        .filter(|hash| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or_else(|| bad(format!("The header {SHA256_HEADER} must tell the SHA-256 of the body in hex.")))?;
    let bytes = header_text(request.headers(), header::CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
    if bytes.is_some_and(|bytes: u64| bytes > OBJECT_BYTES_MAX) {
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The object is too large."));
    }
    let key = Key::new(&format!("{}{name}", plan::prefix(&step, spec.delivers(), step.token)))?;
    let expected = Expected { bytes, sha256: Some(sha256.clone()) };
    let body = limited(request.into_body());
    let (put, stored) = manager.objects().put_new_stream(&key, body, Some(expected)).await.map_err(put_failed)?;
    let object = ObjectRef { key: key.as_str().to_owned(), bytes: stored.bytes, sha256: stored.sha256 };
    match put {
        PutNew::Stored => Ok((StatusCode::CREATED, axum::Json(object)).into_response()),
        // The same worker may send it again when an answer was lost; other bytes under the same name are refused.
        PutNew::Exists if manager.objects().digest(&key).await?.sha256 == object.sha256 => {
            Ok(axum::Json(object).into_response())
        }
        PutNew::Exists => {
            let detail = "Other bytes are stored under this name already. Nothing is overwritten: choose another name.";
            Err(Refused::new(StatusCode::CONFLICT, "exists", detail))
        }
    }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The body, cut off when it turns out to be too large.
fn limited(body: Body) -> impl futures_util::Stream<Item = Result<bytes::Bytes, axum::BoxError>> + Send {
    let mut left = OBJECT_BYTES_MAX;
    body.into_data_stream().map_err(axum::BoxError::from).and_then(move |bytes| {
        let fits = left.checked_sub(bytes.len() as u64);
        left = fits.unwrap_or(0);
        std::future::ready(fits.map(|_| bytes).ok_or_else(|| "the object is too large".into()))
    })
}

fn put_failed(error: store::Error) -> Refused {
    match &error {
        store::Error::Mismatch { what, .. } => {
            let code = if *what == "sha256" { "hash_mismatch" } else { "size_mismatch" };
            Refused::new(StatusCode::BAD_REQUEST, code, error.to_string())
        }
        store::Error::Body { .. } => Refused::new(StatusCode::BAD_REQUEST, "body", error.to_string()),
        store::Error::Full { .. } => Refused::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", error.to_string()),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        let check = |text: &str, expected: Option<Option<Range<u64>>>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, text.parse().unwrap());
            assert_eq!(asked(&headers, 100).ok(), expected, "{text}");
        };
        check("bytes=0-", Some(Some(0..100)));
        check("bytes=10-19", Some(Some(10..20)));
        check("bytes=90-1000", Some(Some(90..100)));
        check("bytes=-5", Some(Some(95..100)));
        check("bytes=-500", Some(Some(0..100)));
        check("bytes=100-", None);
        check("bytes=20-10", Some(None));
        check("bytes=0-1,5-6", Some(None));
        check("pages=1-2", Some(None));
    }
}
