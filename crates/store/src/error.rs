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
    /// No room for an object.
    #[error("no room for {key} in the object store; free space on its disk or raise its quota, then try again")]
    Full {
        /// The key.
        key: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// The bytes that came are not those that were announced. Nothing was stored.
    #[error("{key} is not what was announced: {what} is {got}, expected {expected}; send it again from an intact copy")]
    Mismatch {
        /// The key.
        key: String,
        /// `size` or `sha256`.
        what: &'static str,
        /// As announced.
        expected: String,
        /// As it came.
        got: String,
    },
    /// The bytes to be stored ended in an error. Nothing was stored.
    #[error("the bytes of {key} stopped after {bytes}")]
    Body {
        /// The key.
        key: String,
        /// How many came.
        bytes: u64,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A range that begins behind the object's end.
    #[error("{key} has {bytes} bytes; the range begins behind them")]
    Range {
        /// The key.
        key: String,
        /// Its size.
        bytes: u64,
    },
    /// An object that is shorter or longer than the list of parts that names it says.
    #[error("{key} has {got} bytes instead of {expected}: the store lost or changed it; restore it or upload the file again")]
    Part {
        /// The key of the part.
        key: String,
        /// As listed.
        expected: u64,
        /// As stored.
        got: u64,
    },
    /// The bucket's settings cannot be used.
    #[error("the bucket {bucket:?} cannot be used; check store.s3_endpoint, s3_bucket, s3_region and the access key")]
    Bucket {
        /// The bucket.
        bucket: String,
        /// What is wrong.
        source: object_store::Error,
    },
    /// A bucket that stores an object twice under one name.
    #[error(
        "the object store ignores If-None-Match, so two writers could overwrite each other; use a server that has conditional writes"
    )]
    Unconditional,
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
            Self::Key { .. } | Self::NotFound { .. } | Self::Range { .. } => Fault::Client,
            Self::Mismatch { .. } | Self::Body { .. } => Fault::Client,
            Self::Folder { .. } | Self::Bucket { .. } | Self::Unconditional | Self::Part { .. } => Fault::Internal,
            Self::Full { .. } => Fault::Overload,
            Self::Store { .. } => Fault::Upstream,
        }
    }
}
