//! One request through the phases.
//!
//! ```text
//! Request -> Key -> Lookup -> (hit, stale) --------------> Response -> Deliver -> [log]
//!    |               |  `----> Wait on a flight ---------> Response
//!    |               |            | (not to be shared)
//!    `-> Fetch <-----+------------'  alone  -------------> Response
//! ```
//!
//! A flight is filled by a task of its own (`fetch.rs`), which ends with the store phase; the log phase runs when the delivered
//! body is dropped (`delivery.rs`). Functions, policies and tiers hang on these phases.

mod respond;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request::Parts};
use hyper::body::Incoming;

use crate::{
    Body, CacheStatus, OriginError, Peer, Route,
    cache::{Entry, Key},
    delivery::{Delivery, LogPhase},
    fetch::{Fetch, no_answer, within},
    flight::{Entered, Limits, Reader, Verdict},
    guard::guarded,
    io::Connection,
    object::{Head, Object, strip_hop_by_hop},
    path,
    problem::Problem,
    site::{Life, Site},
    upload::Upload,
};

/// How long a browser may remember that a route is open, in seconds: browsers themselves stop at two hours or a day.
const PREFLIGHT_S: HeaderValue = HeaderValue::from_static("86400");

/// The status logged when a client goes away before its answer; nginx's number.
const CLIENT_CLOSED: u16 = 499;

/// Where a request is on its way, with what the next step needs.
enum Phase {
    /// Check and normalise what was asked, and find its route.
    Request,
    /// Make the cache's key.
    Key,
    /// Look into the cache and among the flights.
    Lookup(Key),
    /// Wait for the head of a flight.
    Wait(Reader, CacheStatus),
    /// Ask the origin for this client alone.
    Fetch(CacheStatus),
    /// Make the answer's head (`exchange/respond.rs`).
    Response(Outcome),
    /// Hand the answer to the connection.
    Deliver(Response<Delivery>),
}

/// Where an answer comes from.
enum Outcome {
    Refused(Problem),
    /// The edge's own answer without a body.
    Own(StatusCode, HeaderMap),
    Kept(Arc<Object>, CacheStatus),
    Flight(Reader, Arc<Head>, CacheStatus),
    Origin(Response<Body>, CacheStatus),
}

/// One request and what is known about it.
pub(crate) struct Exchange {
    site: Arc<Site>,
    parts: Parts,
    body: Option<Incoming>,
    route: Option<usize>,
    key: Option<Key>,
    origin_time: Option<Duration>,
    log: Option<Box<LogPhase>>,
}

