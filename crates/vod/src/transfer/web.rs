//! A server that takes `PUT` (RFC 9110 9.3.4). A broken request leaves nothing or the file before, as far as the server is sound.

use std::{io, time::Duration};

use base::Secret;
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture};
use reqwest::{Body, Client, Method, Response, StatusCode, header};
use url::Url;

use super::{
    TransferError,
    remote::{ByteStream, Remote},
};

/// A connection that takes longer is broken.
const CONNECT: Duration = Duration::from_secs(30);
/// Silence that is longer is a broken connection.
const SILENCE: Duration = Duration::from_secs(60);

pub(super) struct Web {
    client: Client,
    root: Url,
    headers: Vec<(String, Secret)>,
}

impl Web {
    pub(super) fn new(root: &Url, headers: &[(String, Secret)]) -> Result<Self, TransferError> {
        if !matches!(root.scheme(), "http" | "https") {
            return Err(TransferError::Profile(format!("url: {:?} is neither http nor https", root.scheme())));
        }
        // A redirected PUT would send the film and its credentials to somebody the profile does not name.
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(|error| TransferError::Profile(error.to_string()))?;
        Ok(Self { client, root: root.clone(), headers: headers.to_vec() })
    }

    fn request(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder, TransferError> {
        let mut url = self.root.clone();
        let Ok(mut segments) = url.path_segments_mut() else { return Err(TransferError::Path(path.to_owned())) };
        segments.pop_if_empty().extend(path.split('/'));
        drop(segments);
        let request = self.client.request(method, url);
        Ok(self.headers.iter().fold(request, |request, (name, value)| request.header(name, value.reveal())))
    }

    fn host(&self) -> String {
        self.root.host_str().unwrap_or_default().to_owned()
    }

    async fn send(&self, request: reqwest::RequestBuilder, what: &str, path: &str) -> Result<Response, TransferError> {
        // The URL may carry a key.
        let broken = |error: reqwest::Error| TransferError::Connection {
            host: self.host(),
            reason: chain(&error.without_url()),
        };
        let response = request.send().await.map_err(broken)?;
        let status = response.status();
        let reason = status.to_string();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(TransferError::Login { host: self.host(), reason }),
            StatusCode::INSUFFICIENT_STORAGE => Err(TransferError::Full(self.host())),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Err(TransferError::Connection { host: self.host(), reason })
            }
            status if status.is_server_error() => Err(TransferError::Connection { host: self.host(), reason }),
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(response),
            _ => Err(TransferError::Refused { what: format!("{what} {path}"), reason }),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

impl Remote for Web {
    fn renames(&self) -> bool {
        false
    }

    fn size<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>, TransferError>> {
        async move {
            let response = self.send(self.request(Method::HEAD, path)?, "look at", path).await?;
            let length =
                response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            Ok(if response.status().is_success() { length } else { None })
        }
        .boxed()
    }

    fn read<'a>(&'a mut self, path: &'a str, offset: u64) -> BoxFuture<'a, Result<ByteStream, TransferError>> {
        async move {
            let mut request = self.request(Method::GET, path)?;
            if offset > 0 {
                request = request.header(header::RANGE, format!("bytes={offset}-"));
            }
            let response = self.send(request, "read", path).await?;
            let expected = if offset > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
            if response.status() != expected {
                let reason = response.status().to_string();
                return Err(TransferError::Refused { what: format!("give back {path}"), reason });
            }
            Ok(response.bytes_stream().map_err(io::Error::other).boxed())
        }
        .boxed()
    }

    fn write<'a>(
        &'a mut self,
        path: &'a str,
        _offset: u64,
        bytes: u64,
        mut stream: ByteStream,
        on_bytes: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            // The client wants a body that outlives this call; a channel of one piece between keeps the counting here.
            let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<bytes::Bytes>>(1);
            let body = Body::wrap_stream(futures_util::stream::unfold(receiver, |mut receiver| async move {
                receiver.recv().await.map(|piece| (piece, receiver))
            }));
            let request = self.request(Method::PUT, path)?.header(header::CONTENT_LENGTH, bytes).body(body);
            let feed = async {
                let mut sent = 0;
                while let Some(piece) = stream.next().await {
                    let (length, broken) = match &piece {
                        Ok(piece) => (piece.len() as u64, None),
                        Err(error) => (0, Some(io::Error::new(error.kind(), error.to_string()))),
                    };
                    // The request is over: its answer says why.
                    if sender.send(piece).await.is_err() {
                        break;
                    }
                    if let Some(error) = broken {
                        drop(sender);
                        return Err(TransferError::Source(error));
                    }
                    sent += length;
                    on_bytes(sent);
                }
                drop(sender);
                Ok(())
            };
            let (answer, fed) = tokio::join!(self.send(request, "write", path), feed);
            fed?;
            let response = answer?;
            if response.status().is_success() {
                return Ok(());
            }
            Err(TransferError::Refused { what: format!("write {path}"), reason: response.status().to_string() })
        }
        .boxed()
    }

    fn rename<'a>(&'a mut self, from: &'a str, _to: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        let what = format!("rename {from}");
        async move { Err(TransferError::Refused { what, reason: "HTTP has no rename".to_owned() }) }.boxed()
    }

    fn remove<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            // A server that takes PUT may still refuse DELETE; the damaged file is overwritten by the next try.
            let _ = self.send(self.request(Method::DELETE, path)?, "remove", path).await;
            Ok(())
        }
        .boxed()
    }

    fn make_folders<'a>(&'a mut self, _folder: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        async { Ok(()) }.boxed()
    }
}
