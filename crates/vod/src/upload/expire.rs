//! Uploads that are over, one way or the other, without a client asking.

use std::{collections::HashSet, sync::Arc};

use store::{Error, Key, Upload, UploadId, UploadState};

use super::{Inner, finish};

/// Rows looked at in one go.
const ROWS_MAX: u32 = 100;

pub(super) async fn run(inner: &Arc<Inner>) -> Result<u64, Error> {
    let completed = complete_stranded(inner).await?;
    Ok(completed + remove_expired(inner).await?)
}

/// Completes uploads that have all their bytes: their process died before it could.
async fn complete_stranded(inner: &Arc<Inner>) -> Result<u64, Error> {
    let open = inner.catalogue.uploads(None, Some(UploadState::Open), ROWS_MAX).await?;
    let mut completed = 0;
    for upload in open.iter().filter(|upload| is_full(upload)) {
        completed += u64::from(finish::finish(inner, upload).await.is_ok());
    }
    Ok(completed)
}

fn is_full(upload: &Upload) -> bool {
    upload.state == UploadState::Open && !upload.partial && upload.bytes == Some(upload.offset)
}

async fn remove_expired(inner: &Arc<Inner>) -> Result<u64, Error> {
    let (mut removed, mut seen) = (0, HashSet::<UploadId>::new());
    loop {
        let expired = inner.catalogue.expired_uploads(ROWS_MAX).await?;
        let fresh: Vec<_> = expired.into_iter().filter(|upload| seen.insert(upload.id.clone())).collect();
        if fresh.is_empty() {
            return Ok(removed);
        }
        for upload in fresh {
            removed += u64::from(remove(inner, upload).await?);
        }
    }
}

/// Ends an upload and deletes the objects that nobody else needs (`upload.blob` names those); whether it is over.
async fn remove(inner: &Arc<Inner>, upload: Upload) -> Result<bool, Error> {
    let Some(whole) = inner.catalogue.upload(&upload.id).await? else { return Ok(false) };
    if is_full(&whole) && finish::finish(inner, &whole).await.is_ok() {
        return Ok(true);
    }
    if whole.state != UploadState::Gone && !inner.catalogue.end_upload(&upload.id).await? {
        return Ok(false);
    }
    for part in &upload.blob.parts {
        inner.objects.delete(&Key::new(&part.key)?).await?;
    }
    finish::delete_strays(inner, &whole).await?;
    inner.catalogue.forget_upload(&upload.id).await?;
    inner.hashes.forget(&upload.id);
    tracing::info!(upload = %upload.id, bytes = upload.offset, "an upload that was not finished is removed");
    Ok(true)
}
