//! Postgres: a pool, READ COMMITTED with row locks, bounded re-runs, and one LISTEN.

use std::{str::FromStr, sync::Arc, time::Duration};

use base::Wall;
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool, Row as _,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{sync::Notify, task::AbortHandle};

use super::{
    Body, Changed, Result, SharedClock, Tx,
    migrate::{self, Applied},
};
use crate::{Error, catalogue::Options};

/// Runs of one operation at most: after a deadlock, a serialisation failure or a lost connection.
const RUNS_MAX: u32 = 8;
/// Pause before the second run; doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// Longest pause between runs.
const PAUSE_MAX: Duration = Duration::from_millis(320);
/// How long an operation waits for a connection, a starting server included.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// No two notices are sent closer together: NOTIFY takes a lock over all of the server.
const NOTICE_INTERVAL: Duration = Duration::from_millis(20);
/// Pause before listening again after the server was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// Where notices go; the payload is empty.
const CHANNEL: &str = "headwater_changed";
/// Statements kept prepared per connection: all there are.
const STATEMENTS_MAX: usize = 512;
/// The advisory lock under which tables are changed ("headwate" as a number).
const MIGRATION_LOCK: i64 = 0x6865_6164_7761_7465;
/// What every connection begins with. A statement that hangs is ended by the server, so that a lost lock holder cannot stop the
/// platform (milliseconds). Planning and compiling a claim takes longer than running it, so plans are made once and never compiled;
/// a plan made while a table is empty must serve when it is full, so it goes by an index.
const SESSION: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off; \
     SET statement_timeout = 30000; SET lock_timeout = 10000; SET idle_in_transaction_session_timeout = 60000; \
     SET client_min_messages = warning";
const NOW: &str = "SELECT CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000) AS BIGINT) AS now";
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

pub(crate) struct Postgres {
    pool: PgPool,
    clock: Option<SharedClock>,
    changed: Changed,
    notice: Arc<Notify>,
    tasks: [AbortHandle; 2],
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Postgres {
    pub(super) async fn open(url: &str, options: &Options, changed: Changed) -> Result<Self> {
        // The URL holds a password: what is wrong with it is told without it.
        let connect = PgConnectOptions::from_str(url)
            .map_err(|_| Error::Url { why: "it is no postgres://USER:PASSWORD@HOST:PORT/DATABASE".into() })?
            .application_name("headwater")
            .statement_cache_capacity(STATEMENTS_MAX)
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(options.connections.max(2))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(SESSION).execute(connection).await.map(drop) })
            })
            .connect_with(connect)
            .await
            .map_err(Error::from_sql)?;
        migrate(&pool).await?;

        let notice = Arc::new(Notify::new());
        let tasks = [
            tokio::spawn(notify(pool.clone(), notice.clone())).abort_handle(),
            tokio::spawn(listen(pool.clone(), changed.clone())).abort_handle(),
        ];
        Ok(Self { pool, clock: options.clock.clone(), changed, notice, tasks })
    }

    pub(super) async fn write<T: Send + 'static>(&self, body: impl Body<T>) -> Result<T> {
        self.run(body, WRITE).await
    }

    pub(super) async fn read<T: Send + 'static>(&self, body: impl Body<T>) -> Result<T> {
        self.run(body, READ).await
    }

    pub(super) async fn close(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.pool.close().await;
    }

    async fn run<T>(&self, body: impl Body<T>, begin: &'static str) -> Result<T> {
        let mut pause = PAUSE_FIRST;
        for _ in 1..RUNS_MAX {
            match self.attempt(&body, begin).await {
                Err(Ended::Again(error)) => tracing::debug!(%error, "an operation on the catalogue goes again"),
                Err(Ended::For(error)) => return Err(error),
                Ok(value) => return Ok(value),
            }
            metrics::counter!("store_reruns_total").increment(1);
            // Whoever collided with us does not come back at the same time.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.attempt(&body, begin).await.map_err(|ended| match ended {
            Ended::Again(error) | Ended::For(error) => error,
        })
    }

    async fn attempt<T>(&self, body: &impl Body<T>, begin: &'static str) -> std::result::Result<T, Ended> {
        let mut transaction = self.pool.begin_with(begin).await.map_err(ended)?;
        let now = self.now(&mut transaction).await.map_err(ended)?;
        let mut tx = Tx::postgres(&mut transaction, now);
        let outcome = body(&mut tx).await;
        let marks = tx.marks;
        let value = match outcome {
            // COMMIT of a transaction in which a statement failed is a silent roll-back.
            Ok(_) if marks.failed => return Err(Ended::For(Error::Unavailable { why: "a statement failed".into() })),
            Ok(value) => value,
            Err(error @ (Error::Collision { .. } | Error::Unavailable { .. })) => return Err(Ended::Again(error)),
            Err(error) => return Err(Ended::For(error)),
        };
        // From here on nobody knows whether a lost connection lost the transaction as well: it does not go again.
        match transaction.commit().await.map_err(Error::from_sql) {
            Err(error @ Error::Collision { .. }) => return Err(Ended::Again(error)),
            Err(error) => return Err(Ended::For(error)),
            Ok(()) => {}
        }
        if marks.touched {
            self.changed.bump();
            self.notice.notify_one();
        }
        Ok(value)
    }

    async fn now(&self, connection: &mut PgConnection) -> sqlx::Result<Wall> {
        match &self.clock {
            Some(clock) => Ok(clock.wall()),
            None => sqlx::query(NOW).fetch_one(connection).await.map(|row| Wall::from_unix_ms(row.get("now"))),
        }
    }
}

