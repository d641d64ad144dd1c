//! What H.264 and H.265 share: NAL units behind lengths or start codes, and access units in canonical form.

use bytes::{BufMut, Bytes, BytesMut};

use super::AccessUnit;
use crate::{Error, Result};

/// What a NAL unit means for the canonical form of its access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A coded slice; `sync` when decoding can start at its picture.
    Slice { sync: bool },
    /// A parameter set: it belongs to the track's configuration.
    ParameterSet,
    /// Delimiters and filler, which ISO-BMFF does not store.
    Discard,
    /// Everything else.
    Keep,
}

/// The H.264 and H.265 sides of this module's work.
pub(super) trait Syntax: Sized {
    /// The structure's name in errors.
    const WHAT: &'static str;

    /// Reads the NAL unit header.
    fn role(nal: &[u8]) -> Role;

    /// A configuration with the parameter sets among `nals` put in the place of those with the same id in `current`;
    /// `None` when that changes nothing, or while sets are missing.
    fn updated<'a>(current: Option<&Self>, nals: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>>;
}

/// The canonical form of `payload`, whose NAL units stand behind lengths of `length_size` bytes.
pub(super) fn canonical<C: Syntax>(payload: Bytes, length_size: u8, config: &C) -> Result<AccessUnit<C>> {
    let mut survey = Survey::default();
    let mut nals = Lengths::new(C::WHAT, &payload, length_size);
    let mut kept_from = 0;
    while let Some(nal) = nals.next().transpose()? {
        survey.add(C::role(nal));
        if !survey.kept {
            kept_from = nals.consumed();
        }
    }
    let nals = || Lengths::new(C::WHAT, &payload, length_size).map_while(Result::ok);
    if length_size == 4 && !survey.holes {
        let parameter_sets = survey.parameter_sets(Some(config), nals())?;
        let payload = if survey.slices { payload.slice(kept_from.min(payload.len())..) } else { Bytes::new() };
        return Ok(AccessUnit { payload, sync: survey.sync, parameter_sets });
    }
    survey.rebuild(Some(config), payload.len(), nals)
}

/// The canonical form of `annexb`, whose NAL units stand behind start codes.
pub(super) fn annexb_to_canonical<C: Syntax>(annexb: &[u8], config: Option<&C>) -> Result<AccessUnit<C>> {
    let mut survey = Survey::default();
    for nal in AnnexB::new(annexb) {
        survey.add(C::role(nal));
    }
    survey.rebuild(config, annexb.len(), || AnnexB::new(annexb))
}

/// Appends the NAL units of a canonical `payload` behind start codes (ITU-T H.264 and H.265 Annex B).
pub(super) fn write_annexb(payload: &[u8], out: &mut impl BufMut) {
    for nal in Lengths::new("sample", payload, 4).map_while(Result::ok) {
        put_annexb(nal, out);
    }
}

/// Appends one NAL unit behind a 4-byte start code.
pub(super) fn put_annexb(nal: &[u8], out: &mut impl BufMut) {
    out.put_slice(&[0, 0, 0, 1]);
    out.put_slice(nal);
}

/// What one look over the NAL units of an access unit tells.
#[derive(Debug, Default)]
struct Survey {
    slices: bool,
    sync: bool,
    has_parameter_sets: bool,
    /// There is something to keep.
    kept: bool,
    /// There is something to leave out behind something to keep: no slice of the payload will do.
    holes: bool,
}

impl Survey {
    fn add(&mut self, role: Role) {
        match role {
            Role::Slice { sync } => {
                self.sync |= sync && !self.slices;
                (self.slices, self.kept) = (true, true);
            }
            Role::Keep => self.kept = true,
            Role::ParameterSet => (self.has_parameter_sets, self.holes) = (true, self.holes | self.kept),
            Role::Discard => self.holes |= self.kept,
        }
    }

    fn parameter_sets<'a, C: Syntax>(
        &self,
        config: Option<&C>,
        nals: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<C>> {
        match self.has_parameter_sets {
            true => C::updated(config, nals.filter(|nal| C::role(nal) == Role::ParameterSet)),
            false => Ok(None),
        }
    }

