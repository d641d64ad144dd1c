//! A claimed step as the code that does it sees it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use store::catalogue::Progress;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use transcode::vod::{Input, Limits, Work};

use super::{
    Config,
    client::{Client, Hold},
    failure::{self, Result},
    gateway::Entry,
    publish::{self, Ready},
    read::{Reader, VerifiedReader},
};
use crate::protocol::{Leased, ObjectRef, Output};

/// Does steps. The worker's own is made by [`Worker::new`](super::Worker::new); tests give others.
pub trait Execute: Send + Sync + 'static {
    /// Does the step of `task`. A panic is caught and reported as a bug. When [`Task::cancelled`] fires, the result does not matter and
    /// the sooner it comes the better.
    fn execute(self: Arc<Self>, task: Task) -> BoxFuture<'static, Result<Output>>;
}

/// A claimed step, and what its work may use.
#[derive(Debug)]
pub struct Task {
    leased: Leased,
    hold: Hold,
    client: Client,
    source: Option<Entry>,
    folder: PathBuf,
    cancel: CancellationToken,
    progress: watch::Sender<Progress>,
    config: Arc<Config>,
    threads: u32,
}

pub(crate) struct Parts {
    pub(crate) leased: Leased,
    pub(crate) hold: Hold,
    pub(crate) client: Client,
    pub(crate) source: Option<Entry>,
    pub(crate) folder: PathBuf,
    pub(crate) cancel: CancellationToken,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) config: Arc<Config>,
    pub(crate) threads: u32,
}

impl Task {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { leased, hold, client, source, folder, cancel, progress, config, threads } = parts;
        Self { leased, hold, client, source, folder, cancel, progress, config, threads }
    }

    /// The step.
    pub fn leased(&self) -> &Leased {
        &self.leased
    }

    /// A folder of its own for scratch files; removed after the step.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Fires when the work is in vain: the lease is lost, the job cancelled, or the worker stops.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Says how far the work is; told to the manager when it is time.
    pub fn report(&self, progress: Progress) {
        self.progress.send_replace(progress);
    }

    /// Like [`Task::report`], for a part of the step from `from` to `to` thousandths.
    pub(crate) fn report_part(&self, work: Work, from: u32, to: u32) {
        let permille = from + work.permille.min(1_000) * (to - from) / 1_000;
        self.report(Progress { permille, out_time_ms: work.out_time_ms, fps: work.fps, bytes: work.bytes });
    }

    /// Like [`Task::report`], of bytes.
    pub(crate) fn report_bytes(&self, done: u64, total: u64, from: u32, to: u32) {
        let part = u128::from(done.min(total)) * u128::from(to - from) / u128::from(total.max(1));
        let permille = from + u32::try_from(part).unwrap_or(to - from);
        self.report(Progress { permille, bytes: Some(done), ..Progress::default() });
    }

    /// The step's source for FFmpeg, to be read while the step lasts.
    pub(crate) fn input(&self) -> Result<Input> {
        let entry = self.source.as_ref();
        let entry = entry.ok_or_else(|| failure::bug("no_gateway", "The worker has no loopback port for FFmpeg."))?;
        Ok(Input::new(entry.url()))
    }

    /// What FFmpeg may take, within `wall_ms`.
    pub(crate) fn limits(&self, wall_ms: u64) -> Limits {
        let given = |limit: u64| Some(limit).filter(|&limit| limit > 0);
        Limits {
            cpu_seconds: given(self.config.cpu_seconds_max),
            memory_bytes: given(self.config.memory_bytes_max),
            wall_ms: Some(wall_ms),
            stall_ms: self.config.stall_ms,
            file_bytes: None,
            threads: self.threads,
            nice: self.config.nice,
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// All of the source.
    pub(crate) async fn read_source(&self) -> Result<Reader> {
        let reader = Reader::open(&self.client, self.client.source_url(&self.hold), &self.cancel, None).await?;
        reader.ok_or_else(|| failure::transient("object_missing", "The source cannot be read; retry the job."))
    }

    /// All of another step's output, checked against its hash.
    pub(crate) async fn read(&self, object: &ObjectRef) -> Result<VerifiedReader> {
        VerifiedReader::open(&self.client, &self.hold, &self.cancel, object).await
    }

    /// All of what an earlier attempt of this step stored.
    pub(crate) async fn read_stored(&self, object: &ObjectRef) -> Result<Reader> {
        let url = self.client.object_url(&self.hold, &object.key);
        let reader = Reader::open(&self.client, url, &self.cancel, None).await?;
        let reader = reader.filter(|reader| reader.extent() == (0, object.bytes, object.bytes));
        reader.ok_or_else(|| {
            failure::transient("object_missing", "A stored part cannot be read; the step is tried again.")
        })
    }

    /// An object from `offset` on, which lies within it.
    pub(crate) async fn read_from(&self, object: &ObjectRef, offset: u64) -> Result<Reader> {
        let url = self.client.object_url(&self.hold, &object.key);
        let reader = Reader::open(&self.client, url, &self.cancel, Some((offset, None))).await?;
        reader.ok_or_else(|| {
            failure::transient("object_missing", "A stored object cannot be read; the step is tried again.")
        })
    }

    /// Stores a result under `name` in the step's own folder of the object store.
    pub(crate) async fn put(&self, name: &str, ready: &Ready) -> Result<ObjectRef> {
        publish::put(&self.client, &self.hold, name, ready, &self.cancel).await
    }

    /// Hashes and stores a file.
    pub(crate) async fn put_file(&self, name: &str, path: &Path) -> Result<ObjectRef> {
        let ready = Ready::file(path).await?;
        self.put(name, &ready).await
    }
}
