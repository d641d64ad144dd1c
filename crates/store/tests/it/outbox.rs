//! The outbox: positions that never change behind a reader, deliveries queued once and sent in order.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use sqlx::Connection;
use store::{Catalogue, Cursor, Delivery, DeliveryState, Event, NewEvent, Webhook, WebhookId};

use crate::{
    both::{BEGIN, Db},
    rows::{all_events, visible},
};

fn event(kind: &'static str, number: u64) -> NewEvent {
    NewEvent { kind, tenant: "default".into(), asset: None, job: None, data: json!(number) }
}

fn webhook(events: &[&str]) -> Webhook {
    Webhook {
        id: WebhookId::new(),
        tenant: "default".into(),
        url: "https://example.org/hook".into(),
        events: events.iter().map(|&pattern| pattern.to_owned()).collect(),
        secrets: vec!["whsec_new".into(), "whsec_old".into()],
        enabled: true,
        queued: Cursor::default(),
        created: BEGIN,
    }
}

async fn emit(db: &Db, kind: &'static str, numbers: impl IntoIterator<Item = u64>) {
    let events: Vec<_> = numbers.into_iter().map(|number| event(kind, number)).collect();
    db.catalogue.emit(&events).await.expect("written");
    visible(db).await;
}

fn numbers<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<u64> {
    events.into_iter().map(|event| event.data.as_u64().expect("a number")).collect()
}

/// What is due, as (endpoint, number of the event).
async fn due(catalogue: &Catalogue) -> Vec<(WebhookId, u64)> {
    let due = catalogue.due_deliveries(10).await.expect("asked");
    due.iter().map(|(delivery, webhook)| (webhook.id.clone(), numbers([&delivery.event])[0])).collect()
}

/// The one delivery that is due to an endpoint.
async fn due_to(catalogue: &Catalogue, id: &WebhookId) -> Delivery {
    let due = catalogue.due_deliveries(10).await.expect("asked");
    due.into_iter().find(|(_, webhook)| webhook.id == *id).expect("one is due").0
}

