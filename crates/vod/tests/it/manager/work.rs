//! Steps handed out and taken in.

use std::time::Duration;

use axum::body::Body;
use http::{Method, StatusCode, header};
use serde_json::json;
use store::catalogue::{AssetState, ErrorClass, JobState, MediaKind, Progress, Scope, StepError, StepState};
use vod::{
    plan,
    progress::RenditionState,
    protocol::{Command, Fail, Heartbeat, HeartbeatAnswer, Leased, Output, Release, Spec},
};

use super::bench::{Bench, Hand, code, encoded, read, summary, text, track_file};

#[tokio::test]
async fn an_upload_becomes_a_film_that_plays() {
    let bench = Bench::new().await;
    let (asset, job) = bench.upload("default").await;
    let hand = bench.hand("one").await;

    let first = hand.until("package/v360").await;
    assert_eq!(
        first.inputs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["encode/v360/0", "encode/v360/1", "encode/v360/2"]
    );
    assert_eq!(bench.asset(&asset.id).await.state, AssetState::Preparing);
    hand.finish(&first).await;

    let playing = bench.asset(&asset.id).await;
    assert_eq!((playing.state, playing.duration_ms), (AssetState::Ready, Some(60_000)));
    let done = hand.all().await;
    assert_eq!(done.last().map(String::as_str), Some("clean-up"));
    assert_eq!(bench.job(&job).await.state, JobState::Done);

    let renditions = bench.catalogue.renditions(&asset.id).await.unwrap();
    let names: Vec<_> = renditions.iter().map(|r| (r.name.as_str(), r.kind)).collect();
    let video = ["v360", "v480", "v720"].map(|name| (name, MediaKind::Video));
    assert!(
        video.iter().all(|wanted| names.contains(wanted)) && names.contains(&("a0", MediaKind::Audio)),
        "{names:?}"
    );
    assert!(
        renditions.iter().all(|r| r.kind != MediaKind::Video || r.quality == json!({ "ssim": 0.98, "vmaf": 93.0 }))
    );
    assert_eq!(renditions.iter().find(|r| r.name == "a0").and_then(|r| r.language.as_deref()), Some("en"));
    let asset = bench.asset(&asset.id).await;
    assert!(asset.poster.is_some() && asset.storyboard.is_some());
}

#[tokio::test]
async fn what_a_new_film_needs_to_play_goes_before_more_of_an_older_one() {
    let bench = Bench::new().await;
    bench.upload("default").await;
    let hand = bench.hand("one").await;
    let higher = hand.until("encode/v480/0").await;
    let (_, newer) = bench.upload("default").await;

    let next = hand.claim().await.unwrap();
    assert_eq!((next.job, next.name.as_str()), (newer, "probe"));
    assert_eq!(higher.name, "encode/v480/0");
}

#[tokio::test]
async fn progress_grows_to_a_thousand_only_when_the_job_is_done() {
    let bench = Bench::new().await;
    let (_, job) = bench.upload("default").await;
    let hand = bench.hand("one").await;
    let progress = || async { bench.manager.progress(&job).await.unwrap().unwrap() };
    assert_eq!((progress().await.permille, progress().await.eta_ms), (0, None));

    let mut before = 0;
    while let Some(leased) = hand.claim().await {
        bench.advance_ms(2_000);
        hand.finish(&leased).await;
        let now = progress().await;
        // The plan was an estimate until the analysis.
        assert!(now.permille >= before || leased.name == "analyse", "{}: {} after {before}", leased.name, now.permille);
        assert!(now.permille < 1_000 || now.state == JobState::Done);
        before = now.permille;
    }
    let end = progress().await;
    assert_eq!((end.permille, end.eta_ms, end.state), (1_000, Some(0), JobState::Done));
    assert!(
        end.renditions.iter().all(|rendition| rendition.state == RenditionState::Ready && rendition.permille == 1_000)
    );
}

