//! Look at every picture's time, at shots, loudness and complexity; search the ladder of this title when asked.

use transcode::{
    Tool,
    vod::{self, AnalyseSpec, RungSpec, Work},
};

use super::{
    super::{
        failure::{self, Result},
        task::Task,
    },
    probed,
};
use crate::protocol::Output;

/// Thousandths of the step that the analysis takes when a per-title search follows.
const ANALYSIS_PART: u32 = 400;

pub(super) async fn analyse(task: &Task, tool: &Tool, spec: &AnalyseSpec, rungs: &[RungSpec]) -> Result<Output> {
    let (input, probe) = (task.input()?, probed(task)?);
    let limits = task.limits(task.config().analyse_ms_max);
    let middle = if rungs.is_empty() { 1_000 } else { ANALYSIS_PART };
    let first = |work: Work| task.report_part(work, 0, middle);
    let analysis = vod::analyse(tool, &input, probe, spec, &limits, task.cancelled(), &first);
    let analysis = analysis.await.map_err(failure::tool)?;
    if rungs.is_empty() {
        return Ok(Output::Analysed { analysis, per_title: Vec::new() });
    }
    let second = |work: Work| task.report_part(work, middle, 1_000);
    let per_title = vod::per_title(tool, &input, probe, &analysis, rungs, &limits, task.cancelled(), &second);
    let per_title = per_title.await.map_err(failure::tool)?;
    Ok(Output::Analysed { analysis, per_title })
}
