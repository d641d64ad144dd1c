//! The presentation's state, and everything that changes it.

use std::{collections::VecDeque, sync::OnceLock};

use base::{Timescale, Wall, time::rescale};
use bytes::Bytes;
use media::{Sample, Track, TrackKind};

use crate::{
    Config, Dropped, Error, Role, TRACKS_MAX, TrackName,
    grid::Grid,
    parts,
    segment::Segment,
    track::{Gate, Refused, TrackState},
};

/// Presentation time of the first epoch's first picture, in milliseconds: decoding times, which B-frames put before
/// presentation times, stay positive.
const ORIGIN_LEAD_MS: i64 = 9_800;
/// Segment numbers count from here, 2020-01-01 (Unix time), in seconds.
const NUMBERS_FROM_S: i64 = 1_577_836_800;
/// And begin again here, after 34 years: `startNumber` and initialization segments have 32 bits, and a broadcast needs room.
const NUMBERS: i64 = 1 << 31;
/// A source whose decoding times step forward by more than this begins a new epoch, in milliseconds.
pub const JUMP_FORWARD_MS: i64 = 10_000;
/// A source whose decoding times step back by more than this begins a new epoch, in milliseconds. Smaller steps are evened out.
pub const JUMP_BACK_MS: i64 = 1_000;
/// Sound runs at most this far ahead of the leader before it goes on without it, in milliseconds.
const LEAD_MAX_MS: i64 = 1_000;
/// Samples of one track that wait for the leader.
const WAITING_SAMPLES_MAX: usize = 2_048;
/// The first segment of a stream ends here, at whatever frame, in milliseconds: no player begins with a playlist that lists parts only, and
/// nobody should have to wait for a group of pictures to end.
const OPENING_MS: i64 = 400;
/// EXTINF, rounded, may not exceed the target duration; this much over it still rounds down, lost sound
/// packets included, in milliseconds.
const TARGET_SLACK_MS: i64 = 350;
/// An EXTINF this much over the target duration still rounds down to it, in milliseconds.
const EXTINF_SLACK_MS: i64 = 490;
/// What is left of a hole becomes a segment of its own from this length on, in milliseconds.
const HOLE_CELL_MIN_MS: i64 = 500;
/// A track this far behind the leader is not coming: its cells become gaps, in milliseconds.
const GAP_PATIENCE_MS: i64 = 6_000;
/// Segments kept whatever their age: a playlist that is live holds three target durations.
const SEGMENTS_KEPT_MIN: usize = 6;
/// Segments stay readable this many target durations after they left the playlists (RFC 8216bis 6.2.2).
const RETAIN_TARGETS: i64 = 3;
/// Sound that was announced and does not come holds up the first playlist for this long, in milliseconds.
const AUDIO_WAIT_MS: i64 = 1_000;

/// Everything an origin can serve of one stream: single-threaded, without locks, clock or I/O.
///
/// Samples go in on the source's timeline ([`push`](Self::push)); playlists, manifests and bodies come out. The presentation
/// timeline begins with the channel and runs on over republishing; a discontinuity stands where the source's timeline breaks.
#[derive(Debug)]
pub struct Presentation {
    pub(crate) config: Config,
    pub(crate) grid: Grid,
    pub(crate) tracks: Vec<TrackState>,
    /// Wall time of presentation time zero, from the first epoch on.
    pub(crate) origin: Wall,
    pub(crate) target_s: i64,
    pub(crate) publishing: bool,
    pub(crate) ended: bool,
    /// The first segment that playlists list.
    pub(crate) first_listed: u64,
    pub(crate) keyframe: Option<(Track, Sample)>,
    pub(crate) discarded: VecDeque<String>,
    pub(crate) spilling: bool,
    pub(crate) counters: Counters,
    pub(crate) texts: Texts,
    version: u64,
    now: Option<Wall>,
    leader: Leader,
    common_part_target_us: Option<i64>,
}

/// Counted since the presentation began.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) dropped: Dropped,
    pub(crate) epochs: u64,
    pub(crate) jumps: u64,
    pub(crate) forced_cuts: u64,
    pub(crate) misaligned: u64,
}