#[tokio::test]
async fn only_workers_speak_the_protocol() {
    let bench = Bench::new().await;
    for scopes in [&[Scope::Admin, Scope::Write, Scope::Read][..], &[]] {
        let answer = bench.send_as(scopes, Method::POST, "claim", &[], Body::from("{}")).await;
        assert_eq!(code(answer).await, (403, "not_a_worker".into()));
    }
    let answer = bench.send(Method::POST, "claim", &[], Body::from("{}")).await;
    assert_eq!(code(answer).await, (400, "bad_request".into()));
}

#[tokio::test]
async fn a_worker_that_is_not_known_is_told_to_register() {
    let (bench, other) = (Bench::new().await, Bench::new().await);
    let stranger = other.hand("stranger").await;
    assert_eq!(code(bench.post("claim", &stranger.claiming(0)).await).await, (404, "unknown_worker".into()));
}

#[tokio::test]
async fn nothing_is_accepted_with_a_token_that_does_not_hold() {
    let bench = Bench::new().await;
    let (_, job) = bench.upload("default").await;
    let hand = bench.hand("one").await;
    let lost = hand.claim().await.unwrap();
    assert!(bench.catalogue.cancel_job(&job).await.unwrap());

    let path = |verb: &str| format!("steps/{}/{verb}", lost.step);
    let heartbeat = Heartbeat { token: lost.token, progress: Progress { permille: 1, ..Progress::default() } };
    assert_eq!(code(bench.post(&path("heartbeat"), &heartbeat).await).await, (409, "lease_lost".into()));
    assert_eq!(code(bench.post(&path("release"), &Release { token: lost.token }).await).await.0, 409);
    assert_eq!(code(hand.complete(&lost, Output::Done {}).await).await.0, 409);
    assert_eq!(code(hand.try_put(&lost, "x", "x").await).await.0, 409);
    let source = bench.send(Method::GET, &format!("{}?token={}", path("source"), lost.token), &[], Body::empty()).await;
    assert_eq!(code(source).await.0, 409);
}

#[tokio::test]
async fn a_heartbeat_keeps_the_lease_and_a_release_costs_nothing() {
    let bench = Bench::new().await;
    bench.upload("default").await;
    let hand = bench.hand("one").await;
    let leased = hand.claim().await.unwrap();

    let beat = Heartbeat { token: leased.token, progress: Progress { permille: 500, ..Progress::default() } };
    for _ in 0..5 {
        bench.advance_ms(20_000);
        let answer: HeartbeatAnswer = read(bench.post(&format!("steps/{}/heartbeat", leased.step), &beat).await).await;
        assert_eq!(answer.command, Command::Continue);
        assert_eq!(bench.catalogue.reap().await.unwrap().lost, 0);
    }
    let released = bench.post(&format!("steps/{}/release", leased.step), &Release { token: leased.token }).await;
    assert_eq!(released.status(), StatusCode::NO_CONTENT);
    let again = hand.claim().await.unwrap();
    assert_eq!((again.step, again.attempt), (leased.step, 1));
}

