//! HTTP answers: media types, cache classes, conditions, ranges, problems.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use packager::vod::Progressive;
use serde_json::json;
use store::{Key, Objects};

use super::{body, none_match};

/// What can go wrong while a body is sent.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body of objects' bytes as they are read.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// When to ask again for what is not ready yet, in seconds.
const RETRY_AFTER_S: u64 = 5;

/// How long an answer may be kept by caches between us and the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// The bytes under this URL never change.
    Forever,
    /// What is published while more is being prepared.
    Growing,
    /// What is published of an asset that nothing is at work on.
    Settled,
}

impl Keep {
    const fn header(self) -> &'static str {
        match self {
            Self::Forever => "public, max-age=31536000, immutable",
            Self::Growing => "public, max-age=2",
            Self::Settled => "public, max-age=10",
        }
    }
}

/// The media types of the formats (RFC 8216bis 10, ISO/IEC 23009-1 Annex C, RFC 4337, W3C WebVTT).
pub(super) mod mime {
    pub(in crate::origin) const M3U8: &str = "application/vnd.apple.mpegurl";
    pub(in crate::origin) const MPD: &str = "application/dash+xml";
    pub(in crate::origin) const MP4_VIDEO: &str = "video/mp4";
    pub(in crate::origin) const MP4_AUDIO: &str = "audio/mp4";
    pub(in crate::origin) const VTT: &str = "text/vtt; charset=utf-8";
    pub(in crate::origin) const JPEG: &str = "image/jpeg";
}

/// Where the bytes of an answer are.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Memory(Bytes),
    /// In an object, from this position on.
    Object {
        key: Key,
        start: u64,
    },
    /// In a head and in track files.
    Movie {
        movie: Arc<Progressive>,
        keys: Vec<Key>,
    },
}

/// An answer before the request's conditions and range.
#[derive(Clone, Debug)]
pub(super) struct Content {
    media_type: &'static str,
    keep: Keep,
    etag: String,
    bytes: u64,
    source: Source,
    disposition: Option<HeaderValue>,
}

impl Content {
    pub(super) fn new(media_type: &'static str, keep: Keep, etag: String, bytes: u64, source: Source) -> Self {
        Self { media_type, keep, etag, bytes, source, disposition: None }
    }

    pub(super) fn memory(media_type: &'static str, keep: Keep, etag: String, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::new(media_type, keep, etag, bytes.len() as u64, Source::Memory(bytes))
    }

    /// To be saved, not shown.
    pub(super) fn attachment(mut self, disposition: &str) -> Self {
        self.disposition = HeaderValue::try_from(disposition).ok();
        self
    }

    /// The answer to a GET or HEAD request with these headers.
    pub(super) fn response(self, method: &Method, headers: &HeaderMap, objects: &Objects) -> Response<Body> {
        if none_match(headers, &self.etag) {
            let mut response = self.head(StatusCode::NOT_MODIFIED, None);
            response.headers_mut().remove(header::CONTENT_TYPE);
            return response;
        }
        // A range is of GET alone (RFC 9110 14.2).
        let asked = if method == Method::GET { self.range(headers) } else { Asked::Whole };
        let (status, range) = match asked {
            Asked::Whole => (StatusCode::OK, 0..self.bytes),
            Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Asked::Nothing => return self.unsatisfiable(),
        };
        let mut response = self.head(status, Some(&range));
        if method == Method::GET {
            *response.body_mut() = self.body(range, objects);
        }
        response
    }

    fn head(&self, status: StatusCode, range: Option<&Range<u64>>) -> Response<Body> {
        let mut response = Response::new(empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.keep.header()));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", self.etag)) {
            headers.insert(header::ETAG, etag);
        }
        if let Some(disposition) = &self.disposition {
            headers.insert(header::CONTENT_DISPOSITION, disposition.clone());
        }
        if let Some(range) = range {
            headers.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
            if status == StatusCode::PARTIAL_CONTENT {
                let text = format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), self.bytes);
                headers.extend(HeaderValue::try_from(text).ok().map(|value| (header::CONTENT_RANGE, value)));
            }
        }
        response
    }

    fn range(&self, headers: &HeaderMap) -> Asked {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        // A strong comparison (RFC 9110 13.1.5): the part must fit to what the client has.
        let same = text(header::IF_RANGE).is_none_or(|tag| tag == format!("\"{}\"", self.etag));
        text(header::RANGE).filter(|_| same).map_or(Asked::Whole, |range| asked(range, self.bytes))
    }

    fn unsatisfiable(&self) -> Response<Body> {
        let mut response = problem(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "range",
            &format!("the range lies outside the {} bytes", self.bytes),
            "ask for a range that begins within them",
        );
        let headers = response.headers_mut();
        let text = format!("bytes */{}", self.bytes);
        headers.extend(HeaderValue::try_from(text).ok().map(|value| (header::CONTENT_RANGE, value)));
        response
    }

    fn body(self, range: Range<u64>, objects: &Objects) -> Body {
        match self.source {
            Source::Memory(bytes) => {
                let range = range.start as usize..range.end as usize;
                Full::new(bytes.slice(range)).map_err(|never| match never {}).boxed_unsync()
            }
            Source::Object { key, start } => {
                body::of_object(objects.clone(), key, start + range.start..start + range.end)
            }
            Source::Movie { movie, keys } => body::of_movie(objects.clone(), movie, keys, range),
        }
    }
}

