//! A machine without FFmpeg, or one on which it breaks.

use transcode::{Capabilities, Config, Event, Ladder, Preset, plan};

use crate::support::{Bench, Published, capabilities};

#[tokio::test]
async fn without_ffmpeg_the_ladder_says_so_and_the_source_plays_alone() {
    let config = Config { ffmpeg: "/nowhere/ffmpeg".into(), ..Config::default() };
    let caps = Capabilities::probe(&config).await;
    assert_eq!(
        caps.tool().unwrap_err(),
        "/nowhere/ffmpeg is not installed; install FFmpeg or set transcode.ffmpeg to its path"
    );
    let source = Published::make("320x180", 30, "").source();
    let plan = plan(&Preset::named("default").unwrap(), &source, &caps, 8);
    assert!(plan.renditions.is_empty());
    let (ladder, mut events) = Ladder::start(plan, &config, "test/stream");
    assert!(matches!(events.next().await, Some(Event::Failed { reason }) if reason.contains("not installed")));
    assert!(events.next().await.is_none());
    ladder.stop().await;
}

#[tokio::test]
async fn a_program_that_is_not_ffmpeg_is_not_taken_for_it() {
    for program in ["true", "false", "echo"] {
        let caps = Capabilities::probe(&Config { ffmpeg: program.into(), ..Config::default() }).await;
        assert!(caps.tool().is_err(), "{program}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_cannot_work_is_given_up_with_its_last_words() {
    let published = Published::make("1280x720", 30, "");
    let mut tool = capabilities().await.tool().unwrap().clone();
    tool.ffmpeg = "/nowhere/ffmpeg".into();
    let plan = plan(&Preset::named("nott").unwrap(), &published.source(), &Capabilities::present(tool), 64);
    let config = Config { restarts_max: 2, restart_backoff_ms: 1, ..Config::default() };
    let mut bench = Bench::start(plan, &config);
    bench.until("the end", |bench| bench.has_other(|event| matches!(event, Event::Failed { .. }))).await;
    let interruptions = bench.others.iter().filter(|event| matches!(event, Event::Interrupted { .. })).count();
    assert_eq!(interruptions, 2);
    assert!(bench.has_other(|event| matches!(event, Event::Failed { reason } if reason.contains("/nowhere/ffmpeg"))));
}
