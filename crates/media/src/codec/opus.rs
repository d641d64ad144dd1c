//! Opus (RFC 6716) and its headers: `OpusHead` (RFC 7845 5.1) and `dOps` (Encapsulation of Opus in ISO-BMFF 4.3.2).

/// What `OpusHead` and `dOps` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Output channels.
    pub channels: u8,
    /// Samples at 48 kHz to discard at the beginning.
    pub pre_skip: u16,
    /// Sample rate of the original input, in Hz; informative.
    pub input_sample_rate: u32,
    /// Output gain, in 1/256 dB.
    pub output_gain: i16,
    /// 0 for mono and stereo, 1 for surround (with a mapping table, not supported yet).
    pub mapping_family: u8,
}
