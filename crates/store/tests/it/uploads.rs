//! Uploads: metadata before bytes, an offset that moves once, one end, and objects that nobody else needs.

use futures_util::future::join_all;
use serde_json::json;
use store::{Append, Asset, AssetState, Blob, Catalogue, Error, Source, Upload, UploadId, UploadState, Usage};

use crate::{
    both::BEGIN,
    rows::{self, LIFE_MS, part, told},
};

async fn begin(catalogue: &Catalogue, bytes: Option<u64>) -> (Asset, Upload) {
    let mut asset = rows::asset("Clip", AssetState::Uploading);
    asset.source.bytes = bytes;
    let upload = rows::upload(Some(&asset), bytes);
    catalogue.create_upload(&upload, Some(&asset)).await.expect("created");
    (asset, upload)
}

async fn append(catalogue: &Catalogue, id: &UploadId, offset: u64, key: &str, bytes: u64) -> Result<Append, Error> {
    catalogue.append_upload(id, offset, &part(key, bytes), BEGIN.plus_ms(LIFE_MS)).await
}

async fn offset(catalogue: &Catalogue, id: &UploadId) -> u64 {
    catalogue.upload(id).await.expect("asked").expect("there").offset
}

fn source(blob: Blob) -> Source {
    Source { file_name: "clip.mp4".into(), bytes: Some(blob.bytes()), sha256: None, url: None, blob: Some(blob) }
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::Refused { .. })), "{outcome:?}");
}

