//! Leases, reports and ends.

use std::{os::unix::fs::PermissionsExt, sync::Arc};

use http::StatusCode;
use store::catalogue::{ErrorClass, Progress};
use tokio::sync::Semaphore;
use vod::protocol::{Command, EncodeJob, Output, Spec};

use super::fake::{Fake, Rules, Working, eventually, leased, scripted, settings};

/// Steps that wait for a permit each, or to be cancelled.
fn gated(gate: &Arc<Semaphore>) -> Arc<dyn vod::worker::Execute> {
    let gate = gate.clone();
    scripted(move |task| {
        let gate = gate.clone();
        async move {
            tokio::select! {
                permit = gate.acquire() => permit.unwrap().forget(),
                () = task.cancelled().cancelled() => {}
            }
            Ok(Output::Done {})
        }
    })
}

fn closed() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

#[tokio::test]
async fn a_step_is_claimed_done_and_reported_with_its_token() {
    let fake = Fake::plain();
    let listening = fake.listen("127.0.0.1:0").await;
    let folders = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = folders.clone();
    let worker = Working::start(
        listening.address,
        Some(scripted(move |task| {
            std::fs::write(task.folder().join("half"), b"work").unwrap();
            seen.lock().unwrap().push(task.folder().to_owned());
            async move { Ok(Output::Done {}) }
        })),
        1_000,
    );
    let step = leased(Spec::CleanUp {});
    fake.hand_out(step.clone());

    eventually("the step is done", || worker.stats.now().done == 1).await;

    let (id, complete) = fake.memory().completed[0].clone();
    assert_eq!((id, complete.token, complete.output), (step.step, 7, Output::Done {}));
    assert!(fake.memory().authorizations.iter().all(|authorization| authorization == "Bearer sesame"));
    let folder = folders.lock().unwrap()[0].clone();
    assert!(folder.starts_with(&worker.scratch) && !folder.exists(), "{folder:?}");
    worker.stop().await;
    assert_eq!(fake.memory().left, 1);
}

#[tokio::test]
async fn a_lost_lease_discards_the_work() {
    let fake = Fake::new(Rules::default(), |seen| (seen.verb() == "heartbeat").then_some(StatusCode::CONFLICT));
    let listening = fake.listen("127.0.0.1:0").await;
    let worker = Working::start(listening.address, Some(gated(&closed())), 1_000);
    fake.hand_out(leased(Spec::CleanUp {}));

    eventually("the lease is lost", || worker.stats.now().lost == 1).await;

    assert!(fake.memory().completed.is_empty() && fake.memory().failed.is_empty());
    worker.stop().await;
}

