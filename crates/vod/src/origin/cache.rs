//! What was used last, up to a weight.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A bounded cache. Making room looks at every entry, of which there are a few hundred at most.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    inner: Mutex<Inner<K, V>>,
    weight_max: usize,
    gauge: &'static str,
}

#[derive(Debug)]
struct Inner<K, V> {
    entries: HashMap<K, Entry<V>>,
    weight: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: Arc<V>,
    weight: usize,
    used: u64,
}

impl<K: Eq + Hash + Clone, V> Cache<K, V> {
    /// At most `weight_max` in all; `gauge` names the metric that tells how much it is.
    pub(super) fn new(weight_max: usize, gauge: &'static str) -> Self {
        let inner = Inner { entries: HashMap::new(), weight: 0, clock: 0 };
        Self { inner: Mutex::new(inner), weight_max, gauge }
    }

    pub(super) fn get(&self, key: &K) -> Option<Arc<V>> {
        let mut inner = self.lock();
        inner.clock += 1;
        let clock = inner.clock;
        let entry = inner.entries.get_mut(key)?;
        entry.used = clock;
        Some(entry.value.clone())
    }

    /// Keeps `value`, if it is not too heavy by itself; what was not used for longest goes.
    pub(super) fn put(&self, key: K, value: Arc<V>, weight: usize) {
        if weight > self.weight_max {
            return;
        }
        let mut inner = self.lock();
        inner.clock += 1;
        let entry = Entry { value, weight, used: inner.clock };
        inner.weight += weight;
        if let Some(before) = inner.entries.insert(key, entry) {
            inner.weight -= before.weight;
        }
        while inner.weight > self.weight_max {
            let oldest = inner.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            let Some(gone) = oldest.and_then(|key| inner.entries.remove(&key)) else { break };
            inner.weight -= gone.weight;
        }
        metrics::gauge!(self.gauge).set(inner.weight as f64);
    }

    /// The value of `key`, made by `make` when there is none.
    pub(super) fn get_or_put(&self, key: &K, weight: usize, make: impl FnOnce() -> V) -> Arc<V> {
        if let Some(value) = self.get(key) {
            return value;
        }
        let value = Arc::new(make());
        self.put(key.clone(), value.clone(), weight);
        value
    }

    /// A panic in here leaves a cache that may have forgotten something.
    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let cache = Cache::new(10, "test");
        for n in 0..5 {
            cache.put(n, Arc::new(n), 2);
        }
        assert!(cache.get(&0).is_some());
        cache.put(5, Arc::new(5), 3);
        let there: Vec<i32> = (0..6).filter(|n| cache.get(n).is_some()).collect();
        assert_eq!(there, [0, 3, 4, 5]);
        cache.put(6, Arc::new(6), 11);
        assert!(cache.get(&6).is_none() && cache.get(&0).is_some(), "too heavy, and nothing went for it");
    }
}
