//! Deliveries to real servers: vsftpd, OpenSSH, an S3 server, an HTTP server, a folder.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use serde_json::json;
use testkit::{Ftp, S3, Ssh};
use vod::transfer::{ByteStream, Delivered, Destination, Payload, TransferError, deliver, fetch};

/// A payload that breaks off after some bytes, once.
struct Film {
    bytes: Bytes,
    breaks_at: Mutex<Option<usize>>,
    read: AtomicU64,
}

const PIECE: usize = 64 << 10;

impl Film {
    fn of(bytes: usize) -> Self {
        let body: Vec<u8> = (0..bytes).map(|i| (i * 31 % 251) as u8).collect();
        Self { bytes: body.into(), breaks_at: Mutex::new(None), read: AtomicU64::new(0) }
    }

    fn breaking_at(self, at: usize) -> Self {
        *self.breaks_at.lock().unwrap() = Some(at);
        self
    }
}

impl Payload for Film {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn sha256(&self) -> Option<&str> {
        None
    }

    fn open(&self, offset: u64) -> BoxFuture<'_, io::Result<ByteStream>> {
        async move {
            let rest = self.bytes.slice(offset as usize..);
            // The first look at the bytes is for the hash.
            let breaks = if self.read.fetch_add(1, Ordering::Relaxed) == 0 {
                None
            } else {
                self.breaks_at.lock().unwrap().take()
            };
            let mut pieces: Vec<io::Result<Bytes>> =
                (0..rest.len()).step_by(PIECE).map(|at| Ok(rest.slice(at..(at + PIECE).min(rest.len())))).collect();
            if let Some(at) = breaks {
                pieces.truncate(at / PIECE);
                pieces.push(Err(io::Error::other("the worker lost the file")));
            }
            Ok(stream::iter(pieces).boxed())
        }
        .boxed()
    }
}

async fn send(profile: &serde_json::Value, film: &Film, path: &str) -> Result<Delivered, TransferError> {
    deliver(&Destination::from_value(profile.clone()).unwrap(), film, path, &|_| ()).await
}

/// What every destination does; `resumes` where a broken transfer leaves its beginning.
async fn check(profile: serde_json::Value, read: impl Fn(&str) -> Option<Vec<u8>>, resumes: bool) {
    let film = Film::of(1_000_003);
    let path = "films/a b/v720.mp4";
    let path = if profile["protocol"] == "s3" { "films/a-b/v720.mp4" } else { path };

    let first = send(&profile, &film, path).await.unwrap();
    assert_eq!((first.bytes, first.resumed_bytes, first.unchanged), (1_000_003, 0, false));
    assert_eq!(read(path).unwrap(), film.bytes);
    assert!(first.location.ends_with(path), "{}", first.location);
    assert!(send(&profile, &film, path).await.unwrap().unchanged, "it is there already");

    let other = Film::of(700_001);
    send(&profile, &other, path).await.unwrap();
    assert_eq!(read(path).unwrap(), other.bytes, "a new version takes its place");

    let broken = Film::of(2_000_000).breaking_at(1_000_000);
    let error = send(&profile, &broken, "broken.mp4").await.unwrap_err();
    assert!(matches!(error, TransferError::Source(_)), "{error}");
    assert_eq!(read("broken.mp4"), None, "half a file has no name");
    let again = send(&profile, &broken, "broken.mp4").await.unwrap();
    assert_eq!(read("broken.mp4").unwrap(), broken.bytes);
    assert_eq!(again.resumed_bytes > 0, resumes, "{} bytes were there", again.resumed_bytes);

    let empty = Film::of(0);
    send(&profile, &empty, "empty").await.unwrap();
    assert_eq!(read("empty").unwrap(), b"");
}

#[tokio::test]
async fn to_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let read = |path: &str| std::fs::read(folder.path().join(path)).ok();
    check(json!({ "protocol": "folder", "path": folder.path() }), read, true).await;
}

#[tokio::test]
async fn to_a_bucket() {
    let s3 = S3::start();
    let folder = s3.bucket_folder();
    let profile = json!({
        "protocol": "s3", "bucket": S3::BUCKET, "endpoint": s3.url(), "access_key_id": S3::ACCESS_KEY_ID,
        "secret": S3::SECRET, "prefix": "cdn",
    });
    check(profile, |path| std::fs::read(folder.join("cdn").join(path)).ok(), false).await;
}

#[tokio::test]
async fn to_an_ftp_server() {
    let ftp = Ftp::start();
    let profile = json!({
        "protocol": "ftp", "host": "127.0.0.1", "port": ftp.port(), "user": Ftp::USER, "password": Ftp::PASSWORD, "path": "in",
    });
    std::fs::create_dir(ftp.folder().join("in")).unwrap();
    check(profile, |path| std::fs::read(ftp.folder().join("in").join(path)).ok(), true).await;
}

#[tokio::test]
async fn to_an_ftp_server_with_tls() {
    let ftp = Ftp::start_tls();
    let profile = json!({
        "protocol": "ftp", "host": "localhost", "port": ftp.port(), "user": Ftp::USER, "password": Ftp::PASSWORD,
        "tls": "explicit", "ca": ftp.ca(),
    });
    check(profile, |path| std::fs::read(ftp.folder().join(path)).ok(), true).await;
}

