use serde::Serialize;
use serde_json::Value;
use store::catalogue::{self, AssetState, MediaKind, RecipeRow, UploadState};
use url::Url;
use utoipa::ToSchema;

use super::{StepError, asset_state, media_kind, time, upload_state};

/// A recipe by name and version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecipeRef {
    /// Its name.
    #[schema(example = "default")]
    pub(crate) name: String,
    /// Its version: 1, 2, ...
    pub(crate) version: i64,
}

impl From<catalogue::RecipeRef> for RecipeRef {
    fn from(recipe: catalogue::RecipeRef) -> Self {
        Self { name: recipe.name, version: recipe.version }
    }
}

/// A stored version of a recipe.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Recipe {
    /// Its name.
    #[schema(example = "default")]
    name: String,
    /// Its version: 1, 2, ...
    version: i64,
    /// What is made of a source; the guide's page on recipes describes it.
    body: Value,
    /// When it was stored; the epoch for one that is built in and was never changed.
    #[schema(format = DateTime)]
    created: String,
}

impl From<RecipeRow> for Recipe {
    fn from(row: RecipeRow) -> Self {
        Self { name: row.id.name, version: row.id.version, body: row.body, created: time(row.created) }
    }
}

/// An asset: one film or sound recording.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Asset {
    /// Its id; also its name below `/vod/`.
    #[schema(example = "ast_06f2k5c3v1m0r4t8s2q6p0o4n8")]
    id: String,
    /// Whose it is.
    tenant: String,
    /// Title for people.
    title: String,
    /// Where it is between its first byte and its viewers.
    #[schema(schema_with = asset_state)]
    state: AssetState,
    /// The recipe of its newest job.
    recipe: RecipeRef,
    /// Where its bytes come from.
    source: Source,
    /// What the probe found.
    media: Option<Value>,
    /// Length of the presentation.
    duration_ms: Option<i64>,
    /// Where it plays, once something does.
    playback: Option<Playback>,
    /// Path of its poster, a JPEG.
    poster: Option<String>,
    /// Path of its storyboard, WebVTT over sprites.
    storyboard: Option<String>,
    /// Grows with every change of what is delivered.
    revision: i64,
    /// Why it is errored.
    error: Option<StepError>,
    /// The client's own fields.
    metadata: Value,
    /// Creation.
    #[schema(format = DateTime)]
    created: String,
    /// Last change.
    #[schema(format = DateTime)]
    updated: String,
}

/// Where an asset's bytes come from.
#[derive(Debug, Serialize, ToSchema)]
struct Source {
    /// The name that the file had.
    file_name: String,
    /// Size, when known.
    bytes: Option<u64>,
    /// SHA-256 in lower-case hex, when known.
    sha256: Option<String>,
    /// Where it was fetched from, without credentials and query.
    url: Option<String>,
    /// Whether its bytes are stored here.
    stored: bool,
}

/// Paths on the public listener.
#[derive(Debug, Serialize, ToSchema)]
struct Playback {
    /// HLS.
    hls: String,
    /// DASH.
    dash: String,
    /// Progressive MP4.
    mp4: String,
}

impl From<catalogue::Asset> for Asset {
    fn from(asset: catalogue::Asset) -> Self {
        Self {
            playback: (asset.state == AssetState::Ready).then(|| Playback::of(&asset)),
            poster: asset.poster.as_ref().map(|_| format!("/vod/{}/poster.jpg", asset.id)),
            storyboard: asset.storyboard.as_ref().map(|_| format!("/vod/{}/storyboard.vtt", asset.id)),
            id: asset.id.into(),
            tenant: asset.tenant,
            title: asset.title,
            state: asset.state,
            recipe: asset.recipe.into(),
            source: asset.source.into(),
            media: asset.media,
            duration_ms: asset.duration_ms,
            revision: asset.revision,
            error: asset.error.map(Into::into),
            metadata: asset.metadata,
            created: time(asset.created),
            updated: time(asset.updated),
        }
    }
}

