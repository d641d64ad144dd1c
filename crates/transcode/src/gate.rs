//! Lets the output of a new child through only from the first keyframe that no earlier child has delivered. Pure.

use media::{Sample, TrackKind};

/// Per rendition, whether its samples may pass; over all, how far the pictures have been delivered.
#[derive(Debug)]
pub(crate) struct Gate {
    open: Vec<bool>,
    /// Newest presentation time delivered in any rendition of pictures, in 90 kHz.
    delivered_pts: Option<i64>,
    /// Where [`Gate::shut`] found it: pictures open after this.
    resume_after_pts: Option<i64>,
    /// Newest decoding time of sound, in its own ticks.
    delivered_audio_dts: Option<i64>,
}

impl Gate {
    pub(crate) fn new(renditions: usize) -> Self {
        Self { open: vec![false; renditions], delivered_pts: None, resume_after_pts: None, delivered_audio_dts: None }
    }

    /// Newest presentation time delivered in any rendition of pictures, in 90 kHz.
    pub(crate) fn delivered_pts(&self) -> Option<i64> {
        self.delivered_pts
    }

    /// A new child begins: every rendition waits for the same next keyframe.
    pub(crate) fn shut(&mut self) {
        self.open.fill(false);
        self.resume_after_pts = self.delivered_pts;
    }

    /// The timeline begins anew: what was delivered says nothing about what comes.
    pub(crate) fn forget(&mut self) {
        let renditions = self.open.len();
        *self = Self::new(renditions);
    }

    /// Whether `sample` of `rendition` passes.
    pub(crate) fn admit(&mut self, rendition: usize, kind: TrackKind, sample: &Sample) -> bool {
        match kind {
            TrackKind::Audio => self.admit_audio(sample),
            TrackKind::Video => self.admit_video(rendition, sample),
        }
    }

    fn admit_audio(&mut self, sample: &Sample) -> bool {
        let new = self.delivered_audio_dts.is_none_or(|delivered| sample.dts > delivered);
        if new {
            self.delivered_audio_dts = Some(sample.dts);
        }
        new
    }

    fn admit_video(&mut self, rendition: usize, sample: &Sample) -> bool {
        let pts = sample.pts();
        let Some(open) = self.open.get_mut(rendition) else { return false };
        *open |= sample.sync && self.resume_after_pts.is_none_or(|after| pts > after);
        if *open {
            self.delivered_pts = Some(self.delivered_pts.map_or(pts, |delivered| delivered.max(pts)));
        }
        *open
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn admit(gate: &mut Gate, rendition: usize, pts: i64, sync: bool) -> bool {
        let sample = Sample { dts: pts, cts_offset: 0, duration: 0, sync, payload: Bytes::new() };
        gate.admit(rendition, TrackKind::Video, &sample)
    }

    #[test]
    fn after_a_restart_all_renditions_resume_at_the_same_undelivered_keyframe() {
        let mut gate = Gate::new(2);
        assert!(!admit(&mut gate, 0, 5, false), "not before a keyframe");
        assert!(admit(&mut gate, 0, 10, true) && admit(&mut gate, 0, 20, false) && admit(&mut gate, 1, 10, true));
        gate.shut();
        for (pts, sync, passes) in
            [(10, true, false), (20, false, false), (30, false, false), (40, true, true), (50, false, true)]
        {
            assert_eq!((admit(&mut gate, 0, pts, sync), admit(&mut gate, 1, pts, sync)), (passes, passes), "{pts}");
        }
    }

    #[test]
    fn a_new_timeline_may_begin_earlier() {
        let mut gate = Gate::new(1);
        assert!(admit(&mut gate, 0, 1_000, true));
        gate.forget();
        assert!(admit(&mut gate, 0, 10, true));
    }
}
