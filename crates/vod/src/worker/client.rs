//! The manager as a worker sees it: the requests of [`protocol`](crate::protocol), and what their answers mean.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use base::Secret;
use http::{Method, StatusCode, header};
use reqwest::{RequestBuilder, Response};
use serde::{Serialize, de::DeserializeOwned};
use store::catalogue::{Progress, StepError, StepId, WorkerId};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::failure;
use crate::protocol::{
    BODY_BYTES_MAX, Claim, Complete, Fail, Heartbeat, HeartbeatAnswer, Leased, Output, Refusal, Register, Registered,
    Release,
};

/// Longest wait for a connection to the manager, in milliseconds: three tries of TCP's first SYN.
const CONNECT_MS_MAX: u64 = 5_000;
/// Longest wait for the answer to a small request, in milliseconds.
const CALL_MS_MAX: u64 = 10_000;
/// Longest wait for the answer to a finished step, in milliseconds: its transaction may publish renditions.
const REPORT_MS_MAX: u64 = 20_000;
/// First pause before a request is sent again, in milliseconds; doubles.
const BACKOFF_MS: u64 = 100;
/// Longest pause, in milliseconds: with leases of 30 s there are several tries left.
const BACKOFF_MS_MAX: u64 = 5_000;
/// A `Retry-After` beyond this, in milliseconds, is not waited for: the lease would be gone.
const RETRY_AFTER_MS_MAX: u64 = 15_000;

/// Why a request to the manager did not do what it should.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The lease is another's: kill and discard.
    Lost,
    /// The manager understood and said no.
    Refused { status: StatusCode, code: String, detail: String },
    /// No answer, or one that says that later may be better.
    Unreachable { detail: String, retry_after: Option<Duration> },
    /// The caller gave up waiting.
    GivenUp,
}

impl CallError {
    fn unreachable(error: &reqwest::Error) -> Self {
        Self::Unreachable { detail: failure::chain(error), retry_after: None }
    }

    /// For logs.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Lost => "the lease is lost".into(),
            Self::Refused { status, code, detail } => format!("{status} {code}: {detail}"),
            Self::Unreachable { detail, .. } => detail.clone(),
            Self::GivenUp => "given up".into(),
        }
    }
}

/// The manager, for one worker.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    root: Url,
    token: Secret,
}

impl Client {
    /// # Errors
    /// When no TLS client can be made.
    pub(crate) fn new(server: &Url, token: Secret) -> std::result::Result<Self, reqwest::Error> {
        let mut root = server.clone();
        root.set_query(None);
        root.set_fragment(None);
        root.set_path(&format!("{}/api/v1/worker/", server.path().trim_end_matches('/')));
        let http = http_client(|builder| {
            builder.redirect(reqwest::redirect::Policy::none()).tcp_keepalive(Duration::from_secs(15))
        })?;
        Ok(Self { http, root, token })
    }

    pub(crate) async fn register(&self, body: &Register) -> Result<Registered, CallError> {
        json(self.post("register", body, CALL_MS_MAX)).await
    }

    /// `None`: nothing came.
    pub(crate) async fn claim(&self, body: &Claim) -> Result<Option<Leased>, CallError> {
        let response = send(self.post("claim", body, body.wait_ms + CALL_MS_MAX)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        read_json(response).await.map(Some)
    }

    pub(crate) async fn leave(&self, worker: &WorkerId) -> Result<(), CallError> {
        send(self.post(&format!("workers/{worker}/leave"), &serde_json::json!({}), CALL_MS_MAX)).await.map(drop)
    }

    /// Waits for an answer at most until `deadline`.
    pub(crate) async fn heartbeat(
        &self,
        hold: &Hold,
        progress: Progress,
        deadline: Instant,
    ) -> Result<HeartbeatAnswer, CallError> {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let wait_ms = u64::try_from(left).unwrap_or(u64::MAX).clamp(1, CALL_MS_MAX);
        json(self.post(&hold.path("heartbeat"), &Heartbeat { token: hold.token, progress }, wait_ms)).await
    }

    pub(crate) async fn complete(&self, hold: &Hold, output: &Output) -> Result<(), CallError> {
        let body = Complete { token: hold.token, output: output.clone() };
        send(self.post(&hold.path("complete"), &body, REPORT_MS_MAX)).await.map(drop)
    }

    pub(crate) async fn fail(&self, hold: &Hold, error: &StepError) -> Result<(), CallError> {
        let body = Fail { token: hold.token, error: error.clone() };
        send(self.post(&hold.path("fail"), &body, REPORT_MS_MAX)).await.map(drop)
    }

    pub(crate) async fn release(&self, hold: &Hold) -> Result<(), CallError> {
        send(self.post(&hold.path("release"), &Release { token: hold.token }, CALL_MS_MAX)).await.map(drop)
    }

    /// Where FFmpeg and others read the source of a step's asset.
    pub(crate) fn source_url(&self, hold: &Hold) -> Url {
        let mut url = self.url(&hold.path("source"));
        url.query_pairs_mut().append_pair("token", &hold.token.to_string());
        url
    }

    /// Where an object is read.
    pub(crate) fn object_url(&self, hold: &Hold, key: &str) -> Url {
        let mut url = self.url(&hold.path("objects"));
        url.query_pairs_mut().append_pair("key", key).append_pair("token", &hold.token.to_string());
        url
    }

    /// Where an object is stored.
    pub(crate) fn store_url(&self, hold: &Hold, name: &str) -> Url {
        let mut url = self.url(&hold.path(&format!("objects/{name}")));
        url.query_pairs_mut().append_pair("token", &hold.token.to_string());
        url
    }

    /// The value of `Authorization` for what is not sent from here.
    pub(crate) fn authorization(&self) -> String {
        format!("Bearer {}", self.token.reveal())
    }

    /// A request with the worker's token.
    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url).header(header::AUTHORIZATION, self.authorization())
    }

    fn url(&self, path: &str) -> Url {
        self.root.join(path).expect("the paths of the protocol join every http URL")
    }

    fn post(&self, path: &str, body: &impl Serialize, wait_ms: u64) -> RequestBuilder {
        self.request(Method::POST, self.url(path)).timeout(Duration::from_millis(wait_ms)).json(body)
    }
}

