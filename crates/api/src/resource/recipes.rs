//! Recipes: what is made of a source, as versioned data.

use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use store::catalogue::{AssetId, JobFilter, RecipeRow};
use utoipa::{IntoParams, ToSchema};
use vod::{manager::ManagerError, recipe::Recipe};

use super::{Context, PageQuery};
use crate::{
    extract::{Caller, Json, Name, Query, parse_id},
    page::Listing,
    problem::{Details, Problem},
    service::Shared,
    view,
};

/// Jobs of an asset whose steps are searched for an analysis.
const JOBS_SEARCHED: u32 = 5;
/// The clock of an analysis: 90 kHz.
const TICKS_PER_MS: i64 = 90;
/// A picture of an estimate: 25 in a second.
const FRAME_TICKS: i64 = 3_600;
/// Most chunks of an estimate, as of an analysis.
const CHUNKS_MAX: i64 = 400;
/// Longest source that an estimate is made for, in milliseconds: a month.
const DURATION_MS_MAX: i64 = 31 * 86_400_000;

/// Recipes in their newest versions, by name.
#[utoipa::path(get, path = "/api/v1/recipes", operation_id = "list_recipes", tag = "recipes", params(PageQuery),
    responses((status = 200, body = Listing<view::Recipe>), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(context): Context,
    Query(query): Query<PageQuery>,
) -> Result<Json<Listing<view::Recipe>>, Problem> {
    let asked = query.asked()?;
    let rows = context.manager.recipes().await?;
    Listing::cut("recipes", rows, |row| row.id.name.as_str(), &asked, view::Recipe::from).map(Json)
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct VersionQuery {
    /// The version; the newest when left out.
    version: Option<i64>,
}

/// A recipe.
#[utoipa::path(get, path = "/api/v1/recipes/{id}", operation_id = "get_recipe", tag = "recipes",
    params(("id" = String, Path, description = "Name of the recipe"), VersionQuery),
    responses((status = 200, body = view::Recipe), (status = 404, body = Details, content_type = "application/problem+json")))]
pub(crate) async fn get(
    State(context): Context,
    Name(name): Name,
    Query(query): Query<VersionQuery>,
) -> Result<Json<view::Recipe>, Problem> {
    Ok(Json(row(&context, &name, query.version).await?.into()))
}

async fn row(context: &Shared, name: &str, version: Option<i64>) -> Result<RecipeRow, Problem> {
    if !Recipe::valid_name(name) {
        return Err(Problem::not_found("recipe", name));
    }
    let row = match version {
        Some(_) => context.catalogue.recipe(name, version).await?,
        None => context.manager.recipe_row(name).await?,
    };
    row.ok_or_else(|| Problem::not_found("recipe", name))
}

/// Store a recipe: a further version when it differs from the newest. Running jobs go on with theirs.
#[utoipa::path(put, path = "/api/v1/recipes/{id}", operation_id = "put_recipe", tag = "recipes",
    params(("id" = String, Path, description = "Name of the recipe")), request_body = Value,
    responses((status = 200, body = view::Recipe), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn put(
    State(context): Context,
    Name(name): Name,
    Json(body): Json<Value>,
) -> Result<Json<view::Recipe>, Problem> {
    Ok(Json(context.manager.put_recipe(&name, &body).await?.into()))
}

/// Check a recipe without storing it; the answer has it with every default filled in.
#[utoipa::path(post, path = "/api/v1/recipes/~validate", operation_id = "validate_recipe", tag = "recipes", request_body = Value,
    responses((status = 200, body = Value), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn validate(Json(body): Json<Value>) -> Result<Json<Value>, Problem> {
    let recipe = Recipe::from_json(&body).map_err(ManagerError::from)?;
    Ok(Json(recipe.to_json()))
}

/// What to try a recipe on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DryRun {
    /// An asset whose source was probed.
    asset: String,
}

/// Show what a recipe would make of an asset's source: every step, with its cost and FFmpeg's arguments. Nothing is begun.
#[utoipa::path(post, path = "/api/v1/recipes/{id}/~dry-run", operation_id = "dry_run_recipe", tag = "recipes",
    params(("id" = String, Path, description = "Name of the recipe")), request_body = DryRun,
    responses((status = 200, body = view::DryRun), (status = "4XX", body = Details, content_type = "application/problem+json")))]
