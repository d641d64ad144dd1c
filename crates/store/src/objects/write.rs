//! Writing a stream of bytes as one object: hashed on the way, in parts, all or nothing.

use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER;
use futures_util::{Stream, StreamExt};
use object_store::{
    MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutPayload, path::Path,
};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::{Creation, Expected, Objects, PutNew, Stored, failed};
use crate::{Error, Key};

/// Size of a part of a streamed object, in bytes: over the 5 MiB that S3 demands, small enough to send again.
pub const PART_BYTES: usize = 8 * 1024 * 1024;
/// S3 takes 10,000 parts, which would be 80 GiB: from this part on they are ...
const LARGE_PARTS_FROM: usize = 2_000;
/// ... this large, which makes 500 GiB.
const LARGE_PART_BYTES: usize = 64 * 1024 * 1024;
/// Parts on their way to the store while the next one comes in: enough to hide its latency.
const PARTS_IN_FLIGHT_MAX: usize = 2;

/// What happens to an object of the same name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Replace,
    Create,
}

/// Stores `pieces` if there is no object `key`.
pub(super) async fn create(backend: &dyn ObjectStore, key: &Key, payload: PutPayload) -> Result<PutNew, Error> {
    let put = backend.put_opts(key.path(), payload, PutMode::Create.into()).await.map(drop);
    created(key, put)
}

fn created(key: &Key, result: object_store::Result<()>) -> Result<PutNew, Error> {
    use object_store::Error::{AlreadyExists, Precondition};
    match result {
        Ok(()) => Ok(PutNew::Stored),
        Err(AlreadyExists { .. } | Precondition { .. }) => Ok(PutNew::Exists),
        Err(source) => Err(failed("write", key.path(), source)),
    }
}

pub(super) async fn stream<E>(
    objects: &Objects,
    key: &Key,
    body: impl Stream<Item = Result<Bytes, E>> + Send,
    expected: Expected,
    mode: Mode,
) -> Result<(PutNew, Stored), Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut writer =
        Writer { objects, key, mode, hash: Sha256::new(), bytes: 0, part: BytesMut::new(), multipart: None };
    match writer.take_all(body, &expected).await {
        Ok(stored) => writer.publish().await.map(|put| (put, stored)),
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    }
}

struct Writer<'a> {
    objects: &'a Objects,
    key: &'a Key,
    mode: Mode,
    hash: Sha256,
    bytes: u64,
    /// The part that fills. Copied together: pieces may be a byte each, and may hold a larger buffer in memory.
    part: BytesMut,
    /// From the second part on.
    multipart: Option<Multipart>,
}

impl Writer<'_> {
    async fn take_all<E>(
        &mut self,
        body: impl Stream<Item = Result<Bytes, E>> + Send,
        expected: &Expected,
    ) -> Result<Stored, Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut body = std::pin::pin!(body);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| Error::Body {
                key: self.key.to_string(),
                bytes: self.bytes,
                source: error.into(),
            })?;
            self.bytes += piece.len() as u64;
            if let Some(bytes) = expected.bytes.filter(|bytes| self.bytes > *bytes) {
                return Err(self.mismatch("size", bytes, format!("over {bytes}")));
            }
            self.hash.update(&piece);
            self.take(piece).await?;
        }
        let sha256 = HEXLOWER.encode(&std::mem::take(&mut self.hash).finalize());
        if let Some(bytes) = expected.bytes.filter(|bytes| self.bytes != *bytes) {
            return Err(self.mismatch("size", bytes, self.bytes));
        }
        if let Some(hash) = expected.sha256.as_ref().filter(|hash| !hash.eq_ignore_ascii_case(&sha256)) {
            return Err(self.mismatch("sha256", hash, sha256));
        }
        Ok(Stored { bytes: self.bytes, sha256 })
    }

    fn mismatch(&self, what: &'static str, expected: impl ToString, got: impl ToString) -> Error {
        let (expected, got) = (expected.to_string(), got.to_string());
        Error::Mismatch { key: self.key.to_string(), what, expected, got }
    }

    async fn take(&mut self, mut piece: Bytes) -> Result<(), Error> {
        while !piece.is_empty() {
            // A full part leaves only when more comes, so that an object of one part is one request.
            if self.part.len() >= self.part_bytes() {
                self.send_part().await?;
            }
            let room = self.part_bytes() - self.part.len();
            self.part.extend_from_slice(&piece.split_to(room.min(piece.len())));
        }
        Ok(())
    }

    fn part_bytes(&self) -> usize {
        let sent = self.multipart.as_ref().map_or(0, |multipart| multipart.sent);
        if sent < LARGE_PARTS_FROM { PART_BYTES } else { LARGE_PART_BYTES }
    }

    async fn send_part(&mut self) -> Result<(), Error> {
        let part = std::mem::take(&mut self.part).freeze();
        let failed = |source| failed("write", self.key.path(), source);
        if self.multipart.is_none() {
            self.multipart = Some(Multipart::begin(self.objects, self.key, self.mode).await.map_err(failed)?);
        }
        let multipart = self.multipart.as_mut().expect("begun above");
        multipart.send(part).await.map_err(failed)
    }

    /// Makes the object visible.
    async fn publish(mut self) -> Result<PutNew, Error> {
        if self.multipart.is_some() && !self.part.is_empty() {
            let sent = self.send_part().await;
            if let Err(error) = sent {
                self.abort().await;
                return Err(error);
            }
        }
        let backend = &*self.objects.inner.backend;
        let Some(mut multipart) = self.multipart.take() else {
            let payload = PutPayload::from(self.part.freeze());
            if self.mode == Mode::Create {
                return create(backend, self.key, payload).await;
            }
            let put = backend.put_opts(self.key.path(), payload, PutMode::Overwrite.into()).await;
            return put.map(|_| PutNew::Stored).map_err(|source| failed("write", self.key.path(), source));
        };
        let completed = multipart.complete().await;
        let Some(hidden) = multipart.hidden.take() else {
            if completed.is_err() {
                multipart.abort().await;
            }
            return created(self.key, completed);
        };
        if let Err(source) = completed {
            multipart.abort().await;
            return Err(failed("write", self.key.path(), source));
        }
        let linked = backend.copy_if_not_exists(&hidden, self.key.path()).await;
        // The sweep takes what stays behind here.
        let _ = backend.delete(&hidden).await;
        created(self.key, linked)
    }

    async fn abort(&mut self) {
        if let Some(mut multipart) = self.multipart.take() {
            multipart.abort().await;
        }
    }
}