/// Answers one request; a panic on the way is answered 500.
pub(crate) async fn serve(
    site: Arc<Site>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Response<Delivery> {
    let mut exchange = Exchange::new(site, connection, request);
    match guarded("request", exchange.run()).await {
        Ok(response) => response,
        Err(_) => exchange.respond(Outcome::Refused(
            Problem::new(500, "internal", "The server broke while answering").hint("the server's log has the cause"),
        )),
    }
}

impl Exchange {
    fn new(site: Arc<Site>, connection: Arc<Connection>, request: Request<Incoming>) -> Self {
        connection.on_request();
        let (parts, body) = request.into_parts();
        let log = Box::new(LogPhase {
            site: site.clone(),
            connection,
            route: None,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            path: None,
            user_agent: parts.headers.get(header::USER_AGENT).cloned(),
            status: StatusCode::from_u16(CLIENT_CLOSED).unwrap_or(StatusCode::BAD_REQUEST),
            cache: CacheStatus::None,
            started: Instant::now(),
            sent_bytes: 0,
        });
        Self { site, parts, body: Some(body), route: None, key: None, origin_time: None, log: Some(log) }
    }

    async fn run(&mut self) -> Response<Delivery> {
        let mut phase = Phase::Request;
        loop {
            phase = match phase {
                Phase::Request => self.check().unwrap_or_else(|problem| Phase::Response(Outcome::Refused(problem))),
                Phase::Key => match self.make_key() {
                    Ok(key) => Phase::Lookup(key),
                    Err(problem) => Phase::Response(Outcome::Refused(problem)),
                },
                Phase::Lookup(key) => self.look_up(key),
                Phase::Wait(reader, status) => self.wait(reader, status).await,
                Phase::Fetch(status) => match self.fetch_alone().await {
                    Ok(answer) => Phase::Response(Outcome::Origin(answer, status)),
                    Err(problem) => Phase::Response(Outcome::Refused(problem)),
                },
                Phase::Response(outcome) => Phase::Deliver(self.respond(outcome)),
                Phase::Deliver(response) => return response,
            };
        }
    }

    // Request phase.

    fn check(&mut self) -> Result<Phase, Problem> {
        check_head(&self.parts, self.site.config.header_bytes_max)?;
        if self.parts.uri.path() == "*" && self.parts.method == Method::OPTIONS {
            let headers = HeaderMap::from_iter([(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"))]);
            return Ok(Phase::Response(Outcome::Own(StatusCode::NO_CONTENT, headers)));
        }
        let normal = path::normalise(self.parts.uri.path())?;
        let route = self.site.routes.find(&normal).ok_or_else(|| {
            Problem::new(404, "no-route", "Nothing is served here").hint("check the path; it is case-sensitive")
        })?;
        let changed = (normal != self.parts.uri.path()).then(|| normal.into_owned());
        self.route = Some(route);
        if let Some(log) = &mut self.log {
            log.route = Some(route);
            log.path = changed;
        }
        self.check_policy()
    }

    fn check_policy(&self) -> Result<Phase, Problem> {
        let policy = &self.route().ok_or_else(no_route)?.policy;
        let method = &self.parts.method;
        if !policy.allows(method) {
            let problem = Problem::new(405, "method-not-allowed", "The method is not allowed here");
            return Err(problem.allow(policy.allow()).hint("the Allow header lists the methods that are"));
        }
        if method == Method::OPTIONS && policy.cors {
            return Ok(Phase::Response(Outcome::Own(StatusCode::NO_CONTENT, preflight(&policy.allow()))));
        }
        let declared =
            self.parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > self.request_body_bytes_max()) {
            return Err(too_large(self.request_body_bytes_max()));
        }
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        if is_read && self.parts.headers.contains_key(header::TRANSFER_ENCODING) {
            let problem = Problem::new(400, "body-not-allowed", "A GET or HEAD has no body here");
            return Err(problem.hint("leave Transfer-Encoding out"));
        }
        let shared = policy.cache && is_read && !self.parts.headers.contains_key(header::AUTHORIZATION);
        Ok(if shared { Phase::Key } else { Phase::Fetch(CacheStatus::Bypass) })
    }

    fn route(&self) -> Option<&Route> {
        self.route.and_then(|at| self.site.routes.all().get(at))
    }

    fn path(&self) -> &str {
        let changed = self.log.as_ref().and_then(|log| log.path.as_deref());
        changed.unwrap_or(self.parts.uri.path())
    }

    fn request_body_bytes_max(&self) -> u64 {
        let own = self.route().and_then(|route| route.policy.request_body_bytes_max);
        own.unwrap_or(self.site.config.request_body_bytes_max)
    }

    // Key phase.

    fn make_key(&mut self) -> Result<Key, Problem> {
        let allowed = self.route().map(|route| route.policy.key_query.as_slice()).unwrap_or_default();
        let query = match self.parts.uri.query() {
            Some(query) if !allowed.is_empty() => path::key_query(query, allowed)?,
            _ => String::new(),
        };
        let key: Key = if query.is_empty() { self.path().into() } else { format!("{}?{query}", self.path()).into() };
        self.key = Some(key.clone());
        Ok(key)
    }

    // Lookup phase.

    fn look_up(&mut self, key: Key) -> Phase {
        let now = self.site.now();
        match self.site.cache.get(&key) {
            Some(Entry::Object(object)) if object.head.freshness.is_fresh(now) => kept(object, CacheStatus::Hit),
            Some(Entry::Object(object)) if object.head.freshness.may_serve_while_renewing(now) => {
                let status = if self.renew(&key, &object) { CacheStatus::Stale } else { CacheStatus::Updating };
                kept(object, status)
            }
            Some(Entry::Object(object)) => self.enter(&key, Some(object)),
            Some(Entry::Unshared { until }) if now < until => Phase::Fetch(CacheStatus::Miss),
            Some(Entry::Unshared { .. }) | None => self.enter(&key, None),
        }
    }

    /// Joins the flight of `key`, or starts it.
    fn enter(&self, key: &Key, aged: Option<Arc<Object>>) -> Phase {
        let now = self.site.now();
        let limits = Limits { bytes_max: self.site.config.object_bytes_max, keep: false };
        let again = || match self.site.cache.get(key)? {
            Entry::Object(object) if object.head.freshness.is_fresh(now) => Some(kept(object, CacheStatus::Hit)),
            Entry::Unshared { until } if now < until => Some(Phase::Fetch(CacheStatus::Miss)),
            _ => None,
        };
        match self.site.flights.enter(key, now, limits, again) {
            Entered::Found(phase) => phase,
            Entered::Joined(reader) => {
                self.site.coalesced.increment(1);
                Phase::Wait(reader, CacheStatus::Hit)
            }
            Entered::Lead(reader, writer) => {
                let status = if aged.is_some() { CacheStatus::Expired } else { CacheStatus::Miss };
                self.start(writer, aged);
                Phase::Wait(reader, status)
            }
        }
    }

    /// Renews an aged object behind the clients' backs. Whether this request began it.
    fn renew(&self, key: &Key, aged: &Arc<Object>) -> bool {
        if self.site.flights.contains(key) {
            return false;
        }
        let limits = Limits { bytes_max: self.site.config.object_bytes_max, keep: true };
        let unless_renewed = || match self.site.cache.get(key)? {
            Entry::Object(object) => (!Arc::ptr_eq(&object, aged)).then_some(()),
            Entry::Unshared { .. } => Some(()),
        };
        match self.site.flights.enter(key, self.site.now(), limits, unless_renewed) {
            Entered::Lead(_, writer) => {
                self.start(writer, Some(aged.clone()));
                true
            }
            Entered::Joined(_) | Entered::Found(()) => false,
        }
    }

    fn start(&self, writer: crate::flight::Writer, aged: Option<Arc<Object>>) {
        if let Some(route) = self.route() {
            Fetch { site: self.site.clone(), origin: route.origin.clone(), writer, aged }.start();
        }
    }

    // Wait phase.

    async fn wait(&mut self, mut reader: Reader, status: CacheStatus) -> Phase {
        let verdict = reader.verdict().await;
        self.origin_time = reader.origin_time();
        match verdict {
            Verdict::Shared(head) => Phase::Response(Outcome::Flight(reader, head, status)),
            Verdict::Kept(object, status) => kept(object, status),
            Verdict::Unshared => match reader.take_answer().filter(|_| !self.asks_for_a_part()) {
                Some(answer) => Phase::Response(Outcome::Origin(answer, CacheStatus::Miss)),
                None => Phase::Fetch(CacheStatus::Miss),
            },
            Verdict::Failed(error) => Phase::Response(Outcome::Refused(error.problem())),
        }
    }

    fn asks_for_a_part(&self) -> bool {
        self.parts.headers.contains_key(header::RANGE)
    }

    // Fetch phase, for one client.

    async fn fetch_alone(&mut self) -> Result<Response<Body>, Problem> {
        let origin = self.route().ok_or_else(no_route)?.origin.clone();
        let too_long = Arc::new(AtomicBool::new(false));
        let request = self.request_alone(&too_long)?;
        let started = Instant::now();
        let call = within(self.site.upstream_timeout(), guarded("origin", origin.call(request)));
        let answer = tokio::select! {
            answer = call => answer,
            () = self.site.until(Life::Refusing) => return Err(OriginError::Draining.problem()),
        };
        self.origin_time = Some(started.elapsed());
        let answer = match answer {
            _ if too_long.load(Ordering::Relaxed) => return Err(too_large(self.request_body_bytes_max())),
            Ok(Ok(Ok(answer))) if answer.status().is_informational() => return Err(self.failed(no_answer())),
            Ok(Ok(Ok(answer))) => answer,
            Ok(Ok(Err(error))) => return Err(self.failed(OriginError::Failed(error.to_string()))),
            Ok(Err(_)) => return Err(self.failed(OriginError::Panicked)),
            Err(_) => return Err(self.failed(OriginError::TimedOut)),
        };
        self.forget_if_changed(&answer);
        Ok(answer)
    }

    fn failed(&self, error: OriginError) -> Problem {
        tracing::warn!(path = self.path(), %error, "a request failed");
        error.problem()
    }

    /// A request with a key goes out as its flight would, with what the client said about parts and conditions; any other one as
    /// the client sent it.
    fn request_alone(&mut self, too_long: &Arc<AtomicBool>) -> Result<Request<Body>, Problem> {
        let (target, headers, body) = match &self.key {
            Some(key) => (key.to_string(), about_parts(&self.parts.headers), crate::empty()),
            None => {
                let target = match self.parts.uri.query() {
                    Some(query) => format!("{}?{query}", self.path()),
                    None => self.path().to_owned(),
                };
                let mut headers = self.parts.headers.clone();
                strip_hop_by_hop(&mut headers);
                (target, headers, self.upload(too_long))
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = target.parse::<Uri>().map_err(|_| {
            Problem::new(400, "path-not-allowed", "The request's target is not allowed").detail("it is not a URI")
        })?;
        *request.headers_mut() = headers;
        if let Some(log) = &self.log {
            request.extensions_mut().insert(Peer(log.connection.remote));
        }
        Ok(request)
    }

    fn upload(&mut self, too_long: &Arc<AtomicBool>) -> Body {
        let timeout = Duration::from_millis(self.site.config.request_body_timeout_ms);
        let bytes_max = self.request_body_bytes_max();
        match self.body.take() {
            Some(body) => Upload::boxed(body, bytes_max, timeout, too_long.clone()),
            None => crate::empty(),
        }
    }

    /// A successful change of a resource makes what is kept of it invalid (RFC 9111 4.4).
    fn forget_if_changed(&self, answer: &Response<Body>) {
        let is_safe = matches!(self.parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let done = answer.status().is_success() || answer.status().is_redirection();
        if !is_safe && done && self.route().is_some_and(|route| route.policy.cache) {
            self.site.cache.remove(self.path());
        }
    }
}

fn kept(object: Arc<Object>, status: CacheStatus) -> Phase {
    Phase::Response(Outcome::Kept(object, status))
}

/// What holds for every request, whatever its route.
fn check_head(parts: &Parts, header_bytes_max: usize) -> Result<(), Problem> {
    let target_bytes = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target_bytes > path::TARGET_BYTES_MAX {
        let problem = Problem::new(414, "target-too-long", "The request's target is too long");
        return Err(problem.detail(format!("{target_bytes} bytes; at most {}", path::TARGET_BYTES_MAX)));
    }
    let header_bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if header_bytes > header_bytes_max || parts.headers.len() > HEADERS_MAX {
        let problem = Problem::new(431, "headers-too-large", "The request's headers are too large");
        return Err(problem.detail(format!("at most {HEADERS_MAX} headers and {header_bytes_max} bytes")));
    }
    let hosts = parts.headers.get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && parts.version == Version::HTTP_11) {
        let problem = Problem::new(400, "host", "A request has exactly one Host header");
        return Err(problem.detail(format!("this one has {hosts}")));
    }
    Ok(())
}

/// Most headers of a request; hyper refuses more in HTTP/1 by itself, with the same number.
const HEADERS_MAX: usize = 100;

fn no_route() -> Problem {
    Problem::new(404, "no-route", "Nothing is served here")
}

fn too_large(bytes_max: u64) -> Problem {
    Problem::new(413, "body-too-large", "The request's body is too large").detail(format!("at most {bytes_max} bytes"))
}

/// The conditions and ranges of a request that carries nothing else of its client.
fn about_parts(headers: &HeaderMap) -> HeaderMap {
    let names = [header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];
    names.into_iter().filter_map(|name| headers.get(&name).cloned().map(|value| (name, value))).collect()
}

fn preflight(methods: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    insert_text(&mut headers, header::ACCESS_CONTROL_ALLOW_METHODS, methods.to_owned());
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*, authorization, range"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_S);
    headers
}

fn insert_text(headers: &mut HeaderMap, name: header::HeaderName, text: String) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}
