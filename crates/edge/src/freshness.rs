//! What an origin's headers allow a shared cache to do: RFC 9111, with RFC 5861 (stale-while-revalidate, stale-if-error).

use std::time::Duration;

use base::Mono;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// How long a 404 or 410 is kept when its origin says nothing: long enough for a crowd, short enough for a stream that starts.
const NEGATIVE_LIFETIME: Duration = Duration::from_secs(1);

/// Longest lifetime that is believed, one year (the usual reading of RFC 9111 1.2.2 for delta-seconds).
const LIFETIME_S_MAX: u64 = 365 * 86_400;

/// The directives of a response's Cache-Control that matter to a shared cache (RFC 9111 5.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheControl {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) private: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) max_age_s: Option<u64>,
    pub(crate) s_maxage_s: Option<u64>,
    pub(crate) stale_while_revalidate_s: u64,
    pub(crate) stale_if_error_s: u64,
}

impl CacheControl {
    /// Reads every Cache-Control line; what is not understood is skipped, and an age that is no number counts as stale
    /// (RFC 9111 4.2.1).
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut out = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            for directive in directives(value.as_bytes()) {
                out.apply(directive);
            }
        }
        out
    }

    fn apply(&mut self, directive: &[u8]) {
        let mut halves = directive.splitn(2, |b| *b == b'=');
        let name = halves.next().unwrap_or_default().trim_ascii();
        let value = halves.next().map(|value| delta_seconds(value.trim_ascii().trim_quotes()));
        let seconds = || value.unwrap_or(0);
        match name.to_ascii_lowercase().as_slice() {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"must-revalidate" | b"proxy-revalidate" => self.must_revalidate = true,
            // The first of two contradicting ages counts (RFC 9111 4.2.1).
            b"max-age" => self.max_age_s = self.max_age_s.or(Some(seconds())),
            b"s-maxage" => self.s_maxage_s = self.s_maxage_s.or(Some(seconds())),
            b"stale-while-revalidate" => self.stale_while_revalidate_s = seconds(),
            b"stale-if-error" => self.stale_if_error_s = seconds(),
            _ => {}
        }
    }
}

/// How long a response may be used, and what then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// When the head arrived.
    pub(crate) received: Mono,
    /// The origin's own Age.
    pub(crate) initial_age: Duration,
    /// Age up to which it answers without asking.
    pub(crate) lifetime: Duration,
    /// Time after that in which it answers while being renewed.
    pub(crate) stale_while_revalidate: Duration,
    /// Time after that in which it answers when the origin fails.
    pub(crate) stale_if_error: Duration,
}

impl Freshness {
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap, now: Mono) -> Self {
        let control = CacheControl::of(headers);
        let initial_age = headers.get(header::AGE).map_or(0, |age| delta_seconds(age.as_bytes().trim_ascii()));
        let explicit = control.s_maxage_s.or(control.max_age_s).map(Duration::from_secs);
        let default = match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => NEGATIVE_LIFETIME,
            _ => Duration::ZERO,
        };
        let may_be_stale = !control.must_revalidate && !control.no_cache;
        let stale = |seconds| if may_be_stale { Duration::from_secs(seconds) } else { Duration::ZERO };
        Self {
            received: now,
            initial_age: Duration::from_secs(initial_age),
            lifetime: if control.no_cache { Duration::ZERO } else { explicit.unwrap_or(default) },
            stale_while_revalidate: stale(control.stale_while_revalidate_s),
            stale_if_error: stale(control.stale_if_error_s),
        }
    }

    /// RFC 9111 4.2.3.
    pub(crate) fn age(&self, now: Mono) -> Duration {
        self.initial_age.saturating_add(now.since(self.received))
    }

    pub(crate) fn is_fresh(&self, now: Mono) -> bool {
        self.age(now) < self.lifetime
    }

    pub(crate) fn may_serve_while_renewing(&self, now: Mono) -> bool {
        self.age(now) < self.lifetime.saturating_add(self.stale_while_revalidate)
    }

    pub(crate) fn may_serve_on_error(&self, now: Mono) -> bool {
        self.age(now) < self.lifetime.saturating_add(self.stale_if_error)
    }

    /// Whether keeping it can ever help, when it also has (or has not) something to be validated by.
    fn is_worth_keeping(&self, has_validator: bool) -> bool {
        let usable = self.lifetime.saturating_add(self.stale_while_revalidate.max(self.stale_if_error));
        usable > self.initial_age || has_validator
    }
}

