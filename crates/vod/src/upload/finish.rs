//! The end of an upload: its hash compared, its asset handed to the job core.

use std::{sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use store::{Asset, AssetPatch, AssetState, ErrorClass, Key, Source, StepError, Upload, UploadId, UploadState};

use super::{
    Inner, lock,
    problem::{HASH_HINT, Problem, chain},
};

/// How long the answer to the last bytes waits for a hash that is computed from storage: below what proxies give a request. After it the
/// upload completes by itself.
const WAIT: Duration = Duration::from_secs(20);

/// Completes `upload` if its last byte is stored and it is not complete. Again and at once is fine.
pub(super) async fn finish(inner: &Arc<Inner>, upload: &Upload) -> Result<(), Problem> {
    if upload.state != UploadState::Open || upload.partial || upload.bytes != Some(upload.offset) {
        return Ok(());
    }
    let Some(turn) = Turn::take(inner, &upload.id) else { return Ok(()) };
    let upload = upload.clone();
    let completing = tokio::spawn(async move {
        let completed = complete(&turn.inner, &upload).await;
        if let Err(problem) = &completed {
            tracing::warn!(upload = %upload.id, code = problem.code, "an upload could not be completed");
        }
        completed
    });
    match tokio::time::timeout(WAIT, completing).await {
        Ok(completed) => completed.expect("completing an upload does not panic"),
        Err(_) => Ok(()),
    }
}

/// The right to complete an upload in this process. Other processes may try as well: the catalogue lets one.
struct Turn {
    inner: Arc<Inner>,
    id: UploadId,
}

impl Turn {
    fn take(inner: &Arc<Inner>, id: &UploadId) -> Option<Self> {
        let taken = lock(&inner.finishing).insert(id.clone());
        taken.then(|| Self { inner: inner.clone(), id: id.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.inner.finishing).remove(&self.id);
    }
}

async fn complete(inner: &Inner, upload: &Upload) -> Result<(), Problem> {
    let asset = match &upload.asset {
        Some(id) => inner.catalogue.asset(id).await?,
        None => None,
    };
    let Some(asset) = asset else { return Err(Problem::gone()) };
    let sha256 = hash(inner, upload, asset.source.sha256.as_deref()).await?;
    if let (Some(announced), Some(got)) = (&asset.source.sha256, &sha256)
        && announced != got
    {
        return refuse(inner, upload, &asset, got).await;
    }
    let source = Source { bytes: upload.bytes, sha256, blob: Some(upload.blob.clone()), ..asset.source.clone() };
    let asset = Asset { source: source.clone(), ..asset };
    let job = inner.jobs.job(&asset).await?;
    let completed = inner.catalogue.complete_upload(&upload.id, &source, &job).await?;
    if completed {
        metrics::counter!("vod_uploads_completed_total").increment(1);
        tracing::info!(upload = %upload.id, asset = %asset.id, bytes = upload.offset, "an upload is complete");
    }
    inner.hashes.forget(&upload.id);
    if let Err(error) = delete_strays(inner, upload).await {
        tracing::debug!(upload = %upload.id, error = chain(&error), "objects that are nobody's could not be deleted");
    }
    Ok(())
}

/// The hash of the whole: as it was computed while the bytes came, else, when one was announced, from storage.
async fn hash(inner: &Inner, upload: &Upload, announced: Option<&str>) -> Result<Option<String>, Problem> {
    let known = if upload.offset > 0 { inner.hashes.take(&upload.id, upload.offset) } else { None };
    let state = match (known, announced) {
        (Some(state), _) => state,
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            let mut state = Sha256::new();
            let mut bytes = inner.objects.blob_stream(&upload.blob, 0..upload.offset);
            while let Some(chunk) = bytes.try_next().await? {
                state.update(&chunk);
            }
            state
        }
    };
    Ok(Some(HEXLOWER.encode(&state.finalize())))
}

/// The file is another one than announced: the asset says so, the bytes go.
async fn refuse(inner: &Inner, upload: &Upload, asset: &Asset, got: &str) -> Result<(), Problem> {
    let announced = asset.source.sha256.as_deref().unwrap_or_default();
    let detail = format!("The SHA-256 of the bytes is {got}, announced was {announced}.");
    let error = StepError {
        class: ErrorClass::Input,
        code: "hash_mismatch".to_owned(),
        human: format!("{detail} {HASH_HINT}"),
        log: None,
        worker: None,
    };
    let patch = AssetPatch { state: Some(AssetState::Errored), error: Some(error), ..AssetPatch::default() };
    inner.catalogue.update_asset(&asset.id, &patch).await?;
    inner.catalogue.end_upload(&upload.id).await?;
    metrics::counter!("vod_uploads_refused_total", "reason" => "hash").increment(1);
    Err(Problem::hash_mismatch(detail))
}

/// Deletes what requests that died left beside the objects of an upload.
pub(super) async fn delete_strays(inner: &Inner, upload: &Upload) -> Result<(), store::Error> {
    let folder = Key::new(&format!("uploads/{}", upload.id))?;
    let counted: std::collections::HashSet<&str> = upload.blob.parts.iter().map(|part| part.key.as_str()).collect();
    let mut found = inner.objects.list_meta(&folder);
    while let Some((key, _)) = found.try_next().await? {
        if !counted.contains(key.as_str()) {
            inner.objects.delete(&key).await?;
        }
    }
    Ok(())
}