/// Why one run ended without a value.
enum Ended {
    /// Another may do better.
    Again(Error),
    For(Error),
}

fn ended(error: sqlx::Error) -> Ended {
    // The pool has waited by itself.
    let waited = matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed);
    match Error::from_sql(error) {
        error @ (Error::Collision { .. } | Error::Unavailable { .. }) if !waited => Ended::Again(error),
        error => Ended::For(error),
    }
}

async fn migrate(pool: &PgPool) -> Result<()> {
    let mut connection = pool.acquire().await.map_err(Error::from_sql)?;
    let mut transaction = connection.begin().await.map_err(Error::from_sql)?;
    // Two managers may start at once; one waits for the other.
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK);
    lock.execute(&mut *transaction).await.map_err(Error::from_sql)?;
    sqlx::raw_sql(migrate::TABLE).execute(&mut *transaction).await.map_err(Error::from_sql)?;
    let rows = sqlx::query(migrate::APPLIED).fetch_all(&mut *transaction).await.map_err(Error::from_sql)?;
    let applied: Vec<_> = rows
        .iter()
        .map(|row| Applied { version: row.get("version"), name: row.get("name"), checksum: row.get("checksum") })
        .collect();
    let now: i64 = sqlx::query(NOW).fetch_one(&mut *transaction).await.map_err(Error::from_sql)?.get("now");
    for migration in migrate::outstanding(migrate::POSTGRES, &applied)? {
        sqlx::raw_sql(migration.sql).execute(&mut *transaction).await.map_err(Error::from_sql)?;
        let record = sqlx::query(migrate::RECORD)
            .bind(migration.version)
            .bind(migration.name)
            .bind(migration.checksum())
            .bind(now);
        record.execute(&mut *transaction).await.map_err(Error::from_sql)?;
    }
    transaction.commit().await.map_err(Error::from_sql)
}

/// Tells the other processes that something changed, outside the transactions that changed it.
async fn notify(pool: PgPool, notice: Arc<Notify>) {
    loop {
        notice.notified().await;
        if let Err(error) = sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(&pool).await {
            // They look by themselves every second.
            tracing::debug!(%error, "a notice of the catalogue was not sent");
        }
        tokio::time::sleep(NOTICE_INTERVAL).await;
    }
}

/// Hears from the other processes.
async fn listen(pool: PgPool, changed: Changed) {
    loop {
        if let Err(error) = hear(&pool, &changed).await {
            tracing::debug!(%error, "the catalogue's notices are not heard");
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

async fn hear(pool: &PgPool, changed: &Changed) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    // Something may have changed while nobody listened.
    changed.bump();
    while listener.try_recv().await?.is_some() {
        changed.bump();
    }
    Ok(())
}
