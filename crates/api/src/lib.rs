//! The control API: everything below `/api/v1/`.
//!
//! People and programs come here for assets, jobs, recipes, workers, webhooks, events and access; uploads and the worker protocol of
//! the on-demand plane answer here too, behind the same door. The door knows who asks (a bearer token, or this very machine) and what
//! that needs; refusals are RFC 9457 problems with a code and a hint; a POST with an `Idempotency-Key` is done once.
//!
//! It deliberately knows no SQL, no FFmpeg and no sockets: rows come from [`store::catalogue::Catalogue`], work from
//! [`vod::manager::Manager`], and [`ApiService`] is called in memory by the edge, which leaves the client's address as
//! [`edge::Peer`] in the request. Start from [`Api`].
//!
//! Its metrics: `headwater_api_requests_total{status_class}`, `headwater_webhook_tries_total{state}`.
//!
//! ```no_run
//! # fn example(catalogue: store::catalogue::Catalogue, manager: vod::manager::Manager, uploads: api::Mounted) {
//! use api::{Api, ApiSettings, Config};
//!
//! let api = Api::new(ApiSettings { catalogue, manager, uploads, config: Config::default() });
//! let origin = edge::BoxOrigin::from_service(api.service());
//! let route = edge::Route::prefix("/api/v1", origin);
//! let background = api.run(async { tokio::signal::ctrl_c().await.unwrap_or(()) }); // events and webhooks, until then
//! # let _ = (route, background);
//! # }
//! ```

mod access;
mod auth;
mod config;
mod extract;
mod feed;
mod idempotency;
mod page;
mod problem;
mod resource;
mod routes;
mod service;
mod verb;
mod view;
mod webhook;

use std::{sync::Arc, time::Duration};

use store::catalogue::Catalogue;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use vod::manager::Manager;

pub use auth::new_token_secret;
pub use config::Config;
pub use routes::openapi_json;
pub use service::{ApiService, BoxError, Mounted, mounted};
pub use webhook::Schedule;

use auth::Auth;
use feed::Feed;
use service::Shared;
use webhook::{Poster, Sender};

/// Bounds of `api.webhook_timeout_ms`.
const WEBHOOK_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=60_000;

/// What the API works on.
#[derive(Debug)]
pub struct ApiSettings {
    /// The catalogue.
    pub catalogue: Catalogue,
    /// The on-demand plane's manager: makes jobs, and answers workers.
    pub manager: Manager,
    /// Answers uploads: `/api/v1/uploads`, `PUT /api/v1/assets/NAME` and forms to `POST /api/v1/assets`. See [`mounted`].
    pub uploads: Mounted,
    /// Section `api`.
    pub config: Config,
}

/// The control API. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
    service: ApiService,
    schedule: Schedule,
}

impl Api {
    /// An API on `settings`. It answers at once; events and webhooks flow while [`Api::run`] runs.
    pub fn new(settings: ApiSettings) -> Self {
        let ApiSettings { catalogue, manager, uploads, config } = settings;
        let timeout_ms = config.webhook_timeout_ms.clamp(*WEBHOOK_TIMEOUT_MS.start(), *WEBHOOK_TIMEOUT_MS.end());
        let shared = Arc::new(Shared {
            auth: Auth::new(catalogue.clone(), config.loopback),
            feed: Feed::new(catalogue.clone()),
            poster: Poster::new(config.webhook_private, Duration::from_millis(timeout_ms)),
            streams: Arc::new(Semaphore::new(config.event_streams_max.min(Semaphore::MAX_PERMITS))),
            stopping: CancellationToken::new(),
            uploads,
            worker: mounted(manager.worker_service()),
            catalogue,
            manager,
        });
        let service = ApiService::new(shared.clone(), routes::router(shared.clone()));
        Self { shared, service, schedule: Schedule::default() }
    }

    /// The same with other pauses between the tries of a webhook.
    pub fn webhook_schedule(self, schedule: Schedule) -> Self {
        Self { schedule, ..self }
    }

    /// From now on `secret` is the token of a worker in this process (see [`new_token_secret`]); it ends with the process.
    pub fn admit_worker(&self, secret: &base::Secret) {
        self.shared.auth.admit_worker(secret.reveal());
    }

    /// Answers requests whose paths begin with `/api/v1/`.
    pub fn service(&self) -> ApiService {
        self.service.clone()
    }

    /// Feeds event streams and, while this process leads, sends webhooks; until `shutdown`. Open event streams end then.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let Shared { catalogue, poster, feed, stopping, .. } = &*self.shared;
        let sender = Sender::new(catalogue.clone(), poster.clone(), self.schedule.clone());
        let feeding = async {
            let told = feed.tell(|job| self.shared.progress_json(job));
            tokio::select! {
                () = stopping.cancelled() => {}
                () = async { tokio::join!(feed.read(), told); } => {}
            }
        };
        let stop = async {
            shutdown.await;
            stopping.cancel();
        };
        tokio::join!(stop, feeding, sender.run(stopping));
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("schedule", &self.schedule).finish_non_exhaustive()
    }
}
