//! The beginning of an upload: what the client says of the file, the limits it is held to, and the rows.

use base::Wall;
use http::StatusCode;
use serde_json::{Map, Value};
use store::{Asset, AssetId, AssetState, Blob, Principal, RecipeRef, Source, Upload, UploadId, UploadState, Usage};

use super::{Inner, header::Metadata, name, problem::Problem};

/// Tenant of callers who are nobody's.
const DEFAULT_TENANT: &str = "default";
/// Longest title, in characters.
const TITLE_CHARS_MAX: usize = 500;
/// Longest tenant, in bytes.
const TENANT_BYTES_MAX: usize = 100;
/// Largest `metadata` of an asset, in bytes of JSON.
const ASSET_METADATA_BYTES_MAX: usize = 16 * 1024;

/// What a client says of a file before its bytes.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) tenant: String,
    file_name: String,
    title: String,
    recipe: RecipeRef,
    sha256: Option<String>,
    /// Free fields of the asset.
    metadata: Value,
}

impl Draft {
    /// Reads the keys `filename`, `title`, `recipe`, `sha256`, `metadata` and `tenant`.
    pub(super) async fn of(inner: &Inner, principal: &Principal, fields: &Metadata) -> Result<Self, Problem> {
        let field = |key: &str| fields.get(key).and_then(Option::as_deref).filter(|text| !text.is_empty());
        let file_name = name::file_name(field("filename").or(field("name")).unwrap_or_default());
        let title = field("title").map_or_else(|| file_name.clone(), str::to_owned);
        if title.chars().count() > TITLE_CHARS_MAX || title.chars().any(char::is_control) {
            let hint = "Use up to 500 characters on one line.";
            return Err(Problem::bad_request("invalid_title", "The title cannot be used.", hint));
        }
        Ok(Self {
            tenant: tenant(principal, field("tenant"))?,
            recipe: recipe(inner, field("recipe")).await?,
            sha256: field("sha256").map(sha256).transpose()?,
            metadata: asset_metadata(field("metadata"))?,
            file_name,
            title,
        })
    }

    pub(super) fn title(&self) -> &str {
        &self.title
    }

    fn asset(&self, bytes: Option<u64>, now: Wall) -> Asset {
        Asset {
            id: AssetId::new(),
            tenant: self.tenant.clone(),
            title: self.title.clone(),
            state: AssetState::Uploading,
            recipe: self.recipe.clone(),
            source: Source {
                file_name: self.file_name.clone(),
                bytes,
                // As announced; it is the file's once the upload is complete.
                sha256: self.sha256.clone(),
                url: None,
                blob: None,
            },
            media: None,
            duration_ms: None,
            poster: None,
            storyboard: None,
            revision: 0,
            error: None,
            metadata: self.metadata.clone(),
            created: now,
            updated: now,
        }
    }
}

/// The tenant that a caller uploads for.
pub(super) fn tenant(principal: &Principal, asked: Option<&str>) -> Result<String, Problem> {
    let tenant = asked.or(principal.tenant.as_deref()).unwrap_or(DEFAULT_TENANT);
    if !principal.sees(tenant) {
        let hint = "Leave the tenant out, or use a token of it.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "This token is another tenant's.", hint));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if tenant.is_empty() || tenant.len() > TENANT_BYTES_MAX || !tenant.bytes().all(plain) {
        let hint = "Use up to 100 of A-Z a-z 0-9 - _ and dots.";
        return Err(Problem::bad_request("invalid_tenant", "The tenant cannot be used.", hint));
    }
    Ok(tenant.to_owned())
}

async fn recipe(inner: &Inner, name: Option<&str>) -> Result<RecipeRef, Problem> {
    inner.jobs.recipe(name).await?.ok_or_else(|| {
        let name: String = name.unwrap_or("default").chars().take(100).collect();
        let hint = "List the recipes with GET /api/v1/recipes, or leave it out.";
        Problem::bad_request("unknown_recipe", format!("There is no recipe {name:?}."), hint)
    })
}

fn sha256(text: &str) -> Result<String, Problem> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    let hint = "Send the 64 hexadecimal digits of the file's SHA-256, or leave it out.";
    Err(Problem::bad_request("invalid_sha256", "The sha256 is none.", hint))
}

