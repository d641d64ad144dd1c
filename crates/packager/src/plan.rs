use bytes::Bytes;
use thiserror::Error;

use crate::TrackName;

/// What a question about an object of the presentation gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// The object.
    Found(T),
    /// Announced, not there yet: wait for [`version`](crate::Presentation::version) to change and ask again.
    Pending,
    /// Never announced, or gone from the window.
    Gone,
}

impl<T> Lookup<T> {
    /// The object, if it is there.
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(object) => Some(object),
            Self::Pending | Self::Gone => None,
        }
    }

    /// Applies `f` to the object.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Self::Found(object) => Lookup::Found(f(object)),
            Self::Pending => Lookup::Pending,
            Self::Gone => Lookup::Gone,
        }
    }
}

/// A body as the executor (a socket, a file) has to assemble it, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyPlan {
    /// The pieces in order; a [`Piece::Pending`] stands last.
    pub pieces: Vec<Piece>,
}

impl BodyPlan {
    /// Bytes of the whole body; `None` while a piece is still to come.
    pub fn len(&self) -> Option<u64> {
        self.pieces.iter().try_fold(0_u64, |sum, piece| Some(sum + piece.len()?))
    }

    /// Whether nothing is in the body, now or later.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

/// A stretch of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes made for this body (box headers).
    Inline(Bytes),
    /// A payload that other consumers share.
    Shared(Bytes),
    /// A stretch of a spilled object.
    File {
        /// The object's name, as [`Spill::object`] gave it.
        object: String,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// A part still to come: ask [`part`](crate::Presentation::part) for it; when that is `Gone` the segment ended before it,
    /// when it is found the next part may follow.
    Pending {
        /// The track.
        track: TrackName,
        /// Media Sequence Number of the segment.
        msn: u64,
        /// Part index in the segment.
        part: u32,
    },
}

impl Piece {
    /// Bytes of the piece; `None` while it is not there.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Inline(bytes) | Self::Shared(bytes) => Some(bytes.len() as u64),
            Self::File { len, .. } => Some(*len),
            Self::Pending { .. } => None,
        }
    }

    /// Whether the piece is there and has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

/// What to do with a blocking Media Playlist reload (RFC 8216bis 6.2.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The playlist contains what was asked for, or never will: answer now.
    Ready,
    /// Wait for [`version`](crate::Presentation::version) to change and ask again.
    Wait,
    /// Answer 400 with this reason.
    BadRequest(&'static str),
}

/// The presentation cannot be described yet: no source track has a complete part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the stream has no complete part yet")]
pub struct NotReady;

/// A closed segment to move out of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spill {
    /// The track.
    pub track: TrackName,
    /// Media Sequence Number.
    pub msn: u64,
    /// Name for the object, relative to the stream: `v0/17.m4s`.
    pub object: String,
    /// The segment's bytes; never pending.
    pub plan: BodyPlan,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_with_a_pending_piece_has_no_length() {
        let mut plan = BodyPlan {
            pieces: vec![Piece::Inline(Bytes::from_static(b"moof")), Piece::Shared(Bytes::from_static(b"xy"))],
        };
        assert_eq!(plan.len(), Some(6));
        plan.pieces.push(Piece::File { object: "v0/1.m4s".into(), offset: 0, len: 10 });
        assert_eq!(plan.len(), Some(16));
        plan.pieces.push(Piece::Pending { track: TrackName::source_video(), msn: 1, part: 0 });
        assert_eq!((plan.len(), plan.is_empty()), (None, false));
    }
}
