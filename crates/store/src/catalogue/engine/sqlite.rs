//! SQLite: one writer that commits many operations together at full durability, readers beside it on snapshots.

use std::{
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base::SystemClock;
use futures_util::{FutureExt, future::BoxFuture};
use sqlx::{
    ConnectOptions, Connection, Row as _, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Body, Changed, Result, SharedClock, Tx,
    migrate::{self, Applied},
};
use crate::{Error, catalogue::Options};

/// Operations that wait for the writer; more callers wait to enter.
const QUEUED_MAX: usize = 1_024;
/// Operations in one commit: bounds how long the first waits for the last.
const BATCH_MAX: usize = 256;
/// How long another process may hold the file before an operation fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Statements kept prepared per connection: all there are.
const STATEMENTS_MAX: usize = 512;
/// How long a reader waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Sqlite {
    ops: mpsc::Sender<Box<dyn Op>>,
    /// `None` in memory: the one connection that has the data also reads.
    readers: Option<SqlitePool>,
    file: Option<PathBuf>,
    clock: SharedClock,
    writer: std::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Sqlite {
    /// `path` is a file or `:memory:`.
    pub(super) async fn open(path: &str, options: &Options, changed: Changed) -> Result<Self> {
        let file = (path != ":memory:").then(|| PathBuf::from(path.trim_start_matches("//")));
        let clock = options.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::start()));
        let mut connection = connect(&connect_options(file.as_deref())).await?;
        migrate(&mut connection, &clock).await?;

        let readers = match &file {
            Some(file) => {
                let pool = SqlitePoolOptions::new()
                    .max_connections(options.connections.max(1))
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .test_before_acquire(false);
                Some(pool.connect_lazy_with(connect_options(Some(file)).pragma("query_only", "ON")))
            }
            None => None,
        };
        let (ops, queue) = mpsc::channel(QUEUED_MAX);
        let writer = Writer { connection: Some(connection), file: file.clone(), clock: clock.clone(), changed };
        let writer = std::sync::Mutex::new(Some(tokio::spawn(writer.run(queue))));
        Ok(Self { ops, readers, file, clock, writer })
    }

    pub(super) async fn write<T: Send + 'static>(&self, body: impl Body<T>) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let op = Pending { body, result: None, answer };
        self.ops.send(Box::new(op)).await.map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    pub(super) async fn read<T: Send + 'static>(&self, body: impl Body<T>) -> Result<T> {
        let Some(readers) = &self.readers else { return self.write(body).await };
        let mut transaction = readers.begin().await.map_err(Error::from_sql)?;
        let value = body(&mut Tx::sqlite(&mut transaction, self.clock.wall())).await?;
        transaction.commit().await.map_err(Error::from_sql)?;
        Ok(value)
    }

    /// Writes a copy of the whole database, as it is now, to a file that must not be there yet.
    pub(crate) async fn backup(&self, to: &Path) -> Result<()> {
        let Some(file) = &self.file else {
            return Err(Error::Unsupported { what: "a back-up of a catalogue in memory", hint: "give it a file" });
        };
        let to = to.to_str().ok_or(Error::Unsupported { what: "this file name", hint: "use one in UTF-8" })?;
        // The readers' connections may write nowhere, not even into another file.
        let mut connection = connect(&connect_options(Some(file))).await?;
        let copied = sqlx::query("VACUUM INTO $1").bind(to.to_owned()).execute(&mut connection).await;
        copied.map(drop).map_err(Error::from_sql)
    }

    pub(super) async fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // The writer ends after what came before this operation.
            let _gone = self.ops.send(Box::new(Close)).await;
            let _ended = writer.await;
        }
        if let Some(readers) = &self.readers {
            readers.close().await;
        }
    }
}

fn closed() -> Error {
    Error::Unavailable { why: "the catalogue is closed".into() }
}

fn connect_options(file: Option<&Path>) -> SqliteConnectOptions {
    let options = match file {
        Some(file) => SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full),
        None => SqliteConnectOptions::new().in_memory(true),
    };
    options
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_MAX)
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection> {
    SqliteConnection::connect_with(options).await.map_err(Error::from_sql)
}

async fn migrate(connection: &mut SqliteConnection, clock: &SharedClock) -> Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(Error::from_sql)?;
    sqlx::raw_sql(migrate::TABLE).execute(&mut *transaction).await.map_err(Error::from_sql)?;
    let rows = sqlx::query(migrate::APPLIED).fetch_all(&mut *transaction).await.map_err(Error::from_sql)?;
    let applied: Vec<_> = rows
        .iter()
        .map(|row| Applied { version: row.get("version"), name: row.get("name"), checksum: row.get("checksum") })
        .collect();
    for migration in migrate::outstanding(migrate::SQLITE, &applied)? {
        sqlx::raw_sql(migration.sql).execute(&mut *transaction).await.map_err(Error::from_sql)?;
        let record = sqlx::query(migrate::RECORD)
            .bind(migration.version)
            .bind(migration.name)
            .bind(migration.checksum())
            .bind(clock.wall().unix_ms());
        record.execute(&mut *transaction).await.map_err(Error::from_sql)?;
    }
    transaction.commit().await.map_err(Error::from_sql)
}

