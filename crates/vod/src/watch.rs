//! Watched folders: a file that stops growing becomes an asset, and moves to `done` (or `failed`, with a text that says why).
//!
//! The leader looks at each folder. What it has begun is recorded before, so that another leader finishes it and nothing is
//! imported twice.

use std::{
    collections::HashMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use store::{
    Key,
    catalogue::{AssetId, Blob, BlobPart, Source},
};
use thiserror::Error;
use tokio::{
    fs::{self, File},
    io::{AsyncReadExt, AsyncSeekExt},
};
use tokio_util::io::ReaderStream;

use crate::manager::{DEFAULT_TENANT, Manager, ManagerError, NewAsset};

/// Looks in a row in which a file must be the same.
const STABLE_LOOKS: u32 = 2;
/// Largest object of an imported file, in bytes.
const PART_BYTES: u64 = 256 << 20;
/// Files looked at in one folder: the rest waits until these have been moved away.
const FILES_MAX: usize = 10_000;
/// Bytes read from a file at a time.
const READ_BYTES: usize = 256 << 10;
/// Endings of files that programs write until they are done.
const UNFINISHED: [&str; 6] = ["part", "tmp", "crdownload", "filepart", "partial", "download"];

/// A folder that is watched.
#[derive(Debug)]
pub struct Watch {
    manager: Manager,
    folder: PathBuf,
    seen: HashMap<OsString, Seen>,
}

/// A file as it was at the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    state: FileState,
    stable: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    bytes: u64,
    modified: SystemTime,
}

/// The import that is under way, as the catalogue keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct UnderWay {
    file: String,
    asset: AssetId,
}

#[derive(Debug, Error)]
enum ImportError {
    #[error("{0}")]
    Manager(#[from] ManagerError),
    #[error("the file cannot be read: {0}")]
    File(#[from] io::Error),
    #[error("the file is larger than the {max} bytes that are accepted; raise vod.upload_bytes_max or cut it")]
    TooLarge { max: u64 },
}

impl From<store::Error> for ImportError {
    fn from(error: store::Error) -> Self {
        Self::Manager(error.into())
    }
}

impl ImportError {
    /// Whether a later look may succeed: then the file stays where it is.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Manager(error) if error.fault() != base::Fault::Client)
    }
}

impl Watch {
    /// Watches `folder`; nothing happens until [`Watch::look`].
    pub fn new(manager: Manager, folder: PathBuf) -> Self {
        Self { manager, folder, seen: HashMap::new() }
    }

    /// Looks once, and imports every file that was the same at the last looks.
    pub async fn look(&mut self) {
        let files = match self.files().await {
            Ok(files) => files,
            Err(error) => {
                let folder = self.folder.display();
                tracing::warn!(%folder, error = &error as &dyn std::error::Error, "a watched folder cannot be read");
                return;
            }
        };
        self.seen.retain(|name, _| files.iter().any(|(other, _)| other == name));
        for (name, state) in files {
            let seen = self.seen.entry(name.clone()).or_insert(Seen { state, stable: 0 });
            seen.stable = if seen.state == state { seen.stable + 1 } else { 1 };
            seen.state = state;
            // The first look at a state counts once: it was compared with itself.
            if seen.stable > STABLE_LOOKS && state.bytes > 0 {
                self.seen.remove(&name);
                self.import(&name, state).await;
            }
        }
    }

    async fn files(&self) -> io::Result<Vec<(OsString, FileState)>> {
        let mut entries = fs::read_dir(&self.folder).await?;
        let mut files = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            // Not followed: a link could point at what its author may not read.
            let meta = fs::symlink_metadata(entry.path()).await;
            let Ok(meta) = meta else { continue };
            if meta.is_file() && finished(&entry.file_name()) && files.len() < FILES_MAX {
                files.push((entry.file_name(), FileState { bytes: meta.len(), modified: meta.modified()? }));
            }
        }
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(files)
    }

    async fn import(&self, name: &OsString, state: FileState) {
        let path = self.folder.join(name);
        let file = path.display();
        match self.imported(&path, name, state).await {
            Ok(asset) => {
                tracing::info!(%file, %asset, "a watched file became an asset");
                self.put_away(&path, "done").await;
            }
            Err(error) if error.may_pass() => {
                tracing::warn!(%file, error = &error as &dyn std::error::Error, "a watched file is tried again");
            }
            Err(error) => {
                tracing::warn!(%file, error = &error as &dyn std::error::Error, "a watched file is refused");
                if let Some(moved) = self.put_away(&path, "failed").await {
                    let mut note = moved.into_os_string();
                    note.push(".txt");
                    if let Err(error) = fs::write(&note, format!("{error}\n")).await {
                        tracing::warn!(%file, error = &error as &dyn std::error::Error, "the reason could not be written");
                    }
                }
            }
        }
    }

