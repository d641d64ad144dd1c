//! Events for those who follow them live: one reader of the outbox for all streams, and the progress of running jobs.
//!
//! The newest events stay in memory. A stream that is further behind reads the outbox itself until it has caught up; what it is sent
//! is the same either way, so that nothing is lost or doubled between the two.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use store::catalogue::{Catalogue, Cursor, Event, Job, JobFilter, JobId, JobState};
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use crate::problem::chain;

/// Events kept in memory: a stream that blocks for some seconds still finds its place.
const EVENTS_MAX: usize = 1_024;
/// Events read at a time.
const READ_ROWS: u32 = 256;
/// Longest wait for news: other processes may write without a word.
const POLL: Duration = Duration::from_secs(1);
/// News are gathered this long: a busy queue changes hundreds of times a second.
const GATHER: Duration = Duration::from_millis(50);
/// Wait after the catalogue failed.
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// How often the progress of running jobs is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Running jobs whose progress is told; those of the next page are polled by who wants them.
const PROGRESS_JOBS_MAX: u32 = 100;
/// Progress messages that a slow stream may be behind; it then misses some and gets later ones.
const PROGRESS_QUEUE: usize = 256;

/// Where a job stands, for streams: without an id, for it is not an event that can be asked for again.
#[derive(Debug)]
pub(crate) struct Told {
    /// Whose.
    pub(crate) tenant: String,
    /// `view::JobProgress` as JSON.
    pub(crate) json: String,
}

/// The newest events.
#[derive(Default)]
struct Recent {
    /// Everything behind this position up to `last` is in `events`; `None` until the reader has begun.
    floor: Option<Cursor>,
    last: Cursor,
    events: VecDeque<Arc<Event>>,
}

/// What streams read from.
pub(crate) struct Feed {
    catalogue: Catalogue,
    recent: Mutex<Recent>,
    newest: watch::Sender<Cursor>,
    progress: broadcast::Sender<Arc<Told>>,
}

/// Events behind a position, and the position reached: the last event's, or further when others see none in between.
pub(crate) struct Batch {
    pub(crate) events: Vec<Arc<Event>>,
    pub(crate) reached: Cursor,
}

impl Feed {
    pub(crate) fn new(catalogue: Catalogue) -> Self {
        let (newest, _) = watch::channel(Cursor::default());
        let (progress, _) = broadcast::channel(PROGRESS_QUEUE);
        Self { catalogue, recent: Mutex::default(), newest, progress }
    }

    /// Ticks when there are new events.
    pub(crate) fn newest(&self) -> watch::Receiver<Cursor> {
        self.newest.subscribe()
    }

    /// Progress from now on.
    pub(crate) fn progress(&self) -> broadcast::Receiver<Arc<Told>> {
        self.progress.subscribe()
    }

    /// The events behind `after` that `tenant` may see, some at a time; none when it is up to date.
    pub(crate) async fn after(&self, after: Cursor, tenant: Option<&str>) -> Result<Batch, store::Error> {
        let known = match self.recent().after(after, tenant) {
            Ok(batch) => return Ok(batch),
            Err(last) => last,
        };
        let events: Vec<_> = self.catalogue.events(after, tenant, READ_ROWS).await?.into_iter().map(Arc::new).collect();
        let read = events.last().map_or(after, |event| event.cursor);
        // A read that was not cut off has seen everything that the reader had before it began.
        let reached = if events.len() < READ_ROWS as usize { read.max(known) } else { read };
        Ok(Batch { events, reached })
    }

