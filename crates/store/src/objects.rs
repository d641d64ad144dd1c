use std::{fmt, ops::Range, path::Path as FilePath, sync::Arc, time::Duration};

use base::{Secret, Wall};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, memory::InMemory, path::Path};

use crate::{Blob, Config, Error, Key};

mod local;
mod read;
mod s3;
mod write;

pub use write::PART_BYTES;

/// Bytes as they are read. An error ends it.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// A store of objects. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    inner: Arc<Inner>,
}

struct Inner {
    /// Every read, and every write that must last.
    backend: Arc<dyn ObjectStore>,
    /// Writes that need not outlive a power failure.
    volatile: Arc<dyn ObjectStore>,
    creation: Creation,
    /// The folder of the local backend.
    folder: Option<std::path::PathBuf>,
}

/// How an object that came in several parts is published only if there is none of its name.
enum Creation {
    /// The store takes the condition where the parts are put together.
    AtEnd(Arc<dyn ObjectStore>),
    /// The object is written under a hidden name, then linked to its own.
    Link,
}

/// Whether an object of that name was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutNew {
    /// It was not; now it is.
    Stored,
    /// It was, and is as before. After a lost answer it may be an earlier try of the same call.
    Exists,
}

/// What a stream of bytes must turn out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Size, when announced.
    pub bytes: Option<u64>,
    /// SHA-256 in hex, when announced.
    pub sha256: Option<String>,
}

/// What a stream of bytes was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Size.
    pub bytes: u64,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
}

/// An object without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Size.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Wall,
    /// The store's own name of this version, when it has one.
    pub etag: Option<String>,
}

/// A bucket and how to reach it.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// URL of the service; plain HTTP is used when it says so. Empty: Amazon's.
    pub endpoint: String,
    /// Bucket; it must exist.
    pub bucket: String,
    /// Region.
    pub region: String,
    /// Access key id. Empty: the role that the machine has been given.
    pub access_key_id: String,
    /// Secret access key.
    pub secret: Secret,
    /// Folder in the bucket; may be empty.
    pub prefix: String,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({})", self.inner.backend)
    }
}

impl Objects {
    /// The store that `config` names: a bucket when it has one, else the folder, below `data_dir` when it is relative.
    ///
    /// # Errors
    /// When the folder or the bucket's settings cannot be used; a bucket is not asked, see [`Objects::check`].
    pub fn open(config: &Config, data_dir: &FilePath) -> Result<Self, Error> {
        if config.s3_bucket.is_empty() {
            return Self::local(&data_dir.join(&config.path));
        }
        Self::s3(&S3Settings {
            endpoint: config.s3_endpoint.clone(),
            bucket: config.s3_bucket.clone(),
            region: config.s3_region.clone(),
            access_key_id: config.s3_access_key_id.clone(),
            secret: config.s3_secret.clone(),
            prefix: config.s3_prefix.clone(),
        })
    }

    /// Objects that are gone with the process.
    pub fn memory() -> Self {
        let backend = Arc::new(InMemory::new());
        Self::of(backend.clone(), backend, Creation::Link, None)
    }

    /// Objects as files below `folder`, which is made when it is missing. A file and its folder are synced before a write is
    /// acknowledged.
    ///
    /// # Errors
    /// When the folder cannot be made or used.
    pub fn local(folder: &FilePath) -> Result<Self, Error> {
        let backend = local::open(folder)?;
        let volatile = Arc::new(backend.clone().with_fsync(false));
        Ok(Self::of(Arc::new(backend), volatile, Creation::Link, Some(folder.to_owned())))
    }

    /// Objects in a bucket of S3, or of a server that speaks its protocol and has conditional writes (`If-None-Match`).
    ///
    /// # Errors
    /// When the settings cannot be used; the bucket is not asked, see [`Objects::check`].
    pub fn s3(settings: &S3Settings) -> Result<Self, Error> {
        let opened = s3::open(settings)?;
        Ok(Self::of(opened.backend.clone(), opened.backend, Creation::AtEnd(opened.creating), None))
    }

