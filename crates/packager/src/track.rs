//! One track: its configurations, the sample held back, the open part, and its segments.

use std::{collections::VecDeque, fmt::Write, sync::OnceLock};

use base::{
    Timescale, Wall,
    time::{rescale, rescale_nearest},
};
use bytes::Bytes;
use media::{
    Sample, Track, TrackKind,
    mp4::{self, Fragment},
};

use crate::{
    Role, TrackName,
    grid::{Cell, Grid},
    parts,
    sample_clock::SampleClock,
    segment::{Part, Segment, Storage},
    tags::Seconds,
};

/// Initialization segments remembered per track: an encoder that changes its codec more often loses its oldest segments.
const INITS_MAX: usize = 64;
/// MPEG-TS forms kept per track: players fetch the newest.
const TS_CACHE_SEGMENTS: usize = 4;
/// Boundaries are looked up in 90 kHz; a time in another clock may be off by the rounding.
const ROUNDING_90K: i64 = 2;
/// Seconds from 1900, where NTP counts from, to 1970.
const NTP_TO_UNIX_S: i64 = 2_208_988_800;

/// When a track takes samples again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It takes them.
    Open,
    /// At the first segment boundary it has a sync sample for (sound: anywhere in a cell).
    Boundary,
    /// Behind the next discontinuity, which is not on the grid yet.
    Discontinuity,
    /// Like `Boundary`, in the cell with this MSN or a later one.
    At(u64),
}

/// Why a sample was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    BeforeBoundary,
    BeforeDiscontinuity,
}

/// An initialization segment and what it was made from.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) id: u32,
    pub(crate) bytes: Bytes,
    pub(crate) track: Track,
}

/// One track of the presentation.
#[derive(Debug)]
pub(crate) struct TrackState {
    pub(crate) name: TrackName,
    pub(crate) role: Role,
    /// Part of the stream now: set in this epoch and not removed.
    pub(crate) active: bool,
    pub(crate) gate: Gate,
    pub(crate) clock: SampleClock,
    /// Samples in source time that wait for the leader to reach their time.
    pub(crate) waiting: VecDeque<Sample>,
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) inits: VecDeque<Init>,
    pub(crate) part_target_us: Option<i64>,
    /// Parts before this segment were cut for another PART-TARGET and are not listed.
    pub(crate) parts_from_msn: u64,
    pub(crate) nominal_bits_per_second: u64,
    /// Longest EXTINF that the target duration allows, in 90 kHz ticks.
    pub(crate) longest_90k: i64,
    /// Wall time of presentation time zero.
    origin: Wall,
    first_init_id: u32,
    held: Option<Sample>,
    open_part: Vec<Sample>,
    sequence: u32,
    segment_start_dts: i64,
}

impl TrackState {
    pub(crate) fn new(name: TrackName, role: Role, track: Track, origin: Wall, first_init_id: u32) -> Self {
        let mut state = Self {
            name,
            role,
            active: true,
            gate: Gate::Boundary,
            clock: SampleClock::new(&track),
            waiting: VecDeque::new(),
            segments: VecDeque::new(),
            inits: VecDeque::new(),
            part_target_us: None,
            parts_from_msn: 0,
            nominal_bits_per_second: 0,
            longest_90k: i64::MAX,
            origin,
            first_init_id,
            held: None,
            open_part: Vec::new(),
            sequence: 0,
            segment_start_dts: 0,
        };
        state.configure(track);
        state
    }

    /// The newest configuration: that of the samples to come, once their gate has opened.
    pub(crate) fn track(&self) -> &Track {
        &self.init().track
    }

    pub(crate) fn init(&self) -> &Init {
        self.inits.back().expect("invariant: a track has its first initialization segment from the beginning")
    }

    pub(crate) fn kind(&self) -> TrackKind {
        self.track().kind()
    }

    pub(crate) fn timescale(&self) -> Timescale {
        self.track().timescale
    }

    pub(crate) fn to_90k(&self, ticks: i64) -> i64 {
        rescale(ticks, self.timescale(), Timescale::VIDEO)
    }

