//! ISO-BMFF and CMAF (ISO/IEC 14496-12, 14496-15, 23000-19): fragmented MP4 to and from samples.
//!
//! Writing gives headers only: [`fragment_header`] ends with the `mdat` header, and the caller sends the samples' payloads
//! behind it by reference, so no payload is copied. Reading slices payloads out of the input.

mod boxes;
mod demux;
mod entry;
mod fragment;
mod init;
mod movie;
mod read;

pub use demux::{CHUNK_BYTES_MAX, Demuxer, Event, HEADER_BYTES_MAX};
pub use fragment::{Fragment, chunk_len, fragment_header};
pub use init::init_segment;
pub use movie::{TRACKS_MAX, read_init};
pub use read::{Chunk, FRAGMENT_SAMPLES_MAX, read_chunks};

use crate::{Error, Result};

/// Holds a quantity against its limit.
fn within(what: &'static str, value: u64, limit: u64) -> Result<()> {
    if value > limit { Err(Error::TooLarge { what, value, limit }) } else { Ok(()) }
}
