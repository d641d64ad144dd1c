//! A worker against a scripted manager: every rule of the protocol.

mod fake;
mod fetching;
mod rules;
