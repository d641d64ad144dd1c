//! Who may what.

use api::Config;
use http::Method;
use serde_json::json;
use store::catalogue::Scope;

use crate::house::{House, from, here, there, with_body};

#[tokio::test]
async fn this_machine_is_admin_unless_a_foreign_page_is_behind_the_request() {
    let house = House::new().await;
    let me = house.get("/api/v1/whoami").await.expect(200).json();
    assert_eq!(me, json!({ "name": "loopback", "scopes": ["admin", "worker"], "tenant": null }));

    let rebound = from("127.0.0.1:1", Method::GET, "/api/v1/whoami").header("host", "rebound.example");
    assert_eq!(house.send(with_body(rebound, None)).await.expect(401).code(), "host_not_local");
    let foreign = here(Method::POST, "/api/v1/maintenance:gc").header("origin", "https://evil.example");
    assert_eq!(house.send(with_body(foreign, Some(json!({})))).await.expect(401).code(), "cross_site");
    let own = here(Method::GET, "/api/v1/whoami").header("origin", "http://localhost:8080");
    house.send(with_body(own, None)).await.expect(200);
}

#[tokio::test]
async fn loopback_can_be_switched_off() {
    let house = House::with(Config { loopback: false, ..Config::default() }).await;
    let refused = house.get("/api/v1/assets").await.expect(401);
    assert_eq!(refused.headers["www-authenticate"], "Bearer realm=\"headwater\"");
    assert_eq!(refused.code(), "token_required");
}

#[tokio::test]
async fn elsewhere_needs_a_good_token() {
    let house = House::new().await;
    let none = house.send(with_body(there(Method::GET, "/api/v1/assets"), None)).await.expect(401);
    assert_eq!(none.code(), "token_required");
    let wrong = house.ask_with("hwt_wrong", Method::GET, "/api/v1/assets", None).await.expect(401);
    assert_eq!(wrong.code(), "token_unknown");
    let basic = there(Method::GET, "/api/v1/assets").header("authorization", "Basic YTpi");
    assert_eq!(house.send(with_body(basic, None)).await.expect(401).code(), "token_malformed");
    let here_wrong = here(Method::GET, "/api/v1/assets").header("authorization", "Bearer hwt_wrong");
    assert_eq!(house.send(with_body(here_wrong, None)).await.expect(401).code(), "token_unknown");

    let token = house.token(&[Scope::Read], None).await;
    house.ask_with(&token, Method::GET, "/api/v1/assets", None).await.expect(200);
}

