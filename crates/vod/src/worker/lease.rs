//! Holding a lease while its step is done: heartbeats, progress, and the end of it.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use store::catalogue::Progress;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    client::{Backoff, CallError, Client, Hold},
    telemetry::Counts,
};
use crate::protocol::Command;

/// How often, in milliseconds; as the manager said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rhythm {
    pub(crate) lease_ms: u64,
    pub(crate) heartbeat_ms: u64,
    pub(crate) progress_ms: u64,
}

/// Why work is in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The lease is another's, or nobody answered for as long as it lasts.
    Lost,
    /// The job was cancelled.
    Cancelled,
}

/// Keeps one lease alive until `cancel` fires. When the lease is gone it fires `cancel` itself, and says why in `fate`.
#[derive(Debug)]
pub(crate) struct Heart {
    pub(crate) client: Client,
    pub(crate) hold: Hold,
    pub(crate) rhythm: Rhythm,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) cancel: CancellationToken,
    pub(crate) fate: Arc<OnceLock<Fate>>,
    pub(crate) counts: Arc<Counts>,
}

impl Heart {
    /// Monotonic time alone decides, so that a clock that jumps changes nothing.
    pub(crate) async fn beat(mut self) {
        let mut sent = Instant::now();
        let cancel = self.cancel.clone();
        loop {
            if !self.wait(sent).await {
                return;
            }
            let deadline = sent + Duration::from_millis(self.rhythm.lease_ms);
            sent = Instant::now();
            let told = tokio::select! {
                told = self.tell(deadline) => told,
                () = cancel.cancelled() => return,
            };
            if let Some(fate) = told {
                tracing::warn!(step = %self.hold.step, token = self.hold.token, ?fate, "the lease is gone; the work is discarded");
                let _ = self.fate.set(fate);
                self.cancel.cancel();
                return;
            }
        }
    }

    /// Until a heartbeat is due, or progress that moved may be told; false when the work ended.
    async fn wait(&mut self, sent: Instant) -> bool {
        let due = sent + Duration::from_millis(self.rhythm.heartbeat_ms);
        let telling = sent + Duration::from_millis(self.rhythm.progress_ms.min(self.rhythm.heartbeat_ms));
        let moved = async {
            // The work that reported may be over and its last words told; then the heartbeat goes on alone.
            if self.progress.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep_until(telling.into()).await;
        };
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => true,
            () = moved => true,
            () = self.cancel.cancelled() => false,
        }
    }

    /// Sends a heartbeat until it is answered or the lease is over.
    async fn tell(&mut self, deadline: Instant) -> Option<Fate> {
        let mut backoff = Backoff::new();
        loop {
            let progress = self.progress.borrow_and_update().clone();
            match self.client.heartbeat(&self.hold, progress, deadline).await {
                Ok(answer) if answer.command == Command::Cancel => return Some(Fate::Cancelled),
                Ok(answer) => {
                    self.rhythm.progress_ms = u64::try_from(answer.progress_ms).unwrap_or(0);
                    self.counts.heartbeat();
                    return None;
                }
                Err(CallError::Lost) => return Some(Fate::Lost),
                Err(error) => tracing::debug!(step = %self.hold.step, error = %error.detail(), "a heartbeat failed"),
            }
            let pause = backoff.pause();
            if Instant::now() + pause >= deadline {
                return Some(Fate::Lost);
            }
            tokio::time::sleep(pause).await;
        }
    }
}
