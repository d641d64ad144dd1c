use std::str::FromStr;

use base::Wall;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::{Row as _, TypeInfo, ValueRef, postgres::PgRow, sqlite::SqliteRow};

use super::Result;
use crate::Error;

/// A row of an answer; columns by name.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

#[allow(dead_code, reason = "the whole of what a row can give stands in one place")]
impl Row {
    /// A whole number; Postgres's booleans count as 0 and 1.
    pub(crate) fn int(&self, column: &'static str) -> Result<i64> {
        self.opt_int(column)?.ok_or_else(|| null(column))
    }

    pub(crate) fn opt_int(&self, column: &'static str) -> Result<Option<i64>> {
        let value = match self {
            Self::Sqlite(row) => row.try_get_unchecked::<Option<i64>, _>(column),
            Self::Postgres(row) => postgres_int(row, column),
        };
        value.map_err(|error| unreadable(column, &error))
    }

    /// A count or a size.
    pub(crate) fn unsigned(&self, column: &'static str) -> Result<u64> {
        self.int(column).map(|value| u64::try_from(value).unwrap_or(0))
    }

    pub(crate) fn flag(&self, column: &'static str) -> Result<bool> {
        self.int(column).map(|value| value != 0)
    }

    pub(crate) fn wall(&self, column: &'static str) -> Result<Wall> {
        self.int(column).map(Wall::from_unix_ms)
    }

    pub(crate) fn opt_wall(&self, column: &'static str) -> Result<Option<Wall>> {
        Ok(self.opt_int(column)?.map(Wall::from_unix_ms))
    }

    pub(crate) fn real(&self, column: &'static str) -> Result<f64> {
        let value = match self {
            Self::Sqlite(row) => row.try_get_unchecked::<Option<f64>, _>(column),
            Self::Postgres(row) => row.try_get::<Option<f64>, _>(column),
        };
        value.map_err(|error| unreadable(column, &error))?.ok_or_else(|| null(column))
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String> {
        self.opt_text(column)?.ok_or_else(|| null(column))
    }

    pub(crate) fn opt_text(&self, column: &'static str) -> Result<Option<String>> {
        let value = match self {
            Self::Sqlite(row) => row.try_get_unchecked::<Option<String>, _>(column),
            Self::Postgres(row) => row.try_get::<Option<String>, _>(column),
        };
        value.map_err(|error| unreadable(column, &error))
    }

    pub(crate) fn bytes(&self, column: &'static str) -> Result<Vec<u8>> {
        self.opt_bytes(column)?.ok_or_else(|| null(column))
    }

    pub(crate) fn opt_bytes(&self, column: &'static str) -> Result<Option<Vec<u8>>> {
        let value = match self {
            Self::Sqlite(row) => row.try_get_unchecked::<Option<Vec<u8>>, _>(column),
            Self::Postgres(row) => row.try_get::<Option<Vec<u8>>, _>(column),
        };
        value.map_err(|error| unreadable(column, &error))
    }

    pub(crate) fn json(&self, column: &'static str) -> Result<Value> {
        self.stored(column)
    }

    pub(crate) fn opt_json(&self, column: &'static str) -> Result<Option<Value>> {
        self.opt_stored(column)
    }

    /// Anything that was stored as JSON.
    pub(crate) fn stored<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        self.opt_stored(column)?.ok_or_else(|| null(column))
    }

    pub(crate) fn opt_stored<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>> {
        let Some(text) = self.opt_text(column)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| unreadable(column, &error))
    }

    /// An id.
    pub(crate) fn id<T: FromStr<Err: std::error::Error>>(&self, column: &'static str) -> Result<T> {
        self.text(column)?.parse().map_err(|error| unreadable(column, &error))
    }

    pub(crate) fn opt_id<T: FromStr<Err: std::error::Error>>(&self, column: &'static str) -> Result<Option<T>> {
        self.opt_text(column)?.map(|text| text.parse().map_err(|error| unreadable(column, &error))).transpose()
    }

    /// A word, read by its enum's `from_word`.
    pub(crate) fn word<T>(&self, column: &'static str, from_word: fn(&str) -> Option<T>) -> Result<T> {
        let text = self.text(column)?;
        from_word(&text).ok_or_else(|| Error::Row { column, why: format!("{text:?} is no word it may have") })
    }
}

fn postgres_int(row: &PgRow, column: &'static str) -> sqlx::Result<Option<i64>> {
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(None);
    }
    match raw.type_info().name() {
        "BOOL" => row.try_get::<bool, _>(column).map(|value| Some(i64::from(value))),
        "INT4" => row.try_get::<i32, _>(column).map(|value| Some(i64::from(value))),
        _ => row.try_get::<Option<i64>, _>(column),
    }
}

fn null(column: &'static str) -> Error {
    Error::Row { column, why: "it is empty".into() }
}

fn unreadable(column: &'static str, error: &dyn std::error::Error) -> Error {
    Error::Row { column, why: error.to_string() }
}
