//! Samples in; parts, segments, playlists and manifests out; pure.

mod answers;
mod bandwidth;
mod config;
mod dash;
mod error;
mod grid;
mod hls;
mod name;
mod parts;
mod plan;
mod presentation;
mod sample_clock;
mod segment;
mod spill;
mod stats;
mod track;
mod ts;

pub use config::Config;
pub use error::Error;
pub use name::{InvalidTrackName, Role, TRACK_NAME_BYTES_MAX, TrackName};
pub use plan::{BodyPlan, Lookup, NotReady, Piece, Reload, Spill};
pub use presentation::{JUMP_BACK_MS, JUMP_FORWARD_MS, Presentation};
pub use stats::{Dropped, Stats, TrackStats};

/// Most tracks in one stream.
pub const TRACKS_MAX: usize = 32;
