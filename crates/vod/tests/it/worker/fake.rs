//! A manager that hands out scripted steps and remembers what it was told.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use sha2::{Digest, Sha256};
use store::catalogue::{AssetId, JobId, StepId, WorkerId};
use tokio::sync::Notify;
use vod::{
    protocol::{
        Command, Complete, Fail, Heartbeat, HeartbeatAnswer, Leased, ObjectRef, Output, Registered, Release, Spec,
    },
    worker::{Config, Execute, Stats, StepResult, Task, Worker, WorkerSettings},
};

/// Longest that a test waits for something, in seconds: far more than it takes on a busy machine.
const DEADLINE_S: u64 = 30;

/// Waits until `holds`.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(DEADLINE_S);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "not within {DEADLINE_S} s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A request, as a script sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    /// Below `/api/v1/worker/`.
    pub path: String,
    pub query: String,
    pub body: Bytes,
    /// How many requests with this last path segment came before.
    pub before: usize,
}

impl Seen {
    pub fn verb(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

type Script = dyn Fn(&Seen) -> Option<StatusCode> + Send + Sync;

/// What the manager remembers.
#[derive(Default)]
pub struct Memory {
    pub steps: VecDeque<Leased>,
    pub seen: Vec<Seen>,
    pub heartbeats: Vec<(StepId, Heartbeat)>,
    pub completed: Vec<(StepId, Complete)>,
    pub failed: Vec<(StepId, Fail)>,
    pub released: Vec<(StepId, Release)>,
    pub left: usize,
    pub objects: HashMap<String, Bytes>,
    pub authorizations: Vec<String>,
}

#[derive(Clone)]
pub struct Fake {
    pub rules: Rules,
    memory: Arc<Mutex<Memory>>,
    more: Arc<Notify>,
    script: Arc<Script>,
}

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub lease_ms: i64,
    pub heartbeat_ms: i64,
    pub progress_ms: i64,
    pub command: Command,
}

impl Default for Rules {
    fn default() -> Self {
        Self { lease_ms: 10_000, heartbeat_ms: 20, progress_ms: 5, command: Command::Continue }
    }
}

/// A listener that can be stopped, connections and all.
pub struct Listening {
    pub address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
    stop: tokio_util::sync::CancellationToken,
}

impl Listening {
    pub async fn stop(self) {
        self.stop.cancel();
        self.server.abort();
        let _ = self.server.await;
    }
}

impl Fake {
    /// `script` may answer a request with a bare status; `None` leaves it to the fake.
    pub fn new(rules: Rules, script: impl Fn(&Seen) -> Option<StatusCode> + Send + Sync + 'static) -> Self {
        Self { rules, memory: Arc::default(), more: Arc::default(), script: Arc::new(script) }
    }

    pub fn plain() -> Self {
        Self::new(Rules::default(), |_| None)
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    pub fn hand_out(&self, leased: Leased) {
        self.memory().steps.push_back(leased);
        self.more.notify_waiters();
    }

    pub async fn listen(&self, address: &str) -> Listening {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        // Requests that wait when the listener stops are cut, as those of a killed process are.
        let cut = stop.clone();
        let router = Router::new().fallback(answer).with_state(self.clone()).layer(axum::middleware::from_fn(
            move |request: Request, next: axum::middleware::Next| {
                let cut = cut.clone();
                async move {
                    tokio::select! {
                        response = next.run(request) => response,
                        () = cut.cancelled() => StatusCode::BAD_GATEWAY.into_response(),
                    }
                }
            },
        ));
        let ending = stop.clone();
        let server = tokio::spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(async move { ending.cancelled().await });
            serving.await.unwrap();
        });
        Listening { address, server, stop }
    }

    async fn claim(&self) -> Response {
        for _ in 0..100 {
            let more = self.more.notified();
            if let Some(leased) = self.memory().steps.pop_front() {
                return axum::Json(leased).into_response();
            }
            let _ = tokio::time::timeout(Duration::from_millis(20), more).await;
        }
        StatusCode::NO_CONTENT.into_response()
    }

    fn put(&self, seen: &Seen) -> Response {
        let key = format!("work/{}?{}", seen.path, seen.query);
        let sha256 = data_encoding::HEXLOWER.encode(&Sha256::digest(&seen.body));
        let object = ObjectRef { key: key.clone(), bytes: seen.body.len() as u64, sha256 };
        self.memory().objects.insert(key, seen.body.clone());
        (StatusCode::CREATED, axum::Json(object)).into_response()
    }