/// Rendered texts, valid for one version.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) multivariant: OnceLock<Bytes>,
    /// By position in `tracks`: the full Media Playlist and its delta update.
    pub(crate) media: Vec<[OnceLock<Bytes>; 2]>,
}

/// The state of the grid's decisions.
#[derive(Debug)]
struct Leader {
    /// Whether the epoch has its place on the presentation timeline.
    anchored: bool,
    /// What takes the epoch's source times there, in 90 kHz ticks: for a track that joins later, too.
    shift: i64,
    /// The next cell that begins with a sync sample is a discontinuity.
    breaks: bool,
    /// Source decoding time of its last sample, in its ticks.
    last_source_dts: Option<i64>,
    /// No boundary can come before this, in 90 kHz ticks of presentation time.
    frontier: i64,
    last_sync: Option<i64>,
    gop: i64,
    /// The latest end of a picture so far, in 90 kHz ticks of presentation time.
    shown_end: i64,
}

/// A first number that no earlier broadcast of the stream has reached: two for each second since [`NUMBERS_FROM_S`], and no
/// broadcast makes segments faster.
fn clock_number(now: Wall) -> u32 {
    let half_seconds = (now.unix_ms() - NUMBERS_FROM_S * 1_000).max(0) / 500;
    u32::try_from(half_seconds % NUMBERS).expect("invariant: a remainder is less than its divisor")
}

impl Leader {
    fn new() -> Self {
        Self {
            anchored: false,
            shift: 0,
            breaks: true,
            last_source_dts: None,
            frontier: 0,
            last_sync: None,
            gop: 0,
            shown_end: 0,
        }
    }
}

impl Presentation {
    /// An empty presentation; settings out of range are moved into it.
    pub fn new(config: Config) -> Self {
        let config = config.bounded();
        Self {
            target_s: i64::from(config.segment_target_ms.div_ceil(1_000)),
            config,
            grid: Grid::default(),
            tracks: Vec::new(),
            origin: Wall::default(),
            publishing: false,
            ended: false,
            first_listed: 0,
            keyframe: None,
            discarded: VecDeque::new(),
            spilling: false,
            counters: Counters::default(),
            texts: Texts::default(),
            version: 0,
            now: None,
            leader: Leader::new(),
            common_part_target_us: None,
        }
    }

    /// A publisher (re)appears at `now`, with tracks still to be set. Call it when its first samples are at hand: `now` becomes
    /// the wall time of the first key frame. If something is in the window already, a discontinuity follows.
    pub fn begin_epoch(&mut self, now: Wall) {
        if self.publishing {
            self.end_epoch(now);
        }
        if self.counters.epochs == 0 {
            self.origin = now.plus_ms(-ORIGIN_LEAD_MS);
            let first = self.config.first_number.unwrap_or_else(|| clock_number(now));
            self.grid = Grid::starting_at(first.into());
        }
        self.advance(now);
        self.publishing = true;
        self.ended = false;
        self.counters.epochs += 1;
        self.leader = Leader::new();
        self.common_part_target_us = None;
        for track in &mut self.tracks {
            track.active = false;
            track.waiting.clear();
        }
        self.bump();
    }

    /// Adds a track to the epoch; for a track that is there, changes its codec, behind a discontinuity.
    ///
    /// # Errors
    /// [`Error::NoEpoch`] outside an epoch, [`Error::TooManyTracks`] over the limit, [`Error::Role`] for a second leader, or for a
    /// picture track as [`Role::Audio`] or a sound track as [`Role::Rendition`].
    pub fn set_track(&mut self, name: &TrackName, role: Role, track: Track) -> Result<(), Error> {
        self.check_track(name, role, &track)?;
        match self.tracks.iter().position(|state| state.name == *name) {
            None => {
                let mut state = TrackState::new(name.clone(), role, track, self.origin, self.first_init_id());
                state.longest_90k = self.extinf_max();
                if self.leader.anchored {
                    state.clock.anchor(self.leader.shift);
                }
                self.tracks.push(state);
            }
            Some(i) => self.set_known_track(i, role, track),
        }
        self.bump();
        Ok(())
    }

