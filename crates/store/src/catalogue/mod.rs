//! The catalogue: what must not be lost. One body of statements over two engines, SQLite (embedded) and Postgres.
//!
//! Every method is one transaction. Time is the database's: Postgres's own clock, or the process's for SQLite; tests give another.

mod access;
mod assets;
mod id;
mod jobs;
mod model;
mod outbox;
mod uploads;

pub use id::*;
pub use jobs::*;
pub use model::*;
