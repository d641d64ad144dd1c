//! A strict reader of playlists: what it cannot read, or should not have to, is a finding.

use std::collections::BTreeMap;

use super::rules::*;
use crate::finding::Findings;

/// Largest number taken, so that sums and products of a few stay in 64 bits.
const NUMBER_MAX: u64 = 1 << 40;
/// Longest duration taken, in seconds: ten days.
const SECONDS_MAX: i64 = 864_000;
/// Attributes that are quoted-strings (RFC 8216bis 4.4).
const QUOTED: &[&str] = &[
    "URI",
    "CODECS",
    "SUPPLEMENTAL-CODECS",
    "GROUP-ID",
    "LANGUAGE",
    "ASSOC-LANGUAGE",
    "NAME",
    "CHANNELS",
    "CHARACTERISTICS",
    "AUDIO",
    "VIDEO",
    "SUBTITLES",
    "BYTERANGE",
    "KEYFORMAT",
    "KEYFORMATVERSIONS",
    "INSTREAM-ID",
    "STABLE-VARIANT-ID",
    "STABLE-RENDITION-ID",
    "PATHWAY-ID",
    "SERVER-URI",
];
/// Tags of a whole Media Playlist.
const MEDIA_ONCE: &[&str] = &[
    "EXT-X-TARGETDURATION",
    "EXT-X-MEDIA-SEQUENCE",
    "EXT-X-DISCONTINUITY-SEQUENCE",
    "EXT-X-ENDLIST",
    "EXT-X-PLAYLIST-TYPE",
    "EXT-X-I-FRAMES-ONLY",
    "EXT-X-PART-INF",
    "EXT-X-SERVER-CONTROL",
    "EXT-X-SKIP",
];
/// Tags of a Multivariant Playlist.
const MULTIVARIANT: &[&str] = &[
    "EXT-X-MEDIA",
    "EXT-X-STREAM-INF",
    "EXT-X-I-FRAME-STREAM-INF",
    "EXT-X-SESSION-DATA",
    "EXT-X-SESSION-KEY",
    "EXT-X-CONTENT-STEERING",
];
/// Tags of either that appear once.
const EITHER_ONCE: &[&str] = &["EXT-X-VERSION", "EXT-X-INDEPENDENT-SEGMENTS", "EXT-X-START"];

/// An attribute list by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(BTreeMap<String, String>);

impl Attributes {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok().filter(|number| *number <= NUMBER_MAX)
    }

    pub(crate) fn micros(&self, name: &str) -> Option<i64> {
        micros(self.text(name)?)
    }

    pub(crate) fn yes(&self, name: &str) -> bool {
        self.text(name) == Some("YES")
    }
}

/// A resource: a URI, and the byte range of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource {
    pub(crate) uri: String,
    pub(crate) range: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) line: usize,
    pub(crate) resource: Resource,
    pub(crate) duration_us: i64,
    pub(crate) independent: bool,
    pub(crate) gap: bool,
}

/// A segment, or at the end of the playlist the parts of one that is not complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) line: usize,
    pub(crate) msn: u64,
    pub(crate) discontinuity_sequence: u64,
    pub(crate) discontinuity: bool,
    /// `None` while it is open.
    pub(crate) resource: Option<Resource>,
    pub(crate) duration_us: Option<i64>,
    pub(crate) gap: bool,
    pub(crate) map: Option<Resource>,
    pub(crate) date_us: Option<i64>,
    pub(crate) parts: Vec<Part>,
}

impl Segment {
    pub(crate) fn is_open(&self) -> bool {
        self.resource.is_none()
    }

    /// Media in it, complete or not.
    pub(crate) fn length_us(&self) -> i64 {
        self.duration_us.unwrap_or_else(|| self.parts.iter().map(|part| part.duration_us).sum())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) line: usize,
    pub(crate) kind: String,
    pub(crate) uri: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) line: usize,
    pub(crate) uri: String,
    pub(crate) msn: Option<u64>,
    pub(crate) part: Option<u64>,
}

/// A Media Playlist as its lines say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Media {
    pub(crate) version: u64,
    pub(crate) target_s: Option<i64>,
    pub(crate) sequence: u64,
    pub(crate) independent: bool,
    pub(crate) control: Option<(usize, Attributes)>,
    pub(crate) part_target_us: Option<i64>,
    pub(crate) skipped: Option<(usize, u64)>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) hints: Vec<Hint>,
    pub(crate) reports: Vec<Report>,
    pub(crate) ended: bool,
    /// EXT-X-PLAYLIST-TYPE is VOD.
    pub(crate) vod: bool,
    pub(crate) iframes_only: bool,
}

