//! Why a step failed, and whose fault that is.

use std::fmt;

use serde::Serialize;

/// Who has to do something about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The source is at fault: trying again gives the same. The uploader is told.
    Input,
    /// It may pass: try again later.
    Transient,
    /// This machine has not enough: try another one.
    Capacity,
    /// This platform is at fault.
    Bug,
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Who has to do something.
    pub class: Class,
    /// Stable, for programs: `not_media`.
    pub code: &'static str,
    /// For the uploader or operator, in plain words, ending with what to do.
    pub human: String,
    /// The last lines of FFmpeg, without header values and URL queries; may be empty.
    pub log: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.human, self.code)
    }
}

impl std::error::Error for Failure {}
