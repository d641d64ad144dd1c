use std::collections::HashSet;

use super::*;

both! {
    async fn the_lowest_class_goes_first_whatever_its_age(db: Db) {
        job(&db, vec![NewStep { class: 2, ..step("old") }]).await;
        db.advance_ms(1_000);
        job(&db, vec![NewStep { class: 0, ..step("new") }]).await;
        let node = worker(&db, "a").await;
        claimed_as(&db, &node, "new").await;
        claimed_as(&db, &node, "old").await;
        assert_eq!(claim(&db.catalogue, &node).await, None);
    }

    async fn tenants_take_turns_by_what_they_have_leased(db: Db) {
        let names = |tenant: &str| (0..4).map(|n| step(&format!("{tenant}{n}"))).collect();
        job_of(&db, "many", new_job(names("many"))).await;
        db.advance_ms(1_000);
        job_of(&db, "few", new_job(names("few"))).await;
        let node = worker(&db, "a").await;
        let mut order = Vec::new();
        for _ in 0..8 {
            order.push(claimed(&db, &node).await.tenant);
        }
        assert_eq!(order, ["many", "few", "many", "few", "many", "few", "many", "few"]);
    }

    async fn a_tenant_with_more_at_work_waits_for_the_other(db: Db) {
        job_of(&db, "a", new_job(vec![step("a0"), step("a1"), step("a2"), step("a3")])).await;
        let node = worker(&db, "node").await;
        claimed(&db, &node).await;
        let second = claimed(&db, &node).await;
        job_of(&db, "b", new_job(vec![step("b0"), step("b1"), step("b2")])).await;
        claimed_as(&db, &node, "b0").await;
        done(&db, &second).await;
        claimed_as(&db, &node, "a2").await;
        claimed_as(&db, &node, "b1").await;
    }

    async fn priority_then_age_then_order_within_a_tenant(db: Db) {
        job(&db, vec![step("first"), step("second")]).await;
        db.advance_ms(1);
        job(&db, vec![step("third")]).await;
        db.advance_ms(1);
        job_of(&db, "default", NewJob { priority: -1, ..new_job(vec![step("urgent")]) }).await;
        let node = worker(&db, "a").await;
        for name in ["urgent", "first", "second", "third"] {
            claimed_as(&db, &node, name).await;
        }
    }

    async fn only_steps_of_the_given_capabilities_are_leased(db: Db) {
        let package = NewStep { cap: "package".into(), class: 5, ..step("package") };
        let other = NewStep { cap: "pack".into(), class: 0, ..step("pack") };
        job(&db, vec![step("encode"), package, other]).await;
        let node = worker(&db, "a").await;
        let caps = |caps: &[&str]| caps.iter().map(|&cap| cap.to_owned()).collect::<Vec<_>>();
        assert_eq!(db.catalogue.claim(&node, &[]).await.expect("asked"), None);
        assert_eq!(db.catalogue.claim(&node, &caps(&["pac", "packag", "%", "a/0"])).await.expect("asked"), None);
        let lease = db.catalogue.claim(&node, &caps(&["package"])).await.expect("asked").expect("a step");
        assert_eq!(lease.step.name, "package");
        claimed_as(&db, &node, "encode").await;
    }

    async fn a_lease_says_all_that_a_worker_needs(db: Db) {
        let (asset, id) = job(&db, vec![step("one")]).await;
        let node = worker(&db, "a").await;
        db.advance_ms(70);
        let step = claimed(&db, &node).await;
        assert_eq!((&step.asset, &step.job, step.tenant.as_str()), (&asset, &id, "default"));
        assert_eq!((step.state, step.attempt, step.token), (StepState::Leased, 1, 1));
        assert_eq!(step.worker.as_ref(), Some(&node));
        assert_eq!(step.started, Some(BEGIN.plus_ms(70)));
        assert_eq!(step.lease_until, Some(BEGIN.plus_ms(70 + LEASE_MS as i64)));
        assert_eq!(step.spec, json!({ "kind": "encode" }));
        assert_eq!(step_now(&db, &step.id).await, step, "as it is stored");
    }

    async fn strangers_and_workers_that_are_cordoned_or_draining_get_nothing(db: Db) {
        job(&db, vec![step("one")]).await;
        assert_eq!(claim(&db.catalogue, &WorkerId::new()).await, None, "never registered");
        let cordoned = worker(&db, "cordoned").await;
        assert!(db.catalogue.cordon("cordoned", Some("its disk is broken")).await.expect("cordoned"));
        assert_eq!(claim(&db.catalogue, &cordoned).await, None);
        let again = worker(&db, "cordoned").await;
        assert_eq!(claim(&db.catalogue, &again).await, None, "a restart does not lift a cordon");
        let draining = worker(&db, "draining").await;
        assert!(db.catalogue.drain_worker(&draining).await.expect("drains"));
        assert_eq!(claim(&db.catalogue, &draining).await, None);
        assert!(db.catalogue.cordon("cordoned", None).await.expect("lifted"));
        assert!(claim(&db.catalogue, &again).await.is_some());
    }

    async fn no_step_is_leased_twice_however_many_claim_at_once(db: Db) {
        for tenant in ["a", "b", "c"] {
            job_of(&db, tenant, new_job((0..40).map(|n| step(&n.to_string())).collect())).await;
        }
        let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(16));
        let mut tasks = Vec::new();
        for number in 0..16 {
            let node = worker(&db, &format!("node-{number}")).await;
            let (catalogue, barrier) = (db.catalogue.clone(), barrier.clone());
            tasks.push(tokio::spawn(async move {
                barrier.wait().await;
                let mut steps = Vec::new();
                while let Some(step) = claim(&catalogue, &node).await {
                    steps.push(step.id);
                }
                steps
            }));
        }
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.expect("no panic"));
        }
        // A claim may have come away empty only because others held the last rows.
        let node = worker(&db, "last").await;
        while let Some(step) = claim(&db.catalogue, &node).await {
            all.push(step.id);
        }
        assert_eq!(all.len(), 120);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 120);
    }

    async fn a_job_is_started_once(db: Db) {
        job(&db, vec![step("one"), step("two")]).await;
        let node = worker(&db, "a").await;
        claimed(&db, &node).await;
        claimed(&db, &node).await;
        assert_eq!(job_events(&db).await, ["job.created", "job.started"]);
    }

    async fn a_job_without_steps_and_one_whose_steps_wait_for_ever_are_refused(db: Db) {
        let asset = crate::rows::asset("A film", AssetState::Preparing);
        db.catalogue.create_asset(&asset, None).await.expect("created");
        let refused = [
            vec![],
            vec![step_after("one", &["two"])],
            vec![step_after("one", &["one"])],
            vec![step_after("one", &["two"]), step_after("two", &["one"])],
            vec![NewStep { cap: "En/code".into(), ..step("one") }],
        ];
        for steps in refused {
            let names: Vec<_> = steps.iter().map(|step| step.name.clone()).collect();
            let job = new_job(steps);
            let error = db.catalogue.create_job(&asset.id, &job).await.expect_err("refused");
            assert!(matches!(error, store::Error::Refused { .. }), "{names:?}: {error}");
            assert_eq!(db.catalogue.job(&job.id).await.expect("read"), None, "nothing of it is kept");
        }
        let nobodys = db.catalogue.create_job(&AssetId::new(), &new_job(vec![step("one")])).await;
        assert!(matches!(nobodys, Err(store::Error::Refused { .. })));
    }
}
