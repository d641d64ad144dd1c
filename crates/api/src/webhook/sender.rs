//! The sender: one in the cluster, by leader lease. It turns events into deliveries and sees each through.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use metrics::counter;
use store::catalogue::{Catalogue, Delivery, DeliveryState, NewEvent, Webhook, WebhookId};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Message, Poster, Schedule, Sent, health::Health};
use crate::problem::chain;

/// Name of the leadership.
const LEADERSHIP: &str = "webhooks";
/// How long a leadership lasts unless it is renewed: after a crash another sender begins this late.
const LEADER_TTL_MS: i64 = 5_000;
/// How often it is renewed, and asked for by those who do not have it.
const LEADER_RENEW: Duration = Duration::from_millis(1_500);
/// Longest wait for news: deliveries fall due and other processes write without a word.
const POLL: Duration = Duration::from_secs(1);
/// News are gathered this long: a busy queue changes hundreds of times a second.
const GATHER: Duration = Duration::from_millis(100);
/// Events turned into deliveries at a time.
const QUEUE_ROWS: u32 = 500;
/// Due deliveries looked at at a time: one per endpoint.
const DUE_ROWS: u32 = 256;
/// Requests on their way at a time.
const REQUESTS_MAX: usize = 32;
/// Wait after the catalogue failed.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Sees deliveries through.
pub(crate) struct Sender {
    catalogue: Catalogue,
    poster: Poster,
    schedule: Schedule,
    /// Who this process is among those that would send.
    holder: String,
}

/// A try that came back.
struct Tried {
    delivery: Delivery,
    webhook: Webhook,
    sent: Sent,
}

impl Sender {
    pub(crate) fn new(catalogue: Catalogue, poster: Poster, schedule: Schedule) -> Self {
        let holder = format!("api-{:016x}", rand::random::<u64>());
        Self { catalogue, poster, schedule, holder }
    }

    /// Sends while it leads, waits while another does, until `stop`.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.catalogue.leader(LEADERSHIP, &self.holder, LEADER_TTL_MS).await {
                Ok(Some(_)) => self.lead(stop).await,
                Ok(None) => {}
                Err(error) => tracing::warn!(error = chain(&error), "the webhook sender cannot ask for its leadership"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(LEADER_RENEW) => {}
            }
        }
        if let Err(error) = self.catalogue.resign(LEADERSHIP, &self.holder).await {
            tracing::debug!(error = chain(&error), "the webhook sender's leadership runs out by itself");
        }
    }

    /// Sends until the leadership is lost. What is on its way then is dropped unsettled: the next leader tries it again, and the
    /// receiver knows it by its id.
    async fn lead(&self, stop: &CancellationToken) {
        tracing::debug!(holder = self.holder, "sends webhooks");
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.renew() => tracing::warn!("the webhook sender lost its leadership"),
            () = self.work() => {}
        }
    }

    async fn renew(&self) {
        let mut tick = interval(LEADER_RENEW);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let renewed = self.catalogue.leader(LEADERSHIP, &self.holder, LEADER_TTL_MS);
            // Without an answer in time somebody else may lead already.
            match tokio::time::timeout(LEADER_RENEW, renewed).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) | Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    async fn work(&self) {
        let mut health = Health::new(self.catalogue.clone());
        let mut changed = self.catalogue.changed();
        let mut busy = HashSet::new();
        let mut tries = FuturesUnordered::new();
        loop {
            changed.borrow_and_update();
            let gathered = Instant::now() + GATHER;
            if let Err(error) = self.begin(&mut busy, &mut tries).await {
                tracing::warn!(error = chain(&error), "the webhook sender cannot read the catalogue");
                sleep(ERROR_PAUSE).await;
            }
            tokio::select! {
                Some(tried) = tries.next(), if !tries.is_empty() => {
                    busy.remove(&tried.webhook.id);
                    if let Err(error) = self.settle(&mut health, tried).await {
                        // It stays due and is sent again: twice is better than never.
                        tracing::warn!(error = chain(&error), "a webhook's delivery could not be settled");
                        sleep(ERROR_PAUSE).await;
                    }
                }
                () = async { sleep_until(gathered).await; let _ = changed.changed().await; } => {}
                () = sleep(POLL) => {}
            }
        }
    }

    /// Begins a try of what is due, one at a time for each endpoint.
    async fn begin<'s>(
        &'s self,
        busy: &mut HashSet<WebhookId>,
        tries: &mut FuturesUnordered<futures_util::future::BoxFuture<'s, Tried>>,
    ) -> Result<(), store::Error> {
        while self.catalogue.queue_deliveries(QUEUE_ROWS).await? > 0 {}
        if tries.len() >= REQUESTS_MAX {
            return Ok(());
        }
        for (delivery, webhook) in self.catalogue.due_deliveries(DUE_ROWS).await? {
            if tries.len() >= REQUESTS_MAX {
                break;
            }
            if busy.insert(webhook.id.clone()) {
                tries.push(Box::pin(self.attempt(delivery, webhook)));
            }
        }
        Ok(())
    }

    async fn attempt(&self, delivery: Delivery, webhook: Webhook) -> Tried {
        let message = Message::of(&delivery.event);
        let sent = match self.catalogue.now().await {
            Ok(now) => self.poster.send(&webhook, &message, now).await,
            Err(error) => Sent::Failed(chain(&error)),
        };
        Tried { delivery, webhook, sent }
    }

    async fn settle(&self, health: &mut Health, tried: Tried) -> Result<(), store::Error> {
        let Tried { delivery, webhook, sent } = tried;
        let tries = delivery.attempt + 1;
        let (state, next_in_ms) = match sent {
            Sent::Delivered(_) => (DeliveryState::Delivered, 0),
            Sent::Gone => (DeliveryState::Failed, 0),
            Sent::Failed(_) => match self.schedule.pause_ms(tries, rand::random()) {
                Some(pause_ms) => (DeliveryState::Pending, pause_ms),
                None => (DeliveryState::Failed, 0),
            },
        };
        counter!("headwater_webhook_tries_total", "state" => state.as_str()).increment(1);
        tracing::debug!(webhook = %webhook.id, event = %delivery.event.cursor, tries, answer = sent.note(), "a webhook was tried");
        self.catalogue.settle_delivery(&delivery.id, state, &sent.note(), next_in_ms).await?;
        match sent {
            Sent::Delivered(_) => health.well(&webhook.id).await,
            Sent::Gone => self.switch_off(webhook, "its receiver answered 410 Gone").await,
            Sent::Failed(_) => {
                let now = self.catalogue.now().await?;
                match health.ill(&webhook.id, now, self.schedule.give_up_after).await? {
                    true => self.switch_off(webhook, "it failed for days").await,
                    false => Ok(()),
                }
            }
        }
    }

    async fn switch_off(&self, webhook: Webhook, why: &str) -> Result<(), store::Error> {
        tracing::warn!(webhook = %webhook.id, why, "a webhook was switched off");
        // As it is now: a person may have changed it while the request was on its way.
        let Some(mut webhook) = self.catalogue.webhook(&webhook.id).await? else { return Ok(()) };
        webhook.enabled = false;
        self.catalogue.update_webhook(&webhook).await?;
        let data = serde_json::json!({ "webhook": webhook.id, "reason": why });
        let event = NewEvent { kind: "webhook.disabled", tenant: webhook.tenant, asset: None, job: None, data };
        self.catalogue.emit(&[event]).await
    }
}
