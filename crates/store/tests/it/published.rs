//! What jobs publish of an asset, what it counts for, and how it goes.

use serde_json::json;
use store::{
    Asset, AssetFilter, AssetId, AssetPatch, AssetState, Catalogue, Expansion, Fenced, MediaKind, Rendition, Step,
    Usage, Worker, WorkerId,
};

use crate::{
    both::BEGIN,
    rows::{self, told},
};

const READY: AssetState = AssetState::Ready;

fn ready() -> AssetPatch {
    AssetPatch { state: Some(READY), ..AssetPatch::default() }
}

fn rendition(asset: &AssetId, name: &str, kind: MediaKind, height: Option<i64>) -> Rendition {
    Rendition {
        asset: asset.clone(),
        name: name.into(),
        kind,
        codecs: "avc1.640028".into(),
        width: height.map(|height| height * 16 / 9),
        height,
        bandwidth: 1_000_000,
        average_bandwidth: 800_000,
        language: Some("en".into()),
        label: None,
        default: name == "v720",
        object: format!("assets/x/{name}.mp4"),
        bytes: 1_000,
        index: format!("assets/x/{name}.json"),
        quality: json!({ "ssim": 0.98 }),
        ready: BEGIN,
    }
}

/// Completes the one step of the asset's job with this expansion.
async fn complete(catalogue: &Catalogue, expansion: &Expansion) {
    let step = claim(catalogue).await;
    let fenced = catalogue.complete(&step.id, step.token, &json!({}), expansion).await.expect("completed");
    assert_eq!(fenced, Fenced::Held(()));
}

/// The one step there is, leased.
async fn claim(catalogue: &Catalogue) -> Step {
    let worker = Worker {
        id: WorkerId::new(),
        name: "node".into(),
        caps: vec!["analyse".into()],
        info: json!({}),
        cordoned: false,
        cordon_reason: None,
        draining: false,
        registered: BEGIN,
        seen: BEGIN,
    };
    catalogue.register_worker(&worker).await.expect("registered");
    let lease = catalogue.claim(&worker.id, &worker.caps).await.expect("asked").expect("a step");
    lease.step
}

