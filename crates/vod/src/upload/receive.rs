//! Bytes on their way in: cut into objects, stored one while the next one comes, then counted.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use store::{Append, BlobPart, Key, Upload, UploadId};
use tokio::task::JoinHandle;

use super::{Inner, UPLOAD_PART_BYTES, header::Checksum, lock, problem::Problem};

/// A client that has sent nothing for this long is gone, whatever its connection says.
const BODY_IDLE: Duration = Duration::from_secs(60);
/// Uploads whose hash is kept between requests: 200 bytes each. The others are read again at their end.
const HASHES_MAX: usize = 4_096;

/// Hashes of uploads as far as they are stored, when this process has seen them from their first byte on.
#[derive(Default)]
pub(super) struct Hashes(Mutex<HashMap<UploadId, (u64, Sha256)>>);

impl Hashes {
    /// The hash of the first `offset` bytes, for whoever appends to them.
    pub(super) fn take(&self, id: &UploadId, offset: u64) -> Option<Sha256> {
        let kept = lock(&self.0).remove(id);
        match kept.filter(|(at, _)| *at == offset) {
            Some((_, hash)) => Some(hash),
            None => (offset == 0).then(Sha256::new),
        }
    }

    fn keep(&self, id: &UploadId, offset: u64, hash: Sha256) {
        let mut kept = lock(&self.0);
        if kept.len() < HASHES_MAX {
            kept.insert(id.clone(), (offset, hash));
        }
    }

    pub(super) fn forget(&self, id: &UploadId) {
        lock(&self.0).remove(id);
    }
}

/// What came of a body.
#[derive(Debug)]
pub(super) struct Received {
    /// The upload after it.
    pub(super) upload: Upload,
    /// The body ended before its end. What came of it is stored.
    pub(super) broken: bool,
}

enum End {
    Whole,
    Broken,
}

/// Appends `body` to `upload`, at most `room` bytes.
///
/// With a `checksum` either all of the body is stored or nothing.
pub(super) async fn receive<E>(
    inner: &Inner,
    upload: Upload,
    room: u64,
    checksum: Option<Checksum>,
    body: impl Stream<Item = Result<Bytes, E>> + Send,
) -> Result<Received, Problem> {
    let Ok(_turn) = inner.receiving.try_acquire() else {
        metrics::counter!("vod_uploads_refused_total", "reason" => "busy").increment(1);
        return Err(Problem::busy());
    };
    let hash = inner.hashes.take(&upload.id, upload.offset);
    let before = (upload.offset, hash.clone());
    let next = upload.blob.parts.len();
    let part = BytesMut::new();
    let mut receiver =
        Receiver { inner, upload, room, checksum, hash, part, next, storing: None, held: VecDeque::new() };
    let received = receiver.run(body).await;
    let (offset, hash) = match &received {
        Ok(Received { broken: true, .. }) if receiver.checksum.is_some() => before,
        Ok(_) => (receiver.upload.offset, receiver.hash.take()),
        Err(_) => {
            receiver.discard().await;
            // Nothing of a refused body with a checksum was stored.
            if receiver.upload.offset == before.0 { before } else { (0, None) }
        }
    };
    if let Some(hash) = hash {
        inner.hashes.keep(&receiver.upload.id, offset, hash);
    }
    received
}

struct Receiver<'a> {
    inner: &'a Inner,
    /// The upload as it is stored.
    upload: Upload,
    /// Bytes that may still come.
    room: u64,
    checksum: Option<Checksum>,
    hash: Option<Sha256>,
    /// The object that fills.
    part: BytesMut,
    /// Number of the next object.
    next: usize,
    /// The object before it, on its way to the store.
    storing: Option<JoinHandle<(BlobPart, Result<(), store::Error>)>>,
    /// Stored objects that count once the checksum is known to be right.
    held: VecDeque<BlobPart>,
}

