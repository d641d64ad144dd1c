//! Watches every version of a presentation as a strict client would, and checks what RFC 8216bis asks of a server over time.

use std::collections::BTreeMap;

use base::Wall;
use bytes::Bytes;
use packager::{BodyPlan, Lookup, Piece, Presentation, Reload, TrackName};

/// A playlist as its lines say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Playlist {
    pub(crate) target_s: i64,
    pub(crate) part_target: f64,
    pub(crate) independent: bool,
    pub(crate) segments: Vec<Segment>,
    pub(crate) hint: Option<String>,
    pub(crate) reports: Vec<String>,
    pub(crate) skipped: Option<usize>,
    pub(crate) ended: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Segment {
    pub(crate) msn: u64,
    pub(crate) discontinuity: u64,
    pub(crate) duration: Option<f64>,
    pub(crate) gap: bool,
    pub(crate) map: String,
    pub(crate) time: String,
    pub(crate) parts: Vec<(f64, String, bool)>,
}

pub(crate) fn parse(text: &str) -> Playlist {
    let mut list = Playlist::default();
    let (mut open, mut map) = (Segment::default(), String::new());
    for line in text.lines() {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-TARGETDURATION" => list.target_s = value.parse().unwrap(),
            "#EXT-X-PART-INF" => list.part_target = value.strip_prefix("PART-TARGET=").unwrap().parse().unwrap(),
            "#EXT-X-MEDIA-SEQUENCE" => open.msn = value.parse().unwrap(),
            "#EXT-X-DISCONTINUITY-SEQUENCE" => open.discontinuity = value.parse().unwrap(),
            "#EXT-X-INDEPENDENT-SEGMENTS" => list.independent = true,
            "#EXT-X-SKIP" => {
                let skipped = value.strip_prefix("SKIPPED-SEGMENTS=").unwrap().parse().unwrap();
                (list.skipped, open.msn) = (Some(skipped), open.msn + skipped as u64);
            }
            "#EXT-X-DISCONTINUITY" => open.discontinuity += 1,
            "#EXT-X-MAP" => map = value.to_owned(),
            "#EXT-X-PROGRAM-DATE-TIME" => open.time = value.to_owned(),
            "#EXT-X-GAP" => open.gap = true,
            "#EXT-X-PART" => {
                let attribute = |key: &str| value.split(',').find_map(|pair| pair.strip_prefix(key));
                let uri = attribute("URI=").unwrap().trim_matches('"').to_owned();
                let independent = attribute("INDEPENDENT=") == Some("YES");
                open.parts.push((attribute("DURATION=").unwrap().parse().unwrap(), uri, independent));
            }
            "#EXTINF" => open.duration = Some(value.trim_end_matches(',').parse().unwrap()),
            "#EXT-X-PRELOAD-HINT" if value.starts_with("TYPE=PART") => {
                list.hint = value.split("URI=").nth(1).map(|uri| uri.trim_matches('"').to_owned());
            }
            "#EXT-X-RENDITION-REPORT" => list.reports.push(value.to_owned()),
            "#EXT-X-ENDLIST" => list.ended = true,
            _ if !line.starts_with('#') && !line.is_empty() => {
                assert_eq!(line, format!("{}.m4s", open.msn));
                let next = Segment { msn: open.msn + 1, discontinuity: open.discontinuity, ..Segment::default() };
                open.map = map.clone();
                list.segments.push(std::mem::replace(&mut open, next));
            }
            _ => {}
        }
    }
    if !open.parts.is_empty() {
        open.map = map;
        list.segments.push(open);
    }
    list
}

pub(crate) fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The bytes of a plan that has nothing pending and nothing in files.
pub(crate) fn body(plan: &BodyPlan) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in &plan.pieces {
        match piece {
            Piece::Inline(bytes) | Piece::Shared(bytes) => out.extend_from_slice(bytes),
            Piece::File { .. } | Piece::Pending { .. } => panic!("{piece:?}"),
        }
    }
    out
}

#[derive(Default)]
struct Seen {
    first_msn: u64,
    target_s: Option<i64>,
    closed: BTreeMap<u64, Segment>,
    hint: Option<String>,
    bodies: BTreeMap<u64, Vec<u8>>,
}

