//! Look at the source; compute its hash when nobody has yet.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use transcode::{Tool, vod};

use super::super::{
    failure::{self, Result},
    task::Task,
};
use crate::protocol::Output;

/// The probe needs a few reads of the source, the hash all of it: both at the same time, and a source that is no media fails at once.
pub(super) async fn probe(task: &Task, tool: &Tool, hash: bool) -> Result<Output> {
    let input = task.input()?;
    let limits = task.limits(task.config().probe_ms_max);
    let probe = async { vod::probe(tool, &input, &limits, task.cancelled()).await.map_err(failure::tool) };
    let hash = async { if hash { source_hash(task).await.map(Some) } else { Ok(None) } };
    let (probe, sha256) = tokio::try_join!(probe, hash)?;
    Ok(Output::Probed { probe, sha256 })
}

async fn source_hash(task: &Task) -> Result<String> {
    let mut reader = task.read_source().await?;
    let (_, _, total) = reader.extent();
    let (mut hash, mut done) = (Sha256::new(), 0);
    while let Some(piece) = reader.next().await? {
        hash.update(&piece);
        done += piece.len() as u64;
        task.report_bytes(done, total, 0, 1_000);
    }
    Ok(HEXLOWER.encode(&hash.finalize()))
}