    /// Reads the outbox for all, for ever.
    pub(crate) async fn read(&self) {
        let mut changed = self.catalogue.changed();
        loop {
            changed.borrow_and_update();
            let gathered = Instant::now() + GATHER;
            match self.read_on().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the event feed cannot read the catalogue");
                    sleep(ERROR_PAUSE).await;
                }
            }
            tokio::select! {
                () = async { sleep_until(gathered).await; let _ = changed.changed().await; } => {}
                () = sleep(POLL) => {}
            }
        }
    }

    /// Says whether there may be more.
    async fn read_on(&self) -> Result<bool, store::Error> {
        let floor = self.recent().floor;
        let Some(_) = floor else {
            let last = self.catalogue.last_event().await?;
            let mut recent = self.recent();
            (recent.floor, recent.last) = (Some(last), last);
            self.newest.send_replace(last);
            return Ok(true);
        };
        let last = self.recent().last;
        let events = self.catalogue.events(last, None, READ_ROWS).await?;
        let more = events.len() == READ_ROWS as usize;
        if let Some(newest) = events.last().map(|event| event.cursor) {
            self.recent().push(events);
            self.newest.send_replace(newest);
        }
        Ok(more)
    }

    /// Tells the progress of running jobs to those who listen, for ever. `progress` gives a job's as JSON.
    pub(crate) async fn tell<F, P>(&self, progress: F)
    where
        F: Fn(JobId) -> P,
        P: Future<Output = Option<String>>,
    {
        let mut told: HashMap<JobId, Arc<Told>> = HashMap::new();
        let mut tick = interval(PROGRESS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if self.progress.receiver_count() == 0 {
                told.clear();
                continue;
            }
            match self.running().await {
                Ok(jobs) => self.tell_changes(jobs, &mut told, &progress).await,
                Err(error) => tracing::warn!(error = chain(&error), "the progress of jobs cannot be read"),
            }
        }
    }

    async fn running(&self) -> Result<Vec<Job>, store::Error> {
        let filter = JobFilter { tenant: None, state: Some(JobState::Running), asset: None };
        Ok(self.catalogue.jobs(&filter, None, PROGRESS_JOBS_MAX).await?.rows)
    }

    /// Jobs that run, and once more those that did the last time and do not any longer.
    async fn tell_changes<F, P>(&self, jobs: Vec<Job>, told: &mut HashMap<JobId, Arc<Told>>, progress: &F)
    where
        F: Fn(JobId) -> P,
        P: Future<Output = Option<String>>,
    {
        let mut before = std::mem::take(told);
        for job in jobs {
            let last = before.remove(&job.id);
            let Some(json) = progress(job.id.clone()).await else { continue };
            let now = match last {
                Some(last) if last.json == json => last,
                _ => self.say(Told { tenant: job.tenant, json }),
            };
            told.insert(job.id, now);
        }
        for (job, last) in before {
            if let Some(json) = progress(job).await.filter(|json| *json != last.json) {
                self.say(Told { tenant: last.tenant.clone(), json });
            }
        }
    }

    fn say(&self, told: Told) -> Arc<Told> {
        let told = Arc::new(told);
        // Fails when the last listener has just left.
        let _ = self.progress.send(told.clone());
        told
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// # Errors
    /// The newest position when `after` is before what is kept: the outbox has it.
    fn after(&self, after: Cursor, tenant: Option<&str>) -> Result<Batch, Cursor> {
        if self.floor.is_none_or(|floor| after < floor) {
            return Err(self.last);
        }
        let start = self.events.partition_point(|event| event.cursor <= after);
        let rows = self.events.range(start..).take(READ_ROWS as usize);
        let reached = rows.clone().next_back().map_or(after, |event| event.cursor);
        let seen = |event: &&Arc<Event>| tenant.is_none_or(|tenant| event.tenant == tenant);
        Ok(Batch { events: rows.filter(seen).cloned().collect(), reached })
    }

    fn push(&mut self, events: Vec<Event>) {
        for event in events {
            self.last = event.cursor;
            self.events.push_back(Arc::new(event));
        }
        while self.events.len() > EVENTS_MAX {
            self.floor = self.events.pop_front().map(|event| event.cursor);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn event(seq: i64, tenant: &str) -> Event {
        Event {
            cursor: Cursor { transaction: 0, seq },
            kind: "asset.ready".into(),
            tenant: tenant.into(),
            asset: None,
            job: None,
            data: Value::Null,
            at: base::Wall::default(),
        }
    }

    fn at(seq: i64) -> Cursor {
        Cursor { transaction: 0, seq }
    }

    fn seqs(batch: &Batch) -> Vec<i64> {
        batch.events.iter().map(|event| event.cursor.seq).collect()
    }

    #[test]
    fn what_is_kept_is_read_from_any_place_in_it() {
        let mut recent = Recent { floor: Some(at(10)), last: at(10), ..Recent::default() };
        recent.push(vec![event(11, "a"), event(12, "b"), event(15, "a")]);
        assert_eq!(seqs(&recent.after(at(10), None).ok().unwrap()), [11, 12, 15]);
        assert_eq!(seqs(&recent.after(at(13), None).ok().unwrap()), [15]);
        let of_a = recent.after(at(11), Some("a")).ok().unwrap();
        assert_eq!((seqs(&of_a), of_a.reached), (vec![15], at(15)));
        assert_eq!(seqs(&recent.after(at(15), None).ok().unwrap()), [0i64; 0]);
        assert_eq!(recent.after(at(9), None).err(), Some(at(15)), "the outbox has it");
    }

    #[test]
    fn a_stream_of_another_tenant_moves_on_without_events() {
        let mut recent = Recent { floor: Some(at(0)), ..Recent::default() };
        recent.push((1..=300).map(|seq| event(seq, "b")).collect());
        let batch = recent.after(at(0), Some("a")).ok().unwrap();
        assert_eq!((batch.events.len(), batch.reached), (0, at(i64::from(READ_ROWS))));
    }

    #[test]
    fn old_events_leave_memory() {
        let mut recent = Recent { floor: Some(at(0)), ..Recent::default() };
        let count = EVENTS_MAX as i64 + 5;
        recent.push((1..=count).map(|seq| event(seq, "a")).collect());
        assert_eq!(recent.floor, Some(at(5)));
        assert!(recent.after(at(4), None).is_err());
        assert_eq!(recent.after(at(5), None).ok().unwrap().events[0].cursor, at(6));
    }
}
