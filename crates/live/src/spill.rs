//! The rewind window beyond memory: closed segments move to the store, and leave it with the window.
//!
//! A slow or failing store delays only this: what is not stored in time becomes a gap, and live goes on.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use packager::{Presentation, Spill};
use store::{Key, Objects};
use tokio::{sync::Semaphore, task::JoinHandle};
use tracing::warn;

use crate::{
    hub::{Hub, Stream},
    telemetry,
};

/// How often closed segments are looked at for storing.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a segment may wait for its turn and be written: five segments' time. What takes longer never catches up.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// Segments written at a time, over all streams: a disk gains nothing by more.
const WRITES_MAX: usize = 8;
/// Everything the live plane stores is below this.
const ROOT: &str = "live";

/// The stored object of a stream: `live/APP/NAME/CREATED/OBJECT`, one folder a life of the stream.
pub(crate) fn object_key(stream: &Stream, object: &str) -> Result<Key, store::Error> {
    Key::new(&format!("{}/{object}", folder(stream)))
}

fn folder(stream: &Stream) -> String {
    format!("{ROOT}/{}/{}", stream.id, stream.created.unix_ms())
}

/// Serves every stream of `hub` until the hub is gone.
pub(crate) async fn run(hub: Weak<Hub>, store: Objects) {
    // Nobody can ask for what an earlier process stored: its playlists went with it.
    delete_folder(&store, ROOT).await;
    let writes = Arc::new(Semaphore::new(WRITES_MAX));
    let mut lives: HashMap<String, JoinHandle<()>> = HashMap::new();
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Some(hub) = hub.upgrade() else { return };
        let streams: HashMap<String, Arc<Stream>> =
            hub.all().into_iter().map(|stream| (folder(&stream), stream)).collect();
        lives.retain(|folder, round| {
            let keep = streams.contains_key(folder) || !round.is_finished();
            if !keep {
                let (store, folder) = (store.clone(), folder.clone());
                tokio::spawn(async move { delete_folder(&store, &folder).await });
            }
            keep
        });
        for (folder, stream) in streams {
            // A round that waits for the store does not hold up the other streams.
            if lives.get(&folder).is_none_or(JoinHandle::is_finished) {
                lives.insert(folder, tokio::spawn(round(stream, store.clone(), writes.clone())));
            }
        }
    }
}

/// What there is to do for one stream.
async fn round(stream: Arc<Stream>, store: Objects, writes: Arc<Semaphore>) {
    store_old(&stream, |spill| {
        let (stream, store, writes) = (stream.clone(), store.clone(), writes.clone());
        async move {
            let _turn = writes.acquire().await;
            store.put_volatile(&object_key(&stream, &spill.object)?, bytes_of(&spill)).await
        }
    })
    .await;
    while let Some(object) = stream.present(Presentation::next_discarded) {
        let Ok(key) = object_key(&stream, &object) else { continue };
        let deleted = tokio::time::timeout(STORE_TIMEOUT, store.delete(&key)).await;
        if !matches!(deleted, Ok(Ok(()))) {
            telemetry::store_failure("delete");
            warn!(stream = %stream.id, object, "a stored segment could not be deleted; it goes with its stream's folder");
        }
    }
}

/// Stores segments older than the memory window, until there are none or the store fails.
async fn store_old<F>(stream: &Stream, put: impl Fn(Spill) -> F)
where
    F: Future<Output = Result<(), store::Error>>,
{
    while let Some(spill) = stream.present(Presentation::next_spill) {
        let why = match tokio::time::timeout(STORE_TIMEOUT, put(spill.clone())).await {
            Ok(Ok(())) => {
                stream.present(|presentation| presentation.spilled(&spill));
                continue;
            }
            Ok(Err(error)) => telemetry::chain(&error),
            Err(_) => format!("not written within {} s", STORE_TIMEOUT.as_secs()),
        };
        stream.present(|presentation| presentation.spill_failed(&spill));
        telemetry::store_failure("put");
        warn!(stream = %stream.id, object = spill.object, error = why, "a segment could not be stored: it is a gap now");
        return;
    }
}

fn bytes_of(spill: &Spill) -> Vec<bytes::Bytes> {
    let pieces = spill.plan.pieces.iter().filter_map(|piece| match piece {
        packager::Piece::Inline(bytes) | packager::Piece::Shared(bytes) => Some(bytes.clone()),
        packager::Piece::File { .. } | packager::Piece::Pending { .. } => None,
    });
    pieces.collect()
}

async fn delete_folder(store: &Objects, folder: &str) {
    let Ok(key) = Key::new(folder) else { return };
    if let Err(error) = store.delete_prefix(&key).await {
        telemetry::store_failure("delete");
        warn!(folder, error = %telemetry::chain(&error), "stored segments could not be deleted");
    }
}

#[cfg(test)]
mod tests {
    use media::{Sample, Track, TrackKind};
    use packager::{Lookup, TrackName};

    use super::*;
    use crate::{Config, telemetry::Counters};

    /// A stream with 20 s of sound, of which memory keeps the last 12.
    fn stream() -> Arc<Stream> {
        let config = Config { memory_window_ms: 12_000, ..Config::default() };
        let clock = Arc::new(base::SystemClock::start());
        let stream = Stream::new("live/a".parse().unwrap(), Arc::new(config), clock, Counters::new());
        let opus = media::codec::opus::Config {
            channels: 2,
            pre_skip: 0,
            input_sample_rate: 48_000,
            output_gain: 0,
            mapping_family: 0,
        };
        stream.begin(&[Track::new(media::CodecConfig::Opus(opus))]).unwrap();
        for packet in 0..1_000 {
            let sample = Sample { dts: packet * 960, cts_offset: 0, duration: 0, sync: true, payload: "packet".into() };
            stream.push(TrackKind::Audio, &TrackName::source_audio(), sample).unwrap();
        }
        Arc::new(stream)
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answers_makes_a_gap_in_ten_seconds() {
        let stream = stream();
        let asked = std::sync::Mutex::new(None);
        let before = tokio::time::Instant::now();
        store_old(&stream, |spill| {
            *crate::lock::lock(&asked) = Some(spill.msn);
            std::future::pending()
        })
        .await;
        assert_eq!(before.elapsed(), STORE_TIMEOUT);
        let msn = crate::lock::lock(&asked).expect("something is older than the memory window");
        let segment = |msn| stream.present(|presentation| presentation.segment(&TrackName::source_audio(), msn));
        assert_eq!(segment(msn), Lookup::Gone, "a gap");
        assert!(matches!(segment(msn + 1), Lookup::Found(_)), "the next is tried again");
    }
}
