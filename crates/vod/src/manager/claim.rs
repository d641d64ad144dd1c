//! Handing out steps: a claim waits for one, and gets with it all that the worker needs.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use store::{
    Key,
    catalogue::{Asset, Job, Lease, Step, StepError, Worker},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use transcode::vod::{Probe, VideoCodec};

use super::{Manager, ManagerError, service::Refused};
use crate::{
    plan,
    protocol::{CLAIM_WAIT_MS_MAX, Claim, EncodeJob, Leased, ObjectRef, Output, Spec, cap},
};

/// The queue is looked at this often even when nothing tells of a change, in milliseconds.
const POLL_MS: u64 = 1_000;
/// A worker with less free space than this gets nothing that writes much, in bytes.
const DISK_FREE_BYTES_MIN: u64 = 256 << 20;
/// Share of a step's estimated space that must be free beside it: one in so many.
const DISK_SPARE_SHARE: u64 = 10;
/// Most parts of a fetch that are handed to its next attempt.
const STORED_MAX: usize = 10_000;

type Waited = Result<Option<Box<Leased>>, Refused>;

impl Manager {
    /// Waits for a step for this worker.
    pub(super) async fn claim(&self, claim: Claim) -> Result<Option<Box<Leased>>, Refused> {
        let (mut answer, answered) = oneshot::channel();
        let manager = self.clone();
        // On a task of its own: when the worker goes away while its claim is under way, the lease is given back at once
        // and not lost for half a minute.
        tokio::spawn(async move {
            let leased = manager.wait_for_step(&claim, &mut answer).await;
            if let Err(Ok(Some(leased))) = answer.send(leased)
                && let Err(error) = manager.catalogue().release(&leased.step, leased.token).await
            {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(step = %leased.step, error, "a lease that nobody took could not be given back");
            }
        });
        answered.await.unwrap_or_else(|_| {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Err(Refused::new(status, "internal", "The claim broke off. Claim again."))
        })
    }

