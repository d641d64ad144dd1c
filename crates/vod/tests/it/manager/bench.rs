//! A manager in memory, and a worker whose steps are made up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::body::Body;
use base::Wall;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use packager::vod::{SegmentRule, TrackIndex, TrackWriter};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{
    Key, Objects,
    catalogue::{
        Asset, AssetId, AssetState, Catalogue, Job, JobId, JobState, NewStep, Options, Principal, RecipeRef, Scope,
        Step, StepId, StepState, WorkerId,
    },
};
use testkit::{FakeClock, Samples};
use tower::ServiceExt;
use transcode::vod::{Analysis, Chunk, Encoded, Probe, RungChoice};
use vod::{
    Config, Manager, ManagerSettings, Recipe,
    manager::NewAsset,
    plan::{self, Limits, View},
    protocol::{
        Claim, Complete, EncodeJob, Leased, ObjectRef, Output, Register, Registered, RenditionSummary, Spec, cap,
    },
};

use crate::plan as samples;

/// Time at which tests begin.
pub const BEGIN: Wall = Wall::from_unix_ms(1_800_000_000_000);

/// The steps that a completed analysis adds, planned as the manager does.
pub fn analysed(recipe: &Recipe, probe: &Probe, analysis: Analysis, per_title: Vec<RungChoice>) -> Vec<NewStep> {
    let asset = asset(probe);
    let job = job(&asset);
    let step = step("analyse", &job);
    let limits = Limits::default();
    let view = View { job: &job, asset: &asset, recipe, limits: &limits, steps: &[], renditions: &[], now: BEGIN };
    plan::after(&view, &step, &Output::Analysed { analysis, per_title }).expect("an accepted analysis").steps
}

fn asset(probe: &Probe) -> Asset {
    Asset {
        id: AssetId::new(),
        tenant: "default".into(),
        title: "A".into(),
        state: AssetState::Preparing,
        recipe: RecipeRef { name: "default".into(), version: 1 },
        source: samples::source(),
        media: Some(serde_json::to_value(probe).unwrap()),
        duration_ms: None,
        poster: None,
        storyboard: None,
        revision: 1,
        error: None,
        metadata: json!({}),
        created: BEGIN,
        updated: BEGIN,
    }
}

fn job(asset: &Asset) -> Job {
    Job {
        id: JobId::new(),
        asset: asset.id.clone(),
        tenant: asset.tenant.clone(),
        state: JobState::Running,
        recipe: asset.recipe.clone(),
        priority: 0,
        context: json!({}),
        error: None,
        created: BEGIN,
        updated: BEGIN,
        finished: None,
    }
}

fn step(name: &str, job: &Job) -> Step {
    Step {
        id: StepId::new(),
        job: job.id.clone(),
        asset: job.asset.clone(),
        tenant: job.tenant.clone(),
        name: name.into(),
        kind: name.into(),
        rendition: None,
        cap: "analyse".into(),
        class: 0,
        weight: 1.0,
        spec: json!({ "kind": name }),
        state: StepState::Leased,
        attempt: 1,
        attempts_max: 5,
        token: 1,
        worker: None,
        lease_until: None,
        progress: None,
        moved: None,
        output: None,
        error: None,
        ready_at: BEGIN,
        created: BEGIN,
        started: None,
        finished: None,
    }
}

/// A manager in memory.
pub struct Bench {
    pub manager: Manager,
    pub catalogue: Catalogue,
    pub objects: Objects,
    pub clock: Arc<FakeClock>,
}

