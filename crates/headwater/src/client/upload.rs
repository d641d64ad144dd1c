//! Uploads of files by tus 1.0.0: in pieces, going on where the platform has bytes, also after this program was stopped.

use std::{
    io::SeekFrom,
    path::{Path, PathBuf},
    time::Duration,
};

use data_encoding::{BASE64, HEXLOWER};
use reqwest::{Body, Method, StatusCode, header};
use sha2::{Digest, Sha256};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};
use tokio_util::io::ReaderStream;
use url::Url;

use super::{Api, Error, show::Line};

/// A request carries at most this much: what proxies let through, and little to send again.
const PATCH_BYTES_MAX: u64 = 64 << 20;
/// Read from the file at a time.
const READ_BYTES: usize = 1 << 20;
/// Pauses between attempts while nothing answers; after the last one the upload is given up, and can be taken up later.
const PAUSES_MS: [u64; 8] = [200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000];

/// A file on its way.
#[derive(Debug)]
pub(super) struct Upload<'a> {
    api: &'a Api,
    file: &'a Path,
    bytes: u64,
    resume: Resume,
}

/// Title and recipe of the asset.
#[derive(Debug, Default)]
pub(super) struct About<'a> {
    pub(super) title: Option<&'a str>,
    pub(super) recipe: Option<&'a str>,
}

impl<'a> Upload<'a> {
    /// An upload of `file`.
    pub(super) async fn of(api: &'a Api, file: &'a Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: file.to_owned(), source };
        let meta = tokio::fs::metadata(file).await.map_err(failed)?;
        if !meta.is_file() {
            return Err(failed(std::io::Error::other("this is no file")));
        }
        Ok(Self { api, file, bytes: meta.len(), resume: Resume::of(api, file, &meta) })
    }

    /// Sends what the platform has not; the upload's id and its asset's.
    pub(super) async fn send(&self, about: &About<'_>, line: &mut Line) -> Result<(String, String), Error> {
        let (url, mut offset) = match self.resumed().await? {
            Some(found) => found,
            None => (self.create(about).await?, 0),
        };
        self.resume.keep(&url);
        let mut pauses = PAUSES_MS.iter();
        while offset < self.bytes {
            line.bytes("upload", offset, self.bytes);
            match self.patch(&url, offset).await {
                Ok(now) => {
                    offset = now;
                    pauses = PAUSES_MS.iter();
                }
                Err(error) if passes(&error) => {
                    let Some(&pause) = pauses.next() else { return Err(error) };
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    offset = self.offset(&url).await.unwrap_or(Some(offset)).unwrap_or(offset);
                }
                Err(error) => return Err(error),
            }
        }
        line.bytes("upload", offset, self.bytes);
        line.end();
        self.resume.forget();
        let row =
            self.api.ask(Method::GET, url.path().trim_start_matches("/api/v1/"), &serde_json::Value::Null).await?;
        let text = |key: &str| row[key].as_str().map(str::to_owned);
        let asset = text("asset").ok_or_else(|| self.api.foreign("an upload without an asset"))?;
        Ok((text("id").unwrap_or_default(), asset))
    }

    /// The upload that an earlier run began, while the platform has it.
    async fn resumed(&self) -> Result<Option<(Url, u64)>, Error> {
        let Some(url) = self.resume.url() else { return Ok(None) };
        match self.offset(&url).await? {
            Some(offset) => Ok(Some((url, offset))),
            None => Ok(None),
        }
    }

    async fn create(&self, about: &About<'_>) -> Result<Url, Error> {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let pairs = [("filename", Some(name.as_ref())), ("title", about.title), ("recipe", about.recipe)];
        let given = pairs.iter().filter_map(|(key, value)| Some((key, (*value)?)));
        let metadata: Vec<_> = given.map(|(key, value)| format!("{key} {}", BASE64.encode(value.as_bytes()))).collect();
        let uploads = self.api.url("uploads")?;
        let request = self
            .api
            .request(Method::POST, uploads.clone())
            .header("tus-resumable", "1.0.0")
            .header("upload-length", self.bytes)
            .header("upload-metadata", metadata.join(","));
        let response = self.api.send(request).await?;
        let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        let url = location.and_then(|location| uploads.join(location).ok());
        url.ok_or_else(|| self.api.foreign("a new upload without a Location"))
    }

    /// Bytes that the platform has; `None` when it does not know the upload any more.
    async fn offset(&self, url: &Url) -> Result<Option<u64>, Error> {
        let request = self.api.request(Method::HEAD, url.clone()).header("tus-resumable", "1.0.0");
        match self.api.send(request).await {
            Ok(response) => {
                let offset =
                    response.headers().get("upload-offset").and_then(|offset| offset.to_str().ok()?.parse().ok());
                offset.map(Some).ok_or_else(|| self.api.foreign("an upload without an offset"))
            }
            Err(Error::Refused { status: 404 | 410 | 403, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn patch(&self, url: &Url, offset: u64) -> Result<u64, Error> {
        let failed = |source| Error::File { path: self.file.to_owned(), source };
        let mut file = File::open(self.file).await.map_err(failed)?;
        file.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
        let bytes = PATCH_BYTES_MAX.min(self.bytes - offset);
        let request = self
            .api
            .request(Method::PATCH, url.clone())
            .header("tus-resumable", "1.0.0")
            .header("upload-offset", offset)
            .header(header::CONTENT_TYPE, "application/offset+octet-stream")
            .header(header::CONTENT_LENGTH, bytes)
            .body(Body::wrap_stream(ReaderStream::with_capacity(file.take(bytes), READ_BYTES)));
        let response = self.api.send(request).await?;
        let now = response.headers().get("upload-offset").and_then(|offset| offset.to_str().ok()?.parse().ok());
        now.ok_or_else(|| self.api.foreign("an answer without the upload's offset"))
    }
}

/// Whether trying again may help: nothing answered, somebody else is writing, or the platform is starting.
fn passes(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        Error::Refused { status, .. } => {
            matches!(StatusCode::from_u16(*status), Ok(code) if code.is_server_error() || matches!(status, 409 | 423 | 429 | 408))
        }
        _ => false,
    }
}

/// Where the URL of a begun upload is kept until it is complete: below the user's state folder.
#[derive(Debug)]
struct Resume(Option<PathBuf>);

impl Resume {
    fn of(api: &Api, file: &Path, meta: &std::fs::Metadata) -> Self {
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        let Some(folder) = state.or_else(home) else { return Self(None) };
        let whole = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let what = format!("{} {} {} {:?}", api.page("uploads"), whole.display(), meta.len(), meta.modified().ok());
        let name = HEXLOWER.encode(&Sha256::digest(what.as_bytes())[..16]);
        Self(Some(folder.join("headwater/uploads").join(name)))
    }

    fn url(&self) -> Option<Url> {
        Url::parse(std::fs::read_to_string(self.0.as_ref()?).ok()?.trim()).ok()
    }

    /// A convenience: a folder that cannot be written is no reason not to upload.
    fn keep(&self, url: &Url) {
        if let Some(path) = &self.0 {
            let _ = path.parent().map(std::fs::create_dir_all);
            let _ = std::fs::write(path, url.as_str());
        }
    }

    fn forget(&self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
