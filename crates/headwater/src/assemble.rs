//! Assembles the rooms into one running process.

use std::{error::Error, time::Duration};

use crate::{
    Settings,
    banner::{self, Addresses},
    cli,
    ops::{Ops, Readiness},
    shutdown::Shutdown,
    telemetry,
};

/// Runs the platform until a stop is requested, then drains it within `server.shutdown_grace_ms`.
///
/// # Errors
/// When a listener cannot be bound.
pub async fn serve(settings: Settings, demo: bool) -> Result<(), Box<dyn Error + Send + Sync>> {
    let metrics = telemetry::install()?;
    let shutdown = Shutdown::on_signals()?;
    let readiness = Readiness::default();

    let part = readiness.expect("ops");
    let ops = Ops::bind(settings.server.ops, readiness.clone(), metrics.clone()).await?;
    let address = ops.local_addr()?;
    part.up(address);
    tokio::spawn(telemetry::upkeep(metrics));
    let ops = tokio::spawn(ops.run());

    cli::say(&banner::text(&Addresses { ops: Some(address), ..Addresses::default() }, demo));
    shutdown.requested().await;
    readiness.drain();
    let grace = Duration::from_millis(settings.server.shutdown_grace_ms.into());
    let _ = tokio::time::timeout(grace, async {}).await;
    ops.abort();
    Ok(())
}