#[tokio::test]
async fn a_completion_that_is_sent_twice_counts_once() {
    let bench = Bench::new().await;
    let (_, job) = bench.upload("default").await;
    let hand = bench.hand("one").await;
    let leased = hand.claim().await.unwrap();
    let output = hand.made(&leased).await;

    assert_eq!(hand.complete(&leased, output.clone()).await.status(), StatusCode::NO_CONTENT);
    let steps = bench.steps(&job).await.len();
    assert_eq!(hand.complete(&leased, output).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(bench.steps(&job).await.len(), steps);
}

#[tokio::test]
async fn a_waiting_claim_gets_a_step_as_soon_as_there_is_one() {
    let bench = Bench::new().await;
    let hand = bench.hand("one").await;
    let claim = hand.claiming(25_000);
    let (answer, _) = tokio::join!(bench.post("claim", &claim), async {
        tokio::task::yield_now().await;
        bench.upload("default").await
    });
    assert_eq!(read::<Leased>(answer).await.name, "probe");
}

#[tokio::test]
async fn a_claim_whose_worker_went_away_does_not_keep_a_step() {
    let bench = Bench::new().await;
    let (gone, other) = (bench.hand("gone").await, bench.hand("other").await);
    let claim = gone.claiming(25_000);
    // The connection breaks while the claim waits.
    let broken = tokio::time::timeout(Duration::from_millis(50), bench.post("claim", &claim)).await;
    assert!(broken.is_err());
    bench.upload("default").await;

    let leased = read::<Leased>(bench.post("claim", &other.claiming(25_000)).await).await;
    assert_eq!((leased.name.as_str(), leased.attempt), ("probe", 1));
}

#[tokio::test]
async fn sources_and_objects_are_read_by_ranges_and_by_nobody_else() {
    let bench = Bench::new().await;
    let (asset, _) = bench.upload("default").await;
    let hand = bench.hand("one").await;
    let leased = hand.until("stitch/v360").await;
    let get = |what: String, range: &'static str| {
        let path = format!("steps/{}/{what}", leased.step);
        let (bench, token) = (&bench, leased.token);
        async move {
            let sep = if path.contains('?') { '&' } else { '?' };
            bench.send(Method::GET, &format!("{path}{sep}token={token}"), &[("range", range)], Body::empty()).await
        }
    };
    let part = get("source".into(), "bytes=10-19").await;
    assert_eq!(
        (part.status(), part.headers()[header::CONTENT_RANGE].to_str().unwrap()),
        (StatusCode::PARTIAL_CONTENT, "bytes 10-19/30000000")
    );
    assert_eq!(text(part).await.len(), 10);
    assert_eq!(code(get("source".into(), "bytes=30000000-").await).await.0, 416);

    let (name, Output::Encoded { object, .. }) = &leased.inputs[1] else { panic!("{:?}", leased.inputs) };
    let own = get(format!("objects?key={}", object.key), "bytes=0-").await;
    assert!(text(own).await.starts_with(name));

    let (_, other) = bench.upload("default").await;
    for key in [
        format!("work/{other}/x"),
        "uploads/x/0".into(),
        format!("assets/{}/../../uploads/x/0", asset.id),
        String::new(),
    ] {
        assert_eq!(code(get(format!("objects?key={key}"), "").await).await, (404, "no_object".into()), "{key}");
    }
}

#[tokio::test]
async fn an_object_is_stored_once_and_whole() {
    let bench = Bench::new().await;
    bench.upload("default").await;
    let hand = bench.hand("one").await;
    let leased = hand.until("encode/v360/0").await;

    let stored = hand.put(&leased, "a.mp4", "bytes").await;
    assert_eq!(stored.key, format!("work/{}/{}-{}/a.mp4", leased.job, leased.step, leased.token));
    let again = hand.try_put(&leased, "a.mp4", "bytes").await;
    assert_eq!((again.status(), read::<vod::protocol::ObjectRef>(again).await), (StatusCode::OK, stored));
    assert_eq!(code(hand.try_put(&leased, "a.mp4", "other").await).await, (409, "exists".into()));

    let path = |name: &str| format!("steps/{}/objects/{name}?token={}", leased.step, leased.token);
    let wrong =
        bench.send(Method::PUT, &path("b.mp4"), &[("content-sha256", &"0".repeat(64))], Body::from("bytes")).await;
    assert_eq!(code(wrong).await, (400, "hash_mismatch".into()));
    let none = bench.send(Method::PUT, &path("b.mp4"), &[], Body::from("bytes")).await;
    assert_eq!(code(none).await, (400, "bad_request".into()));
    for name in [".hidden", "a%2Fb", "..", "a%20b"] {
        let answer =
            bench.send(Method::PUT, &path(name), &[("content-sha256", &"0".repeat(64))], Body::from("x")).await;
        assert!(answer.status().is_client_error(), "{name}: {}", answer.status());
    }
}

