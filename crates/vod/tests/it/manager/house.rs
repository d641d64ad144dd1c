//! What the leader keeps in order.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::json;
use store::{
    Key,
    catalogue::{AssetFilter, AssetState, JobState},
};
use tokio_util::sync::CancellationToken;
use vod::{
    Config, Manager, ManagerSettings,
    manager::{LEADER_TTL_MS, ManagerError},
    watch::Watch,
};

use super::bench::{BEGIN, Bench};

const HOUR_MS: u64 = 3_600_000;

async fn stored(bench: &Bench, key: &str) {
    bench.objects.put(&Key::new(key).unwrap(), vec![Bytes::from_static(b"left")]).await.unwrap();
}

async fn keys(bench: &Bench, folder: &str) -> Vec<String> {
    let found = bench.objects.list(&Key::new(folder).unwrap()).await.unwrap();
    found.into_iter().map(|(key, _)| key.as_str().to_owned()).collect()
}

/// The object store's clock is the machine's: the catalogue's is brought to it.
fn now_like_the_objects(bench: &Bench) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ahead = i64::try_from(now.as_millis()).unwrap() - BEGIN.unix_ms();
    bench.clock.step_wall_ms(ahead);
}

#[tokio::test]
async fn clean_up_removes_what_nothing_names_and_nothing_else() {
    let bench = Bench::new().await;
    now_like_the_objects(&bench);
    let (asset, job) = bench.upload("default").await;
    let hand = bench.hand("one").await;
    while bench.job(&job).await.state != JobState::Done {
        let leased = hand.claim().await.expect("a step");
        hand.finish(&leased).await;
    }
    let (_, running) = bench.upload("default").await;
    let held = hand.until("encode/v480/0").await;
    assert_eq!(held.job, running);
    hand.put(&held, "half.mp4", "half").await;
    let orphans =
        [format!("work/{job}/stp_x-1/a"), format!("assets/{}/stp_x-9/a", asset.id), "work/nobody/stp_x-1/a".to_owned()];
    for key in &orphans {
        stored(&bench, key).await;
    }
    let all = [keys(&bench, "work").await, keys(&bench, "assets").await].concat();

    assert_eq!(bench.manager.gc(false).await.unwrap().objects, 0, "younger than an hour");
    // The lease of what is under way goes on.
    for _ in 0..(HOUR_MS / 20_000 + 1) {
        bench.advance_ms(20_000);
        bench.catalogue.heartbeat(&held.step, held.token, &store::catalogue::Progress::default()).await.unwrap();
    }
    let told = bench.manager.gc(true).await.unwrap();
    assert_eq!([keys(&bench, "work").await, keys(&bench, "assets").await].concat(), all, "a dry run removes nothing");
    let done = bench.manager.gc(false).await.unwrap();
    assert_eq!((told.objects, told.bytes, &told.prefixes), (done.objects, done.bytes, &done.prefixes));

    let left = [keys(&bench, "work").await, keys(&bench, "assets").await].concat();
    assert!(orphans.iter().all(|key| !left.contains(key)), "{left:?}");
    assert!(left.iter().any(|key| key.ends_with("half.mp4")));
    for rendition in bench.catalogue.renditions(&asset.id).await.unwrap() {
        assert!(left.contains(&rendition.object) && left.contains(&rendition.index), "{}", rendition.name);
    }
    // The other job goes on to its end with what it had made.
    hand.finish(&held).await;
    hand.all().await;
    assert_eq!(bench.job(&running).await.state, JobState::Done);
}

#[tokio::test]
async fn of_a_deleted_asset_nothing_stays() {
    let bench = Bench::new().await;
    now_like_the_objects(&bench);
    let (asset, _) = bench.upload("default").await;
    bench.hand("one").await.all().await;
    assert!(bench.catalogue.delete_asset(&asset.id).await.unwrap());

    bench.advance_ms(2 * HOUR_MS);
    let report = bench.manager.gc(false).await.unwrap();
    assert_eq!(report.assets, 1);
    for folder in ["assets", "work", "uploads"] {
        assert_eq!(keys(&bench, folder).await, [""; 0], "{folder}");
    }
    assert_eq!(bench.catalogue.deleted_assets(10).await.unwrap(), []);
}

