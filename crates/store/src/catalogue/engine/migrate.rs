//! Brings a database to this version's tables: numbered files, each applied once, in one transaction with its record.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::Result;
use crate::Error;

/// One file of `migrations/`.
pub(super) struct Migration {
    pub(super) version: i64,
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

macro_rules! migrations {
    ($folder:literal: $($version:literal $name:literal),* $(,)?) => { &[ $( Migration {
        version: $version,
        name: $name,
        sql: include_str!(concat!("../../../migrations/", $folder, "/", $name, ".sql")),
    }, )* ] };
}

pub(super) const SQLITE: &[Migration] = migrations!["sqlite": 1 "0001_jobs", 2 "0002_catalogue"];
pub(super) const POSTGRES: &[Migration] = migrations!["postgres": 1 "0001_jobs", 2 "0002_catalogue"];

/// The record of what was applied; the same on both engines.
pub(super) const TABLE: &str = "CREATE TABLE IF NOT EXISTS migrations (
    version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied BIGINT NOT NULL)";
pub(super) const APPLIED: &str = "SELECT version, name, checksum FROM migrations ORDER BY version";
pub(super) const RECORD: &str = "INSERT INTO migrations (version, name, checksum, applied) VALUES ($1, $2, $3, $4)";

/// A line of the record.
pub(super) struct Applied {
    pub(super) version: i64,
    pub(super) name: String,
    pub(super) checksum: String,
}

impl Migration {
    pub(super) fn checksum(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.sql.as_bytes()))
    }
}

/// What is still to be applied, in order.
pub(super) fn outstanding(known: &'static [Migration], applied: &[Applied]) -> Result<&'static [Migration]> {
    let newest = known.last().map_or(0, |migration| migration.version);
    if let Some(foreign) = applied.iter().find(|line| line.version > newest) {
        return Err(Error::Newer { found: foreign.version, known: newest });
    }
    for (migration, line) in known.iter().zip(applied) {
        if migration.version != line.version || migration.checksum() != line.checksum {
            return Err(Error::Migration { version: line.version, name: line.name.clone() });
        }
    }
    Ok(&known[applied.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(migrations: &[Migration]) -> Vec<Applied> {
        let line = |m: &Migration| Applied { version: m.version, name: m.name.to_owned(), checksum: m.checksum() };
        migrations.iter().map(line).collect()
    }

    #[test]
    fn versions_are_numbered_without_gaps_on_both_engines() {
        for known in [SQLITE, POSTGRES] {
            assert!(known.iter().map(|m| m.version).eq(1..=known.len() as i64));
        }
        assert!(SQLITE.iter().map(|m| m.name).eq(POSTGRES.iter().map(|m| m.name)));
    }

    #[test]
    fn only_what_is_missing_is_applied() {
        assert_eq!(outstanding(SQLITE, &[]).expect("all").len(), SQLITE.len());
        assert_eq!(outstanding(SQLITE, &applied(&SQLITE[..1])).expect("the rest").len(), SQLITE.len() - 1);
        assert_eq!(outstanding(SQLITE, &applied(SQLITE)).expect("nothing").len(), 0);
    }

    #[test]
    fn a_newer_database_and_a_changed_file_are_refused() {
        let mut lines = applied(SQLITE);
        lines.push(Applied { version: 99, name: "0099_future".into(), checksum: String::new() });
        assert!(matches!(outstanding(SQLITE, &lines), Err(Error::Newer { found: 99, .. })));

        let mut lines = applied(SQLITE);
        lines[0].checksum = "other".into();
        assert!(matches!(outstanding(SQLITE, &lines), Err(Error::Migration { version: 1, .. })));
    }
}
