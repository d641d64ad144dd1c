//! One call to the origin, however many ask.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use edge::{BoxOrigin, Route};
use http::Response;
use http_body_util::BodyExt;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{Barrier, Semaphore, mpsc, oneshot},
    task::JoinSet,
};

use crate::stage::{
    Answer, Calls, Feed, ReadyBody, Stage, answer, config, eventually, exactly, fed, hls, scripted, soon,
};

/// An origin whose answers' bodies the test feeds: each call sends the feed of its body.
fn feeding(headers: &'static [(&'static str, &'static str)]) -> (BoxOrigin, mpsc::Receiver<Feed>, Calls) {
    let (feeds, received) = mpsc::channel(16);
    let calls = Calls::default();
    let seen = calls.clone();
    let origin = BoxOrigin::new(move |request| {
        seen.record(&request);
        let feeds = feeds.clone();
        async move {
            let (feed, body) = fed();
            feeds.send(feed).await.unwrap();
            let mut response = Response::new(body);
            for (name, value) in headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            response
        }
    });
    (origin, received, calls)
}

#[tokio::test]
async fn a_thousand_requests_for_one_blocked_object_are_one_call() {
    const CONNECTIONS: usize = 20;
    const REQUESTS: usize = 50;
    let gate = Arc::new(Semaphore::new(0));
    let (feed, body) = fed();
    let (calls, held, body) = (Calls::default(), gate.clone(), Arc::new(Mutex::new(Some(body))));
    let seen = calls.clone();
    let origin = BoxOrigin::new(move |request| {
        seen.record(&request);
        let (gate, body) = (held.clone(), body.lock().unwrap().take().expect("the origin is called once"));
        async move {
            gate.acquire().await.unwrap().forget();
            let mut response = Response::new(body);
            response.headers_mut().insert("cache-control", "max-age=9".parse().unwrap());
            response
        }
    });
    let stage = Stage::cached(origin);
    let mut heads = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let sender = stage.h2().await;
        for _ in 0..REQUESTS {
            let (mut sender, request) = (sender.clone(), stage.request("http://edge.test/part"));
            heads.spawn(async move {
                soon(sender.ready()).await.unwrap();
                soon(sender.send_request(request)).await.unwrap()
            });
        }
    }
    eventually("the origin is asked", || calls.count() > 0).await;
    gate.add_permits(1);
    let heads = soon(heads.join_all()).await;
    assert_eq!(heads.len(), CONNECTIONS * REQUESTS);

    // The first piece reaches everyone while the origin still writes.
    feed.send(Ok(Bytes::from_static(b"first "))).await.unwrap();
    let mut readers = JoinSet::new();
    for head in heads {
        readers.spawn(async move {
            let mut head = head;
            assert_eq!(exactly(head.body_mut(), 6).await, b"first ");
            head
        });
    }
    let heads = soon(readers.join_all()).await;
    assert!(!feed.is_closed());
    feed.send(Ok(Bytes::from_static(b"second"))).await.unwrap();
    drop(feed);
    let mut told = std::collections::BTreeMap::new();
    for head in heads {
        let answer = Answer::of(head).await;
        assert_eq!(answer.body, "second");
        *told.entry(answer.header("x-cache-status").to_owned()).or_insert(0) += 1;
    }
    assert_eq!(told, [("HIT".to_owned(), CONNECTIONS * REQUESTS - 1), ("MISS".to_owned(), 1)].into());
    assert_eq!(calls.count(), 1);
    assert_eq!(stage.get("/part").await.told(), ("HIT", "first second"));
}

