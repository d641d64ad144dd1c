//! HLS playlists (RFC 8216bis): appended text, with the lines of closed segments and parts made once when they close.

use std::fmt::Write;

use base::Timescale;
use bytes::Bytes;
use media::TrackKind;

use crate::{
    Lookup, NotReady, Presentation, Role, TrackName,
    segment::Segment,
    tags::{Millis, StreamInf, distinct},
    track::TrackState,
};

/// Low-Latency HLS with delta updates (RFC 8216bis 8).
const VERSION: u32 = 9;
/// Parts stay listed for this many target durations (RFC 8216bis 4.4.4.9).
const PARTS_LISTED_TARGETS: i64 = 3;
/// HOLD-BACK in target durations, its least (RFC 8216bis 4.4.3.8).
const HOLD_BACK_TARGETS: i64 = 3;
/// CAN-SKIP-UNTIL in target durations, its least (RFC 8216bis 4.4.3.8).
const SKIP_TARGETS: i64 = 6;
/// PART-HOLD-BACK in tenths of the Part Target Duration: at least 30 (RFC 8216bis 4.4.3.8), and a little for the
/// rounding of a player's clock.
const PART_HOLD_BACK_TENTHS: i64 = 33;
/// About the lines of one segment, for the first allocation.
const SEGMENT_TEXT_BYTES: usize = 96;

impl Presentation {
    /// Answers `index.m3u8`, the Multivariant Playlist: renditions that have media, best first as they were set.
    ///
    /// # Errors
    /// [`NotReady`] before every source track has a complete part.
    pub fn multivariant_playlist(&self) -> Result<Bytes, NotReady> {
        if !self.is_ready() {
            return Err(NotReady);
        }
        Ok(self.texts.multivariant.get_or_init(|| self.render_multivariant().into()).clone())
    }

    /// Answers `NAME/index.m3u8`, the track's Media Playlist; with `skip`, as a delta update (`_HLS_skip=YES`) when that saves
    /// anything.
    pub fn media_playlist(&self, track: &TrackName, skip: bool) -> Lookup<Bytes> {
        let Some(i) = self.tracks.iter().position(|state| state.name == *track) else { return Lookup::Gone };
        let Some(state) = self.tracks.get(i).filter(|state| state.has_media()) else { return Lookup::Pending };
        if !state.active && self.listed_segments(state).next().is_none() {
            return Lookup::Gone;
        }
        let render = || Bytes::from(self.render_media(state, skip));
        let cached = self.texts.media.get(i).map(|[full, delta]| if skip { delta } else { full });
        Lookup::Found(cached.map_or_else(render, |cached| cached.get_or_init(render).clone()))
    }

    fn render_multivariant(&self) -> String {
        let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n");
        if self.listed_tracks().all(|state| self.is_independent(state)) {
            text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        let audio: Vec<_> = self.listed_tracks().filter(|state| state.role == Role::Audio).collect();
        for (n, state) in audio.iter().enumerate() {
            let (default, channels) = (if n == 0 { "YES" } else { "NO" }, channels(state));
            let _ = writeln!(
                text,
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Audio {}\",DEFAULT={default},AUTOSELECT=YES,CHANNELS=\"{channels}\",URI=\"{}/index.m3u8\"",
                n + 1,
                state.name
            );
        }
        let variants = self.listed_tracks().filter(|state| state.role != Role::Audio);
        variants.for_each(|state| self.render_variant(&mut text, state, &audio, "index.m3u8"));
        text
    }

    /// The tracks that playlists and manifests name: part of the stream, and with media.
    pub(crate) fn listed_tracks(&self) -> impl Iterator<Item = &TrackState> {
        self.tracks.iter().filter(|state| state.active && state.has_media())
    }

    pub(crate) fn render_variant(&self, text: &mut String, state: &TrackState, audio: &[&TrackState], file: &str) {
        let peak = self.bandwidth(state) + audio.iter().map(|audio| self.bandwidth(audio)).max().unwrap_or(0);
        let mean =
            self.average_bandwidth(state) + audio.iter().map(|audio| self.average_bandwidth(audio)).max().unwrap_or(0);
        let codecs = std::iter::once(state).chain(audio.iter().copied()).map(|state| state.track().codec.rfc6381());
        let video = state.track().codec.video();
        let group = (!audio.is_empty() && file == "index.m3u8").then_some("audio");
        let stream = StreamInf {
            peak: peak.max(mean),
            mean,
            codecs: distinct(codecs),
            resolution: video.map(|video| (video.width, video.height)),
            frame_rate: state.clock.frame_rate().filter(|_| state.kind() == TrackKind::Video),
            audio: group,
            subtitles: None,
        };
        let _ = writeln!(text, "#EXT-X-STREAM-INF:{stream}\n{}/{file}", state.name);
    }

    fn render_media(&self, state: &TrackState, skip: bool) -> String {
        let listed: Vec<&Segment> = self.listed_segments(state).collect();
        let Some(first) = listed.first() else { return String::new() };
        let mut text = String::with_capacity(1024 + SEGMENT_TEXT_BYTES * listed.len());
        self.render_header(&mut text, state, first);
        // The Skip Boundary (RFC 8216bis 6.2.5.1), and the age at which parts leave.
        let skipped = if skip { before_last(&listed, SKIP_TARGETS * self.target_s) } else { 0 };
        let parts_from = before_last(&listed, PARTS_LISTED_TARGETS * self.target_s);
        if skipped > 0 {
            let _ = writeln!(text, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
        }
        let mut init_id = skipped.checked_sub(1).and_then(|n| listed.get(n)).map(|segment| segment.init_id);
        for (n, segment) in listed.iter().enumerate().skip(skipped) {
            let is_new = init_id.replace(segment.init_id) != Some(segment.init_id);
            let breaks = n > 0 && self.grid.get(segment.msn).is_some_and(|cell| cell.discontinuity);
            let with_parts = !self.ended && segment.msn >= state.parts_from_msn && n >= parts_from;
            render_segment(&mut text, segment, breaks, is_new, with_parts);
        }
        if self.ended {
            text.push_str("#EXT-X-ENDLIST\n");
        } else {
            self.render_hint(&mut text, state, init_id);
            self.render_reports(&mut text, state);
        }
        text
    }

    /// The segments a playlist lists: those in the window; an open one once it has a part.
    pub(crate) fn listed_segments<'a>(&self, state: &'a TrackState) -> impl Iterator<Item = &'a Segment> {
        let first = self.first_listed;
        state
            .segments
            .iter()
            .filter(move |segment| segment.msn >= first && (segment.closed || !segment.parts.is_empty()))
    }

