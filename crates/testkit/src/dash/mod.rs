//! A linter for MPDs as a server publishes them over time (ISO/IEC 23009-1).
//!
//! Start from [`lint`] for one MPD, from [`Linter`] for a server that goes on. Rules with their clauses are [`RULES`].

mod history;
mod parse;
mod rules;

use std::collections::BTreeSet;

use self::{
    parse::{Mpd, Period, Representation},
    rules::*,
};
use crate::finding::{Finding, Findings};

pub use history::Linter;
pub use rules::RULES;

/// UTCTiming schemes that dash.js and Shaka understand and that an HTTP server can answer.
const TIME_SCHEMES: &[&str] = &[
    "urn:mpeg:dash:utc:http-iso:2014",
    "urn:mpeg:dash:utc:http-xsdate:2014",
    "urn:mpeg:dash:utc:http-head:2014",
    "urn:mpeg:dash:utc:direct:2014",
];
/// What durations rounded to milliseconds may differ by, in microseconds.
const ROUNDING_US: i64 = 1_000;

/// Findings in one MPD.
pub fn lint(mpd: &str) -> Vec<Finding> {
    Linter::default().observe("manifest.mpd", mpd)
}

fn check(mpd: &Mpd, out: &mut Findings) {
    check_head(mpd, out);
    check_periods(mpd, out);
    for period in &mpd.periods {
        check_ids(period, out);
        for representation in &period.representations {
            let mime = representation.mime_type.as_deref().unwrap_or_default();
            if mime.starts_with("image/") {
                check_thumbnails(representation, out);
            } else if mime == "text/vtt" {
                let named = representation.base_url.as_ref().is_some_and(|url| !url.is_empty());
                out.check(named, TEXT_FILE, representation.line, || format!("{} without BaseURL", representation.id));
            } else {
                check_representation(mpd, representation, out);
                check_timeline(mpd, period, representation, out);
            }
        }
    }
}

fn check_head(mpd: &Mpd, out: &mut Findings) {
    let line = mpd.line;
    out.check(mpd.profiles, PROFILES, line, || "MPD without profiles".into());
    out.check(mpd.min_buffer_us.is_some(), MIN_BUFFER, line, || "MPD without minBufferTime".into());
    for (at, uri) in &mpd.uris {
        let absolute =
            uri.starts_with('/') || uri.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':'));
        out.check(!absolute, RELATIVE_URI, *at, || format!("{uri} is not relative"));
    }
    for (at, [min, target, max]) in &mpd.latencies {
        let ordered = min.is_none_or(|min| Some(min) <= *target)
            && max.is_none_or(|max| target.is_some_and(|target| target <= max));
        out.check(ordered, LATENCY, *at, || format!("{min:?} {target:?} {max:?}"));
    }
    if mpd.dynamic {
        out.check(mpd.availability_start.is_some(), AVAILABILITY_START, line, || "no availabilityStartTime".into());
        out.check(mpd.publish_us.is_some(), PUBLISH_TIME, line, || "no publishTime".into());
        out.check(mpd.update_us.is_some(), UPDATE_PERIOD, line, || "dynamic without minimumUpdatePeriod".into());
        out.check(mpd.delay_us.is_some(), PRESENTATION_DELAY, line, || "no suggestedPresentationDelay".into());
        out.check(mpd.timed, UTC_TIMING, line, || "no UTCTiming".into());
    } else {
        out.check(mpd.update_us.is_none(), UPDATE_PERIOD, line, || "static with minimumUpdatePeriod".into());
        let last = mpd.periods.last().and_then(|period| period.duration_us);
        out.check(mpd.duration_us.or(last).is_some(), STATIC_DURATION, line, || "no mediaPresentationDuration".into());
    }
    for (at, scheme, value) in &mpd.timings {
        let direct = scheme.contains(":direct:");
        let local = direct || !(value.is_empty() || value.starts_with('/') || value.contains("://"));
        let known = TIME_SCHEMES.contains(&scheme.as_str());
        out.check(known && local, UTC_TIMING_LOCAL, *at, || format!("{scheme} {value}"));
    }
}

fn check_periods(mpd: &Mpd, out: &mut Findings) {
    let mut ids = BTreeSet::new();
    for (n, period) in mpd.periods.iter().enumerate() {
        let line = period.line;
        let named = period.id.as_ref().map_or(!mpd.dynamic, |id| ids.insert(id));
        out.check(named, PERIOD_ID, line, || format!("Period id {:?}", period.id));
        let before = n.checked_sub(1).and_then(|n| mpd.periods.get(n));
        let ordered = match (before.and_then(|before| before.start_us), period.start_us) {
            (_, None) => before.is_some_and(|before| before.duration_us.is_some()) || !mpd.dynamic,
            (Some(before), Some(start)) => before < start,
            (None, Some(_)) => true,
        };
        out.check(ordered, PERIOD_START, line, || format!("Period {:?} starts at {:?} us", period.id, period.start_us));
        let end = before.and_then(|before| Some(before.start_us?.saturating_add(before.duration_us?)));
        let apart = end.is_none_or(|end| period.start_us.is_none_or(|start| end <= start.saturating_add(ROUNDING_US)));
        out.check(apart, PERIOD_OVERLAP, line, || {
            format!("the Period before ends at {end:?} us, this one starts at {:?}", period.start_us)
        });
        out.check(period.sets > 0 && period.empty_sets == 0, PERIOD_EMPTY, line, || {
            format!("{} AdaptationSets, {} empty", period.sets, period.empty_sets)
        });
    }
    out.check(!mpd.periods.is_empty(), PERIOD_EMPTY, mpd.line, || "no Period".into());
}

