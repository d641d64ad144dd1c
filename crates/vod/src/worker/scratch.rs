//! The folder for work in progress: one folder per step, gone with the step whatever happens, and a guard over the disk.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use store::catalogue::StepError;
use tempfile::TempDir;

use super::failure;

/// Folders of worker processes begin with this, and hold a file of this name that their process has locked.
const PROCESS_PREFIX: &str = "worker-";
const LOCK_FILE: &str = "lock";
/// Locked by a process that makes or removes folders of processes.
const DOOR_FILE: &str = "workers.lock";

/// The folder of one worker process, in the scratch folder that several may share. Removed with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: TempDir,
    /// Locked for as long as this process lives; the system unlocks it even after a kill.
    _lock: File,
    reserved_bytes: AtomicU64,
    free_percent_min: u32,
}

/// A step's folder and its share of the disk. Both are given back when it is dropped.
#[derive(Debug)]
pub(crate) struct StepFolder {
    folder: Option<TempDir>,
    scratch: Scratch,
    reserved_bytes: u64,
}

/// How full a disk is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) total: u64,
    /// Free for this user.
    pub(crate) free: u64,
}

impl Scratch {
    /// Makes the folder of this process below `parent`, after removing those that dead processes left there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn open(parent: &Path, free_percent_min: u32) -> io::Result<Self> {
        std::fs::create_dir_all(parent)?;
        // Held while folders are judged and made: another process must not meet one that is not locked yet.
        let door = OpenOptions::new().create(true).truncate(false).write(true).open(parent.join(DOOR_FILE))?;
        door.lock()?;
        let swept = sweep(parent)?;
        if swept > 0 {
            tracing::info!(folder = %parent.display(), swept, "removed what workers that were killed left behind");
        }
        let folder = tempfile::Builder::new().prefix(PROCESS_PREFIX).tempdir_in(parent)?;
        let lock = OpenOptions::new().create_new(true).write(true).open(folder.path().join(LOCK_FILE))?;
        lock.lock()?;
        let inner = Inner { folder, _lock: lock, reserved_bytes: AtomicU64::new(0), free_percent_min };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The disk as it is now.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn disk(&self) -> io::Result<Disk> {
        let stat = rustix::fs::statvfs(self.inner.folder.path())?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Disk { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
    }

    /// Bytes that new work may use: what is free, less what running steps were promised, less the share that stays free.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn room_bytes(&self) -> io::Result<u64> {
        let disk = self.disk()?;
        let kept = disk.total / 100 * u64::from(self.inner.free_percent_min);
        let reserved = self.inner.reserved_bytes.load(Ordering::Relaxed);
        Ok(disk.free.saturating_sub(kept).saturating_sub(reserved))
    }

    /// A folder for a step that writes about `bytes`.
    ///
    /// # Errors
    /// Of class capacity when there is no room for them.
    pub(crate) fn step(&self, name: &str, bytes: u64) -> Result<StepFolder, StepError> {
        let room = self.room_bytes().map_err(|error| failure::disk(&error))?;
        if bytes > room {
            let human = format!(
                "The step needs about {} MB of scratch space and the worker has {} MB for it; free some space there or move worker.scratch.",
                bytes.div_ceil(1_000_000),
                room / 1_000_000
            );
            return Err(failure::capacity("disk_full", human));
        }
        let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(self.inner.folder.path());
        let folder = folder.map_err(|error| failure::disk(&error))?;
        self.inner.reserved_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(StepFolder { folder: Some(folder), scratch: self.clone(), reserved_bytes: bytes })
    }
}

impl StepFolder {
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.as_ref().expect("the folder goes with its owner alone").path().to_owned()
    }
}

impl Drop for StepFolder {
    fn drop(&mut self) {
        self.scratch.inner.reserved_bytes.fetch_sub(self.reserved_bytes, Ordering::Relaxed);
        if let Some(Err(error)) = self.folder.take().map(TempDir::close) {
            tracing::warn!(%error, "a step's scratch folder cannot be removed; the worker's next start tries again");
        }
    }
}

/// Removes the folders of processes that do not hold their lock any more; how many there were.
fn sweep(parent: &Path) -> io::Result<usize> {
    let mut swept = 0;
    for entry in std::fs::read_dir(parent)?.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PROCESS_PREFIX));
        if ours && abandoned(&entry.path()) && std::fs::remove_dir_all(entry.path()).is_ok() {
            swept += 1;
        }
    }
    Ok(swept)
}

/// A folder without a lock file is one whose making or removal was cut short.
fn abandoned(folder: &Path) -> bool {
    File::open(folder.join(LOCK_FILE)).map_or(true, |lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_removes_what_the_dead_left_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let living = Scratch::open(parent.path(), 0).unwrap();
        let step = living.step("probe", 0).unwrap();
        let dead = parent.path().join("worker-dead");
        std::fs::create_dir_all(dead.join("encode-1")).unwrap();
        File::create(dead.join(LOCK_FILE)).unwrap();
        let foreign = parent.path().join("photos");
        std::fs::create_dir(&foreign).unwrap();

        let second = Scratch::open(parent.path(), 0).unwrap();

        assert!(step.path().exists() && foreign.exists() && !dead.exists());
        let (a, b) = (step.path(), second.inner.folder.path().to_owned());
        drop((step, living, second));
        assert!(!a.exists() && !b.exists());
    }

    #[test]
    fn work_that_does_not_fit_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(parent.path(), 0).unwrap();
        let free = scratch.disk().unwrap().free;

        let refused = scratch.step("encode", free.saturating_mul(2)).unwrap_err();
        assert_eq!((refused.code.as_str(), refused.class), ("disk_full", store::catalogue::ErrorClass::Capacity));

        let first = scratch.step("encode", free / 3 * 2).unwrap();
        assert!(scratch.step("encode", free / 3 * 2).is_err(), "the first step's share is promised");
        drop(first);
        assert!(scratch.step("encode", free / 3 * 2).is_ok());

        let full = Scratch::open(parent.path(), 100).unwrap();
        assert_eq!(full.room_bytes().unwrap(), 0);
    }
}
