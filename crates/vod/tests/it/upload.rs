//! Uploads: tus 1.0.0, one request, forms; and what must not happen.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::body::Body;
use base::Wall;
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{
    Asset, AssetId, AssetState, Catalogue, JobId, Key, NewJob, NewStep, Objects, Options, Principal, RecipeRef, Scope,
    UploadState,
};
use testkit::FakeClock;
use vod::{
    Config,
    upload::{JobError, JobSource, UPLOAD_PART_BYTES, Uploads},
};

/// A manager that knows two recipes and remembers what it was asked for.
#[derive(Default)]
struct Jobs {
    asked: Mutex<Vec<Asset>>,
}

impl JobSource for Jobs {
    fn recipe<'a>(&'a self, name: Option<&'a str>) -> BoxFuture<'a, Result<Option<RecipeRef>, JobError>> {
        let name = name.unwrap_or("default");
        let known = ["default", "fast"].contains(&name);
        Box::pin(async move { Ok(known.then(|| RecipeRef { name: name.to_owned(), version: 1 })) })
    }

    fn job<'a>(&'a self, asset: &'a Asset) -> BoxFuture<'a, Result<NewJob, JobError>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asset.clone());
        let step = NewStep {
            name: "probe".into(),
            kind: "probe".into(),
            rendition: None,
            cap: "analyse".into(),
            class: 0,
            weight: 1.0,
            spec: json!({}),
            attempts_max: 3,
            after: Vec::new(),
        };
        let recipe = asset.recipe.clone();
        Box::pin(
            async move { Ok(NewJob { id: JobId::new(), recipe, priority: 0, context: json!({}), steps: vec![step] }) },
        )
    }
}

/// A platform with uploads, and who asks it.
struct Place {
    uploads: Uploads,
    catalogue: Catalogue,
    objects: Objects,
    jobs: Arc<Jobs>,
    clock: FakeClock,
    principal: Principal,
}

fn writer(tenant: Option<&str>) -> Principal {
    Principal { name: "test".into(), scopes: vec![Scope::Write], tenant: tenant.map(str::to_owned) }
}

impl Place {
    async fn new() -> Self {
        Self::with(Objects::memory(), |_| {}).await
    }

    async fn limited(change: impl Fn(&mut Config)) -> Self {
        Self::with(Objects::memory(), change).await
    }

    async fn with(objects: Objects, change: impl Fn(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let clock = FakeClock::at(Wall::from_unix_ms(1_795_165_200_000));
        let options = Options { clock: Some(Arc::new(clock.clone())), ..Options::default() };
        let catalogue = Catalogue::open("sqlite::memory:", options).await.expect("a catalogue");
        let jobs = Arc::new(Jobs::default());
        let uploads = Uploads::new(catalogue.clone(), objects.clone(), jobs.clone(), &config);
        Self { uploads, catalogue, objects, jobs, clock, principal: writer(None) }
    }

    /// The same rows and objects served by another process.
    fn replica(&self) -> Self {
        Self {
            uploads: Uploads::new(self.catalogue.clone(), self.objects.clone(), self.jobs.clone(), &Config::default()),
            catalogue: self.catalogue.clone(),
            objects: self.objects.clone(),
            jobs: self.jobs.clone(),
            clock: self.clock.clone(),
            principal: self.principal.clone(),
        }
    }

    /// The same platform asked by another.
    fn asked_by(&self, principal: Principal) -> Self {
        Self { principal, uploads: self.uploads.clone(), ..self.replica() }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body).expect("a request");
        request.extensions_mut().insert(self.principal.clone());
        Answer::of(self.uploads.answer(request).await).await
    }

    /// A request of tus.
    async fn tus(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let headers: Vec<_> = [("tus-resumable", "1.0.0")].into_iter().chain(headers.iter().copied()).collect();
        self.send(method, path, &headers, body.into()).await
    }

    /// A new upload of `bytes`; its path.
    async fn create(&self, bytes: usize, metadata: &[(&str, &str)]) -> String {
        let created = self
            .tus("POST", UPLOADS, &[("upload-length", &bytes.to_string()), ("upload-metadata", &encoded(metadata))], "")
            .await;
        assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
        created.location(UPLOADS)
    }

    async fn patch(&self, path: &str, offset: usize, body: impl Into<Body>) -> Answer {
        self.tus("PATCH", path, &[OFFSET_STREAM, ("upload-offset", &offset.to_string())], body).await
    }

    /// Where the upload is, by HEAD.
    async fn offset(&self, path: &str) -> usize {
        let head = self.tus("HEAD", path, &[], "").await;
        assert_eq!(head.status, StatusCode::OK, "{head:?}");
        head.header("upload-offset").parse().expect("a number")
    }

    async fn asset(&self, id: &str) -> Asset {
        let id: AssetId = id.parse().expect("an asset's id");
        self.catalogue.asset(&id).await.expect("asked").expect("there")
    }

