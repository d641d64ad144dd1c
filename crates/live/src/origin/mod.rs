//! The HTTP origin: playlists, manifests, parts and segments of every stream, the guide, and the time.

mod answer;
mod body;
mod target;
mod thumbnail;

use std::{
    convert::Infallible,
    future::Future,
    hash::{DefaultHasher, Hash, Hasher},
    pin::Pin,
    sync::Arc,
    task,
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use packager::{Lookup, Presentation, Reload, TrackName};
use tower_service::Service;

pub use self::answer::Body;
pub(crate) use self::thumbnail::Thumbnail;
use self::{
    answer::{Keep, mime},
    target::{Named, Object, Target},
};
use crate::{
    guide,
    hub::{Hub, Stream},
};

/// How long a request for a stream that has no complete part yet waits for one.
const FIRST_PART_WAIT: Duration = Duration::from_secs(5);
/// A blocked reload waits at most this many target durations (RFC 8216bis 6.2.5.2 recommends three).
const RELOAD_TARGET_DURATIONS: u32 = 3;

/// The live plane as an HTTP service. Cheap to clone.
///
/// It answers `GET`, `HEAD` and `OPTIONS`; ranges, conditions and compression are the front end's work.
#[derive(Clone)]
pub struct Origin {
    hub: Arc<Hub>,
}

/// The query parameters an answer may depend on; everything else may be stripped in front of the origin.
pub(crate) const QUERY: [&str; 4] = ["_HLS_msn", "_HLS_part", "_HLS_skip", "after"];

type Answer = Response<Body>;

impl Origin {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// The query parameters an answer may depend on: the cache key of a front end.
    pub const fn key_query() -> [&'static str; 4] {
        QUERY
    }

    /// Answers a request; never fails, but may take as long as the live edge does.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body> {
        match *request.method() {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => return answer::preflight(),
            _ => {
                return answer::problem(
                    StatusCode::METHOD_NOT_ALLOWED,
                    Keep::Never,
                    "only GET, HEAD and OPTIONS are answered here",
                );
            }
        }
        let query = request.uri().query().unwrap_or_default();
        match target::parse(request.uri().path()) {
            Some(Target::Guide) => guide::answer(&self.hub, parameter(query, "after")).await,
            Some(Target::Time) => answer::full(mime::TEXT, Keep::Never, self.hub.clock.wall().to_string()),
            Some(Target::Stream(named, object)) => match self.find(&named) {
                Some(stream) => self.object(stream, object, &named, query).await,
                None => not_found("no such stream is on air, and none ended within the rewind window"),
            },
            None => not_found("nothing is served under this path"),
        }
    }

    fn find(&self, named: &Named) -> Option<Arc<Stream>> {
        match named {
            Named::Id(id) => self.hub.stream(id),
            Named::AnyApp(name) => self.hub.stream_named(name),
        }
    }

    async fn object(&self, stream: Arc<Stream>, object: Object, named: &Named, query: &str) -> Answer {
        match object {
            Object::MultivariantPlaylist(prefix) => multivariant(&stream, &long_name(&stream, named, &prefix)).await,
            Object::TsMultivariantPlaylist => {
                match tokio::time::timeout(FIRST_PART_WAIT, until_found(&stream, ts_multivariant)).await {
                    Ok(Some(text)) => playlist(text.into(), playlist_age(&stream)),
                    Ok(None) => not_found("nothing of this stream can be sent as MPEG-TS"),
                    Err(_) => not_ready(&stream),
                }
            }
            Object::Manifest => self.manifest(&stream, "").await,
            Object::ManifestAlias(prefix) => self.manifest(&stream, &long_name(&stream, named, &prefix)).await,
            Object::Thumbnail => thumbnail::answer(&self.hub, &stream).await,
            Object::MediaPlaylist(track) => media_playlist(&stream, &track, query).await,
            Object::TsMediaPlaylist(track) => {
                let found = stream.present(|presentation| presentation.ts_media_playlist(&track));
                match found {
                    Lookup::Found(text) => playlist(text.into(), playlist_age(&stream)),
                    Lookup::Pending | Lookup::Gone => {
                        not_found("the stream has no such rendition, or nothing of it can be sent as MPEG-TS")
                    }
                }
            }
            Object::Init(track, id) => {
                let (media_type, found) =
                    (media_type(&track), stream.present(|presentation| presentation.init(&track, id)));
                match found {
                    Lookup::Found(bytes) => {
                        answer::with_etag(answer::full(media_type, Keep::Forever, bytes), &id.to_string())
                    }
                    Lookup::Pending | Lookup::Gone => not_found("this initialization segment left the rewind window"),
                }
            }
            Object::Segment(track, msn) => {
                let media = media_type(&track);
                let find = move |presentation: &mut Presentation| presentation.segment(&track, msn);
                self.plan(&stream, media, &msn.to_string(), find).await
            }
            Object::Part(track, msn, part) => {
                let media = media_type(&track);
                let find = move |presentation: &mut Presentation| presentation.part(&track, msn, part);
                self.plan(&stream, media, &format!("{msn}.{part}"), find).await
            }
            Object::TsSegment(track, msn) => {
                let find = move |presentation: &mut Presentation| presentation.ts_segment(&track, msn);
                self.plan(&stream, mime::TS, &msn.to_string(), find).await
            }
        }
    }

    async fn manifest(&self, stream: &Arc<Stream>, prefix: &str) -> Answer {
        let clock = self.hub.clock.clone();
        let made = ready(stream, move |presentation| presentation.mpd(clock.wall()).ok()).await;
        let Some(bytes) = made else { return not_ready(stream) };
        // The manifest changes with every segment; players ask for it about once a second.
        let keep = if stream.is_ended() { playlist_age(stream) } else { Keep::Moment };
        tagged(mime::MPD, keep, if prefix.is_empty() { bytes.into() } else { rebase_manifest(&bytes, prefix) })
    }

    /// A segment or part, when it is there or as it is being made. Its number, which no other bytes have, is its ETag.
    async fn plan(
        &self,
        stream: &Arc<Stream>,
        media_type: &'static str,
        tag: &str,
        find: impl Fn(&mut Presentation) -> Lookup<packager::BodyPlan>,
    ) -> Answer {
        let wait = wait_limit(stream);
        let found = tokio::time::timeout(wait, until_found(stream, find)).await;
        match found {
            Ok(Some(plan)) => {
                let length = plan.len();
                let body = body::of_plan(plan, stream.clone(), self.hub.store.clone());
                answer::with_etag(answer::body(media_type, Keep::Forever, length, body), tag)
            }
            Ok(None) => not_found("this part of the stream left the rewind window, or was never announced"),
            Err(_) => unavailable("the announced part did not come in time"),
        }
    }
}

