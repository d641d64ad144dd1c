//! Errors of a step: whose fault, a stable word, and a sentence that ends with what to do.

use std::io;

use store::catalogue::{ErrorClass, StepError};
use transcode::vod::{Class, Failure};

/// The result of doing a step or a part of it.
pub type Result<T> = std::result::Result<T, StepError>;

/// Longest text of another program's or server's that goes into an error, in characters.
const QUOTE_CHARS_MAX: usize = 300;

fn error(class: ErrorClass, code: &str, human: impl Into<String>) -> StepError {
    StepError { class, code: code.to_owned(), human: human.into(), log: None, worker: None }
}

/// The source's fault: no retry.
pub(crate) fn input(code: &str, human: impl Into<String>) -> StepError {
    error(ErrorClass::Input, code, human)
}

/// Passing: tried again later.
pub(crate) fn transient(code: &str, human: impl Into<String>) -> StepError {
    error(ErrorClass::Transient, code, human)
}

/// This machine's: tried on another.
pub(crate) fn capacity(code: &str, human: impl Into<String>) -> StepError {
    error(ErrorClass::Capacity, code, human)
}

/// Ours.
pub(crate) fn bug(code: &str, human: impl Into<String>) -> StepError {
    error(ErrorClass::Bug, code, human)
}

/// The work was stopped from outside; nobody reads this.
pub(crate) fn stopped() -> StepError {
    transient("stopped", "The step was stopped; it is tried again by itself.")
}

/// What the worker's own disk said.
pub(crate) fn disk(source: &io::Error) -> StepError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => capacity(
            "disk_full",
            "The disk of the worker's scratch folder is full; free some space there or move worker.scratch.",
        ),
        _ => transient(
            "scratch_failed",
            format!("The worker's scratch folder does not work ({source}); look at its disk and permissions."),
        ),
    }
}

/// What FFmpeg's room said.
pub(crate) fn tool(failure: Failure) -> StepError {
    let class = match failure.class {
        Class::Input => ErrorClass::Input,
        Class::Transient => ErrorClass::Transient,
        Class::Capacity => ErrorClass::Capacity,
        Class::Bug => ErrorClass::Bug,
    };
    let log = Some(failure.log).filter(|log| !log.is_empty());
    StepError { log, ..error(class, failure.code, failure.human) }
}

/// The step's inputs are not what its kind needs: the manager's planner and this worker disagree.
pub(crate) fn bad_inputs(what: &str) -> StepError {
    bug("bad_inputs", format!("The step was given {what}; update manager and workers to the same version."))
}

/// A foreign text cut to what fits into an error.
pub(crate) fn quote(text: &str) -> String {
    text.chars().take(QUOTE_CHARS_MAX).collect()
}

/// An error with its causes, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    quote(&text)
}
