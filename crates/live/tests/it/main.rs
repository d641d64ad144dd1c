//! Integration tests of `live`: one binary. Publishers and players over loopback sockets, or straight at the hub and the origin;
//! no FFmpeg, no sleeps.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod node;
mod peer;
mod tape;

mod guide;
mod hls;
mod hostile;
mod keys;
mod lives;
mod play;
mod publish;
mod stop;
mod window;
