//! The requests of tus 1.0.0.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::body::Body;
use base::Wall;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header as names};
use store::{Blob, Principal, Upload, UploadId, UploadState};

use super::{
    ASSET_HEADER, Inner, Target,
    create::{self, Beginning, Draft},
    finish,
    header::{self, ALGORITHMS, Checksum, Concat, EXTENSIONS, Metadata, OFFSET_STREAM, VERSION},
    method_not_allowed, no_store,
    problem::Problem,
    receive::{self, Received},
};
use crate::Config;

const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// What this server can do (tus 1.0.0, OPTIONS).
pub(super) fn options(config: &Config) -> Response<Body> {
    let mut response = status(StatusCode::NO_CONTENT);
    put(&mut response, "tus-version", HeaderValue::from_static(VERSION));
    put(&mut response, "tus-extension", HeaderValue::from_static(EXTENSIONS));
    put(&mut response, "tus-checksum-algorithm", HeaderValue::from_static(ALGORITHMS));
    put(&mut response, "tus-max-size", config.upload_bytes_max.into());
    response
}

/// What every answer carries.
pub(super) fn decorated(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(RESUMABLE, HeaderValue::from_static(VERSION));
    no_store(&mut response);
    response
}

pub(super) async fn answer(
    inner: &Arc<Inner>,
    principal: &Principal,
    target: &Target,
    method: &Method,
    request: Request<Body>,
) -> Result<Response<Body>, Problem> {
    speaks_our_version(request.headers())?;
    match (target, method) {
        (Target::Upload(id), &Method::HEAD) => head(inner, find(inner, principal, id).await?).await,
        (Target::Upload(id), &Method::PATCH) => patch(inner, find(inner, principal, id).await?, request).await,
        (Target::Upload(id), &Method::DELETE) => terminate(inner, find(inner, principal, id).await?).await,
        (Target::Upload(_), _) => Err(method_not_allowed("HEAD, PATCH, DELETE, OPTIONS")),
        (_, &Method::POST) => post(inner, principal, request).await,
        _ => Err(method_not_allowed("POST, OPTIONS")),
    }
}

fn speaks_our_version(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.get(&RESUMABLE).is_some_and(|version| version == VERSION) {
        return Ok(());
    }
    let detail = "The header Tus-Resumable is not 1.0.0.";
    let hint = "Upload with a client of tus 1.0.0, with PUT /api/v1/assets/NAME, or with a form.";
    Err(Problem::new(StatusCode::PRECONDITION_FAILED, "tus_version", detail, hint)
        .header("tus-version", HeaderValue::from_static(VERSION)))
}

/// An upload that the caller may see. Another tenant's is as absent as one that never was.
async fn find(inner: &Inner, principal: &Principal, id: &str) -> Result<Upload, Problem> {
    let id: UploadId = id.parse().map_err(|_| Problem::not_found())?;
    let upload = inner.catalogue.upload(&id).await?;
    upload.filter(|upload| principal.sees(&upload.tenant)).ok_or_else(Problem::not_found)
}

/// Creation (also with bytes, of deferred length, partial and final).
async fn post(inner: &Arc<Inner>, principal: &Principal, request: Request<Body>) -> Result<Response<Body>, Problem> {
    let headers = request.headers();
    let fields = header::metadata(headers)?;
    let concat = header::concat(headers)?;
    let collection = if request.uri().path().ends_with('/') { "" } else { "uploads/" };
    if let Some(Concat::Final(urls)) = &concat {
        let upload = join(inner, principal, &fields, urls, headers).await?;
        return created(inner, &upload, collection);
    }
    let bytes = announced_length(headers)?;
    let with_bytes = has_body(headers)?;
    let checksum = Checksum::of(headers)?;
    let partial = concat.is_some();
    let draft = if partial { None } else { Some(Draft::of(inner, principal, &fields).await?) };
    let tenant = match &draft {
        Some(draft) => draft.tenant.clone(),
        None => create::tenant(principal, fields.get("tenant").and_then(Option::as_deref))?,
    };
    let beginning = Beginning { tenant: &tenant, draft: draft.as_ref(), bytes, blob: Blob::default(), fields: &fields };
    let upload = create::begin(inner, beginning).await?;
    if !with_bytes {
        return created(inner, &upload, collection);
    }
    let room = inner.room(&upload).await?;
    let body = request.into_body().into_data_stream();
    let upload = match receive::receive(inner, upload.clone(), room, checksum, body).await {
        Ok(Received { upload, .. }) => upload,
        // The client learns where its upload is and sends the rest there.
        Err(problem) if problem.status.is_server_error() => upload,
        Err(problem) => {
            inner.catalogue.end_upload(&upload.id).await?;
            return Err(problem);
        }
    };
    finish::finish(inner, &upload).await?;
    created(inner, &upload, collection)
}

