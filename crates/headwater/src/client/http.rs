//! Requests to the control API, and its problems as errors.

use base::Secret;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde_json::Value;
use url::Url;

use super::{Config, Error};

/// The control API of one platform.
#[derive(Clone, Debug)]
pub struct Api {
    root: Url,
    token: Option<Secret>,
    http: reqwest::Client,
}

impl Api {
    /// The API of the platform that the settings name.
    ///
    /// # Errors
    /// When the server is no URL.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let wrong = || Error::Server(config.server.clone());
        let server = config.server.trim_end_matches('/');
        let root = Url::parse(&format!("{server}/api/v1/")).map_err(|_| wrong())?;
        let token = Some(config.token.clone()).filter(|token| !token.reveal().is_empty());
        let http = reqwest::Client::builder().user_agent(concat!("headwater/", env!("CARGO_PKG_VERSION")));
        Ok(Self { root, token, http: http.build().map_err(|_| wrong())? })
    }

    /// Where a page of the platform is, for people.
    pub fn page(&self, path: &str) -> String {
        self.root.join(path).map_or_else(|_| path.to_owned(), String::from)
    }

    /// A URL below `/api/v1/`, or a relative reference that the platform gave for `base`.
    pub(crate) fn url(&self, path: &str) -> Result<Url, Error> {
        self.root.join(path).map_err(|error| self.foreign(format!("{path:?}: {error}")))
    }

    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        }
    }

    pub(crate) fn foreign(&self, what: impl Into<String>) -> Error {
        Error::Foreign { server: self.root.origin().ascii_serialization(), what: what.into() }
    }

    /// Sends; an answer that is no success is an error.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let server = self.root.origin().ascii_serialization();
        let response = request.send().await.map_err(|source| Error::Unreachable { server, source })?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    /// GET.
    ///
    /// # Errors
    /// When nothing answers, or with a problem.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Error> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.json(self.request(Method::GET, url)).await
    }

    /// A request with a JSON body; `Null` sends none.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value, Error> {
        let request = self.request(method, self.url(path)?);
        let request = if body.is_null() { request } else { request.json(body) };
        self.json(request).await
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, Error> {
        let response = self.send(request).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let body = response.bytes().await.map_err(|error| self.foreign(error.to_string()))?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| self.foreign(error.to_string()))
    }
}

async fn refusal(response: Response) -> Error {
    let status = response.status();
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/problem+json"));
    let problem: Value = match response.bytes().await {
        Ok(body) if is_problem => serde_json::from_slice(&body).unwrap_or_default(),
        _ => Value::Null,
    };
    let text = |key: &str| problem[key].as_str().map(str::to_owned);
    let detail = text("detail").or_else(|| text("title")).unwrap_or_else(|| format!("the platform answered {status}"));
    Error::Refused { status: status.as_u16(), detail, hint: text("hint") }
}
