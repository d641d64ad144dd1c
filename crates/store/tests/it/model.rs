//! Random operations against a plain model: listings page by page, the outbox and its deliveries.

use std::collections::VecDeque;

use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::json;
use store::{Asset, AssetFilter, AssetPatch, AssetState, Cursor, DeliveryState, NewEvent, Webhook, WebhookId};

use crate::{
    both::BEGIN,
    rows::{self, visible},
};

/// Sequences of operations per engine.
const CASES: usize = 12;

/// The same sequences on every engine and in every run.
fn sequences<T: std::fmt::Debug + 'static>(operation: impl Strategy<Value = T> + 'static) -> Vec<Vec<T>> {
    let mut runner = TestRunner::deterministic();
    let strategy = vec(operation, 20..50);
    (0..CASES).map(|_| strategy.new_tree(&mut runner).expect("a sequence").current()).collect()
}

#[derive(Clone, Copy, Debug)]
enum Listing {
    Create { title: usize },
    Advance { ms: u64 },
    Delete { which: usize },
    Ready { which: usize },
    Walk { limit: u32, title: Option<usize>, ready: bool },
    Page,
}

const TITLES: [&str; 4] = ["Alpha", "alphabet", "Beta_1", "BETAX1"];

fn listing() -> impl Strategy<Value = Listing> {
    prop_oneof![
        6 => (0..TITLES.len()).prop_map(|title| Listing::Create { title }),
        1 => (1..3_u64).prop_map(|ms| Listing::Advance { ms }),
        2 => (0..99_usize).prop_map(|which| Listing::Delete { which }),
        2 => (0..99_usize).prop_map(|which| Listing::Ready { which }),
        2 => (1..5_u32, proptest::option::of(0..TITLES.len()), any::<bool>())
            .prop_map(|(limit, title, ready)| Listing::Walk { limit, title, ready }),
        6 => Just(Listing::Page),
    ]
}

/// What a listing should show: in order, behind the last row that was seen.
fn shown<'a>(assets: &'a [Asset], filter: &AssetFilter, last: Option<&Asset>) -> Vec<&'a Asset> {
    let key = |asset: &Asset| (asset.created, asset.id.clone());
    let text = filter.text.as_deref().map(str::to_lowercase);
    let mut rows: Vec<_> = assets
        .iter()
        .filter(|asset| asset.state != AssetState::Deleted)
        .filter(|asset| filter.state.is_none_or(|state| asset.state == state))
        .filter(|asset| text.as_ref().is_none_or(|text| asset.title.to_lowercase().contains(text.as_str())))
        .filter(|asset| last.is_none_or(|last| key(asset) < key(last)))
        .collect();
    rows.sort_by_key(|asset| std::cmp::Reverse(key(asset)));
    rows
}

#[derive(Clone, Copy, Debug)]
enum Outbox {
    Emit { kind: usize },
    Advance { ms: u64 },
    Hook { pattern: usize },
    Switch { which: usize },
    Queue { limit: u32 },
    Settle { which: usize, outcome: usize },
    Read { limit: u32 },
}

const KINDS: [&str; 3] = ["asset.ready", "asset.rendition.ready", "job.done"];
const PATTERNS: [&str; 4] = ["*", "asset.*", "asset.ready", "job.done"];

fn outbox() -> impl Strategy<Value = Outbox> {
    prop_oneof![
        6 => (0..KINDS.len()).prop_map(|kind| Outbox::Emit { kind }),
        2 => (1..1_000_u64).prop_map(|ms| Outbox::Advance { ms }),
        1 => (0..PATTERNS.len()).prop_map(|pattern| Outbox::Hook { pattern }),
        1 => (0..9_usize).prop_map(|which| Outbox::Switch { which }),
        3 => (1..5_u32).prop_map(|limit| Outbox::Queue { limit }),
        5 => (0..9_usize, 0..3_usize).prop_map(|(which, outcome)| Outbox::Settle { which, outcome }),
        3 => (1..5_u32).prop_map(|limit| Outbox::Read { limit }),
    ]
}

