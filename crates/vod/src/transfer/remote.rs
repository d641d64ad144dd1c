//! What a delivery needs of a storage.

use std::io;

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};

use super::{TransferError, hash};

/// Bytes as they come.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// A file to deliver: it can be read from any place on, as often as a transfer breaks.
pub trait Payload: Send + Sync {
    /// Its size.
    fn bytes(&self) -> u64;

    /// Its SHA-256 in lower-case hex, when known.
    fn sha256(&self) -> Option<&str>;

    /// Its bytes from `offset` on.
    fn open(&self, offset: u64) -> BoxFuture<'_, io::Result<ByteStream>>;
}

/// A storage, connected. Paths are relative to the destination's folder and were checked.
pub(super) trait Remote: Send {
    /// Whether [`Remote::rename`] works; otherwise [`Remote::write`] is all or nothing.
    fn renames(&self) -> bool;

    /// Size of a file, `None` when it is not there.
    fn size<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>, TransferError>>;

    /// A file's bytes from `offset` on.
    fn read<'a>(&'a mut self, path: &'a str, offset: u64) -> BoxFuture<'a, Result<ByteStream, TransferError>>;

    /// Writes `stream` behind the first `offset` bytes of the file, which is made when it is missing and is `bytes` long at the end.
    fn write<'a>(
        &'a mut self,
        path: &'a str,
        offset: u64,
        bytes: u64,
        stream: ByteStream,
        on_bytes: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), TransferError>>;

    /// Gives a file another name, in place of what had it.
    fn rename<'a>(&'a mut self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<(), TransferError>>;

    /// Removes a file; one that is not there is no error.
    fn remove<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<(), TransferError>>;

    /// Makes a folder and those above it, as far as they are missing.
    fn make_folders<'a>(&'a mut self, folder: &'a str) -> BoxFuture<'a, Result<(), TransferError>>;

    /// Size and SHA-256 of a file, read back.
    fn digest<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<(u64, String), TransferError>> {
        Box::pin(async move {
            let stream = self.read(path, 0).await?;
            hash(stream).await.map_err(|error| TransferError::Connection {
                host: "the destination".to_owned(),
                reason: format!("reading {path} back: {error}"),
            })
        })
    }

    /// Says goodbye.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// The folders of `a/b/c`, outermost first.
pub(super) fn folders(folder: &str) -> impl Iterator<Item = &str> {
    folder.match_indices('/').map(|(at, _)| &folder[..at]).chain([folder]).filter(|folder| !folder.is_empty())
}

#[cfg(test)]
mod tests {
    #[test]
    fn folders_from_the_outermost() {
        assert_eq!(super::folders("a/b/c").collect::<Vec<_>>(), ["a", "a/b", "a/b/c"]);
        assert_eq!(super::folders("a").collect::<Vec<_>>(), ["a"]);
    }
}