#[tokio::test]
async fn who_comes_in_mid_body_gets_all_of_it() {
    let (origin, mut feeds, calls) = feeding(&[("cache-control", "max-age=9")]);
    let stage = Stage::cached(origin);
    let (mut leader, feed) = tokio::join!(stage.open(stage.request("/a")), async { soon(feeds.recv()).await.unwrap() });
    feed.send(Ok(Bytes::from_static(b"one "))).await.unwrap();
    assert_eq!(exactly(leader.body_mut(), 4).await, b"one ");
    let mut follower = stage.open(stage.request("/a")).await;
    assert_eq!(follower.headers()["x-cache-status"], "HIT");
    assert_eq!(exactly(follower.body_mut(), 4).await, b"one ");
    feed.send(Ok(Bytes::from_static(b"two"))).await.unwrap();
    drop(feed);
    assert_eq!(Answer::of(leader).await.body, "two");
    assert_eq!(Answer::of(follower).await.body, "two");
    assert_eq!(calls.count(), 1);
}

/// An origin that counts its calls and answers each when the gate lets it.
fn gated(headers: &'static [(&'static str, &'static str)]) -> (BoxOrigin, Arc<Semaphore>, Calls) {
    let gate = Arc::new(Semaphore::new(0));
    let calls = Calls::default();
    let (held, seen) = (gate.clone(), calls.clone());
    let origin = BoxOrigin::new(move |request| {
        let (call, gate) = (seen.record(&request), held.clone());
        async move {
            gate.acquire().await.unwrap().forget();
            answer(200, headers, format!("call {call}"))
        }
    });
    (origin, gate, calls)
}

/// Starts `count` requests on one connection, and returns when the edge has taken up all of them: it takes them up in order, and
/// answers one more that waits for nothing.
async fn parked(stage: &Stage, count: usize) -> JoinSet<Answer> {
    let sender = stage.h2().await;
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let (mut sender, request) = (sender.clone(), stage.request("http://edge.test/a"));
        let head = sender.send_request(request);
        clients.spawn(async move { Answer::of(soon(head).await.unwrap()).await });
    }
    let mut refused = stage.request("http://edge.test/a");
    *refused.method_mut() = http::Method::DELETE;
    let mut sender = sender;
    assert_eq!(soon(sender.send_request(refused)).await.unwrap().status(), 405);
    clients
}

