//! Samples in; parts, segments, playlists and manifests out, as body plans: what an origin serves of one stream as HLS,
//! Low-Latency HLS, MPEG-TS HLS and DASH.
//!
//! Pure: no sockets, no files, no clock, no async; time is an argument. It deliberately does not know who publishes, over what
//! protocol samples came, how renditions are encoded, or where spilled segments are stored. Nothing is muxed before it is
//! published, a part's header is made once, and a segment is its parts, byte for byte. Start from [`Presentation`].
//!
//! ```
//! use base::Wall;
//! use media::{CodecConfig, Sample, Track, codec::opus};
//! use packager::{Config, Lookup, Presentation, Role, TrackName};
//!
//! let opus = opus::Config { channels: 2, pre_skip: 312, input_sample_rate: 48_000, output_gain: 0, mapping_family: 0 };
//! let name = TrackName::source_audio();
//! let mut presentation = Presentation::new(Config { first_number: Some(0), ..Config::default() });
//! presentation.begin_epoch(Wall::from_unix_ms(1_795_165_200_000));
//! presentation.set_track(&name, Role::Leader, Track::new(CodecConfig::Opus(opus)))?;
//! for packet in 0..50 {
//!     let payload = bytes::Bytes::from_static(b"one packet");
//!     presentation.push(&name, Sample { dts: packet * 960, cts_offset: 0, duration: 0, sync: true, payload })?;
//! }
//! let playlist = presentation.multivariant_playlist().expect("a part is complete");
//! assert!(playlist.ends_with(b"a0/index.m3u8\n"));
//! assert!(matches!(presentation.part(&name, 0, 0), Lookup::Found(_)));
//! # Ok::<(), packager::Error>(())
//! ```

mod answers;
mod bandwidth;
mod config;
mod dash;
mod error;
mod grid;
mod hls;
mod mpd;
mod name;
mod parts;
mod plan;
mod presentation;
mod sample_clock;
mod segment;
mod spill;
mod stats;
mod tags;
mod track;
mod ts;
pub mod vod;

pub use config::Config;
pub use error::Error;
pub use name::{InvalidTrackName, Role, TRACK_NAME_BYTES_MAX, TrackName};
pub use plan::{BodyPlan, Lookup, NotReady, Piece, Reload, Spill};
pub use presentation::{JUMP_BACK_MS, JUMP_FORWARD_MS, Presentation};
pub use stats::{Dropped, Stats, TrackStats};

/// Most tracks in one stream: an adaptive ladder has a handful.
pub const TRACKS_MAX: usize = 32;
