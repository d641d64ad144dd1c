//! The HTTP origin of assets: playlists, manifests, segments, progressive MP4, posters and storyboards.
//!
//! | path below `/vod` | what |
//! |---|---|
//! | `ASSET/index.m3u8`, `ASSET/manifest.mpd` | all renditions of one revision of the asset |
//! | `ASSET.mp4`, with `rendition=NAME`, `download=1` | one picture rendition with the sound, moov first; nothing of it is stored |
//! | `ASSET/NAME/index.m3u8`, `ASSET/NAME/iframes.m3u8` | a rendition's playlists |
//! | `ASSET/NAME/TOKEN/init.mp4`, `N.m4s`, `0.vtt` | its media; the token names what was published, so the bytes never change |
//! | `ASSET/NAME.vtt` | a text track |
//! | `ASSET/poster.jpg`, `storyboard.vtt`, `storyboard-N.jpg` | pictures |
//!
//! The catalogue says what is published, the object store has it. Both are read, never written; what is kept in memory are bounded
//! caches of indexes and heads. Tokens, CORS and purging are the front end's work.

mod answer;
mod body;
mod cache;
mod movie;
mod parse;
mod select;
mod shelf;
mod storyboard;

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, task};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use packager::vod;
use sha2::{Digest, Sha256};
use store::{Catalogue, Objects, catalogue::MediaKind};
use tower_service::Service;

pub use self::answer::Body;
use self::{
    answer::{Content, Failure, Keep, Source, mime},
    parse::{Media, Target},
    select::Selection,
    shelf::{Shelf, Snapshot},
};

/// The query parameters an answer may depend on; everything else may be stripped in front of the origin.
const QUERY: [&str; 2] = ["rendition", "download"];
/// Hexadecimal digits of a hash that name a version of something: 64 bits.
const TAG_CHARS: usize = 16;

/// The on-demand origin as an HTTP service. Cheap to clone.
///
/// It answers `GET` and `HEAD`, with conditions and ranges, for paths that begin with `/vod/`.
#[derive(Clone, Debug)]
pub struct Origin {
    shelf: Shelf,
}

impl Origin {
    /// Serves what `catalogue` says is published out of `objects`.
    pub fn new(catalogue: Catalogue, objects: Objects) -> Self {
        Self { shelf: Shelf::new(catalogue, objects) }
    }

    /// The query parameters an answer may depend on: the cache key of a front end.
    pub const fn key_query() -> [&'static str; 2] {
        QUERY
    }

