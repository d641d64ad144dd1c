use base::Fault;
use thiserror::Error;

/// What can go wrong with an object or the catalogue.
#[derive(Debug, Error)]
pub enum Error {
    /// A text that is not a key.
    #[error(
        "{text:?} cannot name an object: use segments of A-Z a-z 0-9 - _ . ~ + @ =, joined by /, none of them beginning with a dot"
    )]
    Key {
        /// The beginning of the text.
        text: String,
    },
    /// The store's folder cannot be used.
    #[error("cannot keep objects in {path}; is it a folder this user may write to?")]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No object under this key.
    #[error("there is no object {key}")]
    NotFound {
        /// The key.
        key: String,
    },
    /// No room for an object.
    #[error("no room for {key} in the object store; free space on its disk or raise its quota, then try again")]
    Full {
        /// The key.
        key: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// The bytes that came are not those that were announced. Nothing was stored.
    #[error("{key} is not what was announced: {what} is {got}, expected {expected}; send it again from an intact copy")]
    Mismatch {
        /// The key.
        key: String,
        /// `size` or `sha256`.
        what: &'static str,
        /// As announced.
        expected: String,
        /// As it came.
        got: String,
    },
    /// The bytes to be stored ended in an error. Nothing was stored.
    #[error("the bytes of {key} stopped after {bytes}")]
    Body {
        /// The key.
        key: String,
        /// How many came.
        bytes: u64,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A range that begins behind the object's end.
    #[error("{key} has {bytes} bytes; the range begins behind them")]
    Range {
        /// The key.
        key: String,
        /// Its size.
        bytes: u64,
    },
    /// An object that is shorter or longer than the list of parts that names it says.
    #[error(
        "{key} has {got} bytes instead of {expected}: the store lost or changed it; restore it or upload the file again"
    )]
    Part {
        /// The key of the part.
        key: String,
        /// As listed.
        expected: u64,
        /// As stored.
        got: u64,
    },
    /// The bucket's settings cannot be used.
    #[error("the bucket {bucket:?} cannot be used; check store.s3_endpoint, s3_bucket, s3_region and the access key")]
    Bucket {
        /// The bucket.
        bucket: String,
        /// What is wrong.
        source: object_store::Error,
    },
    /// A bucket that stores an object twice under one name.
    #[error(
        "the object store ignores If-None-Match, so two writers could overwrite each other; use a server that has conditional writes"
    )]
    Unconditional,
    /// The store failed; later may be better.
    #[error("the object store failed to {what} {key}")]
    Store {
        /// `read`, `write`, `delete` or `list`.
        what: &'static str,
        /// The key or prefix.
        key: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// The database's URL.
    #[error("the database's URL cannot be used: {why}; give sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE")]
    Url {
        /// What is wrong with it, without what it hides.
        why: String,
    },
    /// The database cannot be reached, is full, or went away in mid-work; later may be better.
    #[error("the database cannot be used at the moment ({why}); try again, and see that it runs and has room")]
    Unavailable {
        /// What it said.
        why: String,
    },
    /// Two transactions stood in each other's way more often than the bound allows; later may be better.
    #[error("the database is too busy ({why}); try again")]
    Collision {
        /// What it said.
        why: String,
    },
    /// A row of this name is there already, or one that it needs is not.
    #[error("the catalogue refuses the row ({constraint}); is there another of this name?")]
    Conflict {
        /// The constraint, or what the database said.
        constraint: String,
    },
    /// Something the catalogue does not do with the rows as they are.
    #[error("{why}")]
    Refused {
        /// What, and what to do instead.
        why: String,
    },
    /// A text that is no position in a listing.
    #[error("{text:?} is no position in this listing; begin again without one")]
    Cursor {
        /// The beginning of the text.
        text: String,
    },
    /// Others changed the same rows again and again; later may be better.
    #[error("others are changing {what}; try again")]
    Busy {
        /// What is being changed.
        what: String,
    },
    /// The database was written by a newer version.
    #[error(
        "the database is at version {found}, this program knows {known}; start the newer program, or restore the back-up made before the upgrade"
    )]
    Newer {
        /// Version of the tables.
        found: i64,
        /// Newest known.
        known: i64,
    },
    /// The database's tables were made by something else.
    #[error("version {version} ({name}) of the database's tables is not the one of this program; use another database")]
    Migration {
        /// The version.
        version: i64,
        /// Its name.
        name: String,
    },
    /// A column holds what it must not.
    #[error("column {column} of the catalogue cannot be read: {why}")]
    Row {
        /// The column.
        column: &'static str,
        /// Why not.
        why: String,
    },
    /// The engine cannot do this.
    #[error("{what} is not supported; {hint}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// A statement failed that should not: a bug.
    #[error("the catalogue failed; please report it")]
    Sql {
        /// What the database said.
        source: sqlx::Error,
    },
    /// An operation broke off in the middle of its work: a bug. Nothing of it was kept.
    #[error("an operation on the catalogue broke off; please report it")]
    Panicked,
}

