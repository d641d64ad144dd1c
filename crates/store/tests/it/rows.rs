//! Rows for tests, and what tests ask of the outbox.

use std::time::Duration;

use serde_json::json;
use sqlx::Connection;
use store::{
    Asset, AssetId, AssetState, Blob, BlobPart, Cursor, Event, JobId, NewJob, NewStep, RecipeRef, Source, Upload,
    UploadId, UploadState,
};

use crate::both::{BEGIN, Db};

/// How long an upload lives in these tests.
pub(crate) const LIFE_MS: i64 = 3_600_000;

pub(crate) fn asset(title: &str, state: AssetState) -> Asset {
    Asset {
        id: AssetId::new(),
        tenant: "default".into(),
        title: title.into(),
        state,
        recipe: RecipeRef { name: "default".into(), version: 1 },
        source: Source { file_name: "clip.mp4".into(), bytes: None, sha256: None, url: None, blob: None },
        media: None,
        duration_ms: None,
        poster: None,
        storyboard: None,
        revision: 1,
        error: None,
        metadata: json!({ "genre": "trial" }),
        created: BEGIN,
        updated: BEGIN,
    }
}

pub(crate) fn upload(asset: Option<&Asset>, bytes: Option<u64>) -> Upload {
    Upload {
        id: UploadId::new(),
        asset: asset.map(|asset| asset.id.clone()),
        tenant: "default".into(),
        state: UploadState::Open,
        bytes,
        offset: 0,
        blob: Blob::default(),
        metadata: json!({ "filename": "clip.mp4" }),
        partial: asset.is_none(),
        expires: BEGIN.plus_ms(LIFE_MS),
        created: BEGIN,
    }
}

pub(crate) fn part(key: &str, bytes: u64) -> BlobPart {
    BlobPart { key: key.into(), bytes }
}

pub(crate) fn job() -> NewJob {
    let probe = NewStep {
        name: "probe".into(),
        kind: "probe".into(),
        rendition: None,
        cap: "analyse".into(),
        class: 1,
        weight: 1.0,
        spec: json!({}),
        attempts_max: 3,
        after: vec![],
    };
    NewJob {
        id: JobId::new(),
        recipe: RecipeRef { name: "default".into(), version: 1 },
        priority: 0,
        context: json!({}),
        steps: vec![probe],
    }
}

/// Longest wait for transactions of other tests on the same server.
const VISIBLE_WITHIN: Duration = Duration::from_secs(60);

/// Waits until readers of the outbox get what was committed until now: on Postgres they stop below the oldest transaction under way
/// anywhere on the server, which may be another test's.
pub(crate) async fn visible(db: &Db) {
    if !db.url().starts_with("postgres") {
        return;
    }
    let mut connection = sqlx::PgConnection::connect(db.url()).await.expect("a connection");
    let mut number = async |sql| sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut connection).await.expect("a number");
    let next = number("SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS TEXT) AS BIGINT)").await;
    let waiting = async {
        while number("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)").await < next {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(VISIBLE_WITHIN, waiting).await.expect("no transaction takes this long");
}

/// Every event there is.
pub(crate) async fn all_events(db: &Db) -> Vec<Event> {
    visible(db).await;
    let mut events = Vec::new();
    loop {
        let after = events.last().map_or(Cursor::default(), |event: &Event| event.cursor);
        let more = db.catalogue.events(after, None, 100).await.expect("events");
        if more.is_empty() {
            return events;
        }
        events.extend(more);
    }
}

/// The types of all events that do not begin with `job`.
pub(crate) async fn told(db: &Db) -> Vec<String> {
    let kinds = all_events(db).await.into_iter().map(|event| event.kind);
    kinds.filter(|kind| !kind.starts_with("job")).collect()
}