/// An endpoint as it should be.
struct Hook {
    row: Webhook,
    /// Events up to here are queued, or were passed over.
    position: usize,
    /// Numbers of the events to be delivered, and when the first is tried.
    pending: VecDeque<usize>,
    next_at: i64,
}

impl Hook {
    fn wants(&self, kind: &str) -> bool {
        match self.row.events[0].as_str() {
            "*" => true,
            "asset.*" => kind.starts_with("asset."),
            exact => kind == exact,
        }
    }
}

both! {
    async fn every_page_is_what_a_plain_list_gives(db: Db) {
        for (case, operations) in sequences(listing()).into_iter().enumerate() {
            let tenant = format!("tenant {case}");
            let (mut assets, mut now) = (Vec::<Asset>::new(), db.catalogue.now().await.expect("a time"));
            let all = AssetFilter { tenant: Some(tenant.clone()), ..AssetFilter::default() };
            let (mut filter, mut limit, mut next, mut last) = (all.clone(), 3, None, None::<Asset>);
            for operation in &operations {
                match *operation {
                    Listing::Create { title } => {
                        let asset = Asset {
                            tenant: tenant.clone(),
                            created: now,
                            ..rows::asset(TITLES[title], AssetState::Preparing)
                        };
                        db.catalogue.create_asset(&asset, None).await.expect("created");
                        assets.push(asset);
                    }
                    Listing::Advance { ms } => {
                        db.advance_ms(ms);
                        now = db.catalogue.now().await.expect("a time");
                    }
                    Listing::Delete { which } if !assets.is_empty() => {
                        let count = assets.len();
                        let asset = &mut assets[which % count];
                        let deleted = db.catalogue.delete_asset(&asset.id).await.expect("asked");
                        assert_eq!(deleted, asset.state != AssetState::Deleted);
                        asset.state = AssetState::Deleted;
                    }
                    Listing::Ready { which } if !assets.is_empty() => {
                        let count = assets.len();
                        let asset = &mut assets[which % count];
                        let patch = AssetPatch { state: Some(AssetState::Ready), ..AssetPatch::default() };
                        let there = db.catalogue.update_asset(&asset.id, &patch).await.expect("asked").is_some();
                        assert_eq!(there, asset.state != AssetState::Deleted);
                        asset.state = if there { AssetState::Ready } else { AssetState::Deleted };
                    }
                    Listing::Walk { limit: rows, title, ready } => {
                        let text = title.map(|title| TITLES[title].to_owned());
                        filter = AssetFilter { text, state: ready.then_some(AssetState::Ready), ..all.clone() };
                        (limit, next, last) = (rows, None, None);
                    }
                    Listing::Page => {
                        let page = db.catalogue.assets(&filter, next.as_deref(), limit).await.expect("a page");
                        let expected = shown(&assets, &filter, last.as_ref());
                        let ids = |rows: Vec<&Asset>| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
                        let first = expected.iter().take(limit as usize).copied().collect();
                        assert_eq!(ids(page.rows.iter().collect()), ids(first), "case {case}: {operations:?}");
                        assert_eq!(page.next.is_some(), expected.len() > limit as usize, "case {case}: {operations:?}");
                        last = page.next.is_some().then(|| page.rows.last().expect("a row").clone());
                        next = page.next;
                    }
                    Listing::Delete { .. } | Listing::Ready { .. } => {}
                }
            }
        }
    }

    async fn events_and_deliveries_are_what_a_plain_list_gives(db: Db) {
        for (case, operations) in sequences(outbox()).into_iter().enumerate() {
            let tenant = format!("tenant {case}");
            let context = || format!("case {case}: {operations:?}");
            let (mut events, mut hooks) = (Vec::<&str>::new(), Vec::<Hook>::new());
            let (mut read, mut after) = (0, Cursor::default());
            for operation in &operations {
                let now = db.catalogue.now().await.expect("a time").unix_ms();
                match *operation {
                    Outbox::Emit { kind } => {
                        let (kind, data) = (KINDS[kind], json!(events.len()));
                        let event = NewEvent { kind, tenant: tenant.clone(), asset: None, job: None, data };
                        db.catalogue.emit(&[event]).await.expect("written");
                        visible(&db).await;
                        events.push(kind);
                    }
                    Outbox::Advance { ms } => db.advance_ms(ms),
                    Outbox::Hook { pattern } => {
                        let row = Webhook {
                            id: WebhookId::new(),
                            tenant: tenant.clone(),
                            url: "https://example.org/".into(),
                            events: vec![PATTERNS[pattern].into()],
                            secrets: vec![],
                            enabled: true,
                            queued: Cursor::default(),
                            created: BEGIN,
                        };
                        db.catalogue.create_webhook(&row).await.expect("created");
                        hooks.push(Hook { row, position: events.len(), pending: VecDeque::new(), next_at: 0 });
                    }
                    Outbox::Switch { which } if !hooks.is_empty() => {
                        let count = hooks.len();
                        let hook = &mut hooks[which % count];
                        hook.row.enabled = !hook.row.enabled;
                        assert!(db.catalogue.update_webhook(&hook.row).await.expect("changed"));
                        hook.position = if hook.row.enabled { events.len() } else { hook.position };
                    }
                    Outbox::Queue { limit } => {
                        let mut queued = 0;
                        while let more @ 1.. = db.catalogue.queue_deliveries(limit).await.expect("queued") {
                            queued += more;
                        }
                        let mut expected = 0;
                        for hook in hooks.iter_mut().filter(|hook| hook.row.enabled) {
                            let before = hook.pending.len();
                            let new = (hook.position..events.len()).filter(|number| hook.wants(events[*number]));
                            let new: Vec<_> = new.collect();
                            hook.pending.extend(&new);
                            expected += new.len() as u64;
                            hook.position = events.len();
                            hook.next_at = if before == 0 { 0 } else { hook.next_at };
                        }
                        assert_eq!(queued, expected, "{}", context());
                    }
                    Outbox::Settle { which, outcome } if !hooks.is_empty() => {
                        let due = db.catalogue.due_deliveries(100).await.expect("asked");
                        let count = hooks.len();
                        let hook = &mut hooks[which % count];
                        let found = due.into_iter().find(|(_, webhook)| webhook.id == hook.row.id);
                        let ready = hook.row.enabled && hook.next_at <= now;
                        let expected = hook.pending.front().copied().filter(|_| ready);
                        let number = found.as_ref().and_then(|(delivery, _)| delivery.event.data.as_u64());
                        assert_eq!(number, expected.map(|number| number as u64), "{}", context());
                        let Some((delivery, _)) = found else { continue };
                        let state = [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Failed][outcome];
                        db.catalogue.settle_delivery(&delivery.id, state, "tried", 500).await.expect("settled");
                        if state == DeliveryState::Pending {
                            hook.next_at = now + 500;
                        } else {
                            hook.pending.pop_front();
                            hook.next_at = 0;
                        }
                    }
                    Outbox::Read { limit } => {
                        let page = db.catalogue.events(after, Some(&tenant), limit).await.expect("events");
                        let expected: Vec<_> = (read..events.len()).take(limit as usize).collect();
                        let numbers: Vec<_> = page.iter().filter_map(|event| event.data.as_u64()).collect();
                        assert!(numbers.iter().map(|n| *n as usize).eq(expected), "{numbers:?} {}", context());
                        read += page.len();
                        after = page.last().map_or(after, |event| event.cursor);
                    }
                    Outbox::Switch { .. } | Outbox::Settle { .. } => {}
                }
            }
            for hook in hooks {
                assert!(db.catalogue.delete_webhook(&hook.row.id).await.expect("removed"));
            }
        }
    }
}