    fn rebuild<'a, C: Syntax, I: Iterator<Item = &'a [u8]>>(
        &self,
        config: Option<&C>,
        size_hint: usize,
        nals: impl Fn() -> I,
    ) -> Result<AccessUnit<C>> {
        let parameter_sets = self.parameter_sets(config, nals())?;
        let mut payload = BytesMut::with_capacity(if self.slices { size_hint.saturating_add(16) } else { 0 });
        if self.slices {
            for nal in nals().filter(|nal| matches!(C::role(nal), Role::Slice { .. } | Role::Keep)) {
                payload.put_u32(nal.len() as u32);
                payload.put_slice(nal);
            }
        }
        Ok(AccessUnit { payload: payload.freeze(), sync: self.sync, parameter_sets })
    }
}

/// NAL units behind big-endian lengths of 1, 2 or 4 bytes (ISO/IEC 14496-15 5.3.4.2); ends after the first error.
struct Lengths<'a> {
    what: &'static str,
    total: usize,
    rest: &'a [u8],
    length_size: usize,
}

impl<'a> Lengths<'a> {
    fn new(what: &'static str, payload: &'a [u8], length_size: u8) -> Self {
        Self { what, total: payload.len(), rest: payload, length_size: length_size.into() }
    }

    /// Bytes read so far.
    fn consumed(&self) -> usize {
        self.total - self.rest.len()
    }

    fn split(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_at_checked(self.length_size)?;
        let length = length.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        let (nal, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(nal)
    }

    fn lie(&mut self) -> Error {
        let at = self.consumed();
        let length =
            self.rest.iter().take(self.length_size).fold(0_usize, |value, byte| value << 8 | usize::from(*byte));
        self.rest = &[];
        Error::Truncated {
            what: self.what,
            need: at.saturating_add(self.length_size).saturating_add(length),
            have: self.total,
        }
    }
}

impl<'a> Iterator for Lengths<'a> {
    type Item = Result<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(self.split().ok_or_else(|| self.lie()))
    }
}

/// NAL units behind start codes (ITU-T H.264 and H.265 B.1.1), without the zero bytes around them.
struct AnnexB<'a> {
    rest: &'a [u8],
}

impl<'a> AnnexB<'a> {
    fn new(data: &'a [u8]) -> Self {
        let first = start_code(data).map_or(data.len(), |at| at + 3);
        Self { rest: data.get(first..).unwrap_or_default() }
    }
}

impl<'a> Iterator for AnnexB<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = start_code(self.rest).unwrap_or(self.rest.len());
            let (nal, rest) = self.rest.split_at_checked(end)?;
            self.rest = rest.get(3..).unwrap_or_default();
            let kept = nal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if kept > 0 {
                return nal.get(..kept);
            }
        }
        None
    }
}

/// Where the next 00 00 01 begins. Steps over three bytes wherever the third of them cannot be part of one.
fn start_code(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(&[a, b, c]) = data.get(at..at + 3) {
        match (a, b, c) {
            (0, 0, 1) => return Some(at),
            (_, _, 2..) => at += 3,
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annex_b_units_lose_start_codes_and_trailing_zeros() {
        let check = |data: &[u8], want: &[&[u8]]| assert_eq!(AnnexB::new(data).collect::<Vec<_>>(), want);
        check(&[0, 0, 0, 1, 9, 16, 0, 0, 0, 1, 101, 1, 2, 0, 0, 1, 7], &[&[9, 16], &[101, 1, 2], &[7]]);
        check(&[0, 0, 1, 5, 0, 0, 0], &[&[5]]);
        check(&[0, 0, 1, 0, 0, 1, 5], &[&[5]]);
        check(&[1, 2, 3], &[]);
        check(&[], &[]);
    }

    #[test]
    fn a_length_that_lies_says_what_was_needed() {
        let check = |data: &[u8], size, need| {
            let last = Lengths::new("test", data, size).last();
            assert_eq!(last, Some(Err(Error::Truncated { what: "test", need, have: data.len() })));
        };
        check(&[0, 0, 0, 2, 1, 2, 0, 0, 0, 9, 1], 4, 19);
        check(&[0, 3, 1], 2, 5);
        check(&[1, 1, 7], 1, 10);
    }
}
