//! Uploads: tus 1.0.0 (core and every extension but checksum trailers), a file in one `PUT`, and HTML forms.
//!
//! What the client says of a file is stored before its first byte. Bytes become objects of at most [`UPLOAD_PART_BYTES`], and the
//! upload's offset moves once an object is durable: a broken connection, a stopped server or another replica taking over lose what
//! was in memory at most. Two who send at once meet at the offset, which moves for one of them. Start from [`Uploads`].

mod create;
mod expire;
mod finish;
mod form;
mod header;
mod name;
mod problem;
mod receive;
mod tus;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, header as names};
use store::{Asset, Catalogue, NewJob, Objects, Principal, RecipeRef, Scope, UploadId};
use tokio::sync::Semaphore;
use tower_service::Service;

use self::{problem::Problem, receive::Hashes};
use crate::Config;

/// Largest object of an upload, in bytes: what a client may have to send again after the server was killed.
pub const UPLOAD_PART_BYTES: usize = 8 * 1024 * 1024;
/// Header of an answer that names the asset.
const ASSET_HEADER: &str = "headwater-asset";

/// Why no job could be made.
pub type JobError = Box<dyn std::error::Error + Send + Sync>;

/// What uploads need of the manager.
pub trait JobSource: Send + Sync + 'static {
    /// The newest version of the recipe `name`, or the one that is used when nobody named one. `None`: there is none.
    fn recipe<'a>(&'a self, name: Option<&'a str>) -> BoxFuture<'a, Result<Option<RecipeRef>, JobError>>;

    /// The first job of an asset whose bytes are all stored (`asset.source.blob`).
    fn job<'a>(&'a self, asset: &'a Asset) -> BoxFuture<'a, Result<NewJob, JobError>>;
}

/// The uploads as an HTTP service. Cheap to clone.
///
/// It answers whole paths: `/api/v1/uploads`, `/api/v1/uploads/ID`, `PUT /api/v1/assets/NAME`, and `multipart/form-data` posted to
/// `/api/v1/assets` or `/api/v1/uploads`. Who asks is the [`Principal`] in the request's extensions; without one it refuses.
#[derive(Clone)]
pub struct Uploads {
    inner: Arc<Inner>,
}

struct Inner {
    catalogue: Catalogue,
    objects: Objects,
    jobs: Arc<dyn JobSource>,
    config: Config,
    receiving: Arc<Semaphore>,
    hashes: Hashes,
    /// Uploads that this process is completing.
    finishing: Mutex<std::collections::HashSet<UploadId>>,
}

impl std::fmt::Debug for Uploads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Uploads({:?})", self.inner.objects)
    }
}

impl Uploads {
    /// Uploads into `objects`, recorded in `catalogue`, with the limits of `config`.
    pub fn new(catalogue: Catalogue, objects: Objects, jobs: Arc<dyn JobSource>, config: &Config) -> Self {
        let receiving = Arc::new(Semaphore::new(config.uploads_receiving_max.max(1) as usize));
        let config = config.clone();
        let (hashes, finishing) = (Hashes::default(), Mutex::default());
        Self { inner: Arc::new(Inner { catalogue, objects, jobs, config, receiving, hashes, finishing }) }
    }

    /// Completes uploads whose last byte is stored but which were not completed because a process died in between; ends those that
    /// waited too long for their bytes; removes the objects of what has ended. How many uploads were completed or removed.
    ///
    /// # Errors
    /// When the catalogue or the object store fails; the next run goes on.
    pub async fn expire(&self) -> Result<u64, store::Error> {
        expire::run(&self.inner).await
    }

    /// Answers a request. What it began is finished even when the client hangs up: what has come is kept.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (inner, request) = (self.inner.clone(), request.map(Body::new));
        let answered = tokio::spawn(async move { inner.route(request).await.unwrap_or_else(Problem::response) });
        answered.await.unwrap_or_else(|panic| {
            tracing::error!(%panic, "an upload request panicked");
            Problem::from(JobError::from("panic")).response()
        })
    }
}

impl<B> Service<Request<B>> for Uploads
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let uploads = self.clone();
        Box::pin(async move { Ok(uploads.answer(request).await) })
    }
}

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Uploads,
    Upload(String),
    Assets,
    /// An asset to be, by the name of its file.
    Asset(String),
}