    /// Takes `track` as the configuration from the next segment on.
    pub(crate) fn configure(&mut self, track: Track) {
        self.clock.configure(&track);
        if self.inits.back().is_some_and(|init| init.track == track) {
            return;
        }
        let id = self.inits.back().map_or(self.first_init_id, |init| init.id.wrapping_add(1));
        let bytes = mp4::init_segment(&track, track_id(track.kind()));
        self.inits.push_back(Init { id, bytes, track });
        if self.inits.len() > INITS_MAX {
            self.inits.pop_front();
        }
    }

    /// A new epoch: what waits belongs to the old one.
    pub(crate) fn begin_epoch(&mut self) {
        self.waiting.clear();
        self.gate = Gate::Boundary;
    }

    /// Ticks of the samples in the open part.
    fn open_ticks(&self) -> i64 {
        span(&self.open_part)
    }

    /// The segment that takes samples now.
    pub(crate) fn open_segment(&self) -> Option<&Segment> {
        self.segments.back().filter(|segment| !segment.closed)
    }

    /// The segment with `msn`, while it is in the window.
    pub(crate) fn segment(&self, msn: u64) -> Option<&Segment> {
        self.segments.get(self.position(msn)?)
    }

    pub(crate) fn segment_mut(&mut self, msn: u64) -> Option<&mut Segment> {
        let position = self.position(msn)?;
        self.segments.get_mut(position)
    }

    fn position(&self, msn: u64) -> Option<usize> {
        usize::try_from(msn.checked_sub(self.segments.front()?.msn)?).ok()
    }

    /// The newest segment with something in it, and the index of its last part.
    pub(crate) fn last_published(&self) -> Option<(u64, Option<u32>)> {
        let published = |segment: &&Segment| segment.closed || !segment.parts.is_empty();
        let segment = self.segments.iter().rev().find(published)?;
        Some((segment.msn, segment.next_part().checked_sub(1)))
    }

    /// Presentation time at which the newest sample, published or not, probably ends, in 90 kHz ticks.
    pub(crate) fn media_end(&self) -> Option<i64> {
        Some(self.to_90k(self.clock.last_dts()? + self.clock.frame()))
    }

    /// Whether anything of the track can be listed.
    pub(crate) fn has_media(&self) -> bool {
        self.segments.iter().any(|segment| segment.bytes > 0)
    }

    /// Presentation time of the end of the last complete part or segment, in 90 kHz ticks.
    pub(crate) fn edge(&self) -> Option<i64> {
        let published = |segment: &&Segment| segment.closed || !segment.parts.is_empty();
        self.segments.iter().rev().find(published).map(Segment::end_90k)
    }

    /// Takes a sample of presentation time.
    pub(crate) fn take(&mut self, sample: Sample, grid: &Grid) -> Result<Taken, Refused> {
        let mut taken = Taken::default();
        match self.cell_of(&sample, grid)? {
            None => taken.published |= self.lengthen(sample),
            Some(cell) => {
                taken.published = true;
                taken.misaligned = cell.independent && self.kind() == TrackKind::Video && !sample.sync;
                self.finish_held(self.end_of_open(&sample, grid));
                self.close();
                self.fill_gaps_to(cell.msn, grid);
                self.gate = Gate::Open;
                self.open(cell, &sample);
                self.held = Some(sample);
            }
        }
        Ok(taken)
    }

    /// Where the open segment ends when `sample` begins another: there, or with its cell when samples in between are missing.
    fn end_of_open(&self, sample: &Sample, grid: &Grid) -> i64 {
        let Some(open) = self.open_segment() else { return sample.dts };
        let Some(end) = grid.get(open.msn).and_then(|cell| cell.end) else { return sample.dts };
        let frame = self.clock.frame().min(i64::from(self.timescale().get()) / 10);
        // The end is a presentation time; decoding runs ahead of it as far as at the segment's beginning.
        let reorder = open.start_pts - self.segment_start_dts;
        sample.dts.min(rescale(end, Timescale::VIDEO, self.timescale()) - reorder + frame)
    }

