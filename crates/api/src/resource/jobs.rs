//! Jobs and their steps.

use axum::extract::State;
use serde::Deserialize;
use store::catalogue::{AssetId, Job, JobFilter, JobId, JobState, Step, StepId};
use utoipa::{IntoParams, ToSchema};

use super::Context;
use crate::{
    extract::{Caller, Id, Json, Query, parse_id},
    page::{Asked, Listing},
    problem::{Details, Problem},
    service::Shared,
    view,
};

/// The strongest priorities that may be given, either way.
const PRIORITY_MAX: u64 = 1_000;

/// The query of the listing of jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct JobsQuery {
    /// Rows per page, 1 to 100; 50 when left out.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only those in this state.
    #[param(schema_with = view::job_state)]
    state: Option<JobState>,
    /// Only those of this asset.
    asset: Option<String>,
    /// Only this tenant's.
    tenant: Option<String>,
}

/// Jobs, newest first.
#[utoipa::path(get, path = "/api/v1/jobs", operation_id = "list_jobs", tag = "jobs", params(JobsQuery),
    responses((status = 200, body = Listing<view::Job>), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(context): Context,
    caller: Caller,
    Query(query): Query<JobsQuery>,
) -> Result<Json<Listing<view::Job>>, Problem> {
    let asked = Asked::read(query.limit, query.cursor)?;
    let asset = query.asset.as_deref().map(parse_id::<AssetId>).transpose()?;
    let filter = JobFilter { tenant: caller.tenant_filter(query.tenant)?, state: query.state, asset };
    let page = context.catalogue.jobs(&filter, asked.after.as_deref(), asked.limit).await?;
    Ok(Json(Listing::of(page, view::Job::from)))
}

/// A job with its steps.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", operation_id = "get_job", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = view::JobWithSteps), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn get(
    State(context): Context,
    caller: Caller,
    Id(id): Id<JobId>,
) -> Result<Json<view::JobWithSteps>, Problem> {
    let job = seen(&context, &caller, &id).await?;
    let steps = context.catalogue.steps(&id).await?;
    let needs = context.catalogue.step_needs(&id).await?;
    Ok(Json(view::JobWithSteps::new(job, steps, &needs)))
}

/// The job, if the caller may see it.
async fn seen(context: &Shared, caller: &Caller, id: &JobId) -> Result<Job, Problem> {
    let job = context.catalogue.job(id).await?.filter(|job| caller.0.sees(&job.tenant));
    job.ok_or_else(|| Problem::not_found("job", id.as_str()))
}

/// How far a job is, with the time it will still take.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/progress", operation_id = "get_job_progress", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = view::JobProgress), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn progress(
    State(context): Context,
    caller: Caller,
    Id(id): Id<JobId>,
) -> Result<Json<view::JobProgress>, Problem> {
    seen(&context, &caller, &id).await?;
    Ok(Json(context.progress(&id).await?))
}

/// Stop a job for good; what it has published stays.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/~cancel", operation_id = "cancel_job", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = view::Job), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn cancel(
    State(context): Context,
    caller: Caller,
    Id(id): Id<JobId>,
) -> Result<Json<view::Job>, Problem> {
    let job = seen(&context, &caller, &id).await?;
    let done = context.catalogue.cancel_job(&id).await?;
    turned(&context, &caller, job, done, "cancelled", "Only a running or paused job can be.").await
}

/// Lease no further step of a job; what is at work is finished.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/~pause", operation_id = "pause_job", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = view::Job), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn pause(
    State(context): Context,
    caller: Caller,
    Id(id): Id<JobId>,
) -> Result<Json<view::Job>, Problem> {
    let job = seen(&context, &caller, &id).await?;
    let done = context.catalogue.pause_job(&id).await?;
    turned(&context, &caller, job, done, "paused", "Only a running job can be.").await
}

/// Go on with a paused job.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/~resume", operation_id = "resume_job", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = view::Job), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn resume(
    State(context): Context,
    caller: Caller,
    Id(id): Id<JobId>,
) -> Result<Json<view::Job>, Problem> {
    let job = seen(&context, &caller, &id).await?;
    let done = context.catalogue.resume_job(&id).await?;
    turned(&context, &caller, job, done, "resumed", "Only a paused job can be.").await
}

