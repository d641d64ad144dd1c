//! One contract, every backend.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, future::join_all, stream};
use proptest::prelude::*;
use store::{Blob, BlobPart, ByteStream, Error, Expected, Key, Objects, PART_BYTES, PutNew, S3Settings};
use testkit::S3;

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

fn body(pieces: &[Bytes]) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    stream::iter(pieces.to_vec()).map(Ok)
}

/// As `body`, then the peer is gone.
fn broken(pieces: &[Bytes]) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    body(pieces).chain(stream::iter([Err(io::Error::from(io::ErrorKind::ConnectionReset))]))
}

/// Bytes that tell where they are from, in pieces of uneven size.
fn pieces(bytes: usize) -> Vec<Bytes> {
    let all: Bytes = (0..bytes).map(|i| (i / 251) as u8 ^ (i % 251) as u8).collect();
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < bytes {
        let end = bytes.min(at + 100_000 + at % 77_777);
        pieces.push(all.slice(at..end));
        at = end;
    }
    pieces
}

async fn collect(stream: ByteStream) -> Vec<u8> {
    let chunks: Vec<Bytes> = stream.try_collect().await.expect("read to its end");
    chunks.concat()
}

fn s3_settings(s3: &S3, prefix: &str) -> S3Settings {
    S3Settings {
        endpoint: s3.url(),
        bucket: S3::BUCKET.into(),
        region: "us-east-1".into(),
        access_key_id: S3::ACCESS_KEY_ID.into(),
        secret: base::Secret::new(S3::SECRET),
        prefix: prefix.into(),
    }
}

/// What every backend does.
async fn contract(objects: Objects) {
    whole_objects(&objects).await;
    create_if_absent(&objects).await;
    streams(&objects).await;
    interrupted_streams(&objects).await;
    ranges(&objects).await;
    blobs(&objects).await;
    objects.check().await.expect("conditional writes");
    for prefix in ["live", "new", "stream", "blob"] {
        objects.delete_prefix(&key(prefix)).await.expect("deleted");
    }
    assert!(objects.list(&key("check")).await.expect("listed").is_empty(), "a check leaves nothing");
}

async fn whole_objects(objects: &Objects) {
    let segment = key("live/a/b/1/v0/17.m4s");
    assert!(matches!(objects.get_range(&segment, 0..1).await, Err(Error::NotFound { .. })));
    assert_eq!(objects.head(&segment).await.expect("asked"), None);
    objects.delete(&segment).await.expect("deleting nothing is fine");

    objects.put(&segment, vec![Bytes::from_static(b"moof"), Bytes::from_static(b"mdat")]).await.expect("stored");
    assert_eq!(objects.get_range(&segment, 0..8).await.expect("there"), "moofmdat");
    assert_eq!(objects.get_range(&segment, 2..6).await.expect("there"), "ofmd");
    assert_eq!(objects.get_range(&segment, 6..100).await.expect("there"), "at", "the end cuts the range");
    let before = objects.head(&segment).await.expect("asked").expect("there");
    assert_eq!(before.bytes, 8);
    assert!(before.modified.unix_ms() > 1_700_000_000_000, "a time of this century: {}", before.modified);

    objects.put_volatile(&segment, vec![Bytes::from_static(b"new")]).await.expect("replaced");
    assert_eq!(objects.get_range(&segment, 0..3).await.expect("there"), "new");
    let after = objects.head(&segment).await.expect("asked").expect("there");
    assert!(after.etag.is_some() && after.etag != before.etag, "{after:?}");

    objects.put(&key("live/a/b/1/v0/18.m4s"), vec![Bytes::from_static(b"18")]).await.expect("stored");
    objects.put(&key("live/a/bb/1/v0/1.m4s"), vec![Bytes::from_static(b"other")]).await.expect("stored");
    let listed = objects.list(&key("live/a/b")).await.expect("listed");
    assert_eq!(listed, [(segment.clone(), 3), (key("live/a/b/1/v0/18.m4s"), 2)], "whole segments only");
    let metas: Vec<_> = objects.list_meta(&key("live")).try_collect().await.expect("listed");
    assert_eq!(metas.iter().map(|(_, meta)| meta.bytes).sum::<u64>(), 10);
    assert_eq!(objects.delete_prefix(&key("live/a/b")).await.expect("deleted"), 2);
    assert!(objects.list(&key("live/a/b")).await.expect("listed").is_empty());
    assert_eq!(objects.list(&key("live/a/bb")).await.expect("listed").len(), 1);
}

