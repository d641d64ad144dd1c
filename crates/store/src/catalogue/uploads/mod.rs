//! Uploads: metadata before bytes, an offset that only moves when it is where the client thinks it is, and one end.

mod end;
mod rows;

pub(super) use end::{end_of_asset, forget_of_asset};

use base::Wall;
use serde_json::json;

use super::{assets, engine::*, jobs, op::op, page::PAGE_ROWS_MAX, *};
use crate::Error;

/// What became of bytes at the end of an upload.
#[derive(Clone, Debug, PartialEq)]
pub enum Append {
    /// They belong to it now; the row as it is after them.
    Stored(Upload),
    /// They do not begin where the upload ends: it is at `offset`.
    Conflict {
        /// Bytes stored.
        offset: u64,
    },
    /// There is no such upload, or it takes no bytes any more.
    Gone,
}

impl Catalogue {
    /// Stores an upload and, in the same transaction, its asset: what the client said is kept before its first byte comes.
    ///
    /// An upload may begin with bytes: its `blob`, as in a concatenation. Creation is now. Event `asset.created`.
    ///
    /// # Errors
    /// [`Error::Refused`] when the two do not fit each other or `offset` is not the size of `blob`, or when the database fails.
    pub async fn create_upload(&self, upload: &Upload, asset: Option<&Asset>) -> Result<()> {
        let fits = upload.asset.as_ref() == asset.map(|asset| &asset.id)
            && upload.offset == upload.blob.bytes()
            && upload.bytes.is_none_or(|bytes| upload.offset <= bytes);
        if !fits {
            return Err(Error::Refused {
                why: "an upload comes with its own asset and begins at the end of its bytes".into(),
            });
        }
        let asset = asset.cloned();
        self.write(op!(upload, asset; |tx| create(tx, upload, asset.as_ref()))).await
    }

    /// An upload in any state, until it is forgotten.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn upload(&self, id: &UploadId) -> Result<Option<Upload>> {
        self.read(op!(id; |tx| rows::find(tx, id))).await
    }

    /// Uploads, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn uploads(&self, tenant: Option<&str>, state: Option<UploadState>, limit: u32) -> Result<Vec<Upload>> {
        let tenant = tenant.map(str::to_owned);
        self.read(op!(tenant, state, limit; |tx| list(tx, tenant.as_deref(), *state, *limit))).await
    }

    /// Adds an object to the end of an upload, if the upload is at `expected_offset`, and moves its end of life to `expires`.
    ///
    /// Of two who append at the same offset, one is stored and the other gets the conflict; its object is nobody's. An upload that is
    /// part of a concatenation is complete with its last byte; others when [`Catalogue::complete_upload`] says so.
    ///
    /// # Errors
    /// [`Error::Refused`] when the bytes go beyond the size that was announced, or when the database fails.
    pub async fn append_upload(
        &self,
        id: &UploadId,
        expected_offset: u64,
        part: &BlobPart,
        expires: Wall,
    ) -> Result<Append> {
        self.write(op!(id, expected_offset, part, expires; |tx| append(tx, id, *expected_offset, part, *expires))).await
    }

    /// A deferred size becomes known; false when it was known already, is less than what is stored, or the upload takes no bytes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_upload_bytes(&self, id: &UploadId, bytes: u64) -> Result<bool> {
        self.write(op!(id, bytes; |tx| set_bytes(tx, id, *bytes))).await
    }

    /// The end of an upload, in one transaction: it is complete, its asset has the `source` and is preparing, `job` is in the queue.
    ///
    /// Of several callers one gets true; the others, and those of an upload that is gone, get false and nothing changes. Events
    /// `upload.complete`, `asset.updated` and the job's.
    ///
    /// # Errors
    /// [`Error::Refused`] when bytes are missing or the upload has no asset, or when the database fails.
    pub async fn complete_upload(&self, id: &UploadId, source: &Source, job: &NewJob) -> Result<bool> {
        self.write(op!(id, source, job; |tx| complete(tx, id, source, job))).await
    }

    /// Ends an upload before it is complete: its state is gone, and its asset, which has no bytes, is deleted. False when it was not
    /// open (a part of a concatenation may be complete, too).
    ///
    /// Event `upload.gone`, and `asset.deleted`. Its objects stay until they are cleaned up, see [`Catalogue::expired_uploads`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_upload(&self, id: &UploadId) -> Result<bool> {
        self.write(op!(id; |tx| end::end(tx, id))).await
    }

    /// Uploads to be cleaned up: gone, or not finished in time, or parts whose time for a concatenation is over.
    ///
    /// The `blob` of each names only the objects that no other upload needs: those may be deleted. Then [`Catalogue::end_upload`] the
    /// ones that are not gone yet *before* their objects are deleted, and [`Catalogue::forget_upload`] after.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expired_uploads(&self, limit: u32) -> Result<Vec<Upload>> {
        self.read(op!(limit; |tx| end::expired(tx, *limit))).await
    }

    /// Removes the rows of an upload that is gone, after its objects are. Any other stays as it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_upload(&self, id: &UploadId) -> Result<()> {
        self.write(op!(id; |tx| end::forget(tx, id))).await
    }
}

async fn create(tx: &mut Tx<'_>, upload: &Upload, asset: Option<&Asset>) -> Result<()> {
    if let Some(asset) = asset {
        assets::create(tx, asset).await?;
    }
    let upload = Upload { created: tx.now(), ..upload.clone() };
    rows::insert(tx, &upload).await?;
    complete_part(tx, &upload.id).await
}