/// Changes an honest output, or stores other things than it should.
async fn lie(hand: &Hand<'_>, name: &str, change: impl AsyncFnOnce(&Leased, &mut Output)) -> (u16, String) {
    let leased = hand.until(name).await;
    let mut output = hand.made(&leased).await;
    change(&leased, &mut output).await;
    code(hand.complete(&leased, output).await).await
}

#[tokio::test]
async fn a_worker_that_lies_publishes_nothing_and_another_one_makes_good() {
    type Lie = fn(&mut Output);
    let lies: [(&str, Lie); 9] = [
        ("probe", |output| *output = Output::Done {}),
        ("analyse", |output| {
            let Output::Analysed { analysis, .. } = output else { return };
            analysis.chunks.remove(1);
        }),
        ("encode/v360/0", |output| {
            let Output::Encoded { object, encoded } = output else { return };
            (object.bytes, encoded.bytes) = (1 << 30, 1 << 30);
        }),
        ("encode/v360/0", |output| {
            let Output::Encoded { object, .. } = output else { return };
            object.key = "uploads/x/0".into();
        }),
        ("encode/v360/1", |output| {
            let Output::Encoded { encoded, .. } = output else { return };
            encoded.first_pts = 0;
        }),
        ("stitch/v360", |output| *output = Output::Stitched { bad: vec![7], frames: 0 }),
        ("package/v360", |output| {
            let Output::Packaged { summary, .. } = output else { return };
            summary.bandwidth += 1;
        }),
        ("package/v360", |output| {
            let Output::Packaged { media, index, .. } = output else { return };
            std::mem::swap(media, index);
        }),
        ("thumbnails", |output| {
            let Output::Thumbnails { images } = output else { return };
            images.push(images[0].clone());
        }),
    ];
    for (name, change) in lies {
        let bench = Bench::new().await;
        let (asset, job) = bench.upload("default").await;
        let (liar, honest) = (bench.hand("liar").await, bench.hand("honest").await);
        let refused = lie(&liar, name, async |_, output| change(output)).await;
        assert_eq!(refused, (422, "bad_output".into()), "{name}");

        let step = &bench.steps(&job).await[name];
        let error = step.error.clone().expect("an error on record");
        assert_eq!(
            (step.state, error.code.as_str(), error.class),
            (StepState::Ready, "bad_output", ErrorClass::Capacity),
            "{name}"
        );
        assert!(error.worker.is_some_and(|worker| worker.contains("liar")), "{name}");
        bench.advance_ms(600_000);
        let leased = honest.claim().await.expect("the step again");
        honest.finish(&leased).await;
        honest.all().await;
        assert_eq!(bench.job(&job).await.state, JobState::Done, "{name}");
        assert_eq!(bench.asset(&asset.id).await.state, AssetState::Ready, "{name}");
    }
}

#[tokio::test]
async fn an_index_of_another_track_is_not_published() {
    let bench = Bench::new().await;
    let (asset, _) = bench.upload("default").await;
    let hand = bench.hand("one").await;
    let refused = lie(&hand, "package/v360", async |leased, output| {
        let (_, index) = track_file("a0");
        let stored = hand.put(leased, "other.json", serde_json::to_vec(&index).unwrap()).await;
        let Output::Packaged { index: told, summary: summed, .. } = output else { return };
        *told = stored;
        let of_video = summed.clone();
        *summed = summary(&index);
        (summed.samples, summed.width, summed.height) = (of_video.samples, of_video.width, of_video.height);
    })
    .await;
    assert_eq!(refused, (422, "bad_output".into()));
    assert!(bench.catalogue.renditions(&asset.id).await.unwrap().iter().all(|r| r.kind == MediaKind::Audio));
}

