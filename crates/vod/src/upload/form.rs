//! A file in one request: `PUT` with its name, or an HTML form.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{DefaultBodyLimit, FromRequest, Multipart, multipart::Field},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header as names};
use serde_json::json;
use store::{Blob, Principal, Upload};

use super::{
    ASSET_HEADER, Inner,
    create::{self, Beginning, Draft},
    finish,
    header::{self, Checksum, Metadata},
    no_store,
    problem::Problem,
    receive::{self, Received},
};

/// Largest text of a form's field, in bytes.
const FIELD_BYTES_MAX: usize = 64 * 1024;
/// Most fields of a form.
const FIELDS_MAX: usize = 64;
/// Fields that describe the file: they come before it, since they are stored before its first byte.
const FIELDS: [&str; 5] = ["title", "recipe", "sha256", "metadata", "tenant"];

/// Whether a request brings a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    const FORM: &[u8] = b"multipart/form-data";
    let kind = headers.get(names::CONTENT_TYPE).map(HeaderValue::as_bytes).and_then(|kind| kind.get(..FORM.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(FORM))
}

/// `PUT /api/v1/assets/NAME?title=...&recipe=...&sha256=...&metadata=...`
pub(super) async fn one_shot(
    inner: &Arc<Inner>,
    principal: &Principal,
    name: &str,
    request: Request<Body>,
) -> Result<Response<Body>, Problem> {
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let given = url::form_urlencoded::parse(query).take(FIELDS_MAX);
    let mut fields: Metadata = given.map(|(key, value)| (key.into_owned(), Some(value.into_owned()))).collect();
    fields.insert("filename".to_owned(), Some(name.to_owned()));
    let bytes = header::number(request.headers(), "content-length")?;
    let checksum = Checksum::of(request.headers())?;
    let body = request.into_body().into_data_stream();
    let (draft, upload) = store_whole(inner, principal, &fields, bytes, checksum, body).await?;
    end(inner, &draft, upload, "").await
}

/// A form with one file, behind its text fields.
pub(super) async fn multipart(
    inner: &Arc<Inner>,
    principal: &Principal,
    mut request: Request<Body>,
) -> Result<Response<Body>, Problem> {
    // Files are bounded by the upload's own limits.
    DefaultBodyLimit::disable().apply(&mut request);
    let collection = if request.uri().path().ends_with('/') { "../assets/" } else { "assets/" };
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| broken_form(&error.body_text()))?;
    let mut fields = Metadata::new();
    let (draft, upload) = loop {
        let Some(field) = next(&mut form).await? else { return Err(no_file()) };
        match field.file_name().map(str::to_owned) {
            None => text(&mut fields, field).await?,
            Some(name) => {
                fields.insert("filename".to_owned(), Some(name));
                break store_whole(inner, principal, &fields, None, None, field).await?;
            }
        }
    };
    if let Err(problem) = nothing_more(&mut form).await {
        inner.catalogue.end_upload(&upload.id).await?;
        return Err(problem);
    }
    end(inner, &draft, upload, collection).await
}

async fn next(form: &mut Multipart) -> Result<Option<Field<'_>>, Problem> {
    form.next_field().await.map_err(|error| broken_form(&error.body_text()))
}

async fn text(fields: &mut Metadata, mut field: Field<'_>) -> Result<(), Problem> {
    let name = field.name().unwrap_or_default().to_owned();
    let mut value = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| broken_form(&error.body_text()))? {
        if value.len() + chunk.len() > FIELD_BYTES_MAX {
            return Err(broken_form("a field is longer than 64 KiB"));
        }
        value.extend_from_slice(&chunk);
    }
    let value = String::from_utf8(value).map_err(|_| broken_form("a field is not UTF-8"))?;
    fields.insert(name, Some(value));
    match fields.len() <= FIELDS_MAX {
        true => Ok(()),
        false => Err(broken_form("it has more than 64 fields")),
    }
}

