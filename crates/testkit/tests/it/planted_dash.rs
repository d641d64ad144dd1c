//! Every DASH rule lets a good MPD pass and catches a fault planted in it.

use std::collections::BTreeSet;

use testkit::dash::{Linter, RULES};

/// Two Periods of three seconds and more, sound in the second, then the same a segment later, then the end.
const FIRST: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" minBufferTime="PT1S" maxSegmentDuration="PT2S" type="dynamic" availabilityStartTime="2026-11-20T09:00:00Z" publishTime="2026-11-20T09:00:10Z" minimumUpdatePeriod="PT0.5S" timeShiftBufferDepth="PT600S" suggestedPresentationDelay="PT4S">
  <ServiceDescription id="0"><Latency target="3000" min="2000" max="9000"/></ServiceDescription>
  <Period id="p0" start="PT10.000000S" duration="PT4.000000S">
    <AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true">
      <Representation id="v0" bandwidth="1000000" codecs="avc1.64001F" width="1280" height="720" frameRate="30">
        <SegmentTemplate timescale="90000" presentationTimeOffset="900000" initialization="v0/init-0.mp4" media="v0/$Number$.m4s" startNumber="0" availabilityTimeOffset="1.000" availabilityTimeComplete="false">
          <SegmentTimeline>
            <S t="900000" d="180000" r="1"/>
          </SegmentTimeline>
        </SegmentTemplate>
      </Representation>
    </AdaptationSet>
  </Period>
  <Period id="p1" start="PT14.000000S">
    <AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true">
      <Representation id="v0" bandwidth="1000000" codecs="avc1.64001F" width="1280" height="720" frameRate="30">
        <SegmentTemplate timescale="90000" presentationTimeOffset="1260000" initialization="v0/init-1.mp4" media="v0/$Number$.m4s" startNumber="2" availabilityTimeOffset="1.000" availabilityTimeComplete="false">
          <SegmentTimeline>
            <S t="1260000" d="180000"/>
            <S t="1440000" d="90000"/>
            <S t="1530000" d="OPEN"/>
          </SegmentTimeline>
        </SegmentTemplate>
      </Representation>
    </AdaptationSet>
    <AdaptationSet id="1" contentType="audio" mimeType="audio/mp4" segmentAlignment="true">
      <Representation id="a0" bandwidth="130000" codecs="mp4a.40.2" audioSamplingRate="48000">
        <SegmentTemplate timescale="48000" presentationTimeOffset="672000" initialization="a0/init-0.mp4" media="a0/$Number$.m4s" startNumber="2">
          <SegmentTimeline>
            <S t="672000" d="96000"/>
          </SegmentTimeline>
        </SegmentTemplate>
      </Representation>
    </AdaptationSet>
    <AdaptationSet id="2" contentType="text" mimeType="text/vtt" lang="en">
      <Representation id="s0" bandwidth="1000">
        <BaseURL>s0.vtt</BaseURL>
      </Representation>
    </AdaptationSet>
    <AdaptationSet id="3" contentType="image" mimeType="image/jpeg">
      <SegmentTemplate timescale="1000" duration="100000" media="storyboard-$Number$.jpg" startNumber="0"/>
      <Representation id="storyboard" bandwidth="4800" width="800" height="360">
        <EssentialProperty schemeIdUri="http://dashif.org/guidelines/thumbnail_tile" value="5x4"/>
      </Representation>
    </AdaptationSet>
  </Period>
  <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="../../time"/>
</MPD>
"#;

/// The good server's MPDs: the open segment's duration is a guess first.
fn good() -> [String; 3] {
    let first = FIRST.replace("OPEN", "180000");
    let grown = FIRST
        .replace(
            "<S t=\"1530000\" d=\"OPEN\"/>",
            "<S t=\"1530000\" d=\"178500\"/>\n            <S t=\"1708500\" d=\"180000\"/>",
        )
        .replace("09:00:10Z", "09:00:11Z");
    let ended = grown
        .replace("type=\"dynamic\"", "type=\"static\" mediaPresentationDuration=\"PT21S\"")
        .replace(" minimumUpdatePeriod=\"PT0.5S\"", "");
    [first, grown, ended]
}

fn lint(versions: &[String]) -> BTreeSet<&'static str> {
    let mut linter = Linter::default();
    versions.iter().flat_map(|text| linter.observe("manifest.mpd", text)).map(|finding| finding.rule).collect()
}

