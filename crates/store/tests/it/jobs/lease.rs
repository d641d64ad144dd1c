use super::*;

both! {
    async fn a_heartbeat_extends_the_lease_and_keeps_the_progress(db: Db) {
        job(&db, vec![step("one")]).await;
        let node = worker(&db, "a").await;
        let step = claimed(&db, &node).await;
        let beat = async |progress: Progress| db.catalogue.heartbeat(&step.id, step.token, &progress).await.expect("asked");

        db.advance_ms(10_000);
        let told = Progress { permille: 100, out_time_ms: Some(4_000), fps: Some(31.5), bytes: Some(9) };
        assert_eq!(beat(told.clone()).await, Fenced::Held(BEGIN.plus_ms(10_000 + LEASE_MS as i64)));
        let now = step_now(&db, &step.id).await;
        assert_eq!((now.progress, now.moved), (Some(told.clone()), Some(BEGIN.plus_ms(10_000))));

        db.advance_ms(10_000);
        beat(told.clone()).await;
        assert_eq!(step_now(&db, &step.id).await.moved, Some(BEGIN.plus_ms(10_000)), "the same again is no progress");
        beat(Progress { out_time_ms: Some(4_040), ..told }).await;
        assert_eq!(step_now(&db, &step.id).await.moved, Some(BEGIN.plus_ms(20_000)));
    }

    async fn a_lease_that_lapsed_but_was_not_reaped_goes_on(db: Db) {
        job(&db, vec![step("one")]).await;
        let node = worker(&db, "a").await;
        let step = claimed(&db, &node).await;
        db.advance_ms(2 * LEASE_MS);
        let beat = db.catalogue.heartbeat(&step.id, step.token, &progress(1)).await.expect("asked");
        assert_eq!(beat, Fenced::Held(BEGIN.plus_ms(3 * LEASE_MS as i64)));
        assert_eq!(db.catalogue.reap().await.expect("reaped").lost, 0);
        assert_eq!(done(&db, &step).await, Fenced::Held(()));
    }

    async fn an_old_token_is_refused_on_every_write(db: Db) {
        job(&db, vec![step("one")]).await;
        let node = worker(&db, "a").await;
        let old = claimed(&db, &node).await;
        assert_eq!(db.catalogue.release(&old.id, old.token).await.expect("asked"), Fenced::Held(()));
        let new = claimed(&db, &node).await;
        assert!(new.token > old.token);

        let refused = async |token: i64| {
            let c = &db.catalogue;
            assert_eq!(c.heartbeat(&old.id, token, &progress(1)).await.expect("asked"), Fenced::Lost);
            assert_eq!(c.release(&old.id, token).await.expect("asked"), Fenced::Lost);
            assert_eq!(c.fail(&old.id, token, &error(ErrorClass::Input)).await.expect("asked"), Fenced::Lost);
            let output = json!(1);
            let completed = c.complete(&old.id, token, &output, &Expansion::default()).await.expect("asked");
            assert_eq!(completed, Fenced::Lost);
            assert_eq!(c.holds(&old.id, token).await.expect("asked"), None);
        };
        for token in [old.token, new.token + 1, 0, -1] {
            refused(token).await;
        }
        assert_eq!(db.catalogue.live_tokens().await.expect("read"), [(new.id.clone(), new.token)]);
        assert_eq!(db.catalogue.holds(&new.id, new.token).await.expect("asked"), Some(new.clone()));
        assert_eq!(done(&db, &new).await, Fenced::Held(()));
        refused(new.token).await;
        assert_eq!(db.catalogue.live_tokens().await.expect("read"), []);
    }

    async fn a_released_step_costs_no_attempt_and_is_ready_at_once(db: Db) {
        job(&db, vec![NewStep { attempts_max: 1, ..step("one") }]).await;
        let node = worker(&db, "a").await;
        for _ in 0..5 {
            let step = claimed(&db, &node).await;
            assert_eq!(step.attempt, 1);
            db.catalogue.release(&step.id, step.token).await.expect("released");
        }
    }

    async fn the_waiting_hear_when_a_step_is_ready(db: Db) {
        job(&db, vec![step("one"), step_after("two", &["one"])]).await;
        let node = worker(&db, "a").await;
        let first = claimed(&db, &node).await;
        let mut changed = db.catalogue.changed();
        changed.mark_unchanged();
        done(&db, &first).await;
        assert!(changed.has_changed().expect("open"));
    }

    async fn one_completion_of_many_at_once_counts(db: Db) {
        let (_, id) = job(&db, vec![step("one"), step("two")]).await;
        let node = worker(&db, "a").await;
        let step = claimed(&db, &node).await;
        let tries = (0..8).map(|number| {
            let (catalogue, step) = (db.catalogue.clone(), step.clone());
            tokio::spawn(async move {
                catalogue.complete(&step.id, step.token, &json!(number), &Expansion::default()).await.expect("asked")
            })
        });
        let mut held = 0;
        for answer in tries.collect::<Vec<_>>() {
            held += u32::from(answer.await.expect("no panic") == Fenced::Held(()));
        }
        assert_eq!(held, 1);
        assert_eq!(state_of(&db, &id).await, JobState::Running, "the other step is still open");
        let kinds = job_events(&db).await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "job.step.done").count(), 1);
    }
}
