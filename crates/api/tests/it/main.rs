//! Integration tests of `api`: one binary. Requests go straight into the service, or over loopback through an edge; the catalogue is
//! SQLite in memory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod house;
mod receiver;

mod auth;
mod events;
mod hostile;
mod idempotency;
mod listing;
mod resources;
mod routes;
mod webhooks;