#[tokio::test]
async fn chunks_that_do_not_match_are_made_again_and_no_others() {
    let bench = Bench::new().await;
    let (_, job) = bench.upload("default").await;
    let hand = bench.hand("one").await;
    let spoiled = |leased: &Leased, output: &mut Output| {
        let Output::Encoded { encoded, .. } = output else { panic!("{}", leased.name) };
        encoded.source_frames -= 1;
        encoded.frames -= 1;
        encoded.source_digest = "short".into();
    };
    // A short chunk: the worker of the stitch step says all is well, but the manager sees for itself.
    let leased = hand.until("encode/v360/1").await;
    let mut output = hand.made(&leased).await;
    spoiled(&leased, &mut output);
    assert_eq!(hand.complete(&leased, output).await.status(), StatusCode::NO_CONTENT);
    let stitch = hand.until("stitch/v360").await;
    hand.finish(&stitch).await;

    let steps = bench.steps(&job).await;
    let state = |name: &str| (steps[name].state, steps[name].attempt);
    assert_eq!(state("encode/v360/0"), (StepState::Done, 1));
    assert_eq!((steps["encode/v360/1"].state, steps["stitch/v360"].state), (StepState::Ready, StepState::Blocked));
    hand.all().await;
    assert_eq!(bench.job(&job).await.state, JobState::Done);
    assert_eq!(bench.job(&job).await.context["redo/v360"], json!({ "1": 1 }));
}

#[tokio::test]
async fn a_chunk_that_never_matches_ends_the_job_with_a_reason() {
    let bench = Bench::new().await;
    let (_, job) = bench.upload("default").await;
    let hand = bench.hand("one").await;
    while let Some(leased) = hand.claim().await {
        let mut output = hand.made(&leased).await;
        if leased.name == "encode/v360/2" {
            let Output::Encoded { encoded, .. } = &mut output else { panic!() };
            encoded.source_digest = "other".into();
        }
        hand.complete(&leased, output).await;
    }
    let job_row = bench.job(&job).await;
    assert_eq!(job_row.state, JobState::Failed);
    assert_eq!(job_row.error.map(|error| error.code), Some("chunk_mismatch".into()));
    assert_eq!(job_row.context["redo/v360"], json!({ "2": plan::REDOS_MAX }));
}

#[tokio::test]
async fn a_source_that_is_not_accepted_fails_in_words_for_its_uploader() {
    let bench = Bench::new().await;
    let (asset, _) = bench.upload("default").await;
    let hand = bench.hand("one").await;
    let leased = hand.claim().await.unwrap();
    let empty = transcode::vod::Probe { container: "mp3".into(), duration_ms: 0, start_ms: 0, tracks: vec![] };
    assert_eq!(
        code(hand.complete(&leased, Output::Probed { probe: empty, sha256: None }).await).await,
        (422, "no_tracks".into())
    );

    let asset = bench.asset(&asset.id).await;
    assert_eq!(asset.state, AssetState::Errored);
    assert!(asset.error.unwrap().human.contains("neither pictures nor sound"));
}

#[tokio::test]
async fn a_failure_is_kept_with_its_node_and_its_end() {
    let bench = Bench::new().await;
    let (_, job) = bench.upload("default").await;
    let hand = bench.hand("node-7").await;
    let leased = hand.claim().await.unwrap();
    let error = StepError {
        class: ErrorClass::Transient,
        code: "ffmpeg_failed".into(),
        human: "FFmpeg ended. Try again.".into(),
        log: Some("x".repeat(100_000)),
        worker: Some("someone else".into()),
    };
    let answer = bench.post(&format!("steps/{}/fail", leased.step), &Fail { token: leased.token, error }).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);

    let step = bench.steps(&job).await.remove("probe").unwrap();
    let error = step.error.unwrap();
    assert_eq!(step.state, StepState::Ready);
    assert_eq!((error.worker.as_deref(), error.log.map(|log| log.len())), (Some("node-7, attempt 1"), Some(16 << 10)));
}