/// An object that comes in parts. Dropped before its end, it is aborted in the background.
struct Multipart {
    /// `None` once it is complete or aborted.
    upload: Option<Box<dyn MultipartUpload>>,
    in_flight: JoinSet<object_store::Result<()>>,
    sent: usize,
    /// The name it is written under, to be linked to its own at the end.
    hidden: Option<Path>,
}

impl Multipart {
    async fn begin(objects: &Objects, key: &Key, mode: Mode) -> object_store::Result<Self> {
        let inner = &objects.inner;
        let (backend, hidden) = match (mode, &inner.creation) {
            (Mode::Replace, _) => (&inner.backend, None),
            (Mode::Create, Creation::AtEnd(creating)) => (creating, None),
            (Mode::Create, Creation::Link) => (&inner.backend, Some(hidden_beside(key))),
        };
        let path = hidden.as_ref().unwrap_or(key.path());
        let upload = backend.put_multipart_opts(path, PutMultipartOptions::default()).await?;
        Ok(Self { upload: Some(upload), in_flight: JoinSet::new(), sent: 0, hidden })
    }

    async fn send(&mut self, part: Bytes) -> object_store::Result<()> {
        while self.in_flight.len() >= PARTS_IN_FLIGHT_MAX {
            self.join_one().await?;
        }
        let upload = self.upload.as_mut().expect("parts come before the end");
        self.in_flight.spawn(upload.put_part(PutPayload::from(part)));
        self.sent += 1;
        Ok(())
    }

    async fn join_one(&mut self) -> object_store::Result<()> {
        match self.in_flight.join_next().await {
            Some(joined) => joined.map_err(object_store::Error::from)?,
            None => Ok(()),
        }
    }

    async fn complete(&mut self) -> object_store::Result<()> {
        while !self.in_flight.is_empty() {
            self.join_one().await?;
        }
        let upload = self.upload.as_mut().expect("completed once");
        upload.complete().await?;
        self.upload = None;
        Ok(())
    }

    /// Takes the parts away. What cannot be taken away is left to the store's own clean-up.
    async fn abort(&mut self) {
        self.in_flight.shutdown().await;
        if let Some(mut upload) = self.upload.take()
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(%error, "an unfinished object could not be taken away");
        }
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        let Some(mut upload) = self.upload.take() else { return };
        let mut in_flight = std::mem::take(&mut self.in_flight);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                in_flight.shutdown().await;
                let _ = upload.abort().await;
            });
        }
    }
}

/// A name in the folder of `key` that is no key, so that no listing shows it.
fn hidden_beside(key: &Key) -> Path {
    let text = key.path().as_ref();
    let folder = text.rsplit_once('/').map_or("", |(folder, _)| folder);
    let name = format!("{folder}/.{:016x}", rand::random::<u64>());
    Path::parse(name.trim_start_matches('/')).expect("a key's folder and a hexadecimal name are a path")
}
