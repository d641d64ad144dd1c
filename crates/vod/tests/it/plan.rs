//! The planner: sources in, steps out.

use serde_json::json;
use store::catalogue::{ErrorClass, NewStep, Source};
use transcode::vod::{Analysis, AudioInfo, Chunk, Loudness, Probe, RungChoice, SourceTrack, TrackKind, VideoInfo};
use vod::{
    plan::{self, How, Limits},
    protocol::{EncodeJob, Spec},
    recipe::Recipe,
};

pub fn video(width: u32, height: u32) -> SourceTrack {
    SourceTrack {
        index: 0,
        kind: TrackKind::Video,
        codec: "h264".into(),
        profile: Some("High".into()),
        language: None,
        title: None,
        default: true,
        forced: false,
        bit_rate: Some(4_000_000),
        start_ms: 0,
        duration_ms: Some(60_000),
        video: Some(VideoInfo {
            width,
            height,
            coded_width: width,
            coded_height: height,
            rotation: 0,
            sar: (1, 1),
            frame_rate: Some((25, 1)),
            pixel_format: "yuv420p".into(),
            bit_depth: 8,
            interlaced: false,
            hdr: false,
            has_b_frames: true,
            level: Some(40),
        }),
        audio: None,
        text: false,
    }
}

pub fn sound(index: u32, codec: &str, channels: u32, language: Option<&str>) -> SourceTrack {
    SourceTrack {
        index,
        kind: TrackKind::Audio,
        codec: codec.into(),
        profile: (codec == "aac").then(|| "LC".into()),
        language: language.map(Into::into),
        default: index == 1,
        video: None,
        audio: Some(AudioInfo { channels, sample_rate: 48_000, layout: None }),
        ..video(0, 0)
    }
}

fn text(index: u32, language: &str) -> SourceTrack {
    SourceTrack {
        index,
        kind: TrackKind::Subtitle,
        codec: "subrip".into(),
        profile: None,
        language: Some(language.into()),
        default: false,
        video: None,
        text: true,
        ..video(0, 0)
    }
}

pub fn probe(tracks: Vec<SourceTrack>) -> Probe {
    Probe { container: "matroska,webm".into(), duration_ms: 60_000, start_ms: 0, tracks }
}

/// A minute of 25 pictures a second in three chunks; sync pictures every `gop_ms`.
pub fn analysis(gop_ms: i64) -> Analysis {
    let chunk = |index: u32| Chunk {
        index,
        start_pts: i64::from(index) * 1_800_000,
        end_pts: i64::from(index + 1) * 1_800_000,
        frames: 500,
        digest: format!("{index}"),
        shot: true,
        keyframes: vec![i64::from(index) * 1_800_000],
    };
    Analysis {
        frames: 1_500,
        first_pts: 0,
        end_pts: 5_400_000,
        frame_ticks: 3_600,
        keyframe_interval_ms_max: gop_ms,
        keyframes: (0..60_000).step_by(gop_ms as usize).map(|ms| ms * 90).collect(),
        chunks: (0..3).map(chunk).collect(),
        video_kbps: Some(4_000),
        ..Analysis::default()
    }
}

pub fn source() -> Source {
    let part = store::catalogue::BlobPart { key: "uploads/x/0".into(), bytes: 30_000_000 };
    Source {
        file_name: "a.mkv".into(),
        bytes: Some(30_000_000),
        sha256: None,
        url: None,
        blob: Some(store::catalogue::Blob { parts: vec![part] }),
    }
}

fn steps_of(recipe: &Recipe, probe: &Probe, analysis: &Analysis) -> Vec<NewStep> {
    plan::whole(&source(), recipe, &Limits::default(), probe, analysis).expect("an accepted source")
}

fn named(name: &str) -> Recipe {
    Recipe::built_in().remove(name).unwrap()
}

/// `class name < what it stands behind`.
fn lines(steps: &[NewStep]) -> Vec<String> {
    steps.iter().map(|step| format!("{} {} < {}", step.class, step.name, step.after.join(" "))).collect()
}