impl Media {
    pub(crate) fn length_us(&self) -> i64 {
        self.segments.iter().map(Segment::length_us).sum()
    }

    /// The last segment or part listed: the Media Sequence Number, and the part's index when the segment lists parts.
    pub(crate) fn edge(&self) -> Option<(u64, Option<u64>)> {
        let last = self.segments.last()?;
        Some((last.msn, last.parts.len().checked_sub(1).map(|part| part as u64)))
    }

    /// The segments with what is listed behind each, in microseconds.
    pub(crate) fn with_distance(&self) -> impl Iterator<Item = (&Segment, i64)> {
        let mut left_us = self.length_us();
        self.segments.iter().map(move |segment| {
            left_us -= segment.length_us();
            (segment, left_us)
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) line: usize,
    pub(crate) attributes: Attributes,
    pub(crate) uri: String,
}

/// A Multivariant Playlist as its lines say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Multivariant {
    pub(crate) independent: bool,
    pub(crate) renditions: Vec<(usize, Attributes)>,
    pub(crate) variants: Vec<Variant>,
    pub(crate) iframes: Vec<(usize, Attributes)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Playlist {
    Multivariant(Multivariant),
    Media(Media),
}

pub(crate) fn parse(text: &str, out: &mut Findings) -> Playlist {
    check_text(text, out);
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|tag| tag.split(':').next().unwrap_or(tag))
        .collect();
    let is_multivariant = names.iter().any(|name| MULTIVARIANT.contains(name));
    let media_tag = names.iter().find(|name| MEDIA_ONCE.contains(name) || matches!(**name, "EXTINF" | "EXT-X-PART"));
    if let (true, Some(tag)) = (is_multivariant, media_tag) {
        out.add(KIND, 0, format!("#{tag} in a Multivariant Playlist"));
    }
    for once in MEDIA_ONCE.iter().chain(EITHER_ONCE) {
        let times = names.iter().filter(|name| *name == once).count();
        out.check(times <= 1, TAG_ONCE, 0, || format!("#{once} {times} times"));
    }
    if is_multivariant {
        Playlist::Multivariant(multivariant(text, out))
    } else {
        Playlist::Media(MediaReader::read(text, out))
    }
}

fn check_text(text: &str, out: &mut Findings) {
    out.check(text.lines().next() == Some("#EXTM3U"), EXTM3U, 1, || "the first line is not #EXTM3U".into());
    for (n, line) in text.lines().enumerate() {
        let odd = line.chars().find(|c| c.is_control() || *c == '\u{FEFF}');
        if let Some(odd) = odd {
            out.add(TEXT, n + 1, format!("{odd:?} in the text"));
        }
    }
}

fn multivariant(text: &str, out: &mut Findings) -> Multivariant {
    let mut list = Multivariant::default();
    let mut pending: Option<(usize, Attributes)> = None;
    for (n, line) in text.lines().enumerate().map(|(n, line)| (n + 1, line)) {
        if let Some((at, _)) = pending.as_ref().filter(|_| line.starts_with('#') || line.is_empty()) {
            out.add(STREAM_INF_URI, *at, "no URI line follows EXT-X-STREAM-INF");
            pending = None;
        }
        let (tag, value) = split(line);
        match tag {
            "#EXT-X-INDEPENDENT-SEGMENTS" => list.independent = true,
            "#EXT-X-MEDIA" => {
                let attributes = attributes(value, n, out);
                require(&attributes, &["TYPE", "GROUP-ID", "NAME"], tag, n, out);
                check_uri(attributes.text("URI"), n, out);
                list.renditions.push((n, attributes));
            }
            "#EXT-X-I-FRAME-STREAM-INF" => {
                let attributes = attributes(value, n, out);
                check_uri(attributes.text("URI"), n, out);
                list.iframes.push((n, attributes));
            }
            "#EXT-X-STREAM-INF" => {
                let attributes = attributes(value, n, out);
                require(&attributes, &["BANDWIDTH"], tag, n, out);
                pending = Some((n, attributes));
            }
            _ if line.is_empty() || line.starts_with('#') => {}
            _ => {
                check_uri(Some(line), n, out);
                if let Some((line_no, attributes)) = pending.take() {
                    list.variants.push(Variant { line: line_no, attributes, uri: line.into() });
                }
            }
        }
    }
    if let Some((at, _)) = pending {
        out.add(STREAM_INF_URI, at, "no URI line follows EXT-X-STREAM-INF");
    }
    list
}

/// Reads a Media Playlist line by line.
#[derive(Default)]
struct MediaReader {
    list: Media,
    open: Segment,
    map: Option<Resource>,
    range: Option<String>,
}

impl MediaReader {
    fn read(text: &str, out: &mut Findings) -> Media {
        let mut reader = Self { list: Media { version: 1, ..Media::default() }, ..Self::default() };
        for (n, line) in text.lines().enumerate() {
            reader.line(n + 1, line, out);
        }
        if !reader.open.parts.is_empty() {
            reader.close(None);
        }
        reader.list
    }

