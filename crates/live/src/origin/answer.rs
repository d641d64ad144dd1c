//! HTTP answers: media types, cache classes, CORS, problems.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};

/// What can go wrong while a body is sent.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body of shared bytes, some of them still to come.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// How long an answer may be kept by caches between us and the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// The bytes under this URL never change: segments, parts, initialization segments.
    Forever,
    /// A playlist: at most half of what changes it.
    For(Duration),
    /// A low-latency playlist without a blocking directive: true now, old in a moment (RFC 8216bis 6.2.5.2).
    Moment,
    /// Nobody may keep it.
    Never,
}

impl Keep {
    fn header(self) -> HeaderValue {
        match self {
            Self::Forever => HeaderValue::from_static("public, max-age=31536000, immutable"),
            Self::For(age) => {
                let text = format!("public, max-age={}", age.as_secs());
                HeaderValue::try_from(text).expect("a number is a header value")
            }
            Self::Moment => HeaderValue::from_static("public, max-age=0"),
            Self::Never => HeaderValue::from_static("no-store"),
        }
    }
}

/// The media types of the formats (RFC 8216bis 10, ISO/IEC 23009-1 Annex C, RFC 4337, RFC 3555).
pub(super) mod mime {
    pub(in crate::origin) const M3U8: &str = "application/vnd.apple.mpegurl";
    pub(in crate::origin) const MPD: &str = "application/dash+xml";
    pub(in crate::origin) const MP4_VIDEO: &str = "video/mp4";
    pub(in crate::origin) const MP4_AUDIO: &str = "audio/mp4";
    pub(in crate::origin) const TS: &str = "video/mp2t";
    pub(in crate::origin) const JPEG: &str = "image/jpeg";
    pub(in crate::origin) const JSON: &str = "application/json";
    pub(in crate::origin) const TEXT: &str = "text/plain; charset=utf-8";
}

/// An answer with a body of known bytes.
pub(super) fn full(media_type: &'static str, keep: Keep, bytes: impl Into<Bytes>) -> Response<Body> {
    let bytes = bytes.into();
    let length = bytes.len() as u64;
    body(media_type, keep, Some(length), Full::new(bytes).map_err(|never| match never {}).boxed_unsync())
}

/// An answer with any body; `length` where it is known before the last byte is.
pub(super) fn body(media_type: &'static str, keep: Keep, length: Option<u64>, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, keep.header());
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    with_cors(response)
}

/// The same answer with a strong ETag.
pub(super) fn with_etag(mut response: Response<Body>, tag: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::try_from(format!("\"{tag}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// An RFC 9457 problem.
pub(super) fn problem(status: StatusCode, keep: Keep, detail: &str) -> Response<Body> {
    let text = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    let mut response = full("application/problem+json", keep, text.to_string());
    *response.status_mut() = status;
    response
}

/// The answer to a preflight (Fetch standard, CORS-preflight request).
pub(super) fn preflight() -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "Range, If-None-Match, Content-Type, CMCD-Request, CMCD-Object, CMCD-Status, CMCD-Session",
        ),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    with_cors(response)
}

/// Any site's player may read streams; who may watch is decided in front, not by the page's address.
fn with_cors(mut response: Response<Body>) -> Response<Body> {
    const TIMING: HeaderName = HeaderName::from_static("timing-allow-origin");
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Age, Content-Length, Content-Range, Date, ETag, Server-Timing, X-Cache-Status"),
    );
    headers.insert(TIMING, HeaderValue::from_static("*"));
    response
}