#[test]
fn a_film_becomes_renditions_with_its_first_one_first() {
    let mut recipe = named("default");
    recipe.video[0].passthrough = vod::recipe::Passthrough::Never;
    recipe.video[0].rungs.retain(|rung| [1080, 480].contains(&rung.height));
    recipe.destinations = vec!["archive".into()];
    recipe.notify = vec!["https://example.org/done".into()];
    let source = probe(vec![
        video(1920, 1080),
        sound(1, "aac", 2, Some("eng")),
        sound(2, "ac3", 6, Some("ger")),
        text(3, "fre"),
    ]);

    let expected = "\
0 probe < 
0 analyse < probe
0 encode/a0 < 
0 package/a0 < encode/a0
1 encode/a1 < 
1 package/a1 < encode/a1
1 subtitles/s0 < probe
1 thumbnails < probe
2 storyboard < probe
0 encode/v480/0 < 
0 encode/v480/1 < 
0 encode/v480/2 < 
0 stitch/v480 < encode/v480/0 encode/v480/1 encode/v480/2
0 package/v480 < stitch/v480
1 encode/v1080/0 < 
1 encode/v1080/1 < 
1 encode/v1080/2 < 
1 stitch/v1080 < encode/v1080/0 encode/v1080/1 encode/v1080/2
1 package/v1080 < stitch/v1080
2 validate/v480 < package/v480
2 validate/v1080 < package/v1080
2 transfer/archive < package/v480 package/v1080 package/a0 package/a1 subtitles/s0 thumbnails storyboard
2 notify/0 < transfer/archive
2 clean-up < package/v480 package/v1080 validate/v480 validate/v1080 package/a0 package/a1 subtitles/s0 thumbnails storyboard transfer/archive notify/0";
    assert_eq!(lines(&steps_of(&recipe, &source, &analysis(2_000))).join("\n"), expected);
}

#[test]
fn the_same_source_gives_the_same_steps() {
    let source = probe(vec![video(1920, 1080), sound(1, "aac", 2, None)]);
    let plan = || steps_of(&named("default"), &source, &analysis(2_000));
    assert_eq!(plan(), plan());
}

#[test]
fn every_step_stands_behind_steps_that_there_are() {
    for (name, recipe) in Recipe::built_in() {
        for tracks in [
            vec![video(1920, 1080), sound(1, "aac", 2, None), text(2, "eng")],
            vec![video(640, 360)],
            vec![sound(1, "mp3", 2, None)],
            vec![video(1080, 1920), sound(1, "opus", 2, None), sound(2, "flac", 8, None)],
        ] {
            let probe = probe(tracks);
            let Ok(steps) = plan::whole(&source(), &recipe, &Limits::default(), &probe, &analysis(2_000)) else {
                assert_eq!(name, "audio", "only the recipe for sound refuses silent films");
                continue;
            };
            let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
            for step in &steps {
                assert!(step.after.iter().all(|before| names.contains(&before.as_str())), "{name}: {}", step.name);
                assert!(step.weight > 0.0 && (0..=2).contains(&step.class), "{name}: {}", step.name);
            }
            assert_eq!(names.iter().filter(|name| **name == "clean-up").count(), 1, "{name}: {names:?}");
            let mut unique = names.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), names.len(), "{name}");
        }
    }
}

/// `v360 640x360 800` from the smallest up; a copy has no rate.
fn renditions(recipe: &Recipe, track: &SourceTrack, analysis: &Analysis) -> Vec<String> {
    let pictures = plan::pictures(&recipe.video[0], 2_000, track, Some(analysis));
    let shown = |picture: &plan::Picture| match &picture.how {
        How::Copy => format!("{} {}x{} copy", picture.name, picture.width, picture.height),
        How::Encode(encode) => format!("{} {}x{} {}", picture.name, encode.width, encode.height, encode.kbps_max),
    };
    pictures.iter().map(shown).collect()
}

#[test]
fn ladders_meet_sources_of_every_shape() {
    let mut recipe = named("default");
    recipe.video[0].passthrough = vod::recipe::Passthrough::Never;
    let check = |width: u32, height: u32, expected: &[&str]| {
        assert_eq!(renditions(&recipe, &video(width, height), &analysis(2_000)), expected, "{width}x{height}");
    };
    check(1280, 720, &["v360 640x360 800", "v480 854x480 1500", "v720 1280x720 3200"]);
    // Portrait: the short side counts.
    check(720, 1280, &["v360 360x640 800", "v480 480x854 1500", "v720 720x1280 3200"]);
    // Wide pictures keep their shape.
    check(1920, 816, &["v360 848x360 800", "v480 1130x480 1500", "v720 1694x720 3200", "v816 1920x816 3861"]);
    // Near a rung is the rung; smaller than all is its own size.
    check(1024, 768, &["v360 480x360 800", "v480 640x480 1500", "v720 960x720 3200"]);
    check(320, 240, &["v240 320x240 435"]);
    check(176, 99, &["v98 176x98 114"]);
}