#[tokio::test]
async fn another_manager_takes_over_within_five_seconds() {
    let bench = Bench::new().await;
    // Leases count by the database's clock: here that is the machine's.
    let catalogue = store::Catalogue::open("sqlite::memory:", store::Options::default()).await.unwrap();
    let manager = || {
        let settings =
            ManagerSettings { catalogue: catalogue.clone(), objects: bench.objects.clone(), config: Config::default() };
        Manager::new(settings)
    };
    let (first, second) = (manager(), manager());
    let shutdown = CancellationToken::new();
    let killed = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { first.run(None, shutdown).await }
    });
    // Whoever asks for a moment gets it only while nobody leads.
    let leads = async |holder: &str| catalogue.leader("vod-maintenance", holder, 1).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while leads("nobody").await.is_some() {
        assert!(Instant::now() < deadline, "nobody took the lead");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    killed.abort();
    let began = Instant::now();
    let standby = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { second.run(None, shutdown).await }
    });
    let token = async || catalogue.leader("vod-maintenance", "nobody", 1).await.unwrap();
    // The lease of the dead leader is over once somebody else may have it; from then on the second one has it.
    tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let elapsed = began.elapsed();
            if elapsed > Duration::from_millis(LEADER_TTL_MS as u64) && token().await.is_none() {
                break elapsed;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .map(|elapsed| assert!(elapsed <= Duration::from_millis(5_500), "{elapsed:?}"))
    .expect("the second manager leads");
    shutdown.cancel();
    standby.await.unwrap();
    assert!(token().await.is_some(), "a manager that stops gives the lead up");
}