/// Small objects and objects of several parts: of writers at once exactly one wins, and it is its bytes that stay.
async fn create_if_absent(objects: &Objects) {
    const WRITERS: u8 = 8;
    let small = key("new/small");
    let writes = (0..WRITERS).map(|n| objects.put_new(&small, vec![Bytes::from(vec![n; 10])]));
    let won: Vec<_> = join_all(writes).await.into_iter().map(|won| won.expect("written")).collect();
    let winner = won.iter().position(|won| *won == PutNew::Stored).expect("one wins");
    assert_eq!(won.iter().filter(|won| **won == PutNew::Stored).count(), 1, "{won:?}");
    assert_eq!(objects.get_range(&small, 0..10).await.expect("there"), vec![winner as u8; 10]);

    let large = key("new/large");
    let bytes = PART_BYTES + 1;
    let writes = (0..3_u8).map(|n| {
        let body = vec![Bytes::from(vec![n; bytes])];
        let large = &large;
        async move { objects.put_new_stream(large, stream::iter(body.into_iter().map(io::Result::Ok)), None).await }
    });
    let won: Vec<_> = join_all(writes).await.into_iter().map(|won| won.expect("written")).collect();
    let winner = won.iter().position(|(won, _)| *won == PutNew::Stored).expect("one wins");
    assert_eq!(won.iter().filter(|(won, _)| *won == PutNew::Stored).count(), 1, "{won:?}");
    assert_eq!(objects.digest(&large).await.expect("read"), won[winner].1);
    let listed = objects.list(&key("new")).await.expect("listed");
    assert_eq!(listed, [(large, bytes as u64), (small, 10)], "nothing beside them");
}

async fn streams(objects: &Objects) {
    let check = async |bytes: usize| {
        let (key, pieces) = (key("stream/whole"), pieces(bytes));
        let stored = objects.put_stream(&key, body(&pieces), None).await.expect("stored");
        assert_eq!(stored.bytes, bytes as u64);
        assert_eq!(objects.digest(&key).await.expect("read"), stored, "{bytes}");
        let (size, read) = objects.get_stream(&key, None).await.expect("there");
        assert_eq!(size, bytes as u64);
        assert!(collect(read).await == pieces.concat(), "{bytes} bytes come back as they went");
        let expected = Expected { bytes: Some(stored.bytes), sha256: Some(stored.sha256.to_uppercase()) };
        assert_eq!(objects.put_stream(&key, body(&pieces), Some(expected)).await.expect("stored"), stored);
    };
    check(0).await;
    check(1).await;
    check(PART_BYTES).await;
    check(2 * PART_BYTES + 12_345).await;
}

async fn interrupted_streams(objects: &Objects) {
    let key = key("stream/broken");
    let absent = async || objects.head(&key).await.expect("asked").is_none();
    for bytes in [1_000, 3 * PART_BYTES] {
        let pieces = pieces(bytes);
        let error = objects.put_stream(&key, broken(&pieces), None).await.expect_err("the body broke");
        assert!(matches!(error, Error::Body { bytes: came, .. } if came == bytes as u64), "{error}");
        assert!(absent().await);
        let error = objects.put_new_stream(&key, broken(&pieces), None).await.expect_err("the body broke");
        assert!(matches!(error, Error::Body { .. }), "{error}");
        assert!(absent().await);

        let check = async |expected: Expected, what: &str| {
            let error = objects.put_stream(&key, body(&pieces), Some(expected)).await.expect_err("not as announced");
            assert!(matches!(&error, Error::Mismatch { what: got, .. } if *got == what), "{error}");
            assert!(absent().await);
        };
        check(Expected { bytes: Some(bytes as u64 - 1), sha256: None }, "size").await;
        check(Expected { bytes: Some(bytes as u64 + 1), sha256: None }, "size").await;
        check(Expected { bytes: None, sha256: Some("0".repeat(64)) }, "sha256").await;
    }
    objects.put(&key, vec![Bytes::from_static(b"before")]).await.expect("stored");
    objects.put_stream(&key, broken(&pieces(2 * PART_BYTES)), None).await.expect_err("the body broke");
    assert_eq!(objects.get_range(&key, 0..100).await.expect("there"), "before", "the object before stays");
}

