//! Integration tests of `edge`: a toy origin behind real sockets.

mod caching;
mod coalescing;
mod connections;
mod hostile;
mod stage;
