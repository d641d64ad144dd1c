//! Bits out of and into bytes, most significant first, and the Exp-Golomb codes of H.264 and H.265.

use std::borrow::Cow;

use crate::{Error, Result};

/// Reads bits, most significant first. Reading past the end is an [`Error::Truncated`] that names the structure.
#[derive(Clone, Debug)]
pub(crate) struct BitReader<'a> {
    what: &'static str,
    data: &'a [u8],
    /// Position in bits.
    position: usize,
}

impl<'a> BitReader<'a> {
    /// Begins at the first bit of `data`; `what` names the structure in errors.
    pub(crate) fn new(what: &'static str, data: &'a [u8]) -> Self {
        Self { what, data, position: 0 }
    }

    /// The next bit.
    pub(crate) fn flag(&mut self) -> Result<bool> {
        let byte = self.data.get(self.position / 8).ok_or_else(|| self.truncated(1))?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Ok(bit == 1)
    }

    /// The next `count` bits as a number; at most 32.
    pub(crate) fn bits(&mut self, count: u32) -> Result<u32> {
        Ok(self.bits_u64(count.min(32))? as u32)
    }

    /// The next `count` bits as a number; at most 57, so that they lie within eight bytes.
    pub(crate) fn bits_u64(&mut self, count: u32) -> Result<u64> {
        debug_assert!(count <= 57);
        if (count as usize) > self.remaining() {
            return Err(self.truncated(count as usize));
        }
        let tail = self.data.get(self.position / 8..).unwrap_or_default();
        let mut window = [0; 8];
        for (slot, byte) in window.iter_mut().zip(tail) {
            *slot = *byte;
        }
        let aligned = u64::from_be_bytes(window) << (self.position % 8);
        self.position += count as usize;
        Ok(aligned.checked_shr(64 - count).unwrap_or(0))
    }

    /// The next `count` bits as a byte; at most 8.
    pub(crate) fn u8(&mut self, count: u32) -> Result<u8> {
        Ok(self.bits(count.min(8))? as u8)
    }

    /// Passes over `count` bits.
    pub(crate) fn skip(&mut self, count: usize) -> Result<()> {
        if count > self.remaining() {
            return Err(self.truncated(count));
        }
        self.position += count;
        Ok(())
    }

    /// Passes over the bits up to the next byte boundary.
    pub(crate) fn align(&mut self) {
        self.position = self.position.next_multiple_of(8);
    }

    /// Bits left.
    pub(crate) fn remaining(&self) -> usize {
        (self.data.len() * 8).saturating_sub(self.position)
    }

    /// Bits read so far.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// `ue(v)` (ITU-T H.264 9.1, H.265 9.2): at most 32 bits of value.
    pub(crate) fn ue(&mut self) -> Result<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(Error::invalid(self.what, "an Exp-Golomb code of more than 63 bits"));
            }
        }
        let suffix = self.bits_u64(zeros)?;
        Ok(((1_u64 << zeros) - 1 + suffix) as u32)
    }

    /// `ue(v)` that may not exceed `limit`, a bound that the specification gives for the field.
    pub(crate) fn ue_max(&mut self, field: &'static str, limit: u32) -> Result<u32> {
        let value = self.ue()?;
        if value > limit {
            return Err(Error::TooLarge { what: field, value: value.into(), limit: limit.into() });
        }
        Ok(value)
    }

    /// `se(v)` (ITU-T H.264 9.1.1, H.265 9.2.2).
    pub(crate) fn se(&mut self) -> Result<i32> {
        let code = i64::from(self.ue()?);
        let magnitude = (code + 1) / 2;
        Ok(if code % 2 == 1 { magnitude } else { -magnitude } as i32)
    }

    fn truncated(&self, bits: usize) -> Error {
        Error::Truncated {
            what: self.what,
            need: self.position.saturating_add(bits).div_ceil(8),
            have: self.data.len(),
        }
    }
}

/// Writes bits, most significant first.
#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits used of the last byte; 0 when it is full.
    used: u32,
}

impl BitWriter {
    /// Appends the `count` low bits of `value`; at most 32.
    pub(crate) fn bits(&mut self, count: u32, value: u32) -> &mut Self {
        for index in (0..count.min(32)).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> index & 1) as u8) << (7 - self.used);
            }
            self.used = (self.used + 1) % 8;
        }
        self
    }

    /// Appends one bit.
    pub(crate) fn flag(&mut self, value: bool) -> &mut Self {
        self.bits(1, value.into())
    }

    /// Appends `value` as `ue(v)`.
    #[cfg(test)]
    pub(crate) fn ue(&mut self, value: u32) -> &mut Self {
        let length = (value + 1).ilog2();
        self.bits(length, 0).bits(length + 1, value + 1)
    }

    /// The bytes, the last one filled up with zeros.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The raw byte sequence payload of a NAL unit: without the emulation prevention bytes (ITU-T H.264 7.3.1, H.265 7.3.1.1).
pub(crate) fn unescape(nal: &[u8]) -> Cow<'_, [u8]> {
    if !nal.windows(3).any(|w| w == [0, 0, 3]) {
        return Cow::Borrowed(nal);
    }
    let mut out = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_most_significant_first() {
        let mut reader = BitReader::new("test", &[0b1010_0101, 0xFF, 0x00, 0x80]);
        assert_eq!(reader.bits(3), Ok(0b101));
        assert_eq!(reader.bits(9), Ok(0b0_0101_1111));
        assert_eq!(reader.bits(0), Ok(0));
        assert_eq!(reader.bits(20), Ok(0xF_0080));
        assert_eq!(reader.bits(1), Err(Error::Truncated { what: "test", need: 5, have: 4 }));
    }

    #[test]
    fn exp_golomb_codes_of_table_9_2() {
        // 1, 010, 011, 00100, 00101: code numbers 0 to 4.
        let data = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut unsigned = BitReader::new("test", &data);
        let mut signed = BitReader::new("test", &data);
        assert_eq!((0..5).map(|_| unsigned.ue().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!((0..5).map(|_| signed.se().unwrap()).collect::<Vec<_>>(), [0, 1, -1, 2, -2]);
    }

    #[test]
    fn an_exp_golomb_code_without_end_is_an_error() {
        assert!(matches!(BitReader::new("test", &[0; 64]).ue(), Err(Error::Invalid { .. })));
        assert!(matches!(BitReader::new("test", &[0; 2]).ue(), Err(Error::Truncated { .. })));
    }

    #[test]
    fn emulation_prevention_bytes_go_away() {
        let check = |nal: &[u8], want: &[u8]| assert_eq!(unescape(nal).as_ref(), want);
        check(&[1, 0, 0, 3, 1], &[1, 0, 0, 1]);
        check(&[0, 0, 3, 0, 0, 3], &[0, 0, 0, 0]);
        check(&[0, 3, 0, 3], &[0, 3, 0, 3]);
        check(&[], &[]);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = BitWriter::default();
        writer.bits(5, 2).bits(4, 3).flag(true).bits(32, 0xDEAD_BEEF);
        let bytes = writer.into_bytes();
        let mut reader = BitReader::new("test", &bytes);
        assert_eq!((reader.bits(5), reader.bits(4), reader.flag()), (Ok(2), Ok(3), Ok(true)));
        assert_eq!(reader.bits(32), Ok(0xDEAD_BEEF));
        assert_eq!(reader.remaining(), 6);
    }
}
