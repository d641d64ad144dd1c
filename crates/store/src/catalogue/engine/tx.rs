use base::Wall;
use sqlx::{
    Arguments, Database, Encode, PgConnection, Postgres, SqliteConnection, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArguments, PgTypeInfo, types::Oid},
    sqlite::SqliteArguments,
};

use super::{Arg, Result, Row, args};
use crate::{Error, catalogue::NewEvent};

/// Which SQL the engine speaks, for the few statements that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// A transaction under way.
pub(crate) struct Tx<'a> {
    connection: Conn<'a>,
    now: Wall,
    pub(super) marks: Marks,
}

/// What a transaction did, as its engine must know.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// It wrote, or tried to.
    pub(super) wrote: bool,
    /// The queue or the outbox is other than before.
    pub(super) touched: bool,
    /// A statement failed: Postgres ends such a transaction, SQLite may have.
    pub(super) failed: bool,
}

enum Conn<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

impl<'a> Tx<'a> {
    pub(super) fn sqlite(connection: &'a mut SqliteConnection, now: Wall) -> Self {
        Self { connection: Conn::Sqlite(connection), now, marks: Marks::default() }
    }

    pub(super) fn postgres(connection: &'a mut PgConnection, now: Wall) -> Self {
        Self { connection: Conn::Postgres(connection), now, marks: Marks::default() }
    }

    /// The database's time when the transaction began.
    pub(crate) fn now(&self) -> Wall {
        self.now
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.connection {
            Conn::Sqlite(_) => Dialect::Sqlite,
            Conn::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement; the rows it changed.
    pub(crate) async fn execute(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<u64> {
        self.marks.wrote = true;
        let done = match &mut self.connection {
            Conn::Sqlite(connection) => sqlx::query_with(sql, sqlite_args(args)?)
                .execute(&mut **connection)
                .await
                .map(|done| done.rows_affected()),
            Conn::Postgres(connection) => sqlx::query_with(sql, postgres_args(args)?)
                .execute(&mut **connection)
                .await
                .map(|done| done.rows_affected()),
        };
        self.checked(done)
    }

    /// Every row of the answer.
    pub(crate) async fn rows(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<Vec<Row>> {
        self.marks.wrote |= !sql.trim_start().starts_with("SELECT");
        let rows: sqlx::Result<Vec<Row>> = match &mut self.connection {
            Conn::Sqlite(connection) => sqlx::query_with(sql, sqlite_args(args)?)
                .fetch_all(&mut **connection)
                .await
                .map(|rows| rows.into_iter().map(Row::Sqlite).collect()),
            Conn::Postgres(connection) => sqlx::query_with(sql, postgres_args(args)?)
                .fetch_all(&mut **connection)
                .await
                .map(|rows| rows.into_iter().map(Row::Postgres).collect()),
        };
        self.checked(rows)
    }

    /// The first row of the answer.
    pub(crate) async fn row(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<Option<Row>> {
        // All rows are read: a statement that stops half-way would not have changed everything it is to change.
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// Writes an event into the outbox: it is there exactly when the rest of the transaction is.
    pub(crate) async fn emit(&mut self, event: &NewEvent) -> Result<()> {
        const INSERT: &str = "INSERT INTO events (kind, tenant, asset, job, data, at) VALUES ($1, $2, $3, $4, $5, $6)";
        let NewEvent { kind, tenant, asset, job, data } = event;
        let args = args![*kind, tenant, asset.as_ref(), job.as_ref(), data, self.now];
        self.touch();
        self.execute(INSERT, args).await.map(drop)
    }

    /// Says that the queue changed, for those who wait for work.
    pub(crate) fn touch(&mut self) {
        self.marks.touched = true;
    }

    fn checked<T>(&mut self, outcome: sqlx::Result<T>) -> Result<T> {
        outcome.map_err(|error| {
            self.marks.failed = true;
            Error::from_sql(error)
        })
    }
}

fn sqlite_args(args: Vec<Arg>) -> Result<SqliteArguments> {
    let mut bound = SqliteArguments::default();
    for arg in args {
        match arg {
            Arg::Null => bound_by(bound.add(None::<i64>))?,
            Arg::Int(value) => bound_by(bound.add(value))?,
            Arg::Real(value) => bound_by(bound.add(value))?,
            Arg::Text(value) => bound_by(bound.add(value))?,
            Arg::Bytes(value) => bound_by(bound.add(value))?,
        }
    }
    Ok(bound)
}

fn postgres_args(args: Vec<Arg>) -> Result<PgArguments> {
    let mut bound = PgArguments::default();
    for arg in args {
        match arg {
            Arg::Null => bound_by(bound.add(Untyped))?,
            Arg::Int(value) => bound_by(bound.add(value))?,
            Arg::Real(value) => bound_by(bound.add(value))?,
            Arg::Text(value) => bound_by(bound.add(value))?,
            Arg::Bytes(value) => bound_by(bound.add(value))?,
        }
    }
    Ok(bound)
}

fn bound_by(outcome: std::result::Result<(), BoxDynError>) -> Result<()> {
    outcome.map_err(|error| Error::from_sql(sqlx::Error::Encode(error)))
}

/// NULL of a type that Postgres works out from the statement (type 0 in the Parse message: unspecified).
struct Untyped;

impl Type<Postgres> for Untyped {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Untyped {
    fn encode_by_ref(
        &self,
        _: &mut <Postgres as Database>::ArgumentBuffer,
    ) -> std::result::Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}
