//! A response as it is kept: a head made ready once, and the body's shared bytes.

use std::{sync::Arc, time::SystemTime};

use base::Mono;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::freshness::Freshness;

/// Bodies up to this many bytes are kept in one piece, so that a hit is one write.
const ONE_PIECE_BYTES_MAX: u64 = 64 * 1024;

/// What a head weighs in the cache beside its headers' text: the structures around it, in bytes, measured roughly.
const HEAD_OVERHEAD_BYTES: usize = 512;

/// The head of a response that may be shared, without anything that belongs to one connection.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body's length, when it is known before its end.
    pub(crate) length: Option<u64>,
    pub(crate) freshness: Freshness,
}

impl Head {
    pub(crate) fn new(status: StatusCode, mut headers: HeaderMap, length: Option<u64>, freshness: Freshness) -> Self {
        strip_hop_by_hop(&mut headers);
        // Said anew in each answer.
        headers.remove(header::AGE);
        headers.remove(SERVER_TIMING);
        headers.remove(CACHE_STATUS);
        if !headers.contains_key(header::DATE) {
            let now = httpdate::fmt_http_date(SystemTime::now());
            headers.extend(HeaderValue::from_str(&now).ok().map(|date| (header::DATE, date)));
        }
        let mut head = Self { status, headers, length: None, freshness };
        head.set_length(length);
        head
    }

    /// Whether parts of the body may be asked for (RFC 9110 14.2: a 200 of known length).
    pub(crate) fn is_divisible(&self) -> bool {
        self.status == StatusCode::OK && self.length.is_some()
    }

    fn set_length(&mut self, length: Option<u64>) {
        self.length = length;
        self.headers.remove(header::CONTENT_LENGTH);
        if let Some(length) = length
            && self.status != StatusCode::NO_CONTENT
        {
            self.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if self.is_divisible() {
            self.headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
    }
}

/// nginx's name for how the cache took part.
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("x-cache-status");
/// Where the time went (W3C Server Timing).
pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// A complete response in memory.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) head: Head,
    pub(crate) chunks: Arc<[Bytes]>,
    pub(crate) length: u64,
}

impl Object {
    pub(crate) fn new(head: &Head, chunks: Vec<Bytes>) -> Self {
        let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let mut head = head.clone();
        head.set_length(Some(length));
        Self { head, chunks: in_one_piece(chunks, length).into(), length }
    }

    /// The same body after the origin answered 304: its new headers replace the old (RFC 9111 4.3.4).
    pub(crate) fn renewed(&self, not_modified: &HeaderMap, now: Mono) -> Self {
        let mut headers = self.head.headers.clone();
        for name in not_modified.keys().filter(|name| !describes_the_body(name)) {
            headers.remove(name);
            for value in not_modified.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        if !not_modified.contains_key(header::DATE) {
            headers.remove(header::DATE);
        }
        let mut aged = headers.clone();
        aged.remove(header::AGE);
        aged.extend(not_modified.get(header::AGE).map(|age| (header::AGE, age.clone())));
        let freshness = Freshness::of(self.head.status, &aged, now);
        let head = Head::new(self.head.status, headers, Some(self.length), freshness);
        Self { head, chunks: self.chunks.clone(), length: self.length }
    }

    /// What it counts for in the cache, in bytes.
    pub(crate) fn weight_bytes(&self) -> u64 {
        let text: usize = self.head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        self.length.saturating_add((text + HEAD_OVERHEAD_BYTES) as u64)
    }
}

/// Removes what concerns one connection only (RFC 9110 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    let fixed = [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        HeaderName::from_static("proxy-connection"),
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    for name in fixed {
        headers.remove(name);
    }
}

fn describes_the_body(name: &HeaderName) -> bool {
    [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONTENT_TYPE, header::CONTENT_RANGE].contains(name)
}

fn in_one_piece(chunks: Vec<Bytes>, length: u64) -> Vec<Bytes> {
    if chunks.len() < 2 || length > ONE_PIECE_BYTES_MAX {
        return chunks;
    }
    let mut whole = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
    chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
    vec![whole.freeze()]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn object(lines: &[(&'static str, &'static str)], chunks: &[&'static str]) -> Object {
        let headers: HeaderMap =
            lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
        let freshness = Freshness::of(StatusCode::OK, &headers, Mono::ZERO);
        let head = Head::new(StatusCode::OK, headers, None, freshness);
        Object::new(&head, chunks.iter().map(|c| Bytes::from_static(c.as_bytes())).collect())
    }

    #[test]
    fn a_kept_response_says_its_length_and_nothing_of_its_connection() {
        let object = object(&[("connection", "x-hop, close"), ("x-hop", "1"), ("etag", "\"a\"")], &["ab", "c"]);
        let headers = &object.head.headers;
        assert_eq!(headers["content-length"], "3");
        assert_eq!(headers["accept-ranges"], "bytes");
        assert!(headers.contains_key("date") && headers.contains_key("etag"));
        assert!(!headers.contains_key("connection") && !headers.contains_key("x-hop"));
        assert_eq!(object.chunks.len(), 1);
        assert!(object.weight_bytes() > 3);
    }

    #[test]
    fn a_304_renews_the_age_and_keeps_the_body() {
        let old = object(&[("cache-control", "max-age=1"), ("etag", "\"a\""), ("content-type", "x/y")], &["abc"]);
        let mut answer = HeaderMap::new();
        answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=9"));
        answer.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        let now = Mono::from_origin(Duration::from_secs(100));
        let new = old.renewed(&answer, now);
        assert_eq!(new.head.headers["content-length"], "3");
        assert_eq!(new.head.headers["content-type"], "x/y");
        assert_eq!(new.head.headers["cache-control"], "max-age=9");
        assert!(new.head.freshness.is_fresh(now));
        assert_eq!(new.chunks[0], "abc");
    }
}
