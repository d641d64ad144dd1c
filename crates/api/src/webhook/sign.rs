//! Signatures (Standard Webhooks 1.0, "Signature scheme").

use base::Wall;
use bytes::Bytes;
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use store::catalogue::Event;

/// What a symmetric secret begins with.
const SECRET_PREFIX: &str = "whsec_";
/// Random bytes of a secret; the standard asks for 24 to 64.
const SECRET_BYTES: usize = 32;

/// A new endpoint's secret.
pub(crate) fn new_secret() -> String {
    let bytes: [u8; SECRET_BYTES] = rand::random();
    format!("{SECRET_PREFIX}{}", BASE64.encode(&bytes))
}

/// What is sent: the same id and body at every try.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// `webhook-id`: the event's, so that a receiver can drop what it has.
    pub(crate) id: String,
    /// The body.
    pub(crate) body: Bytes,
}

impl Message {
    /// An event as the standard recommends it: `type`, `timestamp`, `data`.
    pub(crate) fn of(event: &Event) -> Self {
        let mut data = event.data.clone();
        if let Some(data) = data.as_object_mut() {
            let about = [
                ("tenant", Some(event.tenant.as_str())),
                ("asset", event.asset.as_ref().map(|id| id.as_str())),
                ("job", event.job.as_ref().map(|id| id.as_str())),
            ];
            for (name, value) in about.into_iter().filter_map(|(name, value)| Some((name, value?))) {
                data.entry(name).or_insert_with(|| value.into());
            }
        }
        Self::new(format!("evt_{}", event.cursor), &event.kind, event.at, &data)
    }

    /// A message that tells of no event: somebody tries the endpoint.
    pub(crate) fn test(webhook: &str, now: Wall) -> Self {
        let id = format!("evt_test_{:016x}", rand::random::<u64>());
        Self::new(id, "webhook.test", now, &json!({ "webhook": webhook }))
    }

    fn new(id: String, kind: &str, at: Wall, data: &serde_json::Value) -> Self {
        let body = json!({ "type": kind, "timestamp": at.to_string(), "data": data });
        Self { id, body: body.to_string().into() }
    }

    /// `webhook-signature`: one per secret, newest first, so that a receiver with either accepts it. A secret that cannot be read
    /// signs nothing.
    pub(crate) fn signatures(&self, secrets: &[String], timestamp_s: i64) -> String {
        let sign = |secret: &String| {
            let key = BASE64.decode(secret.strip_prefix(SECRET_PREFIX)?.as_bytes()).ok()?;
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
            mac.update(format!("{}.{timestamp_s}.", self.id).as_bytes());
            mac.update(&self.body);
            Some(format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes())))
        };
        secrets.iter().filter_map(sign).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures of the standard's reference implementations.
    #[test]
    fn signs_as_the_standards_libraries_do() {
        let message = Message { id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(), body: r#"{"test": 2432232314}"#.into() };
        let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()];
        assert_eq!(message.signatures(&secrets, 1_614_265_330), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_give_two_signatures() {
        let message = Message::test("whk_1", Wall::default());
        let signed = message.signatures(&[new_secret(), new_secret()], 1);
        assert_eq!(signed.split(' ').filter(|one| one.starts_with("v1,")).count(), 2);
        assert_eq!(message.signatures(&["other".into()], 1), "");
    }
}