impl Error {
    /// Who has to change something.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Key { .. } | Self::NotFound { .. } | Self::Range { .. } => Fault::Client,
            Self::Mismatch { .. } | Self::Body { .. } => Fault::Client,
            Self::Folder { .. } | Self::Bucket { .. } | Self::Unconditional | Self::Part { .. } => Fault::Internal,
            Self::Full { .. } | Self::Collision { .. } | Self::Busy { .. } => Fault::Overload,
            Self::Store { .. } | Self::Unavailable { .. } => Fault::Upstream,
            Self::Conflict { .. } | Self::Refused { .. } | Self::Cursor { .. } => Fault::Client,
            Self::Url { .. } | Self::Newer { .. } | Self::Migration { .. } | Self::Unsupported { .. } => {
                Fault::Internal
            }
            Self::Row { .. } | Self::Sql { .. } | Self::Panicked => Fault::Internal,
        }
    }

    /// Sorts what the database said.
    pub(crate) fn from_sql(source: sqlx::Error) -> Self {
        match &source {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable { why: source.to_string() },
            sqlx::Error::Database(error) => match class_of(error.as_ref()) {
                Some(Class::Collision) => Self::Collision { why: error.to_string() },
                Some(Class::Unavailable) => Self::Unavailable { why: error.to_string() },
                Some(Class::Conflict) => {
                    Self::Conflict { constraint: error.constraint().unwrap_or(error.message()).to_owned() }
                }
                None => Self::Sql { source },
            },
            _ => Self::Sql { source },
        }
    }
}

enum Class {
    Collision,
    Unavailable,
    Conflict,
}

fn class_of(error: &dyn sqlx::error::DatabaseError) -> Option<Class> {
    if error.is_unique_violation() || error.is_foreign_key_violation() {
        return Some(Class::Conflict);
    }
    let code = error.code()?;
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        postgres_class(&code)
    } else {
        sqlite_class(&code)
    }
}

/// PostgreSQL, appendix A: error codes.
fn postgres_class(code: &str) -> Option<Class> {
    match code {
        // serialization_failure, deadlock_detected, lock_not_available
        "40001" | "40P01" | "55P03" => Some(Class::Collision),
        // read_only_sql_transaction (a standby), query_canceled (the statement's time is over)
        "25006" | "57014" => Some(Class::Unavailable),
        // Connection exception, insufficient resources, operator intervention, system error.
        _ if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => Some(Class::Unavailable),
        _ => None,
    }
}

/// SQLite's primary result code is the low byte of the extended one.
fn sqlite_class(code: &str) -> Option<Class> {
    match code.parse::<i64>().ok()? & 0xff {
        // SQLITE_BUSY, SQLITE_LOCKED
        5 | 6 => Some(Class::Collision),
        // SQLITE_NOMEM, SQLITE_READONLY, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN
        7 | 8 | 10 | 13 | 14 => Some(Class::Unavailable),
        _ => None,
    }
}
