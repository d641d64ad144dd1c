//! What each resource does.

use axum::body::Body;
use http::Method;
use serde_json::{Value, json};
use store::catalogue::{ErrorClass, Fenced, Rendition, StepError, WorkerId};

use crate::house::{House, here};

#[tokio::test]
async fn an_asset_is_made_of_a_url_changed_and_deleted() {
    let house = House::new().await;
    let body = json!({
        "url": "https://user:secret@example.com/a/film.mov?sig=secret", "title": "A film", "metadata": { "my_id": "7" }
    });
    let made = house.post("/api/v1/assets", body).await.expect(201);
    let asset = made.json();
    let path = format!("/api/v1/assets/{}", asset["id"].as_str().unwrap());
    assert_eq!(made.headers["location"].to_str().unwrap(), path);
    assert!(!made.text.contains("secret"), "{}", made.text);
    assert_eq!(
        (&asset["state"], &asset["tenant"], &asset["playback"]),
        (&json!("preparing"), &json!("default"), &Value::Null)
    );
    assert_eq!(asset["source"]["url"], "https://example.com/a/film.mov");
    assert!(asset["created"].as_str().unwrap().ends_with('Z'));
    assert_eq!(house.get(&path).await.json(), asset);

    let changed = house.ask(Method::PATCH, &path, Some(json!({ "title": "The film" }))).await.expect(200).json();
    assert_eq!((&changed["title"], &changed["metadata"]), (&json!("The film"), &json!({ "my_id": "7" })));
    let progress = house.get(&format!("{path}/progress")).await.expect(200).json();
    assert_eq!((&progress["state"], &progress["asset"]), (&json!("running"), &asset["id"]));

    house.ask(Method::DELETE, &path, None).await.expect(204);
    assert_eq!(house.get(&path).await.expect(404).code(), "not_found");
    house.ask(Method::DELETE, &path, None).await.expect(404);
}

