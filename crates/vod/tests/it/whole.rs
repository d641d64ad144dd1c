//! From stored bytes to pictures on a screen: catalogue, objects, manager, worker and origin in one process, speaking HTTP on loopback.

use std::{convert::Infallible, net::SocketAddr, path::Path, process::Command, time::Duration};

use axum::{Extension, Router, body::Body, extract::Request};
use http::StatusCode;
use serde_json::json;
use store::{
    Catalogue, Key, Objects,
    catalogue::{
        Asset, AssetState, Blob, BlobPart, Job, JobFilter, JobId, JobState, LeaseRules, MediaKind, Options, Principal,
        Scope, Source,
    },
};
use tokio_util::sync::CancellationToken;
use vod::{
    Manager, ManagerSettings,
    manager::NewAsset,
    origin::Origin,
    worker::{Config, Stats, Worker, WorkerSettings},
};

/// Longest that a clip of seconds may take on a machine that does other things, in seconds.
const DEADLINE_S: u64 = 240;

/// Manager, origin and worker on one catalogue.
struct Platform {
    catalogue: Catalogue,
    objects: Objects,
    manager: Manager,
    address: SocketAddr,
    stats: Stats,
    stop: CancellationToken,
    worker: tokio::task::JoinHandle<Result<(), vod::worker::Error>>,
    _scratch: tempfile::TempDir,
}

impl Platform {
    async fn start() -> Self {
        let options = Options { rules: LeaseRules::default(), ..Options::default() };
        let catalogue = Catalogue::open("sqlite::memory:", options).await.unwrap();
        let objects = Objects::memory();
        let config = vod::Config { private_addresses: true, ..vod::Config::default() };
        let settings = ManagerSettings { catalogue: catalogue.clone(), objects: objects.clone(), config };
        let manager = Manager::new(settings);
        let address = serve(&manager, Origin::new(catalogue.clone(), objects.clone())).await;
        let scratch = tempfile::tempdir().unwrap();
        let transcode = transcode::Config::default();
        let worker = Worker::new(WorkerSettings {
            server: format!("http://{address}").parse().unwrap(),
            token: base::Secret::new("sesame"),
            name: "node".into(),
            caps: vod::protocol::cap::ALL.map(String::from).to_vec(),
            scratch: scratch.path().to_owned(),
            capabilities: transcode::Capabilities::probe(&transcode).await,
            config: Config { slots: 2, disk_free_percent_min: 0, ..Config::default() },
        });
        let worker = worker.unwrap();
        let (stats, stop) = (worker.stats(), CancellationToken::new());
        let stopping = stop.clone();
        let worker = tokio::spawn(worker.run(async move { stopping.cancelled().await }));
        Self { catalogue, objects, manager, address, stats, stop, worker, _scratch: scratch }
    }

    /// Stores a file as an upload leaves it: in parts.
    async fn store(&self, file: &Path) -> Source {
        let bytes = std::fs::read(file).unwrap();
        let mut parts = Vec::new();
        for (number, piece) in bytes.chunks(100_000).enumerate() {
            let key = format!("uploads/u/{number:06}");
            self.objects.put(&Key::new(&key).unwrap(), vec![piece.to_vec().into()]).await.unwrap();
            parts.push(BlobPart { key, bytes: piece.len() as u64 });
        }
        let file_name = file.file_name().unwrap().to_string_lossy().into_owned();
        let (bytes, blob) = (Some(bytes.len() as u64), Some(Blob { parts }));
        Source { file_name, bytes, sha256: None, url: None, blob }
    }

    /// Waits until the asset's job is over.
    async fn ended(&self, asset: &Asset, job: &JobId) -> (Asset, Job) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(DEADLINE_S);
        loop {
            let found = self.catalogue.job(job).await.unwrap().unwrap();
            if matches!(found.state, JobState::Done | JobState::Failed | JobState::Cancelled) {
                return (self.catalogue.asset(&asset.id).await.unwrap().unwrap(), found);
            }
            let steps = self.catalogue.steps(job).await.unwrap();
            let stuck: Vec<_> = steps.iter().filter(|step| step.error.is_some()).map(|s| (&s.name, &s.error)).collect();
            assert!(tokio::time::Instant::now() < deadline, "{:?} {stuck:#?}", self.stats.now());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.address)).await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    async fn stop(self) {
        self.stop.cancel();
        self.worker.await.unwrap().unwrap();
    }
}

