//! Who asks: bearer tokens, and clients on this machine.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use edge::Peer;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts, uri::Authority};
use sha2::{Digest, Sha256};
use store::catalogue::{Catalogue, Principal, Scope};
use tokio::time::Instant;

use crate::problem::Problem;

/// How long a token that was found good is not looked up again: the longest that a revocation in another process takes to be heard.
const KNOWN_FOR: Duration = Duration::from_secs(5);
/// Most tokens kept so; more than a cluster's workers and its web app use in five seconds.
const KNOWN_MAX: usize = 1_024;
/// Longest token, in bytes; ours have 56.
const SECRET_BYTES_MAX: usize = 256;
/// What our tokens begin with, so that people and scanners know one when they see it.
const SECRET_PREFIX: &str = "hwt_";
/// Name of the principal that a client on this machine is.
pub(crate) const LOOPBACK: &str = "loopback";
/// Set by proxies: the client is not on this machine although the connection is.
const FORWARDING: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// A new token's secret: `hwt_` and 256 random bits. The catalogue keeps its hash only.
pub fn new_token_secret() -> String {
    let bits: [u8; 32] = rand::random();
    format!("{SECRET_PREFIX}{}", data_encoding::BASE32HEX_NOPAD.encode(&bits).to_ascii_lowercase())
}

/// Checks credentials.
pub(crate) struct Auth {
    catalogue: Catalogue,
    loopback: bool,
    known: Mutex<Known>,
    /// Hashes of secrets that this process gave to its own worker.
    admitted: Mutex<Vec<[u8; 32]>>,
}

/// Tokens that were good a moment ago, by their hash.
#[derive(Default)]
struct Known {
    entries: HashMap<[u8; 32], (Principal, Instant)>,
    /// Counts revocations: an answer of the catalogue from before one is not kept.
    revocations: u64,
}

impl Auth {
    pub(crate) fn new(catalogue: Catalogue, loopback: bool) -> Self {
        Self { catalogue, loopback, known: Mutex::default(), admitted: Mutex::default() }
    }

    /// Who sent this request.
    ///
    /// # Errors
    /// 401 when nobody can be told.
    pub(crate) async fn principal(&self, request: &Parts) -> Result<Principal, Problem> {
        match request.headers.get(header::AUTHORIZATION) {
            Some(value) => self.by_token(bearer(value).ok_or_else(not_bearer)?).await,
            None if self.loopback => by_place(request),
            None => Err(token_required("This server answers nobody without a token.")),
        }
    }

    /// From now on `secret` is the token of a worker in this process. It is nowhere else, and ends with it.
    pub(crate) fn admit_worker(&self, secret: &str) {
        let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner).push(hash);
    }

    fn admitted(&self, hash: &[u8; 32]) -> Option<Principal> {
        let admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = || Principal { name: "this process".to_owned(), scopes: vec![Scope::Worker], tenant: None };
        admitted.contains(hash).then(worker)
    }

    /// Forgets what is known: a token was revoked in this process.
    pub(crate) fn forget(&self) {
        let mut known = self.known();
        known.entries.clear();
        known.revocations += 1;
    }

    async fn by_token(&self, secret: &str) -> Result<Principal, Problem> {
        let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        if let Some(worker) = self.admitted(&hash) {
            return Ok(worker);
        }
        let revocations = {
            let known = self.known();
            match known.entries.get(&hash) {
                Some((principal, until)) if *until > Instant::now() => return Ok(principal.clone()),
                _ => known.revocations,
            }
        };
        let principal = self.catalogue.authenticate(secret).await?.ok_or_else(unknown_token)?;
        self.known().keep(hash, &principal, revocations);
        Ok(principal)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn keep(&mut self, hash: [u8; 32], principal: &Principal, revocations: u64) {
        if self.revocations != revocations {
            return;
        }
        let now = Instant::now();
        if self.entries.len() >= KNOWN_MAX {
            self.entries.retain(|_, (_, until)| *until > now);
        }
        if self.entries.len() < KNOWN_MAX {
            self.entries.insert(hash, (principal.clone(), now + KNOWN_FOR));
        }
    }
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750 2.1).
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, secret) = value.to_str().ok()?.split_once(' ')?;
    let secret = secret.trim();
    let fits = (1..=SECRET_BYTES_MAX).contains(&secret.len()) && secret.bytes().all(|b| b.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && fits).then_some(secret)
}

