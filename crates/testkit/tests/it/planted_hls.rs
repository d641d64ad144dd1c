//! Every HLS rule lets a good server pass and catches a fault planted in what it says.

use std::collections::BTreeSet;

use base::Wall;
use testkit::hls::{Linter, Observed, RULES};

/// 2026-11-20T09:00:00Z.
const BEGIN: Wall = Wall::from_unix_ms(1_795_165_200_000);
/// Parts of half a second in a segment of two.
const PARTS: u64 = 4;
/// The first segment with the second initialization segment, behind a discontinuity.
const BREAK: u64 = 5;
/// First segment listed, and parts complete, at each moment.
const MOMENTS: &[(u64, u64)] = &[(0, 40), (0, 41), (0, 42), (0, 43), (0, 44), (1, 45), (6, 46), (6, 48)];
const LAST: usize = MOMENTS.len() - 1;
const VIDEO: &str = "v0/index.m3u8";

const MULTIVARIANT: &str = "#EXTM3U
#EXT-X-VERSION:9
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Audio 1\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"a0/index.m3u8\"
#EXT-X-STREAM-INF:BANDWIDTH=1100000,AVERAGE-BANDWIDTH=1050000,CODECS=\"avc1.64001F,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO=\"audio\"
v0/index.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=100000,CODECS=\"avc1.64001F\",RESOLUTION=1280x720,URI=\"v0/iframes.m3u8\"
";

/// A Media Playlist of segments from `first`, with `done` parts since the beginning; `skipped` segments left out.
fn media(sibling: &str, first: u64, done: u64, skipped: u64, ended: bool) -> String {
    let breaks = u64::from(first > BREAK);
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.75,HOLD-BACK=6.0,CAN-SKIP-UNTIL=12.0\n#EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-DISCONTINUITY-SEQUENCE:{breaks}\n#EXT-X-INDEPENDENT-SEGMENTS\n"
    );
    if skipped > 0 {
        text.push_str(&format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}\n"));
    }
    for msn in first + skipped..=done / PARTS {
        let parts = (done - msn * PARTS).min(PARTS);
        if parts > 0 {
            text.push_str(&segment(msn, parts, msn == first, ended || (msn + 1 + 3) * PARTS < done));
        }
    }
    if ended {
        return text + "#EXT-X-ENDLIST\n";
    }
    let (last, part) = ((done - 1) / PARTS, (done - 1) % PARTS);
    text + &format!(
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}.{}.m4s\"\n#EXT-X-RENDITION-REPORT:URI=\"../{sibling}/index.m3u8\",LAST-MSN={last},LAST-PART={part}\n",
        done / PARTS,
        done % PARTS
    )
}