/// Go on with a failed or cancelled job from the steps that did not finish.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/~retry", operation_id = "retry_job", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = view::Job), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn retry(
    State(context): Context,
    caller: Caller,
    Id(id): Id<JobId>,
) -> Result<Json<view::Job>, Problem> {
    let job = seen(&context, &caller, &id).await?;
    let done = context.catalogue.retry_job(&id).await?;
    turned(
        &context,
        &caller,
        job,
        done,
        "retried",
        "Only a failed or cancelled job can be, or one with a quarantined step.",
    )
    .await
}

/// A job's new place.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Priority {
    /// Lower goes first; 0 is usual.
    #[schema(minimum = -1000, maximum = 1000)]
    priority: i64,
}

/// Put a job before or behind others of its tenant.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/~prioritise", operation_id = "prioritise_job", tag = "jobs", params(("id" = String, Path)),
    request_body = Priority,
    responses((status = 200, body = view::Job), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn prioritise(
    State(context): Context,
    caller: Caller,
    Id(id): Id<JobId>,
    Json(body): Json<Priority>,
) -> Result<Json<view::Job>, Problem> {
    let job = seen(&context, &caller, &id).await?;
    let done = context.catalogue.prioritise_job(&id, priority(body.priority)?).await?;
    turned(&context, &caller, job, done, "prioritised", "Only one that has not ended can be.").await
}

/// A priority within its range.
pub(super) fn priority(asked: i64) -> Result<i64, Problem> {
    if asked.unsigned_abs() <= PRIORITY_MAX {
        return Ok(asked);
    }
    Err(Problem::invalid(format!("priority is {asked}."), "Use -1000 to 1000; lower goes first."))
}

/// The job after a change, or why there was none.
async fn turned(
    context: &Shared,
    caller: &Caller,
    before: Job,
    done: bool,
    verb: &str,
    rule: &'static str,
) -> Result<Json<view::Job>, Problem> {
    if !done {
        let detail = format!("The job is {} and cannot be {verb}. {rule}", before.state);
        return Err(Problem::conflict(
            "job_state",
            detail,
            "Read the job again: its state may have changed meanwhile.",
        ));
    }
    Ok(Json(seen(context, caller, &before.id).await?.into()))
}

/// A step with its newest error and the end of its log.
#[utoipa::path(get, path = "/api/v1/steps/{id}", operation_id = "get_step", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = view::Step), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn step(
    State(context): Context,
    caller: Caller,
    Id(id): Id<StepId>,
) -> Result<Json<view::Step>, Problem> {
    let step = seen_step(&context, &caller, &id).await?;
    let needs = context.catalogue.step_needs(&step.job).await?;
    let siblings = context.catalogue.steps(&step.job).await?;
    let needed = |other: &Step| needs.iter().any(|(by, need)| *by == step.id && *need == other.id);
    let names = siblings.iter().filter(|other| needed(other)).map(|other| other.name.clone()).collect();
    Ok(Json(view::Step::with_log(step, names)))
}

/// Try a failed, cancelled or quarantined step again.
#[utoipa::path(post, path = "/api/v1/steps/{id}/~retry", operation_id = "retry_step", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = view::Step), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn retry_step(
    context: Context,
    caller: Caller,
    Id(id): Id<StepId>,
) -> Result<Json<view::Step>, Problem> {
    let before = seen_step(&context.0, &caller, &id).await?;
    if !context.0.catalogue.retry_step(&id).await? {
        let detail =
            format!("The step is {}: only a failed, cancelled or quarantined one can be retried.", before.state);
        return Err(Problem::conflict(
            "step_state",
            detail,
            "Read its job again: the state may have changed meanwhile.",
        ));
    }
    step(context, caller, Id(id)).await
}

async fn seen_step(context: &Shared, caller: &Caller, id: &StepId) -> Result<Step, Problem> {
    let step = context.catalogue.step(id).await?.filter(|step| caller.0.sees(&step.tenant));
    step.ok_or_else(|| Problem::not_found("step", id.as_str()))
}
