//! The headers of tus 1.0.0, read from whatever a client sent.

use std::collections::BTreeMap;

use data_encoding::{BASE64, BASE64_NOPAD};
use http::HeaderMap;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::problem::Problem;

/// The only version of the protocol that there is.
pub(super) const VERSION: &str = "1.0.0";
/// What is implemented beside the core.
pub(super) const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination,concatenation";
/// Algorithms of `Upload-Checksum`.
pub(super) const ALGORITHMS: &str = "sha1,sha256,sha512";
/// Content type of bytes of a file.
pub(super) const OFFSET_STREAM: &str = "application/offset+octet-stream";
/// Largest `Upload-Metadata`, in bytes: titles and descriptions, no thumbnails.
const METADATA_BYTES_MAX: usize = 32 * 1024;
/// Most keys in it.
const METADATA_KEYS_MAX: usize = 64;
/// Most uploads put together in one.
const CONCAT_PARTS_MAX: usize = 1_000;

/// `Upload-Metadata`: keys with texts, or without.
pub(super) type Metadata = BTreeMap<String, Option<String>>;

/// `Upload-Concat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Concat {
    /// A part of a file.
    Partial,
    /// The whole of these; their URLs as sent.
    Final(Vec<String>),
}

/// A header's text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    match headers.get(name) {
        None => Ok(None),
        Some(value) => value.to_str().map(|text| Some(text.trim())).map_err(|_| {
            Problem::bad_header(name, "it holds bytes that are no ASCII text", "Encode texts as base64 of UTF-8.")
        }),
    }
}

/// A header that is a whole number of bytes.
pub(super) fn number(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, Problem> {
    let Some(text) = text(headers, name)? else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // Above this a database cannot count them.
    match text.parse::<u64>().ok().filter(|number| digits && *number <= i64::MAX.unsigned_abs()) {
        Some(number) => Ok(Some(number)),
        None => Err(Problem::bad_header(name, "it is no number of bytes", "Send a whole number in decimal digits.")),
    }
}

/// The header that says whether an upload is a part, or made of parts.
pub(super) fn concat(headers: &HeaderMap) -> Result<Option<Concat>, Problem> {
    const NAME: &str = "upload-concat";
    const HINT: &str = "Send `partial`, or `final;` and the URLs of the parts, separated by spaces.";
    let Some(text) = text(headers, NAME)? else { return Ok(None) };
    if text == "partial" {
        return Ok(Some(Concat::Partial));
    }
    let Some(urls) = text.strip_prefix("final;") else {
        return Err(Problem::bad_header(NAME, "it is neither `partial` nor `final;...`", HINT));
    };
    let urls: Vec<String> = urls.split_ascii_whitespace().map(str::to_owned).collect();
    match urls.len() {
        0 => Err(Problem::bad_header(NAME, "it names no parts", HINT)),
        1..=CONCAT_PARTS_MAX => Ok(Some(Concat::Final(urls))),
        _ => Err(Problem::bad_header(NAME, "it names more than 1,000 parts", "Use fewer and larger parts.")),
    }
}

/// The texts that a client gave with an upload.
pub(super) fn metadata(headers: &HeaderMap) -> Result<Metadata, Problem> {
    const NAME: &str = "upload-metadata";
    let wrong = |what: &str| {
        let hint = "Send pairs `KEY BASE64`, separated by commas; the texts are base64 of UTF-8.";
        Err(Problem::bad_header(NAME, what, hint))
    };
    let text = text(headers, NAME)?.unwrap_or_default();
    if text.len() > METADATA_BYTES_MAX {
        return wrong("it is longer than 32 KiB");
    }
    let mut metadata = Metadata::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = match pair.split_once(' ') {
            Some((key, value)) => (key, Some(value.trim())),
            None => (pair, None),
        };
        let value = match value.filter(|value| !value.is_empty()) {
            None => None,
            Some(value) => match base64(value).map(String::from_utf8) {
                Some(Ok(text)) => Some(text),
                _ => return wrong(&format!("the value of {key:?} is not base64 of UTF-8")),
            },
        };
        if metadata.insert(key.to_owned(), value).is_some() {
            return wrong(&format!("it names {key:?} twice"));
        }
        if metadata.len() > METADATA_KEYS_MAX {
            return wrong("it has more than 64 keys");
        }
    }
    Ok(metadata)
}

/// `metadata` as the header again.
pub(super) fn metadata_text(metadata: &serde_json::Value) -> String {
    let pairs = metadata.as_object().into_iter().flatten().map(|(key, value)| match value.as_str() {
        Some(text) => format!("{key} {}", BASE64.encode(text.as_bytes())),
        None => key.clone(),
    });
    pairs.collect::<Vec<_>>().join(",")
}

fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.as_bytes()).or_else(|_| BASE64_NOPAD.decode(text.as_bytes())).ok()
}

/// A hash that is computed while bytes come, and what it must become.
#[derive(Clone, Debug)]
pub(super) struct Checksum {
    state: State,
    expected: Vec<u8>,
}