#[tokio::test]
async fn scopes_hold() {
    let house = House::new().await;
    let asset = house.asset("default", "a film").await;
    let film = format!("/api/v1/assets/{}", asset.id);
    let change = json!({ "title": "another" });
    let (get, patch, post) = (Method::GET, Method::PATCH, Method::POST);
    let table: [(&[Scope], &Method, &str, u16); 16] = [
        (&[Scope::Read], &get, &film, 200),
        (&[Scope::Read], &patch, &film, 403),
        (&[Scope::Write], &get, &film, 200),
        (&[Scope::Write], &patch, &film, 200),
        (&[Scope::Worker], &get, &film, 403),
        (&[Scope::Worker], &get, "/api/v1/whoami", 200),
        (&[Scope::Admin], &patch, &film, 200),
        (&[Scope::Read], &get, "/api/v1/tokens", 403),
        (&[Scope::Write], &get, "/api/v1/tokens", 403),
        (&[Scope::Admin], &get, "/api/v1/tokens", 200),
        (&[Scope::Write], &post, "/api/v1/maintenance:gc", 403),
        (&[Scope::Write], &post, "/api/v1/workers/n1:cordon", 403),
        (&[Scope::Admin], &post, "/api/v1/worker/claim", 403),
        (&[Scope::Write], &post, "/api/v1/worker/claim", 403),
        (&[Scope::Read], &post, "/api/v1/uploads", 403),
        (&[Scope::Write], &post, "/api/v1/uploads", 201),
    ];
    for (scopes, method, path, status) in table {
        let token = house.token(scopes, None).await;
        let body = (*method != get).then(|| change.clone());
        let answer = house.ask_with(&token, method.clone(), path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{scopes:?} {method} {path}: {}", answer.text);
        if status == 403 {
            assert_eq!(answer.code(), "forbidden");
        }
    }
}

#[tokio::test]
async fn a_tenant_sees_its_own() {
    let house = House::new().await;
    let (own, other) = (house.asset("a", "own").await, house.asset("b", "other").await);
    let token = house.token(&[Scope::Write], Some("a")).await;
    let ask = async |method: Method, path: String, body| house.ask_with(&token, method, &path, body).await;

    ask(Method::GET, format!("/api/v1/assets/{}", own.id), None).await.expect(200);
    for (method, path) in [
        (Method::GET, format!("/api/v1/assets/{}", other.id)),
        (Method::DELETE, format!("/api/v1/assets/{}", other.id)),
        (Method::GET, format!("/api/v1/assets/{}/progress", other.id)),
        (Method::POST, format!("/api/v1/assets/{}:reencode", other.id)),
    ] {
        assert_eq!(ask(method, path, None).await.expect(404).code(), "not_found");
    }
    let listed = ask(Method::GET, "/api/v1/assets".into(), None).await.expect(200).json();
    let titles: Vec<_> = listed["data"].as_array().unwrap().iter().map(|asset| asset["title"].clone()).collect();
    assert_eq!(titles, ["own"]);
    assert_eq!(ask(Method::GET, "/api/v1/assets?tenant=b".into(), None).await.expect(403).code(), "forbidden");
    let jobs = ask(Method::GET, "/api/v1/jobs".into(), None).await.expect(200).json();
    assert_eq!(jobs["data"].as_array().unwrap().len(), 1);
    let foreign = house.catalogue.jobs(&Default::default(), None, 10).await.unwrap();
    let foreign = foreign.rows.into_iter().find(|job| job.tenant == "b").unwrap();
    ask(Method::POST, format!("/api/v1/jobs/{}:cancel", foreign.id), None).await.expect(404);
}

#[tokio::test]
async fn a_tenants_admin_makes_tokens_of_its_tenant_only() {
    let house = House::new().await;
    let admin = house.token(&[Scope::Admin], Some("a")).await;
    let make = async |body| house.ask_with(&admin, Method::POST, "/api/v1/tokens", Some(body)).await;

    let made = make(json!({ "label": "ci", "scopes": ["admin"] })).await.expect(201).json();
    assert_eq!(made["tenant"], "a");
    make(json!({ "label": "ci", "scopes": ["read"], "tenant": "b" })).await.expect(403);
    make(json!({ "label": "ci", "scopes": ["worker"] })).await.expect(400);
    house.ask_with(&admin, Method::POST, "/api/v1/maintenance:gc", None).await.expect(403);
    let listed = house.ask_with(&admin, Method::GET, "/api/v1/tokens", None).await.expect(200).json();
    assert!(listed["data"].as_array().unwrap().iter().all(|token| token["tenant"] == "a"), "{listed}");
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_once() {
    let house = House::new().await;
    let made = house.post("/api/v1/tokens", json!({ "label": "ci", "scopes": ["read"] })).await.expect(201).json();
    let secret = made["secret"].as_str().unwrap();
    house.ask_with(secret, Method::GET, "/api/v1/assets", None).await.expect(200);
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    house.ask(Method::DELETE, &path, None).await.expect(204);
    assert_eq!(house.ask_with(secret, Method::GET, "/api/v1/assets", None).await.expect(401).code(), "token_unknown");
    house.ask(Method::DELETE, &path, None).await.expect(404);
}

#[tokio::test]
async fn a_token_revoked_by_another_process_is_refused_after_five_seconds() {
    let house = House::new().await;
    let secret = house.token(&[Scope::Read], None).await;
    house.ask_with(&secret, Method::GET, "/api/v1/assets", None).await.expect(200);
    let id = house.catalogue.tokens().await.unwrap().remove(0).id;
    house.catalogue.revoke_token(&id).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(6)).await;
    tokio::time::resume();
    house.ask_with(&secret, Method::GET, "/api/v1/assets", None).await.expect(401);
}

#[tokio::test]
async fn a_users_token_can_do_no_more_than_the_user() {
    let house = House::new().await;
    let user = house.post("/api/v1/users", json!({ "name": "ann", "scopes": ["read"] })).await.expect(201).json();
    let body = |scopes: &[&str]| json!({ "label": "l", "scopes": scopes, "user": user["id"] });
    house.post("/api/v1/tokens", body(&["write"])).await.expect(403);
    let token = house.post("/api/v1/tokens", body(&["read"])).await.expect(201).json();
    assert_eq!(
        house.post("/api/v1/users", json!({ "name": "ann", "scopes": [] })).await.expect(409).code(),
        "conflict"
    );

    let path = format!("/api/v1/users/{}", user["id"].as_str().unwrap());
    house.ask(Method::DELETE, &path, None).await.expect(204);
    house.ask_with(token["secret"].as_str().unwrap(), Method::GET, "/api/v1/assets", None).await.expect(401);
}
