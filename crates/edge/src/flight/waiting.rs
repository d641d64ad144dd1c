//! The readers of one flight that wait for what comes next.

use std::task::Waker;

/// Who is to be woken by the next change. A reader that goes away gives its place back, so that the list is no longer than the
/// readers are many.
#[derive(Default)]
pub(super) struct Waiting {
    round: u64,
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// A reader's place in one round of waiting.
pub(super) struct Place {
    round: u64,
    index: usize,
}

impl Waiting {
    pub(super) fn wait(&mut self, place: &mut Option<Place>, waker: &Waker) {
        let held = place.as_ref().filter(|place| place.round == self.round).map(|place| place.index);
        if let Some(slot) = held.and_then(|index| self.wakers.get_mut(index)) {
            *slot = Some(waker.clone());
            return;
        }
        let index = self.free.pop().unwrap_or(self.wakers.len());
        match self.wakers.get_mut(index) {
            Some(slot) => *slot = Some(waker.clone()),
            None => self.wakers.push(Some(waker.clone())),
        }
        *place = Some(Place { round: self.round, index });
    }

    pub(super) fn forget(&mut self, place: Option<Place>) {
        let Some(place) = place.filter(|place| place.round == self.round) else { return };
        if let Some(slot) = self.wakers.get_mut(place.index) {
            *slot = None;
            self.free.push(place.index);
        }
    }

    pub(super) fn take(&mut self) -> Vec<Option<Waker>> {
        if self.wakers.is_empty() {
            return Vec::new();
        }
        self.round += 1;
        self.free.clear();
        std::mem::take(&mut self.wakers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_that_comes_and_goes_does_not_grow_the_list() {
        let mut waiting = Waiting::default();
        for _ in 0..1_000 {
            let mut place = None;
            waiting.wait(&mut place, Waker::noop());
            waiting.wait(&mut place, Waker::noop());
            waiting.forget(place);
        }
        assert_eq!(waiting.wakers.len(), 1);
    }

    #[test]
    fn a_place_of_an_earlier_round_is_nobodys() {
        let mut waiting = Waiting::default();
        let (mut early, mut late) = (None, None);
        waiting.wait(&mut early, Waker::noop());
        assert_eq!(waiting.take().len(), 1);
        waiting.wait(&mut late, Waker::noop());
        waiting.forget(early);
        assert_eq!(waiting.take().iter().flatten().count(), 1, "the late one still waits");
    }
}
