//! Fetch steps against servers that cut, lie, redirect and change their minds.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};
use store::catalogue::{ErrorClass, StepError};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use vod::protocol::{Leased, ObjectRef, Output, Spec};

use super::fake::{Fake, Rules, Seen, Working, eventually, leased};

/// A film of 1 MB in which every place is different.
fn film() -> Bytes {
    (0..250_000_u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>().into()
}

fn sha256(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// How a source's server behaves.
#[derive(Clone)]
struct Habits {
    film: Bytes,
    /// Bytes after which every connection breaks; the whole is announced.
    cut_bytes: usize,
    ranges: bool,
    validators: bool,
    requests: Arc<AtomicUsize>,
    /// From this request on, another version of the file.
    changes_at: usize,
}

impl Default for Habits {
    fn default() -> Self {
        let requests = Arc::default();
        Self { film: film(), cut_bytes: usize::MAX, ranges: true, validators: true, requests, changes_at: usize::MAX }
    }
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

async fn source(habits: Habits) -> SocketAddr {
    serve_cut(move |headers| give(&habits, headers)).await
}

/// Sends each answer as it is and closes the connection, however much the answer announced. An HTTP server would not do: when a body
/// fails, it drops what it has not sent yet, often with the head.
async fn serve_cut(give: impl Fn(&HeaderMap) -> Response<Bytes> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let give = give.clone();
            tokio::spawn(async move {
                let Some(headers) = request_headers(&mut stream).await else { return };
                let message = message(&give(&headers));
                // Who asked may have enough before the end.
                let _ = stream.write_all(&message).await;
            });
        }
    });
    address
}

/// `None` when the connection ends before a whole request came.
async fn request_headers(stream: &mut TcpStream) -> Option<HeaderMap> {
    let mut lines = BufReader::new(stream).lines();
    let mut headers = HeaderMap::new();
    lines.next_line().await.ok()??;
    loop {
        let line = lines.next_line().await.ok()??;
        if line.is_empty() {
            return Some(headers);
        }
        let (name, value) = line.split_once(':').unwrap();
        headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value.trim()).unwrap());
    }
}

fn message(response: &Response<Bytes>) -> Vec<u8> {
    let mut message = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        message.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    message.extend_from_slice(b"\r\n");
    message.extend_from_slice(response.body());
    message
}

/// The answer up to where the connection breaks.
fn give(habits: &Habits, request: &HeaderMap) -> Response<Bytes> {
    let number = habits.requests.fetch_add(1, Ordering::SeqCst);
    let version = usize::from(number >= habits.changes_at);
    let etag = format!("\"version-{version}\"");
    let range = request.get(header::RANGE).filter(|_| habits.ranges);
    let range = range.filter(|_| request.get(header::IF_RANGE).is_none_or(|tag| tag == etag.as_str()));
    let from: usize = range.map_or(0, |range| {
        range.to_str().unwrap().strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap()
    });
    let total = habits.film.len();
    let mut response =
        Response::builder().header(header::CONTENT_LENGTH, total - from).header(header::CONNECTION, "close");
    if habits.validators {
        response = response.header(header::ETAG, &etag);
    }
    if range.is_some() {
        let place = format!("bytes {from}-{}/{total}", total - 1);
        response = response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, place);
    }
    let end = from.saturating_add(habits.cut_bytes).min(total);
    response.body(habits.film.slice(from..end)).unwrap()
}

fn fetch(url: &str, private_addresses: bool) -> Leased {
    let spec = Spec::Fetch {
        url: url.to_owned(),
        file_name: String::new(),
        bytes_max: 2_000_000,
        part_bytes: 300_000,
        private_addresses,
        auth: None,
    };
    Leased { source_bytes: None, ..leased(spec) }
}

/// Runs one step with the worker's own hands.
async fn run(fake: &Fake, step: Leased) -> Result<Output, StepError> {
    let listening = fake.listen("127.0.0.1:0").await;
    let worker = Working::start(listening.address, None, 1_000);
    fake.hand_out(step);
    eventually("the step ends", || worker.stats.now().done + worker.stats.now().failed == 1).await;
    worker.stop().await;
    let memory = fake.memory();
    match memory.completed.first() {
        Some((_, complete)) => Ok(complete.output.clone()),
        None => Err(memory.failed[0].1.error.clone()),
    }
}

/// The stored parts put together, against what was reported of them.
fn stored(fake: &Fake, output: &Output) -> Vec<u8> {
    let Output::Fetched { parts, bytes, sha256: whole, .. } = output else { panic!("{output:?}") };
    let memory = fake.memory();
    let mut film = Vec::new();
    for part in parts {
        let stored = &memory.objects[&part.key];
        assert_eq!((part.bytes, &part.sha256), (stored.len() as u64, &sha256(stored)));
        film.extend_from_slice(stored);
    }
    assert_eq!((*bytes, whole), (film.len() as u64, &sha256(&film)));
    film
}

#[tokio::test]
async fn a_transfer_that_breaks_again_and_again_goes_on_where_it_broke() {
    let check = async |habits: Habits| {
        let requests = habits.requests.clone();
        let address = source(habits).await;
        let fake = Fake::plain();
        let output = run(&fake, fetch(&format!("http://{address}/a/my%20film.mp4?x=1"), true)).await.unwrap();
        assert_eq!(stored(&fake, &output), film());
        let Output::Fetched { file_name, parts, .. } = output else { unreachable!() };
        assert_eq!((file_name.as_str(), parts.len()), ("my film.mp4", 4));
        requests.load(Ordering::SeqCst)
    };
    assert_eq!(check(Habits::default()).await, 1);
    assert_eq!(check(Habits { cut_bytes: 130_000, ..Habits::default() }).await, 8);
    assert!(check(Habits { cut_bytes: 900_000, validators: false, ..Habits::default() }).await <= 2);
}

