//! Connections: kept alive, pipelined, HTTP/2, drained, counted.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use edge::{BoxOrigin, CacheStatus, Error, Observer, RequestRecord, Route, Server};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{Semaphore, mpsc},
};

use crate::stage::{Answer, Stage, answer, config, eventually, hls, rest, scripted, soon};

#[tokio::test]
async fn one_connection_serves_many_requests_in_order() {
    let (origin, _) = scripted(|request, _| answer(200, &[], request.uri().path().to_owned()));
    let stage = Stage::cached(origin);
    let request = |path: &str, further: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{further}\r\n");
    let pipelined = [request("/one", ""), request("/two", ""), request("/three", "Connection: close\r\n")].concat();
    let told = stage.raw(pipelined).await;
    assert_eq!(told.matches("HTTP/1.1 200 OK").count(), 3, "{told}");
    let places: Vec<_> = ["/one", "/two", "/three"].map(|body| told.find(&format!("\r\n\r\n{body}"))).to_vec();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{told}");
    // HTTP/1.0 needs no Host and closes.
    let old = stage.raw("GET /old HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 OK") && old.ends_with("/old"), "{old}");
}

#[tokio::test]
async fn http_2_is_spoken_with_prior_knowledge() {
    let (origin, calls) = scripted(|_, call| answer(200, &[("cache-control", "max-age=9")], format!("call {call}")));
    let stage = Stage::cached(origin);
    let mut sender = stage.h2().await;
    for status in ["MISS", "HIT"] {
        let response = soon(sender.send_request(stage.request("http://edge.test/a"))).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(Answer::of(response).await.told(), (status, "call 1"));
    }
    let mut head = stage.request("http://edge.test/a");
    *head.method_mut() = http::Method::HEAD;
    let head = Answer::of(soon(sender.send_request(head)).await.unwrap()).await;
    assert_eq!((head.told(), head.header("content-length")), (("HIT", ""), "6"));
    assert_eq!(calls.count(), 1);
    // The same object by HTTP/1.1.
    assert_eq!(stage.get("/a").await.told(), ("HIT", "call 1"));
}

#[tokio::test]
async fn a_drain_lets_answers_end_and_accepts_nothing_new() {
    let gate = Arc::new(Semaphore::new(0));
    let (asked_tx, mut asked) = mpsc::channel(4);
    let held = gate.clone();
    let origin = BoxOrigin::new(move |_| {
        let (gate, asked) = (held.clone(), asked_tx.clone());
        async move {
            asked.send(()).await.unwrap();
            gate.acquire().await.unwrap().forget();
            answer(200, &[], "at last")
        }
    });
    let stage = Stage::cached(origin);
    let addr = stage.addr();
    let idle = TcpStream::connect(addr).await.unwrap();
    let mut waiting = TcpStream::connect(addr).await.unwrap();
    waiting.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    soon(asked.recv()).await.unwrap();
    let drained = tokio::spawn(stage.handle.drain(Duration::from_secs(20)));
    // The idle connection is closed at once, which shows that the drain has begun.
    assert_eq!(rest(idle).await, "");
    eventually("nothing is accepted", || std::net::TcpStream::connect(addr).is_err()).await;
    assert!(!drained.is_finished());
    gate.add_permits(1);
    let told = rest(waiting).await;
    assert!(told.starts_with("HTTP/1.1 200 OK") && told.ends_with("at last"), "{told}");
    soon(drained).await.unwrap();
}

#[tokio::test]
async fn a_drain_answers_those_who_still_wait() {
    let (asked_tx, mut asked) = mpsc::channel(4);
    let origin = BoxOrigin::new(move |_| {
        let asked = asked_tx.clone();
        async move {
            asked.send(()).await.unwrap();
            std::future::pending().await
        }
    });
    let routes = vec![Route::prefix("/shared", origin.clone()).policy(hls()), Route::prefix("/alone", origin)];
    let stage = Stage::new(&config(), routes);
    let mut clients = Vec::new();
    for path in ["/shared", "/alone"] {
        let mut client = TcpStream::connect(stage.addr()).await.unwrap();
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        soon(asked.recv()).await.unwrap();
        clients.push(client);
    }
    let drained = tokio::spawn(stage.handle.drain(Duration::from_secs(1)));
    for client in clients {
        let told = rest(client).await;
        assert!(told.starts_with("HTTP/1.1 503") && told.contains("retry-after: 1"), "{told}");
    }
    soon(drained).await.unwrap();
}

#[tokio::test]
async fn serve_ends_after_its_shutdown() {
    let (origin, _) = scripted(|_, _| answer(200, &[], "x"));
    let server = Server::bind(&config(), vec![Route::prefix("/", origin)]).unwrap();
    let addr = server.local_addr();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(server.serve(async { drop(stopped.await) }));
    let mut client = TcpStream::connect(addr).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(rest(client).await.starts_with("HTTP/1.1 200"));
    stop.send(()).unwrap();
    soon(served).await.unwrap().unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_port_in_use_is_an_error() {
    let (origin, _) = scripted(|_, _| answer(200, &[], "x"));
    let stage = Stage::cached(origin.clone());
    let taken = edge::Config { http: stage.addr().to_string(), ..config() };
    let second = Server::bind(&taken, vec![Route::prefix("/", origin.clone())]);
    assert!(matches!(second.err(), Some(Error::Listen { addr, .. }) if addr == stage.addr()));
    let wrong = edge::Config { http: "8080".into(), ..config() };
    assert!(matches!(Server::bind(&wrong, vec![Route::prefix("/", origin)]).err(), Some(Error::Address { .. })));
}

#[tokio::test]
async fn the_observer_hears_of_every_answer() {
    type Told = (String, u16, u64, CacheStatus, Option<String>);
    #[derive(Default)]
    struct Heard(Mutex<Vec<Told>>);
    impl Observer for Heard {
        fn on_request(&self, record: &RequestRecord<'_>) {
            let agent = record.user_agent.map(|agent| agent.to_str().unwrap().to_owned());
            let told = (record.path.to_owned(), record.status.as_u16(), record.bytes, record.cache, agent);
            self.0.lock().unwrap().push(told);
        }
    }
    let (origin, _) = scripted(|_, _| answer(200, &[("cache-control", "max-age=9")], "12345"));
    let heard = Arc::new(Heard::default());
    let server = Server::bind(&config(), vec![Route::prefix("/live", origin).policy(hls())]).unwrap();
    let handle = server.observer(heard.clone()).start().unwrap();
    let stage = Stage { handle, clock: Default::default() };
    stage.get_with("/live/%61?token=secret", &[("user-agent", "player")]).await;
    stage.get("/live/a").await;
    stage.get("/none").await;
    eventually("three answers are heard of", || heard.0.lock().unwrap().len() == 3).await;
    let mut heard = std::mem::take(&mut *heard.0.lock().unwrap());
    heard.sort_by_key(|told| (told.0.clone(), told.3 == CacheStatus::Hit));
    let refused = heard.pop().unwrap();
    assert_eq!((refused.0.as_str(), refused.1, refused.3), ("/none", 404, CacheStatus::None));
    let told = |cache, agent: Option<&str>| ("/live/a".to_owned(), 200, 5, cache, agent.map(str::to_owned));
    assert_eq!(heard, [told(CacheStatus::Miss, Some("player")), told(CacheStatus::Hit, None)]);
}
