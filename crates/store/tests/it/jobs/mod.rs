//! The job core, rule by rule, on every engine.

mod claim;
mod control;
mod finish;
mod lease;
mod reap;

use std::collections::BTreeMap;

use serde_json::json;
use store::{
    Asset, AssetId, AssetState, Catalogue, Cursor, ErrorClass, Expansion, Fenced, JobId, JobState, NewJob, NewStep,
    Progress, RecipeRef, Step, StepError, StepId, StepState, Worker, WorkerId,
};

use crate::both::{BEGIN, Db};

/// What one lease lasts.
const LEASE_MS: u64 = 30_000;
/// Longer than the first pauses of a retry.
const PAUSE_MS: u64 = 10_000;

/// A step of capability `encode`, class 1.
fn step(name: &str) -> NewStep {
    NewStep {
        name: name.into(),
        kind: "encode".into(),
        rendition: None,
        cap: "encode".into(),
        class: 1,
        weight: 10.0,
        spec: json!({ "kind": "encode" }),
        attempts_max: 3,
        after: Vec::new(),
    }
}

fn step_after(name: &str, after: &[&str]) -> NewStep {
    NewStep { after: after.iter().map(|&name| name.to_owned()).collect(), ..step(name) }
}

fn optional(step: NewStep) -> NewStep {
    NewStep { spec: json!({ "optional": true }), ..step }
}

fn new_job(steps: Vec<NewStep>) -> NewJob {
    let recipe = RecipeRef { name: "default".into(), version: 1 };
    NewJob { id: JobId::new(), recipe, priority: 0, context: json!({}), steps }
}

/// A job on a fresh asset of `tenant` that is being prepared.
async fn job_of(db: &Db, tenant: &str, job: NewJob) -> (AssetId, JobId) {
    let asset = Asset { tenant: tenant.into(), ..crate::rows::asset("A film", AssetState::Preparing) };
    db.catalogue.create_asset(&asset, Some(job.clone())).await.expect("created");
    (asset.id, job.id)
}

async fn job(db: &Db, steps: Vec<NewStep>) -> (AssetId, JobId) {
    job_of(db, "default", new_job(steps)).await
}

/// A worker process on the node `name`.
async fn worker(db: &Db, name: &str) -> WorkerId {
    let worker = Worker {
        id: WorkerId::new(),
        name: name.into(),
        caps: vec!["encode".into(), "package".into()],
        info: json!({}),
        cordoned: false,
        cordon_reason: None,
        draining: false,
        registered: BEGIN,
        seen: BEGIN,
    };
    db.catalogue.register_worker(&worker).await.expect("registered").id
}

async fn claim(catalogue: &Catalogue, worker: &WorkerId) -> Option<Step> {
    let caps = ["encode".to_owned(), "package".to_owned()];
    catalogue.claim(worker, &caps).await.expect("asked").map(|lease| lease.step)
}

/// Claims a step that must be there.
async fn claimed(db: &Db, worker: &WorkerId) -> Step {
    claim(&db.catalogue, worker).await.expect("a step")
}

/// Claims the step `name`, which must be next.
async fn claimed_as(db: &Db, worker: &WorkerId, name: &str) -> Step {
    let step = claimed(db, worker).await;
    assert_eq!(step.name, name);
    step
}

async fn done(db: &Db, step: &Step) -> Fenced<()> {
    done_with(db, step, &Expansion::default()).await
}

async fn done_with(db: &Db, step: &Step, expansion: &Expansion) -> Fenced<()> {
    let output = json!({ "of": step.name });
    db.catalogue.complete(&step.id, step.token, &output, expansion).await.expect("recorded")
}

async fn fail(db: &Db, step: &Step, class: ErrorClass) -> Fenced<StepState> {
    db.catalogue.fail(&step.id, step.token, &error(class)).await.expect("recorded")
}

fn error(class: ErrorClass) -> StepError {
    let human = "It did not work. Try another file.".into();
    StepError { class, code: "trial".into(), human, log: Some("last line".into()), worker: None }
}

async fn state_of(db: &Db, job: &JobId) -> JobState {
    db.catalogue.job(job).await.expect("read").expect("there").state
}

async fn asset_state(db: &Db, asset: &AssetId) -> AssetState {
    db.catalogue.asset(asset).await.expect("read").expect("there").state
}

async fn step_now(db: &Db, id: &StepId) -> Step {
    db.catalogue.step(id).await.expect("read").expect("there")
}

/// States of a job's steps by name.
async fn states(db: &Db, job: &JobId) -> BTreeMap<String, StepState> {
    let steps = db.catalogue.steps(job).await.expect("read");
    steps.into_iter().map(|step| (step.name, step.state)).collect()
}

fn named(states: &[(&str, StepState)]) -> BTreeMap<String, StepState> {
    states.iter().map(|&(name, state)| (name.to_owned(), state)).collect()
}

/// The kinds of all events about jobs, in order.
async fn job_events(db: &Db) -> Vec<String> {
    crate::rows::visible(db).await;
    let events = db.catalogue.events(Cursor::default(), None, 1_000).await.expect("read");
    events.into_iter().map(|event| event.kind).filter(|kind| kind.starts_with("job.")).collect()
}

fn progress(permille: u32) -> Progress {
    Progress { permille, ..Progress::default() }
}
