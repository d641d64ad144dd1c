//! Integration tests.

#![expect(clippy::unwrap_used, unreachable_pub, reason = "a test fails where it unwraps; its modules are one program")]

mod manager;
mod origin;
mod plan;
mod recipe;
mod transfer;
mod upload;
mod whole;
mod worker;