    fn line(&mut self, n: usize, line: &str, out: &mut Findings) {
        let (tag, value) = split(line);
        match tag {
            "#EXT-X-VERSION" => self.list.version = number(value, tag, n, out),
            "#EXT-X-TARGETDURATION" => self.list.target_s = i64::try_from(number(value, tag, n, out)).ok(),
            "#EXT-X-MEDIA-SEQUENCE" => {
                self.check_place(tag, n, out);
                self.list.sequence = number(value, tag, n, out);
                self.open.msn = self.list.sequence;
            }
            "#EXT-X-DISCONTINUITY-SEQUENCE" => {
                self.check_place(tag, n, out);
                self.open.discontinuity_sequence = number(value, tag, n, out);
            }
            "#EXT-X-INDEPENDENT-SEGMENTS" => self.list.independent = true,
            "#EXT-X-SERVER-CONTROL" => self.list.control = Some((n, attributes(value, n, out))),
            "#EXT-X-PART-INF" => {
                let attributes = attributes(value, n, out);
                require_micros(&attributes, "PART-TARGET", tag, n, out);
                self.list.part_target_us = attributes.micros("PART-TARGET");
            }
            "#EXT-X-SKIP" => {
                let attributes = attributes(value, n, out);
                require(&attributes, &["SKIPPED-SEGMENTS"], tag, n, out);
                let skipped = attributes.number("SKIPPED-SEGMENTS").unwrap_or(0);
                self.list.skipped = Some((n, skipped));
                self.open.msn += skipped;
            }
            "#EXT-X-ENDLIST" => self.list.ended = true,
            "#EXT-X-PLAYLIST-TYPE" => {
                out.check(matches!(value, "VOD" | "EVENT"), TAG_VALUE, n, || format!("{tag}:{value}"));
                self.list.vod = value == "VOD";
            }
            "#EXT-X-I-FRAMES-ONLY" => self.list.iframes_only = true,
            "#EXT-X-PRELOAD-HINT" => self.hint(&attributes(value, n, out), n, out),
            "#EXT-X-RENDITION-REPORT" => self.report(&attributes(value, n, out), n, out),
            _ if line.starts_with('#') => self.segment_tag(tag, value, n, out),
            _ if line.is_empty() => {}
            _ => {
                check_uri(Some(line), n, out);
                out.check(self.open.duration_us.is_some(), EXTINF, n, || format!("{line} has no EXTINF"));
                self.open.duration_us.get_or_insert(0);
                self.open.line = n;
                let range = self.range.take();
                self.close(Some(Resource { uri: line.into(), range }));
            }
        }
    }

    fn segment_tag(&mut self, tag: &str, value: &str, n: usize, out: &mut Findings) {
        match tag {
            "#EXTINF" => {
                let duration = value.split(',').next().and_then(micros).filter(|_| value.contains(','));
                out.check(duration.is_some(), TAG_VALUE, n, || format!("{tag}:{value}"));
                self.open.duration_us = Some(duration.unwrap_or(0));
            }
            "#EXT-X-DISCONTINUITY" => {
                self.open.discontinuity = true;
                self.open.discontinuity_sequence += 1;
            }
            "#EXT-X-GAP" => self.open.gap = true,
            "#EXT-X-BYTERANGE" => self.range = Some(value.into()),
            "#EXT-X-PROGRAM-DATE-TIME" => {
                self.open.date_us = date_us(value);
                out.check(self.open.date_us.is_some(), DATE_TIME, n, || {
                    format!("{value:?} is no date with time and zone")
                });
            }
            "#EXT-X-MAP" => {
                let attributes = attributes(value, n, out);
                require(&attributes, &["URI"], tag, n, out);
                check_uri(attributes.text("URI"), n, out);
                self.map = Some(resource(&attributes));
            }
            "#EXT-X-PART" => self.part(&attributes(value, n, out), n, out),
            _ => {}
        }
    }

