//! The settings of the process itself.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use crate::roles::Roles;

base::section! {
    /// The process: where it keeps its data, how it logs, and the operations listener.
    pub struct Config in "server" {
        /// Folder for everything the platform keeps on disk. Created when missing.
        data_dir: PathBuf = "\"data\"",
        /// What this process does: `all`, or some of `live`, `origin`, `api`, `manager` and `worker`. Processes that share
        /// a database and an object store are one platform.
        roles: Roles = "[\"all\"]",
        /// Address of the operations listener (`/metrics`, `/healthz`, `/readyz`, `/version`). It has no login: keep
        /// it on loopback or a private network. Port 0 takes a free port.
        ops: SocketAddr = "\"127.0.0.1:9998\"",
        /// What is logged: `error`, `warn`, `info`, `debug` or `trace`, also per crate, as in `info,live=debug`.
        log_level: String = "\"info\"",
        /// How a log line looks: `text` for people, `json` for machines, one object per line.
        log_format: LogFormat = "\"text\"",
        /// How long a stop waits for viewers and encoders to finish, in milliseconds (0 to 600,000). A second signal
        /// ends at once.
        shutdown_grace_ms: u32 = "10000",
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
