//! Assets, what is delivered of them, and how much of it a tenant has.

mod change;
mod recipes;
mod rows;

pub(crate) use change::{apply_patch, errored, put_rendition};
pub(super) use change::{locked, set_recipe, told};
use rows::{asset_columns, rendition_columns};

use super::{
    engine::*,
    jobs,
    op::op,
    page::{Mark, page, rows_to_ask},
    uploads, *,
};
use crate::Error;

/// Which assets a listing shows. Empty: all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssetFilter {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// In this state.
    pub state: Option<AssetState>,
    /// With this text somewhere in the title, whatever the case; `%` and `_` mean themselves.
    pub text: Option<String>,
}

/// What a tenant has: what quotas are held against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Assets that are not deleted.
    pub assets: u64,
    /// Bytes of their sources, as announced or stored, and of their renditions.
    pub bytes: u64,
    /// Uploads that still take bytes.
    pub uploads_open: u64,
}

/// Longest text to look for, in bytes: SQLite takes patterns of up to 50,000.
pub const TEXT_FILTER_BYTES_MAX: usize = 10_000;

const LISTING: &str = "assets";

impl Catalogue {
    /// Stores a new asset and its first job, if it has one already. Creation is now, whatever `asset` says.
    ///
    /// Event `asset.created`, and the job's.
    ///
    /// # Errors
    /// When the id is taken, or the database fails.
    pub async fn create_asset(&self, asset: &Asset, job: Option<NewJob>) -> Result<()> {
        self.write(op!(asset, job; |tx| create_with_job(tx, asset, job.as_ref()))).await
    }

    /// An asset, unless it is deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn asset(&self, id: &AssetId) -> Result<Option<Asset>> {
        self.read(op!(id; |tx| find(tx, id))).await
    }

    /// A page of assets, newest first; deleted ones are not shown. `after` is the `next` of the page before.
    ///
    /// # Errors
    /// [`Error::Cursor`] when `after` is no position in this listing, [`Error::Refused`] when the text is too long, or when the database fails.
    pub async fn assets(&self, filter: &AssetFilter, after: Option<&str>, limit: u32) -> Result<Page<Asset>> {
        if filter.text.as_ref().is_some_and(|text| text.len() > TEXT_FILTER_BYTES_MAX) {
            return Err(Error::Refused {
                why: "the text to look for is too long; look for a few words of the title".into(),
            });
        }
        let after = Mark::decode_opt(LISTING, after)?;
        self.read(op!(filter, after, limit; |tx| list(tx, filter, after.as_ref(), *limit))).await
    }

    /// Changes what `patch` names; `None` when there is no such asset, or it is deleted.
    ///
    /// Event `asset.updated`, `asset.ready` or `asset.errored`; none when nothing changes.
    ///
    /// # Errors
    /// When the patch would delete (that is [`Catalogue::delete_asset`]), or the database fails.
    pub async fn update_asset(&self, id: &AssetId, patch: &AssetPatch) -> Result<Option<Asset>> {
        if patch.state == Some(AssetState::Deleted) {
            return Err(Error::Refused { why: "a change of fields does not delete an asset; delete it".into() });
        }
        self.write(op!(id, patch; |tx| apply_patch(tx, id, patch))).await
    }

    /// Takes an asset out of sight, cancels its jobs and ends its uploads; false when it is not there or deleted already.
    ///
    /// Event `asset.deleted`. Its objects stay until they are cleaned up, see [`Catalogue::deleted_assets`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_asset(&self, id: &AssetId) -> Result<bool> {
        self.write(op!(id; |tx| delete(tx, id))).await
    }

    /// Assets that are deleted and whose objects are to be cleaned up, those deleted first first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deleted_assets(&self, limit: u32) -> Result<Vec<Asset>> {
        self.read(op!(limit; |tx| deleted(tx, *limit))).await
    }

    /// Removes every row of a deleted asset, after its objects are gone. One that is not deleted stays as it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_asset(&self, id: &AssetId) -> Result<()> {
        self.write(op!(id; |tx| forget(tx, id))).await
    }

    /// The renditions of an asset: video by height, then audio, then subtitles. Those of a deleted one, too, until it is forgotten.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn renditions(&self, asset: &AssetId) -> Result<Vec<Rendition>> {
        self.read(op!(asset; |tx| renditions(tx, asset))).await
    }

    /// What a tenant has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn usage(&self, tenant: &str) -> Result<Usage> {
        self.read(op!(tenant; |tx| usage(tx, tenant))).await
    }
}

async fn create_with_job(tx: &mut Tx<'_>, asset: &Asset, job: Option<&NewJob>) -> Result<()> {
    create(tx, asset).await?;
    match job {
        Some(job) => {
            jobs::insert_job(tx, &asset.id, job).await?;
            set_recipe(tx, &asset.id, &job.recipe).await
        }
        None => Ok(()),
    }
}

/// Stores a new asset and tells it.
pub(super) async fn create(tx: &mut Tx<'_>, asset: &Asset) -> Result<()> {
    let asset = Asset { created: tx.now(), updated: tx.now(), ..asset.clone() };
    let sql = concat!(
        "INSERT INTO assets (",
        asset_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
    );
    tx.execute(sql, rows::asset_args(&asset)).await?;
    tx.emit(&told("asset.created", &asset)).await
}

