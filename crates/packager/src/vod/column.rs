//! One field of all samples of a track, coded by itself: as runs where values repeat, as places in a palette where there are few of
//! them, and one by one where there is no pattern.

use data_encoding::BASE64_NOPAD;

/// Most values in a palette: four bits say which.
const PALETTE_MAX: usize = 16;

/// How a column is coded, by the letter that stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// `r`: pairs of a count and a value.
    Runs,
    /// `p`: a count of values, the values, then bits for each sample, the lowest first.
    Palette,
    /// `v`: the values.
    Plain,
    /// `u`: the values, none of them negative and none folded: a bit less for each.
    Unsigned,
}

impl Coding {
    const ALL: [(Self, char); 4] = [(Self::Runs, 'r'), (Self::Palette, 'p'), (Self::Unsigned, 'u'), (Self::Plain, 'v')];

    fn letter(self) -> char {
        let known = Self::ALL.into_iter().find(|(coding, _)| *coding == self);
        known.expect("invariant: every coding has a letter").1
    }
}

/// A coded column. Numbers are LEB128, signed ones folded to unsigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    coding: Coding,
    bytes: Vec<u8>,
    count: usize,
}

impl Column {
    /// The smallest coding of `values`.
    pub(super) fn of(values: &[i32]) -> Self {
        let coded = [
            (Coding::Runs, Some(runs(values))),
            (Coding::Palette, palette(values)),
            (Coding::Unsigned, unsigned(values)),
            (Coding::Plain, Some(plain(values))),
        ];
        let coded = coded.into_iter().filter_map(|(coding, bytes)| Some((coding, bytes?)));
        let (coding, bytes) =
            coded.min_by_key(|(_, bytes)| bytes.len()).expect("invariant: a column can be coded one by one");
        Self { coding, bytes, count: values.len() }
    }

    /// The text of the index; `count` values must be in it.
    pub(super) fn from_text(text: &str, count: usize) -> Option<Self> {
        let (coding, _) = Coding::ALL.into_iter().find(|(_, letter)| text.starts_with(*letter))?;
        let bytes = BASE64_NOPAD.decode(text.get(1..)?.as_bytes()).ok()?;
        let column = Self { coding, bytes, count };
        (column.iter().count() == count).then_some(column)
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = String::from(self.coding.letter());
        BASE64_NOPAD.encode_append(&self.bytes, &mut text);
        text
    }

    /// Bytes it holds in memory.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The values; fewer than were promised where the bytes end early.
    pub(super) fn iter(&self) -> Values<'_> {
        let mut values = Values {
            coding: self.coding,
            bytes: &self.bytes,
            left: self.count,
            run: (0, 0),
            palette: [0; PALETTE_MAX],
            width: 0,
            bit: 0,
        };
        if self.coding == Coding::Palette && values.read_palette().is_none() {
            values.left = 0;
        }
        values
    }
}

/// The values of a column, one after another.
#[derive(Clone, Debug)]
pub(super) struct Values<'a> {
    coding: Coding,
    bytes: &'a [u8],
    left: usize,
    run: (u64, i32),
    palette: [i32; PALETTE_MAX],
    width: usize,
    bit: usize,
}

impl Values<'_> {
    fn read_palette(&mut self) -> Option<()> {
        let count = usize::try_from(number(&mut self.bytes)?).ok().filter(|count| (1..=PALETTE_MAX).contains(count))?;
        for place in self.palette.iter_mut().take(count) {
            *place = signed(&mut self.bytes)?;
        }
        self.width = width(count);
        Some(())
    }

    fn read(&mut self) -> Option<i32> {
        match self.coding {
            Coding::Plain => signed(&mut self.bytes),
            Coding::Unsigned => i32::try_from(number(&mut self.bytes)?).ok(),
            Coding::Runs => {
                if self.run.0 == 0 {
                    let count = number(&mut self.bytes).filter(|count| *count > 0)?;
                    self.run = (count, signed(&mut self.bytes)?);
                }
                self.run.0 -= 1;
                Some(self.run.1)
            }
            Coding::Palette => {
                let bit_at = |bit: usize| Some(usize::from(self.bytes.get(bit / 8)? >> (bit % 8) & 1));
                let bits = (0..self.width).try_fold(0, |sum, n| Some(sum | bit_at(self.bit + n)? << n));
                self.bit += self.width;
                self.palette.get(bits?).copied()
            }
        }
    }
}

