//! The delivery plane: the public HTTP front, with a cache between clients and origins.
//!
//! It takes HTTP/1.1 and HTTP/2 on one thread per core, finds the origin of a path in a route table, and calls it in memory, at
//! most once for an object however many clients ask for it: every client reads the one answer while it arrives. What an origin's
//! `Cache-Control` allows is kept in memory.
//!
//! It deliberately knows no media: a blocked playlist reload is a request whose answer takes long. Start from [`Server`].
//!
//! Its metrics, whose labels are all from fixed lists:
//!
//! | metric | of |
//! |---|---|
//! | `headwater_edge_requests_total{class,status_class,cache}` | answers, when delivered; `class` is the route's |
//! | `headwater_edge_bytes_total{class}` | bytes of their bodies |
//! | `headwater_edge_response_seconds{class}` | from a request's head to its answer's |
//! | `headwater_edge_connections`, `headwater_edge_connections_refused_total{limit}` | connections |
//! | `headwater_edge_inflight`, `headwater_edge_coalesced_total` | fetches on their way, requests that joined one |
//! | `headwater_edge_cache_bytes`, `headwater_edge_cache_entries` | the memory cache |
//! | `headwater_edge_origin_errors_total`, `headwater_edge_timeouts_total{what}` | origins that failed, clients that took too long |
//! | `headwater_edge_panics_total{place}`, `headwater_edge_accept_errors_total` | what should never happen |
//!
//! ```
//! use edge::{BoxOrigin, Config, Policy, Route, Server};
//!
//! let origin = BoxOrigin::new(|_request| async { http::Response::new(edge::full("hello")) });
//! let routes = vec![Route::prefix("/", origin).policy(Policy::cached(["_HLS_msn", "_HLS_part", "_HLS_skip"]))];
//! let config = Config { http: "127.0.0.1:0".into(), ..Config::default() };
//! let server = Server::bind(&config, routes)?;
//! let handle = server.start()?; // or server.serve(shutdown).await
//! assert_ne!(handle.local_addr().port(), 0);
//! # Ok::<(), edge::Error>(())
//! ```

mod cache;
mod config;
mod delivery;
mod error;
mod exchange;
mod fetch;
mod flight;
mod freshness;
mod guard;
mod io;
mod object;
mod observe;
mod origin;
mod path;
mod problem;
mod route;
mod select;
mod server;
mod site;
mod upload;

pub use config::Config;
pub use error::{BoxError, Error, OriginError};
pub use observe::{CacheStatus, Observer, RequestRecord};
pub use origin::{Body, BoxFuture, BoxOrigin, Peer, empty, full};
pub use route::{Pattern, Policy, Route};
pub use server::{Handle, Server};
