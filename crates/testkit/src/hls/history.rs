//! Rules between successive versions of one Media Playlist.

use std::collections::BTreeMap;

use base::Wall;

use super::{
    media::{PARTS_TARGETS, ROUNDING_US, target_us},
    parse::{Hint, Media, Resource, Segment},
    rules::*,
};
use crate::finding::Findings;

/// What was last listed: a Media Sequence Number and a part.
pub(super) type Edge = (u64, Option<u64>);

/// What is known of a Media Playlist from its earlier versions.
#[derive(Debug, Default)]
pub(super) struct History {
    last: Option<(Wall, Media)>,
    numbers: BTreeMap<Resource, u64>,
    /// What siblings said this rendition lists, and when.
    promised: Option<(Wall, Edge)>,
}

impl History {
    /// The newest version.
    pub(super) fn newest(&self) -> Option<&Media> {
        self.last.as_ref().map(|(_, list)| list)
    }

    /// A sibling reported `edge` at `at`.
    pub(super) fn promise(&mut self, at: Wall, edge: Edge) {
        if self.promised.is_none_or(|(_, known)| known < edge) {
            self.promised = Some((at, edge));
        }
    }

    /// Completes a delta update from the newest version. `None` when that cannot be done.
    pub(super) fn reconstruct(&self, at: Wall, delta: &Media, out: &mut Findings) -> Option<Media> {
        let (line, skipped) = delta.skipped?;
        let until_us = delta.control.as_ref().and_then(|(_, control)| control.micros("CAN-SKIP-UNTIL"));
        out.check(until_us.is_some(), SKIP_OFFERED, line, || "EXT-X-SKIP without CAN-SKIP-UNTIL".into());
        let kept_us = delta.length_us() + ROUNDING_US;
        out.check(until_us.is_none_or(|until_us| kept_us >= until_us), SKIP_BOUNDARY, line, || {
            format!("{kept_us} us are left of {} us that may not be skipped", until_us.unwrap_or(0))
        });
        let (seen_at, last) = self.last.as_ref()?;
        let within =
            |segment: &&Segment| (delta.sequence..delta.sequence.saturating_add(skipped)).contains(&segment.msn);
        let mut segments: Vec<Segment> = last.segments.iter().filter(within).cloned().collect();
        if segments.len() as u64 != skipped || segments.iter().any(Segment::is_open) {
            out.add(
                DELTA,
                line,
                format!("{skipped} segments from {} are skipped, {} are known", delta.sequence, segments.len()),
            );
            return None;
        }
        segments.iter_mut().for_each(|segment| segment.parts.clear());
        let behind = segments.last().cloned().unwrap_or_default();
        let breaks = behind.discontinuity_sequence.saturating_sub(header_discontinuity(delta, last));
        for mut segment in delta.segments.iter().cloned() {
            segment.discontinuity_sequence = segment.discontinuity_sequence.saturating_add(breaks);
            segment.map = segment.map.or_else(|| behind.map.clone());
            segments.push(segment);
        }
        let full = Media { segments, skipped: None, ..delta.clone() };
        if *seen_at == at {
            out.check(plain(&full) == plain(last), DELTA, line, || {
                "the full playlist of the same moment differs".into()
            });
        }
        Some(full)
    }

    /// Checks a version against the one before it, and keeps it.
    pub(super) fn follow(&mut self, at: Wall, list: Media, out: &mut Findings) {
        self.check_numbers(&list, out);
        if let Some((_, last)) = &self.last {
            check_whole(last, &list, out);
            check_segments(last, &list, out);
            check_hints(last, &list, out);
        }
        if let Some((promised_at, edge)) = self.promised.filter(|(promised_at, _)| *promised_at <= at) {
            let there = list.edge();
            let kept = there.is_some_and(|there| reaches(&list, there, edge));
            out.check(kept, REPORT_AHEAD, 0, || {
                format!("{edge:?} was reported at {promised_at}, the end is {there:?}")
            });
            self.promised = None;
        }
        self.last = Some((at, list));
    }

