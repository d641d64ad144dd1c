//! Files below a folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use object_store::local::LocalFileSystem;

use crate::Error;

/// The store in `folder`; writes are synced.
pub(super) fn open(folder: &Path) -> Result<LocalFileSystem, Error> {
    let failed = |source| Error::Folder { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let backend = LocalFileSystem::new_with_prefix(folder).map_err(|error| failed(io::Error::other(error)))?;
    // Folders of streams and jobs that are gone would pile up otherwise.
    Ok(backend.with_automatic_cleanup(true).with_fsync(true))
}

/// Removes unfinished files that nobody has written to for `older_than`.
pub(super) async fn sweep(folder: PathBuf, older_than: Duration) -> Result<u64, Error> {
    let path = folder.clone();
    let swept = tokio::task::spawn_blocking(move || {
        let before = SystemTime::now().checked_sub(older_than).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut removed = 0;
        sweep_folder(&folder, before, &mut removed).map(|()| removed)
    });
    swept.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|source| Error::Folder { path, source })
}

fn sweep_folder(folder: &Path, before: SystemTime, removed: &mut u64) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            // A folder may vanish with its last object while it is looked at.
            match sweep_folder(&entry.path(), before, removed) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => continue,
            }
        }
        let partial = kind.is_file() && entry.file_name().to_str().is_some_and(is_partial);
        let old = || entry.metadata().and_then(|meta| meta.modified()).is_ok_and(|modified| modified <= before);
        if partial && old() && fs::remove_file(entry.path()).is_ok() {
            *removed += 1;
        }
    }
    Ok(())
}

/// Names that only writes in progress have: `NAME#N` is `LocalFileSystem`'s, `.RANDOM` is [`super::write`]'s. No key is like them.
fn is_partial(name: &str) -> bool {
    let numbered = |(_, number): (&str, &str)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    name.starts_with('.') || name.rsplit_once('#').is_some_and(numbered)
}
