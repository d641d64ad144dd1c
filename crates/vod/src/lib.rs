//! The on-demand plane.

mod config;
pub mod plan;
pub mod progress;
pub mod protocol;
pub mod recipe;
pub mod transfer;
pub mod upload;
pub mod worker;

pub use config::{Config, OutOfRange};
