//! The MPD (ISO/IEC 23009-1): the parts of Low-Latency HLS are its CMAF chunks, the segments its segments.
//!
//! What players do with a SegmentTimeline that includes the segment being made decides the figures here:
//! - dash.js goes by the wall clock: its live delay is `ServiceDescription/Latency@target`, and a segment may be requested from
//!   its end minus `availabilityTimeOffset` on.
//! - Shaka goes by the timeline: its live edge is the announced end of the last `S`, plus `availabilityTimeOffset`, minus
//!   `suggestedPresentationDelay`. That delay therefore has to cover both before it is a delay. It takes `Latency@target` as a
//!   distance from that edge, so it must not slow down to reach it: `PlaybackRate@min` is 1.
//!
//! The first Period begins at zero: GStreamer adds Period@start twice, and a static MPD would begin with nothing.
//!
//! `$Number$` counts the `S` elements, so a Representation cannot express a missing segment: every discontinuity begins a Period,
//! and within a Period a Representation lists the segments behind its last gap.

use std::fmt::Write;

use base::{
    Timescale, Wall,
    time::{rescale, rescale_nearest},
};
use bytes::Bytes;
use media::TrackKind;

use crate::{
    NotReady, Presentation,
    grid::Cell,
    hls::ms_90k,
    mpd::{Micros, RepresentationHead, Xml, put_timeline},
    segment::Segment,
    tags::Millis,
    track::TrackState,
};

/// Delay behind the last announced and available byte: a late part and a late MPD, in milliseconds.
const SAFETY_MS: i64 = 1_300;
/// dash.js' delay beyond the time it takes until a segment may be requested, in milliseconds.
const LATENCY_MS: i64 = 2_000;
/// How far players may be off the target before they jump, in milliseconds.
const LATENCY_EARLY_MS: i64 = 1_000;
const LATENCY_LATE_MS: i64 = 6_000;
/// The MPD is fetched this many times per target duration: a new segment is known soon after it begins.
const UPDATES_PER_SEGMENT: u32 = 4;

/// The cells between two discontinuities.
struct Period {
    sequence: u64,
    start: i64,
    end: Option<i64>,
    first_msn: u64,
    last_msn: u64,
    independent: bool,
    is_last: bool,
}

impl Presentation {
    /// Answers `manifest.mpd` at `now`: dynamic while the stream may go on, static after [`end`](Self::end).
    ///
    /// # Errors
    /// [`NotReady`] before every source track has a complete part.
    pub fn mpd(&self, now: Wall) -> Result<Bytes, NotReady> {
        if !self.is_ready() && !self.ended {
            return Err(NotReady);
        }
        let periods = self.periods();
        let Some(last) = periods.last() else { return Err(NotReady) };
        let mut text = String::with_capacity(4096);
        self.render_mpd_head(&mut text, last, now);
        periods.iter().for_each(|period| self.render_period(&mut text, period));
        if !self.ended {
            let _ = writeln!(text, "  {}", UtcTiming(&self.config.utc_timing_url));
        }
        text.push_str("</MPD>\n");
        Ok(text.into())
    }

