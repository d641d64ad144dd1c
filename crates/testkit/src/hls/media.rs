//! Rules that one version of a Media Playlist keeps or breaks by itself.

use super::{
    parse::{Media, Part, Segment},
    rules::*,
};
use crate::finding::Findings;

/// Parts are listed for this many target durations from the end (RFC 8216bis 4.4.4.9).
pub(super) const PARTS_TARGETS: i64 = 3;
/// What sums of rounded durations may differ by, in microseconds.
pub(super) const ROUNDING_US: i64 = 2_000;
/// A millisecond, which EXT-X-PROGRAM-DATE-TIME is rounded to, and what rounds EXTINF, in microseconds.
const DATE_ROUNDING_US: i64 = 1_010;
/// Endings of fragmented MP4 segments.
const FRAGMENTED: &[&str] = &[".m4s", ".mp4", ".m4v", ".m4a", ".cmfv", ".cmfa", ".cmft"];

pub(super) fn check(list: &Media, text: &str, out: &mut Findings) {
    check_version(list, text, out);
    check_target(list, out);
    check_control(list, out);
    check_hints(list, out);
    check_vod(list, out);
    for segment in &list.segments {
        check_map(segment, out);
        check_parts(list, segment, out);
    }
    check_pairs(list, out);
    let oldest_us = target_us(list) * PARTS_TARGETS + ROUNDING_US;
    for (segment, _) in
        list.with_distance().filter(|(segment, behind)| !segment.parts.is_empty() && *behind > oldest_us)
    {
        out.add(PART_OLD, segment.line, format!("segment {} still lists its parts", segment.msn));
    }
}

/// Every segment of a playlist that says so, by itself or by the Multivariant Playlist, begins with an independent part.
pub(super) fn check_independent(list: &Media, out: &mut Findings) {
    for segment in &list.segments {
        let first = segment.parts.first();
        let kept = segment.gap || first.is_none_or(|part| part.independent || part.gap);
        out.check(kept, INDEPENDENT, segment.line, || format!("segment {} begins with a dependent part", segment.msn));
    }
}

pub(super) fn target_us(list: &Media) -> i64 {
    list.target_s.unwrap_or(0) * 1_000_000
}

fn check_version(list: &Media, text: &str, out: &mut Findings) {
    let has = |tag: &str| text.lines().any(|line| line.starts_with(tag));
    let decimal = text.lines().any(|line| line.strip_prefix("#EXTINF:").is_some_and(|value| value.contains('.')));
    let needs = [
        (list.skipped.is_some(), 9, "EXT-X-SKIP"),
        (has("#EXT-X-DEFINE:"), 8, "EXT-X-DEFINE"),
        (has("#EXT-X-MAP:"), if has("#EXT-X-I-FRAMES-ONLY") { 5 } else { 6 }, "EXT-X-MAP"),
        (has("#EXT-X-BYTERANGE:"), 4, "EXT-X-BYTERANGE"),
        (decimal, 3, "decimal EXTINF"),
    ];
    if let Some((_, least, why)) = needs.iter().find(|(there, least, _)| *there && list.version < *least) {
        out.add(VERSION, 0, format!("version {}; {why} needs {least}", list.version));
    }
}

fn check_target(list: &Media, out: &mut Findings) {
    let Some(target_s) = list.target_s else { return out.add(TARGET_MISSING, 0, "no EXT-X-TARGETDURATION") };
    for segment in &list.segments {
        let rounded_s = (segment.duration_us.unwrap_or(0) + 500_000) / 1_000_000;
        out.check(rounded_s <= target_s, TARGET_EXCEEDED, segment.line, || {
            format!("segment {} of {} us in a playlist of {target_s} s", segment.msn, segment.length_us())
        });
    }
}

fn check_vod(list: &Media, out: &mut Findings) {
    let parts = list.part_target_us.is_some();
    out.check(!list.vod || (list.ended && !parts), VOD_ENDED, 0, || {
        format!("a VOD playlist, ended: {}, with parts: {parts}", list.ended)
    });
    for segment in list.segments.iter().filter(|_| list.iframes_only) {
        let resource = segment.resource.clone().unwrap_or_default();
        let fragmented = FRAGMENTED.iter().any(|ending| resource.uri.ends_with(ending));
        let range = resource.range.as_deref().and_then(|range| range.split_once('@'));
        let numbers =
            range.is_some_and(|(bytes, offset)| bytes.parse::<u64>().is_ok() && offset.parse::<u64>().is_ok());
        out.check(numbers && (!fragmented || segment.map.is_some()), IFRAME_RANGE, segment.line, || {
            format!("I-frame {}: range {:?}", segment.msn, resource.range)
        });
    }
}

