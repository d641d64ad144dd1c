//! Reads the parts of an MPD that rules are about.

use roxmltree::{Document, Node};

use super::rules::*;
use crate::{finding::Findings, hls};

/// Scheme of the property that says how a sheet of thumbnails is laid out.
const THUMBNAIL_TILE: &str = "http://dashif.org/guidelines/thumbnail_tile";
const NAMESPACE: &str = "urn:mpeg:dash:schema:mpd:2011";

#[derive(Debug, Default)]
pub(super) struct Mpd {
    pub(super) line: usize,
    pub(super) dynamic: bool,
    pub(super) profiles: bool,
    pub(super) min_buffer_us: Option<i64>,
    pub(super) availability_start: Option<String>,
    pub(super) publish_us: Option<i64>,
    pub(super) update_us: Option<i64>,
    pub(super) duration_us: Option<i64>,
    pub(super) delay_us: Option<i64>,
    pub(super) max_segment_us: Option<i64>,
    pub(super) uris: Vec<(usize, String)>,
    /// The MPD has a UTCTiming of its own.
    pub(super) timed: bool,
    /// Every UTCTiming, those of ProducerReferenceTime too.
    pub(super) timings: Vec<(usize, String, String)>,
    /// min, target, max in milliseconds.
    pub(super) latencies: Vec<(usize, [Option<i64>; 3])>,
    pub(super) periods: Vec<Period>,
}

#[derive(Debug, Default)]
pub(super) struct Period {
    pub(super) line: usize,
    pub(super) id: Option<String>,
    pub(super) start_us: Option<i64>,
    pub(super) duration_us: Option<i64>,
    pub(super) sets: usize,
    pub(super) empty_sets: usize,
    pub(super) set_ids: Vec<(usize, String)>,
    pub(super) representations: Vec<Representation>,
}

#[derive(Debug, Default)]
pub(super) struct Representation {
    pub(super) line: usize,
    pub(super) id: String,
    pub(super) bandwidth: Option<u64>,
    pub(super) mime_type: Option<String>,
    pub(super) codecs: Option<String>,
    pub(super) sized: bool,
    pub(super) frame_rate: bool,
    /// BaseURL of its own.
    pub(super) base_url: Option<String>,
    /// Columns and rows of a sheet of thumbnails.
    pub(super) tiles: Option<String>,
    pub(super) template: Template,
}

#[derive(Debug, Default)]
pub(super) struct Template {
    pub(super) line: usize,
    pub(super) media: String,
    pub(super) initialization: String,
    pub(super) timescale: i64,
    pub(super) time_offset: i64,
    pub(super) start_number: i64,
    /// Of every segment; zero where a timeline tells.
    pub(super) duration: i64,
    pub(super) availability_offset: Option<String>,
    /// availabilityTimeComplete is false.
    pub(super) incomplete: bool,
    pub(super) timeline: Vec<S>,
    pub(super) unreadable: bool,
}

impl Template {
    /// Ticks as microseconds.
    pub(super) fn us(&self, ticks: i64) -> i64 {
        let us = i128::from(ticks) * 1_000_000;
        i64::try_from(us.div_euclid(i128::from(self.timescale.max(1)))).unwrap_or(i64::MAX)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct S {
    pub(super) line: usize,
    pub(super) t: i64,
    pub(super) d: i64,
    pub(super) r: i64,
}

impl S {
    /// Where the last of its segments ends.
    pub(super) fn end(&self) -> i64 {
        self.t.saturating_add(self.d.saturating_mul(self.r.max(0).saturating_add(1)))
    }
}

pub(super) fn parse(text: &str, out: &mut Findings) -> Option<Mpd> {
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            out.add(XML, error.pos().row as usize, error.to_string());
            return None;
        }
    };
    let root = document.root_element();
    if !root.has_tag_name((NAMESPACE, "MPD")) {
        out.add(XML, line(root), format!("the root is {:?}", root.tag_name()));
        return None;
    }
    let duration = |name: &str| root.attribute(name).and_then(duration_us);
    let mut mpd = Mpd {
        line: line(root),
        dynamic: root.attribute("type") == Some("dynamic"),
        profiles: root.attribute("profiles").is_some_and(|profiles| !profiles.is_empty()),
        min_buffer_us: duration("minBufferTime"),
        availability_start: root
            .attribute("availabilityStartTime")
            .filter(|at| hls::date_us(at).is_some())
            .map(Into::into),
        publish_us: root.attribute("publishTime").and_then(hls::date_us),
        update_us: duration("minimumUpdatePeriod"),
        duration_us: duration("mediaPresentationDuration"),
        delay_us: duration("suggestedPresentationDelay"),
        max_segment_us: duration("maxSegmentDuration"),
        timed: children(root, "UTCTiming").next().is_some(),
        ..Mpd::default()
    };
    for node in root.descendants().filter(Node::is_element) {
        read_node(&mut mpd, node);
    }
    mpd.periods = children(root, "Period").map(period).collect();
    Some(mpd)
}

