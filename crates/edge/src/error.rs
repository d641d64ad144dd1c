//! What can go wrong while the edge starts, and what an origin can fail with.

use std::{io, net::SocketAddr};

use base::Fault;
use thiserror::Error;

/// The error of a body or of a service that the edge calls.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a server does not start.
#[derive(Debug, Error)]
pub enum Error {
    /// The configured address is not `HOST:PORT`.
    #[error("{text:?} is not an address to listen on; write HOST:PORT, as 0.0.0.0:8080")]
    Address {
        /// The setting as written.
        text: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A worker's thread or runtime does not start.
    #[error("cannot start worker {worker}")]
    Worker {
        /// Number of the worker, from 0.
        worker: usize,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A route's path is not one that a request can have.
    #[error("the route {path:?} cannot match: a path begins with a slash and has no empty, dot or encoded segment")]
    Route {
        /// The route's path as given.
        path: String,
    },
    /// The cache's limits contradict each other.
    #[error("cannot build a cache of {bytes} bytes")]
    Cache {
        /// `cache_bytes_max`.
        bytes: u64,
    },
}

impl Error {
    /// Who has to change something.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Address { .. } | Self::Listen { .. } | Self::Cache { .. } => Fault::Client,
            Self::Worker { .. } | Self::Route { .. } => Fault::Internal,
        }
    }
}

/// Why an origin gave no complete answer. It is shared by all who waited for it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OriginError {
    /// The service returned an error, or its body did.
    #[error("the origin failed: {0}")]
    Failed(String),
    /// The service panicked; the panic is caught and counted.
    #[error("the origin panicked")]
    Panicked,
    /// No head within `upstream_timeout_ms`, or no further byte within `upstream_idle_timeout_ms`.
    #[error("the origin did not answer in time")]
    TimedOut,
    /// The body ended before, or ran past, its Content-Length.
    #[error("the origin's body has another length than its Content-Length")]
    Length,
    /// The fetch ended because nobody waited for it any more.
    #[error("the fetch was given up")]
    Cancelled,
    /// The server stops.
    #[error("the server is stopping")]
    Draining,
    /// A client fell further behind a body of unknown length than the edge keeps.
    #[error("the client fell behind the kept part of the body")]
    Lagged,
}

impl OriginError {
    /// The status, title and hint of the answer when no head has been sent.
    pub(crate) fn problem(&self) -> crate::problem::Problem {
        use crate::problem::Problem;
        match self {
            Self::Panicked => Problem::new(500, "origin-panicked", "The origin broke while answering")
                .hint("the server's log has the cause; other requests are not affected"),
            Self::TimedOut => {
                Problem::new(504, "origin-timeout", "The origin did not answer in time").hint("try again")
            }
            Self::Draining => {
                Problem::new(503, "draining", "The server is stopping").retry_after(1).hint("try again in a second")
            }
            Self::Failed(_) | Self::Length | Self::Cancelled | Self::Lagged => {
                Problem::new(502, "origin-failed", "The origin gave no usable answer").hint("try again")
            }
        }
    }
}
