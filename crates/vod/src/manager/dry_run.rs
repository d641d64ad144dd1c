//! What a job would do, without doing it: every step with the exact arguments of FFmpeg.

use serde::Serialize;
use store::catalogue::{NewStep, Source};
use transcode::vod::{Analysis, AudioCodec, AudioEncode, Probe, video_args};

use super::{Manager, ManagerError};
use crate::{
    plan,
    protocol::{EncodeJob, Spec},
    recipe::Recipe,
};

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DryRun {
    /// Every step, in the order in which they are claimed.
    pub steps: Vec<DryRunStep>,
    /// Core-seconds of all steps together, as estimated.
    pub core_seconds: f64,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DryRunStep {
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: String,
    /// Rendition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rendition: Option<String>,
    /// Capability that its worker needs.
    pub cap: String,
    /// Queue class.
    pub class: i64,
    /// Core-seconds, as estimated.
    pub core_seconds: f64,
    /// Steps that must be done before.
    pub after: Vec<String>,
    /// FFmpeg's output options, for steps that encode.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ffmpeg: Vec<String>,
}

impl Manager {
    /// What `recipe` would make of a source with this probe and analysis.
    ///
    /// # Errors
    /// [`ManagerError::Source`] when the source would not be accepted.
    pub fn dry_run(
        &self,
        source: &Source,
        recipe: &Recipe,
        probe: &Probe,
        analysis: &Analysis,
    ) -> Result<DryRun, ManagerError> {
        let steps = plan::whole(source, recipe, &self.inner.limits, probe, analysis);
        let steps = steps.map_err(|error| ManagerError::Source(error.human))?;
        let core_seconds = steps.iter().map(|step| step.weight).sum();
        Ok(DryRun { steps: steps.into_iter().map(shown).collect(), core_seconds })
    }
}

fn shown(step: NewStep) -> DryRunStep {
    let spec: Option<Spec> = serde_json::from_value(step.spec).ok();
    DryRunStep {
        name: step.name,
        kind: step.kind,
        rendition: step.rendition,
        cap: step.cap,
        class: step.class,
        core_seconds: step.weight,
        after: step.after,
        ffmpeg: spec.map(|spec| ffmpeg(&spec)).unwrap_or_default(),
    }
}

fn ffmpeg(spec: &Spec) -> Vec<String> {
    match spec {
        Spec::Encode { job: EncodeJob::Video(encode) } => video_args(encode, encode.codec.software_encoder()),
        Spec::Encode { job: EncodeJob::Audio(encode) } => audio_args(encode),
        Spec::Encode { job: EncodeJob::Copy { track } } => {
            ["-map", &format!("0:{track}"), "-c", "copy"].map(str::to_owned).to_vec()
        }
        _ => Vec::new(),
    }
}

fn audio_args(encode: &AudioEncode) -> Vec<String> {
    let encoder = match encode.codec {
        AudioCodec::Aac => "aac",
        AudioCodec::Opus => "libopus",
    };
    let mut args = vec!["-map".to_owned(), format!("0:{}", encode.track), "-c:a".to_owned(), encoder.to_owned()];
    args.extend(["-b:a".to_owned(), format!("{}k", encode.kbps)]);
    if let Some(channels) = encode.channels {
        args.extend(["-ac".to_owned(), channels.to_string()]);
    }
    if let Some(gain_db) = encode.gain_db {
        args.extend(["-af".to_owned(), format!("volume={gain_db}dB")]);
    }
    args
}
