use store::{AssetPatch, MediaKind, NewEvent, Rendition};

use super::*;

fn rendition(asset: &AssetId, name: &str) -> Rendition {
    Rendition {
        asset: asset.clone(),
        name: name.into(),
        kind: MediaKind::Video,
        codecs: "avc1.64001f".into(),
        width: Some(160),
        height: Some(90),
        bandwidth: 1_000,
        average_bandwidth: 900,
        language: None,
        label: None,
        default: true,
        object: "assets/x/v.mp4".into(),
        bytes: 10,
        index: "assets/x/v.json".into(),
        quality: json!({}),
        ready: BEGIN,
    }
}

both! {
    async fn a_step_waits_for_all_that_stand_before_it_and_the_last_one_ends_the_job(db: Db) {
        let (_, id) = job(&db, vec![step("a"), step("b"), step_after("c", &["a", "b"])]).await;
        let node = worker(&db, "n").await;
        let (a, b) = (claimed_as(&db, &node, "a").await, claimed_as(&db, &node, "b").await);
        assert_eq!(claim(&db.catalogue, &node).await, None);
        done(&db, &a).await;
        assert_eq!(claim(&db.catalogue, &node).await, None, "b is not done");
        done(&db, &b).await;
        let c = claimed_as(&db, &node, "c").await;
        assert_eq!(state_of(&db, &id).await, JobState::Running);
        db.advance_ms(5);
        done(&db, &c).await;

        let ended = db.catalogue.job(&id).await.expect("read").expect("there");
        assert_eq!((ended.state, ended.finished), (JobState::Done, Some(BEGIN.plus_ms(5))));
        let c = step_now(&db, &c.id).await;
        assert_eq!((c.state, c.output, c.lease_until), (StepState::Done, Some(json!({ "of": "c" })), None));
        let kinds = ["job.created", "job.started", "job.step.done", "job.step.done", "job.step.done", "job.done"];
        assert_eq!(job_events(&db).await, kinds);
    }

    async fn an_expansion_is_applied_with_the_completion(db: Db) {
        let (asset, id) = job(&db, vec![step("probe")]).await;
        let node = worker(&db, "n").await;
        let probe = claimed(&db, &node).await;
        let expansion = Expansion {
            // Listed in any order, with a step that waits for one that is done, and a name that is there already.
            steps: vec![step_after("b", &["a", "a"]), step_after("a", &["probe"]), step("probe")],
            context: [("plan".to_owned(), json!([1, 2]))].into_iter().collect(),
            renditions: vec![rendition(&asset, "v90")],
            asset: AssetPatch { state: Some(AssetState::Ready), duration_ms: Some(4_000), ..AssetPatch::default() },
            events: vec![NewEvent {
                kind: "job.planned",
                tenant: "default".into(),
                asset: Some(asset.clone()),
                job: Some(id.clone()),
                data: json!({}),
            }],
            redo: vec![],
        };
        assert_eq!(done_with(&db, &probe, &expansion).await, Fenced::Held(()));

        assert_eq!(
            states(&db, &id).await,
            named(&[("probe", StepState::Done), ("a", StepState::Ready), ("b", StepState::Blocked)])
        );
        let job = db.catalogue.job(&id).await.expect("read").expect("there");
        assert_eq!((job.state, job.context), (JobState::Running, json!({ "plan": [1, 2] })));
        assert_eq!(db.catalogue.renditions(&asset).await.expect("read").len(), 1);
        let asset = db.catalogue.asset(&asset).await.expect("read").expect("there");
        assert_eq!((asset.state, asset.duration_ms), (AssetState::Ready, Some(4_000)));
        assert!(job_events(&db).await.contains(&"job.planned".to_owned()));

        let a = claimed_as(&db, &node, "a").await;
        let more = Expansion { context: [("n".to_owned(), json!(1))].into_iter().collect(), ..Expansion::default() };
        done_with(&db, &a, &more).await;
        let b = claimed_as(&db, &node, "b").await;
        done(&db, &b).await;
        let job = db.catalogue.job(&id).await.expect("read").expect("there");
        assert_eq!((job.state, job.context), (JobState::Done, json!({ "plan": [1, 2], "n": 1 })));
        let needs = db.catalogue.step_needs(&id).await.expect("read");
        assert_eq!(needs, [(a.id.clone(), probe.id), (b.id, a.id)]);
    }

    async fn an_expansion_that_cannot_be_leaves_the_step_as_it_was(db: Db) {
        let (_, id) = job(&db, vec![step("one")]).await;
        let node = worker(&db, "n").await;
        let step = claimed(&db, &node).await;
        let impossible = [
            Expansion { steps: vec![step_after("two", &["nowhere"])], ..Expansion::default() },
            Expansion { redo: vec!["nowhere".into()], ..Expansion::default() },
        ];
        for expansion in impossible {
            let refused = db.catalogue.complete(&step.id, step.token, &json!(1), &expansion).await;
            assert!(matches!(refused, Err(store::Error::Refused { .. })));
        }
        assert_eq!(step_now(&db, &step.id).await.state, StepState::Leased);
        assert_eq!(state_of(&db, &id).await, JobState::Running);
        assert_eq!(done(&db, &step).await, Fenced::Held(()));
    }

    async fn a_bad_chunk_is_done_again_with_what_stands_behind_it_and_nothing_else(db: Db) {
        let steps =
            vec![step("c0"), step("c1"), step_after("stitch", &["c0", "c1"]), step_after("package", &["stitch"])];
        let (_, id) = job(&db, steps).await;
        let node = worker(&db, "n").await;
        for name in ["c0", "c1"] {
            let step = claimed_as(&db, &node, name).await;
            done(&db, &step).await;
        }
        let stitch = claimed_as(&db, &node, "stitch").await;
        let redo = Expansion { redo: vec!["c1".into()], ..Expansion::default() };
        done_with(&db, &stitch, &redo).await;
        use StepState::{Blocked, Done, Ready};
        assert_eq!(
            states(&db, &id).await,
            named(&[("c0", Done), ("c1", Ready), ("stitch", Blocked), ("package", Blocked)])
        );
        let again = claimed_as(&db, &node, "c1").await;
        assert_eq!(again.attempt, 2, "the attempts go on");
        done(&db, &again).await;
        for name in ["stitch", "package"] {
            assert_eq!(state_of(&db, &id).await, JobState::Running);
            let step = claimed_as(&db, &node, name).await;
            done(&db, &step).await;
        }
        assert_eq!(state_of(&db, &id).await, JobState::Done);
    }

    async fn a_chunk_that_is_bad_every_time_fails_the_job(db: Db) {
        let (_, id) = job(&db, vec![NewStep { attempts_max: 2, ..step("c0") }, step_after("stitch", &["c0"])]).await;
        let node = worker(&db, "n").await;
        let redo = Expansion { redo: vec!["c0".into()], ..Expansion::default() };
        for state in [JobState::Running, JobState::Failed] {
            let chunk = claimed_as(&db, &node, "c0").await;
            done(&db, &chunk).await;
            let stitch = claimed_as(&db, &node, "stitch").await;
            done_with(&db, &stitch, &redo).await;
            assert_eq!(state_of(&db, &id).await, state);
        }
        assert_eq!(claim(&db.catalogue, &node).await, None);
        let error = db.catalogue.job(&id).await.expect("read").expect("there").error.expect("why");
        assert_eq!(error.code, "redone_too_often");
    }

    async fn an_input_error_fails_the_job_at_once(db: Db) {
        let (asset, id) = job(&db, vec![step("a"), step("b"), step_after("c", &["a"])]).await;
        let node = worker(&db, "n").await;
        let (a, b) = (claimed(&db, &node).await, claimed(&db, &node).await);
        assert_eq!(fail(&db, &a, ErrorClass::Input).await, Fenced::Held(StepState::Failed));
        use StepState::{Cancelled, Failed};
        assert_eq!(states(&db, &id).await, named(&[("a", Failed), ("b", Cancelled), ("c", Cancelled)]));
        assert_eq!(done(&db, &b).await, Fenced::Lost, "the others' workers hear it");
        assert_eq!(asset_state(&db, &asset).await, AssetState::Errored);
        let job = db.catalogue.job(&id).await.expect("read").expect("there");
        let expected = StepError { worker: Some("n".into()), ..error(ErrorClass::Input) };
        assert_eq!((job.state, job.error), (JobState::Failed, Some(expected)));
        assert_eq!(job_events(&db).await, ["job.created", "job.started", "job.step.failed", "job.failed"]);
    }

    async fn a_failure_leaves_what_plays_alone(db: Db) {
        let (asset, id) = job(&db, vec![step("a")]).await;
        let ready = AssetPatch { state: Some(AssetState::Ready), ..AssetPatch::default() };
        db.catalogue.update_asset(&asset, &ready).await.expect("updated");
        let node = worker(&db, "n").await;
        let a = claimed(&db, &node).await;
        fail(&db, &a, ErrorClass::Input).await;
        assert_eq!(state_of(&db, &id).await, JobState::Failed);
        assert_eq!(asset_state(&db, &asset).await, AssetState::Ready);
    }

    async fn a_transient_error_is_retried_after_pauses_that_grow_until_the_attempts_are_used_up(db: Db) {
        let (_, id) = job(&db, vec![step("a")]).await;
        let node = worker(&db, "n").await;
        for (attempt, least_ms, most_ms) in [(1, 1_000, 2_000), (2, 2_000, 4_000)] {
            let step = claimed(&db, &node).await;
            assert_eq!(step.attempt, attempt);
            assert_eq!(fail(&db, &step, ErrorClass::Transient).await, Fenced::Held(StepState::Ready));
            let now = db.catalogue.now().await.expect("a time").unix_ms();
            let pause_ms = step_now(&db, &step.id).await.ready_at.unix_ms() - now;
            assert!((least_ms..=most_ms).contains(&pause_ms), "{pause_ms}");
            assert_eq!(claim(&db.catalogue, &node).await, None, "not before the pause is over");
            db.advance_ms(most_ms as u64);
        }
        let step = claimed(&db, &node).await;
        assert_eq!(fail(&db, &step, ErrorClass::Transient).await, Fenced::Held(StepState::Failed));
        assert_eq!(state_of(&db, &id).await, JobState::Failed);
        assert_eq!(step_now(&db, &step.id).await.error.expect("kept").log.as_deref(), Some("last line"));
    }

    async fn a_step_too_big_for_a_node_goes_to_another_while_there_is_one(db: Db) {
        job(&db, vec![NewStep { attempts_max: 9, ..step("big") }]).await;
        let small = worker(&db, "small").await;
        let step = claimed(&db, &small).await;
        let large = worker(&db, "large").await;
        assert_eq!(fail(&db, &step, ErrorClass::Capacity).await, Fenced::Held(StepState::Ready));
        db.advance_ms(PAUSE_MS);
        assert_eq!(claim(&db.catalogue, &small).await, None, "another could do it");
        let step = claimed(&db, &large).await;
        db.catalogue.release(&step.id, step.token).await.expect("released");
        db.catalogue.cordon("large", Some("trial")).await.expect("cordoned");
        let step = claimed(&db, &small).await;
        db.catalogue.release(&step.id, step.token).await.expect("released");
        db.catalogue.cordon("large", None).await.expect("lifted");
        assert_eq!(claim(&db.catalogue, &small).await, None);
        // The large one is silent for so long that it counts as gone.
        db.advance_ms(3 * LEASE_MS);
        claimed_as(&db, &small, "big").await;
    }

    async fn a_bug_is_quarantined(db: Db) {
        let (_, id) = job(&db, vec![step("a")]).await;
        let node = worker(&db, "n").await;
        let step = claimed(&db, &node).await;
        assert_eq!(fail(&db, &step, ErrorClass::Bug).await, Fenced::Held(StepState::Quarantined));
        assert_eq!(state_of(&db, &id).await, JobState::Failed);
    }

    async fn an_optional_step_that_fails_counts_as_done(db: Db) {
        let (_, id) = job(&db, vec![optional(step("poster")), step_after("end", &["poster"])]).await;
        let node = worker(&db, "n").await;
        let poster = claimed_as(&db, &node, "poster").await;
        assert_eq!(fail(&db, &poster, ErrorClass::Input).await, Fenced::Held(StepState::Done));
        let poster = step_now(&db, &poster.id).await;
        assert!(poster.error.is_some() && poster.output.is_none());
        let end = claimed_as(&db, &node, "end").await;
        done(&db, &end).await;
        assert_eq!(state_of(&db, &id).await, JobState::Done);

        assert!(db.catalogue.retry_step(&poster.id).await.expect("asked"), "it can be done again by itself");
        assert_eq!(state_of(&db, &id).await, JobState::Running);
        let poster = claimed_as(&db, &node, "poster").await;
        done(&db, &poster).await;
        assert_eq!(state_of(&db, &id).await, JobState::Done);
        assert!(!db.catalogue.retry_step(&poster.id).await.expect("asked"), "it is done well");
    }
}
