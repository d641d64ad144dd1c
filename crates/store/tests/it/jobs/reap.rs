use store::Reaped;

use super::*;

async fn reap(db: &Db) -> Reaped {
    db.catalogue.reap().await.expect("reaped")
}

/// Lets the lease of `step` run out.
async fn lose(db: &Db) -> Reaped {
    db.advance_ms(LEASE_MS);
    let reaped = reap(db).await;
    db.advance_ms(PAUSE_MS);
    reaped
}

both! {
    async fn a_lease_that_ran_out_counts_as_an_attempt_and_the_step_goes_on_elsewhere(db: Db) {
        job(&db, vec![step("a")]).await;
        let node = worker(&db, "n").await;
        let step = claimed(&db, &node).await;
        db.advance_ms(LEASE_MS - 1);
        assert_eq!(reap(&db).await, Reaped::default());
        db.advance_ms(1);
        assert_eq!(reap(&db).await, Reaped { lost: 1, retried: 1, ..Reaped::default() });
        assert_eq!(reap(&db).await, Reaped::default());
        assert_eq!(done(&db, &step).await, Fenced::Lost);
        let beat = db.catalogue.heartbeat(&step.id, step.token, &progress(1)).await.expect("asked");
        assert_eq!(beat, Fenced::Lost);

        let now = step_now(&db, &step.id).await;
        assert_eq!((now.state, now.attempt), (StepState::Ready, 1));
        assert!(now.token > step.token);
        assert_eq!(now.error.expect("why").code, "lease_lost");
        db.advance_ms(PAUSE_MS);
        let again = claimed(&db, &node).await;
        assert_eq!(again.attempt, 2);
        assert_eq!(done(&db, &again).await, Fenced::Held(()));
    }

    async fn a_step_lost_on_two_nodes_is_poison(db: Db) {
        let (asset, id) = job(&db, vec![NewStep { attempts_max: 9, ..step("poison") }]).await;
        let (a, b) = (worker(&db, "a").await, worker(&db, "b").await);
        claimed(&db, &a).await;
        assert_eq!(lose(&db).await.retried, 1);
        claimed(&db, &a).await;
        assert_eq!(lose(&db).await.retried, 1, "the same node again is no proof");
        let step = claimed(&db, &b).await;
        assert_eq!(lose(&db).await, Reaped { lost: 1, quarantined: 1, ..Reaped::default() });
        assert_eq!(step_now(&db, &step.id).await.state, StepState::Quarantined);
        assert_eq!(state_of(&db, &id).await, JobState::Failed);
        assert_eq!(asset_state(&db, &asset).await, AssetState::Errored);
        assert_eq!(claim(&db.catalogue, &a).await, None);
    }

    async fn a_step_lost_as_often_as_it_may_be_tried_is_quarantined(db: Db) {
        let (_, id) = job(&db, vec![NewStep { attempts_max: 2, ..step("a") }]).await;
        let node = worker(&db, "n").await;
        claimed(&db, &node).await;
        assert_eq!(lose(&db).await.retried, 1);
        claimed(&db, &node).await;
        assert_eq!(lose(&db).await.quarantined, 1);
        assert_eq!(state_of(&db, &id).await, JobState::Failed);
    }

    async fn a_step_that_does_not_move_for_its_hard_cap_is_lost_though_its_worker_speaks(db: Db) {
        job(&db, vec![NewStep { spec: json!({ "wall_ms": 60_000 }), ..step("a") }]).await;
        let node = worker(&db, "n").await;
        let step = claimed(&db, &node).await;
        let beat = async |permille| {
            db.catalogue.heartbeat(&step.id, step.token, &progress(permille)).await.expect("asked")
        };
        for permille in [10, 20] {
            db.advance_ms(20_000);
            assert!(matches!(beat(permille).await, Fenced::Held(_)));
        }
        for _ in 0..2 {
            db.advance_ms(20_000);
            assert!(matches!(beat(20).await, Fenced::Held(_)));
            assert_eq!(reap(&db).await.lost, 0);
        }
        db.advance_ms(20_000);
        assert!(matches!(beat(20).await, Fenced::Held(_)));
        assert_eq!(reap(&db).await.lost, 1);
        assert_eq!(step_now(&db, &step.id).await.error.expect("why").code, "stalled");
    }

    async fn a_node_that_loses_much_is_cordoned_and_what_it_consumed_is_refunded(db: Db) {
        let (_, id) = job(&db, (0..3).map(|n| NewStep { attempts_max: 2, ..step(&n.to_string()) }).collect()).await;
        let bad = worker(&db, "bad").await;
        let (_first, second, third) = (claimed(&db, &bad).await, claimed(&db, &bad).await, claimed(&db, &bad).await);
        let good = worker(&db, "good").await;
        fail(&db, &second, ErrorClass::Transient).await;
        db.advance_ms(PAUSE_MS);
        let second = claimed(&db, &bad).await;
        assert_eq!(second.attempt, 2);
        // It is silent from here on; the other one is not.
        db.advance_ms(LEASE_MS);
        db.catalogue.seen_worker(&good).await.expect("seen");
        let reaped = reap(&db).await;
        assert_eq!((reaped.lost, reaped.retried, reaped.cordoned), (3, 3, vec!["bad".to_owned()]));
        for step in db.catalogue.steps(&id).await.expect("read") {
            assert_eq!((step.state, step.attempt), (StepState::Ready, 0), "{}", step.name);
        }
        assert_eq!(state_of(&db, &id).await, JobState::Running);
        db.advance_ms(PAUSE_MS);
        assert_eq!(claim(&db.catalogue, &bad).await, None);
        for _ in 0..3 {
            let step = claimed(&db, &good).await;
            assert_eq!(step.attempt, 1);
            done(&db, &step).await;
        }
        assert_eq!(state_of(&db, &id).await, JobState::Done);
        assert_eq!(done(&db, &third).await, Fenced::Lost);
        let workers = db.catalogue.workers().await.expect("read");
        assert!(workers[0].cordoned && workers[0].cordon_reason.is_some() && !workers[1].cordoned);
    }

    async fn a_job_that_failed_by_a_node_that_is_cordoned_later_is_taken_up_again(db: Db) {
        let (asset, first) = job(&db, vec![NewStep { attempts_max: 1, ..step("a") }]).await;
        let (bad, good) = (worker(&db, "bad").await, worker(&db, "good").await);
        let a = claimed(&db, &bad).await;
        assert_eq!(fail(&db, &a, ErrorClass::Transient).await, Fenced::Held(StepState::Failed));
        assert_eq!(asset_state(&db, &asset).await, AssetState::Errored);
        job(&db, vec![step("b"), step("c")]).await;
        for _ in 0..2 {
            let step = claimed(&db, &bad).await;
            assert_eq!(fail(&db, &step, ErrorClass::Transient).await, Fenced::Held(StepState::Ready));
        }
        assert_eq!(state_of(&db, &first).await, JobState::Running);
        assert_eq!(asset_state(&db, &asset).await, AssetState::Preparing);
        let step = claimed_as(&db, &good, "a").await;
        assert_eq!(step.attempt, 1);
        done(&db, &step).await;
        assert_eq!(state_of(&db, &first).await, JobState::Done);
    }

    async fn the_last_node_at_work_is_not_cordoned(db: Db) {
        job(&db, (0..6).map(|n| step(&n.to_string())).collect()).await;
        let node = worker(&db, "only").await;
        for _ in 0..5 {
            let step = claimed(&db, &node).await;
            fail(&db, &step, ErrorClass::Transient).await;
        }
        assert!(!db.catalogue.worker(&node).await.expect("read").expect("there").cordoned);
        assert!(claim(&db.catalogue, &node).await.is_some());
    }

    async fn steps_that_fail_everywhere_are_not_held_against_nodes(db: Db) {
        job(&db, (0..3).map(|n| NewStep { attempts_max: 9, ..step(&n.to_string()) }).collect()).await;
        let (a, b, c) = (worker(&db, "a").await, worker(&db, "b").await, worker(&db, "c").await);
        for (node, steps) in [(&a, 2), (&b, 3), (&c, 3)] {
            for _ in 0..steps {
                let step = claimed(&db, node).await;
                fail(&db, &step, ErrorClass::Transient).await;
            }
            db.advance_ms(PAUSE_MS);
        }
        let cordoned = db.catalogue.workers().await.expect("read").iter().filter(|worker| worker.cordoned).count();
        assert_eq!(cordoned, 0);
    }

    async fn a_step_that_waits_long_is_raised_a_class(db: Db) {
        job(&db, vec![NewStep { class: 2, ..step("patient") }]).await;
        let wait_ms = db.catalogue.rules().promote_after_ms as u64;
        db.advance_ms(wait_ms - 1);
        assert_eq!(reap(&db).await.promoted, 0);
        db.advance_ms(1);
        assert_eq!(reap(&db).await.promoted, 1);
        assert_eq!(reap(&db).await.promoted, 0, "the wait begins again");
        job_of(&db, "default", NewJob { priority: -9, ..new_job(vec![NewStep { class: 1, ..step("same class") }]) }).await;
        job(&db, vec![NewStep { class: 2, ..step("later") }]).await;
        let node = worker(&db, "n").await;
        for name in ["same class", "patient", "later"] {
            claimed_as(&db, &node, name).await;
        }
    }
}
