//! Where a video track is cut into chunks.

use super::{
    CHUNKS_MAX, Chunk,
    grid::{Grid, Marks},
    times::{Digest, Times},
};

/// Sync pictures closer than this to the one before, in ticks, are no places to cut (a quarter of a second): a source of only
/// sync pictures would have millions.
const PLACES_APART_MIN: i64 = 22_500;
/// Sync pictures told of one chunk; longer chunks are not told, and whoever encodes them counts for itself.
const MARKS_MAX: usize = 4_096;

/// How to cut.
pub(super) struct Plan<'a> {
    pub(super) times: &'a Times,
    pub(super) keys: &'a Times,
    /// Sync pictures that begin a shot, rising.
    pub(super) shots: &'a [i64],
    pub(super) end_pts: i64,
    pub(super) chunk_ms: i64,
    pub(super) gop_ms: i64,
}

impl Plan<'_> {
    /// The chunks; together they are every picture once. A source of one sync picture is one chunk: a cut elsewhere would
    /// make every worker decode all that is before it.
    pub(super) fn chunks(&self) -> Vec<Chunk> {
        if self.times.first().is_none() {
            return Vec::new();
        }
        let starts = self.starts();
        let ends = starts.iter().skip(1).copied().chain([self.end_pts]);
        let mut times = self.times.iter().peekable();
        let mut chunks = Vec::with_capacity(starts.len());
        for (index, (&start_pts, end_pts)) in (0..).zip(starts.iter().zip(ends)) {
            let grid = Grid::between(start_pts, end_pts, self.gop_ms);
            let (mut digest, mut marks) = (Digest::default(), Marks::new(grid));
            let (mut frames, mut keyframes) = (0, Vec::new());
            while let Some(pts) = times.next_if(|pts| *pts < end_pts) {
                frames += 1;
                digest.add(pts);
                if marks.marks(pts) && keyframes.len() <= MARKS_MAX {
                    keyframes.push(pts);
                }
            }
            if keyframes.len() > MARKS_MAX {
                keyframes.clear();
            }
            let shot = self.shots.binary_search(&start_pts).is_ok();
            chunks.push(Chunk { index, start_pts, end_pts, frames, digest: digest.hex(), shot, keyframes });
        }
        chunks
    }

    /// Where chunks begin; their length grows until they are few enough.
    fn starts(&self) -> Vec<i64> {
        let first = self.times.first().unwrap_or(0);
        let places = self.places(first);
        let mut target = (self.chunk_ms * 90).max(PLACES_APART_MIN);
        loop {
            let starts = self.starts_about(first, target, &places);
            if starts.len() <= CHUNKS_MAX {
                return starts;
            }
            target += target / 4;
        }
    }

    /// Sync pictures where a cut may be.
    fn places(&self, first: i64) -> Vec<i64> {
        let mut last = first;
        let mut is_place = |key: &i64| {
            let far = key - last >= PLACES_APART_MIN;
            if far || *key > first && self.shots.binary_search(key).is_ok() {
                last = *key;
                return true;
            }
            false
        };
        self.keys.iter().filter(|key| is_place(key)).collect()
    }

    /// From half to one and a half of `target` behind a cut: the change of shot, else the place, that is nearest to `target`;
    /// if there is none, the next place. A rest under a half stays with the last chunk.
    fn starts_about(&self, first: i64, target: i64, places: &[i64]) -> Vec<i64> {
        let mut starts = vec![first];
        let mut at = first;
        loop {
            let from = places.partition_point(|place| *place < at + target / 2);
            let rest = places.get(from..).unwrap_or_default();
            let near = rest.get(..rest.partition_point(|place| *place <= at + target + target / 2)).unwrap_or_default();
            let shots = near.iter().filter(|place| self.shots.binary_search(place).is_ok());
            let nearest = |place: &&i64| (**place - at - target).abs();
            let cut = shots.min_by_key(nearest).or_else(|| near.iter().min_by_key(nearest)).or(rest.first());
            match cut {
                Some(&cut) if self.end_pts - cut >= target / 2 => {
                    starts.push(cut);
                    at = cut;
                }
                _ => return starts,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(range: impl IntoIterator<Item = i64>) -> Times {
        let mut times = Times::default();
        range.into_iter().for_each(|pts| times.push(pts));
        times
    }

    fn starts(frames: i64, key_every: usize, shots: &[i64], chunk_ms: i64) -> Vec<i64> {
        let all: Vec<i64> = (0..frames).map(|n| n * 3_600).collect();
        let keys = times(all.iter().copied().step_by(key_every));
        let (times, end_pts) = (times(all.iter().copied()), frames * 3_600);
        let plan = Plan { times: &times, keys: &keys, shots, end_pts, chunk_ms, gop_ms: 2_000 };
        let chunks = plan.chunks();
        assert_eq!(chunks.iter().map(|chunk| chunk.frames).sum::<u64>(), frames as u64);
        assert!(chunks.windows(2).all(|pair| pair[0].end_pts == pair[1].start_pts));
        assert!(chunks.iter().all(|chunk| chunk.keyframes[0] == chunk.start_pts));
        chunks.iter().map(|chunk| chunk.start_pts / 90_000).collect()
    }

    #[test]
    fn cuts_are_at_sync_pictures_near_the_wanted_length() {
        assert_eq!(starts(25 * 60, 50, &[], 10_000), [0, 10, 20, 30, 40, 50]);
        assert_eq!(starts(25 * 63, 50, &[], 10_000), [0, 10, 20, 30, 40, 50], "a short rest stays");
        assert_eq!(starts(25 * 60, 50, &[12 * 90_000], 10_000), [0, 12, 22, 32, 42, 52], "a change of shot wins");
        assert_eq!(starts(25 * 60, 25 * 20, &[], 10_000), [0, 20, 40], "no place in reach: the next one");
        assert_eq!(starts(25 * 60, 100_000, &[], 10_000), [0], "one sync picture: one chunk");
    }

    #[test]
    fn a_day_has_few_chunks() {
        let count = starts(86_400, 10, &[], 500).len();
        assert!((CHUNKS_MAX / 2..=CHUNKS_MAX).contains(&count), "{count}");
    }

    proptest! {
        #[test]
        fn every_picture_is_in_one_chunk(frames in 1i64..3_000, key_every in 1usize..400, shot in 0i64..3_000, chunk_ms in 1i64..20_000) {
            starts(frames, key_every, &[shot * 3_600], chunk_ms);
        }
    }
}