/// Watches a presentation from version to version.
#[derive(Default)]
pub(crate) struct Linter {
    version: Option<u64>,
    tracks: BTreeMap<TrackName, Seen>,
    discontinuities: BTreeMap<u64, u64>,
    times: BTreeMap<u64, String>,
    /// Longest audio packet or ladder rounding by which starts may differ, in milliseconds.
    pub(crate) tolerance_ms: i64,
    /// Parts below 85 % of the target are forgiven (sources whose frame rate changes).
    pub(crate) short_parts: bool,
    pub(crate) versions: usize,
}

impl Linter {
    pub(crate) fn new() -> Self {
        Self { tolerance_ms: 25, ..Self::default() }
    }

    /// Checks the presentation if it changed.
    pub(crate) fn observe(&mut self, presentation: &Presentation, names: &[TrackName]) {
        if self.version == Some(presentation.version()) {
            return;
        }
        self.version = Some(presentation.version());
        self.versions += 1;
        if let Ok(multivariant) = presentation.multivariant_playlist() {
            check_multivariant(presentation, &text(&multivariant));
        }
        for name in names {
            if let Lookup::Found(full) = presentation.media_playlist(name, false) {
                self.check_media(presentation, name, &text(&full));
            }
        }
        if let Ok(mpd) = presentation.mpd(Wall::from_unix_ms(0)) {
            check_mpd(presentation, &text(&mpd));
        }
    }

    /// The bodies of the closed segments seen, by track.
    pub(crate) fn bodies(&self, name: &TrackName) -> &BTreeMap<u64, Vec<u8>> {
        &self.tracks[name].bodies
    }

    pub(crate) fn segments(&self, name: &TrackName) -> Vec<&Segment> {
        self.tracks.get(name).map(|seen| seen.closed.values().collect()).unwrap_or_default()
    }

    fn check_media(&mut self, presentation: &Presentation, name: &TrackName, full: &str) {
        let list = parse(full);
        check_delta(presentation, name, full, self.short_parts);
        check_durations(&list, full, self.short_parts);
        let all_independent = list.segments.iter().all(|s| s.parts.first().is_none_or(|part| part.2));
        assert!(!list.independent || all_independent, "{full}");
        let seen = self.tracks.entry(name.clone()).or_default();
        let first_msn = list.segments.first().map_or(0, |segment| segment.msn);
        assert!(first_msn >= seen.first_msn, "EXT-X-MEDIA-SEQUENCE went back: {full}");
        seen.first_msn = first_msn;
        // The first segment is cut short before the length of a group of pictures is known.
        let second_closed = seen.closed.len() >= 2;
        assert!(
            !second_closed || seen.target_s.is_none_or(|target| target == list.target_s),
            "the target moved: {full}"
        );
        seen.target_s = Some(list.target_s);
        check_hint(presentation, name, seen, &list);
        check_reload(presentation, name, &list);
        for segment in &list.segments {
            let known = self.discontinuities.entry(segment.msn).or_insert(segment.discontinuity);
            assert_eq!(*known, segment.discontinuity, "{name} {}: {full}", segment.msn);
            let time = self.times.entry(segment.msn).or_insert_with(|| segment.time.clone());
            assert!(apart_ms(time, &segment.time) <= self.tolerance_ms, "{name} {} {time} {full}", segment.msn);
            if segment.duration.is_some() {
                check_closed(presentation, name, seen, segment);
            }
        }
    }
}

