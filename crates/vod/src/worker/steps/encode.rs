//! Encode a chunk or a track, or copy a track, into a fragmented MP4 that is stored as one object.

use transcode::{
    Tool,
    vod::{self, Work},
};

use super::super::{
    failure::{self, Result},
    task::Task,
};
use crate::protocol::{EncodeJob, Output};

/// Name of the stored object.
const OBJECT: &str = "media.mp4";
/// Thousandths of the step that are FFmpeg's; the rest is storing.
const ENCODE_PART: u32 = 980;

pub(super) async fn encode(task: &Task, tool: &Tool, job: &EncodeJob) -> Result<Output> {
    let (input, out) = (task.input()?, task.folder().join(OBJECT));
    let limits = task.limits(task.config().encode_ms_max);
    let cancel = task.cancelled();
    let progress = |work: Work| task.report_part(work, 0, ENCODE_PART);
    let encoded = match job {
        EncodeJob::Video(video) => vod::encode_video(tool, &input, video, &out, &limits, cancel, &progress).await,
        EncodeJob::Audio(audio) => vod::encode_audio(tool, &input, audio, &out, &limits, cancel, &progress).await,
        EncodeJob::Copy { track } => vod::copy_track(tool, &input, *track, &out, &limits, cancel, &progress).await,
    };
    let encoded = encoded.map_err(failure::tool)?;
    let object = task.put_file(OBJECT, &out).await?;
    Ok(Output::Encoded { object, encoded })
}