#[test]
fn a_source_larger_than_the_ladder_ends_at_its_top() {
    let mut recipe = named("fast");
    recipe.video[0].passthrough = vod::recipe::Passthrough::Never;
    let check = |expected: &[&str]| assert_eq!(renditions(&recipe, &video(3840, 2160), &analysis(2_000)), expected);
    check(&["v360 640x360 1000", "v720 1280x720 4000"]);
}

#[test]
fn fast_pictures_get_more_bits_and_fewer_pictures_where_the_recipe_says() {
    let mut track = video(1280, 720);
    track.video.as_mut().unwrap().frame_rate = Some((120, 1));
    let recipe = Recipe::from_toml("[[video]]\nrungs = [{ height = 720, kbps_max = 1000, fps_max = 60 }]").unwrap();
    let pictures = plan::pictures(&recipe.video[0], 2_000, &track, None);

    let How::Encode(encode) = &pictures[0].how else { panic!("{pictures:?}") };
    assert_eq!((encode.fps_max, encode.kbps_max), (Some(60), 1_414));
}

#[test]
fn a_source_that_every_player_plays_is_not_encoded_again() {
    let recipe = named("default");
    let with = |change: fn(&mut SourceTrack, &mut Analysis)| {
        let (mut track, mut analysis) = (video(1280, 720), analysis(4_000));
        change(&mut track, &mut analysis);
        let top = renditions(&recipe, &track, &analysis).pop().unwrap();
        top.ends_with("copy")
    };
    assert!(with(|_, _| {}));
    assert!(!with(|track, _| track.codec = "hevc".into()));
    assert!(!with(|track, _| track.video.as_mut().unwrap().bit_depth = 10));
    assert!(!with(|track, _| track.video.as_mut().unwrap().pixel_format = "yuv422p".into()));
    assert!(!with(|track, _| track.video.as_mut().unwrap().interlaced = true));
    assert!(!with(|track, _| track.video.as_mut().unwrap().rotation = 90));
    assert!(!with(|track, _| track.video.as_mut().unwrap().sar = (4, 3)));
    assert!(!with(|_, analysis| analysis.keyframe_interval_ms_max = 6_001));
    assert!(!with(|_, analysis| analysis.video_kbps = Some(40_000)));
    assert!(!with(|_, analysis| analysis.video_kbps = None));
    assert!(!with(|_, analysis| analysis.first_pts = -3_600));
}

#[test]
fn beside_a_copy_sync_pictures_stand_where_the_source_has_them() {
    let source = probe(vec![video(1280, 720)]);
    let steps = steps_of(&named("default"), &source, &analysis(4_000));

    let copy = steps.iter().find(|step| step.name == "encode/v720").expect("a copy");
    assert_eq!((copy.class, &copy.spec["job"]), (0, &json!({ "type": "copy", "track": 0 })));
    assert!(!steps.iter().any(|step| step.name == "stitch/v720"));
    let chunk = steps.iter().find(|step| step.name == "encode/v360/1").unwrap();
    let Ok(Spec::Encode { job: EncodeJob::Video(encode) }) = serde_json::from_value(chunk.spec.clone()) else {
        panic!()
    };
    let expected: Vec<i64> = (20_000..40_000).step_by(4_000).map(|ms| ms * 90).collect();
    assert_eq!((chunk.class, encode.keyframes_at), (1, Some(expected)));
}

#[test]
fn the_passthrough_recipe_makes_one_rendition() {
    let recipe = named("passthrough");
    assert_eq!(renditions(&recipe, &video(1920, 1080), &analysis(2_000)), ["v1080 1920x1080 copy"]);
    let mut odd = video(1920, 800);
    odd.codec = "vp9".into();
    assert_eq!(renditions(&recipe, &odd, &analysis(2_000)), ["v800 1920x800 5856"]);
}

#[test]
fn sound_is_copied_where_it_fits_and_set_to_a_loudness_where_the_recipe_says() {
    let jobs = |recipe: &Recipe, probe: &Probe, analysis: &Analysis| {
        let steps = steps_of(recipe, probe, analysis);
        let audio = steps.iter().filter(|step| step.name.starts_with("encode/a"));
        audio.map(|step| (step.name.clone(), step.spec["job"].clone())).collect::<Vec<_>>()
    };
    let probe = probe(vec![sound(1, "aac", 2, None), sound(2, "aac", 6, None)]);
    let copied = jobs(&named("fast"), &probe, &analysis(2_000));
    assert_eq!(copied[0].1, json!({ "type": "copy", "track": 1 }));
    assert_eq!(copied[1].1["type"], "audio");

    let mut loud = analysis(2_000);
    loud.chunks.clear();
    loud.loudness = Some(Loudness { integrated_lufs: -23.0, true_peak_db: -6.5, range_lu: 8.0 });
    let encoded = jobs(&named("audio"), &probe, &loud);
    // 7 dB are missing to -16 LUFS, but the peaks leave room for 5.5.
    assert_eq!(encoded[0].1["gain_db"], json!(5.5));
    assert_eq!((&encoded[0].1["kbps"], &encoded[0].1["channels"]), (&json!(128), &json!(2)));
}

