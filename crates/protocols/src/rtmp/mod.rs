//! RTMP 1.0 with Enhanced RTMP v2, server and client, without sockets or clock.
//!
//! Start from [`ServerSession`]: give it what the socket read, and do what [`ServerSession::poll_output`] says until it says
//! [`Output::Timeout`]. It knows handshakes, chunks, messages and commands. It does not know codecs (a media event carries the
//! body of an FLV tag), who may publish (the driver accepts or rejects), or what else is on air.
//!
//! Sources: Adobe's Real-Time Messaging Protocol 1.0 (2012), AMF 0 (2007), AMF 3 (2013), Veovera's Enhanced RTMP v2.

pub mod amf;
pub mod chunk;
mod client;
mod connection;
mod error;
mod event;
pub mod handshake;
mod message;
mod name;
mod server;

pub use client::{ClientAction, ClientConfig, ClientEvent, ClientOutput, ClientSession};
pub use error::{At, Error};
pub use event::{Event, MediaKind, Output, Rejection, RequestId};
pub use server::{CAPS_EX_MOD_EX, ServerConfig, ServerSession};
