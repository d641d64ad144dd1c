//! Bodies from plans: bytes at hand, stretches of stored objects, and parts still to come.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use packager::{BodyPlan, Lookup, Piece};

use super::answer::{Body, BoxError};
use crate::hub::Stream;

/// Small neighbours are joined up to this size: a chunk header and a few audio frames leave in one piece.
const JOIN_BYTES_MAX: usize = 16 * 1024;
/// How much of a stored object is read at a time.
const READ_BYTES_MAX: u64 = 1024 * 1024;

/// A body that sends `plan`'s pieces in order, waiting for those that are still to come.
pub(super) fn of_plan(plan: BodyPlan, stream: Arc<Stream>, store: Option<store::Objects>) -> Body {
    let state = State { pieces: joined(plan.pieces).into(), stream, store };
    let frames = stream::unfold(state, |mut state| async move {
        let frame = state.next().await?;
        Some((frame.map(Frame::data), state))
    });
    StreamBody::new(frames).boxed_unsync()
}

struct State {
    pieces: VecDeque<Piece>,
    stream: Arc<Stream>,
    store: Option<store::Objects>,
}

impl State {
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            match self.pieces.pop_front()? {
                Piece::Inline(bytes) | Piece::Shared(bytes) => return Some(Ok(bytes)),
                Piece::File { object, offset, len } => return Some(self.read(object, offset, len).await),
                Piece::Pending { track, msn, part } => {
                    let plan = self.wait(&track, msn, part).await?;
                    self.pieces.extend(joined(plan.pieces));
                    self.pieces.push_back(Piece::Pending { track, msn, part: part + 1 });
                }
            }
        }
    }

    async fn read(&mut self, object: String, offset: u64, len: u64) -> Result<Bytes, BoxError> {
        let now = len.min(READ_BYTES_MAX);
        if now < len {
            self.pieces.push_front(Piece::File { object: object.clone(), offset: offset + now, len: len - now });
        }
        let store = self.store.as_ref().ok_or("the segment is stored, but there is no store")?;
        let key = crate::spill::object_key(&self.stream, &object)?;
        Ok(store.get_range(&key, offset..offset + now).await?)
    }

    /// Waits for a part of an open segment; `None` when the segment ended before it.
    async fn wait(&self, track: &packager::TrackName, msn: u64, part: u32) -> Option<BodyPlan> {
        let mut version = self.stream.watch_version();
        loop {
            version.borrow_and_update();
            match self.stream.present(|presentation| presentation.part(track, msn, part)) {
                Lookup::Found(plan) => return Some(plan),
                Lookup::Pending => version.changed().await.ok()?,
                Lookup::Gone => return None,
            }
        }
    }
}

/// Joins small neighbours, so that a body of many tiny payloads is not sent in as many pieces.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::with_capacity(pieces.len());
    let mut small: Vec<u8> = Vec::new();
    let flush = |small: &mut Vec<u8>, out: &mut Vec<Piece>| {
        if !small.is_empty() {
            out.push(Piece::Inline(std::mem::take(small).into()));
        }
    };
    for piece in pieces {
        match &piece {
            Piece::Inline(bytes) | Piece::Shared(bytes) if small.len() + bytes.len() <= JOIN_BYTES_MAX => {
                small.extend_from_slice(bytes);
            }
            _ => {
                flush(&mut small, &mut out);
                out.push(piece);
            }
        }
    }
    flush(&mut small, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_keeps_every_byte_in_order() {
        let piece = |byte: u8, len: usize| Piece::Shared(Bytes::from(vec![byte; len]));
        let pieces = vec![piece(1, 10), piece(2, 20), piece(3, JOIN_BYTES_MAX), piece(4, 1), piece(5, 2)];
        let flat = |pieces: &[Piece]| -> Vec<u8> {
            let bytes = pieces.iter().map(|piece| match piece {
                Piece::Inline(bytes) | Piece::Shared(bytes) => bytes.to_vec(),
                other => panic!("{other:?}"),
            });
            bytes.flatten().collect()
        };
        let joined = joined(pieces.clone());
        assert_eq!(flat(&joined), flat(&pieces));
        assert_eq!(joined.len(), 3);
    }
}
