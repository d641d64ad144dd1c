//! A process that does steps for a platform elsewhere: it needs the platform's address, a token, and FFmpeg.

use std::error::Error;

use tokio_util::sync::CancellationToken;
use transcode::Capabilities;
use url::Url;
use vod::worker::Worker;

use crate::{
    Settings, cli, ondemand,
    ops::{Ops, Readiness},
    shutdown::Shutdown,
    telemetry,
};

/// Works until a stop is requested; then finishes or gives back what it has.
///
/// # Errors
/// When the address, the token or FFmpeg is missing, or the operations listener cannot be bound.
pub async fn run(settings: &Settings) -> Result<(), Box<dyn Error + Send + Sync>> {
    let server = Url::parse(&settings.client.server)
        .map_err(|_| format!("{:?} is not a URL; give --server http://HOST:8080", settings.client.server))?;
    if settings.client.token.reveal().is_empty() {
        return Err("a worker needs a token: run `headwater token create NAME --scopes worker` where the platform is, and give --token".into());
    }
    let capabilities = Capabilities::probe(&settings.transcode).await;
    capabilities.tool().map_err(str::to_owned)?;
    let metrics = telemetry::install()?;
    let shutdown = Shutdown::on_signals()?;
    let readiness = Readiness::default();
    let ops_part = readiness.expect("ops");
    let ops = Ops::bind(settings.server.ops, readiness, metrics.clone()).await?;
    ops_part.up(ops.local_addr()?);
    tokio::spawn(telemetry::upkeep(metrics));
    let ops = tokio::spawn(ops.run());

    let worker = Worker::new(ondemand::worker_settings(settings, server, settings.client.token.clone(), capabilities))?;
    cli::say(&format!(
        "\nHeadwater {} works for {}.\n\n  Ctrl-C finishes what it has and stops.\n\n",
        env!("CARGO_PKG_VERSION"),
        settings.client.server
    ));
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let signalled = tokio::spawn(async move {
        shutdown.requested().await;
        stopping.cancel();
    });
    let worked = worker.run(stop.cancelled_owned()).await;
    signalled.abort();
    ops.abort();
    Ok(worked?)
}