fn check_control(list: &Media, out: &mut Findings) {
    let parts = list.segments.iter().flat_map(|segment| &segment.parts);
    let first_part = parts.map(|part| part.line).next();
    if let (Some(line), None) = (first_part, list.part_target_us) {
        out.add(PART_INF, line, "EXT-X-PART without EXT-X-PART-INF");
    }
    let Some((line, control)) = &list.control else {
        if list.part_target_us.is_some() {
            out.add(SERVER_CONTROL, 0, "EXT-X-PART-INF without EXT-X-SERVER-CONTROL");
        }
        return;
    };
    if let Some(part_us) = list.part_target_us {
        match control.micros("PART-HOLD-BACK") {
            None => out.add(SERVER_CONTROL, *line, "EXT-X-PART-INF without PART-HOLD-BACK"),
            Some(hold_us) if hold_us < 2 * part_us => {
                out.add(PART_HOLD_BACK, *line, format!("{hold_us} us for parts of {part_us} us"));
            }
            Some(hold_us) if hold_us < 3 * part_us => {
                out.add(PART_HOLD_BACK_NEAR, *line, format!("{hold_us} us for parts of {part_us} us"));
            }
            Some(_) => {}
        }
    }
    let target_us = target_us(list);
    let short = |name: &str, targets: i64| control.micros(name).filter(|us| *us < targets * target_us);
    if let Some(us) = short("HOLD-BACK", 3) {
        out.add(HOLD_BACK, *line, format!("{us} us for a target of {target_us} us"));
    }
    if let Some(us) = short("CAN-SKIP-UNTIL", 6) {
        out.add(CAN_SKIP_UNTIL, *line, format!("{us} us for a target of {target_us} us"));
    }
}

fn check_hints(list: &Media, out: &mut Findings) {
    for (n, hint) in list.hints.iter().enumerate() {
        let earlier = list.hints.iter().take(n).any(|other| other.kind == hint.kind);
        out.check(!earlier, HINT_ONCE, hint.line, || format!("another hint of TYPE={}", hint.kind));
        let listed = list
            .segments
            .iter()
            .rev()
            .take(2)
            .flat_map(|segment| &segment.parts)
            .any(|part| part.resource.uri == hint.uri && part.resource.range.is_none());
        out.check(!listed && !list.ended, HINT_LISTED, hint.line, || {
            format!("{} is hinted and listed, or never comes", hint.uri)
        });
    }
}

fn check_map(segment: &Segment, out: &mut Findings) {
    let fragmented =
        |uri: &str| FRAGMENTED.iter().any(|end| uri.split(['?', '#']).next().unwrap_or(uri).ends_with(end));
    let part = segment.parts.first().map(|part| &part.resource);
    let uri = segment.resource.as_ref().or(part).map_or("", |resource| &resource.uri);
    let kept = segment.map.is_some() || segment.gap || !fragmented(uri);
    out.check(kept, MAP, segment.line, || format!("{uri} without EXT-X-MAP"));
}

fn check_parts(list: &Media, segment: &Segment, out: &mut Findings) {
    let target_us = list.part_target_us.unwrap_or(i64::MAX);
    for (n, part) in segment.parts.iter().enumerate() {
        let next = segment.parts.get(n + 1);
        let uri = &part.resource.uri;
        out.check(part.duration_us <= target_us, PART_OVER, part.line, || {
            format!("{uri} of {} us, target {target_us} us", part.duration_us)
        });
        let exempt = part.independent || part.gap || next.is_none_or(|next| next.gap);
        let long_enough = list.part_target_us.is_none_or(|target_us| part.duration_us * 100 >= target_us * 85);
        out.check(exempt || long_enough, PART_UNDER, part.line, || {
            format!("{uri} of {} us, target {target_us} us", part.duration_us)
        });
        out.check(!part.gap || segment.gap || segment.is_open(), GAP_PART, part.line, || {
            format!("{uri} is a gap and segment {} is not", segment.msn)
        });
    }
    if let (Some(duration_us), false) = (segment.duration_us, segment.parts.is_empty()) {
        let parts_us: i64 = segment.parts.iter().map(|part: &Part| part.duration_us).sum();
        out.check((parts_us - duration_us).abs() <= ROUNDING_US, PART_SUM, segment.line, || {
            format!("segment {} of {duration_us} us has parts of {parts_us} us", segment.msn)
        });
    }
}

fn check_pairs(list: &Media, out: &mut Findings) {
    for pair in list.segments.windows(2) {
        let [before, segment] = pair else { continue };
        if segment.discontinuity {
            continue;
        }
        let same_map = before.map == segment.map || before.map.is_none() || segment.map.is_none();
        out.check(same_map, DISCONTINUITY, segment.line, || format!("segment {} has another map", segment.msn));
        if let (Some(from_us), Some(date_us)) = (before.date_us, segment.date_us) {
            let off_us = date_us - from_us - before.length_us();
            out.check(off_us.abs() <= DATE_ROUNDING_US, DATE_TIME_CONTINUITY, segment.line, || {
                format!("segment {} is dated {off_us} us off the end of the one before it", segment.msn)
            });
        }
    }
}
