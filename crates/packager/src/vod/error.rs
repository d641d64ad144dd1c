use thiserror::Error;

/// Why a track file or an index could not be made or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// More samples than an index holds.
    #[error("the track has more than {limit} samples")]
    TooManySamples {
        /// The limit.
        limit: usize,
    },
    /// A picture is presented too long before the beginning of the presentation.
    #[error(
        "a sample at {pts} lies more than {limit} ticks before the beginning; is the beginning that of the earliest track?"
    )]
    BeforeOrigin {
        /// Its presentation time, in ticks of the track, with the shift applied.
        pts: i64,
        /// What a track may lie before it.
        limit: i64,
    },
    /// A duration, offset, size or time that no field takes.
    #[error("a sample at {dts} has {what} of {value}, which cannot be written")]
    Field {
        /// Its decoding time, in ticks of the track.
        dts: i64,
        /// The field.
        what: &'static str,
        /// Its value.
        value: i64,
    },
    /// Nothing was pushed, or everything lay before the beginning.
    #[error("the track has no sample")]
    Empty,
    /// An index that does not agree with itself, or is of another version.
    #[error("the index of the track cannot be used: {0}")]
    Index(String),
    /// The codec's configuration or a table cannot be read or written.
    #[error("the track's header cannot be made")]
    Media(#[from] media::Error),
}
