//! MPEG-TS (ISO/IEC 13818-1): self-contained HLS segments out of samples, and samples out of a transport stream.
//!
//! ```
//! use media::{CodecConfig, Sample, Track, codec::aac, ts};
//!
//! let track = Track::new(CodecConfig::Aac(aac::Config::from_record(&[0x11, 0x90])?));
//! let frame = Sample { dts: 0, cts_offset: 0, duration: 1024, sync: true, payload: "frame".into() };
//! let segment = ts::segment(None, Some((&track, &[frame])), &ts::Options::default())?;
//!
//! let mut demuxer = ts::Demuxer::new();
//! demuxer.push(&segment);
//! demuxer.finish();
//! let events: Vec<_> = std::iter::from_fn(|| demuxer.poll()).collect();
//! let [ts::Event::Program(_), ts::Event::Track { .. }, ts::Event::Sample { sample, .. }] = &events[..] else { panic!() };
//! // 10 s of offset, in ticks of 48 kHz.
//! assert_eq!((sample.dts, &sample.payload[..]), (480_000, &b"frame"[..]));
//! # Ok::<(), media::Error>(())
//! ```

mod demux;
mod mux;
mod packet;
mod pes;
mod psi;
mod stream;

pub use demux::{Demuxer, Event, STREAMS_MAX, Stats};
pub use mux::{CLOCK_OFFSET, Options, PCR_LEAD, segment};
pub use pes::PES_BYTES_MAX;
pub use psi::StreamType;
pub use stream::AUDIO_PES_BYTES_MAX;

/// Bytes of a transport packet (2.4.3.2).
pub const PACKET_BYTES: usize = 188;
/// Every packet begins with it.
const SYNC_BYTE: u8 = 0x47;
/// PTS and DTS are 33 bits of 90 kHz: 26.5 hours.
const CLOCK_WRAP: i64 = 1 << 33;
/// Continuity counters have four bits.
const CONTINUITY_MODULUS: usize = 16;
