//! The end of a step: its output is checked, the plan goes on, and all of it becomes true in one transaction.

use axum::http::StatusCode;
use store::{
    Key,
    catalogue::{Asset, AssetPatch, AssetState, ErrorClass, Fenced, Job, Step, StepError, StepId, StepState},
};
use transcode::vod::{Analysis, Chunk, Probe};

use super::{Manager, ManagerError, service::Refused};
use crate::{
    plan::{self, View},
    protocol::{ObjectRef, Output, Spec},
    recipe::Recipe,
};

/// Longest text for people that is kept of a failure, in bytes.
const HUMAN_BYTES_MAX: usize = 2_000;
/// Longest log that is kept of a failure, in bytes: its end says most.
const LOG_BYTES_MAX: usize = 16 << 10;
/// Longest code of a failure, in bytes.
const CODE_BYTES_MAX: usize = 64;

impl Manager {
    /// Takes in what a step produced.
    pub(super) async fn complete(&self, id: &StepId, token: i64, output: Output) -> Result<(), Refused> {
        let Some(step) = self.catalogue().holds(id, token).await? else {
            // The answer to an earlier try may have been lost on the way.
            return if self.was_completed(id, token).await? { Ok(()) } else { Err(Refused::lost()) };
        };
        match self.judged(&step, &output).await? {
            Ok(expansion) => {
                let row = kept(output);
                match self.catalogue().complete(id, token, &row, &expansion).await? {
                    Fenced::Held(()) => {
                        self.after_commit(&step).await;
                        Ok(())
                    }
                    Fenced::Lost => Err(Refused::lost()),
                }
            }
            Err(error) => {
                tracing::warn!(step = step.name, job = %step.job, code = error.code, "a step's output is not accepted: {}", error.human);
                let (code, human) = (error.code.clone(), error.human.clone());
                let error = self.signed(error, &step).await?;
                match self.catalogue().fail(id, token, &error).await? {
                    Fenced::Held(_) => Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, &code, human)),
                    Fenced::Lost => Err(Refused::lost()),
                }
            }
        }
    }

    /// Takes in why a step failed.
    pub(super) async fn fail(&self, id: &StepId, token: i64, error: StepError) -> Result<(), Refused> {
        let Some(step) = self.catalogue().holds(id, token).await? else { return Err(Refused::lost()) };
        let error = self.signed(bounded(error), &step).await?;
        match self.catalogue().fail(id, token, &error).await? {
            Fenced::Held(_) => Ok(()),
            Fenced::Lost => Err(Refused::lost()),
        }
    }

    async fn was_completed(&self, id: &StepId, token: i64) -> Result<bool, ManagerError> {
        let step = self.catalogue().step(id).await?;
        Ok(step.is_some_and(|step| step.token == token && step.state == StepState::Done))
    }

    /// The error with the node's name and the attempt, whatever the worker called itself.
    async fn signed(&self, mut error: StepError, step: &Step) -> Result<StepError, ManagerError> {
        let worker = match &step.worker {
            Some(id) => self.catalogue().worker(id).await?,
            None => None,
        };
        let name = worker.map_or_else(|| "a worker that left".to_owned(), |worker| worker.name);
        error.worker = Some(format!("{name}, attempt {}", step.attempt));
        Ok(error)
    }

    async fn judged(
        &self,
        step: &Step,
        output: &Output,
    ) -> Result<Result<store::catalogue::Expansion, StepError>, ManagerError> {
        let spec = match plan::spec(step) {
            Ok(spec) => spec,
            Err(error) => return Ok(Err(error)),
        };
        let whole = matches!(spec, Spec::Stitch { .. } | Spec::Package { .. } | Spec::Validate { .. });
        let steps = if whole { self.catalogue().steps(&step.job).await? } else { Vec::new() };
        let objects = match plan::check(step, &spec, output, &steps, &self.inner.limits) {
            Ok(objects) => objects,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = self.stored_as_told(&objects).await? {
            return Ok(Err(error));
        }
        if let Err(error) = self.readable(&spec, output).await? {
            return Ok(Err(error));
        }
        let Some((job, asset)) = self.job_and_asset(step).await? else {
            return Ok(Err(plan::bug("no_asset", "The step's asset is gone. Nothing needs to be done.")));
        };
        let recipe = self.recipe_of(&job.recipe).await?;
        let renditions = if whole { self.catalogue().renditions(&asset.id).await? } else { Vec::new() };
        let now = self.now().await?;
        let view = View {
            job: &job,
            asset: &asset,
            recipe: &recipe,
            limits: &self.inner.limits,
            steps: &steps,
            renditions: &renditions,
            now,
        };
        Ok(plan::after(&view, step, output))
    }

    async fn job_and_asset(&self, step: &Step) -> Result<Option<(Job, Asset)>, ManagerError> {
        let Some(job) = self.catalogue().job(&step.job).await? else { return Ok(None) };
        let asset = self.catalogue().asset(&step.asset).await?;
        Ok(asset.map(|asset| (job, asset)))
    }

    /// Whether every object is there with the size that the worker told. The hash was checked while it was stored.
    async fn stored_as_told(&self, objects: &[ObjectRef]) -> Result<Result<(), StepError>, ManagerError> {
        for object in objects {
            let meta = self.objects().head(&Key::new(&object.key)?).await?;
            if meta.is_none_or(|meta| meta.bytes != object.bytes) {
                let human = format!(
                    "The worker named the object {} of {} bytes, which is not stored so. Nothing of it was published; the \
                     worker's version and machine should be checked.",
                    object.key, object.bytes
                );
                return Ok(Err(plan::disbelieved(human)));
            }
        }
        Ok(Ok(()))
    }

    /// What follows a completed step outside of its transaction; whatever fails here is done again by maintenance.
    async fn after_commit(&self, step: &Step) {
        let done = match step.kind.as_str() {
            "package" => self.announce(&step.asset).await.map(drop),
            "fetch" => self.forget_credentials(&step.asset).await,
            "clean_up" => self.clean_up(&step.job).await,
            _ => Ok(()),
        };
        if let Err(error) = done {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(step = step.name, job = %step.job, error, "what follows a step failed; maintenance will do it");
        }
    }

    /// Makes an asset ready whose last two renditions were published at the same moment, each without seeing the other.
    pub(super) async fn announce(&self, asset: &store::catalogue::AssetId) -> Result<bool, ManagerError> {
        let Some(asset) = self.catalogue().asset(asset).await? else { return Ok(false) };
        let probe = asset.media.as_ref().and_then(|media| <Probe as serde::Deserialize>::deserialize(media).ok());
        let (AssetState::Preparing, Some(probe)) = (asset.state, probe) else { return Ok(false) };
        let recipe: Recipe = self.recipe_of(&asset.recipe).await?;
        if !plan::plays(&recipe, &probe, &self.catalogue().renditions(&asset.id).await?) {
            return Ok(false);
        }
        let patch = AssetPatch { state: Some(AssetState::Ready), ..AssetPatch::default() };
        Ok(self.catalogue().update_asset(&asset.id, &patch).await?.is_some())
    }

    /// Removes a job's intermediate objects.
    pub(super) async fn clean_up(&self, job: &store::catalogue::JobId) -> Result<(), ManagerError> {
        let removed = self.objects().delete_prefix(&Key::new(&format!("work/{job}"))?).await?;
        tracing::debug!(%job, removed, "intermediate objects removed");
        Ok(())
    }
}

