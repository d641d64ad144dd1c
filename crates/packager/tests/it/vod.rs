//! On-demand packaging of synthetic tracks: whole answers, lint, sizes, hostile indexes.

use base::Wall;
use bytes::Bytes;
use media::Sample;
use packager::vod::{
    Error, Images, Presentation, SegmentRule, TextTrack, TrackIndex, TrackWriter, Variant, iframe_playlist,
    media_playlist, mpd, multivariant_playlist, progressive, subtitle_playlist,
};
use proptest::prelude::*;
use testkit::{Samples, dash, hls};

fn package(samples: &Samples, duration_ms: i64, target_ms: u32) -> TrackIndex {
    write(samples, samples.until_ms(duration_ms), target_ms).unwrap().1
}

fn write(source: &Samples, samples: Vec<Sample>, target_ms: u32) -> Result<(Vec<u8>, TrackIndex), Error> {
    let mut writer = TrackWriter::new(source.track(), SegmentRule { target_ms });
    let mut file: Vec<Bytes> = Vec::new();
    for sample in samples {
        file.extend(writer.push(sample)?);
    }
    let (rest, index) = writer.finish()?;
    file.extend(rest);
    Ok((file.concat(), index))
}

fn variant<'a>(name: &'a str, index: &'a TrackIndex) -> Variant<'a> {
    Variant { name, folder: "7a/", index, language: None, label: None, default: false }
}

const IMAGES: Images = Images { interval_ms: 5_000, columns: 5, rows: 4, width: 160, height: 90, sheet_bytes: 60_000 };

/// Two pictures, two languages and a text track of five seconds.
fn check_asset(check: impl FnOnce(&Presentation, &[TrackIndex])) {
    let indexes = [
        package(&Samples::video_720p().b_frames(2), 5_000, 2_000),
        package(&Samples::video_360p().b_frames(2), 5_000, 2_000),
        package(&Samples::audio_48k(), 5_000, 2_000),
        package(&Samples::audio_48k().seed(1), 5_000, 2_000),
    ];
    let sound = |name, index, language, label, default| Variant { language, label, default, ..variant(name, index) };
    let variants = [
        variant("v360", &indexes[1]),
        variant("v720", &indexes[0]),
        sound("a0", &indexes[2], Some("de"), Some("Deutsch \"HQ\""), false),
        sound("a1", &indexes[3], Some("en"), Some("English"), true),
    ];
    let texts = [TextTrack { name: "s0", language: Some("en"), label: Some("A & B"), default: false }];
    check(&Presentation { variants: &variants, texts: &texts, images: Some(IMAGES) }, &indexes);
}

const MULTIVARIANT: &str = r#"#EXTM3U
#EXT-X-VERSION:6
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Deutsch 'HQ'",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2",URI="a0/index.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="English",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="a1/index.m3u8"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="text",NAME="A & B",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="s0/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1346066,AVERAGE-BANDWIDTH=1341765,CODECS="avc1.64001F,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO="audio",SUBTITLES="text"
v720/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=462978,AVERAGE-BANDWIDTH=453607,CODECS="avc1.64001E,mp4a.40.2",RESOLUTION=640x360,FRAME-RATE=30.000,AUDIO="audio",SUBTITLES="text"
v360/index.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=56601,AVERAGE-BANDWIDTH=35152,CODECS="avc1.64001E",RESOLUTION=640x360,URI="v360/iframes.m3u8"
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=155883,AVERAGE-BANDWIDTH=98528,CODECS="avc1.64001F",RESOLUTION=1280x720,URI="v720/iframes.m3u8"
"#;

const MEDIA: &str = r#"#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MAP:URI="7a/init.mp4"
#EXTINF:2.00000,
7a/0.m4s
#EXTINF:2.00000,
7a/1.m4s
#EXTINF:1.03333,
7a/2.m4s
#EXT-X-ENDLIST
"#;

const IFRAMES: &str = r#"#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-I-FRAMES-ONLY
#EXT-X-MAP:URI="7a/init.mp4"
#EXTINF:2.00000,
#EXT-X-BYTERANGE:18854@0
7a/0.m4s
#EXTINF:2.00000,
#EXT-X-BYTERANGE:23002@0
7a/1.m4s
#EXTINF:1.03333,
#EXT-X-BYTERANGE:20135@0
7a/2.m4s
#EXT-X-ENDLIST
"#;

