//! The origin of assets over a catalogue and objects in memory.

use std::time::Duration;

use base::Wall;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use packager::vod::{SegmentRule, TrackIndex, TrackWriter};
use serde_json::{Value, json};
use store::{
    Catalogue, Key, Objects,
    catalogue::{
        Asset, AssetId, AssetPatch, AssetState, Expansion, Fenced, JobId, MediaKind, NewJob, NewStep, Options,
        RecipeRef, Rendition, Source, Worker, WorkerId,
    },
};
use testkit::{Samples, dash, hls};
use vod::origin::Origin;

const VTT: &str = "WEBVTT\n\n00:01.000 --> 00:02.000\nhello\n";

/// An asset whose job has a step for every publication.
struct House {
    catalogue: Catalogue,
    objects: Objects,
    worker: WorkerId,
    asset: AssetId,
}

/// A packaged rendition.
struct Track {
    row: Rendition,
    file: Bytes,
    index: TrackIndex,
}

impl House {
    /// `publications` steps: the job runs until the last one.
    async fn new(state: AssetState, publications: usize) -> Self {
        let catalogue = Catalogue::open("sqlite::memory:", Options::default()).await.unwrap();
        let asset = asset(state);
        let job = NewJob {
            id: JobId::new(),
            recipe: asset.recipe.clone(),
            priority: 0,
            context: json!({}),
            steps: (0..publications).map(step).collect(),
        };
        catalogue.create_asset(&asset, (publications > 0).then_some(job)).await.unwrap();
        let worker = Worker {
            id: WorkerId::new(),
            name: "node".into(),
            caps: vec!["package".into()],
            info: Value::Null,
            cordoned: false,
            cordon_reason: None,
            draining: false,
            registered: Wall::default(),
            seen: Wall::default(),
        };
        let worker = catalogue.register_worker(&worker).await.unwrap().id;
        Self { catalogue, objects: Objects::memory(), worker, asset: asset.id }
    }

    fn origin(&self) -> Origin {
        Origin::new(self.catalogue.clone(), self.objects.clone())
    }

    /// Completes a step that publishes these renditions.
    async fn publish(&self, renditions: Vec<Rendition>, patch: AssetPatch) {
        let lease = self.catalogue.claim(&self.worker, &["package".into()]).await.unwrap().expect("a step is left");
        let asset = AssetPatch { state: Some(AssetState::Ready), ..patch };
        let expansion = Expansion { renditions, asset, ..Expansion::default() };
        let done = self.catalogue.complete(&lease.step.id, lease.step.token, &Value::Null, &expansion).await.unwrap();
        assert!(matches!(done, Fenced::Held(())));
    }

    /// Stores a track of five seconds; `step` stands for the step that made it.
    async fn track(&self, name: &str, samples: &Samples, step: &str) -> Track {
        let mut writer = TrackWriter::new(samples.track(), SegmentRule { target_ms: 2_000 });
        let mut pieces: Vec<Bytes> = Vec::new();
        for sample in samples.until_ms(5_000) {
            pieces.extend(writer.push(sample).unwrap());
        }
        let (rest, index) = writer.finish().unwrap();
        pieces.extend(rest);
        let file = Bytes::from(pieces.concat());
        let object = self.put(&format!("{step}/{name}.mp4"), file.clone()).await;
        let json = Bytes::from(serde_json::to_vec(&index).unwrap());
        let index_object = self.put(&format!("{step}/{name}.json"), json).await;
        let kind = if index.width.is_some() { MediaKind::Video } else { MediaKind::Audio };
        let row = Rendition {
            codecs: index.codecs.clone(),
            width: index.width.map(Into::into),
            height: index.height.map(Into::into),
            bandwidth: index.bandwidth as i64,
            average_bandwidth: index.average_bandwidth as i64,
            bytes: file.len() as i64,
            index: index_object,
            ..self.row(name, kind, object)
        };
        Track { row, file, index }
    }

    fn row(&self, name: &str, kind: MediaKind, object: String) -> Rendition {
        Rendition {
            asset: self.asset.clone(),
            name: name.into(),
            kind,
            codecs: String::new(),
            width: None,
            height: None,
            bandwidth: 0,
            average_bandwidth: 0,
            language: None,
            label: None,
            default: false,
            object,
            bytes: 0,
            index: String::new(),
            quality: Value::Null,
            ready: Wall::default(),
        }
    }

