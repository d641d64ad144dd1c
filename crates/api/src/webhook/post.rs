//! One try: a POST that goes only where it may.

use std::{sync::Arc, time::Duration};

use base::Wall;
use store::catalogue::Webhook;
use url::Url;
use vod::worker::guard::Guard;

use super::Message;
use crate::problem::chain;

/// Time for a connection, whatever the whole may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest note of an answer, in characters: people read it in a listing.
const NOTE_CHARS_MAX: usize = 300;

/// What a receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// 2xx.
    Delivered(u16),
    /// 410: it is gone and wants nothing more.
    Gone,
    /// Anything else: a status, or why there was none.
    Failed(String),
}

impl Sent {
    /// For the listing of deliveries.
    pub(crate) fn note(&self) -> String {
        match self {
            Self::Delivered(status) => status.to_string(),
            Self::Gone => "410".into(),
            Self::Failed(why) => why.chars().take(NOTE_CHARS_MAX).collect(),
        }
    }
}

/// Sends messages. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Poster {
    /// Or why there is none: a machine without certificates still serves everything else.
    client: Result<reqwest::Client, String>,
    guard: Guard,
}

impl Poster {
    /// Sends to public addresses, or with `private` also to private ones.
    pub(crate) fn new(private: bool, timeout: Duration) -> Self {
        let guard = Guard::new(private);
        let client = reqwest::Client::builder()
            .dns_resolver(Arc::new(guard.clone()))
            // A redirect would be a second, unjudged place, and a proxy resolves names by itself.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .user_agent(concat!("Headwater/", env!("CARGO_PKG_VERSION"), " (webhooks)"))
            .build();
        let client = client.map_err(|error| format!("webhooks cannot be sent from this machine: {}", chain(&error)));
        Self { client, guard }
    }

    /// Whether a URL may be an endpoint's, as far as it can be said without resolving its name.
    ///
    /// # Errors
    /// Why not, for people.
    pub(crate) fn check(&self, url: &str) -> Result<Url, String> {
        let url = Url::parse(url).map_err(|error| format!("the URL cannot be read: {error}"))?;
        self.guard.check(&url).map_err(|refused| refused.to_string())?;
        match (url.username(), url.password(), url.fragment()) {
            ("", None, None) => Ok(url),
            _ => Err("the URL has a user, password or fragment; leave them out and check the signature instead".into()),
        }
    }

    /// Sends `message` once.
    pub(crate) async fn send(&self, webhook: &Webhook, message: &Message, now: Wall) -> Sent {
        let url = match self.check(&webhook.url) {
            Ok(url) => url,
            Err(why) => return Sent::Failed(why),
        };
        let client = match &self.client {
            Ok(client) => client,
            Err(why) => return Sent::Failed(why.clone()),
        };
        let timestamp_s = now.unix_ms().div_euclid(1_000);
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", timestamp_s)
            .header("webhook-signature", message.signatures(&webhook.secrets, timestamp_s))
            .body(message.body.clone());
        // The answer's body is not read: its status says all.
        match request.send().await.map(|response| response.status()) {
            Ok(status) if status.is_success() => Sent::Delivered(status.as_u16()),
            Ok(http::StatusCode::GONE) => Sent::Gone,
            Ok(status) if status.is_redirection() => Sent::Failed(format!("{status}: redirects are not followed")),
            Ok(status) => Sent::Failed(status.to_string()),
            Err(error) => Sent::Failed(chain(&error.without_url())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_http_urls_are_endpoints() {
        let poster = Poster::new(false, Duration::from_secs(1));
        for (url, ok) in [
            ("https://example.com/hook?x=1", true),
            ("http://example.com", true),
            ("ftp://example.com", false),
            ("https://user@example.com", false),
            ("http://127.0.0.1/", false),
            ("http://[::1]/", false),
            ("http://10.0.0.1/", false),
            ("http://0x7f.1/", false),
            ("http://169.254.169.254/latest", false),
            ("no url", false),
        ] {
            assert_eq!(poster.check(url).is_ok(), ok, "{url}");
        }
    }
}
