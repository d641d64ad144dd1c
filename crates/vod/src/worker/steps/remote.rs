//! A file on somebody's HTTP server as one stream of bytes: redirects judged one by one, broken transfers gone on with, and never two
//! versions of a file mixed.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::Response;
use sha2::{Digest, Sha256};
use store::catalogue::StepError;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    super::{
        client::{Backoff, http_client},
        failure::{self, Result},
        guard::Guard,
    },
    notify::refused,
};
use crate::protocol::Credentials;

/// Redirects followed for one request.
const REDIRECTS_MAX: u32 = 10;
/// A connection that brings nothing for this long, in milliseconds, is given up.
const STALL_MS: u64 = 30_000;
/// Connections in a row that bring nothing before the step fails for now; the queue tries again later.
const TRIES_MAX: u32 = 6;
/// A `Retry-After` beyond this, in milliseconds, is left to the queue.
const RETRY_AFTER_MS_MAX: u64 = 10_000;
/// Hex digits of a version's fingerprint in the names of parts.
const FINGERPRINT_CHARS: usize = 12;

/// What is asked for, and how much of it may come.
#[derive(Clone, Debug)]
pub(super) struct Want<'a> {
    pub(super) url: &'a str,
    pub(super) bytes_max: u64,
    pub(super) auth: Option<&'a Credentials>,
}

/// The file, open.
pub(super) struct Remote {
    http: reqwest::Client,
    guard: Guard,
    given_up: CancellationToken,
    url: Url,
    auth: HeaderMap,
    bytes_max: u64,
    head: Head,
    response: Option<Response>,
    /// Read from `response` already.
    ahead: Option<Bytes>,
    /// Taken already, and over what the last caller wanted.
    cut: Option<Bytes>,
    position: u64,
    /// Of everything before `position`.
    hash: Sha256,
    tries: u32,
    backoff: Backoff,
}

/// What the first answer said of the file.
#[derive(Clone, Debug, Default)]
struct Head {
    total: Option<u64>,
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
    file_name: Option<String>,
}

/// An answer sorted.
enum Answer {
    /// From `position` on.
    Here(Response),
    /// From the beginning, though the rest was asked for.
    FromStart(Response),
    /// The file ends at `position`.
    AtEnd,
}

impl Remote {
    /// Asks for the file.
    ///
    /// # Errors
    /// When the URL is refused, the server has no such file, or does not answer after some tries.
    pub(super) async fn open(want: &Want<'_>, guard: Guard, given_up: &CancellationToken) -> Result<Self> {
        let url = Url::parse(want.url).map_err(|_| {
            failure::input("bad_url", "The source's address is no URL; give one like https://example.org/film.mp4.")
        })?;
        let http = http_client(|builder| {
            builder.dns_resolver(guard.clone()).redirect(reqwest::redirect::Policy::none()).no_proxy().referer(false)
        });
        let http = http.map_err(|error| failure::bug("no_client", failure::chain(&error)))?;
        let mut remote = Self {
            http,
            guard,
            given_up: given_up.clone(),
            url,
            auth: auth_headers(want.auth)?,
            bytes_max: want.bytes_max,
            head: Head::default(),
            response: None,
            ahead: None,
            cut: None,
            position: 0,
            hash: Sha256::new(),
            tries: 0,
            backoff: Backoff::new(),
        };
        let (response, last) = remote.connect().await?;
        remote.head = Head::of(&response, &last);
        remote.check_size(remote.head.total.unwrap_or(0))?;
        remote.response = Some(response);
        Ok(remote)
    }

    /// The whole size, when the server tells.
    pub(super) fn total(&self) -> Option<u64> {
        self.head.total
    }

    /// What the server calls the file.
    pub(super) fn file_name(&self) -> Option<&str> {
        self.head.file_name.as_deref()
    }

    /// Names this version of the file, when the server has a validator for it that can be trusted.
    pub(super) fn fingerprint(&self) -> Option<String> {
        let validator = self.head.etag.as_ref().or(self.head.last_modified.as_ref())?;
        let mut hash = Sha256::new();
        hash.update(validator.as_bytes());
        hash.update(self.head.total?.to_be_bytes());
        let mut text = HEXLOWER.encode(&hash.finalize());
        text.truncate(FINGERPRINT_CHARS);
        Some(text)
    }

    /// Goes on at `position`, up to which `hash` was computed from bytes that an earlier attempt got.
    pub(super) fn skip_to(&mut self, position: u64, hash: Sha256) {
        self.response = None;
        (self.position, self.hash) = (position, hash);
    }

    /// SHA-256 of everything that came.
    pub(super) fn sha256(&self) -> String {
        HEXLOWER.encode(&self.hash.clone().finalize())
    }

