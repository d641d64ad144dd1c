//! Bars until a job is over.

use std::time::Duration;

use serde_json::Value;

use super::{
    Api, Error,
    show::{Line, bar, cell, duration},
};
use crate::cli::say;

/// How often the progress is asked for.
const POLL: Duration = Duration::from_millis(500);
/// Answers that may fail one after the other: a platform that is being restarted comes back.
const FAILURES_MAX: u32 = 120;

/// The newest job of an asset.
pub(super) async fn asset(api: &Api, asset: &str, json: bool) -> Result<(), Error> {
    follow(api, &format!("assets/{asset}/progress"), json).await
}

/// One job.
pub(super) async fn job(api: &Api, job: &str, json: bool) -> Result<(), Error> {
    follow(api, &format!("jobs/{job}/progress"), json).await
}

async fn follow(api: &Api, path: &str, json: bool) -> Result<(), Error> {
    let mut line = Line::new(json);
    let mut playable = false;
    let mut failures = 0;
    loop {
        let progress = match api.get(path, &[]).await {
            Ok(progress) => progress,
            Err(error @ Error::Unreachable { .. }) | Err(error @ Error::Refused { status: 500.., .. })
                if failures < FAILURES_MAX =>
            {
                failures += 1;
                drop(error);
                tokio::time::sleep(POLL).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        failures = 0;
        if json {
            say(&format!("{progress}\n"));
        }
        line.lines(progress["permille"].as_u64().unwrap_or(0), &lines(&progress));
        if !playable && progress["playable"].as_bool() == Some(true) {
            playable = true;
            line.note("it plays now; better renditions are still being made");
        }
        match progress["state"].as_str() {
            Some("done") => return Ok(()),
            Some("failed" | "cancelled") => return Err(Error::Failed(failure(&progress))),
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

fn failure(progress: &Value) -> String {
    match progress["error"]["human"].as_str() {
        Some(human) => format!("the job failed: {human}"),
        None => format!("the job is {}", cell(progress, "state")),
    }
}

fn lines(progress: &Value) -> Vec<String> {
    let eta = progress["eta_ms"].as_u64().map(|ms| format!("  {} left", duration(Duration::from_millis(ms))));
    let waits = progress["position"].as_u64().filter(|&n| n > 0).map(|n| format!("  {n} before it in the queue"));
    let permille = progress["permille"].as_u64().unwrap_or(0);
    let mut lines =
        vec![format!("{:<10} {}{}{}", "all", bar(permille), eta.unwrap_or_default(), waits.unwrap_or_default())];
    for rendition in progress["renditions"].as_array().into_iter().flatten() {
        let permille = rendition["permille"].as_u64().unwrap_or(0);
        lines.push(format!("{:<10} {}  {}", cell(rendition, "name"), bar(permille), cell(rendition, "state")));
    }
    lines
}
