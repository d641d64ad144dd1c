//! The middle of the live plane: every stream, its one publisher and its readers.

mod meter;
mod publisher;
mod ring;
mod stream;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use base::{Clock, StreamId};
use tokio::{runtime::Handle, sync::watch};
use tracing::info;

pub(crate) use self::{
    meter::Figures,
    publisher::FeedError,
    ring::{Item, Tracks},
    stream::{Stream, track_name},
};
pub use self::{
    publisher::{PublishError, Publisher},
    stream::StreamSummary,
};
use crate::{Config, node::Settings, telemetry};

/// How often windows are trimmed.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// Every stream of this node.
pub(crate) struct Hub {
    pub(crate) config: Arc<Config>,
    pub(crate) transcode: Arc<transcode::Config>,
    pub(crate) capabilities: Arc<transcode::Capabilities>,
    pub(crate) store: Option<store::Objects>,
    pub(crate) clock: Arc<dyn Clock>,
    streams: Mutex<BTreeMap<StreamId, Arc<Stream>>>,
    /// Counts changes of what the guide shows.
    version: watch::Sender<u64>,
    runtime: Handle,
}

impl Hub {
    /// A hub on the current runtime, with its housekeeping.
    pub(crate) fn new(settings: Settings, clock: Arc<dyn Clock>) -> Arc<Self> {
        let hub = Arc::new(Self {
            config: Arc::new(settings.live),
            transcode: Arc::new(settings.transcode),
            capabilities: Arc::new(settings.capabilities),
            store: settings.store,
            clock,
            streams: Mutex::default(),
            version: watch::Sender::new(1),
            runtime: Handle::current(),
        });
        let weak = Arc::downgrade(&hub);
        hub.runtime.spawn(async move {
            let mut interval = tokio::time::interval(EXPIRY_INTERVAL);
            loop {
                interval.tick().await;
                let Some(hub) = weak.upgrade() else { return };
                hub.expire();
            }
        });
        hub
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    fn streams(&self) -> MutexGuard<'_, BTreeMap<StreamId, Arc<Stream>>> {
        self.streams.lock().expect("no code panics while it holds the streams")
    }

    /// Makes the caller the stream's publisher.
    pub(crate) fn publish(self: &Arc<Self>, id: &StreamId) -> Result<Publisher, PublishError> {
        let stream = {
            let mut streams = self.streams();
            let limit = self.config.streams_max;
            if !streams.contains_key(id) && streams.len() >= limit as usize {
                return Err(PublishError::Full(limit));
            }
            let create = || Arc::new(Stream::new(id.clone(), self.config.clone(), self.clock.clone()));
            streams.entry(id.clone()).or_insert_with(create).clone()
        };
        let (generation, taken_over) = stream.occupy().map_err(|()| PublishError::Taken(id.clone()))?;
        telemetry::published(id);
        Ok(Publisher::new(self.clone(), stream, generation, taken_over))
    }

    /// The publisher is gone: the stream ends unless an encoder comes back in time.
    fn unpublish(self: Arc<Self>, stream: Arc<Stream>, generation: u64) {
        if !stream.vacate(generation) {
            return;
        }
        telemetry::unpublished(&stream.id);
        let grace = Duration::from_millis(self.config.reconnect_ms.into());
        self.runtime.clone().spawn(async move {
            tokio::time::sleep(grace).await;
            if stream.finish(generation) {
                info!(stream = %stream.id, "off air");
                self.changed();
            }
        });
    }

    /// A stream by its name.
    pub(crate) fn stream(&self, id: &StreamId) -> Option<Arc<Stream>> {
        self.streams().get(id).cloned()
    }

    /// The stream that `/hls/NAME.m3u8` means: the one of that name that is live, or else any of that name.
    pub(crate) fn stream_named(&self, name: &str) -> Option<Arc<Stream>> {
        let streams = self.streams();
        let named = || streams.values().filter(|stream| stream.id.name() == name);
        named().find(|stream| !stream.is_ended()).or_else(|| named().next()).cloned()
    }

    /// Every stream, in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        self.streams().values().cloned().collect()
    }

    /// Follows changes of what the guide shows.
    pub(crate) fn watch_version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// What the guide shows has changed.
    pub(crate) fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    fn expire(&self) {
        let gone: Vec<Arc<Stream>> = self.all().into_iter().filter(|stream| stream.expire()).collect();
        for stream in &gone {
            // A publisher may have come back in this moment: then the stream is not ended any more.
            self.streams().retain(|_, kept| !Arc::ptr_eq(kept, stream) || !kept.is_ended());
        }
        if !gone.is_empty() {
            self.changed();
        }
        for stream in self.all() {
            telemetry::presentation(&stream.id, &stream.present(|presentation| presentation.stats()));
        }
        telemetry::streams(self.all().iter().filter(|stream| !stream.is_ended()).count());
    }
}