pub(crate) async fn dry_run(
    State(context): Context,
    caller: Caller,
    Name(name): Name,
    Json(body): Json<DryRun>,
) -> Result<Json<view::DryRun>, Problem> {
    let id = parse_id::<AssetId>(&body.asset)?;
    let asset = context.catalogue.asset(&id).await?.filter(|asset| caller.0.sees(&asset.tenant));
    let asset = asset.ok_or_else(|| Problem::not_found("asset", id.as_str()))?;
    let row = row(&context, &name, None).await?;
    let recipe = Recipe::from_json(&row.body).map_err(ManagerError::from)?;
    let media = asset.media.clone().ok_or_else(not_probed)?;
    let found = analysis(&context, &id).await?;
    let estimated = found.is_none();
    let analysis = found.unwrap_or_else(|| evenly(asset.duration_ms.unwrap_or(0), i64::from(recipe.chunk_ms)));
    // Rows of another version that this one does not read.
    let (Ok(probe), Ok(analysis)) = (serde_json::from_value(media), serde_json::from_value(analysis)) else {
        return Err(not_probed());
    };
    let plan = context.manager.dry_run(&asset.source, &recipe, &probe, &analysis)?;
    Ok(Json(view::DryRun::new(plan, row.id, estimated)))
}

fn not_probed() -> Problem {
    Problem::conflict(
        "not_probed",
        "Nothing is known of the asset's source yet.",
        "Wait until its job has probed it: the asset then has `media`.",
    )
}

/// What the newest analysis of an asset's pictures found.
async fn analysis(context: &Shared, asset: &AssetId) -> Result<Option<Value>, Problem> {
    let filter = JobFilter { tenant: None, state: None, asset: Some(asset.clone()) };
    for job in context.catalogue.jobs(&filter, None, JOBS_SEARCHED).await?.rows {
        let steps = context.catalogue.steps(&job.id).await?;
        let found = steps.into_iter().find_map(|step| step.output?.get_mut("analysis").map(Value::take));
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// An analysis of pictures that nobody has analysed: even chunks, so that a plan can be shown.
fn evenly(duration_ms: i64, chunk_ms: i64) -> Value {
    let ticks = |ms: i64| ms * TICKS_PER_MS;
    let duration_ms = duration_ms.clamp(1, DURATION_MS_MAX);
    let chunk_ms = chunk_ms.max(duration_ms / CHUNKS_MAX + 1);
    let frames = |ms: i64| ticks(ms) / FRAME_TICKS;
    let chunk = |(index, start): (usize, i64)| {
        let end = (start + chunk_ms).min(duration_ms);
        let (start_pts, end_pts) = (ticks(start), ticks(end));
        json!({ "index": index, "start_pts": start_pts, "end_pts": end_pts, "frames": frames(end - start), "digest": "",
            "shot": false, "keyframes": [start_pts] })
    };
    let starts = (0..).map(|number| number * chunk_ms).take_while(|start| *start < duration_ms);
    let chunks: Vec<Value> = starts.enumerate().map(chunk).collect();
    json!({ "frames": frames(duration_ms), "first_pts": 0, "end_pts": ticks(duration_ms), "variable_frame_rate": false,
        "frame_ticks": FRAME_TICKS, "keyframe_interval_ms_max": 2_000, "keyframes": [], "chunks": chunks,
        "loudness": null, "complexity": null, "video_kbps": null })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimated_analysis_covers_the_whole_length() {
        let check = |duration_ms: i64, chunk_ms: i64, count: usize| {
            let analysis = evenly(duration_ms, chunk_ms);
            let chunks = analysis["chunks"].as_array().unwrap();
            assert_eq!(chunks.len(), count, "{duration_ms} by {chunk_ms}");
            assert_eq!(chunks[count - 1]["end_pts"], analysis["end_pts"]);
            assert!(chunks.windows(2).all(|pair| pair[0]["end_pts"] == pair[1]["start_pts"]));
        };
        check(60_000, 20_000, 3);
        check(61_000, 20_000, 4);
        check(0, 20_000, 1);
        assert!(evenly(i64::MAX, 4_000)["chunks"].as_array().unwrap().len() <= 400);
    }
}
