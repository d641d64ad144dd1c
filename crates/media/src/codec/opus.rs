//! Opus (RFC 6716) and its headers: `OpusHead` (RFC 7845 5.1) and `dOps` (Encapsulation of Opus in ISO-BMFF 4.3.2).

use crate::{Error, Result};

/// The longest packet: 120 ms at 48 kHz (RFC 6716 3.2.5), in samples.
pub const MAX_PACKET_SAMPLES: u32 = 5_760;
/// Length of `OpusHead` without a channel mapping table, in bytes.
pub const HEAD_BYTES: usize = 19;
/// Length of the `dOps` body without a channel mapping table, in bytes.
pub const DOPS_BYTES: usize = 11;

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

impl Config {
    /// Reads `OpusHead`, the identification header of RFC 7845 5.1; Enhanced RTMP sends it as sequence header.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for channel mapping families other than 0; otherwise when it ends early or a field is out of
    /// range.
    pub fn from_head(head: &[u8]) -> Result<Self> {
        const WHAT: &str = "OpusHead";
        let fields: &[u8; HEAD_BYTES] =
            head.first_chunk().ok_or(Error::Truncated { what: WHAT, need: HEAD_BYTES, have: head.len() })?;
        let [magic @ .., version, channels, p0, p1, r0, r1, r2, r3, g0, g1, mapping_family] = *fields;
        if magic != *b"OpusHead" {
            return Err(Error::invalid(WHAT, "no magic signature"));
        }
        // Versions 0 to 15 are compatible (RFC 7845 5.1).
        if version > 15 {
            return Err(Error::invalid(WHAT, format!("version {version}")));
        }
        Self {
            channels,
            pre_skip: u16::from_le_bytes([p0, p1]),
            input_sample_rate: u32::from_le_bytes([r0, r1, r2, r3]),
            output_gain: i16::from_le_bytes([g0, g1]),
            mapping_family,
        }
        .check(WHAT)
    }

    /// Reads the body of a `dOps` box: the same fields, big-endian.
    ///
    /// # Errors
    /// As [`Config::from_head`].
    pub fn from_dops(body: &[u8]) -> Result<Self> {
        const WHAT: &str = "dOps";
        let fields: &[u8; DOPS_BYTES] =
            body.first_chunk().ok_or(Error::Truncated { what: WHAT, need: DOPS_BYTES, have: body.len() })?;
        let [version, channels, p0, p1, r0, r1, r2, r3, g0, g1, mapping_family] = *fields;
        if version != 0 {
            return Err(Error::invalid(WHAT, format!("version {version}")));
        }
        Self {
            channels,
            pre_skip: u16::from_be_bytes([p0, p1]),
            input_sample_rate: u32::from_be_bytes([r0, r1, r2, r3]),
            output_gain: i16::from_be_bytes([g0, g1]),
            mapping_family,
        }
        .check(WHAT)
    }

    /// `OpusHead`.
    pub fn head(&self) -> [u8; HEAD_BYTES] {
        let [p0, p1] = self.pre_skip.to_le_bytes();
        let [r0, r1, r2, r3] = self.input_sample_rate.to_le_bytes();
        let [g0, g1] = self.output_gain.to_le_bytes();
        let [m0, m1, m2, m3, m4, m5, m6, m7] = *b"OpusHead";
        let family = self.mapping_family;
        [m0, m1, m2, m3, m4, m5, m6, m7, 1, self.channels, p0, p1, r0, r1, r2, r3, g0, g1, family]
    }

    /// The body of the `dOps` box.
    pub fn dops(&self) -> [u8; DOPS_BYTES] {
        let [p0, p1] = self.pre_skip.to_be_bytes();
        let [r0, r1, r2, r3] = self.input_sample_rate.to_be_bytes();
        let [g0, g1] = self.output_gain.to_be_bytes();
        [0, self.channels, p0, p1, r0, r1, r2, r3, g0, g1, self.mapping_family]
    }

    fn check(self, what: &'static str) -> Result<Self> {
        match (self.mapping_family, self.channels) {
            (0, 1 | 2) => Ok(self),
            (0, channels) => Err(Error::invalid(what, format!("{channels} channels with mapping family 0"))),
            (family, _) => Err(Error::Unsupported(format!("Opus with channel mapping family {family}"))),
        }
    }
}

/// Samples at 48 kHz in a packet, from its table of contents byte and frame count (RFC 6716 3.1, 3.2).
///
/// # Errors
/// When the packet is empty, ends before its frame count, or lasts more than 120 ms.
pub fn packet_samples(packet: &[u8]) -> Result<u32> {
    const WHAT: &str = "Opus packet";
    let truncated = |need| Error::Truncated { what: WHAT, need, have: packet.len() };
    let toc = *packet.first().ok_or(truncated(1))?;
    let configuration = usize::from(toc >> 3);
    let frame_samples = match configuration {
        0..=11 => [480, 960, 1_920, 2_880][configuration & 3],
        12..=15 => [480, 960][configuration & 1],
        _ => [120, 240, 480, 960][configuration & 3],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1).ok_or(truncated(2))? & 0x3F),
    };
    match frames * frame_samples {
        0 => Err(Error::invalid(WHAT, "no frames")),
        samples if samples > MAX_PACKET_SAMPLES => {
            Err(Error::TooLarge { what: WHAT, value: samples.into(), limit: MAX_PACKET_SAMPLES.into() })
        }
        samples => Ok(samples),
    }
}