/// `Upload-Length`, or that it comes later.
fn announced_length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let deferred = header::text(headers, "upload-defer-length")?;
    match (header::number(headers, "upload-length")?, deferred) {
        (Some(bytes), None) => Ok(Some(bytes)),
        (None, Some("1")) => Ok(None),
        _ => Err(Problem::bad_header(
            "upload-length",
            "it is missing, or contradicts Upload-Defer-Length",
            "Send the file's size as Upload-Length, or `Upload-Defer-Length: 1` to send it later.",
        )),
    }
}

/// Whether a creation brings bytes of the file.
fn has_body(headers: &HeaderMap) -> Result<bool, Problem> {
    let length = header::number(headers, "content-length")?;
    let some = length.is_some_and(|bytes| bytes > 0) || headers.contains_key(names::TRANSFER_ENCODING);
    let kind = headers.get(names::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind == OFFSET_STREAM) {
        // Over HTTP/2 neither header needs to be there.
        return Ok(some || length.is_none());
    }
    match some {
        false => Ok(false),
        true => Err(wrong_content_type()),
    }
}

fn wrong_content_type() -> Problem {
    let hint = "Send the bytes as `application/offset+octet-stream`.";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_content_type", "The body is of another type.", hint)
}

/// Makes one upload of parts that are complete, without copying them.
async fn join(
    inner: &Arc<Inner>,
    principal: &Principal,
    fields: &Metadata,
    urls: &[String],
    headers: &HeaderMap,
) -> Result<Upload, Problem> {
    if headers.contains_key("upload-length") || headers.contains_key("upload-defer-length") {
        let hint = "Leave it out: the size is that of the parts.";
        return Err(Problem::bad_header("upload-length", "a concatenation has no size of its own", hint));
    }
    let draft = Draft::of(inner, principal, fields).await?;
    let mut blob = Blob::default();
    for url in urls {
        let path = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        let part = find(inner, principal, path.rsplit('/').next().unwrap_or_default()).await;
        let part = part.ok().filter(|part| part.partial && part.tenant == draft.tenant);
        let Some(part) = part else {
            let url: String = url.chars().take(200).collect();
            let hint = "Name uploads that were created with `Upload-Concat: partial` and have not expired.";
            return Err(Problem::bad_request("unknown_part", format!("{url:?} is no part of a file."), hint));
        };
        if part.state != UploadState::Complete {
            let detail = format!("{} has {} bytes so far; its end is missing.", part.id, part.offset);
            let hint = "Finish every part, then put them together.";
            return Err(Problem::new(StatusCode::CONFLICT, "part_unfinished", detail, hint));
        }
        blob.parts.extend(part.blob.parts);
    }
    let bytes = Some(blob.bytes());
    let tenant = draft.tenant.clone();
    let beginning = Beginning { tenant: &tenant, draft: Some(&draft), bytes, blob, fields };
    let upload = create::begin(inner, beginning).await?;
    finish::finish(inner, &upload).await?;
    Ok(upload)
}

fn created(inner: &Inner, upload: &Upload, collection: &str) -> Result<Response<Body>, Problem> {
    let mut response = status(StatusCode::CREATED);
    let location = HeaderValue::try_from(format!("{collection}{}", upload.id)).expect("an id is ASCII");
    response.headers_mut().insert(names::LOCATION, location);
    response.headers_mut().insert(OFFSET, upload.offset.into());
    put_expires(inner, &mut response, upload);
    put_asset(&mut response, upload);
    Ok(response)
}

/// Where an upload is. One that has all its bytes and is not complete, because a process died in between, is completed now.
async fn head(inner: &Arc<Inner>, upload: Upload) -> Result<Response<Body>, Problem> {
    if upload.state == UploadState::Gone {
        return Err(Problem::gone());
    }
    finish::finish(inner, &upload).await?;
    let mut response = status(StatusCode::OK);
    response.headers_mut().insert(OFFSET, upload.offset.into());
    match upload.bytes {
        Some(bytes) => put(&mut response, "upload-length", bytes.into()),
        None => put(&mut response, "upload-defer-length", HeaderValue::from_static("1")),
    }
    let metadata = header::metadata_text(&upload.metadata);
    if let Some(value) = HeaderValue::try_from(metadata).ok().filter(|value| !value.is_empty()) {
        put(&mut response, "upload-metadata", value);
    }
    if let Some(concat) = concatenation(&upload).and_then(|text| HeaderValue::try_from(text).ok()) {
        put(&mut response, "upload-concat", concat);
    }
    put_expires(inner, &mut response, &upload);
    put_asset(&mut response, &upload);
    Ok(response)
}

/// `Upload-Concat` of an upload. One that was put together holds objects of others.
fn concatenation(upload: &Upload) -> Option<String> {
    if upload.partial {
        return Some("partial".to_owned());
    }
    let owner = |key: &'_ str| key.split('/').nth(1).unwrap_or_default().to_owned();
    let mut owners: Vec<String> = upload.blob.parts.iter().map(|part| owner(&part.key)).collect();
    owners.dedup();
    let foreign = owners.iter().any(|owner| owner != upload.id.as_str());
    foreign.then(|| format!("final;{}", owners.join(" ")))
}

