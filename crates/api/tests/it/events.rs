//! The event stream, over a real connection through an edge.

use std::time::Duration;

use api::Config;
use edge::{BoxOrigin, Route, Server};
use futures_util::StreamExt;
use serde_json::Value;
use store::catalogue::Scope;

use crate::house::House;

/// Longest that a test waits for the next message.
const PATIENCE: Duration = Duration::from_secs(20);

struct Site {
    house: House,
    edge: edge::Handle,
    client: reqwest::Client,
}

/// One message of a stream.
#[derive(Clone, Debug, PartialEq)]
struct Message {
    id: Option<String>,
    event: String,
    data: Value,
}

struct Stream {
    body: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Site {
    async fn open(config: Config) -> Self {
        let house = House::with(config).await;
        let origin = BoxOrigin::from_service(house.api.service());
        let listen = edge::Config { http: "127.0.0.1:0".into(), workers: 1, ..edge::Config::default() };
        let edge = Server::bind(&listen, vec![Route::prefix("/api/v1", origin)]).unwrap().start().unwrap();
        Self { house, edge, client: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    fn request(&self, query: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("http://{}/api/v1/events{query}", self.edge.local_addr()))
    }

    async fn follow(&self, query: &str) -> Stream {
        Stream::of(self.request(query)).await
    }
}

impl Stream {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self { body: response.bytes_stream().boxed(), text: String::new() };
        // The greeting: from here on nothing is missed.
        stream.block().await.unwrap();
        stream
    }

    /// Up to the next empty line; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let more = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("a message in time")?;
            self.text.push_str(std::str::from_utf8(&more.unwrap()).unwrap());
        }
    }

    async fn message(&mut self) -> Option<Message> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            if let Some(data) = field("data") {
                let (id, event) = (field("id").map(Into::into), field("event").unwrap().to_owned());
                return Some(Message { id, event, data: serde_json::from_str(data).unwrap() });
            }
        }
    }

    /// The numbers of the next events.
    async fn numbers(&mut self, count: usize) -> (Vec<u64>, String) {
        let (mut numbers, mut last) = (Vec::new(), String::new());
        while numbers.len() < count {
            let message = self.message().await.expect("more messages");
            if let Some(id) = message.id {
                numbers.push(message.data["data"]["number"].as_u64().unwrap());
                last = id;
            }
        }
        (numbers, last)
    }
}

fn expected(counts: &[usize]) -> Vec<u64> {
    counts.iter().flat_map(|&count| 0..count as u64).collect()
}

#[tokio::test]
async fn a_stream_resumed_has_no_gap_and_no_double() {
    let site = Site::open(Config::default()).await;
    site.house.emit("default", 5).await; // Before anybody reads.
    let running = site.house.run();
    let (mut seen, mut last) = (Vec::new(), "0-0".to_owned());
    for round in 0..6 {
        let mut stream = match round % 2 {
            0 => site.follow(&format!("?after={last}")).await,
            _ => Stream::of(site.request("").header("last-event-id", &last)).await,
        };
        site.house.emit("default", 7).await; // While it is followed.
        let (numbers, at) = stream.numbers(if round == 0 { 8 } else { 7 }).await;
        drop(stream);
        site.house.emit("default", 3).await; // While nobody follows.
        seen.extend(numbers);
        last = at;
    }
    let mut stream = site.follow(&format!("?after={last}")).await;
    let all: Vec<u64> = expected(&[5]).into_iter().chain((0..6).flat_map(|_| expected(&[7, 3]))).collect();
    seen.extend(stream.numbers(all.len() - seen.len()).await.0);
    assert_eq!(seen, all);
    running.abort();
}

#[tokio::test]
async fn more_events_than_memory_holds_are_read_from_the_outbox() {
    let site = Site::open(Config::default()).await;
    let running = site.house.run();
    site.house.emit("default", 1_500).await;
    let mut stream = site.follow("?after=0-0").await;
    assert_eq!(stream.numbers(1_500).await.0, expected(&[1_500]));
    site.house.emit("default", 2).await;
    assert_eq!(stream.numbers(2).await.0, [0, 1]);
    running.abort();
}

