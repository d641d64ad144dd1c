//! The worker protocol over HTTP. Who asks was found out before: `api` puts a [`Principal`] into the request's extensions.

use std::sync::atomic::Ordering;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequestParts, Path, Request, State},
    http::{StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Serialize, de::DeserializeOwned};
use store::catalogue::{Fenced, Principal, Scope, StepId, Worker, WorkerId};

use super::{Manager, ManagerError};
use crate::protocol::{
    BODY_BYTES_MAX, Claim, Command, Complete, Fail, Heartbeat, HeartbeatAnswer, Refusal, Register, Registered, Release,
};

/// Heartbeats per lease: two may be lost.
const HEARTBEATS_PER_LEASE: i64 = 3;
/// Shortest time between two reports of progress of one step, in milliseconds.
const PROGRESS_MS_MIN: i64 = 1_000;
/// What each worker adds to that time: a manager takes in 200 reports per second at most.
const PROGRESS_MS_PER_WORKER: i64 = 5;
/// Most capabilities, and encoders, that a worker may name.
const WORDS_MAX: usize = 100;
/// Longest name of a node or capability, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// When a manager that could not reach its database should be asked again, in seconds.
const RETRY_AFTER_S: &str = "2";

impl Manager {
    /// The worker protocol below `/api/v1/worker` (or, stripped of that, below `/`). Expects a [`Principal`] with the scope
    /// `worker` in the request's extensions and refuses all others.
    pub fn worker_service(&self) -> Router {
        let routes = Router::new()
            .route("/register", post(register))
            .route("/claim", post(claim))
            .route("/workers/{worker}/leave", post(leave))
            .route("/steps/{step}/heartbeat", post(heartbeat))
            .route("/steps/{step}/complete", post(complete))
            .route("/steps/{step}/fail", post(fail))
            .route("/steps/{step}/release", post(release))
            .route("/steps/{step}/source", get(super::objects::source))
            .route("/steps/{step}/objects", get(super::objects::object))
            .route(
                "/steps/{step}/objects/{name}",
                axum::routing::put(super::objects::put).layer(DefaultBodyLimit::disable()),
            )
            .layer(middleware::from_fn(workers_only))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self.clone());
        Router::new().nest("/api/v1/worker", routes.clone()).merge(routes)
    }

    /// How often a step may report progress: the more workers, the less often.
    pub(super) fn progress_ms(&self) -> i64 {
        let workers = i64::try_from(self.inner.workers.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        // A heartbeat carries progress, too: never slower than that.
        PROGRESS_MS_MIN.max(workers.saturating_mul(PROGRESS_MS_PER_WORKER)).min(self.heartbeat_ms())
    }

    fn heartbeat_ms(&self) -> i64 {
        self.catalogue().rules().lease_ms / HEARTBEATS_PER_LEASE
    }
}

async fn workers_only(request: Request, next: Next) -> Response {
    let allowed = request.extensions().get::<Principal>().is_some_and(|principal| principal.may(Scope::Worker));
    if allowed {
        return next.run(request).await;
    }
    Refused::new(
        StatusCode::FORBIDDEN,
        "not_a_worker",
        "This token is not a worker's: make one with the scope `worker`.",
    )
    .into_response()
}

/// An RFC 9457 refusal.
#[derive(Debug)]
pub(super) struct Refused(Refusal);

impl Refused {
    pub(super) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self(Refusal { status: status.as_u16(), code: code.to_owned(), detail: detail.into() })
    }

    pub(super) fn lost() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "lease_lost",
            "This lease does not hold any more. Kill the work and discard it.",
        )
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": self.0.status,
            "code": self.0.code,
            "detail": self.0.detail,
        });
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER_S));
        }
        response
    }
}

impl From<ManagerError> for Refused {
    fn from(error: ManagerError) -> Self {
        let (status, code) = match error.fault() {
            base::Fault::Client => (StatusCode::BAD_REQUEST, "bad_request"),
            base::Fault::Upstream | base::Fault::Overload => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            base::Fault::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        if status.is_server_error() {
            tracing::warn!(error = &error as &dyn std::error::Error, "a worker's request failed");
        }
        Self::new(status, code, error.to_string())
    }
}

impl From<store::Error> for Refused {
    fn from(error: store::Error) -> Self {
        ManagerError::from(error).into()
    }
}

/// A JSON body, whatever its content type says; refused in our own words.
struct Json<T>(T);

impl<T: DeserializeOwned> axum::extract::FromRequest<Manager> for Json<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &Manager) -> Result<Self, Refused> {
        let body = Bytes::from_request(request, state).await.map_err(|error| {
            Refused::new(error.status(), "bad_request", format!("The body could not be read: {error}."))
        })?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            let detail =
                format!("The body is not what this request needs: {error}. Use a worker of the manager's version.");
            Refused::new(StatusCode::BAD_REQUEST, "bad_request", detail)
        })
    }
}