    /// The cell that `sample` begins, or `None` when it continues the open segment.
    fn cell_of<'a>(&self, sample: &Sample, grid: &'a Grid) -> Result<Option<&'a Cell>, Refused> {
        let first_msn = match self.gate {
            Gate::Discontinuity => return Err(Refused::BeforeDiscontinuity),
            Gate::Open => match self.open_segment() {
                Some(open) => return Ok(self.next_cell(sample, open.msn, grid)),
                None => 0,
            },
            Gate::Boundary => 0,
            Gate::At(msn) => msn,
        };
        let first_msn = first_msn.max(self.segments.back().map_or(0, |segment| segment.msn + 1));
        let pts = self.to_90k(sample.pts());
        let cell = match self.kind() {
            TrackKind::Audio => grid.containing(pts + ROUNDING_90K),
            TrackKind::Video if sample.sync => grid.beginning_at(pts, self.tolerance()),
            TrackKind::Video => None,
        };
        let refused =
            if matches!(self.gate, Gate::At(_)) { Refused::BeforeDiscontinuity } else { Refused::BeforeBoundary };
        cell.filter(|cell| cell.msn >= first_msn).map(Some).ok_or(refused)
    }

    /// The last cell after `msn` whose beginning `sample` has reached.
    fn next_cell<'a>(&self, sample: &Sample, msn: u64, grid: &'a Grid) -> Option<&'a Cell> {
        let tolerance = if sample.sync && self.kind() == TrackKind::Video { self.tolerance() } else { ROUNDING_90K };
        let reached = self.to_90k(sample.pts()) + tolerance;
        let mut found = None;
        for next in msn + 1.. {
            match grid.get(next).filter(|cell| cell.start <= reached) {
                Some(cell) => found = Some(cell),
                None => break,
            }
        }
        found
    }

    /// A sync sample begins the cell whose start lies within half a frame, in 90 kHz ticks.
    fn tolerance(&self) -> i64 {
        (self.to_90k(self.clock.frame()) / 2).max(ROUNDING_90K)
    }

    /// Adds `sample` to the open segment; true when a part was completed.
    fn lengthen(&mut self, sample: Sample) -> bool {
        let parts = self.open_segment().map_or(0, |segment| segment.parts.len());
        self.finish_held(sample.dts);
        let full = self.part_target_ticks().is_some_and(|target| self.open_ticks() + self.clock.frame() > target);
        if full {
            self.seal();
        }
        self.held = Some(sample);
        self.open_segment().map_or(0, |segment| segment.parts.len()) > parts
    }

    /// The held sample lasts until `next_dts`; it joins the open part, or begins a new one when it does not fit.
    fn finish_held(&mut self, next_dts: i64) {
        let Some(mut held) = self.held.take() else { return };
        let step = (next_dts - held.dts).max(1);
        let duration = self.clock.duration(step);
        held.duration = u32::try_from(duration).unwrap_or(u32::MAX);
        let over = self.part_target_ticks().is_some_and(|target| self.open_ticks() + duration > target);
        if over {
            self.seal();
        }
        self.open_part.push(held);
        if duration < step {
            // A chunk tells times by durations alone, so a hole in the sound ends it.
            self.seal();
        }
    }

    /// Chooses PART-TARGET when the open part is about to reach the nominal duration.
    pub(crate) fn part_target_is_due(&self, next: &Sample, nominal_us: i64) -> bool {
        let held_dts = self.held.as_ref().map_or(next.dts, |held| held.dts);
        let ticks = self.open_ticks() + (next.dts - held_dts) + self.clock.frame();
        self.part_target_us.is_none() && self.timescale().to_us(ticks) >= nominal_us
    }

    /// Microseconds a sample is expected to last.
    pub(crate) fn frame_us(&self) -> i64 {
        self.timescale().to_us(self.clock.frame())
    }

    /// Freezes PART-TARGET: `common_us`, unless this track's samples need their own.
    pub(crate) fn choose_part_target(&mut self, common_us: i64, nominal_us: i64) {
        let frame_us = self.frame_us();
        let own =
            if parts::suits(common_us, frame_us) { common_us } else { parts::part_target_us(nominal_us, &[frame_us]) };
        self.part_target_us = Some(own);
    }

    /// Another epoch, another choice.
    pub(crate) fn forget_part_target(&mut self) {
        self.part_target_us = None;
        self.parts_from_msn = self.segments.back().map_or(0, |segment| segment.msn + 1);
    }

    fn part_target_ticks(&self) -> Option<i64> {
        self.part_target_us.map(|us| rescale(us, Timescale::hz(1_000_000), self.timescale()))
    }

    /// Makes a part of the open samples.
    fn seal(&mut self) {
        let samples = std::mem::take(&mut self.open_part);
        let (Some(first), Some(segment)) = (samples.first(), self.segments.back_mut().filter(|s| !s.closed)) else {
            return;
        };
        let timescale = segment.timescale;
        let kind = self.inits.back().map_or(TrackKind::Video, |init| init.track.kind());
        let first_of_segment = segment.parts.is_empty();
        let ticks = span(&samples);
        self.sequence = self.sequence.wrapping_add(1);
        let header = mp4::fragment_header(&Fragment {
            sequence: self.sequence,
            track_id: track_id(kind),
            base_dts: u64::try_from(first.dts).unwrap_or(0),
            samples: &samples,
            producer_reference: first_of_segment.then(|| producer_reference(self.origin, first.dts, timescale)),
            start_of_segment: false,
        });
        let payload_bytes: usize = samples.iter().map(|sample| sample.payload.len()).sum();
        let bytes = (header.len() + payload_bytes) as u64;
        // RFC 8216bis 4.4.4.9: it contains an independent frame, not necessarily at its beginning.
        let independent = samples.iter().any(|sample| sample.sync);
        let target = self.part_target_us.map_or(i64::MAX, |us| rescale(us, Timescale::hz(1_000_000), timescale));
        let seconds = Seconds(ticks.min(target), timescale);
        let (msn, index) = (segment.msn, segment.parts.len());
        let mark = if independent { ",INDEPENDENT=YES" } else { "" };
        let _ = writeln!(segment.part_lines, "#EXT-X-PART:DURATION={seconds},URI=\"{msn}.{index}.m4s\"{mark}");
        segment.ticks = first.dts + ticks - self.segment_start_dts;
        segment.bytes += bytes;
        segment.parts.push(Part { header, samples, bytes });
    }

    /// Ends the open part and segment, the held sample included.
    pub(crate) fn flush(&mut self) {
        if let Some(held) = &self.held {
            self.finish_held(held.dts + self.clock.frame());
        }
        self.close();
    }

    fn close(&mut self) {
        self.seal();
        let Some(segment) = self.segments.back_mut().filter(|segment| !segment.closed) else { return };
        segment.closed = true;
        // A cut between B-frames can make decoding time longer than the presentation time that was cut.
        segment.ticks = segment.ticks.min(rescale(self.longest_90k, Timescale::VIDEO, segment.timescale));
        segment.tail_lines = tail_lines(segment.msn, segment.ticks, segment.timescale);
        let keep_from = self.segments.len().saturating_sub(TS_CACHE_SEGMENTS);
        if let Some(old) = keep_from.checked_sub(1).and_then(|n| self.segments.get_mut(n)) {
            old.ts = OnceLock::new();
        }
    }

    fn open(&mut self, cell: &Cell, first: &Sample) {
        self.segment_start_dts = first.dts;
        let independent = first.sync || self.kind() == TrackKind::Audio;
        // Behind a cut in the middle of a group of pictures others may be shown before the first.
        let cut = rescale(cell.start, Timescale::VIDEO, self.timescale());
        let start_pts = if independent { first.pts() } else { first.pts().min(cut) };
        let segment = new_segment(cell.msn, self.init().id, start_pts, independent, self.timescale(), self.origin);
        self.segments.push_back(segment);
    }

    /// The next MSN of this track, once it has begun.
    pub(crate) fn next_msn(&self) -> Option<u64> {
        self.segments.back().map(|segment| segment.msn + 1)
    }

    /// Lists the cells before `msn` in which this track has nothing as EXT-X-GAP. A track that has not begun begins later.
    pub(crate) fn fill_gaps_to(&mut self, msn: u64, grid: &Grid) {
        while let Some(next) = self.next_msn().filter(|&next| next < msn) {
            let Some((start, end)) = grid.get(next).and_then(|cell| Some((cell.start, cell.end?))) else {
                // The cell left the window: so did everything before it.
                self.segments.clear();
                return;
            };
            self.push_gap(next, start, end);
        }
    }

    fn push_gap(&mut self, msn: u64, start: i64, end: i64) {
        let timescale = self.timescale();
        let ticks = |time: i64| rescale_nearest(time, Timescale::VIDEO, timescale);
        let mut segment = new_segment(msn, self.init().id, ticks(start), true, timescale, self.origin);
        segment.ticks = ticks(end) - ticks(start);
        segment.closed = true;
        segment.storage = Storage::Gap;
        segment.tail_lines = tail_lines(msn, segment.ticks, timescale);
        self.segments.push_back(segment);
    }

    /// Drops segments before `msn`, and initialization segments nobody needs any more; gives the objects to delete.
    pub(crate) fn drop_before(&mut self, msn: u64) -> Vec<String> {
        let mut objects = Vec::new();
        while self.segments.front().is_some_and(|segment| segment.msn < msn && segment.closed) {
            if let Some(Segment { storage: Storage::Spilled { object }, .. }) = self.segments.pop_front() {
                objects.push(object);
            }
        }
        let oldest = self.segments.front().map_or(self.init().id, |segment| segment.init_id);
        while self.inits.len() > 1 && self.inits.front().is_some_and(|init| init.id < oldest) {
            self.inits.pop_front();
        }
        objects
    }
}

