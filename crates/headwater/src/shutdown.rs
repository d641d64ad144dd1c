//! The stop: the first SIGTERM or SIGINT asks everything to drain, the second ends the process at once.

use tokio::sync::watch;

/// Exit code of a process that a second signal ended, as a shell reports SIGINT.
const EXIT_FORCED: i32 = 130;

/// A request to stop that any number of tasks can await.
#[derive(Clone, Debug)]
pub struct Shutdown {
    requested: watch::Receiver<bool>,
}

/// The end that asks for the stop.
#[derive(Clone, Debug)]
pub struct Trigger {
    sender: std::sync::Arc<watch::Sender<bool>>,
}

impl Shutdown {
    /// A pair of ends; nothing is listening to signals yet.
    pub fn new() -> (Trigger, Self) {
        let (sender, requested) = watch::channel(false);
        (Trigger { sender: sender.into() }, Self { requested })
    }

    /// A stop requested by SIGTERM or SIGINT. Call it inside the runtime.
    ///
    /// # Errors
    /// When the process cannot register for signals.
    pub fn on_signals() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (trigger, shutdown) = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            let name = tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
            tracing::info!(signal = name, "stopping: draining viewers and encoders; a second signal ends at once");
            trigger.request();
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::warn!("second signal: ending at once");
            std::process::exit(EXIT_FORCED);
        });
        Ok(shutdown)
    }

    /// Whether the stop was requested.
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Returns when the stop is requested, or when nobody is left who could request it.
    pub async fn requested(&self) {
        let _ = self.requested.clone().wait_for(|requested| *requested).await;
    }
}

impl Trigger {
    /// Requests the stop. Doing so twice is the same as once.
    pub fn request(&self) {
        self.sender.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_waiter_sees_the_request_also_afterwards() {
        let (trigger, shutdown) = Shutdown::new();
        assert!(!shutdown.is_requested());
        let early = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        trigger.request();
        early.await.expect("the waiter does not panic");
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }
}