    /// Bytes that came.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the file is too large, changed, or does not come after some tries.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.head.total == Some(self.position) {
                return Ok(None);
            }
            if self.response.is_none() && !self.go_on().await? {
                return Ok(None);
            }
            if let Some(piece) = self.ahead.take() {
                return self.take(piece).map(Some);
            }
            let Some(response) = &mut self.response else { continue };
            match read(response, &self.given_up).await? {
                Read::Piece(piece) => return self.take(piece).map(Some),
                Read::End if self.head.total.is_none() => return Ok(None),
                Read::End | Read::Broken => {
                    self.response = None;
                    self.pause(None, "the transfer broke").await?;
                }
            }
        }
    }

    /// The next piece, of at most `bytes_max`; what is over it comes next.
    ///
    /// # Errors
    /// As [`Remote::next`].
    pub(super) async fn next_up_to(&mut self, bytes_max: usize) -> Result<Option<Bytes>> {
        let mut piece = match self.cut.take() {
            Some(piece) => piece,
            None => match self.next().await? {
                Some(piece) => piece,
                None => return Ok(None),
            },
        };
        let first = piece.split_to(piece.len().min(bytes_max));
        self.cut = Some(piece).filter(|rest| !rest.is_empty());
        Ok(Some(first))
    }

    fn take(&mut self, piece: Bytes) -> Result<Bytes> {
        self.position += piece.len() as u64;
        if self.head.total.is_some_and(|total| self.position > total) {
            return Err(changed());
        }
        self.check_size(self.position)?;
        self.hash.update(&piece);
        (self.tries, self.backoff) = (0, Backoff::new());
        Ok(piece)
    }

    fn check_size(&self, bytes: u64) -> Result<()> {
        if bytes <= self.bytes_max {
            return Ok(());
        }
        let (is, may) = (bytes.div_ceil(1_000_000), self.bytes_max / 1_000_000);
        Err(failure::input("too_large", format!("The source has {is} MB or more; at most {may} MB are accepted.")))
    }

    /// Asks for the rest; false when there is none.
    async fn go_on(&mut self) -> Result<bool> {
        loop {
            let (response, _) = self.connect().await?;
            let response = match self.sort(response)? {
                Answer::AtEnd => return Ok(false),
                Answer::Here(response) => response,
                Answer::FromStart(mut response) => match self.pass_over(&mut response).await? {
                    true => response,
                    false => {
                        self.pause(None, "the transfer broke").await?;
                        continue;
                    }
                },
            };
            self.response = Some(response);
            return Ok(true);
        }
    }

    fn sort(&self, response: Response) -> Result<Answer> {
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return if self.head.total.is_none() { Ok(Answer::AtEnd) } else { Err(changed()) };
        }
        let now = Head::of(&response, &self.url);
        let other = |before: &Option<HeaderValue>, now: &Option<HeaderValue>| {
            before.is_some() && now.is_some() && before != now
        };
        if other(&self.head.etag, &now.etag)
            || self.head.total.is_some() && now.total.is_some() && self.head.total != now.total
        {
            return Err(changed());
        }
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(if self.position == 0 { Answer::Here(response) } else { Answer::FromStart(response) });
        }
        match content_range(&response) {
            Some((from, _)) if from == self.position => Ok(Answer::Here(response)),
            _ => Err(changed()),
        }
    }

    /// Reads what came before once more, and compares its hash: this server cannot go on in the middle. False: broken again.
    async fn pass_over(&mut self, response: &mut Response) -> Result<bool> {
        let (mut again, mut left) = (Sha256::new(), self.position);
        while left > 0 {
            let Read::Piece(piece) = read(response, &self.given_up).await? else { return Ok(false) };
            let before = piece.slice(..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            again.update(&before);
            left -= before.len() as u64;
            if left == 0 && again.clone().finalize() != self.hash.clone().finalize() {
                return Err(changed());
            }
            self.ahead = Some(piece.slice(before.len()..)).filter(|rest| !rest.is_empty());
        }
        Ok(true)
    }

    /// Sends the request, follows redirects, and waits where that can help.
    async fn connect(&mut self) -> Result<(Response, Url)> {
        loop {
            let (why, retry_after) = match self.follow().await? {
                Ok((response, url)) if response.status().is_success() => return Ok((response, url)),
                Ok((response, url)) if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && self.position > 0 => {
                    return Ok((response, url));
                }
                Ok((response, _)) => (no(&response)?, retry_after(&response)),
                Err(why) => (why, None),
            };
            self.pause(retry_after, &why).await?;
        }
    }

    /// The answer behind all redirects; the inner error is one that may pass.
    async fn follow(&self) -> Result<std::result::Result<(Response, Url), String>> {
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            self.guard.check(&url).map_err(|refused| failure::input("url_refused", format!("{refused}.")))?;
            let response = match self.ask(&url).await? {
                Ok(response) => response,
                Err(why) => return Ok(Err(why)),
            };
            let Some(location) = location(&response) else { return Ok(Ok((response, url))) };
            url = url.join(&location).map_err(|_| {
                failure::input(
                    "bad_redirect",
                    "The source's server redirects to something that is no URL; give its real address.",
                )
            })?;
        }
        Err(failure::input(
            "too_many_redirects",
            format!("The source's server redirects more than {REDIRECTS_MAX} times; give the file's real address."),
        ))
    }

    async fn ask(&self, url: &Url) -> Result<std::result::Result<Response, String>> {
        let mut request = self.http.get(url.clone()).header(header::ACCEPT_ENCODING, "identity");
        // Credentials are for the server that the user named, not for where it points.
        if url.origin() == self.url.origin() {
            request = request.headers(self.auth.clone());
        }
        if self.position > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.position));
            if let Some(validator) = self.head.etag.as_ref().or(self.head.last_modified.as_ref()) {
                request = request.header(header::IF_RANGE, validator);
            }
        }
        let answer = tokio::select! {
            answer = tokio::time::timeout(Duration::from_millis(STALL_MS), request.send()) => answer,
            () = self.given_up.cancelled() => return Err(failure::stopped()),
        };
        match answer {
            Ok(Ok(response)) => Ok(Ok(response)),
            Ok(Err(error)) => match refused(&error) {
                Some(refused) => Err(failure::input("url_refused", format!("{refused}."))),
                None => Ok(Err(failure::chain(&error.without_url()))),
            },
            Err(_) => Ok(Err("no answer".to_owned())),
        }
    }

    async fn pause(&mut self, retry_after: Option<Duration>, why: &str) -> Result<()> {
        self.tries += 1;
        if self.tries >= TRIES_MAX {
            let human = format!(
                "The source's server does not deliver the file ({why}, {} bytes came); it is tried again later. Check the address if that repeats.",
                self.position
            );
            return Err(failure::transient("fetch_failed", human));
        }
        let pause = self.backoff.pause().max(retry_after.unwrap_or_default());
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.given_up.cancelled() => Err(failure::stopped()),
        }
    }
}

