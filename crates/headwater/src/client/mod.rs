//! The command line's other half: words that ask a running platform, over its control API.

mod http;
mod show;
mod upload;
mod verbs;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use base::Secret;
use thiserror::Error;

pub use http::Api;
pub use verbs::{parse, subcommands};

base::section! {
    /// The words of the command line that ask a running platform: `assets`, `jobs`, `workers`, `recipes`, `token`.
    pub struct Config in "client" {
        /// Where the platform answers, such as `https://tv.example.org`.
        server: String = "\"http://127.0.0.1:8080\"",
        /// Access token (`headwater token create`). Without one the platform must allow loopback.
        token: Secret = "\"\"",
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Upload a file as a new asset.
    Upload {
        /// The file.
        file: PathBuf,
        /// Title; the file's name without it.
        title: Option<String>,
        /// Recipe; the platform's default without it.
        recipe: Option<String>,
        /// Stay until something plays and everything is made.
        watch: bool,
    },
    /// Have the platform fetch a URL as a new asset.
    Import {
        /// Where the file is.
        url: String,
        /// Title.
        title: Option<String>,
        /// Recipe.
        recipe: Option<String>,
        /// Stay until the end.
        watch: bool,
    },
    /// A page of a listing: `assets`, `jobs`, `workers`, `recipes`, `tokens`, `queue`.
    List {
        /// The collection.
        of: &'static str,
        /// Query parameters.
        query: Vec<(&'static str, String)>,
    },
    /// One row: `assets/ID`, `jobs/ID`, `recipes/NAME`.
    Show {
        /// The collection.
        of: &'static str,
        /// Which.
        id: String,
    },
    /// Bars until the job is over.
    Watch {
        /// The job.
        job: String,
    },
    /// A custom verb on one row: `jobs/ID:retry`.
    Do {
        /// The collection.
        of: &'static str,
        /// Which.
        id: String,
        /// `retry`, `cancel`, `cordon`, ...
        verb: &'static str,
        /// What the request carries.
        body: serde_json::Value,
    },
    /// Remove one row.
    Delete {
        /// The collection.
        of: &'static str,
        /// Which.
        id: String,
    },
    /// Store a recipe from a file.
    PutRecipe {
        /// Its name.
        name: String,
        /// JSON or TOML.
        file: PathBuf,
    },
    /// Show what a recipe would do to an asset.
    DryRun {
        /// The recipe.
        recipe: String,
        /// The asset.
        asset: String,
    },
    /// Make an access token; its secret is shown once.
    CreateToken {
        /// Label.
        label: String,
        /// `admin`, `write`, `read`, `worker`.
        scopes: Vec<String>,
        /// Only this tenant's rows.
        tenant: Option<String>,
        /// Days until it ends.
        days: Option<u64>,
    },
    /// Remove what nobody refers to any more.
    Clean {
        /// Only say what would go.
        dry_run: bool,
    },
}

/// A verb and how its answer is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What is asked.
    pub verb: Verb,
    /// As JSON, for machines.
    pub json: bool,
}

/// Why an answer did not come.
#[derive(Debug, Error)]
pub enum Error {
    /// No platform answered.
    #[error("nothing answers at {server}: is `headwater serve` running there? (--server names another)")]
    Unreachable {
        /// Where.
        server: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It answered with a problem (RFC 9457).
    #[error("{detail}{}", .hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    Refused {
        /// HTTP status.
        status: u16,
        /// What is wrong.
        detail: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The answer is not what this version knows.
    #[error("{server} answered something else than expected: {what}; are both of the same version?")]
    Foreign {
        /// Where.
        server: String,
        /// What it was.
        what: String,
    },
    /// A file of this machine.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A text that is no URL.
    #[error("client.server = {0:?} is not a URL such as https://tv.example.org")]
    Server(String),
    /// A file that is no recipe.
    #[error("{0}")]
    Recipe(String),
    /// The job did not end well.
    #[error("{0}")]
    Failed(String),
}

/// Asks, prints, and says by the exit code how it went.
pub fn run(config: &Config, ask: &Ask) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::cli::complain(&error);
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(verbs::perform(config, ask)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::cli::complain(&error);
            ExitCode::FAILURE
        }
    }
}
