//! The newest frames of a stream: what a joining reader starts with and what a slow reader may be behind. Pure.

use std::collections::VecDeque;

use media::{Sample, Track, TrackKind};

/// Most bytes the ring holds, however long the GOP: about 13 s of 20 Mbit/s.
pub(crate) const RING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most frames the ring holds: bounds its bookkeeping against floods of tiny frames.
pub(crate) const RING_FRAMES_MAX: usize = 8_192;
/// Frames that stay even when they are older than two GOPs, so that a reader woken a little late misses nothing: about
/// 3 s of one picture and one sound track.
const RING_FRAMES_MIN: u64 = 256;

/// A frame, or a new decoder configuration, in the order of arrival.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Track(Track),
    Sample(TrackKind, Sample),
}

/// Frames numbered from zero. The newest two GOPs stay, as long as they fit: readers enter at the newest keyframe, and one
/// that is up to a GOP behind loses nothing.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    items: VecDeque<Item>,
    /// The number of `items[0]`.
    first: u64,
    /// The number of the newest keyframe still here.
    keyframe: Option<u64>,
    /// The number of the keyframe before it.
    previous_keyframe: Option<u64>,
    bytes: usize,
    tracks: Tracks,
}

/// The tracks of a stream as its readers must know them before the first frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracks {
    pub(crate) video: Option<Track>,
    pub(crate) audio: Option<Track>,
}

impl Tracks {
    pub(crate) fn set(&mut self, track: Track) {
        match track.kind() {
            TrackKind::Video => self.video = Some(track),
            TrackKind::Audio => self.audio = Some(track),
        }
    }

