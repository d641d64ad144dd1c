//! Who is watching: counted where the requests arrive, by what players do anyway.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base::{Clock, Mono};
use edge::{Observer, RequestRecord};
use live::Live;
use metrics::gauge;

/// A player asks for a playlist at least once in this time, or it is gone.
const ACTIVE: Duration = Duration::from_secs(12);
/// Most viewers told apart; beyond, new ones are not counted.
const VIEWERS_MAX: usize = 200_000;
/// How often the gauges are renewed.
const INTERVAL: Duration = Duration::from_secs(2);

/// Viewers of each stream over HTTP: distinct pairs of address and player that asked for one of its playlists or its manifest
/// of late. Equal players behind one address count as one.
pub struct Viewers {
    clock: Arc<dyn Clock>,
    /// When a client (hashed) last asked for something of a stream.
    seen: Mutex<HashMap<(String, u64), Mono>>,
}

impl Viewers {
    /// Nobody is watching yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, seen: Mutex::default() }
    }

    /// Viewers by stream, those gone forgotten.
    pub fn count(&self) -> HashMap<String, usize> {
        let now = self.clock.mono();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, last| now.since(*last) < ACTIVE);
        let mut counts = HashMap::new();
        for (stream, _) in seen.keys() {
            *counts.entry(stream.clone()).or_default() += 1;
        }
        counts
    }

    /// Renews the gauges for as long as the process runs.
    pub async fn report(self: Arc<Self>, live: Live) {
        let mut interval = tokio::time::interval(INTERVAL);
        loop {
            interval.tick().await;
            let counts = self.count();
            for stream in live.streams() {
                let viewers = counts.get(stream.id.as_str()).copied().unwrap_or_default();
                gauge!("headwater_live_viewers", "stream" => stream.id.to_string(), "protocol" => "http")
                    .set(viewers as f64);
            }
            gauge!("headwater_live_rtmp_players").set(live.rtmp_players() as f64);
        }
    }
}

impl Observer for Viewers {
    fn on_request(&self, record: &RequestRecord<'_>) {
        let Some(stream) = stream_of(record.path).filter(|_| record.status.as_u16() < 400) else { return };
        let mut hasher = DefaultHasher::new();
        record.remote.ip().hash(&mut hasher);
        record.user_agent.hash(&mut hasher);
        let key = (stream, hasher.finish());
        let now = self.clock.mono();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < VIEWERS_MAX || seen.contains_key(&key) {
            seen.insert(key, now);
        }
    }
}

/// `APP/NAME` of a media playlist or manifest: what a player asks for again and again.
fn stream_of(path: &str) -> Option<String> {
    let mut segments = path.strip_prefix('/')?.split('/');
    let (app, name, file) = (segments.next()?, segments.next()?, segments.next_back()?);
    let again = file == "manifest.mpd" || file.ends_with(".m3u8");
    again.then(|| format!("{app}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_players_ask_for_again_names_the_stream() {
        let check = |path: &str, expected: Option<&str>| assert_eq!(stream_of(path).as_deref(), expected, "{path}");
        check("/live/a/v0/index.m3u8", Some("live/a"));
        check("/live/a/manifest.mpd", Some("live/a"));
        check("/live/a/v0/17.m4s", None);
        check("/channels.json", None);
        check("/live/a.m3u8", None);
    }
}
