//! The manager: turns sources into jobs, hands steps to workers, takes in what they made, and keeps house.
//!
//! Any number of them work on one catalogue: every request is one or two transactions, and what must be done once is done by
//! the one that holds the leader lease.

mod claim;
mod destinations;
mod dry_run;
mod error;
mod finish;
mod gc;
mod maintenance;
mod objects;
mod service;
mod tracks;

use std::sync::{Arc, atomic::AtomicU64};

use base::Wall;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use store::{
    Objects,
    catalogue::{Asset, AssetId, AssetState, Catalogue, JobId, NewJob, RecipeRef, RecipeRow, Source},
};

pub use dry_run::{DryRun, DryRunStep};
pub use error::ManagerError;
pub use gc::GcReport;
pub use maintenance::LEADER_TTL_MS;

use crate::{
    Config,
    plan::{self, Limits},
    progress::{self, JobProgress},
    protocol::Credentials,
    recipe::Recipe,
    upload::{JobError, JobSource},
};

/// The recipe when nobody names one.
pub const DEFAULT_RECIPE: &str = "default";
/// The tenant when nobody names one.
pub const DEFAULT_TENANT: &str = "default";
/// Longest title, in characters; longer ones are cut.
const TITLE_CHARS_MAX: usize = 300;

/// What a manager works on.
#[derive(Debug)]
pub struct ManagerSettings {
    /// The catalogue.
    pub catalogue: Catalogue,
    /// The objects.
    pub objects: Objects,
    /// Section `vod`.
    pub config: Config,
}

/// The manager. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Manager {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalogue: Catalogue,
    objects: Objects,
    config: Config,
    limits: Limits,
    /// This process among those that want to lead.
    holder: String,
    /// Workers seen of late: their number sets how often they report.
    workers: AtomicU64,
}

/// What a new asset is made of.
#[derive(Clone, Debug)]
pub struct NewAsset {
    /// Whose.
    pub tenant: String,
    /// Title; empty takes the file's name.
    pub title: String,
    /// Recipe by name; `None` takes [`DEFAULT_RECIPE`].
    pub recipe: Option<String>,
    /// Free fields, echoed back.
    pub metadata: Value,
}

