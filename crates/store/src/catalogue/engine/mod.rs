//! One body of statements over two engines.
//!
//! SQL here is what both understand: `$1` placeholders; BIGINT, DOUBLE PRECISION, TEXT and BLOB/BYTEA columns; JSON as TEXT,
//! booleans as 0 and 1, times as milliseconds since 1970. Sums and the like are cast (`CAST(SUM(n) AS BIGINT)`), because
//! Postgres widens them.

mod arg;
mod migrate;
mod postgres;
mod row;
mod sqlite;
mod tx;

use std::sync::Arc;

use base::Clock;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

pub(crate) use arg::{Arg, args};
pub(crate) use row::Row;
pub(crate) use tx::{Dialect, Tx};

use super::Options;
use crate::Error;

/// What every operation on the catalogue gives.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation: a transaction's body. It may be run again, so it changes nothing but the database.
pub(crate) trait Body<T>:
    for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static
{
}
impl<T, F> Body<T> for F where F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static {}

/// The database behind a catalogue.
pub(crate) enum Engine {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

impl Engine {
    /// Opens `url` and brings its tables to this version.
    pub(crate) async fn open(url: &str, options: &Options, changed: Changed) -> Result<Self> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            return sqlite::Sqlite::open(path, options, changed).await.map(Self::Sqlite);
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return postgres::Postgres::open(url, options, changed).await.map(Self::Postgres);
        }
        let scheme = url.split(':').next().unwrap_or_default().to_owned();
        Err(Error::Url { why: format!("{scheme:?} is no database this version knows") })
    }

    /// Runs `body` in a transaction that may write; what it wrote is durable when this returns.
    pub(crate) async fn write<T: Send + 'static>(&self, body: impl Body<T>) -> Result<T> {
        match self {
            Self::Sqlite(engine) => engine.write(body).await,
            Self::Postgres(engine) => engine.write(body).await,
        }
    }

    /// Runs `body`, which only reads, on one snapshot.
    pub(crate) async fn read<T: Send + 'static>(&self, body: impl Body<T>) -> Result<T> {
        match self {
            Self::Sqlite(engine) => engine.read(body).await,
            Self::Postgres(engine) => engine.read(body).await,
        }
    }

    /// Ends its tasks and connections; what is under way is finished.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(engine) => engine.close().await,
            Self::Postgres(engine) => engine.close().await,
        }
    }
}

/// Tells the waiting that the queue or the outbox changed.
#[derive(Clone, Debug)]
pub(crate) struct Changed(Arc<watch::Sender<u64>>);

impl Changed {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    pub(crate) fn bump(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn receiver(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// The time source of an engine whose database's own clock is not used.
pub(crate) type SharedClock = Arc<dyn Clock>;