/// A server without ranges starts again; what came is read once more and compared.
#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_start_again() {
    let habits = Habits { cut_bytes: 700_000, ranges: false, validators: false, ..Habits::default() };
    let address = serve_growing(habits).await;
    let fake = Fake::plain();

    let output = run(&fake, fetch(&format!("http://{address}/film.mp4"), true)).await.unwrap();

    assert_eq!(stored(&fake, &output), film());
}

/// Each connection of this server lasts longer than the one before.
async fn serve_growing(habits: Habits) -> SocketAddr {
    let count = Arc::new(AtomicUsize::new(0));
    serve_cut(move |headers| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        give(&Habits { cut_bytes: habits.cut_bytes * (number + 1), ..habits.clone() }, headers)
    })
    .await
}

#[tokio::test]
async fn versions_of_a_file_are_never_mixed() {
    for ranges in [true, false] {
        let habits = Habits { cut_bytes: 400_000, changes_at: 1, ranges, ..Habits::default() };
        let address = source(habits).await;

        let error = run(&Fake::plain(), fetch(&format!("http://{address}/film.mp4"), true)).await.unwrap_err();

        assert_eq!((error.code.as_str(), error.class), ("source_changed", ErrorClass::Transient));
    }
}

#[tokio::test]
async fn another_attempt_goes_on_behind_the_parts_of_the_one_before() {
    let habits = Habits::default();
    let requests = habits.requests.clone();
    let address = source(habits).await;
    let url = format!("http://{address}/film.mp4");
    let first = Fake::plain();
    let Output::Fetched { parts, .. } = run(&first, fetch(&url, true)).await.unwrap() else { unreachable!() };
    let before = requests.load(Ordering::SeqCst);

    let second = Fake::plain();
    let kept: Vec<ObjectRef> = parts[..2]
        .iter()
        .map(|part| {
            let key = format!("assets/a/step-6/{}", part.name().split('?').next().unwrap());
            second.memory().objects.insert(key.clone(), first.memory().objects[&part.key].clone());
            ObjectRef { key, bytes: part.bytes, sha256: String::new() }
        })
        .collect();
    let output = run(&second, Leased { stored: kept.clone(), ..fetch(&url, true) }).await.unwrap();

    assert_eq!(stored(&second, &output), film());
    let Output::Fetched { parts, .. } = output else { unreachable!() };
    assert_eq!(
        parts.iter().take(2).map(|part| &part.key).collect::<Vec<_>>(),
        kept.iter().map(|part| &part.key).collect::<Vec<_>>()
    );
    assert_eq!(requests.load(Ordering::SeqCst) - before, 2, "one for its version, one for the rest");
}

#[tokio::test]
async fn a_part_that_the_manager_cannot_store_at_once_is_sent_again() {
    let address = source(Habits::default()).await;
    let script =
        |seen: &Seen| (seen.method == http::Method::PUT && seen.before == 0).then_some(StatusCode::SERVICE_UNAVAILABLE);
    let fake = Fake::new(Rules::default(), script);

    let output = run(&fake, fetch(&format!("http://{address}/film.mp4"), true)).await.unwrap();

    assert_eq!(stored(&fake, &output), film());
}

#[tokio::test]
async fn what_cannot_be_fetched_says_why() {
    let answers = serve(Router::new().fallback(|request: Request| async move {
        match request.uri().path() {
            "/missing" => StatusCode::NOT_FOUND.into_response(),
            "/secret" => StatusCode::FORBIDDEN.into_response(),
            "/empty" => StatusCode::OK.into_response(),
            // Announced alone: of a body that is known to be empty, the server would not announce another length.
            "/huge" => {
                let nothing_yet = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
                let response = Response::builder().header(header::CONTENT_LENGTH, 3_000_000);
                response.body(Body::from_stream(nothing_yet)).unwrap()
            }
            "/endless" => {
                Body::from_stream(futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(film()))).into_response()
            }
            "/loop" => redirect("/loop"),
            "/metadata" => redirect("http://169.254.169.254/latest/meta-data/"),
            "/file" => redirect("file:///etc/passwd"),
            _ => StatusCode::BAD_GATEWAY.into_response(),
        }
    }))
    .await;
    let port = answers.port();
    let check = async |url: String, private: bool, code: &str| {
        let error = run(&Fake::plain(), fetch(&url, private)).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.class), (code, ErrorClass::Input), "{url}: {}", error.human);
        assert!(error.human.ends_with('.'), "{}", error.human);
    };
    for (path, code) in [
        ("missing", "fetch_refused"),
        ("secret", "fetch_refused"),
        ("empty", "empty"),
        ("huge", "too_large"),
        ("endless", "too_large"),
        ("loop", "too_many_redirects"),
        ("metadata", "url_refused"),
        ("file", "url_refused"),
    ] {
        check(format!("http://{answers}/{path}"), true, code).await;
    }
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1", "169.254.169.254", "[::1]"] {
        check(format!("http://{host}:{port}/film.mp4"), false, "url_refused").await;
    }
    check("gopher://example.org/film".into(), true, "url_refused").await;
    check("no url".into(), true, "bad_url").await;
}

fn redirect(to: &str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}