fn asset_metadata(text: Option<&str>) -> Result<Value, Problem> {
    let Some(text) = text else { return Ok(Value::Object(Map::new())) };
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) if text.len() <= ASSET_METADATA_BYTES_MAX => Ok(value),
        _ => {
            let hint = "Send a JSON object of up to 16 KiB, or leave it out.";
            Err(Problem::bad_request("invalid_metadata", "The metadata cannot be used.", hint))
        }
    }
}

/// An upload to be.
pub(super) struct Beginning<'a> {
    pub(super) tenant: &'a str,
    /// `None` for a part of a concatenation, which is no asset.
    pub(super) draft: Option<&'a Draft>,
    /// Size, unless it comes later.
    pub(super) bytes: Option<u64>,
    /// Bytes that are there already.
    pub(super) blob: Blob,
    /// What the client said, as it said it.
    pub(super) fields: &'a Metadata,
}

/// Stores the rows of an upload, if the tenant's limits let it.
pub(super) async fn begin(inner: &Inner, beginning: Beginning<'_>) -> Result<Upload, Problem> {
    let usage = inner.catalogue.usage(beginning.tenant).await?;
    within_limits(inner, &usage, &beginning)?;
    let now = inner.catalogue.now().await?;
    let asset = beginning.draft.map(|draft| draft.asset(beginning.bytes, now));
    let upload = Upload {
        id: UploadId::new(),
        asset: asset.as_ref().map(|asset| asset.id.clone()),
        tenant: beginning.tenant.to_owned(),
        state: UploadState::Open,
        bytes: beginning.bytes,
        offset: beginning.blob.bytes(),
        blob: beginning.blob,
        metadata: serde_json::json!(beginning.fields),
        partial: beginning.draft.is_none(),
        expires: inner.expires(now),
        created: now,
    };
    inner.catalogue.create_upload(&upload, asset.as_ref()).await?;
    tracing::info!(upload = %upload.id, asset = ?upload.asset, bytes = ?upload.bytes, "an upload begins");
    Ok(upload)
}

fn within_limits(inner: &Inner, usage: &Usage, beginning: &Beginning<'_>) -> Result<(), Problem> {
    let config = &inner.config;
    let bytes = beginning.bytes.unwrap_or(0);
    let is_asset = beginning.draft.is_some();
    if beginning.bytes == Some(0) {
        return Err(Problem::empty());
    }
    if bytes > config.upload_bytes_max {
        let detail = format!("The file has {bytes} bytes; at most {} are taken.", config.upload_bytes_max);
        return Err(Problem::too_large(detail));
    }
    if usage.uploads_open >= config.uploads_open_max {
        let detail = format!("{} uploads are unfinished, as many as a tenant may have.", usage.uploads_open);
        let hint = "Finish some of them, end them with DELETE, or wait until they expire.";
        let status = StatusCode::TOO_MANY_REQUESTS;
        return Err(Problem::new(status, "uploads_open_max", detail, hint).header("retry-after", 60));
    }
    if is_asset && config.assets_max > 0 && usage.assets >= config.assets_max {
        let detail = format!("There are {} assets, as many as this tenant may have.", usage.assets);
        return Err(quota("assets_max", detail, "Delete assets, or have the operator raise vod.assets_max."));
    }
    if config.bytes_max > 0 && usage.bytes.saturating_add(bytes) > config.bytes_max {
        let detail = format!("{} of {} bytes are used; {bytes} more do not fit.", usage.bytes, config.bytes_max);
        return Err(quota("bytes_max", detail, "Delete assets, or have the operator raise vod.bytes_max."));
    }
    Ok(())
}

fn quota(code: &'static str, detail: String, hint: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, detail, hint)
}

impl Inner {
    /// When an upload that got bytes now is given up.
    pub(super) fn expires(&self, now: Wall) -> Wall {
        now.plus_ms(i64::try_from(self.config.upload_expire_ms).unwrap_or(i64::MAX))
    }

    /// How many more bytes `upload` may get.
    pub(super) async fn room(&self, upload: &Upload) -> Result<u64, store::Error> {
        if let Some(bytes) = upload.bytes {
            return Ok(bytes.saturating_sub(upload.offset));
        }
        let room = self.config.upload_bytes_max.saturating_sub(upload.offset);
        if self.config.bytes_max == 0 {
            return Ok(room);
        }
        let used = self.catalogue.usage(&upload.tenant).await?.bytes;
        Ok(room.min(self.config.bytes_max.saturating_sub(used)))
    }
}
