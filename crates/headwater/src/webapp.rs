//! The viewer app, embedded when the binary is built: `/app`, its assets, and the way there from `/`.

use bytes::Bytes;
use edge::{BoxOrigin, Route};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};

/// Where the app lives; the web build has the same base.
pub const BASE: &str = "/app";
/// Files whose names carry a hash of their content: they never change.
const HASHED: &str = "assets/";
/// How long such a file is kept, in the form all caches know: a year is "for ever" (RFC 9111 has no longer word).
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// The page and everything without a hash: kept, and asked about each time.
const ASK_EACH_TIME: &str = "no-cache";
/// Nothing from another host, no frames of others, no plug-ins. hls.js plays through a `blob:` and runs its worker
/// from one; media-chrome's elements carry style elements in their shadow trees, hence inline styles.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; worker-src 'self' blob:; media-src 'self' blob:; \
     img-src 'self' data: blob:; font-src 'self' data:; style-src 'self' 'unsafe-inline'; connect-src 'self'; object-src 'none'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'self'";
/// Shown when the binary was built without the app.
const NOT_BUILT: Asset = Asset {
    path: "index.html",
    kind: "text/html; charset=utf-8",
    etag: "\"not-built\"",
    body: b"<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Headwater</title><h1>Headwater is running</h1>\
      <p>This binary was built without the viewer app. In the checkout, run <code>make web</code> and build again; \
      <code>make run</code> does both.</p></html>\n",
};

static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/webapp.rs"));

/// A file of the built app.
#[derive(Clone, Copy, Debug)]
struct Asset {
    /// Relative to the build's folder, e.g. `assets/index-Bx3.js`.
    path: &'static str,
    kind: &'static str,
    etag: &'static str,
    body: &'static [u8],
}

/// Whether the app was built before the binary.
pub fn is_built() -> bool {
    !ASSETS.is_empty()
}

/// The app's rows of the edge's route table: `/`, `/app` and everything below it.
pub fn routes() -> Vec<Route> {
    let origin = BoxOrigin::new(|request| async move {
        respond(&request).map(|body| body.map_err(|never| match never {}).boxed_unsync())
    });
    vec![Route::exact("/", origin.clone()).class("app"), Route::prefix(BASE, origin).class("app")]
}

/// Answers a request for `/`, `/app` or anything below it. The request's body is not read.
pub fn respond<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    answer(ASSETS, request.method(), request.uri().path(), request.headers())
}

fn answer(assets: &[Asset], method: &Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if path == "/" {
        let mut response = bare(StatusCode::FOUND);
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(BASE));
        return response;
    }
    match find(assets, path, headers) {
        Some(asset) => of_asset(&asset, *method == Method::HEAD, headers),
        None => bare(StatusCode::NOT_FOUND),
    }
}

/// The file a path names, or the page for a place within the app.
fn find(assets: &[Asset], path: &str, headers: &HeaderMap) -> Option<Asset> {
    let inside =
        path.strip_prefix(BASE).filter(|rest| rest.is_empty() || rest.starts_with('/'))?.trim_start_matches('/');
    let by_path = |path: &str| assets.iter().find(|asset| asset.path == path).copied();
    if let Some(asset) = by_path(inside) {
        return Some(asset);
    }
    let is_page = inside.is_empty() || (!inside.starts_with(HASHED) && is_navigation(headers));
    is_page.then(|| by_path("index.html").unwrap_or(NOT_BUILT))
}

/// Whether a person went there, in contrast to a script or an element that asks for a file.
fn is_navigation(headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => {
            headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|a| a.contains("text/html"))
        }
    }
}

fn of_asset(asset: &Asset, head: bool, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).is_some_and(|tags| {
        tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == asset.etag)
    });
    let mut response = bare(if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    let cache = if asset.path.starts_with(HASHED) { FOR_EVER } else { ASK_EACH_TIME };
    let fields = response.headers_mut();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    fields.insert(header::ETAG, HeaderValue::from_static(asset.etag));
    if !known {
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
        fields.insert(header::CONTENT_LENGTH, asset.body.len().into());
        if !head {
            *response.body_mut() = Full::new(Bytes::from_static(asset.body));
        }
    }
    response
}

