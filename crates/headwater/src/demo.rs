//! The colour-bar channel of `headwater demo`.

use base::{Clock, StreamId, SystemClock};
use live::Live;
use media::flv::Unit;
use transcode::{Capabilities, DemoSource, Feed};

/// Where the demonstration is on air.
const STREAM: (&str, &str) = ("demo", "colorbar");

/// Publishes the colour bars until it is aborted.
pub async fn run(capabilities: Capabilities, config: transcode::Config, live: Live) {
    let id = StreamId::new(STREAM.0, STREAM.1).expect("a constant stream name is valid");
    let clock = SystemClock::start();
    let mut source = match DemoSource::start(&capabilities, &config) {
        Ok(source) => source,
        Err(error) => {
            tracing::error!(%error, "no demonstration channel: install FFmpeg, or see `headwater doctor`");
            return;
        }
    };
    let mut publisher = match live.publish(&id) {
        Ok(publisher) => publisher,
        Err(error) => return tracing::error!(%error, "no demonstration channel"),
    };
    while let Some(feed) = source.next().await {
        let (kind, unit) = match feed {
            Feed::Track(track) => (track.kind(), Unit::Track { track_id: 0, track }),
            Feed::Sample(kind, sample) => (kind, Unit::Sample { track_id: 0, sample }),
            Feed::KeyframeStart => continue,
        };
        if let Err(error) = publisher.feed(kind, unit, clock.mono()) {
            return tracing::error!(%error, "the demonstration channel ended");
        }
    }
    tracing::error!("the demonstration channel ended: FFmpeg failed for good");
}