fn check_durations(list: &Playlist, full: &str, short_parts: bool) {
    for (n, segment) in list.segments.iter().enumerate() {
        let duration = segment.duration.unwrap_or_default();
        assert!(duration.round() as i64 <= list.target_s, "EXTINF {duration} over the target: {full}");
        let last_part = segment.parts.len().saturating_sub(1);
        for (i, (part, uri, independent)) in segment.parts.iter().enumerate() {
            assert!(*part <= list.part_target + 1e-9, "{uri} is over PART-TARGET: {full}");
            let may_be_short = i == last_part || *independent && i > 0 || short_parts;
            assert!(may_be_short || *part >= list.part_target * 0.85, "{uri} is under 85 % of PART-TARGET: {full}");
        }
        assert!(segment.duration.is_some() || n + 1 == list.segments.len(), "{full}");
        if let (Some(duration), false) = (segment.duration, segment.parts.is_empty()) {
            let parts: f64 = segment.parts.iter().map(|part| part.0).sum();
            assert!((parts - duration).abs() < 0.002 || short_parts, "{duration} {parts} {full}");
        }
    }
}

fn check_delta(presentation: &Presentation, name: &TrackName, full: &str, short_parts: bool) {
    let delta = text(&presentation.media_playlist(name, true).found().unwrap());
    let Some(at) = delta.find("#EXT-X-SKIP:") else { return assert_eq!(delta, full) };
    let (head, rest) = delta.split_at(at);
    let (skip, tail) = rest.split_once('\n').unwrap();
    let skipped: usize = skip.split('=').nth(1).unwrap().parse().unwrap();
    let middle = full.strip_prefix(head).and_then(|full| full.strip_suffix(tail));
    let middle = middle.unwrap_or_else(|| panic!("not a delta of the full playlist:\n{delta}\n{full}"));
    assert_eq!(middle.matches("#EXTINF:").count(), skipped);
    assert!(middle.ends_with(".m4s\n"), "{middle}");
    let parts = |segment: &Segment| segment.parts.iter().map(|part| part.0).sum();
    let kept: f64 = parse(&delta).segments.iter().map(|s| s.duration.unwrap_or_else(|| parts(s))).sum();
    let target = parse(full).target_s as f64;
    assert!(short_parts || kept >= 6.0 * target - 0.001, "the skip boundary is too near: {delta}");
}

fn check_hint(presentation: &Presentation, name: &TrackName, seen: &mut Seen, list: &Playlist) {
    let part_of = |uri: &str| {
        let mut numbers = uri.split('.');
        let (msn, part) = (numbers.next().unwrap().parse().unwrap(), numbers.next().unwrap().parse().unwrap());
        presentation.part(name, msn, part)
    };
    if let Some(hinted) = seen.hint.take().filter(|hinted| list.hint.as_ref() != Some(hinted)) {
        assert!(matches!(part_of(&hinted), Lookup::Found(_)), "{name}: the hinted {hinted} did not become a part");
    }
    if let Some(hint) = &list.hint {
        assert_eq!(part_of(hint), Lookup::Pending, "{name} {hint}");
    }
    seen.hint = list.hint.clone();
}

fn check_reload(presentation: &Presentation, name: &TrackName, list: &Playlist) {
    let Some(last) = list.segments.iter().rev().find(|segment| segment.duration.is_some()) else { return };
    assert_eq!(presentation.reload(name, last.msn, None), Reload::Ready);
    if presentation.stats().tracks.iter().any(|track| track.name == *name && !track.active) {
        return assert_eq!(presentation.reload(name, last.msn + 9, None), Reload::Ready);
    }
    if list.ended {
        return assert_eq!(presentation.reload(name, last.msn + 9, None), Reload::Ready);
    }
    assert!(matches!(presentation.reload(name, last.msn + 3, None), Reload::BadRequest(_)));
    assert_eq!(presentation.reload(name, last.msn + 1, None), Reload::Wait);
    assert_eq!(presentation.reload(name, last.msn + 2, Some(0)), Reload::Wait);
    let open_parts =
        list.segments.last().filter(|open| open.duration.is_none()).map_or(0, |open| open.parts.len() as u32);
    assert_eq!(presentation.reload(name, last.msn + 1, Some(open_parts)), Reload::Wait);
    assert!(matches!(presentation.reload(name, last.msn + 1, Some(open_parts + 20)), Reload::BadRequest(_)));
    if open_parts > 0 {
        assert_eq!(presentation.reload(name, last.msn + 1, Some(open_parts - 1)), Reload::Ready);
    }
}

