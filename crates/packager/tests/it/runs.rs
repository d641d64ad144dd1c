//! Simulated runs: every version of every answer is linted, and the media that comes out is the media that went in.

use std::collections::BTreeSet;

use base::Wall;
use bytes::Bytes;
use media::{Sample, mp4};
use packager::{Config, Lookup, Presentation, Role, TrackName};

use crate::{
    lint::{Linter, body, parse, text},
    source::{Spec, aac, arrivals, audio, avc, name, rendition, video},
};

/// 2026-11-20T09:00:00Z.
pub(crate) const BEGIN: Wall = Wall::from_unix_ms(1_795_165_200_000);

/// A presentation under a linter.
pub(crate) struct Run {
    pub(crate) presentation: Presentation,
    pub(crate) linter: Linter,
    pub(crate) names: Vec<TrackName>,
    pub(crate) now: Wall,
}

impl Run {
    pub(crate) fn new(config: Config) -> Self {
        let config = Config { first_number: config.first_number.or(Some(0)), ..config };
        Self { presentation: Presentation::new(config), linter: Linter::new(), names: Vec::new(), now: BEGIN }
    }

    pub(crate) fn begin(&mut self, specs: &[Spec]) {
        self.presentation.begin_epoch(self.now);
        specs.iter().for_each(|spec| self.set(spec));
    }

    pub(crate) fn set(&mut self, spec: &Spec) {
        if !self.names.contains(&spec.name()) {
            self.names.push(spec.name());
        }
        self.presentation.set_track(&spec.name(), spec.role, spec.track.clone()).unwrap();
        self.lint();
    }

    /// Plays the arrivals from `from_ms` to `to_ms` of the source that `specs` describe.
    pub(crate) fn play(&mut self, specs: &[Spec], from_ms: i64, to_ms: i64) {
        let began = self.now;
        for (at, name, sample) in arrivals(specs, to_ms + 1_000) {
            if (from_ms..to_ms).contains(&at) {
                self.now = began.plus_ms(at - from_ms);
                self.presentation.push(&name, sample).unwrap();
                self.presentation.expire(self.now);
                self.lint();
            }
        }
        self.now = began.plus_ms(to_ms - from_ms);
    }

    pub(crate) fn lint(&mut self) {
        self.linter.observe(&self.presentation, &self.names);
    }

    pub(crate) fn finish(&mut self) {
        self.presentation.end_epoch(self.now);
        self.lint();
        self.presentation.end();
        self.lint();
    }

    pub(crate) fn playlist(&self, track: &str) -> String {
        text(&self.presentation.media_playlist(&name(track), false).found().unwrap())
    }

    /// The samples of every closed segment of a track.
    pub(crate) fn samples(&self, track: &str) -> Vec<Sample> {
        let bodies = self.linter.bodies(&name(track)).values();
        bodies
            .flat_map(|body| mp4::read_chunks(&Bytes::from(body.clone())).unwrap())
            .flat_map(|chunk| chunk.samples)
            .collect()
    }
}

/// A whole stream of `specs`, ended; out comes what went in, shifted by one constant for all tracks.
fn check(specs: &[Spec], duration_ms: i64) -> Run {
    let mut run = Run::new(Config::default());
    run.begin(specs);
    run.play(specs, 0, duration_ms);
    run.finish();
    for spec in specs {
        check_media(&run, specs, spec, duration_ms);
    }
    run
}