impl Manager {
    /// A manager on `settings`. It does nothing by itself: see [`Manager::run`] and [`Manager::worker_service`].
    pub fn new(settings: ManagerSettings) -> Self {
        let ManagerSettings { catalogue, objects, config } = settings;
        let limits = Limits {
            duration_ms_max: i64::try_from(config.source_hours_max.saturating_mul(3_600_000)).unwrap_or(i64::MAX),
            bytes_max: config.upload_bytes_max,
            private_addresses: config.private_addresses,
            ..Limits::default()
        };
        let holder = format!("{}-{:016x}", std::process::id(), rand::random::<u64>());
        let inner = Inner { catalogue, objects, config, limits, holder, workers: AtomicU64::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// What a source may be here.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.inner.catalogue
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.inner.objects
    }

    /// The newest version of a recipe; `None` when there is none of that name. Built-in ones are stored when first asked for.
    ///
    /// # Errors
    /// The catalogue's.
    pub async fn recipe_row(&self, name: &str) -> Result<Option<RecipeRow>, ManagerError> {
        if let Some(row) = self.catalogue().recipe(name, None).await? {
            return Ok(Some(row));
        }
        match Recipe::built_in().remove(name) {
            Some(recipe) => Ok(Some(self.catalogue().put_recipe(name, &recipe.to_json()).await?)),
            None => Ok(None),
        }
    }

    /// Every recipe in its newest version, the built-in ones included.
    ///
    /// # Errors
    /// The catalogue's.
    pub async fn recipes(&self) -> Result<Vec<RecipeRow>, ManagerError> {
        self.store_built_in().await?;
        Ok(self.catalogue().recipes().await?)
    }

    /// Stores a recipe: a further version when the name is taken.
    ///
    /// # Errors
    /// [`ManagerError::Recipe`] when it cannot be used, or the catalogue's.
    pub async fn put_recipe(&self, name: &str, body: &Value) -> Result<RecipeRow, ManagerError> {
        if !Recipe::valid_name(name) {
            return Err(ManagerError::RecipeName { name: name.chars().take(80).collect() });
        }
        let recipe = Recipe::from_json(body)?;
        Ok(self.catalogue().put_recipe(name, &recipe.to_json()).await?)
    }

    async fn store_built_in(&self) -> Result<(), ManagerError> {
        for name in Recipe::built_in().keys() {
            self.recipe_row(name).await?;
        }
        Ok(())
    }

    /// The recipe of a job, in the version that the job was begun with.
    async fn recipe_of(&self, id: &RecipeRef) -> Result<Recipe, ManagerError> {
        let row = self.catalogue().recipe(&id.name, Some(id.version)).await?;
        let row = row.ok_or_else(|| ManagerError::NoRecipe { name: format!("{}@{}", id.name, id.version) })?;
        Ok(Recipe::from_json(&row.body)?)
    }

    /// A job for `asset` by `recipe`: its first steps.
    pub fn job_for(&self, asset: &Asset, recipe: RecipeRef) -> NewJob {
        NewJob {
            id: JobId::new(),
            recipe,
            priority: 0,
            context: json!({ plan::AHEAD: plan::ahead_at_first(&asset.source) }),
            steps: plan::first(&asset.source, &self.inner.limits),
        }
    }

    /// Creates an asset and the job that fetches and prepares it. `auth` is kept apart from the asset and forgotten with it.
    ///
    /// # Errors
    /// [`ManagerError::Url`] when nothing can be fetched from there, [`ManagerError::NoRecipe`], or the catalogue's.
    pub async fn create_from_url(
        &self,
        url: &str,
        auth: Option<Credentials>,
        new: NewAsset,
    ) -> Result<(Asset, JobId), ManagerError> {
        let (url, found) = destinations::without_credentials(url)?;
        let file_name = file_name_of(&url);
        let source = Source { file_name, bytes: None, sha256: None, url: Some(url), blob: None };
        let asset = self.asset_of(source, new).await?;
        if let Some(auth) = auth.or(found) {
            // Before the asset: its first step may be claimed at once.
            self.keep_credentials(&asset.id, &auth).await?;
        }
        self.create(asset).await
    }

    /// Creates an asset of bytes that are stored already, and its job.
    ///
    /// # Errors
    /// [`ManagerError::NoRecipe`], or the catalogue's.
    pub async fn start_asset(&self, source: Source, new: NewAsset) -> Result<(Asset, JobId), ManagerError> {
        let asset = self.asset_of(source, new).await?;
        self.create(asset).await
    }

    pub(crate) async fn create(&self, asset: Asset) -> Result<(Asset, JobId), ManagerError> {
        let job = self.job_for(&asset, asset.recipe.clone());
        let id = job.id.clone();
        self.catalogue().create_asset(&asset, Some(job)).await?;
        // Its times are the catalogue's.
        let stored = self.catalogue().asset(&asset.id).await?;
        Ok((stored.unwrap_or(asset), id))
    }

    pub(crate) async fn asset_of(&self, source: Source, new: NewAsset) -> Result<Asset, ManagerError> {
        let name = new.recipe.as_deref().unwrap_or(DEFAULT_RECIPE);
        let recipe = self.recipe_row(name).await?.ok_or_else(|| ManagerError::NoRecipe { name: name.to_owned() })?;
        let title = if new.title.trim().is_empty() { source.file_name.clone() } else { new.title };
        let now = self.catalogue().now().await?;
        Ok(Asset {
            id: AssetId::new(),
            tenant: new.tenant,
            title: title.trim().chars().take(TITLE_CHARS_MAX).collect(),
            state: AssetState::Preparing,
            recipe: recipe.id,
            source,
            media: None,
            duration_ms: None,
            poster: None,
            storyboard: None,
            revision: 1,
            error: None,
            metadata: new.metadata,
            created: now,
            updated: now,
        })
    }

    /// Makes the renditions of an asset again by `recipe` (by name; `None`: the asset's). Viewers keep what they have until
    /// the new ones take their places.
    ///
    /// # Errors
    /// [`ManagerError::NoAsset`], [`ManagerError::NoSource`] while its bytes are missing, [`ManagerError::NoRecipe`], or the
    /// catalogue's.
    pub async fn reencode(&self, asset: &AssetId, recipe: Option<&str>) -> Result<JobId, ManagerError> {
        let asset = self.catalogue().asset(asset).await?.ok_or(ManagerError::NoAsset)?;
        if asset.source.blob.is_none() && asset.source.url.is_none() {
            return Err(ManagerError::NoSource);
        }
        let name = recipe.unwrap_or(&asset.recipe.name);
        let row = self.recipe_row(name).await?.ok_or_else(|| ManagerError::NoRecipe { name: name.to_owned() })?;
        let job = self.job_for(&asset, row.id);
        let id = job.id.clone();
        self.catalogue().create_job(&asset.id, &job).await?;
        Ok(id)
    }

    /// How far a job is; `None` when there is none of that id.
    ///
    /// # Errors
    /// The catalogue's.
    pub async fn progress(&self, job: &JobId) -> Result<Option<JobProgress>, ManagerError> {
        let Some(row) = self.catalogue().job(job).await? else { return Ok(None) };
        let steps = self.catalogue().steps(job).await?;
        let position = self.catalogue().queue_position(job).await?;
        let now = self.catalogue().now().await?;
        Ok(Some(progress::of(&row, &steps, position, now)))
    }

    pub(crate) fn watch_recipe(&self) -> &str {
        &self.inner.config.watch_recipe
    }

    /// The database's time.
    async fn now(&self) -> Result<Wall, ManagerError> {
        Ok(self.catalogue().now().await?)
    }
}

impl JobSource for Manager {
    fn recipe<'a>(&'a self, name: Option<&'a str>) -> BoxFuture<'a, Result<Option<RecipeRef>, JobError>> {
        Box::pin(async move {
            let row = self.recipe_row(name.unwrap_or(DEFAULT_RECIPE)).await.map_err(Box::new)?;
            Ok(row.map(|row| row.id))
        })
    }

    fn job<'a>(&'a self, asset: &'a Asset) -> BoxFuture<'a, Result<NewJob, JobError>> {
        Box::pin(async move { Ok(self.job_for(asset, asset.recipe.clone())) })
    }
}

/// The last part of a URL's path, as a file's name.
fn file_name_of(url: &str) -> String {
    let path = url::Url::parse(url).map(|url| url.path().to_owned()).unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).take(200).collect();
    if clean.is_empty() { "source".to_owned() } else { clean }
}