    /// A track's first initialization segment has the number of the segment that begins next: none before it had that.
    fn first_init_id(&self) -> u32 {
        u32::try_from(self.grid.next_msn()).unwrap_or(u32::MAX)
    }

    fn check_track(&self, name: &TrackName, role: Role, track: &Track) -> Result<(), Error> {
        let refuse = |why| Err(Error::Role { name: name.clone(), why });
        if !self.publishing {
            return Err(Error::NoEpoch(name.clone()));
        }
        if self.tracks.len() >= TRACKS_MAX && self.tracks.iter().all(|state| state.name != *name) {
            return Err(Error::TooManyTracks(name.clone()));
        }
        match (role, track.kind()) {
            (Role::Rendition, TrackKind::Audio) => return refuse("a rendition carries pictures"),
            (Role::Audio, TrackKind::Video) => return refuse("an audio track carries sound"),
            _ => {}
        }
        let other_leader = |state: &TrackState| state.active && state.role == Role::Leader && state.name != *name;
        if role == Role::Leader && self.tracks.iter().any(other_leader) {
            return refuse("the stream has a leader already");
        }
        Ok(())
    }

    fn set_known_track(&mut self, i: usize, role: Role, track: Track) {
        let changed = self.tracks.get(i).is_some_and(|state| *state.track() != track);
        if changed && self.leader.anchored {
            // What waits was made with the old configuration.
            while let Some(sample) = self.next_released(i, true) {
                self.deliver_follower(i, sample);
            }
        }
        let Some(state) = self.tracks.get_mut(i) else { return };
        state.role = role;
        let joined = std::mem::replace(&mut state.active, true);
        if !joined {
            state.gate = Gate::Boundary;
            // The part target is chosen anew in a new epoch; a rung that comes back keeps its own.
            if !self.leader.anchored {
                state.forget_part_target();
            }
        }
        let on_air = self.leader.anchored && !state.segments.is_empty();
        if changed && on_air {
            state.flush();
            state.gate = Gate::Discontinuity;
            self.leader.breaks = true;
        }
        state.configure(track);
    }

    /// An encoder's nominal bitrate: the least BANDWIDTH announced for a rendition, which has to be right before much of it was
    /// measured.
    pub fn set_nominal_bitrate(&mut self, name: &TrackName, bits_per_second: u64) {
        if let Some(state) = self.tracks.iter_mut().find(|state| state.name == *name) {
            state.nominal_bits_per_second = bits_per_second;
            self.bump();
        }
    }

    /// Takes a sample of the source's timeline, which all tracks of an epoch share. Samples that cannot be packaged are counted in
    /// [`Dropped`] and are no error; timestamps that jump begin a new epoch.
    ///
    /// # Errors
    /// [`Error::NoEpoch`] and [`Error::UnknownTrack`].
    pub fn push(&mut self, name: &TrackName, sample: Sample) -> Result<(), Error> {
        if !self.publishing {
            return Err(Error::NoEpoch(name.clone()));
        }
        let found = self.tracks.iter().position(|state| state.active && state.name == *name);
        let i = found.ok_or_else(|| Error::UnknownTrack(name.clone()))?;
        let version = self.version;
        if self.tracks[i].role == Role::Leader {
            self.push_leader(i, sample);
        } else {
            self.push_follower(i, sample);
        }
        if self.version != version {
            self.trim();
        }
        Ok(())
    }

    /// The named renditions lost samples: their encoder died. What they have is published; they resume behind the next
    /// discontinuity, which is the same on all tracks, at the leader's next key frame.
    pub fn interrupt(&mut self, names: &[TrackName], now: Wall) {
        self.advance(now);
        let mut any = false;
        for state in self.tracks.iter_mut().filter(|state| names.contains(&state.name)) {
            if !state.active || state.role != Role::Rendition || state.segments.is_empty() {
                continue;
            }
            if matches!(state.gate, Gate::Open | Gate::Boundary) {
                state.flush();
                state.gate = Gate::Discontinuity;
                any = true;
            }
        }
        if any {
            self.leader.breaks = true;
            self.bump();
        }
    }