impl Playback {
    fn of(asset: &catalogue::Asset) -> Self {
        let id = &asset.id;
        Self {
            hls: format!("/vod/{id}/index.m3u8"),
            dash: format!("/vod/{id}/manifest.mpd"),
            mp4: format!("/vod/{id}.mp4"),
        }
    }
}

impl From<catalogue::Source> for Source {
    fn from(source: catalogue::Source) -> Self {
        Self {
            file_name: source.file_name,
            bytes: source.bytes,
            sha256: source.sha256,
            url: source.url.as_deref().and_then(without_credentials),
            stored: source.blob.is_some(),
        }
    }
}

/// A URL without user, password, query and fragment: each may hold a secret.
fn without_credentials(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    // Schemes that have no user refuse; they have none to hide.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    Some(url.into())
}

/// A delivered rendition: one track.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rendition {
    /// Name in URLs: `v720`, `a0`, `s1`.
    name: String,
    /// What it carries.
    #[schema(schema_with = media_kind)]
    kind: MediaKind,
    /// RFC 6381 codecs.
    codecs: String,
    /// Picture width.
    width: Option<i64>,
    /// Picture height.
    height: Option<i64>,
    /// Peak bit rate in bits per second over a segment.
    bandwidth: i64,
    /// Mean bit rate in bits per second.
    average_bandwidth: i64,
    /// BCP 47 tag.
    language: Option<String>,
    /// Label for people.
    label: Option<String>,
    /// Chosen when the viewer chose nothing.
    default: bool,
    /// Size.
    bytes: i64,
    /// Measured quality, such as `{"ssim": 0.987, "vmaf": 93.1}`.
    quality: Value,
    /// When it was published.
    #[schema(format = DateTime)]
    ready: String,
}

impl From<catalogue::Rendition> for Rendition {
    fn from(rendition: catalogue::Rendition) -> Self {
        Self {
            name: rendition.name,
            kind: rendition.kind,
            codecs: rendition.codecs,
            width: rendition.width,
            height: rendition.height,
            bandwidth: rendition.bandwidth,
            average_bandwidth: rendition.average_bandwidth,
            language: rendition.language,
            label: rendition.label,
            default: rendition.default,
            bytes: rendition.bytes,
            quality: rendition.quality,
            ready: time(rendition.ready),
        }
    }
}

/// An upload on its way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Upload {
    /// Its id; also the last part of its tus URL.
    id: String,
    /// The asset that it becomes; a part of a concatenation has none.
    asset: Option<String>,
    /// Whose.
    tenant: String,
    /// Where it is.
    #[schema(schema_with = upload_state)]
    state: UploadState,
    /// Total size, when known.
    bytes: Option<u64>,
    /// Bytes stored.
    offset: u64,
    /// The fields of `Upload-Metadata`.
    metadata: Value,
    /// Whether it is a part of a concatenation.
    partial: bool,
    /// When it is given up if nothing more comes.
    #[schema(format = DateTime)]
    expires: String,
    /// Creation.
    #[schema(format = DateTime)]
    created: String,
}

impl From<catalogue::Upload> for Upload {
    fn from(upload: catalogue::Upload) -> Self {
        Self {
            id: upload.id.into(),
            asset: upload.asset.map(Into::into),
            tenant: upload.tenant,
            state: upload.state,
            bytes: upload.bytes,
            offset: upload.offset,
            metadata: upload.metadata,
            partial: upload.partial,
            expires: time(upload.expires),
            created: time(upload.created),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_shows_no_credentials() {
        let check =
            |url: &str, expected: Option<&str>| assert_eq!(without_credentials(url).as_deref(), expected, "{url}");
        check("https://user:pass@host.example/a.mov?sig=1#x", Some("https://host.example/a.mov"));
        check("sftp://user@host.example/a.mov", Some("sftp://host.example/a.mov"));
        check("not a url", None);
    }
}
