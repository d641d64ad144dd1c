//! The catalogue: what must not be lost. One body of statements over two engines, SQLite (embedded) and Postgres.
//!
//! Every method is one transaction. Time is the database's: Postgres's own clock, or the process's for SQLite; tests give another.

mod access;
mod assets;
pub(crate) mod engine;
mod id;
mod jobs;
mod model;
mod op;
mod outbox;
mod page;
mod uploads;

use std::{fmt, path::Path, sync::Arc};

use base::{Clock, Wall};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::watch;

use engine::{Changed, Engine, Result, Tx, args};

pub use access::{IDEMPOTENCY_KEPT_MS, IN_FLIGHT_MS_MAX, Idempotency, StoredResponse};
pub use assets::{AssetFilter, TEXT_FILTER_BYTES_MAX, Usage};
pub use id::*;
pub use jobs::*;
pub use model::*;
pub use page::PAGE_ROWS_MAX;
pub use uploads::Append;

/// How a catalogue is opened.
#[derive(Clone)]
pub struct Options {
    /// The time instead of the database's own: for tests. SQLite has none and takes the process's.
    pub clock: Option<Arc<dyn Clock>>,
    /// How leases and retries go.
    pub rules: LeaseRules,
    /// Connections at most: all of them to Postgres, the readers of SQLite.
    pub connections: u32,
}

/// Connections of a manager: enough for its API and workers, a tenth of what Postgres allows by default.
const CONNECTIONS: u32 = 10;

impl Default for Options {
    fn default() -> Self {
        Self { clock: None, rules: LeaseRules::default(), connections: CONNECTIONS }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clock, rules, connections } = self;
        let clock = if clock.is_some() { "given" } else { "the database's" };
        f.debug_struct("Options")
            .field("clock", &clock)
            .field("rules", rules)
            .field("connections", connections)
            .finish()
    }
}

/// The catalogue. Clones share the database.
#[derive(Clone)]
pub struct Catalogue {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    rules: LeaseRules,
    changed: Changed,
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.inner.engine {
            Engine::Sqlite(_) => "Catalogue(sqlite)",
            Engine::Postgres(_) => "Catalogue(postgres)",
        })
    }
}

impl Catalogue {
    /// Opens `sqlite:PATH`, `sqlite::memory:` or `postgres://USER:PASSWORD@HOST/DATABASE` and brings its tables to this version.
    ///
    /// # Errors
    /// When the URL is none, the database cannot be reached, or its tables are newer or others.
    pub async fn open(url: &str, options: Options) -> Result<Self> {
        let changed = Changed::new();
        let engine = Engine::open(url, &options, changed.clone()).await?;
        Ok(Self { inner: Arc::new(Inner { engine, rules: options.rules, changed }) })
    }

    /// How leases and retries go here.
    pub fn rules(&self) -> &LeaseRules {
        &self.inner.rules
    }

    /// The database's time.
    ///
    /// # Errors
    /// The database's.
    pub async fn now(&self) -> Result<Wall> {
        self.read(|tx| {
            let now = tx.now();
            Box::pin(async move { Ok(now) })
        })
        .await
    }

    /// Ticks when the queue or the outbox changed: by this process, or on Postgres by another. A tick may be missed when the
    /// database is away, so whoever waits also looks every second.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.changed.receiver()
    }

    /// Takes or renews the leadership `name` for `ttl_ms`: a fencing token that grows with every change of leader and stays while
    /// one renews in time; `None` while someone else leads.
    ///
    /// # Errors
    /// The database's.
    pub async fn leader(&self, name: &str, holder: &str, ttl_ms: i64) -> Result<Option<i64>> {
        const TAKE: &str = "INSERT INTO leaders (name, holder, token, until) VALUES ($1, $2, 1, $4)
            ON CONFLICT (name) DO UPDATE SET
                token = CASE WHEN leaders.holder = $2 AND leaders.until > $3 THEN leaders.token ELSE leaders.token + 1 END,
                holder = $2, until = $4
            WHERE leaders.holder = $2 OR leaders.until <= $3
            RETURNING token";
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.write(move |tx| {
            let args = args![&name, &holder, tx.now(), tx.now().plus_ms(ttl_ms)];
            Box::pin(async move { tx.row(TAKE, args).await?.map(|row| row.int("token")).transpose() })
        })
        .await
    }

    /// Gives the leadership up, if `holder` has it.
    ///
    /// # Errors
    /// The database's.
    pub async fn resign(&self, name: &str, holder: &str) -> Result<()> {
        // The row stays: its token must go on growing.
        const RESIGN: &str = "UPDATE leaders SET until = 0, holder = '' WHERE name = $1 AND holder = $2";
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.write(move |tx| {
            let args = args![&name, &holder];
            Box::pin(async move { tx.execute(RESIGN, args).await.map(drop) })
        })
        .await
    }

    /// A setting that was stored.
    ///
    /// # Errors
    /// The database's.
    pub async fn setting(&self, key: &str) -> Result<Option<Value>> {
        const GET: &str = "SELECT value FROM settings WHERE key = $1";
        let key = key.to_owned();
        self.read(move |tx| {
            let args = args![&key];
            Box::pin(async move { tx.row(GET, args).await?.map(|row| row.json("value")).transpose() })
        })
        .await
    }

    /// Stores a setting.
    ///
    /// # Errors
    /// The database's.
    pub async fn set_setting(&self, key: &str, value: &Value) -> Result<()> {
        const PUT: &str =
            "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = $2";
        let (key, value) = (key.to_owned(), value.clone());
        self.write(move |tx| {
            let args = args![&key, &value];
            Box::pin(async move { tx.execute(PUT, args).await.map(drop) })
        })
        .await
    }

    /// Copies the whole database, as it is now, into the new file `to` while everything goes on.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) on Postgres, whose own tools do it, and in memory; else the database's.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        match &self.inner.engine {
            Engine::Sqlite(engine) => engine.backup(to).await,
            Engine::Postgres(_) => {
                Err(crate::Error::Unsupported { what: "a back-up of Postgres", hint: "use pg_dump or a base back-up" })
            }
        }
    }

    /// Finishes what is under way and lets the database go; later calls fail.
    pub async fn close(&self) {
        self.inner.engine.close().await;
    }

    /// Runs a transaction that may write. `op` may be run again (a group commit rolled back, a deadlock, a lost connection), so it
    /// changes nothing but the database.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        op: impl for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    ) -> Result<T> {
        self.inner.engine.write(op).await
    }

    /// Runs a transaction that only reads, on one snapshot.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        op: impl for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    ) -> Result<T> {
        self.inner.engine.read(op).await
    }
}