    async fn put(&self, name: &str, bytes: Bytes) -> String {
        let key = format!("assets/{}/{name}", self.asset);
        self.objects.put(&Key::new(&key).unwrap(), vec![bytes]).await.unwrap();
        key
    }

    fn path(&self, rest: &str) -> String {
        format!("/vod/{}{rest}", self.asset)
    }
}

fn asset(state: AssetState) -> Asset {
    Asset {
        id: AssetId::new(),
        tenant: "default".into(),
        title: "A film".into(),
        state,
        recipe: RecipeRef { name: "default".into(), version: 1 },
        source: Source { file_name: "clip.mp4".into(), bytes: None, sha256: None, url: None, blob: None },
        media: None,
        duration_ms: None,
        poster: None,
        storyboard: None,
        revision: 1,
        error: None,
        metadata: Value::Null,
        created: Wall::default(),
        updated: Wall::default(),
    }
}

fn step(n: usize) -> NewStep {
    NewStep {
        name: format!("package/{n}"),
        kind: "package".into(),
        rendition: None,
        cap: "package".into(),
        class: 1,
        weight: 1.0,
        spec: json!({ "kind": "package" }),
        attempts_max: 3,
        after: Vec::new(),
    }
}

async fn ask(origin: &Origin, method: Method, path: &str, headers: &[(&str, &str)]) -> (Response<()>, Bytes) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, body) = origin.answer(request.body(()).unwrap()).await.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(head, ()), bytes)
}

async fn get(origin: &Origin, path: &str) -> (Response<()>, Bytes) {
    ask(origin, Method::GET, path, &[]).await
}

async fn text(origin: &Origin, path: &str) -> String {
    let (response, bytes) = get(origin, path).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&bytes));
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// Two pictures, sound, text, a poster and a storyboard, all published at once; the job is done.
async fn published() -> (House, Vec<Track>) {
    let house = House::new(AssetState::Preparing, 1).await;
    let tracks = vec![
        house.track("v720", &Samples::video_720p().b_frames(2), "stp-1").await,
        house.track("v360", &Samples::video_360p().b_frames(2), "stp-2").await,
        house.track("a0", &Samples::audio_48k(), "stp-3").await,
    ];
    let mut rows: Vec<Rendition> = tracks.iter().map(|track| track.row.clone()).collect();
    let object = house.put("stp-4/s0.vtt", Bytes::from_static(VTT.as_bytes())).await;
    rows.push(Rendition { language: Some("en".into()), ..house.row("s0", MediaKind::Subtitle, object) });
    let poster = house.put("stp-5/poster.jpg", Bytes::from_static(b"a poster")).await;
    let sheet = house.put("stp-6/0.jpg", Bytes::from_static(b"a sheet")).await;
    let storyboard = json!({
        "sheets": [{ "key": sheet, "bytes": 7, "sha256": "" }],
        "interval_ms": 2_000, "columns": 5, "rows": 5, "width": 160, "height": 90, "count": 3,
    });
    let patch = AssetPatch {
        poster: Some(poster),
        storyboard: Some(storyboard),
        duration_ms: Some(5_000),
        ..AssetPatch::default()
    };
    house.publish(rows, patch).await;
    (house, tracks)
}