    /// The track leaves the Multivariant Playlist; its window stays readable until it drains.
    pub fn remove_track(&mut self, name: &TrackName) {
        if let Some(state) = self.tracks.iter_mut().find(|state| state.active && state.name == *name) {
            state.active = false;
            state.flush();
            state.waiting.clear();
            self.bump();
        }
    }

    /// The publisher is gone: what is held back is published, and open segments are closed.
    pub fn end_epoch(&mut self, now: Wall) {
        self.advance(now);
        if !std::mem::take(&mut self.publishing) {
            return;
        }
        self.close_epoch();
    }

    /// The grace period is over: EXT-X-ENDLIST, and a static MPD.
    pub fn end(&mut self) {
        if let Some(now) = self.now {
            self.end_epoch(now);
        }
        self.ended = true;
        self.bump();
    }

    /// Changes whenever an answer can change: wake whoever waits, and ask again.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Drops what left the window at `now`. Call it about once a second; it is also how the presentation learns the time.
    pub fn expire(&mut self, now: Wall) {
        self.advance(now);
        self.trim();
    }

    fn advance(&mut self, now: Wall) {
        self.now = self.now.max(Some(now));
    }

    pub(crate) fn bump(&mut self) {
        self.version += 1;
        self.texts = Texts { multivariant: OnceLock::new(), media: Vec::new() };
        self.texts.media.resize_with(self.tracks.len(), Default::default);
    }

    // ---- the leader decides the grid

    fn push_leader(&mut self, i: usize, sample: Sample) {
        if self.leader.anchored && self.jumps(i, sample.dts) {
            self.counters.jumps += 1;
            self.close_epoch();
            self.leader = Leader::new();
        }
        if !self.leader.anchored {
            if !sample.sync {
                self.counters.dropped.before_start += 1;
                return;
            }
            self.anchor(i, &sample);
        }
        self.leader.last_source_dts = Some(sample.dts);
        let state = &mut self.tracks[i];
        if state.gate == Gate::Discontinuity && !sample.sync {
            self.counters.dropped.before_discontinuity += 1;
            return;
        }
        let media_end = state.media_end().unwrap_or(0);
        let sample = state.clock.place(sample);
        if sample.sync && state.kind() == TrackKind::Video {
            self.keyframe = Some((state.track().clone(), sample.clone()));
        }
        let pts = state.to_90k(sample.pts());
        let earliest = pts.min(state.to_90k(sample.dts));
        self.decide_boundary(i, pts, media_end, sample.sync);
        let frame = self.tracks[i].to_90k(self.tracks[i].clock.frame());
        self.leader.shown_end = self.leader.shown_end.max(pts + frame);
        self.deliver(i, sample);
        self.leader.frontier = self.leader.frontier.max(earliest);
        self.release_waiting(false);
    }

    fn jumps(&self, i: usize, dts: i64) -> bool {
        let Some(last) = self.leader.last_source_dts else { return false };
        let timescale = self.tracks[i].timescale();
        let step = dts.saturating_sub(last);
        step > timescale.from_ms(JUMP_FORWARD_MS) || step < -timescale.from_ms(JUMP_BACK_MS)
    }

    /// The epoch's place: its first key frame is presented now, and never before anything that came before it ended.
    fn anchor(&mut self, i: usize, sample: &Sample) {
        let now_ms = self.now.map_or(0, |now| now.unix_ms() - self.origin.unix_ms());
        let ends = self.tracks.iter().filter_map(|state| state.segments.back()).map(|segment| segment.end_90k());
        let end = ends.max().max(self.grid.last().and_then(|cell| cell.end)).map_or(0, |end| end + 1);
        let start = Timescale::VIDEO.from_ms(now_ms).max(end);
        let shift = start - self.tracks[i].to_90k(sample.pts());
        for state in &mut self.tracks {
            state.clock.anchor(shift);
        }
        self.leader.anchored = true;
        self.leader.shift = shift;
        self.leader.frontier = start.min(self.tracks[i].to_90k(sample.dts) + shift);
    }

