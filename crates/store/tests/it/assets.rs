//! Assets: listings that survive change, patches with their events, recipes.

use futures_util::future::join_all;
use serde_json::json;
use store::{Asset, AssetFilter, AssetId, AssetPatch, AssetState, Catalogue, ErrorClass, Page, StepError};

use crate::{
    both::BEGIN,
    rows::{self, told},
};

const READY: AssetState = AssetState::Ready;

async fn create(catalogue: &Catalogue, title: &str) -> Asset {
    let asset = rows::asset(title, AssetState::Preparing);
    catalogue.create_asset(&asset, None).await.expect("created");
    asset
}

async fn titles(catalogue: &Catalogue, filter: &AssetFilter) -> Vec<String> {
    let page = catalogue.assets(filter, None, 100).await.expect("a page");
    page.rows.into_iter().map(|asset| asset.title).collect()
}

fn state(state: AssetState) -> AssetPatch {
    AssetPatch { state: Some(state), ..AssetPatch::default() }
}

fn failure() -> StepError {
    StepError {
        class: ErrorClass::Input,
        code: "not_media".into(),
        human: "This is no media file; choose another.".into(),
        log: Some("tail".into()),
        worker: None,
    }
}

both! {
    async fn an_asset_is_kept_as_it_was_given(db: Db) {
        let mut asset = rows::asset("Clip", AssetState::Preparing);
        asset.source.url = Some("https://example.org/clip.mp4".into());
        asset.source.bytes = Some(42);
        asset.media = Some(json!({ "container": "mov" }));
        asset.duration_ms = Some(1_500);
        asset.error = Some(failure());
        asset.created = BEGIN.plus_ms(-5);
        db.catalogue.create_asset(&asset, None).await.expect("created");

        let kept = db.catalogue.asset(&asset.id).await.expect("asked").expect("there");
        assert_eq!(kept, Asset { created: BEGIN, updated: BEGIN, ..asset.clone() }, "the database says when");
        assert_eq!(db.catalogue.asset(&AssetId::new()).await.expect("asked"), None);
        assert!(db.catalogue.create_asset(&asset, None).await.is_err(), "the id is taken");
        assert_eq!(told(&db).await, ["asset.created"]);
    }

    async fn pages_neither_repeat_nor_miss_while_rows_come_and_go(db: Db) {
        let mut created = Vec::new();
        for index in 0..9 {
            created.push(create(&db.catalogue, &format!("{index}")).await);
            if index % 3 == 0 {
                db.advance_ms(1);
            }
        }
        let all = AssetFilter::default();
        let mut seen = Vec::new();
        let mut next: Option<String> = None;
        for round in 0..4 {
            let page: Page<Asset> = db.catalogue.assets(&all, next.as_deref(), 2).await.expect("a page");
            seen.extend(page.rows.into_iter().map(|asset| asset.title));
            // Newer ones come at the head, one goes that is still to be shown, and one that was shown.
            create(&db.catalogue, "new").await;
            if round == 1 {
                assert!(db.catalogue.delete_asset(&created[3].id).await.expect("deleted"));
                assert!(db.catalogue.delete_asset(&created[8].id).await.expect("deleted"));
            }
            next = page.next;
        }
        assert_eq!(next, None);
        assert_eq!(seen, ["8", "7", "6", "5", "4", "2", "1", "0"]);
    }

    async fn a_cursor_from_elsewhere_is_refused_with_a_hint(db: Db) {
        let filter = AssetFilter::default();
        for cursor in ["", "1", "0-0", "bm9uc2Vuc2U", &AssetId::new().to_string(), &"x".repeat(10_000)] {
            let error = db.catalogue.assets(&filter, Some(cursor), 10).await.expect_err("refused");
            assert!(error.to_string().contains("begin again"), "{error}");
        }
    }

    async fn a_listing_shows_what_the_filter_names(db: Db) {
        for title in ["100% Äpfel", "100 äpfel", "a_b", "aXb", "wow!"] {
            create(&db.catalogue, title).await;
            db.advance_ms(1);
        }
        let other = Asset { tenant: "other".into(), ..rows::asset("theirs", READY) };
        db.catalogue.create_asset(&other, None).await.expect("created");
        let text = |text: &str| AssetFilter { text: Some(text.into()), ..AssetFilter::default() };

        assert_eq!(titles(&db.catalogue, &text("ÄPFEL")).await, ["100 äpfel", "100% Äpfel"], "case does not count");
        assert_eq!(titles(&db.catalogue, &text("100%")).await, ["100% Äpfel"], "wildcards mean themselves");
        assert_eq!(titles(&db.catalogue, &text("a_b")).await, ["a_b"]);
        assert_eq!(titles(&db.catalogue, &text("w!")).await, ["wow!"]);
        assert_eq!(titles(&db.catalogue, &text("'; --")).await, [""; 0]);
        assert!(db.catalogue.assets(&text(&"a".repeat(20_000)), None, 1).await.is_err(), "longer than any title");

        let tenant = AssetFilter { tenant: Some("other".into()), ..AssetFilter::default() };
        assert_eq!(titles(&db.catalogue, &tenant).await, ["theirs"]);
        let ready = AssetFilter { state: Some(READY), ..AssetFilter::default() };
        assert_eq!(titles(&db.catalogue, &ready).await, ["theirs"]);
        let both = AssetFilter { tenant: Some("default".into()), state: Some(READY), text: None };
        assert_eq!(titles(&db.catalogue, &both).await, [""; 0]);
    }

    async fn a_patch_changes_what_it_names_and_tells_it(db: Db) {
        let asset = create(&db.catalogue, "Clip").await;
        db.advance_ms(10);

        let patch = AssetPatch { title: Some("Film".into()), metadata: Some(json!({ "a": 1 })), ..AssetPatch::default() };
        let after = db.catalogue.update_asset(&asset.id, &patch).await.expect("changed").expect("there");
        assert_eq!((after.title.as_str(), after.revision, after.updated), ("Film", 2, BEGIN.plus_ms(10)));
        assert_eq!(db.catalogue.asset(&asset.id).await.expect("asked"), Some(after.clone()));
        assert_eq!(db.catalogue.update_asset(&asset.id, &patch).await.expect("nothing to do"), Some(after));
        let filter = AssetFilter { text: Some("film".into()), ..AssetFilter::default() };
        assert_eq!(titles(&db.catalogue, &filter).await, ["Film"], "the new title is found");

        let errored = AssetPatch { error: Some(failure()), ..state(AssetState::Errored) };
        db.catalogue.update_asset(&asset.id, &errored).await.expect("changed");
        let ready = db.catalogue.update_asset(&asset.id, &state(READY)).await.expect("changed").expect("there");
        assert_eq!(ready.error, None, "what plays is not errored");
        assert_eq!(told(&db).await, ["asset.created", "asset.updated", "asset.errored", "asset.ready"]);

        let nobody = db.catalogue.update_asset(&AssetId::new(), &patch).await.expect("asked");
        assert_eq!(nobody, None);
        let error = db.catalogue.update_asset(&asset.id, &state(AssetState::Deleted)).await.expect_err("refused");
        assert!(error.to_string().contains("delete it"), "{error}");
    }

    async fn patches_at_the_same_time_lose_nothing(db: Db) {
        let asset = create(&db.catalogue, "Clip").await;
        let other = db.another().await;
        let none = AssetPatch::default;
        let patches = [
            AssetPatch { title: Some("Film".into()), ..none() },
            AssetPatch { poster: Some("poster.jpg".into()), ..none() },
            AssetPatch { duration_ms: Some(5), ..none() },
            AssetPatch { media: Some(json!(1)), ..none() },
            AssetPatch { storyboard: Some(json!(2)), ..none() },
            AssetPatch { state: Some(READY), ..none() },
        ];
        let handles = [&db.catalogue, &other];
        let changes = patches.iter().enumerate().map(|(index, patch)| handles[index % 2].update_asset(&asset.id, patch));
        for change in join_all(changes).await {
            change.expect("changed");
        }
        let after = db.catalogue.asset(&asset.id).await.expect("asked").expect("there");
        assert_eq!((after.title.as_str(), after.poster.as_deref(), after.duration_ms), ("Film", Some("poster.jpg"), Some(5)));
        assert_eq!((after.media, after.storyboard, after.state), (Some(json!(1)), Some(json!(2)), READY));
        assert_eq!(after.revision, 7, "one for each");
    }

    async fn a_recipe_gets_a_version_only_when_it_changes(db: Db) {
        let (first, second) = (json!({ "ladder": [720], "a": 1 }), json!({ "ladder": [720, 1080] }));
        assert_eq!(db.catalogue.put_recipe("film", &first).await.expect("stored").id.version, 1);
        assert_eq!(db.catalogue.put_recipe("film", &json!({ "a": 1, "ladder": [720] })).await.expect("stored").id.version, 1);
        assert_eq!(db.catalogue.put_recipe("film", &second).await.expect("stored").id.version, 2);
        assert_eq!(db.catalogue.put_recipe("film", &first).await.expect("stored").id.version, 3, "back again is a change");
        assert_eq!(db.catalogue.put_recipe("Film", &first).await.expect("stored").id.version, 1);

        let at = |version| db.catalogue.recipe("film", version);
        assert_eq!(at(Some(2)).await.expect("asked").expect("there").body, second);
        assert_eq!(at(None).await.expect("asked").expect("there").id.version, 3);
        assert_eq!(at(Some(4)).await.expect("asked"), None);
        let newest = db.catalogue.recipes().await.expect("recipes");
        let newest: Vec<_> = newest.iter().map(|row| (row.id.name.as_str(), row.id.version)).collect();
        assert_eq!(newest, [("Film", 1), ("film", 3)]);
    }

    async fn recipes_stored_at_the_same_time_get_versions_without_gaps(db: Db) {
        let other = db.another().await;
        let handles = [&db.catalogue, &other];
        let bodies: Vec<_> = (0..8).map(|index| json!({ "index": index })).collect();
        let puts = bodies.iter().enumerate().map(|(index, body)| handles[index % 2].put_recipe("film", body));
        let mut versions: Vec<_> = join_all(puts).await.into_iter().map(|row| row.expect("stored").id.version).collect();
        versions.sort_unstable();
        assert_eq!(versions, (1..=8).collect::<Vec<i64>>());
    }
}