fn check_closed(presentation: &Presentation, name: &TrackName, seen: &mut Seen, segment: &Segment) {
    if let Some(before) = seen.closed.get(&segment.msn) {
        let same = before.duration == segment.duration && before.map == segment.map && before.time == segment.time;
        assert!(
            same && (before.gap == segment.gap || segment.gap),
            "{name}: a closed segment changed: {before:?} {segment:?}"
        );
        return;
    }
    if !segment.gap {
        let plan = presentation.segment(name, segment.msn).found().unwrap();
        let parts = (0..).map_while(|part| presentation.part(name, segment.msn, part).found());
        let joined: Vec<u8> = parts.flat_map(|part| body(&part)).collect();
        let whole = body(&plan);
        assert_eq!(plan.len(), Some(whole.len() as u64));
        assert!(whole == joined, "{name} {}: the segment is not its parts", segment.msn);
        seen.bodies.insert(segment.msn, whole);
    }
    let before = seen.closed.last_key_value().map(|(&msn, _)| msn);
    assert!(
        before.is_none_or(|last| last + 1 >= segment.msn),
        "{name}: {before:?} is followed by {}\n{}",
        segment.msn,
        text(&presentation.media_playlist(name, false).found().unwrap())
    );
    seen.closed.insert(segment.msn, segment.clone());
}

fn check_multivariant(presentation: &Presentation, multivariant: &str) {
    for uri in multivariant.lines().filter(|line| !line.starts_with('#')) {
        let name = TrackName::new(uri.split('/').next().unwrap()).unwrap();
        assert!(matches!(presentation.media_playlist(&name, false), Lookup::Found(_)), "{multivariant}");
    }
    assert!(multivariant.contains("#EXT-X-STREAM-INF:BANDWIDTH="));
}

/// Every segment that the MPD names can be had, and says the time that the MPD says.
fn check_mpd(presentation: &Presentation, mpd: &str) {
    let attribute = |line: &str, key: &str| -> Option<i64> {
        let (_, rest) = line.split_once(&format!(" {key}=\""))?;
        rest.split('"').next()?.parse().ok()
    };
    let (mut track, mut number, mut time) = (None, 0, None);
    let mut open = std::collections::BTreeSet::new();
    for line in mpd.lines() {
        if line.contains("<Representation ") {
            let id = line.split("id=\"").nth(1).unwrap().split('"').next().unwrap();
            track = Some(TrackName::new(id).unwrap());
            time = None;
        }
        if line.contains("<SegmentTemplate ") {
            number = attribute(line, "startNumber").unwrap();
        }
        if line.contains("<S ") {
            let (start, ticks) = (attribute(line, "t").unwrap(), attribute(line, "d").unwrap());
            assert!(time.is_none_or(|time| time <= start + 4_000), "{mpd}");
            let repeat = attribute(line, "r").unwrap_or(0);
            for _ in 0..=repeat {
                let track = track.as_ref().unwrap();
                let plan = presentation.segment(track, number as u64).found();
                let plan = plan.unwrap_or_else(|| panic!("{track} {number}\n{mpd}"));
                if plan.len().is_none() {
                    assert!(open.insert(track.clone()), "{track} has two open segments\n{mpd}");
                }
                number += 1;
            }
            time = Some(start + ticks * (repeat + 1));
        }
    }
    for tag in ["Period", "AdaptationSet", "Representation", "SegmentTemplate", "SegmentTimeline"] {
        assert_eq!(
            mpd.matches(&format!("<{tag} ")).count() + mpd.matches(&format!("<{tag}>")).count(),
            mpd.matches(&format!("</{tag}>")).count()
        );
    }
}

/// Distance of two EXT-X-PROGRAM-DATE-TIMEs of the same hour, in milliseconds.
fn apart_ms(a: &str, b: &str) -> i64 {
    let ms = |text: &str| -> i64 {
        let clock = text.split('T').nth(1).unwrap().trim_end_matches('Z').replace('.', ":");
        clock.split(':').zip([3_600_000, 60_000, 1_000, 1]).map(|(n, unit)| n.parse::<i64>().unwrap() * unit).sum()
    };
    (ms(a) - ms(b)).abs()
}
