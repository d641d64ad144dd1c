//! Codec headers (H.264, H.265, AV1, VP9, AAC, Opus, AC-3) and containers (FLV, MPEG-TS, ISO-BMFF/CMAF), to and from
//! [`Sample`]s.
//!
//! Pure: no sockets, no files, no clock, no async; bytes from a peer never panic. It deliberately does not know what a
//! segment, a playlist or a stream's name is. Start from [`Sample`] and [`CodecConfig`].
//!
//! ```
//! use bytes::Bytes;
//! use media::flv::{Reader, Unit};
//!
//! let mut publisher = Reader::new();
//! // The RTMP messages of an encoder: an AAC configuration (LC, 48 kHz, stereo), then a packet stamped 21 ms.
//! publisher.read_audio(0, Bytes::from_static(&[0xAF, 0, 0x11, 0x90]))?;
//! for unit in publisher.read_audio(21, Bytes::from_static(&[0xAF, 1, 0x21, 0x10]))? {
//!     let Unit::Sample { sample, .. } = unit else { continue };
//!     assert_eq!((sample.dts, sample.duration), (1_008, 1_024));
//! }
//! # Ok::<(), media::Error>(())
//! ```

mod audio_clock;
mod bits;
pub mod codec;
mod error;
pub mod flv;
pub mod mp4;
mod sample;
pub mod ts;

pub use audio_clock::AudioClock;
pub use codec::CodecConfig;
pub use error::Error;
pub use sample::{Sample, Track, TrackKind};

/// The result of reading bytes from a peer.
pub type Result<T> = std::result::Result<T, Error>;