#[test]
fn the_first_steps_depend_on_where_the_bytes_are() {
    let names = |source: &Source| {
        let steps = plan::first(source, &Limits::default());
        steps.into_iter().map(|step| (step.name, step.cap, step.after.join(" "))).collect::<Vec<_>>()
    };
    let own = |name: &str, cap: &str, after: &str| (name.to_owned(), cap.to_owned(), after.to_owned());
    assert_eq!(names(&source()), [own("probe", "analyse", "")]);
    let remote = Source { url: Some("https://example.org/a.mp4".into()), blob: None, ..source() };
    assert_eq!(names(&remote), [own("fetch", "transfer", ""), own("probe", "analyse", "fetch")]);
    let fetched = Source { url: Some("https://example.org/a.mp4".into()), ..source() };
    assert_eq!(names(&fetched), [own("probe", "analyse", "")]);
}

#[test]
fn what_cannot_become_an_asset_is_refused_in_plain_words() {
    let check = |recipe: &str, probe: Probe, code: &str| {
        let error = plan::admit(&probe, &named(recipe), &Limits::default()).expect_err(code);
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Input, code));
        assert!(error.human.ends_with('.') && error.human.contains(". "), "{}", error.human);
    };
    let track = |change: fn(&mut SourceTrack)| {
        let mut track = video(1280, 720);
        change(&mut track);
        probe(vec![track])
    };
    check("default", probe(vec![]), "no_tracks");
    check("default", probe(vec![text(0, "eng")]), "no_tracks");
    check("default", track(|track| track.codec = "encv".into()), "encrypted");
    check("default", track(|track| track.codec = "unknown".into()), "unknown_codec");
    check("audio", probe(vec![video(1280, 720)]), "no_sound");
    check("default", Probe { duration_ms: 25 * 3_600_000, ..probe(vec![video(1280, 720)]) }, "too_long");
    check("default", track(|track| track.video.as_mut().unwrap().width = 40_000), "picture_too_large");
    check("default", track(|track| track.video.as_mut().unwrap().height = 2), "picture_too_small");
    let day = Probe { duration_ms: 24 * 3_600_000, ..probe(vec![video(1280, 720)]) };
    assert_eq!(plan::admit(&day, &named("default"), &Limits::default()), Ok(()));
}

#[test]
fn optional_steps_are_those_that_no_viewer_waits_for() {
    let source = probe(vec![video(1280, 720), sound(1, "mp3", 2, None), text(2, "eng")]);
    let steps = steps_of(&named("default"), &source, &analysis(10_000));
    let optional = |step: &NewStep| step.spec["optional"] == json!(true);
    let kinds: std::collections::BTreeSet<_> =
        steps.iter().filter(|step| optional(step)).map(|step| step.kind.as_str()).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["storyboard", "subtitles", "thumbnails", "validate"]);
}

#[test]
fn per_title_choices_replace_rates_and_leave_rungs_out() {
    let mut recipe = named("default");
    (recipe.video[0].per_title, recipe.video[0].passthrough) = (true, vod::recipe::Passthrough::Never);
    let probe = probe(vec![video(1280, 720)]);
    let analyse = steps_of(&recipe, &probe, &analysis(2_000)).into_iter().find(|step| step.name == "analyse").unwrap();
    assert_eq!(analyse.spec["per_title"].as_array().map(Vec::len), Some(3));

    let choice = RungChoice { width: 640, height: 360, crf: 30.0, kbps: 300, kbps_max: 450, score: 90.0 };
    let steps = super::manager::analysed(&recipe, &probe, analysis(2_000), vec![choice]);
    let video: Vec<_> = steps.iter().filter(|step| step.name.starts_with("encode/v")).collect();
    assert_eq!(video.len(), 3);
    assert!(
        video.iter().all(|step| step.spec["job"]["kbps_max"] == json!(450) && step.spec["job"]["crf"] == json!(30.0))
    );
}