    /// Answers a request; never fails.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body> {
        let (head, _) = request.into_parts();
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Failure::Method.response();
        }
        let query = head.uri.query().unwrap_or_default();
        match self.content(head.uri.path(), query).await {
            Ok(content) => content.response(&head.method, &head.headers, &self.shelf.objects),
            Err(failure) => failure.response(),
        }
    }

    async fn content(&self, path: &str, query: &str) -> Result<Content, Failure> {
        let (id, target) = parse::parse(path).ok_or(Failure::NotFound)?;
        let snapshot = match &target {
            // What has a token is published for good; a snapshot of a moment ago may not know it yet.
            Target::Media { name, token, .. } => {
                self.shelf.snapshot_where(&id, |snapshot| snapshot.rendition(name, Some(token)).is_some()).await?
            }
            _ => self.shelf.snapshot(&id).await?,
        };
        match target {
            Target::Multivariant => self.multivariant(&snapshot).await,
            Target::Manifest => self.manifest(&snapshot).await,
            Target::Movie => movie::content(&self.shelf, &snapshot, query).await,
            Target::Playlist(name) => self.playlist(&snapshot, &name).await,
            Target::IFrames(name) => {
                let (index, folder) = self.track(&snapshot, &name).await?;
                let is_video = index.kind == media::TrackKind::Video;
                let text = is_video.then(|| vod::iframe_playlist(&index, &folder)).ok_or(Failure::NotFound)?;
                Ok(text_content(mime::M3U8, &snapshot, text))
            }
            Target::Media { name, token, media } => self.media(&snapshot, &name, &token, media).await,
            Target::Text(name) => self.text(&snapshot, &name).await,
            Target::Poster => {
                let key = snapshot.asset.poster.clone().ok_or_else(|| snapshot.missing())?;
                self.image(&snapshot, &key).await
            }
            Target::Storyboard => Ok(text_content(mime::VTT, &snapshot, storyboard::cues(&snapshot)?)),
            Target::Sheet(number) => self.image(&snapshot, &storyboard::sheet(&snapshot, number)?).await,
        }
    }

    async fn multivariant(&self, snapshot: &Snapshot) -> Result<Content, Failure> {
        let selection = Selection::load(&self.shelf, snapshot).await?;
        let text = selection.present(snapshot, vod::multivariant_playlist);
        Ok(text_content(mime::M3U8, snapshot, text))
    }

    async fn manifest(&self, snapshot: &Snapshot) -> Result<Content, Failure> {
        let selection = Selection::load(&self.shelf, snapshot).await?;
        Ok(text_content(mime::MPD, snapshot, selection.present(snapshot, vod::mpd)))
    }

    async fn playlist(&self, snapshot: &Snapshot, name: &str) -> Result<Content, Failure> {
        let published = snapshot.rendition(name, None).ok_or_else(|| snapshot.missing())?;
        let text = if published.row.kind == MediaKind::Subtitle {
            let selection = Selection::load(&self.shelf, snapshot).await?;
            vod::subtitle_playlist(selection.duration_ms(), &published.folder())
        } else {
            let (index, folder) = self.track(snapshot, name).await?;
            vod::media_playlist(&index, &folder)
        };
        Ok(text_content(mime::M3U8, snapshot, text))
    }

    /// The index of a rendition of pictures or sound, and where its media are.
    async fn track(&self, snapshot: &Snapshot, name: &str) -> Result<(Arc<vod::TrackIndex>, String), Failure> {
        let published = snapshot.rendition(name, None).ok_or_else(|| snapshot.missing())?;
        if published.row.kind == MediaKind::Subtitle {
            return Err(Failure::NotFound);
        }
        Ok((self.shelf.index(&published.row.index).await?, published.folder()))
    }

    async fn media(&self, snapshot: &Snapshot, name: &str, token: &str, media: Media) -> Result<Content, Failure> {
        let published = snapshot.rendition(name, Some(token)).ok_or_else(|| snapshot.missing())?;
        match (published.row.kind, media) {
            (MediaKind::Subtitle, Media::Text) => {
                let whole = self.shelf.text(&published.row.object).await?;
                let text = vod::webvtt_segment(&whole);
                return Ok(Content::memory(mime::VTT, Keep::Forever, format!("{token}.t"), text));
            }
            (MediaKind::Subtitle, _) | (_, Media::Text) => return Err(Failure::NotFound),
            (MediaKind::Video | MediaKind::Audio, _) => {}
        }
        let index = self.shelf.index(&published.row.index).await?;
        let media_type = if published.row.kind == MediaKind::Audio { mime::MP4_AUDIO } else { mime::MP4_VIDEO };
        let Media::Segment(number) = media else {
            return Ok(Content::memory(media_type, Keep::Forever, format!("{token}.i"), index.init.clone()));
        };
        let range = index.segment(number).ok_or(Failure::NotFound)?;
        let source = Source::Object { key: shelf::key(&published.row.object)?, start: range.start };
        Ok(Content::new(media_type, Keep::Forever, format!("{token}.{number}"), range.end - range.start, source))
    }

    async fn text(&self, snapshot: &Snapshot, name: &str) -> Result<Content, Failure> {
        let published = snapshot.rendition(name, None).filter(|p| p.row.kind == MediaKind::Subtitle);
        let published = published.ok_or_else(|| snapshot.missing())?;
        let whole = self.shelf.text(&published.row.object).await?;
        Ok(text_content(mime::VTT, snapshot, whole))
    }

    async fn image(&self, snapshot: &Snapshot, object: &str) -> Result<Content, Failure> {
        let key = shelf::key(object)?;
        let bytes = self.shelf.objects.head(&key).await?.ok_or(Failure::NotFound)?.bytes;
        let source = Source::Object { key, start: 0 };
        Ok(Content::new(mime::JPEG, snapshot.keep(), tag(object.as_bytes()), bytes, source))
    }
}

/// A text whose ETag is taken from its bytes.
fn text_content(media_type: &'static str, snapshot: &Snapshot, text: String) -> Content {
    Content::memory(media_type, snapshot.keep(), tag(text.as_bytes()), Bytes::from(text))
}

/// A name for these bytes.
fn tag(bytes: &[u8]) -> String {
    let mut text = data_encoding::HEXLOWER.encode(&Sha256::digest(bytes));
    text.truncate(TAG_CHARS);
    text
}

/// A query parameter as it stands in the URL.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

impl<B: Send + 'static> Service<Request<B>> for Origin {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let origin = self.clone();
        // A body is not read here; leaving it behind keeps the future `Send` whatever it is.
        let (head, _) = request.into_parts();
        Box::pin(async move { Ok(origin.answer(Request::from_parts(head, ())).await) })
    }
}

/// Whether a request's headers match an ETag (RFC 9110 13.1.2): weakly, as `If-None-Match` compares.
fn none_match(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(http::header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == etag)
}
