//! Deliver an asset's files to another storage.

use super::{
    super::{
        failure::{self, Result},
        task::Task,
    },
    fetch::Order,
};
use crate::protocol::{Output, TransferObject};

/// Gets a source that is not reached by HTTP.
pub(super) async fn fetch(_task: &Task, order: &Order<'_>) -> Result<Output> {
    let scheme = order.url.split(':').next().unwrap_or_default();
    let human = format!("This version cannot fetch {scheme} sources; give an HTTP address or upload the file.");
    Err(failure::input("not_supported", human))
}

pub(super) async fn transfer(
    _task: &Task,
    name: &str,
    _destination: Option<&serde_json::Value>,
    _objects: &[TransferObject],
) -> Result<Output> {
    let human = format!("This version cannot deliver to {name}; update manager and workers to the same version.");
    Err(failure::bug("not_supported", human))
}
