//! The log: readable or JSON, on standard error. Keys and tokens are `base::Secret`s, which print as `redacted`.

use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::EnvFilter;

use crate::server::{Config, LogFormat};

/// A log that cannot be started.
#[derive(Debug, Error)]
pub enum Error {
    /// `server.log_level` is not a filter.
    #[error(
        "server.log_level is {0:?}: use error, warn, info, debug or trace, also per crate as in \"info,live=debug\""
    )]
    Level(String),
    /// The process already logs.
    #[error("the log was started twice")]
    Twice,
}

/// Starts the log of the process.
///
/// # Errors
/// When the level is not a filter, or the log runs already.
pub fn start(config: &Config) -> Result<(), Error> {
    let filter = filter(&config.log_level)?;
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi);
    let started = match config.log_format {
        LogFormat::Text => builder.with_target(true).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).try_init(),
    };
    started.map_err(|_| Error::Twice)
}

/// Reads `server.log_level`.
///
/// # Errors
/// When it is not a level or a list of `crate=level`.
pub fn filter(level: &str) -> Result<EnvFilter, Error> {
    let wrong = || Error::Level(level.to_owned());
    // A bare word that is no level would otherwise be taken for a crate to log in full.
    let known = |part: &str| {
        !part.is_empty() && (part.contains('=') || part.parse::<tracing::level_filters::LevelFilter>().is_ok())
    };
    if !level.split(',').all(|part| known(part.trim())) {
        return Err(wrong());
    }
    let compact: String = level.split_whitespace().collect();
    compact.parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_filter_or_an_error() {
        let check = |level: &str, ok: bool| assert_eq!(filter(level).is_ok(), ok, "{level:?}");
        check("info", true);
        check("off", true);
        check("info,live=debug", true);
        check("info, live=debug", true);
        check("loud", false);
        check("live=loud", false);
        check("", false);
    }
}
