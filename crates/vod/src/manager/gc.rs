//! Clean-up: objects that no row names and no lease protects, and what is left of deleted assets.
//!
//! Nothing is deleted that is younger than an hour: a worker may have stored it a moment ago, and the row that names it may be
//! on its way.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use store::{
    Key,
    catalogue::{Asset, AssetId, JobId, JobState, StepId},
};

use super::{Manager, ManagerError};
use crate::protocol::Storyboard;

/// Younger objects stay, in milliseconds.
const GRACE_MS: i64 = 3_600_000;
/// How long the intermediate objects of a job that failed wait for a retry, in milliseconds: a week. A later retry makes them
/// again.
const RETRY_MS: i64 = 7 * 24 * 3_600_000;
/// Deleted assets removed in one run.
const DELETED_MAX: u32 = 1_000;
/// Prefixes named in a report.
const NAMED_MAX: usize = 100;

/// What a run of clean-up removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcReport {
    /// Nothing was removed: a dry run.
    pub dry_run: bool,
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Deleted assets whose last traces went.
    pub assets: u64,
    /// Prefixes that went, the first hundred.
    pub prefixes: Vec<String>,
}

/// Objects below one prefix.
#[derive(Debug, Default)]
struct Found {
    keys: Vec<Key>,
    bytes: u64,
    newest_ms: i64,
}

impl Manager {
    /// Removes what nothing needs: intermediate objects that no lease holds and no job goes on with; delivered objects that no row names; objects of deleted assets. With `dry_run` it only tells.
    ///
    /// # Errors
    /// The catalogue's or the object store's; what was removed before stays removed.
    pub async fn gc(&self, dry_run: bool) -> Result<GcReport, ManagerError> {
        let mut report = GcReport { dry_run, ..GcReport::default() };
        self.sweep_deleted(&mut report).await?;
        self.sweep_work(&mut report).await?;
        self.sweep_assets(&mut report).await?;
        if !dry_run {
            metrics::counter!("headwater_vod_gc_bytes_total").increment(report.bytes);
            metrics::counter!("headwater_vod_gc_objects_total").increment(report.objects);
        }
        if report.objects > 0 || report.assets > 0 {
            let GcReport { objects, bytes, assets, .. } = report;
            tracing::info!(dry_run, objects, bytes, assets, "clean-up of objects that nothing needs");
        }
        Ok(report)
    }

    /// Objects of deleted assets, then their rows.
    async fn sweep_deleted(&self, report: &mut GcReport) -> Result<(), ManagerError> {
        for asset in self.catalogue().deleted_assets(DELETED_MAX).await? {
            let mut keys = self.below(&format!("assets/{}", asset.id)).await?;
            for part in asset.source.blob.iter().flat_map(|blob| &blob.parts) {
                keys.entry(part.key.clone()).or_default().keys.push(Key::new(&part.key)?);
                keys.entry(part.key.clone()).or_default().bytes = part.bytes;
            }
            for (prefix, found) in keys {
                self.remove(report, prefix, found).await?;
            }
            report.assets += 1;
            if !report.dry_run {
                self.forget_credentials(&asset.id).await?;
                self.catalogue().forget_asset(&asset.id).await?;
            }
        }
        Ok(())
    }

    /// `work/JOB/STEP-TOKEN/`: a job that goes on keeps what its leases hold and what its steps have made.
    async fn sweep_work(&self, report: &mut GcReport) -> Result<(), ManagerError> {
        let live = self.live().await?;
        let mut kept: HashMap<String, Option<HashSet<String>>> = HashMap::new();
        for (prefix, found) in self.below("work").await? {
            let mut parts = prefix.split('/').skip(1);
            let (Some(job), Some(lease)) = (parts.next(), parts.next()) else { continue };
            if live.contains(lease) || !self.is_old(&found).await? {
                continue;
            }
            if !kept.contains_key(job) {
                kept.insert(job.to_owned(), self.kept_of(job).await?);
            }
            let needed = kept.get(job).and_then(Option::as_ref).is_some_and(|leases| leases.contains(lease));
            if !needed {
                self.remove(report, prefix, found).await?;
            }
        }
        Ok(())
    }

    /// Leases (`STEP-TOKEN`) whose objects a job still needs; `None` when it has ended, or is none.
    async fn kept_of(&self, job: &str) -> Result<Option<HashSet<String>>, ManagerError> {
        let Ok(id) = job.parse::<JobId>() else { return Ok(None) };
        let Some(job) = self.catalogue().job(&id).await? else { return Ok(None) };
        // Failed and cancelled jobs may be retried from where they stand, for a while.
        let forgotten = match job.finished {
            Some(finished) => self.now().await?.unix_ms() - finished.unix_ms() > RETRY_MS,
            None => false,
        };
        if job.state == JobState::Done || forgotten {
            return Ok(None);
        }
        let steps = self.catalogue().steps(&id).await?;
        let made = steps.iter().filter_map(|step| step.output.as_ref()?.pointer("/object/key")?.as_str());
        Ok(Some(made.filter_map(lease_of).map(str::to_owned).collect()))
    }