both! {
    async fn an_asset_and_its_job_are_created_together(db: Db) {
        let asset = rows::asset("Clip", AssetState::Preparing);
        let job = rows::job();
        db.catalogue.create_asset(&asset, Some(job.clone())).await.expect("created");
        assert_eq!(db.catalogue.job(&job.id).await.expect("asked").expect("there").asset, asset.id);

        let other = rows::asset("Other", AssetState::Preparing);
        assert!(db.catalogue.create_asset(&other, Some(job)).await.is_err(), "the job's id is taken");
        assert_eq!(db.catalogue.asset(&other.id).await.expect("asked"), None, "nothing of it is there");
    }

    async fn renditions_are_published_once_and_shown_in_order(db: Db) {
        let asset = rows::asset("Clip", AssetState::Preparing);
        db.catalogue.create_asset(&asset, Some(rows::job())).await.expect("created");
        let renditions = vec![
            rendition(&asset.id, "s0", MediaKind::Subtitle, None),
            rendition(&asset.id, "v720", MediaKind::Video, Some(720)),
            rendition(&asset.id, "a0", MediaKind::Audio, None),
            rendition(&asset.id, "v1080", MediaKind::Video, Some(1_080)),
            rendition(&asset.id, "v720", MediaKind::Video, Some(720)),
        ];
        db.advance_ms(7);
        complete(&db.catalogue, &Expansion { renditions, asset: ready(), ..Expansion::default() }).await;

        let shown = db.catalogue.renditions(&asset.id).await.expect("renditions");
        assert_eq!(shown.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["v720", "v1080", "a0", "s0"]);
        let expected = Rendition { ready: BEGIN.plus_ms(7), ..rendition(&asset.id, "v720", MediaKind::Video, Some(720)) };
        assert_eq!(shown[0], expected);

        let after = db.catalogue.asset(&asset.id).await.expect("asked").expect("there");
        assert_eq!((after.state, after.revision), (READY, 6), "four renditions and the state");
        let told = told(&db).await;
        assert_eq!(told.iter().filter(|kind| *kind == "asset.rendition.ready").count(), 4, "the same again is no news");
        assert_eq!(told.iter().filter(|kind| *kind == "asset.ready").count(), 1);
    }

    async fn a_deleted_asset_is_out_of_sight_until_it_is_forgotten(db: Db) {
        let asset = rows::asset("Clip", AssetState::Preparing);
        let job = rows::job();
        db.catalogue.create_asset(&asset, Some(job.clone())).await.expect("created");
        let renditions = vec![rendition(&asset.id, "v720", MediaKind::Video, Some(720))];
        complete(&db.catalogue, &Expansion { renditions, ..Expansion::default() }).await;
        db.catalogue.forget_asset(&asset.id).await.expect("it is not deleted: nothing to do");

        assert!(db.catalogue.delete_asset(&asset.id).await.expect("deleted"));
        assert!(!db.catalogue.delete_asset(&asset.id).await.expect("asked"), "once");
        assert!(!db.catalogue.delete_asset(&AssetId::new()).await.expect("asked"));
        assert_eq!(db.catalogue.asset(&asset.id).await.expect("asked"), None);
        let listed = db.catalogue.assets(&AssetFilter::default(), None, 10).await.expect("a page");
        assert!(listed.rows.is_empty());
        assert_eq!(db.catalogue.update_asset(&asset.id, &ready()).await.expect("asked"), None);
        assert_eq!(db.catalogue.usage("default").await.expect("usage"), Usage::default());

        let waiting = db.catalogue.deleted_assets(10).await.expect("asked");
        assert_eq!(waiting.iter().map(|asset| &asset.id).collect::<Vec<_>>(), [&asset.id]);
        assert_eq!(db.catalogue.renditions(&asset.id).await.expect("asked").len(), 1, "clean-up needs their keys");

        db.catalogue.forget_asset(&asset.id).await.expect("forgotten");
        assert!(db.catalogue.deleted_assets(10).await.expect("asked").is_empty());
        assert!(db.catalogue.renditions(&asset.id).await.expect("asked").is_empty());
        assert_eq!(db.catalogue.job(&job.id).await.expect("asked"), None);
        assert_eq!(told(&db).await.last().map(String::as_str), Some("asset.deleted"));
    }

    async fn usage_counts_what_a_tenant_has(db: Db) {
        let mut asset = rows::asset("Clip", AssetState::Preparing);
        asset.source.bytes = Some(5_000_000_000);
        db.catalogue.create_asset(&asset, Some(rows::job())).await.expect("created");
        let renditions = vec![rendition(&asset.id, "v720", MediaKind::Video, Some(720))];
        complete(&db.catalogue, &Expansion { renditions, ..Expansion::default() }).await;
        let coming = rows::asset("Coming", AssetState::Uploading);
        db.catalogue.create_upload(&rows::upload(Some(&coming), None), Some(&coming)).await.expect("created");
        let theirs = Asset { tenant: "other".into(), ..rows::asset("Theirs", READY) };
        db.catalogue.create_asset(&theirs, None).await.expect("created");

        let usage = |tenant| db.catalogue.usage(tenant);
        assert_eq!(usage("default").await.expect("usage"), Usage { assets: 2, bytes: 5_000_001_000, uploads_open: 1 });
        assert_eq!(usage("other").await.expect("usage"), Usage { assets: 1, bytes: 0, uploads_open: 0 });
        assert_eq!(usage("nobody").await.expect("usage"), Usage::default());
    }

    async fn deleting_while_a_step_publishes_leaves_nothing_to_watch(db: Db) {
        let other = db.another().await;
        for _ in 0..5 {
            let asset = rows::asset("Clip", AssetState::Preparing);
            let job = rows::job();
            db.catalogue.create_asset(&asset, Some(job.clone())).await.expect("created");
            let step = claim(&db.catalogue).await;
            let renditions = vec![rendition(&asset.id, "v720", MediaKind::Video, Some(720))];
            let expansion = Expansion { renditions, asset: ready(), ..Expansion::default() };
            let output = json!({});
            let (deleted, completed) = tokio::join!(
                db.catalogue.delete_asset(&asset.id),
                other.complete(&step.id, step.token, &output, &expansion),
            );
            assert!(deleted.expect("deleted"));
            let published = db.catalogue.renditions(&asset.id).await.expect("asked").len();
            assert_eq!(completed.expect("answered") == Fenced::Held(()), published == 1);
            assert_eq!(db.catalogue.asset(&asset.id).await.expect("asked"), None);
        }
    }
}
