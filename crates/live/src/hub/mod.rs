//! The middle of the live plane: every stream, its one publisher and its readers.

mod meter;
mod publisher;
mod ring;
mod stream;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use base::{Clock, StreamId};
use tokio::{runtime::Handle, sync::watch};
use tracing::{error, info};

pub(crate) use self::{
    meter::Figures,
    ring::{Item, Ring, Tracks},
    stream::{Stream, track_name},
};
pub use self::{
    publisher::{FeedError, PublishError, Publisher},
    stream::StreamSummary,
};
use crate::{
    Config,
    lock::lock,
    node::Settings,
    telemetry::{self, Counters},
};

/// How often windows are trimmed.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// Every stream of this node.
pub(crate) struct Hub {
    pub(crate) config: Arc<Config>,
    pub(crate) transcode: Arc<transcode::Config>,
    pub(crate) capabilities: Arc<transcode::Capabilities>,
    pub(crate) store: Option<store::Objects>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Counters,
    /// True from [`Hub::stop`] on.
    stopping: watch::Sender<bool>,
    streams: Mutex<BTreeMap<StreamId, Arc<Stream>>>,
    /// Counts changes of what the guide shows.
    version: watch::Sender<u64>,
    runtime: Handle,
}

impl Hub {
    /// A hub on the current runtime, with its housekeeping.
    pub(crate) fn new(settings: Settings, clock: Arc<dyn Clock>) -> Arc<Self> {
        // No version of an earlier process: a viewer app that outlived it must not take this guide for the one it has.
        let first_version = u64::try_from(clock.wall().unix_ms()).unwrap_or_default();
        let hub = Arc::new(Self {
            counters: Counters::new(),
            stopping: watch::Sender::new(false),
            config: Arc::new(settings.live),
            transcode: Arc::new(settings.transcode),
            capabilities: Arc::new(settings.capabilities),
            store: settings.store,
            clock,
            streams: Mutex::default(),
            version: watch::Sender::new(first_version),
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
        lock(&self.streams)
    }

    /// Makes the caller the stream's publisher.
    pub(crate) fn publish(self: &Arc<Self>, id: &StreamId) -> Result<Publisher, PublishError> {
        if self.is_stopping() {
            return Err(PublishError::Stopping);
        }
        let mut streams = self.streams();
        let limit = self.config.streams_max;
        if !streams.contains_key(id) && streams.len() >= limit as usize {
            return Err(PublishError::Full(limit));
        }
        let create = || Stream::new(id.clone(), self.config.clone(), self.clock.clone(), self.counters.clone());
        let stream = streams.entry(id.clone()).or_insert_with(|| Arc::new(create())).clone();
        // Under the lock, so that the stream does not expire in between.
        let (generation, taken_over) = stream.occupy().map_err(|()| PublishError::Taken(id.clone()))?;
        drop(streams);
        telemetry::published(id);
        Ok(Publisher::new(self.clone(), stream, generation, taken_over))
    }

    /// The publisher is gone: the stream ends unless an encoder comes back in time.
    fn unpublish(self: Arc<Self>, stream: Arc<Stream>, generation: u64) {
        if !stream.vacate(generation) {
            return;
        }
        let grace = Duration::from_millis(self.config.reconnect_ms.into());
        let mut stopping = self.stopping.subscribe();
        self.runtime.clone().spawn(async move {
            // Nobody can come back to a node that stops.
            tokio::select! {
                () = tokio::time::sleep(grace) => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
            if stream.finish(generation) {
                info!(stream = %stream.id, "off air");
                self.changed();
            }
        });
    }

    /// Ends every stream: publishers are told to let go, and nobody is waited for to come back.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
        self.all().iter().for_each(|stream| stream.dismiss());
    }

    /// Whether the node is going off air.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
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
        for stream in self.all() {
            let work = || {
                stream.expire();
                stream.metrics.rtmp_viewers(stream.fanout.players());
                stream.metrics.presentation(&stream.present(|presentation| presentation.stats()));
            };
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                telemetry::housekeeping_panic();
                error!(stream = %stream.id, "the stream's housekeeping panicked; other streams go on");
            }
        }
        let before = self.streams().len();
        self.streams().retain(|_, stream| !stream.is_expired());
        if self.streams().len() != before {
            self.changed();
        }
        telemetry::streams(self.all().iter().filter(|stream| !stream.is_ended()).count());
    }
}