impl Target {
    fn of(path: &str) -> Option<Self> {
        let mut segments = path.trim_end_matches('/').rsplit('/');
        match (segments.next()?, segments.next()) {
            (name, Some("assets")) => Some(Self::Asset(percent_decoded(name))),
            (id, Some("uploads")) => Some(Self::Upload(id.to_owned())),
            ("uploads", _) => Some(Self::Uploads),
            ("assets", _) => Some(Self::Assets),
            _ => None,
        }
    }
}

impl Inner {
    async fn route(self: &Arc<Self>, request: Request<Body>) -> Result<Response<Body>, Problem> {
        let Some(target) = Target::of(request.uri().path()) else { return Err(Problem::not_found()) };
        let method = method(&request)?;
        let uploads = matches!(target, Target::Uploads | Target::Upload(_));
        if uploads && method == Method::OPTIONS {
            return Ok(tus::decorated(tus::options(&self.config)));
        }
        let scope = if method == Method::HEAD { Scope::Read } else { Scope::Write };
        let principal = permitted(&request, scope)?;
        match target {
            Target::Uploads | Target::Assets if method == Method::POST && form::is_form(request.headers()) => {
                form::multipart(self, &principal, request).await
            }
            Target::Asset(name) if method == Method::PUT => form::one_shot(self, &principal, &name, request).await,
            Target::Uploads | Target::Upload(_) => {
                let answer = tus::answer(self, &principal, &target, &method, request).await;
                Ok(tus::decorated(answer.unwrap_or_else(Problem::response)))
            }
            Target::Asset(_) | Target::Assets => Err(method_not_allowed("PUT, POST")),
        }
    }
}

/// The method, or the one that a client behind a narrow proxy means (tus 1.0.0, X-HTTP-Method-Override).
fn method(request: &Request<Body>) -> Result<Method, Problem> {
    const NAME: &str = "x-http-method-override";
    if request.method() != Method::POST {
        return Ok(request.method().clone());
    }
    match header::text(request.headers(), NAME)? {
        None => Ok(Method::POST),
        Some(text) => match text.to_ascii_uppercase().as_str() {
            "PATCH" => Ok(Method::PATCH),
            "DELETE" => Ok(Method::DELETE),
            "HEAD" => Ok(Method::HEAD),
            "OPTIONS" => Ok(Method::OPTIONS),
            "POST" => Ok(Method::POST),
            _ => Err(Problem::bad_header(NAME, "it is no method of tus", "Send PATCH, DELETE, HEAD or POST.")),
        },
    }
}

/// Who asks, if they may do what `scope` allows. Nobody: refused.
fn permitted(request: &Request<Body>, scope: Scope) -> Result<Principal, Problem> {
    let Some(principal) = request.extensions().get::<Principal>() else {
        let hint = "Send a token: `Authorization: Bearer ...`.";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Nobody is named by this request.", hint));
    };
    if !principal.may(scope) {
        let hint = "Use a token with the scope `write`.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "This token may not upload.", hint));
    }
    Ok(principal.clone())
}

fn method_not_allowed(allow: &'static str) -> Problem {
    let detail = format!("Only {allow} are answered here.");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail, "See /api/v1/openapi.json.")
        .header("allow", HeaderValue::from_static(allow))
}

/// `%41` as `A`; what is no such code stays, what is no UTF-8 becomes U+FFFD.
fn percent_decoded(text: &str) -> String {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_store(response: &mut Response<Body>) {
    response.headers_mut().insert(names::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_read_from_their_end() {
        let check = |path: &str, expected: Option<Target>| assert_eq!(Target::of(path), expected, "{path}");
        check("/api/v1/uploads", Some(Target::Uploads));
        check("/api/v1/uploads/", Some(Target::Uploads));
        check("/uploads/upl_1", Some(Target::Upload("upl_1".into())));
        check("/api/v1/assets", Some(Target::Assets));
        check("/api/v1/assets/my%20film.mp4", Some(Target::Asset("my film.mp4".into())));
        check("/api/v1/assets/uploads", Some(Target::Asset("uploads".into())));
        check("/api/v1/jobs", None);
        check("/", None);
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "\\PC*", coded in "(%[0-9a-fA-F%]{0,3}|[a-zé])*") {
            let _ = (Target::of(&path), percent_decoded(&coded));
        }
    }
}
