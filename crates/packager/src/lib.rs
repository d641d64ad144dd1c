//! Samples in; parts, segments, playlists and manifests out; pure.

mod config;
mod error;
mod name;
mod plan;
mod presentation;
mod stats;

pub use config::Config;
pub use error::Error;
pub use name::{InvalidTrackName, Role, TRACK_NAME_BYTES_MAX, TrackName};
pub use plan::{BodyPlan, Lookup, NotReady, Piece, Reload, Spill};
pub use presentation::Presentation;
pub use stats::{Dropped, Stats, TrackStats};

/// Most tracks in one stream.
pub const TRACKS_MAX: usize = 32;