#[tokio::test]
async fn every_playlist_leads_to_media_and_the_linters_find_nothing() {
    let (house, tracks) = published().await;
    let origin = house.origin();
    let mut linter = hls::Linter::default();
    let mut findings = Vec::new();
    let multivariant = text(&origin, &house.path("/index.m3u8")).await;
    let see =
        |uri: &str, text: &str| hls::Observed { uri: uri.into(), at: Wall::default(), text: text.into(), delta: false };
    findings.extend(linter.observe(&see("index.m3u8", &multivariant)));
    let playlists = hls::media_playlists(&multivariant);
    assert_eq!(playlists, ["a0/index.m3u8", "s0/index.m3u8", "v360/index.m3u8", "v720/index.m3u8"]);
    for uri in &playlists {
        let playlist = text(&origin, &house.path(&format!("/{uri}"))).await;
        let folder = uri.strip_suffix("index.m3u8").unwrap();
        let mut file = Vec::new();
        let map = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\"")?.strip_suffix('"'));
        if let Some(map) = map {
            file.extend(get(&origin, &house.path(&format!("/{folder}{map}"))).await.1);
        }
        for (number, segment) in hls::segments(&playlist) {
            let (response, bytes) = get(&origin, &house.path(&format!("/{folder}{segment}"))).await;
            assert_eq!(response.status(), StatusCode::OK, "{segment}");
            assert!(header(response.headers(), "cache-control").contains("immutable"));
            linter.measured(uri, number, bytes.len() as u64);
            file.extend(bytes);
        }
        if let Some(track) = tracks.iter().find(|track| folder == format!("{}/", track.row.name)) {
            assert_eq!(file, track.file, "the segments together are the track file");
        }
        findings.extend(linter.observe(&see(uri, &playlist)));
    }
    let iframes = text(&origin, &house.path("/v720/iframes.m3u8")).await;
    findings.extend(linter.observe(&see("v720/iframes.m3u8", &iframes)));
    findings.extend(linter.finish());
    let mpd = text(&origin, &house.path("/manifest.mpd")).await;
    findings.extend(dash::lint(&mpd));
    assert!(findings.is_empty(), "{findings:#?}");
    assert!(mpd.contains("<BaseURL>s0.vtt</BaseURL>") && mpd.contains("value=\"5x5\""));
}

#[tokio::test]
async fn text_tracks_posters_and_storyboards() {
    let (house, _) = published().await;
    let origin = house.origin();
    let check = async |rest: &str, media_type: &str, want: &[u8]| {
        let (response, bytes) = get(&origin, &house.path(rest)).await;
        assert_eq!((response.status(), &bytes[..]), (StatusCode::OK, want), "{rest}");
        assert_eq!(header(response.headers(), "content-type"), media_type);
        assert_eq!(header(response.headers(), "cache-control"), "public, max-age=10");
    };
    check("/s0.vtt", "text/vtt; charset=utf-8", VTT.as_bytes()).await;
    check("/poster.jpg", "image/jpeg", b"a poster").await;
    check("/storyboard-0.jpg", "image/jpeg", b"a sheet").await;
    let cues = text(&origin, &house.path("/storyboard.vtt")).await;
    assert!(cues.ends_with("00:00:04.000 --> 00:00:05.000\nstoryboard-0.jpg#xywh=320,0,160,90\n"), "{cues}");
    let playlist = text(&origin, &house.path("/s0/index.m3u8")).await;
    let segment = playlist.lines().find(|line| line.ends_with(".vtt")).unwrap();
    let segment = text(&origin, &house.path(&format!("/s0/{segment}"))).await;
    assert!(segment.starts_with("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n"), "{segment}");
    for none in ["/storyboard-1.jpg", "/s1.vtt", "/v720.vtt", "/s0/iframes.m3u8", "/v999/index.m3u8", "/nothing"] {
        let (response, _) = get(&origin, &house.path(none)).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{none}");
        assert_eq!(header(response.headers(), "cache-control"), "no-store");
    }
}

#[tokio::test]
async fn the_movie_is_one_file_whatever_range_is_asked_for() {
    let (house, tracks) = published().await;
    let origin = house.origin();
    let movie = packager::vod::progressive(&tracks[0].index, Some(&tracks[2].index)).unwrap();
    let mut whole = movie.head.to_vec();
    let mut edges = vec![0, whole.len() as u64];
    for (track, piece) in &movie.pieces {
        let file = if *track == 0 { &tracks[0].file } else { &tracks[2].file };
        whole.extend_from_slice(&file[piece.start as usize..piece.end as usize]);
        edges.push(whole.len() as u64);
    }
    let path = house.path(".mp4");
    let (response, bytes) = get(&origin, &path).await;
    assert_eq!((response.status(), bytes), (StatusCode::OK, Bytes::from(whole.clone())));
    assert_eq!(header(response.headers(), "content-length"), whole.len().to_string());
    let near = edges.iter().flat_map(|&edge| [edge.saturating_sub(1), edge, edge + 1]);
    for start in near.filter(|start| *start < whole.len() as u64) {
        for last in [start, start + 1, start + 70_000, whole.len() as u64 - 1] {
            let range = format!("bytes={start}-{last}");
            let (response, bytes) = ask(&origin, Method::GET, &path, &[("range", &range)]).await;
            let last = last.min(whole.len() as u64 - 1);
            assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
            let told = header(response.headers(), "content-range");
            assert_eq!(told, format!("bytes {start}-{last}/{}", whole.len()));
            assert!(bytes == whole[start as usize..=last as usize], "{range}");
        }
    }
    let (response, _) = ask(&origin, Method::GET, &path, &[("range", &format!("bytes={}-", whole.len()))]).await;
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header(response.headers(), "content-range"), format!("bytes */{}", whole.len()));
}

