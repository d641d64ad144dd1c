//! Whole answers of a small stream, as they go over the wire.

use packager::Config;

use crate::{
    lint::text,
    runs::Run,
    source::{Spec, audio, rendition, video},
};

fn small() -> (Run, Vec<Spec>) {
    let specs = vec![video((25, 1), 50), audio(48_000), rendition((25, 1), 50, 300)];
    let mut run = Run::new(Config { segment_target_ms: 1_000, part_target_ms: 400, ..Config::default() });
    run.begin(&specs);
    run.play(&specs, 0, 4_900);
    (run, specs)
}

const MULTIVARIANT: &str = r#"#EXTM3U
#EXT-X-VERSION:9
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Audio 1",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="a0/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=144647,AVERAGE-BANDWIDTH=144304,CODECS="avc1.640020,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=25.000,AUDIO="audio"
v0/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=144647,AVERAGE-BANDWIDTH=144304,CODECS="avc1.64001E,mp4a.40.2",RESOLUTION=640x360,FRAME-RATE=25.000,AUDIO="audio"
v1/index.m3u8
"#;

const MEDIA: &str = r#"#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.336,HOLD-BACK=6.0,CAN-SKIP-UNTIL=12.0
#EXT-X-PART-INF:PART-TARGET=0.405
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI="init-0.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T09:00:00.000Z
#EXT-X-PART:DURATION=0.40000,URI="0.0.m4s",INDEPENDENT=YES
#EXTINF:0.40000,
0.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T09:00:00.400Z
#EXT-X-PART:DURATION=0.40000,URI="1.0.m4s"
#EXT-X-PART:DURATION=0.40000,URI="1.1.m4s"
#EXT-X-PART:DURATION=0.40000,URI="1.2.m4s"
#EXT-X-PART:DURATION=0.40000,URI="1.3.m4s"
#EXTINF:1.60000,
1.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T09:00:02.000Z
#EXT-X-PART:DURATION=0.40000,URI="2.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.40000,URI="2.1.m4s"
#EXT-X-PART:DURATION=0.40000,URI="2.2.m4s"
#EXT-X-PART:DURATION=0.40000,URI="2.3.m4s"
#EXT-X-PART:DURATION=0.40000,URI="2.4.m4s"
#EXTINF:2.00000,
2.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T09:00:04.000Z
#EXT-X-PART:DURATION=0.40000,URI="3.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.40000,URI="3.1.m4s"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="3.2.m4s"
#EXT-X-RENDITION-REPORT:URI="../a0/index.m3u8",LAST-MSN=3,LAST-PART=1
#EXT-X-RENDITION-REPORT:URI="../v1/index.m3u8",LAST-MSN=3,LAST-PART=0
"#;

const MPD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011,http://www.dashif.org/guidelines/low-latency-live-v5" minBufferTime="PT1S" maxSegmentDuration="PT2.006S" type="dynamic" availabilityStartTime="2026-11-20T09:00:00.000Z" publishTime="2026-11-20T09:00:04.900Z" minimumUpdatePeriod="PT0.250S" timeShiftBufferDepth="PT600.000S" suggestedPresentationDelay="PT3.800S">
  <ServiceDescription id="0"><Latency target="3500" min="2500" max="9500"/><PlaybackRate min="1.00" max="1.04"/></ServiceDescription>
  <Period id="p0" start="PT0.000000S">
    <AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true">
      <ProducerReferenceTime id="0" inband="true" type="encoder" wallClockTime="2026-11-20T09:00:00.000Z" presentationTime="882000"><UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="../../time"/></ProducerReferenceTime>
      <Representation id="v0" bandwidth="117376" codecs="avc1.640020" width="1280" height="720" frameRate="25">
        <SegmentTemplate timescale="90000" presentationTimeOffset="882000" initialization="v0/init-0.mp4" media="v0/$Number$.m4s" startNumber="0" availabilityTimeOffset="0.500" availabilityTimeComplete="false">
          <SegmentTimeline>
            <S t="882000" d="36000"/>
            <S t="918000" d="144000"/>
            <S t="1062000" d="180000" r="1"/>
          </SegmentTimeline>
        </SegmentTemplate>
      </Representation>
      <Representation id="v1" bandwidth="117376" codecs="avc1.64001E" width="640" height="360" frameRate="25">
        <SegmentTemplate timescale="90000" presentationTimeOffset="882000" initialization="v1/init-0.mp4" media="v1/$Number$.m4s" startNumber="0" availabilityTimeOffset="0.500" availabilityTimeComplete="false">
          <SegmentTimeline>
            <S t="882000" d="36000"/>
            <S t="918000" d="144000"/>
            <S t="1062000" d="180000" r="1"/>
          </SegmentTimeline>
        </SegmentTemplate>
      </Representation>
    </AdaptationSet>
    <AdaptationSet id="1" contentType="audio" mimeType="audio/mp4" segmentAlignment="true">
      <ProducerReferenceTime id="1" inband="true" type="encoder" wallClockTime="2026-11-20T09:00:00.000Z" presentationTime="470400"><UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="../../time"/></ProducerReferenceTime>
      <Representation id="a0" bandwidth="27271" codecs="mp4a.40.2" audioSamplingRate="48000">
        <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011" value="2"/>
        <SegmentTemplate timescale="48000" presentationTimeOffset="470400" initialization="a0/init-0.mp4" media="a0/$Number$.m4s" startNumber="0" availabilityTimeOffset="0.500" availabilityTimeComplete="false">
          <SegmentTimeline>
            <S t="470400" d="19456"/>
            <S t="489856" d="76800"/>
            <S t="566656" d="96256" r="1"/>
          </SegmentTimeline>
        </SegmentTemplate>
      </Representation>
    </AdaptationSet>
  </Period>
  <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="../../time"/>
</MPD>
"#;

#[track_caller]
fn check(got: &str, wanted: &str) {
    for (n, (got, wanted)) in got.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(got, wanted, "line {}", n + 1);
    }
    assert_eq!(got, wanted);
}

#[test]
fn the_answers_of_a_small_live_stream() {
    let (run, _) = small();
    check(&text(&run.presentation.multivariant_playlist().unwrap()), MULTIVARIANT);
    check(&run.playlist("v0"), MEDIA);
    check(&text(&run.presentation.mpd(run.now).unwrap()), MPD);
}

#[test]
fn the_answers_after_its_end() {
    let (mut run, specs) = small();
    run.play(&specs, 4_900, 6_100);
    run.finish();
    check(
        &run.playlist("v1"),
        r#"#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.336,HOLD-BACK=6.0,CAN-SKIP-UNTIL=12.0
#EXT-X-PART-INF:PART-TARGET=0.405
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI="init-0.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T09:00:00.000Z
#EXTINF:0.40000,
0.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T09:00:00.400Z
#EXTINF:1.60000,
1.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T09:00:02.000Z
#EXTINF:2.00000,
2.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T09:00:04.000Z
#EXTINF:1.80000,
3.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T09:00:06.000Z
#EXT-X-GAP
#EXTINF:0.12000,
4.m4s
#EXT-X-ENDLIST
"#,
    );
    let mpd = text(&run.presentation.mpd(run.now).unwrap());
    let head = mpd.lines().nth(1).unwrap();
    assert!(
        head.contains("type=\"static\" mediaPresentationDuration=\"PT6.12") && !head.contains("minimumUpdatePeriod"),
        "{head}"
    );
    // Nobody needs the time to play it; the wall clocks in it still name theirs.
    assert!(!mpd.contains("availabilityTimeOffset") && !mpd.contains("\n  <UTCTiming"), "{mpd}");
}
