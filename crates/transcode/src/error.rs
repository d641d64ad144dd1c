use std::path::PathBuf;

use base::Fault;
use thiserror::Error;

/// Why FFmpeg could not be found, started, fed or read.
#[derive(Debug, Error)]
pub enum Error {
    /// No FFmpeg on this machine, or one that cannot encode H.264.
    #[error("FFmpeg is not usable: {reason}")]
    Absent {
        /// What was tried, and what to do about it.
        reason: String,
    },
    /// The preset's name is not in the table.
    #[error("no ladder preset is named {name:?}; there are {known}")]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The names there are, separated by commas.
        known: String,
    },
    /// The child process could not be started.
    #[error("cannot start {program}")]
    Spawn {
        /// The program, as configured.
        program: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The private directory of the child's output sockets could not be made.
    #[error("cannot make the output sockets in {path}")]
    Sockets {
        /// The directory or socket.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A pipe or socket of the child failed.
    #[error("cannot talk to FFmpeg ({what})")]
    Pipe {
        /// Which pipe.
        what: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// FFmpeg ended without the result that was asked of it.
    #[error("FFmpeg ended with {status}: {stderr}")]
    Exit {
        /// Its exit status.
        status: String,
        /// Its last lines on standard error.
        stderr: String,
    },
    /// FFmpeg did not finish within its time.
    #[error("FFmpeg did not finish {what} within {limit_ms} ms")]
    Timeout {
        /// The task.
        what: &'static str,
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// FFmpeg's output, or a sample handed to this room, is not what it should be.
    #[error("{what} cannot be read or written")]
    Media {
        /// Which bytes.
        what: &'static str,
        /// What is wrong with them.
        source: media::Error,
    },
    /// Something this FFmpeg, or this room, cannot do.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    /// Who has to change something.
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnknownPreset { .. } | Self::Media { .. } | Self::Unsupported(_) => Fault::Client,
            Self::Timeout { .. } => Fault::Overload,
            Self::Absent { .. } | Self::Spawn { .. } | Self::Pipe { .. } | Self::Exit { .. } => Fault::Upstream,
            Self::Sockets { .. } => Fault::Internal,
        }
    }
}
