//! Refusals that say what to do: RFC 9457 problem details.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

/// An answer that the edge itself gives in place of the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    status: u16,
    slug: &'static str,
    title: &'static str,
    detail: Option<String>,
    hint: Option<&'static str>,
    allow: Option<String>,
    retry_after_s: Option<u32>,
}

impl Problem {
    pub(crate) fn new(status: u16, slug: &'static str, title: &'static str) -> Self {
        Self { status, slug, title, detail: None, hint: None, allow: None, retry_after_s: None }
    }

    /// What was wrong with this request.
    pub(crate) fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// What to do about it.
    pub(crate) fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// The methods that would be accepted (405).
    pub(crate) fn allow(self, methods: String) -> Self {
        Self { allow: Some(methods), ..self }
    }

    /// Seconds after which to try again (503).
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The whole answer, body as bytes.
    pub(crate) fn response(&self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.json()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(allow) = self.allow.as_deref().and_then(|methods| HeaderValue::from_str(methods).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// The same as the bytes of an HTTP/1.1 answer after which the connection is closed, for a client that gets no more than that.
    pub(crate) fn raw(&self) -> Vec<u8> {
        let response = self.response();
        let mut raw = format!("HTTP/1.1 {}\r\n", response.status());
        for (name, value) in response.headers() {
            let _ = write!(raw, "{name}: {}\r\n", value.to_str().unwrap_or_default());
        }
        let _ = write!(raw, "content-length: {}\r\nconnection: close\r\n\r\n", response.body().len());
        [raw.as_bytes(), response.body()].concat()
    }

    fn json(&self) -> String {
        let mut json = format!(r#"{{"type":"urn:headwater:problem:{}","title":"{}""#, self.slug, self.title);
        let further = [("detail", self.detail.as_deref()), ("hint", self.hint)];
        for (name, text) in further.into_iter().filter_map(|(name, text)| Some((name, text?))) {
            json.push_str(&format!(r#","{name}":"#));
            quote(text, &mut json);
        }
        json.push_str(&format!(r#","status":{}}}"#, self.status));
        json
    }
}

/// A JSON string (RFC 8259 7).
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_and_what_to_do() {
        let problem = Problem::new(405, "method-not-allowed", "Not here")
            .detail("a \"quoted\" \\ line\n")
            .hint("use GET")
            .allow("GET, HEAD".into());
        let response = problem.response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
        assert_eq!(
            *response.body(),
            r#"{"type":"urn:headwater:problem:method-not-allowed","title":"Not here","detail":"a \"quoted\" \\ line\u000a","hint":"use GET","status":405}"#
        );
    }
}