fn bare(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(ASK_EACH_TIME));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: &[Asset] = &[
        Asset { path: "assets/index-1a.js", kind: "text/javascript; charset=utf-8", etag: "\"js\"", body: b"js" },
        Asset { path: "favicon.svg", kind: "image/svg+xml", etag: "\"svg\"", body: b"svg" },
        Asset { path: "index.html", kind: "text/html; charset=utf-8", etag: "\"html\"", body: b"html" },
    ];

    fn ask(path: &str, headers: &[(&'static str, &'static str)]) -> Response<Full<Bytes>> {
        let headers =
            headers.iter().map(|&(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)));
        answer(BUILT, &Method::GET, path, &headers.collect())
    }

    fn field(response: &Response<Full<Bytes>>, name: header::HeaderName) -> String {
        response.headers().get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
    }

    #[test]
    fn paths_find_their_file_or_the_page() {
        let check = |path: &str, accept: &'static str, etag: &str, cache: &str| {
            let response = ask(path, &[("accept", accept)]);
            assert_eq!(
                (field(&response, header::ETAG).as_str(), field(&response, header::CACHE_CONTROL).as_str()),
                (etag, cache),
                "{path}"
            );
        };
        check("/app", "text/html", "\"html\"", ASK_EACH_TIME);
        check("/app/", "*/*", "\"html\"", ASK_EACH_TIME);
        check("/app/watch/encoder/colorbar", "text/html", "\"html\"", ASK_EACH_TIME);
        check("/app/assets/index-1a.js", "*/*", "\"js\"", FOR_EVER);
        check("/app/favicon.svg", "*/*", "\"svg\"", ASK_EACH_TIME);
    }

    #[test]
    fn what_does_not_exist_is_not_the_page() {
        let check = |path: &str, headers: &[(&'static str, &'static str)]| {
            assert_eq!(ask(path, headers).status(), StatusCode::NOT_FOUND, "{path}");
        };
        check("/app/assets/index-old.js", &[("accept", "text/html")]);
        check("/app/missing.json", &[("accept", "*/*")]);
        check("/app/missing.json", &[("accept", "text/html"), ("sec-fetch-mode", "cors")]);
        check("/application", &[("accept", "text/html")]);
        check("/app/../secret", &[]);
    }

    #[test]
    fn every_answer_is_guarded() {
        for path in ["/", "/app", "/app/assets/index-1a.js", "/app/missing"] {
            let response = ask(path, &[]);
            assert!(field(&response, header::CONTENT_SECURITY_POLICY).starts_with("default-src 'self'"), "{path}");
            assert_eq!(field(&response, header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
            assert_eq!(field(&response, header::REFERRER_POLICY), "no-referrer", "{path}");
        }
    }

    #[test]
    fn a_known_page_is_not_sent_again() {
        let status = |tags: &'static str| ask("/app", &[("if-none-match", tags)]).status();
        assert_eq!(status("\"html\""), StatusCode::NOT_MODIFIED);
        assert_eq!(status("W/\"html\", \"x\""), StatusCode::NOT_MODIFIED);
        assert_eq!(status("\"old\""), StatusCode::OK);
    }

    #[test]
    fn the_root_leads_to_the_app() {
        let response = ask("/", &[]);
        assert_eq!((response.status(), field(&response, header::LOCATION).as_str()), (StatusCode::FOUND, "/app"));
    }

    #[test]
    fn without_a_build_the_page_says_what_to_do() {
        let response = answer(&[], &Method::GET, "/app", &HeaderMap::new());
        assert_eq!(field(&response, header::ETAG), NOT_BUILT.etag);
    }

    #[test]
    fn posting_is_refused() {
        let response = answer(BUILT, &Method::POST, "/app", &HeaderMap::new());
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
