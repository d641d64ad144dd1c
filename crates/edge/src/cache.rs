//! The memory cache: complete objects by key, weighed in bytes.

use std::sync::Arc;

use metrics::{Gauge, gauge};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, sync::Cache as Shards, sync::DefaultLifecycle};

use base::Mono;

use crate::{Config, Error, object::Object};

/// What an object is found by: normalised path, and the allowed query parameters in canonical order after a `?`. It names no
/// host and no token.
pub(crate) type Key = Arc<str>;

/// Size of an ordinary object, in bytes, from which the number of entries is estimated.
const ORDINARY_OBJECT_BYTES: u64 = 32 * 1024;

/// Shards at most; each must hold several of the largest objects.
const SHARDS_MAX: u64 = 64;

/// Largest objects that one shard must hold, or its eviction would only ever see one of them.
const LARGEST_PER_SHARD: u64 = 2;

/// What an entry without an object weighs, in bytes.
const MARK_BYTES: u64 = 256;

/// What is known about a key.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A response.
    Object(Arc<Object>),
    /// Its answers are not to be shared: until then, nobody waits for anybody.
    Unshared {
        /// When to find out again.
        until: Mono,
    },
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Key, Entry> for ByBytes {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        let weight = match entry {
            Entry::Object(object) => object.weight_bytes(),
            Entry::Unshared { .. } => MARK_BYTES,
        };
        weight.saturating_add(key.len() as u64)
    }
}

pub(crate) struct Cache {
    shards: Shards<Key, Entry, ByBytes>,
    bytes: Gauge,
    entries: Gauge,
}

impl Cache {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let bytes = config.cache_bytes_max;
        let shards = (bytes / config.object_bytes_max.saturating_mul(LARGEST_PER_SHARD).max(1)).clamp(1, SHARDS_MAX);
        let options = OptionsBuilder::new()
            .shards(usize::try_from(shards).unwrap_or(1))
            .estimated_items_capacity(usize::try_from(bytes / ORDINARY_OBJECT_BYTES).unwrap_or(usize::MAX).max(64))
            .weight_capacity(bytes)
            .build()
            .map_err(|_| Error::Cache { bytes })?;
        Ok(Self {
            shards: Shards::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default()),
            bytes: gauge!("headwater_edge_cache_bytes"),
            entries: gauge!("headwater_edge_cache_entries"),
        })
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        self.shards.get(key)
    }

    pub(crate) fn insert(&self, key: Key, entry: Entry) {
        self.shards.insert(key, entry);
        self.measure();
    }

    pub(crate) fn remove(&self, key: &str) {
        self.shards.remove(key);
        self.measure();
    }

    fn measure(&self) {
        self.bytes.set(self.shards.weight() as f64);
        self.entries.set(self.shards.len() as f64);
    }
}
