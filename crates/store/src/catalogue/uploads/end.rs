//! How uploads end without becoming an asset, and how their rows go.

use serde_json::json;

use super::super::{assets, engine::*, *};
use super::rows;

pub(super) async fn end(tx: &mut Tx<'_>, id: &UploadId) -> Result<bool> {
    let Some(upload) = rows::find(tx, id).await? else { return Ok(false) };
    let asset = super::locked_asset(tx, &upload).await?;
    let sql =
        "UPDATE uploads SET state = 'gone' WHERE id = $1 AND (state = 'open' OR (state = 'complete' AND partial = 1))";
    if tx.execute(sql, args![id]).await? == 0 {
        return Ok(false);
    }
    tx.emit(&gone(&upload)).await?;
    match asset {
        Some(asset) if asset.state == AssetState::Uploading => assets::delete_locked(tx, asset).await?,
        _ => {}
    }
    Ok(true)
}

/// Ends what is still open of an asset that is being deleted.
pub(in super::super) async fn end_of_asset(tx: &mut Tx<'_>, asset: &AssetId) -> Result<()> {
    let sql = concat!("SELECT ", rows::upload_columns!(), " FROM uploads WHERE asset = $1 AND state = 'open'");
    for row in tx.rows(sql, args![asset]).await? {
        let upload = rows::with_parts(tx, &row).await?;
        let sql = "UPDATE uploads SET state = 'gone' WHERE id = $1 AND state = 'open'";
        if tx.execute(sql, args![&upload.id]).await? == 1 {
            tx.emit(&gone(&upload)).await?;
        }
    }
    Ok(())
}

pub(super) async fn expired(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<Upload>> {
    let sql = concat!(
        "SELECT ",
        rows::upload_columns!(),
        " FROM uploads WHERE (state <> 'complete' OR partial = 1) AND (state = 'gone' OR expires <= $1) \
         ORDER BY expires, id LIMIT $2"
    );
    let found = tx.rows(sql, args![tx.now(), limit]).await?;
    let mut uploads = Vec::with_capacity(found.len());
    for row in &found {
        uploads.push(rows::with_free_parts(tx, row).await?);
    }
    Ok(uploads)
}

pub(super) async fn forget(tx: &mut Tx<'_>, id: &UploadId) -> Result<()> {
    tx.execute("DELETE FROM uploads WHERE id = $1 AND state = 'gone'", args![id]).await.map(drop)
}

/// Removes the rows of the uploads that an asset came from. Those that are gone stay until their objects are cleaned up.
pub(in super::super) async fn forget_of_asset(tx: &mut Tx<'_>, asset: &AssetId) -> Result<()> {
    tx.execute("DELETE FROM uploads WHERE asset = $1 AND state = 'complete'", args![asset]).await.map(drop)
}

fn gone(upload: &Upload) -> NewEvent {
    NewEvent {
        kind: "upload.gone",
        tenant: upload.tenant.clone(),
        asset: upload.asset.clone(),
        job: None,
        data: json!({ "upload": upload.id, "bytes": upload.offset }),
    }
}
