//! Changes of an asset within a transaction, each with its events. Jobs and uploads change assets through these.

use base::Wall;
use serde_json::{Value, json};

use super::super::{engine::*, *};
use super::rows::{self, asset_columns, rendition_columns};

/// Changes what `patch` names and tells it; `None` when there is no such asset, or it is deleted.
///
/// A patch that changes nothing writes nothing and tells nothing.
pub(crate) async fn apply_patch(tx: &mut Tx<'_>, id: &AssetId, patch: &AssetPatch) -> Result<Option<Asset>> {
    let Some(before) = locked(tx, id).await? else { return Ok(None) };
    let Some(after) = patched(&before, patch, tx.now()) else { return Ok(Some(before)) };
    store(tx, &after).await?;
    tx.emit(&told(event_of(&before, &after), &after)).await?;
    Ok(Some(after))
}

/// Publishes a rendition: a new one, or in place of the one of the same name. Of a deleted asset nothing is published.
///
/// The same rendition again changes nothing and tells nothing.
pub(crate) async fn put_rendition(tx: &mut Tx<'_>, rendition: &Rendition) -> Result<()> {
    let Some(mut asset) = locked(tx, &rendition.asset).await? else { return Ok(()) };
    let now = tx.now();
    let rendition = Rendition { ready: now, ..rendition.clone() };
    let same = |there: &Rendition| Rendition { ready: now, ..there.clone() } == rendition;
    if find_rendition(tx, &rendition).await?.as_ref().is_some_and(same) {
        return Ok(());
    }
    tx.execute(UPSERT_RENDITION, rows::rendition_args(&rendition)).await?;
    (asset.revision, asset.updated) = (asset.revision + 1, now);
    store(tx, &asset).await?;
    tx.emit(&NewEvent {
        kind: "asset.rendition.ready",
        tenant: asset.tenant,
        asset: Some(asset.id),
        job: None,
        data: json!({ "revision": asset.revision, "rendition": described(&rendition) }),
    })
    .await
}

/// Records a failure of the asset's job, unless something plays already: then viewers keep what they have.
pub(crate) async fn errored(tx: &mut Tx<'_>, id: &AssetId, error: &StepError) -> Result<()> {
    let Some(asset) = locked(tx, id).await? else { return Ok(()) };
    if asset.state == AssetState::Ready {
        return Ok(());
    }
    let patch = AssetPatch { state: Some(AssetState::Errored), error: Some(error.clone()), ..AssetPatch::default() };
    apply_patch(tx, id, &patch).await.map(drop)
}

/// The asset, held against others until the end of the transaction; `None` when there is none, or it is deleted.
pub(in super::super) async fn locked(tx: &mut Tx<'_>, id: &AssetId) -> Result<Option<Asset>> {
    let found = tx.row(for_update(tx.dialect()), args![id]).await?;
    found.as_ref().map(rows::asset).transpose()
}

/// Says which recipe the newest job of an asset runs.
pub(in super::super) async fn set_recipe(tx: &mut Tx<'_>, id: &AssetId, recipe: &RecipeRef) -> Result<()> {
    let sql = "UPDATE assets SET recipe_name = $2, recipe_version = $3 WHERE id = $1";
    tx.execute(sql, args![id, &recipe.name, recipe.version]).await.map(drop)
}

fn for_update(dialect: Dialect) -> &'static str {
    match dialect {
        // One writer at a time: there is nobody to hold it against.
        Dialect::Sqlite => concat!("SELECT ", asset_columns!(), " FROM assets WHERE id = $1 AND state <> 'deleted'"),
        Dialect::Postgres => {
            concat!("SELECT ", asset_columns!(), " FROM assets WHERE id = $1 AND state <> 'deleted' FOR UPDATE")
        }
    }
}

/// Writes an asset that is there already.
pub(super) async fn store(tx: &mut Tx<'_>, asset: &Asset) -> Result<()> {
    tx.execute(
        "UPDATE assets SET tenant = $2, title = $3, title_folded = $4, state = $5, recipe_name = $6, recipe_version = $7, \
         source = $8, source_bytes = $9, media = $10, duration_ms = $11, poster = $12, storyboard = $13, revision = $14, \
         error = $15, metadata = $16, created = $17, updated = $18 WHERE id = $1",
        rows::asset_args(asset),
    )
    .await
    .map(drop)
}

/// The asset with the patch applied; `None` when that changes nothing.
fn patched(before: &Asset, patch: &AssetPatch, now: Wall) -> Option<Asset> {
    let mut after = before.clone();
    if let Some(title) = &patch.title {
        after.title.clone_from(title);
    }
    if let Some(state) = patch.state {
        after.state = state;
    }
    if let Some(source) = &patch.source {
        after.source = source.clone();
    }
    if let Some(metadata) = &patch.metadata {
        after.metadata = metadata.clone();
    }
    after.media = patch.media.clone().or(after.media);
    after.duration_ms = patch.duration_ms.or(after.duration_ms);
    after.poster = patch.poster.clone().or(after.poster);
    after.storyboard = patch.storyboard.clone().or(after.storyboard);
    after.error = patch.error.clone().or(after.error).filter(|_| after.state == AssetState::Errored);
    if after == *before {
        return None;
    }
    after.revision += i64::from(delivers_other(before, &after));
    after.updated = now;
    Some(after)
}

