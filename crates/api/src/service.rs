//! The way of a request: its id, who asks, what that needs, at most once, and the router.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use metrics::counter;
use store::catalogue::{AssetState, Catalogue, JobId};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt, util::BoxCloneSyncService};
use tower_service::Service;
use tracing::Instrument;
use vod::{manager::Manager, progress};

use crate::{
    access::need, auth::Auth, feed::Feed, idempotency, problem::Problem, routes::ROOT, verb, view, webhook::Poster,
};

/// The request's id, in answers and in what proxies send.
const REQUEST_ID: &str = "x-request-id";
/// Longest id that is taken over from a client, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Any error of a service that is mounted.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A service that answers below the API's paths: uploads, and the worker protocol. See [`mounted`].
pub type Mounted = BoxCloneSyncService<Request<Body>, Response, BoxError>;

/// Boxes a service for [`ApiSettings`](crate::ApiSettings). Its requests have whole paths, and a
/// [`store::catalogue::Principal`] among their extensions.
pub fn mounted<S, B>(service: S) -> Mounted
where
    S: Service<Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let service = service.map_response(|response: http::Response<B>| response.map(Body::new));
    BoxCloneSyncService::new(service.map_err(Into::into))
}

/// What handlers share.
pub(crate) struct Shared {
    pub(crate) catalogue: Catalogue,
    pub(crate) manager: Manager,
    pub(crate) auth: Auth,
    pub(crate) feed: Feed,
    pub(crate) poster: Poster,
    /// One permit per open event stream.
    pub(crate) streams: Arc<Semaphore>,
    /// Streams end when the server stops.
    pub(crate) stopping: CancellationToken,
    pub(crate) uploads: Mounted,
    pub(crate) worker: Mounted,
}

impl Shared {
    /// Hands a request to the uploads' service.
    pub(crate) async fn to_uploads(&self, request: Request<Body>) -> Result<Response, Problem> {
        pass_on(&self.uploads, request).await
    }

    /// Hands a request to the worker protocol.
    pub(crate) async fn to_worker(&self, request: Request<Body>) -> Result<Response, Problem> {
        pass_on(&self.worker, request).await
    }

    /// How far a job is.
    pub(crate) async fn progress(&self, id: &JobId) -> Result<view::JobProgress, Problem> {
        let none = || Problem::not_found("job", id.as_str());
        let job = self.catalogue.job(id).await?.ok_or_else(none)?;
        let steps = self.catalogue.steps(id).await?;
        let position = self.catalogue.queue_position(id).await?;
        let asset = self.catalogue.asset(&job.asset).await?;
        let playable = asset.is_some_and(|asset| asset.state == AssetState::Ready);
        let progress = progress::of(&job, &steps, position, self.catalogue.now().await?);
        Ok(view::JobProgress::new(job, steps, progress, playable))
    }

    /// The same as text, for streams; `None` when there is no such job or it cannot be read now.
    pub(crate) async fn progress_json(&self, id: JobId) -> Option<String> {
        serde_json::to_string(&self.progress(&id).await.ok()?).ok()
    }
}

async fn pass_on(service: &Mounted, request: Request<Body>) -> Result<Response, Problem> {
    service.clone().oneshot(request).await.map_err(|error| {
        tracing::error!(error = crate::problem::chain(error.as_ref()), "a mounted service failed");
        Problem::internal()
    })
}

/// The control API as a service for requests whose paths begin with `/api/v1/`. Cheap to clone.
#[derive(Clone)]
pub struct ApiService {
    shared: Arc<Shared>,
    router: Router,
}

impl ApiService {
    pub(crate) fn new(shared: Arc<Shared>, router: Router) -> Self {
        Self { shared, router }
    }

    async fn answer(self, request: Request<Body>) -> Response {
        let id = request_id(request.headers());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let span = tracing::info_span!("api", request_id = id);
        let answered = self.handle(request).instrument(span).await;
        let mut response = answered.unwrap_or_else(IntoResponse::into_response);
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let allow = response.headers_mut().remove(header::ALLOW);
            response = problem.render(&id);
            response.headers_mut().extend(allow.map(|allow| (header::ALLOW, allow)));
        }
        let status = response.status();
        tracing::debug!(request_id = id, %method, path, status = status.as_u16(), "answered");
        counter!("headwater_api_requests_total", "status_class" => status_class(status)).increment(1);
        let headers = response.headers_mut();
        // Nothing here may be kept by a cache unless the answer says so.
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        headers.insert(REQUEST_ID, HeaderValue::from_str(&id).expect("an id is visible ASCII"));
        response
    }

    async fn handle(self, request: Request<Body>) -> Result<Response, Problem> {
        let Self { shared, router } = self;
        let (mut parts, body) = request.into_parts();
        let below = parts.uri.path().strip_prefix(ROOT).map(str::to_owned).ok_or_else(|| no_route(&parts.uri))?;
        let looks = matches!(parts.method, Method::GET | Method::HEAD);
        if looks && below == "openapi.json" {
            return Ok(infallible(router.oneshot(Request::from_parts(parts, body)).await));
        }
        let principal = shared.auth.principal(&parts).await?;
        need(&parts.method, &below).check(&principal)?;
        parts.extensions.insert(principal.clone());
        if below.starts_with("worker/") {
            return shared.to_worker(Request::from_parts(parts, body)).await;
        }
        parts.uri = verb::inwards(&parts.method, &parts.uri).ok_or_else(|| no_route(&parts.uri))?;
        let request = Request::from_parts(parts, body);
        // Uploads have a protocol of their own for repetitions.
        if idempotency::applies(&request) && !below.starts_with("uploads") {
            let answer = |request| async { infallible(router.oneshot(request).await) };
            return idempotency::once(&shared.catalogue, &principal, request, answer).await;
        }
        Ok(infallible(router.oneshot(request).await))
    }
}

impl<B> Service<Request<B>> for ApiService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.clone().answer(request.map(Body::new));
        Box::pin(async move { Ok(answer.await) })
    }
}

impl std::fmt::Debug for ApiService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiService")
    }
}

fn infallible(answered: Result<Response, Infallible>) -> Response {
    match answered {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The client's own id, if it is one, so that its log and ours can be laid side by side.
fn request_id(headers: &HeaderMap) -> String {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let fits = |id: &&str| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(allowed);
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(fits);
    given.map_or_else(|| format!("req_{:032x}", rand::random::<u128>()), str::to_owned)
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "other",
    }
}

/// 404: no such path.
pub(crate) fn no_route(uri: &http::Uri) -> Problem {
    let path: String = verb::outwards(uri.path()).chars().take(200).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_route",
        "No such path",
        format!("The API has no path {path:?}."),
        "GET /api/v1/openapi.json lists every path.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_request_id_is_kept_when_it_is_one() {
        let check = |given: &'static str, kept: bool| {
            let headers = HeaderMap::from_iter([(REQUEST_ID.parse().unwrap(), HeaderValue::from_static(given))]);
            assert_eq!(request_id(&headers) == given, kept, "{given}");
        };
        check("4bf92f35-77b3", true);
        check("a b", false);
        check("", false);
        assert!(request_id(&HeaderMap::new()).starts_with("req_"));
    }
}
