//! What part of a response a request asks for: conditions (RFC 9110 13) and ranges (RFC 9110 14).

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::object::Head;

/// The part of a response that answers a GET or HEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of it.
    Whole,
    /// Bytes `first..=last` of `total`.
    Part { first: u64, last: u64, total: u64 },
    /// The client has it.
    NotModified,
    /// The range lies outside of the `total` bytes.
    Unsatisfiable { total: u64 },
}

/// Decides in the order of RFC 9110 13.2.2. Only the answers to GET are divided, so `is_get` is false for HEAD.
pub(crate) fn select(request: &HeaderMap, head: &Head, is_get: bool) -> Selection {
    if head.status != StatusCode::OK {
        return Selection::Whole;
    }
    if not_modified(request, &head.headers) {
        return Selection::NotModified;
    }
    match (request.get(header::RANGE), head.length) {
        (Some(range), Some(total)) if is_get && if_range_holds(request, &head.headers) => part(range, total),
        _ => Selection::Whole,
    }
}

fn not_modified(request: &HeaderMap, response: &HeaderMap) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        let Some(etag) = response.get(header::ETAG) else { return false };
        let mut candidates = request.get_all(header::IF_NONE_MATCH).into_iter().flat_map(|line| tags(line.as_bytes()));
        return candidates.any(|tag| tag == b"*" || weak(tag) == weak(etag.as_bytes()));
    }
    let since = request.get(header::IF_MODIFIED_SINCE).and_then(date);
    let modified = response.get(header::LAST_MODIFIED).and_then(date);
    matches!((since, modified), (Some(since), Some(modified)) if modified <= since)
}

/// RFC 9110 13.1.5: a strong ETag, or exactly the date.
fn if_range_holds(request: &HeaderMap, response: &HeaderMap) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else { return true };
    let is_strong = |tag: &HeaderValue| tag.as_bytes().starts_with(b"\"");
    let same_tag = response.get(header::ETAG).is_some_and(|etag| is_strong(etag) && etag == condition);
    same_tag || response.get(header::LAST_MODIFIED).is_some_and(|modified| modified == condition)
}

/// One range of bytes. Several ranges, another unit and what is malformed are answered whole, as RFC 9110 14.2 allows: a
/// multipart answer helps no player, and sets of ranges are an old way to exhaust servers.
fn part(range: &HeaderValue, total: u64) -> Selection {
    let text = range.to_str().unwrap_or_default();
    let Some((unit, set)) = text.split_once('=') else { return Selection::Whole };
    let Some((first, last)) = set.trim().split_once('-') else { return Selection::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Selection::Whole;
    }
    let (first, last) = match (position(first), position(last)) {
        (Position::At(first), Position::At(last)) if first > last => return Selection::Whole,
        (Position::At(first), Position::At(last)) => (first, last.min(total.saturating_sub(1))),
        (Position::At(first), Position::Open) => (first, total.saturating_sub(1)),
        (Position::Open, Position::At(0)) => return Selection::Unsatisfiable { total },
        (Position::Open, Position::At(suffix)) => (total.saturating_sub(suffix), total.saturating_sub(1)),
        _ => return Selection::Whole,
    };
    if first >= total { Selection::Unsatisfiable { total } } else { Selection::Part { first, last, total } }
}

enum Position {
    Open,
    At(u64),
    Malformed,
}

fn position(text: &str) -> Position {
    match text.trim() {
        "" => Position::Open,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Position::At(digits.parse().unwrap_or(u64::MAX)),
        _ => Position::Malformed,
    }
}

fn tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

fn weak(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::freshness::Freshness;

    fn head(length: Option<u64>) -> Head {
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, HeaderValue::from_static("\"v1\""));
        headers.insert(header::LAST_MODIFIED, HeaderValue::from_static("Fri, 20 Nov 2026 09:00:00 GMT"));
        Head::new(StatusCode::OK, headers, length, Freshness::default())
    }

    fn request(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(*name, HeaderValue::from_str(value).unwrap());
            map
        })
    }

    #[test]
    fn ranges_select_parts() {
        let check = |range: &str, expected: Selection| {
            assert_eq!(select(&request(&[("range", range)]), &head(Some(10)), true), expected, "{range}");
        };
        let part = |first, last| Selection::Part { first, last, total: 10 };
        check("bytes=0-0", part(0, 0));
        check("bytes=2-5", part(2, 5));
        check("Bytes = 2-", part(2, 9));
        check("bytes=0-99999999999999999999999999", part(0, 9));
        check("bytes=-3", part(7, 9));
        check("bytes=-99", part(0, 9));
        check("bytes=10-", Selection::Unsatisfiable { total: 10 });
        check("bytes=99999999999999999999-", Selection::Unsatisfiable { total: 10 });
        check("bytes=-0", Selection::Unsatisfiable { total: 10 });
        for whole in ["bytes=5-2", "bytes=0-1,3-4", "bytes=", "bytes=-", "bytes=a-b", "items=0-1", "0-1", "bytes=1-2-3"]
        {
            check(whole, Selection::Whole);
        }
        assert_eq!(
            select(&request(&[("range", "bytes=0-")]), &head(Some(0)), true),
            Selection::Unsatisfiable { total: 0 }
        );
        assert_eq!(select(&request(&[("range", "bytes=0-")]), &head(None), true), Selection::Whole);
        assert_eq!(select(&request(&[("range", "bytes=0-1")]), &head(Some(10)), false), Selection::Whole);
    }

    #[test]
    fn conditions_come_before_ranges() {
        let check = |lines: &[(&'static str, &str)], expected: Selection| {
            assert_eq!(select(&request(lines), &head(Some(10)), true), expected, "{lines:?}");
        };
        let part = Selection::Part { first: 0, last: 1, total: 10 };
        check(&[("if-none-match", "\"v1\"")], Selection::NotModified);
        check(&[("if-none-match", "\"v0\", W/\"v1\"")], Selection::NotModified);
        check(&[("if-none-match", "*")], Selection::NotModified);
        check(&[("if-none-match", "\"v0\"")], Selection::Whole);
        check(&[("if-none-match", "\"v1\""), ("range", "bytes=0-1")], Selection::NotModified);
        check(&[("if-modified-since", "Fri, 20 Nov 2026 09:00:00 GMT")], Selection::NotModified);
        check(&[("if-modified-since", "Fri, 20 Nov 2026 08:59:59 GMT")], Selection::Whole);
        check(&[("if-modified-since", "never")], Selection::Whole);
        let later = ("if-modified-since", "Sat, 21 Nov 2026 09:00:00 GMT");
        check(&[("if-none-match", "\"v0\""), later], Selection::Whole);
        check(&[("range", "bytes=0-1"), ("if-range", "\"v1\"")], part);
        check(&[("range", "bytes=0-1"), ("if-range", "Fri, 20 Nov 2026 09:00:00 GMT")], part);
        check(&[("range", "bytes=0-1"), ("if-range", "\"v0\"")], Selection::Whole);
        check(&[("range", "bytes=0-1"), ("if-range", "W/\"v1\"")], Selection::Whole);
    }

    proptest! {
        #[test]
        fn any_range_lies_within_the_body(range in "\\PC{0,24}|bytes=[0-9]{0,22}-[0-9]{0,22}", total in any::<u64>()) {
            if let Ok(value) = HeaderValue::from_str(&range)
                && let Selection::Part { first, last, .. } = part(&value, total)
            {
                prop_assert!(first <= last && last < total);
            }
        }
    }
}