fn segment(msn: u64, parts: u64, is_first: bool, old: bool) -> String {
    let mut text = String::new();
    if msn == BREAK && !is_first {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if msn == BREAK || is_first {
        text.push_str(&format!("#EXT-X-MAP:URI=\"init-{}.mp4\"\n", u64::from(msn >= BREAK)));
    }
    let wall = BEGIN.plus_ms(2_000 * i64::try_from(msn).unwrap());
    text.push_str(&format!("#EXT-X-PROGRAM-DATE-TIME:{wall}\n"));
    for part in (0..parts).filter(|_| !old) {
        let independent = if part == 0 { ",INDEPENDENT=YES" } else { "" };
        text.push_str(&format!("#EXT-X-PART:DURATION=0.50000,URI=\"{msn}.{part}.m4s\"{independent}\n"));
    }
    if parts == PARTS {
        text.push_str(&format!("#EXTINF:2.00000,\n{msn}.m4s\n"));
    }
    text
}

/// What a client sees of a good server.
#[derive(Clone)]
struct Server(Vec<Observed>);

impl Server {
    fn good() -> Self {
        let mut seen = Vec::new();
        for (moment, &(first, done)) in MOMENTS.iter().enumerate() {
            let at = BEGIN.plus_ms(500 * moment as i64);
            let mut see = |uri: &str, text: String, delta: bool| {
                seen.push(Observed { uri: uri.into(), at, text, delta });
            };
            see("index.m3u8", MULTIVARIANT.into(), false);
            see(VIDEO, media("a0", first, done, 0, moment == LAST), false);
            see("a0/index.m3u8", media("v0", first, done, 0, moment == LAST), false);
            if moment == 3 {
                see(VIDEO, media("a0", first, done, 4, false), true);
            }
        }
        Self(seen)
    }

    fn find(&mut self, moment: usize, uri: &str, delta: bool) -> &mut Observed {
        let at = BEGIN.plus_ms(500 * moment as i64);
        self.0.iter_mut().find(|seen| seen.at == at && seen.uri == uri && seen.delta == delta).unwrap()
    }

    /// Replaces `from` in the video playlist of one moment.
    fn edit(&mut self, moment: usize, from: &str, to: &str) {
        replace(self.find(moment, VIDEO, false), from, to);
    }

    /// Replaces `from` wherever it stands in the video playlist.
    fn edit_all(&mut self, from: &str, to: &str) {
        let texts = self.0.iter_mut().filter(|seen| seen.uri == VIDEO && seen.text.contains(from));
        let edited = texts.map(|seen| replace(seen, from, to)).count();
        assert!(edited > 0, "{from:?} is nowhere");
    }

    fn edit_multivariant(&mut self, from: &str, to: &str) {
        self.0.iter_mut().filter(|seen| seen.uri == "index.m3u8").for_each(|seen| replace(seen, from, to));
    }

    fn edit_delta(&mut self, from: &str, to: &str) {
        replace(self.find(3, VIDEO, true), from, to);
    }

    /// The ids of the rules found broken.
    fn lint(&self) -> BTreeSet<&'static str> {
        let mut linter = Linter::default();
        for msn in 0..20 {
            linter.measured(VIDEO, msn, 250_000);
            linter.measured("a0/index.m3u8", msn, 20_000);
        }
        let mut findings: Vec<_> = self.0.iter().flat_map(|seen| linter.observe(seen)).collect();
        findings.extend(linter.finish());
        findings.iter().map(|finding| finding.rule).collect()
    }
}

fn replace(seen: &mut Observed, from: &str, to: &str) {
    assert!(seen.text.contains(from), "{from:?} is not in\n{}", seen.text);
    seen.text = seen.text.replace(from, to);
}

