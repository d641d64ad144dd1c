//! What every other crate speaks: time, ids, units, the error vocabulary, the clock and the declaration of settings.
//!
//! It deliberately knows no media, no network, no file and no runtime. Start from [`time::Timescale`] and [`StreamId`].
//!
//! ```
//! use base::{StreamId, time::{Timescale, rescale}};
//!
//! let id: StreamId = "encoder/colorbar".parse()?;
//! assert_eq!((id.app(), id.name()), ("encoder", "colorbar"));
//!
//! // 1024 samples at 48 kHz, in the 90 kHz clock of MPEG-TS.
//! assert_eq!(rescale(1024, Timescale::hz(48_000), Timescale::hz(90_000)), 1920);
//! # Ok::<(), base::id::InvalidStreamId>(())
//! ```

pub mod clock;
pub mod config;
pub mod fault;
pub mod id;
pub mod secret;
pub mod time;

pub use clock::{Clock, SystemClock};
pub use fault::Fault;
pub use id::StreamId;
pub use secret::Secret;
pub use time::{Mono, Timescale, Wall};