const MPD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="static" mediaPresentationDuration="PT5.067S" minBufferTime="PT2.000S" maxSegmentDuration="PT2.006S">
  <Period id="p0" start="PT0.000S" duration="PT5.067S">
    <AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1">
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>
      <Representation id="v360" bandwidth="397041" codecs="avc1.64001E" width="640" height="360" frameRate="30">
        <SegmentTemplate timescale="90000" presentationTimeOffset="900000" initialization="v360/7a/init.mp4" media="v360/7a/$Number$.m4s" startNumber="0">
          <SegmentTimeline>
            <S t="903000" d="180000" r="1"/>
            <S t="1263000" d="93000"/>
          </SegmentTimeline>
        </SegmentTemplate>
      </Representation>
      <Representation id="v720" bandwidth="1280129" codecs="avc1.64001F" width="1280" height="720" frameRate="30">
        <SegmentTemplate timescale="90000" presentationTimeOffset="900000" initialization="v720/7a/init.mp4" media="v720/7a/$Number$.m4s" startNumber="0">
          <SegmentTimeline>
            <S t="903000" d="180000" r="1"/>
            <S t="1263000" d="93000"/>
          </SegmentTimeline>
        </SegmentTemplate>
      </Representation>
    </AdaptationSet>
    <AdaptationSet id="1" contentType="audio" mimeType="audio/mp4" lang="de" segmentAlignment="true" startWithSAP="1">
      <Label>Deutsch &quot;HQ&quot;</Label>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="alternate"/>
      <Representation id="a0" bandwidth="65937" codecs="mp4a.40.2" audioSamplingRate="48000">
        <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011" value="2"/>
        <SegmentTemplate timescale="48000" presentationTimeOffset="480000" initialization="a0/7a/init.mp4" media="a0/7a/$Number$.m4s" startNumber="0">
          <SegmentTimeline>
            <S t="480000" d="96256" r="1"/>
            <S t="672512" d="48128"/>
          </SegmentTimeline>
        </SegmentTemplate>
      </Representation>
    </AdaptationSet>
    <AdaptationSet id="2" contentType="audio" mimeType="audio/mp4" lang="en" segmentAlignment="true" startWithSAP="1">
      <Label>English</Label>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>
      <Representation id="a1" bandwidth="65570" codecs="mp4a.40.2" audioSamplingRate="48000">
        <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011" value="2"/>
        <SegmentTemplate timescale="48000" presentationTimeOffset="480000" initialization="a1/7a/init.mp4" media="a1/7a/$Number$.m4s" startNumber="0">
          <SegmentTimeline>
            <S t="480000" d="96256" r="1"/>
            <S t="672512" d="48128"/>
          </SegmentTimeline>
        </SegmentTemplate>
      </Representation>
    </AdaptationSet>
    <AdaptationSet id="3" contentType="text" mimeType="text/vtt" lang="en">
      <Label>A &amp; B</Label>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="subtitle"/>
      <Representation id="s0" bandwidth="1000">
        <BaseURL>s0.vtt</BaseURL>
      </Representation>
    </AdaptationSet>
    <AdaptationSet id="4" contentType="image" mimeType="image/jpeg">
      <SegmentTemplate timescale="1000" duration="100000" media="storyboard-$Number$.jpg" startNumber="0"/>
      <Representation id="storyboard" bandwidth="4800" width="800" height="360">
        <EssentialProperty schemeIdUri="http://dashif.org/guidelines/thumbnail_tile" value="5x4"/>
      </Representation>
    </AdaptationSet>
  </Period>
</MPD>
"#;

#[track_caller]
fn same(got: &str, wanted: &str) {
    for (n, (got, wanted)) in got.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(got, wanted, "line {}", n + 1);
    }
    assert_eq!(got, wanted);
}

#[test]
fn the_answers_of_a_small_asset() {
    check_asset(|presentation, indexes| {
        same(&multivariant_playlist(presentation), MULTIVARIANT);
        same(&media_playlist(&indexes[0], "7a/"), MEDIA);
        same(&iframe_playlist(&indexes[0], "7a/"), IFRAMES);
        same(&mpd(presentation), MPD);
        let subtitles = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:5\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXTINF:5.000,\n7a/0.vtt\n#EXT-X-ENDLIST\n";
        same(&subtitle_playlist(5_000, "7a/"), subtitles);
    });
}

#[test]
fn the_linters_find_nothing() {
    check_asset(lint);
    let low = package(&Samples::audio_44k().sizes(0, 90), 9_000, 4_000);
    let high = package(&Samples::audio_44k().sizes(0, 300), 9_000, 4_000);
    let sounds = [variant("a0", &low), variant("a1", &high)];
    lint(&Presentation { variants: &sounds, texts: &[], images: None }, &[low.clone(), high.clone()]);
    let odd = package(&Samples::video_720p().frame_rate(30_000, 1_001).gop(&[17, 90, 3]).b_frames(3), 40_000, 6_000);
    let long = package(&Samples::video_360p().gop(&[100_000]), 150_000, 6_000);
    let alone = [variant("v0", &odd), variant("v1", &long)];
    lint(&Presentation { variants: &alone, texts: &[], images: None }, &[]);
}

