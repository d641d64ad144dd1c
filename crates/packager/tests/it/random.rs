//! Sources as no encoder should be: the linter's rules hold all the same.

use packager::{Config, Role};
use proptest::prelude::*;

use crate::{
    runs::Run,
    source::{Spec, arrivals, audio, name, rendition, video},
};

/// What happens to a source besides its samples.
#[derive(Clone, Debug)]
enum Event {
    Republish,
    Interrupt,
    Remove,
    Silence { track: usize, ms: i64 },
    Lose { percent: u32 },
}

fn events() -> impl Strategy<Value = Vec<(i64, Event)>> {
    let event = prop_oneof![
        Just(Event::Republish),
        Just(Event::Interrupt),
        Just(Event::Remove),
        (0..3_usize, 100..9_000_i64).prop_map(|(track, ms)| Event::Silence { track, ms }),
        (1..40_u32).prop_map(|percent| Event::Lose { percent }),
    ];
    prop::collection::vec((500..5_000_i64, event), 0..5)
}

fn specs(rate: (i64, i64), gops: &[i64], b_frames: i64, sample_rate: u32, lag_ms: i64) -> Vec<Spec> {
    let ladder = rendition(rate, 1, lag_ms).gops(gops);
    vec![video(rate, 1).gops(gops).b_frames(b_frames), audio(sample_rate), ladder]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_hold_for_any_source(
        rate in prop::sample::select(vec![(60, 1), (30, 1), (25, 1), (30_000, 1_001), (10, 1)]),
        gops in prop::collection::vec(5..200_i64, 1..5),
        b_frames in 0..4_i64,
        sample_rate in prop::sample::select(vec![48_000, 44_100, 32_000]),
        lag_ms in 0..2_500_i64,
        events in events(),
        seed in any::<u32>(),
    ) {
        let specs = specs(rate, &gops, b_frames, sample_rate, lag_ms);
        let mut run = Run::new(Config { window_ms: 20_000, ..Config::default() });
        run.linter.short_parts = true;
        // Sound that comes back in the middle of a segment begins that late in it.
        run.linter.tolerance_ms = 12_000;
        run.begin(&specs);
        let mut source_ms = 0;
        for (ms, event) in events {
            run.play(&specs, source_ms, source_ms + ms);
            source_ms += ms;
            match event {
                Event::Republish => {
                    run.presentation.end_epoch(run.now);
                    run.lint();
                    run.now = run.now.plus_ms(ms);
                    run.begin(&specs);
                }
                Event::Interrupt => run.presentation.interrupt(&[name("v1")], run.now),
                Event::Remove => {
                    run.presentation.remove_track(&name("v1"));
                    run.lint();
                    run.set(&specs[2]);
                }
                Event::Silence { track, ms } => {
                    let others: Vec<Spec> = specs.iter().filter(|spec| spec.name() != specs[track].name()).cloned().collect();
                    if specs[track].role != Role::Leader {
                        run.play(&others, source_ms, source_ms + ms);
                    }
                    source_ms += ms;
                }
                Event::Lose { percent } => {
                    lose(&mut run, &specs, source_ms, source_ms + 3_000, percent, seed);
                    source_ms += 3_000;
                }
            }
            run.lint();
        }
        run.play(&specs, source_ms, source_ms + 3_000);
        run.finish();
        let stats = run.presentation.stats();
        prop_assert!(stats.tracks.iter().all(|track| track.segments <= 60), "{stats:?}");
    }

    #[test]
    fn no_stamps_panic(stamps in prop::collection::vec((any::<i32>(), any::<i32>(), any::<bool>(), 0..3_usize), 0..200)) {
        let specs = specs((30, 1), &[30], 0, 48_000, 0);
        let mut run = Run::new(Config::default());

        run.presentation.begin_epoch(run.now);
        for spec in &specs {
            run.presentation.set_track(&spec.name(), spec.role, spec.track.clone()).unwrap();
        }
        let template = specs[0].samples(40).remove(0);
        for (dts, cts_offset, sync, track) in stamps {
            let sample = media::Sample { dts: i64::from(dts) * 90, cts_offset, sync, ..template.clone() };
            run.presentation.push(&specs[track].name(), sample).unwrap();
            let _ = run.presentation.media_playlist(&specs[track].name(), true);
            let _ = run.presentation.mpd(run.now);
        }
        run.presentation.end();
    }
}

/// Plays with `percent` of the samples missing, chosen by `seed`.
fn lose(run: &mut Run, specs: &[Spec], from_ms: i64, to_ms: i64, percent: u32, seed: u32) {
    let began = run.now;
    let mut state = u64::from(seed) | 1;
    for (at, track, sample) in arrivals(specs, to_ms + 1_000) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let lost = (state >> 33) % 100 < u64::from(percent);
        if (from_ms..to_ms).contains(&at) && !lost {
            run.now = began.plus_ms(at - from_ms);
            run.presentation.push(&track, sample).unwrap();
            run.lint();
        }
    }
    run.now = began.plus_ms(to_ms - from_ms);
}