type Fault = (&'static str, fn(&mut Server));

const FAULTS: &[Fault] = &[
    ("playlist-text", |s| s.edit(0, "#EXTM3U\n", "#EXTM3U\n# bell \u{7}\n")),
    ("playlist-kind", |s| s.edit_multivariant("#EXT-X-VERSION:9\n", "#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n")),
    ("uri-relative", |s| s.edit_all("init-0.mp4", "/live/init-0.mp4")),
    ("attribute-syntax", |s| s.edit(0, "PART-TARGET=0.5", "PART-TARGET=0.5, JUNK")),
    ("attribute-once", |s| s.edit(0, "PART-TARGET=0.5", "PART-TARGET=0.5,PART-TARGET=0.5")),
    ("attribute-type", |s| s.edit(0, "PART-TARGET=0.5", "PART-TARGET=\"0.5\"")),
    ("tag-value", |s| s.edit(0, "#EXTINF:2.00000,\n9.m4s", "#EXTINF:two,\n9.m4s")),
    ("tag-once", |s| s.edit(0, "#EXT-X-TARGETDURATION:2\n", "#EXT-X-TARGETDURATION:2\n#EXT-X-TARGETDURATION:2\n")),
    ("extm3u", |s| s.edit(0, "#EXTM3U\n", "")),
    ("version", |s| s.edit_all("#EXT-X-VERSION:9", "#EXT-X-VERSION:5")),
    ("independent-segments", |s| s.edit_all("URI=\"8.0.m4s\",INDEPENDENT=YES", "URI=\"8.0.m4s\"")),
    ("target-missing", |s| s.edit_all("#EXT-X-TARGETDURATION:2\n", "")),
    ("target-exceeded", |s| s.edit_all("#EXT-X-TARGETDURATION:2\n", "#EXT-X-TARGETDURATION:1\n")),
    ("target-changed", |s| s.edit(2, "#EXT-X-TARGETDURATION:2\n", "#EXT-X-TARGETDURATION:3\n")),
    ("sequence-place", |s| s.edit(5, "#EXT-X-PRELOAD-HINT", "#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-PRELOAD-HINT")),
    ("media-sequence-back", |s| s.edit(6, "#EXT-X-MEDIA-SEQUENCE:6", "#EXT-X-MEDIA-SEQUENCE:0")),
    ("media-sequence-arithmetic", |s| s.edit(5, "#EXT-X-MEDIA-SEQUENCE:1", "#EXT-X-MEDIA-SEQUENCE:2")),
    ("discontinuity-sequence-arithmetic", |s| {
        s.edit(6, "#EXT-X-DISCONTINUITY-SEQUENCE:1", "#EXT-X-DISCONTINUITY-SEQUENCE:0");
    }),
    ("endlist-final", |s| {
        let mut after = s.find(LAST, VIDEO, false).clone();
        replace(&mut after, "#EXT-X-ENDLIST\n", "#EXTINF:2.00000,\n12.m4s\n#EXT-X-ENDLIST\n");
        s.0.push(after);
    }),
    ("vod-ended", |s| s.edit(0, "#EXT-X-TARGETDURATION:2\n", "#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n")),
    ("i-frame-range", |s| s.edit(0, "#EXT-X-TARGETDURATION:2\n", "#EXT-X-TARGETDURATION:2\n#EXT-X-I-FRAMES-ONLY\n")),
    ("part-inf", |s| s.edit_all("#EXT-X-PART-INF:PART-TARGET=0.5\n", "")),
    ("server-control", |s| s.edit_all("PART-HOLD-BACK=1.75,", "")),
    ("part-hold-back", |s| s.edit_all("PART-HOLD-BACK=1.75", "PART-HOLD-BACK=0.999")),
    ("part-hold-back-near", |s| s.edit_all("PART-HOLD-BACK=1.75", "PART-HOLD-BACK=1.499")),
    ("hold-back", |s| s.edit_all(",HOLD-BACK=6.0", ",HOLD-BACK=5.9")),
    ("can-skip-until", |s| s.edit_all("CAN-SKIP-UNTIL=12.0", "CAN-SKIP-UNTIL=11.9")),
    ("extinf", |s| s.edit(0, "#EXTINF:2.00000,\n9.m4s", "9.m4s")),
    ("discontinuity-signalled", |s| s.edit(0, "#EXT-X-DISCONTINUITY\n", "")),
    ("map", |s| s.edit_all("#EXT-X-MAP:URI=\"init-0.mp4\"\n", "")),
    ("date-time", |s| s.edit(0, "TIME:2026-11-20T09:00:04.000Z", "TIME:2026-11-20T09:00:04.000")),
    ("date-time-continuity", |s| s.edit_all("T09:00:04.000Z", "T09:00:04.002Z")),
    ("gap-part", |s| s.edit(0, "URI=\"8.3.m4s\"", "URI=\"8.3.m4s\",GAP=YES")),
    ("gap-left", |s| s.edit(0, "#EXTINF:2.00000,\n2.m4s", "#EXT-X-GAP\n#EXTINF:2.00000,\n2.m4s")),
    ("part-over-target", |s| s.edit_all("DURATION=0.50000,URI=\"9.0.m4s\"", "DURATION=0.50001,URI=\"9.0.m4s\"")),
    ("part-under-target", |s| s.edit_all("DURATION=0.50000,URI=\"9.1.m4s\"", "DURATION=0.42499,URI=\"9.1.m4s\"")),
    ("part-sum", |s| s.edit_all("#EXTINF:2.00000,\n9.m4s", "#EXTINF:1.99000,\n9.m4s")),
    ("part-old", |s| {
        s.edit_all("#EXTINF:2.00000,\n2.m4s", "#EXT-X-PART:DURATION=0.5,URI=\"2.0.m4s\"\n#EXTINF:2.00000,\n2.m4s");
    }),
    ("part-changed", |s| s.edit(1, "URI=\"9.1.m4s\"", "URI=\"nine.1.m4s\"")),
    ("part-vanished", |s| s.edit(1, "#EXT-X-PART:DURATION=0.50000,URI=\"9.3.m4s\"\n", "")),
    ("skip-offered", |s| s.find(3, VIDEO, true).delta = false),
    ("hint-once", |s| {
        let twice = "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"10.1.m4s\"\n";
        s.edit(1, twice, &twice.repeat(2));
    }),
    ("hint-listed", |s| s.edit(1, "HINT:TYPE=PART,URI=\"10.1.m4s\"", "HINT:TYPE=PART,URI=\"10.0.m4s\"")),
    ("hint-kept", |s| s.edit(1, "HINT:TYPE=PART,URI=\"10.1.m4s\"", "HINT:TYPE=PART,URI=\"11.0.m4s\"")),
    ("report-missing", |s| s.edit(1, "#EXT-X-RENDITION-REPORT:URI=\"../a0/", "#EXT-X-RENDITION-REPORT:URI=\"../a1/")),
    ("report-behind", |s| s.edit(3, "LAST-MSN=10,LAST-PART=2", "LAST-MSN=10,LAST-PART=0")),
    ("report-ahead", |s| s.edit(3, "LAST-MSN=10,LAST-PART=2", "LAST-MSN=10,LAST-PART=3")),
    ("media-group", |s| s.edit_multivariant("AUTOSELECT=YES", "AUTOSELECT=NO")),
    ("stream-inf-uri", |s| s.edit_multivariant("\nv0/index.m3u8\n", "\n")),
    ("codecs", |s| s.edit_multivariant(",CODECS=\"avc1.64001F,mp4a.40.2\"", "")),
    ("codecs-format", |s| s.edit_multivariant("avc1.64001F", "avc1.64001")),
    ("codecs-audio", |s| s.edit_multivariant(",mp4a.40.2", "")),
    ("resolution", |s| s.edit_multivariant(",RESOLUTION=1280x720", "")),
    ("frame-rate", |s| s.edit_multivariant(",FRAME-RATE=30.000", "")),
    ("average-bandwidth", |s| s.edit_multivariant("AVERAGE-BANDWIDTH=1050000", "AVERAGE-BANDWIDTH=1200000")),
    ("bandwidth-measured", |s| s.edit_multivariant(":BANDWIDTH=1100000", ":BANDWIDTH=1060000")),
    ("i-frame-stream-inf", |s| s.edit_multivariant("URI=\"v0/iframes.m3u8\"", "AUDIO=\"audio\"")),
    ("group-exists", |s| s.edit_multivariant(",AUDIO=\"audio\"", ",AUDIO=\"sound\"")),
    ("variant-unique", |s| {
        let from = MULTIVARIANT.find("#EXT-X-STREAM-INF").unwrap();
        let variant = &MULTIVARIANT[from..MULTIVARIANT.find("#EXT-X-I-FRAME").unwrap()];
        s.edit_multivariant(variant, &variant.repeat(2));
    }),
    ("playlist-back", |s| s.find(2, VIDEO, false).text = media("a0", 0, 40, 0, false)),
    ("removal-early", |s| s.find(6, VIDEO, false).text = media("a0", 9, 46, 0, false)),
    ("segment-uri-changed", |s| s.edit(1, "\n3.m4s", "\nthree.m4s")),
    ("segment-duration-changed", |s| s.edit(1, "#EXTINF:2.00000,\n3.m4s", "#EXTINF:2.00010,\n3.m4s")),
    ("segment-tags-changed", |s| s.edit(1, "T09:00:04.000Z", "T09:00:04.001Z")),
    ("segment-became-gap", |s| s.edit(1, "#EXTINF:2.00000,\n2.m4s", "#EXT-X-GAP\n#EXTINF:2.00000,\n2.m4s")),
    ("skip-boundary", |s| s.find(3, VIDEO, true).text = media("a0", 0, 43, 6, false)),
    ("delta-reconstructs", |s| s.edit_delta("#EXT-X-SKIP:SKIPPED-SEGMENTS=4", "#EXT-X-SKIP:SKIPPED-SEGMENTS=3")),
];

#[test]
fn a_good_server_has_no_findings() {
    assert_eq!(Server::good().lint(), BTreeSet::new());
}

#[test]
fn every_planted_fault_is_caught() {
    let planted: Vec<&str> = FAULTS.iter().map(|(rule, _)| *rule).collect();
    let rules: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(planted.iter().collect::<BTreeSet<_>>(), rules.iter().collect::<BTreeSet<_>>());
    assert_eq!((planted.len(), rules.len()), (67, 67), "a rule or a fault is there twice");
    let good = Server::good();
    let missed: Vec<_> = FAULTS
        .iter()
        .map(|(rule, plant)| {
            let mut server = good.clone();
            plant(&mut server);
            (*rule, server.lint())
        })
        .filter(|(rule, found)| !found.contains(rule))
        .collect();
    assert!(missed.is_empty(), "{} faults planted, {} missed: {missed:#?}", FAULTS.len(), missed.len());
}