    fn get(&self, seen: &Seen) -> Response {
        let query: HashMap<String, String> = url::form_urlencoded::parse(seen.query.as_bytes()).into_owned().collect();
        match self.memory().objects.get(&query["key"]) {
            Some(bytes) => bytes.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

async fn answer(State(fake): State<Fake>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let path = head.uri.path().trim_start_matches("/api/v1/worker/").to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let seen = {
        let mut memory = fake.memory();
        let same = |seen: &&Seen| seen.path.rsplit('/').next() == path.rsplit('/').next() && seen.method == head.method;
        let before = memory.seen.iter().filter(same).count();
        let authorization = head.headers.get(http::header::AUTHORIZATION);
        memory.authorizations.push(authorization.map_or("none", |a| a.to_str().unwrap()).to_owned());
        let seen = Seen { method: head.method, path, query, body, before };
        memory.seen.push(seen.clone());
        seen
    };
    if let Some(status) = (fake.script)(&seen) {
        return status.into_response();
    }
    let step = || -> StepId { seen.path.split('/').nth(1).unwrap().parse().unwrap() };
    let done = StatusCode::NO_CONTENT.into_response();
    match (seen.method.clone(), seen.verb()) {
        (Method::POST, "register") => {
            let Rules { lease_ms, heartbeat_ms, progress_ms, .. } = fake.rules;
            axum::Json(Registered { worker: WorkerId::new(), lease_ms, heartbeat_ms, progress_ms }).into_response()
        }
        (Method::POST, "claim") => fake.claim().await,
        (Method::POST, "heartbeat") => {
            fake.memory().heartbeats.push((step(), serde_json::from_slice(&seen.body).unwrap()));
            let Rules { command, progress_ms, .. } = fake.rules;
            axum::Json(HeartbeatAnswer { command, progress_ms }).into_response()
        }
        (Method::POST, "complete") => {
            fake.memory().completed.push((step(), serde_json::from_slice(&seen.body).unwrap()));
            done
        }
        (Method::POST, "fail") => {
            fake.memory().failed.push((step(), serde_json::from_slice(&seen.body).unwrap()));
            done
        }
        (Method::POST, "release") => {
            fake.memory().released.push((step(), serde_json::from_slice(&seen.body).unwrap()));
            done
        }
        (Method::POST, "leave") => {
            fake.memory().left += 1;
            done
        }
        (Method::PUT, _) => fake.put(&seen),
        (Method::GET, "objects") => fake.get(&seen),
        (Method::GET, "source") => Body::from("the source").into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A lease of `spec` under the token 7.
pub fn leased(spec: Spec) -> Leased {
    Leased {
        step: StepId::new(),
        token: 7,
        job: JobId::new(),
        asset: AssetId::new(),
        name: spec.kind().to_owned(),
        spec,
        inputs: Vec::new(),
        stored: Vec::new(),
        probe: None,
        source_bytes: Some(10),
        file_name: "film.mp4".into(),
        attempt: 1,
        progress_ms: Rules::default().progress_ms,
    }
}

/// Steps done by a closure.
struct Scripted<F>(F);

impl<F, W> Execute for Scripted<F>
where
    F: Fn(Task) -> W + Send + Sync + 'static,
    W: Future<Output = StepResult<Output>> + Send + 'static,
{
    fn execute(self: Arc<Self>, task: Task) -> BoxFuture<'static, StepResult<Output>> {
        Box::pin((self.0)(task))
    }
}

pub fn scripted<F, W>(work: F) -> Arc<dyn Execute>
where
    F: Fn(Task) -> W + Send + Sync + 'static,
    W: Future<Output = StepResult<Output>> + Send + 'static,
{
    Arc::new(Scripted(work))
}

/// A worker that runs, in its own scratch folder.
pub struct Working {
    pub stats: Stats,
    pub scratch: PathBuf,
    _folder: Option<tempfile::TempDir>,
    stop: tokio_util::sync::CancellationToken,
    running: tokio::task::JoinHandle<Result<(), vod::worker::Error>>,
}

impl Working {
    pub fn start(server: SocketAddr, execute: Option<Arc<dyn Execute>>, drain_ms: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let absent = transcode::Capabilities::absent("this test needs none");
        let settings = settings(server, folder.path().to_owned(), drain_ms, absent);
        Self { _folder: Some(folder), ..Self::with(settings, execute) }
    }

    pub fn with(settings: WorkerSettings, execute: Option<Arc<dyn Execute>>) -> Self {
        let scratch = settings.scratch.clone();
        let worker = match execute {
            Some(execute) => Worker::with_steps(settings, execute),
            None => Worker::new(settings),
        };
        let worker = worker.unwrap();
        let (stats, stop) = (worker.stats(), tokio_util::sync::CancellationToken::new());
        let stopping = stop.clone();
        let running = tokio::spawn(worker.run(async move { stopping.cancelled().await }));
        Self { stats, scratch, _folder: None, stop, running }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(DEADLINE_S), self.running).await.unwrap().unwrap().unwrap();
    }
}

pub fn settings(
    server: SocketAddr,
    scratch: PathBuf,
    drain_ms: u64,
    capabilities: transcode::Capabilities,
) -> WorkerSettings {
    WorkerSettings {
        server: format!("http://{server}").parse().unwrap(),
        token: base::Secret::new("sesame"),
        name: "node".into(),
        caps: vod::protocol::cap::ALL.map(String::from).to_vec(),
        scratch,
        capabilities,
        config: Config { slots: 1, disk_free_percent_min: 0, drain_ms, ..Config::default() },
    }
}
