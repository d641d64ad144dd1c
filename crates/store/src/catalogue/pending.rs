use super::{engine::*, *};
pub(super) async fn insert_job(_: &mut Tx<'_>, _: &AssetId, _: &NewJob) -> Result<()> {
    Ok(())
}
pub(super) async fn cancel_jobs_of(_: &mut Tx<'_>, _: &AssetId) -> Result<()> {
    Ok(())
}
