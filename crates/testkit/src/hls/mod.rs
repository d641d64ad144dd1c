//! A linter for HLS playlists as a server publishes them over time (RFC 8216bis, draft-pantos-hls-rfc8216bis).
//!
//! Start from [`lint`] for playlists at hand, from [`Linter`] for a server that goes on. Rules with their clauses are [`RULES`].

mod history;
mod media;
mod multivariant;
mod parse;
mod rules;

use std::collections::BTreeMap;

use base::Wall;

use self::{
    history::{Edge, History},
    parse::{Media, Multivariant, Playlist},
    rules::*,
};
use crate::finding::{Finding, Findings};

pub(crate) use parse::{date_us, micros as seconds_us};
pub use rules::RULES;

/// BANDWIDTH may be below what was measured by this many thousandths: the durations that divide are rounded.
const MEASURE_TOLERANCE_PER_MILLE: u64 = 2;

/// One version of a playlist as a client got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its URI, relative to the Multivariant Playlist's folder: `index.m3u8`, `v0/index.m3u8`.
    pub uri: String,
    /// When. Versions with the same time are taken for the same state of the server.
    pub at: Wall,
    /// The text.
    pub text: String,
    /// Whether a delta update was asked for (`_HLS_skip=YES`).
    pub delta: bool,
}

/// Findings in `observed`, which is in the order of time.
pub fn lint(observed: &[Observed]) -> Vec<Finding> {
    let mut linter = Linter::default();
    let mut findings: Vec<Finding> = observed.iter().flat_map(|seen| linter.observe(seen)).collect();
    findings.extend(linter.finish());
    findings
}

/// Watches the playlists of one presentation from version to version.
///
/// ```
/// use base::Wall;
/// use testkit::hls::{Linter, Observed};
///
/// let text = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.6,\n0.ts\n".to_owned();
/// let seen = Observed { uri: "v0/index.m3u8".into(), at: Wall::default(), text, delta: false };
/// let findings = Linter::default().observe(&seen);
/// assert_eq!((findings[0].rule, findings[0].line), ("target-exceeded", 5));
/// ```
#[derive(Debug, Default)]
pub struct Linter {
    multivariant: Option<Multivariant>,
    /// When and under which URI it was seen, until its BANDWIDTH is compared with what the Media Playlists of then list.
    unmeasured: Option<(Wall, String)>,
    playlists: BTreeMap<String, History>,
    /// Bytes of closed segments, by playlist and Media Sequence Number.
    sizes: BTreeMap<String, BTreeMap<u64, u64>>,
}

impl Linter {
    /// Checks one more version. The Multivariant Playlist of a moment comes before the Media Playlists of that moment; its
    /// BANDWIDTH is compared with what was measured when the next moment begins.
    pub fn observe(&mut self, seen: &Observed) -> Vec<Finding> {
        let moment_passed = self.unmeasured.as_ref().is_some_and(|(at, _)| *at != seen.at);
        let mut findings = if moment_passed { self.finish() } else { Vec::new() };
        let mut out = Findings::new(&seen.uri);
        match parse::parse(&seen.text, &mut out) {
            Playlist::Multivariant(list) => {
                multivariant::check(&list, &mut out);
                self.multivariant = Some(list);
                self.unmeasured = Some((seen.at, seen.uri.clone()));
            }
            Playlist::Media(list) => self.observe_media(seen, list, &mut out),
        }
        findings.append(&mut out.list);
        findings
    }

    /// Checks what waits for more of the same moment.
    pub fn finish(&mut self) -> Vec<Finding> {
        let Some((_, uri)) = self.unmeasured.take() else { return Vec::new() };
        let mut out = Findings::new(&uri);
        if let Some(list) = &self.multivariant {
            self.check_measured(list, &mut out);
        }
        out.list
    }

    /// Says how many bytes a complete segment has, for BANDWIDTH.
    pub fn measured(&mut self, uri: &str, msn: u64, bytes: u64) {
        self.sizes.entry(uri.into()).or_default().insert(msn, bytes);
    }

    fn observe_media(&mut self, seen: &Observed, list: Media, out: &mut Findings) {
        let history = self.playlists.entry(seen.uri.clone()).or_default();
        let full = match list.skipped {
            None => list,
            Some((line, _)) => {
                out.check(seen.delta, SKIP_OFFERED, line, || "EXT-X-SKIP in a full playlist".into());
                let Some(full) = history.reconstruct(seen.at, &list, out) else { return };
                full
            }
        };
        media::check(&full, &seen.text, out);
        let independent = full.independent || self.multivariant.as_ref().is_some_and(|list| list.independent);
        if independent {
            media::check_independent(&full, out);
        }
        self.check_reports(seen, &full, out);
        self.playlists.entry(seen.uri.clone()).or_default().follow(seen.at, full, out);
    }

    fn check_reports(&mut self, seen: &Observed, list: &Media, out: &mut Findings) {
        let reports: Vec<_> = list.reports.iter().map(|report| (resolve(&seen.uri, &report.uri), report)).collect();
        let siblings: Vec<String> = self.multivariant.as_ref().map(playlist_uris).unwrap_or_default();
        if siblings.contains(&seen.uri) && list.part_target_us.is_some() && !list.ended {
            for sibling in siblings.iter().filter(|sibling| **sibling != seen.uri) {
                let reported = reports.iter().any(|(uri, _)| uri == sibling);
                out.check(reported, REPORT_MISSING, 0, || format!("no report on {sibling}"));
            }
        }
        for (uri, report) in reports {
            let Some(msn) = report.msn else { continue };
            let edge: Edge = (msn, report.part);
            let history = self.playlists.entry(uri.clone()).or_default();
            let known = history.newest().and_then(Media::edge);
            out.check(known.is_none_or(|known| edge >= known), REPORT_BEHIND, report.line, || {
                format!("{uri} is reported at {edge:?} and was seen at {known:?}")
            });
            history.promise(seen.at, edge);
        }
    }