/// What a Range header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    /// A range outside.
    Nothing,
}

/// One range of bytes (RFC 9110 14.1.2). Several, other units and what cannot be read are passed over, as the clause allows.
fn asked(header: &str, bytes: u64) -> Asked {
    let Some((first, last)) = header.trim().strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'))
    else {
        return Asked::Whole;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More digits than fit are more than there is.
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let range = match (first, last, number(first), number(last)) {
        ("", _, None, Some(suffix)) => bytes.saturating_sub(suffix)..bytes,
        (_, "", Some(first), None) => first..bytes,
        (_, _, Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(bytes),
        _ => return Asked::Whole,
    };
    if range.start < range.end { Asked::Part(range) } else { Asked::Nothing }
}

/// Why there is no content.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing has this URL.
    NotFound,
    /// It will come.
    NotReady(&'static str),
    /// The asset could not be prepared, and why.
    Errored(String),
    /// Neither GET nor HEAD.
    Method,
    /// Try again in a moment.
    Busy,
    /// What is stored cannot be used.
    Broken,
    /// The catalogue or the object store.
    Store(store::Error),
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        match error {
            // The rendition was replaced, or the asset deleted, since its snapshot was taken.
            store::Error::NotFound { .. } => Self::NotFound,
            error => Self::Store(error),
        }
    }
}

impl Failure {
    pub(super) fn response(self) -> Response<Body> {
        match self {
            Self::NotFound => problem(
                StatusCode::NOT_FOUND,
                "not_found",
                "nothing is published under this address",
                "see the asset's page for its addresses; what was published anew has new ones",
            ),
            Self::NotReady(why) => {
                retry(problem(StatusCode::NOT_FOUND, "not_ready", why, "not ready: try again in a moment"))
            }
            Self::Errored(why) => problem(
                StatusCode::NOT_FOUND,
                "errored",
                &format!("the asset could not be prepared. {why}"),
                "see its job for what went wrong, and retry it there",
            ),
            Self::Method => {
                let mut response = problem(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method",
                    "only GET and HEAD are answered here",
                    "use the control API to change assets",
                );
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
            Self::Busy => retry(unavailable("the asset is changing or the server is stopping")),
            Self::Broken => problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "broken",
                "what is stored of this rendition cannot be read",
                "run the asset's job again; the server's log says which object it is",
            ),
            Self::Store(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the on-demand origin cannot read its store");
                retry(unavailable("the store cannot be read at the moment"))
            }
        }
    }
}

fn unavailable(detail: &str) -> Response<Body> {
    problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail, "try again in a moment")
}

fn retry(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
    response
}

/// An RFC 9457 problem; what is wrong now may be right in a moment, so nobody keeps it.
fn problem(status: StatusCode, code: &str, detail: &str, hint: &str) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Error");
    let text = json!({
        "type": format!("urn:headwater:problem:{code}"),
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
        "hint": hint,
    })
    .to_string();
    let length = text.len() as u64;
    let mut response = Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, length.into());
    response
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let check = |header: &str, want: Asked| assert_eq!(asked(header, 100), want, "{header}");
        check("bytes=0-9", Asked::Part(0..10));
        check("bytes=90-", Asked::Part(90..100));
        check("bytes=-10", Asked::Part(90..100));
        check("bytes=-200", Asked::Part(0..100));
        check("bytes=99-99999999999999999999999", Asked::Part(99..100));
        check("bytes=100-", Asked::Nothing);
        check("bytes=-0", Asked::Nothing);
        for odd in ["bytes=9-0", "bytes=0-1,5-6", "lines=0-9", "bytes=a-b", "bytes=", "bytes=-", "bytes=+1-2", ""] {
            check(odd, Asked::Whole);
        }
    }
}