both! {
    async fn an_upload_and_its_asset_are_there_before_its_bytes(db: Db) {
        let (asset, upload) = begin(&db.catalogue, Some(10)).await;
        assert_eq!(db.catalogue.upload(&upload.id).await.expect("asked"), Some(upload.clone()));
        assert_eq!(db.catalogue.asset(&asset.id).await.expect("asked"), Some(asset.clone()));
        assert_eq!(told(&db).await, ["asset.created"]);

        let second = Upload { id: UploadId::new(), ..upload.clone() };
        assert!(db.catalogue.create_upload(&second, Some(&asset)).await.is_err(), "the asset is there already");
        assert_eq!(db.catalogue.upload(&second.id).await.expect("asked"), None, "both or nothing");

        refused(db.catalogue.create_upload(&second, None).await);
        refused(db.catalogue.create_upload(&Upload { offset: 3, ..rows::upload(None, Some(5)) }, None).await);
    }

    async fn bytes_go_where_the_upload_ends_and_nowhere_else(db: Db) {
        let (_, upload) = begin(&db.catalogue, Some(10)).await;
        let id = &upload.id;
        let stored = append(&db.catalogue, id, 0, "a", 4).await.expect("stored");
        let expected = Upload { offset: 4, blob: Blob { parts: vec![part("a", 4)] }, ..upload.clone() };
        assert_eq!(stored, Append::Stored(expected));

        for wrong in [0, 3, 5, 10] {
            let conflict = append(&db.catalogue, id, wrong, "b", 1).await.expect("answered");
            assert_eq!(conflict, Append::Conflict { offset: 4 }, "{wrong}");
        }
        refused(append(&db.catalogue, id, 4, "b", 7).await);
        assert_eq!(offset(&db.catalogue, id).await, 4, "nothing went in");
        assert_eq!(append(&db.catalogue, &UploadId::new(), 0, "b", 1).await.expect("answered"), Append::Gone);

        append(&db.catalogue, id, 4, "b", 6).await.expect("stored");
        let full = db.catalogue.upload(id).await.expect("asked").expect("there");
        assert_eq!(full.blob, Blob { parts: vec![part("a", 4), part("b", 6)] });
        assert_eq!(full.state, UploadState::Open, "complete is what `complete_upload` says");
    }

    async fn an_empty_append_only_prolongs(db: Db) {
        let (_, upload) = begin(&db.catalogue, Some(10)).await;
        let later = BEGIN.plus_ms(9 * LIFE_MS);
        for _ in 0..2 {
            let stored = db.catalogue.append_upload(&upload.id, 0, &part("a", 0), later).await.expect("stored");
            assert_eq!(stored, Append::Stored(Upload { expires: later, ..upload.clone() }));
        }
    }

    async fn of_two_who_append_at_one_offset_one_is_stored(db: Db) {
        let (_, upload) = begin(&db.catalogue, Some(8)).await;
        let other = db.another().await;
        let handles = [&db.catalogue, &other];
        for at in 0..8 {
            let keys: Vec<_> = (0..4).map(|caller| format!("{at}/{caller}")).collect();
            let appends =
                keys.iter().enumerate().map(|(caller, key)| append(handles[caller % 2], &upload.id, at, key, 1));
            let outcomes: Vec<_> = join_all(appends).await.into_iter().map(|o| o.expect("answered")).collect();
            let stored = outcomes.iter().filter(|outcome| matches!(outcome, Append::Stored(_))).count();
            let conflicts = outcomes.iter().filter(|o| **o == Append::Conflict { offset: at + 1 }).count();
            assert_eq!((stored, conflicts), (1, 3), "{outcomes:?}");
        }
        let full = db.catalogue.upload(&upload.id).await.expect("asked").expect("there");
        assert_eq!((full.offset, full.blob.bytes(), full.blob.parts.len()), (8, 8, 8));
    }

    async fn a_deferred_size_becomes_known_once(db: Db) {
        let (asset, upload) = begin(&db.catalogue, None).await;
        append(&db.catalogue, &upload.id, 0, "a", 4).await.expect("stored");
        let set = |bytes| db.catalogue.set_upload_bytes(&upload.id, bytes);

        assert!(!set(3).await.expect("answered"), "there is more already");
        assert!(set(5).await.expect("answered"));
        assert!(!set(6).await.expect("answered"), "it is known");
        assert!(!db.catalogue.set_upload_bytes(&UploadId::new(), 1).await.expect("answered"));
        let known = db.catalogue.upload(&upload.id).await.expect("asked").expect("there");
        assert_eq!(known.bytes, Some(5));
        let asset = db.catalogue.asset(&asset.id).await.expect("asked").expect("there");
        assert_eq!(asset.source.bytes, Some(5), "quotas count it");
        refused(append(&db.catalogue, &upload.id, 4, "b", 2).await);
    }

    async fn an_upload_is_completed_exactly_once(db: Db) {
        let (asset, upload) = begin(&db.catalogue, Some(4)).await;
        let blob = Blob { parts: vec![part("a", 4)] };
        refused(db.catalogue.complete_upload(&upload.id, &source(Blob::default()), &rows::job()).await);
        append(&db.catalogue, &upload.id, 0, "a", 4).await.expect("stored");

        let other = db.another().await;
        let handles = [&db.catalogue, &other];
        let jobs: Vec<_> = (0..8).map(|_| rows::job()).collect();
        let from = source(blob);
        let calls = jobs.iter().enumerate().map(|(i, job)| handles[i % 2].complete_upload(&upload.id, &from, job));
        let outcomes: Vec<_> = join_all(calls).await.into_iter().map(|outcome| outcome.expect("answered")).collect();
        assert_eq!(outcomes.iter().filter(|first| **first).count(), 1);

        for (job, first) in jobs.iter().zip(outcomes) {
            assert_eq!(db.catalogue.job(&job.id).await.expect("asked").is_some(), first, "the first caller's job only");
        }
        let asset = db.catalogue.asset(&asset.id).await.expect("asked").expect("there");
        assert_eq!((asset.state, asset.source), (AssetState::Preparing, from));
        assert_eq!(told(&db).await, ["asset.created", "asset.updated", "upload.complete"]);
        let conflict = append(&db.catalogue, &upload.id, 4, "b", 1).await.expect("answered");
        assert_eq!(conflict, Append::Conflict { offset: 4 }, "complete takes no bytes");
        assert!(!db.catalogue.end_upload(&upload.id).await.expect("asked"), "complete does not end");
    }

    async fn an_upload_of_unknown_size_is_completed_with_what_it_has(db: Db) {
        let (_, upload) = begin(&db.catalogue, None).await;
        append(&db.catalogue, &upload.id, 0, "a", 4).await.expect("stored");
        let from = source(Blob { parts: vec![part("a", 4)] });
        assert!(db.catalogue.complete_upload(&upload.id, &from, &rows::job()).await.expect("completed"));
        let complete = db.catalogue.upload(&upload.id).await.expect("asked").expect("there");
        assert_eq!((complete.state, complete.bytes), (UploadState::Complete, Some(4)));
    }

    async fn an_ended_upload_takes_its_asset_with_it(db: Db) {
        let (asset, upload) = begin(&db.catalogue, Some(4)).await;
        append(&db.catalogue, &upload.id, 0, "a", 2).await.expect("stored");
        assert!(db.catalogue.end_upload(&upload.id).await.expect("ended"));
        assert!(!db.catalogue.end_upload(&upload.id).await.expect("asked"), "once");

        assert_eq!(append(&db.catalogue, &upload.id, 2, "b", 2).await.expect("answered"), Append::Gone);
        let from = source(Blob::default());
        assert!(!db.catalogue.complete_upload(&upload.id, &from, &rows::job()).await.expect("answered"));
        assert_eq!(db.catalogue.asset(&asset.id).await.expect("asked"), None);
        assert_eq!(db.catalogue.usage("default").await.expect("usage"), Usage::default());
        assert_eq!(told(&db).await, ["asset.created", "upload.gone", "asset.deleted"]);
    }

    async fn a_deleted_asset_ends_its_upload(db: Db) {
        let (asset, upload) = begin(&db.catalogue, Some(4)).await;
        assert!(db.catalogue.delete_asset(&asset.id).await.expect("deleted"));
        assert_eq!(append(&db.catalogue, &upload.id, 0, "a", 4).await.expect("answered"), Append::Gone);
        db.catalogue.forget_asset(&asset.id).await.expect("forgotten");
        let waiting = db.catalogue.expired_uploads(10).await.expect("asked");
        assert_eq!(waiting.len(), 1, "its objects are still to be cleaned up");
    }

    async fn deleting_and_completing_at_the_same_time_leave_no_half(db: Db) {
        let other = db.another().await;
        for _ in 0..10 {
            let (asset, upload) = begin(&db.catalogue, Some(1)).await;
            append(&db.catalogue, &upload.id, 0, "a", 1).await.expect("stored");
            let (from, job) = (source(Blob { parts: vec![part("a", 1)] }), rows::job());
            let (deleted, completed, ended) = tokio::join!(
                db.catalogue.delete_asset(&asset.id),
                other.complete_upload(&upload.id, &from, &job),
                other.end_upload(&upload.id),
            );
            let (deleted, completed, ended) = (deleted.expect("asked"), completed.expect("asked"), ended.expect("asked"));
            assert_eq!(db.catalogue.asset(&asset.id).await.expect("asked"), None);
            assert!(deleted || ended, "somebody deleted it");
            assert!(!(completed && ended), "complete and gone exclude each other");
            let expected = if completed { UploadState::Complete } else { UploadState::Gone };
            assert_eq!(db.catalogue.upload(&upload.id).await.expect("asked").expect("there").state, expected);
            assert_eq!(db.catalogue.job(&job.id).await.expect("asked").is_some(), completed);
        }
    }

    async fn expired_and_ended_uploads_wait_for_clean_up(db: Db) {
        let (_, slow) = begin(&db.catalogue, Some(4)).await;
        let (_, ended) = begin(&db.catalogue, Some(4)).await;
        let (_, done) = begin(&db.catalogue, Some(1)).await;
        append(&db.catalogue, &slow.id, 0, "slow/0", 2).await.expect("stored");
        append(&db.catalogue, &done.id, 0, "done/0", 1).await.expect("stored");
        let from = source(Blob { parts: vec![part("done/0", 1)] });
        assert!(db.catalogue.complete_upload(&done.id, &from, &rows::job()).await.expect("completed"));
        assert!(db.catalogue.end_upload(&ended.id).await.expect("ended"));
        let waiting = async || {
            let uploads = db.catalogue.expired_uploads(10).await.expect("asked");
            uploads.into_iter().map(|upload| upload.id).collect::<Vec<_>>()
        };

        assert_eq!(waiting().await, std::slice::from_ref(&ended.id));
        db.advance_ms(LIFE_MS as u64);
        assert_eq!(waiting().await.len(), 2, "not the one that is complete");

        db.catalogue.forget_upload(&slow.id).await.expect("it is not gone: nothing to do");
        assert!(db.catalogue.end_upload(&slow.id).await.expect("ended"));
        for id in [&slow.id, &ended.id, &done.id] {
            db.catalogue.forget_upload(id).await.expect("forgotten");
        }
        assert!(waiting().await.is_empty());
        assert!(db.catalogue.upload(&done.id).await.expect("asked").is_some(), "the complete one is not gone");
    }

    async fn a_concatenation_keeps_the_objects_of_its_parts(db: Db) {
        let (first, second) = (rows::upload(None, Some(3)), rows::upload(None, None));
        for (upload, key) in [(&first, "first"), (&second, "second")] {
            db.catalogue.create_upload(upload, None).await.expect("created");
            append(&db.catalogue, &upload.id, 0, key, 3).await.expect("stored");
        }
        assert!(db.catalogue.set_upload_bytes(&second.id, 3).await.expect("set"));
        for id in [&first.id, &second.id] {
            let state = db.catalogue.upload(id).await.expect("asked").expect("there").state;
            assert_eq!(state, UploadState::Complete, "a part is complete with its last byte");
        }
        refused(db.catalogue.complete_upload(&first.id, &source(Blob::default()), &rows::job()).await);

        let asset = rows::asset("Joined", AssetState::Uploading);
        let blob = Blob { parts: vec![part("first", 3)] };
        let joined = Upload { bytes: Some(3), offset: 3, blob: blob.clone(), ..rows::upload(Some(&asset), None) };
        db.catalogue.create_upload(&joined, Some(&asset)).await.expect("created");
        assert!(db.catalogue.complete_upload(&joined.id, &source(blob), &rows::job()).await.expect("completed"));

        db.advance_ms(LIFE_MS as u64);
        let free = db.catalogue.expired_uploads(10).await.expect("asked");
        let free = |id: &UploadId| free.iter().find(|upload| upload.id == *id).expect("its time is over").blob.clone();
        assert_eq!(free(&first.id), Blob::default(), "the asset has them");
        assert_eq!(free(&second.id), Blob { parts: vec![part("second", 3)] });
    }

    async fn uploads_are_listed_newest_first(db: Db) {
        let (_, first) = begin(&db.catalogue, Some(4)).await;
        db.advance_ms(1);
        let theirs = Upload { tenant: "other".into(), metadata: json!({}), ..rows::upload(None, Some(1)) };
        db.catalogue.create_upload(&theirs, None).await.expect("created");
        append(&db.catalogue, &first.id, 0, "a", 2).await.expect("stored");
        let list = async |tenant, state| {
            let uploads = db.catalogue.uploads(tenant, state, 10).await.expect("asked");
            uploads.into_iter().map(|upload| (upload.id, upload.blob.parts.len())).collect::<Vec<_>>()
        };

        assert_eq!(list(None, None).await, [(theirs.id.clone(), 0), (first.id.clone(), 1)]);
        assert_eq!(list(Some("other"), None).await, [(theirs.id, 0)]);
        assert_eq!(list(Some("default"), Some(UploadState::Open)).await, [(first.id, 1)]);
        assert_eq!(list(None, Some(UploadState::Gone)).await, []);
    }
}
