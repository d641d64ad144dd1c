use thiserror::Error;

/// Why bytes could not be read as the codec header or container they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The bytes end before the structure does.
    #[error("{what} ends after {have} bytes, before its {need}")]
    Truncated {
        /// The structure, in the specification's words.
        what: &'static str,
        /// Bytes needed from its beginning.
        need: usize,
        /// Bytes there.
        have: usize,
    },
    /// A field holds a value that the specification does not allow.
    #[error("{what}: {why}")]
    Invalid {
        /// The structure, in the specification's words.
        what: &'static str,
        /// The field, its value, and what was expected.
        why: String,
    },
    /// Well formed, but nothing this platform can package.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A length or count over a named limit.
    #[error("{what} of {value} is over the limit of {limit}")]
    TooLarge {
        /// The quantity.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The limit.
        limit: u64,
    },
}

impl Error {
    /// Shorthand for [`Error::Invalid`].
    pub fn invalid(what: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { what, why: why.into() }
    }
}
