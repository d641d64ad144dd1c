//! How an upload and the objects of its bytes lie in their tables.

use super::super::{engine::*, *};

macro_rules! upload_columns {
    () => {
        "id, asset, tenant, state, bytes, stored, metadata, partial, expires, created"
    };
}

pub(super) use upload_columns;

pub(super) async fn insert(tx: &mut Tx<'_>, upload: &Upload) -> Result<()> {
    let sql = concat!("INSERT INTO uploads (", upload_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
    let args = args![
        &upload.id,
        upload.asset.as_ref(),
        &upload.tenant,
        upload.state,
        upload.bytes,
        upload.offset,
        &upload.metadata,
        upload.partial,
        upload.expires,
        upload.created,
    ];
    tx.execute(sql, args).await?;
    let mut position = 0;
    for part in upload.blob.parts.iter().filter(|part| part.bytes > 0) {
        insert_part(tx, &upload.id, position, part).await?;
        position += part.bytes;
    }
    Ok(())
}

pub(super) async fn insert_part(tx: &mut Tx<'_>, id: &UploadId, position: u64, part: &BlobPart) -> Result<()> {
    let sql = "INSERT INTO upload_parts (upload, position, key, bytes) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, args![id, position, &part.key, part.bytes]).await.map(drop)
}

pub(super) async fn find(tx: &mut Tx<'_>, id: &UploadId) -> Result<Option<Upload>> {
    let sql = concat!("SELECT ", upload_columns!(), " FROM uploads WHERE id = $1");
    match tx.row(sql, args![id]).await? {
        Some(row) => with_parts(tx, &row).await.map(Some),
        None => Ok(None),
    }
}

/// The upload of a row with all its objects.
pub(super) async fn with_parts(tx: &mut Tx<'_>, row: &Row) -> Result<Upload> {
    let sql = "SELECT key, bytes FROM upload_parts WHERE upload = $1 ORDER BY position";
    with_parts_by(tx, row, sql).await
}

/// The upload of a row with the objects that no upload but those that are gone needs beside it.
pub(super) async fn with_free_parts(tx: &mut Tx<'_>, row: &Row) -> Result<Upload> {
    let sql = "SELECT p.key, p.bytes FROM upload_parts p WHERE p.upload = $1 AND NOT EXISTS \
               (SELECT 1 FROM upload_parts q JOIN uploads u ON u.id = q.upload \
                WHERE q.key = p.key AND q.upload <> p.upload AND u.state <> 'gone') ORDER BY p.position";
    with_parts_by(tx, row, sql).await
}

async fn with_parts_by(tx: &mut Tx<'_>, row: &Row, sql: &'static str) -> Result<Upload> {
    let id: UploadId = row.id("id")?;
    let parts = tx.rows(sql, args![&id]).await?.iter().map(part).collect::<Result<_, _>>()?;
    Ok(Upload {
        id,
        asset: row.opt_id("asset")?,
        tenant: row.text("tenant")?,
        state: row.word("state", UploadState::from_word)?,
        bytes: row.opt_int("bytes")?.map(i64::unsigned_abs),
        offset: row.unsigned("stored")?,
        blob: Blob { parts },
        metadata: row.json("metadata")?,
        partial: row.flag("partial")?,
        expires: row.wall("expires")?,
        created: row.wall("created")?,
    })
}

fn part(row: &Row) -> Result<BlobPart> {
    Ok(BlobPart { key: row.text("key")?, bytes: row.unsigned("bytes")? })
}