/// The output as its row keeps it: the key frames planned for each chunk have gone into the steps that need them.
fn kept(output: Output) -> serde_json::Value {
    let output = match output {
        Output::Analysed { analysis, per_title } => {
            let chunks = analysis.chunks.into_iter().map(|chunk| Chunk { keyframes: Vec::new(), ..chunk }).collect();
            Output::Analysed { analysis: Analysis { chunks, ..analysis }, per_title }
        }
        other => other,
    };
    serde_json::to_value(output).expect("an output has text keys alone")
}

/// What a worker says of a failure, cut to what is kept. Codes are words; whoever lies about the class of its failure gets
/// at most the retries of another class.
fn bounded(error: StepError) -> StepError {
    let mut code: String = error.code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    code.truncate(CODE_BYTES_MAX);
    if code.is_empty() {
        code.push_str("unknown");
    }
    let class: ErrorClass = error.class;
    let log = error.log.map(|log| log[log.len() - up_to(&log, LOG_BYTES_MAX, true)..].to_owned());
    let human = error.human[..up_to(&error.human, HUMAN_BYTES_MAX, false)].to_owned();
    StepError { class, code, human, log, worker: None }
}

/// How many bytes of `text`, at most `max`, from its beginning or its end, are whole characters.
fn up_to(text: &str, max: usize, from_end: bool) -> usize {
    let mut bytes = max.min(text.len());
    while !text.is_char_boundary(if from_end { text.len() - bytes } else { bytes }) {
        bytes -= 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_cut_between_characters() {
        let error = StepError {
            class: ErrorClass::Transient,
            code: "ffmpeg failed; drop table".into(),
            human: "ä".repeat(HUMAN_BYTES_MAX),
            log: Some(format!("x{}", "ü".repeat(LOG_BYTES_MAX))),
            worker: Some("somebody else".into()),
        };
        let kept = bounded(error);

        assert_eq!(kept.code, "ffmpegfaileddroptable");
        assert_eq!(kept.human.len(), HUMAN_BYTES_MAX);
        assert!(kept.log.is_some_and(|log| log.len() <= LOG_BYTES_MAX && log.starts_with('ü')));
        assert_eq!(kept.worker, None);
    }
}