#[tokio::test]
async fn the_movie_of_a_rendition_and_its_download() {
    let (house, tracks) = published().await;
    let origin = house.origin();
    let sized = |index: &TrackIndex, audio| packager::vod::progressive(index, audio).unwrap().bytes.to_string();
    let check = async |query: &str, media_type: &str, bytes: String| {
        let (response, body) = ask(&origin, Method::HEAD, &house.path(&format!(".mp4{query}")), &[]).await;
        assert_eq!((response.status(), body.len()), (StatusCode::OK, 0), "{query}");
        assert_eq!(header(response.headers(), "content-length"), bytes);
        assert_eq!(header(response.headers(), "content-type"), media_type);
        header(response.headers(), "content-disposition").to_owned()
    };
    let sound = Some(&tracks[2].index);
    assert_eq!(check("", "video/mp4", sized(&tracks[0].index, sound)).await, "");
    assert_eq!(check("?rendition=v360", "video/mp4", sized(&tracks[1].index, sound)).await, "");
    let download = check("?rendition=a0&download=1", "audio/mp4", sized(&tracks[2].index, None)).await;
    assert_eq!(download, "attachment; filename=\"A film.mp4\"; filename*=UTF-8''A%20film.mp4");
    let (response, _) = get(&origin, &house.path(".mp4?rendition=s0")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(Origin::key_query(), ["rendition", "download"]);
}

#[tokio::test]
async fn conditions() {
    let (house, _) = published().await;
    let origin = house.origin();
    for rest in ["/index.m3u8", "/manifest.mpd", "/v720/index.m3u8", ".mp4", "/poster.jpg"] {
        let path = house.path(rest);
        let (response, _) = ask(&origin, Method::HEAD, &path, &[]).await;
        let etag = header(response.headers(), "etag").to_owned();
        assert!(etag.starts_with('"') && etag.len() > 8, "{rest}: {etag}");
        for tags in [&etag, "*", &format!("\"x\", W/{etag}")] {
            let (response, body) = ask(&origin, Method::GET, &path, &[("if-none-match", tags)]).await;
            assert_eq!((response.status(), body.len()), (StatusCode::NOT_MODIFIED, 0), "{rest} {tags}");
            assert_eq!(header(response.headers(), "etag"), etag);
        }
        let (response, _) = ask(&origin, Method::GET, &path, &[("if-none-match", "\"x\"")]).await;
        assert_eq!(response.status(), StatusCode::OK);
        for (tag, status) in [(&etag[..], StatusCode::PARTIAL_CONTENT), ("\"x\"", StatusCode::OK)] {
            let (response, _) = ask(&origin, Method::GET, &path, &[("if-range", tag), ("range", "bytes=0-0")]).await;
            assert_eq!(response.status(), status, "{rest} {tag}");
        }
    }
    let (response, _) = ask(&origin, Method::POST, &house.path("/index.m3u8"), &[]).await;
    assert_eq!((response.status(), header(response.headers(), "allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD"));
}

#[tokio::test]
async fn an_asset_without_renditions_says_when_to_ask_again() {
    for state in [AssetState::Uploading, AssetState::Preparing] {
        let house = House::new(state, 1).await;
        for rest in ["/index.m3u8", "/manifest.mpd", ".mp4", "/v720/index.m3u8", "/poster.jpg", "/storyboard.vtt"] {
            let (response, body) = get(&house.origin(), &house.path(rest)).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{rest}");
            assert_eq!(header(response.headers(), "retry-after"), "5");
            assert_eq!(header(response.headers(), "content-type"), "application/problem+json");
            let problem: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], "not_ready");
            assert!(problem["hint"].as_str().unwrap().starts_with("not ready"));
        }
    }
}

