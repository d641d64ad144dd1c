//! MPEG-TS (ISO/IEC 13818-1): self-contained HLS segments out of samples, and samples out of a transport stream.

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