/// The rest of a form: what would change the file, or another file, was meant to come before.
async fn nothing_more(form: &mut Multipart) -> Result<(), Problem> {
    while let Some(field) = next(form).await? {
        if field.file_name().is_some_and(|name| !name.is_empty()) {
            let hint = "Send one form for each file.";
            return Err(Problem::bad_request("second_file", "The form has more than one file.", hint));
        }
        if field.name().is_some_and(|name| FIELDS.contains(&name)) {
            let hint = "Put the fields before the file.";
            return Err(Problem::bad_request("late_field", "A field that describes the file is behind it.", hint));
        }
    }
    Ok(())
}

fn broken_form(what: &str) -> Problem {
    let hint = "Send `multipart/form-data` with text fields and then one file.";
    Problem::bad_request("invalid_form", format!("The form cannot be read: {what}."), hint)
}

fn no_file() -> Problem {
    let hint = "Send the file as a field with a file name, behind the text fields.";
    Problem::bad_request("no_file", "The form has no file.", hint)
}

/// Stores a body as a whole upload, or leaves nothing: a client that cannot resume has to begin again.
async fn store_whole<E: Send>(
    inner: &Arc<Inner>,
    principal: &Principal,
    fields: &Metadata,
    bytes: Option<u64>,
    checksum: Option<Checksum>,
    body: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
) -> Result<(Draft, Upload), Problem> {
    let draft = Draft::of(inner, principal, fields).await?;
    let beginning = Beginning { tenant: &draft.tenant, draft: Some(&draft), bytes, blob: Blob::default(), fields };
    let Some((first, rest)) = first_piece(body).await else { return Err(Problem::empty()) };
    let upload = create::begin(inner, beginning).await?;
    let body = stream::once(async { first }).chain(rest);
    let room = inner.room(&upload).await?;
    let stored = match receive::receive(inner, upload.clone(), room, checksum, body).await {
        Ok(Received { broken: true, .. }) => Err(body_broken()),
        Ok(Received { upload, .. }) => with_length(inner, upload).await,
        Err(problem) => Err(problem),
    };
    match stored {
        Ok(upload) => Ok((draft, upload)),
        Err(problem) => {
            inner.catalogue.end_upload(&upload.id).await?;
            inner.hashes.forget(&upload.id);
            Err(problem)
        }
    }
}

/// The first bytes and what follows them; `None`: there are none.
async fn first_piece<E, S>(mut body: S) -> Option<(Result<Bytes, E>, S)>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    loop {
        match body.next().await? {
            Ok(piece) if piece.is_empty() => {}
            first => return Some((first, body)),
        }
    }
}

fn body_broken() -> Problem {
    let hint = "Send it again; with tus 1.0.0 at /api/v1/uploads it would go on where it stopped.";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body_broken", "The body broke off; nothing was stored.", hint)
}

/// The upload whose size is that of what came.
async fn with_length(inner: &Inner, upload: Upload) -> Result<Upload, Problem> {
    if upload.bytes.is_none() {
        inner.catalogue.set_upload_bytes(&upload.id, upload.offset).await?;
        return inner.catalogue.upload(&upload.id).await?.ok_or_else(Problem::gone);
    }
    match upload.bytes == Some(upload.offset) {
        true => Ok(upload),
        false => Err(body_broken()),
    }
}

async fn end(inner: &Arc<Inner>, draft: &Draft, upload: Upload, collection: &str) -> Result<Response<Body>, Problem> {
    finish::finish(inner, &upload).await?;
    let id = upload.asset.as_ref().ok_or_else(Problem::gone)?;
    let state = inner.catalogue.asset(id).await?.map(|asset| asset.state);
    let body = json!({ "id": id, "upload": upload.id, "title": draft.title(), "state": state });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(names::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let location = HeaderValue::try_from(format!("{collection}{id}")).expect("an id is ASCII");
    headers.insert(names::LOCATION, location);
    headers.insert(HeaderName::from_static(ASSET_HEADER), HeaderValue::try_from(id.as_str()).expect("an id is ASCII"));
    no_store(&mut response);
    Ok(response)
}
