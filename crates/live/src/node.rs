//! The live plane of one node.

use std::{sync::Arc, time::Duration};

use base::{Clock, StreamId};
use packager::Spill;
use store::Key;
use tracing::warn;

use crate::{
    Config, Error, Origin, PublishError, Publisher, RtmpListener, StreamSummary,
    hub::{Hub, Stream},
};

/// How often closed segments are looked at for storing.
const SPILL_INTERVAL: Duration = Duration::from_secs(1);

/// What the live plane is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The section `[live]`.
    pub live: Config,
    /// The section `[transcode]`.
    pub transcode: transcode::Config,
    /// The FFmpeg of this machine.
    pub capabilities: transcode::Capabilities,
    /// Where the rewind window beyond memory goes; without it the window is what memory holds.
    pub store: Option<store::Objects>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            live: Config::default(),
            transcode: transcode::Config::default(),
            capabilities: transcode::Capabilities::absent("not looked for"),
            store: None,
        }
    }
}

/// Every stream of one node: publishers come in through listeners or [`Live::publish`], viewers through [`Live::origin`].
#[derive(Clone)]
pub struct Live {
    hub: Arc<Hub>,
}

impl Live {
    /// Starts the plane on the current runtime.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let store = settings.store.clone();
        let hub = Hub::new(settings, clock);
        if let Some(store) = store {
            tokio::spawn(spill_windows(Arc::downgrade(&hub), store));
        }
        Self { hub }
    }

    /// Listens for RTMP publishers and players.
    ///
    /// # Errors
    /// When the address cannot be taken.
    pub async fn listen_rtmp(&self, address: &str) -> Result<RtmpListener, Error> {
        RtmpListener::bind(self.hub.clone(), address).await
    }

    /// The HTTP service that viewers' requests end at.
    pub fn origin(&self) -> Origin {
        Origin::new(self.hub.clone())
    }

    /// Publishes from within the process.
    ///
    /// # Errors
    /// When the stream has a publisher already, or the node is full.
    pub fn publish(&self, id: &StreamId) -> Result<Publisher, PublishError> {
        self.hub.publish(id)
    }

    /// What is on air, and what ended within the rewind window.
    pub fn streams(&self) -> Vec<StreamSummary> {
        self.hub.all().iter().map(|stream| stream.summary()).collect()
    }

    /// Number of RTMP players of all streams.
    pub fn rtmp_players(&self) -> usize {
        self.hub.all().iter().map(|stream| stream.fanout.players()).sum()
    }
}

/// The stored object of a stream: `live/APP/NAME/CREATED/OBJECT`, one folder a life of the stream.
pub(crate) fn object_key(stream: &Stream, object: &str) -> Result<Key, store::Error> {
    Key::new(&format!("live/{}/{}/{object}", stream.id, stream.created.unix_ms()))
}

/// Moves segments older than the memory window to the store, and deletes what left the rewind window. A slow or absent store
/// delays only this: what cannot be stored becomes a gap when memory lets it go.
async fn spill_windows(hub: std::sync::Weak<Hub>, store: store::Objects) {
    let mut interval = tokio::time::interval(SPILL_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Some(hub) = hub.upgrade() else { return };
        for stream in hub.all() {
            while let Some(spill) = stream.present(packager::Presentation::next_spill) {
                let result = put(&store, &stream, &spill).await;
                stream.present(|presentation| match &result {
                    Ok(()) => presentation.spilled(&spill),
                    Err(_) => presentation.spill_failed(&spill),
                });
                if let Err(error) = result {
                    warn!(stream = %stream.id, object = spill.object, error = %crate::telemetry::chain(&error), "a segment could not be stored");
                    break;
                }
            }
            while let Some(object) = stream.present(packager::Presentation::next_discarded) {
                if let Ok(key) = object_key(&stream, &object)
                    && let Err(error) = store.delete(&key).await
                {
                    warn!(stream = %stream.id, object, error = %crate::telemetry::chain(&error), "a stored segment could not be deleted");
                }
            }
        }
    }
}

async fn put(store: &store::Objects, stream: &Stream, spill: &Spill) -> Result<(), store::Error> {
    let pieces = spill.plan.pieces.iter().filter_map(|piece| match piece {
        packager::Piece::Inline(bytes) | packager::Piece::Shared(bytes) => Some(bytes.clone()),
        packager::Piece::File { .. } | packager::Piece::Pending { .. } => None,
    });
    store.put(&object_key(stream, &spill.object)?, pieces.collect()).await
}
