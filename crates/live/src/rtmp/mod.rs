//! RTMP: the listener, one task per connection, and the fan-out to players.

mod batch;
mod connection;
mod fanout;
mod listener;
mod player;

pub(crate) use fanout::Fanout;
pub use listener::RtmpListener;