/// A child that would run for ever is gone once its lease is.
#[tokio::test]
async fn a_lost_lease_kills_ffmpeg() {
    let folder = tempfile::tempdir().unwrap();
    let (script, pid_file) = (folder.path().join("ffmpeg"), folder.path().join("pid"));
    let text = format!("#!/bin/sh\necho $$ > {0}.new\nmv {0}.new {0}\nexec sleep 1000\n", pid_file.display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(&script, folder.path().join("ffprobe")).unwrap();
    let tool = transcode::Tool {
        ffmpeg: script.to_string_lossy().into_owned(),
        version: transcode::Version { text: "5.1".into(), number: (5, 1) },
        encoders: vec![transcode::Encoder::X264],
        aac: true,
        font: None,
        setpriv: false,
        nice: false,
    };
    let started = pid_file.clone();
    let fake = Fake::new(Rules::default(), move |seen| {
        (seen.verb() == "heartbeat" && started.exists()).then_some(StatusCode::CONFLICT)
    });
    let listening = fake.listen("127.0.0.1:0").await;
    let capabilities = transcode::Capabilities::present(tool);
    let worker = Working::with(settings(listening.address, folder.path().join("work"), 1_000, capabilities), None);
    fake.hand_out(leased(Spec::Encode { job: EncodeJob::Copy { track: 0 } }));

    eventually("the lease is lost", || worker.stats.now().lost == 1).await;

    let pid = std::fs::read_to_string(&pid_file).unwrap().trim().to_owned();
    eventually("FFmpeg is gone", || !alive(&pid)).await;
    worker.stop().await;
}

/// A zombie is dead.
fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn a_manager_that_stays_silent_for_a_lease_has_taken_it_back() {
    let rules = Rules { lease_ms: 400, ..Rules::default() };
    let fake = Fake::new(rules, |seen| (seen.verb() == "heartbeat").then_some(StatusCode::SERVICE_UNAVAILABLE));
    let listening = fake.listen("127.0.0.1:0").await;
    let worker = Working::start(listening.address, Some(gated(&closed())), 1_000);
    fake.hand_out(leased(Spec::CleanUp {}));

    eventually("the lease is given up", || worker.stats.now().lost == 1).await;

    assert!(fake.memory().completed.is_empty());
    worker.stop().await;
}

#[tokio::test]
async fn a_cancelled_step_is_dropped_without_a_word() {
    let fake = Fake::new(Rules { command: Command::Cancel, ..Rules::default() }, |_| None);
    let listening = fake.listen("127.0.0.1:0").await;
    let worker = Working::start(listening.address, Some(gated(&closed())), 1_000);
    fake.hand_out(leased(Spec::CleanUp {}));

    eventually("the step is cancelled", || worker.stats.now().cancelled == 1).await;

    let silent = {
        let memory = fake.memory();
        memory.completed.is_empty() && memory.failed.is_empty() && memory.released.is_empty()
    };
    assert!(silent);
    worker.stop().await;
}

#[tokio::test]
async fn heartbeats_go_on_for_as_long_as_the_work_does() {
    let fake = Fake::plain();
    let listening = fake.listen("127.0.0.1:0").await;
    let gate = closed();
    let worker = Working::start(listening.address, Some(gated(&gate)), 1_000);
    fake.hand_out(leased(Spec::CleanUp {}));

    eventually("ten heartbeats", || fake.memory().heartbeats.len() >= 10).await;
    gate.add_permits(1);
    eventually("the step is done", || worker.stats.now().done == 1).await;

    assert!(fake.memory().heartbeats.iter().all(|(_, heartbeat)| heartbeat.token == 7));
    worker.stop().await;
}

#[tokio::test]
async fn progress_that_moves_is_told_before_the_next_heartbeat_is_due() {
    let fake = Fake::new(Rules { heartbeat_ms: 3_600_000, lease_ms: 7_200_000, ..Rules::default() }, |_| None);
    let listening = fake.listen("127.0.0.1:0").await;
    let gate = closed();
    let waiting = gate.clone();
    let worker = Working::start(
        listening.address,
        Some(scripted(move |task| {
            let waiting = waiting.clone();
            async move {
                task.report(Progress { permille: 420, out_time_ms: Some(1_000), ..Progress::default() });
                waiting.acquire().await.unwrap().forget();
                Ok(Output::Done {})
            }
        })),
        1_000,
    );
    fake.hand_out(leased(Spec::CleanUp {}));

    eventually("the progress is told", || {
        fake.memory().heartbeats.iter().any(|(_, heartbeat)| heartbeat.progress.permille == 420)
    })
    .await;

    gate.add_permits(1);
    worker.stop().await;
}

#[tokio::test]
async fn work_outlives_a_restart_of_its_manager() {
    let fake = Fake::plain();
    let listening = fake.listen("127.0.0.1:0").await;
    let address = listening.address;
    let gate = closed();
    let worker = Working::start(address, Some(gated(&gate)), 1_000);
    fake.hand_out(leased(Spec::CleanUp {}));
    eventually("a heartbeat", || !fake.memory().heartbeats.is_empty()).await;

    listening.stop().await;
    gate.add_permits(1);
    let _again = fake.listen(&address.to_string()).await;

    eventually("the step is done", || worker.stats.now().done == 1).await;
    assert_eq!(fake.memory().completed.len(), 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_report_whose_answer_was_an_error_is_sent_again() {
    let fake = Fake::new(Rules::default(), |seen| {
        (seen.verb() == "complete" && seen.before < 2).then_some(StatusCode::INTERNAL_SERVER_ERROR)
    });
    let listening = fake.listen("127.0.0.1:0").await;
    let gate = closed();
    gate.add_permits(1);
    let worker = Working::start(listening.address, Some(gated(&gate)), 1_000);
    fake.hand_out(leased(Spec::CleanUp {}));

    eventually("the step is done", || worker.stats.now().done == 1).await;

    let sent = fake
        .memory()
        .seen
        .iter()
        .filter(|seen| seen.verb() == "complete")
        .map(|seen| seen.body.clone())
        .collect::<Vec<_>>();
    assert!(sent.len() == 3 && sent.iter().all(|body| *body == sent[0]), "{}", sent.len());
    worker.stop().await;
}

#[tokio::test]
async fn a_refused_result_is_reported_as_a_failure() {
    let fake =
        Fake::new(Rules::default(), |seen| (seen.verb() == "complete").then_some(StatusCode::UNPROCESSABLE_ENTITY));
    let listening = fake.listen("127.0.0.1:0").await;
    let gate = closed();
    gate.add_permits(1);
    let worker = Working::start(listening.address, Some(gated(&gate)), 1_000);
    fake.hand_out(leased(Spec::CleanUp {}));

    eventually("the failure is told", || worker.stats.now().failed == 1).await;

    assert_eq!(fake.memory().failed[0].1.error.code, "bad_output");
    worker.stop().await;
}

#[tokio::test]
async fn a_panic_is_a_failure_of_its_step_alone() {
    let fake = Fake::plain();
    let listening = fake.listen("127.0.0.1:0").await;
    let worker = Working::start(
        listening.address,
        Some(scripted(|task| async move {
            assert!(task.leased().attempt > 1, "the first attempt panics");
            Ok(Output::Done {})
        })),
        1_000,
    );
    fake.hand_out(leased(Spec::CleanUp {}));
    fake.hand_out(vod::protocol::Leased { attempt: 2, ..leased(Spec::CleanUp {}) });

    eventually("the second step is done", || worker.stats.now().done == 1).await;

    let error = fake.memory().failed[0].1.error.clone();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Bug, "panic"));
    assert!(error.log.unwrap().contains("the first attempt panics"));
    assert_eq!(error.worker.as_deref(), Some("node"));
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_stops_finishes_what_it_can() {
    let fake = Fake::plain();
    let listening = fake.listen("127.0.0.1:0").await;
    let gate = closed();
    let worker = Working::start(listening.address, Some(gated(&gate)), 20_000);
    fake.hand_out(leased(Spec::CleanUp {}));
    let stats = worker.stats.clone();
    eventually("the step is claimed", || stats.now().busy == 1).await;

    let stopping = tokio::spawn(worker.stop());
    gate.add_permits(1);
    stopping.await.unwrap();

    assert_eq!((stats.now().done, stats.now().released, fake.memory().left), (1, 0, 1));
}

#[tokio::test]
async fn a_worker_that_stops_gives_back_what_it_cannot_finish() {
    let fake = Fake::plain();
    let listening = fake.listen("127.0.0.1:0").await;
    let worker = Working::start(listening.address, Some(gated(&closed())), 1);
    fake.hand_out(leased(Spec::CleanUp {}));
    let stats = worker.stats.clone();
    eventually("the step is claimed", || stats.now().busy == 1).await;

    worker.stop().await;

    let memory = fake.memory();
    assert_eq!((stats.now().released, stats.now().done, memory.left), (1, 0, 1));
    assert_eq!((memory.released[0].1.token, memory.completed.len(), memory.failed.len()), (7, 0, 0));
}

#[tokio::test]
async fn a_worker_that_nobody_knows_any_more_registers_again() {
    let fake = Fake::new(Rules::default(), |seen| {
        (seen.verb() == "claim" && seen.before == 0).then_some(StatusCode::NOT_FOUND)
    });
    let listening = fake.listen("127.0.0.1:0").await;
    let gate = closed();
    gate.add_permits(1);
    let worker = Working::start(listening.address, Some(gated(&gate)), 1_000);
    fake.hand_out(leased(Spec::CleanUp {}));

    eventually("the step is done", || worker.stats.now().done == 1).await;

    assert_eq!(worker.stats.now().registered, 2);
    worker.stop().await;
}

#[tokio::test]
async fn two_workers_of_one_name_do_not_touch_each_other() {
    let fake = Fake::plain();
    let listening = fake.listen("127.0.0.1:0").await;
    let folder = tempfile::tempdir().unwrap();
    let gate = closed();
    let start = || {
        let absent = transcode::Capabilities::absent("not needed");
        Working::with(settings(listening.address, folder.path().to_owned(), 1_000, absent), Some(gated(&gate)))
    };
    let first = start();
    fake.hand_out(leased(Spec::CleanUp {}));
    eventually("the first works", || first.stats.now().busy == 1).await;
    let second = start();
    fake.hand_out(leased(Spec::CleanUp {}));
    eventually("the second works", || second.stats.now().busy == 1).await;

    gate.add_permits(2);
    eventually("both are done", || first.stats.now().done + second.stats.now().done == 2).await;

    assert_eq!((first.stats.now().done, second.stats.now().done), (1, 1));
    let registered: Vec<_> =
        fake.memory().seen.iter().filter(|seen| seen.verb() == "register").map(|seen| seen.body.clone()).collect();
    assert_eq!(registered.len(), 2);
    first.stop().await;
    second.stop().await;
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["workers.lock"]);
}