    fn of(
        backend: Arc<dyn ObjectStore>,
        volatile: Arc<dyn ObjectStore>,
        creation: Creation,
        folder: Option<std::path::PathBuf>,
    ) -> Self {
        Self { inner: Arc::new(Inner { backend, volatile, creation, folder }) }
    }

    /// Stores `pieces`, one behind the other, as the object `key`. Readers see the whole object or the one before.
    ///
    /// # Errors
    /// When the store fails; the object before, if there was one, is still there.
    pub async fn put(&self, key: &Key, pieces: Vec<Bytes>) -> Result<(), Error> {
        put_in(&*self.inner.backend, key, pieces).await
    }

    /// Like [`Objects::put`], for what is worthless after a power failure: a local disk is not made to sync.
    ///
    /// # Errors
    /// As [`Objects::put`].
    pub async fn put_volatile(&self, key: &Key, pieces: Vec<Bytes>) -> Result<(), Error> {
        put_in(&*self.inner.volatile, key, pieces).await
    }

    /// Stores `pieces` as the object `key` if there is none. Of several writers at once one wins.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_new(&self, key: &Key, pieces: Vec<Bytes>) -> Result<PutNew, Error> {
        write::create(&*self.inner.backend, key, pieces.into_iter().collect()).await
    }

    /// Stores what `body` yields as the object `key`, hashed on the way. Memory: three parts ([`PART_BYTES`]) at most. Readers
    /// see the whole object or the one before; a body that fails, differs from `expected`, or is dropped leaves nothing.
    ///
    /// # Errors
    /// [`Error::Body`], [`Error::Mismatch`], [`Error::Full`], or the store's.
    pub async fn put_stream<E>(
        &self,
        key: &Key,
        body: impl Stream<Item = Result<Bytes, E>> + Send,
        expected: Option<Expected>,
    ) -> Result<Stored, Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        write::stream(self, key, body, expected.unwrap_or_default(), write::Mode::Replace)
            .await
            .map(|(_, stored)| stored)
    }

    /// Like [`Objects::put_stream`], if there is no object `key`. What was read is described in both cases; whether it is the
    /// same as what is there tells [`Objects::digest`].
    ///
    /// # Errors
    /// As [`Objects::put_stream`].
    pub async fn put_new_stream<E>(
        &self,
        key: &Key,
        body: impl Stream<Item = Result<Bytes, E>> + Send,
        expected: Option<Expected>,
    ) -> Result<(PutNew, Stored), Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        write::stream(self, key, body, expected.unwrap_or_default(), write::Mode::Create).await
    }

    /// The bytes of `range`, shorter where the object ends before it does.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's.
    pub async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Error> {
        self.inner.backend.get_range(key.path(), range).await.map_err(|source| failed("read", key.path(), source))
    }

    /// The size of the whole object, and its bytes in `range` (or all) as they are read. The range ends where the object does.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Range`] when the range is empty or begins at or behind the end; or the store's.
    pub async fn get_stream(&self, key: &Key, range: Option<Range<u64>>) -> Result<(u64, ByteStream), Error> {
        read::stream(&*self.inner.backend, key, range).await
    }

    /// The bytes of `blob` in `range`, which is cut at its end. Parts are opened one after another, each when its turn comes.
    pub fn blob_stream(&self, blob: &Blob, range: Range<u64>) -> ByteStream {
        read::blob(self.clone(), blob, range)
    }

    /// Size and hash of an object, by reading it.
    ///
    /// # Errors
    /// As [`Objects::get_stream`].
    pub async fn digest(&self, key: &Key) -> Result<Stored, Error> {
        read::digest(self.get_stream(key, None).await?.1).await
    }

    /// What is known of an object without reading it; `None` when there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn head(&self, key: &Key) -> Result<Option<Meta>, Error> {
        match self.inner.backend.head(key.path()).await {
            Ok(meta) => Ok(Some(Meta::of(&meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed("read", key.path(), source)),
        }
    }

    /// Deletes the object; one that is not there is no error.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete(&self, key: &Key) -> Result<(), Error> {
        match self.inner.backend.delete(key.path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(failed("delete", key.path(), source)),
        }
    }

    /// Deletes every object below `prefix` (whole segments); how many there were.
    ///
    /// # Errors
    /// When the store fails; some objects may be gone.
    pub async fn delete_prefix(&self, prefix: &Key) -> Result<usize, Error> {
        let keys = self.list(prefix).await?;
        for (key, _) in &keys {
            self.delete(key).await?;
        }
        Ok(keys.len())
    }

    /// The objects below `prefix` (whole segments) with their sizes in bytes, in the order of their keys.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, prefix: &Key) -> Result<Vec<(Key, u64)>, Error> {
        let mut keys: Vec<(Key, u64)> =
            self.list_meta(prefix).map_ok(|(key, meta)| (key, meta.bytes)).try_collect().await?;
        keys.sort();
        Ok(keys)
    }

    /// The objects below `prefix` (whole segments) in any order, page by page as they are asked for.
    pub fn list_meta(&self, prefix: &Key) -> BoxStream<'static, Result<(Key, Meta), Error>> {
        let path = prefix.path().clone();
        let found = self.inner.backend.list(Some(&path)).map_err(move |source| failed("list", &path, source));
        // What another program put there under a name that is no key is not ours.
        let ours = found.try_filter_map(|meta| async move {
            Ok(Key::new(meta.location.as_ref()).ok().map(|key| (key, Meta::of(&meta))))
        });
        ours.boxed()
    }

    /// Whether the store does what the platform needs, conditional writes included. It writes one small object and deletes it.
    ///
    /// # Errors
    /// [`Error::Unconditional`], or the store's.
    pub async fn check(&self) -> Result<(), Error> {
        let key = Key::new(&format!("check/{:016x}", rand::random::<u64>()))?;
        let first = self.put_new(&key, vec![Bytes::from_static(b"1")]).await?;
        let second = self.put_new(&key, vec![Bytes::from_static(b"2")]).await;
        let read = self.get_range(&key, 0..1).await;
        self.delete(&key).await?;
        match (first, second?, &read?[..]) {
            (PutNew::Stored, PutNew::Exists, b"1") => Ok(()),
            _ => Err(Error::Unconditional),
        }
    }

    /// Removes what writes that a crash cut off left on the local disk, when it has not been touched for `older_than`; how many
    /// files. In a bucket the service does it: set a lifecycle rule for incomplete multipart uploads.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn sweep_partial(&self, older_than: Duration) -> Result<u64, Error> {
        match &self.inner.folder {
            Some(folder) => local::sweep(folder.clone(), older_than).await,
            None => Ok(0),
        }
    }
}

