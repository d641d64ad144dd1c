//! What is kept, for how long, and what clients get of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use edge::{BoxOrigin, Policy, Route};
use http::{Method, Request};
use http_body_util::Full;
use tokio::sync::Semaphore;

use crate::stage::{Answer, Calls, Stage, answer, config, eventually, hls, scripted, soon};

#[tokio::test]
async fn the_second_request_is_a_hit() {
    let (origin, calls) = scripted(|_, call| answer(200, &[("cache-control", "max-age=10")], format!("call {call}")));
    let stage = Stage::cached(origin);
    let first = stage.get("/a").await;
    assert_eq!(first.told(), ("MISS", "call 1"));
    assert!(!first.headers.contains_key("age"));
    assert!(first.header("server-timing").contains("origin;dur="), "{:?}", first.headers);
    stage.clock.advance_ms(3_500);
    let second = stage.get("/a").await;
    assert_eq!(second.told(), ("HIT", "call 1"));
    assert_eq!(second.header("age"), "3");
    assert_eq!(second.header("content-length"), "6");
    assert_eq!(second.header("accept-ranges"), "bytes");
    assert!(second.header("server-timing").starts_with("edge;dur="));
    assert_eq!(second.header("date"), first.header("date"));
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn an_aged_object_is_fetched_again() {
    let (origin, _) = scripted(|_, call| answer(200, &[("cache-control", "max-age=1")], format!("call {call}")));
    let stage = Stage::cached(origin);
    assert_eq!(stage.get("/a").await.told(), ("MISS", "call 1"));
    stage.clock.advance_ms(1_000);
    assert_eq!(stage.get("/a").await.told(), ("EXPIRED", "call 2"));
    assert_eq!(stage.get("/a").await.told(), ("HIT", "call 2"));
}

#[tokio::test]
async fn a_confirmed_object_is_revalidated() {
    let (origin, calls) = scripted(|request, _| match request.headers().get("if-none-match") {
        Some(tag) if tag == "\"v1\"" => answer(304, &[("cache-control", "max-age=5")], ""),
        _ => answer(200, &[("cache-control", "max-age=1"), ("etag", "\"v1\"")], "body"),
    });
    let stage = Stage::cached(origin);
    assert_eq!(stage.get("/a").await.told(), ("MISS", "body"));
    stage.clock.advance_ms(2_000);
    let renewed = stage.get("/a").await;
    assert_eq!(renewed.told(), ("REVALIDATED", "body"));
    assert_eq!(renewed.header("cache-control"), "max-age=5");
    stage.clock.advance_ms(4_000);
    assert_eq!(stage.get("/a").await.told(), ("HIT", "body"));
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn what_may_be_stale_is_given_while_it_is_renewed() {
    let gate = Arc::new(Semaphore::new(1));
    let (calls, held) = (Calls::default(), gate.clone());
    let seen = calls.clone();
    let origin = BoxOrigin::new(move |request| {
        let (call, gate) = (seen.record(&request), held.clone());
        async move {
            gate.acquire().await.unwrap().forget();
            answer(200, &[("cache-control", "max-age=1, stale-while-revalidate=10")], format!("call {call}"))
        }
    });
    let stage = Stage::cached(origin);
    assert_eq!(stage.get("/a").await.told(), ("MISS", "call 1"));
    stage.clock.advance_ms(2_000);
    assert_eq!(stage.get("/a").await.told(), ("STALE", "call 1"));
    assert_eq!(stage.get("/a").await.told(), ("UPDATING", "call 1"));
    assert_eq!(stage.get("/a").await.told(), ("UPDATING", "call 1"));
    eventually("the renewal asks", || calls.count() == 2).await;
    gate.add_permits(1);
    // Which request sees it first depends on when the renewal's thread runs; none asks the origin again.
    loop {
        let next = stage.get("/a").await;
        match next.told() {
            ("UPDATING", "call 1") => continue,
            told => break assert_eq!(told, ("HIT", "call 2")),
        }
    }
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn a_failing_origin_leaves_what_is_stale_in_use() {
    let broken = Arc::new(AtomicBool::new(false));
    let state = broken.clone();
    let (origin, _) = scripted(move |request, _| match (state.load(Ordering::SeqCst), request.uri().path()) {
        (false, _) => answer(200, &[("cache-control", "max-age=1, stale-if-error=5")], "good"),
        (true, "/status") => answer(503, &[], "bad"),
        (true, _) => panic!("the origin breaks, as this test wants it to"),
    });
    let stage = Stage::cached(origin);
    for path in ["/status", "/panic"] {
        assert_eq!(stage.get(path).await.told(), ("MISS", "good"));
    }
    broken.store(true, Ordering::SeqCst);
    stage.clock.advance_ms(2_000);
    for path in ["/status", "/panic"] {
        assert_eq!(stage.get(path).await.told(), ("STALE", "good"));
    }
    stage.clock.advance_ms(10_000);
    assert_eq!(stage.get("/status").await.told(), ("EXPIRED", "bad"));
    assert_eq!(stage.get("/panic").await.status, 500);
}

#[tokio::test]
async fn a_404_is_kept_for_a_second_and_a_failure_not_at_all() {
    let (origin, calls) = scripted(|request, call| {
        let status = request.uri().path().trim_start_matches('/').parse().unwrap();
        answer(status, &[], format!("call {call}"))
    });
    let stage = Stage::cached(origin);
    assert_eq!(stage.get("/404").await.told(), ("MISS", "call 1"));
    stage.clock.advance_ms(900);
    let kept = stage.get("/404").await;
    assert_eq!((kept.status.as_u16(), kept.told()), (404, ("HIT", "call 1")));
    stage.clock.advance_ms(100);
    assert_eq!(stage.get("/404").await.told(), ("EXPIRED", "call 2"));
    assert_eq!(stage.get("/503").await.told(), ("MISS", "call 3"));
    assert_eq!(stage.get("/503").await.told(), ("MISS", "call 4"));
    assert_eq!(calls.count(), 4);
}

#[tokio::test]
async fn head_is_answered_from_the_object_of_get() {
    let (origin, calls) = scripted(|request, _| {
        assert_eq!(request.method(), Method::GET);
        answer(200, &[("cache-control", "max-age=9")], "twelve bytes")
    });
    let stage = Stage::cached(origin);
    for status in ["MISS", "HIT"] {
        let mut request = stage.request("/a");
        *request.method_mut() = Method::HEAD;
        let head = stage.send(request).await;
        assert_eq!(head.told(), (status, ""));
        assert_eq!(head.header("content-length"), "12");
        // The fetch goes on without the client, because its object will be kept.
        eventually("the object is kept", || calls.count() == 1).await;
        while stage.get("/a").await.told().0 != "HIT" {}
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn ranges_are_cut_from_the_object() {
    let (origin, calls) = scripted(|request, _| {
        assert!(!request.headers().contains_key("range"));
        answer(200, &[("cache-control", "max-age=9"), ("etag", "\"v1\"")], "0123456789")
    });
    let stage = Stage::cached(origin);
    let check = async |range: &str, status: u16, content_range: &str, body: &str| {
        let answer = stage.get_with("/a", &[("range", range)]).await;
        let found = (answer.status.as_u16(), answer.header("content-range"), answer.told().1);
        if status == 416 {
            assert_eq!((found.0, found.1), (status, content_range), "{range}");
        } else {
            assert_eq!(found, (status, content_range, body), "{range}");
            assert_eq!(answer.header("content-length"), body.len().to_string(), "{range}");
        }
    };
    check("bytes=0-0", 206, "bytes 0-0/10", "0").await;
    check("bytes=3-5", 206, "bytes 3-5/10", "345").await;
    check("bytes=8-", 206, "bytes 8-9/10", "89").await;
    check("bytes=-4", 206, "bytes 6-9/10", "6789").await;
    check("bytes=0-99", 206, "bytes 0-9/10", "0123456789").await;
    check("bytes=0-1,5-6", 200, "", "0123456789").await;
    check("bytes=x", 200, "", "0123456789").await;
    check("bytes=10-", 416, "bytes */10", "").await;
    assert_eq!(calls.count(), 1);
    let old = stage.get_with("/a", &[("range", "bytes=0-1"), ("if-range", "\"v0\"")]).await;
    assert_eq!((old.status.as_u16(), old.told().1), (200, "0123456789"));
}

#[tokio::test]
async fn a_client_that_has_it_gets_304() {
    let (origin, calls) =
        scripted(|_, _| answer(200, &[("cache-control", "max-age=9"), ("etag", "\"v1\"")], "x".repeat(100_000)));
    let stage = Stage::cached(origin);
    for _ in 0..3 {
        let answer = stage.get_with("/a", &[("if-none-match", "W/\"v1\"")]).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0));
        assert_eq!(answer.header("etag"), "\"v1\"");
        assert_eq!(answer.header("cache-control"), "max-age=9");
        assert!(!answer.headers.contains_key("content-length"));
    }
    assert_eq!(calls.count(), 1);
    assert_eq!(stage.get_with("/a", &[("if-none-match", "\"v2\"")]).await.status, 200);
}

#[tokio::test]
async fn tokens_reach_neither_key_nor_origin() {
    let (origin, calls) = scripted(|_, call| answer(200, &[("cache-control", "max-age=9")], format!("call {call}")));
    let stage = Stage::cached(origin);
    let check = async |target: &str, told: (&str, &str)| assert_eq!(stage.get(target).await.told(), told, "{target}");
    check("/a?token=alice", ("MISS", "call 1")).await;
    check("/a?token=bob&session=1", ("HIT", "call 1")).await;
    check("/a", ("HIT", "call 1")).await;
    check("/%61?", ("HIT", "call 1")).await;
    check("/a?_HLS_part=0&token=x&_HLS_msn=7", ("MISS", "call 2")).await;
    check("/a?_HLS_msn=7&_HLS_part=0", ("HIT", "call 2")).await;
    check("/a?_HLS_msn=%37&_HLS_part=0", ("HIT", "call 2")).await;
    check("/a?_HLS_msn=8&_HLS_part=0", ("MISS", "call 3")).await;
    assert_eq!(calls.uris(), ["/a", "/a?_HLS_msn=7&_HLS_part=0", "/a?_HLS_msn=8&_HLS_part=0"]);
}

#[tokio::test]
async fn a_shared_request_carries_nothing_of_its_client() {
    let (origin, calls) = scripted(|_, call| answer(200, &[("cache-control", "max-age=9")], format!("call {call}")));
    let stage = Stage::cached(origin);
    stage.get_with("/a", &[("cookie", "id=1"), ("user-agent", "x"), ("accept-encoding", "gzip")]).await;
    assert!(calls.last_headers().is_empty(), "{:?}", calls.last_headers());
    let own = stage.get_with("/a", &[("authorization", "Bearer x"), ("cookie", "id=1")]).await;
    assert_eq!(own.told(), ("BYPASS", "call 2"));
    assert_eq!(calls.last_headers()["authorization"], "Bearer x");
    assert_eq!(calls.last_headers()["cookie"], "id=1");
    assert_eq!(stage.get("/a").await.told(), ("HIT", "call 1"));
}

#[tokio::test]
async fn a_change_makes_what_is_kept_invalid() {
    let (origin, _) = scripted(|_, call| answer(200, &[("cache-control", "max-age=9")], format!("call {call}")));
    let stage = Stage::new(&config(), vec![Route::prefix("/", origin).policy(hls().methods([Method::PUT]))]);
    assert_eq!(stage.get("/a").await.told(), ("MISS", "call 1"));
    let mut put = stage.request("/a");
    *put.method_mut() = Method::PUT;
    assert_eq!(stage.send(put).await.told(), ("BYPASS", "call 2"));
    assert_eq!(stage.get("/a").await.told(), ("MISS", "call 3"));
}

#[tokio::test]
async fn a_large_object_is_passed_and_not_kept() {
    let (origin, calls) = scripted(|request, _| match request.headers().get("range") {
        Some(range) => answer(206, &[("content-range", "bytes 0-1/100000")], range.as_bytes().to_vec()),
        None => answer(200, &[("cache-control", "max-age=9")], "x".repeat(100_000)),
    });
    let small = edge::Config { object_bytes_max: 10_000, ..config() };
    let stage = Stage::new(&small, vec![Route::prefix("/", origin).policy(hls())]);
    for _ in 0..2 {
        let whole = stage.get("/a").await;
        assert_eq!((whole.header("x-cache-status"), whole.body.len()), ("MISS", 100_000));
    }
    assert_eq!(calls.count(), 2);
    // The origin itself cuts a part of what the edge does not hold.
    let part = stage.get_with("/a", &[("range", "bytes=0-1")]).await;
    assert_eq!((part.status.as_u16(), part.told().1), (206, "bytes=0-1"));
}

#[tokio::test]
async fn the_cache_stays_within_its_bytes() {
    let (origin, _) = scripted(|_, _| answer(200, &[("cache-control", "max-age=99")], "x".repeat(10_000)));
    let small = edge::Config { cache_bytes_max: 200_000, object_bytes_max: 20_000, ..config() };
    let stage = Stage::new(&small, vec![Route::prefix("/", origin).policy(hls())]);
    for number in 0..100 {
        stage.get(&format!("/{number}")).await;
    }
    let mut kept = 0;
    // From the newest: looking for one that is gone brings it back, and drives out another.
    for number in (0..100).rev() {
        let mut head = stage.request(&format!("/{number}"));
        *head.method_mut() = Method::HEAD;
        kept += usize::from(stage.send(head).await.told().0 == "HIT");
    }
    assert!((1..20).contains(&kept), "{kept} objects of 10 kB in a cache of 200 kB");
}

#[tokio::test]
async fn a_route_without_cache_passes_everything_on() {
    let origin = BoxOrigin::new(|request: Request<edge::Body>| async move {
        let peer = request.extensions().get::<edge::Peer>().is_some();
        let told = format!("{} {} {peer} {:?}", request.method(), request.uri(), request.headers().get("x-own"));
        let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        answer(201, &[("set-cookie", "a=b"), ("x-own", "2")], [told.as_bytes(), b" ", &body].concat())
    });
    let route = Route::prefix("/api", origin).policy(Policy::pass().methods([Method::POST]));
    let stage = Stage::new(&config(), vec![route]);
    let request = Request::post("/api/%78?b=2&a=1").header("host", "h").header("x-own", "1");
    let found: Answer = soon(stage.send(request.body(Full::from("hello")).unwrap())).await;
    assert_eq!(found.told(), ("BYPASS", "POST /api/x?b=2&a=1 true Some(\"1\") hello"));
    assert_eq!((found.status.as_u16(), found.header("set-cookie"), found.header("x-own")), (201, "a=b", "2"));
}

#[tokio::test]
async fn an_open_route_may_be_read_by_every_page() {
    let (origin, calls) = scripted(|_, _| answer(200, &[("cache-control", "max-age=9")], "x"));
    let stage = Stage::new(&config(), vec![Route::prefix("/live", origin).policy(hls().cors())]);
    let mut preflight = stage.request("/live/a");
    *preflight.method_mut() = Method::OPTIONS;
    let preflight = stage.send(preflight).await;
    assert_eq!((preflight.status.as_u16(), preflight.body.len()), (204, 0));
    assert!(preflight.header("access-control-allow-headers").contains("range"));
    assert_eq!(calls.count(), 0);
    for path in ["/live/a", "/live/a/..%2f"] {
        let answer = stage.get(path).await;
        let open = answer.header("access-control-allow-origin");
        // Which route a refused path would have had is not known.
        assert_eq!(open, if answer.status == 200 { "*" } else { "" }, "{path}");
    }
    let mut wrong = stage.request("/live/a");
    *wrong.method_mut() = Method::DELETE;
    assert_eq!(stage.send(wrong).await.header("access-control-allow-origin"), "*");
}
