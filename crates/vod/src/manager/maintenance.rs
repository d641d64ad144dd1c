//! What one manager at a time does: lost leases, promotion, expiry, clean-up. The others stand by and take over within five
//! seconds.

use std::{sync::atomic::Ordering, time::Duration};

use store::catalogue::{AssetFilter, AssetState};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{Manager, ManagerError};
use crate::{upload::Uploads, watch::Watch};

/// How long a leader that does not renew is taken for alive, in milliseconds: with one renewal per second, and one second until
/// another manager asks, it is replaced within five.
pub const LEADER_TTL_MS: i64 = 4_000;
/// Name of the leadership.
const LEADERSHIP: &str = "vod-maintenance";
/// The leader renews, and reaps, this often.
const TICK: Duration = Duration::from_secs(1);
/// Uploads are expired, and assets that should be ready are announced, this often.
const MINUTE: Duration = Duration::from_secs(60);
/// Objects are cleaned up this often.
const GC: Duration = Duration::from_secs(600);
/// Watched folders are looked at this often.
const WATCH: Duration = Duration::from_secs(2);
/// Workers that were not heard of for this long are forgotten, in milliseconds: a day.
const WORKER_KEPT_MS: i64 = 24 * 3_600_000;
/// Workers not heard of for this long do not count, in milliseconds: two claims.
const WORKER_ALIVE_MS: i64 = 60_000;
/// Assets looked at per page when some should be announced.
const ASSETS_PER_PAGE: u32 = 100;

impl Manager {
    /// Maintenance, until `shutdown`: only the manager that leads does it. `uploads` are expired, too.
    pub async fn run(&self, uploads: Option<Uploads>, shutdown: CancellationToken) {
        if let Err(error) = self.store_built_in().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the built-in recipes could not be stored; later requests will"
            );
        }
        let mut leading: Option<Leading> = None;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
            }
            match self.catalogue().leader(LEADERSHIP, &self.inner.holder, LEADER_TTL_MS).await {
                Ok(Some(token)) => {
                    let now = leading.get_or_insert_with(|| Leading::begin(self, uploads.clone(), token));
                    now.renew(token, self, &uploads);
                    self.reap().await;
                }
                Ok(None) => leading = None,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the leadership could not be renewed");
                    leading = None;
                }
            }
            if let Err(error) = self.count_workers().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "workers could not be counted");
            }
        }
        if leading.take().is_some()
            && let Err(error) = self.catalogue().resign(LEADERSHIP, &self.inner.holder).await
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "the leadership runs out by itself");
        }
    }

    async fn reap(&self) {
        match self.catalogue().reap().await {
            Ok(reaped) => {
                for node in &reaped.cordoned {
                    tracing::error!(
                        node,
                        "a node lost too many steps and is cordoned; see to it, then `headwater workers uncordon`"
                    );
                }
                if reaped.lost > 0 {
                    let store::catalogue::Reaped { lost, retried, quarantined, .. } = reaped;
                    tracing::warn!(lost, retried, quarantined, "leases ran out");
                    metrics::counter!("headwater_vod_leases_lost_total").increment(lost);
                }
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "leases could not be looked at"),
        }
    }

    /// Counts the workers that are there.
    pub(super) async fn count_workers(&self) -> Result<(), ManagerError> {
        let now = self.now().await?.unix_ms();
        let workers = self.catalogue().workers().await?;
        let alive = workers.iter().filter(|worker| now - worker.seen.unix_ms() < WORKER_ALIVE_MS).count() as u64;
        self.inner.workers.store(alive, Ordering::Relaxed);
        metrics::gauge!("headwater_vod_workers").set(alive as f64);
        Ok(())
    }

    /// Assets whose renditions are there but which nobody announced: a manager died between two transactions.
    async fn announce_all(&self) -> Result<(), ManagerError> {
        let filter = AssetFilter { state: Some(AssetState::Preparing), ..AssetFilter::default() };
        let mut after: Option<String> = None;
        loop {
            let page = self.catalogue().assets(&filter, after.as_deref(), ASSETS_PER_PAGE).await?;
            for asset in &page.rows {
                self.announce(&asset.id).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn every_minute(&self, uploads: &Option<Uploads>) {
        if let Err(error) = self.announce_all().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "assets could not be announced");
        }
        if let Err(error) = self.catalogue().forget_workers(WORKER_KEPT_MS).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "workers that left could not be forgotten");
        }
        if let Some(uploads) = uploads
            && let Err(error) = uploads.expire().await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "uploads could not be expired");
        }
    }

    async fn every_gc(&self) {
        if let Err(error) = self.gc(false).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "clean-up broke off; it is tried again");
        }
    }
}

/// What the leader has under way beside its ticks, so that a long clean-up does not cost it the leadership. Dropped with the
/// leadership, it stops.
struct Leading {
    token: i64,
    tasks: Vec<JoinHandle<()>>,
}

impl Leading {
    fn begin(manager: &Manager, uploads: Option<Uploads>, token: i64) -> Self {
        tracing::info!(token, "this manager leads");
        let minutes = {
            let manager = manager.clone();
            every(MINUTE, move || {
                let (manager, uploads) = (manager.clone(), uploads.clone());
                async move { manager.every_minute(&uploads).await }
            })
        };
        let gc = {
            let manager = manager.clone();
            every(GC, move || {
                let manager = manager.clone();
                async move { manager.every_gc().await }
            })
        };
        let folders = manager.inner.config.watch_dirs.iter().map(|folder| {
            let watch = Watch::new(manager.clone(), folder.into());
            let watch = std::sync::Arc::new(tokio::sync::Mutex::new(watch));
            every(WATCH, move || {
                let watch = watch.clone();
                async move { watch.lock().await.look().await }
            })
        });
        let tasks = [minutes, gc].into_iter().chain(folders).collect();
        Self { token, tasks }
    }

    /// A new token says that the leadership was lost meanwhile: what is under way begins anew.
    fn renew(&mut self, token: i64, manager: &Manager, uploads: &Option<Uploads>) {
        if token != self.token {
            *self = Self::begin(manager, uploads.clone(), token);
        }
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Runs `work` at once and then every `period`, one after another.
fn every<F: Future<Output = ()> + Send>(period: Duration, work: impl Fn() -> F + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let next = Instant::now() + period;
            work().await;
            tokio::time::sleep_until(next).await;
        }
    })
}
