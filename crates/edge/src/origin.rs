//! Origins: HTTP services that the edge calls in memory.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use tower_service::Service;

use crate::BoxError;

/// A body on either side of an origin: frames of shared bytes.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A future that an origin returns.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The client's address, among the extensions of the request that an origin gets when the request is not shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A body of no bytes.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of these bytes, with a known length.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

type Call = dyn Fn(Request<Body>) -> BoxFuture<Result<Response<Body>, BoxError>> + Send + Sync;

/// A service that answers requests, called in memory; cheap to clone.
///
/// The edge calls it once per object however many clients ask. Its future may take long (a blocked playlist reload)
/// and may be dropped when nobody waits any more. A panic in it is caught and answered 500.
///
/// ```
/// let origin = edge::BoxOrigin::new(|request: http::Request<edge::Body>| async move {
///     http::Response::new(edge::full(format!("you asked for {}", request.uri().path())))
/// });
/// # let _ = origin;
/// ```
#[derive(Clone)]
pub struct BoxOrigin(Arc<Call>);

impl BoxOrigin {
    /// An origin from an async function.
    pub fn new<F, Fut>(call: F) -> Self
    where
        F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response<Body>> + Send + 'static,
    {
        Self(Arc::new(move |request| {
            let answer = call(request);
            Box::pin(async move { Ok(answer.await) })
        }))
    }

    /// An origin from a service of any body type.
    pub fn from_service<S, B>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(move |request| {
            let mut service = service.clone();
            Box::pin(async move {
                std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
                let answer = erased(&mut service, request).await.map_err(Into::into)?;
                Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
            })
        }))
    }

    /// Lazy, so that a panic before the origin's future exists is a panic of this future.
    pub(crate) async fn call(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        (self.0)(request).await
    }
}

/// The service's future without its type: inside an async block the compiler cannot see that the type is `Send`.
fn erased<S>(service: &mut S, request: Request<Body>) -> BoxFuture<Result<S::Response, S::Error>>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
{
    Box::pin(service.call(request))
}

impl<S> From<S> for BoxOrigin
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    fn from(service: S) -> Self {
        Self::from_service(service)
    }
}

impl std::fmt::Debug for BoxOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxOrigin")
    }
}
