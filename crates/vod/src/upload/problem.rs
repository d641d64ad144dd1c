//! Refusals: RFC 9457 problem details that say what to do.

use std::borrow::Cow;

use axum::body::Body;
use base::Fault;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::JobError;

/// A refusal of a request.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    detail: Cow<'static, str>,
    hint: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code, detail: detail.into(), hint: hint.into(), headers: Vec::new() }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((HeaderName::from_static(name), value.into()));
        self
    }

    pub(super) fn bad_request(
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail, hint)
    }

    pub(super) fn bad_header(name: &'static str, what: &str, hint: &'static str) -> Self {
        Self::bad_request("invalid_header", format!("The header {name} cannot be used: {what}."), hint)
    }

    pub(super) fn not_found() -> Self {
        let hint = "It may have expired: begin a new upload.";
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such upload.", hint)
    }

    pub(super) fn gone() -> Self {
        let detail = "This upload has ended, or expired before all its bytes came.";
        Self::new(StatusCode::GONE, "gone", detail, "Begin a new upload.")
    }

    /// The bytes do not begin where the upload ends.
    pub(super) fn wrong_offset(offset: u64) -> Self {
        let detail = format!("This upload goes on at byte {offset}; another request may have been faster.");
        let hint = "Ask for the offset with HEAD and send the bytes from there.";
        Self::new(StatusCode::CONFLICT, "wrong_offset", detail, hint).header("upload-offset", offset)
    }

    pub(super) fn too_large(detail: String) -> Self {
        let hint = "Send a smaller file, or have the operator raise vod.upload_bytes_max.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail, hint)
    }

    pub(super) fn beyond_length(bytes: u64) -> Self {
        let detail = format!("The bytes go beyond the {bytes} that were announced.");
        let hint = "Begin a new upload with the right Upload-Length.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "beyond_length", detail, hint)
    }

    pub(super) fn empty() -> Self {
        let hint = "Choose the file again; if it really has no bytes, there is nothing to play.";
        Self::bad_request("empty_file", "The file is empty.", hint)
    }

    /// 460, as the checksum extension wants it.
    pub(super) fn checksum_mismatch() -> Self {
        let status = StatusCode::from_u16(460).expect("460 is between 100 and 999");
        let detail = "The bytes are not those of the checksum; none of this request were stored.";
        Self::new(status, "checksum_mismatch", detail, "Send them again.")
    }

    /// 460: the whole file is another one than announced.
    pub(super) fn hash_mismatch(detail: String) -> Self {
        let status = StatusCode::from_u16(460).expect("460 is between 100 and 999");
        Self::new(status, "hash_mismatch", detail, HASH_HINT)
    }

    pub(super) fn busy() -> Self {
        let detail = "As many uploads as this node takes are coming in.";
        Self::unavailable("uploads_busy", detail)
    }

    fn unavailable(code: &'static str, detail: &'static str) -> Self {
        let hint = "Try again in a few seconds; what was stored so far is kept.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail, hint).header("retry-after", 2)
    }

    fn internal() -> Self {
        let hint = "Try again later; if it happens again, look into the server's log.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed.", hint)
    }

    pub(super) fn response(self) -> Response<Body> {
        let title = self.status.canonical_reason().unwrap_or("Checksum Mismatch");
        let body = json!({
            "type": format!("urn:headwater:problem:{}", self.code),
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
            "hint": self.hint,
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

/// What to do about a file that is another one than announced.
pub(super) const HASH_HINT: &str = "Upload it again from an intact copy, or without the sha256.";

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        let fault = error.fault();
        if matches!(error, store::Error::Full { .. }) {
            tracing::error!(error = chain(&error), "no room for uploads");
            let hint = "The operator has to free or add space; the upload goes on from where it is.";
            return Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", "The storage is full.", hint);
        }
        match fault {
            Fault::Client => Self::bad_request("invalid_request", chain(&error), "Correct what the detail names."),
            Fault::Upstream | Fault::Overload => {
                tracing::warn!(error = chain(&error), "an upload met a failing store");
                Self::unavailable("dependency_failed", "The storage or the database does not answer.")
            }
            Fault::Internal => {
                tracing::error!(error = chain(&error), "an upload failed");
                Self::internal()
            }
        }
    }
}

impl From<JobError> for Problem {
    fn from(error: JobError) -> Self {
        tracing::error!(error = chain(&*error), "no job could be made for an upload");
        Self::internal()
    }
}

/// An error and its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
