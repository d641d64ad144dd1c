//! Tell a URL that a job is done.

use std::time::Duration;

use url::Url;

use super::super::{
    client::http_client,
    failure::{self, Result},
    guard::{Guard, Refused},
    task::Task,
};
use crate::protocol::Output;

/// Longest wait for the whole exchange, in milliseconds.
const NOTIFY_MS_MAX: u64 = 15_000;

pub(super) async fn notify(task: &Task, url: &str, body: &serde_json::Value, private: bool) -> Result<Output> {
    let parsed =
        Url::parse(url).map_err(|_| failure::input("bad_url", "The recipe's notify URL is no URL; correct it."))?;
    let guard = Guard::new(private);
    guard.check(&parsed).map_err(|refused| failure::input("url_refused", format!("{refused}.")))?;
    let client = http_client(|builder| {
        // A redirect would need judging anew; a receiver of notices has no reason for one.
        builder.dns_resolver(guard.clone()).redirect(reqwest::redirect::Policy::none()).no_proxy()
    });
    let client = client.map_err(|error| failure::bug("no_client", failure::chain(&error)))?;
    let request = client.post(parsed).timeout(Duration::from_millis(NOTIFY_MS_MAX)).json(body);
    let answer = tokio::select! {
        answer = request.send() => answer,
        () = task.cancelled().cancelled() => return Err(failure::stopped()),
    };
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(Output::Done {}),
        Ok(answer) => {
            let human = format!("The notified server answered {}; look at its log.", answer.status());
            Err(failure::transient("notify_failed", human))
        }
        Err(error) => Err(unsent(&error)),
    }
}

fn unsent(error: &reqwest::Error) -> store::catalogue::StepError {
    match refused(error) {
        Some(refused) => failure::input("url_refused", format!("{refused}.")),
        None => {
            let human =
                format!("The notified server cannot be reached ({}); look at its address.", failure::chain(error));
            failure::transient("notify_failed", human)
        }
    }
}

/// The guard's word, when it is what ended a request.
pub(super) fn refused(error: &reqwest::Error) -> Option<Refused> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Some(refused.clone());
        }
        cause = error.source();
    }
    None
}
