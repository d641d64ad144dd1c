//! Events as a stream (Server-Sent Events, HTML 9.2).

use std::{fmt::Write, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use store::catalogue::{Cursor, Event};
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast, watch},
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use utoipa::IntoParams;

use super::Context;
use crate::{
    extract::{Caller, Query},
    feed::Told,
    problem::{Details, Problem, chain},
    service::Shared,
    view,
    webhook::wants,
};

/// How often a silent stream says that it is alive: below the idle limits of usual proxies, and of the edge.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes back.
const RETRY_MS: u32 = 2_000;
/// Most patterns of one stream.
const TYPES_MAX: usize = 32;
/// The type of messages about the progress of jobs.
const PROGRESS: &str = "job.progress";

/// The query of the event stream.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// The id of the last event that the client has; `0-0` begins with the oldest kept one. Left out: from now on. The header
    /// `Last-Event-ID` goes before it.
    after: Option<String>,
    /// Types, with commas: `asset.*,job.failed`. Left out: all.
    types: Option<String>,
    /// Only this tenant's.
    tenant: Option<String>,
}

/// Events as they happen, and those since `after`. Each has an id to read on from; `job.progress` has none, and comes at most once a
/// second for each job that moves.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "follow_events", tag = "events",
    params(EventsQuery, ("last-event-id" = Option<String>, Header)),
    responses((status = 200, body = view::Event, content_type = "text/event-stream"), (status = "4XX", body = Details, content_type = "application/problem+json"),
        (status = 503, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn follow(
    State(context): Context,
    caller: Caller,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = caller.tenant_filter(query.tenant)?;
    let types = types(query.types.as_deref())?;
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let position = last.or(query.after.as_deref()).map(position).transpose()?;
    let permit = context.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::unavailable("too_many_streams", "As many event streams are open as api.event_streams_max allows.")
    })?;
    let position = match position {
        Some(position) => position,
        None => context.catalogue.last_event().await?,
    };
    let stream = Stream::new(context, tenant, types, position, permit);
    let body = futures_util::stream::unfold(stream, |mut stream| async move {
        let bytes = stream.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), stream))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that gather answers are asked not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn position(text: &str) -> Result<Cursor, Problem> {
    text.parse().map_err(|_| {
        Problem::new(
            http::StatusCode::BAD_REQUEST,
            "invalid_event_id",
            "Not an event's id",
            "after or Last-Event-ID is not the id of an event.",
            "Use the id of the last event you had as it was, 0-0 for the oldest, or none for what comes from now on.",
        )
    })
}

fn types(list: Option<&str>) -> Result<Vec<String>, Problem> {
    let types: Vec<String> = list.unwrap_or("*").split(',').map(|kind| kind.trim().to_owned()).collect();
    if types.len() > TYPES_MAX {
        return Err(Problem::invalid(
            format!("types names {} patterns.", types.len()),
            "Use at most 32; * stands for a rest.",
        ));
    }
    Ok(types)
}

/// One client's stream. It reads on only when its client has taken what it was given: the one batch is all that waits.
struct Stream {
    context: Arc<Shared>,
    tenant: Option<String>,
    types: Vec<String>,
    position: Cursor,
    newest: watch::Receiver<Cursor>,
    progress: broadcast::Receiver<Arc<Told>>,
    heartbeat: Interval,
    greeted: bool,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    fn new(
        context: Arc<Shared>,
        tenant: Option<String>,
        types: Vec<String>,
        position: Cursor,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (newest, progress) = (context.feed.newest(), context.feed.progress());
        Self { context, tenant, types, position, newest, progress, heartbeat, greeted: false, _permit: permit }
    }

    /// The next bytes; `None` at the end: the server stops, or the client should come back later.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.greeted {
            self.greeted = true;
            return Some(format!("retry: {RETRY_MS}\n: from {}\n\n", self.position).into());
        }
        loop {
            self.newest.borrow_and_update();
            if let Some(bytes) = self.read().await? {
                return Some(bytes);
            }
            tokio::select! {
                () = self.context.stopping.cancelled() => return None,
                changed = self.newest.changed() => changed.ok()?,
                told = self.progress.recv() => {
                    if let Some(bytes) = self.progress(told)? {
                        return Some(bytes);
                    }
                }
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(b": alive\n\n")),
            }
        }
    }

    /// Events that are there already; `None` within when there are none, `None` outside when they cannot be read.
    async fn read(&mut self) -> Option<Option<Bytes>> {
        loop {
            let batch = match self.context.feed.after(self.position, self.tenant.as_deref()).await {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "an event stream ends");
                    return None;
                }
            };
            let moved = batch.reached > self.position;
            self.position = batch.reached;
            let mut text = String::new();
            for event in batch.events.iter().filter(|event| wants(&self.types, &event.kind)) {
                write_event(&mut text, event);
            }
            match (text.is_empty(), moved) {
                (false, _) => return Some(Some(text.into())),
                (true, false) => return Some(None),
                (true, true) => {}
            }
        }
    }

    fn progress(&self, told: Result<Arc<Told>, broadcast::error::RecvError>) -> Option<Option<Bytes>> {
        match told {
            Ok(told) => {
                let seen = self.tenant.as_ref().is_none_or(|tenant| *tenant == told.tenant);
                let wanted = seen && wants(&self.types, PROGRESS);
                Some(wanted.then(|| format!("event: {PROGRESS}\ndata: {}\n\n", told.json).into()))
            }
            // It missed some and gets the next.
            Err(broadcast::error::RecvError::Lagged(_)) => Some(None),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

fn write_event(text: &mut String, event: &Event) {
    // JSON has no line breaks outside texts, and escapes those inside.
    let data = serde_json::to_string(&view::Event::from(event.clone())).unwrap_or_else(|_| "null".into());
    let _ = write!(text, "id: {}\nevent: {}\ndata: {data}\n\n", event.cursor, event.kind);
}
