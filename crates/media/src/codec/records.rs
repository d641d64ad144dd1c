//! What the configuration records of H.264 and H.265 share: byte fields and lists of parameter sets.

use bytes::{BufMut, Bytes};

use crate::{
    Error, Result,
    bits::{BitReader, unescape},
};

/// The header and first fields of a parameter set hold its id within this many bytes.
const ID_WITHIN_BYTES: usize = 32;

/// Byte fields of a record, from front to back.
pub(super) struct Fields<'a> {
    what: &'static str,
    total: usize,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(what: &'static str, record: &'a [u8]) -> Self {
        Self { what, total: record.len(), rest: record }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Error::Truncated {
            what: self.what,
            need: (self.total - self.rest.len()).saturating_add(length),
            have: self.total,
        })?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// `count` parameter sets, each behind its 16-bit length. Every one costs at least two bytes of input, which bounds
    /// the list whatever `count` claims.
    pub(super) fn sets(&mut self, count: usize) -> Result<Vec<Bytes>> {
        let mut sets = Vec::new();
        for _ in 0..count {
            let length = self.u16()?;
            sets.push(Bytes::copy_from_slice(self.take(length.into())?));
        }
        Ok(sets)
    }

    pub(super) fn invalid(&self, why: impl Into<String>) -> Error {
        Error::invalid(self.what, why)
    }
}

/// Appends parameter sets, each behind its 16-bit length.
pub(super) fn put_sets(sets: &[Bytes], out: &mut impl BufMut) {
    for set in sets {
        out.put_u16(set.len() as u16);
        out.put_slice(set);
    }
}

/// Checks that there are 1 to `limit` sets, of the right type and of a size that a record can hold.
pub(super) fn check_sets(
    what: &'static str,
    sets: &[Bytes],
    limit: usize,
    is_one: impl Fn(&[u8]) -> bool,
) -> Result<()> {
    if sets.is_empty() {
        return Err(Error::invalid(what, "there is none"));
    }
    if sets.len() > limit {
        return Err(Error::TooLarge { what, value: sets.len() as u64, limit: limit as u64 });
    }
    match sets.iter().find(|set| set.len() > usize::from(u16::MAX) || !is_one(set)) {
        None => Ok(()),
        Some(set) if is_one(set) => Err(Error::TooLarge { what, value: set.len() as u64, limit: u16::MAX.into() }),
        Some(set) => Err(Error::invalid(
            what,
            format!("a NAL unit of another type, beginning {:02x?}", set.get(..2).unwrap_or(set)),
        )),
    }
}

/// Puts `nal` in the place of the set with its id, or at the end; false when it is there already.
pub(super) fn put_set(sets: &mut Vec<Bytes>, nal: &[u8], id: impl Fn(&[u8]) -> Option<u32>) -> bool {
    if sets.iter().any(|set| set == nal) {
        return false;
    }
    let Some(new_id) = id(nal) else { return false };
    let nal = Bytes::copy_from_slice(nal);
    match sets.iter_mut().find(|set| id(set) == Some(new_id)) {
        Some(slot) => *slot = nal,
        None => sets.push(nal),
    }
    true
}

/// The ue(v) that stands `offset` bytes behind the beginning of a parameter set.
pub(super) fn set_id(nal: &[u8], offset: usize) -> Option<u32> {
    let rbsp = unescape(nal.get(..nal.len().min(ID_WITHIN_BYTES))?);
    BitReader::new("parameter set", rbsp.get(offset..)?).ue().ok()
}