/// Where the stream's own folder is, seen from the path that was asked for.
fn long_name(stream: &Stream, named: &Named, prefix: &str) -> String {
    match named {
        Named::Id(_) => prefix.to_owned(),
        Named::AnyApp(_) => format!("../{}/", stream.id),
    }
}

async fn multivariant(stream: &Arc<Stream>, prefix: &str) -> Answer {
    match ready(stream, |presentation| presentation.multivariant_playlist().ok()).await {
        Some(text) if prefix.is_empty() => playlist(text.into(), Keep::Moment),
        Some(text) => playlist(rebase(&text, prefix), Keep::Moment),
        None => not_ready(stream),
    }
}

/// Prefixes every relative URI of a playlist: its lines that are URIs, and its URI attributes.
fn rebase(playlist: &[u8], prefix: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(playlist);
    let mut out = String::with_capacity(text.len() + 256);
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            out.push_str(&line.replace("URI=\"", &format!("URI=\"{prefix}")));
        } else {
            out.push_str(prefix);
            out.push_str(line);
        }
        out.push('\n');
    }
    out.into_bytes()
}

/// Prefixes the addresses in a manifest. A redirect or a BaseURL would be shorter, but libavformat resolves templates against the
/// address that it asked for.
fn rebase_manifest(manifest: &[u8], prefix: &str) -> Vec<u8> {
    const ADDRESSES: [&str; 3] = [" initialization=\"", " media=\"", "utc:http-iso:2014\" value=\""];
    let text = String::from_utf8_lossy(manifest).into_owned();
    let rebased = |text: String, address: &str| text.replace(address, &format!("{address}{prefix}"));
    ADDRESSES.into_iter().fold(text, rebased).into_bytes()
}

