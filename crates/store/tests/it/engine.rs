//! The engines: opening, re-opening, committing together, going away and coming back.

use std::sync::Arc;

use serde_json::{Value, json};
use store::{Catalogue, Error, Options};
use testkit::Postgres;

use crate::both::BEGIN;

both! {
    async fn a_fresh_database_opens_and_tells_its_time(db: Db) {
        assert_eq!(db.catalogue.now().await.expect("a time"), BEGIN);
        db.advance_ms(5);
        assert_eq!(db.catalogue.now().await.expect("a time"), BEGIN.plus_ms(5));
    }

    async fn what_was_stored_is_there_for_another_process(db: Db) {
        db.catalogue.set_setting("theme", &json!({"dark": true})).await.expect("stored");
        let other = db.another().await;
        assert_eq!(other.setting("theme").await.expect("read"), Some(json!({"dark": true})));
        assert_eq!(other.setting("nothing").await.expect("read"), None);
        other.set_setting("theme", &Value::Null).await.expect("stored");
        assert_eq!(db.catalogue.setting("theme").await.expect("read"), Some(Value::Null));
    }

    async fn a_leader_is_one_at_a_time_and_its_token_grows_with_every_change(db: Db) {
        let leader = async |holder| db.catalogue.leader("reaper", holder, 1_000).await.expect("asked");
        assert_eq!(leader("a").await, Some(1));
        assert_eq!(leader("b").await, None);
        db.advance_ms(900);
        assert_eq!(leader("a").await, Some(1), "renewed in time");
        db.advance_ms(900);
        assert_eq!(leader("b").await, None, "the renewal counts");
        db.advance_ms(100);
        assert_eq!(leader("b").await, Some(2), "a's time is over");
        assert_eq!(leader("a").await, None);
        db.advance_ms(1_000);
        assert_eq!(leader("b").await, Some(3), "renewed too late: somebody else may have led");
        db.catalogue.resign("reaper", "a").await.expect("it has nothing to give up");
        assert_eq!(leader("a").await, None);
        db.catalogue.resign("reaper", "b").await.expect("resigned");
        assert_eq!(leader("a").await, Some(4));
    }

    async fn many_callers_are_committed_together_and_each_gets_its_own_answer(db: Db) {
        let writers = (0..64).map(|number| {
            let catalogue = db.catalogue.clone();
            tokio::spawn(async move {
                for round in 0..4 {
                    catalogue.set_setting(&format!("{number}/{round}"), &json!(number)).await.expect("stored");
                    let read = catalogue.setting(&format!("{number}/{round}")).await.expect("read");
                    assert_eq!(read, Some(json!(number)), "what was answered can be read");
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("no panic");
        }
    }

    async fn a_closed_catalogue_says_so(db: Db) {
        db.catalogue.set_setting("last", &json!(1)).await.expect("stored");
        db.catalogue.close().await;
        let error = db.catalogue.set_setting("later", &json!(1)).await.expect_err("it is closed");
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        assert!(error.fault().retry());
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("headwater.db").display());
    Catalogue::open(&url, Options::default()).await.expect("a catalogue").close().await;

    let pool = sqlx::SqlitePool::connect(&url).await.expect("a pool");
    let future = "INSERT INTO migrations (version, name, checksum, applied) VALUES (99, '0099_future', '', 0)";
    sqlx::query(future).execute(&pool).await.expect("a line");
    pool.close().await;

    let error = Catalogue::open(&url, Options::default()).await.expect_err("it is newer");
    assert!(matches!(error, Error::Newer { found: 99, .. }), "{error}");
}

#[tokio::test]
async fn urls_that_name_no_database_are_refused_without_their_password() {
    for url in ["mysql://root:hunter2@localhost/x", "postgres://u:hunter2@[/x", "headwater.db", ""] {
        let error = Catalogue::open(url, Options::default()).await.expect_err(url);
        assert!(matches!(error, Error::Url { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_back_up_is_a_whole_database() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    let catalogue =
        Catalogue::open(&format!("sqlite:{}", file("a.db").display()), Options::default()).await.expect("a catalogue");
    catalogue.set_setting("kept", &json!(7)).await.expect("stored");
    catalogue.backup(&file("b.db")).await.expect("copied");
    assert!(catalogue.backup(&file("b.db")).await.is_err(), "nothing is overwritten");

    let copy = Catalogue::open(&format!("sqlite:{}", file("b.db").display()), Options::default()).await.expect("opens");
    assert_eq!(copy.setting("kept").await.expect("read"), Some(json!(7)));
}

/// Its own server: this one is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_killed_and_restarted_in_mid_use_and_every_answer_was_true() {
    let server = Arc::new(Postgres::start());
    let catalogue = Catalogue::open(&server.url(), Options::default()).await.expect("a catalogue");
    let stop = tokio::sync::watch::channel(false);

    let writers: Vec<_> = (0..4)
        .map(|number| {
            let (catalogue, stop) = (catalogue.clone(), stop.1.clone());
            tokio::spawn(async move {
                let (mut stored, mut refused) = (Vec::new(), 0);
                for round in 0.. {
                    if *stop.borrow() {
                        break;
                    }
                    let key = format!("{number}/{round}");
                    match catalogue.set_setting(&key, &json!(round)).await {
                        Ok(()) => stored.push(key),
                        Err(error) => {
                            assert!(error.fault().retry(), "{error:?}");
                            refused += 1;
                        }
                    }
                }
                (stored, refused)
            })
        })
        .collect();
    for _ in 0..3 {
        // Some work between the kills.
        while catalogue.set_setting("between", &json!(1)).await.is_err() {}
        let server = server.clone();
        tokio::task::spawn_blocking(move || {
            server.kill();
            server.restart();
        })
        .await
        .expect("restarted");
    }
    while catalogue.set_setting("at the end", &json!(1)).await.is_err() {}
    stop.0.send(true).expect("the writers listen");

    for writer in writers {
        let (stored, _refused) = writer.await.expect("no panic");
        assert!(!stored.is_empty());
        for key in stored {
            assert!(catalogue.setting(&key).await.expect("read").is_some(), "{key} was confirmed and is lost");
        }
    }
    catalogue.close().await;
}

/// A change in one process is a tick in the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_noticed_in_another_process_on_postgres() {
    let db = crate::both::Db::postgres().await;
    let other = db.another().await;
    let mut changed = other.changed();
    changed.mark_unchanged();
    let event =
        store::NewEvent { kind: "asset.ready", tenant: "default".into(), asset: None, job: None, data: json!({}) };
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    // The other may not listen yet when the first is sent.
    loop {
        db.catalogue.emit(std::slice::from_ref(&event)).await.expect("written");
        let wait = std::time::Duration::from_millis(200);
        if tokio::time::timeout(wait, changed.changed()).await.is_ok_and(|tick| tick.is_ok()) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "no tick");
    }
}