/// A worker of the bench.
pub struct Hand<'a> {
    pub bench: &'a Bench,
    pub id: WorkerId,
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        let clock = Arc::new(FakeClock::at(BEGIN));
        let options = Options { clock: Some(clock.clone()), ..Options::default() };
        let catalogue = Catalogue::open("sqlite::memory:", options).await.unwrap();
        let objects = Objects::memory();
        let settings = ManagerSettings { catalogue: catalogue.clone(), objects: objects.clone(), config };
        Self { manager: Manager::new(settings), catalogue, objects, clock }
    }

    /// Stores a source and starts a job on it.
    pub async fn upload(&self, recipe: &str) -> (Asset, JobId) {
        let source = samples::source();
        for part in &source.blob.as_ref().unwrap().parts {
            self.objects
                .put(&Key::new(&part.key).unwrap(), vec![Bytes::from(vec![7; part.bytes as usize])])
                .await
                .unwrap();
        }
        let new = NewAsset {
            tenant: "default".into(),
            title: String::new(),
            recipe: Some(recipe.into()),
            metadata: json!({ "mine": 1 }),
        };
        self.manager.start_asset(source, new).await.unwrap()
    }

    /// A worker with everything.
    pub async fn hand(&self, name: &str) -> Hand<'_> {
        let register = Register {
            name: name.into(),
            caps: cap::ALL.map(str::to_owned).to_vec(),
            version: "1".into(),
            cores: 2,
            memory_bytes: 1 << 30,
            disk_free_bytes: 1 << 40,
            encoders: vec!["libx264".into()],
        };
        let registered: Registered = read(self.post("register", &register).await).await;
        assert_eq!(registered.heartbeat_ms * 3, registered.lease_ms);
        Hand { bench: self, id: registered.worker }
    }

    pub async fn post(&self, path: &str, body: &impl Serialize) -> Response<Body> {
        self.send(Method::POST, path, &[], serde_json::to_vec(body).unwrap().into()).await
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Response<Body> {
        self.send_as(&[Scope::Worker], method, path, headers, body).await
    }

    pub async fn send_as(
        &self,
        scopes: &[Scope],
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(format!("/api/v1/worker/{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(Principal { name: "t".into(), scopes: scopes.to_vec(), tenant: None });
        self.manager.worker_service().oneshot(request).await.unwrap()
    }

    pub async fn job(&self, job: &JobId) -> Job {
        self.catalogue.job(job).await.unwrap().unwrap()
    }

    pub async fn asset(&self, asset: &AssetId) -> Asset {
        self.catalogue.asset(asset).await.unwrap().unwrap()
    }

    pub async fn steps(&self, job: &JobId) -> BTreeMap<String, Step> {
        self.catalogue.steps(job).await.unwrap().into_iter().map(|step| (step.name.clone(), step)).collect()
    }

    pub fn advance_ms(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }
}

impl Hand<'_> {
    pub fn claiming(&self, wait_ms: u64) -> Claim {
        let caps = cap::ALL.map(str::to_owned).to_vec();
        Claim { worker: self.id.clone(), caps, disk_free_bytes: 1 << 40, wait_ms }
    }

    /// A step, if there is one now.
    pub async fn claim(&self) -> Option<Leased> {
        let answer = self.bench.post("claim", &self.claiming(0)).await;
        if answer.status() == StatusCode::NO_CONTENT { None } else { Some(read(answer).await) }
    }

    /// The step of this name, the ones before it done on the way.
    pub async fn until(&self, name: &str) -> Leased {
        loop {
            let leased = self.claim().await.unwrap_or_else(|| panic!("no step {name} came"));
            if leased.name == name {
                return leased;
            }
            self.finish(&leased).await;
        }
    }

    /// Does all there is; the names in the order of the claims.
    pub async fn all(&self) -> Vec<String> {
        let mut done = Vec::new();
        while let Some(leased) = self.claim().await {
            self.finish(&leased).await;
            done.push(leased.name);
        }
        done
    }

    pub async fn finish(&self, leased: &Leased) {
        let output = self.made(leased).await;
        let answer = self.complete(leased, output).await;
        let (status, body) = (answer.status(), text(answer).await);
        assert_eq!(status, StatusCode::NO_CONTENT, "{}: {body}", leased.name);
    }

    pub async fn complete(&self, leased: &Leased, output: Output) -> Response<Body> {
        let body = Complete { token: leased.token, output };
        self.bench.post(&format!("steps/{}/complete", leased.step), &body).await
    }

    pub async fn put(&self, leased: &Leased, name: &str, bytes: impl Into<Bytes>) -> ObjectRef {
        let answer = self.try_put(leased, name, bytes).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{name}");
        read(answer).await
    }

    pub async fn try_put(&self, leased: &Leased, name: &str, bytes: impl Into<Bytes>) -> Response<Body> {
        let bytes = bytes.into();
        let sha256 = HEXLOWER.encode(&Sha256::digest(&bytes));
        let path = format!("steps/{}/objects/{name}?token={}", leased.step, leased.token);
        self.bench.send(Method::PUT, &path, &[("content-sha256", &sha256)], bytes.into()).await
    }

    /// What an honest worker would answer.
    pub async fn made(&self, leased: &Leased) -> Output {
        match &leased.spec {
            Spec::Fetch { .. } => {
                let part = self.put(leased, "part-0", "the film").await;
                let sha256 = part.sha256.clone();
                Output::Fetched { file_name: "a.mp4".into(), bytes: part.bytes, parts: vec![part], sha256 }
            }
            Spec::Probe { .. } => Output::Probed { probe: film(), sha256: None },
            Spec::Analyse { .. } => {
                let mut analysis = samples::analysis(20_000);
                analysis.keyframe_interval_ms_max = 20_000;
                Output::Analysed { analysis, per_title: Vec::new() }
            }
            Spec::Encode { job } => {
                let object = self.put(leased, "track.mp4", format!("{} {}", leased.name, leased.token)).await;
                let encoded = encoded(job, object.bytes);
                Output::Encoded { object, encoded }
            }
            Spec::Stitch { .. } => Output::Stitched { bad: Vec::new(), frames: frames(leased) },
            Spec::Package { rendition, .. } => self.packaged(leased, rendition).await,
            Spec::Validate { expected_frames, expected_ms, .. } => {
                let quality = Some(transcode::vod::Quality { ssim: 0.98, vmaf: Some(93.0) });
                Output::Validated { frames: *expected_frames, duration_ms: *expected_ms, quality }
            }
            Spec::Thumbnails { .. } => {
                Output::Thumbnails { images: vec![self.put(leased, "0.jpg", &b"\xff\xd8\xff\xe0jpeg"[..]).await] }
            }
            Spec::Storyboard { spec } => Output::Storyboard(vod::protocol::Storyboard {
                sheets: vec![self.put(leased, "0.jpg", &b"\xff\xd8\xff\xe0jpeg"[..]).await],
                interval_ms: spec.interval_ms,
                columns: spec.columns,
                rows: spec.rows,
                width: 160,
                height: 90,
                count: 12,
            }),
            Spec::Subtitles { .. } => {
                let media = self.put(leased, "text.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\nYes.\n").await;
                Output::Subtitles { media, duration_ms: 2_000, cues: 1 }
            }
            Spec::Transfer { objects, .. } => Output::Transferred {
                files: objects.len() as u64,
                bytes: objects.iter().map(|file| file.object.bytes).sum(),
                location: "file:///archive/a".into(),
            },
            Spec::Notify { .. } | Spec::CleanUp {} => Output::Done {},
        }
    }

    async fn packaged(&self, leased: &Leased, rendition: &str) -> Output {
        let (file, index) = track_file(rendition);
        let media = self.put(leased, "media.mp4", file).await;
        let stored = self.put(leased, "index.json", serde_json::to_vec(&index).unwrap()).await;
        Output::Packaged { media, index: stored, summary: summary(&index) }
    }
}

pub fn film() -> Probe {
    let mut video = samples::video(1280, 720);
    video.video.as_mut().unwrap().frame_rate = Some((25, 1));
    samples::probe(vec![video, samples::sound(1, "mp3", 2, Some("eng"))])
}

pub fn frames(leased: &Leased) -> u64 {
    let frames = leased.inputs.iter().map(|(_, output)| match output {
        Output::Encoded { encoded, .. } => encoded.frames,
        _ => 0,
    });
    frames.sum()
}

pub fn encoded(job: &EncodeJob, bytes: u64) -> Encoded {
    let whole = |frames| Chunk {
        index: 0,
        start_pts: 0,
        end_pts: 5_400_000,
        frames,
        digest: "whole".into(),
        shot: false,
        keyframes: Vec::new(),
    };
    let chunk = match job {
        EncodeJob::Video(encode) => encode.chunk.clone().unwrap_or_else(|| whole(1_500)),
        EncodeJob::Audio(_) | EncodeJob::Copy { .. } => whole(sound_frames()),
    };
    Encoded {
        frames: chunk.frames,
        first_pts: chunk.start_pts,
        end_pts: chunk.end_pts,
        digest: chunk.digest.clone(),
        source_frames: chunk.frames,
        source_digest: chunk.digest,
        damaged: 0,
        bytes,
        kbps_mean: 100,
        ssim: None,
        vmaf: None,
        cpu_ms: 10,
    }
}

fn sound_frames() -> u64 {
    track_file("a0").1.sample_count() as u64
}

/// A minute of pictures or sound.
pub fn track_file(rendition: &str) -> (Vec<u8>, TrackIndex) {
    let samples =
        if rendition.starts_with('v') { Samples::video_360p().frame_rate(25, 1) } else { Samples::audio_48k() };
    let samples = samples.sizes(20, 10);
    let mut writer = TrackWriter::new(samples.track(), SegmentRule { target_ms: 4_000 });
    let mut file: Vec<u8> = Vec::new();
    for sample in samples.until_ms(60_000) {
        file.extend(writer.push(sample).unwrap().concat());
    }
    let (rest, index) = writer.finish().unwrap();
    file.extend(rest.concat());
    (file, index)
}

pub fn summary(index: &TrackIndex) -> RenditionSummary {
    RenditionSummary {
        codecs: index.codecs.clone(),
        width: index.width,
        height: index.height,
        bandwidth: index.bandwidth,
        average_bandwidth: index.average_bandwidth,
        duration_ms: index.duration_ms(),
        samples: index.sample_count() as u64,
        segments: index.segments.len() as u64,
    }
}

pub async fn text(answer: Response<Body>) -> String {
    String::from_utf8_lossy(&answer.into_body().collect().await.unwrap().to_bytes()).into_owned()
}

pub async fn read<T: DeserializeOwned>(answer: Response<Body>) -> T {
    let status = answer.status();
    let body = text(answer).await;
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{status} {body}: {error}"))
}

/// The code of a refusal.
pub async fn code(answer: Response<Body>) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = read(answer).await;
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}