/// Whether viewers see a difference.
fn delivers_other(before: &Asset, after: &Asset) -> bool {
    before.title != after.title
        || before.state != after.state
        || before.media != after.media
        || before.duration_ms != after.duration_ms
        || before.poster != after.poster
        || before.storyboard != after.storyboard
}

fn event_of(before: &Asset, after: &Asset) -> &'static str {
    match after.state {
        AssetState::Ready if before.state != after.state => "asset.ready",
        AssetState::Errored if before.state != after.state || before.error != after.error => "asset.errored",
        _ => "asset.updated",
    }
}

/// An event about an asset as it is now.
pub(in super::super) fn told(kind: &'static str, asset: &Asset) -> NewEvent {
    let error = asset.error.as_ref();
    let error = error.map(|e| json!({ "class": e.class, "code": e.code, "human": e.human }));
    NewEvent {
        kind,
        tenant: asset.tenant.clone(),
        asset: Some(asset.id.clone()),
        job: None,
        data: json!({
            "title": asset.title,
            "state": asset.state,
            "revision": asset.revision,
            "duration_ms": asset.duration_ms,
            "error": error,
        }),
    }
}

fn described(rendition: &Rendition) -> Value {
    json!({
        "name": rendition.name,
        "kind": rendition.kind,
        "codecs": rendition.codecs,
        "width": rendition.width,
        "height": rendition.height,
        "bandwidth": rendition.bandwidth,
        "average_bandwidth": rendition.average_bandwidth,
        "language": rendition.language,
        "label": rendition.label,
        "default": rendition.default,
        "bytes": rendition.bytes,
        "quality": rendition.quality,
    })
}

async fn find_rendition(tx: &mut Tx<'_>, like: &Rendition) -> Result<Option<Rendition>> {
    let sql = concat!("SELECT ", rendition_columns!(), " FROM renditions WHERE asset = $1 AND name = $2");
    let found = tx.row(sql, args![&like.asset, &like.name]).await?;
    found.as_ref().map(rows::rendition).transpose()
}

const UPSERT_RENDITION: &str = concat!(
    "INSERT INTO renditions (",
    rendition_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
     ON CONFLICT (asset, name) DO UPDATE SET kind = excluded.kind, codecs = excluded.codecs, width = excluded.width, \
     height = excluded.height, bandwidth = excluded.bandwidth, average_bandwidth = excluded.average_bandwidth, \
     language = excluded.language, label = excluded.label, is_default = excluded.is_default, \
     media_key = excluded.media_key, media_bytes = excluded.media_bytes, index_key = excluded.index_key, \
     quality = excluded.quality, ready = excluded.ready"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(state: AssetState) -> Asset {
        let at = Wall::from_unix_ms(1);
        Asset {
            id: AssetId::new(),
            tenant: "default".into(),
            title: "A".into(),
            state,
            recipe: RecipeRef { name: "default".into(), version: 1 },
            source: Source { file_name: "a.mp4".into(), bytes: None, sha256: None, url: None, blob: None },
            media: None,
            duration_ms: None,
            poster: None,
            storyboard: None,
            revision: 1,
            error: None,
            metadata: json!({}),
            created: at,
            updated: at,
        }
    }

    fn failure(code: &str) -> StepError {
        StepError { class: ErrorClass::Input, code: code.into(), human: "No.".into(), log: None, worker: None }
    }

    fn check(before: &Asset, patch: AssetPatch, revision: i64, event: &str) -> Asset {
        let after = patched(before, &patch, Wall::from_unix_ms(2)).expect("a change");
        assert_eq!((after.revision, event_of(before, &after)), (revision, event), "{patch:?}");
        after
    }

    #[test]
    fn each_change_has_its_event_and_only_visible_ones_a_revision() {
        let preparing = asset(AssetState::Preparing);
        let none = AssetPatch::default();

        assert_eq!(patched(&preparing, &none, Wall::from_unix_ms(2)), None);
        let same = AssetPatch { title: Some("A".into()), state: Some(AssetState::Preparing), ..none.clone() };
        assert_eq!(patched(&preparing, &same, Wall::from_unix_ms(2)), None);

        check(&preparing, AssetPatch { metadata: Some(json!({"a": 1})), ..none.clone() }, 1, "asset.updated");
        check(&preparing, AssetPatch { poster: Some("p.jpg".into()), ..none.clone() }, 2, "asset.updated");
        check(&preparing, AssetPatch { state: Some(AssetState::Ready), ..none }, 2, "asset.ready");
    }

    #[test]
    fn an_error_lasts_as_long_as_the_state() {
        let failed =
            AssetPatch { state: Some(AssetState::Errored), error: Some(failure("not_media")), ..AssetPatch::default() };
        let errored = check(&asset(AssetState::Preparing), failed, 2, "asset.errored");
        assert!(errored.error.is_some());

        let other = AssetPatch { error: Some(failure("encrypted")), ..AssetPatch::default() };
        check(&errored, other, 2, "asset.errored");
        let again = AssetPatch { state: Some(AssetState::Preparing), ..AssetPatch::default() };
        assert_eq!(check(&errored, again, 3, "asset.updated").error, None);
    }
}