async fn ranges(objects: &Objects) {
    let key = key("stream/ranges");
    objects.put(&key, vec![Bytes::from_static(b"0123456789")]).await.expect("stored");
    let check = async |range: std::ops::Range<u64>, expected: &str| {
        let (size, read) = objects.get_stream(&key, Some(range)).await.expect("there");
        assert_eq!((size, String::from_utf8(collect(read).await).expect("text")), (10, expected.to_owned()));
    };
    check(0..10, "0123456789").await;
    check(3..5, "34").await;
    check(9..u64::from(u32::MAX), "9").await;
    for range in [10..11, 100..200, 5..5] {
        let error = objects.get_stream(&key, Some(range.clone())).await.err().expect("no such bytes");
        assert!(matches!(error, Error::Range { .. }), "{range:?}: {error}");
    }
    let absent = objects.get_stream(&self::key("stream/absent"), Some(0..1)).await.err();
    assert!(matches!(absent, Some(Error::NotFound { .. })), "{absent:?}");
}

async fn blobs(objects: &Objects) {
    let mut blob = Blob::default();
    for (index, text) in ["abc", "d", "efgh"].into_iter().enumerate() {
        let key = key(&format!("blob/{index}"));
        objects.put(&key, vec![Bytes::from_static(text.as_bytes())]).await.expect("stored");
        blob.parts.push(BlobPart { key: key.to_string(), bytes: text.len() as u64 });
    }
    for begin in 0..9_usize {
        for end in begin..10_usize {
            let read = collect(objects.blob_stream(&blob, begin as u64..end as u64)).await;
            assert_eq!(read, &b"abcdefgh"[begin.min(8)..end.min(8)], "{begin}..{end}");
        }
    }
    blob.parts[1].bytes = 2;
    let error = objects.blob_stream(&blob, 0..9).try_collect::<Vec<_>>().await.expect_err("a part is too short");
    assert!(matches!(error, Error::Part { expected: 2, got: 1, .. }), "{error}");
    objects.delete(&key("blob/1")).await.expect("deleted");
    let error = objects.blob_stream(&blob, 0..9).try_collect::<Vec<_>>().await.expect_err("a part is gone");
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract(Objects::memory()).await;
}

#[tokio::test]
async fn the_local_disk_keeps_the_contract_and_leaves_no_folders() {
    let folder = tempfile::tempdir().expect("a folder");
    let objects = Objects::local(&folder.path().join("objects")).expect("a store");
    contract(objects.clone()).await;
    let left = std::fs::read_dir(folder.path().join("objects")).expect("the folder is there").count();
    assert_eq!(left, 0, "empty folders are taken away");
}

#[tokio::test]
async fn a_bucket_keeps_the_contract_and_no_unfinished_uploads() {
    let s3 = S3::start();
    contract(Objects::s3(&s3_settings(&s3, "")).expect("a store")).await;
    assert_eq!(s3.unfinished_uploads(), 0);
}

#[tokio::test]
async fn a_prefix_of_a_bucket_is_a_store_of_its_own() {
    let s3 = S3::start();
    let whole = Objects::s3(&s3_settings(&s3, "")).expect("a store");
    let part = Objects::s3(&s3_settings(&s3, "some/where")).expect("a store");
    part.put(&key("a/b"), vec![Bytes::from_static(b"1")]).await.expect("stored");
    assert_eq!(part.list(&key("a")).await.expect("listed"), [(key("a/b"), 1)]);
    assert_eq!(whole.list(&key("some")).await.expect("listed"), [(key("some/where/a/b"), 1)]);
}

#[tokio::test]
async fn a_write_that_is_given_up_leaves_nothing_in_a_bucket() {
    let s3 = S3::start();
    let objects = Objects::s3(&s3_settings(&s3, "")).expect("a store");
    let key = key("stream/dropped");
    let (sent, mut all_taken) = tokio::sync::mpsc::channel::<()>(1);
    let body = body(&pieces(3 * PART_BYTES)).chain(stream::once(async move {
        drop(sent);
        std::future::pending().await
    }));
    let write = tokio::spawn({
        let (objects, key) = (objects.clone(), key.clone());
        async move { objects.put_stream(&key, body, None).await }
    });
    assert_eq!(all_taken.recv().await, None, "every piece is with the writer");
    assert!(s3.unfinished_uploads() > 0);
    write.abort();
    assert!(write.await.expect_err("aborted").is_cancelled());
    eventually(|| s3.unfinished_uploads() == 0).await;
    assert_eq!(objects.head(&key).await.expect("asked"), None);
}

