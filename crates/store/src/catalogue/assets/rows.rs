//! How an asset and a rendition lie in their tables.

use serde_json::json;

use super::super::{engine::*, *};

macro_rules! asset_columns {
    () => {
        "id, tenant, title, title_folded, state, recipe_name, recipe_version, source, source_bytes, media, duration_ms, poster, \
         storyboard, revision, error, metadata, created, updated"
    };
}

macro_rules! rendition_columns {
    () => {
        "asset, name, kind, codecs, width, height, bandwidth, average_bandwidth, language, label, is_default, media_key, \
         media_bytes, index_key, quality, ready"
    };
}

pub(super) use {asset_columns, rendition_columns};

/// Reads [`asset_columns`].
pub(super) fn asset(row: &Row) -> Result<Asset> {
    Ok(Asset {
        id: row.id("id")?,
        tenant: row.text("tenant")?,
        title: row.text("title")?,
        state: row.word("state", AssetState::from_word)?,
        recipe: RecipeRef { name: row.text("recipe_name")?, version: row.int("recipe_version")? },
        source: row.stored("source")?,
        media: row.opt_stored("media")?,
        duration_ms: row.opt_int("duration_ms")?,
        poster: row.opt_text("poster")?,
        storyboard: row.opt_stored("storyboard")?,
        revision: row.int("revision")?,
        error: row.opt_stored("error")?,
        metadata: row.json("metadata")?,
        created: row.wall("created")?,
        updated: row.wall("updated")?,
    })
}

/// The values of [`asset_columns`].
pub(super) fn asset_args(asset: &Asset) -> Vec<Arg> {
    args![
        &asset.id,
        &asset.tenant,
        &asset.title,
        folded(&asset.title),
        asset.state,
        &asset.recipe.name,
        asset.recipe.version,
        &json!(asset.source),
        counted_bytes(&asset.source),
        asset.media.as_ref(),
        asset.duration_ms,
        asset.poster.as_ref(),
        asset.storyboard.as_ref(),
        asset.revision,
        asset.error.as_ref().map(|error| json!(error).to_string()),
        &asset.metadata,
        asset.created,
        asset.updated,
    ]
}

/// A text as the filter compares it.
pub(super) fn folded(text: &str) -> String {
    text.to_lowercase()
}

/// What a source counts for in a quota: its size as announced, or what is stored of it.
fn counted_bytes(source: &Source) -> u64 {
    let stored = source.blob.as_ref().map_or(0, Blob::bytes);
    source.bytes.unwrap_or(0).max(stored)
}

/// Reads [`rendition_columns`].
pub(super) fn rendition(row: &Row) -> Result<Rendition> {
    Ok(Rendition {
        asset: row.id("asset")?,
        name: row.text("name")?,
        kind: row.word("kind", MediaKind::from_word)?,
        codecs: row.text("codecs")?,
        width: row.opt_int("width")?,
        height: row.opt_int("height")?,
        bandwidth: row.int("bandwidth")?,
        average_bandwidth: row.int("average_bandwidth")?,
        language: row.opt_text("language")?,
        label: row.opt_text("label")?,
        default: row.flag("is_default")?,
        object: row.text("media_key")?,
        bytes: row.int("media_bytes")?,
        index: row.text("index_key")?,
        quality: row.json("quality")?,
        ready: row.wall("ready")?,
    })
}

/// The values of [`rendition_columns`].
pub(super) fn rendition_args(rendition: &Rendition) -> Vec<Arg> {
    args![
        &rendition.asset,
        &rendition.name,
        rendition.kind,
        &rendition.codecs,
        rendition.width,
        rendition.height,
        rendition.bandwidth,
        rendition.average_bandwidth,
        rendition.language.as_ref(),
        rendition.label.as_ref(),
        rendition.default,
        &rendition.object,
        rendition.bytes,
        &rendition.index,
        &rendition.quality,
        rendition.ready,
    ]
}