/// The id of the step in the path.
pub(super) struct StepPath(pub(super) StepId);

impl FromRequestParts<Manager> for StepPath {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &Manager) -> Result<Self, Refused> {
        let path = Path::<std::collections::HashMap<String, String>>::from_request_parts(parts, state).await;
        let id = path.ok().and_then(|Path(path)| path.get("step")?.parse().ok());
        id.map(Self).ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "no_step", "There is no such step."))
    }
}

fn answer(body: &impl Serialize) -> Response {
    axum::Json(body).into_response()
}

async fn register(State(manager): State<Manager>, Json(body): Json<Register>) -> Result<Response, Refused> {
    let word = |text: &String| {
        (1..=NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
    };
    let fits = body.caps.len() <= WORDS_MAX && body.encoders.len() <= WORDS_MAX;
    if !(fits && word(&body.name) && body.caps.iter().all(word) && body.encoders.iter().all(word)) {
        let detail =
            "Names, capabilities and encoders are words of letters, digits, -, _, . and :, at most 64 characters long.";
        return Err(Refused::new(StatusCode::BAD_REQUEST, "bad_request", detail));
    }
    let now = manager.now().await?;
    let info = serde_json::json!({
        "version": body.version.chars().take(NAME_BYTES_MAX).collect::<String>(),
        "cores": body.cores,
        "memory_bytes": body.memory_bytes,
        "disk_free_bytes": body.disk_free_bytes,
        "encoders": body.encoders,
    });
    let worker = Worker {
        id: WorkerId::new(),
        name: body.name,
        caps: super::claim::with_codecs(body.caps, &body.encoders),
        info,
        cordoned: false,
        cordon_reason: None,
        draining: false,
        registered: now,
        seen: now,
    };
    let worker = manager.catalogue().register_worker(&worker).await?;
    manager.count_workers().await?;
    tracing::info!(worker = %worker.id, node = worker.name, caps = worker.caps.join(","), "a worker joined");
    Ok(answer(&Registered {
        worker: worker.id,
        lease_ms: manager.catalogue().rules().lease_ms,
        heartbeat_ms: manager.heartbeat_ms(),
        progress_ms: manager.progress_ms(),
    }))
}

async fn claim(State(manager): State<Manager>, Json(body): Json<Claim>) -> Result<Response, Refused> {
    match manager.claim(body).await? {
        Some(leased) => Ok(answer(&*leased)),
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

async fn leave(State(manager): State<Manager>, Path(worker): Path<String>) -> Result<Response, Refused> {
    let unknown = || Refused::new(StatusCode::NOT_FOUND, "unknown_worker", "There is no such worker.");
    let worker: WorkerId = worker.parse().map_err(|_| unknown())?;
    if !manager.catalogue().drain_worker(&worker).await? {
        return Err(unknown());
    }
    tracing::info!(%worker, "a worker leaves");
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn heartbeat(
    State(manager): State<Manager>,
    StepPath(step): StepPath,
    Json(body): Json<Heartbeat>,
) -> Result<Response, Refused> {
    match manager.catalogue().heartbeat(&step, body.token, &body.progress).await? {
        Fenced::Held(_) => {
            Ok(answer(&HeartbeatAnswer { command: Command::Continue, progress_ms: manager.progress_ms() }))
        }
        Fenced::Lost => Err(Refused::lost()),
    }
}

async fn complete(
    State(manager): State<Manager>,
    StepPath(step): StepPath,
    Json(body): Json<Complete>,
) -> Result<Response, Refused> {
    manager.complete(&step, body.token, body.output).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn fail(
    State(manager): State<Manager>,
    StepPath(step): StepPath,
    Json(body): Json<Fail>,
) -> Result<Response, Refused> {
    manager.fail(&step, body.token, body.error).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn release(
    State(manager): State<Manager>,
    StepPath(step): StepPath,
    Json(body): Json<Release>,
) -> Result<Response, Refused> {
    match manager.catalogue().release(&step, body.token).await? {
        Fenced::Held(()) => Ok(StatusCode::NO_CONTENT.into_response()),
        Fenced::Lost => Err(Refused::lost()),
    }
}
