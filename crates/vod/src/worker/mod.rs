//! The worker: claims steps from a manager over HTTP, does them with FFmpeg and the packager, and reports.
//!
//! It speaks only [`protocol`](crate::protocol): no database, no broker, no object store. It may come and go at any time, be killed, lose
//! its network or meet a restarted manager; what it has stored counts only once the manager has taken its report under the step's
//! fencing token. Start from [`Worker`].
//!
//! ```no_run
//! # async fn example() -> Result<(), vod::worker::Error> {
//! use vod::worker::{Config, Worker, WorkerSettings};
//!
//! let transcode = transcode::Config::default();
//! let settings = WorkerSettings {
//!     server: "http://127.0.0.1:8080".parse().expect("a URL"),
//!     token: base::Secret::new("the token of `headwater token`"),
//!     name: "node-1".into(),
//!     caps: vod::protocol::cap::ALL.map(String::from).to_vec(),
//!     scratch: "/var/lib/headwater/work".into(),
//!     capabilities: transcode::Capabilities::probe(&transcode).await,
//!     config: Config::default(),
//! };
//! Worker::new(settings)?.run(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await
//! # }
//! ```

mod client;
mod config;
mod failure;
mod gateway;
pub mod guard;
mod lease;
mod publish;
mod read;
mod run;
mod scratch;
mod steps;
mod task;
mod telemetry;

use std::{fmt, future::Future, io, path::PathBuf, sync::Arc};

use base::Secret;
use thiserror::Error;
use transcode::Capabilities;
use url::Url;

pub use config::Config;
pub use failure::Result as StepResult;
pub use task::{Execute, Task};
pub use telemetry::{WorkerStats, describe_metrics};

use client::Client;
use gateway::Gateway;
use run::Running;
use scratch::Scratch;
use steps::Steps;
use telemetry::Counts;

/// Why a worker cannot start.
#[derive(Debug, Error)]
pub enum Error {
    /// The manager's address is no http or https URL.
    #[error("{url} cannot be a manager's address; give one like http://127.0.0.1:8080")]
    Server {
        /// As given.
        url: Url,
    },
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
    /// The scratch folder cannot be used.
    #[error("cannot work in {path}; is it a folder this user may write to?")]
    Scratch {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Loopback cannot be listened on.
    #[error("cannot listen on loopback, where FFmpeg reads the sources")]
    Loopback(#[source] io::Error),
}

/// What a worker is made of.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The manager: `http://HOST:PORT`, `https://...`, with a path when it is behind a proxy.
    pub server: Url,
    /// A token with the scope `worker`.
    pub token: Secret,
    /// Name of the node. Two workers may have the same; they count as one node when nodes are judged.
    pub name: String,
    /// What it does: of [`protocol::cap::ALL`](crate::protocol::cap::ALL).
    pub caps: Vec<String>,
    /// Where its scratch folder is made.
    pub scratch: PathBuf,
    /// The FFmpeg to use.
    pub capabilities: Capabilities,
    /// Slots and limits.
    pub config: Config,
}

/// A worker. Make it, keep [`Worker::stats`] if you like, and run it.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    server: Url,
    token: Secret,
    scratch: PathBuf,
}

/// What all slots use.
pub(crate) struct Shared {
    name: String,
    caps: Vec<String>,
    slots: usize,
    /// Threads of each FFmpeg.
    threads: u32,
    capabilities: Capabilities,
    config: Arc<Config>,
    execute: Arc<dyn Execute>,
    counts: Arc<Counts>,
}

impl Shared {
    fn tool(&self) -> Option<&transcode::Tool> {
        self.capabilities.tool().ok()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).field("caps", &self.caps).finish_non_exhaustive()
    }
}

/// Counts of a worker, readable while it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stats(Arc<Counts>);

impl Stats {
    /// The counts now.
    pub fn now(&self) -> WorkerStats {
        self.0.snapshot()
    }
}

impl Worker {
    /// # Errors
    /// [`Error::Server`].
    pub fn new(settings: WorkerSettings) -> Result<Self, Error> {
        let steps = Arc::new(Steps::new(settings.capabilities.clone()));
        Self::with_steps(settings, steps)
    }

    /// A worker whose steps are done by `execute`.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub fn with_steps(settings: WorkerSettings, execute: Arc<dyn Execute>) -> Result<Self, Error> {
        let WorkerSettings { server, token, name, caps, scratch, capabilities, config } = settings;
        if !matches!(server.scheme(), "http" | "https") || !server.has_host() {
            return Err(Error::Server { url: server });
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = if config.slots == 0 { cores.div_ceil(2) } else { config.slots };
        let threads = u32::try_from(cores.div_ceil(slots)).unwrap_or(1);
        let (config, counts) = (Arc::new(config), Arc::default());
        let shared = Shared { name, caps, slots, threads, capabilities, config, execute, counts };
        Ok(Self { shared: Arc::new(shared), server, token, scratch })
    }

    /// Counts that can be read while it runs.
    pub fn stats(&self) -> Stats {
        Stats(self.shared.counts.clone())
    }

    /// Works until `shutdown` ends, and then as long as [`Config::drain_ms`] allows. A manager that cannot be reached is waited for.
    ///
    /// # Errors
    /// When it cannot start: [`Error::Scratch`], [`Error::Loopback`], [`Error::Client`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let client = Client::new(&self.server, self.token).map_err(Error::Client)?;
        let scratch = Scratch::open(&self.scratch, self.shared.config.disk_free_percent_min);
        let scratch = scratch.map_err(|source| Error::Scratch { path: self.scratch, source })?;
        let gateway = Gateway::start().await.map_err(Error::Loopback)?;
        Running::new(self.shared, client, scratch, gateway).run(shutdown).await;
        Ok(())
    }
}