#[tokio::test]
async fn the_first_clients_end_is_nobody_elses() {
    let (origin, gate, calls) = gated(&[]);
    let stage = Stage::cached(origin);
    let mut leader = TcpStream::connect(stage.addr()).await.unwrap();
    leader.write_all(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    eventually("the origin is asked", || calls.count() == 1).await;
    let followers = parked(&stage, 3).await;
    drop(leader);
    eventually("the leader's connection is closed", || stage.handle.connections() == 1).await;
    gate.add_permits(1);
    for answer in soon(followers.join_all()).await {
        assert_eq!(answer.told(), ("HIT", "call 1"));
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_follower_outlives_its_leader() {
    let (origin, mut feeds, calls) = feeding(&[("cache-control", "max-age=9")]);
    let stage = Stage::cached(origin);
    let (mut leader, feed) = tokio::join!(stage.open(stage.request("/a")), async { soon(feeds.recv()).await.unwrap() });
    feed.send(Ok(Bytes::from_static(b"one "))).await.unwrap();
    let mut follower = stage.open(stage.request("/a")).await;
    assert_eq!(exactly(leader.body_mut(), 4).await, b"one ");
    assert_eq!(exactly(follower.body_mut(), 4).await, b"one ");
    drop(leader);
    eventually("the leader's connection is closed", || stage.handle.connections() == 1).await;
    feed.send(Ok(Bytes::from_static(b"two"))).await.unwrap();
    drop(feed);
    assert_eq!(Answer::of(follower).await.body, "two");
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_fetch_that_nobody_waits_for_is_given_up() {
    struct Told(Option<oneshot::Sender<()>>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.take().map(|told| told.send(()));
        }
    }
    let (asked_tx, mut asked) = mpsc::channel(1);
    let origin = BoxOrigin::new(move |_| {
        let asked = asked_tx.clone();
        async move {
            let (told, gone) = oneshot::channel();
            asked.send(gone).await.unwrap();
            let _told = Told(Some(told));
            std::future::pending().await
        }
    });
    let stage = Stage::cached(origin);
    let mut client = TcpStream::connect(stage.addr()).await.unwrap();
    client.write_all(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let gone = soon(asked.recv()).await.unwrap();
    drop(client);
    soon(gone).await.expect("the origin's future is dropped");
}

#[tokio::test]
async fn what_is_not_to_be_shared_is_fetched_by_each_at_once() {
    const CLIENTS: usize = 5;
    for header in [("cache-control", "no-store"), ("cache-control", "private"), ("set-cookie", "a=b"), ("vary", "*")] {
        // The first answer waits for nobody; the others wait until all of them have been asked for.
        let barrier = Arc::new(Barrier::new(CLIENTS - 1));
        let gate = Arc::new(Semaphore::new(0));
        let (calls, held) = (Calls::default(), gate.clone());
        let seen = calls.clone();
        let origin = BoxOrigin::new(move |request| {
            let (call, barrier, gate) = (seen.record(&request), barrier.clone(), held.clone());
            async move {
                match call {
                    1 => gate.acquire().await.unwrap().forget(),
                    _ => {
                        barrier.wait().await;
                    }
                }
                answer(200, &[header], format!("call {call}"))
            }
        });
        let stage = Arc::new(Stage::cached(origin));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let stage = stage.clone();
            clients.spawn(async move { String::from_utf8(stage.get("/a").await.body.to_vec()).unwrap() });
        }
        eventually("the origin is asked", || calls.count() == 1).await;
        gate.add_permits(1);
        let mut told = soon(clients.join_all()).await;
        told.sort();
        assert_eq!(told, (1..=CLIENTS).map(|call| format!("call {call}")).collect::<Vec<_>>(), "{header:?}");
    }
}

#[tokio::test]
async fn an_origins_failure_reaches_everyone_and_is_not_kept() {
    let gate = Arc::new(Semaphore::new(0));
    let (calls, held) = (Calls::default(), gate.clone());
    let seen = calls.clone();
    let origin = BoxOrigin::new(move |request| {
        let (call, gate) = (seen.record(&request), held.clone());
        async move {
            gate.acquire().await.unwrap().forget();
            match (call, request.uri().path()) {
                (1, _) => panic!("the origin breaks, as this test wants it to"),
                _ => answer(200, &[("cache-control", "max-age=9")], "good"),
            }
        }
    });
    let stage = Stage::cached(origin);
    let clients = parked(&stage, 10).await;
    gate.add_permits(1);
    for answer in soon(clients.join_all()).await {
        assert_eq!(answer.status, 500);
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    gate.add_permits(1);
    assert_eq!(stage.get("/a").await.told(), ("MISS", "good"));
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn a_service_that_fails_or_takes_too_long_is_a_gateway_error() {
    #[derive(Clone)]
    struct Failing;
    impl tower_service::Service<http::Request<edge::Body>> for Failing {
        type Response = Response<edge::Body>;
        type Error = std::io::Error;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
            std::task::Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: http::Request<edge::Body>) -> Self::Future {
            std::future::ready(Err(std::io::Error::other("no")))
        }
    }
    let silent = BoxOrigin::new(|_| std::future::pending());
    let quick = edge::Config { upstream_timeout_ms: 50, ..config() };
    let routes = vec![
        Route::prefix("/fails", Failing).policy(hls()),
        Route::prefix("/fails-alone", Failing),
        Route::prefix("/silent", silent.clone()).policy(hls()),
        Route::prefix("/silent-alone", silent),
    ];
    let stage = Stage::new(&quick, routes);
    for (path, status) in [("/fails", 502), ("/fails-alone", 502), ("/silent", 504), ("/silent-alone", 504)] {
        let answer = stage.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.told().1.contains("\"hint\":"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_breaks_off_for_clients_and_is_not_kept() {
    let (origin, mut feeds, calls) = feeding(&[("cache-control", "max-age=9"), ("content-length", "8")]);
    let stage = Stage::cached(origin);
    type Ending = fn() -> Option<Result<Bytes, edge::BoxError>>;
    let endings: [Ending; 3] = [|| None, || Some(Err("broken".into())), || Some(Ok(Bytes::from_static(b"too much")))];
    for ending in endings {
        let (mut client, feed) =
            tokio::join!(stage.open(stage.request("/a")), async { soon(feeds.recv()).await.unwrap() });
        assert_eq!(client.headers()["x-cache-status"], "MISS");
        assert_eq!(client.headers()["content-length"], "8");
        feed.send(Ok(Bytes::from_static(b"half"))).await.unwrap();
        assert_eq!(exactly(client.body_mut(), 4).await, b"half");
        if let Some(last) = ending() {
            feed.send(last).await.unwrap();
        }
        drop(feed);
        assert!(Answer::try_of(client).await.is_err(), "the client notices");
    }
    assert_eq!(calls.count(), 3);
}

#[tokio::test]
async fn a_range_is_cut_from_a_body_on_its_way() {
    let (origin, mut feeds, calls) = feeding(&[("cache-control", "max-age=9"), ("content-length", "10")]);
    let stage = Stage::cached(origin);
    let mut request = stage.request("/a");
    request.headers_mut().insert("range", "bytes=2-5".parse().unwrap());
    let (mut part, feed) = tokio::join!(stage.open(request), async { soon(feeds.recv()).await.unwrap() });
    assert_eq!((part.status().as_u16(), &part.headers()["content-range"]), (206, &"bytes 2-5/10".parse().unwrap()));
    feed.send(Ok(Bytes::from_static(b"0123"))).await.unwrap();
    assert_eq!(exactly(part.body_mut(), 2).await, b"23");
    feed.send(Ok(Bytes::from_static(b"4567"))).await.unwrap();
    assert_eq!(Answer::of(part).await.body, "45");
    // The part's client is served; the object is read to its end and kept.
    feed.send(Ok(Bytes::from_static(b"89"))).await.unwrap();
    drop(feed);
    while stage.get("/a").await.told() != ("HIT", "0123456789") {}
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_body_longer_than_is_kept_flows_on_behind_its_reader() {
    const PIECE: usize = 10_000;
    const PIECES: usize = 300;
    let (origin, mut feeds, calls) = feeding(&[("cache-control", "max-age=9")]);
    let small = edge::Config { object_bytes_max: 100_000, ..config() };
    let stage = Stage::new(&small, vec![Route::prefix("/", origin).policy(hls())]);
    let (client, feed) = tokio::join!(stage.open(stage.request("/a")), async { soon(feeds.recv()).await.unwrap() });
    let feeding = tokio::spawn(async move {
        for number in 0..PIECES {
            feed.send(Ok(vec![number as u8; PIECE].into())).await.unwrap();
        }
    });
    let whole = Answer::of(client).await.body;
    soon(feeding).await.unwrap();
    let expected: Vec<u8> = (0..PIECES).flat_map(|number| vec![number as u8; PIECE]).collect();
    assert!(whole == expected, "every byte, in order: {} of {}", whole.len(), expected.len());
    // It was not kept.
    let (second, feed) = tokio::join!(stage.open(stage.request("/a")), async { soon(feeds.recv()).await.unwrap() });
    drop(feed);
    assert_eq!(second.headers()["x-cache-status"], "MISS");
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn an_origin_faster_than_its_only_client_waits_for_it() {
    const PIECE: usize = 10_000;
    const PIECES: usize = 3_000;
    let piece = Bytes::from(vec![7; PIECE]);
    let origin = BoxOrigin::new(move |_| {
        let body = ReadyBody(vec![piece.clone(); PIECES].into_iter()).boxed_unsync();
        let mut response = Response::new(body);
        response.headers_mut().insert("cache-control", "max-age=9".parse().unwrap());
        async move { response }
    });
    let small = edge::Config { object_bytes_max: 100_000, ..config() };
    let stage = Stage::new(&small, vec![Route::prefix("/", origin).policy(hls())]);
    let mut client = stage.open(stage.request("/a")).await;
    // By the time that another client is refused, the origin has long had the chance to run ahead.
    let mut refused = stage.request("/a");
    *refused.method_mut() = http::Method::DELETE;
    assert_eq!(stage.send(refused).await.status, 405);
    let first = crate::stage::piece(client.body_mut()).await;
    assert_eq!(first.len() + Answer::of(client).await.body.len(), PIECE * PIECES);
}

#[tokio::test]
async fn what_is_stale_at_once_is_shared_by_those_who_wait_only() {
    let (origin, gate, calls) = gated(&[("cache-control", "max-age=0")]);
    let stage = Stage::cached(origin);
    let clients = parked(&stage, 10).await;
    assert_eq!(calls.count(), 1);
    gate.add_permits(10);
    assert!(soon(clients.join_all()).await.iter().all(|answer| answer.body == "call 1"));
    assert_eq!(stage.get("/a").await.told(), ("MISS", "call 2"));
}

#[tokio::test]
async fn a_panic_in_one_request_is_that_requests() {
    let (origin, _) = scripted(|request, _| match request.uri().path() {
        "/good" => answer(200, &[], "good"),
        _ => panic!("the origin breaks, as this test wants it to"),
    });
    let stage = Stage::new(&config(), vec![Route::prefix("/", origin)]);
    let sender = stage.h2().await;
    let ask = |path: &str| {
        let (mut sender, request) = (sender.clone(), stage.request(&format!("http://edge.test{path}")));
        async move { Answer::of(soon(sender.send_request(request)).await.unwrap()).await }
    };
    assert_eq!(ask("/bad").await.status, 500);
    assert_eq!(ask("/good").await.told(), ("BYPASS", "good"));
    assert_eq!(ask("/bad").await.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn an_origin_that_contradicts_itself_harms_one_answer() {
    let (origin, _) = scripted(|request, _| {
        let headers: &[(&'static str, &str)] = match request.uri().path().rsplit('/').next() {
            Some("long") => &[("content-length", "10")],
            Some("nonsense") => &[("content-length", "many")],
            Some("twice") => &[("content-length", "4"), ("content-length", "9")],
            Some("hop") => &[("connection", "x-hop"), ("x-hop", "1"), ("transfer-encoding", "chunked")],
            _ => &[],
        };
        let status = match request.uri().path().rsplit('/').next() {
            Some("early") => 101,
            Some("none") => 204,
            _ => 200,
        };
        answer(status, headers, "body")
    });
    let routes = vec![Route::prefix("/alone", origin.clone()), Route::prefix("/shared", origin).policy(hls())];
    let stage = Stage::new(&config(), routes);
    for route in ["/alone", "/shared"] {
        let open = async |name: &str| stage.open(stage.request(&format!("{route}/{name}"))).await;
        // Too short a body: the connection ends before the length that was promised, so the client notices.
        let broken = stage.raw(format!("GET {route}/long HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(broken.is_empty() || broken.contains("content-length: 10\r\n"), "{route}: {broken}");
        for fine in ["nonsense", "twice", "hop"] {
            let answer = Answer::of(open(fine).await).await;
            assert_eq!((answer.status.as_u16(), answer.told().1), (200, "body"), "{route}/{fine}");
            assert!(!answer.headers.contains_key("x-hop"), "{route}/{fine}");
        }
        assert_eq!(open("early").await.status(), 502, "{route}");
        let none = Answer::of(open("none").await).await;
        assert_eq!((none.status.as_u16(), none.body.len()), (204, 0), "{route}");
    }
}