/// What taking a sample did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// A part or a segment was completed or begun.
    pub(crate) published: bool,
    /// The leader has a key frame where this track has none.
    pub(crate) misaligned: bool,
}

/// Ticks from the first sample's decoding time to the end of the last one.
fn span(samples: &[Sample]) -> i64 {
    match (samples.first(), samples.last()) {
        (Some(first), Some(last)) => last.dts + i64::from(last.duration) - first.dts,
        _ => 0,
    }
}

/// `prft` (ISO/IEC 14496-12 8.16.5): the NTP time of a decoding time.
fn producer_reference(origin: Wall, dts: i64, timescale: Timescale) -> (u64, u64) {
    let unix_ms = origin.plus_ms(timescale.to_ms(dts)).unix_ms();
    let seconds = u64::try_from(unix_ms.div_euclid(1_000) + NTP_TO_UNIX_S).unwrap_or(0);
    let fraction = (u64::try_from(unix_ms.rem_euclid(1_000)).unwrap_or(0) << 32) / 1_000;
    ((seconds << 32) | fraction, u64::try_from(dts).unwrap_or(0))
}

pub(crate) fn track_id(kind: TrackKind) -> u32 {
    match kind {
        TrackKind::Video => 1,
        TrackKind::Audio => 2,
    }
}