fn check_media(run: &Run, specs: &[Spec], spec: &Spec, duration_ms: i64) {
    let pushed = arrivals(specs, duration_ms + 1_000);
    let timescale = spec.track.timescale;
    let first = pushed.iter().find(|(_, name, _)| *name == specs[0].name()).unwrap();
    let begin = base::time::rescale(first.2.pts(), specs[0].track.timescale, timescale);
    let pushed: Vec<_> = pushed
        .iter()
        .filter(|(at, name, sample)| *name == spec.name() && *at < duration_ms && sample.pts() + 2 >= begin)
        .collect();
    let got = run.samples(spec.name);
    assert_eq!(got.len(), pushed.len(), "{}: {:?}", spec.name, run.presentation.stats().dropped);
    let shift = got[0].pts() - pushed[0].2.pts();
    let half_a_packet = if spec.track.codec.audio().is_some() { 512 } else { 0 };
    for (got, (_, _, sample)) in got.iter().zip(&pushed) {
        assert_eq!(got.payload, sample.payload);
        assert!((got.pts() - sample.pts() - shift).abs() <= half_a_packet, "{}", spec.name);
        assert_eq!(got.sync, sample.sync);
    }
    let contiguous = got.windows(2).all(|pair| pair[0].dts + i64::from(pair[0].duration) == pair[1].dts);
    assert!(contiguous, "{} has holes", spec.name);
}

#[test]
fn regular_sources_come_out_as_they_went_in() {
    for rate in
        [(60, 1), (30, 1), (25, 1), (24, 1), (30_000, 1_001), (60_000, 1_001), (24_000, 1_001), (15, 1), (12, 1)]
    {
        for sample_rate in [48_000, 44_100] {
            let gop = 2 * rate.0 / rate.1;
            let run = check(&[video(rate, gop.max(1)), audio(sample_rate)], 13_000);
            assert_eq!(run.presentation.stats().forced_cuts, 0, "{rate:?}");
        }
    }
}

#[test]
fn exact_stamps_and_b_frames() {
    let mut exact = video((60, 1), 60).b_frames(2);
    exact.rounded = false;
    let run = check(&[exact, audio(48_000)], 12_000);
    let list = parse(&run.playlist("v0"));
    assert!(list.independent, "the opening is not listed for ever");
    assert!(list.segments.iter().all(|segment| segment.duration == Some(2.0) || segment.duration.is_none()));
    check(&[video((25, 1), 50).b_frames(3), audio(44_100)], 12_000);
}

#[test]
fn one_kind_of_track_alone() {
    check(&[video((30, 1), 30)], 9_000);
    check(&[Spec { role: Role::Leader, ..audio(44_100) }], 9_000);
}

#[test]
fn source_time_far_from_zero() {
    let day = 49 * 86_400_000;
    check(&[video((30, 1), 60).starting(day), audio(48_000).starting(day)], 8_000);
}

#[test]
fn renditions_late_and_aligned() {
    let specs = [video((60, 1), 120), audio(48_000), rendition((60, 1), 120, 700)];
    let run = check(&specs, 12_000);
    let starts = |track: &str| -> Vec<String> {
        run.linter.segments(&name(track)).iter().map(|segment| segment.time.clone()).collect()
    };
    assert_eq!(starts("v0")[..5], starts("v1")[..5]);
    assert_eq!(run.presentation.stats().misaligned, 0);
}

#[test]
fn a_slower_rendition_of_a_quarter_of_the_frames() {
    let specs = [video((60, 1), 120), audio(48_000), rendition((15, 1), 30, 1_300)];
    check(&specs, 12_000);
}

#[test]
fn the_first_playlist_plays_after_one_part() {
    let specs = [video((60, 1), 120), audio(48_000)];
    let mut run = Run::new(Config::default());
    run.begin(&specs);
    assert!(run.presentation.multivariant_playlist().is_err());
    run.play(&specs, 0, 235);
    let multivariant = text(&run.presentation.multivariant_playlist().unwrap());
    assert!(multivariant.contains("v0/index.m3u8") && multivariant.contains("a0/index.m3u8"), "{multivariant}");
    assert_eq!(parse(&run.playlist("v0")).segments[0].parts.len(), 1);
}

#[test]
fn time_zero_is_the_first_epoch_and_not_the_first_look_at_the_clock() {
    let specs = [video((30, 1), 60)];
    let mut run = Run::new(Config::default());
    run.presentation.expire(BEGIN.plus_ms(-60_000));
    run.begin(&specs);
    run.play(&specs, 0, 3_000);
    let mpd = text(&run.presentation.mpd(run.now).unwrap());
    assert!(
        mpd.contains("availabilityStartTime=\"2026-11-20T09:00:00.000Z\"") && mpd.contains("start=\"PT0.000000S\""),
        "{mpd}"
    );
}

