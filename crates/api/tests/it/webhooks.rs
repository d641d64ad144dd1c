//! Webhooks, sent to a receiver of the test's own.

use std::time::Duration;

use api::{Config, Schedule};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    house::{House, eventually},
    receiver::{Received, Receiver},
};

/// HMAC-SHA256 by its definition (RFC 2104), so that the sender is not checked by its own code.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0u8; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

/// What a receiver that has `secret` expects among the signatures.
fn signature(secret: &str, received: &Received) -> String {
    let key = data_encoding::BASE64.decode(secret.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
    let mut text = format!("{}.{}.", received.header("webhook-id"), received.header("webhook-timestamp")).into_bytes();
    text.extend_from_slice(&received.body);
    format!("v1,{}", data_encoding::BASE64.encode(&hmac(&key, &text)))
}

fn signed(secret: &str, received: &Received) -> bool {
    received.header("webhook-signature").split(' ').any(|one| one == signature(secret, received))
}

/// Tries again at once, `tries` times.
fn quick(tries: usize) -> Schedule {
    Schedule { pauses: vec![Duration::from_millis(20); tries], jitter_percent: 10, ..Schedule::default() }
}

async fn house(schedule: Schedule) -> House {
    House::scheduled(Config { webhook_private: true, webhook_timeout_ms: 2_000, ..Config::default() }, schedule).await
}

async fn endpoint(house: &House, url: &str, events: &[&str]) -> (String, String) {
    let made = house.post("/api/v1/webhooks", json!({ "url": url, "events": events })).await.expect(201).json();
    let path = format!("/api/v1/webhooks/{}", made["id"].as_str().unwrap());
    (path, made["secret"].as_str().unwrap().to_owned())
}

async fn deliveries(house: &House, path: &str) -> Vec<Value> {
    house.get(&format!("{path}/deliveries")).await.expect(200).json()["data"].as_array().unwrap().clone()
}

async fn got(receiver: &Receiver, count: usize) -> Vec<Received> {
    eventually("messages", || async { Some(receiver.got()).filter(|got| got.len() >= count) }).await
}

fn numbers(received: &[Received]) -> Vec<u64> {
    received.iter().map(|one| one.json()["data"]["number"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn events_arrive_in_order_and_signed() {
    let house = house(quick(3)).await;
    let receiver = Receiver::start(|_| 204).await;
    let (path, secret) = endpoint(&house, &receiver.url(), &["asset.ready"]).await;
    let running = house.run();
    house.asset("default", "not asked for").await;
    house.emit("other", 2).await;
    house.emit("default", 5).await;
    let received = got(&receiver, 5).await;
    assert_eq!(numbers(&received), [0, 1, 2, 3, 4]);
    for one in &received {
        assert!(signed(&secret, one), "{one:?}");
        let body = one.json();
        assert_eq!((&body["type"], &body["data"]["tenant"]), (&json!("asset.ready"), &json!("default")));
        assert!(body["timestamp"].as_str().unwrap().ends_with('Z'));
        assert!(one.header("webhook-id").starts_with("evt_"));
        assert!(one.header("webhook-timestamp").parse::<i64>().unwrap() > 1_600_000_000);
    }
    eventually("all delivered", || async {
        deliveries(&house, &path).await.iter().all(|one| one["state"] == "delivered").then_some(())
    })
    .await;
    running.abort();
}

#[tokio::test]
async fn a_failing_endpoint_gets_the_same_message_again_before_the_next() {
    let house = house(quick(5)).await;
    let receiver = Receiver::start(|number| if number < 3 { 500 } else { 200 }).await;
    let (path, _) = endpoint(&house, &receiver.url(), &["*"]).await;
    let running = house.run();
    house.emit("default", 2).await;
    let received = got(&receiver, 5).await;
    assert_eq!(numbers(&received), [0, 0, 0, 0, 1]);
    let ids: Vec<_> = received.iter().map(|one| one.header("webhook-id").to_owned()).collect();
    assert!(ids[..4].iter().all(|id| *id == ids[0]) && ids[4] != ids[0], "{ids:?}");
    let first = eventually("settled", || async {
        deliveries(&house, &path)
            .await
            .into_iter()
            .find(|one| one["event"]["data"]["number"] == 0 && one["state"] == "delivered")
    })
    .await;
    assert_eq!((&first["attempt"], &first["last"]), (&json!(4), &json!("200")));
    running.abort();
}

#[tokio::test]
async fn a_receiver_that_was_down_gets_everything_when_it_is_back() {
    let house = house(quick(2_000)).await;
    let receiver = Receiver::start(|_| 200).await;
    let addr = receiver.addr;
    let (path, secret) = endpoint(&house, &receiver.url(), &["*"]).await;
    drop(receiver);
    let running = house.run();
    house.emit("default", 3).await;
    eventually("tries that failed", || async {
        let all = deliveries(&house, &path).await;
        all.iter().any(|one| one["attempt"].as_i64().unwrap() >= 2 && one["state"] == "pending").then_some(())
    })
    .await;
    // The port may be another's for a moment.
    let receiver = Receiver::start_at(addr, |_| 200).await;
    let received = got(&receiver, 3).await;
    assert_eq!(numbers(&received), [0, 1, 2]);
    assert!(received.iter().all(|one| signed(&secret, one)));
    running.abort();
}

#[tokio::test]
async fn a_slow_endpoint_holds_up_only_itself() {
    let house = house(quick(100)).await;
    let (failing, well) = (Receiver::start(|_| 503).await, Receiver::start(|_| 200).await);
    endpoint(&house, &failing.url(), &["*"]).await;
    endpoint(&house, &well.url(), &["*"]).await;
    let running = house.run();
    house.emit("default", 3).await;
    assert_eq!(numbers(&got(&well, 3).await), [0, 1, 2]);
    assert!(numbers(&got(&failing, 2).await).iter().all(|number| *number == 0));
    running.abort();
}

#[tokio::test]
async fn a_delivery_fails_when_its_tries_are_used_up_and_can_be_replayed() {
    let house = house(quick(1)).await;
    let receiver = Receiver::start(|number| if number < 2 { 500 } else { 200 }).await;
    let (path, secret) = endpoint(&house, &receiver.url(), &["asset.*"]).await;
    let running = house.run();
    house.emit("default", 1).await;
    let failed = eventually("given up", || async {
        deliveries(&house, &path).await.into_iter().find(|one| one["state"] == "failed")
    })
    .await;
    assert_eq!(receiver.got().len(), 2);
    assert_eq!((&failed["attempt"], &failed["next_at"]), (&json!(2), &Value::Null));

    let replay = format!("{path}/deliveries/{}:replay", failed["id"].as_str().unwrap());
    house.post(&replay, Value::Null).await.expect(202);
    let received = got(&receiver, 3).await;
    assert_eq!(received[2].header("webhook-id"), received[0].header("webhook-id"));
    assert!(signed(&secret, &received[2]));
    eventually("delivered", || async {
        deliveries(&house, &path).await.into_iter().find(|one| one["state"] == "delivered")
    })
    .await;
    let (other, _) = endpoint(&house, &receiver.url(), &["*"]).await;
    house.post(&replay.replace(&path, &other), Value::Null).await.expect(404);
    running.abort();
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_switched_off() {
    let house = house(quick(5)).await;
    let receiver = Receiver::start(|_| 410).await;
    let (path, _) = endpoint(&house, &receiver.url(), &["asset.*"]).await;
    let running = house.run();
    house.emit("default", 2).await;
    eventually("switched off", || async { (house.get(&path).await.json()["enabled"] == false).then_some(()) }).await;
    assert_eq!(receiver.got().len(), 1);
    let events = house.catalogue.events(Default::default(), None, 100).await.unwrap();
    assert!(events.iter().any(|event| event.kind == "webhook.disabled"));
    running.abort();
}

#[tokio::test]
async fn an_endpoint_that_fails_for_too_long_is_switched_off() {
    let schedule = Schedule { give_up_after: Duration::from_millis(50), ..quick(2_000) };
    let house = house(schedule).await;
    let receiver = Receiver::start(|_| 500).await;
    let (path, _) = endpoint(&house, &receiver.url(), &["asset.*"]).await;
    let running = house.run();
    house.emit("default", 1).await;
    eventually("switched off", || async { (house.get(&path).await.json()["enabled"] == false).then_some(()) }).await;
    assert!(receiver.got().len() >= 2);
    running.abort();
}

#[tokio::test]
async fn two_senders_send_once() {
    let house = house(quick(3)).await;
    let receiver = Receiver::start(|_| 200).await;
    endpoint(&house, &receiver.url(), &["*"]).await;
    let (one, two) = (house.run(), house.run());
    house.emit("default", 20).await;
    let received = got(&receiver, 20).await;
    assert_eq!(numbers(&received), (0..20).collect::<Vec<u64>>());
    one.abort();
    two.abort();
}

#[tokio::test]
async fn secrets_are_exchanged_without_a_gap() {
    let house = house(quick(3)).await;
    let receiver = Receiver::start(|_| 200).await;
    let (path, old) = endpoint(&house, &receiver.url(), &["*"]).await;
    let rotated = house.post(&format!("{path}:rotate-secret"), Value::Null).await.expect(200).json();
    let new = rotated["secret"].as_str().unwrap().to_owned();
    assert_eq!(rotated["secrets"], 2);
    let test = house.post(&format!("{path}:test"), Value::Null).await.expect(200).json();
    assert_eq!(test, json!({ "delivered": true, "answer": "200" }));
    let received = receiver.got().remove(0);
    assert_eq!(received.json()["type"], "webhook.test");
    assert!(signed(&old, &received) && signed(&new, &received));

    house.post(&format!("{path}:rotate-secret"), json!({ "keep_previous": false })).await.expect(200);
    house.post(&format!("{path}:test"), Value::Null).await.expect(200);
    let received = receiver.got().remove(1);
    assert!(!signed(&old, &received) && !signed(&new, &received));
    let shown = house.get(&path).await.expect(200);
    assert!(!shown.text.contains("whsec_"), "{}", shown.text);
}

#[tokio::test]
async fn endpoints_are_changed_and_deleted() {
    let house = house(quick(3)).await;
    let (path, _) = endpoint(&house, "https://example.com/hook", &["asset.ready"]).await;
    let changed = house.ask(Method::PATCH, &path, Some(json!({ "events": ["job.*"], "enabled": false }))).await;
    let changed = changed.expect(200).json();
    assert_eq!((&changed["events"], &changed["enabled"]), (&json!(["job.*"]), &json!(false)));
    assert_eq!(changed["url"], "https://example.com/hook");
    house.ask(Method::DELETE, &path, None).await.expect(204);
    house.get(&path).await.expect(404);
}

#[tokio::test]
async fn private_addresses_are_no_endpoints_unless_allowed() {
    let house = House::new().await;
    for url in [
        "http://127.0.0.1/",
        "http://localhost.:1/x\0",
        "http://10.1.2.3/",
        "http://[::1]/",
        "http://169.254.169.254/",
        "gopher://x",
    ] {
        let refused = house.post("/api/v1/webhooks", json!({ "url": url })).await;
        assert_eq!(refused.expect(400).code(), "invalid_request", "{url}");
    }
    // A name is judged when it is resolved.
    let made = house.post("/api/v1/webhooks", json!({ "url": "http://localhost:9/" })).await.expect(201).json();
    let test = house.post(&format!("/api/v1/webhooks/{}:test", made["id"].as_str().unwrap()), Value::Null).await;
    let test = test.expect(200).json();
    assert_eq!(test["delivered"], false);
    assert!(test["answer"].as_str().unwrap().contains("this machine itself"), "{test}");
}