fn lint(presentation: &Presentation, _: &[TrackIndex]) {
    let mut linter = hls::Linter::default();
    let mut findings = Vec::new();
    let mut observe = |linter: &mut hls::Linter, uri: String, text: String| {
        findings.extend(linter.observe(&hls::Observed { uri, at: Wall::default(), text, delta: false }));
    };
    observe(&mut linter, "index.m3u8".into(), multivariant_playlist(presentation));
    for Variant { name, index, folder, .. } in presentation.variants {
        let uri = format!("{name}/index.m3u8");
        for (number, segment) in index.segments.iter().enumerate() {
            linter.measured(&uri, number as u64, segment.bytes);
        }
        observe(&mut linter, uri, media_playlist(index, folder));
        if index.width.is_some() {
            observe(&mut linter, format!("{name}/iframes.m3u8"), iframe_playlist(index, folder));
        }
    }
    for track in presentation.texts {
        observe(
            &mut linter,
            format!("{}/index.m3u8", track.name),
            subtitle_playlist(presentation.duration_ms(), "7a/"),
        );
    }
    findings.extend(linter.finish());
    findings.extend(dash::lint(&mpd(presentation)));
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

#[test]
fn renditions_with_the_same_key_frames_have_the_same_segments() {
    let starts = |samples: Samples, target_ms| -> Vec<i64> {
        let index = package(&samples, 31_000, target_ms);
        index.segments.iter().map(|segment| index.timescale.to_ms(segment.start_ticks - index.zero_ticks)).collect()
    };
    // Groups as chunks at shots leave them: whole ones, and what was left before a shot.
    let gops = [60, 60, 41, 60, 13, 60, 60];
    let large = starts(Samples::video_720p().gop(&gops).b_frames(2), 4_000);
    assert_eq!(large, starts(Samples::video_360p().gop(&gops).b_frames(1), 4_000));
    // The first picture of a track with B-frames is presented a frame after it is decoded.
    assert_eq!(large, [33, 4_033, 9_833, 13_833, 17_200, 21_633, 25_633, 29_000]);
    // Sound is cut at the grid, to the nearest packet.
    let sound = starts(Samples::audio_48k(), 4_000);
    assert!(sound.iter().zip(0..).all(|(start, n)| (start - 4_000 * n).abs() <= 11), "{sound:?}");
}

#[test]
fn presentation_times_stay_and_decoding_times_increase() {
    let source = Samples::video_720p().b_frames(2).gop(&[30]);
    let mut samples = source.until_ms(4_000);
    // A chunk of another encoder, which reorders less: its decoding times begin before the last ones ended.
    for sample in samples.iter_mut().skip(60) {
        (sample.dts, sample.cts_offset) = (sample.dts - 6_000, sample.cts_offset + 6_000);
    }
    let shown: Vec<i64> = samples.iter().map(Sample::pts).collect();
    let (_, index) = write(&source, samples, 1_000).unwrap();
    let got: Vec<_> = index.samples().collect();
    assert_eq!(got.iter().map(|sample| sample.pts() - index.zero_ticks).collect::<Vec<_>>(), shown);
    assert!(got.windows(2).all(|pair| pair[0].dts < pair[1].dts));
    assert!(got.iter().all(|sample| sample.cts_offset >= 0));
}

#[test]
fn a_source_without_key_frames_is_cut_all_the_same() {
    let index = package(&Samples::video_360p().gop(&[100_000]), 150_000, 6_000);
    let lengths: Vec<i64> = index.segments.iter().map(|segment| segment.ticks / 90_000).collect();
    assert_eq!(lengths, [60, 60, 30]);
    assert!(!index.is_independent() && !media_playlist(&index, "").contains("INDEPENDENT"));
}

#[test]
fn squeezed_decoding_times_leave_the_frame_rate_alone() {
    let source = Samples::video_360p().frame_rate(25, 1).gop(&[50]).b_frames(2);
    let mut samples = source.until_ms(6_000);
    // No decoding time before the first picture is shown, as track files without negative times have them.
    let first = samples.iter().map(Sample::pts).min().unwrap();
    let mut earliest = first;
    for sample in &mut samples {
        let pts = sample.pts();
        sample.dts = (sample.dts - 7_200).max(earliest);
        sample.cts_offset = i32::try_from(pts - sample.dts).unwrap();
        earliest = sample.dts + 1;
    }
    assert_eq!(samples.len(), 150);
    let index = write(&source, samples, 2_000).unwrap().1;
    assert_eq!((index.end_ticks - index.start_ticks, index.frame_rate), (540_000, Some((25, 1))));
}

#[test]
fn nothing_and_too_early_samples_are_refused() {
    let source = Samples::video_360p();
    assert_eq!(write(&source, Vec::new(), 2_000).unwrap_err(), Error::Empty);
    let early = source.clone().starting_ms(-10_001).until_ms(1_000);
    assert!(matches!(write(&source, early, 2_000), Err(Error::BeforeOrigin { limit: 900_000, .. })));
    let sound = Samples::audio_48k();
    assert_eq!(write(&sound, sound.clone().starting_ms(-2_000).until_ms(1_900), 2_000).unwrap_err(), Error::Empty);
}

#[test]
fn the_index_of_an_hour_is_small() {
    // 5 Mbit/s.
    let source = Samples::video_720p().frame_rate(60, 1).gop(&[120]).b_frames(3).sizes(80_000, 9_800);
    let minute = package(&source, 60_000, 4_000);
    assert!((4_500_000..5_500_000).contains(&minute.average_bandwidth), "{}", minute.average_bandwidth);
    let json = serde_json::to_vec(&minute).unwrap().len() * 60;
    let memory = minute.memory_bytes() * 60;
    println!("the index of an hour of 60 frames a second: {json} bytes of JSON, {memory} in memory");
    assert!(json < 900_000 && memory < 700_000, "{json} {memory}");
}

#[test]
fn a_movie_of_more_than_4_gib_has_its_pieces() {
    let source = Samples::video_360p();
    let json = serde_json::to_value(package(&source, 10_000, 2_000)).unwrap();
    // Samples of two gigabytes: nobody has them, the arithmetic holds.
    let mut json = json;
    let count = json["samples"]["count"].as_u64().unwrap();
    json["samples"]["sizes"] = format!("r{}", run_of(count, 20_000_000)).into();
    for fragment in json["fragments"].as_array_mut().unwrap() {
        fragment[1] = (fragment[2].as_u64().unwrap() * 20_000_000).into();
    }
    let index: TrackIndex = serde_json::from_value(json).unwrap();
    let movie = progressive(&index, None).unwrap();
    assert!(movie.bytes > 4 << 30);
    assert!(movie.head.windows(4).any(|window| window == b"co64"));
    let last = movie.stretches(movie.bytes - 1..movie.bytes + 10).collect::<Vec<_>>();
    let end = index.bytes();
    assert_eq!(last, [packager::vod::Stretch::Track(0, end - 1..end)]);
}

/// A column of one run, in the index's own coding.
fn run_of(count: u64, value: u64) -> String {
    let mut bytes = Vec::new();
    for mut number in [count, value << 1] {
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    base64(&bytes)
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for n in 0..=group.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * n) & 63) as usize]));
        }
    }
    text
}

