//! The on-demand plane.

mod config;
pub mod manager;
pub mod origin;
pub mod plan;
pub mod progress;
pub mod protocol;
pub mod recipe;
pub mod transfer;
pub mod upload;
pub mod watch;
pub mod worker;

pub use config::{Config, OutOfRange};
pub use manager::{Manager, ManagerSettings};
pub use recipe::Recipe;