#[tokio::test]
async fn unknown_and_deleted_assets_are_not_found() {
    let (house, _) = published().await;
    let (response, _) = get(&house.origin(), &format!("/vod/{}/index.m3u8", AssetId::new())).await;
    assert_eq!((response.status(), header(response.headers(), "retry-after")), (StatusCode::NOT_FOUND, ""));
    let origin = house.origin();
    text(&origin, &house.path("/index.m3u8")).await;
    assert!(house.catalogue.delete_asset(&house.asset).await.unwrap());
    let (response, _) = get(&house.origin(), &house.path("/index.m3u8")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    // An origin that looked a moment ago forgets it within a second or so.
    eventually(async || get(&origin, &house.path("/index.m3u8")).await.0.status() == StatusCode::NOT_FOUND).await;
}

/// Asks until it holds.
async fn eventually(holds: impl AsyncFn() -> bool) {
    let asked = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.expect("it never held");
}

#[tokio::test]
async fn playlists_grow_with_the_renditions_and_old_segments_keep_their_bytes() {
    let house = House::new(AssetState::Preparing, 3).await;
    let origin = house.origin();
    let low = house.track("v360", &Samples::video_360p(), "stp-1").await;
    let sound = house.track("a0", &Samples::audio_48k(), "stp-2").await;
    house.publish(vec![low.row.clone(), sound.row.clone()], AssetPatch::default()).await;
    let (response, body) = get(&origin, &house.path("/index.m3u8")).await;
    let first = String::from_utf8(body.to_vec()).unwrap();
    assert!(first.contains("v360/index.m3u8") && !first.contains("v720"));
    assert_eq!(header(response.headers(), "cache-control"), "public, max-age=2", "more comes");

    let high = house.track("v720", &Samples::video_720p(), "stp-3").await;
    house.publish(vec![high.row.clone()], AssetPatch::default()).await;
    eventually(async || text(&origin, &house.path("/index.m3u8")).await.contains("v720/index.m3u8")).await;

    // Made again: another object, another token. The one before is answered no more, and never with other bytes.
    let before = text(&origin, &house.path("/v720/index.m3u8")).await;
    let again = house.track("v720", &Samples::video_720p().seed(7), "stp-4").await;
    house.publish(vec![again.row.clone()], AssetPatch::default()).await;
    let after = text(&house.origin(), &house.path("/v720/index.m3u8")).await;
    let uri = |playlist: &str| hls::segments(playlist)[0].1.clone();
    assert_ne!(uri(&before), uri(&after));
    // An origin that has not looked since finds what the newer playlist names.
    let (response, bytes) = get(&origin, &house.path(&format!("/v720/{}", uri(&after)))).await;
    let range = again.index.segment(0).unwrap();
    assert_eq!(
        (response.status(), bytes),
        (StatusCode::OK, again.file.slice(range.start as usize..range.end as usize))
    );
    let (response, _) = get(&house.origin(), &house.path(&format!("/v720/{}", uri(&before)))).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let (response, _) = get(&house.origin(), &house.path("/index.m3u8")).await;
    assert_eq!(header(response.headers(), "cache-control"), "public, max-age=10", "the job is done");
}

#[tokio::test]
async fn a_broken_index_is_a_problem_and_a_short_object_an_error() {
    let house = House::new(AssetState::Preparing, 1).await;
    let good = house.track("v360", &Samples::video_360p(), "stp-1").await;
    let junk = house.put("stp-2/index.json", Bytes::from_static(b"{\"version\":1}")).await;
    let short = house.put("stp-2/short.mp4", good.file.slice(..good.file.len() - 9)).await;
    let rows = vec![
        Rendition { index: junk, ..house.row("v1", MediaKind::Video, "assets/x".into()) },
        Rendition { object: short, name: "v2".into(), ..good.row.clone() },
    ];
    house.publish(rows, AssetPatch::default()).await;
    let origin = house.origin();
    let (response, _) = get(&origin, &house.path("/v1/index.m3u8")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let playlist = text(&origin, &house.path("/v2/index.m3u8")).await;
    let last = hls::segments(&playlist).last().unwrap().1.clone();
    for path in [house.path(&format!("/v2/{last}")), house.path(".mp4?rendition=v2")] {
        let request = Request::get(path).body(()).unwrap();
        let answer = origin.answer(request).await;
        assert!(answer.into_body().collect().await.is_err(), "a body that ends early is no whole one");
    }
}

#[tokio::test]
async fn many_viewers_at_once_read_each_index_once_or_so() {
    let (house, _) = published().await;
    let origin = house.origin();
    let path = house.path("/index.m3u8");
    let viewers = (0..200).map(|_| text(&origin, &path));
    let texts = futures_util::future::join_all(viewers).await;
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]));
}