impl Head {
    fn of(response: &Response, url: &Url) -> Self {
        let headers = response.headers();
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let total = if response.status() == StatusCode::PARTIAL_CONTENT {
            content_range(response).and_then(|(_, total)| total)
        } else {
            length
        };
        let strong = |etag: &HeaderValue| !etag.as_bytes().starts_with(b"W/");
        Self {
            total,
            etag: headers.get(header::ETAG).filter(|etag| strong(etag)).cloned(),
            last_modified: headers.get(header::LAST_MODIFIED).cloned(),
            file_name: disposition(headers).or_else(|| last_segment(url)),
        }
    }
}

enum Read {
    Piece(Bytes),
    End,
    Broken,
}

async fn read(response: &mut Response, given_up: &CancellationToken) -> Result<Read> {
    let next = tokio::select! {
        next = tokio::time::timeout(Duration::from_millis(STALL_MS), response.chunk()) => next,
        () = given_up.cancelled() => return Err(failure::stopped()),
    };
    Ok(match next {
        Ok(Ok(Some(piece))) => Read::Piece(piece),
        Ok(Ok(None)) => Read::End,
        Ok(Err(_)) | Err(_) => Read::Broken,
    })
}

fn changed() -> StepError {
    failure::transient(
        "source_changed",
        "The file changed on its server while it was fetched; it is fetched again from the beginning.",
    )
}

/// What a status other than success means: an error for good, or words for one that may pass.
fn no(response: &Response) -> Result<String> {
    let status = response.status();
    let human = match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => return Ok(status.to_string()),
        _ if status.is_server_error() => return Ok(status.to_string()),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            "The source's server has no such file (404); check the address.".into()
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            format!(
                "The source's server does not give the file out ({status}); check the credentials and the link's expiry."
            )
        }
        _ => format!("The source's server answered {status}; check the address."),
    };
    Err(failure::input("fetch_refused", human))
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(Duration::from_millis(RETRY_AFTER_MS_MAX)))
}

fn location(response: &Response) -> Option<String> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(header::LOCATION).filter(|_| redirects)?;
    Some(location.to_str().unwrap_or_default().to_owned())
}

/// First byte and whole size of a partial answer.
fn content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    let text = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

/// The quoted or plain `filename` of Content-Disposition (RFC 6266 4.1).
fn disposition(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_DISPOSITION)?.to_str().ok()?;
    let name = text.split(';').map(str::trim).find_map(|part| part.strip_prefix("filename="))?;
    Some(name.trim_matches('"').to_owned()).filter(|name| !name.is_empty())
}

fn last_segment(url: &Url) -> Option<String> {
    let segment = url.path_segments()?.next_back()?.to_owned();
    Some(percent_decoded(&segment)).filter(|name| !name.is_empty())
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn auth_headers(auth: Option<&Credentials>) -> Result<HeaderMap> {
    let bad =
        || failure::input("bad_credentials", "The source's credentials do not fit into an HTTP header; correct them.");
    let mut headers = HeaderMap::new();
    let Some(auth) = auth else { return Ok(headers) };
    if let Some(user) = &auth.user {
        let pair = format!("{user}:{}", auth.password.as_deref().unwrap_or_default());
        let value = format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
        headers.insert(header::AUTHORIZATION, HeaderValue::try_from(value).map_err(|_| bad())?);
    }
    for (name, value) in &auth.headers {
        let name = HeaderName::try_from(name).map_err(|_| bad())?;
        headers.insert(name, HeaderValue::try_from(value).map_err(|_| bad())?);
    }
    Ok(headers)
}