#[tokio::test]
async fn what_is_no_asset_is_refused_with_a_reason() {
    let house = House::new().await;
    for (body, status, code) in [
        (json!({}), 400, "invalid_request"),
        (json!([]), 400, "invalid_request"),
        (json!({ "url": "file:///etc/passwd" }), 422, "invalid_source"),
        (json!({ "url": "https://example.com/a", "recipe": "none" }), 422, "no_recipe"),
        (json!({ "url": "https://example.com/a", "colour": "red" }), 400, "invalid_request"),
        (json!({ "url": "https://example.com/a", "metadata": 7 }), 400, "invalid_request"),
        (json!({ "url": "https://example.com/a", "title": "x".repeat(1_000) }), 400, "invalid_request"),
        (json!({ "url": "https://example.com/a", "title": "a\0b" }), 400, "invalid_request"),
        (json!({ "url": "https://example.com/a", "tenant": "../b" }), 400, "invalid_request"),
        (json!({ "url": "https://example.com/a", "metadata": { "x": "y".repeat(20_000) } }), 400, "invalid_request"),
    ] {
        let shown: String = body.to_string().chars().take(80).collect();
        let answer = house.post("/api/v1/assets", body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{shown}");
    }
    let text = here(Method::POST, "/api/v1/assets").header("content-type", "application/json");
    house.send(text.body(Body::from("{")).unwrap()).await.expect(400);
    let huge = here(Method::PATCH, "/api/v1/assets/x").header("content-type", "application/json");
    house.send(huge.body(Body::from(vec![b' '; 2 << 20])).unwrap()).await.expect(404);
    let form = here(Method::PUT, "/api/v1/recipes/mine").header("content-type", "text/plain");
    assert_eq!(house.send(form.body(Body::from("x")).unwrap()).await.expect(415).code(), "not_json");
    let huge = here(Method::PUT, "/api/v1/recipes/mine").header("content-type", "application/json");
    let huge = house.send(huge.body(Body::from(vec![b' '; 2 << 20])).unwrap()).await;
    assert_eq!(huge.expect(413).code(), "body_too_large");
}

#[tokio::test]
async fn uploads_are_passed_on_whole() {
    let house = House::new().await;
    let bytes = 5 << 20;
    for (method, path, kind) in [
        (Method::POST, "/api/v1/uploads", None),
        (Method::PATCH, "/api/v1/uploads/upl_1", Some("application/offset+octet-stream")),
        (Method::PUT, "/api/v1/assets/~my:film.mov", Some("video/quicktime")),
        (Method::POST, "/api/v1/assets", Some("multipart/form-data; boundary=x")),
    ] {
        let mut request = here(method.clone(), path).header("idempotency-key", "k1");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let said = house.send(request.body(Body::from(vec![0; bytes])).unwrap()).await.expect(201).json();
        let expected = json!({ "uploads": method.as_str(), "path": path, "principal": "loopback", "bytes": bytes });
        assert_eq!(said, expected);
    }
    assert_eq!(house.get("/api/v1/uploads").await.expect(200).json()["data"], json!([]));
    house.get("/api/v1/uploads/upl_1").await.expect(404);
}

#[tokio::test]
async fn a_job_shows_its_steps_and_obeys() {
    let house = House::new().await;
    let asset = house.asset("default", "a").await;
    let jobs = house.get(&format!("/api/v1/jobs?asset={}", asset.id)).await.expect(200).json();
    let path = format!("/api/v1/jobs/{}", jobs["data"][0]["id"].as_str().unwrap());
    let job = house.get(&path).await.expect(200).json();
    assert_eq!(job["steps"][0]["state"], "ready");
    assert!(job["steps"][0].get("spec").is_none() && job["steps"][0].get("output").is_none());

    let act = async |verb: &str, body: Value| house.post(&format!("{path}:{verb}"), body).await;
    assert_eq!(act("pause", Value::Null).await.expect(200).json()["state"], "paused");
    assert_eq!(act("pause", Value::Null).await.expect(409).code(), "job_state");
    assert_eq!(act("resume", Value::Null).await.expect(200).json()["state"], "running");
    assert_eq!(act("prioritise", json!({ "priority": -5 })).await.expect(200).json()["priority"], -5);
    act("prioritise", json!({ "priority": 5_000 })).await.expect(400);
    assert_eq!(act("cancel", Value::Null).await.expect(200).json()["state"], "cancelled");
    assert_eq!(act("retry", Value::Null).await.expect(200).json()["state"], "running");
    assert_eq!(act("explode", Value::Null).await.expect(404).code(), "no_route");
    assert_eq!(house.get(&format!("{path}/progress")).await.expect(200).json()["state"], "running");
}

#[tokio::test]
async fn a_failed_step_shows_its_log_and_is_retried() {
    let house = House::new().await;
    house.asset("default", "a").await;
    let worker = register(&house, "node-1").await;
    let lease = house.catalogue.claim(&worker, &["analyse".into(), "encode".into()]).await.unwrap().unwrap();
    let error = StepError {
        class: ErrorClass::Input,
        code: "not_media".into(),
        human: "This is no film. Upload another file.".into(),
        log: Some("Invalid data found".into()),
        worker: Some("node-1".into()),
    };
    let failed = house.catalogue.fail(&lease.step.id, lease.step.token, &error).await.unwrap();
    assert!(matches!(failed, Fenced::Held(_)));

    let path = format!("/api/v1/steps/{}", lease.step.id);
    let step = house.get(&path).await.expect(200).json();
    assert_eq!((&step["state"], &step["error"]["log"]), (&json!("failed"), &json!("Invalid data found")));
    let job = house.get(&format!("/api/v1/jobs/{}", lease.step.job)).await.json();
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("failed"), &json!("not_media")));
    assert!(job["steps"][0]["error"].get("log").is_none(), "{job}");
    let progress = house.get(&format!("/api/v1/jobs/{}/progress", lease.step.job)).await.json();
    assert_eq!(progress["steps"][0]["error"]["human"], "This is no film. Upload another file.");

    assert_eq!(house.post(&format!("{path}:retry"), Value::Null).await.expect(200).json()["state"], "ready");
    assert_eq!(house.post(&format!("{path}:retry"), Value::Null).await.expect(409).code(), "step_state");
}

