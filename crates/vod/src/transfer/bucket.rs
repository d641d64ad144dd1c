//! A bucket: an object is there whole or not at all, so nothing is renamed and nothing resumed.

use std::io;

use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture};
use store::{Error, Expected, Key, Objects, S3Settings};

use super::{
    TransferError,
    remote::{ByteStream, Remote},
};

pub(super) struct Bucket {
    objects: Objects,
    host: String,
}

impl Bucket {
    pub(super) fn new(settings: S3Settings) -> Result<Self, TransferError> {
        let host = if settings.endpoint.is_empty() { settings.bucket.clone() } else { settings.endpoint.clone() };
        let objects = Objects::s3(&settings).map_err(|error| TransferError::Profile(error.to_string()))?;
        Ok(Self { objects, host })
    }

    fn failed(&self, what: &str, path: &str, error: &Error) -> TransferError {
        match error {
            Error::Body { .. } => TransferError::Source(io::Error::other(chain(error))),
            Error::Full { .. } => TransferError::Full(self.host.clone()),
            error if error.fault().retry() => {
                TransferError::Connection { host: self.host.clone(), reason: error.to_string() }
            }
            error => TransferError::Refused { what: format!("{what} {path}"), reason: chain(error) },
        }
    }

    fn key(path: &str) -> Result<Key, TransferError> {
        Key::new(path).map_err(|_| TransferError::Path(path.to_owned()))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

impl Remote for Bucket {
    fn renames(&self) -> bool {
        false
    }

    fn size<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>, TransferError>> {
        async move {
            let meta = self.objects.head(&Self::key(path)?).await;
            meta.map(|meta| meta.map(|meta| meta.bytes)).map_err(|error| self.failed("look at", path, &error))
        }
        .boxed()
    }

    fn read<'a>(&'a mut self, path: &'a str, offset: u64) -> BoxFuture<'a, Result<ByteStream, TransferError>> {
        async move {
            let key = Self::key(path)?;
            let range = match offset {
                0 => None,
                offset => Some(offset..self.size(path).await?.unwrap_or(offset)),
            };
            let read = self.objects.get_stream(&key, range).await;
            let (_, stream) = read.map_err(|error| self.failed("read", path, &error))?;
            Ok(stream.map_err(io::Error::other).boxed())
        }
        .boxed()
    }

    fn write<'a>(
        &'a mut self,
        path: &'a str,
        _offset: u64,
        bytes: u64,
        stream: ByteStream,
        on_bytes: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            let key = Self::key(path)?;
            let mut sent = 0;
            let counted = stream.inspect_ok(move |piece| {
                sent += piece.len() as u64;
                on_bytes(sent);
            });
            let expected = Expected { bytes: Some(bytes), sha256: None };
            let stored = self.objects.put_stream(&key, counted, Some(expected)).await;
            stored.map(drop).map_err(|error| self.failed("write", path, &error))
        }
        .boxed()
    }

    fn rename<'a>(&'a mut self, from: &'a str, _to: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        let what = format!("rename {from}");
        async move { Err(TransferError::Refused { what, reason: "buckets have no rename".to_owned() }) }.boxed()
    }

    fn remove<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            let key = Self::key(path)?;
            self.objects.delete(&key).await.map_err(|error| self.failed("remove", path, &error))
        }
        .boxed()
    }

    fn make_folders<'a>(&'a mut self, _folder: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        async { Ok(()) }.boxed()
    }
}