#[tokio::test]
async fn a_certificate_of_nobody_known_is_refused() {
    let (ftp, other) = (Ftp::start_tls(), Ftp::start_tls());
    let profile = json!({
        "protocol": "ftp", "host": "localhost", "port": ftp.port(), "user": Ftp::USER, "password": Ftp::PASSWORD,
        "tls": "explicit", "ca": other.ca(),
    });
    assert!(send(&profile, &Film::of(10), "a").await.is_err());
}

#[tokio::test]
async fn to_an_ssh_server() {
    let ssh = Ssh::start();
    let profile = json!({
        "protocol": "sftp", "host": "127.0.0.1", "port": ssh.port(), "user": ssh.user(), "private_key": ssh.private_key(),
        "host_key": ssh.fingerprint(), "path": ssh.folder(),
    });
    check(profile, |path| std::fs::read(ssh.folder().join(path)).ok(), true).await;
}

#[tokio::test]
async fn an_ssh_server_with_another_key_is_refused() {
    let ssh = Ssh::start();
    let profile = json!({
        "protocol": "sftp", "host": "127.0.0.1", "port": ssh.port(), "user": ssh.user(), "private_key": ssh.private_key(),
        "host_key": "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "path": ssh.folder(),
    });
    let error = send(&profile, &Film::of(10), "a").await.unwrap_err();
    assert!(matches!(error, TransferError::Login { .. }), "{error}");
}

type Files = Arc<Mutex<HashMap<String, Bytes>>>;

async fn file(State(files): State<Files>, Path(path): Path<String>, method: Method, body: Body) -> Response {
    match method {
        Method::PUT => match axum::body::to_bytes(body, usize::MAX).await {
            Ok(bytes) => {
                files.lock().unwrap().insert(path, bytes);
                StatusCode::CREATED.into_response()
            }
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        },
        Method::DELETE => {
            files.lock().unwrap().remove(&path);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => match files.lock().unwrap().get(&path) {
            Some(bytes) => bytes.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
    }
}

#[tokio::test]
async fn to_an_http_server() {
    let files = Files::default();
    let app = Router::new().route("/in/{*path}", any(file)).with_state(files.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let profile = json!({ "protocol": "http", "url": url, "headers": [["authorization", "Bearer x"]] });

    check(profile, |path| files.lock().unwrap().get(path).map(|bytes| bytes.to_vec()), false).await;
    server.abort();
}

#[tokio::test]
async fn a_server_that_is_away_is_a_passing_error() {
    for protocol in ["ftp", "sftp", "http"] {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let profile = match protocol {
            "http" => json!({ "protocol": "http", "url": format!("http://127.0.0.1:{port}/") }),
            "ftp" => json!({ "protocol": "ftp", "host": "127.0.0.1", "port": port, "user": "a", "password": "b" }),
            _ => {
                json!({ "protocol": "sftp", "host": "127.0.0.1", "port": port, "user": "a", "password": "b", "host_key": "SHA256:x" })
            }
        };
        let error = send(&profile, &Film::of(10), "a").await.unwrap_err();
        assert!(error.is_transient(), "{protocol}: {error}");
    }
}

#[tokio::test]
async fn paths_that_leave_the_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let profile = json!({ "protocol": "folder", "path": folder.path().join("inner") });
    for path in ["../a", "/etc/passwd", "a/../../b", ""] {
        assert!(matches!(send(&profile, &Film::of(1), path).await, Err(TransferError::Path(_))), "{path}");
    }
}

async fn fetched(url: &str, auth: Option<vod::protocol::Credentials>, offset: u64) -> (String, u64, Vec<u8>) {
    let found = fetch(&url.parse().unwrap(), auth.as_ref(), &[], offset).await.unwrap();
    let mut body = Vec::new();
    let mut stream = found.stream;
    while let Some(piece) = stream.next().await {
        body.extend_from_slice(&piece.unwrap());
    }
    (found.file_name, found.bytes, body)
}

#[tokio::test]
async fn sources_are_read_from_anywhere_on() {
    let film = Film::of(500_000).bytes;
    let credentials = |user: &str, password: &str| {
        Some(vod::protocol::Credentials {
            user: Some(user.to_owned()),
            password: Some(password.to_owned()),
            headers: Vec::new(),
        })
    };
    let (ftp, ssh, s3) = (Ftp::start(), Ssh::start(), S3::start());
    for folder in [ftp.folder(), ssh.folder(), s3.bucket_folder()] {
        std::fs::write(folder.join("a.mp4"), &film).unwrap();
    }
    let ftp_url = format!("ftp://127.0.0.1:{}/a.mp4", ftp.port());
    let ssh_url = format!("sftp://127.0.0.1:{}{}/a.mp4", ssh.port(), ssh.folder().display());
    let s3_url = format!("s3://{}/a.mp4?endpoint={}", S3::BUCKET, s3.url());

    for (url, auth) in [
        (&ftp_url, None),
        (&ssh_url, credentials(&ssh.user(), &ssh.private_key())),
        (&s3_url, credentials(S3::ACCESS_KEY_ID, S3::SECRET)),
    ] {
        assert_eq!(fetched(url, auth.clone(), 0).await, ("a.mp4".to_owned(), 500_000, film.to_vec()), "{url}");
        assert_eq!(fetched(url, auth, 123_457).await.2, film[123_457..], "{url}");
    }
}
