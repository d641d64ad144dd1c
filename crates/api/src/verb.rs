//! Custom verbs: `POST /api/v1/jobs/ID:cancel`.
//!
//! The router matches whole segments, so a verb travels inside as a segment of its own, `/api/v1/jobs/{id}/~cancel`. Handlers
//! declare that form, and the published document shows the other.

use http::{Method, Uri, uri::PathAndQuery};

/// Marks a verb inside.
const INSIDE: &str = "/~";

/// The URI as the router knows it; `None` for one that uses the inner form.
pub(crate) fn inwards(method: &Method, uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if *method != Method::POST {
        return Some(uri.clone());
    }
    if path.contains(INSIDE) {
        return None;
    }
    let (before, last) = path.rsplit_once('/')?;
    let Some((name, verb)) = last.rsplit_once(':') else {
        return Some(uri.clone());
    };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let moved = format!("{before}/{name}{INSIDE}{verb}{query}");
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(moved).ok()?);
    Uri::from_parts(parts).ok()
}

/// A path of the published document.
pub(crate) fn outwards(path: &str) -> String {
    path.replace(INSIDE, ":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_move_in_and_out() {
        let check = |method: Method, uri: &str, expected: Option<&str>| {
            let found = inwards(&method, &uri.parse().unwrap()).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{method} {uri}");
        };
        check(Method::POST, "/api/v1/jobs/job_1:cancel", Some("/api/v1/jobs/job_1/~cancel"));
        check(Method::POST, "/api/v1/maintenance:gc?x=1", Some("/api/v1/maintenance/~gc?x=1"));
        check(Method::POST, "/api/v1/jobs", Some("/api/v1/jobs"));
        check(Method::PUT, "/api/v1/assets/a:b.mp4", Some("/api/v1/assets/a:b.mp4"));
        check(Method::PUT, "/api/v1/assets/~a.mp4", Some("/api/v1/assets/~a.mp4"));
        check(Method::POST, "/api/v1/jobs/job_1/~cancel", None);
        assert_eq!(outwards("/api/v1/jobs/{id}/~cancel"), "/api/v1/jobs/{id}:cancel");
    }
}