/// What may be done with an answer of the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// It goes to all who wait for it, and to those who come while it is kept.
    Store,
    /// It goes to all who wait for it, and is then forgotten.
    Waiters,
    /// It goes to one client.
    Nobody,
}

/// Decides on a complete (not 206, not 304) answer to a GET without credentials. `length` is its Content-Length.
pub(crate) fn sharing(
    status: StatusCode,
    headers: &HeaderMap,
    length: Option<u64>,
    freshness: &Freshness,
    object_bytes_max: u64,
) -> Sharing {
    let control = CacheControl::of(headers);
    let personal = control.private || headers.contains_key(header::SET_COOKIE) || varies(headers);
    if personal || status == StatusCode::PARTIAL_CONTENT || length.is_some_and(|length| length > object_bytes_max) {
        return Sharing::Nobody;
    }
    // A failure answers everyone who waited for it, so that a crowd does not repeat it one by one.
    if status.is_server_error() {
        return Sharing::Waiters;
    }
    if control.no_store {
        return Sharing::Nobody;
    }
    let has_validator = headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    let explicit = control.s_maxage_s.or(control.max_age_s).is_some();
    let storable = match status.as_u16() {
        // Cacheable by definition: RFC 9110 15.1, less the ones that make no sense here.
        200 | 203 | 204 | 301 | 308 | 404 | 410 => true,
        302 | 307 => explicit,
        _ => false,
    };
    if storable && freshness.is_worth_keeping(has_validator) { Sharing::Store } else { Sharing::Waiters }
}

/// Whether the answer depends on request headers that the shared request does not carry as the client's did. Encodings do not
/// count (a shared request asks for none), nor does the page's origin where every page is allowed.
fn varies(headers: &HeaderMap) -> bool {
    let open = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_some_and(|value| value == "*");
    let names = headers.get_all(header::VARY).into_iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    names.map(<[u8]>::trim_ascii).any(|name| {
        let harmless = name.is_empty()
            || name.eq_ignore_ascii_case(b"accept-encoding")
            || (open && name.eq_ignore_ascii_case(b"origin"));
        !harmless
    })
}

/// RFC 9111 1.2.2, bounded; no number is 0.
fn delta_seconds(text: &[u8]) -> u64 {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let digits = std::str::from_utf8(text).unwrap_or_default();
    digits.parse().unwrap_or(LIFETIME_S_MAX).min(LIFETIME_S_MAX)
}

/// Splits at commas outside quotes.
fn directives(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    value.split(move |byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    })
}

trait TrimQuotes {
    fn trim_quotes(&self) -> &Self;
}

impl TrimQuotes for [u8] {
    fn trim_quotes(&self) -> &Self {
        self.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(self)
    }
}

