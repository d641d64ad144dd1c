//! One contract, every backend.

use bytes::Bytes;
use store::{Error, Key, Objects};

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

/// What every backend does.
async fn contract(objects: Objects) {
    let segment = key("live/a/b/1/v0/17.m4s");
    assert!(matches!(objects.get_range(&segment, 0..1).await, Err(Error::NotFound { .. })));
    objects.delete(&segment).await.expect("deleting nothing is fine");

    objects.put(&segment, vec![Bytes::from_static(b"moof"), Bytes::from_static(b"mdat")]).await.expect("stored");
    assert_eq!(objects.get_range(&segment, 0..8).await.expect("there"), "moofmdat");
    assert_eq!(objects.get_range(&segment, 2..6).await.expect("there"), "ofmd");
    assert_eq!(objects.get_range(&segment, 6..100).await.expect("there"), "at", "the end cuts the range");

    objects.put(&segment, vec![Bytes::from_static(b"new")]).await.expect("replaced");
    assert_eq!(objects.get_range(&segment, 0..3).await.expect("there"), "new");

    objects.put(&key("live/a/b/1/v0/18.m4s"), vec![Bytes::from_static(b"18")]).await.expect("stored");
    objects.put(&key("live/a/bb/1/v0/1.m4s"), vec![Bytes::from_static(b"other")]).await.expect("stored");
    let listed = objects.list(&key("live/a/b")).await.expect("listed");
    assert_eq!(listed, [(segment.clone(), 3), (key("live/a/b/1/v0/18.m4s"), 2)], "whole segments only");
    assert_eq!(objects.delete_prefix(&key("live/a/b")).await.expect("deleted"), 2);
    assert!(objects.list(&key("live/a/b")).await.expect("listed").is_empty());
    assert_eq!(objects.list(&key("live/a/bb")).await.expect("listed").len(), 1);
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
    objects.delete_prefix(&key("live")).await.expect("deleted");
    let left = std::fs::read_dir(folder.path().join("objects")).expect("the folder is there").count();
    assert_eq!(left, 0, "empty folders are taken away");
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_an_error_that_names_it() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = Objects::local(&file.path().join("objects")).expect_err("a file is no folder");
    assert!(error.to_string().contains("objects"), "{error}");
}