#[tokio::test]
async fn a_full_disk_gets_no_encodes_and_a_small_one_no_large_ones() {
    let bench = Bench::new().await;
    let (_, job) = bench.upload("default").await;
    let hand = bench.hand("small").await;
    hand.finish(&hand.until("probe").await).await;
    hand.finish(&hand.until("analyse").await).await;

    let mut claim = hand.claiming(0);
    claim.disk_free_bytes = 1_000;
    let leased: Leased = read(bench.post("claim", &claim).await).await;
    assert_eq!(leased.name, "thumbnails", "what writes next to nothing");
    let big = hand.until("package/a0").await;
    let before = bench.steps(&job).await["package/a0"].attempt;
    assert_eq!((big.attempt, before), (1, 1));
    assert!(matches!(big.spec, Spec::Package { .. }));
}

#[tokio::test]
async fn another_codec_needs_a_worker_that_has_it() {
    let bench = Bench::new().await;
    let recipe = json!({ "video": [{ "codec": "hevc", "rungs": [{ "height": 360, "kbps_max": 500 }] }] });
    bench.manager.put_recipe("modern", &recipe).await.unwrap();
    bench.upload("modern").await;
    let hand = bench.hand("old").await;
    let done = hand.all().await;
    assert!(!done.iter().any(|name| name.starts_with("encode/v")), "{done:?}");

    let mut register = json!({ "name": "new", "caps": ["encode"], "version": "1", "cores": 2, "memory_bytes": 1, "disk_free_bytes": 1 });
    register["encoders"] = json!(["libx264", "libx265"]);
    let registered: vod::protocol::Registered = read(bench.post("register", &register).await).await;
    let new = Hand { bench: &bench, id: registered.worker };
    assert_eq!(new.claim().await.map(|leased| leased.name), Some("encode/v360-hevc/0".into()));
}

#[tokio::test]
async fn a_fetch_goes_on_with_the_parts_it_has() {
    let bench = Bench::new().await;
    let about =
        vod::manager::NewAsset { tenant: "default".into(), title: "T".into(), recipe: None, metadata: json!({}) };
    let (asset, _) = bench.manager.create_from_url("https://me:pw@example.org/film.mp4", None, about).await.unwrap();
    assert_eq!(asset.source.url.as_deref(), Some("https://example.org/film.mp4"));
    let hand = bench.hand("one").await;

    let first = hand.claim().await.unwrap();
    let Spec::Fetch { auth: Some(auth), url, .. } = &first.spec else { panic!("{:?}", first.spec) };
    assert_eq!(
        (url.as_str(), auth.user.as_deref(), auth.password.as_deref()),
        ("https://example.org/film.mp4", Some("me"), Some("pw"))
    );
    let shown = serde_json::to_string(&bench.catalogue.step(&first.step).await.unwrap()).unwrap();
    assert!(!shown.contains("pw"), "a row shows a password");
    hand.put(&first, "part-0", "one ").await;
    let error = StepError {
        class: ErrorClass::Transient,
        code: "reset".into(),
        human: "Reset.".into(),
        log: None,
        worker: None,
    };
    bench.post(&format!("steps/{}/fail", first.step), &Fail { token: first.token, error }).await;

    bench.advance_ms(600_000);
    let second = hand.claim().await.unwrap();
    assert_eq!(second.stored.iter().map(|part| (part.name(), part.bytes)).collect::<Vec<_>>(), [("part-0", 4)]);
    let mut parts = second.stored.clone();
    parts.push(hand.put(&second, "part-1", "two").await);
    let output = Output::Fetched { file_name: "film.mp4".into(), parts, bytes: 7, sha256: "0".repeat(64) };
    assert_eq!(hand.complete(&second, output).await.status(), StatusCode::NO_CONTENT);
    let source = bench.asset(&asset.id).await.source;
    assert_eq!((source.bytes, source.blob.map(|blob| blob.parts.len())), (Some(7), Some(2)));
    let kept = bench.catalogue.setting(&format!("vod/credentials/{}", asset.id)).await.unwrap();
    assert_eq!(kept, Some(serde_json::Value::Null), "credentials outlive their use");
}