/// A client on this machine is an administrator, if it is no foreign web page's doing: a page may make a browser send requests here
/// (CSRF), and may give its own name this machine's address (DNS rebinding).
fn by_place(request: &Parts) -> Result<Principal, Problem> {
    let peer = request.extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical());
    if !peer.is_some_and(|ip| ip.is_loopback()) {
        return Err(token_required("A request from another machine needs a token."));
    }
    if FORWARDING.iter().any(|name| request.headers.contains_key(*name)) {
        return Err(token_required("The request was passed on by a proxy for somebody else."));
    }
    let host = host(request).ok_or_else(|| refused("host_not_local", "The request names no single host."))?;
    if !is_local(&host) {
        let detail = format!("The request came from this machine, but for the host {host}.");
        return Err(refused("host_not_local", detail));
    }
    if !is_same_origin(&request.headers, &host) {
        return Err(refused("cross_site", "The request was made by a web page of another origin."));
    }
    Ok(Principal { name: LOOPBACK.into(), scopes: vec![Scope::Admin, Scope::Worker], tenant: None })
}

/// The one host that the request is for: `Host`, or `:authority` of HTTP/2.
fn host(request: &Parts) -> Option<Authority> {
    let mut named: Vec<Authority> = Vec::new();
    for value in request.headers.get_all(header::HOST) {
        named.push(value.to_str().ok()?.parse().ok()?);
    }
    named.extend(request.uri.authority().cloned());
    named.dedup();
    (named.len() == 1).then(|| named.remove(0))
}

fn is_local(host: &Authority) -> bool {
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Fetch metadata and `Origin` as browsers send them; other clients send neither.
fn is_same_origin(headers: &HeaderMap, host: &Authority) -> bool {
    let one = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect::<Vec<_>>();
    let site = one("sec-fetch-site").into_iter().all(|site| matches!(site, "same-origin" | "none"));
    let origin = one("origin").into_iter().all(|origin| {
        let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host.as_str()))
    });
    site && origin
}

fn token_required(detail: &'static str) -> Problem {
    refused("token_required", detail)
}

fn unknown_token() -> Problem {
    refused("token_unknown", "The token is not known here, has ended or was revoked.")
}

fn not_bearer() -> Problem {
    refused("token_malformed", "The Authorization header holds no bearer token.")
}

fn refused(code: &'static str, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    let hint = "Send \"Authorization: Bearer TOKEN\". On the server's machine, `headwater token create` makes a token, and \
                http://localhost needs none while api.loopback is on.";
    Problem::new(StatusCode::UNAUTHORIZED, code, "Who is asking?", detail, hint)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"headwater\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, headers: &[(&'static str, &'static str)], expected: Result<(), &str>) {
        let mut request = http::Request::get("/api/v1/assets").extension(Peer(peer.parse().unwrap()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let found = by_place(&parts).map(|_| ()).map_err(|problem| problem.code);
        assert_eq!(found, expected, "{peer} {headers:?}");
    }

    #[test]
    fn this_machine_needs_no_token_unless_a_foreign_page_is_behind_it() {
        let here = "127.0.0.1:5000";
        check(here, &[("host", "localhost:8080")], Ok(()));
        check(here, &[("host", "LOCALHOST")], Ok(()));
        check("[::1]:5000", &[("host", "[::1]:8080")], Ok(()));
        check("[::ffff:127.0.0.1]:5000", &[("host", "127.0.0.1:8080")], Ok(()));
        check("192.0.2.7:5000", &[("host", "localhost:8080")], Err("token_required"));
        check(here, &[("host", "rebound.example:8080")], Err("host_not_local"));
        check(here, &[("host", "localhost.rebound.example")], Err("host_not_local"));
        check(here, &[], Err("host_not_local"));
        check(here, &[("host", "localhost"), ("host", "rebound.example")], Err("host_not_local"));
        let host = ("host", "localhost:8080");
        check(here, &[host, ("origin", "http://localhost:8080")], Ok(()));
        check(here, &[host, ("origin", "http://localhost:9999")], Err("cross_site"));
        check(here, &[host, ("origin", "https://evil.example")], Err("cross_site"));
        check(here, &[host, ("origin", "null")], Err("cross_site"));
        check(here, &[host, ("sec-fetch-site", "cross-site")], Err("cross_site"));
        check(here, &[host, ("sec-fetch-site", "same-origin")], Ok(()));
        check(here, &[host, ("sec-fetch-site", "none")], Ok(()));
        check(here, &[host, ("x-forwarded-for", "203.0.113.9")], Err("token_required"));
        check(here, &[host, ("via", "1.1 proxy")], Err("token_required"));
    }

    #[test]
    fn bearer_tokens_are_read_from_their_header_only() {
        let read = |text: &'static str| bearer(&HeaderValue::from_static(text)).is_some();
        assert!(read("Bearer abc") && read("bearer abc"));
        assert!(!read("Bearer ") && !read("Basic abc") && !read("abc") && !read("Bearer a b"));
    }

    #[test]
    fn secrets_differ_and_are_known_by_their_prefix() {
        let (first, second) = (new_token_secret(), new_token_secret());
        assert!(first != second && first.starts_with("hwt_") && first.len() == 56, "{first}");
    }
}
