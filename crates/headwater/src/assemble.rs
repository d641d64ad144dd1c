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
    ondemand::OnDemand,
    ops::{Ops, Readiness},
    roles::Role,
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
    let plays = |role| settings.server.roles.has(role);
    let (ops_part, http_part) = (readiness.expect("ops"), readiness.expect("http"));
    let rtmp_part = plays(Role::Live).then(|| readiness.expect("rtmp"));

    let ops = Ops::bind(settings.server.ops, readiness.clone(), metrics.clone()).await?;
    let ops_address = ops.local_addr()?;
    ops_part.up(ops_address);
    tokio::spawn(telemetry::upkeep(metrics));
    let ops = tokio::spawn(ops.run());

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let capabilities = Capabilities::probe(&settings.transcode).await;
    let live = match plays(Role::Live) {
        true => Some(Live::new(live_settings(&settings, capabilities.clone())?, clock.clone())),
        false => None,
    };
    let rtmp = match &live {
        Some(live) => Some(live.listen_rtmp(&settings.live.rtmp).await?),
        None => None,
    };
    if let (Some(part), Some(rtmp)) = (rtmp_part, &rtmp) {
        part.up(rtmp.local_addr());
    }
    let mut on_demand = OnDemand::open(&settings).await?;

    let viewers = Arc::new(Viewers::new(clock));
    let routes = routes(&settings, live.as_ref(), on_demand.as_ref());
    let http = edge::Server::bind(&settings.edge, routes)?.observer(viewers.clone()).start()?;
    http_part.up(http.local_addr());
    if let Some(on_demand) = &mut on_demand {
        on_demand.start(&settings, http.local_addr(), &capabilities)?;
    }
    if let Some(live) = &live {
        tokio::spawn(viewers.clone().report(live.clone()));
    }
    let demo = live.filter(|_| with_demo);
    let demo = demo.map(|live| tokio::spawn(demo::run(capabilities, settings.transcode.clone(), live)));
    let rtmp_address = rtmp.as_ref().map(live::RtmpListener::local_addr);
    let addresses = Addresses { http: Some(http.local_addr()), rtmp: rtmp_address, ops: Some(ops_address) };
    cli::say(&banner::text(&addresses, with_demo));

    shutdown.requested().await;
    readiness.drain();
    // Encoders first: their streams end, and viewers are told so while the edge still answers.
    if let Some(demo) = demo {
        demo.abort();
    }
    if let Some(rtmp) = &rtmp {
        rtmp.stop();
    }
    // The worker gives its steps back through the listener that is drained next.
    if let Some(on_demand) = on_demand {
        on_demand.stop().await;
    }
    http.drain(Duration::from_millis(settings.server.shutdown_grace_ms.into())).await;
    if let Some(rtmp) = rtmp {
        rtmp.stopped().await;
    }
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

/// The viewer app, the API and assets under their own paths, the live origin under all others.
fn routes(settings: &Settings, live: Option<&Live>, on_demand: Option<&OnDemand>) -> Vec<Route> {
    let origin = |live: &Live| {
        Route::prefix("/", BoxOrigin::from_service(live.origin()))
            .class("live")
            .policy(Policy::cached(Origin::key_query()).cors())
    };
    let on_demand = on_demand.map(|rooms| rooms.routes(settings)).unwrap_or_default();
    webapp::routes().into_iter().chain(on_demand).chain(live.map(origin)).collect()
}