#[derive(Clone, Debug)]
enum State {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Checksum {
    /// `Upload-Checksum`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        const NAME: &str = "upload-checksum";
        const HINT: &str = "Send `sha1`, `sha256` or `sha512`, a space, and the base64 of the hash.";
        let Some(text) = text(headers, NAME)? else { return Ok(None) };
        let Some((algorithm, hash)) = text.split_once(' ') else {
            return Err(Problem::bad_header(NAME, "it is no algorithm with a hash", HINT));
        };
        let (state, bytes) = match algorithm {
            "sha1" => (State::Sha1(Sha1::new()), 20),
            "sha256" => (State::Sha256(Sha256::new()), 32),
            "sha512" => (State::Sha512(Sha512::new()), 64),
            _ => return Err(Problem::bad_header(NAME, "its algorithm is not known here", HINT)),
        };
        match base64(hash.trim()).filter(|hash| hash.len() == bytes) {
            Some(expected) => Ok(Some(Self { state, expected })),
            None => Err(Problem::bad_header(NAME, "its hash is not base64 of the right length", HINT)),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha1(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// Whether the bytes were the ones that the client meant.
    pub(super) fn matches(self) -> bool {
        match self.state {
            State::Sha1(state) => state.finalize()[..] == self.expected[..],
            State::Sha256(state) => state.finalize()[..] == self.expected[..],
            State::Sha512(state) => state.finalize()[..] == self.expected[..],
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        headers
    }

    #[test]
    fn metadata_reads_as_it_was_written() {
        let check = |value: &str, expected: Option<&[(&str, Option<&str>)]>| {
            let got = metadata(&headers("upload-metadata", value)).ok();
            let expected = expected.map(|pairs| {
                pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect::<Metadata>()
            });
            assert_eq!(got, expected, "{value}");
        };
        check("", Some(&[]));
        check("filename Y2xpcC5tcDQ=,private", Some(&[("filename", Some("clip.mp4")), ("private", None)]));
        check("filename Y2xpcC5tcDQ", Some(&[("filename", Some("clip.mp4"))]));
        check("title w6Q= , recipe  ZmFzdA==", Some(&[("title", Some("ä")), ("recipe", Some("fast"))]));
        check("a YQ==,a YQ==", None);
        check("a ***", None);
        check("a /w==", None);
        check(&"a,".repeat(METADATA_BYTES_MAX), None);
        let json = serde_json::json!({"filename": "clip.mp4", "private": null});
        assert_eq!(metadata_text(&json), "filename Y2xpcC5tcDQ=,private");
    }

    #[test]
    fn numbers_are_whole_and_countable() {
        let check = |value: &str, expected: Option<u64>| {
            assert_eq!(number(&headers("upload-length", value), "upload-length").ok().flatten(), expected, "{value}");
        };
        check("0", Some(0));
        check(" 12 ", Some(12));
        check("9223372036854775807", Some(i64::MAX.unsigned_abs()));
        for wrong in ["", "-1", "+1", "1.5", "1e3", "0x10", "9223372036854775808", "99999999999999999999999", "ä"] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_checksum_is_of_a_known_algorithm_and_length() {
        let check = |value: &str, ok: bool| {
            assert_eq!(Checksum::of(&headers("upload-checksum", value)).is_ok(), ok, "{value}");
        };
        check("sha1 Lve95gjOVATpfV8EL5X4nxwjKHE=", true);
        check("sha256 Lve95gjOVATpfV8EL5X4nxwjKHE=", false);
        check("sha1", false);
        check("md5 1B2M2Y8AsgTpgAmY7PhCfg==", false);
        let mut checksum = Checksum::of(&headers("upload-checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="));
        if let Ok(Some(checksum)) = &mut checksum {
            checksum.update(b"hello ");
            checksum.update(b"world");
        }
        assert!(checksum.is_ok_and(|checksum| checksum.is_some_and(Checksum::matches)));
    }

    #[test]
    fn parts_are_named_one_by_one() {
        let read = |value: &str| concat(&headers("upload-concat", value)).ok().flatten();
        assert_eq!(read("partial"), Some(Concat::Partial));
        assert_eq!(read("final;/a/1 2"), Some(Concat::Final(vec!["/a/1".into(), "2".into()])));
        for wrong in ["final;", "final; ", "whole", "", &format!("final;{}", "a ".repeat(1_001))] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_header_value_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[a-z0-9 ,;=/+]{0,60}") {
            for value in [&bytes[..], text.as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(value) else { continue };
                let mut headers = HeaderMap::new();
                for name in ["upload-metadata", "upload-length", "upload-checksum", "upload-concat"] {
                    headers.insert(name, value.clone());
                }
                let _ = (metadata(&headers), number(&headers, "upload-length"), Checksum::of(&headers), concat(&headers));
            }
        }

        #[test]
        fn metadata_survives_the_way_back(pairs in prop::collection::btree_map("[a-zA-Z0-9_-]{1,12}", prop::option::of(".{1,20}"), 0..8)) {
            let json = serde_json::json!(pairs);
            let back = metadata(&headers("upload-metadata", &metadata_text(&json)));
            prop_assert_eq!(back.ok(), Some(pairs));
        }
    }
}