impl Meta {
    fn of(meta: &ObjectMeta) -> Self {
        let modified = Wall::from_unix_ms(meta.last_modified.timestamp_millis());
        Self { bytes: meta.size, modified, etag: meta.e_tag.clone() }
    }
}

async fn put_in(backend: &dyn ObjectStore, key: &Key, pieces: Vec<Bytes>) -> Result<(), Error> {
    let payload: PutPayload = pieces.into_iter().collect();
    let put = backend.put_opts(key.path(), payload, PutMode::Overwrite.into()).await;
    put.map(drop).map_err(|source| failed("write", key.path(), source))
}

fn failed(what: &'static str, path: &Path, source: object_store::Error) -> Error {
    let key = path.to_string();
    match source {
        object_store::Error::NotFound { .. } => Error::NotFound { key },
        source if is_full(&source) => Error::Full { key, source },
        source => Error::Store { what, key, source },
    }
}

/// Whether the chain of `error` ends in a full disk or quota.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            let full = [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded];
            // `io::Error::source` skips the error it wraps.
            return full.contains(&io.kind()) || io.get_ref().is_some_and(|inner| is_full(inner));
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let check = |kind: std::io::ErrorKind, full: bool| {
            let inner = std::io::Error::other(std::io::Error::from(kind));
            let source = object_store::Error::Generic { store: "local", source: inner.into() };
            let error = failed("write", &Path::from("uploads/a"), source);
            assert_eq!(matches!(error, Error::Full { .. }), full, "{kind:?}");
        };
        check(std::io::ErrorKind::StorageFull, true);
        check(std::io::ErrorKind::QuotaExceeded, true);
        check(std::io::ErrorKind::PermissionDenied, false);
    }
}
