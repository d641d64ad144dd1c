//! Times of pictures: put in order, kept small, and hashed.

use std::{cmp::Reverse, collections::BinaryHeap, fmt::Write};

use sha2::{Digest as _, Sha256};

/// Pictures that can stand between coding order and presentation order: 16 frames of the largest decoded picture buffers, as
/// fields, twice over.
pub(super) const REORDER_MAX: usize = 64;

/// SHA-256 of times, each as 8 bytes, big endian.
#[derive(Clone, Default)]
pub(super) struct Digest(Sha256);

impl Digest {
    pub(super) fn add(&mut self, pts: i64) {
        self.0.update(pts.to_be_bytes());
    }

    /// In hexadecimal.
    pub(super) fn hex(self) -> String {
        self.0.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// Takes times in coding order and gives them back in presentation order.
#[derive(Debug, Default)]
pub(super) struct Reorder {
    waiting: BinaryHeap<Reverse<i64>>,
}

impl Reorder {
    /// Takes one time; the smallest comes back when it cannot be undercut any more.
    pub(super) fn push(&mut self, pts: i64) -> Option<i64> {
        self.waiting.push(Reverse(pts));
        if self.waiting.len() > REORDER_MAX { self.pop() } else { None }
    }

    /// The smallest of those that are left.
    pub(super) fn pop(&mut self) -> Option<i64> {
        self.waiting.pop().map(|Reverse(pts)| pts)
    }
}

/// Rising times as runs of equal steps: a day at 60 Hz is one run, in a container that rounds to milliseconds some megabytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    first: Option<i64>,
    last: i64,
    count: u64,
    runs: Vec<(u32, u32)>,
}

impl Times {
    /// Takes a time above all before it.
    pub(super) fn push(&mut self, pts: i64) {
        self.count += 1;
        if self.first.is_none() {
            self.first = Some(pts);
            self.last = pts;
            return;
        }
        let step = u32::try_from(pts - self.last).unwrap_or(u32::MAX);
        // A step of over 13 hours is held at that: nothing plays through it.
        self.last += i64::from(step);
        match self.runs.last_mut() {
            Some((same, count)) if *same == step && *count < u32::MAX => *count += 1,
            _ => self.runs.push((step, 1)),
        }
    }

    pub(super) fn first(&self) -> Option<i64> {
        self.first
    }

    pub(super) fn last(&self) -> i64 {
        self.last
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        let steps = self.runs.iter().flat_map(|&(step, count)| std::iter::repeat_n(i64::from(step), count as usize));
        self.first.into_iter().chain(steps.scan(self.first.unwrap_or(0), |pts, step| {
            *pts += step;
            Some(*pts)
        }))
    }

    /// Without those below `pts`.
    pub(super) fn from(&self, pts: i64) -> Self {
        let mut kept = Self::default();
        self.iter().filter(|time| *time >= pts).for_each(|time| kept.push(time));
        kept
    }

    /// The median step; none for fewer than two times.
    pub(super) fn median_step(&self) -> Option<i64> {
        let mut sorted = self.runs.clone();
        sorted.sort_unstable();
        let half = (self.count.checked_sub(1)?).div_ceil(2);
        let mut seen = 0;
        let found = sorted.into_iter().find(|&(_, count)| {
            seen += u64::from(count);
            seen >= half
        });
        found.filter(|_| half > 0).map(|(step, _)| i64::from(step))
    }

    /// Whether more than one step in a hundred is off the median by more than a tenth and by more than containers round.
    pub(super) fn is_variable(&self) -> bool {
        /// 1.5 ms: two roundings to milliseconds.
        const ROUNDING: i64 = 135;
        let Some(median) = self.median_step() else { return false };
        let off = |step: u32| (i64::from(step) - median).abs() > ROUNDING.max(median / 10);
        let odd: u64 = self.runs.iter().filter(|(step, _)| off(*step)).map(|(_, count)| u64::from(*count)).sum();
        odd * 100 > self.count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steps_are_told_apart() {
        let times = |steps: &[i64]| {
            let mut times = Times::default();
            let mut at = 7;
            times.push(at);
            for step in steps.iter().cycle().take(300) {
                at += step;
                times.push(at);
            }
            times
        };
        let check = |steps: &[i64], median: i64, variable: bool| {
            let times = times(steps);
            assert_eq!((times.median_step(), times.is_variable()), (Some(median), variable), "{steps:?}");
        };
        check(&[3_600], 3_600, false);
        check(&[3_000, 3_060, 2_970], 3_000, false);
        check(&[1_500, 3_000, 1_500], 1_500, true);
        assert_eq!(times(&[1_501, 1_502]).runs.len(), 300);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(mut times in proptest::collection::vec(0i64..1_000_000, 0..300)) {
            times.sort_unstable();
            times.dedup();
            let mut kept = Times::default();
            times.iter().for_each(|time| kept.push(*time));
            prop_assert_eq!(kept.iter().collect::<Vec<_>>(), times.clone());
            // Any order that is off by less than the window is put right.
            let (mut reorder, mut out) = (Reorder::default(), Vec::new());
            for block in times.chunks(REORDER_MAX / 2) {
                out.extend(block.iter().rev().filter_map(|time| reorder.push(*time)));
            }
            out.extend(std::iter::from_fn(|| reorder.pop()));
            prop_assert_eq!(out, times);
        }
    }
}
