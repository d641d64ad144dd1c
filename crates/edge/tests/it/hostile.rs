//! Clients that mean no good, and what becomes of them. A good client is served all the while.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use edge::{BoxOrigin, Config, Policy, Route};
use http::Method;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::stage::{Calls, Stage, answer, config, eventually, hls, rest, scripted, soon};

fn stage_with(config: &Config) -> (Stage, Calls) {
    let (origin, calls) = scripted(|_, _| answer(200, &[("cache-control", "max-age=99")], "good"));
    let routes = vec![Route::prefix("/live", origin.clone()).policy(hls()), Route::prefix("/api", origin)];
    (Stage::new(config, routes), calls)
}

fn status(told: &str) -> u16 {
    told.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn paths_that_climb_are_refused_before_any_origin() {
    let (stage, calls) = stage_with(&config());
    let long = format!("/live/{}", "x".repeat(9_000));
    let table = [
        ("/live/../etc/passwd", 400),
        ("/live/%2e%2e/etc/passwd", 400),
        ("/live/.%2e/x", 400),
        ("/live/..%2f..%2fx", 400),
        ("/live/a%2fb", 400),
        ("/live/a%5cb", 400),
        ("/live/..\\x", 400),
        ("/live//a", 400),
        ("//live/a", 400),
        ("/live/./a", 400),
        ("/live/%00", 400),
        ("/live/%0d%0aset-cookie:x", 400),
        ("/live/%zz", 400),
        ("/live/%ff", 400),
        ("/live/a?_HLS_msn=%", 400),
        ("/nowhere", 404),
        ("/LIVE/a", 404),
        ("/livestock", 404),
        (long.as_str(), 414),
    ];
    for (path, expected) in table {
        let told = stage.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(status(&told), expected, "{path}: {told}");
        assert!(told.contains("application/problem+json") && told.contains("\"title\":"), "{path}: {told}");
    }
    assert_eq!(calls.count(), 0);
    assert_eq!(stage.get("/live/a").await.told(), ("MISS", "good"));
}

#[tokio::test]
async fn methods_that_the_route_does_not_have_are_refused() {
    let (stage, calls) = stage_with(&config());
    for method in ["POST", "PUT", "DELETE", "TRACE", "PURGE"] {
        let told = stage.raw(format!("{method} /live/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(status(&told), 405, "{told}");
        assert!(told.contains("allow: GET, HEAD, OPTIONS\r\n"), "{told}");
    }
    let told =
        stage.raw("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nConnection: close\r\n\r\n").await;
    assert!((400..500).contains(&status(&told)), "{told}");
    let told = stage.raw("OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&told), 204, "{told}");
    assert_eq!(calls.count(), 0);
}

#[tokio::test]
async fn headers_are_bounded_in_number_and_bytes() {
    let (stage, calls) = stage_with(&config());
    let check = async |headers: String, expected: u16| {
        let told = stage.raw(format!("GET /live/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")).await;
        assert_eq!(status(&told), expected, "{} bytes of headers: {told}", headers.len());
    };
    check("a: b\r\n".repeat(90), 200).await;
    check("a: b\r\n".repeat(101), 431).await;
    check("a: b\r\n".repeat(10_000), 431).await;
    check(format!("a: {}\r\n", "x".repeat(30_000)), 200).await;
    check(format!("a: {}\r\n", "x".repeat(33_000)), 431).await;
    check(format!("a: {}\r\n", "x".repeat(3_000_000)), 431).await;
    assert_eq!(calls.count(), 1);

    // HTTP/2, where hyper counts bytes and the edge counts headers.
    let mut sender = stage.h2().await;
    let mut many = stage.request("http://edge.test/live/a");
    for _ in 0..150 {
        many.headers_mut().append("a", "b".parse().unwrap());
    }
    assert_eq!(soon(sender.send_request(many)).await.unwrap().status(), 431);
}

#[tokio::test]
async fn a_request_has_one_host() {
    let (stage, _) = stage_with(&config());
    for hosts in ["", "Host: a\r\nHost: b\r\n"] {
        let told = stage.raw(format!("GET /live/a HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n")).await;
        assert_eq!(status(&told), 400, "{hosts:?}: {told}");
    }
}

/// Each of these is two requests to one reader and one to another. None may reach an origin as the second.
#[tokio::test]
async fn smuggled_requests_are_not_answered() {
    let smuggled = "GET /live/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let hidden = format!("0\r\n\r\n{smuggled}");
    let table = [
        // Two lengths that differ.
        format!(
            "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        ),
        format!("GET /live/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0, {}\r\n\r\n{smuggled}", smuggled.len()),
        // A length and chunks, in both orders: chunks count, and nothing after them is read.
        format!(
            "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}",
            hidden.len()
        ),
        format!(
            "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        ),
        format!("GET /live/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{hidden}"),
        // Encodings that are not chunked at the end, or look like it.
        format!("POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n{hidden}"),
        format!("POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n{hidden}"),
        format!("POST /api HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}"),
        // Spellings that one reader takes for a header and another does not.
        format!("POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n{hidden}"),
        format!("POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n{hidden}"),
        format!("POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{hidden}"),
        format!("POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\n{hidden}"),
        format!("POST /api HTTP/1.1\r\nHost: x\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n{hidden}"),
        format!("POST /api HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 0\r\n\r\n{smuggled}"),
        // Chunks whose lengths lie.
        format!("POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{smuggled}"),
        format!("POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{smuggled}"),
    ];
    for request in table {
        let (origin, calls) = scripted(|_, _| answer(200, &[], "x"));
        let quick = Config { idle_timeout_ms: 200, header_timeout_ms: 200, ..config() };
        let routes = vec![
            Route::prefix("/live", origin.clone()).policy(hls()),
            Route::prefix("/api", origin).policy(Policy::pass().methods([Method::POST])),
        ];
        let stage = Stage::new(&quick, routes);
        let told = stage.raw(&request).await;
        assert!(!calls.uris().iter().any(|uri| uri.contains("smuggled")), "{request:?}\n{told}");
        assert!(told.matches("HTTP/1.").count() <= 1, "{request:?}\n{told}");
        assert_eq!(stage.get("/live/a").await.status, 200);
    }
}

#[tokio::test]
async fn who_says_nothing_or_too_slowly_is_cut_off() {
    let quick = Config { header_timeout_ms: 100, idle_timeout_ms: 300, ..config() };
    let (stage, calls) = stage_with(&quick);
    // Nothing; half a request; half of the preface of HTTP/2; all of it and then nothing.
    for start in ["", "GET /live/a HTTP/1.1\r\nHost: x\r\n", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = TcpStream::connect(stage.addr()).await.unwrap();
        client.write_all(start.as_bytes()).await.unwrap();
        let told = rest(client).await;
        assert!(!told.contains("200 OK"), "{start:?}: {told}");
    }
    // One byte after the other, for ever: the deadline does not move with them.
    let mut client = TcpStream::connect(stage.addr()).await.unwrap();
    client.write_all(b"GET /live/a HTTP/1.1\r\nHost: x\r\nx: ").await.unwrap();
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(5));
    let dripping = async {
        while client.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    };
    soon(dripping).await;
    assert_eq!(calls.count(), 0);
    // Between two requests there is the longer time, after which a quiet connection ends.
    let mut client = TcpStream::connect(stage.addr()).await.unwrap();
    client.write_all(b"GET /live/a HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let told = rest(client).await;
    assert!(told.starts_with("HTTP/1.1 200 OK") && told.ends_with("good"), "{told}");
    eventually("nobody is left", || stage.handle.connections() == 0).await;
}

#[tokio::test]
async fn a_connection_may_rest_between_requests_for_longer_than_a_head_may_take() {
    let quick = Config { header_timeout_ms: 200, ..config() };
    let (stage, calls) = stage_with(&quick);
    let request = b"GET /live/a HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut client = TcpStream::connect(stage.addr()).await.unwrap();
    for _ in 0..2 {
        client.write_all(request).await.unwrap();
        let mut told = Vec::new();
        while !told.ends_with(b"good") {
            assert!(soon(client.read_buf(&mut told)).await.unwrap() > 0, "{}", String::from_utf8_lossy(&told));
        }
        // Another connection is the timer: it says nothing, until its deadline.
        assert_eq!(rest(TcpStream::connect(stage.addr()).await.unwrap()).await, "");
    }
    let mut sender = stage.h2().await;
    for _ in 0..2 {
        let response = soon(sender.send_request(stage.request("http://edge.test/live/a"))).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(rest(TcpStream::connect(stage.addr()).await.unwrap()).await, "");
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_request_that_waits_for_its_origin_is_not_idle() {
    let quick = Config { header_timeout_ms: 50, idle_timeout_ms: 50, upstream_timeout_ms: 30_000, ..config() };
    let origin = BoxOrigin::new(|_| async {
        // Longer than every deadline of a connection on which nothing happens.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        answer(200, &[], "late")
    });
    let stage = Stage::new(&quick, vec![Route::prefix("/", origin).policy(hls())]);
    assert_eq!(stage.get("/a").await.told(), ("MISS", "late"));
    let mut sender = stage.h2().await;
    let response = soon(sender.send_request(stage.request("http://edge.test/b"))).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn who_takes_nothing_is_cut_off() {
    let (origin, _) = scripted(|_, _| answer(200, &[("cache-control", "max-age=9")], vec![7; 12_000_000]));
    let quick = Config { write_timeout_ms: 100, ..config() };
    let stage = Stage::new(&quick, vec![Route::prefix("/", origin).policy(hls())]);
    let mut client = TcpStream::connect(stage.addr()).await.unwrap();
    client.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    client.readable().await.unwrap();
    eventually("the connection is closed", || stage.handle.connections() == 0).await;
    let mut byte = [0];
    client.read_exact(&mut byte).await.unwrap();
    // Others get all of it.
    assert_eq!(stage.get("/a").await.body.len(), 12_000_000);
}

#[tokio::test]
async fn request_bodies_are_bounded() {
    let origin = BoxOrigin::new(|request: http::Request<edge::Body>| async move {
        match request.into_body().collect().await {
            Ok(body) => answer(200, &[], body.to_bytes().len().to_string()),
            Err(error) => answer(400, &[], error.to_string()),
        }
    });
    let policy = Policy { request_body_bytes_max: Some(1_000), ..Policy::pass().methods([Method::POST]) };
    let quick = Config { request_body_timeout_ms: 100, ..config() };
    let stage = Stage::new(&quick, vec![Route::prefix("/", origin).policy(policy)]);
    let head = "POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let body = |length: usize| "x".repeat(length);
    let check = async |request: String, expected: u16, told: &str| {
        let found = stage.raw(&request).await;
        assert_eq!(status(&found), expected, "{found}");
        assert!(found.ends_with(told), "{found}");
    };
    check(format!("{head}Content-Length: 1000\r\n\r\n{}", body(1_000)), 200, "1000").await;
    check(format!("{head}Content-Length: 1001\r\n\r\n"), 413, "}").await;
    let chunks =
        |length: usize| format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{}\r\n0\r\n\r\n", body(length));
    check(chunks(1_000), 200, "1000").await;
    check(chunks(1_001), 413, "}").await;
    check(format!("{head}Content-Length: 1000\r\n\r\n{}", body(10)), 400, "the request's body stopped coming").await;
}

#[tokio::test]
async fn connections_are_bounded() {
    for small in [Config { connections_max: 2, ..config() }, Config { connections_per_ip_max: 2, ..config() }] {
        let (stage, _) = stage_with(&small);
        let first = TcpStream::connect(stage.addr()).await.unwrap();
        let second = TcpStream::connect(stage.addr()).await.unwrap();
        eventually("both are in", || stage.handle.connections() == 2).await;
        let told = rest(TcpStream::connect(stage.addr()).await.unwrap()).await;
        assert_eq!(status(&told), 503, "{told}");
        assert!(told.contains("connection: close") && told.ends_with('}'), "{told}");
        drop((first, second));
        eventually("both are gone", || stage.handle.connections() == 0).await;
        assert_eq!(stage.get("/live/a").await.status, 200);
    }
}

#[tokio::test]
async fn noise_harms_nobody() {
    let (stage, _) = stage_with(&config());
    let healthy = Arc::new(AtomicBool::new(true));
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let noises: [&[u8]; 6] = [
        b"\r\n\r\n\r\n\r\nx",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\xff\xff\xff\xff",
        b"GET /live/a HTTP/9.9\r\n\r\n",
        b"GET  /live/a  HTTP/1.1\r\n\r\n",
        &binary,
    ];
    for noise in noises {
        let mut client = TcpStream::connect(stage.addr()).await.unwrap();
        let _ = client.write_all(noise).await;
        let _ = client.shutdown().await;
        let told = rest(client).await;
        assert!(!told.contains("200 OK"), "{told}");
        let good = stage.get("/live/a").await;
        healthy.fetch_and(good.status == 200, Ordering::SeqCst);
    }
    assert!(healthy.load(Ordering::SeqCst));
}
