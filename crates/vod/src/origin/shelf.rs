//! What is published of an asset at one moment, and the indexes of its tracks.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use packager::vod::{Progressive, TrackIndex};
use store::{
    Catalogue, Key, Objects,
    catalogue::{Asset, AssetId, AssetState, JobFilter, JobState, Rendition},
};
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};

use super::{
    answer::{Failure, Keep},
    cache::Cache,
    tag,
};

/// How long a look into the catalogue serves: so much later a viewer sees what was published or deleted.
const FRESH: Duration = Duration::from_secs(1);
/// Assets whose newest look is remembered.
const ASSETS_MAX: usize = 1_024;
/// Memory of parsed indexes, in bytes: about 100 hours of renditions.
const INDEX_MEMORY_BYTES_MAX: usize = 64 << 20;
/// Memory of heads of progressive files, in bytes: about 20 hours.
const MOVIE_MEMORY_BYTES_MAX: usize = 64 << 20;
/// Indexes read at a time: what is being parsed is not in the cache's account yet.
const LOADS_MAX: usize = 4;
/// Largest index, in bytes: ten million samples need about 40 MB.
const INDEX_BYTES_MAX: u64 = 64 << 20;
/// Largest text track, in bytes: a film has some hundred KB.
const TEXT_BYTES_MAX: u64 = 8 << 20;
/// Looks until two of them agree; a rendition is published every few seconds at most.
const LOOKS_MAX: usize = 5;

/// Reads what is published.
#[derive(Clone)]
pub(super) struct Shelf {
    inner: Arc<Inner>,
    pub(super) objects: Objects,
}

struct Inner {
    catalogue: Catalogue,
    looks: Cache<AssetId, Look>,
    indexes: Cache<String, TrackIndex>,
    movies: Cache<(String, Option<String>), Progressive>,
    loads: Semaphore,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("catalogue", &self.inner.catalogue).field("objects", &self.objects).finish()
    }
}

/// The newest look at an asset. Whoever holds the lock looks for all who wait for it.
#[derive(Default)]
struct Look(Mutex<Option<(Instant, Option<Arc<Snapshot>>)>>);

/// What one revision of an asset publishes.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) asset: Asset,
    pub(super) renditions: Vec<Published>,
    /// A job is at work: more may come.
    growing: bool,
}

/// A rendition and the name of what was published.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) row: Rendition,
    pub(super) token: String,
}

impl Published {
    /// Where its media are, seen from its playlists.
    pub(super) fn folder(&self) -> String {
        format!("{}/", self.token)
    }
}

impl Snapshot {
    /// A rendition by name, and by token where one is given.
    pub(super) fn rendition(&self, name: &str, token: Option<&str>) -> Option<&Published> {
        let fits =
            |published: &&Published| published.row.name == name && token.is_none_or(|token| published.token == token);
        self.renditions.iter().find(fits)
    }

    /// How long answers about what is published may be kept.
    pub(super) fn keep(&self) -> Keep {
        if self.growing { Keep::Growing } else { Keep::Settled }
    }

    /// Why something that the asset could have is not there.
    pub(super) fn missing(&self) -> Failure {
        match self.asset.state {
            AssetState::Uploading => Failure::NotReady("its bytes are still being uploaded"),
            AssetState::Preparing => Failure::NotReady("nothing of it is prepared yet"),
            AssetState::Ready if self.growing => Failure::NotReady("this part of it is not prepared yet"),
            AssetState::Errored => {
                Failure::Errored(self.asset.error.as_ref().map_or_else(String::new, |error| error.human.clone()))
            }
            AssetState::Ready | AssetState::Deleted => Failure::NotFound,
        }
    }
}

impl Shelf {
    pub(super) fn new(catalogue: Catalogue, objects: Objects) -> Self {
        let inner = Inner {
            catalogue,
            looks: Cache::new(ASSETS_MAX, "vod_origin_assets"),
            indexes: Cache::new(INDEX_MEMORY_BYTES_MAX, "vod_origin_index_bytes"),
            movies: Cache::new(MOVIE_MEMORY_BYTES_MAX, "vod_origin_movie_bytes"),
            loads: Semaphore::new(LOADS_MAX),
        };
        Self { inner: Arc::new(inner), objects }
    }

    /// What is published of an asset, not older than [`FRESH`].
    pub(super) async fn snapshot(&self, id: &AssetId) -> Result<Arc<Snapshot>, Failure> {
        self.look(id, a_moment_before(Instant::now())).await?.ok_or(Failure::NotFound)
    }

    /// The same; when it does not hold `wanted`, one that is not older than this call.
    pub(super) async fn snapshot_where(
        &self,
        id: &AssetId,
        wanted: impl Fn(&Snapshot) -> bool,
    ) -> Result<Arc<Snapshot>, Failure> {
        let called = Instant::now();
        match self.look(id, a_moment_before(called)).await? {
            Some(snapshot) if wanted(&snapshot) => Ok(snapshot),
            _ => self.look(id, called).await?.ok_or(Failure::NotFound),
        }
    }

