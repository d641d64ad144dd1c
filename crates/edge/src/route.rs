//! The route table: which origin answers a path, and by which policy.

use http::Method;

use crate::{BoxOrigin, Error, path};

/// Paths that a [`Route`] answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This path only.
    Exact(String),
    /// This path and everything below it: `/app` answers `/app` and `/app/x`, not `/apple`. `/` answers everything.
    Prefix(String),
}

/// One row of the route table. An exact path wins over a prefix, a longer prefix over a shorter one.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which paths.
    pub pattern: Pattern,
    /// The `class` label of metrics: a fixed word.
    pub class: &'static str,
    /// Who answers.
    pub origin: BoxOrigin,
    /// How.
    pub policy: Policy,
}

impl Route {
    /// `path` and everything below it, passed to `origin` without caching until [`Route::policy`] says otherwise.
    pub fn prefix(path: impl Into<String>, origin: impl Into<BoxOrigin>) -> Self {
        Self::new(Pattern::Prefix(path.into()), origin.into())
    }

    /// Exactly `path`.
    pub fn exact(path: impl Into<String>, origin: impl Into<BoxOrigin>) -> Self {
        Self::new(Pattern::Exact(path.into()), origin.into())
    }

    /// The same route with another policy.
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// The same route with another `class` label in metrics.
    pub fn class(self, class: &'static str) -> Self {
        Self { class, ..self }
    }

    fn new(pattern: Pattern, origin: BoxOrigin) -> Self {
        Self { pattern, class: "other", origin, policy: Policy::pass() }
    }
}

/// How a route's requests are treated.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether answers may be cached and shared. A shared request carries to the origin only what is in its key: path,
    /// `key_query`, no cookies, no credentials. A request with `Authorization` is passed by itself.
    pub cache: bool,
    /// With `cache`: the query parameters that reach key and origin, in the key's order; every other one is dropped.
    /// Without `cache` the whole query reaches the origin.
    pub key_query: Vec<String>,
    /// Methods beside GET, HEAD and OPTIONS.
    pub methods: Vec<Method>,
    /// Whether any web page may read the answers: preflights are answered here, and every answer that has no
    /// `Access-Control-Allow-Origin` gets `*`, refusals too.
    pub cors: bool,
    /// Largest request body in bytes; `None` is the configured `request_body_bytes_max`.
    pub request_body_bytes_max: Option<u64>,
}

impl Policy {
    /// Every request goes to the origin by itself.
    pub fn pass() -> Self {
        Self { cache: false, key_query: Vec::new(), methods: Vec::new(), cors: false, request_body_bytes_max: None }
    }

    /// Answers are cached by the origin's Cache-Control and shared; only these query parameters count.
    pub fn cached<Q: Into<String>>(key_query: impl IntoIterator<Item = Q>) -> Self {
        Self { cache: true, key_query: key_query.into_iter().map(Into::into).collect(), ..Self::pass() }
    }

    /// The same policy with these methods beside GET, HEAD and OPTIONS.
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        Self { methods: methods.into_iter().collect(), ..self }
    }

    /// The same policy, open to every web page.
    pub fn cors(self) -> Self {
        Self { cors: true, ..self }
    }

    pub(crate) fn allows(&self, method: &Method) -> bool {
        matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) || self.methods.contains(method)
    }

    /// The value of `Allow`.
    pub(crate) fn allow(&self) -> String {
        let further = self.methods.iter().map(Method::as_str);
        ["GET", "HEAD", "OPTIONS"].into_iter().chain(further).collect::<Vec<_>>().join(", ")
    }
}

/// The routes in order of precedence.
#[derive(Debug)]
pub(crate) struct Table(Vec<Route>);

impl Table {
    pub(crate) fn new(mut routes: Vec<Route>) -> Result<Self, Error> {
        for route in &routes {
            let path = route.pattern.path();
            if !matches!(path::normalise(path), Ok(normal) if normal == path) {
                return Err(Error::Route { path: path.to_owned() });
            }
        }
        routes.sort_by_key(|route| std::cmp::Reverse(route.pattern.precedence()));
        Ok(Self(routes))
    }

    /// Index of the route that answers a normalised path.
    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        self.0.iter().position(|route| route.pattern.matches(path))
    }

    pub(crate) fn all(&self) -> &[Route] {
        &self.0
    }
}

impl Pattern {
    fn path(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
        }
    }

    fn precedence(&self) -> (bool, usize) {
        (matches!(self, Self::Exact(_)), self.path().len())
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => match path.strip_prefix(prefix.as_str()) {
                Some(rest) => rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'),
                None => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> BoxOrigin {
        BoxOrigin::new(|_| async { http::Response::new(crate::empty()) })
    }

    #[test]
    fn the_most_particular_route_answers() {
        let table = Table::new(vec![
            Route::prefix("/", origin()),
            Route::prefix("/app", origin()),
            Route::prefix("/api/v1", origin()),
            Route::exact("/app/health", origin()),
        ])
        .expect("the paths are fit");
        let check = |path: &str, expected: &str| {
            let found =
                table.find(path).and_then(|at| table.all().get(at)).map(|route| route.pattern.path().to_owned());
            assert_eq!(found.as_deref(), Some(expected), "{path}");
        };
        check("/app", "/app");
        check("/app/index.html", "/app");
        check("/apple", "/");
        check("/app/health", "/app/health");
        check("/app/health/x", "/app");
        check("/api/v1/streams", "/api/v1");
        check("/api/v2", "/");
    }

    #[test]
    fn a_route_that_cannot_match_is_an_error() {
        for path in ["", "app", "/a//b", "/../x", "/%61"] {
            assert!(matches!(Table::new(vec![Route::prefix(path, origin())]), Err(Error::Route { .. })), "{path}");
        }
    }
}