#[test]
fn a_long_first_gop_raises_the_target_once() {
    let specs = [video((30, 1), 240), audio(48_000)];
    let run = check(&specs, 30_000);
    let list = parse(&run.playlist("v0"));
    assert_eq!((list.target_s, list.independent), (8, false));
    let durations: Vec<_> = list.segments.iter().take(3).map(|segment| segment.duration).collect();
    assert_eq!(durations, [Some(0.4), Some(7.6), Some(8.0)]);
}

#[test]
fn a_stream_opens_with_a_short_segment_that_is_not_listed_for_ever() {
    let specs = [video((30, 1), 60), audio(48_000)];
    let mut run = Run::new(Config::default());
    run.begin(&specs);
    run.play(&specs, 0, 700);
    let list = parse(&run.playlist("v0"));
    assert_eq!((list.segments[0].duration, list.independent), (Some(0.4), false));
    run.play(&specs, 700, 7_900);
    let list = parse(&run.playlist("v0"));
    let durations: Vec<_> = list.segments.iter().take(3).map(|segment| segment.duration).collect();
    assert_eq!((durations, list.independent), (vec![Some(0.4), Some(1.6), Some(2.0)], false));
    // Three target durations stay without it.
    run.play(&specs, 7_900, 9_500);
    let list = parse(&run.playlist("v0"));
    assert_eq!((list.segments[0].msn, list.segments[0].duration, list.independent), (2, Some(2.0), true));
    run.finish();
}

#[test]
fn a_long_first_gop_stays_whole_whatever_its_number() {
    let specs = [video((30, 1), 240), audio(48_000)];
    let mut run = Run::new(Config { first_number: Some(434_000_000), ..Config::default() });
    run.begin(&specs);
    run.play(&specs, 0, 20_000);
    run.finish();
    assert_eq!(run.presentation.stats().forced_cuts, 0);
    assert_eq!(parse(&run.playlist("v0")).target_s, 8);
}

#[test]
fn a_later_gop_over_the_target_is_cut_without_a_key_frame() {
    let specs = [video((30, 1), 60).gops(&[60, 60, 150, 60]), audio(48_000)];
    let run = check(&specs, 30_000);
    assert!(run.presentation.stats().forced_cuts > 0);
    let list = parse(&run.playlist("v0"));
    assert_eq!((list.target_s, list.independent), (2, false));
}

#[test]
fn no_key_frame_ever() {
    let specs = [video((30, 1), 1_000_000), audio(48_000)];
    let run = check(&specs, 25_000);
    assert!(run.presentation.stats().forced_cuts >= 2);
    let mut silent = Run::new(Config::default());
    silent.begin(&specs);
    for (_, name, mut sample) in arrivals(&specs, 5_000) {
        sample.sync &= name.as_str() == "a0";
        silent.presentation.push(&name, sample).unwrap();
    }
    assert!(silent.presentation.multivariant_playlist().is_err());
    assert_eq!(silent.presentation.stats().dropped.before_start, 150);
}

#[test]
fn republishing_is_one_discontinuity() {
    let specs = [video((30, 1), 60), audio(48_000), rendition((30, 1), 60, 300)];
    let mut run = Run::new(Config::default());
    for _ in 0..3 {
        run.begin(&specs);
        run.play(&specs, 0, 7_000);
        run.presentation.end_epoch(run.now);
        run.lint();
        run.now = run.now.plus_ms(4_321);
    }
    for track in ["v0", "v1", "a0"] {
        let playlist = run.playlist(track);
        assert_eq!(playlist.matches("#EXT-X-DISCONTINUITY\n").count(), 2, "{playlist}");
    }
    assert_eq!(text(&run.presentation.mpd(run.now).unwrap()).matches("<Period ").count(), 3);
    let samples = run.samples("v0");
    assert!(samples.windows(2).all(|pair| pair[0].dts < pair[1].dts));
    run.finish();
    assert!(run.playlist("v1").ends_with("#EXT-X-ENDLIST\n"));
}