fn check_ids(period: &Period, out: &mut Findings) {
    let mut sets = BTreeSet::new();
    for (line, id) in &period.set_ids {
        out.check(sets.insert(id), SET_ID, *line, || format!("AdaptationSet {id} twice"));
    }
    let mut ids = BTreeSet::new();
    for representation in &period.representations {
        let id = &representation.id;
        out.check(!id.is_empty() && ids.insert(id), REPRESENTATION_ID, representation.line, || {
            format!("Representation {id:?} twice, or without id")
        });
    }
}

fn check_thumbnails(representation: &Representation, out: &mut Findings) {
    let Representation { line, id, template, .. } = representation;
    let size = representation.tiles.as_deref().and_then(|tiles| tiles.split_once('x'));
    let number = |text: &str| text.parse::<u32>().is_ok_and(|n| n > 0);
    let laid_out = size.is_some_and(|(columns, rows)| number(columns) && number(rows)) && representation.sized;
    let addressed = template.media.contains("$Number") && template.duration > 0 && template.timescale > 0;
    out.check(laid_out && addressed, THUMBNAILS, *line, || format!("{id}: {:?}, {template:?}", representation.tiles));
    out.check(representation.bandwidth.is_some_and(|n| n > 0), BANDWIDTH, *line, || format!("{id} without bandwidth"));
}

fn check_representation(mpd: &Mpd, representation: &Representation, out: &mut Findings) {
    let Representation { line, id, .. } = representation;
    out.check(representation.bandwidth.is_some_and(|n| n > 0), BANDWIDTH, *line, || format!("{id} without bandwidth"));
    out.check(representation.codecs.is_some(), CODECS, *line, || format!("{id} without codecs"));
    let mime = representation.mime_type.as_deref().unwrap_or_default();
    out.check(mime.contains('/'), MIME_TYPE, *line, || format!("{id} without mimeType"));
    if mime.starts_with("video/") {
        out.check(representation.sized, SIZE, *line, || format!("{id} without width and height"));
        out.check(representation.frame_rate, FRAME_RATE, *line, || format!("{id} without frameRate"));
    }
    let template = &representation.template;
    let numbered = ["$Number", "$Time"].iter().any(|variable| template.media.contains(variable));
    out.check(numbered && !template.initialization.is_empty(), TEMPLATE, template.line, || {
        format!("{id}: media {:?}, initialization {:?}", template.media, template.initialization)
    });
    out.check(template.timescale > 0, TIMESCALE, template.line, || format!("{id}: no positive timescale"));
    let Some(offset) = &template.availability_offset else { return };
    let offset_us = crate::hls::seconds_us(offset);
    let longest_us = template.timeline.iter().map(|s| template.us(s.d)).max().unwrap_or(0);
    let below = offset == "INF" || offset_us.is_some_and(|us| us < longest_us.max(mpd.max_segment_us.unwrap_or(0)));
    out.check(below, AVAILABILITY_OFFSET, template.line, || format!("{id}: {offset} with segments of {longest_us} us"));
    let partial = offset != "INF" && offset_us.is_some_and(|us| us > 0);
    out.check(!partial || template.incomplete, AVAILABILITY_COMPLETE, template.line, || {
        format!("{id}: availabilityTimeOffset {offset} without availabilityTimeComplete=\"false\"")
    });
}

fn check_timeline(mpd: &Mpd, period: &Period, representation: &Representation, out: &mut Findings) {
    let (id, template) = (&representation.id, &representation.template);
    out.check(!template.timeline.is_empty() && !template.unreadable, TIMELINE, template.line, || {
        format!("{id}: no S, or one that is unreadable")
    });
    let mut expected: Option<i64> = None;
    for (n, s) in template.timeline.iter().enumerate() {
        let last = n + 1 == template.timeline.len();
        out.check(s.d > 0 && (s.r >= 0 || (s.r == -1 && last)), TIMELINE, s.line, || format!("{id}: {s:?}"));
        let apart = expected.map(|expected| s.t.saturating_sub(expected));
        out.check(apart.is_none_or(|ticks| ticks >= 0), TIMELINE_OVERLAP, s.line, || {
            format!("{id}: {s:?}, expected {expected:?}")
        });
        out.check(apart.is_none_or(|ticks| ticks <= 0), TIMELINE_GAP, s.line, || {
            format!("{id}: {s:?}, expected {expected:?}")
        });
        expected = Some(s.end());
        if let Some(longest_us) = mpd.max_segment_us {
            let us = template.us(s.d);
            out.check(us <= longest_us.saturating_add(ROUNDING_US), MAX_SEGMENT, s.line, || {
                format!("{id}: {us} us over {longest_us}")
            });
        }
    }
    if let Some(first) = template.timeline.first() {
        let reaches = first.t.saturating_add(first.d) > template.time_offset;
        out.check(reaches, TIME_OFFSET, first.line, || {
            format!("{id}: {first:?} with an offset of {}", template.time_offset)
        });
    }
    if let (Some(duration_us), Some(last)) = (period.duration_us, template.timeline.last()) {
        let start_us = template.us(last.end().saturating_sub(last.d).saturating_sub(template.time_offset));
        out.check(start_us < duration_us, BEYOND_PERIOD, last.line, || {
            format!("{id}: a segment starts at {start_us} us of a Period of {duration_us} us")
        });
    }
}
