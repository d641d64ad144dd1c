//! Whatever a server says, the linters answer with findings.

use base::Wall;
use proptest::prelude::*;
use testkit::{
    dash,
    hls::{self, Observed},
};

/// Lines that mean something, with values that need not.
fn playlist() -> impl Strategy<Value = String> {
    let value = prop_oneof![any::<u64>().prop_map(|n| n.to_string()), "[0-9.]{0,22}", "\\PC{0,12}"];
    let line = prop_oneof![
        value.clone().prop_map(|v| format!("#EXT-X-MEDIA-SEQUENCE:{v}")),
        value.clone().prop_map(|v| format!("#EXT-X-DISCONTINUITY-SEQUENCE:{v}")),
        value.clone().prop_map(|v| format!("#EXT-X-TARGETDURATION:{v}")),
        value.clone().prop_map(|v| format!("#EXT-X-PART-INF:PART-TARGET={v}")),
        value
            .clone()
            .prop_map(|v| format!("#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL={v},PART-HOLD-BACK={v},HOLD-BACK={v}")),
        value.clone().prop_map(|v| format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={v}")),
        value.clone().prop_map(|v| format!("#EXT-X-PART:DURATION={v},URI=\"{v}\"")),
        value.clone().prop_map(|v| format!("#EXT-X-PROGRAM-DATE-TIME:{v}-01-01T00:00:{v}+{v}:00")),
        value.clone().prop_map(|v| format!("#EXT-X-RENDITION-REPORT:URI=\"../{v}\",LAST-MSN={v},LAST-PART={v}")),
        value.clone().prop_map(|v| format!("#EXT-X-STREAM-INF:BANDWIDTH={v},CODECS=\"{v}\"")),
        value.clone().prop_map(|v| format!("#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{v}\",URI=\"{v}\"")),
        value.clone().prop_map(|v| format!("#EXTINF:{v},\n{v}.m4s")),
        Just("#EXT-X-DISCONTINUITY".to_owned()),
        Just("#EXT-X-ENDLIST".to_owned()),
        value,
    ];
    proptest::collection::vec(line, 0..24).prop_map(|lines| format!("#EXTM3U\n{}", lines.join("\n")))
}

fn mpd() -> impl Strategy<Value = String> {
    let number = || prop_oneof![any::<i64>().prop_map(|n| n.to_string()), "[0-9.]{0,22}"];
    let s = (number(), number(), number()).prop_map(|(t, d, r)| format!("<S t=\"{t}\" d=\"{d}\" r=\"{r}\"/>"));
    let timeline = proptest::collection::vec(s, 0..4).prop_map(|list| list.concat());
    (timeline, number(), number(), number()).prop_map(|(timeline, start, offset, duration)| {
        format!(
            "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"dynamic\" publishTime=\"{start}-01-01T00:00:00Z\" \
             maxSegmentDuration=\"PT{duration}S\"><Period start=\"PT{start}S\" duration=\"PT{duration}S\"><AdaptationSet>\
             <Representation id=\"v0\"><SegmentTemplate timescale=\"{offset}\" presentationTimeOffset=\"{offset}\" \
             startNumber=\"{start}\" availabilityTimeOffset=\"{duration}\"><SegmentTimeline>{timeline}</SegmentTimeline>\
             </SegmentTemplate></Representation></AdaptationSet></Period></MPD>"
        )
    })
}

proptest! {
    #[test]
    fn playlists_of_any_text(texts in proptest::collection::vec(playlist(), 1..4), delta in any::<bool>()) {
        let see = |(n, text): (usize, &String)| Observed {
            uri: "v0/index.m3u8".into(),
            at: Wall::from_unix_ms(n as i64 / 2),
            text: text.clone(),
            delta,
        };
        hls::lint(&texts.iter().enumerate().map(see).collect::<Vec<_>>());
        texts.iter().for_each(|text| drop((hls::next_reload(text), hls::segments(text), hls::media_playlists(text))));
    }

    #[test]
    fn manifests_of_any_text(texts in proptest::collection::vec(prop_oneof![mpd(), "\\PC*".boxed()], 1..3)) {
        let mut linter = dash::Linter::default();
        texts.iter().for_each(|text| drop(linter.observe("manifest.mpd", text)));
    }
}
