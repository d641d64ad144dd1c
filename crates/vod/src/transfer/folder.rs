//! A folder of this machine.

use std::{
    io::{self, SeekFrom},
    path::{Path, PathBuf},
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncSeekExt, AsyncWriteExt},
};
use tokio_util::io::ReaderStream;

use super::{
    TransferError,
    remote::{ByteStream, Remote},
};

/// Read at a time.
const READ_BYTES: usize = 1 << 20;

pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn new(root: &Path) -> Result<Self, TransferError> {
        if root.is_absolute() {
            return Ok(Self { root: root.to_owned() });
        }
        Err(TransferError::Profile(format!("path = {:?} is not absolute", root.display().to_string())))
    }
}

fn refused(what: &str, path: &Path, error: &io::Error) -> TransferError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => TransferError::Full(path.display().to_string()),
        _ => TransferError::Refused { what: format!("{what} {}", path.display()), reason: error.to_string() },
    }
}

impl Remote for Folder {
    fn renames(&self) -> bool {
        true
    }

    fn size<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>, TransferError>> {
        let path = self.root.join(path);
        async move {
            match tokio::fs::metadata(&path).await {
                Ok(meta) => Ok(Some(meta.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(refused("look at", &path, &error)),
            }
        }
        .boxed()
    }

    fn read<'a>(&'a mut self, path: &'a str, offset: u64) -> BoxFuture<'a, Result<ByteStream, TransferError>> {
        let path = self.root.join(path);
        async move {
            let failed = |error: io::Error| refused("read", &path, &error);
            let mut file = File::open(&path).await.map_err(failed)?;
            file.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
            Ok(ReaderStream::with_capacity(file, READ_BYTES).boxed())
        }
        .boxed()
    }

    fn write<'a>(
        &'a mut self,
        path: &'a str,
        offset: u64,
        _bytes: u64,
        mut stream: ByteStream,
        on_bytes: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        let path = self.root.join(path);
        async move {
            let failed = |error: io::Error| refused("write", &path, &error);
            let mut file =
                OpenOptions::new().create(true).truncate(false).write(true).open(&path).await.map_err(failed)?;
            file.set_len(offset).await.map_err(failed)?;
            file.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
            let mut written = offset;
            while let Some(piece) = stream.next().await {
                let piece = piece.map_err(TransferError::Source)?;
                file.write_all(&piece).await.map_err(failed)?;
                written += piece.len() as u64;
                on_bytes(written);
            }
            file.sync_all().await.map_err(failed)
        }
        .boxed()
    }

    fn rename<'a>(&'a mut self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        let (from, to) = (self.root.join(from), self.root.join(to));
        async move {
            tokio::fs::rename(&from, &to).await.map_err(|error| refused("rename", &from, &error))?;
            // The name itself must outlive a power cut.
            if let Some(folder) = to.parent() {
                let folder = File::open(folder).await.map_err(|error| refused("open", folder, &error))?;
                folder.sync_all().await.map_err(|error| refused("sync", &to, &error))?;
            }
            Ok(())
        }
        .boxed()
    }

    fn remove<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        let path = self.root.join(path);
        async move {
            match tokio::fs::remove_file(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused("remove", &path, &error)),
                _ => Ok(()),
            }
        }
        .boxed()
    }

    fn make_folders<'a>(&'a mut self, folder: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        let path = self.root.join(folder);
        async move { tokio::fs::create_dir_all(&path).await.map_err(|error| refused("make", &path, &error)) }.boxed()
    }
}