/// Looks again until `done`, for ten seconds at most.
async fn eventually(done: impl Fn() -> bool) {
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(tokio::time::Instant::now() < until, "not within ten seconds");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_restart_of_the_service_passes_unseen() {
    let mut s3 = S3::start();
    let objects = Objects::s3(&s3_settings(&s3, "")).expect("a store");
    objects.put(&key("a"), vec![Bytes::from_static(b"1")]).await.expect("stored");
    s3.stop();
    let write = tokio::spawn({
        let objects = objects.clone();
        async move { objects.put(&key("b"), vec![Bytes::from_static(b"2")]).await }
    });
    // The first try has found the port closed, or is about to.
    tokio::task::yield_now().await;
    s3.restart();
    write.await.expect("no panic").expect("stored by a later try");
    assert_eq!(objects.get_range(&key("a"), 0..1).await.expect("still there"), "1");
}

#[tokio::test]
async fn wrong_credentials_are_an_error_that_names_the_bucket_or_key() {
    let s3 = S3::start();
    let settings = S3Settings { secret: base::Secret::new("wrong"), ..s3_settings(&s3, "") };
    let error = Objects::s3(&settings).expect("settings are not asked").check().await.expect_err("refused");
    assert!(error.to_string().contains("check/"), "{error}");
    assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_an_error_that_names_it() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = Objects::local(&file.path().join("objects")).expect_err("a file is no folder");
    assert!(error.to_string().contains("objects"), "{error}");
}

#[tokio::test]
async fn the_sweep_takes_what_a_crash_left_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let objects = Objects::local(folder.path()).expect("a store");
    objects.put(&key("a/b/kept"), vec![Bytes::from_static(b"1")]).await.expect("stored");
    for name in ["kept#1", ".0123456789abcdef", ".0123456789abcdef#1"] {
        std::fs::write(folder.path().join("a/b").join(name), "half").expect("written");
    }
    assert_eq!(objects.list(&key("a")).await.expect("listed").len(), 1, "unfinished files are no objects");
    assert_eq!(objects.sweep_partial(Duration::from_secs(3_600)).await.expect("swept"), 0, "they are young");
    assert_eq!(objects.sweep_partial(Duration::ZERO).await.expect("swept"), 3);
    assert_eq!(objects.list(&key("a")).await.expect("listed").len(), 1);
}

#[tokio::test]
async fn the_config_chooses_the_backend() {
    let folder = tempfile::tempdir().expect("a folder");
    let local = Objects::open(&store::Config::default(), folder.path()).expect("a store");
    local.put(&key("a"), vec![Bytes::from_static(b"1")]).await.expect("stored");
    assert!(folder.path().join("objects/a").is_file());

    let s3 = S3::start();
    let config = store::Config {
        s3_bucket: S3::BUCKET.into(),
        s3_endpoint: s3.url(),
        s3_access_key_id: S3::ACCESS_KEY_ID.into(),
        s3_secret: base::Secret::new(S3::SECRET),
        s3_prefix: "headwater".into(),
        ..store::Config::default()
    };
    let bucket = Objects::open(&config, folder.path()).expect("a store");
    bucket.put(&key("a"), vec![Bytes::from_static(b"1")]).await.expect("stored");
    assert!(s3.bucket_folder().join("headwater/a").is_file());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However bytes are cut into parts, any range of the blob is that range of the bytes.
    #[test]
    fn a_blob_reads_like_its_bytes(sizes in prop::collection::vec(0_usize..20, 0..8), begin in 0_u64..200, bytes in 0_u64..200) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let objects = Objects::memory();
            let all: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|i| i as u8).collect();
            let (mut blob, mut at) = (Blob::default(), 0);
            for (index, size) in sizes.iter().enumerate() {
                let key = key(&format!("blob/{index}"));
                objects.put(&key, vec![Bytes::copy_from_slice(&all[at..at + size])]).await.expect("stored");
                blob.parts.push(BlobPart { key: key.to_string(), bytes: *size as u64 });
                at += size;
            }
            let end = all.len().min((begin + bytes) as usize);
            let expected = all.get(begin as usize..end).unwrap_or_default();
            assert_eq!(collect(objects.blob_stream(&blob, begin..begin + bytes)).await, expected);
        });
    }
}

/// The store is shared between tasks and threads.
#[test]
fn objects_are_send_and_sync() {
    fn check<T: Send + Sync + 'static>(_: Arc<T>) {}
    check(Arc::new(Objects::memory()));
}
