//! The window beyond memory: closed segments move to objects, byte for byte.

use crate::{Presentation, Spill, segment::Storage, track::TrackState};

/// A segment that waits to be stored for this many memory windows is given up: a slow store does not fill the memory.
const PATIENCE_WINDOWS: i64 = 2;

impl Presentation {
    /// The next closed segment that is older than the memory window. Store its bytes under its object name, then call
    /// [`spilled`](Self::spilled) or [`spill_failed`](Self::spill_failed). Several may be under way at once.
    ///
    /// Without any call, everything in the window stays in memory.
    pub fn next_spill(&mut self) -> Option<Spill> {
        self.spilling = true;
        self.give_up_slow_spills();
        let before = self.memory_edge(1)?;
        let (i, msn) = self.tracks.iter().enumerate().find_map(|(i, state)| Some((i, spillable(state, before)?)))?;
        let state = self.tracks.get_mut(i)?;
        let name = state.name.clone();
        let segment = state.segment_mut(msn)?;
        segment.storage = Storage::Spilling;
        Some(Spill { object: format!("{name}/{msn}.m4s"), plan: segment.plan(&name), track: name, msn })
    }

    /// The spill is stored: its payloads leave memory, and the segment answers with [`Piece::File`](crate::Piece::File).
    /// A segment that left the window meanwhile is offered by [`next_discarded`](Self::next_discarded).
    pub fn spilled(&mut self, spill: &Spill) {
        self.settle(spill, Storage::Spilled { object: spill.object.clone() });
    }

    /// The spill could not be stored: the segment becomes a gap.
    pub fn spill_failed(&mut self, spill: &Spill) {
        self.settle(spill, Storage::Gap);
    }

    /// The next spilled object that left the window and can be deleted.
    pub fn next_discarded(&mut self) -> Option<String> {
        self.discarded.pop_front()
    }

    fn settle(&mut self, spill: &Spill, storage: Storage) {
        let state = self.tracks.iter_mut().find(|state| state.name == spill.track);
        let segment = state.and_then(|state| state.segment_mut(spill.msn));
        match segment.filter(|segment| segment.storage == Storage::Spilling) {
            Some(segment) => segment.release(storage),
            None => self.discarded.extend(matches!(storage, Storage::Spilled { .. }).then(|| spill.object.clone())),
        }
        self.bump();
    }

    fn give_up_slow_spills(&mut self) {
        let Some(before) = self.memory_edge(PATIENCE_WINDOWS) else { return };
        let mut lost = false;
        for state in &mut self.tracks {
            for segment in &mut state.segments {
                if segment.end_90k() >= before || !segment.closed {
                    break;
                }
                if matches!(segment.storage, Storage::Memory | Storage::Spilling) {
                    segment.release(Storage::Gap);
                    lost = true;
                }
            }
        }
        if lost {
            self.bump();
        }
    }

    /// Presentation time that lies `windows` memory windows behind the newest media, in 90 kHz ticks.
    fn memory_edge(&self, windows: i64) -> Option<i64> {
        let edge = self.tracks.iter().filter_map(TrackState::edge).max()?;
        Some(edge - windows * i64::from(self.config.memory_window_ms) * 90)
    }
}

fn spillable(state: &TrackState, before: i64) -> Option<u64> {
    let old = state.segments.iter().take_while(|segment| segment.closed && segment.end_90k() < before);
    old.filter(|segment| segment.storage == Storage::Memory).map(|segment| segment.msn).next()
}