#[tokio::test]
async fn a_delivery_gets_files_that_any_server_can_serve() {
    let bench = Bench::new().await;
    let recipe = json!({
        "video": [{ "rungs": [{ "height": 360, "kbps_max": 500 }] }],
        "thumbnails": { "at_permille": [500], "width": 320 },
        "destinations": ["archive"],
    });
    bench.manager.put_recipe("delivered", &recipe).await.unwrap();
    let profile = json!({ "protocol": "folder", "path": "/archive" });
    bench.manager.put_destination("archive", Some(&profile)).await.unwrap();
    bench.upload("delivered").await;
    let hand = bench.hand("one").await;

    let transfer = hand.until("transfer/archive").await;
    let Spec::Transfer { destination, objects, .. } = &transfer.spec else { panic!("{:?}", transfer.spec) };
    assert_eq!(destination.as_ref(), Some(&profile));
    let paths: Vec<_> = objects.iter().map(|file| file.path.as_str()).collect();
    for path in
        ["v360/media.mp4", "v360/index.m3u8", "v360/iframes.m3u8", "a0/media.mp4", "a0/index.m3u8", "poster.jpg"]
    {
        assert!(paths.contains(&path), "{path} of {paths:?}");
    }
    assert_eq!(paths.last(), Some(&"index.m3u8"));
    assert!(objects.iter().all(|file| file.object.sha256.len() == 64));

    let playlist = objects.iter().find(|file| file.path == "v360/index.m3u8").unwrap();
    let key = store::Key::new(&playlist.object.key).unwrap();
    let bytes = bench.objects.get_range(&key, 0..playlist.object.bytes).await.unwrap();
    let (_, index) = track_file("v360");
    let first = index.segment(0).unwrap();
    let range = format!("#EXT-X-BYTERANGE:{}@{}\nmedia.mp4\n", first.end - first.start, first.start);
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains(&range) && !text.contains(".m4s"), "{text}");
    hand.finish(&transfer).await;
    let told = bench.catalogue.events(store::catalogue::Cursor::default(), None, 1_000).await.unwrap();
    assert!(told.iter().any(|event| event.kind == "asset.transferred" && event.data["destination"] == "archive"));
}

#[tokio::test]
async fn quality_below_the_recipe_is_told() {
    let bench = Bench::new().await;
    let recipe = json!({ "video": [{ "rungs": [{ "height": 360, "kbps_max": 500 }] }], "validate": { "ssim": true, "ssim_min": 0.99 } });
    bench.manager.put_recipe("strict", &recipe).await.unwrap();
    let (_, job) = bench.upload("strict").await;
    bench.hand("one").await.all().await;

    assert_eq!(bench.job(&job).await.state, JobState::Done);
    let told = bench.catalogue.events(store::catalogue::Cursor::default(), None, 1_000).await.unwrap();
    let low: Vec<_> = told.iter().filter(|event| event.kind == "asset.rendition.low_quality").collect();
    assert_eq!(low.iter().map(|event| event.data["quality"]["ssim"].as_f64()).collect::<Vec<_>>(), [Some(0.98)]);
}

#[tokio::test]
async fn a_track_that_lost_pictures_is_not_hidden() {
    let bench = Bench::new().await;
    let (_, job) = bench.upload("default").await;
    let hand = bench.hand("one").await;
    let refused = lie(&hand, "validate/v360", async |_, output| {
        let Output::Validated { frames, .. } = output else { return };
        *frames = Some(1_499);
    })
    .await;
    assert_eq!(refused, (422, "frames_missing".into()));
    hand.all().await;
    // Viewers keep what plays; the step says what is wrong with it.
    assert_eq!(bench.job(&job).await.state, JobState::Done);
    assert_eq!(
        bench.steps(&job).await["validate/v360"].error.as_ref().map(|error| error.code.as_str()),
        Some("frames_missing")
    );
    let _ = encoded;
}