    /// The asset is preparing, has a job, and its bytes are `expected`.
    async fn holds(&self, asset: &str, expected: &[u8]) {
        let asset = self.asset(asset).await;
        assert_eq!(asset.state, AssetState::Preparing, "{asset:?}");
        assert_eq!(asset.source.bytes, Some(expected.len() as u64));
        let blob = asset.source.blob.expect("bytes");
        let stored: Vec<Bytes> =
            self.objects.blob_stream(&blob, 0..u64::MAX).try_collect().await.expect("read to the end");
        assert!(stored.concat() == expected, "the bytes are the ones that were sent");
        if let Some(sha256) = asset.source.sha256 {
            assert_eq!(sha256, hash(expected));
        }
        let filter = store::JobFilter { asset: Some(asset.id), ..Default::default() };
        assert_eq!(self.catalogue.jobs(&filter, None, 10).await.expect("asked").rows.len(), 1, "one job");
    }

    async fn objects_left(&self) -> usize {
        self.objects.list(&Key::new("uploads").expect("a key")).await.expect("listed").len()
    }
}

const UPLOADS: &str = "/api/v1/uploads";
const OFFSET_STREAM: (&str, &str) = ("content-type", "application/offset+octet-stream");

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: BTreeMap<String, String>,
    body: Value,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let text = |value: &HeaderValue| value.to_str().expect("ASCII").to_owned();
        let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let body = body.collect().await.expect("a body").to_bytes();
        Self { status: parts.status, headers, body: serde_json::from_slice(&body).unwrap_or_default() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{name} in {self:?}"))
    }

    /// The path that `Location` names, seen from `base`.
    fn location(&self, base: &str) -> String {
        let base = url::Url::parse("http://host").and_then(|url| url.join(base)).expect("a URL");
        base.join(self.header("location")).expect("a relative URL").path().to_owned()
    }

    /// The refusal's code; it has all that RFC 9457 and people want.
    fn refused(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        for member in ["type", "title", "detail", "hint", "code"] {
            assert!(self.body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {self:?}");
        }
        self.body["code"].as_str().unwrap_or_default()
    }
}

fn encoded(metadata: &[(&str, &str)]) -> String {
    let pairs: Vec<_> =
        metadata.iter().map(|(key, text)| format!("{key} {}", BASE64.encode(text.as_bytes()))).collect();
    pairs.join(",")
}

fn hash(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

fn file(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i / 253) as u8 ^ (i % 253) as u8).collect()
}

/// A body that breaks off behind `bytes`.
fn broken(bytes: &[u8]) -> Body {
    let pieces: Vec<_> = bytes.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let end = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Body::from_stream(stream::iter(pieces).chain(stream::iter([Err(end)])))
}

#[tokio::test]
async fn a_file_comes_in_pieces_and_becomes_an_asset() {
    let place = Place::new().await;
    let file = file(2 * UPLOAD_PART_BYTES + 1_234);
    let about =
        [("filename", "../Müller's clip.mov"), ("title", "A clip"), ("recipe", "fast"), ("metadata", "{\"n\":1}")];
    let path = place.create(file.len(), &about).await;

    let asset = place.tus("HEAD", &path, &[], "").await.header("headwater-asset").to_owned();
    let before = place.asset(&asset).await;
    assert_eq!((before.state, before.title.as_str()), (AssetState::Uploading, "A clip"));
    assert_eq!((before.source.file_name.as_str(), before.recipe.name.as_str()), ("Müller's clip.mov", "fast"));
    assert_eq!((before.metadata, before.tenant.as_str()), (json!({"n": 1}), "default"));

    let half = UPLOAD_PART_BYTES + 7;
    let answer = place.patch(&path, 0, file[..half].to_vec()).await;
    assert_eq!((answer.status, answer.header("upload-offset")), (StatusCode::NO_CONTENT, half.to_string().as_str()));
    assert_eq!(answer.header("upload-expires"), "Mon, 23 Nov 2026 09:00:00 GMT");
    assert_eq!(place.offset(&path).await, half);
    let answer = place.patch(&path, half, file[half..].to_vec()).await;
    assert_eq!((answer.status, answer.header("headwater-asset")), (StatusCode::NO_CONTENT, asset.as_str()));
    assert_eq!(place.offset(&path).await, file.len());
    place.holds(&asset, &file).await;
    assert_eq!(place.asset(&asset).await.source.sha256, Some(hash(&file)), "hashed on the way");
    let head = place.tus("HEAD", &path, &[], "").await;
    assert_eq!(head.header("upload-length"), file.len().to_string());
    assert!(!head.headers.contains_key("upload-expires"), "what is complete does not expire");
    assert!(head.header("upload-metadata").contains(&format!("title {}", BASE64.encode(b"A clip"))));
}

#[tokio::test]
async fn the_server_says_what_it_can() {
    let place = Place::limited(|config| config.upload_bytes_max = 1_000).await;
    let request = Request::builder().method("OPTIONS").uri(UPLOADS).body(Body::empty()).expect("a request");
    let answer = Answer::of(place.uploads.answer(request).await).await;
    assert_eq!((answer.status, answer.header("tus-resumable")), (StatusCode::NO_CONTENT, "1.0.0"));
    assert_eq!((answer.header("tus-version"), answer.header("tus-max-size")), ("1.0.0", "1000"));
    for extension in ["creation", "expiration", "checksum", "termination", "concatenation", "creation-with-upload"] {
        assert!(answer.header("tus-extension").split(',').any(|known| known == extension), "{extension}");
    }
    let old = place.send("POST", UPLOADS, &[("tus-resumable", "0.2.2")], Body::empty()).await;
    assert_eq!((old.refused(412), old.header("tus-version")), ("tus_version", "1.0.0"));
    assert_eq!(place.tus("PUT", UPLOADS, &[], "").await.refused(405), "method_not_allowed");
}

