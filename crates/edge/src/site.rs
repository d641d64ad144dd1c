//! What all connections of one server share.

use std::{sync::Arc, time::Duration};

use base::{Clock, Mono};
use metrics::{Counter, counter};
use tokio::sync::watch;

use crate::{Config, Error, Observer, Route, cache::Cache, flight::Flights, observe::ClassMetrics, route::Table};

pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) routes: Table,
    /// The metrics of each route, by its index.
    pub(crate) metrics: Vec<ClassMetrics>,
    /// The metrics of requests that no route answers.
    pub(crate) refused: ClassMetrics,
    pub(crate) cache: Cache,
    pub(crate) flights: Arc<Flights>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Requests that joined a flight.
    pub(crate) coalesced: Counter,
    /// How far the server's end has come.
    pub(crate) life: watch::Sender<Life>,
}

/// The stages of a server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    /// It accepts and answers.
    Serving,
    /// It accepts nothing, and answers what was asked.
    Draining,
    /// It tells those who still wait that it stops.
    Refusing,
    /// Its threads end.
    Stopped,
}

impl Site {
    pub(crate) fn new(config: &Config, routes: Vec<Route>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let routes = Table::new(routes)?;
        Ok(Self {
            config: config.clone(),
            metrics: routes.all().iter().map(|route| ClassMetrics::new(route.class)).collect(),
            refused: ClassMetrics::new("refused"),
            routes,
            cache: Cache::new(config)?,
            flights: Arc::new(Flights::new()),
            observer: None,
            clock,
            coalesced: counter!("headwater_edge_coalesced_total"),
            life: watch::Sender::new(Life::Serving),
        })
    }

    pub(crate) fn now(&self) -> Mono {
        self.clock.mono()
    }

    pub(crate) fn metrics(&self, route: Option<usize>) -> &ClassMetrics {
        route.and_then(|at| self.metrics.get(at)).unwrap_or(&self.refused)
    }

    pub(crate) fn upstream_timeout(&self) -> Duration {
        Duration::from_millis(self.config.upstream_timeout_ms)
    }

    pub(crate) fn upstream_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.config.upstream_idle_timeout_ms)
    }

    /// Waits until the server's life has come to `stage`.
    pub(crate) async fn until(&self, stage: Life) {
        let _ = self.life.subscribe().wait_for(|life| *life >= stage).await;
    }
}
