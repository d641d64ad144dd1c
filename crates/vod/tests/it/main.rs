//! Integration tests.

mod origin;
mod worker;
mod transfer;
mod upload;
mod whole;
mod manager;
mod plan;
mod recipe;
