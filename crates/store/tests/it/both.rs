//! One test body on SQLite in memory, SQLite on disk and Postgres.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use base::Wall;
use store::{Catalogue, LeaseRules, Options};
use tempfile::TempDir;
use testkit::{FakeClock, Postgres};

/// When every test begins.
pub(crate) const BEGIN: Wall = Wall::from_unix_ms(1_795_165_200_000);

/// Runs each function on every engine, as `NAME::in_memory`, `NAME::on_disk` and `NAME::on_postgres`.
///
/// `both! { async fn an_asset_is_kept(db: Db) { db.catalogue.now().await.expect("a time"); } }`
macro_rules! both {
    ($( async fn $name:ident($db:ident: Db) $body:block )*) => { $(
        mod $name {
            #[allow(unused_imports, reason = "the bodies use what their file uses")]
            use super::*;

            async fn body($db: $crate::both::Db) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_memory() {
                body($crate::both::Db::memory().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_disk() {
                body($crate::both::Db::disk().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                body($crate::both::Db::postgres().await).await;
            }
        }
    )* };
}

/// A fresh catalogue under a fake clock.
pub(crate) struct Db {
    pub(crate) catalogue: Catalogue,
    pub(crate) clock: FakeClock,
    url: String,
    _folder: Option<TempDir>,
}

#[allow(dead_code, reason = "not every test needs every helper")]
impl Db {
    pub(crate) async fn memory() -> Self {
        Self::open("sqlite::memory:".into(), None).await
    }

    pub(crate) async fn disk() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::open(format!("sqlite:{}", folder.path().join("headwater.db").display()), Some(folder)).await
    }

    pub(crate) async fn postgres() -> Self {
        let url = tokio::task::spawn_blocking(|| server().database()).await.expect("a database");
        Self::open(url, None).await
    }

    async fn open(url: String, folder: Option<TempDir>) -> Self {
        let clock = FakeClock::at(BEGIN);
        let catalogue = Catalogue::open(&url, options(&clock)).await.expect("a catalogue");
        Self { catalogue, clock, url, _folder: folder }
    }

    /// Another handle on the same database, as another process would have it; in memory, the same one.
    pub(crate) async fn another(&self) -> Catalogue {
        if self.url == "sqlite::memory:" {
            return self.catalogue.clone();
        }
        Catalogue::open(&self.url, options(&self.clock)).await.expect("a catalogue")
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn is_memory(&self) -> bool {
        self.url == "sqlite::memory:"
    }

    /// Moves the time on.
    pub(crate) fn advance_ms(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }
}

fn options(clock: &FakeClock) -> Options {
    Options { clock: Some(Arc::new(clock.clone())), rules: LeaseRules::default(), connections: 8 }
}

/// One server for all tests of this process; each takes a database of its own.
pub(crate) fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(Postgres::start_unsynced)
}
