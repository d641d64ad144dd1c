//! What waits for FFmpeg: bounded by bytes and by time, with the newest GOP kept for a restart. Pure.

use std::collections::VecDeque;

use base::Timescale;
use media::{Sample, Track, TrackKind};

/// The bounds of a [`Queue`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes_max: usize,
    pub(crate) ms_max: u64,
}

/// Samples between the live room and one FFmpeg after another.
///
/// Entries are numbered. The cursor is the next one to be written; what is before it is kept back to the newest keyframe, so
/// that a new child can begin there. An epoch ends when the source changes so that a running child cannot follow.
#[derive(Debug)]
pub(crate) struct Queue {
    limits: Limits,
    video: Track,
    audio: Option<Track>,
    entries: VecDeque<(TrackKind, Sample)>,
    first: u64,
    cursor: u64,
    keyframe: Option<u64>,
    bytes: usize,
    waiting_for_keyframe: bool,
    newest_video: Option<Newest>,
    epoch: Epoch,
    pushed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    dts: i64,
    pts: i64,
}

/// A stretch of the source that one child can follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) number: u64,
    /// Why it began.
    pub(crate) reason: &'static str,
    /// Counts the breaks after which times have nothing to do with those before.
    pub(crate) timeline: u64,
}

/// What [`Queue::take`] finds.
#[derive(Debug)]
pub(crate) enum Taken {
    Sample(TrackKind, Sample),
    Nothing,
    /// The caller's epoch is over.
    EpochOver,
}

impl Queue {
    pub(crate) fn new(limits: Limits, video: Track, audio: Option<Track>) -> Self {
        Self {
            limits,
            video,
            audio,
            entries: VecDeque::new(),
            first: 0,
            cursor: 0,
            keyframe: None,
            bytes: 0,
            waiting_for_keyframe: true,
            newest_video: None,
            epoch: Epoch { number: 0, reason: "start", timeline: 0 },
            pushed: 0,
        }
    }

    /// The tracks a child that starts now is given.
    pub(crate) fn tracks(&self) -> (Track, Option<Track>) {
        (self.video.clone(), self.audio.clone())
    }

    pub(crate) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Video samples pushed so far; a change means that input flows.
    pub(crate) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Presentation time of the newest picture, in its track's ticks.
    pub(crate) fn newest_pts(&self) -> Option<i64> {
        self.newest_video.map(|newest| newest.pts)
    }

    /// A new configuration. One that differs begins an epoch at the next keyframe; a sound track is taken when sound is
    /// wanted at all.
    pub(crate) fn track(&mut self, track: Track) {
        let place = match (track.kind(), &mut self.audio) {
            (TrackKind::Video, _) => &mut self.video,
            (TrackKind::Audio, Some(audio)) => audio,
            (TrackKind::Audio, None) => return,
        };
        if *place == track {
            return;
        }
        *place = track;
        self.begin_epoch("the source's configuration changed", false);
    }

    /// What follows does not join what came before: wait for a keyframe.
    pub(crate) fn cut(&mut self) {
        self.waiting_for_keyframe = true;
    }

    /// Adds a sample; returns how many pictures a limit made it drop.
    pub(crate) fn push(&mut self, kind: TrackKind, sample: Sample) -> u64 {
        if kind == TrackKind::Audio && self.audio.is_none() {
            return 0;
        }
        if kind == TrackKind::Video {
            self.pushed += 1;
            self.note_video(&sample);
        }
        if self.waiting_for_keyframe {
            return 0;
        }
        self.bytes = self.bytes.saturating_add(sample.payload.len());
        self.entries.push_back((kind, sample));
        self.enforce()
    }

    /// The next sample to be written.
    pub(crate) fn take(&mut self, epoch: u64) -> Taken {
        if epoch != self.epoch.number {
            return Taken::EpochOver;
        }
        let Some((kind, sample)) = self.offset(self.cursor).and_then(|at| self.entries.get(at)).cloned() else {
            return Taken::Nothing;
        };
        self.cursor += 1;
        self.forget();
        Taken::Sample(kind, sample)
    }

    /// Puts the cursor where a new child begins: at the newest keyframe when nothing of it has been delivered, else at
    /// the next one to come.
    pub(crate) fn rewind(&mut self, delivered_pts: Option<i64>) {
        let fresh = self.keyframe.filter(|&keyframe| {
            let pts = self.offset(keyframe).and_then(|at| self.entries.get(at)).map(|(_, sample)| sample.pts());
            pts.is_some_and(|pts| delivered_pts.is_none_or(|delivered| pts > delivered))
        });
        match fresh {
            Some(keyframe) => {
                self.cursor = keyframe;
                self.forget();
            }
            None => self.clear(),
        }
    }

    fn note_video(&mut self, sample: &Sample) {
        let back = self.newest_video.is_some_and(|newest| sample.dts < newest.dts);
        if back {
            self.begin_epoch("the source's timestamps went back", true);
        }
        self.newest_video = Some(Newest { dts: sample.dts, pts: sample.pts() });
        if sample.sync {
            self.waiting_for_keyframe = false;
            self.keyframe = Some(self.first + self.entries.len() as u64);
            self.forget();
        }
    }

    fn begin_epoch(&mut self, reason: &'static str, new_timeline: bool) {
        let timeline = self.epoch.timeline + u64::from(new_timeline);
        self.epoch = Epoch { number: self.epoch.number + 1, reason, timeline };
        self.clear();
    }

    fn clear(&mut self) {
        self.first += self.entries.len() as u64;
        self.cursor = self.first;
        self.entries.clear();
        self.bytes = 0;
        self.keyframe = None;
        self.waiting_for_keyframe = true;
    }

