use store::JobFilter;

use super::*;

both! {
    async fn a_cancelled_job_takes_its_steps_from_their_workers(db: Db) {
        let (asset, id) = job(&db, vec![step("a"), step("b"), step_after("c", &["a"])]).await;
        let node = worker(&db, "n").await;
        let a = claimed(&db, &node).await;
        assert!(db.catalogue.cancel_job(&id).await.expect("asked"));
        assert!(!db.catalogue.cancel_job(&id).await.expect("asked"), "it is");
        let beat = db.catalogue.heartbeat(&a.id, a.token, &progress(1)).await.expect("asked");
        assert_eq!(beat, Fenced::Lost);
        assert_eq!(claim(&db.catalogue, &node).await, None);
        assert_eq!(state_of(&db, &id).await, JobState::Cancelled);
        assert_eq!(asset_state(&db, &asset).await, AssetState::Errored, "nothing plays and nobody works on it");
        assert_eq!(job_events(&db).await.last().map(String::as_str), Some("job.cancelled"));

        assert!(db.catalogue.retry_job(&id).await.expect("asked"));
        assert_eq!(asset_state(&db, &asset).await, AssetState::Preparing);
        let again = claimed_as(&db, &node, "a").await;
        assert!(again.token > a.token, "no token comes twice");
        assert_eq!(done(&db, &a).await, Fenced::Lost);
    }

    async fn a_deleted_asset_ends_its_jobs_and_they_cannot_be_retried(db: Db) {
        let (asset, id) = job(&db, vec![step("a")]).await;
        let node = worker(&db, "n").await;
        let a = claimed(&db, &node).await;
        assert!(db.catalogue.delete_asset(&asset).await.expect("deleted"));
        assert_eq!(done(&db, &a).await, Fenced::Lost);
        assert_eq!(state_of(&db, &id).await, JobState::Cancelled);
        assert!(!db.catalogue.retry_job(&id).await.expect("asked"));
        db.catalogue.forget_asset(&asset).await.expect("forgotten");
        assert_eq!(db.catalogue.job(&id).await.expect("read"), None);
        assert_eq!(db.catalogue.step(&a.id).await.expect("read"), None);
    }

    async fn a_paused_job_leases_nothing_new_and_finishes_what_runs(db: Db) {
        let (_, id) = job(&db, vec![step("a"), step("b"), step_after("c", &["a"])]).await;
        let node = worker(&db, "n").await;
        let a = claimed(&db, &node).await;
        assert!(db.catalogue.pause_job(&id).await.expect("asked"));
        assert!(!db.catalogue.pause_job(&id).await.expect("asked"));
        assert_eq!(claim(&db.catalogue, &node).await, None);
        assert_eq!(done(&db, &a).await, Fenced::Held(()));
        assert_eq!(states(&db, &id).await["c"], StepState::Ready);
        assert_eq!(claim(&db.catalogue, &node).await, None, "nor what became ready meanwhile");
        assert!(db.catalogue.resume_job(&id).await.expect("asked"));
        assert!(!db.catalogue.resume_job(&id).await.expect("asked"));
        let (b, c) = (claimed_as(&db, &node, "b").await, claimed_as(&db, &node, "c").await);
        db.catalogue.pause_job(&id).await.expect("paused");
        db.catalogue.release(&b.id, b.token).await.expect("released");
        fail(&db, &c, ErrorClass::Transient).await;
        db.advance_ms(PAUSE_MS);
        assert_eq!(claim(&db.catalogue, &node).await, None, "nor what came back");
        db.catalogue.resume_job(&id).await.expect("resumed");
        for _ in 0..2 {
            let step = claimed(&db, &node).await;
            done(&db, &step).await;
        }
        assert_eq!(state_of(&db, &id).await, JobState::Done);
        assert!(!db.catalogue.pause_job(&id).await.expect("asked"), "it has ended");
    }

    async fn a_job_is_moved_to_the_front(db: Db) {
        job(&db, vec![step("early")]).await;
        db.advance_ms(1);
        let (_, late) = job(&db, vec![step("late"), step_after("later", &["late"])]).await;
        assert_eq!(db.catalogue.queue_position(&late).await.expect("asked"), Some(1));
        assert!(db.catalogue.prioritise_job(&late, -5).await.expect("asked"));
        assert_eq!(db.catalogue.queue_position(&late).await.expect("asked"), Some(0));
        let node = worker(&db, "n").await;
        let step = claimed_as(&db, &node, "late").await;
        assert_eq!(db.catalogue.queue_position(&late).await.expect("asked"), None, "nothing of it waits in the queue");
        done(&db, &step).await;
        claimed_as(&db, &node, "later").await;
        assert_eq!(db.catalogue.job(&late).await.expect("read").expect("there").priority, -5);
    }

    async fn a_retried_job_keeps_what_is_done_and_gets_all_attempts_again(db: Db) {
        let steps = vec![step("a"), NewStep { attempts_max: 1, ..step_after("b", &["a"]) }, step_after("c", &["b"])];
        let (asset, id) = job(&db, steps).await;
        let node = worker(&db, "n").await;
        let a = claimed(&db, &node).await;
        done(&db, &a).await;
        let b = claimed(&db, &node).await;
        assert_eq!(fail(&db, &b, ErrorClass::Bug).await, Fenced::Held(StepState::Quarantined));
        assert!(db.catalogue.retry_job(&id).await.expect("asked"));
        assert!(!db.catalogue.retry_job(&id).await.expect("asked"), "it runs");
        use StepState::{Blocked, Done, Ready};
        assert_eq!(states(&db, &id).await, named(&[("a", Done), ("b", Ready), ("c", Blocked)]));
        assert_eq!(asset_state(&db, &asset).await, AssetState::Preparing);
        let b = claimed_as(&db, &node, "b").await;
        assert_eq!(b.attempt, 1);
        done(&db, &b).await;
        let c = claimed_as(&db, &node, "c").await;
        done(&db, &c).await;
        let job = db.catalogue.job(&id).await.expect("read").expect("there");
        assert_eq!((job.state, job.error), (JobState::Done, None));
        assert!(!db.catalogue.retry_job(&id).await.expect("asked"), "it is done");
    }

    async fn a_poisoned_step_that_is_retried_begins_with_a_clean_slate(db: Db) {
        let (_, id) = job(&db, vec![NewStep { attempts_max: 9, ..step("a") }]).await;
        let mut last = None;
        for name in ["a", "b"] {
            let node = worker(&db, name).await;
            last = Some(claimed(&db, &node).await);
            db.advance_ms(LEASE_MS);
            db.catalogue.reap().await.expect("reaped");
            db.advance_ms(PAUSE_MS);
        }
        let poisoned = last.expect("two rounds");
        assert_eq!(state_of(&db, &id).await, JobState::Failed);
        assert!(db.catalogue.retry_step(&poisoned.id).await.expect("asked"));
        assert!(!db.catalogue.retry_step(&poisoned.id).await.expect("asked"), "it is ready");
        let node = worker(&db, "c").await;
        claimed(&db, &node).await;
        db.advance_ms(LEASE_MS);
        assert_eq!(db.catalogue.reap().await.expect("reaped").retried, 1, "one node more is not two");
    }

    async fn jobs_are_listed_newest_first_and_page_by_page(db: Db) {
        let mut ids = Vec::new();
        for number in 0..5 {
            ids.push(job_of(&db, if number % 2 == 0 { "even" } else { "odd" }, new_job(vec![step("a")])).await);
            db.advance_ms(1);
        }
        ids.reverse();
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = db.catalogue.jobs(&JobFilter::default(), after.as_deref(), 2).await.expect("read");
            seen.extend(page.rows.into_iter().map(|job| job.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(seen.iter().eq(ids.iter().map(|(_, job)| job)));
        let count = async |filter: JobFilter| db.catalogue.jobs(&filter, None, 100).await.expect("read").rows.len();
        assert_eq!(count(JobFilter { tenant: Some("odd".into()), ..JobFilter::default() }).await, 2);
        assert_eq!(count(JobFilter { asset: Some(ids[0].0.clone()), ..JobFilter::default() }).await, 1);
        db.catalogue.cancel_job(&ids[0].1).await.expect("cancelled");
        assert_eq!(count(JobFilter { state: Some(JobState::Cancelled), ..JobFilter::default() }).await, 1);
        assert!(db.catalogue.jobs(&JobFilter::default(), Some("nonsense"), 2).await.is_err());
    }

    async fn the_queue_is_counted_by_capability_and_class(db: Db) {
        let package = NewStep { cap: "package".into(), class: 0, weight: 2.5, ..step("p") };
        job(&db, vec![step("a"), step("b"), package, step_after("c", &["a"])]).await;
        let node = worker(&db, "n").await;
        claimed_as(&db, &node, "p").await;
        let queue = db.catalogue.queue().await.expect("read");
        let seen: Vec<_> = queue.iter().map(|q| (q.cap.as_str(), q.class, q.ready, q.leased, q.ready_weight)).collect();
        assert_eq!(seen, [("encode", 1, 2, 0, 20.0), ("package", 0, 0, 1, 0.0)]);
    }

    async fn workers_come_and_go(db: Db) {
        job(&db, vec![step("a")]).await;
        let (busy, idle) = (worker(&db, "busy").await, worker(&db, "idle").await);
        claimed(&db, &busy).await;
        db.advance_ms(100_000);
        assert_eq!(db.catalogue.seen_worker(&WorkerId::new()).await.expect("asked"), None);
        assert_eq!(db.catalogue.forget_workers(50_000).await.expect("asked"), 1, "who holds a step is kept");
        assert_eq!(db.catalogue.worker(&idle).await.expect("read"), None);
        let seen = db.catalogue.seen_worker(&busy).await.expect("asked").expect("there");
        assert_eq!((seen.seen, seen.registered), (BEGIN.plus_ms(100_000), BEGIN));
        assert!(!db.catalogue.cordon("nobody", Some("trial")).await.expect("asked"));
        assert!(!db.catalogue.cordon("busy", None).await.expect("asked"), "it was not cordoned");
        assert!(!db.catalogue.drain_worker(&idle).await.expect("asked"));
    }
}