fn new_segment(
    msn: u64,
    init_id: u32,
    start_pts: i64,
    independent: bool,
    timescale: Timescale,
    origin: Wall,
) -> Segment {
    let wall = origin.plus_ms(timescale.to_ms(start_pts));
    Segment {
        msn,
        init_id,
        timescale,
        start_pts,
        ticks: 0,
        bytes: 0,
        independent,
        closed: false,
        parts: Vec::new(),
        storage: Storage::Memory,
        head_lines: format!("#EXT-X-PROGRAM-DATE-TIME:{wall}\n"),
        part_lines: String::new(),
        tail_lines: String::new(),
        ts: OnceLock::new(),
    }
}

fn tail_lines(msn: u64, ticks: i64, timescale: Timescale) -> String {
    format!("#EXTINF:{},\n{msn}.m4s\n", Seconds(ticks, timescale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_reference_is_an_ntp_time() {
        // 2026-11-20T09:00:00.500Z is 4,004,154,000.5 s after 1900.
        let (ntp, media_time) = producer_reference(Wall::from_unix_ms(1_795_165_190_500), 900_000, Timescale::VIDEO);
        assert_eq!((ntp >> 32, ntp & 0xFFFF_FFFF, media_time), (4_004_154_000, 1 << 31, 900_000));
    }
}
