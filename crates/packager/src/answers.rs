//! Answers about objects: initialization segments, parts, segments, blocking reloads, figures.

use bytes::Bytes;
use media::{Sample, Track};

use crate::{
    BodyPlan, Lookup, Presentation, Reload, Stats, TrackName, TrackStats, segment::Segment, track::TrackState,
};

impl Presentation {
    /// Answers `NAME/init-ID.mp4`, the initialization segment of EXT-X-MAP.
    pub fn init(&self, track: &TrackName, init_id: u32) -> Lookup<Bytes> {
        let inits = self.state(track).map(|state| &state.inits);
        let found = inits.and_then(|inits| inits.iter().find(|init| init.id == init_id));
        found.map_or(Lookup::Gone, |init| Lookup::Found(init.bytes.clone()))
    }

    /// Answers `NAME/MSN.PART.m4s`. The part of EXT-X-PRELOAD-HINT is `Pending` until it is complete.
    pub fn part(&self, track: &TrackName, msn: u64, part: u32) -> Lookup<BodyPlan> {
        let Some(segment) = self.state(track).and_then(|state| state.segment(msn)) else { return Lookup::Gone };
        match segment.part_plan(part) {
            Some(plan) => Lookup::Found(plan),
            None if !segment.closed && part == segment.next_part() => Lookup::Pending,
            None => Lookup::Gone,
        }
    }

    /// Answers `NAME/MSN.m4s`. A segment that is still open ends with a pending piece; the one after it is `Pending` itself.
    pub fn segment(&self, track: &TrackName, msn: u64) -> Lookup<BodyPlan> {
        let Some(state) = self.state(track) else { return Lookup::Gone };
        match state.segment(msn) {
            Some(segment) if segment.is_gap() => Lookup::Gone,
            Some(segment) => Lookup::Found(segment.plan(track)),
            None if self.publishing && state.active && state.next_msn() == Some(msn) => Lookup::Pending,
            None => Lookup::Gone,
        }
    }

    /// What to do with a reload that asks for segment `msn` (`_HLS_msn`) and, in it, `part` (`_HLS_part`), by RFC 8216bis 6.2.5.2.
    ///
    /// `Ready` also when the playlist will never get there; [`media_playlist`](Self::media_playlist) then says what there is.
    pub fn reload(&self, track: &TrackName, msn: u64, part: Option<u32>) -> Reload {
        let Some(state) = self.state(track) else { return Reload::Ready };
        if self.ended || !state.active {
            return Reload::Ready;
        }
        let Some(newest) = state.segments.back() else { return Reload::Wait };
        let last_closed = if newest.closed { Some(newest.msn) } else { newest.msn.checked_sub(1) };
        if last_closed.is_some_and(|last| msn < last) {
            return Reload::Ready;
        }
        if msn > last_closed.map_or(newest.msn + 1, |last| last + 2) {
            return Reload::BadRequest("_HLS_msn is more than two segments ahead of the playlist");
        }
        let limit = self.advance_part_limit(state);
        match state.segment(msn) {
            Some(segment) if segment.closed => reload_closed(segment, part, state),
            Some(segment) => match part {
                None => Reload::Wait,
                Some(part) if part < segment.next_part() => Reload::Ready,
                Some(part) if part >= segment.next_part().saturating_add(limit) => TOO_FAR,
                Some(_) => Reload::Wait,
            },
            None if part.is_some_and(|part| part >= limit) => TOO_FAR,
            None => Reload::Wait,
        }
    }

    /// RFC 8216bis 6.2.5.2: three parts, or three seconds' worth of shorter ones.
    fn advance_part_limit(&self, state: &TrackState) -> u32 {
        let target_us = self.part_target_us(state).max(1);
        if target_us >= 1_000_000 { 3 } else { u32::try_from(3_000_000 / target_us + 1).unwrap_or(3) }
    }

    /// The source's newest key frame with its track, for thumbnails; `None` without pictures.
    pub fn latest_keyframe(&self) -> Option<(Track, Sample)> {
        self.keyframe.clone()
    }

    /// Figures for operators.
    pub fn stats(&self) -> Stats {
        Stats {
            tracks: self.tracks.iter().map(|state| self.track_stats(state)).collect(),
            dropped: self.counters.dropped,
            epochs: self.counters.epochs,
            jumps: self.counters.jumps,
            discontinuities: self.grid.discontinuities(),
            forced_cuts: self.counters.forced_cuts,
            misaligned: self.counters.misaligned,
        }
    }

    fn track_stats(&self, state: &TrackState) -> TrackStats {
        let codec = &state.track().codec;
        let listed = || state.segments.iter().filter(|segment| segment.msn >= self.first_listed);
        let window_ms: i64 = listed().map(|segment| segment.timescale.to_ms(segment.ticks)).sum();
        TrackStats {
            name: state.name.clone(),
            role: state.role,
            active: state.active,
            codec: codec.rfc6381(),
            size: codec.video().map(|video| (video.width, video.height)),
            frame_rate: state.clock.frame_rate().unwrap_or_default(),
            bandwidth: self.bandwidth(state),
            average_bandwidth: self.average_bandwidth(state),
            segments: listed().count(),
            parts: state.segments.iter().map(|segment| segment.parts.len()).sum(),
            window_ms: u64::try_from(window_ms).unwrap_or(0),
            memory_bytes: state.segments.iter().map(Segment::memory_bytes).sum(),
            live_edge: state.edge().map(|edge| self.wall(edge)),
        }
    }
}

const TOO_FAR: Reload = Reload::BadRequest("_HLS_part is too far ahead of the playlist");

/// A part after the last of its segment is the first of the following one (RFC 8216bis 6.2.5.2).
fn reload_closed(segment: &Segment, part: Option<u32>, state: &TrackState) -> Reload {
    let beyond = part.is_some_and(|part| !segment.parts.is_empty() && part >= segment.next_part());
    let following = || state.segment(segment.msn + 1).is_some_and(|next| next.closed || !next.parts.is_empty());
    if beyond && !following() { Reload::Wait } else { Reload::Ready }
}