/// Rule, version with the fault (`ALL` for every one), what is replaced, and by what.
type Fault = (&'static str, usize, &'static str, &'static str);
const ALL: usize = usize::MAX;

const FAULTS: &[Fault] = &[
    ("mpd-xml", 0, "</MPD>", "</MPDX>"),
    ("mpd-profiles", ALL, " profiles=\"urn:mpeg:dash:profile:isoff-live:2011\"", ""),
    ("mpd-min-buffer-time", ALL, "minBufferTime=\"PT1S\"", "minBufferTime=\"1\""),
    ("mpd-availability-start", 0, "availabilityStartTime=\"2026-11-20T09:00:00Z\"", ""),
    ("mpd-publish-time", 0, "publishTime=\"2026-11-20T09:00:10Z\"", ""),
    ("mpd-update-period", 2, "type=\"static\"", "type=\"static\" minimumUpdatePeriod=\"PT1S\""),
    ("mpd-static-duration", 2, " mediaPresentationDuration=\"PT21S\"", ""),
    ("mpd-presentation-delay", 0, " suggestedPresentationDelay=\"PT4S\"", ""),
    ("mpd-max-segment-duration", ALL, "maxSegmentDuration=\"PT2S\"", "maxSegmentDuration=\"PT1.9S\""),
    ("mpd-uri-relative", ALL, "media=\"a0/$Number$.m4s\"", "media=\"http://localhost/a0/$Number$.m4s\""),
    ("utc-timing", 0, "UTCTiming ", "SupplementalProperty "),
    ("utc-timing-local", 0, "value=\"../../time\"", "value=\"https://time.akamai.com/?iso\""),
    ("latency", ALL, "min=\"2000\"", "min=\"3001\""),
    ("period-id", ALL, "Period id=\"p1\"", "Period id=\"p0\""),
    ("period-start", ALL, "start=\"PT14.000000S\"", "start=\"PT9.000000S\""),
    ("period-overlap", ALL, "duration=\"PT4.000000S\"", "duration=\"PT4.100000S\""),
    ("period-empty", ALL, "<Period id=\"p1\"", "<Period id=\"e\" start=\"PT13S\"/>\n  <Period id=\"p1\""),
    ("adaptation-set-id", ALL, "AdaptationSet id=\"1\"", "AdaptationSet id=\"0\""),
    ("representation-id", ALL, "Representation id=\"a0\"", "Representation id=\"v0\""),
    ("representation-bandwidth", ALL, "bandwidth=\"130000\"", "bandwidth=\"0\""),
    ("mime-type", ALL, " mimeType=\"audio/mp4\"", ""),
    ("mpd-codecs", ALL, " codecs=\"mp4a.40.2\"", ""),
    ("picture-size", ALL, " width=\"1280\"", ""),
    ("mpd-frame-rate", ALL, " frameRate=\"30\"", ""),
    ("segment-template", ALL, "a0/$Number$.m4s", "a0/0.m4s"),
    ("timescale", ALL, "timescale=\"48000\"", "timescale=\"0\""),
    ("segment-timeline", ALL, "<S t=\"672000\" d=\"96000\"/>", ""),
    ("timeline-overlap", ALL, "<S t=\"1440000\"", "<S t=\"1439999\""),
    ("timeline-gap", ALL, "<S t=\"1440000\"", "<S t=\"1440001\""),
    ("presentation-time-offset", ALL, "presentationTimeOffset=\"672000\"", "presentationTimeOffset=\"768000\""),
    ("segment-beyond-period", ALL, "r=\"1\"", "r=\"2\""),
    ("text-file", ALL, "<BaseURL>s0.vtt</BaseURL>", ""),
    ("thumbnail-tiles", ALL, "value=\"5x4\"", "value=\"5\""),
    ("availability-time-offset", ALL, "availabilityTimeOffset=\"1.000\"", "availabilityTimeOffset=\"2.000\""),
    ("availability-time-complete", ALL, " availabilityTimeComplete=\"false\"", ""),
    ("availability-start-changed", 1, "T09:00:00Z", "T09:00:00.040Z"),
    ("publish-time-back", 1, "09:00:11Z", "09:00:09Z"),
    ("period-changed", 1, "start=\"PT14.000000S\"", "start=\"PT14.000011S\""),
    ("segment-changed", 1, "startNumber=\"2\" availabilityTimeOffset", "startNumber=\"3\" availabilityTimeOffset"),
    ("initialization-changed", 1, "v0/init-1.mp4", "v0/init-2.mp4"),
    ("static-final", 2, "", ""),
];

#[test]
fn a_good_mpd_has_no_findings() {
    assert_eq!(lint(&good()), BTreeSet::new());
    assert!(testkit::dash::lint(&good()[0]).is_empty());
}

#[test]
fn every_planted_fault_is_caught() {
    let planted: BTreeSet<&str> = FAULTS.iter().map(|fault| fault.0).collect();
    assert_eq!(planted, RULES.iter().map(|rule| rule.id).collect());
    assert_eq!((FAULTS.len(), RULES.len()), (41, 41), "a rule or a fault is there twice");
    let missed: Vec<_> =
        FAULTS.iter().map(|fault| (fault.0, plant(fault))).filter(|(rule, found)| !found.contains(rule)).collect();
    assert!(missed.is_empty(), "{} faults planted, {} missed: {missed:#?}", FAULTS.len(), missed.len());
}

fn plant(&(rule, version, from, to): &Fault) -> BTreeSet<&'static str> {
    let mut versions = good();
    if rule == "static-final" {
        versions.swap(1, 2);
    }
    for (n, text) in versions.iter_mut().enumerate().filter(|(n, _)| version == ALL || *n == version) {
        assert!(text.contains(from), "{rule}: {from:?} is not in version {n}");
        *text = text.replace(from, to);
    }
    lint(&versions)
}
