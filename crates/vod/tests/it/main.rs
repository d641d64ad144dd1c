//! Integration tests.

mod worker;
mod transfer;
