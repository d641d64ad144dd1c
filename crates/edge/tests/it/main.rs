//! Integration tests of `edge`: a toy origin behind real sockets.

// Here a failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

mod caching;
mod coalescing;
mod connections;
mod hostile;
mod stage;