#[tokio::test]
async fn bytes_at_another_offset_are_refused_with_the_right_one() {
    let place = Place::new().await;
    let path = place.create(10, &[]).await;
    let answer = place.patch(&path, 3, "abc").await;
    assert_eq!((answer.refused(409), answer.header("upload-offset")), ("wrong_offset", "0"));
    assert_eq!(place.patch(&path, 0, "abc").await.status, StatusCode::NO_CONTENT);
    assert_eq!(place.patch(&path, 0, "abc").await.refused(409), "wrong_offset");
    assert_eq!(place.tus("PATCH", &path, &[OFFSET_STREAM], "abc").await.refused(400), "invalid_header");
    let typed = [("content-type", "text/plain"), ("upload-offset", "3")];
    assert_eq!(place.tus("PATCH", &path, &typed, "abc").await.refused(415), "wrong_content_type");
    assert_eq!(place.offset(&path).await, 3);
}

#[tokio::test]
async fn a_broken_body_keeps_what_came_and_goes_on_in_another_process() {
    let place = Place::new().await;
    let file = file(3 * UPLOAD_PART_BYTES);
    let path = place.create(file.len(), &[("sha256", &hash(&file))]).await;
    let came = UPLOAD_PART_BYTES + 500_000;
    let answer = place.patch(&path, 0, broken(&file[..came])).await;
    assert_eq!((answer.refused(408), answer.header("upload-offset")), ("body_broken", came.to_string().as_str()));

    let replica = place.replica();
    assert_eq!(replica.offset(&path).await, came, "in mid-part");
    assert_eq!(replica.patch(&path, came, broken(&file[came..came + 1])).await.refused(408), "body_broken");
    let answer = replica.patch(&path, came + 1, file[came + 1..].to_vec()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    let asset = answer.header("headwater-asset").to_owned();
    place.holds(&asset, &file).await;
    assert_eq!(place.asset(&asset).await.source.sha256, Some(hash(&file)), "compared by reading it again");
}

#[tokio::test]
async fn of_two_who_send_at_once_one_wins() {
    let place = Arc::new(Place::new().await);
    let file = file(UPLOAD_PART_BYTES + 10);
    let path = place.create(file.len(), &[]).await;
    let start = Arc::new(tokio::sync::Barrier::new(4));
    let senders = (0..4).map(|n| {
        let (place, start, path, file) = (place.clone(), start.clone(), path.clone(), file.clone());
        let replica = if n % 2 == 0 { place.replica() } else { place.asked_by(writer(None)) };
        tokio::spawn(async move {
            start.wait().await;
            replica.patch(&path, 0, file).await
        })
    });
    let answers = futures_util::future::join_all(senders).await;
    let statuses: Vec<u16> = answers.into_iter().map(|answer| answer.expect("no panic").status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 3, "{statuses:?}");
    let asset = place.tus("HEAD", &path, &[], "").await.header("headwater-asset").to_owned();
    place.holds(&asset, &file).await;
    assert_eq!(place.objects_left().await, 2, "the losers' objects are deleted");
}

#[tokio::test]
async fn checksums_guard_every_request() {
    let place = Place::new().await;
    let file = file(UPLOAD_PART_BYTES + 100);
    let path = place.create(file.len(), &[]).await;
    let right = format!("sha256 {}", BASE64.encode(&Sha256::digest(&file)));
    let wrong = format!("sha256 {}", BASE64.encode(&[0; 32]));
    let send = async |checksum: &str, body: Body| {
        place.tus("PATCH", &path, &[OFFSET_STREAM, ("upload-offset", "0"), ("upload-checksum", checksum)], body).await
    };
    assert_eq!(send(&wrong, file.clone().into()).await.refused(460), "checksum_mismatch");
    assert_eq!((place.offset(&path).await, place.objects_left().await), (0, 0), "nothing was stored");
    assert_eq!(send(&right, broken(&file[..UPLOAD_PART_BYTES + 1])).await.refused(408), "body_broken");
    assert_eq!((place.offset(&path).await, place.objects_left().await), (0, 0), "half of it proves nothing");
    assert_eq!(send("md5 1B2M2Y8AsgTpgAmY7PhCfg==", file.clone().into()).await.refused(400), "invalid_header");
    let answer = send(&right, file.clone().into()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    place.holds(answer.header("headwater-asset"), &file).await;
    assert_eq!(place.asset(answer.header("headwater-asset")).await.source.sha256, Some(hash(&file)));

    let path = place.create(11, &[]).await;
    let sha1 = [OFFSET_STREAM, ("upload-offset", "0"), ("upload-checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=")];
    assert_eq!(place.tus("PATCH", &path, &sha1, "hello world").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_file_that_is_another_one_is_refused_at_its_end() {
    let place = Place::new().await;
    let check = async |other_process: bool| {
        let path = place.create(6, &[("sha256", &hash(b"other!"))]).await;
        assert_eq!(place.patch(&path, 0, "abc").await.status, StatusCode::NO_CONTENT);
        let last = if other_process { place.replica() } else { place.asked_by(writer(None)) };
        let head = place.tus("HEAD", &path, &[], "").await;
        assert_eq!(last.patch(&path, 3, "def").await.refused(460), "hash_mismatch");
        let asset = place.asset(head.header("headwater-asset")).await;
        let error = asset.error.expect("a reason");
        assert_eq!((asset.state, error.code.as_str()), (AssetState::Errored, "hash_mismatch"));
        assert!(error.human.contains(&hash(b"abcdef")) && error.human.contains(&hash(b"other!")), "{error:?}");
        assert_eq!(place.tus("HEAD", &path, &[], "").await.refused(410), "gone");
    };
    check(false).await;
    check(true).await;
    assert_eq!(place.uploads.expire().await.expect("run"), 2);
    assert_eq!(place.objects_left().await, 0, "the bytes are gone");
}

#[tokio::test]
async fn too_much_is_refused_with_what_to_do() {
    let place = Place::limited(|config| config.upload_bytes_max = 100).await;
    let create = async |length: &str| place.tus("POST", UPLOADS, &[("upload-length", length)], "").await;
    assert_eq!(create("101").await.refused(413), "too_large");
    assert_eq!(create("0").await.refused(400), "empty_file");
    for wrong in ["-1", "1e9", "99999999999999999999", ""] {
        assert_eq!(create(wrong).await.refused(400), "invalid_header", "{wrong}");
    }
    assert_eq!(place.tus("POST", UPLOADS, &[], "").await.refused(400), "invalid_header");
    let both = [("upload-length", "1"), ("upload-defer-length", "1")];
    assert_eq!(place.tus("POST", UPLOADS, &both, "").await.refused(400), "invalid_header");

    let path = place.create(10, &[]).await;
    let announced = [OFFSET_STREAM, ("upload-offset", "0"), ("content-length", "11")];
    assert_eq!(place.tus("PATCH", &path, &announced, "12345678901").await.refused(413), "beyond_length");
    assert_eq!(place.patch(&path, 0, "12345678901").await.refused(413), "beyond_length", "chunked, too");
    assert_eq!(place.offset(&path).await, 0);

    let deferred = place.tus("POST", UPLOADS, &[("upload-defer-length", "1")], "").await.location(UPLOADS);
    assert_eq!(place.patch(&deferred, 0, vec![0; 101]).await.refused(413), "too_large");
    let long = [OFFSET_STREAM, ("upload-offset", "0"), ("upload-length", "101")];
    assert_eq!(place.tus("PATCH", &deferred, &long, "1").await.refused(413), "too_large");
    assert_eq!(place.send("PUT", "/api/v1/assets/a.mp4", &[], vec![0; 101].into()).await.refused(413), "too_large");
    assert_eq!(place.uploads.expire().await.expect("run"), 1, "what is left of the PUT");
}

#[tokio::test]
async fn quotas_are_held_per_tenant() {
    let place = Place::limited(|config| {
        (config.uploads_open_max, config.assets_max, config.bytes_max) = (2, 3, 1_000);
    })
    .await;
    let create = async |place: &Place, length: &str| place.tus("POST", UPLOADS, &[("upload-length", length)], "").await;
    let other = place.asked_by(writer(Some("other")));
    assert_eq!(create(&place, "1001").await.refused(403), "bytes_max");
    let first = create(&place, "600").await.location(UPLOADS);
    assert_eq!(create(&place, "401").await.refused(403), "bytes_max");
    assert_eq!(create(&place, "1").await.status, StatusCode::CREATED);
    let refused = create(&place, "1").await;
    assert_eq!((refused.refused(429), refused.header("retry-after")), ("uploads_open_max", "60"));
    assert_eq!(create(&other, "900").await.status, StatusCode::CREATED, "the other has its own");
    assert_eq!(place.patch(&first, 0, vec![0; 600]).await.status, StatusCode::NO_CONTENT);
    assert_eq!(create(&place, "1").await.status, StatusCode::CREATED);
    assert_eq!(place.send("PUT", "/api/v1/assets/a", &[], "a".into()).await.refused(429), "uploads_open_max");
    let open = place.catalogue.uploads(None, Some(UploadState::Open), 10).await.expect("asked");
    let own = open.iter().find(|upload| upload.tenant == "default").expect("one is open");
    assert_eq!(place.patch(&format!("{UPLOADS}/{}", own.id), 0, "a").await.status, StatusCode::NO_CONTENT);
    assert_eq!(create(&place, "1").await.refused(403), "assets_max");
}

#[tokio::test]
async fn uploads_of_others_look_absent_and_nobody_is_refused() {
    let place = Place::new().await;
    let mine = place.asked_by(writer(Some("mine")));
    let theirs = place.asked_by(writer(Some("theirs")));
    let path = mine.create(3, &[]).await;
    for method in ["HEAD", "DELETE"] {
        assert_eq!(theirs.tus(method, &path, &[], "").await.refused(404), "not_found");
    }
    assert_eq!(theirs.patch(&path, 0, "abc").await.refused(404), "not_found");
    let head = place.tus("HEAD", &path, &[], "").await;
    assert_eq!(head.status, StatusCode::OK, "who sees every tenant sees it");
    assert_eq!(place.asset(head.header("headwater-asset")).await.tenant, "mine");
    let forged = [("upload-length", "1"), ("upload-metadata", &*encoded(&[("tenant", "theirs")]))];
    assert_eq!(mine.tus("POST", UPLOADS, &forged, "").await.refused(403), "forbidden");

    let reader = place.asked_by(Principal { scopes: vec![Scope::Read], ..writer(Some("mine")) });
    assert_eq!(reader.tus("HEAD", &path, &[], "").await.status, StatusCode::OK);
    assert_eq!(reader.patch(&path, 0, "abc").await.refused(403), "forbidden");
    let worker = place.asked_by(Principal { scopes: vec![Scope::Worker], ..writer(None) });
    assert_eq!(worker.tus("HEAD", &path, &[], "").await.refused(403), "forbidden");
    let nobody = Request::builder().uri(&path).method("HEAD").body(Body::empty()).expect("a request");
    assert_eq!(Answer::of(place.uploads.answer(nobody).await).await.refused(401), "unauthorized");
    for id in ["upl_1", "../../etc/passwd", "upl_00000000000000000000000000", "%00"] {
        assert_eq!(mine.tus("HEAD", &format!("{UPLOADS}/{id}"), &[], "").await.refused(404), "not_found", "{id}");
    }
}

#[tokio::test]
async fn creation_brings_bytes_or_a_length_later() {
    let place = Place::new().await;
    let with_bytes = [("upload-length", "6"), OFFSET_STREAM, ("content-length", "3")];
    let answer = place.tus("POST", UPLOADS, &with_bytes, "abc").await;
    assert_eq!((answer.status, answer.header("upload-offset")), (StatusCode::CREATED, "3"));
    let path = answer.location(UPLOADS);
    let answer = place.patch(&path, 3, "def").await;
    place.holds(answer.header("headwater-asset"), b"abcdef").await;

    let whole = [("upload-length", "3"), OFFSET_STREAM, ("content-length", "3")];
    let answer = place.tus("POST", &format!("{UPLOADS}/"), &whole, "abc").await;
    assert!(answer.location(&format!("{UPLOADS}/")).starts_with("/api/v1/uploads/upl_"), "{answer:?}");
    place.holds(answer.header("headwater-asset"), b"abc").await;
    let wrong = [("upload-length", "3"), ("content-type", "text/plain"), ("content-length", "3")];
    assert_eq!(place.tus("POST", UPLOADS, &wrong, "abc").await.refused(415), "wrong_content_type");

    let path = place.tus("POST", UPLOADS, &[("upload-defer-length", "1")], "").await.location(UPLOADS);
    assert_eq!(place.patch(&path, 0, "abc").await.status, StatusCode::NO_CONTENT);
    let head = place.tus("HEAD", &path, &[], "").await;
    assert_eq!((head.header("upload-defer-length"), head.header("upload-offset")), ("1", "3"));
    let length = |bytes: &'static str| [OFFSET_STREAM, ("upload-offset", "3"), ("upload-length", bytes)];
    assert_eq!(place.tus("PATCH", &path, &length("2"), "").await.refused(400), "invalid_header");
    let answer = place.tus("PATCH", &path, &length("5"), "de").await;
    place.holds(answer.header("headwater-asset"), b"abcde").await;
}

#[tokio::test]
async fn parts_are_put_together_without_copying() {
    let place = Place::new().await;
    let part = async |bytes: &'static str| {
        let length = bytes.len().to_string();
        let headers = [("upload-length", length.as_str()), ("upload-concat", "partial")];
        let path = place.tus("POST", UPLOADS, &headers, "").await.location(UPLOADS);
        let answer = place.patch(&path, 0, bytes).await;
        assert!(!answer.headers.contains_key("headwater-asset"), "a part is no asset");
        path
    };
    let (first, second) = (part("abc").await, part("defg").await);
    assert_eq!(place.tus("HEAD", &first, &[], "").await.header("upload-concat"), "partial");
    let open =
        place.tus("POST", UPLOADS, &[("upload-length", "2"), ("upload-concat", "partial")], "").await.location(UPLOADS);

    let join = async |urls: &str| {
        let concat = format!("final;{urls}");
        let metadata = encoded(&[("filename", "whole.mp4"), ("sha256", &hash(b"abcdefg"))]);
        place.tus("POST", UPLOADS, &[("upload-concat", &concat), ("upload-metadata", &metadata)], "").await
    };
    assert_eq!(join(&format!("{first} {open}")).await.refused(409), "part_unfinished");
    assert_eq!(join(&format!("{first} /api/v1/uploads/upl_1")).await.refused(400), "unknown_part");
    let whole = place.create(1, &[]).await;
    assert_eq!(join(&format!("{first} {whole}")).await.refused(400), "unknown_part");

    let answer = join(&format!("http://host{first} {second}")).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    place.holds(answer.header("headwater-asset"), b"abcdefg").await;
    let path = answer.location(UPLOADS);
    let head = place.tus("HEAD", &path, &[], "").await;
    assert!(head.header("upload-concat").starts_with("final;upl_"), "{head:?}");
    assert_eq!((head.header("upload-length"), head.header("upload-offset")), ("7", "7"));
    assert_eq!(place.patch(&path, 7, "h").await.refused(403), "final_upload");

    place.clock.advance(Duration::from_millis(Config::default().upload_expire_ms + 1));
    assert_eq!(place.uploads.expire().await.expect("run"), 4, "the parts, and what was never finished");
    place.holds(answer.header("headwater-asset"), b"abcdefg").await;
}

#[tokio::test]
async fn what_is_not_finished_in_time_is_removed_and_what_only_lacks_its_job_is_not() {
    let place = Place::new().await;
    let expire_ms = Config::default().upload_expire_ms;
    let path = place.create(10, &[]).await;
    let head = place.tus("HEAD", &path, &[], "").await;
    assert_eq!(place.patch(&path, 0, "abc").await.status, StatusCode::NO_CONTENT);
    place.clock.advance(Duration::from_millis(expire_ms - 1));
    assert_eq!(place.patch(&path, 3, "def").await.status, StatusCode::NO_CONTENT, "bytes keep it alive");
    place.clock.advance(Duration::from_millis(expire_ms - 1));
    assert_eq!(place.uploads.expire().await.expect("run"), 0);
    assert_eq!(place.offset(&path).await, 6);
    place.clock.advance(Duration::from_millis(1));
    assert_eq!(place.uploads.expire().await.expect("run"), 1);
    assert_eq!(place.tus("HEAD", &path, &[], "").await.refused(404), "not_found");
    assert_eq!(place.objects_left().await, 0);
    let asset: AssetId = head.header("headwater-asset").parse().expect("an id");
    assert_eq!(place.catalogue.asset(&asset).await.expect("asked"), None, "an asset without bytes goes with it");

    // A process died between the last byte and the job.
    let path = place.create(3, &[]).await;
    let id = path.rsplit('/').next().expect("an id").parse().expect("an id");
    let key = format!("uploads/{id}/00000000-0000000000000000");
    place.objects.put(&Key::new(&key).expect("a key"), vec!["abc".into()]).await.expect("stored");
    let part = store::BlobPart { key, bytes: 3 };
    let now = place.catalogue.now().await.expect("a time");
    place.catalogue.append_upload(&id, 0, &part, now).await.expect("appended");
    place.clock.advance(Duration::from_millis(expire_ms));
    assert_eq!(place.uploads.expire().await.expect("run"), 1);
    let head = place.tus("HEAD", &path, &[], "").await;
    place.holds(head.header("headwater-asset"), b"abc").await;
}

#[tokio::test]
async fn a_client_ends_what_it_began() {
    let place = Place::new().await;
    let path = place.create(10, &[]).await;
    let head = place.tus("HEAD", &path, &[], "").await;
    place.patch(&path, 0, "abc").await;
    let overridden = [("x-http-method-override", "DELETE")];
    assert_eq!(place.tus("POST", &path, &overridden, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(place.tus("HEAD", &path, &[], "").await.refused(410), "gone");
    assert_eq!(place.patch(&path, 3, "def").await.refused(410), "gone");
    assert_eq!(place.tus("DELETE", &path, &[], "").await.refused(410), "gone");
    assert_eq!(place.uploads.expire().await.expect("run"), 1);
    assert_eq!(place.objects_left().await, 0);
    let asset: AssetId = head.header("headwater-asset").parse().expect("an id");
    assert_eq!(place.catalogue.asset(&asset).await.expect("asked"), None);

    let path = place.create(3, &[]).await;
    let patched = [OFFSET_STREAM, ("upload-offset", "0"), ("x-http-method-override", "PATCH")];
    let answer = place.tus("POST", &path, &patched, "abc").await;
    place.holds(answer.header("headwater-asset"), b"abc").await;
    assert_eq!(place.tus("DELETE", &path, &[], "").await.refused(403), "upload_complete");
    place.holds(answer.header("headwater-asset"), b"abc").await;
    let odd = [("x-http-method-override", "TRACE")];
    assert_eq!(place.tus("POST", &path, &odd, "").await.refused(400), "invalid_header");
}

#[tokio::test]
async fn what_a_client_says_is_checked_before_any_byte() {
    let place = Place::new().await;
    let check = async |metadata: &str, code: &str| {
        let answer = place.tus("POST", UPLOADS, &[("upload-length", "3"), ("upload-metadata", metadata)], "").await;
        assert_eq!(answer.refused(400), code, "{metadata}");
    };
    check("filename ***", "invalid_header").await;
    check(&encoded(&[("recipe", "no such")]), "unknown_recipe").await;
    check(&encoded(&[("sha256", "abc")]), "invalid_sha256").await;
    check(&encoded(&[("metadata", "[1]")]), "invalid_metadata").await;
    check(&encoded(&[("metadata", "{")]), "invalid_metadata").await;
    check(&encoded(&[("title", &"a".repeat(501))]), "invalid_title").await;
    check(&encoded(&[("title", "two\nlines")]), "invalid_title").await;
    check(&encoded(&[("tenant", "a/b")]), "invalid_tenant").await;
    assert_eq!(place.catalogue.usage("default").await.expect("asked").assets, 0, "no rows of what was refused");

    let names = ["..\\..\\windows\\clip.mp4", "/etc/clip.mp4", "clip.mp4\u{0}", "\u{202e}clip.mp4"];
    for name in names {
        let path = place.create(3, &[("filename", name)]).await;
        let asset = place.tus("HEAD", &path, &[], "").await.header("headwater-asset").to_owned();
        assert_eq!(place.asset(&asset).await.source.file_name, "clip.mp4", "{name:?}");
    }
}

#[tokio::test]
async fn a_file_comes_in_one_request() {
    let place = Place::new().await;
    let file = file(UPLOAD_PART_BYTES + 5);
    let put = async |path: &str, body: Body| place.send("PUT", path, &[], body).await;
    let path = format!("/api/v1/assets/my%20film.mp4?title=A+film&recipe=fast&sha256={}", hash(&file));
    let answer = put(&path, file.clone().into()).await;
    assert_eq!(
        (answer.status, &answer.body["title"], &answer.body["state"]),
        (StatusCode::CREATED, &json!("A film"), &json!("preparing"))
    );
    let id = answer.body["id"].as_str().expect("an id").to_owned();
    assert_eq!(answer.location("/api/v1/assets/my%20film.mp4"), format!("/api/v1/assets/{id}"));
    place.holds(&id, &file).await;
    assert_eq!(place.asset(&id).await.source.file_name, "my film.mp4");

    assert_eq!(put("/api/v1/assets/a.mp4", Body::empty()).await.refused(400), "empty_file");
    assert_eq!(put("/api/v1/assets/a.mp4", broken(&file)).await.refused(408), "body_broken");
    assert_eq!(put("/api/v1/assets/a.mp4", broken(&[])).await.refused(408), "body_broken");
    let short = place.send("PUT", "/api/v1/assets/a.mp4", &[("content-length", "9")], "abc".into()).await;
    assert_eq!(short.refused(408), "body_broken");
    let wrong = format!("/api/v1/assets/a.mp4?sha256={}", hash(b"other"));
    assert_eq!(put(&wrong, "abc".into()).await.refused(460), "hash_mismatch");
    assert_eq!(place.uploads.expire().await.expect("run"), 4);
    assert_eq!(place.objects_left().await, 2, "the objects of the one that came whole");
}

#[tokio::test]
async fn a_file_comes_in_a_form() {
    let place = Place::new().await;
    let field =
        |name: &str, text: &str| format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
    let file = |name: &str, text: &str| {
        format!(
            "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: video/mp4\r\n\r\n{text}\r\n"
        )
    };
    let post = async |parts: &[String]| {
        let kind = [("content-type", "multipart/form-data; boundary=X")];
        place.send("POST", "/api/v1/assets", &kind, format!("{}--X--\r\n", parts.concat()).into()).await
    };
    let answer =
        post(&[field("title", "Büro"), field("recipe", "fast"), file("../a.mp4", "abc"), field("submit", "1")]).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let id = answer.body["id"].as_str().expect("an id").to_owned();
    assert_eq!(answer.location("/api/v1/assets"), format!("/api/v1/assets/{id}"));
    place.holds(&id, b"abc").await;
    let asset = place.asset(&id).await;
    assert_eq!((asset.title.as_str(), asset.source.file_name.as_str()), ("Büro", "a.mp4"));

    assert_eq!(post(&[field("title", "no file")]).await.refused(400), "no_file");
    assert_eq!(post(&[file("a.mp4", "")]).await.refused(400), "empty_file");
    assert_eq!(post(&[file("a.mp4", "abc"), field("title", "late")]).await.refused(400), "late_field");
    assert_eq!(post(&[file("a.mp4", "abc"), file("b.mp4", "def")]).await.refused(400), "second_file");
    assert_eq!(post(&[field("title", &"a".repeat(70_000))]).await.refused(400), "invalid_form");
    let kind = [("content-type", "multipart/form-data")];
    assert_eq!(place.send("POST", "/api/v1/assets", &kind, "abc".into()).await.refused(400), "invalid_form");
    let cut = format!("{}--X\r\n", file("a.mp4", "abc"));
    let kind = [("content-type", "multipart/form-data; boundary=X")];
    let cut = place.send("POST", "/api/v1/assets", &kind, cut[..cut.len() - 10].to_owned().into()).await;
    assert_eq!(cut.refused(408), "body_broken");
    place.uploads.expire().await.expect("run");
    assert_eq!(place.objects_left().await, 1);
}

#[tokio::test]
async fn as_many_as_may_come_in_at_once() {
    let place = Arc::new(Place::limited(|config| config.uploads_receiving_max = 1).await);
    let (first, second) = (place.create(6, &[]).await, place.create(3, &[]).await);
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body =
        Body::from_stream(stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }));
    let slow = tokio::spawn({
        let (place, first) = (place.clone(), first.clone());
        async move { place.patch(&first, 0, body).await }
    });
    sender.send(Ok("abc".into())).await.expect("taken");
    sender.send(Ok("de".into())).await.expect("the first is being received");
    let refused = place.patch(&second, 0, "abc").await;
    assert_eq!((refused.refused(503), refused.header("retry-after")), ("uploads_busy", "2"));
    sender.send(Ok("f".into())).await.expect("taken");
    drop(sender);
    assert_eq!(slow.await.expect("no panic").status, StatusCode::NO_CONTENT);
    assert_eq!(place.patch(&second, 0, "abc").await.status, StatusCode::NO_CONTENT);
}

/// A connection that stays open but sends nothing any more is a broken one.
#[tokio::test]
async fn a_silent_client_loses_nothing_that_came() {
    let place = Place::new().await;
    let path = place.create(6, &[]).await;
    tokio::time::pause();
    let body = Body::from_stream(stream::iter([Ok::<_, std::io::Error>(Bytes::from("abc"))]).chain(stream::pending()));
    assert_eq!(place.patch(&path, 0, body).await.refused(408), "body_broken");
    tokio::time::resume();
    assert_eq!(place.offset(&path).await, 3);
}

/// The whole handler is dropped with its connection; the bytes stay.
#[tokio::test]
async fn a_client_that_hangs_up_keeps_its_bytes() {
    let place = Arc::new(Place::new().await);
    let path = place.create(6, &[]).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body =
        Body::from_stream(stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }));
    let request = tokio::spawn({
        let (place, path) = (place.clone(), path.clone());
        async move { place.patch(&path, 0, body).await }
    });
    sender.send(Ok("abc".into())).await.expect("taken");
    sender.send(Ok("d".into())).await.expect("the first is being received");
    request.abort();
    assert!(request.await.expect_err("dropped").is_cancelled());
    let _ = sender.send(Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))).await;
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    while place.offset(&path).await != 4 {
        assert!(tokio::time::Instant::now() < until, "not stored within ten seconds");
        tokio::task::yield_now().await;
    }
}

