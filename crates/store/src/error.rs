use base::Fault;
use thiserror::Error;

/// What can go wrong with an object.
#[derive(Debug, Error)]
pub enum Error {
    /// A text that is not a key.
    #[error(
        "{text:?} cannot name an object: use segments of A-Z a-z 0-9 - _ . ~ + @ =, joined by /, none of them beginning with a dot"
    )]
    Key {
        /// The beginning of the text.
        text: String,
    },
    /// The store's folder cannot be used.
    #[error("cannot keep objects in {path}; is it a folder this user may write to?")]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No object under this key.
    #[error("there is no object {key}")]
    NotFound {
        /// The key.
        key: String,
    },
    /// The store failed; later may be better.
    #[error("the object store failed to {what} {key}")]
    Store {
        /// `read`, `write`, `delete` or `list`.
        what: &'static str,
        /// The key or prefix.
        key: String,
        /// What the store said.
        source: object_store::Error,
    },
}

impl Error {
    /// Who has to change something.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Key { .. } | Self::NotFound { .. } => Fault::Client,
            Self::Folder { .. } => Fault::Internal,
            Self::Store { .. } => Fault::Upstream,
        }
    }
}