    fn render_header(&self, text: &mut String, state: &TrackState, first: &Segment) {
        let target_us = self.part_target_us(state);
        let widest = self.tracks.iter().filter(|other| other.active).map(|other| self.part_target_us(other));
        let hold_back_ms = widest.max().unwrap_or(0).max(target_us) * PART_HOLD_BACK_TENTHS / 10_000;
        let _ = write!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{}\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={},HOLD-BACK={}.0,CAN-SKIP-UNTIL={}.0\n#EXT-X-PART-INF:PART-TARGET={}\n#EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
            self.target_s,
            Millis(hold_back_ms),
            HOLD_BACK_TARGETS * self.target_s,
            SKIP_TARGETS * self.target_s,
            Millis(target_us / 1_000),
            first.msn,
            self.grid.get(first.msn).map_or(0, |cell| cell.discontinuity_sequence),
        );
        if self.is_independent(state) {
            text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
    }

    /// Whether every listed segment can be decoded by itself (RFC 8216bis 4.4.2.1).
    fn is_independent(&self, state: &TrackState) -> bool {
        self.listed_segments(state).all(|segment| segment.independent)
    }

    /// The part that comes next: certain, for its first sample is held already.
    fn render_hint(&self, text: &mut String, state: &TrackState, listed_init: Option<u32>) {
        let Some(open) = state.open_segment().filter(|_| state.active) else { return };
        if listed_init != Some(open.init_id) {
            let _ = writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=MAP,URI=\"init-{}.mp4\"", open.init_id);
        }
        let _ = writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}.{}.m4s\"", open.msn, open.next_part());
    }

    fn render_reports(&self, text: &mut String, state: &TrackState) {
        for sibling in self.listed_tracks().filter(|sibling| sibling.name != state.name) {
            let Some((msn, part)) = sibling.last_published() else { continue };
            let _ = write!(text, "#EXT-X-RENDITION-REPORT:URI=\"../{}/index.m3u8\",LAST-MSN={msn}", sibling.name);
            if let Some(part) = part {
                let _ = write!(text, ",LAST-PART={part}");
            }
            text.push('\n');
        }
    }
}

fn render_segment(text: &mut String, segment: &Segment, breaks: bool, new_init: bool, with_parts: bool) {
    if breaks {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if new_init || breaks {
        let _ = writeln!(text, "#EXT-X-MAP:URI=\"init-{}.mp4\"", segment.init_id);
    }
    text.push_str(&segment.head_lines);
    if with_parts {
        text.push_str(&segment.part_lines);
    }
    if segment.is_gap() {
        text.push_str("#EXT-X-GAP\n");
    }
    text.push_str(&segment.tail_lines);
}

/// How many of `segments` end more than `seconds` of media before the end of the last one.
fn before_last(segments: &[&Segment], seconds: i64) -> usize {
    let mut left_us = seconds * 1_000_000;
    let within = segments.iter().rev().take_while(|segment| {
        let fits = left_us >= 0;
        left_us -= segment.timescale.to_us(segment.ticks);
        fits
    });
    segments.len() - within.count()
}

fn channels(state: &TrackState) -> u32 {
    state.track().codec.audio().map_or(2, |audio| audio.channels)
}

/// Milliseconds of 90 kHz ticks, rounded down.
pub(crate) fn ms_90k(ticks: i64) -> i64 {
    Timescale::VIDEO.to_ms(ticks)
}
