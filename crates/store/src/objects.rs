use std::{fmt, ops::Range, path::Path as FilePath, sync::Arc};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, local::LocalFileSystem, memory::InMemory, path::Path};

use crate::{Error, Key};

/// A store of objects. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    backend: Arc<dyn ObjectStore>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({})", self.backend)
    }
}

impl Objects {
    /// Objects that are gone with the process.
    pub fn memory() -> Self {
        Self { backend: Arc::new(InMemory::new()) }
    }

    /// Objects as files below `folder`, which is made when it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made or used.
    pub fn local(folder: &FilePath) -> Result<Self, Error> {
        let failed = |source| Error::Folder { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let backend = LocalFileSystem::new_with_prefix(folder).map_err(|error| failed(std::io::Error::other(error)))?;
        // Folders of streams that are gone would pile up otherwise.
        Ok(Self { backend: Arc::new(backend.with_automatic_cleanup(true)) })
    }

    /// Stores `pieces`, one behind the other, as the object `key`. Readers see the whole object or the one before.
    ///
    /// # Errors
    /// When the store fails; the object before, if there was one, is still there.
    pub async fn put(&self, key: &Key, pieces: Vec<Bytes>) -> Result<(), Error> {
        let payload: PutPayload = pieces.into_iter().collect();
        self.backend.put(key.path(), payload).await.map(drop).map_err(|source| failed("write", key.path(), source))
    }

    /// The bytes of `range`, shorter where the object ends before it does.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's.
    pub async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Error> {
        self.backend.get_range(key.path(), range).await.map_err(|source| failed("read", key.path(), source))
    }

    /// Deletes the object; one that is not there is no error.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete(&self, key: &Key) -> Result<(), Error> {
        match self.backend.delete(key.path()).await {
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
        let found: Vec<_> = self
            .backend
            .list(Some(prefix.path()))
            .try_collect()
            .await
            .map_err(|source| failed("list", prefix.path(), source))?;
        // What another program put there under a name that is no key is not ours.
        let mut keys: Vec<(Key, u64)> =
            found.into_iter().filter_map(|meta| Some((Key::new(meta.location.as_ref()).ok()?, meta.size))).collect();
        keys.sort();
        Ok(keys)
    }
}

fn failed(what: &'static str, path: &Path, source: object_store::Error) -> Error {
    match source {
        object_store::Error::NotFound { .. } => Error::NotFound { key: path.to_string() },
        source => Error::Store { what, key: path.to_string(), source },
    }
}