#[tokio::test]
async fn an_asset_that_nobody_announced_becomes_ready() {
    let bench = Bench::new().await;
    let (asset, _) = bench.upload("default").await;
    bench.hand("one").await.all().await;
    let back = store::catalogue::AssetPatch { state: Some(AssetState::Preparing), ..Default::default() };
    bench.catalogue.update_asset(&asset.id, &back).await.unwrap();

    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (manager, shutdown) = (bench.manager.clone(), shutdown.clone());
        async move { manager.run(None, shutdown).await }
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    while bench.asset(&asset.id).await.state != AssetState::Ready {
        assert!(Instant::now() < deadline, "the asset was not announced");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn recipes_have_versions_and_jobs_keep_theirs() {
    let bench = Bench::new().await;
    let names: Vec<_> = bench.manager.recipes().await.unwrap().into_iter().map(|row| row.id.name).collect();
    assert_eq!(names, ["audio", "default", "fast", "passthrough"]);
    let (asset, _) = bench.upload("fast").await;
    assert_eq!((asset.recipe.name.as_str(), asset.recipe.version), ("fast", 1));

    let body = json!({ "video": [{ "rungs": [{ "height": 240, "kbps_max": 300 }] }] });
    assert_eq!(bench.manager.put_recipe("fast", &body).await.unwrap().id.version, 2);
    assert_eq!(bench.manager.put_recipe("fast", &body).await.unwrap().id.version, 2);
    let renditions = bench.hand("one").await.all().await;
    assert!(renditions.contains(&"package/v720".to_owned()), "the job goes on with its version");
    let job = bench.manager.reencode(&asset.id, None).await.unwrap();
    assert_eq!(bench.job(&job).await.recipe.version, 2);

    assert!(matches!(bench.manager.put_recipe("../x", &body).await, Err(ManagerError::RecipeName { .. })));
    assert!(matches!(bench.manager.put_recipe("x", &json!({ "video": 1 })).await, Err(ManagerError::Recipe(_))));
    assert!(matches!(bench.manager.reencode(&asset.id, Some("none")).await, Err(ManagerError::NoRecipe { .. })));
}

#[tokio::test]
async fn a_dry_run_shows_every_step_with_its_arguments() {
    let bench = Bench::new().await;
    let recipe = vod::Recipe::built_in().remove("fast").unwrap();
    let mut analysis = crate::plan::analysis(20_000);
    analysis.keyframe_interval_ms_max = 20_000;
    let plan = bench.manager.dry_run(&crate::plan::source(), &recipe, &super::bench::film(), &analysis).unwrap();

    let chunk = plan.steps.iter().find(|step| step.name == "encode/v360/0").unwrap();
    assert!(chunk.ffmpeg.windows(2).any(|pair| pair == ["-c:v", "libx264"]), "{:?}", chunk.ffmpeg);
    assert!(plan.core_seconds > 1.0);
    assert_eq!(bench.catalogue.assets(&AssetFilter::default(), None, 10).await.unwrap().rows, []);
}

async fn films(bench: &Bench) -> Vec<String> {
    let page = bench.catalogue.assets(&AssetFilter::default(), None, 10).await.unwrap();
    page.rows.into_iter().map(|asset| asset.title).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_that_stopped_growing_becomes_an_asset() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::with(Config { watch_recipe: "fast".into(), ..Config::default() }).await;
    let mut watch = Watch::new(bench.manager.clone(), folder.path().to_owned());
    let film = folder.path().join("film.mp4");
    std::fs::write(&film, "the beginning").unwrap();
    std::fs::write(folder.path().join("other.mp4.part"), "x").unwrap();

    watch.look().await;
    watch.look().await;
    std::fs::write(&film, "the beginning and the end").unwrap();
    watch.look().await;
    watch.look().await;
    assert_eq!(films(&bench).await, [""; 0], "it was still growing");
    watch.look().await;

    assert_eq!(films(&bench).await, ["film.mp4"]);
    assert_eq!(
        (names(&folder.path().join("done")), names(folder.path())),
        (vec!["film.mp4".into()], vec!["done".into(), "other.mp4.part".into()])
    );
    let asset = bench.catalogue.assets(&AssetFilter::default(), None, 10).await.unwrap().rows.remove(0);
    assert_eq!((asset.recipe.name.as_str(), asset.source.bytes), ("fast", Some(25)));
}

#[tokio::test]
async fn an_import_that_broke_off_before_the_move_is_not_done_twice() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new().await;
    let film = folder.path().join("film.mp4");
    std::fs::write(&film, "film").unwrap();
    let modified = std::fs::metadata(&film).unwrap().modified().unwrap();
    let look = async || {
        let mut watch = Watch::new(bench.manager.clone(), folder.path().to_owned());
        for _ in 0..3 {
            watch.look().await;
        }
    };
    look().await;
    // As if the leader had died before it moved the file: the next one finds it where it was.
    std::fs::rename(folder.path().join("done/film.mp4"), &film).unwrap();
    std::fs::File::open(&film).unwrap().set_modified(modified).unwrap();
    look().await;

    assert_eq!(films(&bench).await.len(), 1);
    assert_eq!(names(&folder.path().join("done")), ["film.mp4"]);
}

#[tokio::test]
async fn a_file_that_is_too_large_is_put_aside_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::with(Config { upload_bytes_max: 3, ..Config::default() }).await;
    std::fs::write(folder.path().join("film.mp4"), "film").unwrap();
    let mut watch = Watch::new(bench.manager.clone(), folder.path().to_owned());
    for _ in 0..3 {
        watch.look().await;
    }
    assert_eq!(names(&folder.path().join("failed")), ["film.mp4", "film.mp4.txt"]);
    let reason = std::fs::read_to_string(folder.path().join("failed/film.mp4.txt")).unwrap();
    assert!(reason.contains("3 bytes"), "{reason}");
    assert_eq!(films(&bench).await, [""; 0]);
}