    fn render_mpd_head(&self, text: &mut String, last: &Period, now: Wall) {
        let longest_ms = self.longest_segment_ms();
        text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"");
        text.push_str(
            " profiles=\"urn:mpeg:dash:profile:isoff-live:2011,http://www.dashif.org/guidelines/low-latency-live-v5\"",
        );
        let _ = write!(text, " minBufferTime=\"PT1S\" maxSegmentDuration=\"PT{}S\"", Millis(self.max_segment_ms()));
        if self.ended {
            let end = last.end.unwrap_or(last.start) - self.grid.zero();
            let _ = writeln!(text, " type=\"static\" mediaPresentationDuration=\"PT{}S\">", Millis(ms_90k(end)));
            return;
        }
        let offset_ms = self.availability_offset_ms();
        let available = self.wall(self.grid.zero());
        let _ = writeln!(
            text,
            " type=\"dynamic\" availabilityStartTime=\"{}\" publishTime=\"{}\" minimumUpdatePeriod=\"PT{}S\" timeShiftBufferDepth=\"PT{}S\" suggestedPresentationDelay=\"PT{}S\">",
            available,
            now.max(available),
            Millis(i64::from(self.config.segment_target_ms / UPDATES_PER_SEGMENT)),
            Millis(self.config.window_ms.into()),
            Millis(longest_ms + offset_ms + SAFETY_MS),
        );
        let target_ms = longest_ms - offset_ms + LATENCY_MS;
        let _ = writeln!(
            text,
            "  <ServiceDescription id=\"0\"><Latency target=\"{target_ms}\" min=\"{}\" max=\"{}\"/><PlaybackRate min=\"1.00\" max=\"1.04\"/></ServiceDescription>",
            target_ms - LATENCY_EARLY_MS,
            target_ms + LATENCY_LATE_MS,
        );
    }

    /// Longest segment that the MPD lists, in milliseconds rounded up: sound reaches over a boundary by less than a packet, and an
    /// open segment may be announced as long as it can get.
    fn max_segment_ms(&self) -> i64 {
        let length_ms = |state: &TrackState, segment: &Segment| {
            let ticks = if segment.closed { segment.ticks } else { self.predicted_ticks(state, segment) };
            segment.timescale.to_ms(ticks + i64::from(segment.timescale.get()) / 1_000)
        };
        let longest = |state| self.listed_segments(state).map(|segment| length_ms(state, segment)).max().unwrap_or(0);
        self.tracks.iter().map(longest).max().unwrap_or(0).max(self.longest_segment_ms())
    }

    /// A segment may be requested half a segment before its end: its parts are there, and more arrive.
    fn availability_offset_ms(&self) -> i64 {
        i64::from(self.config.segment_target_ms / 2)
    }

    fn periods(&self) -> Vec<Period> {
        let mut periods: Vec<Period> = Vec::new();
        for cell in self.grid.cells().filter(|cell| cell.msn >= self.first_listed) {
            match periods.last_mut().filter(|period| period.sequence == cell.discontinuity_sequence) {
                Some(period) => period.extend(cell),
                None => periods.push(Period::new(cell)),
            }
        }
        periods.retain(|period| self.tracks.iter().any(|state| !self.run(state, period).is_empty()));
        if let Some(last) = periods.last_mut() {
            last.is_last = true;
        }
        periods
    }

    fn render_period(&self, text: &mut String, period: &Period) {
        let _ = write!(
            text,
            "  <Period id=\"p{}\" start=\"PT{}S\"",
            period.sequence,
            Micros(period.start - self.grid.zero())
        );
        if let Some(end) = period.end.filter(|_| !period.is_last || self.ended) {
            let _ = write!(text, " duration=\"PT{}S\"", Micros(end - period.start));
        }
        text.push_str(">\n");
        let mut families: Vec<(TrackKind, &'static str)> = Vec::new();
        let listed: Vec<_> = self.tracks.iter().filter(|state| !self.run(state, period).is_empty()).collect();
        for state in &listed {
            let family = (state.kind(), state.track().codec.name());
            if !families.contains(&family) {
                families.push(family);
            }
        }
        for (id, family) in families.into_iter().enumerate() {
            let members = listed.iter().copied().filter(|state| (state.kind(), state.track().codec.name()) == family);
            self.render_adaptation_set(text, period, id, family.0, members);
        }
        text.push_str("  </Period>\n");
    }

    fn render_adaptation_set<'a>(
        &self,
        text: &mut String,
        period: &Period,
        id: usize,
        kind: TrackKind,
        members: impl Iterator<Item = &'a TrackState>,
    ) {
        let content = match kind {
            TrackKind::Video => "video",
            TrackKind::Audio => "audio",
        };
        let sap = if period.independent { " startWithSAP=\"1\"" } else { "" };
        let _ = writeln!(
            text,
            "    <AdaptationSet id=\"{id}\" contentType=\"{content}\" mimeType=\"{content}/mp4\" segmentAlignment=\"true\"{sap}>",
        );
        for (n, state) in members.enumerate() {
            if n == 0 {
                self.render_producer_reference(text, period, id, state);
            }
            self.render_representation(text, period, state);
        }
        text.push_str("    </AdaptationSet>\n");
    }

    /// The wall clock of the first media time of the Period; the `prft` of each segment says the same (23009-1 5.12). Without
    /// the UTCTiming of its own Shaka reads the wall clock as an NTP time, and its live latency begins in 1900.
    fn render_producer_reference(&self, text: &mut String, period: &Period, id: usize, state: &TrackState) {
        let Some(timescale) = self.run(state, period).first().map(|segment| segment.timescale) else { return };
        let _ = writeln!(
            text,
            "      <ProducerReferenceTime id=\"{id}\" inband=\"true\" type=\"encoder\" wallClockTime=\"{}\" presentationTime=\"{}\">{}</ProducerReferenceTime>",
            self.wall(period.start),
            rescale_nearest(period.start, Timescale::VIDEO, timescale),
            UtcTiming(&self.config.utc_timing_url),
        );
    }

    fn render_representation(&self, text: &mut String, period: &Period, state: &TrackState) {
        let run = self.run(state, period);
        let Some(first) = run.first() else { return };
        let Some(init) = state.inits.iter().find(|init| init.id == first.init_id) else { return };
        let codec = &init.track.codec;
        let name = &state.name;
        let head = RepresentationHead {
            id: name.as_str(),
            bandwidth: self.bandwidth(state),
            codecs: &codec.rfc6381(),
            picture: codec.video().map(|video| (video.width, video.height, state.clock.frame_rate())),
            sound: codec.audio().map(|audio| (audio.sample_rate, audio.channels)),
        };
        let _ = writeln!(text, "      {head}");
        let _ = write!(
            text,
            "        <SegmentTemplate timescale=\"{}\" presentationTimeOffset=\"{}\" initialization=\"{name}/init-{}.mp4\" media=\"{name}/$Number$.m4s\" startNumber=\"{}\"",
            first.timescale.get(),
            rescale_nearest(period.start, Timescale::VIDEO, first.timescale),
            first.init_id,
            first.msn,
        );
        if !self.ended {
            let offset = Millis(self.availability_offset_ms());
            let _ = write!(text, " availabilityTimeOffset=\"{offset}\" availabilityTimeComplete=\"false\"");
        }
        text.push_str(">\n");
        self.render_timeline(text, state, &run);
        text.push_str("        </SegmentTemplate>\n      </Representation>\n");
    }

    fn render_timeline(&self, text: &mut String, state: &TrackState, run: &[&Segment]) {
        let ticks = |n: usize, segment: &Segment| match run.get(n + 1) {
            Some(next) => ticks_until(segment, next),
            None if segment.closed => segment.ticks,
            None => self.predicted_ticks(state, segment),
        };
        let entries = run.iter().enumerate().map(|(n, segment)| (segment.start_pts, ticks(n, segment).max(1)));
        put_timeline(text, "          ", entries);
    }

    /// How long the open segment will be: until the leader's next boundary when that is known, else as long as the one before.
    fn predicted_ticks(&self, state: &TrackState, segment: &Segment) -> i64 {
        let cell = self.grid.get(segment.msn);
        let before = segment
            .msn
            .checked_sub(1)
            .and_then(|msn| self.grid.get(msn))
            .filter(|_| cell.is_some_and(|c| !c.discontinuity));
        let target = i64::from(self.config.segment_target_ms) * 90;
        let usual = before.and_then(|cell| Some(cell.end? - cell.start)).unwrap_or(target).max(target);
        let end = cell.map(|cell| cell.end.unwrap_or(cell.start + usual)).unwrap_or_default();
        let until_end = rescale(end, Timescale::VIDEO, segment.timescale) - segment.start_pts;
        let frame = state.clock.frame();
        let whole = if state.kind() == TrackKind::Audio {
            (until_end + frame - 1).div_euclid(frame) * frame
        } else {
            until_end
        };
        whole.max(segment.ticks)
    }

    /// The track's segments in a Period, behind its last gap or change of initialization segment.
    fn run<'a>(&self, state: &'a TrackState, period: &Period) -> Vec<&'a Segment> {
        let gone = period.is_last && !state.active && !self.ended;
        let first_msn = period.first_msn.max(self.first_listed);
        let within = |segment: &&Segment| (first_msn..=period.last_msn).contains(&segment.msn) && !gone;
        let mut run: Vec<&Segment> = Vec::new();
        for segment in state.segments.iter().filter(within) {
            let continues = run.last().is_none_or(|last| last.init_id == segment.init_id);
            if segment.is_gap() && self.ends_period(state, segment.msn, period) {
                break;
            }
            if segment.is_gap() || !continues {
                run.clear();
            }
            if !segment.is_gap() && (segment.closed || !segment.parts.is_empty()) {
                run.push(segment);
            }
        }
        run
    }

    /// Whether nothing but gaps follows in the Period.
    fn ends_period(&self, state: &TrackState, msn: u64, period: &Period) -> bool {
        (msn..=period.last_msn).filter_map(|msn| state.segment(msn)).all(Segment::is_gap)
    }
}

impl Period {
    fn new(cell: &Cell) -> Self {
        Self {
            sequence: cell.discontinuity_sequence,
            start: cell.period_start,
            end: cell.end,
            first_msn: cell.msn,
            last_msn: cell.msn,
            independent: cell.independent,
            is_last: false,
        }
    }

    fn extend(&mut self, cell: &Cell) {
        self.end = cell.end;
        self.last_msn = cell.msn;
        self.independent &= cell.independent;
    }
}

/// A segment lasts until the next one, unless there is a hole: decoding times, by which it was measured, are not presentation
/// times where a segment was cut between B-frames.
fn ticks_until(segment: &Segment, next: &Segment) -> i64 {
    let ticks = next.start_pts - segment.start_pts;
    let hole = i64::from(segment.timescale.get()) / 2;
    if ticks > 0 && ticks - segment.ticks < hole { ticks } else { segment.ticks }
}

/// Where a player asks for the time (23009-1 5.8.4.11).
struct UtcTiming<'a>(&'a str);

impl std::fmt::Display for UtcTiming<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"{}\"/>", Xml(self.0))
    }
}