fn ts_multivariant(presentation: &mut Presentation) -> Lookup<bytes::Bytes> {
    match presentation.ts_multivariant_playlist() {
        Ok(text) => Lookup::Found(text),
        Err(_) if presentation.multivariant_playlist().is_ok() && !presentation.fits_ts() => Lookup::Gone,
        Err(_) => Lookup::Pending,
    }
}

/// A Media Playlist, after the wait that its delivery directives ask for (RFC 8216bis 6.2.5.2).
async fn media_playlist(stream: &Arc<Stream>, track: &TrackName, query: &str) -> Answer {
    let directives = match Directives::parse(query) {
        Ok(directives) => directives,
        Err(why) => return answer::problem(StatusCode::BAD_REQUEST, Keep::Never, why),
    };
    if let Some(msn) = directives.msn {
        let wait = tokio::time::timeout(wait_limit(stream), until_reload(stream, track, msn, directives.part)).await;
        match wait {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return answer::problem(StatusCode::BAD_REQUEST, Keep::Never, why),
            Err(_) => return unavailable("the playlist did not advance in time"),
        }
    }
    match stream.present(|presentation| presentation.media_playlist(track, directives.skip)) {
        // A blocked answer is for good: the same question has the same answer, or a newer one, which is as good.
        Lookup::Found(text) if directives.msn.is_some() => playlist(text.into(), playlist_age(stream)),
        Lookup::Found(text) => playlist(text.into(), Keep::Moment),
        Lookup::Pending => not_ready(stream),
        Lookup::Gone => not_found("the stream has no such rendition"),
    }
}

/// The delivery directives of a playlist request.
#[derive(Debug, PartialEq, Eq)]
struct Directives {
    msn: Option<u64>,
    part: Option<u32>,
    skip: bool,
}

impl Directives {
    fn parse(query: &str) -> Result<Self, &'static str> {
        let number = |name| parameter(query, name).map(str::parse::<u64>).transpose();
        let msn = number("_HLS_msn").map_err(|_| "_HLS_msn must be a decimal number")?;
        let part = number("_HLS_part").map_err(|_| "_HLS_part must be a decimal number")?;
        if part.is_some() && msn.is_none() {
            return Err("_HLS_part needs _HLS_msn beside it");
        }
        let part = part.map(u32::try_from).transpose().map_err(|_| "_HLS_part is too large")?;
        let skip = match parameter(query, "_HLS_skip") {
            None => false,
            Some("YES" | "v2") => true,
            Some(_) => return Err("_HLS_skip must be YES or v2"),
        };
        Ok(Self { msn, part, skip })
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

async fn until_reload(stream: &Stream, track: &TrackName, msn: u64, part: Option<u32>) -> Result<(), &'static str> {
    let mut version = stream.watch_version();
    loop {
        version.borrow_and_update();
        match stream.present(|presentation| presentation.reload(track, msn, part)) {
            Reload::Ready => return Ok(()),
            Reload::BadRequest(why) => return Err(why),
            // A stream that is dropped while somebody waits has nothing more to say.
            Reload::Wait => version.changed().await.map_err(|_| "the stream is gone")?,
        }
    }
}

async fn until_found<T>(stream: &Stream, find: impl Fn(&mut Presentation) -> Lookup<T>) -> Option<T> {
    let mut version = stream.watch_version();
    loop {
        version.borrow_and_update();
        match stream.present(&find) {
            Lookup::Found(found) => return Some(found),
            Lookup::Gone => return None,
            Lookup::Pending => version.changed().await.ok()?,
        }
    }
}