    fn part(&mut self, attributes: &Attributes, n: usize, out: &mut Findings) {
        require(attributes, &["URI"], "#EXT-X-PART", n, out);
        require_micros(attributes, "DURATION", "#EXT-X-PART", n, out);
        check_uri(attributes.text("URI"), n, out);
        if self.open.parts.is_empty() {
            self.open.line = n;
        }
        self.open.parts.push(Part {
            line: n,
            resource: resource(attributes),
            duration_us: attributes.micros("DURATION").unwrap_or(0),
            independent: attributes.yes("INDEPENDENT"),
            gap: attributes.yes("GAP"),
        });
    }

    fn hint(&mut self, attributes: &Attributes, n: usize, out: &mut Findings) {
        require(attributes, &["TYPE", "URI"], "#EXT-X-PRELOAD-HINT", n, out);
        check_uri(attributes.text("URI"), n, out);
        let text = |name| attributes.text(name).unwrap_or_default().to_owned();
        self.list.hints.push(Hint { line: n, kind: text("TYPE"), uri: text("URI") });
    }

    fn report(&mut self, attributes: &Attributes, n: usize, out: &mut Findings) {
        require(attributes, &["URI"], "#EXT-X-RENDITION-REPORT", n, out);
        check_uri(attributes.text("URI"), n, out);
        self.list.reports.push(Report {
            line: n,
            uri: attributes.text("URI").unwrap_or_default().into(),
            msn: attributes.number("LAST-MSN"),
            part: attributes.number("LAST-PART"),
        });
    }

    fn close(&mut self, resource: Option<Resource>) {
        let next = Segment {
            msn: self.open.msn + 1,
            discontinuity_sequence: self.open.discontinuity_sequence,
            ..Segment::default()
        };
        let mut segment = std::mem::replace(&mut self.open, next);
        segment.resource = resource;
        segment.map = self.map.clone();
        self.list.segments.push(segment);
    }

    fn check_place(&self, tag: &str, n: usize, out: &mut Findings) {
        let first = self.list.segments.is_empty() && self.open.parts.is_empty() && !self.open.discontinuity;
        out.check(first, SEQUENCE_PLACE, n, || format!("{tag} stands behind a segment"));
    }
}

fn split(line: &str) -> (&str, &str) {
    line.split_once(':').filter(|_| line.starts_with("#EXT")).unwrap_or((line, ""))
}

fn resource(attributes: &Attributes) -> Resource {
    let range = attributes.text("BYTERANGE").map(Into::into);
    Resource { uri: attributes.text("URI").unwrap_or_default().into(), range }
}

fn attributes(value: &str, line: usize, out: &mut Findings) -> Attributes {
    let mut list = Attributes::default();
    for pair in pairs(value) {
        let Some((name, value)) = pair.split_once('=') else {
            out.add(ATTRIBUTE_SYNTAX, line, format!("{pair:?} is no attribute"));
            continue;
        };
        let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-';
        let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
        let plain = !value.is_empty() && !value.contains(['"', ' ', '\t']);
        let well_formed = !name.is_empty() && name.bytes().all(upper) && (quoted || plain);
        out.check(well_formed, ATTRIBUTE_SYNTAX, line, || format!("{pair:?} is no attribute"));
        let may_be_quoted = QUOTED.contains(&name) || name.starts_with("X-");
        let must_be_quoted = QUOTED.contains(&name);
        let closed_captions_none = name == "CLOSED-CAPTIONS";
        let typed = closed_captions_none || (quoted && may_be_quoted) || (!quoted && !must_be_quoted);
        out.check(typed, ATTRIBUTE_TYPE, line, || format!("{pair} is quoted where it should not be, or is not"));
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let before = list.0.insert(name.into(), value.into());
        out.check(before.is_none(), ATTRIBUTE_ONCE, line, || format!("{name} twice"));
    }
    list
}

/// Splits at commas outside quotation marks.
fn pairs(value: &str) -> Vec<&str> {
    let mut inside = false;
    value
        .split(|c| {
            inside ^= c == '"';
            c == ',' && !inside
        })
        .collect()
}

fn require(attributes: &Attributes, names: &[&str], tag: &str, line: usize, out: &mut Findings) {
    for name in names {
        let there = attributes.text(name).is_some_and(|value| !value.is_empty());
        out.check(there, TAG_VALUE, line, || format!("{tag} without {name}"));
    }
}

fn require_micros(attributes: &Attributes, name: &str, tag: &str, line: usize, out: &mut Findings) {
    out.check(attributes.micros(name).is_some(), TAG_VALUE, line, || format!("{tag} without a decimal {name}"));
}

fn number(value: &str, tag: &str, line: usize, out: &mut Findings) -> u64 {
    let number = value.parse().ok().filter(|number| *number <= NUMBER_MAX);
    number.unwrap_or_else(|| {
        out.add(TAG_VALUE, line, format!("{tag}:{value}"));
        0
    })
}

fn check_uri(uri: Option<&str>, line: usize, out: &mut Findings) {
    let Some(uri) = uri else { return };
    let absolute = uri.starts_with('/') || uri.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':'));
    out.check(!absolute, RELATIVE_URI, line, || format!("{uri} is not relative"));
}

