//! The channel-wide list of segments: which there are, where they begin, and where the timeline breaks. Every track is cut
//! by it, so that a Media Sequence Number means the same stretch of time, and the same discontinuity, on all of them.

use std::collections::VecDeque;

/// One segment's place on the presentation timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Media Sequence Number.
    pub(crate) msn: u64,
    /// Presentation time of its beginning, in 90 kHz ticks.
    pub(crate) start: i64,
    /// Presentation time of its end, once the next cell begins or the epoch ends.
    pub(crate) end: Option<i64>,
    /// EXT-X-DISCONTINUITY stands before it.
    pub(crate) discontinuity: bool,
    /// Discontinuities up to here, its own included.
    pub(crate) discontinuity_sequence: u64,
    /// Beginning of the first cell since the last discontinuity, in 90 kHz ticks: the start of its DASH Period.
    pub(crate) period_start: i64,
    /// It begins with a sync sample of the leader.
    pub(crate) independent: bool,
}

/// The cells of the window, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grid {
    cells: VecDeque<Cell>,
    next_msn: u64,
    opening_msn: u64,
    /// Presentation time of the first cell of all, once it has begun, in 90 kHz ticks.
    zero: Option<i64>,
    discontinuity_sequence: u64,
    period_start: i64,
}

impl Grid {
    /// An empty grid whose first cell gets the number `first_msn`.
    pub(crate) fn starting_at(first_msn: u64) -> Self {
        Self { next_msn: first_msn, opening_msn: first_msn, ..Self::default() }
    }

    /// Media Sequence Number of the first cell there ever was.
    pub(crate) fn opening_msn(&self) -> u64 {
        self.opening_msn
    }

    /// Presentation time of the first cell there ever was, in 90 kHz ticks; 0 before it begins.
    pub(crate) fn zero(&self) -> i64 {
        self.zero.unwrap_or(0)
    }

    /// Media Sequence Number of the cell that begins next.
    pub(crate) fn next_msn(&self) -> u64 {
        self.next_msn
    }

    /// The cell with `msn`, while it is in the window.
    pub(crate) fn get(&self, msn: u64) -> Option<&Cell> {
        let first = self.cells.front()?.msn;
        self.cells.get(usize::try_from(msn.checked_sub(first)?).ok()?)
    }

    /// The newest cell.
    pub(crate) fn last(&self) -> Option<&Cell> {
        self.cells.back()
    }

    /// The newest cell while it is open.
    pub(crate) fn open(&self) -> Option<&Cell> {
        self.cells.back().filter(|cell| cell.end.is_none())
    }

    /// All cells, oldest first.
    pub(crate) fn cells(&self) -> impl DoubleEndedIterator<Item = &Cell> {
        self.cells.iter()
    }

    /// The newest cell that begins at or before `pts` (90 kHz), since the last discontinuity.
    pub(crate) fn containing(&self, pts: i64) -> Option<&Cell> {
        let current = |cell: &&Cell| cell.discontinuity_sequence == self.discontinuity_sequence;
        self.cells.iter().rev().take_while(current).find(|cell| cell.start <= pts)
    }

    /// The cell that begins within `tolerance` of `pts` (both 90 kHz).
    pub(crate) fn beginning_at(&self, pts: i64, tolerance: i64) -> Option<&Cell> {
        self.cells.iter().rev().find(|cell| cell.start.abs_diff(pts) <= tolerance.unsigned_abs())
    }

    /// Discontinuities so far.
    pub(crate) fn discontinuities(&self) -> u64 {
        self.discontinuity_sequence
    }

    /// Begins a cell at `start`; the open one ends there. The first cell of all is never a discontinuity.
    pub(crate) fn begin(&mut self, start: i64, discontinuity: bool, independent: bool) -> &Cell {
        self.end(start);
        let is_first = self.zero.is_none();
        self.zero.get_or_insert(start);
        if discontinuity || is_first {
            self.period_start = start;
        }
        let discontinuity = discontinuity && !is_first;
        self.discontinuity_sequence += u64::from(discontinuity);
        self.cells.push_back(Cell {
            msn: self.next_msn,
            start,
            end: None,
            discontinuity,
            discontinuity_sequence: self.discontinuity_sequence,
            period_start: self.period_start,
            independent,
        });
        self.next_msn += 1;
        self.cells.back().expect("invariant: a cell was just pushed")
    }

    /// Ends the open cell at `end`.
    pub(crate) fn end(&mut self, end: i64) {
        if let Some(cell) = self.cells.back_mut().filter(|cell| cell.end.is_none()) {
            cell.end = Some(end.max(cell.start));
        }
    }

    /// Drops the oldest cell when it ended before `before`.
    pub(crate) fn drop_ended(&mut self, before: i64) -> bool {
        let leaves = self.cells.front().is_some_and(|cell| cell.end.is_some_and(|end| end < before));
        if leaves {
            self.cells.pop_front();
        }
        leaves
    }

    /// Cells held.
    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    /// MSN of the oldest cell.
    pub(crate) fn first_msn(&self) -> Option<u64> {
        self.cells.front().map(|cell| cell.msn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_survive_dropping_and_count_discontinuities() {
        let mut grid = Grid::default();
        assert!(!grid.begin(0, true, true).discontinuity, "nothing lies before the first cell");
        grid.begin(180_000, false, true);
        grid.begin(360_000, true, true);
        grid.begin(540_000, true, true);
        let of =
            |grid: &Grid, msn: u64| grid.get(msn).map(|c| (c.start, c.end, c.discontinuity_sequence, c.period_start));
        assert_eq!(of(&grid, 0), Some((0, Some(180_000), 0, 0)));
        assert_eq!(of(&grid, 2), Some((360_000, Some(540_000), 1, 360_000)));
        assert_eq!(of(&grid, 3), Some((540_000, None, 2, 540_000)));
        assert!(grid.drop_ended(180_001) && !grid.drop_ended(180_001));
        assert_eq!((of(&grid, 0), grid.first_msn(), grid.len()), (None, Some(1), 3));
        assert_eq!(of(&grid, 1).map(|cell| cell.0), Some(180_000));
        assert_eq!(grid.containing(600_000).map(|c| c.msn), Some(3));
        assert_eq!(grid.containing(359_999), None, "another period");
        assert_eq!(grid.beginning_at(360_740, 750).map(|c| c.msn), Some(2));
        assert_eq!(grid.beginning_at(361_000, 750), None);
    }
}
