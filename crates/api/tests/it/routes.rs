//! The document and the routes are the same.

use axum::body::Body;
use http::Method;
use serde_json::Value;
use store::catalogue::{AssetId, Scope};

use crate::house::{House, here, there};

fn document() -> Value {
    serde_json::from_str(&api::openapi_json()).unwrap()
}

/// Every operation: method, path, whether it needs no writing.
fn operations() -> Vec<(Method, String)> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys();
        let known = methods.filter_map(|method| Method::from_bytes(method.to_uppercase().as_bytes()).ok());
        known.map(|method| (method, path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

fn filled(path: &str) -> String {
    path.replace("{id}", AssetId::new().as_str()).replace("{delivery}", "dlv_1")
}

#[tokio::test]
async fn every_documented_operation_answers() {
    let house = House::new().await;
    let operations = operations();
    assert!(operations.len() > 50, "{}", operations.len());
    for (method, path) in operations {
        if path == "/api/v1/events" {
            continue; // It answers for ever; events.rs has it.
        }
        let answer = house.send(here(method.clone(), &filled(&path)).body(Body::empty()).unwrap()).await;
        let status = answer.status.as_u16();
        assert!(status < 500 && status != 405, "{method} {path}: {status} {}", answer.text);
        if answer.status.is_client_error() && method != Method::HEAD {
            assert_ne!(answer.code(), "no_route", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_operation_is_closed_to_strangers_and_to_tokens_without_scopes() {
    let house = House::new().await;
    let nothing = house.token(&[], None).await;
    for (method, path) in operations() {
        let stranger = house.send(there(method.clone(), &filled(&path)).body(Body::empty()).unwrap()).await;
        assert_eq!(stranger.status.as_u16(), 401, "{method} {path}");
        let answer = house.ask_with(&nothing, method.clone(), &filled(&path), None).await;
        let expected = if path == "/api/v1/whoami" { 200 } else { 403 };
        assert_eq!(answer.status.as_u16(), expected, "{method} {path}");
    }
}

#[tokio::test]
async fn readers_change_nothing() {
    let house = House::new().await;
    let reader = house.token(&[Scope::Read], None).await;
    for (method, path) in operations() {
        let looks = matches!(method, Method::GET | Method::HEAD);
        if looks || path.ends_with(":validate") || path.ends_with(":dry-run") {
            continue;
        }
        let answer = house.ask_with(&reader, method.clone(), &filled(&path), None).await;
        assert_eq!(answer.status.as_u16(), 403, "{method} {path}");
    }
}

#[tokio::test]
async fn the_document_is_served_to_all_and_is_openapi_3_1() {
    let house = House::new().await;
    let answer = house.send(there(Method::GET, "/api/v1/openapi.json").body(Body::empty()).unwrap()).await.expect(200);
    assert_eq!(answer.text, api::openapi_json());
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"].get("/api/v1/jobs/{id}:cancel").is_some());
    assert!(!answer.text.contains("/~"));
}

/// Operations have ids of their own, a summary, and answers; references lead somewhere.
#[test]
fn the_document_is_whole() {
    let document = document();
    let mut ids = std::collections::HashSet::new();
    for (method, path) in operations() {
        let operation = &document["paths"][&path][method.as_str().to_lowercase()];
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id.clone()), "{id} twice");
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{id} has no summary");
        assert!(!operation["responses"].as_object().unwrap().is_empty(), "{id} has no responses");
        let named = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        for place in path.split(['{', '}']).skip(1).step_by(2) {
            assert!(named.iter().any(|one| one["name"] == place && one["in"] == "path"), "{id} does not name {place}");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name} is nowhere");
    }
}

#[tokio::test]
async fn what_is_no_route_is_a_problem_too() {
    let house = House::new().await;
    for (method, path, status, code) in [
        (Method::GET, "/api/v1/nothing", 404, "no_route"),
        (Method::GET, "/api/v1/", 404, "no_route"),
        (Method::GET, "/other", 404, "no_route"),
        (Method::POST, "/api/v1/jobs/x/~cancel", 404, "no_route"),
        (Method::GET, "/api/v1/jobs/x:cancel", 404, "not_found"),
        (Method::DELETE, "/api/v1/queue", 405, "method_not_allowed"),
        (Method::GET, "/api/v1/assets/%ff", 404, "not_found"),
    ] {
        let answer = house.send(here(method.clone(), path).body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{method} {path}");
    }
    let allowed = house.send(here(Method::DELETE, "/api/v1/queue").body(Body::empty()).unwrap()).await;
    assert_eq!(allowed.headers["allow"], "GET,HEAD");
    assert_eq!(allowed.headers["cache-control"], "no-store");
}

#[tokio::test]
async fn workers_speak_their_protocol_behind_the_same_door() {
    let house = House::new().await;
    let token = house.token(&[Scope::Worker], None).await;
    let body = serde_json::json!({
        "name": "node-1", "caps": ["encode"], "version": "0", "cores": 2, "memory_bytes": 1, "disk_free_bytes": 1, "encoders": []
    });
    let registered = house.ask_with(&token, Method::POST, "/api/v1/worker/register", Some(body)).await;
    assert!(registered.status.is_success(), "{}", registered.text);
    assert!(registered.json()["worker"].as_str().unwrap().starts_with("wrk_"));
}