async fn patch(inner: &Arc<Inner>, upload: Upload, request: Request<Body>) -> Result<Response<Body>, Problem> {
    let headers = request.headers();
    if headers.get(names::CONTENT_TYPE).is_none_or(|kind| kind != OFFSET_STREAM) {
        return Err(wrong_content_type());
    }
    let Some(offset) = header::number(headers, "upload-offset")? else {
        let hint = "Ask for the offset with HEAD and send it.";
        return Err(Problem::bad_header("upload-offset", "it is missing", hint));
    };
    let checksum = Checksum::of(headers)?;
    let content_length = header::number(headers, "content-length")?;
    let upload = may_take_bytes(upload, offset)?;
    let upload = match header::number(headers, "upload-length")? {
        Some(bytes) => with_length(inner, upload, bytes).await?,
        None => upload,
    };
    let room = inner.room(&upload).await?;
    if content_length.is_some_and(|bytes| bytes > room) {
        return Err(upload.bytes.map_or_else(
            || Problem::too_large("The file is larger than what may be stored.".to_owned()),
            Problem::beyond_length,
        ));
    }
    let body = request.into_body().into_data_stream();
    let received = receive::receive(inner, upload, room, checksum, body).await?;
    let upload = received.upload;
    finish::finish(inner, &upload).await?;
    if received.broken {
        let detail = format!("The body broke off; the upload is at byte {}.", upload.offset);
        let hint = "Ask for the offset with HEAD and send the bytes from there.";
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_broken", detail, hint)
            .header("upload-offset", upload.offset));
    }
    let mut response = status(StatusCode::NO_CONTENT);
    response.headers_mut().insert(OFFSET, upload.offset.into());
    put_expires(inner, &mut response, &upload);
    put_asset(&mut response, &upload);
    Ok(response)
}

/// The upload, if bytes at `offset` may be added to it.
fn may_take_bytes(upload: Upload, offset: u64) -> Result<Upload, Problem> {
    match upload.state {
        UploadState::Gone => Err(Problem::gone()),
        UploadState::Complete if concatenation(&upload).is_some_and(|text| text != "partial") => {
            let hint = "Its parts were complete before; there is nothing to send.";
            let detail = "This upload was put together from others.";
            Err(Problem::new(StatusCode::FORBIDDEN, "final_upload", detail, hint))
        }
        _ if offset != upload.offset => Err(Problem::wrong_offset(upload.offset)),
        _ => Ok(upload),
    }
}

/// The upload with a length that was deferred.
async fn with_length(inner: &Inner, upload: Upload, bytes: u64) -> Result<Upload, Problem> {
    if upload.bytes == Some(bytes) {
        return Ok(upload);
    }
    if bytes == 0 {
        return Err(Problem::empty());
    }
    if bytes > inner.config.upload_bytes_max {
        let detail = format!("The file has {bytes} bytes; at most {} are taken.", inner.config.upload_bytes_max);
        return Err(Problem::too_large(detail));
    }
    if upload.bytes.is_some() || !inner.catalogue.set_upload_bytes(&upload.id, bytes).await? {
        let hint = "Send Upload-Length once, not less than what is stored.";
        return Err(Problem::bad_header("upload-length", "it differs from what was said or stored before", hint));
    }
    inner.catalogue.upload(&upload.id).await?.ok_or_else(Problem::gone)
}

async fn terminate(inner: &Inner, upload: Upload) -> Result<Response<Body>, Problem> {
    if upload.state == UploadState::Gone {
        return Err(Problem::gone());
    }
    if !inner.catalogue.end_upload(&upload.id).await? {
        let hint = "Delete the asset instead: DELETE /api/v1/assets/ID.";
        let detail = "This upload is complete; an asset has its bytes.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "upload_complete", detail, hint));
    }
    inner.hashes.forget(&upload.id);
    Ok(status(StatusCode::NO_CONTENT))
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn put(response: &mut Response<Body>, name: &'static str, value: HeaderValue) {
    response.headers_mut().insert(HeaderName::from_static(name), value);
}

/// `Upload-Expires` of an upload that may expire.
fn put_expires(inner: &Inner, response: &mut Response<Body>, upload: &Upload) {
    let full = upload.bytes == Some(upload.offset) && !upload.partial;
    if full || upload.state != UploadState::Open {
        return;
    }
    // Moved by the bytes of this request; what the row says may be older.
    let expires = upload.expires.max(Wall::from_unix_ms(0));
    let since = Duration::from_millis(expires.unix_ms().unsigned_abs());
    // RFC 9110 dates end with the year 9999.
    let limit = Duration::from_millis(inner.config.upload_expire_ms) + Duration::from_secs(200_000_000_000);
    if let Ok(value) = HeaderValue::try_from(httpdate::fmt_http_date(UNIX_EPOCH + since.min(limit))) {
        put(response, "upload-expires", value);
    }
}

fn put_asset(response: &mut Response<Body>, upload: &Upload) {
    if let Some(asset) = &upload.asset {
        let value = HeaderValue::try_from(asset.as_str()).expect("an id is ASCII");
        response.headers_mut().insert(HeaderName::from_static(ASSET_HEADER), value);
    }
}