    fn check_numbers(&mut self, list: &Media, out: &mut Findings) {
        for segment in &list.segments {
            let Some(resource) = &segment.resource else { continue };
            let number = *self.numbers.entry(resource.clone()).or_insert(segment.msn);
            out.check(number == segment.msn, SEQUENCE_ARITHMETIC, segment.line, || {
                format!("{} was segment {number} and is {}", resource.uri, segment.msn)
            });
        }
    }
}

/// Whether the end of a playlist is at or behind `edge`. A closed segment has reached all its parts.
fn reaches(list: &Media, there: Edge, edge: Edge) -> bool {
    let closed = list.segments.last().is_some_and(|segment| !segment.is_open());
    there.0 > edge.0 || (there.0 == edge.0 && (closed || there.1 >= edge.1))
}

/// The EXT-X-DISCONTINUITY-SEQUENCE of a delta update's header.
fn header_discontinuity(delta: &Media, last: &Media) -> u64 {
    let first = delta.segments.first();
    first.map_or_else(
        || last.segments.first().map_or(0, |segment| segment.discontinuity_sequence),
        |segment| segment.discontinuity_sequence.saturating_sub(segment.discontinuity.into()),
    )
}

/// A playlist without the line numbers, which a delta update changes.
fn plain(list: &Media) -> Media {
    let mut list = list.clone();
    list.control = list.control.map(|(_, control)| (0, control));
    for segment in &mut list.segments {
        segment.line = 0;
        segment.parts.iter_mut().for_each(|part| part.line = 0);
    }
    list.hints.iter_mut().for_each(|hint| hint.line = 0);
    list.reports.iter_mut().for_each(|report| report.line = 0);
    list
}

fn check_whole(last: &Media, list: &Media, out: &mut Findings) {
    out.check(last.target_s == list.target_s, TARGET_CHANGED, 0, || {
        format!("the Target Duration was {:?} and is {:?}", last.target_s, list.target_s)
    });
    out.check(!last.ended || plain(last) == plain(list), ENDLIST_FINAL, 0, || "the playlist had ended".into());
    out.check(list.sequence >= last.sequence, SEQUENCE_BACK, 0, || {
        format!("EXT-X-MEDIA-SEQUENCE was {} and is {}", last.sequence, list.sequence)
    });
    let removed = list.sequence > last.sequence && !list.ended;
    let enough = list.length_us() + ROUNDING_US >= 3 * target_us(list);
    out.check(!removed || enough, REMOVAL_EARLY, 0, || format!("{} us remain", list.length_us()));
    if let Some(edge) = last.edge() {
        let there = list.edge();
        let kept = there.is_some_and(|there| there.0 >= edge.0 && reaches(list, there, edge));
        out.check(kept, PLAYLIST_BACK, 0, || format!("the end was {edge:?} and is {there:?}"));
    }
}

fn check_segments(last: &Media, list: &Media, out: &mut Findings) {
    let before: BTreeMap<u64, &Segment> = last.segments.iter().map(|segment| (segment.msn, segment)).collect();
    for (segment, behind_us) in list.with_distance() {
        let Some(before) = before.get(&segment.msn) else { continue };
        check_segment(before, segment, out);
        let may_drop = list.ended || behind_us + ROUNDING_US > PARTS_TARGETS * target_us(list);
        check_parts(before, segment, may_drop, out);
    }
}

fn check_segment(before: &Segment, segment: &Segment, out: &mut Findings) {
    let (line, msn) = (segment.line, segment.msn);
    out.check(before.discontinuity_sequence == segment.discontinuity_sequence, DISCONTINUITY_ARITHMETIC, line, || {
        let (was, is) = (before.discontinuity_sequence, segment.discontinuity_sequence);
        format!("segment {msn} had Discontinuity Sequence Number {was} and has {is}")
    });
    let known = |before: bool| before && !segment.is_open();
    let other_uri = known(before.resource != segment.resource && !before.is_open());
    out.check(!other_uri, URI_CHANGED, line, || format!("segment {msn} was {:?}", before.resource));
    let other_duration = known(before.duration_us != segment.duration_us && !before.is_open());
    out.check(!other_duration, DURATION_CHANGED, line, || {
        format!("segment {msn} had {:?} us and has {:?}", before.duration_us, segment.duration_us)
    });
    let same = before.map == segment.map && before.date_us == segment.date_us;
    out.check(same, TAGS_CHANGED, line, || {
        format!(
            "segment {msn} had {:?} {:?} and has {:?} {:?}",
            before.map, before.date_us, segment.map, segment.date_us
        )
    });
    out.check(!before.gap || segment.gap, GAP_LEFT, line, || format!("segment {msn} is no gap any more"));
    let became = segment.gap && !before.gap && !before.is_open();
    out.check(!became, BECAME_GAP, line, || format!("segment {msn} became a gap"));
}

