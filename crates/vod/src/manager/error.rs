//! What can go wrong in the manager, for people and programs.

use base::Fault;
use thiserror::Error;

use crate::recipe::InvalidRecipe;

/// Why the manager refused or failed.
#[derive(Debug, Error)]
pub enum ManagerError {
    /// The catalogue or the objects failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A recipe that cannot be used.
    #[error(transparent)]
    Recipe(#[from] InvalidRecipe),
    /// A name that no recipe may have.
    #[error("{name:?} cannot name a recipe: use lower-case letters, digits, - and _, at most 64 of them")]
    RecipeName {
        /// The beginning of the name.
        name: String,
    },
    /// No recipe of that name.
    #[error("there is no recipe {name:?}; `headwater recipes list` shows those there are")]
    NoRecipe {
        /// The name.
        name: String,
    },
    /// No asset of that id.
    #[error("there is no such asset; it may have been deleted")]
    NoAsset,
    /// The asset's bytes are not there.
    #[error("the asset's source is not stored (yet); finish its upload first")]
    NoSource,
    /// Nothing can be fetched from there.
    #[error("nothing can be fetched from {url:?}: {why}; give an http, https, ftp, ftps, sftp or s3 URL")]
    Url {
        /// Without credentials, at most its beginning.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A destination that cannot be used.
    #[error("the destination {name:?} cannot be used: {why}")]
    Destination {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A source that is not accepted.
    #[error("{0}")]
    Source(String),
}

impl ManagerError {
    /// Who has to change something.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            _ => Fault::Client,
        }
    }
}