/// A decimal number of seconds in microseconds, rounded to the nearest.
pub(crate) fn micros(decimal: &str) -> Option<i64> {
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let padded: String = fraction.chars().chain("0000000".chars()).take(7).collect();
    let tenths: i64 = padded.parse().ok()?;
    whole
        .parse::<i64>()
        .ok()
        .filter(|whole| *whole <= SECONDS_MAX)?
        .checked_mul(1_000_000)?
        .checked_add((tenths + 5) / 10)
}

/// `YYYY-MM-DDThh:mm:ss[.fff](Z|+hh:mm)` in microseconds since 1970.
pub(crate) fn date_us(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let mut ymd = date.splitn(3, '-').map(small);
    let (year, month, day) = (ymd.next()??, ymd.next()??, ymd.next()??);
    let (clock, offset_min) = match time.strip_suffix('Z') {
        Some(clock) => (clock, 0),
        None => {
            let at = time.rfind(['+', '-'])?;
            let (clock, zone) = (time.get(..at)?, time.get(at + 1..)?);
            let (hours, minutes) = zone.split_once(':').or_else(|| Some((zone.get(..2)?, zone.get(2..)?)))?;
            let minutes = small(hours)? * 60 + small(minutes)?;
            (clock, if time.get(at..=at)? == "-" { -minutes } else { minutes })
        }
    };
    let mut hms = clock.splitn(3, ':');
    let (hour, minute) = (small(hms.next()?)?, small(hms.next()?)?);
    let seconds_us = micros(hms.next()?)?;
    let in_range =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && seconds_us < 61_000_000;
    in_range.then(|| {
        let days = days_from_civil(year, month, day);
        ((days * 24 + hour) * 60 + minute - offset_min) * 60_000_000 + seconds_us
    })
}

/// A number of at most four digits.
fn small(text: &str) -> Option<i64> {
    let digits = text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Days since 1970-01-01 of a proleptic Gregorian date.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_index = (month + 9) % 12;
    let day_of_year = (153 * month_index + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_without_floating_point() {
        let check = |text: &str, want: Option<i64>| assert_eq!(micros(text), want, "{text}");
        check("2", Some(2_000_000));
        check("2.00567", Some(2_005_670));
        check("0.0000005", Some(1));
        check("1.9999996", Some(2_000_000));
        check("", None);
        check("-1", None);
        check("1e3", None);
    }

    #[test]
    fn dates_with_every_kind_of_zone() {
        let check = |text: &str, want: Option<i64>| assert_eq!(date_us(text), want, "{text}");
        check("2026-11-20T09:00:00.123Z", Some(1_795_165_200_123_000));
        check("2026-11-20T10:30:00.123+01:30", Some(1_795_165_200_123_000));
        check("2026-11-20T04:00:00.123-0500", Some(1_795_165_200_123_000));
        check("1970-01-01T00:00:00Z", Some(0));
        check("2026-11-20T09:00:00", None);
        check("2026-13-20T09:00:00Z", None);
        check("yesterday", None);
    }

    #[test]
    fn commas_inside_quotation_marks_do_not_separate() {
        assert_eq!(pairs("A=\"x,y\",B=2"), ["A=\"x,y\"", "B=2"]);
    }
}
