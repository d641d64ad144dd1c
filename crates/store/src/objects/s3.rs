//! Buckets: S3 and what speaks its protocol.

use std::{pin::Pin, sync::Arc, time::Duration};

use http::{HeaderValue, Method, header::IF_NONE_MATCH};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector},
    path::Path,
    prefix::PrefixStore,
};

use super::S3Settings;
use crate::Error;

/// A service that has not answered a connection by then is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest that an answer is silent, a part on its way up included. A whole request has no limit: a reader may be slow.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a request is tried again, and for how long: a restart of the service passes unseen, an outage is told to the client.
const RETRIES_MAX: usize = 8;
const RETRY_FOR: Duration = Duration::from_secs(20);
const RETRY_FIRST_PAUSE: Duration = Duration::from_millis(100);
const RETRY_LONGEST_PAUSE: Duration = Duration::from_secs(4);

pub(super) struct Opened {
    /// The bucket.
    pub(super) backend: Arc<dyn ObjectStore>,
    /// The bucket, where an object in parts is only put together if there is none of its name.
    pub(super) creating: Arc<dyn ObjectStore>,
}

pub(super) fn open(settings: &S3Settings) -> Result<Opened, Error> {
    let failed = |source| Error::Bucket { bucket: settings.bucket.clone(), source };
    let prefix = Path::parse(&settings.prefix).map_err(|source| failed(source.into()))?;
    let backend = builder(settings).build().map_err(failed)?;
    let creating = builder(settings).with_http_connector(CreateAtEnd).build().map_err(failed)?;
    Ok(Opened { backend: below(prefix.clone(), backend), creating: below(prefix, creating) })
}

fn below(prefix: Path, bucket: AmazonS3) -> Arc<dyn ObjectStore> {
    match prefix.as_ref() {
        "" => Arc::new(bucket),
        _ => Arc::new(PrefixStore::new(bucket, prefix)),
    }
}

fn builder(settings: &S3Settings) -> AmazonS3Builder {
    let plain = settings.endpoint.starts_with("http://");
    let client = ClientOptions::new()
        .with_allow_http(plain)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(READ_TIMEOUT)
        .with_timeout_disabled();
    let backoff = BackoffConfig { init_backoff: RETRY_FIRST_PAUSE, max_backoff: RETRY_LONGEST_PAUSE, base: 2.0 };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_region(&settings.region)
        .with_retry(RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_FOR })
        // TLS guards the bytes already; hashing them twice would cost half a core at a gigabit.
        .with_unsigned_payload(!plain)
        .with_client_options(client);
    if !settings.endpoint.is_empty() {
        builder = builder.with_endpoint(settings.endpoint.trim_end_matches('/'));
    }
    if !settings.access_key_id.is_empty() {
        builder = builder.with_access_key_id(&settings.access_key_id).with_secret_access_key(settings.secret.reveal());
    }
    builder
}

/// Adds `If-None-Match: *` to CompleteMultipartUpload, which `object_store` has no call for. The header needs no signature.
#[derive(Debug)]
struct CreateAtEnd;

impl HttpConnector for CreateAtEnd {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        ReqwestConnector::default().connect(options).map(|client| HttpClient::new(Conditional(client)))
    }
}

#[derive(Debug)]
struct Conditional(HttpClient);

impl HttpService for Conditional {
    fn call<'a, 'async_trait>(
        &'a self,
        mut request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        let completes = request.uri().query().is_some_and(|query| query.contains("uploadId="));
        if request.method() == Method::POST && completes {
            request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        Box::pin(self.0.execute(request))
    }
}
