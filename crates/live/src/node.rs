//! The live plane of one node.

use std::sync::Arc;

use base::{Clock, StreamId};

use crate::{Config, Error, Origin, PublishError, Publisher, RtmpListener, StreamSummary, hub::Hub, spill};

/// What the live plane is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The section `[live]`.
    pub live: Config,
    /// The section `[transcode]`.
    pub transcode: transcode::Config,
    /// The FFmpeg of this machine.
    pub capabilities: transcode::Capabilities,
    /// Where the rewind window beyond memory goes; without it all of the window is in memory. What is below `live/` in it is the
    /// node's own, and deleted at its start.
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
            tokio::spawn(spill::run(Arc::downgrade(&hub), store));
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