    fn check_measured(&self, list: &Multivariant, out: &mut Findings) {
        for variant in &list.variants {
            let group = variant.attributes.text("AUDIO");
            let in_group = |rendition: &parse::Attributes| group.is_some() && rendition.text("GROUP-ID") == group;
            let sound = list.renditions.iter().filter(|(_, rendition)| in_group(rendition));
            let sound = sound.filter_map(|(_, rendition)| rendition.text("URI"));
            let peak = self.peak(&variant.uri) + sound.map(|sound| self.peak(sound)).max().unwrap_or(0);
            let announced = variant.attributes.number("BANDWIDTH").unwrap_or(0);
            let enough = announced + announced * MEASURE_TOLERANCE_PER_MILLE / 1_000 >= peak;
            out.check(enough, BANDWIDTH_MEASURED, variant.line, || {
                format!("{} measured at {peak} bit/s, BANDWIDTH is {announced}", variant.uri)
            });
        }
    }

    /// The largest bit rate of contiguous segments between 0.5 and 1.5 target durations long (RFC 8216bis 4.1).
    fn peak(&self, uri: &str) -> u64 {
        let known = (self.playlists.get(uri).and_then(History::newest), self.sizes.get(uri));
        let (Some(list), Some(sizes)) = known else { return 0 };
        let closed = list.segments.iter().filter(|segment| !segment.is_open());
        let sized: Vec<(i64, Option<&u64>)> =
            closed.map(|segment| (segment.length_us(), sizes.get(&segment.msn))).collect();
        let target_us = media::target_us(list);
        let mut peak = 0;
        for first in 0..sized.len() {
            let (mut length_us, mut total) = (0, 0);
            for (segment_us, bytes) in sized.iter().skip(first) {
                let Some(bytes) = bytes else { break };
                (length_us, total) = (length_us + segment_us, total + *bytes);
                if 2 * length_us > 3 * target_us {
                    break;
                }
                if 2 * length_us >= target_us {
                    peak = peak.max(total * 8_000_000 / u64::try_from(length_us).unwrap_or(1).max(1));
                }
            }
        }
        peak
    }
}

/// The Media Playlists that a Multivariant Playlist names.
pub fn media_playlists(multivariant: &str) -> Vec<String> {
    match parse::parse(multivariant, &mut Findings::default()) {
        Playlist::Multivariant(list) => playlist_uris(&list),
        Playlist::Media(_) => Vec::new(),
    }
}

/// What a client asks for next with `_HLS_msn` and `_HLS_part`: the part after the last one listed, or the segment after it.
/// `None` when nothing follows.
pub fn next_reload(media_playlist: &str) -> Option<(u64, Option<u64>)> {
    let Playlist::Media(list) = parse::parse(media_playlist, &mut Findings::default()) else { return None };
    if list.ended {
        return None;
    }
    let sequence = list.sequence;
    let Some(last) = list.segments.last() else { return Some((sequence, None)) };
    match (last.is_open(), list.part_target_us.is_some()) {
        (true, _) => Some((last.msn, Some(last.parts.len() as u64))),
        (false, true) => Some((last.msn + 1, Some(0))),
        (false, false) => Some((last.msn + 1, None)),
    }
}

/// Complete segments that a Media Playlist lists and that can be fetched: Media Sequence Number and URI.
pub fn segments(media_playlist: &str) -> Vec<(u64, String)> {
    let Playlist::Media(list) = parse::parse(media_playlist, &mut Findings::default()) else { return Vec::new() };
    let listed = list.segments.into_iter().filter(|segment| !segment.gap);
    listed.filter_map(|segment| Some((segment.msn, segment.resource?.uri))).collect()
}

fn playlist_uris(list: &Multivariant) -> Vec<String> {
    let renditions = list.renditions.iter().filter_map(|(_, rendition)| rendition.text("URI"));
    let mut uris: Vec<String> =
        list.variants.iter().map(|variant| variant.uri.as_str()).chain(renditions).map(Into::into).collect();
    uris.sort_unstable();
    uris.dedup();
    uris
}

/// A relative URI, seen from the folder of the Multivariant Playlist.
fn resolve(base: &str, relative: &str) -> String {
    let mut folders: Vec<&str> = base.split('/').collect();
    folders.pop();
    for step in relative.split('/') {
        match step {
            ".." => drop(folders.pop()),
            "." => {}
            step => folders.push(step),
        }
    }
    folders.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_uris_are_resolved_as_clients_do() {
        let check = |base: &str, relative: &str, want: &str| assert_eq!(resolve(base, relative), want);
        check("v0/index.m3u8", "../v1/index.m3u8", "v1/index.m3u8");
        check("index.m3u8", "v1/index.m3u8", "v1/index.m3u8");
        check("v0/index.m3u8", "./0.m4s", "v0/0.m4s");
    }

    #[test]
    fn the_next_reload_is_the_next_part() {
        let head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=0.2\n#EXT-X-MEDIA-SEQUENCE:7\n";
        let check = |rest: &str, want| assert_eq!(next_reload(&format!("{head}{rest}")), want, "{rest}");
        check("", Some((7, None)));
        check("#EXTINF:2,\n7.m4s\n", Some((8, Some(0))));
        check("#EXTINF:2,\n7.m4s\n#EXT-X-PART:DURATION=0.2,URI=\"8.0.m4s\"\n", Some((8, Some(1))));
        check("#EXTINF:2,\n7.m4s\n#EXT-X-ENDLIST\n", None);
    }
}
