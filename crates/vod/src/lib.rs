//! The on-demand plane: from an uploaded file to an asset that plays.
//!
//! `upload` takes bytes; `recipe` and `plan`, which are pure, say which steps a film needs; `manager` hands steps to workers over
//! `protocol` and publishes what they made; `worker` does the steps and speaks nothing but that protocol; `transfer` reaches other
//! storages; `origin` delivers.
//!
//! It deliberately does not know SQL (that is `store`), FFmpeg's arguments (`transcode`), boxes and playlists (`packager`), who a
//! request is from (`api`), or what is cached (`edge`). Start from [`Manager`].

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
