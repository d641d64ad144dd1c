//! AC-3 and E-AC-3 (ETSI TS 102 366).

use bytes::Bytes;

/// What a syncframe's bit stream information says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The `dac3` or `dec3` box body (ETSI TS 102 366 Annex F).
    pub record: Bytes,
    /// E-AC-3 rather than AC-3.
    pub enhanced: bool,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels, the LFE included.
    pub channels: u32,
}
