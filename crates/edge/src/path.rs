//! The request's path and query in one form: what is compared, kept as a key, and sent to an origin.
//!
//! The normal form follows RFC 3986 6.2.2: unreserved characters are plain, other encodings upper case. What could climb or hide a
//! segment (dot segments, empty segments, encoded slashes, backslashes, control characters) is refused, not repaired.

use std::borrow::Cow;

use crate::problem::Problem;

/// Longest request target (path and query), in bytes: ten times what a player sends.
pub(crate) const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Most parameters looked at in a query; players send fewer than ten.
const QUERY_PARAMETERS_MAX: usize = 64;

/// The normal form of `path`; borrowed when it is in it already.
pub(crate) fn normalise(path: &str) -> Result<Cow<'_, str>, Problem> {
    if !path.starts_with('/') {
        return Err(refused("a path begins with a slash"));
    }
    let normal = if path.bytes().all(is_plain) { Cow::Borrowed(path) } else { Cow::Owned(recode(path)?) };
    let inner = normal.get(1..).unwrap_or_default();
    let mut segments = inner.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => return Err(refused("a path has no dot segments")),
            "" if !is_last => return Err(refused("a path has no empty segments")),
            _ => {}
        }
    }
    Ok(normal)
}

/// The allowed parameters of `query` in the order of `allowed`, each at most once (the first counts), in normal form; empty
/// when none is there.
pub(crate) fn key_query(query: &str, allowed: &[String]) -> Result<String, Problem> {
    let mut values: Vec<Option<String>> = vec![None; allowed.len()];
    for parameter in query.split('&').take(QUERY_PARAMETERS_MAX) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let Ok(name) = decode(name) else { continue };
        let slot = allowed.iter().position(|a| a.as_bytes() == name).and_then(|at| values.get_mut(at));
        if let Some(slot @ None) = slot {
            *slot = Some(encode(&decode(value)?, is_query_plain));
        }
    }
    let mut key = String::new();
    for (name, value) in allowed.iter().zip(values) {
        let Some(value) = value else { continue };
        if !key.is_empty() {
            key.push('&');
        }
        key.push_str(&encode(name.as_bytes(), is_query_plain));
        key.push('=');
        key.push_str(&value);
    }
    Ok(key)
}

/// Decodes, refuses what may not be in a path, and encodes again.
fn recode(path: &str) -> Result<String, Problem> {
    if path.bytes().any(|b| b == b'\\') {
        return Err(refused("a path has no backslashes"));
    }
    // A slash can only come out of an encoding where the encoding is of a slash: count them.
    let decoded = decode(path)?;
    if decoded.iter().filter(|b| **b == b'/').count() != path.bytes().filter(|b| *b == b'/').count() {
        return Err(refused("a path has no encoded slashes"));
    }
    if decoded.iter().any(|b| b.is_ascii_control() || *b == b'\\') {
        return Err(refused("a path has no control characters and no backslashes"));
    }
    if std::str::from_utf8(&decoded).is_err() {
        return Err(refused("a path is UTF-8"));
    }
    Ok(encode(&decoded, is_plain))
}

fn decode(text: &str) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = (bytes.next().and_then(hex), bytes.next().and_then(hex));
        let (Some(high), Some(low)) = digits else {
            return Err(refused("after a percent sign come two hexadecimal digits"));
        };
        out.push(high << 4 | low);
    }
    Ok(out)
}

fn encode(bytes: &[u8], plain: fn(u8) -> bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().map_or('0', char::from);
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Characters that stand for themselves in a path: `pchar` of RFC 3986 3.3 and the slash.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&byte)
}

/// The same in the value of a query parameter, where `&` divides and `=` does not.
fn is_query_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~/!$'()*+,;=:@?".contains(&byte)
}

fn refused(why: &'static str) -> Problem {
    Problem::new(400, "path-not-allowed", "The request's path is not allowed").detail(why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_has_one_form_or_none() {
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(normalise(path).ok().as_deref(), expected, "{path}");
        };
        check("/", Some("/"));
        check("/live/stream/index.m3u8", Some("/live/stream/index.m3u8"));
        check("/live/", Some("/live/"));
        check("/%6Cive/a%2Db", Some("/live/a-b"));
        check("/a%20b/%c3%a9", Some("/a%20b/%C3%A9"));
        check("/a b", Some("/a%20b"));
        check("/...", Some("/..."));
        check("/a/..b", Some("/a/..b"));
        // Encoded twice: the name itself has percent signs, and climbs nowhere.
        check("/%252e%252e/x", Some("/%252e%252e/x"));
        for attack in [
            "",
            "x",
            "*",
            "/..",
            "/../etc/passwd",
            "/a/../b",
            "/a/..",
            "/./a",
            "/a/.",
            "//",
            "//a",
            "/a//b",
            "/%2e%2e/etc",
            "/.%2E/etc",
            "/%2e/x",
            "/a%2fb",
            "/a%2Fb",
            "/..%2f..%2fetc",
            "/a\\b",
            "/..\\x",
            "/a%5cb",
            "/a%5C..",
            "/%00",
            "/a%00.m3u8",
            "/a%0d%0aset-cookie:x",
            "/a%7f",
            "/%",
            "/%4",
            "/%zz",
            "/%c0%ae%c0%ae/x",
            "/%ff",
        ] {
            check(attack, None);
        }
    }

    #[test]
    fn only_allowed_parameters_reach_the_key_in_one_order() {
        let allowed = ["_HLS_msn", "_HLS_part", "_HLS_skip"].map(String::from);
        let check = |query: &str, expected: Option<&str>| {
            assert_eq!(key_query(query, &allowed).ok().as_deref(), expected, "{query}");
        };
        check("", Some(""));
        check("token=secret", Some(""));
        check("_HLS_part=1&_HLS_msn=7&token=x", Some("_HLS_msn=7&_HLS_part=1"));
        check("_HLS_msn=7&_HLS_msn=8", Some("_HLS_msn=7"));
        check("%5FHLS_msn=%37", Some("_HLS_msn=7"));
        check("_HLS_skip", Some("_HLS_skip="));
        check("_HLS_skip=a%26_HLS_msn=9", Some("_HLS_skip=a%26_HLS_msn=9"));
        check("_HLS_msn=%", None);
        check("other=%", Some(""));
        check("%=1", Some(""));
    }

    proptest! {
        #[test]
        fn a_normal_form_is_stable_and_climbs_nowhere(path in "\\PC{0,40}|(/|%2e|\\.|%2f|%5c|a|%25){0,12}") {
            if let Ok(normal) = normalise(&path) {
                prop_assert!(!normal.split('/').any(|s| s == ".." || s == "."));
                prop_assert!(!normal.contains("//") && !normal.contains('\\'));
                prop_assert_eq!(normalise(&normal).ok(), Some(normal.clone()));
            }
        }

        #[test]
        fn a_query_in_normal_form_is_its_own_key(query in "\\PC{0,40}|(a|b|=|&|%26|%3d|%){0,12}") {
            let allowed = ["a", "b"].map(String::from);
            if let Ok(key) = key_query(&query, &allowed) {
                prop_assert_eq!(key_query(&key, &allowed).ok(), Some(key.clone()));
            }
        }
    }
}
