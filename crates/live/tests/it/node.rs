//! A node under test, and an encoder within the process.

use std::{sync::Arc, time::Duration};

use base::{Clock, StreamId, Wall};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use live::{FeedError, Live, Publisher, RtmpListener, Settings};
use testkit::FakeClock;
use tokio::task::JoinHandle;

use crate::tape::Frame;

/// Nothing on one machine takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    pub(crate) live: Live,
    pub(crate) clock: FakeClock,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Node {
    /// A node that never holds an encoder back, ends streams at once, and is otherwise as delivered, but for `change`.
    pub(crate) fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        settings.live.ahead_ms_max = u32::MAX;
        settings.live.reconnect_ms = 0;
        change(&mut settings);
        // 2020-01-01T00:00:00Z, where the numbers that packager takes from the clock begin: the first segment is 0.
        let clock = FakeClock::at(Wall::from_unix_ms(1_577_836_800_000));
        Self { live: Live::new(settings, Arc::new(clock.clone())), clock }
    }

    pub(crate) fn plain() -> Self {
        Self::new(|_| {})
    }

    pub(crate) async fn rtmp(&self) -> RtmpListener {
        self.live.listen_rtmp("127.0.0.1:0").await.unwrap()
    }

    /// An encoder of `APP/NAME` with a tape, not yet started.
    pub(crate) fn encoder(&self, id: &str, tape: Vec<Frame>) -> Encoder {
        let publisher = self.live.publish(&id.parse::<StreamId>().unwrap()).unwrap();
        Encoder { publisher, clock: self.clock.clone(), tape: tape.into_iter().peekable(), started_ms: None }
    }

    pub(crate) async fn ask(&self, method: Method, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let (head, body) = self.live.origin().answer(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    /// A request that is expected to wait; it has got as far as it can when this returns.
    pub(crate) async fn park(&self, path: &str) -> JoinHandle<Answer> {
        let (node, path) = (Self { live: self.live.clone(), clock: self.clock.clone() }, path.to_owned());
        let parked = tokio::spawn(async move { node.get(&path).await });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        parked
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).await
    }

    /// The text under `path`, which is there.
    pub(crate) async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    pub(crate) async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status.as_u16()
    }

    /// The ids that the guide lists.
    pub(crate) async fn channels(&self) -> Vec<String> {
        let guide = self.get("/channels.json").await.json();
        guide["channels"].as_array().unwrap().iter().map(|channel| channel["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until `path` has a text that `wanted` is true for.
    pub(crate) async fn eventually(&self, path: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let found = async {
            loop {
                let answer = self.get(path).await;
                last = answer.text();
                if answer.status == 200 && wanted(&last) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(DEADLINE, found).await.is_ok();
        assert!(found, "{path} never became what was waited for; it is {last}");
        last
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let wait = async {
        while !condition() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// An encoder that keeps to the node's clock, and moves it.
pub(crate) struct Encoder {
    pub(crate) publisher: Publisher,
    clock: FakeClock,
    tape: std::iter::Peekable<std::vec::IntoIter<Frame>>,
    started_ms: Option<(i64, Duration)>,
}

impl Encoder {
    /// Sends what the tape has before `ms` of its own time.
    pub(crate) fn try_until(&mut self, ms: i64) -> Result<(), FeedError> {
        while let Some(frame) = self.tape.next_if(|frame| frame.ms < ms) {
            let now = self.clock.mono().since_origin();
            let (first_ms, started) = *self.started_ms.get_or_insert((frame.ms, now));
            let due = started + Duration::from_millis((frame.ms - first_ms).max(0) as u64);
            self.clock.advance(due.saturating_sub(now));
            self.publisher.feed(frame.kind, frame.unit, self.clock.mono())?;
        }
        Ok(())
    }

    pub(crate) fn until(&mut self, ms: i64) {
        self.try_until(ms).unwrap();
    }

    pub(crate) fn all(&mut self) {
        self.until(i64::MAX);
    }
}