    fn decide_boundary(&mut self, i: usize, pts: i64, media_end: i64, sync: bool) {
        let state = &self.tracks[i];
        let frame = state.to_90k(state.clock.frame());
        if sync {
            self.leader.gop = self.leader.last_sync.replace(pts).map_or(0, |last| pts - last);
        }
        if self.cut_across_hole(pts, media_end, sync) {
            return;
        }
        let Some(elapsed) = self.grid.open().map(|cell| pts - cell.start) else {
            return self.begin_cell(pts, true, sync);
        };
        let target = i64::from(self.config.segment_target_ms) * 90;
        self.raise_target(elapsed);
        // Where pictures are shown in another order than they come, the next ones to come may be shown before this one.
        let next = sync || pts - self.leader.shown_end < frame / 2;
        let cut = if next { pts } else { self.leader.shown_end };
        let in_order = pts + frame / 2 >= self.leader.shown_end;
        let long_enough = self.grid.open().is_some_and(|cell| cut - cell.start + frame / 2 >= OPENING_MS * 90);
        if self.opening() && in_order && long_enough {
            return self.begin_cell(cut, self.leader.breaks && sync, sync);
        }
        let long_enough = elapsed >= target - frame / 2 || self.next_gop_overflows(elapsed, target);
        if sync && (self.leader.breaks || long_enough) {
            self.begin_cell(pts, self.leader.breaks, true);
        } else if elapsed + frame > self.cell_max() {
            self.counters.forced_cuts += u64::from(!sync);
            self.begin_cell(pts, false, sync);
        }
    }

    /// Whether the stream's very first segment is open.
    fn opening(&self) -> bool {
        self.grid.open().is_some_and(|cell| cell.msn == self.grid.opening_msn())
    }

    /// A first segment of `elapsed` 90 kHz ticks raises the target duration.
    fn raise_target(&mut self, elapsed: i64) {
        if self.target_may_rise() && elapsed > self.target_max() {
            self.target_s = (elapsed - TARGET_SLACK_MS * 90).div_euclid(90_000) + 1;
            let longest = self.extinf_max();
            self.tracks.iter_mut().for_each(|state| state.longest_90k = longest);
            self.bump();
        }
    }

    /// Longest EXTINF that rounds to the target duration, in 90 kHz ticks.
    fn extinf_max(&self) -> i64 {
        (self.target_s * 1_000 + EXTINF_SLACK_MS) * 90
    }

    /// Longest cell that the target duration allows, in 90 kHz ticks.
    fn target_max(&self) -> i64 {
        (self.target_s * 1_000 + TARGET_SLACK_MS) * 90
    }

    /// The sound goes on alone: it cuts where the leader would have to.
    fn cut_without_leader(&mut self, pts: i64, packet: i64, media_end: i64) {
        if self.cut_across_hole(pts, media_end, false) {
            return;
        }
        if self.grid.open().is_some_and(|cell| pts - cell.start + packet > self.cell_max()) {
            self.counters.forced_cuts += 1;
            self.begin_cell(pts, false, false);
        }
    }

    /// Cells over a hole in the source between `media_end` and `pts`, so that none exceeds the target duration; tracks without
    /// samples in one have a gap. True when there was such a hole.
    fn cut_across_hole(&mut self, pts: i64, media_end: i64, sync: bool) -> bool {
        // Even the first segment, which may be as long as its group of pictures, is not made longer by silence.
        let silent = pts - media_end > HOLE_CELL_MIN_MS * 90;
        let length_max = |this: &Self| if silent { this.cell_max().min(this.target_max()) } else { this.cell_max() };
        let too_long = |start: &i64| pts - start > length_max(self);
        let Some(start) = self.grid.open().map(|cell| cell.start).filter(too_long) else {
            return false;
        };
        self.counters.forced_cuts += 1;
        if media_end > start {
            let end = media_end.min(start + length_max(self));
            self.raise_target(end - start);
            self.begin_cell(end, false, false);
        }
        let open_start = |grid: &Grid| grid.open().map_or(pts, |cell| cell.start);
        while pts - open_start(&self.grid) > length_max(self) {
            let length = (self.target_s * 90_000).min(length_max(self));
            self.begin_cell(open_start(&self.grid) + length, false, false);
        }
        if pts - open_start(&self.grid) > HOLE_CELL_MIN_MS * 90 || sync && self.leader.breaks {
            self.begin_cell(pts, self.leader.breaks && sync, sync);
        }
        true
    }