    async fn wait_for_step(&self, claim: &Claim, answer: &mut oneshot::Sender<Waited>) -> Waited {
        let unknown = "The manager does not know this worker. Register again.";
        let deadline = Instant::now() + Duration::from_millis(claim.wait_ms.min(CLAIM_WAIT_MS_MAX));
        let mut changed = self.catalogue().changed();
        loop {
            changed.borrow_and_update();
            let worker = self.catalogue().seen_worker(&claim.worker).await?;
            let worker = worker.ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "unknown_worker", unknown))?;
            let caps = capabilities(&worker, claim);
            if let Some(lease) = self.catalogue().claim(&worker.id, &caps).await? {
                if let Some(leased) = self.leased(&lease, &worker, claim).await? {
                    return Ok(Some(Box::new(leased)));
                }
                continue;
            }
            let next = deadline.min(Instant::now() + Duration::from_millis(POLL_MS));
            tokio::select! {
                // Only here may a claim be broken off: a lease that was just taken would be lost elsewhere.
                () = answer.closed() => return Ok(None),
                _ = timeout_at(next, changed.changed()) => {}
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    /// What the worker gets with its lease; `None` when the step cannot be handed out and was failed instead.
    async fn leased(&self, lease: &Lease, worker: &Worker, claim: &Claim) -> Result<Option<Leased>, ManagerError> {
        let step = &lease.step;
        let made = match self.prepared(step).await {
            Ok(made) => made,
            // The lease must not hang until it runs out because the catalogue hiccuped.
            Err(error) => {
                self.catalogue().release(&step.id, step.token).await?;
                return Err(error);
            }
        };
        let made = made.and_then(|leased| enough_space(&leased, claim.disk_free_bytes).map(|()| leased));
        match made {
            Ok(leased) => Ok(Some(leased)),
            Err(mut error) => {
                error.worker = Some(worker.name.clone());
                self.catalogue().fail(&step.id, step.token, &error).await?;
                Ok(None)
            }
        }
    }

    async fn prepared(&self, step: &Step) -> Result<Result<Leased, StepError>, ManagerError> {
        let gone = || plan::bug("no_asset", "The step's asset is gone. Nothing needs to be done.");
        let Some(asset) = self.catalogue().asset(&step.asset).await? else { return Ok(Err(gone())) };
        let Some(job) = self.catalogue().job(&step.job).await? else { return Ok(Err(gone())) };
        let mut spec = match plan::spec(step) {
            Ok(spec) => spec,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = self.fill_in(&mut spec, step, &job, &asset).await? {
            return Ok(Err(error));
        }
        Ok(Ok(Leased {
            step: step.id.clone(),
            token: step.token,
            job: step.job.clone(),
            asset: step.asset.clone(),
            name: step.name.clone(),
            inputs: self.inputs(step, &spec).await?,
            stored: if matches!(spec, Spec::Fetch { .. }) { self.stored(step).await? } else { Vec::new() },
            spec,
            probe: asset.media.as_ref().and_then(|media| Probe::deserialize(media).ok()),
            source_bytes: asset.source.blob.as_ref().map(store::catalogue::Blob::bytes),
            file_name: asset.source.file_name,
            attempt: step.attempt,
            progress_ms: self.progress_ms(),
        }))
    }

    /// Completes a spec with what is not written into rows: secrets, and what exists only by now.
    async fn fill_in(
        &self,
        spec: &mut Spec,
        step: &Step,
        job: &Job,
        asset: &Asset,
    ) -> Result<Result<(), StepError>, ManagerError> {
        match spec {
            Spec::Fetch { auth, .. } => *auth = self.credentials(&asset.id).await?,
            Spec::Transfer { name, destination, objects } => {
                let Some(profile) = self.profile(name).await? else {
                    let human = format!(
                        "There is no destination {name:?}. Store its profile, or take it out of the recipe; then retry the job."
                    );
                    return Ok(Err(plan::input("no_destination", human)));
                };
                *destination = Some(profile);
                *objects = self.export(step, asset).await?;
            }
            Spec::Notify { body, private_addresses, .. } => {
                *body = self.notice(job, asset).await?;
                *private_addresses = self.inner.limits.private_addresses;
            }
            _ => {}
        }
        Ok(Ok(()))
    }

    /// What a notified URL is told.
    async fn notice(&self, job: &Job, asset: &Asset) -> Result<Value, ManagerError> {
        let renditions = self.catalogue().renditions(&asset.id).await?;
        Ok(serde_json::json!({
            "type": "job.ready",
            "asset": asset.id,
            "job": job.id,
            "title": asset.title,
            "state": asset.state,
            "duration_ms": asset.duration_ms,
            "metadata": asset.metadata,
            "renditions": renditions.iter().map(|rendition| &rendition.name).collect::<Vec<_>>(),
        }))
    }

    /// Outputs that the step works on.
    async fn inputs(&self, step: &Step, spec: &Spec) -> Result<Vec<(String, Output)>, ManagerError> {
        match spec {
            Spec::Stitch { rendition, .. } | Spec::Package { rendition, .. } => {
                let steps = self.catalogue().steps(&step.job).await?;
                let mut found: Vec<_> = plan::outputs(&steps, Some(rendition)).collect();
                found.sort_by_key(|(index, ..)| *index);
                Ok(found.into_iter().map(|(_, step, output)| (step.name.clone(), output)).collect())
            }
            Spec::Validate { rendition, .. } => {
                let steps = self.catalogue().steps(&step.job).await?;
                let name = format!("package/{rendition}");
                let packaged = steps.into_iter().find(|step| step.name == name);
                let output = packaged.and_then(|step| Output::deserialize(step.output?).ok());
                Ok(output.map(|output| (name, output)).into_iter().collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// What earlier attempts of a fetch stored.
    async fn stored(&self, step: &Step) -> Result<Vec<ObjectRef>, ManagerError> {
        let folder = Key::new(&format!("assets/{}", step.asset))?;
        let begin = format!("assets/{}/{}-", step.asset, step.id);
        let mut found: Vec<ObjectRef> = Vec::new();
        for (key, bytes) in self.objects().list(&folder).await? {
            let Some((_, name)) = key.as_str().strip_prefix(&begin).and_then(|rest| rest.split_once('/')) else {
                continue;
            };
            // Two attempts may have stored the same part; one of them serves.
            let known = found.iter().any(|object| object.name() == name);
            if !known && found.len() < STORED_MAX {
                found.push(ObjectRef { key: key.as_str().to_owned(), bytes, sha256: String::new() });
            }
        }
        found.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(found)
    }
}

/// What the worker may claim: what it asks for, as far as it registered for it; with `encode`, the codecs of its encoders;
/// with a full disk, nothing that writes much.
fn capabilities(worker: &Worker, claim: &Claim) -> Vec<String> {
    let full = claim.disk_free_bytes < DISK_FREE_BYTES_MIN;
    let writes = |cap: &str| [cap::ENCODE, cap::TRANSFER, cap::PACKAGE].contains(&cap);
    // `encode-hevc` is had by those who ask for `encode`.
    let asked = |cap: &str| claim.caps.iter().any(|asked| asked == cap.split('-').next().unwrap_or(cap));
    worker
        .caps
        .iter()
        .filter(|cap| asked(cap) && !(full && writes(cap.split('-').next().unwrap_or(cap))))
        .cloned()
        .collect()
}

/// The capabilities of a worker with those that its encoders give it.
pub(super) fn with_codecs(mut caps: Vec<String>, encoders: &[String]) -> Vec<String> {
    caps.retain(|cap| !cap.starts_with("encode-"));
    if !caps.iter().any(|cap| cap == cap::ENCODE) {
        return caps;
    }
    for (codec, names) in [
        (VideoCodec::Hevc, ["libx265", "hevc_"]),
        (VideoCodec::Av1, ["libsvtav1", "av1_"]),
        (VideoCodec::Vp9, ["libvpx-vp9", "vp9_"]),
    ] {
        if encoders.iter().any(|encoder| names.iter().any(|name| encoder.starts_with(name))) {
            caps.push(plan::steps::encoder(codec));
        }
    }
    caps
}

/// Refuses a step whose files would not fit on the worker's disk.
fn enough_space(leased: &Leased, disk_free_bytes: u64) -> Result<(), StepError> {
    let needed = scratch_bytes(leased);
    let with_spare = needed.saturating_add(needed / DISK_SPARE_SHARE);
    if disk_free_bytes >= with_spare {
        return Ok(());
    }
    let megabytes = |bytes: u64| bytes >> 20;
    let human = format!(
        "The worker has {} MB free and step {} needs about {} MB. Free some space there, or add a worker with a larger disk.",
        megabytes(disk_free_bytes),
        leased.name,
        megabytes(with_spare)
    );
    Err(StepError {
        class: store::catalogue::ErrorClass::Capacity,
        code: "disk_full".to_owned(),
        human,
        log: None,
        worker: None,
    })
}

/// What a step writes to its worker's disk, at most or about.
fn scratch_bytes(leased: &Leased) -> u64 {
    let source = leased.source_bytes.unwrap_or(0);
    let inputs = || {
        let sizes = leased.inputs.iter().map(|(_, output)| match output {
            Output::Encoded { object, .. } => object.bytes,
            Output::Packaged { media, .. } => media.bytes,
            _ => 0,
        });
        sizes.sum::<u64>()
    };
    match &leased.spec {
        Spec::Fetch { part_bytes, .. } => part_bytes.saturating_mul(2),
        Spec::Encode { job: EncodeJob::Copy { .. } } => source,
        Spec::Encode { job: EncodeJob::Video(encode) } => {
            let ticks = encode.chunk.as_ref().map_or(0, |chunk| chunk.end_pts - chunk.start_pts);
            u64::try_from(ticks / 90).unwrap_or(0).saturating_mul(u64::from(encode.kbps_max)) / 8
        }
        Spec::Encode { job: EncodeJob::Audio(encode) } => {
            let ms = leased.probe.as_ref().map_or(0, |probe| probe.duration_ms);
            u64::try_from(ms).unwrap_or(0).saturating_mul(u64::from(encode.kbps)) / 8
        }
        Spec::Package { .. } => inputs().saturating_mul(2),
        _ => 0,
    }
}
