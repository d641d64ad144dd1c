//! Assembles the rooms into one running process.

use std::{error::Error, path::PathBuf, sync::Arc, time::Duration};

use base::{Clock, SystemClock};
use edge::{BoxOrigin, Policy, Route};
use live::{Live, Origin};
use store::Objects;
use transcode::Capabilities;

use crate::{
    Settings,
    banner::{self, Addresses},
    cli, demo,
    ops::{Ops, Readiness},
    shutdown::Shutdown,
    telemetry,
    viewers::Viewers,
    webapp,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// Runs the platform until a stop is requested, then drains it within `server.shutdown_grace_ms`.
///
/// # Errors
/// When a listener cannot be bound, or the data folder cannot be used.
pub async fn serve(settings: Settings, with_demo: bool) -> Result<(), BoxError> {
    let metrics = telemetry::install()?;
    let shutdown = Shutdown::on_signals()?;
    let readiness = Readiness::default();
    let (ops_part, http_part, rtmp_part) =
        (readiness.expect("ops"), readiness.expect("http"), readiness.expect("rtmp"));

    let ops = Ops::bind(settings.server.ops, readiness.clone(), metrics.clone()).await?;
    let ops_address = ops.local_addr()?;
    ops_part.up(ops_address);
    tokio::spawn(telemetry::upkeep(metrics));
    let ops = tokio::spawn(ops.run());

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let capabilities = Capabilities::probe(&settings.transcode).await;
    let live = Live::new(live_settings(&settings, capabilities.clone())?, clock.clone());
    let rtmp = live.listen_rtmp(&settings.live.rtmp).await?;
    rtmp_part.up(rtmp.local_addr());

    let viewers = Arc::new(Viewers::new(clock));
    let http = edge::Server::bind(&settings.edge, routes(&live))?.observer(viewers.clone()).start()?;
    http_part.up(http.local_addr());
    tokio::spawn(viewers.clone().report(live.clone()));

    let demo = with_demo.then(|| tokio::spawn(demo::run(capabilities, settings.transcode.clone(), live.clone())));
    let addresses = Addresses { http: Some(http.local_addr()), rtmp: Some(rtmp.local_addr()), ops: Some(ops_address) };
    cli::say(&banner::text(&addresses, with_demo));

    shutdown.requested().await;
    readiness.drain();
    // Encoders first: their streams end, and viewers are told so while the edge still answers.
    if let Some(demo) = demo {
        demo.abort();
    }
    rtmp.stop();
    http.drain(Duration::from_millis(settings.server.shutdown_grace_ms.into())).await;
    rtmp.stopped().await;
    ops.abort();
    Ok(())
}

fn live_settings(settings: &Settings, capabilities: Capabilities) -> Result<live::Settings, BoxError> {
    Ok(live::Settings {
        live: settings.live.clone(),
        transcode: settings.transcode.clone(),
        capabilities,
        store: Some(Objects::local(&objects_folder(settings))?),
    })
}

fn objects_folder(settings: &Settings) -> PathBuf {
    settings.server.data_dir.join(&settings.store.path)
}

/// The viewer app under its own paths, the live origin under all others.
fn routes(live: &Live) -> Vec<Route> {
    let origin = Route::prefix("/", BoxOrigin::from_service(live.origin()))
        .class("live")
        .policy(Policy::cached(Origin::key_query()).cors());
    webapp::routes().into_iter().chain([origin]).collect()
}
