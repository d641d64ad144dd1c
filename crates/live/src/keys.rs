//! Who may publish what. Pure: fails closed.

use std::net::IpAddr;

use base::{Secret, StreamId};
use serde::Deserialize;
use thiserror::Error;

use crate::Config;

/// A stream key and what it opens: `APP/NAME=KEY`, `APP/*=KEY` or `*=KEY`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct PublishKey {
    scope: Scope,
    key: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    Stream(StreamId),
    App(String),
    All,
}

/// A text that is not a [`PublishKey`]; it does not show the key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidKey {
    /// No `=`, or nothing behind it.
    #[error("a publish key is written APP/NAME=KEY, APP/*=KEY or *=KEY")]
    Shape,
    /// The part before `=` is not a stream's name.
    #[error("a publish key is written APP/NAME=KEY, APP/*=KEY or *=KEY")]
    Stream(#[from] base::id::InvalidStreamId),
}

impl TryFrom<String> for PublishKey {
    type Error = InvalidKey;
    fn try_from(text: String) -> Result<Self, InvalidKey> {
        let (scope, key) = text.split_once('=').filter(|(_, key)| !key.is_empty()).ok_or(InvalidKey::Shape)?;
        let scope = match scope.split_once('/') {
            None if scope == "*" => Scope::All,
            Some((app, "*")) => Scope::App(StreamId::new(app, "x")?.app().to_owned()),
            _ => Scope::Stream(scope.parse()?),
        };
        Ok(Self { scope, key: Secret::new(key) })
    }
}

/// What a publisher asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) app: &'a str,
    pub(crate) name: &'a str,
    /// The value of `key=` in the query, percent-decoded.
    pub(crate) key: Option<&'a str>,
    pub(crate) peer: IpAddr,
}

/// Why a publisher is refused; shown to the publisher, so it names no other stream and no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    /// Without the name: it may be a mistyped key.
    #[error(
        "application and stream names are 1 to {} of A-Z a-z 0-9 - _ . ~ + @, not a dot first",
        base::id::NAME_BYTES_MAX
    )]
    Name,
    #[error("a stream key is needed: publish to rtmp://HOST/APP/NAME?key=KEY")]
    KeyNeeded,
    #[error("this stream key does not open this stream")]
    WrongKey,
    #[error("publishing from other machines is off: set live.publish_keys on the server")]
    NoKeys,
}

/// The stream that `claim` may publish.
pub(crate) fn authorise(config: &Config, claim: Claim<'_>) -> Result<StreamId, Refusal> {
    // A key as the stream's name opens the stream that the key belongs to.
    let by_name = config.publish_keys.iter().find_map(|entry| match &entry.scope {
        Scope::Stream(stream) if stream.app() == claim.app && entry.key.matches(claim.name) => Some(stream.clone()),
        _ => None,
    });
    if let Some(stream) = by_name {
        return Ok(stream);
    }
    let stream = StreamId::new(claim.app, claim.name).map_err(|_| Refusal::Name)?;
    if let Some(candidate) = claim.key {
        let opens = |entry: &PublishKey| entry.covers(&stream) && entry.key.matches(candidate);
        if config.publish_keys.iter().any(opens) {
            return Ok(stream);
        }
    }
    if config.publish_from_loopback && is_loopback(claim.peer) {
        return Ok(stream);
    }
    Err(match (claim.key, config.publish_keys.is_empty()) {
        (_, true) => Refusal::NoKeys,
        (None, false) => Refusal::KeyNeeded,
        (Some(_), false) => Refusal::WrongKey,
    })
}

impl PublishKey {
    fn covers(&self, stream: &StreamId) -> bool {
        match &self.scope {
            Scope::Stream(own) => own == stream,
            Scope::App(app) => app == stream.app(),
            Scope::All => true,
        }
    }
}

/// Loopback, also when an IPv4 peer reached an IPv6 socket.
pub(crate) fn is_loopback(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

/// The value of `key` in a query string, percent-decoded; `None` when it is not there or not UTF-8.
pub(crate) fn key_of(query: &str) -> Option<String> {
    let raw = query.split('&').find_map(|pair| pair.strip_prefix("key="))?;
    percent_decode(raw)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "127.0.0.1";
    const THERE: &str = "192.0.2.7";

    fn config(keys: &[&str]) -> Config {
        let publish_keys = keys.iter().map(|key| PublishKey::try_from((*key).to_owned()).unwrap()).collect();
        Config { publish_keys, ..Config::default() }
    }

    fn check(keys: &[&str], peer: &str, name: &str, key: Option<&str>, expected: Result<&str, Refusal>) {
        let claim = Claim { app: "live", name, key, peer: peer.parse().unwrap() };
        let got = authorise(&config(keys), claim);
        assert_eq!(got, expected.map(|text| text.parse().unwrap()), "{keys:?} {peer} {name} {key:?}");
    }

    #[test]
    fn publishing_is_open_to_loopback_and_to_the_right_key_only() {
        check(&[], HERE, "a", None, Ok("live/a"));
        check(&[], "::ffff:127.0.0.1", "a", None, Ok("live/a"));
        check(&[], THERE, "a", None, Err(Refusal::NoKeys));
        check(&[], THERE, "a", Some("x"), Err(Refusal::NoKeys));
        check(&["live/a=k1"], THERE, "a", None, Err(Refusal::KeyNeeded));
        check(&["live/a=k1"], THERE, "a", Some("k2"), Err(Refusal::WrongKey));
        check(&["live/a=k1"], THERE, "a", Some("k1"), Ok("live/a"));
        check(&["live/a=k1"], THERE, "b", Some("k1"), Err(Refusal::WrongKey));
        check(&["live/*=k1"], THERE, "b", Some("k1"), Ok("live/b"));
        check(&["encoder/*=k1"], THERE, "b", Some("k1"), Err(Refusal::WrongKey));
        check(&["*=k1"], THERE, "b", Some("k1"), Ok("live/b"));
    }

    #[test]
    fn the_key_as_the_name_publishes_the_stream_it_belongs_to() {
        check(&["live/church=sesame"], THERE, "sesame", None, Ok("live/church"));
        check(&["live/church=sesame"], HERE, "sesame", None, Ok("live/church"));
        check(&["encoder/church=sesame"], THERE, "sesame", None, Err(Refusal::KeyNeeded));
    }

    #[test]
    fn a_mistyped_key_as_the_name_is_not_repeated() {
        check(&["live/church=open sesame"], THERE, "open sesam", None, Err(Refusal::Name));
        assert!(!Refusal::Name.to_string().contains("sesam"));
    }

    #[test]
    fn keys_are_read_from_queries_and_never_printed() {
        assert_eq!(key_of("a=b&key=s%20e%2Fc").as_deref(), Some("s e/c"));
        assert_eq!(key_of("keys=1"), None);
        assert_eq!(key_of("key=%zz"), None);
        assert!(!format!("{:?}", config(&["live/a=sesame"])).contains("sesame"));
        assert_eq!(PublishKey::try_from("live/a".to_owned()).unwrap_err(), InvalidKey::Shape);
    }
}