async fn register(house: &House, name: &str) -> WorkerId {
    let now = house.catalogue.now().await.unwrap();
    let worker = store::catalogue::Worker {
        id: WorkerId::new(),
        name: name.into(),
        caps: vec!["analyse".into(), "encode".into()],
        info: json!({ "cores": 2 }),
        cordoned: false,
        cordon_reason: None,
        draining: false,
        registered: now,
        seen: now,
    };
    house.catalogue.register_worker(&worker).await.unwrap().id
}

#[tokio::test]
async fn workers_are_cordoned_by_name_and_drained_by_id() {
    let house = House::new().await;
    let id = register(&house, "node-1").await;
    let state = async || house.get(&format!("/api/v1/workers/{id}")).await.expect(200).json();

    house.post("/api/v1/workers/node-1:cordon", json!({ "reason": "smells of smoke" })).await.expect(204);
    let worker = state().await;
    assert_eq!((&worker["cordoned"], &worker["cordon_reason"]), (&json!(true), &json!("smells of smoke")));
    house.post("/api/v1/workers/node-1:uncordon", Value::Null).await.expect(204);
    assert_eq!(state().await["cordoned"], false);
    house.post(&format!("/api/v1/workers/{id}:drain"), Value::Null).await.expect(204);
    assert_eq!(state().await["draining"], true);
    house.post("/api/v1/workers/nobody:uncordon", Value::Null).await.expect(404);
    assert_eq!(house.get("/api/v1/workers").await.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_queue_is_counted_by_capability() {
    let house = House::new().await;
    assert_eq!(house.get("/api/v1/queue").await.expect(200).json()["ready"], 0);
    house.asset("default", "a").await;
    house.asset("default", "b").await;
    let queue = house.get("/api/v1/queue").await.expect(200).json();
    let cap = queue["data"][0]["cap"].as_str().unwrap();
    assert_eq!((&queue["ready"], &queue["caps"][cap]["wanted"]), (&json!(2), &json!(2)));
}

#[tokio::test]
async fn recipes_are_versioned() {
    let house = House::new().await;
    let names: Vec<String> = house.get("/api/v1/recipes").await.expect(200).json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|recipe| recipe["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["audio", "default", "fast", "passthrough"]);
    let body = house.get("/api/v1/recipes/default").await.expect(200).json()["body"].clone();

    let put = async |body: &Value| house.ask(Method::PUT, "/api/v1/recipes/mine", Some(body.clone())).await;
    assert_eq!(put(&body).await.expect(200).json()["version"], 1);
    assert_eq!(put(&body).await.expect(200).json()["version"], 1, "nothing changed");
    let mut changed = body.clone();
    changed["description"] = json!("mine");
    assert_eq!(put(&changed).await.expect(200).json()["version"], 2);
    assert_eq!(house.get("/api/v1/recipes/mine?version=1").await.expect(200).json()["body"], body);
    house.get("/api/v1/recipes/mine?version=9").await.expect(404);
    house.get("/api/v1/recipes/..%2F").await.expect(404);

    assert_eq!(house.post("/api/v1/recipes:validate", body.clone()).await.expect(200).json(), body);
    let mut wrong = body;
    wrong["gop_ms"] = json!(1);
    for answer in [put(&wrong).await, house.post("/api/v1/recipes:validate", wrong.clone()).await] {
        assert_eq!(answer.expect(422).code(), "invalid_recipe");
    }
}

#[tokio::test]
async fn a_dry_run_shows_every_step_and_begins_none() {
    let house = House::new().await;
    let asset = house.asset("default", "a").await;
    let ask = async || house.post("/api/v1/recipes/fast:dry-run", json!({ "asset": asset.id })).await;
    assert_eq!(ask().await.expect(409).code(), "not_probed");

    let probe = json!({
        "container": "mov", "duration_ms": 60_000, "start_ms": 0,
        "tracks": [{
            "index": 0, "kind": "video", "codec": "h264", "profile": "High", "language": null, "title": null,
            "default": true, "forced": false, "bit_rate": 4_000_000, "start_ms": 0, "duration_ms": 60_000,
            "video": {
                "width": 1280, "height": 720, "coded_width": 1280, "coded_height": 720, "rotation": 0, "sar": [1, 1],
                "frame_rate": [25, 1], "pixel_format": "yuv420p", "bit_depth": 8, "interlaced": false, "hdr": false,
                "has_b_frames": true, "level": 31
            },
            "audio": null, "text": false
        }]
    });
    let patch = store::catalogue::AssetPatch { media: Some(probe), duration_ms: Some(60_000), ..Default::default() };
    house.catalogue.update_asset(&asset.id, &patch).await.unwrap();
    let plan = ask().await.expect(200).json();
    let steps = plan["steps"].as_array().unwrap();
    assert!(
        steps.iter().any(|step| step["kind"] == "encode" && !step["ffmpeg"].as_array().unwrap().is_empty()),
        "{plan}"
    );
    assert_eq!(plan["estimated"], true);
    let jobs = house.get("/api/v1/jobs").await.json();
    assert_eq!(jobs["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_ready_asset_says_where_it_plays() {
    let house = House::new().await;
    let asset = house.asset("default", "a").await;
    let worker = register(&house, "node-1").await;
    let lease = house.catalogue.claim(&worker, &["analyse".into(), "encode".into()]).await.unwrap().unwrap();
    let rendition = Rendition {
        asset: asset.id.clone(),
        name: "v720".into(),
        kind: store::catalogue::MediaKind::Video,
        codecs: "avc1.64001f".into(),
        width: Some(1280),
        height: Some(720),
        bandwidth: 2_000_000,
        average_bandwidth: 1_500_000,
        language: None,
        label: None,
        default: true,
        object: "assets/secret-key".into(),
        bytes: 1_000,
        index: "assets/secret-index".into(),
        quality: json!({}),
        ready: house.catalogue.now().await.unwrap(),
    };
    let expansion = store::catalogue::Expansion {
        renditions: vec![rendition],
        asset: store::catalogue::AssetPatch {
            state: Some(store::catalogue::AssetState::Ready),
            poster: Some("assets/poster-key".into()),
            ..Default::default()
        },
        ..Default::default()
    };
    let done = house.catalogue.complete(&lease.step.id, lease.step.token, &json!({}), &expansion).await.unwrap();
    assert!(matches!(done, Fenced::Held(())));

    let path = format!("/api/v1/assets/{}", asset.id);
    let answer = house.get(&path).await.expect(200);
    assert!(!answer.text.contains("-key"), "{}", answer.text);
    let shown = answer.json();
    assert_eq!(shown["playback"]["hls"], format!("/vod/{}/index.m3u8", asset.id));
    assert_eq!(shown["poster"], format!("/vod/{}/poster.jpg", asset.id));
    let renditions = house.get(&format!("{path}/renditions")).await.expect(200);
    assert!(!renditions.text.contains("secret"), "{}", renditions.text);
    assert_eq!(renditions.json()["data"][0]["name"], "v720");

    let job =
        house.post(&format!("{path}:reencode"), json!({ "recipe": "fast", "priority": 3 })).await.expect(201).json();
    assert_eq!((&job["recipe"]["name"], &job["priority"]), (&json!("fast"), &json!(3)));
}

#[tokio::test]
async fn destinations_hide_their_secrets() {
    let house = House::new().await;
    let put = async |body: Value| house.ask(Method::PUT, "/api/v1/destinations/nas", Some(body)).await;
    assert_eq!(put(json!({ "protocol": "pigeon" })).await.expect(422).code(), "invalid_destination");
    house.ask(Method::DELETE, "/api/v1/destinations/nas", None).await.expect(404);
    assert_eq!(house.get("/api/v1/destinations").await.expect(200).json()["data"], json!([]));
}

#[tokio::test]
async fn garbage_is_counted_before_it_goes() {
    let house = House::new().await;
    let report = house.post("/api/v1/maintenance:gc", json!({ "dry_run": true })).await.expect(200).json();
    assert_eq!((&report["dry_run"], &report["objects"]), (&json!(true), &json!(0)));
    house.post("/api/v1/maintenance:gc", Value::Null).await.expect(200);
}