/// The worker protocol and the origin on one port; who asks is taken to be a worker, as `api` finds out.
async fn serve(manager: &Manager, origin: Origin) -> SocketAddr {
    let principal = Principal { name: "test".into(), scopes: vec![Scope::Worker], tenant: None };
    let origin = tower::service_fn(move |request: Request| {
        let origin = origin.clone();
        async move { Ok::<_, Infallible>(origin.answer(request).await.map(Body::new)) }
    });
    let router = Router::new()
        .merge(manager.worker_service().layer(Extension(principal)))
        .nest_service("/vod", tower::ServiceBuilder::new().map_request(whole_path).service(origin));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// `nest_service` strips the prefix, which the origin expects.
fn whole_path(mut request: Request) -> Request {
    let path = format!("/vod{}", request.uri().path_and_query().unwrap());
    *request.uri_mut() = path.parse().unwrap();
    request
}

fn ffmpeg(folder: &Path, args: &str) {
    let mut command = Command::new("ffmpeg");
    command.current_dir(folder).args(["-hide_banner", "-nostdin", "-loglevel", "error", "-y"]).args(args.split(' '));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Pictures and seconds of sound that FFmpeg decodes from a URL.
fn decoded(url: &str) -> (u64, f64) {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-count_frames",
            "-show_entries",
            "stream=codec_type,nb_read_frames,sample_rate",
            "-of",
            "json",
            url,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    let streams: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (mut pictures, mut seconds) = (0, 0.0);
    for stream in streams["streams"].as_array().unwrap() {
        let frames: u64 = stream["nb_read_frames"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        match stream["codec_type"].as_str() {
            Some("video") => pictures = frames.max(pictures),
            Some("audio") => {
                let rate: f64 = stream["sample_rate"].as_str().unwrap().parse().unwrap();
                seconds = frames as f64 * 1_024.0 / rate;
            }
            _ => {}
        }
    }
    (pictures, seconds)
}

fn new_asset() -> NewAsset {
    NewAsset { tenant: "default".into(), title: "A clip".into(), recipe: None, metadata: json!({}) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clip_becomes_an_asset_that_plays() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("talk.srt"), "1\n00:00:00,500 --> 00:00:02,000\nHello\n\n").unwrap();
    ffmpeg(
        folder.path(),
        "-f lavfi -i testsrc2=size=320x180:rate=25:duration=4 -f lavfi -i sine=frequency=440:duration=4 -i talk.srt \
         -map 0 -map 1 -map 2 -c:v mpeg4 -q:v 3 -g 50 -c:a aac -c:s srt -metadata:s:1 language=eng clip.mkv",
    );
    let platform = Platform::start().await;
    let source = platform.store(&folder.path().join("clip.mkv")).await;

    let (asset, job) = platform.manager.start_asset(source, new_asset()).await.unwrap();
    let (asset, job) = platform.ended(&asset, &job).await;

    let steps = platform.catalogue.steps(&job.id).await.unwrap();
    let failed: Vec<_> =
        steps.iter().filter(|step| step.error.is_some()).map(|step| (&step.name, &step.error)).collect();
    assert_eq!((job.state, asset.state), (JobState::Done, AssetState::Ready), "{failed:#?}");
    assert!(failed.is_empty(), "{failed:#?}");
    let renditions = platform.catalogue.renditions(&asset.id).await.unwrap();
    let count = |kind| renditions.iter().filter(|rendition| rendition.kind == kind).count();
    assert!(
        count(MediaKind::Video) >= 1 && count(MediaKind::Audio) == 1 && count(MediaKind::Subtitle) == 1,
        "{renditions:#?}"
    );
    assert!((asset.duration_ms.unwrap() - 4_000).abs() <= 100, "{:?}", asset.duration_ms);

    let (status, playlist) = platform.get(&format!("/vod/{}/index.m3u8", asset.id)).await;
    assert_eq!(status, StatusCode::OK);
    for rendition in &renditions {
        assert!(playlist.contains(&format!("{}/", rendition.name)), "{}: {playlist}", rendition.name);
    }
    let (pictures, seconds) = decoded(&format!("http://{}/vod/{}/index.m3u8", platform.address, asset.id));
    assert!(pictures == 100 && (seconds - 4.0).abs() < 0.2, "{pictures} pictures, {seconds} s of sound");
    // FFmpeg up to 5.1 ends its reading of an MPD with the text track's one segment.
    let (status, manifest) = platform.get(&format!("/vod/{}/manifest.mpd", asset.id)).await;
    assert!(status == StatusCode::OK && manifest.contains("text/vtt"), "{manifest}");
    let (pictures, seconds) = decoded(&format!("http://{}/vod/{}.mp4", platform.address, asset.id));
    assert!(pictures == 100 && (seconds - 4.0).abs() < 0.2, "{pictures} pictures, {seconds} s of sound");
    let text = renditions.iter().find(|rendition| rendition.kind == MediaKind::Subtitle).unwrap();
    let (_, vtt) = platform.get(&format!("/vod/{}/{}.vtt", asset.id, text.name)).await;
    // Zero is the container's: its sound may begin some milliseconds before its pictures, and the text keeps to these.
    assert!(vtt.contains("00:00:00.5") && vtt.contains(" --> 00:00:02.0"), "{vtt}");
    assert_eq!(platform.get(&format!("/vod/{}/poster.jpg", asset.id)).await.0, StatusCode::OK);
    assert_eq!(platform.get(&format!("/vod/{}/storyboard.vtt", asset.id)).await.0, StatusCode::OK);
    let left = platform.objects.list(&Key::new("work").unwrap()).await.unwrap();
    assert!(left.is_empty(), "intermediate objects: {left:?}");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_film_is_said_so_to_its_uploader() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter.mp4"), "Dear Sir or Madam, ".repeat(500)).unwrap();
    let platform = Platform::start().await;
    let source = platform.store(&folder.path().join("letter.mp4")).await;

    let (asset, job) = platform.manager.start_asset(source, new_asset()).await.unwrap();
    let (asset, job) = platform.ended(&asset, &job).await;

    assert_eq!((job.state, asset.state), (JobState::Failed, AssetState::Errored));
    let error = asset.error.unwrap();
    assert_eq!(error.class, store::catalogue::ErrorClass::Input, "{error:?}");
    assert!(error.human.ends_with('.') && error.worker.is_some(), "{error:?}");
    platform.stop().await;
}

/// The same film by address: fetched, hashed, and prepared from where the fetch stored it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_film_somewhere_else_is_fetched_and_plays() {
    let folder = tempfile::tempdir().unwrap();
    ffmpeg(
        folder.path(),
        "-f lavfi -i testsrc2=size=160x90:rate=25:duration=2 -c:v libx264 -preset ultrafast -g 25 -bf 2 -pix_fmt yuv420p clip.ts",
    );
    let bytes = std::fs::read(folder.path().join("clip.ts")).unwrap();
    let elsewhere = Router::new().fallback(move || {
        let bytes = bytes.clone();
        async move { bytes }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/films/clip.ts", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, elsewhere).await.unwrap() });
    let platform = Platform::start().await;

    let (asset, job) = platform.manager.create_from_url(&url, None, new_asset()).await.unwrap();
    let (asset, job) = platform.ended(&asset, &job).await;

    let steps = platform.catalogue.steps(&job.id).await.unwrap();
    let failed: Vec<_> =
        steps.iter().filter(|step| step.error.is_some()).map(|step| (&step.name, &step.error)).collect();
    assert_eq!((job.state, asset.state), (JobState::Done, AssetState::Ready), "{failed:#?}");
    assert_eq!(asset.source.file_name, "clip.ts");
    assert!(asset.source.sha256.is_some() && asset.source.blob.is_some());
    let (pictures, _) = decoded(&format!("http://{}/vod/{}/index.m3u8", platform.address, asset.id));
    assert_eq!(pictures, 50);
    let jobs =
        platform.catalogue.jobs(&JobFilter { asset: Some(asset.id.clone()), ..JobFilter::default() }, None, 10).await;
    assert_eq!(jobs.unwrap().rows.len(), 1);
    platform.stop().await;
}