    /// The target duration is frozen once a segment is closed (RFC 8216bis 4.4.3.1) beside the short one that opens the stream: the
    /// length of a group of pictures is not known before.
    fn target_may_rise(&self) -> bool {
        let opening = self.grid.opening_msn();
        let closed = |segment: &Segment| segment.closed && segment.msn > opening;
        self.grid.last().is_none_or(|cell| cell.msn <= opening + 1)
            && !self.tracks.iter().any(|state| state.segments.iter().take(2).any(closed))
    }

    /// Longest cell, in 90 kHz ticks.
    fn cell_max(&self) -> i64 {
        let gop_max = i64::from(self.config.gop_max_ms) * 90;
        if self.target_may_rise() { gop_max } else { gop_max.min(self.target_max()) }
    }

    /// Whether another group of pictures like the last would be too much for the cell, which is half full at least.
    fn next_gop_overflows(&self, elapsed: i64, target: i64) -> bool {
        elapsed * 2 >= target && elapsed + self.leader.gop > self.target_max()
    }

    fn begin_cell(&mut self, pts: i64, discontinuity: bool, independent: bool) {
        let msn = self.grid.begin(pts, discontinuity, independent).msn;
        if discontinuity {
            self.leader.breaks = false;
            for state in self.tracks.iter_mut().filter(|state| state.gate == Gate::Discontinuity) {
                state.gate = Gate::At(msn);
                state.fill_gaps_to(msn, &self.grid);
            }
        }
        self.give_up_waiting(pts - GAP_PATIENCE_MS * 90);
        self.bump();
    }

    /// Tracks that lag behind `before` by a whole cell are gone for now: they get gaps, and resume at a boundary.
    fn give_up_waiting(&mut self, before: i64) {
        let over = |cell: &crate::grid::Cell| cell.end.is_some_and(|end| end < before);
        let Some(until) = self.grid.cells().rev().find(|cell| over(cell)).map(|cell| cell.msn + 1) else { return };
        for state in self.tracks.iter_mut().filter(|state| state.active && state.role != Role::Leader) {
            if state.next_msn().is_none_or(|next| next >= until + u64::from(state.open_segment().is_some())) {
                continue;
            }
            if state.gate == Gate::Open {
                state.flush();
                state.gate = Gate::Boundary;
            }
            state.fill_gaps_to(until, &self.grid);
        }
    }

    // ---- sound and renditions follow it

    fn push_follower(&mut self, i: usize, sample: Sample) {
        let state = &mut self.tracks[i];
        state.waiting.push_back(sample);
        if state.waiting.len() > WAITING_SAMPLES_MAX {
            state.waiting.pop_front();
            self.counters.dropped.overflow += 1;
        }
        self.release_waiting(false);
    }

    /// Delivers what the leader has passed: for that, no boundary can change any more.
    fn release_waiting(&mut self, all: bool) {
        if !self.leader.anchored {
            return;
        }
        for i in 0..self.tracks.len() {
            while let Some(sample) = self.next_released(i, all) {
                self.deliver_follower(i, sample);
            }
        }
    }

    fn next_released(&mut self, i: usize, all: bool) -> Option<Sample> {
        let frontier = self.leader.frontier;
        let state = self.tracks.get_mut(i)?;
        let shifted = |sample: &Sample| state.to_90k(sample.pts().saturating_add(state.clock.shift()));
        let next = shifted(state.waiting.front()?);
        // Sound may outlive a silent leader; renditions are made from it.
        let ahead = |last| shifted(last) > frontier.saturating_add(LEAD_MAX_MS * 90);
        let stalled = state.role == Role::Audio && state.waiting.back().is_some_and(ahead);
        if all || next <= frontier || stalled { state.waiting.pop_front() } else { None }
    }