/// The value of an `Age` header.
pub(crate) fn age_value(age: Duration) -> HeaderValue {
    HeaderValue::from(age.as_secs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(*name, HeaderValue::from_str(value).unwrap());
            map
        })
    }

    #[test]
    fn cache_control_is_read_as_rfc_9111_says() {
        let check = |text: &str, expected: CacheControl| {
            assert_eq!(CacheControl::of(&headers(&[("cache-control", text)])), expected, "{text}");
        };
        let none = CacheControl::default();
        check("", none);
        check("max-age=60", CacheControl { max_age_s: Some(60), ..none });
        check("Public, MAX-AGE=\"60\" , immutable", CacheControl { max_age_s: Some(60), ..none });
        check("max-age=1, max-age=2", CacheControl { max_age_s: Some(1), ..none });
        check("max-age=soon", CacheControl { max_age_s: Some(0), ..none });
        check("max-age=-1", CacheControl { max_age_s: Some(0), ..none });
        check("max-age=99999999999999999999999", CacheControl { max_age_s: Some(LIFETIME_S_MAX), ..none });
        check("s-maxage=5,max-age=1", CacheControl { max_age_s: Some(1), s_maxage_s: Some(5), ..none });
        check("private=\"set-cookie, max-age=3\"", CacheControl { private: true, ..none });
        check("no-store, no-cache", CacheControl { no_store: true, no_cache: true, ..none });
        check(
            "max-age=1, stale-while-revalidate=2, stale-if-error=3, must-revalidate",
            CacheControl {
                max_age_s: Some(1),
                stale_while_revalidate_s: 2,
                stale_if_error_s: 3,
                must_revalidate: true,
                ..none
            },
        );
        check("x=\"unfinished, no-store", none);
    }

    #[test]
    fn sharing_follows_status_and_headers() {
        let check = |status: u16, lines: &[(&'static str, &str)], length: Option<u64>, expected: Sharing| {
            let status = StatusCode::from_u16(status).unwrap();
            let headers = headers(lines);
            let freshness = Freshness::of(status, &headers, Mono::ZERO);
            assert_eq!(sharing(status, &headers, length, &freshness, 1_000), expected, "{status} {lines:?}");
        };
        check(200, &[("cache-control", "max-age=1")], Some(10), Sharing::Store);
        check(200, &[("cache-control", "max-age=1")], None, Sharing::Store);
        check(200, &[("cache-control", "max-age=1")], Some(1_001), Sharing::Nobody);
        check(200, &[("cache-control", "max-age=1"), ("age", "5")], None, Sharing::Waiters);
        check(200, &[], None, Sharing::Waiters);
        check(200, &[("cache-control", "no-cache")], None, Sharing::Waiters);
        check(200, &[("cache-control", "no-cache"), ("etag", "\"a\"")], None, Sharing::Store);
        check(200, &[("cache-control", "no-store")], None, Sharing::Nobody);
        check(200, &[("cache-control", "private, max-age=5")], None, Sharing::Nobody);
        check(200, &[("cache-control", "max-age=5"), ("set-cookie", "a=b")], None, Sharing::Nobody);
        check(200, &[("cache-control", "max-age=5"), ("vary", "*")], None, Sharing::Nobody);
        check(200, &[("cache-control", "max-age=5"), ("vary", "Accept-Encoding, Cookie")], None, Sharing::Nobody);
        check(200, &[("cache-control", "max-age=5"), ("vary", "Accept-Encoding")], None, Sharing::Store);
        check(200, &[("cache-control", "max-age=5"), ("vary", "Origin")], None, Sharing::Nobody);
        let open = [("cache-control", "max-age=5"), ("vary", "Origin"), ("access-control-allow-origin", "*")];
        check(200, &open, None, Sharing::Store);
        check(206, &[("cache-control", "max-age=5")], None, Sharing::Nobody);
        check(404, &[], None, Sharing::Store);
        check(404, &[("cache-control", "no-store")], None, Sharing::Nobody);
        check(503, &[("cache-control", "max-age=5")], None, Sharing::Waiters);
        check(503, &[("cache-control", "no-store")], None, Sharing::Waiters);
        check(302, &[], None, Sharing::Waiters);
        check(302, &[("cache-control", "max-age=5")], None, Sharing::Store);
        check(418, &[("cache-control", "max-age=5")], None, Sharing::Waiters);
    }

    #[test]
    fn ages_count_from_the_origins_own() {
        let lines = [("cache-control", "max-age=10, stale-while-revalidate=5, stale-if-error=20"), ("age", "4")];
        let freshness = Freshness::of(StatusCode::OK, &headers(&lines), Mono::ZERO);
        let check = |at_s: u64, fresh: bool, renewing: bool, error: bool| {
            let now = Mono::from_origin(Duration::from_secs(at_s));
            let found =
                (freshness.is_fresh(now), freshness.may_serve_while_renewing(now), freshness.may_serve_on_error(now));
            assert_eq!(found, (fresh, renewing, error), "at {at_s} s");
        };
        check(5, true, true, true);
        check(6, false, true, true);
        check(10, false, true, true);
        check(11, false, false, true);
        check(25, false, false, true);
        check(26, false, false, false);
        let strict = headers(&[("cache-control", "max-age=1, stale-if-error=9, must-revalidate")]);
        assert_eq!(Freshness::of(StatusCode::OK, &strict, Mono::ZERO).stale_if_error, Duration::ZERO);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(line in prop::collection::vec(any::<u8>(), 0..64), age in "\\PC{0,24}") {
            let mut map = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                map.insert(header::CACHE_CONTROL, value.clone());
                map.insert(header::VARY, value);
            }
            if let Ok(value) = HeaderValue::from_str(&age) {
                map.insert(header::AGE, value);
            }
            let freshness = Freshness::of(StatusCode::OK, &map, Mono::ZERO);
            let _ = freshness.age(Mono::from_origin(Duration::MAX));
            sharing(StatusCode::OK, &map, None, &freshness, 1);
        }

        #[test]
        fn directives_that_were_written_are_read(max in 0u64..100_000, shared in 0u64..100_000, no_store in any::<bool>()) {
            let text = format!("max-age={max}, s-maxage={shared}{}", if no_store { ", no-store" } else { "" });
            let control = CacheControl::of(&headers(&[("cache-control", &text)]));
            prop_assert_eq!((control.max_age_s, control.s_maxage_s, control.no_store), (Some(max), Some(shared), no_store));
        }
    }
}
