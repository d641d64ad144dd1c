//! The same POST twice is done once.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};
use store::catalogue::{Idempotency, WebhookId};

use crate::house::{House, here, with_body};

fn keyed(key: &str, path: &str, body: Value) -> Request<Body> {
    with_body(here(Method::POST, path).header("idempotency-key", key), Some(body))
}

fn film() -> Value {
    json!({ "url": "https://example.com/film.mov", "title": "once" })
}

#[tokio::test]
async fn a_repetition_is_answered_as_the_first_was() {
    let house = House::new().await;
    let first = house.send(keyed("\"k1\"", "/api/v1/assets", film())).await.expect(201);
    let again = house.send(keyed("\"k1\"", "/api/v1/assets", film())).await.expect(201);
    assert_eq!((first.text, &first.headers["location"]), (again.text, &again.headers["location"]));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let listed = house.get("/api/v1/assets").await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    let house = House::new().await;
    house.send(keyed("k1", "/api/v1/assets", film())).await.expect(201);
    let other = house.send(keyed("k1", "/api/v1/assets", json!({ "url": "https://example.com/b.mov" }))).await;
    assert_eq!(other.expect(422).code(), "idempotency_mismatch");
    let elsewhere = house.send(keyed("k1", "/api/v1/webhooks", film())).await;
    assert_eq!(elsewhere.expect(422).code(), "idempotency_mismatch");
}

#[tokio::test]
async fn a_key_in_flight_is_refused() {
    let house = House::new().await;
    let asset = house.asset("default", "a").await;
    let path = format!("/api/v1/assets/{}:reencode", asset.id);
    // The fingerprint of the request: only the first of many at once is let in.
    let house = Arc::new(house);
    let tries = (0..8).map(|_| {
        let (house, path) = (house.clone(), path.clone());
        tokio::spawn(async move { house.send(keyed("k1", &path, json!({}))).await })
    });
    let mut done = 0;
    for answer in futures_util::future::join_all(tries).await {
        let answer = answer.unwrap();
        match answer.status.as_u16() {
            201 => done += usize::from(!answer.headers.contains_key("idempotency-replayed")),
            409 => assert_eq!(answer.code(), "idempotency_in_flight"),
            other => panic!("{other}: {}", answer.text),
        }
    }
    assert_eq!(done, 1);
    let jobs = house.get(&format!("/api/v1/jobs?asset={}", asset.id)).await.json();
    assert_eq!(jobs["data"].as_array().unwrap().len(), 2, "the first job and one more");
}

#[tokio::test]
async fn a_key_taken_by_a_request_that_is_still_at_work_is_refused_with_409() {
    let house = House::new().await;
    // As another process does it: it has begun and not finished.
    let body = film().to_string();
    let fingerprint = {
        use sha2::{Digest, Sha256};
        data_encoding::HEXLOWER.encode(&Sha256::digest(format!("POST\0/api/v1/assets\0{body}")))
    };
    let begun = house.catalogue.idempotency_begin("k1", "loopback", &fingerprint).await.unwrap();
    assert!(matches!(begun, Idempotency::New));
    let answer = house.send(keyed("k1", "/api/v1/assets", film())).await.expect(409);
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(answer.code(), "idempotency_in_flight");
}

#[tokio::test]
async fn a_refused_request_frees_its_key() {
    let house = House::new().await;
    house.send(keyed("k1", "/api/v1/assets", json!({ "url": "nonsense" }))).await.expect(422);
    house.send(keyed("k1", "/api/v1/assets", film())).await.expect(201);
}

#[tokio::test]
async fn secrets_are_not_kept_for_repetitions() {
    let house = House::new().await;
    let body = json!({ "label": "ci", "scopes": ["read"] });
    let first = house.send(keyed("k1", "/api/v1/tokens", body.clone())).await.expect(201).json();
    let again = house.send(keyed("k1", "/api/v1/tokens", body)).await.expect(201).json();
    assert!(first["secret"].is_string());
    assert_eq!((&again["secret"], &again["id"]), (&Value::Null, &first["id"]));
}

#[tokio::test]
async fn keys_belong_to_who_sent_them() {
    let house = House::new().await;
    let token = house.token(&[store::catalogue::Scope::Write], None).await;
    house.send(keyed("k1", "/api/v1/assets", film())).await.expect(201);
    let request = here(Method::POST, "/api/v1/assets")
        .header("idempotency-key", "k1")
        .header("authorization", format!("Bearer {token}"));
    let other = house.send(with_body(request, Some(json!({ "url": "https://example.com/b.mov" })))).await;
    other.expect(201);
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let house = House::new().await;
    for key in ["", "\"\"", "a b", &"x".repeat(300)] {
        let answer = house.send(keyed(key, "/api/v1/assets", film())).await;
        assert_eq!(answer.expect(400).code(), "invalid_idempotency_key", "{key:?}");
    }
    let unknown = WebhookId::new();
    house.send(keyed("k", &format!("/api/v1/webhooks/{unknown}:test"), json!({}))).await.expect(404);
}