    async fn imported(&self, path: &Path, name: &OsString, state: FileState) -> Result<AssetId, ImportError> {
        let max = self.manager.limits().bytes_max;
        if state.bytes > max {
            return Err(ImportError::TooLarge { max });
        }
        let mark = mark(path, state);
        if let Some(asset) = self.manager.watched(&self.key(), &mark).await? {
            return Ok(asset);
        }
        let blob = self.store(path, &mark, state.bytes).await?;
        let file_name = name.to_string_lossy().into_owned();
        let source = Source { file_name, bytes: Some(state.bytes), sha256: None, url: None, blob: Some(blob) };
        Ok(self.manager.start_watched(&self.key(), &mark, source).await?)
    }

    /// Stores the file in parts. An import that broke off stores them again under the same names.
    async fn store(&self, path: &Path, mark: &str, bytes: u64) -> Result<Blob, ImportError> {
        let mut blob = Blob::default();
        let mut at = 0;
        while at < bytes {
            let part = PART_BYTES.min(bytes - at);
            let key = Key::new(&format!("uploads/watch-{mark}/{:06}", blob.parts.len()))?;
            let mut file = File::open(path).await?;
            file.seek(io::SeekFrom::Start(at)).await?;
            let body = ReaderStream::with_capacity(file.take(part), READ_BYTES);
            let expected = store::Expected { bytes: Some(part), sha256: None };
            let stored = self.manager.objects().put_stream(&key, body, Some(expected)).await?;
            blob.parts.push(BlobPart { key: key.as_str().to_owned(), bytes: stored.bytes });
            at += part;
        }
        Ok(blob)
    }

    fn key(&self) -> String {
        format!("vod/watch/{}", short_hash(self.folder.as_os_str().as_encoded_bytes()))
    }

    /// Moves a file to a folder beside it, under a name that is free there.
    async fn put_away(&self, path: &Path, to: &str) -> Option<PathBuf> {
        let moved = move_to(path, &self.folder.join(to)).await;
        if let Err(error) = &moved {
            let file = path.display();
            tracing::error!(%file, error = error as &dyn std::error::Error, "a watched file cannot be moved; move it yourself");
        }
        moved.ok()
    }
}

async fn move_to(path: &Path, folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(folder).await?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut to = folder.join(name);
    for number in 1.. {
        if !fs::try_exists(&to).await? {
            break;
        }
        let mut other = OsString::from(format!("{number}-"));
        other.push(name);
        to = folder.join(other);
    }
    fs::rename(path, &to).await?;
    Ok(to)
}

fn finished(name: &OsString) -> bool {
    let text = name.to_string_lossy();
    let ending = text.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    !text.starts_with('.')
        && !text.ends_with('~')
        && !ending.is_some_and(|ending| UNFINISHED.contains(&ending.as_str()))
}

/// This very file: its name, size and time.
fn mark(path: &Path, state: FileState) -> String {
    let since = state.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut text = path.as_os_str().as_encoded_bytes().to_vec();
    text.extend(state.bytes.to_be_bytes());
    text.extend(since.as_nanos().to_be_bytes());
    short_hash(&text)
}

fn short_hash(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes)[..16])
}

impl Manager {
    /// The asset that the import of `mark` made, if it got so far.
    async fn watched(&self, key: &str, mark: &str) -> Result<Option<AssetId>, ManagerError> {
        let begun = self.catalogue().setting(key).await?.and_then(|value| UnderWay::deserialize(value).ok());
        match begun.filter(|begun| begun.file == mark) {
            Some(begun) => Ok(self.catalogue().asset(&begun.asset).await?.map(|asset| asset.id)),
            None => Ok(None),
        }
    }

    async fn start_watched(&self, key: &str, mark: &str, source: Source) -> Result<AssetId, ManagerError> {
        let new = NewAsset {
            tenant: DEFAULT_TENANT.to_owned(),
            title: String::new(),
            recipe: Some(self.watch_recipe().to_owned()),
            metadata: json!({}),
        };
        let asset = self.asset_of(source, new).await?;
        let begun = UnderWay { file: mark.to_owned(), asset: asset.id.clone() };
        self.catalogue().set_setting(key, &json!(begun)).await?;
        Ok(self.create(asset).await?.0.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_still_written_are_left_alone() {
        let check = |name: &str, expected: bool| assert_eq!(finished(&name.into()), expected, "{name}");
        check("film.mp4", true);
        check("film", true);
        check("film.MP4.part", false);
        check("film.crdownload", false);
        check(".film.mp4.swp", false);
        check("film.mp4~", false);
    }

    #[test]
    fn a_changed_file_is_another() {
        let at = |bytes, nanos| FileState {
            bytes,
            modified: SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(nanos),
        };
        let path = Path::new("/in/a.mp4");
        assert_eq!(mark(path, at(1, 1)), mark(path, at(1, 1)));
        assert_ne!(mark(path, at(1, 1)), mark(path, at(2, 1)));
        assert_ne!(mark(path, at(1, 1)), mark(path, at(1, 2)));
        assert_ne!(mark(path, at(1, 1)), mark(Path::new("/in/b.mp4"), at(1, 1)));
    }
}