    fn deliver_follower(&mut self, i: usize, sample: Sample) {
        let state = &mut self.tracks[i];
        let pts = state.to_90k(sample.pts().saturating_add(state.clock.shift()));
        let far = |from: i64| from.abs_diff(pts) > JUMP_FORWARD_MS.unsigned_abs() * 90;
        let media_end = state.media_end();
        if far(self.leader.frontier) && media_end.is_none_or(far) {
            self.counters.dropped.off_timeline += 1;
            return;
        }
        let sample = state.clock.place(sample);
        // The leader stands still: the sound goes on and cuts for it.
        if state.role == Role::Audio && pts > self.leader.frontier {
            let packet = state.to_90k(state.clock.frame());
            self.cut_without_leader(pts, packet, media_end.unwrap_or(0));
        }
        self.deliver(i, sample);
    }

    fn deliver(&mut self, i: usize, sample: Sample) {
        self.choose_part_target(i, &sample);
        match self.tracks[i].take(sample, &self.grid) {
            Ok(taken) => {
                self.counters.misaligned += u64::from(taken.misaligned);
                if taken.published {
                    self.bump();
                }
            }
            Err(Refused::BeforeBoundary) if self.tracks[i].role == Role::Audio => {
                self.counters.dropped.before_start += 1
            }
            Err(Refused::BeforeBoundary) => self.counters.dropped.before_boundary += 1,
            Err(Refused::BeforeDiscontinuity) => self.counters.dropped.before_discontinuity += 1,
        }
    }

    pub(crate) fn nominal_part_us(&self) -> i64 {
        i64::from(self.config.part_target_ms) * 1_000
    }

    fn choose_part_target(&mut self, i: usize, next: &Sample) {
        let nominal_us = self.nominal_part_us();
        if self.tracks[i].part_target_is_due(next, nominal_us) {
            self.freeze_part_target(i);
        }
    }

    fn freeze_part_target(&mut self, i: usize) {
        let nominal_us = self.nominal_part_us();
        let common = self.common_part_target_us.unwrap_or_else(|| {
            let source = self.tracks.iter().filter(|state| state.active && state.role != Role::Rendition);
            let frames: Vec<i64> = source.map(TrackState::frame_us).collect();
            parts::part_target_us(nominal_us, &frames)
        });
        self.common_part_target_us = Some(common);
        self.tracks[i].choose_part_target(common, nominal_us);
    }

    /// Publishes what is held back; the grid's open cell ends with the leader.
    fn close_epoch(&mut self) {
        self.release_waiting(true);
        for i in 0..self.tracks.len() {
            self.tracks[i].flush();
            self.tracks[i].begin_epoch();
        }
        let in_cell = |state: &&TrackState| self.grid.open().is_some_and(|open| state.segment(open.msn).is_some());
        let ends = self.tracks.iter().filter(|state| state.active).filter(in_cell).filter_map(TrackState::edge);
        if let Some(end) = ends.max().or_else(|| self.grid.open().map(|cell| cell.start)) {
            self.grid.end(end);
        }
        let after = self.grid.last().map_or(0, |cell| cell.msn + 1);
        for state in self.tracks.iter_mut().filter(|state| state.active) {
            state.fill_gaps_to(after, &self.grid);
        }
        self.bump();
    }

    // ---- the window

    /// Presentation time of the live edge, in 90 kHz ticks: the media's, or the wall's when that has moved on.
    fn edge(&self) -> i64 {
        let media = self.tracks.iter().filter_map(TrackState::edge).max().unwrap_or(0);
        let wall = self.now.map_or(0, |now| Timescale::VIDEO.from_ms(now.unix_ms() - self.origin.unix_ms()));
        media.max(wall)
    }