    /// `assets/ASSET/STEP-TOKEN/`: what a row names stays, and what a lease holds.
    async fn sweep_assets(&self, report: &mut GcReport) -> Result<(), ManagerError> {
        let live = self.live().await?;
        let mut kept: HashMap<String, Option<HashSet<String>>> = HashMap::new();
        for (prefix, found) in self.below("assets").await? {
            let mut parts = prefix.split('/').skip(1);
            let (Some(asset), Some(lease)) = (parts.next(), parts.next()) else { continue };
            if live.contains(lease) || live_step(&live, lease) || !self.is_old(&found).await? {
                continue;
            }
            if !kept.contains_key(asset) {
                kept.insert(asset.to_owned(), self.named_of(asset).await?);
            }
            // An asset that is not there (any more) names nothing; one that is deleted was swept before.
            let Some(Some(named)) = kept.get(asset) else {
                self.remove(report, prefix, found).await?;
                continue;
            };
            if !named.contains(lease) {
                self.remove(report, prefix, found).await?;
            }
        }
        Ok(())
    }

    /// Leases whose objects an asset's rows name; `None` when there is no such asset.
    async fn named_of(&self, asset: &str) -> Result<Option<HashSet<String>>, ManagerError> {
        let Ok(id) = asset.parse::<AssetId>() else { return Ok(None) };
        let Some(asset) = self.catalogue().asset(&id).await? else { return Ok(None) };
        let renditions = self.catalogue().renditions(&id).await?;
        let mut keys: Vec<String> = named_by(&asset);
        keys.extend(renditions.into_iter().flat_map(|rendition| [rendition.object, rendition.index]));
        Ok(Some(keys.iter().filter_map(|key| lease_of(key)).map(str::to_owned).collect()))
    }

    /// Objects below `folder`, by their first three segments.
    async fn below(&self, folder: &str) -> Result<BTreeMap<String, Found>, ManagerError> {
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        let mut objects = self.objects().list_meta(&Key::new(folder)?);
        while let Some((key, meta)) = objects.try_next().await? {
            let end = key.as_str().match_indices('/').nth(2).map_or(key.as_str().len(), |(at, _)| at);
            let group = found.entry(key.as_str()[..end].to_owned()).or_default();
            group.bytes += meta.bytes;
            group.newest_ms = group.newest_ms.max(meta.modified.unix_ms());
            group.keys.push(key);
        }
        Ok(found)
    }

    async fn is_old(&self, found: &Found) -> Result<bool, ManagerError> {
        Ok(self.now().await?.unix_ms() - found.newest_ms >= GRACE_MS)
    }

    async fn live(&self) -> Result<HashSet<String>, ManagerError> {
        let tokens: Vec<(StepId, i64)> = self.catalogue().live_tokens().await?;
        Ok(tokens.into_iter().map(|(step, token)| format!("{step}-{token}")).collect())
    }

    async fn remove(&self, report: &mut GcReport, prefix: String, found: Found) -> Result<(), ManagerError> {
        report.objects += found.keys.len() as u64;
        report.bytes += found.bytes;
        if report.prefixes.len() < NAMED_MAX {
            report.prefixes.push(prefix);
        }
        if report.dry_run {
            return Ok(());
        }
        for key in &found.keys {
            self.objects().delete(key).await?;
        }
        Ok(())
    }
}

/// Whether another lease of the same step holds: a fetch goes on with the parts of the one before.
fn live_step(live: &HashSet<String>, lease: &str) -> bool {
    let step = |lease: &str| lease.rsplit_once('-').map(|(step, _)| step.to_owned());
    let own = step(lease);
    own.is_some() && live.iter().any(|other| step(other) == own)
}

/// `STEP-TOKEN` of a key.
fn lease_of(key: &str) -> Option<&str> {
    key.split('/').nth(2)
}

fn named_by(asset: &Asset) -> Vec<String> {
    let parts = asset.source.blob.iter().flat_map(|blob| &blob.parts).map(|part| part.key.clone());
    let storyboard = asset.storyboard.as_ref().and_then(|value| Storyboard::deserialize(value).ok());
    let sheets = storyboard.into_iter().flat_map(|board| board.sheets).map(|sheet| sheet.key);
    parts.chain(asset.poster.clone()).chain(sheets).collect()
}