    async fn look(&self, id: &AssetId, since: Instant) -> Result<Option<Arc<Snapshot>>, Failure> {
        let look = self.inner.looks.get_or_put(id, 1, Look::default);
        let mut newest = look.0.lock().await;
        if let Some((_, snapshot)) = newest.as_ref().filter(|(taken, _)| *taken >= since) {
            return Ok(snapshot.clone());
        }
        // From before the look: what is published while it lasts may not be in it.
        let taken = Instant::now();
        let snapshot = self.read(id).await?.map(Arc::new);
        *newest = Some((taken, snapshot.clone()));
        Ok(snapshot)
    }

    /// One revision of the asset: looks again when another was published between two reads.
    async fn read(&self, id: &AssetId) -> Result<Option<Snapshot>, Failure> {
        let catalogue = &self.inner.catalogue;
        let filter = |state| JobFilter { asset: Some(id.clone()), state: Some(state), ..JobFilter::default() };
        let mut before = catalogue.asset(id).await?;
        for _ in 0..LOOKS_MAX {
            let Some(asset) = before else { return Ok(None) };
            let renditions = catalogue.renditions(id).await?;
            let running = catalogue.jobs(&filter(JobState::Running), None, 1).await?;
            let after = catalogue.asset(id).await?;
            if after.as_ref().is_some_and(|after| after.revision == asset.revision) {
                let publish = |row: Rendition| Published { token: tag(row.object.as_bytes()), row };
                let renditions = renditions.into_iter().map(publish).collect();
                return Ok(Some(Snapshot { asset, renditions, growing: !running.rows.is_empty() }));
            }
            before = after;
        }
        Err(Failure::Busy)
    }

    /// The index of a track. Objects never change, so what was read once is right for good.
    pub(super) async fn index(&self, object: &String) -> Result<Arc<TrackIndex>, Failure> {
        if let Some(index) = self.inner.indexes.get(object) {
            return Ok(index);
        }
        let _turn = self.inner.loads.acquire().await.map_err(|_| Failure::Busy)?;
        if let Some(index) = self.inner.indexes.get(object) {
            return Ok(index);
        }
        let json = self.bytes(object, INDEX_BYTES_MAX).await?;
        let parsed = tokio::task::spawn_blocking(move || serde_json::from_slice::<TrackIndex>(&json)).await;
        let index = Arc::new(parsed.map_err(|_| Failure::Busy)?.map_err(|error| {
            tracing::error!(object, %error, "the index of a rendition cannot be read; run its job again");
            Failure::Broken
        })?);
        self.inner.indexes.put(object.clone(), index.clone(), index.memory_bytes());
        Ok(index)
    }

    /// The virtual file of a track and another, named by their indexes' objects.
    pub(super) async fn movie(&self, first: &String, second: Option<&String>) -> Result<Arc<Progressive>, Failure> {
        let key = (first.clone(), second.cloned());
        if let Some(movie) = self.inner.movies.get(&key) {
            return Ok(movie);
        }
        let video = self.index(first).await?;
        let audio = match second {
            Some(second) => Some(self.index(second).await?),
            None => None,
        };
        let _turn = self.inner.loads.acquire().await.map_err(|_| Failure::Busy)?;
        if let Some(movie) = self.inner.movies.get(&key) {
            return Ok(movie);
        }
        let make = move || packager::vod::progressive(&video, audio.as_deref());
        let made = tokio::task::spawn_blocking(make).await.map_err(|_| Failure::Busy)?;
        let movie = Arc::new(made.map_err(|error| {
            tracing::error!(object = first, %error, "a progressive file cannot be made of this rendition");
            Failure::Broken
        })?);
        self.inner.movies.put(key, movie.clone(), movie.memory_bytes());
        Ok(movie)
    }

    /// A text track.
    pub(super) async fn text(&self, object: &str) -> Result<String, Failure> {
        let bytes = self.bytes(object, TEXT_BYTES_MAX).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn bytes(&self, object: &str, bytes_max: u64) -> Result<Bytes, Failure> {
        let bytes = self.objects.get_range(&key(object)?, 0..bytes_max + 1).await?;
        if bytes.len() as u64 > bytes_max {
            tracing::error!(object, bytes_max, "an object is larger than its kind can be");
            return Err(Failure::Broken);
        }
        Ok(bytes)
    }
}

/// The age up to which a look serves.
fn a_moment_before(now: Instant) -> Instant {
    now.checked_sub(FRESH).unwrap_or(now)
}

/// The key in a row of the catalogue.
pub(super) fn key(object: &str) -> Result<Key, Failure> {
    Ok(Key::new(object)?)
}