/// What `make` makes, as soon as the stream has its first parts; `None` when they do not come.
async fn ready<T>(stream: &Stream, make: impl Fn(&mut Presentation) -> Option<T>) -> Option<T> {
    let made = until_found(stream, |presentation| make(presentation).map_or(Lookup::Pending, Lookup::Found));
    tokio::time::timeout(FIRST_PART_WAIT, made).await.ok().flatten()
}

fn wait_limit(stream: &Stream) -> Duration {
    let target = Duration::from_millis(stream.config.segment_duration_ms.into());
    (target * RELOAD_TARGET_DURATIONS).max(FIRST_PART_WAIT)
}

/// Half a target duration, in whole seconds.
fn playlist_age(stream: &Stream) -> Keep {
    Keep::For(Duration::from_millis(u64::from(stream.config.segment_duration_ms) / 2))
}

fn playlist(text: Vec<u8>, keep: Keep) -> Answer {
    tagged(mime::M3U8, keep, text)
}

/// An answer whose ETag is taken from its bytes.
fn tagged(media_type: &'static str, keep: Keep, text: Vec<u8>) -> Answer {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let tag = format!("{:016x}", hasher.finish());
    answer::with_etag(answer::full(media_type, keep, text), &tag)
}

/// A JSON answer that is true now.
pub(crate) fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => answer::full(mime::JSON, Keep::Moment, bytes),
        Err(error) => answer::problem(StatusCode::INTERNAL_SERVER_ERROR, Keep::Never, &error.to_string()),
    }
}

/// The origin's own naming: audio tracks begin with `a`.
fn media_type(track: &TrackName) -> &'static str {
    if track.as_str().starts_with('a') { mime::MP4_AUDIO } else { mime::MP4_VIDEO }
}

// A stream may appear, or get ready, at any moment: nobody may keep these.
fn not_found(detail: &str) -> Answer {
    answer::problem(StatusCode::NOT_FOUND, Keep::Never, detail)
}

fn not_ready(stream: &Stream) -> Answer {
    answer::problem(
        StatusCode::NOT_FOUND,
        Keep::Never,
        &format!("{} has sent no complete part yet; try again in a moment", stream.id),
    )
}

fn unavailable(detail: &str) -> Answer {
    answer::problem(StatusCode::SERVICE_UNAVAILABLE, Keep::Never, detail)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_directives_are_checked() {
        let check = |query: &str, expected: Result<(Option<u64>, Option<u32>, bool), &str>| {
            assert_eq!(
                Directives::parse(query).map(|d| (d.msn, d.part, d.skip)).map_err(|_| ""),
                expected.map_err(|_| ""),
                "{query}"
            );
        };
        check("", Ok((None, None, false)));
        check("_HLS_msn=4&_HLS_part=2&_HLS_skip=YES", Ok((Some(4), Some(2), true)));
        check("_HLS_part=2", Err(""));
        check("_HLS_msn=-1", Err(""));
        check("_HLS_msn=4&_HLS_part=99999999999", Err(""));
        check("_HLS_skip=NO", Err(""));
    }

    #[test]
    fn a_playlist_under_another_name_points_to_the_stream() {
        let text =
            "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"a0/index.m3u8\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv0/index.m3u8\n";
        let expected = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"bars/a0/index.m3u8\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nbars/v0/index.m3u8\n";
        assert_eq!(String::from_utf8(rebase(text.as_bytes(), "bars/")).unwrap(), expected);
    }

    #[test]
    fn a_manifest_under_another_name_points_to_the_stream() {
        let text = "<SegmentTemplate initialization=\"v0/init-0.mp4\" media=\"v0/$Number$.m4s\"/>\n\
                    <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"../../time\"/>";
        let expected = "<SegmentTemplate initialization=\"bars/v0/init-0.mp4\" media=\"bars/v0/$Number$.m4s\"/>\n\
                    <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"bars/../../time\"/>";
        assert_eq!(String::from_utf8(rebase_manifest(text.as_bytes(), "bars/")).unwrap(), expected);
    }
}
