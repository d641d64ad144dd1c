//! Posters and the storyboard.

use transcode::{
    Tool,
    vod::{self, Class, StoryboardSpec, Work},
};

use super::{
    super::{
        failure::{self, Result},
        task::Task,
    },
    probed,
};
use crate::protocol::{Output, Storyboard};

/// Thousandths of a storyboard's step that are FFmpeg's; the rest is storing.
const MAKE_PART: u32 = 900;

/// JPEGs `poster-0.jpg`, ... at thousandths of the length.
pub(super) async fn thumbnails(task: &Task, tool: &Tool, at_permille: &[u32], width: u32) -> Result<Output> {
    let probe = probed(task)?;
    let count = at_permille.len().max(1) as u64;
    let mut images = Vec::new();
    for (index, &permille) in at_permille.iter().enumerate() {
        let at_ms = probe.start_ms + probe.duration_ms.max(0) * i64::from(permille.min(1_000)) / 1_000;
        let name = format!("poster-{index}.jpg");
        poster(task, tool, at_ms, probe.start_ms, width, &name).await?;
        images.push(task.put_file(&name, &task.folder().join(&name)).await?);
        task.report_bytes(index as u64 + 1, count, 0, 1_000);
    }
    Ok(Output::Thumbnails { images })
}

/// Where nothing can be decoded at the place asked for, as in a file cut short, the first picture serves.
async fn poster(task: &Task, tool: &Tool, at_ms: i64, start_ms: i64, width: u32, name: &str) -> Result<()> {
    let (input, out) = (task.input()?, task.folder().join(name));
    let limits = task.limits(task.config().other_ms_max);
    let made = vod::poster(tool, &input, at_ms, width, &out, &limits, task.cancelled()).await;
    let made = match made {
        Err(failure) if failure.class == Class::Input && at_ms > start_ms => {
            vod::poster(tool, &input, start_ms, width, &out, &limits, task.cancelled()).await
        }
        made => made,
    };
    made.map_err(failure::tool)
}

/// Sheets of small pictures.
pub(super) async fn storyboard(task: &Task, tool: &Tool, spec: &StoryboardSpec) -> Result<Output> {
    let (input, folder) = (task.input()?, task.folder());
    let limits = task.limits(task.config().other_ms_max);
    let progress = |work: Work| task.report_part(work, 0, MAKE_PART);
    let made = vod::storyboard(tool, &input, spec, folder, &limits, task.cancelled(), &progress);
    let made = made.await.map_err(failure::tool)?;
    let mut sheets = Vec::new();
    for (index, name) in made.sheets.iter().enumerate() {
        sheets.push(task.put_file(&format!("storyboard-{index}.jpg"), &folder.join(name)).await?);
        task.report_bytes(index as u64 + 1, made.sheets.len() as u64, MAKE_PART, 1_000);
    }
    let vod::Storyboard { interval_ms, columns, rows, width, height, count, .. } = made;
    Ok(Output::Storyboard(Storyboard { sheets, interval_ms, columns, rows, width, height, count }))
}
