//! What must not be lost, behind two doors: the catalogue (assets, jobs, steps and leases, uploads, tokens, events) in SQLite or
//! Postgres, and objects, which are bytes under a [`Key`], on local disk, in a bucket or in memory.
//!
//! It deliberately does not know what a step does or what the objects are. Start from [`catalogue::Catalogue`] and [`Objects`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), store::Error> {
//! let objects = store::Objects::memory();
//! let key = store::Key::new("live/encoder/colorbar/1/v0/17.m4s")?;
//! objects.put(&key, vec!["moof".into(), "mdat".into()]).await?;
//! assert_eq!(&objects.get_range(&key, 4..8).await?[..], b"mdat");
//! objects.delete(&key).await?;
//! assert!(matches!(objects.get_range(&key, 4..8).await, Err(store::Error::NotFound { .. })));
//! # Ok(()) }
//! ```

pub mod catalogue;
mod config;
mod error;
mod key;
mod objects;

pub use catalogue::*;
pub use config::Config;
pub use error::Error;
pub use key::{KEY_BYTES_MAX, Key};
pub use objects::{ByteStream, Expected, Meta, Objects, PART_BYTES, PutNew, S3Settings, Stored};