    fn offset(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    /// Lets go of what neither the writer nor a restart needs.
    fn forget(&mut self) {
        let needed = self.keyframe.unwrap_or(self.cursor).min(self.cursor);
        while self.first < needed {
            let Some((_, sample)) = self.entries.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(sample.payload.len());
            self.first += 1;
        }
    }

    fn enforce(&mut self) -> u64 {
        if self.bytes > self.limits.bytes_max && self.keyframe.is_some_and(|keyframe| keyframe < self.cursor) {
            // A GOP too long to keep: a restart waits for the next keyframe instead.
            self.keyframe = None;
            self.forget();
        }
        if self.bytes <= self.limits.bytes_max && self.backlog_ms() <= self.limits.ms_max {
            return 0;
        }
        self.skip()
    }

    fn backlog_ms(&self) -> u64 {
        let at = self.offset(self.cursor).unwrap_or(0);
        let mut waiting =
            self.entries.range(at.min(self.entries.len())..).filter(|(kind, _)| *kind == TrackKind::Video);
        let oldest = waiting.next().map(|(_, sample)| sample.dts);
        let span = self.newest_video.zip(oldest).map_or(0, |(newest, oldest)| newest.dts.saturating_sub(oldest));
        u64::try_from(Timescale::VIDEO.to_ms(span)).unwrap_or(0)
    }

    /// Skips to the newest keyframe if it is still to be written, else waits for the next one.
    fn skip(&mut self) -> u64 {
        let to = self.keyframe.filter(|&keyframe| keyframe > self.cursor).unwrap_or(u64::MAX);
        let range = self.cursor..to.min(self.first + self.entries.len() as u64);
        let video = |number: &u64| {
            let entry = self.offset(*number).and_then(|at| self.entries.get(at));
            entry.is_some_and(|(kind, _)| *kind == TrackKind::Video)
        };
        let dropped = range.filter(video).count() as u64;
        if to == u64::MAX {
            self.clear();
        } else {
            self.cursor = to;
            self.forget();
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use media::{CodecConfig, codec};

    use super::*;

    fn track(width: u32) -> Track {
        let info = codec::VideoInfo { width, height: 720, frame_rate: None };
        let record = Bytes::new();
        Track::new(CodecConfig::Avc(codec::avc::Config {
            record,
            sps: vec![],
            pps: vec![],
            profile: [100, 0, 31],
            info,
        }))
    }

    fn sample(ms: i64, sync: bool) -> Sample {
        Sample { dts: ms * 90, cts_offset: 0, duration: 0, sync, payload: Bytes::from_static(&[0; 100]) }
    }

    fn queue() -> Queue {
        Queue::new(Limits { bytes_max: 5_000, ms_max: 1_000 }, track(1280), None)
    }

    fn push(queue: &mut Queue, times: impl IntoIterator<Item = i64>) -> u64 {
        times.into_iter().map(|ms| queue.push(TrackKind::Video, sample(ms, ms % 500 == 0))).sum()
    }

    fn taken(queue: &mut Queue) -> Vec<i64> {
        let epoch = queue.epoch().number;
        let next = |queue: &mut Queue| match queue.take(epoch) {
            Taken::Sample(_, sample) => Some(sample.dts / 90),
            _ => None,
        };
        std::iter::from_fn(|| next(queue)).collect()
    }

    #[test]
    fn nothing_is_taken_before_a_keyframe() {
        let mut queue = queue();
        push(&mut queue, [300, 400, 500, 600]);
        assert_eq!(taken(&mut queue), [500, 600]);
        queue.cut();
        push(&mut queue, [700, 800, 1000]);
        assert_eq!(taken(&mut queue), [1000]);
    }

    #[test]
    fn a_restart_begins_at_the_newest_keyframe_not_yet_delivered() {
        let mut queue = queue();
        push(&mut queue, (0..=700).step_by(100));
        assert_eq!(taken(&mut queue).len(), 8);
        queue.rewind(Some(400 * 90));
        assert_eq!(taken(&mut queue), [500, 600, 700]);
        queue.rewind(Some(500 * 90));
        push(&mut queue, (800..=1100).step_by(100));
        assert_eq!(taken(&mut queue), [1000, 1100]);
    }

    #[test]
    fn an_overflow_skips_to_a_keyframe() {
        let mut queue = queue();
        assert_eq!(push(&mut queue, (0..=1000).step_by(100)), 0);
        assert_eq!(push(&mut queue, [1100]), 10, "all up to the keyframe at 1000");
        assert_eq!(taken(&mut queue), [1000, 1100]);
    }

    #[test]
    fn a_gop_that_never_ends_is_not_kept_for_ever() {
        let mut queue = queue();
        queue.push(TrackKind::Video, sample(0, true));
        for frame in 1..10_000 {
            queue.push(TrackKind::Video, sample(frame * 40 + 1, false));
            taken(&mut queue);
            assert!(queue.bytes <= 5_000);
        }
        queue.rewind(None);
        assert!(taken(&mut queue).is_empty());
    }

    #[test]
    fn a_change_of_the_source_ends_the_epoch() {
        let mut queue = queue();
        push(&mut queue, [0, 100]);
        queue.track(track(1280));
        assert_eq!(queue.epoch().number, 0);
        queue.track(track(1920));
        assert!(matches!(queue.take(0), Taken::EpochOver));
        assert_eq!(queue.epoch().timeline, 0);
        push(&mut queue, [200, 500]);
        assert_eq!(taken(&mut queue), [500]);
        push(&mut queue, [400]);
        assert_eq!(queue.epoch().timeline, 1);
    }
}