#[test]
fn an_interrupted_ladder_resumes_behind_one_discontinuity() {
    let specs = [video((60, 1), 60), audio(48_000), rendition((60, 1), 60, 400)];
    let mut run = Run::new(Config::default());
    run.begin(&specs);
    run.play(&specs, 0, 7_300);
    run.presentation.interrupt(&[name("v1")], run.now);
    run.lint();
    run.play(&specs[..2], 7_300, 8_900);
    run.presentation.interrupt(&[name("v1")], run.now);
    run.play(&specs, 8_900, 16_000);
    run.finish();
    for track in ["v0", "v1", "a0"] {
        let playlist = run.playlist(track);
        assert_eq!(playlist.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{playlist}");
    }
    let v1 = run.playlist("v1");
    assert!((1..=3).contains(&v1.matches("#EXT-X-GAP\n").count()), "{v1}");
    assert_eq!(run.playlist("v0").matches("#EXT-X-GAP\n").count(), 0);
    assert_eq!(run.playlist("a0").matches("#EXT-X-GAP\n").count(), 0);
}

#[test]
fn a_new_codec_is_a_new_initialization_segment_behind_a_discontinuity() {
    let mut specs = [video((30, 1), 30), audio(48_000), rendition((30, 1), 30, 300)];
    let mut run = Run::new(Config::default());
    run.begin(&specs);
    run.play(&specs, 0, 6_500);
    specs[0].track = avc(1920, 1080, 0x28);
    run.set(&specs[0]);
    run.play(&specs, 6_500, 13_000);
    specs[1].track = aac(48_000);
    run.set(&specs[1]);
    run.play(&specs, 13_000, 16_000);
    assert!(!run.playlist("a0").contains("init-1.mp4"), "an equal codec is no change");
    specs[1].track = aac(44_100);
    run.set(&specs[1]);
    run.play(&specs, 16_000, 20_000);
    run.finish();
    let v0 = run.playlist("v0");
    assert_eq!(v0.matches("#EXT-X-DISCONTINUITY\n").count(), 2, "{v0}");
    assert!(v0.contains("init-0.mp4") && v0.contains("init-1.mp4"), "{v0}");
    assert_eq!(run.playlist("a0").matches("#EXT-X-DISCONTINUITY\n").count(), 2);
    assert!(run.playlist("a0").contains("init-1.mp4"));
    assert!(matches!(run.presentation.init(&name("v0"), 1), Lookup::Found(_)));
    assert_eq!(run.presentation.init(&name("v0"), 2), Lookup::Gone);
    assert!(text(&run.presentation.multivariant_playlist().unwrap()).contains("RESOLUTION=1920x1080"));
}

#[test]
fn a_jump_of_the_source_is_a_new_epoch() {
    for start_ms in [3_600_000, 100] {
        let specs = [video((30, 1), 60).starting(1_000_000), audio(48_000).starting(1_000_000)];
        let jumped = [video((30, 1), 60).starting(start_ms), audio(48_000).starting(start_ms)];
        let mut run = Run::new(Config::default());
        run.begin(&specs);
        run.play(&specs, 0, 5_300);
        run.play(&jumped, 0, 6_000);
        run.finish();
        assert_eq!(run.presentation.stats().jumps, 1);
        assert_eq!(run.playlist("v0").matches("#EXT-X-DISCONTINUITY\n").count(), 1);
        assert_eq!(run.playlist("a0").matches("#EXT-X-DISCONTINUITY\n").count(), 1);
        assert_eq!(run.playlist("a0").matches("#EXT-X-GAP\n").count(), 0);
        let samples = run.samples("a0");
        assert!(samples.windows(2).all(|pair| pair[0].dts < pair[1].dts));
    }
}

#[test]
fn lost_frames_and_lost_sound_leave_the_tracks_together() {
    let specs = [video((30, 1), 30), audio(48_000)];
    let mut run = Run::new(Config::default());
    run.linter.short_parts = true;
    run.linter.tolerance_ms = 2_500;
    run.begin(&specs);
    for (at, track, sample) in arrivals(&specs, 20_000) {
        let lost = match track.as_str() {
            "v0" => (5_040..5_500).contains(&at),
            _ => (9_000..9_400).contains(&at) || (800..830).contains(&(at % 1_700)),
        };
        if !lost {
            run.now = BEGIN.plus_ms(at);
            run.presentation.push(&track, sample).unwrap();
            run.lint();
        }
    }
    run.finish();
}

#[test]
fn sound_that_stops_becomes_gaps_and_comes_back() {
    let specs = [video((30, 1), 60), audio(48_000)];
    let mut run = Run::new(Config::default());
    run.begin(&specs);
    run.play(&specs, 0, 5_000);
    run.play(&specs[..1], 5_000, 20_000);
    run.play(&specs, 20_000, 28_000);
    run.finish();
    let a0 = parse(&run.playlist("a0"));
    assert!(a0.segments.iter().filter(|segment| segment.gap).count() >= 5);
    assert!(!a0.segments.last().unwrap().gap);
    assert_eq!(a0.segments.last().unwrap().msn, parse(&run.playlist("v0")).segments.last().unwrap().msn);
}

#[test]
fn pictures_that_stop_do_not_stop_the_sound() {
    let specs = [video((30, 1), 60), audio(48_000)];
    let mut run = Run::new(Config::default());
    run.linter.short_parts = true;
    run.linter.tolerance_ms = 2_500;
    run.begin(&specs);
    run.play(&specs, 0, 5_000);
    run.play(&specs[1..], 5_000, 14_000);
    let a0 = parse(&run.playlist("a0"));
    assert!(a0.segments.len() >= 6, "{}", run.playlist("a0"));
    run.play(&specs, 14_000, 22_000);
    run.finish();
    let v0 = parse(&run.playlist("v0"));
    assert!(v0.segments.iter().filter(|segment| segment.gap).count() >= 3, "{}", run.playlist("v0"));
    assert_eq!(run.playlist("a0").matches("#EXT-X-GAP\n").count(), 0);
}

#[test]
fn a_frozen_source_leaves_gaps_and_no_segment_over_the_target() {
    let specs = [video((30, 1), 60), audio(48_000), rendition((30, 1), 60, 200)];
    let mut run = Run::new(Config::default());
    run.linter.short_parts = true;
    run.linter.tolerance_ms = 2_500;
    run.begin(&specs);
    run.play(&specs, 0, 5_100);
    run.now = run.now.plus_ms(9_000);
    run.play(&specs, 14_100, 22_000);
    run.finish();
    assert_eq!(run.presentation.stats().discontinuities, 0);
    let v0 = parse(&run.playlist("v0"));
    assert!(v0.segments.iter().filter(|segment| segment.gap).count() >= 2, "{}", run.playlist("v0"));
}

#[test]
fn a_source_that_freezes_in_its_first_second_leaves_no_gap_over_the_target() {
    let specs =
        [video((10, 1), 1).gops(&[21, 81]).b_frames(3), audio(48_000), rendition((10, 1), 1, 0).gops(&[21, 81])];
    let mut run = Run::new(Config { window_ms: 20_000, ..Config::default() });
    run.linter.short_parts = true;
    run.linter.tolerance_ms = 12_000;
    run.begin(&specs);

    run.play(&specs, 0, 500);
    run.play(&specs, 3_009, 6_009);
    run.finish();
}

#[test]
fn sound_that_stops_in_the_first_second_and_comes_back_skips_no_number() {
    let specs = [video((60, 1), 1).gops(&[30]), audio(48_000), rendition((60, 1), 1, 0).gops(&[30])];
    let silent = [specs[0].clone(), specs[2].clone()];
    let mut run = Run::new(Config { window_ms: 20_000, ..Config::default() });
    run.linter.short_parts = true;
    run.linter.tolerance_ms = 12_000;
    run.begin(&specs);

    run.play(&specs, 0, 1_162);
    run.play(&silent, 1_162, 8_491);
    run.play(&specs, 8_491, 11_491);
    run.finish();
}

#[test]
fn a_shed_rendition_leaves_the_multivariant_playlist_and_can_come_back() {
    let specs = [video((30, 1), 60), audio(48_000), rendition((30, 1), 60, 300)];
    let mut run = Run::new(Config::default());
    run.begin(&specs);
    run.play(&specs, 0, 7_000);
    run.presentation.remove_track(&name("v1"));
    run.lint();
    let multivariant = text(&run.presentation.multivariant_playlist().unwrap());
    assert!(!multivariant.contains("v1/"), "{multivariant}");
    assert!(matches!(run.presentation.segment(&name("v1"), 1), Lookup::Found(_)));
    run.play(&specs[..2], 7_000, 12_000);
    run.set(&specs[2]);
    run.play(&specs, 12_000, 18_000);
    run.finish();
    assert!(run.playlist("v1").contains("#EXT-X-GAP"));
    assert_eq!(run.playlist("v1").matches("#EXT-X-DISCONTINUITY\n").count(), 0);
}

#[test]
fn the_window_moves_and_nothing_grows() {
    let config = Config { window_ms: 12_000, ..Config::default() };
    let specs = [video((30, 1), 30), audio(48_000)];
    let mut run = Run::new(config);
    run.begin(&specs);
    run.play(&specs, 0, 60_000);
    let list = parse(&run.playlist("v0"));
    let listed: f64 = list.segments.iter().filter_map(|segment| segment.duration).sum();
    assert!((12.0..17.0).contains(&listed), "{listed}");
    let stats = run.presentation.stats();
    assert!(stats.tracks.iter().all(|track| track.segments <= 9 && track.parts < 150), "{stats:?}");
    assert_eq!(run.presentation.segment(&name("v0"), 0), Lookup::Gone);
    assert!(run.linter.versions > 500);
}

#[test]
fn spilled_segments_are_files_and_refused_ones_gaps() {
    let config = Config { memory_window_ms: 12_000, ..Config::default() };
    let specs = [video((30, 1), 30), audio(48_000)];
    let mut run = Run::new(config);
    run.begin(&specs);
    run.play(&specs, 0, 20_000);
    let mut spills = Vec::new();
    while let Some(spill) = run.presentation.next_spill() {
        spills.push(spill);
    }
    assert!(spills.len() >= 6 && spills.iter().any(|spill| spill.object == "v0/0.m4s"));
    let before = run.presentation.stats().tracks[0].memory_bytes;
    for spill in &spills {
        assert!(body(&spill.plan) == run.linter.bodies(&spill.track)[&spill.msn], "{}", spill.object);
        if spill.msn == 3 { run.presentation.spill_failed(spill) } else { run.presentation.spilled(spill) }
    }
    assert!(run.presentation.stats().tracks[0].memory_bytes < before);
    let plan = run.presentation.segment(&name("v0"), 0).found().unwrap();
    assert_eq!(plan.len(), Some(run.linter.bodies(&name("v0"))[&0].len() as u64));
    assert!(matches!(&plan.pieces[..], [packager::Piece::File { object, offset: 0, .. }] if object == "v0/0.m4s"));
    assert_eq!(run.presentation.segment(&name("v0"), 3), Lookup::Gone);
    assert!(run.playlist("v0").contains("#EXT-X-GAP"));
}

#[test]
fn transport_streams_on_request() {
    let specs = [video((30, 1), 60), audio(48_000)];
    let mut run = Run::new(Config::default());
    run.begin(&specs);
    run.play(&specs, 0, 9_000);
    let playlist = text(&run.presentation.ts_media_playlist(&name("v0")).found().unwrap());
    assert!(playlist.contains("\n2.ts\n") && playlist.contains("\n4.ts\n") && !playlist.contains("5.ts"), "{playlist}");
    let bytes = body(&run.presentation.ts_segment(&name("v0"), 1).found().unwrap());
    assert!(bytes.len().is_multiple_of(188) && bytes.chunks(188).all(|packet| packet[0] == 0x47));
    let (first, again) = (run.presentation.ts_segment(&name("v0"), 1), run.presentation.ts_segment(&name("v0"), 1));
    let pointer = |plan: Lookup<packager::BodyPlan>| match plan.found().unwrap().pieces.remove(0) {
        packager::Piece::Shared(bytes) => bytes.as_ptr(),
        piece => panic!("{piece:?}"),
    };
    assert_eq!(pointer(first), pointer(again), "muxed twice");
    assert_eq!(run.presentation.ts_segment(&name("v0"), 5), Lookup::Pending);
    assert_eq!(run.presentation.ts_segment(&name("v0"), 9), Lookup::Gone);
    assert!(text(&run.presentation.ts_multivariant_playlist().unwrap()).contains("\nv0/ts.m3u8\n"));
}

/// The names of what caches keep for good: initialization segments, parts and segments.
fn immutable_names(broadcast_begins: Wall) -> BTreeSet<String> {
    let specs = [video((30, 1), 60)];
    let mut presentation = Presentation::new(Config::default());
    presentation.begin_epoch(broadcast_begins);
    presentation.set_track(&name("v0"), Role::Leader, specs[0].track.clone()).unwrap();
    for (_, name, sample) in arrivals(&specs, 20_000) {
        presentation.push(&name, sample).unwrap();
    }
    let playlist = text(&presentation.media_playlist(&name("v0"), false).found().unwrap());
    let quoted = playlist.split('"').skip(1).step_by(2);
    let names = quoted.chain(playlist.lines().filter(|line| !line.starts_with('#')));
    names.filter(|name| name.ends_with(".m4s") || name.ends_with(".mp4")).map(str::to_owned).collect()
}

#[test]
fn the_next_broadcast_is_not_served_the_last_ones_segments_out_of_a_cache() {
    let first = immutable_names(BEGIN);
    assert!(first.len() > 10 && first.iter().any(|name| name.starts_with("init-")), "{first:?}");
    let second = immutable_names(BEGIN.plus_ms(20_000));
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");
}

#[test]
fn a_rendition_that_comes_back_has_new_initialization_segments() {
    let specs = [video((30, 1), 60), rendition((30, 1), 60, 300)];
    let mut run = Run::new(Config { window_ms: 12_000, ..Config::default() });
    run.begin(&specs);
    run.play(&specs, 0, 4_000);
    assert!(run.playlist("v1").contains("URI=\"init-0.mp4\""));
    run.presentation.remove_track(&name("v1"));
    run.lint();
    run.names.retain(|track| track.as_str() != "v1");
    run.play(&specs[..1], 4_000, 17_500);
    assert_eq!(run.presentation.media_playlist(&name("v1"), false), Lookup::Gone, "an empty playlist");
    run.play(&specs[..1], 17_500, 60_000);
    run.linter = Linter::new();
    run.set(&specs[1]);
    run.play(&specs, 60_000, 66_000);
    let v1 = run.playlist("v1");
    assert!(v1.contains("#EXT-X-MAP:URI=\"init-") && !v1.contains("\"init-0.mp4\""), "{v1}");
}

#[test]
fn wrong_order_of_calls_is_an_error() {
    let mut presentation = Presentation::new(Config::default());
    let sample = video((30, 1), 30).samples(100).remove(0);
    assert!(presentation.push(&name("v0"), sample.clone()).is_err());
    assert!(presentation.set_track(&name("v0"), Role::Leader, avc(640, 360, 30)).is_err());
    presentation.begin_epoch(BEGIN);
    assert!(presentation.push(&name("v0"), sample).is_err());
    presentation.set_track(&name("v0"), Role::Leader, avc(640, 360, 30)).unwrap();
    assert!(presentation.set_track(&name("v1"), Role::Leader, avc(640, 360, 30)).is_err());
    assert!(presentation.set_track(&name("v1"), Role::Audio, avc(640, 360, 30)).is_err());
    assert!(presentation.set_track(&name("a0"), Role::Rendition, aac(48_000)).is_err());
}