    pub(crate) fn of(&self, kind: TrackKind) -> Option<&Track> {
        match kind {
            TrackKind::Video => self.video.as_ref(),
            TrackKind::Audio => self.audio.as_ref(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Track> {
        self.video.iter().chain(self.audio.iter())
    }
}

impl Ring {
    /// The number the next item will get.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    /// The current tracks.
    pub(crate) fn tracks(&self) -> &Tracks {
        &self.tracks
    }

    /// Forgets all frames; numbers go on, and the tracks stay known.
    pub(crate) fn clear(&mut self) {
        self.first = self.end();
        self.items.clear();
        self.keyframe = None;
        self.previous_keyframe = None;
        self.bytes = 0;
    }

    /// A new publisher: nothing of the old one stays but the numbers.
    pub(crate) fn restart(&mut self, tracks: &[Track]) {
        self.clear();
        self.tracks = Tracks::default();
        tracks.iter().for_each(|track| self.push_track(track.clone()));
    }

    /// A new configuration: what is older can be decoded by those who are reading already, and is no entrance any more.
    pub(crate) fn push_track(&mut self, track: Track) {
        self.keyframe = None;
        self.tracks.set(track.clone());
        self.items.push_back(Item::Track(track));
        self.trim();
    }

    pub(crate) fn push_sample(&mut self, kind: TrackKind, sample: Sample) {
        if sample.sync && Self::is_entrance(&self.tracks, kind) {
            self.previous_keyframe = self.keyframe.replace(self.end());
        }
        self.bytes += sample.payload.len();
        self.items.push_back(Item::Sample(kind, sample));
        self.trim();
    }

    /// Where a new reader starts: the newest keyframe, or the end when there is none.
    pub(crate) fn entrance(&self) -> u64 {
        self.keyframe.unwrap_or_else(|| self.end())
    }

    /// Whether a sample of `kind` that is a sync sample is an entrance: without video every frame is one.
    pub(crate) fn is_entrance(tracks: &Tracks, kind: TrackKind) -> bool {
        kind == TrackKind::Video || tracks.video.is_none()
    }

    /// The items from number `from`; `None` when some of them are gone and the reader must start again at [`Ring::entrance`].
    pub(crate) fn since(&self, from: u64) -> Option<impl Iterator<Item = &Item>> {
        let skip = usize::try_from(from.checked_sub(self.first)?).ok()?;
        Some(self.items.iter().skip(skip))
    }

    /// Drops the oldest items: those before the last two GOPs, and whatever is over the limits.
    fn trim(&mut self) {
        let keep_from = self.previous_keyframe.unwrap_or(self.first).min(self.end().saturating_sub(RING_FRAMES_MIN));
        while self.items.len() > RING_FRAMES_MAX || self.bytes > RING_BYTES_MAX || self.first < keep_from {
            let Some(item) = self.items.pop_front() else { break };
            self.first += 1;
            if let Item::Sample(_, sample) = item {
                self.bytes -= sample.payload.len();
            }
        }
        if self.keyframe.is_some_and(|number| number < self.first) {
            self.keyframe = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn sample(dts: i64, sync: bool, bytes: usize) -> Sample {
        Sample { dts, cts_offset: 0, duration: 0, sync, payload: Bytes::from(vec![0; bytes]) }
    }

    fn times(ring: &Ring, from: u64) -> Option<Vec<i64>> {
        let time = |item: &Item| match item {
            Item::Sample(_, sample) => Some(sample.dts),
            Item::Track(_) => None,
        };
        ring.since(from).map(|items| items.filter_map(time).collect())
    }

    fn video(ring: &mut Ring, dts: i64, sync: bool, bytes: usize) {
        ring.push_sample(TrackKind::Video, sample(dts, sync, bytes));
    }

    fn with_video() -> Ring {
        let opus = media::codec::opus::Config {
            channels: 2,
            pre_skip: 0,
            input_sample_rate: 48_000,
            output_gain: 0,
            mapping_family: 0,
        };
        let mut ring = Ring::default();
        ring.push_track(Track::new(media::CodecConfig::Opus(opus)));
        ring.tracks.video = ring.tracks.audio.clone();
        ring
    }

    #[test]
    fn a_reader_starts_at_the_newest_keyframe() {
        let mut ring = with_video();
        assert_eq!(ring.entrance(), ring.end());
        for (dts, sync) in [(0, true), (1, false), (2, true), (3, false)] {
            video(&mut ring, dts, sync, 10);
        }
        assert_eq!(times(&ring, ring.entrance()), Some(vec![2, 3]));
        ring.push_sample(TrackKind::Audio, sample(4, true, 1));
        assert_eq!(times(&ring, ring.entrance()), Some(vec![2, 3, 4]), "sound is no entrance while there is a picture");
    }

    #[test]
    fn a_reader_that_fell_behind_is_told_so() {
        let mut ring = with_video();
        video(&mut ring, 0, true, 10);
        let reader = ring.entrance();
        video(&mut ring, 1, true, 10);
        assert_eq!(times(&ring, reader), Some(vec![0, 1]), "a GOP behind is not too far");
        for dts in 2..=300 {
            video(&mut ring, dts, true, 10);
        }
        assert_eq!(times(&ring, reader), None);
        assert_eq!(times(&ring, ring.entrance()), Some(vec![300]));
    }

    #[test]
    fn a_new_configuration_closes_the_entrance_until_the_next_keyframe() {
        let mut ring = with_video();
        video(&mut ring, 0, true, 10);
        let track = ring.tracks().video.clone().unwrap();
        ring.push_track(track);
        video(&mut ring, 1, false, 10);
        assert_eq!(ring.entrance(), ring.end());
        video(&mut ring, 2, true, 10);
        assert_eq!(times(&ring, ring.entrance()), Some(vec![2]));
    }

    #[test]
    fn without_a_picture_every_frame_is_an_entrance() {
        let mut ring = with_video();
        ring.tracks.video = None;
        for dts in 0..1_000 {
            ring.push_sample(TrackKind::Audio, sample(dts, true, 10));
            assert_eq!(times(&ring, ring.entrance()), Some(vec![dts]));
        }
        assert!(ring.items.len() as u64 <= RING_FRAMES_MIN + 1, "{}", ring.items.len());
    }

    #[test]
    fn a_gop_over_the_limit_is_dropped_rather_than_kept_without_bound() {
        let mut ring = with_video();
        video(&mut ring, 0, true, 10);
        for dts in 1..100 {
            video(&mut ring, dts, false, RING_BYTES_MAX / 8);
        }
        assert!(ring.bytes <= RING_BYTES_MAX);
        assert_eq!(ring.entrance(), ring.end(), "a GOP without its keyframe is no entrance");
    }
}
