//! Fake clock, sample generators, network emulator, HLS and DASH linters (development only).
//!
//! Other crates use it as a dev-dependency. It deliberately knows no server: what it checks are texts and bytes, and time
//! is an argument. Start from [`Samples`] to make media, from [`hls::Linter`] and [`dash::Linter`] to judge what came out.
//!
//! ```
//! use testkit::{Samples, hls};
//!
//! let samples = Samples::video_720p().gop(&[30]).rtmp().until_ms(1_000);
//! assert_eq!(samples.len(), 30);
//!
//! let text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n".to_owned();
//! let seen = hls::Observed { uri: "index.m3u8".into(), at: base::Wall::default(), text, delta: false };
//! assert_eq!(hls::lint(&[seen])[0].rule, "stream-inf-uri");
//! ```

mod clock;
pub mod dash;
mod finding;
#[cfg(feature = "transfer")]
mod ftp;
pub mod hls;
mod net;
mod postgres;
mod random;
#[cfg(feature = "s3")]
mod s3;
mod samples;
#[cfg(feature = "transfer")]
mod ssh;

pub use clock::FakeClock;
pub use finding::{Finding, Rule, Severity};
#[cfg(feature = "transfer")]
pub use ftp::Ftp;
pub use net::{Net, Path};
pub use postgres::Postgres;
pub use random::Random;
#[cfg(feature = "s3")]
pub use s3::S3;
pub use samples::Samples;
#[cfg(feature = "transfer")]
pub use ssh::Ssh;
