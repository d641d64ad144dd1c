//! Renditions, and what happens to them when the child dies, hangs, or is too slow.

use media::{Sample, TrackKind};
use transcode::{Config, Event, Feed};

use crate::support::{Bench, Published, assert_decodes, assert_goes_away, plan, signal};

fn sync_pts(samples: &[Sample]) -> Vec<i64> {
    samples.iter().filter(|sample| sample.sync).map(Sample::pts).collect()
}

fn assert_never_regresses(samples: &[Sample]) {
    assert!(samples.is_sorted_by(|a, b| a.dts < b.dts && a.pts() < b.pts()), "{:?}", samples.iter().map(Sample::pts));
}

/// Pictures that FFmpeg holds back until its input ends.
const HELD_BACK_MAX: usize = 12;

/// Pushes everything, stops, and compares each rendition's keyframes with the source's.
async fn check(published: &Published, preset: &str, sizes: &[(u32, u32)], pictures: &[usize]) {
    let plan = plan(preset, &published.source()).await;
    let mut bench = Bench::start(plan, &Config::default());
    for (kind, sample) in &published.samples {
        bench.ladder.push(Feed::Sample(*kind, sample.clone())).unwrap();
    }
    bench.until("output of all renditions", |bench| bench.samples.len() == sizes.len()).await;
    let pid = bench.ladder.pid().unwrap();
    let last_keyframe = *published.keyframe_pts().last().unwrap();
    bench.until("the last GOP", |bench| bench.samples.values().all(|s| s.last().unwrap().pts() >= last_keyframe)).await;
    // A stop is patient for seconds, and a machine that runs other tests may need more than that for a whole GOP.
    let almost =
        |bench: &Bench| bench.samples.iter().all(|(rendition, s)| s.len() + HELD_BACK_MAX >= pictures[*rendition]);
    bench.until("almost every picture", almost).await;
    assert!(bench.others.is_empty(), "{:?}", bench.others);
    let (tracks, samples) = bench.stop().await;
    assert_goes_away(pid);
    for (rendition, samples) in &samples {
        let track = &tracks[rendition];
        let info = track.codec.video().unwrap();
        assert_eq!((info.width, info.height), sizes[*rendition]);
        assert_eq!(sync_pts(samples), published.keyframe_pts(), "rendition {rendition}");
        assert_eq!(samples.len(), pictures[*rendition], "rendition {rendition}");
        assert_never_regresses(samples);
        assert_decodes(track, samples);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_renditions_have_the_sources_keyframes() {
    let published = Published::make("1280x720", 60, "-tune zerolatency");
    check(&published, "nott", &[(640, 360), (426, 240), (426, 240)], &[240, 240, 240]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_b_frames_and_an_odd_rate_keeps_its_times() {
    let published = Published::make("960x720", 30, "-bf 2 -r 30000/1001 -b_strategy 0");
    assert!(published.samples.iter().any(|(_, sample)| sample.cts_offset != 0), "this source reorders");
    let pictures = published.gops(0..usize::MAX).len();
    check(&published, "nott", &[(480, 360), (320, 240), (320, 240)], &[pictures; 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dividing_the_frame_rate_keeps_every_keyframe() {
    // 29 does not divide by 2: the cadence must begin anew at each keyframe.
    let published = Published::make("640x360", 30, "-tune zerolatency -g 29");
    check(&published, "alfg", &[(426, 240), (426, 240)], &[120, 62]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_child_is_replaced_and_output_resumes_at_a_keyframe() {
    let published = Published::make("640x360", 30, "-tune zerolatency");
    let mut bench = Bench::start(plan("nott", &published.source()).await, &Config::default());
    let keyframes = published.keyframe_pts();
    bench.push(published.gops(0..1)).unwrap();
    let mut half = published.gops(1..2);
    let rest = half.split_off(15);
    bench.push(half).unwrap();
    bench.until("the second GOP", |bench| (0..2).all(|n| bench.newest_pts(n) > Some(keyframes[1]))).await;

    let pid = bench.ladder.pid().unwrap();
    signal("KILL", pid);
    bench.until("an interruption", |bench| bench.has_other(|e| matches!(e, Event::Interrupted { .. }))).await;
    assert_goes_away(pid);
    bench.push(rest).unwrap();
    bench.push(published.gops(2..3)).unwrap();
    bench.until("the third GOP", |bench| bench.newest_pts(0) >= Some(keyframes[2])).await;
    bench.push(published.gops(3..4)).unwrap();
    bench.until("the last GOP", |bench| (0..2).all(|n| bench.newest_pts(n) >= Some(keyframes[3]))).await;

    assert!(
        matches!(&bench.others[..], [Event::Interrupted { reason }, Event::Restarted { attempt: 1 }] if reason.contains("signal: 9"))
    );
    let (tracks, samples) = bench.stop().await;
    for (rendition, samples) in &samples {
        assert_never_regresses(samples);
        assert_eq!(sync_pts(samples), keyframes);
        let resumed = samples.iter().position(|sample| sample.pts() == keyframes[2]).unwrap();
        assert!(samples[resumed - 1].pts() < keyframes[1] + 16 * 3_000, "nothing of the broken GOP after the kill");
        assert_decodes(&tracks[rendition], samples);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_child_is_found_by_its_silence() {
    let published = Published::make("640x360", 30, "-tune zerolatency");
    let config = Config { stall_ms: 300, ..Config::default() };
    let mut bench = Bench::start(plan("nott", &published.source()).await, &config);
    let keyframes = published.keyframe_pts();
    bench.push(published.gops(0..1)).unwrap();
    bench.until("output", |bench| (0..2).all(|n| bench.newest_pts(n).is_some())).await;

    let pid = bench.ladder.pid().unwrap();
    signal("STOP", pid);
    bench.push(published.gops(1..2)).unwrap();
    bench.until("an interruption", |bench| bench.has_other(|e| matches!(e, Event::Interrupted { .. }))).await;
    assert_goes_away(pid);
    bench.push(published.gops(2..4)).unwrap();
    bench.until("the last GOP", |bench| (0..2).all(|n| bench.newest_pts(n) >= Some(keyframes[3]))).await;
    assert!(
        bench.has_other(|e| matches!(e, Event::Interrupted { reason } if reason.contains("made nothing of its input")))
    );
    bench.samples.values().for_each(|samples| assert_never_regresses(samples));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_too_slow_sheds_the_costliest_rung() {
    let published = Published::make("640x360", 30, "-tune zerolatency");
    // A stopped child is the slowest machine there is.
    let config = Config { stall_ms: 60_000, shed_after_ms: 200, ..Config::default() };
    let mut bench = Bench::start(plan("nott", &published.source()).await, &config);
    let keyframes = published.keyframe_pts();
    bench.push(published.gops(0..1)).unwrap();
    bench.until("output", |bench| (0..2).all(|n| bench.newest_pts(n).is_some())).await;
    signal("STOP", bench.ladder.pid().unwrap());
    bench.push(published.gops(1..3)).unwrap();
    bench.until("a shed rung", |bench| bench.has_other(|e| matches!(e, Event::Shed { rendition: 0, .. }))).await;
    let before = bench.samples[&0].len();
    bench.push(published.gops(3..4)).unwrap();
    bench.until("the last GOP", |bench| bench.newest_pts(1) >= Some(keyframes[3])).await;
    assert_eq!(bench.samples[&0].len(), before);
    assert!(matches!(&bench.others[..], [Event::Shed { .. }, Event::Interrupted { .. }, Event::Restarted { .. }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_skips_to_a_keyframe_and_says_so() {
    let published = Published::make("640x360", 30, "-tune zerolatency");
    let config = Config { stall_ms: 60_000, shed_lag_ms: 60_000, queue_ms_max: 1_500, ..Config::default() };
    let mut bench = Bench::start(plan("nott", &published.source()).await, &config);
    let keyframes = published.keyframe_pts();
    bench.push(published.gops(0..1)).unwrap();
    bench.until("output", |bench| bench.newest_pts(0).is_some()).await;
    let pid = bench.ladder.pid().unwrap();
    signal("STOP", pid);
    // Pictures the size of the pipe, so that it is the queue that fills.
    let heavy = |mut sample: Sample| {
        let mut payload = sample.payload.to_vec();
        payload.extend([0, 1, 0, 0, 12]);
        payload.resize(payload.len() + 0x1_0000 - 1, 0);
        sample.payload = payload.into();
        sample
    };
    let overflow = bench.push(published.gops(1..3).into_iter().map(heavy));
    assert!(overflow.is_err_and(|overflow| overflow.dropped_pictures > 0));
    signal("CONT", pid);
    for sample in published.gops(3..4) {
        // What still waits may overflow once more; the keyframe of this GOP is where it skips to.
        let _ = bench.ladder.push(Feed::Sample(TrackKind::Video, sample));
    }
    bench.until("the last GOP", |bench| bench.newest_pts(0) >= Some(keyframes[3])).await;
    assert!(bench.others.is_empty(), "the same child goes on: {:?}", bench.others);
    let (_, samples) = bench.stop().await;
    assert_never_regresses(&samples[&0]);
    assert!(samples[&0].len() < 120, "some were dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_source_goes_on_with_a_new_child() {
    let (small, large) =
        (Published::make("640x360", 30, "-tune zerolatency"), Published::make("960x540", 30, "-tune zerolatency"));
    let mut bench = Bench::start(plan("nott", &small.source()).await, &Config::default());
    bench.push(small.gops(0..2)).unwrap();
    bench.until("output", |bench| bench.newest_pts(0) >= Some(small.keyframe_pts()[1])).await;
    bench.ladder.push(Feed::Track(large.video.clone())).unwrap();
    bench.push(large.gops(2..4)).unwrap();
    bench.until("the last GOP", |bench| (0..2).all(|n| bench.newest_pts(n) >= Some(large.keyframe_pts()[3]))).await;
    assert!(
        bench.has_other(|e| matches!(e, Event::Interrupted { reason } if reason.contains("configuration changed")))
    );
    for (rendition, samples) in &bench.samples {
        assert_never_regresses(samples);
        assert_decodes(&bench.tracks[rendition], samples);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_ladder_kills_the_child() {
    let published = Published::make("640x360", 30, "-tune zerolatency");
    let mut bench = Bench::start(plan("nott", &published.source()).await, &Config::default());
    bench.push(published.gops(0..1)).unwrap();
    bench.until("output", |bench| bench.newest_pts(0).is_some()).await;
    let pid = bench.ladder.pid().unwrap();
    drop(bench);
    tokio::task::spawn_blocking(move || assert_goes_away(pid)).await.unwrap();
}