/// An operation on its way through the writer.
trait Op: Send {
    /// Runs it, keeping the result; whether it succeeded. May be called again after a roll-back.
    fn run<'t>(&'t mut self, tx: &'t mut Tx<'_>) -> BoxFuture<'t, bool>;
    /// Tells the caller: its result, or why nothing of it was committed.
    fn answer(self: Box<Self>, lost: Option<&str>);
    /// Whether the writer ends here.
    fn last(&self) -> bool {
        false
    }
}

struct Pending<B, T> {
    body: B,
    result: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T: Send + 'static, B: Body<T>> Op for Pending<B, T> {
    fn run<'t>(&'t mut self, tx: &'t mut Tx<'_>) -> BoxFuture<'t, bool> {
        Box::pin(async move {
            // One operation's bug must not take the writer from all others.
            let result = AssertUnwindSafe(async { (self.body)(tx).await }).catch_unwind().await;
            let result = result.unwrap_or_else(|_| Err(Error::Panicked));
            let succeeded = result.is_ok();
            self.result = Some(result);
            succeeded
        })
    }

    fn answer(self: Box<Self>, lost: Option<&str>) {
        let result = match (lost, self.result) {
            (Some(why), _) => Err(Error::Unavailable { why: why.to_owned() }),
            (None, Some(result)) => result,
            (None, None) => Err(closed()),
        };
        // The caller may have gone away.
        let _gone = self.answer.send(result);
    }
}

struct Close;

impl Op for Close {
    fn run<'t>(&'t mut self, _: &'t mut Tx<'_>) -> BoxFuture<'t, bool> {
        Box::pin(std::future::ready(true))
    }

    fn answer(self: Box<Self>, _: Option<&str>) {}

    fn last(&self) -> bool {
        true
    }
}

struct Writer {
    /// `None` after a failure that may have left a transaction open.
    connection: Option<SqliteConnection>,
    file: Option<PathBuf>,
    clock: SharedClock,
    changed: Changed,
}

/// How a batch ended that was not committed.
enum Spoilt {
    /// An operation failed after writing: the others go again, each behind a savepoint.
    ByOne,
    /// The database failed.
    Whole(String),
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Op>>) {
        let mut ops = Vec::with_capacity(BATCH_MAX);
        while queue.recv_many(&mut ops, BATCH_MAX).await > 0 {
            let last = ops.iter().any(|op| op.last());
            metrics::histogram!("store_commit_operations").record(ops.len() as f64);
            let lost = self.commit(&mut ops).await.err();
            for op in ops.drain(..) {
                op.answer(lost.as_deref());
            }
            if last {
                break;
            }
        }
        if let Some(connection) = self.connection.take() {
            let _closed = connection.close().await;
        }
    }

    /// Commits what `ops` do; the error is why nothing of it is there.
    async fn commit(&mut self, ops: &mut [Box<dyn Op>]) -> std::result::Result<(), String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            // In memory there is nothing to come back to: a new connection would be an empty database.
            None if self.file.is_none() => return Err("the database in memory failed; restart".into()),
            None => connect(&connect_options(self.file.as_deref())).await.map_err(|error| error.to_string())?,
        };
        let mut outcome = self.attempt(&mut connection, ops, false).await;
        if matches!(outcome, Err(Spoilt::ByOne)) {
            outcome = self.attempt(&mut connection, ops, true).await;
        }
        match outcome {
            Ok(touched) => {
                self.connection = Some(connection);
                if touched {
                    self.changed.bump();
                }
                Ok(())
            }
            Err(Spoilt::ByOne) => Err("an operation broke out of its savepoint".into()),
            Err(Spoilt::Whole(why)) => {
                tracing::warn!(%why, "the catalogue could not commit");
                if rolled_back(&mut connection).await {
                    self.connection = Some(connection);
                }
                Err(why)
            }
        }
    }

    /// One transaction around all of `ops`; whether the queue or the outbox changed.
    async fn attempt(
        &self,
        connection: &mut SqliteConnection,
        ops: &mut [Box<dyn Op>],
        savepoints: bool,
    ) -> std::result::Result<bool, Spoilt> {
        plain(connection, "BEGIN IMMEDIATE").await?;
        let mut touched = false;
        for op in ops {
            if savepoints {
                plain(connection, "SAVEPOINT op").await?;
            }
            let mut tx = Tx::sqlite(connection, self.clock.wall());
            let succeeded = op.run(&mut tx).await;
            let marks = tx.marks;
            // A statement's failure that the operation passed over leaves us unsure what is in the transaction.
            if succeeded && !marks.failed {
                touched |= marks.touched;
            } else if savepoints {
                plain(connection, "ROLLBACK TO op").await?;
            } else if marks.wrote {
                plain(connection, "ROLLBACK").await?;
                return Err(Spoilt::ByOne);
            }
            if savepoints {
                plain(connection, "RELEASE op").await?;
            }
        }
        plain(connection, "COMMIT").await?;
        Ok(touched)
    }
}

async fn plain(connection: &mut SqliteConnection, sql: &'static str) -> std::result::Result<(), Spoilt> {
    let done = sqlx::query(sql).execute(connection).await;
    done.map(drop).map_err(|error| Spoilt::Whole(format!("{sql}: {error}")))
}

/// Whether the connection is without a transaction again.
async fn rolled_back(connection: &mut SqliteConnection) -> bool {
    // It fails when SQLite has rolled back by itself, which is as good.
    let _none = plain(connection, "ROLLBACK").await;
    plain(connection, "BEGIN").await.is_ok() && plain(connection, "ROLLBACK").await.is_ok()
}