#[tokio::test]
async fn without_a_position_a_stream_begins_now() {
    let site = Site::open(Config::default()).await;
    let running = site.house.run();
    site.house.emit("default", 3).await;
    let mut stream = site.follow("").await;
    site.house.emit("default", 1).await;
    assert_eq!(stream.numbers(1).await.0, [0]);
    running.abort();
}

#[tokio::test]
async fn a_tenant_follows_its_own_events() {
    let site = Site::open(Config::default()).await;
    let running = site.house.run();
    let token = site.house.token(&[Scope::Read], Some("a")).await;
    let mut stream = Stream::of(site.request("?after=0-0").bearer_auth(&token)).await;
    site.house.emit("b", 3).await;
    site.house.emit("a", 2).await;
    for _ in 0..2 {
        assert_eq!(stream.message().await.unwrap().data["tenant"], "a");
    }
    let other = site.request("?tenant=b").bearer_auth(&token).send().await.unwrap();
    assert_eq!(other.status(), 403);
    running.abort();
}

#[tokio::test]
async fn types_are_filtered() {
    let site = Site::open(Config::default()).await;
    let running = site.house.run();
    let mut stream = site.follow("?after=0-0&types=job.*").await;
    site.house.emit("default", 1).await;
    site.house.asset("default", "a film").await;
    let message = stream.message().await.unwrap();
    assert_eq!(message.event, "job.created");
    assert_eq!(message.data["type"], "job.created");
    assert!(message.data["asset"].as_str().unwrap().starts_with("ast_"));
    running.abort();
}

#[tokio::test]
async fn progress_is_told_without_an_id() {
    let site = Site::open(Config::default()).await;
    let running = site.house.run();
    let mut stream = site.follow("?types=job.progress").await;
    let asset = site.house.asset("default", "a film").await;
    let message = stream.message().await.unwrap();
    assert_eq!((message.id, message.event.as_str()), (None, "job.progress"));
    assert_eq!(message.data["asset"], asset.id.as_str());
    assert_eq!(message.data["permille"], 0);

    // The end of a job is told, too.
    let job = message.data["job"].as_str().unwrap().parse().unwrap();
    site.house.catalogue.cancel_job(&job).await.unwrap();
    loop {
        if stream.message().await.unwrap().data["state"] == "cancelled" {
            break;
        }
    }
    running.abort();
}

#[tokio::test]
async fn one_stream_too_many_is_refused_until_another_ends() {
    let site = Site::open(Config { event_streams_max: 1, ..Config::default() }).await;
    let stream = site.follow("").await;
    let refused = site.request("").send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "2");
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "too_many_streams");
    drop(stream);
    crate::house::eventually("a free place", || async {
        (site.request("").send().await.unwrap().status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let site = Site::open(Config::default()).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let api = site.house.api.clone();
    let running = tokio::spawn(async move {
        api.run(async { stopped.await.unwrap_or(()) }).await;
    });
    let mut stream = site.follow("").await;
    stop.send(()).unwrap();
    assert_eq!(stream.message().await, None);
    running.await.unwrap();
}

#[tokio::test]
async fn what_is_no_position_is_refused() {
    let site = Site::open(Config::default()).await;
    for (query, code) in
        [("?after=x", "invalid_event_id"), ("?after=-1-2", "invalid_event_id"), ("?since=1", "invalid_request")]
    {
        let refused = site.request(query).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{query}");
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], code, "{query}");
    }
    let header = site.request("").header("last-event-id", "nonsense").send().await.unwrap();
    assert_eq!(header.status(), 400);
}

/// HTML 9.2: a comment keeps a silent stream alive. Time is the test's.
#[tokio::test(start_paused = true)]
async fn a_silent_stream_says_that_it_is_alive() {
    tokio::time::resume();
    let house = House::new().await;
    let request = crate::house::here(http::Method::GET, "/api/v1/events").body(axum::body::Body::empty()).unwrap();
    let answer = tower::ServiceExt::oneshot(house.api.service(), request).await.unwrap();
    let mut body = answer.into_body().into_data_stream();
    assert!(body.next().await.unwrap().unwrap().starts_with(b"retry: 2000\n"));
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert_eq!(body.next().await.unwrap().unwrap(), ": alive\n\n");
    let after = began.elapsed();
    assert!((Duration::from_secs(14)..=Duration::from_secs(16)).contains(&after), "{after:?}");
}
