//! Integration tests of `testkit`: one binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod hostile;
mod packaging;
mod planted_dash;
mod planted_hls;