/// Everything that can be asked of an index.
fn use_all(index: &TrackIndex) {
    let variants = [Variant { name: "v0", folder: "", index, language: None, label: None, default: true }];
    let presentation = Presentation { variants: &variants, texts: &[], images: Some(IMAGES) };
    let _ = (
        multivariant_playlist(&presentation),
        mpd(&presentation),
        media_playlist(index, ""),
        iframe_playlist(index, ""),
    );
    if let Ok(movie) = progressive(index, Some(index)) {
        assert!(movie.stretches(0..movie.bytes).count() <= 1 + 2 * index.fragments.len());
    }
    let _ = (index.bytes(), index.segment(0), index.segment(u64::MAX), index.duration_ms(), index.samples().count());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_index_is_used_or_refused(
        path in proptest::collection::vec(any::<prop::sample::Index>(), 4),
        number in prop_oneof![any::<i64>(), -2..300_i64, Just(i64::MAX), Just(1 << 54)],
        text in "[a-zA-Z0-9\"<&]{0,12}",
        kind in 0..4,
    ) {
        let mut json = serde_json::to_value(package(&Samples::video_360p().b_frames(1), 3_000, 1_000)).unwrap();
        // One place of the JSON becomes something else.
        let mut place = &mut json;
        for step in path {
            let size = place.as_object().map(serde_json::Map::len).or(place.as_array().map(Vec::len)).unwrap_or(0);
            if size == 0 {
                break;
            }
            let n = step.index(size);
            place = match place {
                serde_json::Value::Object(map) => map.values_mut().nth(n).unwrap(),
                list => &mut list[n],
            };
        }
        *place = match kind {
            0 => number.into(),
            1 => text.into(),
            2 => serde_json::Value::Array(Vec::new()),
            _ => serde_json::Value::Null,
        };
        if let Ok(index) = serde_json::from_value::<TrackIndex>(json) {
            use_all(&index);
        }
    }

    #[test]
    fn any_json_is_refused(text in "\\PC{0,200}") {
        prop_assert!(serde_json::from_str::<TrackIndex>(&text).is_err());
    }
}