fn read_node(mpd: &mut Mpd, node: Node) {
    let text = |name: &str| node.attribute(name).unwrap_or_default().to_owned();
    let number = |name: &str| node.attribute(name).and_then(|value| value.parse().ok());
    match node.tag_name().name() {
        "BaseURL" | "Location" => mpd.uris.push((line(node), node.text().unwrap_or_default().trim().into())),
        "UTCTiming" => mpd.timings.push((line(node), text("schemeIdUri"), text("value"))),
        "Latency" => mpd.latencies.push((line(node), ["min", "target", "max"].map(number))),
        "SegmentTemplate" => {
            let uris = ["media", "initialization"].into_iter().filter_map(|name| node.attribute(name));
            mpd.uris.extend(uris.map(|uri| (line(node), uri.to_owned())));
        }
        _ => {}
    }
}

fn period(node: Node) -> Period {
    let mut period = Period {
        line: line(node),
        id: node.attribute("id").map(Into::into),
        start_us: node.attribute("start").and_then(duration_us),
        duration_us: node.attribute("duration").and_then(duration_us),
        ..Period::default()
    };
    for set in children(node, "AdaptationSet") {
        let members: Vec<Representation> =
            children(set, "Representation").map(|node| representation(set, node)).collect();
        period.sets += 1;
        period.empty_sets += usize::from(members.is_empty());
        period.set_ids.extend(set.attribute("id").map(|id| (line(set), id.to_owned())));
        period.representations.extend(members);
    }
    period
}

/// Common attributes and the SegmentTemplate may stand in the set (5.3.7.2, 5.3.9.1).
fn representation(set: Node, node: Node) -> Representation {
    let common = |name: &str| node.attribute(name).or_else(|| set.attribute(name));
    let inherited = || children(set, "SegmentTemplate").next();
    let template = children(node, "SegmentTemplate").next().or_else(inherited);
    let is_tiles = |property: &Node| property.attribute("schemeIdUri") == Some(THUMBNAIL_TILE);
    let tiles = children(node, "EssentialProperty").chain(children(set, "EssentialProperty")).find(is_tiles);
    Representation {
        line: line(node),
        id: node.attribute("id").unwrap_or_default().into(),
        bandwidth: node.attribute("bandwidth").and_then(|value| value.parse().ok()),
        mime_type: common("mimeType").map(Into::into),
        codecs: common("codecs").map(Into::into),
        sized: common("width").is_some() && common("height").is_some(),
        frame_rate: common("frameRate").is_some(),
        base_url: children(node, "BaseURL").next().and_then(|url| url.text()).map(|url| url.trim().into()),
        tiles: tiles.and_then(|property| property.attribute("value")).map(Into::into),
        template: template.map(template_of).unwrap_or_else(|| Template { line: line(node), ..Template::default() }),
    }
}

fn template_of(node: Node) -> Template {
    let mut unreadable = false;
    let mut number = |node: Node, name: &str, default: i64| {
        let Some(text) = node.attribute(name) else { return default };
        text.parse().unwrap_or_else(|_| {
            unreadable = true;
            default
        })
    };
    let mut timeline: Vec<S> = Vec::new();
    for s in children(node, "SegmentTimeline").flat_map(|timeline| children(timeline, "S")) {
        let follows = timeline.last().map_or(0, S::end);
        timeline.push(S { line: line(s), t: number(s, "t", follows), d: number(s, "d", 0), r: number(s, "r", 0) });
    }
    Template {
        line: line(node),
        media: node.attribute("media").unwrap_or_default().into(),
        initialization: node.attribute("initialization").unwrap_or_default().into(),
        timescale: number(node, "timescale", 1),
        time_offset: number(node, "presentationTimeOffset", 0),
        start_number: number(node, "startNumber", 1),
        duration: number(node, "duration", 0),
        availability_offset: node.attribute("availabilityTimeOffset").map(Into::into),
        incomplete: node.attribute("availabilityTimeComplete") == Some("false"),
        timeline,
        unreadable,
    }
}

fn children<'a, 'b: 'a>(node: Node<'a, 'b>, name: &'static str) -> impl Iterator<Item = Node<'a, 'b>> {
    node.children().filter(move |child| child.has_tag_name((NAMESPACE, name)))
}

fn line(node: Node) -> usize {
    node.document().text_pos_at(node.range().start).row as usize
}

/// xs:duration without years and months, in microseconds.
fn duration_us(text: &str) -> Option<i64> {
    let text = text.strip_prefix('P')?;
    let (days, time) = text.split_once('T').unwrap_or((text, ""));
    let days: i64 = if days.is_empty() { 0 } else { days.strip_suffix('D')?.parse().ok()? };
    let mut total_us = days.checked_mul(86_400_000_000)?;
    let mut rest = time;
    for (unit, us) in [('H', 3_600), ('M', 60), ('S', 1)] {
        if let Some((value, after)) = rest.split_once(unit) {
            total_us = total_us.checked_add(hls::seconds_us(value)?.checked_mul(us)?)?;
            rest = after;
        }
    }
    rest.is_empty().then_some(total_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, want: Option<i64>| assert_eq!(duration_us(text), want, "{text}");
        check("PT2.005S", Some(2_005_000));
        check("PT1H2M3S", Some(3_723_000_000));
        check("P1DT1S", Some(86_401_000_000));
        check("PT600S", Some(600_000_000));
        check("2S", None);
        check("PTS", None);
        check("PT5", None);
    }
}