    /// Drops cells that left the window; an ended presentation keeps what it has.
    fn trim(&mut self) {
        if self.ended {
            return;
        }
        let window_start = self.edge() - i64::from(self.config.window_ms) * 90;
        self.list_from(window_start);
        let before = window_start - RETAIN_TARGETS * self.target_s * 90_000;
        let mut dropped = false;
        while (self.grid.len() > SEGMENTS_KEPT_MIN && self.grid.drop_ended(before)) || self.drop_over_limit() {
            dropped = true;
        }
        if dropped {
            self.drop_segments();
        }
    }

    fn drop_over_limit(&mut self) -> bool {
        // Twice what a window of regular segments has: cells get short only where codecs change.
        let window = self.config.window_ms / self.config.segment_target_ms;
        let retained = RETAIN_TARGETS as usize * 2;
        let cells_max = 2 * window as usize + retained + SEGMENTS_KEPT_MIN;
        self.grid.len() > cells_max && self.grid.drop_ended(i64::MAX)
    }

    fn list_from(&mut self, window_start: i64) {
        let kept = self.grid.last().map_or(0, |cell| (cell.msn + 1).saturating_sub(SEGMENTS_KEPT_MIN as u64));
        let in_window = |cell: &&crate::grid::Cell| cell.end.is_none_or(|end| end >= window_start);
        let first = self.grid.cells().find(in_window).map_or(kept, |cell| cell.msn.min(kept));
        let first = first.max(self.grid.first_msn().unwrap_or(0)).max(self.behind_opening().unwrap_or(0));
        if first > self.first_listed {
            self.first_listed = first;
            self.bump();
        }
    }

    /// The first segment behind the opening and what depends on it, as soon as a playlist can begin there (RFC 8216bis 6.2.2: three target
    /// durations stay): a player that begins in the middle of a group of pictures shows nothing until the next. Gaps do not count: they
    /// may be listed many at a time, and a reader must see each number before it leaves.
    fn behind_opening(&self) -> Option<u64> {
        let opening = self.grid.opening_msn();
        let first = self.grid.cells().find(|cell| cell.msn > opening && cell.independent)?;
        let stays = |state: &TrackState| -> i64 {
            let left = self.listed_segments(state).filter(|segment| segment.msn >= first.msn && !segment.is_gap());
            left.map(|segment| segment.timescale.to_ms(segment.ticks)).sum()
        };
        let long_enough = |state: &TrackState| stays(state) >= 3 * self.target_s * 1_000;
        let all = self.tracks.iter().filter(|state| state.has_media()).all(long_enough);
        (first.msn > opening + 1 && all).then_some(first.msn)
    }

    fn drop_segments(&mut self) {
        let first = self.grid.first_msn().unwrap_or(0);
        self.first_listed = self.first_listed.max(first);
        for state in &mut self.tracks {
            self.discarded.extend(state.drop_before(first));
        }
        self.tracks.retain(|state| state.active || !state.segments.is_empty());
        self.bump();
    }

    // ---- shared by the answers

    pub(crate) fn state(&self, name: &TrackName) -> Option<&TrackState> {
        self.tracks.iter().find(|state| state.name == *name)
    }

    /// Whether the presentation can be described: every source track has a part, or has been waited for.
    pub(crate) fn is_ready(&self) -> bool {
        let source = || self.tracks.iter().filter(|state| state.active && state.role != Role::Rendition);
        let leader_ms = source().filter(|state| state.role == Role::Leader).flat_map(|state| &state.segments);
        let leader_ms: i64 = leader_ms.map(|segment| segment.timescale.to_ms(segment.ticks)).sum();
        leader_ms > 0 && source().all(|state| state.has_media() || leader_ms >= AUDIO_WAIT_MS)
    }

    /// The track's PART-TARGET in microseconds; the likely one before it is chosen.
    pub(crate) fn part_target_us(&self, state: &TrackState) -> i64 {
        let likely = || parts::part_target_us(self.nominal_part_us(), &[]);
        state.part_target_us.or(self.common_part_target_us).unwrap_or_else(likely)
    }

    pub(crate) fn wall(&self, pts_90k: i64) -> Wall {
        self.origin.plus_ms(rescale(pts_90k, Timescale::VIDEO, Timescale::MS))
    }
}
