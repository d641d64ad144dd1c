//! ISO-BMFF and CMAF (ISO/IEC 14496-12, 14496-15, 23000-19): fragmented MP4 to and from samples.
//!
//! Writing gives headers only: [`fragment_header`] ends with the `mdat` header, and the caller sends the samples' payloads
//! behind it by reference, so no payload is copied; [`progressive_head`] does the same for a classic file. Reading slices payloads
//! out of the input.
//!
//! ```
//! use media::{CodecConfig, Sample, Track, codec::aac, mp4};
//!
//! let track = Track::new(CodecConfig::Aac(aac::Config::from_record(&[0x11, 0x90])?));
//! let frame = Sample { dts: 0, cts_offset: 0, duration: 1024, sync: true, payload: "frame".into() };
//! let part = mp4::Fragment {
//!     sequence: 1,
//!     track_id: 1,
//!     base_dts: 0,
//!     samples: &[frame.clone()],
//!     producer_reference: None,
//!     start_of_segment: false,
//! };
//! let file = [mp4::init_segment(&track, 1), mp4::fragment_header(&part), frame.payload.clone()].concat();
//!
//! let mut demuxer = mp4::Demuxer::new();
//! demuxer.push(&file)?;
//! assert_eq!(demuxer.poll(), Some(mp4::Event::Track { track_id: 1, track }));
//! assert_eq!(demuxer.poll(), Some(mp4::Event::Chunk(mp4::Chunk { track_id: 1, base_dts: 0, samples: vec![frame] })));
//! # Ok::<(), media::Error>(())
//! ```

mod boxes;
mod demux;
mod entry;
mod fragment;
mod init;
mod movie;
mod progressive;
mod read;

pub use demux::{CHUNK_BYTES_MAX, Demuxer, Event, HEADER_BYTES_MAX};
pub use fragment::{Fragment, chunk_len, fragment_header};
pub use init::init_segment;
pub use movie::{TRACKS_MAX, read_init};
pub use progressive::{PROGRESSIVE_TIMESCALE, ProgressiveTrack, SampleTable, TableSample, progressive_head};
pub use read::{Chunk, FRAGMENT_SAMPLES_MAX, read_chunks};

use crate::{Error, Result};

/// Holds a quantity against its limit.
fn within(what: &'static str, value: u64, limit: u64) -> Result<()> {
    if value > limit { Err(Error::TooLarge { what, value, limit }) } else { Ok(()) }
}
