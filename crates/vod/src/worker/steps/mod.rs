//! The kinds of steps, one file each.

mod analyse;
mod encode;
mod fetch;
mod notify;
mod package;
mod pictures;
mod probe;
mod remote;
mod stitch;
mod subtitles;
mod transfer;
mod validate;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use transcode::{Capabilities, Tool, vod::Probe};

use super::{
    failure::{self, Result},
    task::{Execute, Task},
};
use crate::protocol::{Output, Spec};

/// Does steps with this machine's FFmpeg.
#[derive(Debug)]
pub(crate) struct Steps {
    capabilities: Capabilities,
}

impl Steps {
    pub(crate) fn new(capabilities: Capabilities) -> Self {
        Self { capabilities }
    }

    fn tool(&self) -> Result<&Tool> {
        self.capabilities.tool().map_err(|reason| {
            failure::capacity(
                "no_ffmpeg",
                format!("The worker has no usable FFmpeg: {reason}. Then start the worker again."),
            )
        })
    }

    async fn dispatch(&self, task: &Task) -> Result<Output> {
        match &task.leased().spec {
            Spec::Fetch { url, file_name, bytes_max, part_bytes, private_addresses, auth } => {
                let order = fetch::Order {
                    url,
                    file_name,
                    bytes_max: *bytes_max,
                    part_bytes: *part_bytes,
                    private_addresses: *private_addresses,
                    auth: auth.as_ref(),
                };
                fetch::fetch(task, &order).await
            }
            Spec::Probe { hash } => probe::probe(task, self.tool()?, *hash).await,
            Spec::Analyse { spec, per_title } => analyse::analyse(task, self.tool()?, spec, per_title).await,
            Spec::Encode { job } => encode::encode(task, self.tool()?, job).await,
            Spec::Stitch { expected, .. } => stitch::stitch(task, expected),
            Spec::Package { segment_ms, .. } => package::package(task, *segment_ms).await,
            Spec::Validate { ssim, vmaf, expected_frames, expected_ms, .. } => {
                let order = validate::Order {
                    quality: *ssim || *vmaf,
                    expected_frames: *expected_frames,
                    expected_ms: *expected_ms,
                };
                validate::validate(task, self.tool()?, &order).await
            }
            Spec::Thumbnails { at_permille, width } => {
                pictures::thumbnails(task, self.tool()?, at_permille, *width).await
            }
            Spec::Storyboard { spec } => pictures::storyboard(task, self.tool()?, spec).await,
            Spec::Subtitles { track, .. } => subtitles::subtitles(task, self.tool()?, *track).await,
            Spec::Transfer { name, destination, objects } => {
                transfer::transfer(task, name, destination.as_ref(), objects).await
            }
            Spec::Notify { url, body, private_addresses } => notify::notify(task, url, body, *private_addresses).await,
            // What is to be removed is the manager's to know and to remove.
            Spec::CleanUp {} => Ok(Output::Done {}),
        }
    }
}

impl Execute for Steps {
    fn execute(self: Arc<Self>, task: Task) -> BoxFuture<'static, Result<Output>> {
        Box::pin(async move { self.dispatch(&task).await })
    }
}

/// The probe that a step stands behind.
fn probed(task: &Task) -> Result<&Probe> {
    task.leased().probe.as_ref().ok_or_else(|| failure::bad_inputs("no probe of its source"))
}