async fn list(tx: &mut Tx<'_>, tenant: Option<&str>, state: Option<UploadState>, limit: u32) -> Result<Vec<Upload>> {
    let sql = concat!(
        "SELECT ",
        rows::upload_columns!(),
        " FROM uploads WHERE (tenant = $1 OR $1 IS NULL) AND (state = $2 OR $2 IS NULL) \
         ORDER BY created DESC, id DESC LIMIT $3"
    );
    let limit = limit.min(PAGE_ROWS_MAX);
    let found = tx.rows(sql, args![tenant, state, limit]).await?;
    let mut uploads = Vec::with_capacity(found.len());
    for row in &found {
        uploads.push(rows::with_parts(tx, row).await?);
    }
    Ok(uploads)
}

async fn append(
    tx: &mut Tx<'_>,
    id: &UploadId,
    expected_offset: u64,
    part: &BlobPart,
    expires: Wall,
) -> Result<Append> {
    let moved = tx
        .execute(
            "UPDATE uploads SET stored = stored + $1, expires = $2 \
             WHERE id = $3 AND state = 'open' AND stored = $4 AND (bytes IS NULL OR stored + $1 <= bytes)",
            args![part.bytes, expires, id, expected_offset],
        )
        .await?;
    if moved == 0 {
        return not_appended(tx, id, expected_offset, part).await;
    }
    // An empty body only says that the client is still there.
    if part.bytes > 0 {
        rows::insert_part(tx, id, expected_offset, part).await?;
    }
    complete_part(tx, id).await?;
    Ok(rows::find(tx, id).await?.map_or(Append::Gone, Append::Stored))
}

async fn not_appended(tx: &mut Tx<'_>, id: &UploadId, expected_offset: u64, part: &BlobPart) -> Result<Append> {
    match rows::find(tx, id).await? {
        None => Ok(Append::Gone),
        Some(upload) if upload.state == UploadState::Gone => Ok(Append::Gone),
        Some(upload) if upload.offset != expected_offset || upload.state != UploadState::Open => {
            Ok(Append::Conflict { offset: upload.offset })
        }
        Some(upload) => Err(Error::Refused {
            why: format!(
                "{} bytes at {} go beyond the {} that were announced; begin a new upload with the right size",
                part.bytes,
                upload.offset,
                upload.bytes.unwrap_or(upload.offset)
            ),
        }),
    }
}

/// Part of a concatenation: complete when all its bytes are there, without a job.
async fn complete_part(tx: &mut Tx<'_>, id: &UploadId) -> Result<()> {
    let sql =
        "UPDATE uploads SET state = 'complete' WHERE id = $1 AND partial = 1 AND state = 'open' AND stored = bytes";
    tx.execute(sql, args![id]).await.map(drop)
}

async fn set_bytes(tx: &mut Tx<'_>, id: &UploadId, bytes: u64) -> Result<bool> {
    let Some(upload) = rows::find(tx, id).await? else { return Ok(false) };
    let asset = locked_asset(tx, &upload).await?;
    let sql = "UPDATE uploads SET bytes = $1 WHERE id = $2 AND state = 'open' AND bytes IS NULL AND stored <= $1";
    if tx.execute(sql, args![bytes, id]).await? == 0 {
        return Ok(false);
    }
    complete_part(tx, id).await?;
    if let Some(asset) = asset {
        let source = Some(Source { bytes: Some(bytes), ..asset.source });
        assets::apply_patch(tx, &asset.id, &AssetPatch { source, ..AssetPatch::default() }).await?;
    }
    Ok(true)
}

async fn complete(tx: &mut Tx<'_>, id: &UploadId, source: &Source, job: &NewJob) -> Result<bool> {
    let Some(upload) = rows::find(tx, id).await? else { return Ok(false) };
    if upload.asset.is_none() {
        return Err(Error::Refused {
            why: format!("{id} is part of a concatenation and makes no asset; concatenate it"),
        });
    }
    let Some(asset) = locked_asset(tx, &upload).await? else { return Ok(false) };
    let sql = "UPDATE uploads SET state = 'complete', bytes = stored \
               WHERE id = $1 AND state = 'open' AND (bytes IS NULL OR bytes = stored)";
    if tx.execute(sql, args![id]).await? == 0 {
        return not_completed(tx, id).await;
    }
    let patch =
        AssetPatch { state: Some(AssetState::Preparing), source: Some(source.clone()), ..AssetPatch::default() };
    assets::apply_patch(tx, &asset.id, &patch).await?;
    let data = json!({ "upload": id, "bytes": upload.offset, "file_name": source.file_name });
    tx.emit(&NewEvent { kind: "upload.complete", tenant: upload.tenant, asset: upload.asset, job: None, data }).await?;
    jobs::insert_job(tx, &asset.id, job).await?;
    assets::set_recipe(tx, &asset.id, &job.recipe).await?;
    Ok(true)
}

async fn not_completed(tx: &mut Tx<'_>, id: &UploadId) -> Result<bool> {
    match rows::find(tx, id).await? {
        Some(Upload { state: UploadState::Open, offset, bytes: Some(bytes), .. }) => Err(Error::Refused {
            why: format!("{id} has {offset} of {bytes} bytes; send the rest before it is completed"),
        }),
        _ => Ok(false),
    }
}

/// The asset of an upload, held until the end of the transaction: assets are held before uploads, everywhere.
async fn locked_asset(tx: &mut Tx<'_>, upload: &Upload) -> Result<Option<Asset>> {
    match &upload.asset {
        Some(asset) => assets::locked(tx, asset).await,
        None => Ok(None),
    }
}