/// The storage goes away in mid-upload and comes back.
#[tokio::test]
async fn an_upload_outlives_its_storage() {
    let mut s3 = testkit::S3::start();
    let objects = Objects::s3(&store::S3Settings {
        endpoint: s3.url(),
        bucket: testkit::S3::BUCKET.into(),
        region: "us-east-1".into(),
        access_key_id: testkit::S3::ACCESS_KEY_ID.into(),
        secret: base::Secret::new(testkit::S3::SECRET),
        prefix: String::new(),
    })
    .expect("a store");
    let place = Arc::new(Place::with(objects, |_| {}).await);
    let file = file(2 * UPLOAD_PART_BYTES);
    let path = place.create(file.len(), &[]).await;
    assert_eq!(place.patch(&path, 0, file[..1_000].to_vec()).await.status, StatusCode::NO_CONTENT);
    s3.stop();
    let sending = tokio::spawn({
        let (place, path, rest) = (place.clone(), path.clone(), file[1_000..].to_vec());
        async move { place.patch(&path, 1_000, rest).await }
    });
    tokio::task::yield_now().await;
    s3.restart();
    let answer = sending.await.expect("no panic");
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    place.holds(answer.header("headwater-asset"), &file).await;
}

#[tokio::test]
async fn a_disk_keeps_every_acknowledged_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::with(Objects::local(folder.path()).expect("a store"), |_| {}).await;
    let file = file(UPLOAD_PART_BYTES + 77);
    let path = place.create(file.len(), &[]).await;
    for (begin, end) in [(0, 10), (10, UPLOAD_PART_BYTES), (UPLOAD_PART_BYTES, file.len())] {
        assert_eq!(place.patch(&path, begin, file[begin..end].to_vec()).await.status, StatusCode::NO_CONTENT);
    }
    let head = place.tus("HEAD", &path, &[], "").await;
    place.holds(head.header("headwater-asset"), &file).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a client sends as headers, it gets an answer, and never one that blames the server.
    #[test]
    fn no_header_value_breaks_the_server(
        method in prop::sample::select(vec!["POST", "PATCH", "HEAD", "DELETE", "PUT", "OPTIONS", "GET"]),
        headers in prop::collection::vec((
            prop::sample::select(vec![
                "upload-length", "upload-offset", "upload-metadata", "upload-checksum", "upload-concat", "upload-defer-length",
                "content-type", "content-length", "x-http-method-override",
            ]),
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "[a-z0-9 ,;=/+]{0,40}".prop_map(String::into_bytes),
                "(partial|final;.*|1|[0-9]{1,20}|sha1 .*|multipart/form-data.*|application/offset\\+octet-stream|PATCH)"
                    .prop_map(String::into_bytes),
            ],
        ), 0..6),
        body in prop::collection::vec(any::<u8>(), 0..50),
        known in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let place = Place::new().await;
            let path = if known { place.create(20, &[]).await } else { UPLOADS.to_owned() };
            let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).expect("a method")).uri(path);
            for (name, value) in headers {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    request = request.header(name, value);
                }
            }
            let mut request = request.header("tus-resumable", "1.0.0").body(Body::from(body)).expect("a request");
            request.extensions_mut().insert(writer(None));
            let answer = place.uploads.answer(request).await;
            assert!(!answer.status().is_server_error(), "{answer:?}");
        });
    }
}
