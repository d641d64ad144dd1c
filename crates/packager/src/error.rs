use base::Fault;
use thiserror::Error;

use crate::TrackName;

/// Why a track or a sample was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// [`begin_epoch`](crate::Presentation::begin_epoch) was not called, or the epoch has ended.
    #[error("track {0}: nothing is being published")]
    NoEpoch(TrackName),
    /// A sample for a track that was never set in this epoch, or was removed.
    #[error("track {0} is not part of the stream")]
    UnknownTrack(TrackName),
    /// More tracks than [`TRACKS_MAX`](crate::TRACKS_MAX).
    #[error("track {0} would be one too many")]
    TooManyTracks(TrackName),
    /// A second leader, a picture track as audio, or a role that changes.
    #[error("track {name}: {why}")]
    Role {
        /// The track.
        name: TrackName,
        /// What does not fit.
        why: &'static str,
    },
    /// The codec's configuration cannot be written into a container.
    #[error("track {name}: the initialization segment cannot be made")]
    Init {
        /// The track.
        name: TrackName,
        /// What the container writer said.
        source: media::Error,
    },
}

impl Error {
    /// Who has to change something: always whoever publishes, or the code that calls in the wrong order.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoEpoch(_) | Self::UnknownTrack(_) | Self::Role { .. } => Fault::Internal,
            Self::TooManyTracks(_) => Fault::Overload,
            Self::Init { .. } => Fault::Client,
        }
    }
}