async fn find(tx: &mut Tx<'_>, id: &AssetId) -> Result<Option<Asset>> {
    let sql = concat!("SELECT ", asset_columns!(), " FROM assets WHERE id = $1 AND state <> 'deleted'");
    tx.row(sql, args![id]).await?.as_ref().map(rows::asset).transpose()
}

async fn list(tx: &mut Tx<'_>, filter: &AssetFilter, after: Option<&Mark>, limit: u32) -> Result<Page<Asset>> {
    let sql = concat!(
        "SELECT ",
        asset_columns!(),
        " FROM assets WHERE state <> 'deleted' AND (tenant = $1 OR $1 IS NULL) AND (state = $2 OR $2 IS NULL) \
         AND (title_folded LIKE $3 ESCAPE '!' OR $3 IS NULL) AND ((created, id) < ($4, $5) OR $4 IS NULL) \
         ORDER BY created DESC, id DESC LIMIT $6"
    );
    let args = args![
        filter.tenant.as_ref(),
        filter.state,
        filter.text.as_deref().map(pattern),
        after.map(|mark| mark.at),
        after.map(|mark| &mark.tie),
        rows_to_ask(limit),
    ];
    let found: Vec<Asset> = tx.rows(sql, args).await?.iter().map(rows::asset).collect::<Result<_, _>>()?;
    Ok(page(found, limit, LISTING, |asset| Mark { at: asset.created.unix_ms(), tie: asset.id.to_string() }))
}

/// A LIKE pattern that finds `text` anywhere, with `!` before what would be a wildcard.
fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in rows::folded(text).chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

async fn delete(tx: &mut Tx<'_>, id: &AssetId) -> Result<bool> {
    // What changes a job holds the job before its asset. In the same order here, neither waits for the other.
    jobs::cancel_jobs_of(tx, id).await?;
    match locked(tx, id).await? {
        Some(asset) => delete_locked(tx, asset).await.map(|()| true),
        None => Ok(false),
    }
}

/// Deletes an asset that [`locked`] gave.
pub(super) async fn delete_locked(tx: &mut Tx<'_>, mut asset: Asset) -> Result<()> {
    uploads::end_of_asset(tx, &asset.id).await?;
    // A job that came just before the asset was held.
    jobs::cancel_jobs_of(tx, &asset.id).await?;
    asset.state = AssetState::Deleted;
    asset.revision += 1;
    asset.updated = tx.now();
    change::store(tx, &asset).await?;
    tx.emit(&told("asset.deleted", &asset)).await
}

async fn deleted(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<Asset>> {
    let sql =
        concat!("SELECT ", asset_columns!(), " FROM assets WHERE state = 'deleted' ORDER BY updated, id LIMIT $1");
    tx.rows(sql, args![limit]).await?.iter().map(rows::asset).collect()
}

async fn forget(tx: &mut Tx<'_>, id: &AssetId) -> Result<()> {
    let gone = tx.execute("DELETE FROM assets WHERE id = $1 AND state = 'deleted'", args![id]).await?;
    if gone == 0 {
        return Ok(());
    }
    uploads::forget_of_asset(tx, id).await?;
    tx.execute("DELETE FROM jobs WHERE asset = $1", args![id]).await.map(drop)
}

async fn renditions(tx: &mut Tx<'_>, asset: &AssetId) -> Result<Vec<Rendition>> {
    let sql = concat!(
        "SELECT ",
        rendition_columns!(),
        " FROM renditions WHERE asset = $1 ORDER BY CASE kind WHEN 'video' THEN 0 WHEN 'audio' THEN 1 ELSE 2 END, \
         COALESCE(height, 0), bandwidth, name"
    );
    tx.rows(sql, args![asset]).await?.iter().map(rows::rendition).collect()
}

async fn usage(tx: &mut Tx<'_>, tenant: &str) -> Result<Usage> {
    // SUM of BIGINT is NUMERIC on Postgres.
    let sql = "SELECT \
        (SELECT COUNT(*) FROM assets WHERE tenant = $1 AND state <> 'deleted') AS assets, \
        (SELECT CAST(COALESCE(SUM(source_bytes), 0) AS BIGINT) FROM assets WHERE tenant = $1 AND state <> 'deleted') AS sources, \
        (SELECT CAST(COALESCE(SUM(r.media_bytes), 0) AS BIGINT) FROM renditions r JOIN assets a ON a.id = r.asset \
         WHERE a.tenant = $1 AND a.state <> 'deleted') AS renditions, \
        (SELECT COUNT(*) FROM uploads WHERE tenant = $1 AND state = 'open') AS uploads";
    let row = tx.row(sql, args![tenant]).await?.expect("a SELECT without FROM gives one row");
    Ok(Usage {
        assets: row.unsigned("assets")?,
        bytes: row.unsigned("sources")? + row.unsigned("renditions")?,
        uploads_open: row.unsigned("uploads")?,
    })
}
