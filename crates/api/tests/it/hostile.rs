//! Whatever comes, the answer is a refusal and never a failure.

use axum::body::Body;
use http::{Method, Request};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::house::{House, here};

/// Cases of each property: each is a request or more.
const CASES: u32 = 200;

fn runner() -> TestRunner {
    TestRunner::new(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        prop_oneof![Just("\0"), Just("\u{feff}"), Just("https://example.com/a"), Just("admin"), Just("default")]
            .prop_map(Value::from),
    ];
    let names = prop_oneof![
        Just("url"),
        Just("title"),
        Just("recipe"),
        Just("tenant"),
        Just("metadata"),
        Just("label"),
        Just("scopes"),
        Just("name"),
        Just("events"),
        Just("priority"),
        Just("asset"),
        Just("user"),
        Just("expires_in_days"),
        Just("dry_run"),
        Just("reason"),
        Just("video"),
        Just("gop_ms")
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(names.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Sends and checks: no failure, and every refusal is whole.
async fn harmless(house: &House, request: Request<Body>) -> Result<(), TestCaseError> {
    let shown = format!("{} {}", request.method(), request.uri());
    let answer = house.send(request).await;
    prop_assert!(answer.status.as_u16() < 500, "{shown}: {}", answer.text);
    if answer.status.is_client_error() {
        answer.code();
    }
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn any_cursor_is_a_page_or_a_refusal() {
    let runtime = runtime();
    let house = runtime.block_on(House::new());
    runtime.block_on(async {
        for number in 0..3 {
            house.asset("default", &format!("{number}")).await;
        }
    });
    let listing = prop_oneof![
        Just("assets"),
        Just("jobs"),
        Just("tokens"),
        Just("users"),
        Just("webhooks"),
        Just("workers"),
        Just("recipes"),
        Just("destinations")
    ];
    // Bytes as they are, and as cursors are written: with a listing's name before them.
    let plain = "[!-~]{0,80}";
    let named = ("(assets|jobs|tokens|recipes)[: ][0-9-]{0,20}[: ]?.{0,20}")
        .prop_map(|text| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes()));
    let cursor = prop_oneof![plain.prop_map(String::from), named];
    runner()
        .run(&(listing, cursor), |(listing, cursor)| {
            let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("cursor", &cursor).finish();
            let request = here(Method::GET, &format!("/api/v1/{listing}?{query}")).body(Body::empty()).unwrap();
            runtime.block_on(harmless(&house, request))
        })
        .unwrap();
}

#[test]
fn any_id_names_something_or_nothing() {
    let runtime = runtime();
    let house = runtime.block_on(House::new());
    let place = prop_oneof![
        Just("assets/@"),
        Just("assets/@/progress"),
        Just("assets/@/renditions"),
        Just("jobs/@"),
        Just("jobs/@/progress"),
        Just("steps/@"),
        Just("workers/@"),
        Just("webhooks/@"),
        Just("webhooks/@/deliveries"),
        Just("recipes/@"),
        Just("uploads/@"),
        Just("jobs?asset=@"),
        Just("events?after=@x")
    ];
    let bytes = prop::collection::vec(any::<u8>(), 1..40);
    runner()
        .run(&(place, bytes), |(place, bytes)| {
            let id: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
            let request =
                here(Method::GET, &format!("/api/v1/{}", place.replace('@', &id))).body(Body::empty()).unwrap();
            runtime.block_on(harmless(&house, request))
        })
        .unwrap();
}

#[test]
fn any_json_is_used_or_refused() {
    let runtime = runtime();
    let house = runtime.block_on(House::new());
    let asset = runtime.block_on(house.asset("default", "a"));
    let places: Vec<(Method, String)> = vec![
        (Method::POST, "assets".into()),
        (Method::PATCH, format!("assets/{}", asset.id)),
        (Method::POST, format!("assets/{}:reencode", asset.id)),
        (Method::PUT, "recipes/mine".into()),
        (Method::POST, "recipes:validate".into()),
        (Method::POST, "recipes/default:dry-run".into()),
        (Method::POST, "webhooks".into()),
        (Method::POST, "tokens".into()),
        (Method::POST, "users".into()),
        (Method::POST, "workers/n1:cordon".into()),
        (Method::PUT, "destinations/nas".into()),
        (Method::POST, "maintenance:gc".into()),
    ];
    runner()
        .run(&(prop::sample::select(places), json_value(), any::<bool>()), |((method, path), body, keyed)| {
            let mut request = here(method, &format!("/api/v1/{path}")).header("content-type", "application/json");
            if keyed {
                request = request.header("idempotency-key", format!("{:x}", rand::random::<u64>()));
            }
            let request = request.body(Body::from(body.to_string())).unwrap();
            runtime.block_on(harmless(&house, request))
        })
        .unwrap();
}

#[test]
fn any_bytes_are_json_or_refused() {
    let runtime = runtime();
    let house = runtime.block_on(House::new());
    let nested = (0usize..400).prop_map(|depth| "[".repeat(depth).into_bytes());
    let bytes = prop_oneof![prop::collection::vec(any::<u8>(), 0..200), nested];
    runner()
        .run(&bytes, |bytes| {
            let request = here(Method::POST, "/api/v1/assets").header("content-type", "application/json");
            runtime.block_on(harmless(&house, request.body(Body::from(bytes)).unwrap()))
        })
        .unwrap();
}

/// A text with U+0000 is what Postgres refuses; here it stops at the door.
#[tokio::test]
async fn nul_stops_at_the_door() {
    let house = House::new().await;
    let asset = house.asset("default", "a").await;
    let path = format!("/api/v1/assets/{}", asset.id);
    let body = json!({ "metadata": { "deep": [{ "er\0": 1 }] } });
    assert_eq!(house.ask(Method::PATCH, &path, Some(body)).await.expect(400).code(), "invalid_request");
}
