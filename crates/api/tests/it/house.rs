//! An API on an empty catalogue, and how tests talk to it.

use std::{net::SocketAddr, time::Duration};

use api::{Api, ApiSettings, BoxError, Config, Schedule, mounted};
use axum::body::Body;
use edge::Peer;
use http::{HeaderMap, Method, Request, Response, StatusCode, request::Builder};
use serde_json::{Value, json};
use store::{
    Objects,
    catalogue::{Asset, Blob, BlobPart, Catalogue, NewEvent, Options, Principal, Scope, Source, Token, TokenId},
};
use tower::ServiceExt;
use vod::manager::{Manager, ManagerSettings, NewAsset};

/// Longest that a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct House {
    pub(crate) catalogue: Catalogue,
    pub(crate) manager: Manager,
    pub(crate) api: Api,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The code of a refusal, all of whose members are there.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        for member in ["type", "title", "detail", "code", "hint", "request_id"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {problem}");
        }
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["request_id"], self.headers["x-request-id"].to_str().unwrap());
        problem["code"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        Self::scheduled(config, Schedule::default()).await
    }

    pub(crate) async fn scheduled(config: Config, schedule: Schedule) -> Self {
        let catalogue = Catalogue::open("sqlite::memory:", Options::default()).await.unwrap();
        let settings = ManagerSettings {
            catalogue: catalogue.clone(),
            objects: Objects::memory(),
            config: vod::Config::default(),
        };
        let manager = Manager::new(settings);
        let uploads = mounted(tower::service_fn(echo));
        let settings = ApiSettings { catalogue: catalogue.clone(), manager: manager.clone(), uploads, config };
        Self { catalogue, manager, api: Api::new(settings).webhook_schedule(schedule) }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.api.service().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, 16 << 20).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&body).into_owned() }
    }

    /// A request from this machine.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.send(with_body(here(method, path), body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// A request from elsewhere with a token.
    pub(crate) async fn ask_with(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = there(method, path).header("authorization", format!("Bearer {token}"));
        self.send(with_body(request, body)).await
    }

    /// A token's secret.
    pub(crate) async fn token(&self, scopes: &[Scope], tenant: Option<&str>) -> String {
        let secret = api::new_token_secret();
        let token = Token {
            id: TokenId::new(),
            label: "test".into(),
            scopes: scopes.to_vec(),
            tenant: tenant.map(Into::into),
            user: None,
            expires: None,
            created: self.catalogue.now().await.unwrap(),
        };
        self.catalogue.create_token(&token, &secret).await.unwrap();
        secret
    }

    /// An asset whose bytes are stored, with its job.
    pub(crate) async fn asset(&self, tenant: &str, title: &str) -> Asset {
        let part = BlobPart { key: "uploads/1/0".into(), bytes: 10 };
        let source = Source {
            file_name: "film.mov".into(),
            bytes: Some(10),
            sha256: None,
            url: None,
            blob: Some(Blob { parts: vec![part] }),
        };
        let new = NewAsset { tenant: tenant.into(), title: title.into(), recipe: None, metadata: json!({}) };
        self.manager.start_asset(source, new).await.unwrap().0
    }

    pub(crate) async fn emit(&self, tenant: &str, count: usize) {
        for number in 0..count {
            let event = NewEvent {
                kind: "asset.ready",
                tenant: tenant.into(),
                asset: None,
                job: None,
                data: json!({ "number": number }),
            };
            self.catalogue.emit(&[event]).await.unwrap();
        }
    }

    /// Runs the background work until the test ends.
    pub(crate) fn run(&self) -> tokio::task::JoinHandle<()> {
        let api = self.api.clone();
        tokio::spawn(async move { api.run(std::future::pending()).await })
    }
}

/// Stands for the on-demand plane's uploads: says what it was asked.
async fn echo(request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let principal = request.extensions().get::<Principal>().map(|principal| principal.name.clone());
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await?.len();
    let said =
        json!({ "uploads": parts.method.as_str(), "path": parts.uri.path(), "principal": principal, "bytes": bytes });
    Ok(Response::builder().status(201).header("content-type", "application/json").body(Body::from(said.to_string()))?)
}

pub(crate) fn from(peer: &str, method: Method, path: &str) -> Builder {
    Request::builder().method(method).uri(path).extension(Peer(peer.parse::<SocketAddr>().unwrap()))
}

pub(crate) fn here(method: Method, path: &str) -> Builder {
    from("127.0.0.1:40000", method, path).header("host", "localhost:8080")
}

pub(crate) fn there(method: Method, path: &str) -> Builder {
    from("192.0.2.7:40000", method, path).header("host", "headwater.example")
}

pub(crate) fn with_body(request: Builder, body: Option<Value>) -> Request<Body> {
    match body {
        Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap(),
        None => request.body(Body::empty()).unwrap(),
    }
}

/// Asks again until `check` gives something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}