impl Iterator for Values<'_> {
    type Item = i32;

    fn next(&mut self) -> Option<i32> {
        self.left = self.left.checked_sub(1)?;
        self.read()
    }
}

fn runs(values: &[i32]) -> Vec<u8> {
    let mut out = Vec::new();
    for run in values.chunk_by(|a, b| a == b) {
        put(&mut out, run.len() as u64);
        put(&mut out, folded(run.first().copied().unwrap_or_default()));
    }
    out
}

fn plain(values: &[i32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len() * 2);
    values.iter().for_each(|value| put(&mut out, folded(*value)));
    out
}

/// `None` when a value is negative.
fn unsigned(values: &[i32]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(values.len() * 2);
    for value in values {
        put(&mut out, u64::try_from(*value).ok()?);
    }
    Some(out)
}

/// `None` when there are too many different values.
fn palette(values: &[i32]) -> Option<Vec<u8>> {
    let mut palette: Vec<i32> = Vec::new();
    let mut places = Vec::with_capacity(values.len());
    for value in values {
        let known = palette.iter().position(|known| known == value);
        if known.is_none() {
            palette.push(*value);
        }
        places.push(known.unwrap_or(palette.len() - 1));
        if palette.len() > PALETTE_MAX {
            return None;
        }
    }
    if palette.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    put(&mut out, palette.len() as u64);
    palette.iter().for_each(|value| put(&mut out, folded(*value)));
    let width = width(palette.len());
    let mut bits = vec![0_u8; (places.len() * width).div_ceil(8)];
    for (n, place) in places.into_iter().enumerate() {
        for bit in (0..width).filter(|bit| place >> bit & 1 == 1) {
            bits[(n * width + bit) / 8] |= 1 << ((n * width + bit) % 8);
        }
    }
    out.extend(bits);
    Some(out)
}

/// Bits that tell `count` values apart.
fn width(count: usize) -> usize {
    count.next_power_of_two().trailing_zeros() as usize
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Small negative numbers are small numbers.
fn folded(value: i32) -> u64 {
    u64::from((value << 1 ^ value >> 31) as u32)
}

fn signed(bytes: &mut &[u8]) -> Option<i32> {
    let folded = u32::try_from(number(bytes)?).ok()?;
    Some((folded >> 1) as i32 ^ -((folded & 1) as i32))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(values: &[i32], coding: Coding, bytes_max: usize) {
        let column = Column::of(values);
        assert_eq!(column.iter().collect::<Vec<_>>(), values);
        assert_eq!(Column::from_text(&column.to_text(), values.len()).as_ref(), Some(&column));
        assert_eq!(column.coding, coding);
        assert!(column.len() <= bytes_max, "{} bytes", column.len());
    }

    #[test]
    fn each_pattern_has_its_coding() {
        check(&[1_024; 100_000], Coding::Palette, 4);
        check(&[[3_000; 50_000], [3_003; 50_000]].concat(), Coding::Runs, 10);
        check(&[33, 33, 34].repeat(1_000), Coding::Palette, 380);
        check(&[0, 6_000, 3_000, 0, 9_000].repeat(1_000), Coding::Palette, 1_270);
        check(&(8_000..9_000).collect::<Vec<_>>(), Coding::Unsigned, 2_000);
        check(&(0..1_000).map(|n| n * n - 500).collect::<Vec<_>>(), Coding::Plain, 3_000);
        check(&[], Coding::Runs, 0);
    }

    proptest! {
        #[test]
        fn what_went_in_comes_out(values in proptest::collection::vec(prop_oneof![any::<i32>(), 0..3_i32], 0..300)) {
            let column = Column::of(&values);
            prop_assert_eq!(column.iter().collect::<Vec<_>>(), &values[..]);
            prop_assert_eq!(Column::from_text(&column.to_text(), values.len()), Some(column));
        }

        #[test]
        fn any_text_is_read_or_refused(letter in "[rpuvx]", bytes in proptest::collection::vec(any::<u8>(), 0..60), count in 0..1_000_usize) {
            let text = format!("{letter}{}", BASE64_NOPAD.encode(&bytes));
            if let Some(column) = Column::from_text(&text, count) {
                prop_assert_eq!(column.iter().count(), count);
            }
        }
    }
}