fn check_parts(before: &Segment, segment: &Segment, may_drop: bool, out: &mut Findings) {
    if segment.parts.is_empty() && may_drop {
        return;
    }
    let kept = segment.parts.len() >= before.parts.len();
    out.check(kept, PART_VANISHED, segment.line, || {
        format!("segment {} listed {} parts and lists {}", segment.msn, before.parts.len(), segment.parts.len())
    });
    for (before, part) in before.parts.iter().zip(&segment.parts) {
        let same = before.resource == part.resource
            && before.duration_us == part.duration_us
            && (before.independent, before.gap) == (part.independent, part.gap);
        out.check(same, PART_CHANGED, part.line, || format!("{before:?} became {part:?}"));
    }
}

fn check_hints(last: &Media, list: &Media, out: &mut Findings) {
    for hint in last.hints.iter().filter(|hint| !list.hints.iter().any(|kept| kept.uri == hint.uri) && !list.ended) {
        let kept = match hint.kind.as_str() {
            "MAP" => {
                next_segments(last, list).any(|segment| segment.map.as_ref().is_some_and(|map| map.uri == hint.uri))
            }
            _ => part_kept(last, list, hint),
        };
        out.check(kept, HINT_KEPT, 0, || format!("{} was hinted and is not what came", hint.uri));
    }
    let advanced = list.edge() != last.edge();
    for hint in last.hints.iter().filter(|hint| hint.kind == "PART" && advanced) {
        let again = list.hints.iter().find(|kept| kept.uri == hint.uri && kept.kind == "PART");
        if let Some(again) = again.filter(|_| next_part(last, list).is_some()) {
            out.add(HINT_KEPT, again.line, format!("{} is still hinted and another part came", hint.uri));
        }
    }
}

fn part_kept(last: &Media, list: &Media, hint: &Hint) -> bool {
    match next_part(last, list) {
        Some(uri) => uri == hint.uri,
        // Versions were missed, and its parts are not listed any more.
        None => next_segments(last, list).any(|segment| !segment.is_open() && segment.parts.is_empty() && !segment.gap),
    }
}

/// The first part that `list` has beyond the end of `last`.
fn next_part<'a>(last: &Media, list: &'a Media) -> Option<&'a str> {
    let parts = |segment: &'a Segment| segment.parts.iter().map(move |part| (segment.msn, part));
    let listed =
        |msn: u64| last.segments.iter().find(|segment| segment.msn == msn).map_or(0, |segment| segment.parts.len());
    let dropped = |segment: &Segment| !segment.is_open() && !segment.gap && segment.parts.len() < listed(segment.msn);
    if next_segments(last, list).next().is_some_and(dropped) {
        return None;
    }
    let mut seen_of: BTreeMap<u64, usize> = BTreeMap::new();
    let mut all = next_segments(last, list).flat_map(parts);
    let found = all.find(|(msn, _)| {
        let nth = seen_of.entry(*msn).or_default();
        *nth += 1;
        *nth > listed(*msn)
    });
    found.map(|(_, part)| part.resource.uri.as_str())
}

/// The segments of `list` from the last one of `last` on.
fn next_segments<'a>(last: &Media, list: &'a Media) -> impl Iterator<Item = &'a Segment> {
    let from = last.segments.last().map_or(0, |segment| segment.msn);
    list.segments.iter().filter(move |segment| segment.msn >= from)
}