impl Receiver<'_> {
    async fn run<E>(&mut self, body: impl Stream<Item = Result<Bytes, E>> + Send) -> Result<Received, Problem> {
        let end = self.take_all(body).await?;
        let broken = matches!(end, End::Broken);
        let right = self.checksum.clone().is_none_or(Checksum::matches);
        match self.checksum {
            Some(_) if broken => self.discard().await,
            Some(_) if !right => return Err(Problem::checksum_mismatch()),
            _ => {
                self.send_part().await?;
                self.settle().await?;
                while let Some(part) = self.held.pop_front() {
                    self.append(part).await?;
                }
            }
        }
        Ok(Received { upload: self.upload.clone(), broken })
    }

    async fn take_all<E>(&mut self, body: impl Stream<Item = Result<Bytes, E>> + Send) -> Result<End, Problem> {
        let mut body = std::pin::pin!(body);
        loop {
            let piece = match tokio::time::timeout(BODY_IDLE, body.next()).await {
                Ok(None) => return Ok(End::Whole),
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(_))) | Err(_) => return Ok(End::Broken),
            };
            let Some(room) = self.room.checked_sub(piece.len() as u64) else { return Err(self.too_much()) };
            self.room = room;
            if let Some(checksum) = &mut self.checksum {
                checksum.update(&piece);
            }
            if let Some(hash) = &mut self.hash {
                hash.update(&piece);
            }
            self.take(piece).await?;
        }
    }

    fn too_much(&self) -> Problem {
        match self.upload.bytes {
            Some(bytes) => Problem::beyond_length(bytes),
            None => Problem::too_large("The file is larger than what may be stored.".to_owned()),
        }
    }

    async fn take(&mut self, mut piece: Bytes) -> Result<(), Problem> {
        while !piece.is_empty() {
            let space = UPLOAD_PART_BYTES - self.part.len();
            // Copied together: a piece may be a byte, or a view of a larger buffer.
            self.part.extend_from_slice(&piece.split_to(space.min(piece.len())));
            if self.part.len() == UPLOAD_PART_BYTES {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    /// Sends the object that fills on its way, after the one before has arrived.
    async fn send_part(&mut self) -> Result<(), Problem> {
        if self.part.is_empty() {
            return Ok(());
        }
        self.settle().await?;
        let text = format!("uploads/{}/{:08}-{:016x}", self.upload.id, self.next, rand::random::<u64>());
        let key = Key::new(&text)?;
        self.next += 1;
        let bytes = std::mem::take(&mut self.part).freeze();
        let objects = self.inner.objects.clone();
        self.storing = Some(tokio::spawn(async move {
            let part = BlobPart { key: text, bytes: bytes.len() as u64 };
            (part, objects.put(&key, vec![bytes]).await)
        }));
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), Problem> {
        let Some(storing) = self.storing.take() else { return Ok(()) };
        let (part, stored) = storing.await.expect("storing an object does not panic");
        stored?;
        if self.checksum.is_some() {
            self.held.push_back(part);
            return Ok(());
        }
        self.append(part).await
    }

    /// Makes an object, which is durable, part of the upload.
    async fn append(&mut self, part: BlobPart) -> Result<(), Problem> {
        let expires = self.inner.expires(self.inner.catalogue.now().await?);
        let bytes = part.bytes;
        // After an error nobody knows whether it is part of the upload: the object stays, and goes when the upload ends.
        match self.inner.catalogue.append_upload(&self.upload.id, self.upload.offset, &part, expires).await? {
            Append::Stored(upload) => {
                metrics::counter!("vod_upload_bytes_total").increment(bytes);
                self.upload = upload;
                Ok(())
            }
            Append::Conflict { offset } => {
                self.delete(part).await;
                Err(Problem::wrong_offset(offset))
            }
            Append::Gone => {
                self.delete(part).await;
                Err(Problem::gone())
            }
        }
    }

    /// Deletes what was stored and will not count.
    async fn discard(&mut self) {
        if let Some(storing) = self.storing.take()
            && let Ok((part, Ok(()))) = storing.await
        {
            self.held.push_back(part);
        }
        for part in std::mem::take(&mut self.held) {
            self.delete(part).await;
        }
    }

    /// What cannot be deleted now goes when the upload ends.
    async fn delete(&self, part: BlobPart) {
        if let Ok(key) = Key::new(&part.key)
            && let Err(error) = self.inner.objects.delete(&key).await
        {
            tracing::debug!(key = part.key, %error, "an object that is nobody's could not be deleted");
        }
    }
}