both! {
    async fn reading_on_from_the_last_position_gives_each_event_once(db: Db) {
        emit(&db, "asset.ready", 0..7).await;
        let theirs = NewEvent { tenant: "other".into(), ..event("job.done", 7) };
        db.catalogue.emit(&[theirs, event("asset.ready", 8)]).await.expect("written");
        visible(&db).await;

        let mut read = Vec::new();
        let mut after = Cursor::default();
        loop {
            let page = db.catalogue.events(after, None, 2).await.expect("events");
            let Some(last) = page.last() else { break };
            after = last.cursor.to_string().parse().expect("a position reads back");
            read.extend(page);
        }
        assert_eq!(numbers(&read), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(read.is_sorted_by_key(|event| event.cursor));
        assert_eq!((read[7].kind.as_str(), read[7].tenant.as_str(), read[7].at), ("job.done", "other", BEGIN));

        let own = db.catalogue.events(Cursor::default(), Some("other"), 10).await.expect("events");
        assert_eq!(numbers(&own), [7]);
        assert_eq!(db.catalogue.last_event().await.expect("asked"), read[8].cursor);
    }

    async fn an_empty_outbox_begins_at_the_beginning(db: Db) {
        assert_eq!(db.catalogue.last_event().await.expect("asked"), Cursor::default());
        db.catalogue.emit(&[]).await.expect("nothing to write");
        assert!(db.catalogue.events(Cursor::default(), None, 10).await.expect("asked").is_empty());
    }

    async fn a_reader_beside_many_writers_misses_nothing(db: Db) {
        const WRITERS: u64 = 6;
        const EACH: u64 = 20;
        let other = db.another().await;
        let write = async |catalogue: &Catalogue, writer: u64| {
            for number in 0..EACH {
                let event = event("asset.updated", writer * EACH + number);
                catalogue.emit(&[event]).await.expect("written");
            }
        };
        let read = async || {
            let (mut after, mut read) = (Cursor::default(), Vec::new());
            while read.len() < (WRITERS * EACH) as usize {
                let page = db.catalogue.events(after, None, 7).await.expect("events");
                after = page.last().map_or(after, |event| event.cursor);
                read.extend(numbers(&page));
            }
            read
        };
        let handles = [&db.catalogue, &other];
        let writers = join_all((0..WRITERS).map(|writer| write(handles[writer as usize % 2], writer)));
        let all = tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(writers, read()).1 });
        let mut read = all.await.expect("every event is read in time");
        read.sort_unstable();
        assert_eq!(read, (0..WRITERS * EACH).collect::<Vec<_>>(), "each once");
        assert_eq!(all_events(&db).await.len(), read.len());
    }

    async fn old_events_go_but_not_before_they_are_queued(db: Db) {
        emit(&db, "asset.ready", 0..3).await;
        let on = webhook(&["*"]);
        let off = Webhook { enabled: false, ..webhook(&["*"]) };
        for webhook in [&on, &off] {
            db.catalogue.create_webhook(webhook).await.expect("created");
        }
        emit(&db, "asset.ready", 3..5).await;
        db.advance_ms(1_000);
        emit(&db, "asset.ready", 5..6).await;

        assert_eq!(db.catalogue.trim_events(2_000).await.expect("trimmed"), 0, "all are younger");
        assert_eq!(db.catalogue.trim_events(500).await.expect("trimmed"), 3, "two wait to be queued");
        assert_eq!(numbers(&all_events(&db).await), [3, 4, 5]);

        assert_eq!(db.catalogue.queue_deliveries(10).await.expect("queued"), 3);
        let newest = db.catalogue.last_event().await.expect("asked");
        assert_eq!(db.catalogue.trim_events(500).await.expect("trimmed"), 2);
        assert_eq!(db.catalogue.trim_events(0).await.expect("trimmed"), 0, "the newest is not older than now");
        db.advance_ms(1);
        assert_eq!(db.catalogue.trim_events(0).await.expect("trimmed"), 1);
        assert_eq!(due(&db.catalogue).await, [(on.id.clone(), 3)], "a delivery has its event with it");

        emit(&db, "asset.ready", 6..7).await;
        let more = db.catalogue.events(newest, None, 10).await.expect("events");
        assert_eq!(numbers(&more), [6], "positions go on after everything was trimmed");
    }

    async fn a_settled_delivery_goes_with_the_events_of_its_time(db: Db) {
        let hook = webhook(&["*"]);
        db.catalogue.create_webhook(&hook).await.expect("created");
        emit(&db, "asset.ready", 0..2).await;
        db.catalogue.queue_deliveries(10).await.expect("queued");
        let first = due_to(&db.catalogue, &hook.id).await;
        db.catalogue.settle_delivery(&first.id, DeliveryState::Delivered, "200", 0).await.expect("settled");
        db.advance_ms(1_000);
        db.catalogue.trim_events(500).await.expect("trimmed");
        let left = db.catalogue.deliveries(&hook.id, None, 10).await.expect("a page").rows;
        assert_eq!(numbers(left.iter().map(|delivery| &delivery.event)), [1], "the pending one stays");
    }

    async fn an_endpoint_is_kept_changed_and_removed(db: Db) {
        let hook = webhook(&["asset.*"]);
        emit(&db, "asset.ready", 0..1).await;
        db.catalogue.create_webhook(&hook).await.expect("created");
        let kept = db.catalogue.webhook(&hook.id).await.expect("asked").expect("there");
        let now = db.catalogue.last_event().await.expect("asked");
        assert_eq!(kept, Webhook { queued: now, ..hook.clone() }, "it begins at now");
        assert_eq!(db.catalogue.webhooks(Some("default")).await.expect("asked"), [kept]);
        assert!(db.catalogue.webhooks(Some("other")).await.expect("asked").is_empty());

        emit(&db, "asset.ready", 1..2).await;
        let off = Webhook { enabled: false, url: "https://example.org/new".into(), ..hook.clone() };
        assert!(db.catalogue.update_webhook(&off).await.expect("changed"));
        assert_eq!(db.catalogue.queue_deliveries(10).await.expect("asked"), 0, "it is off");
        emit(&db, "asset.ready", 2..3).await;
        assert!(db.catalogue.update_webhook(&Webhook { enabled: true, ..off.clone() }).await.expect("changed"));
        emit(&db, "asset.ready", 3..4).await;
        assert_eq!(db.catalogue.queue_deliveries(10).await.expect("queued"), 1);
        assert_eq!(due(&db.catalogue).await, [(hook.id.clone(), 3)], "not what happened while it was off");
        assert_eq!(db.catalogue.webhook(&hook.id).await.expect("asked").expect("there").url, off.url);

        assert!(db.catalogue.delete_webhook(&hook.id).await.expect("removed"));
        assert!(!db.catalogue.delete_webhook(&hook.id).await.expect("asked"));
        assert!(!db.catalogue.update_webhook(&hook).await.expect("asked"));
        assert_eq!(due(&db.catalogue).await, []);
        assert!(db.catalogue.deliveries(&hook.id, None, 10).await.expect("asked").rows.is_empty());
    }

    async fn an_event_is_queued_once_for_each_who_asked(db: Db) {
        let (all, ready) = (webhook(&["*"]), webhook(&["asset.ready"]));
        let theirs = Webhook { tenant: "other".into(), ..webhook(&["*"]) };
        for hook in [&all, &ready, &theirs] {
            db.catalogue.create_webhook(hook).await.expect("created");
        }
        let other = db.another().await;
        let handles = [&db.catalogue, &other];
        let mut queued = 0;
        for round in 0..5 {
            emit(&db, "asset.ready", [round * 2]).await;
            emit(&db, "job.done", [round * 2 + 1]).await;
            let calls = (0..4).map(|caller| handles[caller % 2].queue_deliveries(3));
            queued += join_all(calls).await.into_iter().map(|count| count.expect("queued")).sum::<u64>();
        }
        while let more @ 1.. = db.catalogue.queue_deliveries(3).await.expect("queued") {
            queued += more;
        }
        assert_eq!(queued, 15, "ten for the one, five for the other");
        for (hook, expected) in [(&all, 10), (&ready, 5), (&theirs, 0)] {
            let deliveries = db.catalogue.deliveries(&hook.id, None, 100).await.expect("a page").rows;
            let events: HashSet<_> = deliveries.iter().map(|delivery| delivery.event.cursor).collect();
            assert_eq!((deliveries.len(), events.len()), (expected, expected));
        }
    }

    async fn events_nobody_asked_for_do_not_hold_up_those_behind(db: Db) {
        let hook = webhook(&["asset.ready"]);
        db.catalogue.create_webhook(&hook).await.expect("created");
        emit(&db, "job.done", 0..20).await;
        emit(&db, "asset.ready", 20..21).await;
        assert_eq!(db.catalogue.queue_deliveries(3).await.expect("queued"), 1, "in one call");
        assert_eq!(db.catalogue.queue_deliveries(3).await.expect("asked"), 0);
    }

    async fn an_endpoint_gets_its_events_in_order_and_holds_up_only_itself(db: Db) {
        let (slow, quick) = (webhook(&["*"]), webhook(&["*"]));
        for hook in [&slow, &quick] {
            db.catalogue.create_webhook(hook).await.expect("created");
        }
        emit(&db, "asset.ready", 0..3).await;
        db.catalogue.queue_deliveries(10).await.expect("queued");
        let sorted = async || {
            let mut due = due(&db.catalogue).await;
            due.sort();
            due
        };
        let expect = |slow_at: Option<u64>, quick_at: Option<u64>| {
            let each = [(slow.id.clone(), slow_at), (quick.id.clone(), quick_at)];
            let mut due: Vec<_> = each.into_iter().filter_map(|(id, at)| Some((id, at?))).collect();
            due.sort();
            due
        };
        assert_eq!(sorted().await, expect(Some(0), Some(0)), "the oldest of each");

        let failing = due_to(&db.catalogue, &slow.id).await;
        db.catalogue.settle_delivery(&failing.id, DeliveryState::Pending, "503", 5_000).await.expect("settled");
        let first = due_to(&db.catalogue, &quick.id).await;
        db.catalogue.settle_delivery(&first.id, DeliveryState::Delivered, "204", 0).await.expect("settled");
        assert_eq!(sorted().await, expect(None, Some(1)), "what comes after a failure waits with it");

        db.advance_ms(4_999);
        assert_eq!(sorted().await, expect(None, Some(1)));
        db.advance_ms(1);
        assert_eq!(sorted().await, expect(Some(0), Some(1)));
        let again = due_to(&db.catalogue, &slow.id).await;
        assert_eq!((again.attempt, again.last.as_deref(), again.state), (1, Some("503"), DeliveryState::Pending));

        db.catalogue.settle_delivery(&again.id, DeliveryState::Failed, "410", 0).await.expect("settled");
        assert_eq!(sorted().await, expect(Some(1), Some(1)), "given up: the next one");
        db.catalogue.settle_delivery(&again.id, DeliveryState::Pending, "late", 0).await.expect("nothing to do");
        assert_eq!(sorted().await, expect(Some(1), Some(1)), "settled is settled");

        assert!(db.catalogue.replay_delivery(&again.id).await.expect("replayed"));
        let replayed = due_to(&db.catalogue, &slow.id).await;
        assert_eq!((&replayed.id, replayed.attempt), (&again.id, 0));
        assert!(!db.catalogue.replay_delivery(&store::DeliveryId::new()).await.expect("asked"));

        assert!(db.catalogue.update_webhook(&Webhook { enabled: false, ..slow.clone() }).await.expect("changed"));
        assert_eq!(sorted().await, expect(None, Some(1)), "nothing goes to one that is off");
    }

    async fn deliveries_come_in_pages_newest_first(db: Db) {
        let hook = webhook(&["*"]);
        db.catalogue.create_webhook(&hook).await.expect("created");
        emit(&db, "asset.ready", 0..5).await;
        db.catalogue.queue_deliveries(10).await.expect("queued");

        let first = db.catalogue.deliveries(&hook.id, None, 2).await.expect("a page");
        emit(&db, "asset.ready", 5..6).await;
        db.catalogue.queue_deliveries(10).await.expect("queued");
        let second = db.catalogue.deliveries(&hook.id, first.next.as_deref(), 2).await.expect("a page");
        let third = db.catalogue.deliveries(&hook.id, second.next.as_deref(), 2).await.expect("a page");
        let all = first.rows.iter().chain(&second.rows).chain(&third.rows);
        assert_eq!(numbers(all.map(|delivery| &delivery.event)), [4, 3, 2, 1, 0]);
        assert_eq!(third.next, None);
        let error = db.catalogue.deliveries(&hook.id, Some("nonsense"), 2).await.expect_err("refused");
        assert!(error.to_string().contains("begin again"), "{error}");
    }
}

/// On Postgres a transaction may take its place in the outbox first and commit last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_waits_for_a_transaction_that_came_before() {
    let db = Db::postgres().await;
    let mut slow = sqlx::PgConnection::connect(db.url()).await.expect("a connection");
    let mut transaction = slow.begin().await.expect("a transaction");
    let insert = "INSERT INTO events (kind, tenant, data, at) VALUES ('asset.ready', 'default', '1', 0)";
    sqlx::query(insert).execute(&mut *transaction).await.expect("written");
    db.catalogue.emit(&[event("asset.ready", 2)]).await.expect("written");

    let read = db.catalogue.events(Cursor::default(), None, 10).await.expect("events");
    assert_eq!(numbers(&read), [0; 0], "the later one is not given before the earlier one can be");
    assert_eq!(db.catalogue.last_event().await.expect("asked"), Cursor::default());

    transaction.commit().await.expect("committed");
    visible(&db).await;
    let read = db.catalogue.events(Cursor::default(), None, 10).await.expect("events");
    assert_eq!(numbers(&read), [1, 2]);
}