/// Which step, under which fencing token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) step: StepId,
    pub(crate) token: i64,
}

impl Hold {
    fn path(&self, verb: &str) -> String {
        format!("steps/{}/{verb}", self.step)
    }
}

/// Sends a request and sorts its answer; 2xx is `Ok`.
pub(crate) async fn send(request: RequestBuilder) -> Result<Response, CallError> {
    let response = request.send().await.map_err(|error| CallError::unreachable(&error))?;
    if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
}

async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, CallError> {
    read_json(send(request).await?).await
}

pub(crate) async fn read_json<T: DeserializeOwned>(mut response: Response) -> Result<T, CallError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| CallError::unreachable(&error))? {
        body.extend_from_slice(&piece);
        if body.len() > BODY_BYTES_MAX {
            return Err(unreadable(format!("an answer over {BODY_BYTES_MAX} bytes")));
        }
    }
    serde_json::from_slice(&body).map_err(|error| unreadable(failure::quote(&error.to_string())))
}

/// An answer from something that is no manager, or another version of one: a person must look, but a proxy's page between may pass.
fn unreadable(detail: String) -> CallError {
    CallError::Unreachable { detail: format!("the answer cannot be read: {detail}"), retry_after: None }
}

/// What a status other than 2xx means.
async fn refusal(response: Response) -> CallError {
    let status = response.status();
    let retry_after = retry_after(&response);
    let refusal = read_json::<Refusal>(response).await.ok();
    let (code, detail) = refusal.map_or_else(|| (String::new(), String::new()), |body| (body.code, body.detail));
    let detail = failure::quote(&detail);
    let later = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    match status {
        // A 409 without a readable code can only be about the lease: nothing else here conflicts.
        StatusCode::CONFLICT if code.is_empty() || code == "lease_lost" => CallError::Lost,
        _ if later || status.is_server_error() || status.is_redirection() => {
            CallError::Unreachable { detail: format!("{status} {detail}"), retry_after }
        }
        _ => CallError::Refused { status, code, detail },
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(Duration::from_millis(RETRY_AFTER_MS_MAX)))
}

/// Calls until it succeeds, is refused, or `given_up` is cancelled.
pub(crate) async fn retrying<T, F>(given_up: &CancellationToken, mut call: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut backoff = Backoff::new();
    loop {
        let answer = tokio::select! {
            biased;
            answer = call() => answer,
            () = given_up.cancelled() => return Err(CallError::GivenUp),
        };
        let Err(CallError::Unreachable { detail, retry_after }) = answer else { return answer };
        let pause = backoff.pause().max(retry_after.unwrap_or_default());
        tracing::debug!(%detail, ?pause, "the manager did not answer; trying again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = given_up.cancelled() => return Err(CallError::GivenUp),
        }
    }
}

/// Pauses that double, each with jitter, so that the workers of a restarted manager do not come at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next_ms: u64,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next_ms: BACKOFF_MS }
    }

    /// Between half and all of the next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause_ms = rand::random_range(self.next_ms / 2..=self.next_ms);
        self.next_ms = (self.next_ms * 2).min(BACKOFF_MS_MAX);
        Duration::from_millis(pause_ms)
    }
}

/// A client for HTTP and HTTPS. On a machine without certificate authorities it is one that reaches HTTP alone: a worker beside its
/// manager needs no more.
pub(crate) fn http_client(
    configure: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> std::result::Result<reqwest::Client, reqwest::Error> {
    let builder = || {
        configure(reqwest::Client::builder())
            .user_agent(concat!("headwater/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
    };
    builder().build().or_else(|error| {
        tracing::warn!(error = %failure::chain(&error), "no certificate authorities: HTTPS servers cannot be reached; install ca-certificates");
        builder().tls_certs_only([]).build()
    })
}
